//! What programs are answered.

use ipc::message::cfg::Command;

use super::*;
use crate::executive::Effect;

const CLIENT: ClientId = ClientId(7);

fn node(number: u32) -> NodeId {
    NodeId::new(number).expect("not zero")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The service of node 2 of nodes 1, 2, 3 and 10, with a client.
fn service() -> Cfg {
    let peers = [(3, "10.0.0.3"), (10, "10.0.0.10"), (1, "10.0.0.1")];
    let peers = peers.map(|(number, address)| (node(number), ip(address)));
    let mut cfg = Cfg::new(node(2), ip("10.0.0.2"), peers, 1428);
    cfg.connect(CLIENT);
    cfg
}

fn answers(cfg: &Cfg, request: Request) -> Vec<Effect> {
    let mut out = Outbox::default();
    cfg.handle_request(CLIENT, request, &mut out);
    out.effects.into()
}

fn answer(cfg: &Cfg, request: Request) -> Reply {
    match answers(cfg, request).as_slice() {
        [Effect::Reply { client: CLIENT, reply: AnyReply::Cfg(reply) }] => reply.clone(),
        other => panic!("{other:?}"),
    }
}

fn status(cfg: &Cfg, nodeid: u32) -> Result<NodeStatus, CsError> {
    match answer(cfg, Request::NodeStatusGet { nodeid, version: 1 }) {
        Reply::NodeStatusGet(status) => status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_configured_node_has_an_address_and_others_have_none() {
    let cfg = service();
    let known = [(0, "10.0.0.2"), (1, "10.0.0.1"), (2, "10.0.0.2"), (3, "10.0.0.3"), (10, "10.0.0.10")];
    for (nodeid, address) in known {
        let expected = Reply::GetNodeAddrs(Ok(vec![ip(address)]));
        assert_eq!(answer(&cfg, Request::GetNodeAddrs { nodeid }), expected, "node {nodeid}");
    }
    let unknown = Reply::GetNodeAddrs(Err(CsError::NotExist));
    assert_eq!(answer(&cfg, Request::GetNodeAddrs { nodeid: 4 }), unknown);
    assert_eq!(answer(&cfg, Request::GetNodeAddrs { nodeid: u32::MAX }), unknown);
}

#[test]
fn the_local_node_is_this_one() {
    assert_eq!(answer(&service(), Request::LocalGet), Reply::LocalGet { nodeid: 2 });
}

#[test]
fn the_ring_status_follows_the_peers_in_the_order_of_their_numbers() {
    let mut cfg = service();
    let ring = |cfg: &Cfg| match answer(cfg, Request::RingStatusGet) {
        Reply::RingStatusGet(interfaces) => interfaces,
        other => panic!("{other:?}"),
    };
    let expected = |status: &str| vec![Interface { name: "0 10.0.0.2".into(), status: status.into() }];
    assert_eq!(ring(&cfg), expected("1n11"));
    cfg.handle_peer(node(10), PeerChange::Up);
    cfg.handle_peer(node(1), PeerChange::Up);
    cfg.handle_peer(node(99), PeerChange::Up);
    assert_eq!(ring(&cfg), expected("3n13"));
    cfg.handle_peer(node(1), PeerChange::Down);
    assert_eq!(ring(&cfg), expected("1n13"));
}

#[test]
fn a_node_is_reachable_while_its_link_answers() {
    let mut cfg = service();
    let link =
        |connected, mtu, to| Some(LinkStatus { connected, mtu, source: ip("10.0.0.2"), destination: ip(to) });
    let peer = |reachable, mtu| {
        Ok(NodeStatus { nodeid: 3, reachable, links: vec![link(reachable, mtu, "10.0.0.3")] })
    };
    assert_eq!(status(&cfg, 3), peer(false, 0));
    cfg.handle_peer(node(3), PeerChange::Up);
    assert_eq!(status(&cfg, 3), peer(true, 1428));
    let own = NodeStatus { nodeid: 2, reachable: true, links: vec![link(true, 65_535, "10.0.0.2")] };
    assert_eq!(status(&cfg, 2), Ok(own));
}

#[test]
fn the_status_of_an_unknown_node_and_other_versions_are_refused() {
    let cfg = service();
    // Unlike for addresses, 0 is not this node.
    assert_eq!(status(&cfg, 0), Err(CsError::FailedOperation));
    assert_eq!(status(&cfg, 4), Err(CsError::FailedOperation));
    for version in [0, 2] {
        let reply = answer(&cfg, Request::NodeStatusGet { nodeid: 2, version });
        assert_eq!(reply, Reply::NodeStatusGet(Err(CsError::NotSupported)));
    }
}

#[test]
fn every_command_is_answered_as_not_supported() {
    let cfg = service();
    for command in Command::ALL {
        let expected = Reply::Command(command, CsError::NotSupported);
        assert_eq!(answer(&cfg, Request::Command(command)), expected);
    }
}

#[test]
fn a_client_that_is_gone_is_not_answered() {
    let mut cfg = service();
    cfg.disconnect(CLIENT);
    assert!(answers(&cfg, Request::LocalGet).is_empty());
}

#[test]
fn a_node_that_stops_cuts_its_clients_off() {
    let mut cfg = service();
    let mut out = Outbox::default();
    cfg.shut_down(&mut out);
    let cause = DisconnectCause::Leaving;
    assert!(
        matches!(out.effects.make_contiguous(), [Effect::Disconnect { client: CLIENT, cause: told }] if *told == cause)
    );
    assert!(answers(&cfg, Request::LocalGet).is_empty());
}
