//! Who is at the other end of a socket, as the kernel says.
//!
//! By hand, because a peer in another process namespace has the process id 0 here, which rustix's
//! type for credentials cannot hold.

use std::{
    io,
    mem::{MaybeUninit, size_of},
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use crate::server::Credentials;

/// Who connected this socket: effective ids at that time.
pub(crate) fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<Credentials> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `credentials` has the `len` octets that the kernel may write; any octets are valid.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Credentials { pid: credentials.pid.cast_unsigned(), uid: credentials.uid, gid: credentials.gid })
}

/// Receives one datagram without waiting. Gives its size and the user who sent it, as far as the
/// socket passes credentials; a datagram longer than `into` comes from nobody.
pub(crate) fn receive_from_user(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<(usize, Option<u32>)> {
    let mut piece = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let mut control = Control { octets: [0; CONTROL_BYTES] };
    // SAFETY: zeros are a valid `msghdr`.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = CONTROL_BYTES;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `message` names one writable buffer and room for control messages, both alive.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let bytes = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    if message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Ok((0, None));
    }
    // SAFETY: the kernel has filled `message` in, and its control buffer is alive and aligned.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    if header.is_null() {
        return Ok((bytes, None));
    }
    // SAFETY: not null, so it points at a whole header in the control buffer.
    let (level, kind, len) = unsafe { ((*header).cmsg_level, (*header).cmsg_type, (*header).cmsg_len) };
    let whole = CONTROL_BYTES.min(len) >= CREDENTIALS_LEN;
    if level != libc::SOL_SOCKET || kind != libc::SCM_CREDENTIALS || !whole {
        return Ok((bytes, None));
    }
    // SAFETY: `whole`: the header's data is inside the control buffer and holds a `ucred`.
    let credentials: libc::ucred = unsafe { ptr::read_unaligned(libc::CMSG_DATA(header).cast()) };
    Ok((bytes, Some(credentials.uid)))
}

/// Room for one control message with credentials, aligned as its header wants it. Descriptors that a
/// stranger sends along do not fit, and the kernel closes them.
#[repr(C, align(8))]
struct Control {
    octets: [u8; CONTROL_BYTES],
}

// SAFETY: pure arithmetic.
const CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) } as usize;
// SAFETY: pure arithmetic.
const CREDENTIALS_LEN: usize = unsafe { libc::CMSG_LEN(size_of::<libc::ucred>() as u32) } as usize;
