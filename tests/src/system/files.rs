//! What a node's directory holds: configuration and key, for our daemon and for Debian's.

use std::{fs, path::Path};

use super::{Network, NodeNumber};

/// Which daemon.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flavour {
    /// This workspace's.
    Ours,
    /// The corosync of Debian's package.
    Debian,
}

/// How a cluster protects its packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Crypto {
    /// Encrypted and authenticated. Ours: AES-256-GCM; Debian's knet: AES-256 with SHA-256.
    On,
    /// Clear.
    Off,
}

/// What a cluster is to be.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Which daemon runs.
    pub flavour: Flavour,
    /// How many nodes the configuration names.
    pub nodes: NodeNumber,
    /// How packets are protected.
    pub crypto: Crypto,
    /// Token timeout in milliseconds; consensus is 1.2 times that. The default of both daemons is 3000; tests that
    /// wait for failures take less.
    pub token_ms: u32,
}

impl Default for Spec {
    fn default() -> Self {
        Self { flavour: Flavour::Ours, nodes: 3, crypto: Crypto::On, token_ms: 1000 }
    }
}

impl Spec {
    /// Name of the configuration file in a node's directory.
    #[must_use]
    pub fn file_name(&self) -> &'static str {
        match self.flavour {
            Flavour::Ours => "corosync.toml",
            Flavour::Debian => "corosync.conf",
        }
    }

    /// Consensus timeout in milliseconds, as both daemons derive it from the token timeout.
    #[must_use]
    pub fn consensus_ms(&self) -> u32 {
        self.token_ms * 6 / 5
    }

    /// Writes a node's files into its directory.
    pub(super) fn write(&self, directory: &Path, number: NodeNumber) {
        fs::create_dir_all(directory.join("state")).expect("make a state directory");
        // The same key everywhere; a key file must be private.
        write_private(&directory.join("authkey"), &[0x5a; 256]);
        let text = match self.flavour {
            Flavour::Ours => self.toml(directory, number),
            Flavour::Debian => self.conf(directory),
        };
        fs::write(directory.join(self.file_name()), text).expect("write a configuration");
    }

    fn toml(&self, directory: &Path, _number: NodeNumber) -> String {
        let directory = directory.display();
        let crypto = match self.crypto {
            Crypto::On => "crypto_cipher = \"aes256\"\ncrypto_hash = \"sha256\"",
            Crypto::Off => "crypto_cipher = \"none\"\ncrypto_hash = \"none\"",
        };
        let mut text = format!(
            "[totem]\ncluster_name = \"test\"\n{crypto}\nkeyfile = \"{directory}/authkey\"\ntoken = {}\n\n\
             [logging]\nto_stderr = true\n\n[system]\nstate_dir = \"{directory}/state\"\n",
            self.token_ms
        );
        for number in 1..=self.nodes {
            let address = Network::address(number);
            text.push_str(&format!(
                "\n[[nodelist.node]]\nnodeid = {number}\nname = \"node{number}\"\nring0_addr = \"{address}\"\n"
            ));
        }
        text
    }

    fn conf(&self, directory: &Path) -> String {
        let directory = directory.display();
        let crypto = match self.crypto {
            Crypto::On => "crypto_cipher: aes256\n  crypto_hash: sha256",
            Crypto::Off => "crypto_cipher: none\n  crypto_hash: none",
        };
        let mut text = format!(
            "totem {{\n  version: 2\n  cluster_name: test\n  transport: knet\n  {crypto}\n  \
             keyfile: {directory}/authkey\n  token: {}\n}}\n\
             logging {{\n  to_stderr: yes\n  to_syslog: no\n  timestamp: hires\n}}\n\
             quorum {{\n  provider: corosync_votequorum\n}}\n\
             system {{\n  state_dir: {directory}/state\n  allow_knet_handle_fallback: yes\n}}\nnodelist {{\n",
            self.token_ms
        );
        for number in 1..=self.nodes {
            let address = Network::address(number);
            text.push_str(&format!(
                "  node {{\n    nodeid: {number}\n    name: node{number}\n    ring0_addr: {address}\n  }}\n"
            ));
        }
        text.push_str("}\n");
        text
    }
}

/// Writes a file that only its owner may read.
pub(super) fn write_private(path: &Path, content: &[u8]) {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    drop(fs::remove_file(path));
    let mut file =
        fs::File::options().create_new(true).write(true).mode(0o400).open(path).expect("make a key file");
    file.write_all(content).expect("write a key file");
}
