//! A process in a group, as every node knows it.

use ipc::message::cpg::{Address, Fragment, Reason};
use protocol::NodeId;

/// Node and process id. The order is that of the member lists.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct ProcessId {
    pub(super) node: NodeId,
    pub(super) pid: u32,
}

impl ProcessId {
    /// As it stands in an event's list.
    pub(super) fn address(self, reason: Reason) -> Address {
        Address { nodeid: self.node.get(), pid: self.pid, reason }
    }
}

/// A member of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    pub(super) id: ProcessId,
    /// The large message that it is sending, if its beginning was delivered here.
    pub(super) assembly: Option<Assembly>,
}

impl Process {
    pub(super) fn new(id: ProcessId) -> Self {
        Self { id, assembly: None }
    }
}

/// How far a message that comes in fragments has got.
///
/// Receiving libraries allocate what the first fragment announces and copy the others behind it. So the
/// sum is checked here: at the sender to answer it, at the receivers because a peer may be wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Assembly {
    message_bytes: u32,
    received: u32,
}

/// Why a fragment does not fit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FragmentError {
    /// Its message was not begun, or was abandoned.
    NotBegun,
    /// It is more, or as the last one less, than what was announced.
    WrongSize,
}

impl Assembly {
    /// Adds a fragment of `len` octets to what `assembly` holds. After an error nothing is begun.
    pub(super) fn add(
        assembly: &mut Option<Self>,
        kind: Fragment,
        message_bytes: u32,
        len: usize,
    ) -> Result<(), FragmentError> {
        let begun = match kind {
            Fragment::First => {
                *assembly = None;
                Self { message_bytes, received: 0 }
            }
            Fragment::Continued | Fragment::Last => assembly.take().ok_or(FragmentError::NotBegun)?,
        };
        let received = u32::try_from(len)
            .ok()
            .and_then(|len| begun.received.checked_add(len))
            .filter(|&received| received <= begun.message_bytes && message_bytes == begun.message_bytes)
            .ok_or(FragmentError::WrongSize)?;
        match kind {
            Fragment::First | Fragment::Continued => *assembly = Some(Self { received, ..begun }),
            Fragment::Last if received < begun.message_bytes => return Err(FragmentError::WrongSize),
            Fragment::Last => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_fit_exactly_or_not_at_all() {
        let mut assembly = None;
        let mut add = |kind, len| Assembly::add(&mut assembly, kind, 10, len);
        assert_eq!(add(Fragment::Continued, 1), Err(FragmentError::NotBegun));
        assert_eq!(add(Fragment::First, 4), Ok(()));
        assert_eq!(add(Fragment::Continued, 4), Ok(()));
        assert_eq!(add(Fragment::Last, 2), Ok(()));
        assert_eq!(add(Fragment::Last, 2), Err(FragmentError::NotBegun), "the message was complete");
    }

    #[test]
    fn a_sum_other_than_announced_ends_the_assembly() {
        let mut assembly = None;
        assert_eq!(Assembly::add(&mut assembly, Fragment::First, 10, 11), Err(FragmentError::WrongSize));
        assert_eq!(Assembly::add(&mut assembly, Fragment::First, 10, 9), Ok(()));
        assert_eq!(Assembly::add(&mut assembly, Fragment::Continued, 10, 2), Err(FragmentError::WrongSize));
        assert_eq!(Assembly::add(&mut assembly, Fragment::Last, 10, 1), Err(FragmentError::NotBegun));
        assert_eq!(Assembly::add(&mut assembly, Fragment::First, 10, 8), Ok(()));
        assert_eq!(Assembly::add(&mut assembly, Fragment::Last, 10, 1), Err(FragmentError::WrongSize));
        assert_eq!(Assembly::add(&mut assembly, Fragment::First, 10, 8), Ok(()));
        assert_eq!(Assembly::add(&mut assembly, Fragment::Last, 11, 3), Err(FragmentError::WrongSize));
    }
}
