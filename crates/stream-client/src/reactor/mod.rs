//! Exchanges over plain HTTP/1.1 by one thread that owns its sockets: no runtime, no tasks, no copy between the socket
//! and the scanner.
//!
//! The thread asks for events itself, so it sends at its deadlines to within what the kernel's high-resolution timers
//! give. What it reads was stamped by the kernel, so it may read late: while much is coming in, it looks at its sockets
//! at intervals and takes what has come together, which is what makes a token cheap.

mod course;
mod dialling;
mod limits;
mod server;
mod slots;
mod socket;

use std::fmt;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, epoll, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::client::ClientOptions;
use crate::clock::Clock;
use crate::errors::ClientError;
use crate::exchange::{Ending, Exchange, Limits, Watch};
use crate::received::{KernelClock, StampRoom, receive};
use crate::response::ResponseReader;
use crate::target::Target;
use course::{Afterwards, Course, Skipped, Turn, skip};
use server::{Dial, Server};
use slots::{SlotKey, Slots};

/// What one read takes at most.
const BUFFER_BYTES: usize = 256 << 10;
/// Events that are taken from the kernel at once.
const EVENTS: usize = 256;
/// After a look at the sockets the next one comes no sooner, but for a deadline. The kernel's stamps do not age.
const REST_NS: i64 = 300_000;
/// A thread that sleeps wakes up later than it wants to; so long before something is due it looks at the clock instead.
const SPIN_NS: i64 = 40_000;
/// A shorter sleep is none.
const SHORT_NS: i64 = 5_000;
/// How often the limits of exchanges are looked at.
const SWEEP_NS: i64 = 10_000_000;
/// So long the rest of an answer may take once its exchange is decided, for the connection to be used again.
const DRAIN_NS: i64 = 250_000_000;
/// Even a thread that is late reads so many sockets between two requests.
const READS_WHEN_LATE: usize = 4;
/// A limit that is not looked at.
const NEVER: i64 = i64::MAX;

/// Where the gaps between the chunks with tokens of an exchange go.
pub trait GapSink {
    /// A chunk came so many nanoseconds after the one before.
    fn record(&mut self, gap_ns: i64);
}

/// A request for a reactor to send.
#[derive(Debug)]
pub struct Outgoing {
    /// Names the exchange.
    pub key: u64,
    /// The request's body.
    pub body: Bytes,
    /// When it is given up.
    pub limits: Limits,
    /// Where its clock points appear.
    pub watch: Rc<Watch>,
}

/// The connections of a reactor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Open now, those that are being made included.
    pub open: usize,
    /// Open, and without a request.
    pub free: usize,
    /// Open at one time, at most, since this was last asked for.
    pub most: usize,
    /// Made, or tried to, since this was last asked for.
    pub dialled: usize,
}

/// Exchanges and their connections, driven by [`Reactor::turn`]. A dropped reactor closes everything.
pub struct Reactor<G> {
    clock: Clock,
    kernel_clock: KernelClock,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    /// The events that are looked at already.
    seen: usize,
    /// When the kernel was last asked, and whether it had more than fits.
    looked_ns: i64,
    is_full: bool,
    swept_ns: i64,
    servers: Vec<Server<G>>,
    connections: Slots<Connection<G>>,
    /// By the connection's place: no limit of it is reached before.
    not_due_before: Vec<i64>,
    max_connections: usize,
    buffer: Box<[u8]>,
    stamp_room: StampRoom,
    over: Vec<(u64, Exchange)>,
    sockets: Sockets,
}

#[derive(Debug)]
struct Connection<G> {
    socket: OwnedFd,
    server: usize,
    /// Whether it has carried an answer.
    was_used: bool,
    state: State<G>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a connection lies in a box as a whole")]
enum State<G> {
    Dialling(Dial),
    Idle,
    Busy(Course<G>),
    Draining(ResponseReader),
}

impl<G> fmt::Debug for Reactor<G> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Reactor")
            .field("connections", &self.connections.len())
            .finish_non_exhaustive()
    }
}

impl<G: GapSink> Reactor<G> {
    /// A reactor without servers, for at most so many connections.
    ///
    /// # Errors
    /// The system gives no further descriptor.
    pub fn new(clock: Clock, max_connections: usize) -> io::Result<Self> {
        // A thread's timers are late by 50 µs unless it says otherwise; one that may not say so is only less exact.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let now_ns = clock.now_ns();
        Ok(Self {
            clock,
            kernel_clock: KernelClock::new(clock),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
            seen: 0,
            looked_ns: now_ns,
            is_full: false,
            swept_ns: now_ns,
            servers: Vec::new(),
            connections: Slots::new(),
            not_due_before: Vec::new(),
            max_connections,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            stamp_room: StampRoom::new(),
            over: Vec::new(),
            sockets: Sockets::default(),
        })
    }

    /// Whether a reactor reaches servers in this way; the others need a [`crate::Client`].
    pub fn reaches(target: &Target, options: &ClientOptions) -> bool {
        !target.is_tls() && !options.http2 && options.proxy.is_none()
    }

    /// Adds a server; its number is the count of those before it. Its name is looked up.
    ///
    /// # Errors
    /// It has no address, or the key cannot be sent.
    pub fn add_server(&mut self, target: Target, options: &ClientOptions) -> Result<(), ClientError> {
        self.servers.push(Server::new(target, options)?);
        Ok(())
    }

    /// Keeps so many connections to a server free for what comes, as far as there is room.
    pub fn keep_free(&mut self, server: usize, connections: usize) {
        self.servers[server].keep_free(connections);
        self.dial_wanted(server);
    }

    /// The connections.
    pub fn sockets(&mut self) -> Sockets {
        let open = self.connections.len();
        let told = Sockets {
            open,
            free: self.servers.iter().map(Server::free).sum(),
            ..self.sockets
        };
        self.sockets = Sockets {
            most: open,
            ..Sockets::default()
        };
        told
    }

    /// Sends a request to `path` of a server and reads the answer in the turns that follow.
    ///
    /// It leaves at once if a connection is free. Its clock points appear in its watch while it runs.
    pub fn start(&mut self, server: usize, path: &str, outgoing: Outgoing, gaps: G) {
        let now_ns = self.clock.now_ns();
        let to = &mut self.servers[server];
        let head = to.head_of(path);
        let course = Course::new(outgoing, head, to.form, gaps, now_ns);
        let (due_ns, ending) = course.due();
        if due_ns <= now_ns {
            self.over.push((course.key, course.timed_out(ending, now_ns)));
            return;
        }
        match self.take_idle(server) {
            Some(connection) => self.begin(connection, course),
            // Whoever waited for room would be late by the client's fault, and would look like the server's.
            None if self.has_no_room(server) => {
                let text = format!("all of {} connections are in use", self.max_connections);
                let exchange = course.not_connected(Ending::OutOfSockets, now_ns, Some(text));
                self.over.push((course.key, exchange));
                return;
            }
            None => self.servers[server].waiting.push_back(course),
        }
        self.dial_wanted(server);
    }

    /// Gives up the exchanges that `is_meant` names, without a word of them, and closes their connections.
    pub fn cancel(&mut self, is_meant: impl Fn(u64) -> bool) {
        for server in &mut self.servers {
            server.waiting.retain(|course| !is_meant(course.key));
        }
        for key in self.connections.keys() {
            let meant = self.connections.get(key).is_some_and(
                |connection| matches!(&connection.state, State::Busy(course) if is_meant(course.key)),
            );
            if meant {
                self.close(key);
            }
        }
    }

    /// Moves what can be moved, waiting for it until `until_ns` at most, and hands over what has ended.
    ///
    /// When the caller has something due then (`is_due`), it wakes up somewhat earlier and does not sleep again.
    ///
    /// # Errors
    /// The system's own; the reactor is of no further use then.
    pub fn turn(&mut self, until_ns: i64, is_due: bool, over: &mut Vec<(u64, Exchange)>) -> io::Result<()> {
        let now_ns = self.clock.now_ns();
        if now_ns - self.swept_ns >= SWEEP_NS {
            self.sweep(now_ns);
        }
        if self.seen == self.events.len() {
            let wake_ns = if is_due { until_ns - SPIN_NS } else { until_ns };
            self.ask(wake_ns, now_ns)?;
        }
        let mut looks = 0;
        while self.seen < self.events.len() {
            let event = self.events[self.seen];
            self.seen += 1;
            let read_ns = self.serve(SlotKey::from_u64(event.data.u64()), event.flags);
            looks += 1;
            if read_ns >= until_ns && looks >= READS_WHEN_LATE {
                break;
            }
        }
        over.append(&mut self.over);
        Ok(())
    }

    /// Asks the kernel what has happened.
    fn ask(&mut self, wake_ns: i64, now_ns: i64) -> io::Result<()> {
        let until_ns = wake_ns.min(self.swept_ns + SWEEP_NS);
        let rest_ns = (self.looked_ns + REST_NS).min(until_ns) - now_ns;
        if rest_ns > SHORT_NS && !self.is_full {
            // An interruption ends the rest early, which does no harm.
            let _ = rustix::thread::nanosleep(&timespec(rest_ns));
        }
        let now_ns = self.clock.now_ns();
        let wait_ns = until_ns - now_ns;
        if wait_ns > SHORT_NS {
            // Not by epoll itself, whose timeouts are milliseconds before Linux 5.11.
            let mut epoll = [PollFd::new(&self.epoll, PollFlags::IN)];
            let _ = poll(&mut epoll, Some(&timespec(wait_ns)));
        }
        self.events.clear();
        self.seen = 0;
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.events),
            Some(&timespec(0)),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.looked_ns = self.clock.now_ns();
        self.is_full = self.events.len() == EVENTS;
        Ok(())
    }

    /// Looks after a connection; returns the time.
    fn serve(&mut self, key: SlotKey, flags: epoll::EventFlags) -> i64 {
        let Some(connection) = self.connections.get(key) else {
            return self.looked_ns;
        };
        let ends =
            flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR);
        let brings = ends || flags.contains(epoll::EventFlags::IN);
        if let State::Dialling(dial) = connection.state {
            if ends || flags.contains(epoll::EventFlags::OUT) {
                let outcome = socket::connected(&connection.socket);
                self.dialled(key, dial, outcome);
            }
            // A server may close a connection in the moment in which it is made; no other event would tell.
            return if brings {
                self.read(key, ends)
            } else {
                self.looked_ns
            };
        }
        if flags.contains(epoll::EventFlags::OUT) && !self.write(key) {
            return self.looked_ns;
        }
        if brings {
            self.read(key, ends)
        } else {
            self.looked_ns
        }
    }

    /// Reads what is there, to the end if the connection has one; returns the time of the last read.
    fn read(&mut self, key: SlotKey, to_the_end: bool) -> i64 {
        loop {
            let Some(connection) = self.connections.get(key) else {
                return self.looked_ns;
            };
            let received = receive(&connection.socket, &mut self.buffer, &mut self.stamp_room);
            let read_ns = self.clock.now_ns();
            match received {
                Ok((0, _)) => {
                    self.ended(key, read_ns, None);
                    return read_ns;
                }
                Ok((length, stamp)) => {
                    let at_ns = self.kernel_clock.received_ns(stamp, read_ns);
                    self.take(key, length, at_ns, read_ns);
                    // A read that the buffer could hold has emptied the socket.
                    if length < self.buffer.len() && !to_the_end {
                        return read_ns;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return read_ns,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended(key, read_ns, Some(&error.to_string()));
                    return read_ns;
                }
            }
        }
    }

    /// Takes what was read into the buffer.
    #[inline]
    fn take(&mut self, key: SlotKey, length: usize, at_ns: i64, read_ns: i64) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let mut bytes = &self.buffer[..length];
        match &mut connection.state {
            State::Busy(course) => {
                let turn = course.take(bytes, at_ns, read_ns);
                self.turned(key, turn, read_ns);
            }
            State::Draining(reader) => {
                let skipped = skip(reader, &mut bytes);
                match skipped {
                    Skipped::NeedsMore => {}
                    Skipped::End if bytes.is_empty() && reader.keeps_alive() => self.free(key, read_ns),
                    Skipped::End | Skipped::Broken => self.close(key),
                }
            }
            // What nobody asked for.
            State::Idle | State::Dialling(_) => self.close(key),
        }
    }

    fn turned(&mut self, key: SlotKey, turn: Turn, now_ns: i64) {
        match turn {
            Turn::Goes => {}
            Turn::Over(exchange, afterwards) => {
                let Some(connection) = self.connections.get(key) else {
                    return;
                };
                let State::Busy(course) = std::mem::replace(&mut connection.state, State::Idle) else {
                    return;
                };
                self.over.push((course.key, exchange));
                // An answer may come before the request is through; the next request must not follow half of one.
                let whole = course.is_sent;
                match afterwards {
                    Afterwards::Reuse if whole => self.free(key, now_ns),
                    Afterwards::Drain if whole => {
                        if let Some(connection) = self.connections.get(key) {
                            connection.state = State::Draining(course.into_reader());
                            self.not_due_before[key.index()] = now_ns + DRAIN_NS;
                        }
                    }
                    _ => self.close(key),
                }
            }
            Turn::Again => {
                if let Some(connection) = self.close_and_take(key)
                    && let State::Busy(course) = connection.state
                {
                    self.servers[connection.server].waiting.push_front(course);
                    self.dial_wanted(connection.server);
                }
            }
        }
    }

    fn ended(&mut self, key: SlotKey, now_ns: i64, error: Option<&str>) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let was_used = connection.was_used;
        match &mut connection.state {
            State::Busy(course) => {
                let turn = course.connection_ended(was_used, now_ns, error);
                self.turned(key, turn, now_ns);
            }
            State::Idle if !was_used => {
                self.servers[connection.server].closed_unused();
                self.close(key);
            }
            _ => self.close(key),
        }
    }

    /// Sends a request on a connection that is free.
    fn begin(&mut self, key: SlotKey, course: Course<G>) {
        let now_ns = self.clock.now_ns();
        let not_due_before = course.not_due_before(now_ns);
        course.watch.send_ns.set(now_ns);
        if let Some(connection) = self.connections.get(key) {
            connection.state = State::Busy(course);
            self.not_due_before[key.index()] = not_due_before;
            self.write(key);
        }
    }

    /// Sends what is left of a request; whether the connection lives.
    fn write(&mut self, key: SlotKey) -> bool {
        loop {
            let Some(connection) = self.connections.get(key) else {
                return false;
            };
            let State::Busy(course) = &mut connection.state else {
                return true;
            };
            let head = self.servers[connection.server].head(course.path);
            match course.send(&connection.socket, head) {
                Ok(true) => return true,
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // An answer that refuses the request may have come before the connection broke.
                    let now_ns = self.read(key, false);
                    self.ended(key, now_ns, Some(&error.to_string()));
                    return false;
                }
            }
        }
    }

    fn close(&mut self, key: SlotKey) {
        self.close_and_take(key);
    }

    fn close_and_take(&mut self, key: SlotKey) -> Option<Box<Connection<G>>> {
        let connection = self.connections.remove(key)?;
        self.not_due_before[key.index()] = NEVER;
        let server = &mut self.servers[connection.server];
        match &connection.state {
            State::Idle => server.forget(key),
            State::Dialling(_) => server.dialling -= 1,
            State::Busy(_) | State::Draining(_) => {}
        }
        Some(connection)
    }
}

fn timespec(nanos: i64) -> Timespec {
    const SECOND: i64 = 1_000_000_000;
    let nanos = nanos.max(0);
    Timespec {
        tv_sec: nanos / SECOND,
        tv_nsec: nanos % SECOND,
    }
}
