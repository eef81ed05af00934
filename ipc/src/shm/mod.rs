//! The shared-memory transport: three rings a connection, and where they lie.
//!
//! All `unsafe` code of this crate is in this module: [`map`] and [`fault`] keep memory that others
//! can write to and cut at any time at arm's length, and everything above them is safe code.

mod credentials;
mod directory;
mod fault;
mod layout;
mod map;
mod ring;
mod semaphore;
#[cfg(test)]
mod tests;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::Ordering,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use rustix::fs::{self, Mode, OFlags};

pub(crate) use credentials::{peer_credentials, receive_from_user};
pub(crate) use directory::{Directory, SharedMemory, control_file};
use layout::{
    CONTROL_FILE_BYTES, CONTROL_FLOW, DATA_FILE_BYTES, DATA_PATH, FLOW_CONTROL, HEADER_FILE_BYTES,
    HEADER_PATH, PATH_BYTES, REF_COUNT, REQUEST_HEADER_FILE_BYTES, WORD_COUNT, WORDS,
};
use map::Area;
use ring::{Reader, Writer};
use semaphore::Semaphore;

pub use ring::RingError;
pub(crate) use ring::WriteError;

use crate::{
    message::{Encode, Service},
    server::Credentials,
};

/// The server's ends of a connection's rings.
#[derive(Debug)]
pub(crate) struct ServerRings {
    requests: Reader,
    replies: Writer,
    events: Writer,
    request_header: Area,
    _directory: Directory,
}

/// Where a client finds its rings: the paths that the server's answer names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RingPaths {
    pub(crate) request: String,
    pub(crate) response: String,
    pub(crate) event: String,
}

impl ServerRings {
    /// Makes the rings of one connection and gives them to the client.
    ///
    /// # Errors
    /// No space, no descriptors, or no right to give files away. Nothing is left behind.
    pub(crate) fn create(
        parent: &SharedMemory,
        service: Service,
        client: Credentials,
        descriptor: i32,
    ) -> io::Result<(Self, RingPaths)> {
        let mut directory = Directory::new(parent, client.pid, descriptor)?;
        let path = directory.path();
        let mut create = |ring: &str, header_bytes: usize| -> io::Result<[OwnedFd; 2]> {
            let [header, data] = directory::ring_files(ring, service);
            Ok([
                directory.create(header, header_bytes, client)?,
                directory.create(data, DATA_FILE_BYTES, client)?,
            ])
        };
        let [request, response, event] = RINGS;
        let files = [
            create(request, REQUEST_HEADER_FILE_BYTES)?,
            create(response, HEADER_FILE_BYTES)?,
            create(event, HEADER_FILE_BYTES)?,
        ];
        let areas = map_rings(&files)?;
        for (ring, [header, _]) in RINGS.iter().zip(&areas) {
            let [header_file, data_file] = directory::ring_files(ring, service);
            initialize(header, &format!("{path}/{header_file}"), &format!("{path}/{data_file}"));
        }
        directory.hand_over(client)?;
        let [requests, replies, events] = areas;
        let base = |ring: &str| format!("{path}/qb-{ring}-{service}");
        let paths = RingPaths { request: base(request), response: base(response), event: base(event) };
        let rings = Self {
            request_header: requests[0].clone(),
            requests: reader(requests),
            replies: writer(replies),
            events: writer(events),
            _directory: directory,
        };
        Ok((rings, paths))
    }

    /// The next request, copied once.
    pub(crate) fn read_request(&mut self, pool: &mut BytesMut) -> Result<Option<Bytes>, RingError> {
        self.requests.read(pool)
    }

    /// Answers; the client sleeps on the reply ring's semaphore.
    pub(crate) fn write_reply(&mut self, reply: &impl Encode) -> Result<(), WriteError> {
        self.replies.write(reply)
    }

    /// Tells; a doorbell has to follow.
    pub(crate) fn write_event(&mut self, event: &(impl Encode + ?Sized)) -> Result<(), WriteError> {
        self.events.write(event)
    }

    /// Says what the client may send.
    pub(crate) fn set_flow_control(&self, value: u32) {
        self.request_header.u32(FLOW_CONTROL).store(value, Ordering::Release);
    }
}

/// The client's ends of a connection's rings.
#[derive(Debug)]
pub(crate) struct ClientRings {
    requests: Writer,
    replies: Reader,
    events: Reader,
    request_header: Area,
}

impl ClientRings {
    /// Attaches to the rings that the server's answer names.
    pub(crate) fn attach(paths: &RingPaths) -> io::Result<Self> {
        let open = |base: &str| -> io::Result<[OwnedFd; 2]> {
            Ok([open_existing(&format!("{base}-header"))?, open_existing(&format!("{base}-data"))?])
        };
        let files = [open(&paths.request)?, open(&paths.response)?, open(&paths.event)?];
        let areas = map_rings(&files)?;
        for [header, _] in &areas {
            if header.u32(WORD_COUNT).load(Ordering::Acquire) != WORDS {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "rings of another size"));
            }
            header.u32(REF_COUNT).fetch_add(1, Ordering::AcqRel);
        }
        let [requests, replies, events] = areas;
        Ok(Self {
            request_header: requests[0].clone(),
            requests: writer(requests),
            replies: reader(replies),
            events: reader(events),
        })
    }

    /// Asks; a doorbell has to follow.
    pub(crate) fn write_request(&mut self, request: &impl Encode) -> Result<(), WriteError> {
        self.requests.write(request)
    }

    /// Waits for the reply.
    pub(crate) fn read_reply(
        &mut self,
        pool: &mut BytesMut,
        timeout: Duration,
    ) -> Result<Option<Bytes>, RingError> {
        self.replies.wait(pool, timeout)
    }

    /// The next event, if there is one; takes a doorbell with it.
    pub(crate) fn read_event(&mut self, pool: &mut BytesMut) -> Result<Option<Bytes>, RingError> {
        self.events.read(pool)
    }

    /// What the server lets us send.
    pub(crate) fn flow_control(&self) -> u32 {
        self.request_header.u32(FLOW_CONTROL).load(Ordering::Acquire)
    }
}

/// The control file of the socket transport: the flow-control word.
#[derive(Debug)]
pub(crate) struct Control(Area);

impl Control {
    /// Makes and maps it.
    pub(crate) fn create(
        directory: &mut Directory,
        service: Service,
        client: Credentials,
    ) -> io::Result<Self> {
        let file = directory.create(control_file(service), CONTROL_FILE_BYTES, client)?;
        Ok(Self(map_one(&file)?))
    }

    /// Maps an existing one.
    pub(crate) fn attach(path: &str) -> io::Result<Self> {
        Ok(Self(map_one(&open_existing(path)?)?))
    }

    pub(crate) fn set_flow_control(&self, value: u32) {
        self.0.u32(CONTROL_FLOW).store(value, Ordering::Release);
    }

    pub(crate) fn flow_control(&self) -> u32 {
        self.0.u32(CONTROL_FLOW).load(Ordering::Acquire)
    }

    /// Whether the client has cut the file.
    pub(crate) fn is_broken(&self) -> bool {
        self.0.is_broken()
    }
}

fn map_one(file: &OwnedFd) -> io::Result<Area> {
    let [area] = Area::map([(file.as_fd(), CONTROL_FILE_BYTES)])?;
    Ok(area)
}

/// The rings' headers and data, in the order of [`RINGS`].
fn map_rings(files: &[[OwnedFd; 2]; 3]) -> io::Result<[[Area; 2]; 3]> {
    let [[a, b], [c, d], [e, f]] = files;
    let [a, b, c, d, e, f] = Area::map([
        (a.as_fd(), REQUEST_HEADER_FILE_BYTES),
        (b.as_fd(), DATA_FILE_BYTES),
        (c.as_fd(), HEADER_FILE_BYTES),
        (d.as_fd(), DATA_FILE_BYTES),
        (e.as_fd(), HEADER_FILE_BYTES),
        (f.as_fd(), DATA_FILE_BYTES),
    ])?;
    Ok([[a, b], [c, d], [e, f]])
}

fn initialize(header: &Area, header_path: &str, data_path: &str) {
    assert!(header_path.len() < PATH_BYTES && data_path.len() < PATH_BYTES, "paths are short");
    header.copy_in(HEADER_PATH, header_path.as_bytes());
    header.copy_in(DATA_PATH, data_path.as_bytes());
    header.u32(WORD_COUNT).store(WORDS, Ordering::Relaxed);
    header.u32(REF_COUNT).store(1, Ordering::Relaxed);
    Semaphore::of(header).initialize();
}

fn open_existing(path: &str) -> io::Result<OwnedFd> {
    Ok(fs::open(path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?)
}

fn reader([header, data]: [Area; 2]) -> Reader {
    Reader::new(header, data)
}

fn writer([header, data]: [Area; 2]) -> Writer {
    Writer::new(header, data)
}

/// What the rings are called in the names of their files.
const RINGS: [&str; 3] = ["request", "response", "event"];
