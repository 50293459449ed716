//! A server: how it is reached, who waits for a connection to it, and which connections are free.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use crate::client::{ClientOptions, stream_headers};
use crate::deadline::after;
use crate::errors::ClientError;
use crate::form::AnswerForm;
use crate::reactor::course::Course;
use crate::reactor::slots::SlotKey;
use crate::target::Target;

/// Connections that are made at one time.
const DIALS: usize = 64;
/// The same while requests are late for another reason than the server's: dialling would make them later.
const DIALS_WHEN_LATE: usize = 2;
/// From here on a request is late.
const LATE_NS: i64 = 20_000_000;

#[derive(Debug)]
pub(super) struct Server<G> {
    addresses: Vec<SocketAddr>,
    /// The address that answered last.
    preferred: usize,
    target: Target,
    /// The head's fields, from the first to the line before the body's length.
    fields: Vec<u8>,
    /// The paths that were asked for, and the request's head up to its last line.
    heads: Vec<(String, Vec<u8>)>,
    pub(super) form: AnswerForm,
    timeout: Duration,
    max_idle: usize,
    /// Free connections, the most recently used last; some may be gone.
    idle: VecDeque<SlotKey>,
    pub(super) waiting: VecDeque<Course<G>>,
    pub(super) dialling: usize,
    /// So many connections should be free.
    spare: usize,
    /// Whether it keeps connections that it has had no request on.
    keeps_unused: bool,
}

/// One attempt to make a connection, by one address after another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dial {
    pub(super) began_ns: i64,
    /// The attempts that came before this one.
    attempt: usize,
    pub(super) address: SocketAddr,
    /// When this address has had its share of the time.
    pub(super) until_ns: i64,
}

impl<G> Server<G> {
    /// Looks the host up; a lookup per connection would measure the name server.
    pub(super) fn new(target: Target, options: &ClientOptions) -> Result<Self, ClientError> {
        let fields = stream_headers(&target, options)?;
        let mut bytes = Vec::new();
        for (name, value) in &fields {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        let lookup = |source| ClientError::Lookup {
            host: target.host().to_owned(),
            source,
        };
        let addresses: Vec<_> = (target.host(), target.port())
            .to_socket_addrs()
            .map_err(lookup)?
            .collect();
        if addresses.is_empty() {
            return Err(lookup(io::ErrorKind::NotFound.into()));
        }
        Ok(Self {
            addresses,
            preferred: 0,
            target,
            fields: bytes,
            heads: Vec::new(),
            form: options.form,
            timeout: options.connect_timeout,
            max_idle: options.max_idle,
            idle: VecDeque::new(),
            waiting: VecDeque::new(),
            dialling: 0,
            spare: 0,
            keeps_unused: true,
        })
    }

    /// The number of the head of requests to this path.
    pub(super) fn head_of(&mut self, path: &str) -> usize {
        if let Some(known) = self.heads.iter().position(|(known, _)| known == path) {
            return known;
        }
        let mut head = format!("POST {} HTTP/1.1\r\n", self.target.path(path)).into_bytes();
        head.extend_from_slice(&self.fields);
        self.heads.push((path.to_owned(), head));
        self.heads.len() - 1
    }

    pub(super) fn head(&self, number: usize) -> &[u8] {
        &self.heads[number].1
    }

    /// Has so many connections dialled ahead, unless the server does not keep them.
    pub(super) fn keep_free(&mut self, connections: usize) {
        self.spare = if self.keeps_unused { connections } else { 0 };
    }

    /// No connection could be made ahead: one is made again when it is needed, or asked for.
    pub(super) fn not_made_ahead(&mut self) {
        self.spare = 0;
    }

    /// The server has closed a connection that it had no request on: dialling ahead would go on for ever.
    pub(super) fn closed_unused(&mut self) {
        self.keeps_unused = false;
        self.spare = 0;
    }

    /// How many more connections should be begun now.
    pub(super) fn dials_wanted(&self) -> usize {
        let is_late = self
            .waiting
            .front()
            .is_some_and(|first| first.wanted_ns - first.limits.scheduled_ns > LATE_NS);
        let most = if is_late { DIALS_WHEN_LATE } else { DIALS };
        let spare = self.spare.saturating_sub(self.idle.len());
        (self.waiting.len() + spare)
            .min(most)
            .saturating_sub(self.dialling)
    }

    /// A first attempt.
    pub(super) fn first_dial(&self, now_ns: i64) -> Dial {
        self.dial(now_ns, now_ns, 0)
    }

    /// The attempt after this one, if there is another address.
    pub(super) fn next_dial(&self, last: Dial, now_ns: i64) -> Option<Dial> {
        let attempt = last.attempt + 1;
        (attempt < self.addresses.len()).then(|| self.dial(last.began_ns, now_ns, attempt))
    }

    fn dial(&self, began_ns: i64, now_ns: i64, attempt: usize) -> Dial {
        let end_ns = after(began_ns, self.timeout);
        let left_ns = (end_ns - now_ns).max(0) / (self.addresses.len() - attempt) as i64;
        Dial {
            began_ns,
            attempt,
            address: self.addresses[(self.preferred + attempt) % self.addresses.len()],
            until_ns: now_ns + left_ns,
        }
    }

    /// This address answers.
    pub(super) fn answered(&mut self, dial: &Dial) {
        if dial.attempt > 0 {
            self.preferred = (self.preferred + dial.attempt) % self.addresses.len();
        }
    }

    /// When a request that asked for a connection at this time has waited too long.
    pub(super) fn connect_due_ns(&self, wanted_ns: i64) -> i64 {
        after(wanted_ns, self.timeout)
    }

    pub(super) fn free(&self) -> usize {
        self.idle.len()
    }

    pub(super) fn take_idle(&mut self) -> Option<SlotKey> {
        self.idle.pop_back()
    }

    /// Keeps a free connection, unless there are enough.
    pub(super) fn keep(&mut self, key: SlotKey) -> bool {
        let room = self.idle.len() < self.max_idle;
        if room {
            self.idle.push_back(key);
        }
        room
    }

    pub(super) fn forget(&mut self, key: SlotKey) {
        self.idle.retain(|idle| *idle != key);
    }
}
