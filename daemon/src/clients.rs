//! Local programs: what they ask goes to the node, what the node tells them goes out.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use config::{IpcSettings, IpcTransport};
use ipc::{
    message::{ClientId, Event, Reply, Service},
    server::{AccessRules, BindError, Input, Limits, Server, ServerSettings, Transport},
};
use services::{
    Executive,
    executive::{ClientChange, FlowControl},
};

use crate::net::Left;

/// The server of local programs, as the loop sees it.
#[derive(Debug)]
pub(crate) struct Clients {
    server: Server,
    /// Whether something was handed to the server since it last rang the clients' bells.
    unflushed: bool,
}

impl Clients {
    /// Takes the names of the sockets. Programs that connect are told to come back later until
    /// [`accept`](Self::accept).
    ///
    /// # Errors
    ///
    /// If a name is taken, by a corosync that runs already, or a socket cannot be made.
    pub(crate) fn bind(settings: &IpcSettings) -> Result<Self, BindError> {
        let server = Server::bind(ServerSettings {
            services: vec![Service::Cfg, Service::Cpg],
            instance: settings.instance.clone(),
            transport: match settings.transport {
                IpcTransport::SharedMemory => Transport::SharedMemory,
                IpcTransport::Socket => Transport::Socket,
            },
            rules: AccessRules { uids: settings.uids.clone(), gids: settings.gids.clone() },
            limits: Limits::default(),
        })?;
        Ok(Self { server, unflushed: false })
    }

    /// A descriptor to wait on; readable while a program wants something.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.server.as_fd().try_clone_to_owned()
    }

    /// From now on programs may connect, or they may not.
    pub(crate) fn accept(&mut self, accepting: bool) {
        self.server.set_accepting(accepting);
    }

    /// The next of what programs want; a bounded number.
    pub(crate) fn poll(&mut self, inputs: &mut Vec<Input>) -> Left {
        if self.server.poll(inputs) { Left::More } else { Left::Nothing }
    }

    /// Answers a request.
    pub(crate) fn reply(&mut self, client: ClientId, reply: &Reply) {
        self.server.reply(client, reply);
        self.unflushed = true;
    }

    /// Tells a program something.
    pub(crate) fn notify(&mut self, client: ClientId, event: &Event) {
        self.server.notify(client, event);
        self.unflushed = true;
    }

    /// Ends a connection, after what was handed in for it before.
    pub(crate) fn disconnect(&mut self, client: ClientId) {
        self.server.disconnect(client);
        self.unflushed = true;
    }

    /// What programs may send from now on.
    pub(crate) fn set_flow_control(&mut self, flow_control: FlowControl) {
        self.server.set_flow_control(flow_control as u32);
        self.unflushed = true;
    }

    /// Wakes the programs for which something was handed in: once each, however much it was.
    pub(crate) fn flush(&mut self) {
        if std::mem::take(&mut self.unflushed) {
            self.server.flush();
        }
    }
}

/// Gives the node what a program wants.
pub(crate) fn hand_in(node: &mut Executive, now: protocol::Instant, input: Input) {
    match input {
        Input::Joined { client, service, .. } => {
            node.handle_client(now, client, ClientChange::Joined(service));
        }
        Input::Request { client, request } => node.handle_request(now, client, request),
        // The server has logged why.
        Input::Gone { client, .. } => node.handle_client(now, client, ClientChange::Gone),
    }
}
