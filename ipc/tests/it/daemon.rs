//! A pretend service in a thread of its own.

use std::{
    io::Write,
    os::unix::net::UnixStream,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use ipc::{
    message::{ClientId, Service},
    server::{AccessRules, GoneCause, Limits, Server, ServerSettings, Transport},
};

use crate::pretend::{Command, Pretend, Seen};

/// A name that no other test uses at the same time.
pub(crate) fn instance(test: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t{}-{}-{test}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn settings(instance: &str, transport: Transport) -> ServerSettings {
    ServerSettings {
        services: vec![Service::Cpg],
        instance: Some(instance.to_owned()),
        transport,
        rules: AccessRules::default(),
        limits: Limits::default(),
    }
}

/// A running service; stops when dropped.
pub(crate) struct Daemon {
    pub(crate) seen: mpsc::Receiver<Seen>,
    control: UnixStream,
    commands: mpsc::Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    pub(crate) fn start(settings: ServerSettings) -> Self {
        let mut server = Server::bind(settings).expect("the sockets are free");
        server.set_accepting(true);
        let (control, wake) = UnixStream::pair().expect("sockets");
        let (commands, received) = mpsc::channel();
        let (sender, seen) = mpsc::channel();
        let thread = std::thread::spawn(move || Pretend::new(server, sender).run(&wake, &received));
        Self { seen, control, commands, thread: Some(thread) }
    }

    pub(crate) fn command(&self, command: Command) {
        self.commands.send(command).expect("it runs");
        (&self.control).write_all(&[0]).expect("it listens");
    }

    /// Runs this on the server and waits until it is done.
    pub(crate) fn with(&self, act: impl FnOnce(&mut Server) + Send + 'static) {
        let (done, wait) = mpsc::channel();
        self.command(Command::Do(Box::new(act), done));
        wait.recv().expect("it runs");
    }

    /// The next client that is gone, and why.
    pub(crate) fn gone(&self) -> (ClientId, GoneCause) {
        loop {
            match self.seen.recv_timeout(Duration::from_secs(10)).expect("a client goes") {
                Seen::Gone(client, cause) => return (client, cause),
                Seen::Joined(..) => {}
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        let _ = (&self.control).write_all(&[0]);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the daemon panicked");
        }
    }
}
