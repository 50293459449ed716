//! Connections: dialled ahead, handed out, kept, and given up.

use std::{io, os::fd::OwnedFd};

use rustix::event::epoll;

use super::{
    Connection, GapSink, NEVER, Reactor, State,
    server::{Dial, Server},
    slots::SlotKey,
    socket,
};
use crate::{dial::out_of_sockets, exchange::Ending, run::chain};

impl<G: GapSink> Reactor<G> {
    /// A free connection that lives, the most recently used first.
    pub(super) fn take_idle(&mut self, server: usize) -> Option<SlotKey> {
        while let Some(key) = self.servers[server].take_idle() {
            if self
                .connections
                .get(key)
                .is_some_and(|connection| matches!(connection.state, State::Idle))
            {
                return Some(key);
            }
        }
        None
    }

    /// A connection has nothing to do: the request that has waited longest takes it.
    pub(super) fn free(&mut self, key: SlotKey, now_ns: i64) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        connection.state = State::Idle;
        connection.was_used = true;
        let server = connection.server;
        self.not_due_before[key.index()] = NEVER;
        self.hand_out(key, server, None, now_ns);
    }

    fn hand_out(&mut self, key: SlotKey, server: usize, dial: Option<Dial>, now_ns: i64) {
        if let Some(mut course) = self.servers[server].waiting.pop_front() {
            // What it waited before the connection was begun is not the connection's time.
            course.connect_ns = dial.map(|dial| now_ns - dial.began_ns.max(course.wanted_ns));
            self.begin(key, course);
        } else if !self.servers[server].keep(key) {
            self.close(key);
        }
    }

    /// Whether no connection can be made for one more request than those that wait for theirs.
    pub(super) fn has_no_room(&self, server: usize) -> bool {
        let Server {
            waiting, dialling, ..
        } = &self.servers[server];
        let needed = (waiting.len() + 1).saturating_sub(*dialling);
        self.connections.len() + needed > self.max_connections
    }

    pub(super) fn dial_wanted(&mut self, server: usize) {
        for _ in 0..self.servers[server].dials_wanted() {
            if self.connections.len() >= self.max_connections {
                return;
            }
            let dial = self.servers[server].first_dial(self.clock.now_ns());
            self.servers[server].dialling += 1;
            self.sockets.dialled += 1;
            self.dial(server, dial);
        }
    }

    fn dial(&mut self, server: usize, dial: Dial) {
        match socket::dial(dial.address).and_then(|socket| self.register(socket, server, dial)) {
            Ok(()) => {}
            Err(error) => self.not_dialled(server, dial, error),
        }
    }

    fn register(&mut self, socket: OwnedFd, server: usize, dial: Dial) -> io::Result<()> {
        let key = self.connections.insert(Connection {
            socket,
            server,
            was_used: false,
            state: State::Dialling(dial),
        });
        if self.not_due_before.len() <= key.index() {
            self.not_due_before.resize(key.index() + 1, NEVER);
        }
        self.not_due_before[key.index()] = dial.until_ns;
        self.sockets.most = self.sockets.most.max(self.connections.len());
        let flags =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        let Some(connection) = self.connections.get(key) else {
            return Ok(());
        };
        let data = epoll::EventData::new_u64(key.to_u64());
        let added = epoll::add(&self.epoll, &connection.socket, data, flags);
        if added.is_err() {
            self.connections.remove(key);
        }
        Ok(added?)
    }

    pub(super) fn dialled(&mut self, key: SlotKey, dial: Dial, outcome: io::Result<()>) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let server = connection.server;
        match outcome {
            Ok(()) => {
                connection.state = State::Idle;
                self.not_due_before[key.index()] = NEVER;
                self.servers[server].dialling -= 1;
                self.servers[server].answered(&dial);
                let now_ns = self.clock.now_ns();
                self.hand_out(key, server, Some(dial), now_ns);
                self.dial_wanted(server);
            }
            Err(error) => {
                self.connections.remove(key);
                self.not_dialled(server, dial, error);
            }
        }
    }

    /// No connection by this address: the next one is tried, or a request that waits learns of it.
    pub(super) fn not_dialled(&mut self, server: usize, dial: Dial, error: io::Error) {
        let now_ns = self.clock.now_ns();
        let exhausted = out_of_sockets(&error);
        if let Some(next) = self.servers[server].next_dial(dial, now_ns)
            && !exhausted
        {
            return self.dial(server, next);
        }
        let to = &mut self.servers[server];
        to.dialling -= 1;
        let ending = match error.kind() {
            _ if exhausted => Ending::OutOfSockets,
            io::ErrorKind::TimedOut => Ending::TimeoutConnect,
            _ => Ending::ConnectError,
        };
        let text = (ending != Ending::TimeoutConnect).then(|| chain(&error));
        if let Some(course) = to.waiting.pop_front() {
            let exchange = course.not_connected(ending, now_ns, text);
            self.over.push((course.key, exchange));
        } else {
            // Nobody waits: what cannot be dialled ahead is dialled when it is needed.
            to.not_made_ahead();
        }
    }
}
