//! Who may put how much into the ring's queue, and what clients are told about it.
//!
//! Clients are told to hold their multicasts while there is room for one more of the largest size. What
//! they had sent before they could know fills the queue; what finds it full waits here, in order, for a
//! multicast has no answer and so may not be refused. The sync's own messages do not pass here: the
//! ring takes them always.

use std::collections::VecDeque;

use ipc::message::ClientId;
use protocol::ring::RingSettings;

use crate::{
    executive::{DisconnectCause, FlowControl},
    service::OrderedMessage,
};

/// The ring's queue as admission sees it.
pub(crate) trait Queue {
    /// Octets that wait for the token.
    fn queued_bytes(&self) -> usize;
    /// Queues a message for which there is room.
    fn push(&mut self, message: OrderedMessage);
}

/// A client's multicast that was not kept. The client has to go, since nothing else would tell it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Overflow {
    pub(crate) client: ClientId,
    pub(crate) cause: DisconnectCause,
}

/// The gate before the ring's queue.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Largest message in octets.
    message_bytes_max: usize,
    /// Octets that the queue takes.
    queue_bytes_max: usize,
    /// With more than this in the queue, clients are held.
    hold_above: usize,
    /// They stay held until there is no more than this.
    open_at: usize,
    flow: FlowControl,
    waiting: VecDeque<OrderedMessage>,
    waiting_bytes: usize,
}

/// Octets that wait here at most because clients multicast. Some times what the server reads of their
/// requests in one go, which is all that comes after they were told to hold.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

impl Admission {
    /// A gate for a ring with these settings; open.
    pub(crate) fn new(settings: &RingSettings) -> Self {
        let queue_bytes_max = settings.send_queue_bytes_max;
        let message_bytes_max = settings.message_bytes_max.min(queue_bytes_max);
        let hold_above = queue_bytes_max - message_bytes_max;
        Self {
            message_bytes_max,
            queue_bytes_max,
            hold_above,
            open_at: hold_above / 2,
            flow: FlowControl::Open,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// What clients are told at present.
    pub(crate) fn flow(&self) -> FlowControl {
        self.flow
    }

    /// Whether nothing waits here.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a message of [`Class::Client`](protocol::ring::Class::Client). It goes on at once or with
    /// a later [`Self::flush`], and never overtakes another.
    ///
    /// The executive's own word about joins and leaves is always kept; there is one for each client.
    pub(crate) fn submit(&mut self, message: OrderedMessage, queue: &mut impl Queue) -> Result<(), Overflow> {
        if self.waiting.is_empty() && self.fits(&message, queue) {
            queue.push(message);
            return Ok(());
        }
        if let Some(client) = message.origin {
            if message.len() > self.message_bytes_max {
                return Err(Overflow { client, cause: DisconnectCause::MessageTooBig });
            }
            if self.waiting_bytes + message.len() > WAITING_BYTES_MAX {
                return Err(Overflow { client, cause: DisconnectCause::IgnoresFlowControl });
            }
        }
        self.waiting_bytes += message.len();
        self.waiting.push_back(message);
        Ok(())
    }

    /// Hands on what waits, as far as there is room. `true`: there was something.
    pub(crate) fn flush(&mut self, queue: &mut impl Queue) -> bool {
        let before = self.waiting.len();
        while self.waiting.front().is_some_and(|message| self.fits(message, queue)) {
            let Some(message) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= message.len();
            queue.push(message);
        }
        self.waiting.len() < before
    }

    /// Judges anew, after everything that may have changed. Says so if clients are to be told.
    pub(crate) fn assess(&mut self, queue: &impl Queue, synchronised: bool) -> Option<FlowControl> {
        let mark = match self.flow {
            FlowControl::Open => self.hold_above,
            FlowControl::MulticastsHeld => self.open_at,
        };
        let open = synchronised && self.waiting.is_empty() && queue.queued_bytes() <= mark;
        let flow = if open { FlowControl::Open } else { FlowControl::MulticastsHeld };
        (std::mem::replace(&mut self.flow, flow) != flow).then_some(flow)
    }

    fn fits(&self, message: &OrderedMessage, queue: &impl Queue) -> bool {
        message.len() <= self.message_bytes_max
            && queue.queued_bytes() + message.len() <= self.queue_bytes_max
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use protocol::{
        NodeId,
        ring::{Class, Guarantee},
    };

    use super::*;

    #[derive(Default)]
    struct Waiting(VecDeque<OrderedMessage>);

    impl Queue for Waiting {
        fn queued_bytes(&self) -> usize {
            self.0.iter().map(OrderedMessage::len).sum()
        }

        fn push(&mut self, message: OrderedMessage) {
            self.0.push_back(message);
        }
    }

    fn admission() -> Admission {
        let wait = Duration::from_millis(1);
        Admission::new(&RingSettings {
            node: NodeId::new(1).expect("not zero"),
            token_timeout: wait,
            token_retransmit: wait,
            token_hold: wait,
            join: wait,
            consensus: wait,
            merge: wait,
            listen: wait,
            window_size: 1,
            max_messages: 1,
            seqno_unchanged_const: 1,
            frame_bytes_max: 1_400,
            message_bytes_max: 1_000,
            send_queue_bytes_max: 3_000,
            peers: 0,
        })
    }

    fn message(origin: Option<u64>, len: usize) -> OrderedMessage {
        OrderedMessage {
            class: Class::Client,
            guarantee: Guarantee::Agreed,
            origin: origin.map(ClientId),
            head: Bytes::new(),
            body: vec![0; len].into(),
        }
    }

    #[test]
    fn clients_are_held_before_the_last_message_has_no_room() {
        let (mut admission, mut queue) = (admission(), Waiting::default());
        assert_eq!(admission.submit(message(Some(1), 1_000), &mut queue), Ok(()));
        assert_eq!(admission.submit(message(Some(1), 1_000), &mut queue), Ok(()));
        assert_eq!(admission.assess(&queue, true), None, "one more fits");
        assert_eq!(admission.submit(message(Some(1), 1), &mut queue), Ok(()));
        assert_eq!(admission.assess(&queue, true), Some(FlowControl::MulticastsHeld));

        queue.0.pop_front();
        assert_eq!(admission.assess(&queue, true), None, "half must be free before it opens");
        queue.0.pop_front();
        assert_eq!(admission.assess(&queue, true), Some(FlowControl::Open));
    }

    #[test]
    fn clients_are_held_during_a_sync() {
        let (mut admission, queue) = (admission(), Waiting::default());
        assert_eq!(admission.assess(&queue, false), Some(FlowControl::MulticastsHeld));
        assert_eq!(admission.assess(&queue, true), Some(FlowControl::Open));
    }

    #[test]
    fn what_finds_no_room_waits_and_nothing_overtakes_it() {
        let (mut admission, mut queue) = (admission(), Waiting::default());
        for len in [1_000, 1_000, 900, 500, 1] {
            assert_eq!(admission.submit(message(Some(1), len), &mut queue), Ok(()));
        }
        assert_eq!(queue.queued_bytes(), 2_900, "the last one has room but waits behind another");
        assert_eq!(admission.assess(&queue, true), Some(FlowControl::MulticastsHeld));
        queue.0.clear();
        assert!(admission.flush(&mut queue));
        assert_eq!(queue.0.iter().map(OrderedMessage::len).collect::<Vec<_>>(), [500, 1]);
        assert!(admission.is_empty());
    }

    #[test]
    fn a_client_that_goes_on_for_ever_is_named_and_word_of_processes_is_still_kept() {
        let (mut admission, mut queue) = (admission(), Waiting::default());
        let mut sent = 0;
        let overflow = loop {
            match admission.submit(message(Some(7), 1_000), &mut queue) {
                Ok(()) => sent += 1_000,
                Err(overflow) => break overflow,
            }
        };
        let expected = Overflow { client: ClientId(7), cause: DisconnectCause::IgnoresFlowControl };
        assert_eq!(overflow, expected);
        assert!(sent <= WAITING_BYTES_MAX + 3_000);
        assert_eq!(admission.submit(message(None, 100), &mut queue), Ok(()));
    }

    #[test]
    fn a_message_above_the_rings_limit_is_refused_at_once() {
        let (mut admission, mut queue) = (admission(), Waiting::default());
        let overflow = Overflow { client: ClientId(7), cause: DisconnectCause::MessageTooBig };
        assert_eq!(admission.submit(message(Some(7), 1_001), &mut queue), Err(overflow));
        assert_eq!(admission.submit(message(Some(7), 1_000), &mut queue), Ok(()));
    }
}
