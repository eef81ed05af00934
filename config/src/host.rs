//! What a configuration asks the machine it is read on.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs, UdpSocket},
    path::Path,
};

use crate::keyfile::{self, KeyFile, KeyFileError};

/// The questions. The tests answer them without a network.
pub(crate) trait Host {
    /// The addresses of a host name or of an address in text form.
    fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
    /// Whether a socket can be bound to this address.
    fn is_local(&self, address: SocketAddr) -> bool;
    /// The machine's name.
    fn host_name(&self) -> String;
    /// A user's number; `None` if there is no such user.
    fn user(&self, name: &str) -> io::Result<Option<u32>>;
    /// A group's number; `None` if there is no such group.
    fn group(&self, name: &str) -> io::Result<Option<u32>>;
    /// The cluster's secret.
    fn key(&self, path: &Path) -> Result<KeyFile, KeyFileError>;
}

/// This machine. Names may be looked up over the network, which can take seconds.
#[derive(Debug)]
pub(crate) struct ThisHost;

impl Host for ThisHost {
    fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((name, port).to_socket_addrs()?.collect())
    }

    fn is_local(&self, mut address: SocketAddr) -> bool {
        // Any free port: the configured one may be in use by the daemon that runs already.
        address.set_port(0);
        UdpSocket::bind(address).is_ok()
    }

    fn host_name(&self) -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    fn user(&self, name: &str) -> io::Result<Option<u32>> {
        Ok(nix::unistd::User::from_name(name)?.map(|user| user.uid.as_raw()))
    }

    fn group(&self, name: &str) -> io::Result<Option<u32>> {
        Ok(nix::unistd::Group::from_name(name)?.map(|group| group.gid.as_raw()))
    }

    fn key(&self, path: &Path) -> Result<KeyFile, KeyFileError> {
        keyfile::read(path)
    }
}
