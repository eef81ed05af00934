//! A client of the cfg service.

use std::{net::IpAddr, time::Duration};

pub use super::ClientError;
use super::{Connection, Urgency};
use crate::message::{
    self, CsError, Service,
    cfg::{Reply, Request},
};

pub use crate::message::cfg::{Interface, LinkStatus, NodeStatus};

/// A connection to the cfg service.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
}

impl Client {
    /// Connects to the daemon of this instance (see
    /// [`ServerSettings::instance`](crate::server::ServerSettings::instance)).
    ///
    /// # Errors
    /// [`ClientError::NotRunning`], also if the daemon has no such service; [`ClientError::NotReady`] or
    /// [`ClientError::Refused`]. All at once.
    pub fn connect(instance: Option<&str>) -> Result<Self, ClientError> {
        Ok(Self { connection: Connection::open(instance, Service::Cfg)? })
    }

    /// The number of the daemon's node.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn local_get(&mut self) -> Result<u32, ClientError> {
        match self.ask(&Request::LocalGet)? {
            Reply::LocalGet { nodeid } => Ok(nodeid),
            _ => Err(ClientError::Service(CsError::Library)),
        }
    }

    /// Where a node is reached; 0 is the daemon's own.
    ///
    /// # Errors
    /// [`CsError::NotExist`]: it is not configured. The connection is gone.
    pub fn node_addresses(&mut self, nodeid: u32) -> Result<Vec<IpAddr>, ClientError> {
        match self.ask(&Request::GetNodeAddrs { nodeid })? {
            Reply::GetNodeAddrs(addresses) => addresses.map_err(ClientError::Service),
            _ => Err(ClientError::Service(CsError::Library)),
        }
    }

    /// The links to a node as the daemon sees them.
    ///
    /// # Errors
    /// [`CsError::FailedOperation`]: it is not configured. The connection is gone.
    pub fn node_status(&mut self, nodeid: u32) -> Result<NodeStatus, ClientError> {
        match self.ask(&Request::NodeStatusGet { nodeid, version: NodeStatus::VERSION })? {
            Reply::NodeStatusGet(status) => status.map_err(ClientError::Service),
            _ => Err(ClientError::Service(CsError::Library)),
        }
    }

    /// All links in the short form of [`Interface::status`].
    ///
    /// # Errors
    /// The connection is gone.
    pub fn ring_status(&mut self) -> Result<Vec<Interface>, ClientError> {
        match self.ask(&Request::RingStatusGet)? {
            Reply::RingStatusGet(interfaces) => Ok(interfaces),
            _ => Err(ClientError::Service(CsError::Library)),
        }
    }

    /// Asks until the answer is another than "not now".
    fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        loop {
            let octets = self.connection.ask(request, Urgency::Other)?;
            match message::Reply::decode_cfg(request, octets)? {
                message::Reply::Cfg(reply) => return Ok(reply),
                message::Reply::Refused(CsError::TryAgain) => self.connection.pause(RETRY_PAUSE)?,
                message::Reply::Refused(error) => return Err(ClientError::Service(error)),
                message::Reply::Cpg(_) => return Err(ClientError::Service(CsError::Library)),
            }
        }
    }
}

/// How often we ask again while the daemon says "not now".
const RETRY_PAUSE: Duration = Duration::from_millis(1);
