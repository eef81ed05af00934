//! One node as the simulator drives it: `services::Executive`, or a toy.

use std::{net::SocketAddr, rc::Rc};

use ipc::message::{ClientId, Request};
use protocol::{Instant, ring::Boot};
use services::executive::{ClientChange, Done, Effect, ExecutiveSettings, Received, Wake};

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
