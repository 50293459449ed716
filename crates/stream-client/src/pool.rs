//! Idle connections, the most recently used first.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::connection::Connection;

#[derive(Debug)]
pub(crate) struct Pool {
    idle: RefCell<VecDeque<Box<Connection>>>,
    max_idle: usize,
}

impl Pool {
    pub(crate) fn new(max_idle: usize) -> Self {
        Self {
            idle: RefCell::default(),
            max_idle,
        }
    }

    /// The most recently used connection that still takes requests.
    pub(crate) fn take(&self) -> Option<Box<Connection>> {
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

    /// Keeps a connection whose exchange is complete, unless the server closes it or there are enough.
    pub(crate) fn put(&self, mut connection: Box<Connection>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.max_idle && connection.is_ready() {
            idle.push_back(connection);
        }
    }
}
