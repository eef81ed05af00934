//! One node as the simulator drives it: `services::Executive`, or a toy.

use std::{net::SocketAddr, rc::Rc};

use ipc::message::{ClientId, Request};
use protocol::{Instant, links::Recipients, ring::Boot};
use services::executive::{ClientChange, Done, Effect, Executive, ExecutiveSettings, Received, Wake};

/// A datagram on its way out.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where to.
    pub to: SocketAddr,
    /// Its octets; shared, since one sealed frame often goes to every peer.
    pub datagram: Rc<[u8]>,
}

/// A whole node as one value. The calls and their rules are those of `services::Executive`: after
/// each `handle_*`, `poll_effect` is drained in order, and `now` never goes backwards.
pub trait Machine: Sized {
    /// A node in a new life.
    fn start(settings: ExecutiveSettings, boot: Boot, now: Instant) -> Self;
    /// Takes in datagrams as they came.
    fn handle_datagrams(&mut self, now: Instant, batch: &mut [Received<'_>]);
    /// Takes in a client's request.
    fn handle_request(&mut self, now: Instant, client: ClientId, request: Request);
    /// Takes in a client's coming and going.
    fn handle_client(&mut self, now: Instant, client: ClientId, change: ClientChange);
    /// Takes in the end of an effect.
    fn handle_done(&mut self, now: Instant, done: Done);
    /// Does what was due at `poll_timeout`.
    fn handle_timeout(&mut self, now: Instant);
    /// Begins to leave the ring.
    fn leave(&mut self, now: Instant);
    /// The next thing to carry out.
    fn poll_effect(&mut self) -> Option<Effect>;
    /// When to call `handle_timeout`.
    fn poll_timeout(&self) -> Option<(Instant, Wake)>;
    /// Moves the datagrams of an `Effect::Transmit` into `out`.
    fn drain_transmits(&mut self, out: &mut Vec<Outgoing>);
}

impl Machine for Executive {
    fn start(settings: ExecutiveSettings, boot: Boot, now: Instant) -> Self {
        Self::new(settings, boot, now)
    }

    fn handle_datagrams(&mut self, now: Instant, batch: &mut [Received<'_>]) {
        self.handle_datagrams(now, batch);
    }

    fn handle_request(&mut self, now: Instant, client: ClientId, request: Request) {
        self.handle_request(now, client, request);
    }

    fn handle_client(&mut self, now: Instant, client: ClientId, change: ClientChange) {
        self.handle_client(now, client, change);
    }

    fn handle_done(&mut self, now: Instant, done: Done) {
        self.handle_done(now, done);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.handle_timeout(now);
    }

    fn leave(&mut self, now: Instant) {
        self.leave(now);
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.poll_effect()
    }

    fn poll_timeout(&self) -> Option<(Instant, Wake)> {
        self.poll_timeout()
    }

    fn drain_transmits(&mut self, out: &mut Vec<Outgoing>) {
        let batch = self.transmits();
        for transmit in batch.transmits() {
            let octets = batch.bytes().get(transmit.start..transmit.start + transmit.len);
            let datagram: Rc<[u8]> = octets.expect("a place within the batch").into();
            match transmit.to {
                Recipients::All => {
                    let copies = batch.peers().iter().map(|&to| (to, Rc::clone(&datagram)));
                    out.extend(copies.map(|(to, datagram)| Outgoing { to, datagram }));
                }
                Recipients::One(to) => out.push(Outgoing { to, datagram }),
            }
        }
        batch.clear();
    }
}
