//! A pretend cpg service: one node that is alone and orders messages as they come.
//!
//! ```text
//! cpg_echo [--socket] [--instance NAME] [PROGRAM [ARGUMENT...]]
//! ```
//!
//! Serves until the program ends, and ends as it did; without a program it serves for ever. Without
//! an instance it takes the name that programs linked against corosync's library look for, so run
//! it in a network namespace of its own (`unshare -n`) where a real daemon may be.

use std::{
    io::Write,
    ops::ControlFlow,
    os::unix::net::UnixStream,
    process::{Command as Process, ExitCode},
    sync::mpsc,
};

use ipc::{
    message::Service,
    server::{AccessRules, Limits, Server, ServerSettings, Transport},
};

#[path = "../tests/it/pretend.rs"]
mod pretend;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut transport = Transport::SharedMemory;
    let mut instance = None;
    let mut arguments = std::env::args().skip(1).peekable();
    while let Some(option) = arguments.next_if(|argument| argument.starts_with("--")) {
        match option.as_str() {
            "--socket" => transport = Transport::Socket,
            "--instance" => instance = arguments.next(),
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    let mut server = Server::bind(ServerSettings {
        services: vec![Service::Cpg],
        instance,
        transport,
        rules: AccessRules::default(),
        limits: Limits::default(),
    })?;
    server.set_accepting(true);

    let (mut stop, wake) = UnixStream::pair()?;
    let (commands, received) = mpsc::channel();
    let mut pretend = pretend::Pretend::new(server, Box::new(|_| ()));
    let service = std::thread::spawn(move || pretend.run(&wake, &received));
    let code = match arguments.next() {
        Some(program) => Process::new(program).args(arguments).status()?.code().unwrap_or(1),
        None => {
            std::thread::park();
            0
        }
    };
    let end: pretend::Command = Box::new(|_| ControlFlow::Break(()));
    commands.send(end).map_err(|_| "the service is gone")?;
    stop.write_all(&[0])?;
    service.join().map_err(|_| "the service panicked")?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
