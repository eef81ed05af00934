//! What every client and every node saw in a run: the material the invariants judge.
//!
//! It is kept from the outside: requests as they were handed to a node, and events as the node told
//! them to its clients. Nothing in here looks into a node.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use ipc::message::{
    ClientId,
    cpg::{Address, GroupName, Reason},
};
use protocol::{BootId, Instant, RingSeq, ring::Guarantee};

use crate::{
    payload::{self, NAMED_BYTES_MIN},
    trace::{self, Trace},
};

/// A process as cpg names it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Process {
    /// Its node.
    pub node: u32,
    /// Its process id there.
    pub pid: u32,
}

impl From<Address> for Process {
    fn from(address: Address) -> Self {
        Self { node: address.nodeid, pid: address.pid }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.pid)
    }
}

/// A message: who sent it, and the how manieth of this client it was.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct MessageId {
    /// Who sent it.
    pub client: ClientId,
    /// Counts from zero.
    pub number: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}#{}", self.client.0, self.number)
    }
}

/// A ring as clients see its name. The order is that of time.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RingName {
    /// The ring sequence.
    pub seq: u64,
    /// The representative.
    pub rep: u32,
}

impl fmt::Display for RingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:x}", self.rep, self.seq)
    }
}

/// What was in a delivery.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Content {
    /// A message that its sender handed in, unchanged.
    Sent(MessageId),
    /// Nothing that this sender ever handed in.
    Foreign {
        /// Octets.
        len: usize,
        /// Their digest.
        digest: u64,
    },
}

/// One thing that a client did or was told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum What {
    /// The reply to its join was OK.
    JoinAccepted,
    /// Its message with this number was taken by the node.
    Submitted(u64),
    /// It asked to leave.
    LeaveAsked,
    /// The group changed.
    View {
        /// Who is in it now.
        members: Vec<Process>,
        /// Who came.
        joined: Vec<(Process, Reason)>,
        /// Who went.
        left: Vec<(Process, Reason)>,
    },
    /// The ring changed, and the synchronisation on it is complete.
    Totem {
        /// Its name.
        ring: RingName,
        /// Its nodes.
        members: Vec<u32>,
    },
    /// A message came.
    Delivered {
        /// From whom, as the event says.
        from: Process,
        /// What.
        content: Content,
        /// It came in fragments, and a change of the group came between the first and the last.
        straddled: bool,
    },
}

/// Something at its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// When, in the simulator's time.
    pub at: Instant,
    /// In which turn of which node: events of one turn share the number, and it grows.
    pub step: u64,
    /// What.
    pub what: What,
}

/// What became of a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// Connected.
    Alive,
    /// It asked to leave, saw it happen, and disconnected.
    Left,
    /// Its process ended; in this step, the node noticed.
    Died,
    /// Its node ended.
    NodeEnded,
}

/// A message that a client made.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The octets.
    pub payload: Bytes,
    /// What was asked for.
    pub guarantee: Guarantee,
    /// The node took all of it.
    pub accepted: bool,
}

/// A client's life.
#[derive(Clone, Debug)]
pub struct ClientHistory {
    /// Which connection.
    pub id: ClientId,
    /// Index of its node.
    pub node: usize,
    /// Which life of the node.
    pub life: usize,
    /// As members see it.
    pub process: Process,
    /// The group it joins.
    pub group: GroupName,
    /// It only watches; the world keeps one of these on each node.
    pub watcher: bool,
    /// What became of it.
    pub fate: Fate,
    /// In which step it ended.
    pub ended: Option<u64>,
    /// Everything, in order.
    pub seen: Vec<Seen>,
    /// Its messages by number.
    pub sent: Vec<Sent>,
}

/// How a node's life ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// Killed.
    Crashed,
    /// It left the ring.
    Left,
    /// Refused as a duplicate.
    Refused,
}

/// A node's life.
#[derive(Clone, Debug)]
pub struct Life {
    /// Its random name.
    pub boot: BootId,
    /// The ring sequence it found on its disk.
    pub loaded: RingSeq,
    /// What came to be durable, and in which step.
    pub stored: Vec<(u64, RingSeq)>,
    /// How it ended.
    pub end: Option<End>,
}

/// A node and its lives.
#[derive(Clone, Debug)]
pub struct NodeHistory {
    /// As the test calls it.
    pub name: String,
    /// Its number.
    pub nodeid: u32,
    /// In order.
    pub lives: Vec<Life>,
}

/// A run.
#[derive(Debug, Default)]
pub struct History {
    /// By index.
    pub nodes: Vec<NodeHistory>,
    /// By connection, which is also the order of connecting.
    pub clients: BTreeMap<ClientId, ClientHistory>,
    /// All faults are over, everybody is in one ring, and nothing is on its way any more.
    pub settled: bool,
    processes: BTreeMap<Process, ClientId>,
    matched: BTreeMap<(ClientId, ClientId), Option<usize>>,
    trace: Trace,
    step: u64,
    now: Instant,
}

impl History {
    /// What happens from now on happens in a new step at `now`.
    pub fn begin_step(&mut self, now: Instant) {
        self.step += 1;
        self.now = now;
        self.trace.number(now.as_nanos());
    }

    /// The current step.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Mixes something into the fingerprint that is not recorded otherwise.
    pub fn trace(&mut self) -> &mut Trace {
        &mut self.trace
    }

    /// The run's fingerprint so far.
    pub fn digest(&self) -> u64 {
        self.trace.digest()
    }

    /// A node starts.
    pub fn node_started(&mut self, node: usize, boot: BootId, loaded: RingSeq) {
        self.trace.number(boot.0);
        self.nodes[node].lives.push(Life { boot, loaded, stored: Vec::new(), end: None });
    }

    /// A node ends.
    pub fn node_ended(&mut self, node: usize, end: End) {
        self.trace.number(end as u64);
        if let Some(life) = self.nodes[node].lives.last_mut() {
            life.end = Some(end);
        }
    }

    /// A write of a node is durable.
    pub fn stored(&mut self, node: usize, seq: RingSeq) {
        self.trace.number(seq.0);
        let step = self.step;
        if let Some(life) = self.nodes[node].lives.last_mut() {
            life.stored.push((step, seq));
        }
    }

    /// A client connects.
    pub fn connected(&mut self, id: ClientId, node: usize, pid: u32, group: GroupName, watcher: bool) {
        self.trace.number(id.0);
        let process = Process { node: self.nodes[node].nodeid, pid };
        let life = self.nodes[node].lives.len().saturating_sub(1);
        let (seen, sent, fate) = (Vec::new(), Vec::new(), Fate::Alive);
        self.processes.insert(process, id);
        let client = ClientHistory { id, node, life, process, group, watcher, fate, ended: None, seen, sent };
        self.clients.insert(id, client);
    }

    /// A client is gone.
    pub fn disconnected(&mut self, id: ClientId, fate: Fate) {
        self.trace.number(id.0);
        let step = self.step;
        let client = self.client(id);
        client.fate = fate;
        client.ended = Some(step);
    }

    /// A client made a message; its number.
    pub fn made(&mut self, id: ClientId, guarantee: Guarantee, len: usize) -> (u64, Bytes) {
        let client = self.client(id);
        let number = client.sent.len() as u64;
        let payload = payload::payload(id, number, len);
        client.sent.push(Sent { payload: payload.clone(), guarantee, accepted: false });
        (number, payload)
    }

    /// A node took the whole of a client's message.
    pub fn submitted(&mut self, id: ClientId, number: u64) {
        let index = usize::try_from(number).expect("a count");
        self.client(id).sent[index].accepted = true;
        self.saw(id, What::Submitted(number));
    }

    /// A client did something or was told something.
    pub fn saw(&mut self, id: ClientId, what: What) {
        self.trace_what(id, &what);
        if let What::View { joined, left, .. } = &what {
            for (process, _) in left {
                self.processes.get(process).map(|sender| self.matched.remove(&(id, *sender)));
            }
            for (process, _) in joined.iter().filter(|(_, reason)| *reason == Reason::Join) {
                self.processes.get(process).map(|sender| self.matched.insert((id, *sender), Some(0)));
            }
        }
        let (at, step) = (self.now, self.step);
        self.client(id).seen.push(Seen { at, step, what });
    }

    /// A client was handed a message.
    pub fn delivered(&mut self, id: ClientId, from: Process, payload: &[u8], straddled: bool) {
        let content = match self.identify(id, from, payload) {
            Some(message) => Content::Sent(message),
            None => Content::Foreign { len: payload.len(), digest: trace::digest(payload) },
        };
        self.saw(id, What::Delivered { from, content, straddled });
    }

    /// Who is behind a process id.
    pub fn client_of(&self, process: Process) -> Option<&ClientHistory> {
        self.clients.get(self.processes.get(&process)?)
    }

    /// The message, if it was accepted by its sender's node.
    pub fn accepted(&self, message: MessageId) -> Option<&Sent> {
        let index = usize::try_from(message.number).ok()?;
        self.clients.get(&message.client)?.sent.get(index).filter(|sent| sent.accepted)
    }

    fn client(&mut self, id: ClientId) -> &mut ClientHistory {
        self.clients.get_mut(&id).expect("clients connect before anything else")
    }

    /// Which message of that sender has these octets. Long ones name themselves. Of short ones, many
    /// are alike: the first that fits after the last one this receiver had, or else before it; for a
    /// receiver that was away, or is new, the latest.
    fn identify(&mut self, receiver: ClientId, from: Process, payload: &[u8]) -> Option<MessageId> {
        let sender = self.clients.get(self.processes.get(&from)?)?;
        if sender.group != self.clients.get(&receiver)?.group {
            return None;
        }
        let next = self.matched.entry((receiver, sender.id)).or_default();
        let fits = |index: &usize| sender.sent.get(*index).is_some_and(|sent| sent.payload == payload);
        let index = if payload.len() >= NAMED_BYTES_MIN {
            usize::try_from(payload::number(payload)?).ok().filter(|index| fits(index))?
        } else {
            match *next {
                Some(next) => (next..sender.sent.len()).find(fits).or_else(|| (0..next).rev().find(fits))?,
                None => (0..sender.sent.len()).rev().find(fits)?,
            }
        };
        *next = (*next).max(Some(index + 1));
        Some(MessageId { client: sender.id, number: index as u64 })
    }

    fn trace_what(&mut self, id: ClientId, what: &What) {
        self.trace.number(id.0);
        match what {
            What::JoinAccepted => self.trace.number(1),
            What::LeaveAsked => self.trace.number(2),
            What::Submitted(number) => self.trace.number(*number),
            What::View { members, joined, left } => {
                members.iter().for_each(|member| self.trace.number(u64::from(member.pid)));
                for (process, reason) in joined.iter().chain(left) {
                    self.trace.number(u64::from(process.pid) << 8 | *reason as u64);
                }
            }
            What::Totem { ring, members } => {
                self.trace.number(ring.seq);
                members.iter().for_each(|member| self.trace.number(u64::from(*member)));
            }
            What::Delivered { content: Content::Sent(message), .. } => {
                self.trace.number(message.client.0);
                self.trace.number(message.number);
            }
            What::Delivered { content: Content::Foreign { digest, .. }, .. } => self.trace.number(*digest),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinAccepted => write!(f, "join accepted"),
            Self::Submitted(number) => write!(f, "submitted #{number}"),
            Self::LeaveAsked => write!(f, "asks to leave"),
            Self::View { members, joined, left } => {
                write!(f, "view")?;
                members.iter().try_for_each(|member| write!(f, " {member}"))?;
                joined.iter().try_for_each(|(process, reason)| write!(f, " +{process} {reason:?}"))?;
                left.iter().try_for_each(|(process, reason)| write!(f, " -{process} {reason:?}"))
            }
            Self::Totem { ring, members } => write!(f, "ring {ring} {members:?}"),
            Self::Delivered { from, content, straddled } => {
                match content {
                    Content::Sent(message) => write!(f, "delivered {message}")?,
                    Content::Foreign { len, .. } => write!(f, "delivered {len} foreign octets")?,
                }
                write!(f, " from {from}{}", if *straddled { " across a change" } else { "" })
            }
        }
    }
}

impl fmt::Display for ClientHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client c{} = {} in {} ({:?})", self.id.0, self.process, self.group, self.fate)
    }
}
