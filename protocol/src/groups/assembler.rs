//! Puts split messages together again.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::{node::NodeId, wire::Fragment};

/// The messages that have begun and not ended, at most one a sender.
///
/// Pieces come in the total order, so a sender's pieces come one after the other. A piece that does
/// not continue what is there is the sender's fault or the rest of a message that was given up at a
/// configuration change: it is dropped with what it was meant to continue.
#[derive(Debug)]
pub struct Assembler {
    begun: BTreeMap<NodeId, Assembly>,
    message_bytes_max: usize,
}

#[derive(Debug)]
struct Assembly {
    message: u32,
    total: usize,
    octets: BytesMut,
}

impl Assembler {
    /// For messages of at most `message_bytes_max` octets; the memory used is at most that for each
    /// member of the ring.
    pub fn new(message_bytes_max: usize) -> Self {
        Self { begun: BTreeMap::new(), message_bytes_max }
    }

    /// Takes the next piece; gives the message if it was the last one.
    pub fn push(&mut self, sender: NodeId, fragment: Fragment, octets: &[u8]) -> Option<Bytes> {
        let (offset, total) = (fragment.offset as usize, fragment.total as usize);
        if offset == 0 && total <= self.message_bytes_max {
            let assembly =
                Assembly { message: fragment.message, total, octets: BytesMut::with_capacity(total) };
            self.begun.insert(sender, assembly);
        }
        let assembly = self.begun.get_mut(&sender)?;
        let continues = assembly.message == fragment.message
            && assembly.octets.len() == offset
            && assembly.total == total
            && octets.len() <= total - offset;
        if !continues {
            self.begun.remove(&sender);
            return None;
        }
        assembly.octets.extend_from_slice(octets);
        if assembly.octets.len() < total {
            return None;
        }
        self.begun.remove(&sender).map(|whole| whole.octets.freeze())
    }

    /// A regular configuration is installed: what has not ended never will, its sender sends it anew.
    pub fn clear(&mut self) {
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn piece(message: u32, offset: u32) -> Fragment {
        Fragment { message, offset, total: 6 }
    }

    #[test]
    fn pieces_of_different_senders_interleave() {
        let mut assembler = Assembler::new(100);
        assert_eq!(assembler.push(node(1), piece(7, 0), b"abc"), None);
        assert_eq!(assembler.push(node(2), piece(7, 0), b"uvw"), None);
        assert_eq!(assembler.push(node(1), piece(7, 3), b"def").unwrap(), "abcdef");
        assert_eq!(assembler.push(node(2), piece(7, 3), b"xyz").unwrap(), "uvwxyz");
    }

    #[test]
    fn a_piece_that_continues_nothing_is_dropped() {
        let mut assembler = Assembler::new(100);
        assert_eq!(assembler.push(node(1), piece(7, 3), b"def"), None);
        assert_eq!(assembler.push(node(1), piece(7, 0), b"abc"), None);
        assert_eq!(assembler.push(node(1), piece(8, 3), b"def"), None, "another message");
        assert_eq!(assembler.push(node(1), piece(7, 3), b"def"), None, "the first one is given up");
        assembler.push(node(1), piece(9, 0), b"abc");
        assembler.clear();
        assert_eq!(assembler.push(node(1), piece(9, 3), b"def"), None);
    }

    #[test]
    fn a_message_above_the_limit_takes_no_memory() {
        let mut assembler = Assembler::new(5);
        assert_eq!(assembler.push(node(1), piece(7, 0), b"abc"), None);
        assert!(assembler.begun.is_empty());
    }
}
