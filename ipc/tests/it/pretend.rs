//! A one-node cpg service on the real server.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    os::{fd::AsFd, unix::net::UnixStream},
    sync::mpsc,
};

use ipc::{
    message::{
        self, ClientId, CsError, RingId,
        cpg::{Address, Event, GroupName, IterationKind, JOIN_INITIAL_TOTEM_CONF, Reason, Reply, Request},
    },
    server::{Input, Server},
};
use rustix::event::{PollFd, PollFlags, poll};

/// The service itself.
pub(crate) struct Pretend {
    server: Server,
    observe: Box<dyn FnMut(&Input) + Send>,
    members: BTreeMap<ClientId, (GroupName, u32)>,
    iterations: BTreeMap<(ClientId, u64), std::vec::IntoIter<(GroupName, Address)>>,
    handle: u64,
}

const NODE: u32 = 1;

impl Pretend {
    /// Serves; `observe` sees every input first.
    pub(crate) fn new(server: Server, observe: Box<dyn FnMut(&Input) + Send>) -> Self {
        Self { server, observe, members: BTreeMap::new(), iterations: BTreeMap::new(), handle: 0 }
    }

    /// Runs until a command says stop. One octet on `wake` announces each command.
    pub(crate) fn run(&mut self, wake: &UnixStream, commands: &mpsc::Receiver<Command>) {
        let mut inputs = Vec::new();
        loop {
            let server = self.server.as_fd();
            let mut polled =
                [PollFd::from_borrowed_fd(server, PollFlags::IN), PollFd::new(wake, PollFlags::IN)];
            poll(&mut polled, None).expect("poll");
            if !polled[1].revents().is_empty() {
                std::io::Read::read(&mut &*wake, &mut [0]).expect("a command");
                let command = commands.recv().expect("a command for each octet");
                if command(&mut self.server).is_break() {
                    return;
                }
            }
            while self.server.poll(&mut inputs) || !inputs.is_empty() {
                for input in inputs.drain(..) {
                    (self.observe)(&input);
                    self.handle(input);
                }
                self.server.flush();
            }
        }
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Joined { .. } => {}
            Input::Request { client, request: message::Request::Cpg(request) } => {
                self.request(client, request);
            }
            Input::Request { client, request: message::Request::Cfg(_) | message::Request::Unknown } => {
                self.server.reply(client, &message::Reply::Refused(CsError::InvalidParam));
            }
            Input::Gone { client, .. } => self.leave(client, Reason::ProcDown),
        }
    }

    fn reply(&mut self, client: ClientId, reply: Reply) {
        self.server.reply(client, &message::Reply::Cpg(reply));
    }

    fn request(&mut self, client: ClientId, request: Request) {
        match request {
            Request::Join { group: None, .. } => self.reply(client, Reply::Join(CsError::NameTooLong)),
            Request::Join { group: Some(group), pid, flags } => self.join(client, group, pid, flags),
            Request::Leave { .. } => {
                let known = self.members.contains_key(&client);
                self.reply(client, Reply::Leave(if known { CsError::Ok } else { CsError::NotExist }));
                self.tell_left(client, Reason::Leave);
            }
            Request::Multicast { message, .. } => {
                if let Some(&(group, pid)) = self.members.get(&client) {
                    self.tell(group, Event::Deliver { group, nodeid: NODE, pid, message });
                }
            }
            Request::ZeroCopyExecute { message, .. } => match self.members.get(&client).copied() {
                Some((group, pid)) => {
                    self.reply(client, Reply::ZeroCopyExecute(CsError::Ok));
                    self.tell(group, Event::Deliver { group, nodeid: NODE, pid, message });
                }
                None => self.reply(client, Reply::ZeroCopyExecute(CsError::NotExist)),
            },
            Request::PartialMulticast { message_bytes, kind: Some(kind), fragment, .. } => {
                match self.members.get(&client).copied() {
                    Some((group, pid)) => {
                        self.reply(client, Reply::PartialMulticast(CsError::Ok));
                        let nodeid = NODE;
                        self.tell(
                            group,
                            Event::PartialDeliver { group, nodeid, pid, message_bytes, kind, fragment },
                        );
                    }
                    None => self.reply(client, Reply::PartialMulticast(CsError::NotExist)),
                }
            }
            Request::PartialMulticast { kind: None, .. } => {
                self.reply(client, Reply::PartialMulticast(CsError::InvalidParam));
            }
            Request::MembershipGet { group } => {
                let members = group.map(|group| self.addresses(group)).unwrap_or_default();
                self.reply(client, Reply::MembershipGet(members));
            }
            Request::LocalGet => self.reply(client, Reply::LocalGet { nodeid: NODE }),
            Request::IterationInitialize { group, kind } => {
                self.handle += 1;
                let entries = self.entries(kind.unwrap_or(IterationKind::All), group);
                self.iterations.insert((client, self.handle), entries.into_iter());
                self.reply(client, Reply::IterationInitialize(Ok(self.handle)));
            }
            Request::IterationNext { handle } => {
                let reply = match self.iterations.get_mut(&(client, handle)) {
                    Some(entries) => entries.next().ok_or(CsError::NoSections),
                    None => Err(CsError::Library),
                };
                self.reply(client, Reply::IterationNext(reply));
            }
            Request::IterationFinalize { handle } => {
                let known = self.iterations.remove(&(client, handle)).is_some();
                self.reply(
                    client,
                    Reply::IterationFinalize(if known { CsError::Ok } else { CsError::Library }),
                );
            }
            Request::Finalize => {
                self.reply(client, Reply::Finalize(CsError::Ok));
                self.leave(client, Reason::ProcDown);
                self.server.disconnect(client);
            }
        }
    }

    fn join(&mut self, client: ClientId, group: GroupName, pid: u32, flags: u32) {
        if self.members.contains_key(&client) {
            return self.reply(client, Reply::Join(CsError::Exist));
        }
        self.members.insert(client, (group, pid));
        self.reply(client, Reply::Join(CsError::Ok));
        let members = self.addresses(group);
        let joined = vec![Address { nodeid: NODE, pid, reason: Reason::Join }];
        self.tell(group, Event::ConfigurationChange { group, members, joined, left: Vec::new() });
        if flags & JOIN_INITIAL_TOTEM_CONF != 0 {
            let ring = RingId { nodeid: NODE, seq: 4 };
            let event = Event::TotemConfigurationChange { ring, members: vec![NODE] };
            self.server.notify(client, &message::Event::Cpg(event));
        }
    }

    fn leave(&mut self, client: ClientId, reason: Reason) {
        self.iterations.retain(|(owner, _), _| *owner != client);
        if let Some((group, pid)) = self.members.remove(&client) {
            self.tell_left_of(group, pid, reason, None);
        }
    }

    /// The one who leaves is told as well.
    fn tell_left(&mut self, client: ClientId, reason: Reason) {
        if let Some((group, pid)) = self.members.remove(&client) {
            self.tell_left_of(group, pid, reason, Some(client));
        }
    }

    fn tell_left_of(&mut self, group: GroupName, pid: u32, reason: Reason, also: Option<ClientId>) {
        let members = self.addresses(group);
        let left = vec![Address { nodeid: NODE, pid, reason }];
        let event = Event::ConfigurationChange { group, members, joined: Vec::new(), left };
        if let Some(client) = also {
            self.server.notify(client, &message::Event::Cpg(event.clone()));
        }
        self.tell(group, event);
    }

    fn tell(&mut self, group: GroupName, event: Event) {
        let event = message::Event::Cpg(event);
        for (client, (joined, _)) in &self.members {
            if *joined == group {
                self.server.notify(*client, &event);
            }
        }
    }

    fn addresses(&self, group: GroupName) -> Vec<Address> {
        let mut addresses: Vec<_> = self
            .members
            .values()
            .filter(|(joined, _)| *joined == group)
            .map(|(_, pid)| Address { nodeid: NODE, pid: *pid, reason: Reason::Undefined })
            .collect();
        addresses.sort_by_key(|address| address.pid);
        addresses
    }

    fn entries(&self, kind: IterationKind, group: Option<GroupName>) -> Vec<(GroupName, Address)> {
        let mut entries: Vec<_> = self
            .members
            .values()
            .map(|&(group, pid)| (group, Address { nodeid: NODE, pid, reason: Reason::Undefined }))
            .collect();
        entries.sort_by_key(|(group, address)| (*group, address.pid));
        match kind {
            IterationKind::All => {}
            IterationKind::OneGroup => entries.retain(|(name, _)| Some(*name) == group),
            IterationKind::NameOnly => {
                entries.dedup_by_key(|(name, _)| *name);
                for (_, address) in &mut entries {
                    *address = Address { nodeid: 0, pid: 0, reason: Reason::Undefined };
                }
            }
        }
        entries
    }
}

/// What the thread of the service is told to do between two batches.
pub(crate) type Command = Box<dyn FnOnce(&mut Server) -> ControlFlow<()> + Send>;
