//! Where things stand in a ring's two files. libqb 2 on 64-bit little-endian Linux with glibc.
//!
//! Header file:
//!
//! | octets       | field        | note                                                     |
//! |--------------|--------------|----------------------------------------------------------|
//! | 0..4         | write index  | word of the next chunk; the writer's                     |
//! | 4..8         | read index   | word of the oldest chunk; the reader's                   |
//! | 8..12        | word count   | of the data file                                         |
//! | 12..4108     | header path  | clients compare its directory with that of the data path |
//! | 4108..8204   | data path    | what clients open                                        |
//! | 8204..8208   | ref count    | 1; 2 once a client is attached, or it refuses to send    |
//! | 8208..8240   | semaphore    | counts chunks, see [`super::semaphore`]                  |
//! | 8240..8244   | flow control | in the request ring: what clients may send               |
//!
//! The data file is a ring of 32-bit words. A chunk is its length in octets, a magic number and the
//! payload, padded to a whole word; all word indexes wrap, those of length and magic too.

use crate::message::MESSAGE_BYTES_MAX;

#[cfg(not(all(target_pointer_width = "64", target_endian = "little")))]
compile_error!("the layouts of shared memory are those of 64-bit little-endian machines");

pub(super) const WRITE_INDEX: usize = 0;
pub(super) const READ_INDEX: usize = 4;
pub(super) const WORD_COUNT: usize = 8;
pub(super) const HEADER_PATH: usize = 12;
pub(super) const DATA_PATH: usize = 4108;
pub(super) const PATH_BYTES: usize = 4096;
pub(super) const REF_COUNT: usize = 8204;
pub(super) const SEMAPHORE: usize = 8208;
pub(super) const FLOW_CONTROL: usize = 8240;

/// Size of the request ring's header file. Clients cut it to this size.
pub(super) const REQUEST_HEADER_FILE_BYTES: usize = 8252;
/// Size of the other two rings' header files. Clients cut them to this size.
pub(super) const HEADER_FILE_BYTES: usize = 8248;

/// Size of a data file. Clients compute it from the largest message and cut the file to that.
pub(super) const DATA_FILE_BYTES: usize = (MESSAGE_BYTES_MAX + 13).next_multiple_of(4096);
/// Words of a data file.
pub(super) const WORDS: u32 = (DATA_FILE_BYTES / 4) as u32;

/// Words in front of a chunk's payload.
pub(super) const CHUNK_HEADER_WORDS: u32 = 2;
/// What a chunk of n octets needs to be free is n octets and this.
pub(super) const CHUNK_MARGIN_BYTES: usize = 12;

/// A chunk that is being filled.
pub(super) const MAGIC_RESERVED: u32 = 0xA110_CED0;
/// A chunk that can be read.
pub(super) const MAGIC_COMMITTED: u32 = 0xA1A1_A1A1;
/// A chunk that was read.
pub(super) const MAGIC_CONSUMED: u32 = 0xD0D0_D0D0;

/// The layout of a control file of the socket transport: flow control of the requests.
pub(super) const CONTROL_FILE_BYTES: usize = 24;
/// The flow-control word of a control file.
pub(super) const CONTROL_FLOW: usize = 4;

const _: () = {
    assert!(DATA_FILE_BYTES == 1_052_672);
    assert!(WORDS == 263_168);
};
