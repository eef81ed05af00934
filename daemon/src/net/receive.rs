//! Datagrams in, a batch for each call into the kernel.

use std::{
    io::{self, IoSliceMut},
    task::Poll,
};

use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef};
use services::executive::Received;

use super::Socket;

/// The buffers that datagrams are received into, used again and again.
pub(crate) struct Receiver {
    octets: Box<[u8]>,
    meta: [RecvMeta; BATCH_SIZE],
    /// Always empty between two batches; kept for its allocation.
    datagrams: Vec<Received<'static>>,
}

/// What the kernel may put into one buffer: datagrams of one sender, coalesced up to the largest UDP payload.
const BUFFER_BYTES: usize = 1 << 16;

/// How much of what had arrived a batch has taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Left {
    /// Nothing is left; the kernel will say when more comes.
    Nothing,
    /// Perhaps there is more.
    More,
}

impl Receiver {
    /// Buffers for a full batch. Their pages are taken from the system when they are first used.
    pub(crate) fn new() -> Self {
        Self {
            octets: vec![0; BATCH_SIZE * BUFFER_BYTES].into_boxed_slice(),
            meta: [RecvMeta::default(); BATCH_SIZE],
            datagrams: Vec::new(),
        }
    }

    /// Hands a batch of what has arrived to `deliver`, cut into the datagrams that were sent. `deliver` is
    /// not called if there is nothing. Never waits.
    ///
    /// # Errors
    ///
    /// What the kernel says about the socket. The socket can be used on; nothing is known to be left.
    pub(crate) fn receive(
        &mut self,
        socket: &Socket,
        deliver: impl FnOnce(&mut [Received<'_>]),
    ) -> io::Result<Left> {
        let Poll::Ready(count) = self.fill(socket)? else { return Ok(Left::Nothing) };
        let mut datagrams = emptied(std::mem::take(&mut self.datagrams));
        for (buffer, meta) in self.octets.chunks_exact_mut(BUFFER_BYTES).zip(&self.meta[..count]) {
            // A stride of zero cannot be cut by, and an empty datagram holds nothing to handle.
            let (Some(filled), 1..) = (buffer.get_mut(..meta.len), meta.stride) else { continue };
            let cut = filled.chunks_mut(meta.stride);
            datagrams.extend(cut.map(|datagram| Received { source: meta.addr, datagram }));
        }
        if !datagrams.is_empty() {
            deliver(&mut datagrams);
        }
        self.datagrams = emptied(datagrams);
        Ok(if count < BATCH_SIZE { Left::Nothing } else { Left::More })
    }

    fn fill(&mut self, socket: &Socket) -> io::Result<Poll<usize>> {
        let mut buffers = self.octets.chunks_exact_mut(BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(buffers.next().unwrap_or_default()));
        match socket.state.recv(UdpSockRef::from(&socket.io), &mut slices, &mut self.meta) {
            Ok(count) => Ok(Poll::Ready(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Poll::Pending),
            Err(error) => Err(error),
        }
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

/// The same allocation for another lifetime: collecting an emptied vector's iterator keeps its memory.
fn emptied<'a>(mut datagrams: Vec<Received<'_>>) -> Vec<Received<'a>> {
    datagrams.clear();
    datagrams.into_iter().map(|_| unreachable!("the vector was emptied")).collect()
}
