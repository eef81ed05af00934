//! One turn of a node: it takes in what waits, and the world carries out what it asks for.

use std::{rc::Rc, time::Duration};

use ipc::message::cpg::GroupName;
use protocol::{Instant, RingSeq};
use services::executive::{ClientChange, Effect, FlowControl, Received};

use super::{Event, World};
use crate::{
    client::Next,
    history::{End, Fate},
    machine::Machine,
    node::{ClientInput, Packet},
};

/// Whether the node still runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Running {
    Yes,
    No(End),
}

impl<M: Machine> World<M> {
    /// Lets a node work off a batch of everything, timers last: a token that waits in the socket's buffer
    /// is not lost.
    pub(super) fn turn(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.turn_at = None;
        if !node.is_up() {
            return;
        }
        let Some(mut machine) = node.machine.take() else { return };
        let now = node.clock.local(self.now).max(node.latest);
        node.latest = now;
        let name = self.verbose.then(|| self.nodes[index].identity.name.clone());
        let _span = name.map(|name| tracing::info_span!("node", %name, now = %self.now).entered());
        let mut cost = TURN_COST;
        let ended = match self.work(index, &mut machine, now, &mut cost) {
            Running::Yes => None,
            Running::No(end) => Some(end),
        };
        let timeout = machine.poll_timeout().map(|(at, _)| at);
        let node = &mut self.nodes[index];
        node.machine = Some(machine);
        node.busy_until = self.now + cost;
        if let Some(end) = ended {
            self.stop(index, end);
            return;
        }
        let reads = node.flow == FlowControl::Open
            || node.inputs.iter().any(|input| !matches!(input, ClientInput::Request(..)));
        if !node.packets.is_empty() || !node.done.is_empty() || reads && !node.inputs.is_empty() {
            self.wants_turn(index);
        }
        if let Some(timeout) = timeout {
            self.wake(index, timeout);
        }
    }

    fn work(&mut self, index: usize, machine: &mut M, now: Instant, cost: &mut Duration) -> Running {
        // A node that has just started may want something done before anything comes in.
        if let ended @ Running::No(_) = self.carry_out(index, machine) {
            return ended;
        }
        if let ended @ Running::No(_) = self.datagrams(index, machine, now, cost) {
            return ended;
        }
        while let Some(done) = self.nodes[index].done.pop_front() {
            machine.handle_done(now, done);
            if let ended @ Running::No(_) = self.carry_out(index, machine) {
                return ended;
            }
        }
        if let ended @ Running::No(_) = self.inputs(index, machine, now, cost) {
            return ended;
        }
        if std::mem::take(&mut self.nodes[index].leave_asked) {
            machine.leave(now);
            if let ended @ Running::No(_) = self.carry_out(index, machine) {
                return ended;
            }
        }
        if machine.poll_timeout().is_some_and(|(at, _)| at <= now) {
            machine.handle_timeout(now);
            if let ended @ Running::No(_) = self.carry_out(index, machine) {
                return ended;
            }
            self.judge_timeout(index, machine, now);
        } else {
            self.nodes[index].spins = 0;
        }
        Running::Yes
    }

    fn datagrams(&mut self, index: usize, machine: &mut M, now: Instant, cost: &mut Duration) -> Running {
        let node = &mut self.nodes[index];
        let count = node.packets.len().min(BATCH_MAX);
        if count == 0 {
            return Running::Yes;
        }
        let mut sources = Vec::with_capacity(count);
        self.buffers.resize_with(self.buffers.len().max(count), Vec::new);
        for (packet, buffer) in node.packets.drain(..count).zip(&mut self.buffers) {
            node.packet_bytes -= packet.datagram.len();
            sources.push(packet.source);
            buffer.clear();
            buffer.extend_from_slice(&packet.datagram);
        }
        let mut batch: Vec<Received<'_>> = sources
            .iter()
            .zip(&mut self.buffers)
            .map(|(source, buffer)| Received { source: *source, datagram: buffer.as_mut_slice() })
            .collect();
        if self.options.trace_datagrams {
            batch.iter().for_each(|received| self.history.trace().bytes(received.datagram));
        } else {
            self.history.trace().number(count as u64);
        }
        machine.handle_datagrams(now, &mut batch);
        *cost += DATAGRAM_COST * u32::try_from(count).expect("a batch is small");
        self.carry_out(index, machine)
    }

    /// Reads clients' requests as long as they may be read.
    fn inputs(&mut self, index: usize, machine: &mut M, now: Instant, cost: &mut Duration) -> Running {
        for _ in 0..INPUTS_MAX {
            let node = &mut self.nodes[index];
            let open = node.flow == FlowControl::Open;
            let readable = |input: &ClientInput| open || !matches!(input, ClientInput::Request(..));
            let Some(position) = node.inputs.iter().position(readable) else { break };
            let Some(input) = node.inputs.remove(position) else { break };
            *cost += INPUT_COST;
            match input {
                ClientInput::Joined(client) => {
                    let cpg = ipc::message::Service::Cpg;
                    machine.handle_client(now, client, ClientChange::Joined(cpg));
                }
                ClientInput::Gone(client) => machine.handle_client(now, client, ClientChange::Gone),
                ClientInput::Request(id, request, message) => {
                    if let Some(client) = self.clients.get_mut(&id) {
                        client.taken(&request);
                        // The ring has room again.
                        if client.backlog() > 0 {
                            self.schedule(self.now, Event::Act { client: id });
                        }
                    }
                    if let Some(number) = message {
                        self.log(index, || format!("c{} hands in #{number}", id.0));
                        self.history.submitted(id, number);
                    }
                    machine.handle_request(now, id, request);
                }
            }
            if let ended @ Running::No(_) = self.carry_out(index, machine) {
                return ended;
            }
        }
        Running::Yes
    }

    /// Carries out everything the machine asks for, in order.
    fn carry_out(&mut self, index: usize, machine: &mut M) -> Running {
        while let Some(effect) = machine.poll_effect() {
            if let Some(left) = &mut self.nodes[index].crash_after {
                let Some(less) = left.checked_sub(1) else { return Running::No(End::Crashed) };
                *left = less;
            }
            match effect {
                Effect::Transmit => self.transmit(index, machine),
                Effect::Store(seq) => self.store(index, seq),
                Effect::Reply { client, reply } => {
                    self.log(index, || format!("c{} is answered {reply:?}", client.0));
                    let next = self.clients.get_mut(&client);
                    let next = next.map(|client| client.handle_reply(&reply, &mut self.history));
                    self.follow(client, next);
                }
                Effect::Notify { client, event } => {
                    let next = self.clients.get_mut(&client);
                    let next = next.map(|client| client.handle_event(event, &mut self.history));
                    if self.verbose
                        && let Some(seen) = self.history.clients.get(&client).and_then(|c| c.seen.last())
                    {
                        self.log(index, || format!("c{} {}", client.0, seen.what));
                    }
                    self.follow(client, next);
                }
                Effect::Disconnect { client, cause } => {
                    self.log(index, || format!("c{} is disconnected: {cause}", client.0));
                    self.end_client(client, Fate::Died);
                }
                Effect::FlowControl(flow) => self.flow(index, flow),
                Effect::Ready => self.ready(index),
                Effect::Status(line) => self.log(index, || line),
                Effect::Left => return Running::No(End::Left),
                Effect::Refused => return Running::No(End::Refused),
            }
        }
        Running::Yes
    }

    fn transmit(&mut self, index: usize, machine: &mut M) {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        machine.drain_transmits(&mut outgoing);
        let source = self.nodes[index].identity.address;
        for out in outgoing.drain(..) {
            // What is sent to nobody's address is lost.
            let Some(&to) = self.by_address.get(&out.to) else { continue };
            let mut arrivals = std::mem::take(&mut self.arrivals);
            self.network.send(self.now, index, to, &out.datagram, &mut arrivals);
            for arrival in arrivals.drain(..) {
                let packet = Packet { source, datagram: Rc::clone(&arrival.datagram) };
                self.schedule(arrival.at, Event::Arrive { to, packet });
            }
            self.arrivals = arrivals;
        }
        self.outgoing = outgoing;
    }

    fn store(&mut self, index: usize, seq: RingSeq) {
        self.log(index, || format!("stores ring sequence {seq}"));
        let at = self.now + self.rng.duration(self.options.disk.clone());
        let node = &mut self.nodes[index];
        node.disk.store(seq);
        // Writes to one file finish in order.
        let at = at.max(node.disk_free);
        node.disk_free = at;
        let life = node.life;
        self.schedule(at, Event::Stored { node: index, life });
    }

    fn follow(&mut self, client: ipc::message::ClientId, next: Option<Next>) {
        match next {
            None | Some(Next::Wait) => {}
            Some(Next::Act) => self.schedule(self.now, Event::Act { client }),
            Some(Next::Retry) => self.schedule(self.now + RETRY, Event::Act { client }),
            Some(Next::Close) => self.end_client(client, Fate::Left),
        }
    }

    fn flow(&mut self, index: usize, flow: FlowControl) {
        self.log(index, || format!("flow control {flow:?}"));
        self.nodes[index].flow = flow;
        if flow == FlowControl::Open {
            let waiting = self.clients.values().filter(|client| client.node == index && client.backlog() > 0);
            let waiting: Vec<_> = waiting.map(|client| client.id).collect();
            for client in waiting {
                self.schedule(self.now, Event::Act { client });
            }
            self.wants_turn(index);
        }
    }

    fn ready(&mut self, index: usize) {
        self.log(index, || "is ready".to_owned());
        if std::mem::replace(&mut self.nodes[index].ready, true) {
            return;
        }
        self.connect_later(index, GroupName::new(b"watch").expect("short"), true);
        for group in self.options.groups.clone() {
            self.connect(index, group);
        }
    }

    /// Wakes a node for its timer. A wake-up that proves early is cheap, and so it is left in place.
    pub(super) fn wake(&mut self, index: usize, timeout: Instant) {
        let node = &mut self.nodes[index];
        let at = node.clock.global(timeout).max(node.busy_until);
        if at < Instant::NEVER && node.wake_at.is_none_or(|wake| at < wake) {
            node.wake_at = Some(at);
            let life = node.life;
            self.schedule(at, Event::Wake { node: index, life });
        }
    }

    /// A timer that is due again at once, over and over, would keep a real node's core busy.
    fn judge_timeout(&mut self, index: usize, machine: &mut M, now: Instant) {
        let node = &mut self.nodes[index];
        match machine.poll_timeout() {
            Some((at, wake)) if at <= now => {
                node.spins += 1;
                assert!(node.spins < SPINS_MAX, "{}: {wake:?} is due again at once", node.identity.name);
            }
            _ => node.spins = 0,
        }
    }
}

/// Datagrams read in one turn.
const BATCH_MAX: usize = 64;
/// Clients' inputs read in one turn.
const INPUTS_MAX: usize = 32;
/// Time that a turn takes at least.
const TURN_COST: Duration = Duration::from_micros(10);
/// Time for each datagram.
const DATAGRAM_COST: Duration = Duration::from_micros(3);
/// Time for each client's input.
const INPUT_COST: Duration = Duration::from_micros(3);
/// When a client repeats what was refused for now.
const RETRY: Duration = Duration::from_millis(10);
/// Timers in a row that may be due at once.
const SPINS_MAX: u32 = 100;
