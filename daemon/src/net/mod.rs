//! The network: one UDP socket, read and written in batches.
//!
//! Nothing here knows what a datagram means. A datagram that cannot be sent is counted and forgotten,
//! as if the network had lost it: the protocol above repeats what matters, and neither a full queue nor
//! a missing route may stop or slow the loop.

mod receive;
mod send;

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use quinn_udp::{UdpSockRef, UdpSocketState};
use rustix::net::sockopt;
use tracing::{debug, warn};

pub(crate) use self::receive::{Left, Receiver};
use self::send::SendLog;

/// What is asked of the kernel for each direction, in octets.
const BUFFER_BYTES: usize = 8 << 20;

/// Below this a burst of one rotation may not fit, and datagrams are lost on a healthy network.
const BUFFER_BYTES_WANTED: usize = 1 << 20;

/// A socket that refused to segment in the kernel is asked again after this long: the cause may have
/// been an address or an MTU that has changed since.
const SEGMENT_AGAIN: Duration = Duration::from_secs(30);

/// The node's socket.
#[derive(Debug)]
pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    /// Since when the kernel does not segment, if it once did.
    unsegmented_since: Option<Instant>,
    log: SendLog,
}

impl Socket {
    /// A socket on this address, with large buffers.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if no interface has the address (yet), `AddrInUse`, or what else the kernel says.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let io = UdpSocket::bind(address)?;
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        enlarge_buffers(&io);
        debug!(%address, segments = state.max_gso_segments(), coalesced = state.gro_segments(), "socket is bound");
        Ok(Self { io, state, unsegmented_since: None, log: SendLog::default() })
    }

    /// A descriptor to wait on; readable while there are datagrams.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.io.try_clone().map(OwnedFd::from)
    }

    /// Where it is bound.
    #[cfg(test)]
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.io.local_addr().expect("a bound socket has an address")
    }

    /// One call into the kernel; `segment` says where to cut `octets` into several datagrams.
    fn transmit(&mut self, to: SocketAddr, octets: &[u8], segment: Option<usize>) -> io::Result<()> {
        let transmit = quinn_udp::Transmit {
            destination: to,
            ecn: None,
            contents: octets,
            segment_size: segment,
            src_ip: None,
        };
        self.state.try_send(UdpSockRef::from(&self.io), &transmit)
    }

    /// How many datagrams one call may carry.
    fn segments_max(&mut self) -> usize {
        let max = self.state.max_gso_segments();
        if max > 1 {
            self.unsegmented_since = None;
            return max;
        }
        match self.unsegmented_since {
            None => {
                debug!("datagrams are sent one by one: the system does not segment them");
                self.unsegmented_since = Some(Instant::now());
            }
            Some(since) if since.elapsed() >= SEGMENT_AGAIN => {
                self.unsegmented_since = None;
                match UdpSocketState::new(UdpSockRef::from(&self.io)) {
                    Ok(state) => self.state = state,
                    Err(error) => debug!(%error, "socket options cannot be set again"),
                }
            }
            Some(_) => {}
        }
        self.state.max_gso_segments()
    }
}

/// Asks for large buffers, past the system's limit where the process may, and says what was granted.
fn enlarge_buffers(io: &UdpSocket) {
    let _ = sockopt::set_socket_recv_buffer_size_force(io, BUFFER_BYTES)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(io, BUFFER_BYTES));
    let _ = sockopt::set_socket_send_buffer_size_force(io, BUFFER_BYTES)
        .or_else(|_| sockopt::set_socket_send_buffer_size(io, BUFFER_BYTES));
    // The kernel doubles what was asked for, to account for its own overhead, and reports the double.
    let receive = sockopt::socket_recv_buffer_size(io).unwrap_or(0) / 2;
    let send = sockopt::socket_send_buffer_size(io).unwrap_or(0) / 2;
    debug!(receive, send, "socket buffers, in octets");
    if receive < BUFFER_BYTES_WANTED || send < BUFFER_BYTES_WANTED {
        warn!(
            receive,
            send,
            wanted = BUFFER_BYTES_WANTED,
            "socket buffers are small and bursts may be lost: raise net.core.rmem_max and net.core.wmem_max"
        );
    }
}

#[cfg(test)]
mod tests;
