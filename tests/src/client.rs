//! A virtual program that uses cpg: joins one group, sends, and keeps what it is told.
//!
//! It behaves like libcpg over shared memory: it looks at the flow control before a multicast, takes
//! `TRY_AGAIN` for what it is, sends what is too large for one piece in fragments, and puts fragments
//! together again.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ipc::message::{
    ClientId, CsError, Event, Reply, Request,
    cpg::{self, ATOMIC_MESSAGE_BYTES_MAX, Fragment, GroupName, JOIN_INITIAL_TOTEM_CONF, Reason},
};
use protocol::ring::Guarantee;
use services::executive::FlowControl;

use crate::{
    history::{History, Process, RingName, What},
    workload::Workload,
};

/// How far a client has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It has to ask to join.
    New,
    /// It asked and waits for the reply.
    Joining,
    /// The reply was OK, the join itself was not seen yet.
    Accepted,
    /// In the group.
    Joined,
    /// It will ask to leave once everything is sent.
    Departing,
    /// It asked.
    Leaving,
    /// Not connected any more.
    Gone,
}

/// What a client puts into its request ring.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request.
    pub request: Request,
    /// The message that is complete with it. Counts as accepted when the node takes a multicast, which
    /// has no reply; a fragmented message when the reply says so.
    pub message: Option<u64>,
}

/// What follows from something a client was told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// Nothing.
    Wait,
    /// It may have something to do at once.
    Act,
    /// It was refused for now and tries again later.
    Retry,
    /// It saw itself leave and closes its connection.
    Close,
}

/// A message that goes out in fragments.
#[derive(Debug)]
struct Partial {
    number: u64,
    guarantee: u32,
    payload: Bytes,
    sent: usize,
    waiting: bool,
}

/// A message that comes in fragments.
#[derive(Debug, Default)]
struct Assembly {
    octets: Vec<u8>,
    straddled: bool,
}

/// One connection and the program behind it.
#[derive(Debug)]
pub struct Client {
    /// The connection.
    pub id: ClientId,
    /// Index of its node.
    pub node: usize,
    /// Its process id.
    pub pid: u32,
    /// Its group.
    pub group: GroupName,
    /// How far it has come.
    pub state: State,
    /// What it does by itself.
    pub workload: Option<Workload>,
    /// It only watches.
    pub watcher: bool,
    /// Octets in its request ring that the node has not read.
    pub queued_bytes: usize,
    /// The last ring it was told of, and its members.
    pub ring: Option<(RingName, Vec<u32>)>,
    /// The group as it was told last.
    pub view: Vec<Process>,
    outbox: VecDeque<(usize, Guarantee)>,
    partial: Option<Partial>,
    assemblies: BTreeMap<Process, Assembly>,
}

impl Client {
    /// A program that has just connected.
    pub fn new(id: ClientId, node: usize, pid: u32, group: GroupName, watcher: bool) -> Self {
        Self {
            id,
            node,
            pid,
            group,
            state: State::New,
            workload: None,
            watcher,
            queued_bytes: 0,
            ring: None,
            view: Vec::new(),
            outbox: VecDeque::new(),
            partial: None,
            assemblies: BTreeMap::new(),
        }
    }

    /// It wants to send a message of this size.
    pub fn wants(&mut self, len: usize, guarantee: Guarantee) {
        self.outbox.push_back((len, guarantee));
    }

    /// Messages it still has to hand in.
    pub fn backlog(&self) -> usize {
        self.outbox.len() + usize::from(self.partial.is_some())
    }

    /// It is going to leave.
    pub fn departs(&mut self) {
        if matches!(self.state, State::Joined | State::Accepted) {
            self.state = State::Departing;
        }
    }

    /// The next request, if there is something to ask and it is allowed.
    pub fn poll_request(&mut self, flow: FlowControl, history: &mut History) -> Option<Asked> {
        if self.queued_bytes >= REQUEST_RING_BYTES {
            return None;
        }
        let asked = match self.state {
            State::New => {
                self.state = State::Joining;
                let (group, pid) = (Some(self.group), self.pid);
                let join = cpg::Request::Join { group, pid, flags: JOIN_INITIAL_TOTEM_CONF };
                Asked { request: Request::Cpg(join), message: None }
            }
            State::Accepted | State::Joined => self.message(flow, history)?,
            State::Departing if self.backlog() > 0 => self.message(flow, history)?,
            State::Departing => {
                self.state = State::Leaving;
                history.saw(self.id, What::LeaveAsked);
                let leave = cpg::Request::Leave { group: Some(self.group), pid: self.pid };
                Asked { request: Request::Cpg(leave), message: None }
            }
            State::Joining | State::Leaving | State::Gone => return None,
        };
        self.queued_bytes += request_bytes(&asked.request);
        Some(asked)
    }

    /// The node read a request from its ring.
    pub fn taken(&mut self, request: &Request) {
        self.queued_bytes = self.queued_bytes.saturating_sub(request_bytes(request));
    }

    /// The node answered.
    pub fn handle_reply(&mut self, reply: &Reply, history: &mut History) -> Next {
        if self.state == State::Gone {
            return Next::Wait;
        }
        match reply {
            Reply::Cpg(cpg::Reply::Join(CsError::Ok)) => {
                history.saw(self.id, What::JoinAccepted);
                if self.state == State::Joining {
                    self.state = State::Accepted;
                }
                Next::Act
            }
            Reply::Cpg(cpg::Reply::Join(CsError::TryAgain)) | Reply::Refused(CsError::TryAgain)
                if self.state == State::Joining =>
            {
                self.state = State::New;
                Next::Retry
            }
            Reply::Cpg(cpg::Reply::Leave(CsError::TryAgain | CsError::Busy))
            | Reply::Refused(CsError::TryAgain)
                if self.state == State::Leaving =>
            {
                self.state = State::Departing;
                Next::Retry
            }
            Reply::Cpg(cpg::Reply::Leave(CsError::Ok)) => Next::Wait,
            Reply::Cpg(cpg::Reply::PartialMulticast(result)) => self.fragment_answered(*result, history),
            Reply::Refused(CsError::TryAgain) if self.partial.is_some() => {
                self.fragment_answered(CsError::TryAgain, history)
            }
            unexpected => panic!("c{} in state {:?} was answered {unexpected:?}", self.id.0, self.state),
        }
    }

    /// The node told it something.
    pub fn handle_event(&mut self, event: Event, history: &mut History) -> Next {
        let Event::Cpg(event) = event;
        if self.state == State::Gone {
            return Next::Wait;
        }
        match event {
            cpg::Event::Deliver { nodeid, pid, message, .. } => {
                history.delivered(self.id, Process { node: nodeid, pid }, &message, false);
                Next::Wait
            }
            cpg::Event::PartialDeliver { nodeid, pid, kind, fragment, message_bytes, .. } => {
                self.fragment_delivered(
                    Process { node: nodeid, pid },
                    kind,
                    &fragment,
                    message_bytes,
                    history,
                );
                Next::Wait
            }
            cpg::Event::ConfigurationChange { members, joined, left, .. } => {
                self.changed(&members, &joined, &left, history)
            }
            cpg::Event::TotemConfigurationChange { ring, members } => {
                let name = RingName { seq: ring.seq, rep: ring.nodeid };
                self.ring = Some((name, members.clone()));
                history.saw(self.id, What::Totem { ring: name, members });
                Next::Wait
            }
        }
    }

    /// The next multicast or fragment.
    fn message(&mut self, flow: FlowControl, history: &mut History) -> Option<Asked> {
        if flow != FlowControl::Open {
            return None;
        }
        if self.partial.is_none() {
            let (len, guarantee) = self.outbox.pop_front()?;
            let (number, payload) = history.made(self.id, guarantee, len);
            // Both guarantees have two numbers in cpg: unordered and fifo are delivered as agreed.
            let guarantee = match guarantee {
                Guarantee::Safe => 3,
                Guarantee::Agreed => u32::try_from(number % 3).expect("below three"),
            };
            if len <= ATOMIC_MESSAGE_BYTES_MAX {
                let request = Request::Cpg(cpg::Request::Multicast { guarantee, message: payload });
                return Some(Asked { request, message: Some(number) });
            }
            self.partial = Some(Partial { number, guarantee, payload, sent: 0, waiting: false });
        }
        self.fragment()
    }

    fn fragment(&mut self) -> Option<Asked> {
        let partial = self.partial.as_mut().filter(|partial| !partial.waiting)?;
        let end = (partial.sent + ATOMIC_MESSAGE_BYTES_MAX).min(partial.payload.len());
        let kind = match (partial.sent, end == partial.payload.len()) {
            (0, _) => Fragment::First,
            (_, true) => Fragment::Last,
            (_, false) => Fragment::Continued,
        };
        let fragment = partial.payload.slice(partial.sent..end);
        partial.sent = end;
        partial.waiting = true;
        let message_bytes = u32::try_from(partial.payload.len()).expect("payloads are small");
        let (guarantee, kind) = (partial.guarantee, Some(kind));
        let request = cpg::Request::PartialMulticast { guarantee, message_bytes, kind, fragment };
        Some(Asked { request: Request::Cpg(request), message: None })
    }

    /// Goes on with the next fragment, or gives the message up, as libcpg does.
    fn fragment_answered(&mut self, result: CsError, history: &mut History) -> Next {
        let Some(partial) = self.partial.as_mut() else { return Next::Wait };
        partial.waiting = false;
        let complete = partial.sent == partial.payload.len();
        match result {
            CsError::Ok if complete => {
                history.submitted(self.id, partial.number);
                self.partial = None;
            }
            CsError::Ok => {}
            CsError::TryAgain | CsError::Interrupt => self.partial = None,
            unexpected => panic!("c{}: a fragment was answered {unexpected}", self.id.0),
        }
        Next::Act
    }

    fn fragment_delivered(
        &mut self,
        from: Process,
        kind: Fragment,
        fragment: &[u8],
        message_bytes: u32,
        history: &mut History,
    ) {
        if kind == Fragment::First {
            self.assemblies.insert(from, Assembly::default());
        }
        let Some(assembly) = self.assemblies.get_mut(&from) else { return };
        assembly.octets.extend_from_slice(fragment);
        if kind == Fragment::Last
            && let Some(assembly) = self.assemblies.remove(&from)
        {
            assert_eq!(assembly.octets.len(), message_bytes as usize, "c{}: fragments add up", self.id.0);
            history.delivered(self.id, from, &assembly.octets, assembly.straddled);
        }
    }

    fn changed(
        &mut self,
        members: &[cpg::Address],
        joined: &[cpg::Address],
        left: &[cpg::Address],
        history: &mut History,
    ) -> Next {
        let processes = |list: &[cpg::Address]| list.iter().map(|entry| Process::from(*entry)).collect();
        let reasons = |list: &[cpg::Address]| -> Vec<(Process, Reason)> {
            list.iter().map(|entry| (Process::from(*entry), entry.reason)).collect()
        };
        let (joined, left) = (reasons(joined), reasons(left));
        self.view = processes(members);
        history.saw(
            self.id,
            What::View { members: self.view.clone(), joined: joined.clone(), left: left.clone() },
        );
        for assembly in self.assemblies.values_mut() {
            assembly.straddled = true;
        }
        for (gone, _) in &left {
            self.assemblies.remove(gone);
        }
        let me = |list: &[(Process, Reason)]| list.iter().any(|(process, _)| process.pid == self.pid);
        if me(&left) {
            return Next::Close;
        }
        if me(&joined) && matches!(self.state, State::Joining | State::Accepted) {
            self.state = State::Joined;
        }
        Next::Act
    }
}

/// Room that a request takes in the ring.
fn request_bytes(request: &Request) -> usize {
    let payload = match request {
        Request::Cpg(cpg::Request::Multicast { message, .. }) => message.len(),
        Request::Cpg(cpg::Request::PartialMulticast { fragment, .. }) => fragment.len(),
        _ => 0,
    };
    payload + 200
}

/// What libqb's request ring of a cpg connection holds.
const REQUEST_RING_BYTES: usize = 1 << 20;
