//! How a connection begins: names of the sockets, the client's 24 octets and the server's 12,328.

use rustix::{io::Errno, net::SocketAddrUnix};

use crate::message::{MESSAGE_BYTES_MAX, Service};

/// Which way messages go once a connection stands. The numbers are those of the reply.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Transport {
    /// Rings in shared memory: fast, and what pacemaker insists on.
    #[default]
    SharedMemory = 1,
    /// Datagram sockets.
    Socket = 0,
}

/// The address with this abstract name, filled with zeros to its full length as libqb does it: the
/// padding is part of an abstract name.
///
/// # Errors
/// The name is longer than an address.
pub(crate) fn abstract_address(name: &str) -> Result<SocketAddrUnix, Errno> {
    let mut padded = [0; ABSTRACT_NAME_BYTES];
    padded.get_mut(..name.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(name.as_bytes());
    SocketAddrUnix::new_abstract_name(&padded)
}

/// The name of a service's socket. An instance's name keeps several daemons of one network
/// namespace apart.
pub(crate) fn socket_name(instance: Option<&str>, service: Service) -> String {
    match instance {
        Some(instance) => format!("{instance}-{service}"),
        None => service.to_string(),
    }
}

/// A client's first octets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hello {
    /// Largest message that it wants to send or receive.
    pub(crate) message_bytes_max: u32,
}

impl Hello {
    pub(crate) const BYTES: usize = 24;

    /// What every library of corosync asks for.
    pub(crate) const USUAL: Self = Self { message_bytes_max: MESSAGE_BYTES_MAX as u32 };

    pub(crate) fn encode(self) -> [u8; Self::BYTES] {
        let mut octets = [0; Self::BYTES];
        octets[0..4].copy_from_slice(&AUTHENTICATE.to_ne_bytes());
        octets[8..12].copy_from_slice(&(Self::BYTES as u32).to_ne_bytes());
        octets[16..20].copy_from_slice(&self.message_bytes_max.to_ne_bytes());
        octets
    }

    /// `None` if it is no request for authentication.
    pub(crate) fn decode(octets: &[u8; Self::BYTES]) -> Option<Self> {
        let [a, b, c, d, ..] = *octets;
        if i32::from_ne_bytes([a, b, c, d]) != AUTHENTICATE {
            return None;
        }
        let message_bytes_max = u32::from_ne_bytes(*octets[16..].first_chunk()?);
        Some(Self { message_bytes_max })
    }
}

/// The server's answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Welcome {
    /// The connection stands. What the paths mean depends on the transport.
    Granted {
        /// How messages go.
        transport: Transport,
        /// Shared memory: base of the request ring's files. Socket: the control file.
        request: String,
        /// Shared memory: base of the reply ring's files. Socket: base of the socket names.
        response: String,
        /// Shared memory: base of the event ring's files. Socket: empty.
        event: String,
    },
    /// It does not, for this reason.
    Refused(Errno),
}

impl Welcome {
    pub(crate) const BYTES: usize = 12_328;

    /// The answer as the one piece in which it has to be sent.
    pub(crate) fn encode(&self) -> Box<[u8]> {
        let mut octets = vec![0; Self::BYTES].into_boxed_slice();
        octets[0..4].copy_from_slice(&AUTHENTICATE.to_ne_bytes());
        octets[8..12].copy_from_slice(&(Self::BYTES as u32).to_ne_bytes());
        match self {
            Self::Granted { transport, request, response, event } => {
                octets[24..28].copy_from_slice(&(*transport as u32).to_ne_bytes());
                octets[28..32].copy_from_slice(&(MESSAGE_BYTES_MAX as u32).to_ne_bytes());
                for (offset, path) in [(40, request), (4136, response), (8232, event)] {
                    octets[offset..offset + path.len()].copy_from_slice(path.as_bytes());
                }
            }
            // Negative: with a positive number the libraries believe that all went well.
            Self::Refused(errno) => octets[16..20].copy_from_slice(&(-errno.raw_os_error()).to_ne_bytes()),
        }
        octets
    }

    /// `None` if the octets are no answer of a server.
    pub(crate) fn decode(octets: &[u8]) -> Option<Self> {
        let number = |offset: usize| Some(i32::from_ne_bytes(*octets.get(offset..)?.first_chunk()?));
        if octets.len() != Self::BYTES || number(0)? != AUTHENTICATE {
            return None;
        }
        let error = number(16)?;
        if error != 0 {
            return Some(Self::Refused(Errno::from_raw_os_error(error.checked_abs()?)));
        }
        let path = |offset: usize| {
            let field = octets.get(offset..offset + PATH_BYTES)?;
            let text = field.split(|&octet| octet == 0).next()?;
            String::from_utf8(text.to_vec()).ok()
        };
        Some(Self::Granted {
            transport: match number(24)? {
                0 => Transport::Socket,
                1 => Transport::SharedMemory,
                _ => return None,
            },
            request: path(40)?,
            response: path(4136)?,
            event: path(8232)?,
        })
    }
}

const AUTHENTICATE: i32 = -1;
const PATH_BYTES: usize = 4096;
/// All of `sun_path` but its first zero.
const ABSTRACT_NAME_BYTES: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abstract_name_fills_its_address() {
        let address = abstract_address("cpg").expect("short");
        let mut expected = [0; 107];
        expected[..3].copy_from_slice(b"cpg");
        assert_eq!(address.abstract_name(), Some(&expected[..]));
        assert!(abstract_address(&"x".repeat(108)).is_err());
    }

    #[test]
    fn instances_have_their_own_sockets() {
        assert_eq!(socket_name(None, Service::Cpg), "cpg");
        assert_eq!(socket_name(Some("b"), Service::Cpg), "b-cpg");
    }

    #[test]
    fn a_hello_is_24_octets() {
        let mut expected = [0; 24];
        expected[..4].fill(0xFF);
        expected[8] = 24;
        expected[18] = 0x10;
        assert_eq!(Hello::USUAL.encode(), expected);
        assert_eq!(Hello::decode(&expected), Some(Hello::USUAL));
        expected[0] = 0;
        assert_eq!(Hello::decode(&expected), None);
    }

    #[test]
    fn a_refusal_is_a_negative_errno_and_zeros() {
        let octets = Welcome::Refused(Errno::ACCESS).encode();
        assert_eq!(octets.len(), 12_328);
        assert_eq!(octets[16..20], (-13_i32).to_le_bytes());
        assert!(octets[20..].iter().all(|&octet| octet == 0));
        assert_eq!(Welcome::decode(&octets), Some(Welcome::Refused(Errno::ACCESS)));
    }

    #[test]
    fn a_welcome_names_three_paths() {
        let [request, response, event] = ["/d/a", "/d/b", "/d/c"].map(String::from);
        let welcome = Welcome::Granted { transport: Transport::SharedMemory, request, response, event };
        let octets = welcome.encode();
        assert_eq!(octets.len(), 12_328);
        assert_eq!(octets[16..32], [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 16, 0]);
        assert_eq!(octets[40..45], *b"/d/a\0");
        assert_eq!(octets[4136..4141], *b"/d/b\0");
        assert_eq!(octets[8232..8237], *b"/d/c\0");
        assert_eq!(Welcome::decode(&octets), Some(welcome));
        assert_eq!(Welcome::decode(&octets[1..]), None);
    }
}
