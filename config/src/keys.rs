//! The one table of all keys.
//!
//! Reading, "did you mean", `corosync.toml.example` and the manual page all come from here. The rules
//! that tie keys together are in `check`.

use std::time::Duration;

use protocol::links::LinkSettings;

/// A section of the file.
#[derive(Debug)]
pub struct Section {
    /// Full name, `totem.interface`.
    pub path: &'static str,
    /// Whether it can occur more than once.
    pub shape: Shape,
    /// What it is about. Sentences.
    pub doc: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// The sections inside it.
    pub sections: &'static [&'static Section],
    /// Whether this version has it.
    pub support: Support,
}

impl Section {
    /// The last part of its name.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// Its header as it stands in a file.
    pub fn header(&self) -> String {
        match self.shape {
            Shape::Once => format!("[{}]", self.path),
            Shape::Repeated => format!("[[{}]]", self.path),
        }
    }

    /// Its key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The section of this name inside it.
    pub fn section(&self, name: &str) -> Option<&'static Section> {
        self.sections.iter().copied().find(|section| section.name() == name)
    }

    /// This section and all inside it, in the order of the table.
    pub fn all(&'static self) -> Vec<&'static Section> {
        let mut list = vec![self];
        for section in self.sections {
            list.extend(section.all());
        }
        list
    }
}

/// How often a section can occur.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// At most once: `[section]`.
    Once,
    /// Any number of times: `[[section]]`.
    Repeated,
}

/// A key of a section.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What holds where the file does not have it.
    pub fallback: Fallback,
    /// Where the name comes from.
    pub origin: Origin,
    /// What it is for. Sentences.
    pub doc: &'static str,
    /// Whether this version has it.
    pub support: Support,
}

/// The values a key takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A whole number from `min` to `max`, both included.
    Integer {
        /// The least.
        min: u64,
        /// The largest.
        max: u64,
        /// What it counts.
        unit: Unit,
    },
    /// `true` or `false`.
    Boolean,
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A string of 1 to `bytes_max` octets without control characters.
    Text {
        /// The limit.
        bytes_max: usize,
    },
    /// A file name; a relative one starts at the directory of the file that holds it.
    Path,
    /// A user or a group: a number, or a name that the system knows.
    Account,
}

/// What an integer counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// Just a number.
    None,
    /// Milliseconds.
    Milliseconds,
    /// Octets.
    Octets,
    /// Frames.
    Frames,
}

impl Unit {
    /// The unit behind a number in a message: empty, or with a blank before it.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Milliseconds => " ms",
            Self::Octets => " octets",
            Self::Frames => " frames",
        }
    }
}

/// What holds where the file does not have a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fallback {
    /// Nothing: the key has to be there. The example file shows this value.
    Required(&'static str),
    /// This value, as it would be written.
    Default(&'static str),
    /// A value that depends on others; how, in words. The example file shows the value.
    Derived(&'static str, &'static str),
    /// The absence means something, in words. The example file shows the value.
    Absent(&'static str, &'static str),
}

/// Where a key's name comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// `corosync.conf(5)` has it with this meaning.
    Corosync,
    /// It is new here.
    New,
}

/// Whether this version has a section or key. What it does not have is an error, never ignored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Support {
    /// Yes.
    Now,
    /// corosync has it; a later version will.
    Later,
    /// corosync has it; here it has no meaning, for this reason.
    Never(&'static str),
}

/// The whole file.
pub static ROOT: Section = Section {
    path: "",
    shape: Shape::Once,
    doc: "",
    keys: &[],
    sections: &[&TOTEM, &NODELIST, &UIDGID, &LOGGING, &SYSTEM, &QUORUM, &RESOURCES, &NOZZLE],
    support: Support::Now,
};

/// What may stand in a file of the directory `uidgid.d`.
pub static UIDGID_ROOT: Section =
    Section { path: "", shape: Shape::Once, doc: "", keys: &[], sections: &[&UIDGID], support: Support::Now };

static TOTEM: Section = Section {
    path: "totem",
    shape: Shape::Once,
    doc: "The ring and its links. All nodes of a cluster need the same values.",
    keys: &[
        integer("version", 2, 2, Unit::None)
            .or("2")
            .doc("The version of the file's names and meanings."),
        text("cluster_name", 255)
            .absent("a cluster without a name", "\"example\"")
            .doc(
                "The cluster's name. It is part of every key that packets are sealed with, so clusters with \
                 different names never mix, not even with equal key files.",
            ),
        milliseconds("token", 30, 600_000).or("1000").doc(
            "How long a node waits for the token before it declares the ring lost. It grows by \
             token_coefficient for each node above two. Longer survives slower machines and networks; \
             shorter finds dead nodes sooner. corosync waits 3000 ms by default.",
        ),
        milliseconds("token_coefficient", 0, 60_000).or("125").doc(
            "What each node above two adds to token. 0 makes token the same for every size of cluster. \
             corosync adds 650 ms by default.",
        ),
        milliseconds("token_retransmit", 2, 600_000)
            .derived("token (with what the nodes above two add) / (token_retransmits_before_loss_const + 0.2)", "238")
            .doc(
                "A token that was passed on is sent again after this long without a sign that it arrived. It must \
                 be less than token.",
            ),
        integer("token_retransmits_before_loss_const", 1, 1000, Unit::None).or("4").doc(
            "How many times a token is sent again before it counts as lost. token_retransmit and hold are \
             computed from it.",
        ),
        milliseconds("hold", 1, 600_000)
            .derived("0.8 * token_retransmit - 10 ms, at least half of token_retransmit", "180")
            .doc(
                "How long the representative keeps the token of an idle ring. It must be less than \
                 token_retransmit, or the other nodes would take the token for lost on its way.",
            ),
        milliseconds("join", 1, 60_000).or("50").doc(
            "Time between two join messages of a node while a new ring forms. It must be less than consensus.",
        ),
        milliseconds("consensus", 30, 720_000)
            .derived("1.2 * token (with what the nodes above two add)", "1200")
            .doc(
                "How long nodes that form a ring wait for the silent ones before they go on without them. At \
                 least 1.2 times token.",
            ),
        milliseconds("merge", 30, 600_000).or("200").doc(
            "How often a ring tells the nodes outside it that it exists, so that rings find each other when \
             a partition heals.",
        ),
        integer("window_size", 1, 8192, Unit::Frames).or("512").doc(
            "How many frames the whole ring may send while the token goes round once. The kernel's receive \
             buffers have to hold them.",
        ),
        integer("max_messages", 1, 8192, Unit::Frames).or("256").doc(
            "How many frames one node may send in one visit of the token. At most window_size.",
        ),
        integer("seqno_unchanged_const", 1, 100_000, Unit::None).or("30").doc(
            "How many times the token goes round without a new message before the representative holds it.",
        ),
        integer("netmtu", LinkSettings::NETMTU_MIN as u64, 65_535, Unit::Octets).or("1500").doc(
            "The largest IP packet that the network carries between all nodes. Larger values need networks \
             that support them from end to end.",
        ),
        choice("crypto_cipher", &["aes256", "none"]).or("\"aes256\"").doc(
            "\"aes256\" encrypts and authenticates every packet with AES-256-GCM. \"none\" leaves packets \
             readable; whether they are still authenticated is up to crypto_hash. corosync's default is \"none\".",
        ),
        choice("crypto_hash", &["sha256", "none"]).or("\"sha256\"").doc(
            "How packets are authenticated where crypto_cipher is \"none\": with HMAC-SHA256, or, together \
             with insecure_cleartext, not at all. AES-256-GCM needs no hash of its own.",
        ),
        boolean("insecure_cleartext").or("false").ours().doc(
            "Has to be true for a cluster without any protection: anybody who can send packets to a node can \
             then take part, and stop the cluster.",
        ),
        path("keyfile").or("\"/etc/corosync/authkey\"").doc(
            "The cluster's shared secret, the same file on all nodes, made by corosync-keygen(8). It has 32 \
             to 4096 octets and must not be accessible by everybody.",
        ),
        integer("mcastport", 1, 65_535, Unit::None).or("5405").ours().doc(
            "The UDP port of link 0. Link n uses this port plus n unless its [[totem.interface]] section \
             names another one.",
        ),
        milliseconds("heartbeat", millis(LinkSettings::HEARTBEAT_MIN), millis(LinkSettings::HEARTBEAT_MAX)).or("100").ours().doc(
            "Time between two heartbeats to each other node.",
        ),
        milliseconds("peer_timeout", 30, 600_000)
            .derived("token (with what the nodes above two add), at least 3 * heartbeat", "1000")
            .ours()
            .doc(
                "A node that was silent for this long counts as unreachable. At least three times heartbeat, \
                 so that two lost heartbeats do no harm.",
            ),
        choice("ip_version", &["ipv4", "ipv6", "ipv4-6", "ipv6-4"]).or("\"ipv6-4\"").doc(
            "Which addresses a host name in the list of nodes may resolve to; where both kinds are allowed, \
             the first one is preferred.",
        ),
        later("config_version"),
        later("token_warning"),
        later("send_join"),
        later("downcheck"),
        later("fail_recv_const"),
        later("miss_count_const"),
        later("heartbeat_failures_allowed"),
        later("max_network_delay"),
        later("block_unlisted_ips"),
        later("cancel_token_hold_on_retransmit"),
        later("link_mode"),
        later("knet_mtu"),
        later("knet_pmtud_interval"),
        later("knet_compression_model"),
        later("knet_compression_threshold"),
        later("knet_compression_level"),
        never("transport", "there is one transport, sealed unicast UDP"),
        never("secauth", "packets are protected by default; see crypto_cipher and crypto_hash"),
        never("crypto_model", "there is one cryptographic library"),
        never("key", "the shared secret belongs into a file of its own; see keyfile"),
        never("clear_node_high_bit", "every node has its nodeid in the list of nodes"),
    ],
    sections: &[&INTERFACE],
    support: Support::Now,
};

static INTERFACE: Section = Section {
    path: "totem.interface",
    shape: Shape::Repeated,
    doc: "One link between the nodes. Not needed for the defaults. This version has link 0 only.",
    keys: &[
        integer("linknumber", 0, 7, Unit::None).or("0").doc("Which link the section is about."),
        integer("mcastport", 1, 65_535, Unit::None)
            .derived("totem.mcastport + linknumber", "5405")
            .doc("The link's UDP port, the same on all nodes."),
        later("knet_link_priority"),
        later("knet_ping_interval"),
        later("knet_ping_timeout"),
        later("knet_ping_precision"),
        later("knet_pong_count"),
        never("knet_transport", "there is one transport, sealed unicast UDP"),
        never("bindnetaddr", "a node binds to its own ring0_addr"),
        never("mcastaddr", "packets are unicast"),
        never("broadcast", "packets are unicast"),
        never("ttl", "packets are unicast, with the system's time to live"),
    ],
    sections: &[],
    support: Support::Now,
};

static NODELIST: Section = Section {
    path: "nodelist",
    shape: Shape::Once,
    doc: "The list of nodes.",
    keys: &[],
    sections: &[&NODE],
    support: Support::Now,
};

static NODE: Section = Section {
    path: "nodelist.node",
    shape: Shape::Repeated,
    doc: "A node of the cluster, this one included. Every node has one such section, and all nodes have the \
          same list. At most 128.",
    keys: &[
        integer("nodeid", 1, 4_294_967_295, Unit::None)
            .required("1")
            .doc("The node's number, unique in the cluster."),
        text("name", 255).absent("the value of ring0_addr", "\"alpha\"").doc(
            "The node's name, unique in the cluster. Usually its host name: that is one of the ways by which \
             a node finds itself in the list (see system.local_nodeid).",
        ),
        text("ring0_addr", 255)
            .required("\"192.0.2.1\"")
            .doc("The node's address on link 0: an IP address, or a host name, which is resolved once at the start."),
        later("ring1_addr"),
        later("ring2_addr"),
        later("ring3_addr"),
        later("ring4_addr"),
        later("ring5_addr"),
        later("ring6_addr"),
        later("ring7_addr"),
        later("quorum_votes"),
    ],
    sections: &[],
    support: Support::Now,
};

static UIDGID: Section = Section {
    path: "uidgid",
    shape: Shape::Repeated,
    doc: "A user or a group whose programs may connect to the daemon, besides root's. A section has uid, gid or \
          both; each of them suffices. Files whose name ends in .toml in the directory uidgid.d beside this file \
          can hold further such sections.",
    keys: &[
        account("uid").absent("no user", "\"hacluster\"").doc("The user's name or number."),
        account("gid")
            .absent("no group", "\"haclient\"")
            .doc("The group's name or number. It counts as a process's primary group only."),
    ],
    sections: &[],
    support: Support::Now,
};

static LOGGING: Section = Section {
    path: "logging",
    shape: Shape::Once,
    doc: "The daemon's log.",
    keys: &[
        boolean("to_stderr").or("true").doc("Whether log lines go to standard error."),
        boolean("to_syslog")
            .or("false")
            .doc("Whether log lines go to the system's journal, or to syslog where there is no journal."),
        boolean("debug")
            .or("false")
            .doc("Whether decisions are logged as well. The same as level = \"debug\"."),
        choice("level", &["error", "warn", "info", "debug", "trace"]).or("\"info\"").ours().doc(
            "The least important lines that are logged. \"info\" tells the life of the cluster, \"debug\" \
             decisions, \"trace\" single frames.",
        ),
        choice("timestamp", &["off", "on", "hires"]).or("\"hires\"").doc(
            "What lines on standard error begin with: nothing, the time in seconds, or the time in milliseconds.",
        ),
        later("to_logfile"),
        later("logfile"),
        later("logfile_priority"),
        later("syslog_facility"),
        later("syslog_priority"),
        later("fileline"),
        later("function_name"),
        later("blackbox"),
    ],
    sections: &[&LOGGER_SUBSYS],
    support: Support::Now,
};

static LOGGER_SUBSYS: Section = unsupported("logging.logger_subsys", Shape::Repeated, Support::Later);

static SYSTEM: Section = Section {
    path: "system",
    shape: Shape::Once,
    doc: "The daemon itself.",
    keys: &[
        path("state_dir").or("\"/var/lib/corosync\"").doc(
            "An existing directory in which the node keeps what has to survive a restart. Two daemons never \
             share one.",
        ),
        choice("qb_ipc_type", &["native", "shm", "socket"]).or("\"native\"").doc(
            "How requests and events travel between local programs and the daemon: through shared memory \
             (\"shm\", which \"native\" stands for) or through sockets.",
        ),
        text("ipc_instance", 32).absent("the names that libqb's clients look for", "\"second\"").ours().doc(
            "A prefix for the names of the sockets on which the daemon serves local programs. Letters, \
                 digits, \"_\" and \".\". For several daemons on one machine; ordinary clients do not find a \
                 daemon that has one.",
        ),
        integer("local_nodeid", 1, 4_294_967_295, Unit::None)
            .absent(
                "the node whose ring0_addr is an address of this machine; where that holds for none or for \
                 several, the one of them whose name is this machine's host name",
                "1",
            )
            .ours()
            .doc("Which node of the list this one is."),
        later("sched_rr"),
        later("priority"),
        later("move_to_root_cgroup"),
        never("allow_knet_handle_fallback", "there is no knet handle"),
    ],
    sections: &[],
    support: Support::Now,
};

static QUORUM: Section = unsupported("quorum", Shape::Once, Support::Later);
static RESOURCES: Section = unsupported("resources", Shape::Once, Support::Later);
static NOZZLE: Section =
    unsupported("nozzle", Shape::Once, Support::Never("there is no network device on top of the links"));

const fn unsupported(path: &'static str, shape: Shape, support: Support) -> Section {
    Section { path, shape, doc: "", keys: &[], sections: &[], support }
}

const fn key(name: &'static str, kind: Kind) -> Key {
    Key {
        name,
        kind,
        fallback: Fallback::Absent("", ""),
        origin: Origin::Corosync,
        doc: "",
        support: Support::Now,
    }
}

const fn integer(name: &'static str, min: u64, max: u64, unit: Unit) -> Key {
    key(name, Kind::Integer { min, max, unit })
}

const fn milliseconds(name: &'static str, min: u64, max: u64) -> Key {
    integer(name, min, max, Unit::Milliseconds)
}

/// Whole milliseconds of a duration that is a constant.
const fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

const fn boolean(name: &'static str) -> Key {
    key(name, Kind::Boolean)
}

const fn choice(name: &'static str, choices: &'static [&'static str]) -> Key {
    key(name, Kind::Choice(choices))
}

const fn text(name: &'static str, bytes_max: usize) -> Key {
    key(name, Kind::Text { bytes_max })
}

const fn path(name: &'static str) -> Key {
    key(name, Kind::Path)
}

const fn account(name: &'static str) -> Key {
    key(name, Kind::Account)
}

const fn later(name: &'static str) -> Key {
    Key { support: Support::Later, ..boolean(name) }
}

const fn never(name: &'static str, reason: &'static str) -> Key {
    Key { support: Support::Never(reason), ..boolean(name) }
}

impl Key {
    const fn or(self, value: &'static str) -> Self {
        Self { fallback: Fallback::Default(value), ..self }
    }

    const fn required(self, example: &'static str) -> Self {
        Self { fallback: Fallback::Required(example), ..self }
    }

    const fn derived(self, how: &'static str, example: &'static str) -> Self {
        Self { fallback: Fallback::Derived(how, example), ..self }
    }

    const fn absent(self, meaning: &'static str, example: &'static str) -> Self {
        Self { fallback: Fallback::Absent(meaning, example), ..self }
    }

    const fn ours(self) -> Self {
        Self { origin: Origin::New, ..self }
    }

    const fn doc(self, doc: &'static str) -> Self {
        Self { doc, ..self }
    }

    /// The value that the example file shows.
    pub fn example(&self) -> &'static str {
        match self.fallback {
            Fallback::Default(value)
            | Fallback::Required(value)
            | Fallback::Derived(_, value)
            | Fallback::Absent(_, value) => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_everything_supported_is_explained() {
        for section in ROOT.all() {
            let mut names = BTreeSet::new();
            for key in section.keys {
                assert!(names.insert(key.name), "{}.{} is there twice", section.path, key.name);
                if key.support == Support::Now {
                    assert!(key.doc.ends_with('.'), "{}.{} has no sentence", section.path, key.name);
                    assert!(!key.example().is_empty(), "{}.{} has no example", section.path, key.name);
                }
            }
            for inner in section.sections {
                assert!(names.insert(inner.name()), "{} is there twice", inner.path);
            }
        }
    }
}
