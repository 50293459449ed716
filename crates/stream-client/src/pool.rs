//! Connections that wait for an exchange: idle ones, the most recently used first, and sessions with room.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::clock::Clock;
use crate::connection::Connection;
use crate::session::Session;

#[derive(Debug)]
pub(crate) struct Pool {
    clock: Clock,
    idle: RefCell<VecDeque<Box<Connection>>>,
    sessions: RefCell<Vec<Rc<Session>>>,
    max_idle: usize,
}

impl Pool {
    pub(crate) fn new(clock: Clock, max_idle: usize) -> Self {
        Self {
            clock,
            idle: RefCell::default(),
            sessions: RefCell::default(),
            max_idle,
        }
    }

    /// The most recently used connection that still takes requests, or room in the oldest session.
    pub(crate) fn take(&self) -> Option<Box<Connection>> {
        self.take_idle().or_else(|| self.take_stream())
    }

    fn take_idle(&self) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        // Those that are never taken would otherwise hold on to what the server has long closed.
        if idle.front_mut().is_some_and(|oldest| !oldest.is_ready()) {
            idle.pop_front();
        }
        while let Some(mut connection) = idle.pop_back() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    fn take_stream(&self) -> Option<Box<Connection>> {
        let mut sessions = self.sessions.borrow_mut();
        sessions.retain(|session| session.is_open());
        sessions
            .iter()
            .find_map(|session| Connection::http2(session, self.clock))
    }

    /// Keeps a session, for as many exchanges as it takes.
    pub(crate) fn keep(&self, session: Rc<Session>) {
        self.sessions.borrow_mut().push(session);
    }

    /// Keeps a connection whose exchange is complete, unless the server closes it or there are enough. A stream ends
    /// with its exchange, and its session is kept already unless there are enough idle ones.
    pub(crate) fn put(&self, mut connection: Box<Connection>) {
        if let Some(session) = connection.session().map(Rc::clone) {
            drop(connection);
            return self.spare(&session);
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.max_idle && connection.is_ready() {
            idle.push_back(connection);
        }
    }

    fn spare(&self, session: &Rc<Session>) {
        let mut sessions = self.sessions.borrow_mut();
        let idle = sessions.iter().filter(|session| session.is_idle()).count();
        if idle > self.max_idle {
            sessions.retain(|kept| !Rc::ptr_eq(kept, session));
        }
    }
}
