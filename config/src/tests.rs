//! The crate as a whole: texts in, settings or messages out.

mod corpus;
mod fuzz;
mod generated;
mod good;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};

use protocol::seal::ClusterKey;
use zeroize::Zeroizing;

use crate::{
    Config, Diagnostics,
    host::Host,
    keyfile::{KeyFile, KeyFileError},
    parse_on,
};

/// A machine that needs no network: its address is 192.0.2.1, its name "alpha.example.org".
struct FakeHost {
    addresses: Vec<IpAddr>,
    name: &'static str,
    key: Result<u32, io::ErrorKind>,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self { addresses: vec![address(1)], name: "alpha.example.org", key: Ok(0o400) }
    }
}

impl Host for FakeHost {
    fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<IpAddr> = match name {
            "alpha" => vec![address(1)],
            "beta" => vec![address(2)],
            "both" => vec![address(3), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 3])],
            _ => return Err(io::Error::new(io::ErrorKind::NotFound, "no such host")),
        };
        Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    fn is_local(&self, address: SocketAddr) -> bool {
        self.addresses.contains(&address.ip())
    }

    fn host_name(&self) -> String {
        self.name.to_owned()
    }

    fn user(&self, name: &str) -> io::Result<Option<u32>> {
        Ok((name == "hacluster").then_some(189))
    }

    fn group(&self, name: &str) -> io::Result<Option<u32>> {
        Ok((name == "haclient").then_some(190))
    }

    fn key(&self, _path: &Path) -> Result<KeyFile, KeyFileError> {
        let mode = self.key.map_err(io::Error::from)?;
        let key = ClusterKey(Zeroizing::new(vec![1; 256]));
        Ok(KeyFile { key, group_mode: (mode & 0o070 != 0).then_some(mode) })
    }
}

fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
}

/// A list of two nodes, the first of which is this one. Lines 1 to 8 of the text they are put before.
const NODES: &str = "\
[[nodelist.node]]
nodeid = 1
name = \"alpha\"
ring0_addr = \"192.0.2.1\"
[[nodelist.node]]
nodeid = 2
name = \"beta\"
ring0_addr = \"192.0.2.2\"
";

fn on(host: &FakeHost, text: &str) -> Result<Config, Diagnostics> {
    // A directory that is not there, so nothing on this machine has a say.
    parse_on(host, text, "c", Path::new("/nonexistent"))
}

/// What a text comes to on the machine above.
fn parse(text: &str) -> Result<Config, Diagnostics> {
    on(&FakeHost::default(), text)
}

/// The settings of [`NODES`] with more behind it.
fn good(more: &str) -> Config {
    parse(&format!("{NODES}{more}")).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The problems of [`NODES`] with more behind it, one a line.
fn problems(more: &str) -> Vec<String> {
    lines(parse(&format!("{NODES}{more}")))
}

fn lines(result: Result<Config, Diagnostics>) -> Vec<String> {
    match result {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(problems) => problems.to_string().lines().map(str::to_owned).collect(),
    }
}
