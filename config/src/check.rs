//! From placed values to a configuration: the rules that tie keys together.
//!
//! A rule that names both of its places stands here. Where the settings it protects have a check of
//! their own ([`LinkSettings::check`]), that one has the last word. `corosync.conf(5)` states several
//! of the rules.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use protocol::{
    links::{LinkSettings, PeerSettings},
    ring::RingSettings,
    seal::Protection,
};
use services::executive::ExecutiveSettings;

use crate::{
    diagnostic::{Place, Report, quoted},
    file::Document,
    host::Host,
    keyfile::KeyFileError,
    nodes,
    setting::{Found, Setting},
    settings::{
        ClusterSettings, Config, IpcSettings, IpcTransport, LogLevel, LoggingSettings, SystemSettings,
        Timestamp,
    },
    value::Account,
};

/// Largest message in octets: the largest request of a client, with room for what cpg adds.
const MESSAGE_BYTES_MAX: usize = (1 << 20) + 4096;
/// Octets of messages that may wait for the token.
const SEND_QUEUE_BYTES_MAX: usize = 8 << 20;
/// How long a node that starts listens for others before it sends its first join.
const LISTEN: Duration = Duration::from_millis(300);

/// Checks a file as a whole. `None` only if an error was reported.
pub(crate) fn check(
    document: &Document,
    uidgid_files: &[Document],
    directory: &Path,
    host: &dyn Host,
    report: &mut Report,
) -> Option<Config> {
    if !document.complete {
        // What seems to be missing may stand in a broken line.
        return None;
    }
    let totem = document.once("totem");
    let timers = Timers::check(&totem, document.repeated("nodelist.node").len(), report);
    let window = Window::check(&totem, report);
    let protection = protection(&totem, directory, host, report);
    let cluster = nodes::check(document, host, report);
    let ipc = ipc(document, uidgid_files, host, report);
    let logging = logging(&document.once("logging"), report);
    let state_dir = absolute(directory, &document.once("system").text("state_dir").value);

    let (cluster, protection) = (cluster?, protection?);
    let links = links(&totem, &timers, &cluster, protection)?;
    if let (Err(error), false) = (links.check(), report.has_errors()) {
        report.error(&totem.place, error.to_string());
    }
    let ring = ring(&timers, &window, &links);
    Some(Config {
        executive: ExecutiveSettings { ring, links, address: cluster.local.address },
        cluster,
        ipc: ipc?,
        logging,
        system: SystemSettings { state_dir },
        warnings: Vec::new(),
    })
}

/// What the totem section says about time.
struct Timers {
    token: Setting<u64>,
    token_retransmit: Setting<u64>,
    hold: Setting<u64>,
    join: Setting<u64>,
    consensus: Setting<u64>,
    merge: Setting<u64>,
    heartbeat: Setting<u64>,
    peer_timeout: Setting<u64>,
}

impl Timers {
    fn check(totem: &Found, nodes: usize, report: &mut Report) -> Self {
        let token = effective_token(totem, nodes);
        let retransmits = totem.integer("token_retransmits_before_loss_const");
        let token_retransmit = totem.integer("token_retransmit").or_derived(
            (token.value * 10 / (retransmits.value * 10 + 2)).max(2),
            "computed from token".to_owned(),
            &[&retransmits, &token],
        );
        let hold = totem.integer("hold").or_derived(
            (token_retransmit.value * 8 / 10).saturating_sub(10).max(token_retransmit.value / 2),
            "computed from token_retransmit".to_owned(),
            &[&token_retransmit],
        );
        let consensus = totem.integer("consensus").or_derived(
            (token.value * 12).div_ceil(10),
            "1.2 * token".to_owned(),
            &[&token],
        );
        let heartbeat = totem.integer("heartbeat");
        let peer_timeout = totem.integer("peer_timeout").or_derived(
            token.value.max(3 * heartbeat.value),
            "computed from token and heartbeat".to_owned(),
            &[&token, &heartbeat],
        );
        let (join, merge) = (totem.integer("join"), totem.integer("merge"));
        let timers = Self { token, token_retransmit, hold, join, consensus, merge, heartbeat, peer_timeout };
        timers.relations(report);
        timers
    }

    fn relations(&self, report: &mut Report) {
        below(&self.token_retransmit, &self.token, report);
        below(&self.hold, &self.token_retransmit, report);
        below(&self.join, &self.consensus, report);
        at_least(&self.consensus, (12, 10), "1.2 * ", &self.token, report);
        at_least(&self.peer_timeout, (3, 1), "3 * ", &self.heartbeat, report);
    }
}

/// The token timeout that nodes work with: longer for larger clusters.
fn effective_token(totem: &Found, nodes: usize) -> Setting<u64> {
    let (token, coefficient) = (totem.integer("token"), totem.integer("token_coefficient"));
    let above_two = u64::try_from(nodes.min(nodes::NODES_MAX)).unwrap_or(0).saturating_sub(2);
    if above_two == 0 || coefficient.value == 0 {
        return token;
    }
    let value = token.value + above_two * coefficient.value;
    let how = format!("{} ms + {above_two} * {} ms for {nodes} nodes", token.value, coefficient.value);
    token.derived(value, how, &[&token, &coefficient])
}

/// What the totem section says about the number of frames.
struct Window {
    window_size: Setting<u64>,
    max_messages: Setting<u64>,
    seqno_unchanged_const: Setting<u64>,
}

impl Window {
    fn check(totem: &Found, report: &mut Report) -> Self {
        let window_size = totem.integer("window_size");
        let max_messages = totem.integer("max_messages");
        // A smaller window alone makes the default too large, which is nobody's fault.
        let max_messages = if max_messages.is_given() || max_messages.is_invalid() {
            max_messages
        } else {
            let value = max_messages.value.min(window_size.value);
            max_messages.derived(value, "at most window_size".to_owned(), &[&window_size])
        };
        violated(
            &max_messages,
            &window_size,
            max_messages.value > window_size.value,
            "be more than ",
            report,
        );
        Self { window_size, max_messages, seqno_unchanged_const: totem.integer("seqno_unchanged_const") }
    }
}

/// `small` must be less than `large`.
fn below(small: &Setting<u64>, large: &Setting<u64>, report: &mut Report) {
    if small.value >= large.value && !small.is_invalid() && !large.is_invalid() {
        complain(small, large, &format!("{}, but must be less than {large}", small.statement()), report);
    }
}

/// `large` must be at least `ratio` times `small`.
fn at_least(
    large: &Setting<u64>,
    (times, of): (u64, u64),
    ratio: &str,
    small: &Setting<u64>,
    report: &mut Report,
) {
    violated(large, small, large.value * of < small.value * times, &format!("be less than {ratio}"), report);
}

fn violated(subject: &Setting<u64>, other: &Setting<u64>, wrong: bool, must_not: &str, report: &mut Report) {
    if wrong && !subject.is_invalid() && !other.is_invalid() {
        let message = format!("{}, but must not {must_not}{other}", subject.statement());
        complain(subject, other, &message, report);
    }
}

/// Reports a broken rule at the first of the two that the file has a hand in.
fn complain(subject: &Setting<u64>, other: &Setting<u64>, message: &str, report: &mut Report) {
    if let Some(place) = subject.place().or(other.place()) {
        report.error(&place.clone(), message);
    } else {
        debug_assert!(false, "the defaults break a rule: {message}");
    }
}

/// How packets are protected; reads the key file.
fn protection(totem: &Found, directory: &Path, host: &dyn Host, report: &mut Report) -> Option<Protection> {
    let (cipher, hash) = (totem.text("crypto_cipher"), totem.text("crypto_hash"));
    let cleartext = totem.boolean("insecure_cleartext");
    if cipher.is_invalid() || hash.is_invalid() || cleartext.is_invalid() {
        return None;
    }
    let place = hash.place().or(cipher.place()).unwrap_or(&totem.place);
    let encrypted = cipher.value != "none";
    let hashed = hash.value != "none";
    match (encrypted, hashed) {
        (true, false) => {
            let message = "crypto_hash is \"none\", but crypto_cipher \"aes256\" always authenticates; remove crypto_hash";
            report.error(place, message);
            return None;
        }
        (false, false) if !cleartext.value => {
            let message = "crypto_cipher and crypto_hash are \"none\", which leaves the cluster without any \
                           protection; if that is what you want, add insecure_cleartext = true";
            report.error(place, message);
            return None;
        }
        (false, false) => {
            let message =
                "the cluster has no protection: anybody who can send packets to a node can take part in it";
            report.warning(cleartext.place().unwrap_or(place), message);
            return Some(Protection::Cleartext);
        }
        _ => {}
    }
    if let (true, Some(place)) = (cleartext.value, cleartext.place()) {
        report.warning(place, "insecure_cleartext has no effect: packets are protected; remove it");
    }
    if !encrypted {
        report.warning(place, "packets are authenticated, but everybody on the network can read them");
    }
    let key = key(totem, directory, host, report)?;
    Some(if encrypted { Protection::Aes256Gcm(key) } else { Protection::HmacSha256(key) })
}

fn key(
    totem: &Found,
    directory: &Path,
    host: &dyn Host,
    report: &mut Report,
) -> Option<protocol::seal::ClusterKey> {
    let keyfile = totem.text("keyfile");
    if keyfile.is_invalid() {
        return None;
    }
    let place = keyfile.place().unwrap_or(&totem.place);
    let path = absolute(directory, &keyfile.value);
    match host.key(&path) {
        Ok(file) => {
            if let Some(mode) = file.group_mode {
                let name = quoted(&path.to_string_lossy());
                report.warning(place, format!("the key file {name} is open to its group (mode {mode:04o})"));
            }
            Some(file.key)
        }
        Err(error) => {
            let name = quoted(&path.to_string_lossy());
            let hint = match &error {
                KeyFileError::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                    "; make one with corosync-keygen and copy it to all nodes"
                }
                _ => "",
            };
            report.error(place, format!("the key file {name} cannot be used: {error}{hint}"));
            None
        }
    }
}

fn absolute(directory: &Path, path: &str) -> PathBuf {
    let path = directory.join(path);
    std::path::absolute(&path).unwrap_or(path)
}

/// `None` only for values that cannot be, since the table of keys has their ranges.
fn links(
    totem: &Found,
    timers: &Timers,
    cluster: &ClusterSettings,
    protection: Protection,
) -> Option<LinkSettings> {
    let local = cluster.local.node;
    let peers = cluster.nodes.iter().filter(|node| node.node != local);
    Some(LinkSettings {
        node: local,
        protection,
        cluster_name: cluster.name.clone(),
        peers: peers.map(|peer| PeerSettings { node: peer.node, address: peer.address }).collect(),
        netmtu: u16::try_from(totem.integer("netmtu").value).ok()?,
        heartbeat: duration(&timers.heartbeat),
        peer_timeout: duration(&timers.peer_timeout),
    })
}

fn ring(timers: &Timers, window: &Window, links: &LinkSettings) -> RingSettings {
    RingSettings {
        node: links.node,
        token_timeout: duration(&timers.token),
        token_retransmit: duration(&timers.token_retransmit),
        token_hold: duration(&timers.hold),
        join: duration(&timers.join),
        consensus: duration(&timers.consensus),
        merge: duration(&timers.merge),
        listen: LISTEN,
        window_size: count(&window.window_size),
        max_messages: count(&window.max_messages),
        seqno_unchanged_const: count(&window.seqno_unchanged_const),
        frame_bytes_max: links.frame_bytes_max(),
        message_bytes_max: MESSAGE_BYTES_MAX,
        send_queue_bytes_max: SEND_QUEUE_BYTES_MAX,
        peers: links.peers.len(),
    }
}

fn duration(setting: &Setting<u64>) -> Duration {
    Duration::from_millis(setting.value)
}

fn count(setting: &Setting<u64>) -> u32 {
    u32::try_from(setting.value).unwrap_or(u32::MAX)
}

/// How local programs connect, and whose.
fn ipc(
    document: &Document,
    uidgid_files: &[Document],
    host: &dyn Host,
    report: &mut Report,
) -> Option<IpcSettings> {
    let system = document.once("system");
    let transport = match system.text("qb_ipc_type").value.as_str() {
        "socket" => IpcTransport::Socket,
        _ => IpcTransport::SharedMemory,
    };
    let instance = system.text("ipc_instance");
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '.';
    if let (Some(place), false) = (instance.place(), instance.value.chars().all(plain)) {
        report.error(place, "ipc_instance must consist of letters, digits, \"_\" and \".\"");
    }
    let (mut uids, mut gids) = (BTreeSet::new(), BTreeSet::new());
    for section in [document].into_iter().chain(uidgid_files).flat_map(|file| file.repeated("uidgid")) {
        if !section.has("uid") && !section.has("gid") {
            report.error(&section.place, "[[uidgid]] has neither `uid` nor `gid`");
        }
        uids.extend(account(section, "uid", "user", &|name| host.user(name), report));
        gids.extend(account(section, "gid", "group", &|name| host.group(name), report));
    }
    let instance = Some(instance.value).filter(|name| !name.is_empty());
    Some(IpcSettings { transport, instance, uids, gids })
}

/// The number of a user or group; `None` if the section has none or the system does not know it.
fn account(
    section: &Found,
    key: &'static str,
    kind: &str,
    look_up: &dyn Fn(&str) -> io::Result<Option<u32>>,
    report: &mut Report,
) -> Option<u32> {
    let setting = section.account(key);
    let place: &Place = setting.place()?;
    let name = match setting.value.as_ref()? {
        Account::Number(number) => return Some(*number),
        Account::Name(name) => name,
    };
    match look_up(name) {
        Ok(Some(number)) => return Some(number),
        Ok(None) => report.error(place, format!("there is no {kind} {} on this machine", quoted(name))),
        Err(error) => report.error(place, format!("cannot look up {kind} {}: {error}", quoted(name))),
    }
    None
}

fn logging(section: &Found, report: &mut Report) -> LoggingSettings {
    let (debug, level) = (section.boolean("debug"), section.text("level"));
    if let (true, true, Some(level_place), Some(debug_place)) =
        (debug.is_given(), level.is_given(), level.place(), debug.place())
        && debug.value != (level.value == "debug" || level.value == "trace")
    {
        let message = format!(
            "level is \"{}\", but debug is {} on line {}",
            level.value, debug.value, debug_place.line
        );
        report.error(level_place, message);
    }
    let level = match level.value.as_str() {
        "trace" => LogLevel::Trace,
        _ if debug.value => LogLevel::Debug,
        "debug" => LogLevel::Debug,
        "warn" => LogLevel::Warn,
        "error" => LogLevel::Error,
        _ => LogLevel::Info,
    };
    let timestamp = match section.text("timestamp").value.as_str() {
        "off" => Timestamp::Off,
        "on" => Timestamp::On,
        _ => Timestamp::Hires,
    };
    LoggingSettings {
        to_stderr: section.boolean("to_stderr").value,
        to_syslog: section.boolean("to_syslog").value,
        level,
        timestamp,
    }
}
