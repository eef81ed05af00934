//! A client's zero-copy buffers: files of its own that payloads are read from.
//!
//! | octets | content                                      | written by                |
//! |--------|----------------------------------------------|---------------------------|
//! | 0..4   | size of the buffer                           | the library               |
//! | 8..16  | the server's token                           | the server, at allocation |
//! | 16..56 | a multicast request without its message      | the library, before a send|
//! | 56..   | the message                                  | the application           |
//!
//! The buffers are never mapped here: reading a file that was cut is a short read, not a signal. And
//! what is called zero-copy is one copy in this way, as it is for every other message.

use std::os::fd::OwnedFd;

use bytes::Bytes;
use rustix::{
    fs::{Uid, fstat},
    io::{Errno, pread, pwrite},
};

use super::Credentials;
use crate::{
    message::{
        CsError,
        cpg::{self, ATOMIC_MESSAGE_BYTES_MAX},
    },
    shm::SharedMemory,
};

/// The buffers of one client.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    held: Vec<Buffer>,
    /// The last token given out. Tokens mean something on this connection only.
    token: u64,
}

#[derive(Debug)]
struct Buffer {
    token: u64,
    file: OwnedFd,
}

impl Buffers {
    /// Takes the file over as a buffer and writes a token into it.
    pub(super) fn allocate(
        &mut self,
        shared: &SharedMemory,
        client: Credentials,
        map_bytes: u64,
        path: &[u8],
        buffers_max: usize,
    ) -> Result<(), CsError> {
        let name =
            path.strip_prefix(DIRECTORY).filter(|name| name.starts_with(NAME) && !name.contains(&b'/'));
        let name = name.ok_or(CsError::InvalidParam)?;
        let file = shared.take_file(name, Uid::from_raw(client.uid)).map_err(CsError::from_errno)?;
        let size = fstat(&file).map_err(CsError::from_errno)?.st_size.cast_unsigned();
        if !(HEADER_BYTES as u64..=BUFFER_BYTES_MAX).contains(&map_bytes) || size < map_bytes {
            return Err(CsError::InvalidParam);
        }
        if self.held.len() >= buffers_max {
            return Err(CsError::NoResources);
        }
        let token = self.token + 1;
        let written = pwrite(&file, &token.to_ne_bytes(), TOKEN_OFFSET).map_err(CsError::from_errno)?;
        if written != size_of::<u64>() {
            return Err(CsError::NoSpace);
        }
        self.token = token;
        self.held.push(Buffer { token, file });
        Ok(())
    }

    /// Forgets a buffer.
    pub(super) fn free(&mut self, token: u64) -> Result<(), CsError> {
        let place = self.held.iter().position(|buffer| buffer.token == token).ok_or(CsError::NotExist)?;
        self.held.remove(place);
        Ok(())
    }

    /// The multicast that waits in a buffer.
    pub(super) fn execute(&self, token: u64) -> Result<cpg::Request, CsError> {
        let buffer = self.held.iter().find(|buffer| buffer.token == token).ok_or(CsError::InvalidParam)?;
        let mut header = [0; HEADER_BYTES];
        read_whole(&buffer.file, &mut header, 0).map_err(CsError::from_errno)?;
        let number =
            |offset: usize| header.get(offset..)?.first_chunk().map(|octets| u32::from_ne_bytes(*octets));
        let (Some(guarantee), Some(bytes)) = (number(GUARANTEE_OFFSET), number(LENGTH_OFFSET)) else {
            return Err(CsError::InvalidParam);
        };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if bytes > ATOMIC_MESSAGE_BYTES_MAX {
            return Err(CsError::TooBig);
        }
        let mut message = vec![0; bytes];
        read_whole(&buffer.file, &mut message, HEADER_BYTES as u64).map_err(CsError::from_errno)?;
        Ok(cpg::Request::ZeroCopyExecute { guarantee, message: Bytes::from(message) })
    }
}

/// Reads all of it, or fails: a file that is too short is the client's fault.
fn read_whole(file: &OwnedFd, into: &mut [u8], offset: u64) -> Result<(), Errno> {
    let mut done = 0;
    while done < into.len() {
        match pread(file, &mut into[done..], offset + done as u64) {
            Ok(0) => return Err(Errno::INVAL),
            Ok(some) => done += some,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

const DIRECTORY: &[u8] = b"/dev/shm/";
const NAME: &[u8] = b"corosync_zerocopy-";
const HEADER_BYTES: usize = 56;
const TOKEN_OFFSET: u64 = 8;
const GUARANTEE_OFFSET: usize = 40;
const LENGTH_OFFSET: usize = 48;
/// Largest buffer. Applications may ask for more than one message can hold.
const BUFFER_BYTES_MAX: u64 = 64 * 1024 * 1024;
