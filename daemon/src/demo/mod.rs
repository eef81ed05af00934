//! `corosync demo`: a cluster on this machine that shows what it does.
//!
//! Real daemons of this very binary on loopback addresses, with a fresh key and everything else in a
//! temporary directory, and real clients of them in this process. Whatever happens, nothing of it stays.

mod cluster;
mod member;
mod story;
mod timeline;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use self::{cluster::Cluster, story::Story, timeline::Timeline};
use crate::cli::Exit;

/// After this long something is wrong.
const TIME_MAX: Duration = Duration::from_secs(19);

/// Why the demonstration ended early.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the cluster cannot be set up: {0}")]
    Setup(String),
    #[error("node {node}: {error}")]
    Client { node: u32, error: ipc::client::ClientError },
    #[error("{what} did not happen within {limit:?}")]
    TooLate { what: String, limit: Duration },
    #[error("{0}")]
    Wrong(String),
    #[error("it took longer than {TIME_MAX:?}")]
    Overtime,
    #[error("interrupted")]
    Interrupted,
}

/// Runs the demonstration with this many nodes.
pub(crate) fn run(nodes: u8) -> Exit {
    let timeline = Timeline::start();
    let cluster = match Cluster::prepare(nodes) {
        Ok(cluster) => Arc::new(Mutex::new(cluster)),
        Err(failed) => {
            timeline.failed(&failed.to_string());
            return Exit::Demo;
        }
    };
    let outcome = play(&cluster, &timeline);
    let mut cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(failed) = &outcome {
        timeline.failed(&failed.to_string());
        if !matches!(failed, Failed::Interrupted) {
            cluster.logs().iter().for_each(|(node, lines)| timeline.log(*node, lines));
        }
    }
    cluster.close();
    match outcome {
        Ok(()) => {
            timeline.end();
            Exit::Done
        }
        Err(_) => Exit::Demo,
    }
}

/// Plays the story on a thread of its own, so that a signal or the end of the time can break in.
fn play(cluster: &Arc<Mutex<Cluster>>, timeline: &Timeline) -> Result<(), Failed> {
    let setup = |error: io::Error| Failed::Setup(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(setup)?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(setup)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(setup)?;
        let (tell, told) = oneshot::channel();
        let mut story = Story::new(Arc::clone(cluster), timeline.clone());
        let actor = move || {
            let _ = tell.send(story.play());
        };
        thread::Builder::new().name("story".to_owned()).spawn(actor).map_err(setup)?;
        tokio::select! {
            outcome = told => outcome.unwrap_or_else(|_| Err(Failed::Wrong("the story broke off".to_owned()))),
            _ = interrupt.recv() => Err(Failed::Interrupted),
            _ = terminate.recv() => Err(Failed::Interrupted),
            () = tokio::time::sleep(TIME_MAX) => Err(Failed::Overtime),
        }
    })
}
