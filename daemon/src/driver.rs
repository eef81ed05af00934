//! The one loop: waits until something happens, hands it to the node, carries out what the node wants.
//!
//! A turn takes a bounded amount from each source that is ready, in this order: what the disk has
//! finished, the network, local programs, the clock. Nothing in a turn waits for anybody: the disk, the
//! log and the service manager have helpers or are not waited for.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    os::fd::OwnedFd,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use ipc::server::Input;
use protocol::{Instant, RingSeq};
use services::{
    Executive,
    executive::{Done, Effect},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
    time::Sleep,
};
use tracing::{debug, error, info, warn};

use crate::{
    cli::Exit,
    clients::{self, Clients},
    clock,
    log::Limiter,
    net::{Left, Receiver, Socket},
    state_dir::{RingSeqStore, StoreFailed},
    sys,
    systemd::Manager,
};

/// A node and the world around it.
pub(crate) struct Driver {
    node: Executive,
    socket: Socket,
    /// Becomes readable when datagrams arrive.
    socket_bell: AsyncFd<OwnedFd>,
    receiver: Receiver,
    clients: Clients,
    /// Becomes readable when a client wants something.
    clients_bell: AsyncFd<OwnedFd>,
    store: RingSeqStore,
    signals: Signals,
    manager: Manager,
    sleep: Pin<Box<Sleep>>,
    /// Sequences that the node asked to store and that are stored; it has not been told yet.
    stored: VecDeque<RingSeq>,
    /// Empty between two turns; kept for its allocation.
    inputs: Vec<Input>,
    /// Turns in which something was due and was put off because the network had more.
    put_off: u32,
    /// When the service manager's watchdog wants to hear from us.
    alive_at: Option<Instant>,
    /// When to end even if the ring has not let the node go.
    leave_until: Option<Instant>,
    ending: Option<Exit>,
    receive_log: Limiter,
    store_log: Limiter,
    store_failing: bool,
}

/// The signals that the daemon reacts to.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wish {
    /// SIGTERM, SIGINT.
    End,
    /// SIGHUP.
    Reload,
}

/// Why the loop woke up.
#[derive(Debug, Default)]
struct Woken {
    network: bool,
    clients: bool,
    due: bool,
    wish: Option<Wish>,
    stored: Option<Result<Vec<RingSeq>, StoreFailed>>,
}

/// How long the node may take to leave the ring.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// For how many turns due timers wait for what has arrived already. After a pause the datagrams that
/// prove the others alive are read first, but a flood does not stop the clock for long.
const PUT_OFF_MAX: u32 = 16;

/// How long to sleep when nothing is due at all.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

impl Driver {
    /// Puts a node into its world.
    ///
    /// # Errors
    ///
    /// If the kernel does not let us wait for a descriptor.
    pub(crate) fn new(
        node: Executive,
        socket: Socket,
        clients: Clients,
        store: RingSeqStore,
        signals: Signals,
        manager: Manager,
    ) -> io::Result<Self> {
        let clients_bell = sys::watch(clients.descriptor()?)?;
        Ok(Self {
            node,
            socket_bell: sys::watch(socket.descriptor()?)?,
            socket,
            receiver: Receiver::new(),
            clients,
            clients_bell,
            store,
            signals,
            alive_at: manager.alive_interval().map(|_| clock::now()),
            manager,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            stored: VecDeque::new(),
            inputs: Vec::new(),
            put_off: 0,
            leave_until: None,
            ending: None,
            receive_log: Limiter::default(),
            store_log: Limiter::default(),
            store_failing: false,
        })
    }

    /// Turns until the node has left, or must end.
    pub(crate) async fn run(mut self) -> Exit {
        self.carry_out(clock::now());
        loop {
            let woken = poll_fn(|cx| self.poll_woken(cx)).await;
            let left = self.turn(woken);
            if let Some(exit) = self.ending {
                return exit;
            }
            self.arm(clock::now());
            if left == Left::More {
                // What is ready is known from the last look at the kernel: without another one, a source
                // that never runs dry would hide all others.
                tokio::task::yield_now().await;
            }
        }
    }

    fn poll_woken(&mut self, cx: &mut Context<'_>) -> Poll<Woken> {
        let woken = Woken {
            network: self.socket_bell.poll_read_ready(cx).is_ready(),
            clients: self.clients_bell.poll_read_ready(cx).is_ready(),
            due: self.sleep.as_mut().poll(cx).is_ready(),
            wish: self.signals.poll_wish(cx),
            stored: match self.store.poll_stored(cx) {
                Poll::Ready(outcome) => Some(outcome),
                Poll::Pending => None,
            },
        };
        if woken.network || woken.clients || woken.due || woken.wish.is_some() || woken.stored.is_some() {
            Poll::Ready(woken)
        } else {
            Poll::Pending
        }
    }

    fn turn(&mut self, woken: Woken) -> Left {
        let now = clock::now();
        if let Some(outcome) = woken.stored {
            self.on_stored(now, outcome);
        }
        // Whoever finds a timer due may have been paused: then what has arrived meanwhile goes first.
        let network =
            if woken.network || self.is_due(now) { self.take_datagrams(now) } else { Left::Nothing };
        let clients = if woken.clients { self.take_requests(now) } else { Left::Nothing };
        if let Some(wish) = woken.wish {
            self.on_wish(now, wish);
        }
        self.on_time(now, network);
        self.clients.flush();
        if clients == Left::More { clients } else { network }
    }

    fn take_datagrams(&mut self, now: Instant) -> Left {
        let node = &mut self.node;
        let received = self.receiver.receive(&self.socket, |batch| node.handle_datagrams(now, batch));
        let left = received.unwrap_or_else(|error| {
            if let Some(suppressed) = self.receive_log.admit(std::time::Instant::now()) {
                warn!(%error, suppressed, "datagrams cannot be received");
            }
            Left::Nothing
        });
        if left == Left::Nothing {
            wait_again(&self.socket_bell);
        }
        self.carry_out(now);
        left
    }

    fn take_requests(&mut self, now: Instant) -> Left {
        let mut inputs = std::mem::take(&mut self.inputs);
        let left = self.clients.poll(&mut inputs);
        for input in inputs.drain(..) {
            clients::hand_in(&mut self.node, now, input);
            self.carry_out(now);
        }
        self.inputs = inputs;
        if left == Left::Nothing {
            wait_again(&self.clients_bell);
        }
        left
    }

    fn is_due(&self, now: Instant) -> bool {
        self.node.poll_timeout().is_some_and(|(at, _)| at <= now)
    }

    /// What has its time: the node's timers, the watchdog, the end of the patience with a leave.
    fn on_time(&mut self, now: Instant, left: Left) {
        if self.is_due(now) {
            if left == Left::More && self.put_off < PUT_OFF_MAX {
                self.put_off += 1;
            } else {
                self.put_off = 0;
                self.node.handle_timeout(now);
                self.carry_out(now);
            }
        }
        if self.alive_at.is_some_and(|at| at <= now) {
            self.manager.alive();
            self.alive_at = self.manager.alive_interval().map(|interval| now + interval);
        }
        if self.leave_until.is_some_and(|at| at <= now) {
            warn!("the ring has not let this node go in time; the others will notice that it is gone");
            self.ending.get_or_insert(Exit::Done);
        }
    }

    fn on_wish(&mut self, now: Instant, wish: Wish) {
        match wish {
            Wish::Reload => info!("SIGHUP is ignored: nothing is read again while the node runs"),
            Wish::End if self.leave_until.is_some() => {
                info!("asked a second time to end: not waiting for the ring");
                self.ending = Some(Exit::Done);
            }
            Wish::End => {
                info!("asked to end: leaving the ring");
                self.manager.stopping();
                self.clients.accept(false);
                self.leave_until = Some(now + LEAVE_MAX);
                self.node.leave(now);
                self.carry_out(now);
            }
        }
    }

    fn on_stored(&mut self, now: Instant, outcome: Result<Vec<RingSeq>, StoreFailed>) {
        match outcome {
            Ok(stored) => {
                if std::mem::take(&mut self.store_failing) {
                    info!("the ring sequence is stored again");
                }
                self.stored.extend(stored);
                self.carry_out(now);
            }
            Err(error) => self.on_store_failed(&error),
        }
    }

    fn on_store_failed(&mut self, error: &StoreFailed) {
        self.store_failing = true;
        let waiting = self.store.waiting();
        if let Some(suppressed) = self.store_log.admit(std::time::Instant::now()) {
            let wanted = waiting.map(tracing::field::display);
            warn!(%error, ring.seq = wanted, suppressed, "ring sequence cannot be stored; will try again");
        }
        if waiting.is_some() {
            self.manager.status(&format!("no new ring until the state directory can be written: {error}"));
        }
    }

    /// Carries out everything that the node wants, in its order.
    fn carry_out(&mut self, now: Instant) {
        loop {
            while let Some(effect) = self.node.poll_effect() {
                self.carry_out_one(effect);
            }
            let Some(seq) = self.stored.pop_front() else { return };
            self.node.handle_done(now, Done::Stored(seq));
        }
    }

    fn carry_out_one(&mut self, effect: Effect) {
        match effect {
            Effect::Transmit => {
                let batch = self.node.transmits();
                self.socket.send_batch(batch);
                batch.clear();
            }
            Effect::Store(seq) => {
                if self.store.request(seq) {
                    self.stored.push_back(seq);
                }
            }
            Effect::Reply { client, reply } => self.clients.reply(client, &reply),
            Effect::Notify { client, event } => self.clients.notify(client, &event),
            Effect::Disconnect { client, cause } => {
                debug!(client = client.0, %cause, "disconnecting client");
                self.clients.disconnect(client);
            }
            Effect::FlowControl(flow_control) => self.clients.set_flow_control(flow_control),
            Effect::Ready => {
                info!("first synchronisation is complete: local programs are served");
                self.clients.accept(true);
                self.manager.ready();
            }
            Effect::Status(line) => self.manager.status(&line),
            Effect::Left => {
                info!("the node has left the ring");
                self.ending.get_or_insert(Exit::Done);
            }
            Effect::Refused => {
                error!("another live node of the cluster has this node's number: this one ends");
                self.ending = Some(Exit::DuplicateNode);
            }
        }
    }

    /// Sets the alarm clock, unless it rings early enough already: waking up once too often is cheaper
    /// than moving it with every token.
    fn arm(&mut self, now: Instant) {
        let node = self.node.poll_timeout().map(|(at, _)| at);
        let next = [node, self.alive_at, self.leave_until].into_iter().flatten().min();
        let wait = next.map_or(SLEEP_MAX, |at| at.since(now).min(SLEEP_MAX));
        let at = tokio::time::Instant::now() + wait;
        if self.sleep.is_elapsed() || at < self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
        }
    }
}

impl Signals {
    /// From now on these signals do not end the process.
    ///
    /// # Errors
    ///
    /// If the system does not allow that.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next wish; SIGHUP first, because nothing is heard after an end.
    fn poll_wish(&mut self, cx: &mut Context<'_>) -> Option<Wish> {
        if self.hangup.poll_recv(cx).is_ready() {
            return Some(Wish::Reload);
        }
        let terminate = self.terminate.poll_recv(cx).is_ready();
        let interrupt = self.interrupt.poll_recv(cx).is_ready();
        (terminate || interrupt).then_some(Wish::End)
    }

    /// Waits until one of them arrives.
    pub(crate) async fn wish(&mut self) -> Wish {
        poll_fn(|cx| self.poll_wish(cx).map_or(Poll::Pending, Poll::Ready)).await
    }
}

/// Nothing is left to read: forget that there was, until the kernel says so again.
fn wait_again(bell: &AsyncFd<OwnedFd>) {
    let nothing = bell.try_io(Interest::READABLE, |_| Err::<(), _>(io::ErrorKind::WouldBlock.into()));
    debug_assert!(nothing.is_err(), "it always says that nothing is left");
}
