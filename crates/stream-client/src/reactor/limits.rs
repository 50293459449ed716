//! The limits of time, which are looked at now and then: none is needed to the microsecond.

use std::io;

use super::{GapSink, NEVER, Reactor, State, slots::SlotKey};
use crate::exchange::Ending;

impl<G: GapSink> Reactor<G> {
    /// Ends what has reached its limit.
    pub(super) fn sweep(&mut self, now_ns: i64) {
        self.swept_ns = now_ns;
        for index in 0..self.not_due_before.len() {
            if self.not_due_before[index] <= now_ns
                && let Some(key) = self.connections.key_at(index)
            {
                self.look_at_limit(key, now_ns);
            }
        }
        for server in 0..self.servers.len() {
            self.sweep_waiting(server, now_ns);
            self.dial_wanted(server);
        }
    }

    fn look_at_limit(&mut self, key: SlotKey, now_ns: i64) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        match &connection.state {
            State::Idle => self.not_due_before[key.index()] = NEVER,
            State::Draining(_) => self.close(key),
            State::Dialling(dial) => {
                let (dial, server) = (*dial, connection.server);
                self.connections.remove(key);
                self.not_dialled(server, dial, io::ErrorKind::TimedOut.into());
            }
            State::Busy(course) => {
                let (due_ns, ending) = course.due();
                if now_ns < due_ns {
                    self.not_due_before[key.index()] = course.not_due_before(now_ns);
                    return;
                }
                let over = (course.key, course.timed_out(ending, now_ns));
                self.over.push(over);
                self.close(key);
            }
        }
    }

    fn sweep_waiting(&mut self, server: usize, now_ns: i64) {
        let to = &mut self.servers[server];
        if to.waiting.is_empty() {
            return;
        }
        let mut kept = std::collections::VecDeque::with_capacity(to.waiting.len());
        for course in std::mem::take(&mut to.waiting) {
            let (mut due_ns, mut ending) = course.due();
            let connect_due_ns = to.connect_due_ns(course.wanted_ns);
            if connect_due_ns < due_ns {
                (due_ns, ending) = (connect_due_ns, Ending::TimeoutConnect);
            }
            if now_ns < due_ns {
                kept.push_back(course);
            } else {
                let exchange = course.not_connected(ending, now_ns, None);
                self.over.push((course.key, exchange));
            }
        }
        to.waiting = kept;
    }
}
