//! The barrier between a new configuration and the first message of a client in it.
//!
//! Nodes that come from different rings agree on the membership, but not yet on the state of the
//! services. So each node multicasts its services' state in parts and then DONE. The DONE that is
//! delivered last is the same message at all members: there they all switch to the new state, and only
//! behind it in the total order are messages of clients numbered.
//!
//! All services share one round, and everything in it carries the ring's id, whose nonce makes it
//! unique. To abort a round is to forget it: what still arrives of it names another ring and is ignored.
//!
//! What a peer sends wrongly (a part missing or twice) spoils that peer's own contribution and nothing
//! else; since all members see the same messages, they all see it spoilt.
//!
//! A message, integers with the most significant octet first:
//!
//! | octets | field   | note                                               |
//! |--------|---------|----------------------------------------------------|
//! | 0      | channel | [`Channel::Sync`]                                  |
//! | 1      | kind    | 1 part, 2 done                                     |
//! | 2..10  | seq     | of the ring's id                                   |
//! | 10..14 | rep     | of the ring's id                                   |
//! | 14..18 | nonce   | of the ring's id                                   |
//! | 18..22 | count   | parts that this sender has sent before in the round |
//! | 22     | service | of a part: its number                              |
//! | 23..   | data    | of a part: the service's own                       |

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use ipc::message::Service;
use protocol::{
    Member, NodeId, RingId, RingSeq,
    ring::{Class, Guarantee},
};
use tracing::{debug, trace, warn};

use crate::service::{Channel, OrderedMessage};

/// One node's side of the barrier.
#[derive(Debug)]
pub(crate) struct Barrier {
    /// Who took part in the last completed round and has come along in all configurations since.
    /// They know what this node knows; everybody else of that round counts as gone, even where a new
    /// life of it, or it itself after a detour through another ring, is back.
    survivors: Vec<Member>,
    configuration: Option<(RingId, usize)>,
    phase: Phase,
}

/// Where the barrier stands.
#[derive(Debug)]
enum Phase {
    /// Before the first configuration, or after an aborted round.
    Waiting,
    /// Contributions are coming in.
    Running(Round),
    /// The current configuration's round has completed.
    Complete,
    /// It had, and the configuration is ending. Messages delivered now still belong to it.
    Ending,
}

/// What a delivered message means to the services.
#[derive(Debug, Eq, PartialEq)]
#[must_use]
pub(crate) enum Step {
    /// Nothing.
    Nothing,
    /// A piece of the sender's state for a service to keep aside.
    Part {
        /// Which service.
        service: Service,
        /// The piece.
        data: Bytes,
    },
    /// Everybody has sent everything: activate.
    Completed(Completion),
}

/// The end of a round.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Completion {
    /// Whose ring it is.
    pub(crate) ring: RingId,
    /// Its members, ascending by node.
    pub(crate) members: Vec<Member>,
    /// Those of the members that also took part in the last completed round and came along in every
    /// configuration since.
    pub(crate) survivors: Vec<Member>,
    /// Members whose contribution was not whole. It counts as empty.
    pub(crate) void: Vec<NodeId>,
}

#[derive(Debug)]
struct Round {
    ring: RingId,
    progress: Vec<Progress>,
}

/// What one member has contributed so far.
#[derive(Debug)]
struct Progress {
    member: Member,
    parts: u32,
    void: bool,
    done: bool,
}

impl Barrier {
    /// A barrier that waits for its first configuration.
    pub(crate) fn new() -> Self {
        Self { survivors: Vec::new(), configuration: None, phase: Phase::Waiting }
    }

    /// Whether the round of the current configuration has completed, and no other is coming.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.phase, Phase::Complete)
    }

    /// Whether a client's message that is delivered now has its place: everywhere behind the
    /// completion, up to the next regular configuration.
    pub(crate) fn admits_clients(&self) -> bool {
        matches!(self.phase, Phase::Complete | Phase::Ending)
    }

    /// The last regular configuration's ring and number of members.
    pub(crate) fn configuration(&self) -> Option<(RingId, usize)> {
        self.configuration
    }

    /// A transitional configuration: a round that is under way is over.
    pub(crate) fn interrupt(&mut self, members: &[Member]) {
        self.survivors.retain(|member| members.contains(member));
        self.phase = match self.phase {
            Phase::Waiting => Phase::Waiting,
            Phase::Running(_) => {
                debug!("sync aborted");
                Phase::Waiting
            }
            Phase::Complete | Phase::Ending => Phase::Ending,
        };
    }

    /// A regular configuration: starts its round. `out` gets this node's parts and its DONE.
    pub(crate) fn begin(
        &mut self,
        ring: RingId,
        members: Vec<Member>,
        parts: impl IntoIterator<Item = (Service, Bytes)>,
        out: &mut VecDeque<OrderedMessage>,
    ) {
        let mut count = 0u32;
        for (service, data) in parts {
            out.push_back(ordered(encode(&ring, count, Some(service)), data));
            count += 1;
        }
        out.push_back(ordered(encode(&ring, count, None), Bytes::new()));

        self.configuration = Some((ring, members.len()));
        let progress = members.into_iter().map(Progress::new).collect();
        self.phase = Phase::Running(Round { ring, progress });
    }

    /// A message of the barrier was delivered.
    pub(crate) fn handle_message(&mut self, sender: NodeId, message: &Bytes) -> Step {
        let (ring, frame) = match decode(message) {
            Ok(decoded) => decoded,
            Err(error) => {
                trace!(node = %sender, %error, "message of the sync dropped");
                return Step::Nothing;
            }
        };
        // A message of another ring is one of an aborted round: its sender had queued it before the
        // configuration changed.
        let Phase::Running(round) = &mut self.phase else { return Step::Nothing };
        if round.ring != ring {
            return Step::Nothing;
        }
        let step = round.handle_frame(sender, frame);
        if !round.progress.iter().all(|progress| progress.done) {
            return step;
        }
        let completion = round.complete(&self.survivors);
        self.survivors.clone_from(&completion.members);
        self.phase = Phase::Complete;
        Step::Completed(completion)
    }
}

impl Round {
    fn handle_frame(&mut self, sender: NodeId, frame: Frame) -> Step {
        let Some(progress) = self.progress.iter_mut().find(|p| p.member.node == sender && !p.done) else {
            return Step::Nothing;
        };
        progress.void |= frame.count() != progress.parts;
        match frame {
            Frame::Part { service: Some(service), data, .. } if !progress.void => {
                progress.parts = progress.parts.saturating_add(1);
                Step::Part { service, data }
            }
            Frame::Part { .. } => {
                progress.parts = progress.parts.saturating_add(1);
                Step::Nothing
            }
            Frame::Done { .. } => {
                progress.done = true;
                Step::Nothing
            }
        }
    }

    fn complete(&self, survivors: &[Member]) -> Completion {
        let members: Vec<Member> = self.progress.iter().map(|p| p.member).collect();
        let void: Vec<NodeId> = self.progress.iter().filter(|p| p.void).map(|p| p.member.node).collect();
        for node in &void {
            warn!(%node, "state sent for the sync is not whole; taken as empty");
        }
        let survivors = survivors.iter().copied().filter(|m| members.contains(m)).collect();
        Completion { ring: self.ring, members, survivors, void }
    }
}

impl Progress {
    fn new(member: Member) -> Self {
        Self { member, parts: 0, void: false, done: false }
    }
}

/// Octets before the data of a part.
const HEAD_BYTES: usize = 23;
const KIND_PART: u8 = 1;
const KIND_DONE: u8 = 2;

enum Frame {
    /// `service` is `None` for one that this version does not know; it is counted and dropped.
    Part {
        count: u32,
        service: Option<Service>,
        data: Bytes,
    },
    Done {
        count: u32,
    },
}

impl Frame {
    fn count(&self) -> u32 {
        match self {
            Self::Part { count, .. } | Self::Done { count } => *count,
        }
    }
}

/// `service` is `None` for DONE.
fn encode(ring: &RingId, count: u32, service: Option<Service>) -> Bytes {
    let mut head = BytesMut::with_capacity(HEAD_BYTES);
    head.put_u8(Channel::Sync as u8);
    head.put_u8(if service.is_some() { KIND_PART } else { KIND_DONE });
    head.put_u64(ring.seq.0);
    head.put_u32(ring.rep.get());
    head.put_u32(ring.nonce);
    head.put_u32(count);
    if let Some(service) = service {
        head.put_u8(service as u8);
    }
    head.freeze()
}

/// Why a message of the barrier was dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum SyncMessageError {
    #[error("it ends too early")]
    Truncated,
    #[error("kind {0} is unknown")]
    UnknownKind(u8),
    #[error("its ring has node 0 as representative")]
    NoRepresentative,
}

impl From<TryGetError> for SyncMessageError {
    fn from(_: TryGetError) -> Self {
        Self::Truncated
    }
}

fn decode(message: &Bytes) -> Result<(RingId, Frame), SyncMessageError> {
    let mut rest: &[u8] = message;
    rest.try_get_u8()?; // The channel; the caller came here by it.
    let kind = rest.try_get_u8()?;
    let seq = RingSeq(rest.try_get_u64()?);
    let rep = NodeId::new(rest.try_get_u32()?).ok_or(SyncMessageError::NoRepresentative)?;
    let nonce = rest.try_get_u32()?;
    let count = rest.try_get_u32()?;
    let frame = match kind {
        KIND_PART => {
            let service = rest.try_get_u8()?;
            let service = (service == Service::Cpg as u8).then_some(Service::Cpg);
            Frame::Part { count, service, data: message.slice(HEAD_BYTES..) }
        }
        KIND_DONE => Frame::Done { count },
        _ => return Err(SyncMessageError::UnknownKind(kind)),
    };
    Ok((RingId { seq, rep, nonce }, frame))
}

fn ordered(head: Bytes, body: Bytes) -> OrderedMessage {
    OrderedMessage { class: Class::Sync, guarantee: Guarantee::Agreed, origin: None, head, body }
}

#[cfg(test)]
mod tests;
