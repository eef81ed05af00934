//! The cfg service: what a node knows of its cluster's addresses and links.
//!
//! Everything here is answered at once from this node's own knowledge. Commands to the daemons
//! (reload, shutdown, kill and so on) are refused as not supported.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipc::message::{
    ClientId, CsError, Reply as AnyReply,
    cfg::{Interface, LinkStatus, NodeStatus, Reply, Request},
};
use protocol::{NodeId, ring::PeerChange};
use tracing::trace;

use crate::{executive::DisconnectCause, service::Outbox};

/// The service of one node.
#[derive(Debug)]
pub(crate) struct Cfg {
    node: NodeId,
    address: IpAddr,
    peers: BTreeMap<NodeId, Peer>,
    /// Largest frame in octets.
    frame_bytes_max: u32,
    clients: BTreeSet<ClientId>,
}

/// Another node of the configuration.
#[derive(Clone, Copy, Debug)]
struct Peer {
    address: IpAddr,
    /// It answers on its link.
    connected: bool,
}

/// What knet says of the way from a node to itself, which has no limit.
const LOOPBACK_MTU: u32 = 65_535;

impl Cfg {
    /// A service without clients, of a node that has heard of none of its peers yet. Links carry frames
    /// of at most `frame_bytes_max` octets.
    pub(crate) fn new(
        node: NodeId,
        address: IpAddr,
        peers: impl IntoIterator<Item = (NodeId, IpAddr)>,
        frame_bytes_max: usize,
    ) -> Self {
        let peer = |(node, address)| (node, Peer { address, connected: false });
        Self {
            node,
            address,
            peers: peers.into_iter().map(peer).collect(),
            frame_bytes_max: u32::try_from(frame_bytes_max).unwrap_or(u32::MAX),
            clients: BTreeSet::new(),
        }
    }

    /// A client has connected.
    pub(crate) fn connect(&mut self, client: ClientId) {
        self.clients.insert(client);
    }

    /// A client's connection is gone.
    pub(crate) fn disconnect(&mut self, client: ClientId) {
        self.clients.remove(&client);
    }

    /// The node stops: every client goes.
    pub(crate) fn shut_down(&mut self, out: &mut Outbox) {
        for client in std::mem::take(&mut self.clients) {
            out.disconnect(client, DisconnectCause::Leaving);
        }
    }

    /// A peer began or ceased to answer.
    pub(crate) fn handle_peer(&mut self, node: NodeId, change: PeerChange) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.connected = change == PeerChange::Up;
        }
    }

    /// A client asks. One that is not connected is not answered.
    pub(crate) fn handle_request(&self, client: ClientId, request: Request, out: &mut Outbox) {
        if !self.clients.contains(&client) {
            trace!(client = client.0, "request of a client that is not connected to cfg dropped");
            return;
        }
        out.reply(client, AnyReply::Cfg(self.answer(request)));
    }

    fn answer(&self, request: Request) -> Reply {
        match request {
            Request::RingStatusGet => Reply::RingStatusGet(vec![self.interface()]),
            Request::GetNodeAddrs { nodeid } => Reply::GetNodeAddrs(self.addresses(nodeid)),
            Request::LocalGet => Reply::LocalGet { nodeid: self.node.get() },
            Request::NodeStatusGet { nodeid, version } => {
                Reply::NodeStatusGet(self.node_status(nodeid, version))
            }
            Request::Command(command) => Reply::Command(command, CsError::NotSupported),
        }
    }

    fn addresses(&self, nodeid: u32) -> Result<Vec<IpAddr>, CsError> {
        match NodeId::new(nodeid) {
            None => Ok(vec![self.address]),
            Some(node) if node == self.node => Ok(vec![self.address]),
            Some(node) => {
                let peer = self.peers.get(&node).ok_or(CsError::NotExist)?;
                Ok(vec![peer.address])
            }
        }
    }

    /// The one link that there is.
    fn interface(&self) -> Interface {
        // A link to a peer is always enabled (1); 2 more if the peer answers.
        let status = |peer: &Peer| if peer.connected { '3' } else { '1' };
        let mut nodes: BTreeMap<NodeId, char> =
            self.peers.iter().map(|(&node, peer)| (node, status(peer))).collect();
        nodes.insert(self.node, 'n');
        Interface { name: format!("0 {}", self.address), status: nodes.into_values().collect() }
    }

    fn node_status(&self, nodeid: u32, version: u32) -> Result<NodeStatus, CsError> {
        if version != NodeStatus::VERSION {
            return Err(CsError::NotSupported);
        }
        let node = NodeId::new(nodeid).ok_or(CsError::FailedOperation)?;
        let (peer, mtu) = if node == self.node {
            (Peer { address: self.address, connected: true }, LOOPBACK_MTU)
        } else {
            let peer = *self.peers.get(&node).ok_or(CsError::FailedOperation)?;
            // What a link carries is known once there is one.
            (peer, if peer.connected { self.frame_bytes_max } else { 0 })
        };
        let Peer { address, connected } = peer;
        let link = LinkStatus { connected, mtu, source: self.address, destination: address };
        Ok(NodeStatus { nodeid, reachable: connected, links: vec![Some(link)] })
    }
}
