//! A server of chat completions whose token times are known: a thread around epoll and a queue of deadlines.
//!
//! It answers as vLLM does: the head of the answer at once, the chunk with the role in one write with the first token,
//! each event as an HTTP chunk of its own. It ends, and writes what it saw, when its standard input is closed; `GET /log`
//! writes it meanwhile.

use std::{
    fs::File,
    io::{BufWriter, ErrorKind, IoSlice, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use gipfel_loadgen_bench::{
    poll::{Interest, Poll, monotonic_ns, wall_offset_ns},
    request::{Line, Parsed, parse},
    response::{HEAD, Pieces, metrics, models, plain},
    tables::{ServerRow, ServerTable},
    timers::Timers,
};

const MILLISECOND_NS: f64 = 1e6;
const LISTENER: u64 = u64::MAX;
const INPUT: u64 = u64::MAX - 1;
const EVENTS: usize = 256;
const READ: usize = 64 << 10;
/// Room for requests that needs no memory before it is used.
const ROWS: usize = 4 << 20;
/// How many tokens are written before it looks for requests again.
const TOKENS_BETWEEN_LOOKS: usize = 8;
/// How many when it is late.
const TOKENS_WHEN_LATE: usize = 4096;
/// Requests are read before tokens are written, so that a request's time is that of its coming and not that of the
/// writes before it, unless a token is so late: a server that is full neglects neither.
const PATIENCE_NS: u64 = 5_000_000;

/// Answers chat completions at known times.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where it listens on 127.0.0.1; 0 for any port, which is printed.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Tokens of each answer, whatever is asked.
    #[arg(long, default_value_t = 128)]
    tokens: u32,
    /// From the read of a request's last byte to its first token, in milliseconds.
    #[arg(long, default_value_t = 50.0)]
    first_token_ms: f64,
    /// Between two tokens, in milliseconds; 0 for all of them at once, in one write.
    #[arg(long, default_value_t = 0.0)]
    gap_ms: f64,
    /// Where the table of requests is written.
    #[arg(long)]
    log: PathBuf,
}

fn main() -> ExitCode {
    let served = Server::new(&Arguments::parse()).and_then(|mut server| server.serve());
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A connection, in the place of its descriptor's number.
struct Connection {
    stream: TcpStream,
    /// A request that was not read to its end.
    input: Vec<u8>,
    /// What the socket did not take, and how much of it was written since.
    output: Vec<u8>,
    written: usize,
    /// The serial number of the request that is answered; 0 for none.
    serial: u64,
}

/// A token that is due.
#[derive(Clone, Copy)]
struct Token {
    place: usize,
    serial: u64,
    number: u32,
}

impl Connection {
    /// Writes the parts, after what the socket has not taken yet; false when the connection is over.
    fn write(&mut self, poll: &Poll, place: usize, parts: &[&[u8]]) -> bool {
        let mut left = 0;
        if self.output.is_empty() {
            let slices = [
                IoSlice::new(parts[0]),
                IoSlice::new(parts.get(1).copied().unwrap_or_default()),
            ];
            left = match (&self.stream).write_vectored(&slices[..parts.len()]) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => return false,
            };
        }
        for part in parts {
            let taken = left.min(part.len());
            left -= taken;
            self.output.extend_from_slice(&part[taken..]);
        }
        self.output.is_empty()
            || poll
                .change(&self.stream, place as u64, Interest::IN | Interest::OUT)
                .is_ok()
    }

    /// Writes what the socket had not taken; true when nothing of it is left.
    fn flush(&mut self) -> bool {
        // An error shows at the next read as well.
        self.written += (&self.stream).write(&self.output[self.written..]).unwrap_or(0);
        let is_done = self.written == self.output.len();
        if is_done {
            self.output.clear();
            self.written = 0;
        }
        is_done
    }
}

/// The parts of streams that are put together once.
struct Texts {
    whole: Vec<u8>,
    first: Vec<u8>,
    last: Vec<u8>,
    /// The end of the stream that is written just now.
    end: Vec<u8>,
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    timers: Timers<Token>,
    pieces: Pieces,
    texts: Texts,
    first_token_ns: u64,
    gap_ns: u64,
    table: ServerTable,
    streams: u64,
    log: PathBuf,
}

impl Server {
    fn new(arguments: &Arguments) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port)).context("failed to listen")?;
        // Again, for a queue that holds every connection that a client dials ahead.
        rustix::net::listen(&listener, 4096)?;
        listener.set_nonblocking(true)?;
        let poll = Poll::new(EVENTS)?;
        poll.add(&listener, LISTENER, Interest::IN)?;
        // A file or nothing as standard input cannot be waited for; the server is ended by a signal then.
        let _ = poll.add(std::io::stdin(), INPUT, Interest::IN);
        let mut out = std::io::stdout();
        writeln!(out, "{}", listener.local_addr()?)?;
        let pieces = Pieces::new(arguments.tokens);
        let nanos = |milliseconds: f64| (milliseconds * MILLISECOND_NS) as u64;
        Ok(Self {
            poll,
            listener,
            connections: Vec::new(),
            timers: Timers::with_capacity(1 << 16),
            texts: Texts {
                whole: pieces.whole(),
                first: pieces.first(),
                last: pieces.last(),
                end: Vec::with_capacity(1024),
            },
            pieces,
            first_token_ns: nanos(arguments.first_token_ms),
            gap_ns: nanos(arguments.gap_ms),
            table: ServerTable {
                wall_offsets_ns: [wall_offset_ns(); 2],
                rows: Vec::with_capacity(ROWS),
                ..ServerTable::default()
            },
            streams: 0,
            log: arguments.log.clone(),
        })
    }

    fn serve(&mut self) -> anyhow::Result<()> {
        let mut buffer = vec![0; READ];
        loop {
            let count = self.poll.wait(self.timers.next_ns())?;
            for index in 0..count {
                let (name, state) = self.poll.event(index);
                match name {
                    LISTENER => self.accept()?,
                    INPUT => {
                        if std::io::stdin().read(&mut buffer)? == 0 {
                            return self.write_log();
                        }
                    }
                    place => self.look(place as usize, state, &mut buffer)?,
                }
                if self.is_late() {
                    self.write_due(TOKENS_BETWEEN_LOOKS);
                }
            }
            self.write_due(if self.is_late() {
                TOKENS_WHEN_LATE
            } else {
                TOKENS_BETWEEN_LOOKS
            });
        }
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("failed to accept a connection"),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let place = stream.as_raw_fd() as usize;
            self.poll.add(&stream, place as u64, Interest::IN)?;
            if self.connections.len() <= place {
                self.connections.resize_with(place + 1, || None);
            }
            self.connections[place] = Some(Connection {
                stream,
                input: Vec::new(),
                output: Vec::new(),
                written: 0,
                serial: 0,
            });
            self.table.connections += 1;
        }
    }

    fn look(&mut self, place: usize, state: Interest, buffer: &mut [u8]) -> anyhow::Result<()> {
        let Some(connection) = self.connections.get_mut(place).and_then(Option::as_mut) else {
            return Ok(());
        };
        if state.contains(Interest::OUT) && connection.flush() {
            self.poll.change(&connection.stream, place as u64, Interest::IN)?;
        }
        if state.intersects(Interest::IN | Interest::HUP | Interest::ERR) && !self.read(place, buffer)? {
            self.close(place);
        }
        Ok(())
    }

    fn close(&mut self, place: usize) {
        if self.connections[place]
            .take()
            .is_some_and(|connection| connection.serial != 0)
        {
            self.streams -= 1;
        }
    }

    /// Reads once; false when the connection is over.
    fn read(&mut self, place: usize, buffer: &mut [u8]) -> anyhow::Result<bool> {
        let Some(connection) = &mut self.connections[place] else {
            return Ok(true);
        };
        let length = match (&connection.stream).read(buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(_) => return Ok(false),
        };
        let read_ns = monotonic_ns();
        // The usual request comes whole with one read and is not copied.
        let mut input = std::mem::take(&mut connection.input);
        let fresh = input.is_empty();
        if !fresh {
            input.extend_from_slice(&buffer[..length]);
        }
        let bytes = if fresh { &buffer[..length] } else { &input };
        let goes_on = match parse(bytes) {
            Parsed::Malformed => false,
            Parsed::Incomplete => {
                if fresh {
                    input.extend_from_slice(&buffer[..length]);
                }
                self.keep(place, input);
                return Ok(true);
            }
            Parsed::Complete { line, .. } => self.answer(place, line, read_ns)?,
        };
        input.clear();
        self.keep(place, input);
        Ok(goes_on)
    }

    /// Keeps the begin of a request, or an emptied buffer for the next one.
    fn keep(&mut self, place: usize, input: Vec<u8>) {
        if let Some(connection) = &mut self.connections[place] {
            connection.input = input;
        }
    }

    fn answer(&mut self, place: usize, line: Line<'_>, read_ns: u64) -> anyhow::Result<bool> {
        let answer = match (line.method, line.path) {
            (b"POST", b"/v1/chat/completions") => return Ok(self.begin_stream(place, read_ns)),
            (b"GET", b"/health") => plain("200 OK", "text/plain", ""),
            (b"GET", b"/v1/models") => models(),
            (b"GET", b"/metrics") => metrics(self.streams),
            (b"GET", b"/log") => {
                self.write_log()?;
                plain("200 OK", "text/plain", "written\n")
            }
            _ => plain("404 Not Found", "text/plain", "there is no such path\n"),
        };
        Ok(self.write(place, &answer))
    }

    fn begin_stream(&mut self, place: usize, read_ns: u64) -> bool {
        self.table.rows.push(ServerRow {
            read_ns,
            first_token_ns: None,
            last_token_ns: None,
        });
        let serial = self.table.rows.len() as u64;
        let Some(connection) = &mut self.connections[place] else {
            return true;
        };
        if connection.serial != 0 {
            // A second request before the end of the first answer: nobody that we measure does so.
            return false;
        }
        connection.serial = serial;
        self.streams += 1;
        self.table.most_streams = self.table.most_streams.max(self.streams);
        let token = Token {
            place,
            serial,
            number: 1,
        };
        self.timers.push_first(read_ns + self.first_token_ns, token);
        self.write(place, HEAD)
    }

    fn write(&mut self, place: usize, text: &[u8]) -> bool {
        let connection = self.connections[place].as_mut();
        connection.is_none_or(|connection| connection.write(&self.poll, place, &[text]))
    }

    /// Whether the next token is later than requests may make it.
    fn is_late(&self) -> bool {
        self.timers
            .next_ns()
            .is_some_and(|due_ns| due_ns + PATIENCE_NS < monotonic_ns())
    }

    /// Writes the tokens that are due, at most so many.
    fn write_due(&mut self, most: usize) {
        for _ in 0..most {
            let now_ns = monotonic_ns();
            let Some(due) = self.timers.pop(now_ns) else {
                return;
            };
            let Token { place, serial, .. } = due.what;
            let connection = self.connections.get(place).and_then(Option::as_ref);
            // The client may have closed it, and another one have its place.
            if connection.is_some_and(|connection| connection.serial == serial)
                && !self.write_token(due.what, due.at_ns, now_ns)
            {
                self.close(place);
            }
        }
    }

    fn write_token(&mut self, token: Token, due_ns: u64, now_ns: u64) -> bool {
        let Token {
            place,
            serial,
            number,
        } = token;
        let row = &mut self.table.rows[serial as usize - 1];
        if number == 1 {
            row.first_token_ns = Some(now_ns);
        }
        let Some(connection) = &mut self.connections[place] else {
            return true;
        };
        let (poll, texts) = (&self.poll, &mut self.texts);
        let is_last = self.gap_ns == 0 || number == self.pieces.tokens();
        if !is_last {
            let next = Token {
                number: number + 1,
                ..token
            };
            self.timers.push_further(due_ns + self.gap_ns, next);
            let text = if number == 1 {
                &texts.first[..]
            } else {
                self.pieces.further()
            };
            return connection.write(poll, place, &[text]);
        }
        row.last_token_ns = Some(now_ns);
        connection.serial = 0;
        self.streams -= 1;
        self.pieces.end(serial, &mut texts.end);
        let text = if number == 1 { &texts.whole } else { &texts.last };
        connection.write(poll, place, &[text, &texts.end])
    }

    fn write_log(&mut self) -> anyhow::Result<()> {
        self.table.wall_offsets_ns[1] = wall_offset_ns();
        let file =
            File::create(&self.log).with_context(|| format!("failed to create `{}`", self.log.display()))?;
        let mut out = BufWriter::new(file);
        self.table.write(&mut out)?;
        Ok(out.flush()?)
    }
}
