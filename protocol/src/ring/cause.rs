//! Why the ring changes its state.

use crate::node::{Member, NodeId};

/// Why a node starts to gather.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GatherCause {
    /// The node has just started.
    Started,
    /// The token did not come back within the token timeout.
    TokenLost,
    /// A member or a stranger proposes a membership.
    Join(NodeId),
    /// Another ring made itself known.
    MergeDetected(NodeId),
    /// A member said that it is leaving.
    Left(NodeId),
    /// A member was replaced by a newer life of the same node.
    Restarted(NodeId),
    /// The commit token did not come (back) within the token timeout.
    CommitTokenLost,
    /// The token was lost while old messages were recovered.
    RecoveryTokenLost,
}

/// What the links report about a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PeerChange {
    /// Frames flow both ways.
    Up,
    /// It is silent, or another life of the node took its place.
    Down,
}

/// What a state wants to happen next. Only the ring itself changes states.
#[derive(Debug)]
pub(super) enum Step {
    Stay,
    Gather { cause: GatherCause, also: Option<Member>, without: Option<Member> },
    Commit(crate::wire::CommitToken),
    Recovery(crate::wire::CommitToken),
    Operational(crate::wire::Token),
}

impl Step {
    pub(super) fn gather(cause: GatherCause) -> Self {
        Self::Gather { cause, also: None, without: None }
    }
}
