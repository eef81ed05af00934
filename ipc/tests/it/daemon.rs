//! A pretend service in a thread of its own.

use std::{
    io::Write,
    ops::ControlFlow,
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
    server::{AccessRules, GoneCause, Input, Limits, Server, ServerSettings, Transport},
};

use crate::pretend::{Command, Pretend};

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
    gone: mpsc::Receiver<(ClientId, GoneCause)>,
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
        let (sender, gone) = mpsc::channel();
        let observe = Box::new(move |input: &Input| {
            if let Input::Gone { client, cause } = input {
                // Not every test looks.
                let _ = sender.send((*client, *cause));
            }
        });
        let thread = std::thread::spawn(move || Pretend::new(server, observe).run(&wake, &received));
        Self { gone, control, commands, thread: Some(thread) }
    }

    /// Runs this on the server and waits until it is done.
    pub(crate) fn with<T: Send + 'static>(&self, act: impl FnOnce(&mut Server) -> T + Send + 'static) -> T {
        let (done, wait) = mpsc::channel();
        self.command(Box::new(move |server| {
            let _ = done.send(act(server));
            ControlFlow::Continue(())
        }));
        wait.recv().expect("it runs")
    }

    /// Why the next client that is gone is gone.
    pub(crate) fn gone(&self) -> GoneCause {
        self.gone.recv_timeout(Duration::from_secs(10)).expect("a client goes").1
    }

    fn command(&self, command: Command) {
        self.commands.send(command).expect("it runs");
        (&self.control).write_all(&[0]).expect("it listens");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.commands.send(Box::new(|_| ControlFlow::Break(())));
        let _ = (&self.control).write_all(&[0]);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the daemon panicked");
        }
    }
}
