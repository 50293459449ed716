//! The least that an open-loop client can do, as a bound for what a real one may reach: absolute deadlines, a pool of
//! connections that are dialled ahead, one prepared request, a scan for the ends of events, and the time after each read.

use std::{
    fs::File,
    io::{BufWriter, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Parser;
use gipfel_loadgen_bench::{
    poll::{Interest, Poll, monotonic_ns},
    response::MODEL,
    schedule::poisson,
    stream::Scan,
    tables::{ClientRow, ClientTable},
};

const SECOND_NS: f64 = 1e9;
/// The first request is due so long after the connections are there.
const LEAD_NS: u64 = 100_000_000;
/// The load goes on for so long after the measured window, so that its last answers see no idle server.
const TAIL_NS: u64 = 200_000_000;
/// What has not ended so long after the last arrival stays without an end.
const DRAIN_NS: u64 = 10_000_000_000;
const EVENTS: usize = 64;
const READ: usize = 256 << 10;

/// Sends Poisson arrivals to the reference server and writes what it saw of each.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the server listens on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// Requests per second.
    #[arg(long)]
    rate: f64,
    /// Seconds before the measured window.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Seconds of the measured window.
    #[arg(long, default_value_t = 4.0)]
    measured: f64,
    /// Connections, all dialled before the first request; there will never be more.
    #[arg(long, default_value_t = 2000)]
    connections: usize,
    /// Of the schedule.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the table of requests is written in the end.
    #[arg(long)]
    log: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let nanos = |seconds: f64| (seconds * SECOND_NS) as u64;
    let (warmup_ns, measured_ns) = (nanos(arguments.warmup), nanos(arguments.measured));
    let arrivals = poisson(arguments.rate, warmup_ns + measured_ns + TAIL_NS, arguments.seed);
    let mut client = Client::dial(arguments)?;
    let start_ns = monotonic_ns() + LEAD_NS;
    client.rows = arrivals
        .iter()
        .map(|at_ns| ClientRow {
            serial: None,
            scheduled_ns: start_ns + at_ns,
            sent_ns: None,
            first_token_ns: None,
        })
        .collect();
    client.send_all()?;
    let begin_ns = start_ns + warmup_ns;
    let table = ClientTable {
        window_ns: [begin_ns, begin_ns + measured_ns],
        connections: client.connections.len() as u64,
        rows: client.rows,
    };
    let path = &arguments.log;
    let file = File::create(path).with_context(|| format!("failed to create `{}`", path.display()))?;
    let mut out = BufWriter::new(file);
    table.write(&mut out)?;
    Ok(out.flush()?)
}

/// A connection and the answer that is read from it.
struct Connection {
    stream: TcpStream,
    scan: Scan,
    /// The row of its request.
    row: usize,
}

struct Client {
    poll: Poll,
    connections: Vec<Connection>,
    /// Those without a request; the one that was used last is taken first, as it is still in the processor's cache.
    idle: Vec<usize>,
    rows: Vec<ClientRow>,
    /// The next request.
    next: usize,
    request: Vec<u8>,
}

impl Client {
    fn dial(arguments: &Arguments) -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port));
        let poll = Poll::new(EVENTS)?;
        let mut connections = Vec::with_capacity(arguments.connections);
        for name in 0..arguments.connections {
            let stream = TcpStream::connect(address).context("failed to dial the server")?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            poll.add(&stream, name as u64, Interest::IN)?;
            connections.push(Connection {
                stream,
                scan: Scan::new(),
                row: 0,
            });
        }
        Ok(Self {
            poll,
            idle: (0..connections.len()).rev().collect(),
            connections,
            rows: Vec::new(),
            next: 0,
            request: request(address),
        })
    }

    /// Sends the whole schedule and reads until every answer has ended, or for as long as is reasonable.
    fn send_all(&mut self) -> anyhow::Result<()> {
        let last_ns = self.rows.last().map_or(0, |row| row.scheduled_ns);
        let give_up_ns = last_ns + DRAIN_NS;
        let mut buffer = vec![0; READ];
        loop {
            let now_ns = self.send_due(monotonic_ns())?;
            let all_sent = self.next == self.rows.len();
            let all_ended = self.idle.len() == self.connections.len();
            if (all_sent && all_ended) || now_ns > give_up_ns {
                return Ok(());
            }
            // Without a free connection the next request waits for the end of an answer.
            let due_ns = self.rows.get(self.next).map(|row| row.scheduled_ns);
            let deadline_ns = due_ns.filter(|_| !self.idle.is_empty()).unwrap_or(give_up_ns);
            for index in 0..self.poll.wait(Some(deadline_ns))? {
                let (name, _) = self.poll.event(index);
                let read_ns = self.read(name as usize, &mut buffer)?;
                self.send_due(read_ns)?;
            }
        }
    }

    /// Sends what is due at `now_ns`, as far as there are connections, and returns the time after it.
    fn send_due(&mut self, mut now_ns: u64) -> anyhow::Result<u64> {
        while let Some(row) = self.rows.get_mut(self.next)
            && row.scheduled_ns <= now_ns
            && let Some(name) = self.idle.pop()
        {
            let connection = &mut self.connections[name];
            connection.row = self.next;
            self.next += 1;
            now_ns = monotonic_ns();
            row.sent_ns = Some(now_ns);
            // One request at a time fits into any socket's buffer.
            let written = (&connection.stream)
                .write(&self.request)
                .context("failed to send")?;
            if written < self.request.len() {
                bail!("the socket took {written} bytes of a request");
            }
        }
        Ok(now_ns)
    }

    /// Reads once from a connection and returns the time after it.
    fn read(&mut self, name: usize, buffer: &mut [u8]) -> anyhow::Result<u64> {
        let connection = &mut self.connections[name];
        let length = match (&connection.stream).read(buffer) {
            Ok(0) => bail!("the server has closed a connection"),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(monotonic_ns()),
            Err(error) => return Err(error).context("failed to read"),
        };
        let read_ns = monotonic_ns();
        let progress = connection.scan.feed(&buffer[..length]);
        let row = &mut self.rows[connection.row];
        if progress.first_token {
            row.first_token_ns = Some(read_ns);
        }
        if progress.over {
            row.serial = connection.scan.serial();
            connection.scan.reset();
            self.idle.push(name);
        } else if connection.scan.status().is_some_and(|status| status != 200) {
            bail!("the server has refused a request");
        }
        Ok(read_ns)
    }
}

/// A request with a prompt of 32 words.
fn request(address: SocketAddr) -> Vec<u8> {
    let prompt = ["summit"; 32].join(" ");
    let body = format!(
        "{{\"model\":\"{MODEL}\",\"messages\":[{{\"role\":\"user\",\"content\":\"{prompt}\"}}],\"max_tokens\":128,\
         \"temperature\":0,\"stream\":true,\"stream_options\":{{\"include_usage\":true}}}}"
    );
    let length = body.len();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
