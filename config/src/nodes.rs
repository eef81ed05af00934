//! The list of nodes: numbers, names and addresses that are unique, and which node this one is.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use protocol::NodeId;

use crate::{
    diagnostic::{Place, Report, quoted},
    file::Document,
    host::Host,
    setting::{Found, Setting},
    settings::{ClusterSettings, NodeSettings},
};

/// Most nodes of a cluster.
pub(crate) const NODES_MAX: usize = 128;

/// Checks the list. `None` only if an error was reported.
pub(crate) fn check(document: &Document, host: &dyn Host, report: &mut Report) -> Option<ClusterSettings> {
    let totem = document.once("totem");
    let sections = document.repeated("nodelist.node");
    let local_nodeid = document.once("system").integer("local_nodeid");
    let port = port(document, &totem, report);
    if sections.is_empty() {
        report.error(&document.start, "there are no nodes: add a [[nodelist.node]] section for each node");
        return None;
    }
    if let Some(section) = sections.get(NODES_MAX) {
        let message = format!("there are {} nodes, but a cluster has at most {NODES_MAX}", sections.len());
        report.error(&section.place, message);
        return None;
    }
    let resolver = Resolver { host, port: port?, ip_version: totem.text("ip_version") };
    let mut list = List::default();
    for section in sections {
        list.add(section, &resolver, report);
    }
    let nodes = list.nodes;
    if nodes.len() < sections.len() || local_nodeid.is_invalid() {
        return None;
    }
    let local = local(&nodes, &local_nodeid, host, &document.start, report)?;
    one_family(&nodes, local, report);
    Some(ClusterSettings {
        name: totem.text("cluster_name").value,
        local: local.settings.clone(),
        nodes: nodes.iter().map(|node| node.settings.clone()).collect(),
    })
}

/// The port of link 0.
fn port(document: &Document, totem: &Found, report: &mut Report) -> Option<u16> {
    let mut port = totem.integer("mcastport");
    let mut lines = BTreeMap::new();
    for section in document.repeated("totem.interface") {
        let number = section.integer("linknumber");
        if number.is_invalid() {
            continue;
        }
        let place = number.place().unwrap_or(&section.place).clone();
        if let Some(line) = lines.insert(number.value, place.line) {
            report.error(&place, format!("linknumber {} is already used on line {line}", number.value));
        } else if number.value > 0 {
            let message = format!("link {} is not supported yet by this version, only link 0", number.value);
            report.error(&place, message);
        } else if section.has("mcastport") {
            port = section.integer("mcastport");
        }
    }
    if port.is_invalid() { None } else { u16::try_from(port.value).ok() }
}

/// A node of the list and where the file has it.
struct Node {
    settings: NodeSettings,
    address_place: Place,
}

/// The nodes so far, and who uses what.
#[derive(Default)]
struct List {
    nodes: Vec<Node>,
    ids: BTreeMap<u64, Owner>,
    names: BTreeMap<String, Owner>,
    addresses: BTreeMap<IpAddr, Owner>,
}

/// Who uses a number, name or address already.
#[derive(Clone)]
struct Owner {
    label: String,
    line: usize,
}

impl List {
    fn add(&mut self, section: &Found, resolver: &Resolver<'_>, report: &mut Report) {
        let (id, name, address) =
            (section.integer("nodeid"), section.text("name"), section.text("ring0_addr"));
        let label = match (&name, &id) {
            (name, _) if name.is_given() => format!("node {}", quoted(&name.value)),
            (_, id) if id.is_given() => format!("node {}", id.value),
            _ => format!("the node on line {}", section.place.line),
        };
        if let Some(place) = id.place() {
            let what = format!("nodeid {}", id.value);
            claim(&mut self.ids, id.value, &what, &label, place, report);
        }
        if let Some(place) = name.place() {
            let what = format!("name {}", quoted(&name.value));
            claim(&mut self.names, name.value.clone(), &what, &label, place, report);
        }
        let Some(address_place) = address.place().cloned() else { return };
        let Some(resolved) = resolver.resolve(&address, &address_place, report) else { return };
        let what = match address.value == resolved.ip().to_string() {
            true => format!("ring0_addr {}", resolved.ip()),
            false => format!("ring0_addr {} ({})", resolved.ip(), quoted(&address.value)),
        };
        claim(&mut self.addresses, resolved.ip(), &what, &label, &address_place, report);

        let node = u32::try_from(id.value).ok().and_then(NodeId::new);
        let (Some(node), false, false) = (node, id.is_invalid(), name.is_invalid()) else { return };
        let name = if name.is_given() { name.value } else { address.value.clone() };
        let settings = NodeSettings { node, name, ring0_addr: address.value, address: resolved };
        self.nodes.push(Node { settings, address_place });
    }
}

/// Notes who uses something that only one node may have.
fn claim<K: Ord>(
    owners: &mut BTreeMap<K, Owner>,
    thing: K,
    what: &str,
    label: &str,
    place: &Place,
    report: &mut Report,
) {
    if let Some(owner) = owners.get(&thing) {
        report.error(place, format!("{what} is already used by {} on line {}", owner.label, owner.line));
        return;
    }
    owners.insert(thing, Owner { label: label.to_owned(), line: place.line });
}

/// Turns `ring0_addr` into an address.
struct Resolver<'a> {
    host: &'a dyn Host,
    port: u16,
    ip_version: Setting<String>,
}

impl Resolver<'_> {
    fn resolve(&self, text: &Setting<String>, place: &Place, report: &mut Report) -> Option<SocketAddr> {
        let name = quoted(&text.value);
        let address = match text.value.parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, self.port),
            Err(_) => match self.host.resolve(&text.value, self.port) {
                Ok(addresses) => self.choose(&addresses).or_else(|| {
                    let message = format!("ring0_addr {name} has no address that ip_version allows");
                    report.error(place, message);
                    None
                })?,
                Err(error) => {
                    report.error(place, format!("ring0_addr {name} cannot be resolved: {error}"));
                    return None;
                }
            },
        };
        if usable(address.ip()) {
            return Some(address);
        }
        report.error(place, format!("ring0_addr {name} is not the address of a single machine"));
        None
    }

    /// The first address of the preferred version, or else of the other one where that is allowed.
    fn choose(&self, addresses: &[SocketAddr]) -> Option<SocketAddr> {
        let v4 = addresses.iter().find(|address| address.is_ipv4()).copied();
        let v6 = addresses.iter().find(|address| address.is_ipv6()).copied();
        match self.ip_version.value.as_str() {
            "ipv4" => v4,
            "ipv6" => v6,
            "ipv4-6" => v4.or(v6),
            _ => v6.or(v4),
        }
    }
}

fn usable(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !broadcast
}

/// Which node of the list this one is.
fn local<'n>(
    nodes: &'n [Node],
    local_nodeid: &Setting<u64>,
    host: &dyn Host,
    start: &Place,
    report: &mut Report,
) -> Option<&'n Node> {
    if let Some(place) = local_nodeid.place() {
        let node = nodes.iter().find(|node| u64::from(node.settings.node.get()) == local_nodeid.value);
        if node.is_none() {
            let message =
                format!("local_nodeid is {}, but no node of the list has that nodeid", local_nodeid.value);
            report.error(place, message);
        }
        return node;
    }
    let here: Vec<&Node> = nodes.iter().filter(|node| host.is_local(node.settings.address)).collect();
    if let [node] = here.as_slice() {
        return Some(node);
    }
    let host_name = host.host_name();
    let candidates = if here.is_empty() { nodes.iter().collect() } else { here.clone() };
    let named = named(&candidates, &host_name);
    if named.is_none() {
        let name = quoted(&host_name);
        report.error(start, if here.is_empty() {
            format!("no node of the list is this one: none has an address of this machine or its host name {name}; \
                     set local_nodeid in [system]")
        } else {
            let ids: Vec<String> = here.iter().map(|node| node.settings.node.to_string()).collect();
            format!("nodes {} all have an address of this machine, and its host name {name} does not tell which \
                     of them this one is; set local_nodeid in [system]", ids.join(", "))
        });
    }
    named
}

/// The one node with this host name: the same in full, or else the same up to the first dot.
fn named<'n>(nodes: &[&'n Node], host_name: &str) -> Option<&'n Node> {
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let the_one = |same: &dyn Fn(&str) -> bool| {
        let mut matches = nodes.iter().copied().filter(|node| same(&node.settings.name));
        matches.next().filter(|_| matches.next().is_none())
    };
    if host_name.is_empty() {
        return None;
    }
    // "10.0.0.1" is a name without an end, not the host "10" in a domain.
    let is_name = |name: &str| name.parse::<IpAddr>().is_err();
    the_one(&|name| name.eq_ignore_ascii_case(host_name))
        .or_else(|| the_one(&|name| is_name(name) && short(name) == short(host_name)))
}

/// The socket is bound to this node's address, and reaches only addresses of the same kind.
fn one_family(nodes: &[Node], local: &Node, report: &mut Report) {
    let kind = |node: &Node| if node.settings.address.is_ipv4() { "IPv4" } else { "IPv6" };
    for node in nodes.iter().filter(|node| kind(node) != kind(local)) {
        let message = format!(
            "ring0_addr {} is an {} address, but this node's is an {} address (line {})",
            quoted(&node.settings.ring0_addr),
            kind(node),
            kind(local),
            local.address_place.line,
        );
        report.error(&node.address_place, message);
    }
}
