//! One machine of the cluster: the node's value, its clock, its disk, and what waits to be handled.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use ipc::message::{ClientId, Request};
use protocol::{Instant, NodeId};
use services::executive::{Done, FlowControl};

use crate::disk::Disk;

/// A node's own idea of time: another origin, and a rate that is a little off.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What it shows at the simulator's zero.
    pub offset: Duration,
    /// Parts per million that it is fast; below zero slow.
    pub drift: i32,
}

impl Clock {
    /// What it shows.
    pub fn local(self, now: Instant) -> Instant {
        let elapsed = u128::from(now.as_nanos()) * self.rate() / MILLION;
        Instant::from_nanos(u64::try_from(elapsed).unwrap_or(u64::MAX)) + self.offset
    }

    /// When it will show `local`, not before.
    pub fn global(self, local: Instant) -> Instant {
        if local == Instant::NEVER {
            return Instant::NEVER;
        }
        let elapsed = local.since(Instant::ZERO + self.offset).as_nanos() * MILLION;
        Instant::from_nanos(u64::try_from(elapsed.div_ceil(self.rate())).unwrap_or(u64::MAX))
    }

    fn rate(self) -> u128 {
        u128::from(1_000_000_u64.saturating_add_signed(i64::from(self.drift)))
    }
}

const MILLION: u128 = 1_000_000;

/// A datagram in the socket's buffer.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Who claims to have sent it.
    pub source: SocketAddr,
    /// Its octets.
    pub datagram: Rc<[u8]>,
}

/// What a client did, as the ipc server hands it on.
#[derive(Clone, Debug)]
pub enum ClientInput {
    /// It connected.
    Joined(ClientId),
    /// It asks. With the message that is handed in by it.
    Request(ClientId, Request, Option<u64>),
    /// It is gone.
    Gone(ClientId),
}

impl ClientInput {
    /// Whose.
    pub fn client(&self) -> ClientId {
        match self {
            Self::Joined(client) | Self::Request(client, ..) | Self::Gone(client) => *client,
        }
    }
}

/// Who a node is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// As the test calls it.
    pub name: String,
    /// Its number.
    pub id: NodeId,
    /// Where it is.
    pub address: SocketAddr,
    /// The others know it and should form a ring with it. Not so for impostors.
    pub expected: bool,
    /// Not zero for a node that has another key than the rest.
    pub key: u8,
}

/// The address of the node at this index.
pub fn address(index: usize) -> SocketAddr {
    let host = u8::try_from(index + 1).expect("fewer than 255 nodes");
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, host), 5405))
}

/// A node, running or not.
#[derive(Debug)]
pub struct Node<M> {
    /// Who it is.
    pub identity: Identity,
    /// The running value.
    pub machine: Option<M>,
    /// Counts starts; tells what was meant for an earlier life.
    pub life: u64,
    /// Its clock.
    pub clock: Clock,
    /// The latest time handed to the machine.
    pub latest: Instant,
    /// Its disk.
    pub disk: Disk,
    /// Datagrams that wait to be read.
    pub packets: VecDeque<Packet>,
    /// Their octets.
    pub packet_bytes: usize,
    /// Clients' inputs that wait to be read.
    pub inputs: VecDeque<ClientInput>,
    /// Effects that have finished.
    pub done: VecDeque<Done>,
    /// It was asked to leave.
    pub leave_asked: bool,
    /// What clients may send.
    pub flow: FlowControl,
    /// It accepts clients.
    pub ready: bool,
    /// It does not run until then.
    pub paused_until: Option<Instant>,
    /// When its next turn is.
    pub turn_at: Option<Instant>,
    /// When it will be woken for its machine's timer.
    pub wake_at: Option<Instant>,
    /// It is at work until then.
    pub busy_until: Instant,
    /// It crashes after this many more effects.
    pub crash_after: Option<u32>,
    /// When its last write will be durable.
    pub disk_free: Instant,
    /// Times in a row that a timer was due again at once.
    pub spins: u32,
}

impl<M> Node<M> {
    /// A node that is switched off.
    pub fn new(identity: Identity, clock: Clock) -> Self {
        Self {
            identity,
            machine: None,
            life: 0,
            clock,
            latest: Instant::ZERO,
            disk: Disk::default(),
            packets: VecDeque::new(),
            packet_bytes: 0,
            inputs: VecDeque::new(),
            done: VecDeque::new(),
            leave_asked: false,
            flow: FlowControl::Open,
            ready: false,
            paused_until: None,
            turn_at: None,
            wake_at: None,
            busy_until: Instant::ZERO,
            crash_after: None,
            disk_free: Instant::ZERO,
            spins: 0,
        }
    }

    /// Whether it is running and not paused.
    pub fn is_up(&self) -> bool {
        self.machine.is_some() && self.paused_until.is_none()
    }

    /// Puts a datagram into the socket's buffer, which drops what it has no room for.
    pub fn receive(&mut self, packet: Packet) {
        if self.packet_bytes + packet.datagram.len() <= SOCKET_BYTES_MAX {
            self.packet_bytes += packet.datagram.len();
            self.packets.push_back(packet);
        }
    }

    /// Forgets everything that a process loses with its end.
    pub fn stop(&mut self) {
        self.machine = None;
        self.life += 1;
        self.packets.clear();
        self.packet_bytes = 0;
        self.inputs.clear();
        self.done.clear();
        self.leave_asked = false;
        self.flow = FlowControl::Open;
        self.ready = false;
        self.paused_until = None;
        self.turn_at = None;
        self.wake_at = None;
        self.crash_after = None;
    }
}

/// The socket's receive buffer.
const SOCKET_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_still_wakes_in_time() {
        for drift in [-500, 0, 1, 500] {
            let clock = Clock { offset: Duration::from_secs(77), drift };
            for nanos in [0, 1, 999, 1_000_000_007, 3_600_000_000_123] {
                let local = Instant::from_nanos(nanos) + clock.offset;
                let global = clock.global(local);
                assert!(clock.local(global) >= local);
                assert!(global == Instant::ZERO || clock.local(global - Duration::from_nanos(2)) < local);
            }
            assert_eq!(clock.global(Instant::NEVER), Instant::NEVER);
        }
    }
}
