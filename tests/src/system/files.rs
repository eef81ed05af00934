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

impl Flavour {
    /// Ours; or, with `YARDSTICK=1` in the environment, Debian's. That checks the tests themselves: what they ask for
    /// in general must be true of a daemon that has done this work for years, too.
    #[must_use]
    pub fn under_test() -> Self {
        if std::env::var_os("YARDSTICK").is_some() { Self::Debian } else { Self::Ours }
    }
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
    /// Token timeout in milliseconds, whatever the number of nodes; consensus is 1.2 times that. `None` leaves both
    /// to the daemon's defaults.
    pub token_ms: Option<u32>,
}

impl Default for Spec {
    fn default() -> Self {
        Self { flavour: Flavour::under_test(), nodes: 3, crypto: Crypto::On, token_ms: Some(1000) }
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

    /// Writes a node's files into its directory.
    pub(super) fn write(&self, directory: &Path) {
        fs::create_dir_all(directory.join("state")).expect("make a state directory");
        // The same key everywhere; a key file must be private.
        write_private(&directory.join("authkey"), &KEY);
        let text = match self.flavour {
            Flavour::Ours => self.toml(directory),
            Flavour::Debian => self.conf(directory),
        };
        fs::write(directory.join(self.file_name()), text).expect("write a configuration");
    }

    fn toml(&self, directory: &Path) -> String {
        let directory = directory.display();
        let crypto = match self.crypto {
            Crypto::On => "crypto_cipher = \"aes256\"\ncrypto_hash = \"sha256\"",
            Crypto::Off => "crypto_cipher = \"none\"\ncrypto_hash = \"none\"\ninsecure_cleartext = true",
        };
        let token =
            self.token_ms.map_or_else(String::new, |ms| format!("token = {ms}\ntoken_coefficient = 0\n"));
        // `DAEMON_LOG=debug` in the environment shows more of a failing test.
        let level = std::env::var("DAEMON_LOG").unwrap_or_else(|_| "info".into());
        let mut text = format!(
            "[totem]\ncluster_name = \"test\"\n{crypto}\nkeyfile = \"{directory}/authkey\"\n{token}\n\
             [logging]\nto_stderr = true\nlevel = \"{level}\"\n\n[system]\nstate_dir = \"{directory}/state\"\n",
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
        let token =
            self.token_ms.map_or_else(String::new, |ms| format!("token: {ms}\n  token_coefficient: 0\n"));
        let mut text = format!(
            "totem {{\n  version: 2\n  cluster_name: test\n  transport: knet\n  {crypto}\n  \
             keyfile: {directory}/authkey\n  {token}}}\n\
             logging {{\n  to_stderr: yes\n  to_syslog: no\n  timestamp: hires\n}}\n\
             quorum {{\n  provider: corosync_votequorum\n}}\n\
             system {{\n  state_dir: {directory}/state\n  allow_knet_handle_fallback: yes\n}}\nnodelist {{\n",
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

/// The key of every test cluster; a secret of nothing.
const KEY: [u8; 256] = {
    let mut key = [0; 256];
    let mut index = 0;
    while index < key.len() {
        key[index] = (index * index * 7 + index * 31 + 5).to_le_bytes()[0];
        index += 1;
    }
    key
};

/// Writes a file that only its owner may read.
pub(super) fn write_private(path: &Path, content: &[u8]) {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    drop(fs::remove_file(path));
    let mut file =
        fs::File::options().create_new(true).write(true).mode(0o400).open(path).expect("make a key file");
    file.write_all(content).expect("write a key file");
}
