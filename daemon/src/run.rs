//! The daemon's life: everything is made ready, the loop turns, everything is put away.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use config::Config;
use ipc::server::BindError;
use protocol::{BootId, ring::Boot};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use services::Executive;
use tracing::{error, info, warn};

use crate::{
    cli::Exit,
    clients::Clients,
    clock,
    driver::{Driver, Signals, Wish},
    log,
    net::Socket,
    state_dir::{Loaded, Origin, RingSeqStore, StateDir},
    systemd::Manager,
};

/// Time between two attempts to bind to an address that is not there.
const BIND_RETRY: Duration = Duration::from_millis(250);

/// Time between two lines about an address that is not there.
const BIND_REMINDER: Duration = Duration::from_secs(30);

/// Runs a node until it has left the cluster.
pub(crate) fn run(file: &Path) -> Exit {
    // Before the key is read: it must not end up in a core file, nor be read by another process of the
    // same user.
    let dumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let config = match config::load(file) {
        Ok(config) => config,
        Err(diagnostics) => {
            eprintln!("{diagnostics}");
            return Exit::Config;
        }
    };
    let _flush = match log::start(&config.logging) {
        Ok(flush) => flush,
        Err(error) => {
            eprintln!("corosync: {error}");
            return Exit::System;
        }
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        node = %config.cluster.local.node,
        cluster = config.cluster.name,
        nodes = config.cluster.nodes.len(),
        "corosync starts"
    );
    if let Err(error) = dumpable {
        warn!(%error, "the cluster key is not kept out of core files");
    }
    config.warnings.iter().for_each(|warning| warn!("{warning}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(start(config)).unwrap_or_else(|failed| failed.exit()),
        Err(error) => Failed::System("the event loop cannot be made", error).exit(),
    };
    info!(status = exit as u8, "corosync ends");
    exit
}

/// Why a node did not even start.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    StateDir(#[from] crate::state_dir::StateDirError),
    #[error("local programs cannot be served: {0}")]
    Ipc(#[from] BindError),
    #[error("another program uses {0}; does corosync run already?")]
    Running(SocketAddr),
    #[error("socket for {0} cannot be made: {1}")]
    Socket(SocketAddr, io::Error),
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
}

impl Failed {
    /// Says so, and what the exit status is.
    fn exit(self) -> Exit {
        error!("{self}");
        match self {
            Self::StateDir(_) => Exit::StateDir,
            Self::Running(_) | Self::Ipc(BindError::InUse { .. }) => Exit::Running,
            Self::Ipc(_) => Exit::Ipc,
            Self::Socket(..) | Self::System(..) => Exit::System,
        }
    }
}

async fn start(config: Config) -> Result<Exit, Failed> {
    let manager = Manager::from_env();
    let mut signals = Signals::new().map_err(|error| Failed::System("signals cannot be caught", error))?;
    let local = &config.cluster.local;
    let state = StateDir::open(&config.system.state_dir, local.node)?;
    let loaded = state.load();
    tell_loaded(&state, &loaded);
    let store = RingSeqStore::start(state, loaded.ring_seq)
        .map_err(|error| Failed::System("thread for the state directory cannot be started", error))?;
    let clients = Clients::bind(&config.ipc)?;
    let Some(socket) = bind(local.address, &mut signals, &manager).await? else { return Ok(Exit::Done) };
    let boot = Boot { id: BootId(random()?), seed: random()?, ring_seq: loaded.ring_seq };
    let node = Executive::new(config.executive, boot, clock::now());
    let driver = Driver::new(node, socket, clients, store, signals, manager)
        .map_err(|error| Failed::System("the event loop cannot be made", error))?;
    Ok(driver.run().await)
}

/// A socket on `address`, as soon as an interface has it. `None` if the daemon is to end before.
async fn bind(
    address: SocketAddr,
    signals: &mut Signals,
    manager: &Manager,
) -> Result<Option<Socket>, Failed> {
    let mut told: Option<Instant> = None;
    loop {
        match Socket::bind(address) {
            Ok(socket) => {
                if told.is_some() {
                    info!(%address, "this node's address is there");
                }
                return Ok(Some(socket));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(Failed::Running(address)),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                if told.is_none_or(|told| told.elapsed() >= BIND_REMINDER) {
                    warn!(%address, "no interface has this node's address yet; waiting for it");
                    manager.status(&format!("waiting for this node's address {}", address.ip()));
                    told = Some(Instant::now());
                }
            }
            Err(error) => return Err(Failed::Socket(address, error)),
        }
        tokio::select! {
            () = tokio::time::sleep(BIND_RETRY) => {}
            wish = signals.wish() => if wish == Wish::End { return Ok(None) },
        }
    }
}

fn tell_loaded(state: &StateDir, loaded: &Loaded) {
    let file = state.ring_seq_file();
    let file = file.display();
    match &loaded.origin {
        Origin::Stored => {
            info!(ring.seq = %loaded.ring_seq, "ring sequence is read from the state directory");
        }
        Origin::Missing => info!(%file, "no ring sequence is stored: this is the first start of this node"),
        Origin::Unusable(cause) => error!(
            %file, %cause, ring.seq = %loaded.ring_seq,
            "stored ring sequence cannot be believed; going on far above anything it can have been"
        ),
    }
}

fn random() -> Result<u64, Failed> {
    getrandom::u64().map_err(|error| Failed::System("no random numbers", io::Error::other(error)))
}
