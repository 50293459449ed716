//! One probe: a fresh server, a client for a few seconds, and what both have written.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use gipfel_loadgen_bench::{
    poll::monotonic_ns,
    probe::{Figures, Window},
    tables::{ClientTable, ServerTable},
};

use super::{
    ours::{self, Report},
    samples::{Sample, Samples},
};
use crate::{
    bench::process::{self, LOOK},
    e2e::pause,
    shell,
};

const SERVER_CORE: &str = "0";
const CLIENT_CORE: &str = "1";
/// A client that takes longer than its schedule and this is given up.
const PATIENCE: Duration = Duration::from_mins(3);
/// The most connections that the bare client dials: the limit of open files is the next bound.
const MOST_CONNECTIONS: f64 = 18_000.0;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// The load generator.
    Ours,
    /// The bare client.
    Bare,
}

impl Client {
    /// Its name in what is printed.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Bare => "bare",
        }
    }
}

/// What is sent, and how the server answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Setting {
    /// Requests per second.
    pub(super) rate: f64,
    pub(super) warmup: Duration,
    pub(super) measured: Duration,
    /// Tokens of each answer.
    pub(super) tokens: u32,
    /// From the read of a request to its first token.
    pub(super) first_token: Duration,
    /// Between two tokens; zero for all at once.
    pub(super) gap: Duration,
    /// What the load generator is told to ask of the TTFT's 95th percentile.
    pub(super) objective: Duration,
    pub(super) seed: u64,
}

impl Setting {
    /// How long the server takes for a request.
    pub(super) fn stream_time(&self) -> Duration {
        self.first_token + self.gap * self.tokens.saturating_sub(1)
    }

    /// Connections for twice as many streams as are open on average, and some for bursts.
    fn connections(&self) -> usize {
        let streams = self.rate * self.stream_time().as_secs_f64();
        (2.0 * streams + 200.0).min(MOST_CONNECTIONS) as usize
    }
}

/// What a probe has shown.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) setting: Setting,
    /// The measured window.
    pub(super) span_ns: [u64; 2],
    pub(super) figures: Figures,
    pub(super) samples: Samples,
    pub(super) server: ServerTable,
    /// Shares of one core over the measured window.
    pub(super) client_share: f64,
    pub(super) server_share: f64,
    pub(super) foreign_share: f64,
    /// CPU time of the client over the window for each request that the server saw in it, in microseconds.
    pub(super) cpu_us_per_request: f64,
    /// What the load generator says itself; nothing of the bare client.
    pub(super) report: Option<Report>,
}

impl Seen {
    /// CPU time for each token, in microseconds.
    pub(super) fn cpu_us_per_token(&self) -> f64 {
        self.cpu_us_per_request / f64::from(self.setting.tokens)
    }

    /// Seconds of the measured window, which the load generator may have cut short.
    pub(super) fn window_s(&self) -> f64 {
        let [from_ns, to_ns] = self.span_ns;
        to_ns.saturating_sub(from_ns).max(1) as f64 / 1e9
    }

    /// The probe in a line.
    fn describe(&self) -> String {
        let Figures {
            ttft_error,
            schedule_delay,
            server_ttft,
            ..
        } = self.figures;
        let verdict = self.report.as_ref().map_or("", |report| report.verdict.as_str());
        format!(
            "{:7.0}/s: server saw {:6.2} %, TTFT error {:.3} / {:.3} / {:.3} ms, delay {:.3} / {:.3} ms, KS {:.3}, \
             {:5.1} µs a request, cores: client {:.2}, server {:.2} (TTFT p99 {:.1} ms), foreign {:.2}; \
             {} connections {verdict}",
            self.setting.rate,
            self.figures.kept() * 100.0,
            ttft_error.p50,
            ttft_error.p95,
            ttft_error.p99,
            schedule_delay.p50,
            schedule_delay.p99,
            self.figures.distance,
            self.cpu_us_per_request,
            self.client_share,
            self.server_share,
            server_ttft.p99,
            self.foreign_share,
            self.server.connections,
        )
    }
}

/// The programs and the place of their files.
#[derive(Debug)]
pub(super) struct Laboratory {
    pub(super) folder: PathBuf,
    pub(super) load_generator: PathBuf,
    pub(super) server: PathBuf,
    pub(super) bare_client: PathBuf,
    /// Whether server and client go before every other process of the machine.
    pub(super) realtime: bool,
}

impl Laboratory {
    /// Lets a client send as the setting says.
    pub(super) fn probe(&self, client: Client, setting: &Setting) -> anyhow::Result<Seen> {
        let folder = self.folder.join("probe");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let server = Server::start(self, &folder, setting)?;
        let mut command = match client {
            Client::Ours => ours::command(&self.load_generator, &folder, server.port, setting)?,
            Client::Bare => self.bare(&folder, server.port, setting),
        };
        let samples = self.watch(&mut command, &folder, &server, setting)?;
        let table = server.end()?;
        let [begin_ns, end_ns] = table.wall_offsets_ns;
        let wall_offset_ns = i64::midpoint(begin_ns, end_ns);
        let (window, report) = match client {
            Client::Ours => {
                let report = ours::report(&folder, wall_offset_ns).with_context(|| last_words(&folder))?;
                (report.window.clone(), Some(report))
            }
            Client::Bare => (bare_window(&folder)?, None),
        };
        let figures = Figures::new(&window, &table, setting.rate);
        let [from_ns, to_ns] = window.span_ns;
        let seconds = to_ns.saturating_sub(from_ns).max(1) as f64 / 1e9;
        let used = samples.within(window.span_ns);
        let seen = Seen {
            setting: *setting,
            span_ns: window.span_ns,
            figures,
            client_share: used.client_s / seconds,
            server_share: used.server_s / seconds,
            foreign_share: (used.machine_s - used.client_s - used.server_s).max(0.0) / seconds,
            cpu_us_per_request: used.client_s * 1e6 / figures.seen.max(1) as f64,
            samples,
            server: table,
            report,
        };
        shell::say(&format!("{} {}", client.name(), seen.describe()));
        Ok(seen)
    }

    fn bare(&self, folder: &Path, port: u16, setting: &Setting) -> Command {
        let mut command = Command::new(&self.bare_client);
        command
            .args(["--port", &port.to_string()])
            .args(["--rate", &setting.rate.to_string()])
            .args(["--warmup", &setting.warmup.as_secs_f64().to_string()])
            .args(["--measured", &setting.measured.as_secs_f64().to_string()])
            .args(["--connections", &setting.connections().to_string()])
            .args(["--seed", &setting.seed.to_string()])
            .arg("--log")
            .arg(folder.join("client.csv"));
        command
    }

    /// The same call on a core of its own.
    fn pinned(&self, core: &str, command: &Command) -> Command {
        let mut pinned = if self.realtime {
            let mut pinned = Command::new("chrt");
            pinned.args(["--fifo", "10", "taskset"]);
            pinned
        } else {
            Command::new("taskset")
        };
        pinned.args(["--cpu-list", core]);
        pinned.arg(command.get_program()).args(command.get_args());
        pinned
    }

    /// Runs the client to its end and looks at it and at the server meanwhile.
    fn watch(
        &self,
        command: &mut Command,
        folder: &Path,
        server: &Server,
        setting: &Setting,
    ) -> anyhow::Result<Samples> {
        let log = File::create(folder.join("client.log"))?;
        let mut command = self.pinned(CLIENT_CORE, command);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("failed to start {}", shell::describe(&command)))?;
        let mut child = Running(child);
        let patience = setting.warmup + setting.measured + setting.stream_time() + PATIENCE;
        let give_up_ns = monotonic_ns() + patience.as_nanos() as u64;
        let mut samples = Samples::default();
        loop {
            if let Some(status) = child.0.try_wait()? {
                ensure!(
                    status.success(),
                    "the client ended with {status}: {}",
                    last_words(folder)
                );
                return Ok(samples);
            }
            ensure!(
                monotonic_ns() < give_up_ns,
                "the client did not end: {}",
                last_words(folder)
            );
            let looks = (process::usage(child.0.id()), process::usage(server.child.0.id()));
            if let ((Some(client), Some(server)), Some(machine_s)) = (looks, process::machine_seconds()) {
                samples.push(Sample {
                    at_ns: monotonic_ns(),
                    client,
                    server_s: server.cpu_s,
                    machine_s,
                });
            }
            pause(LOOK);
        }
    }
}

fn bare_window(folder: &Path) -> anyhow::Result<Window> {
    let table = ClientTable::read(&fs::read_to_string(folder.join("client.csv"))?)?;
    let [from_ns, to_ns] = table.window_ns;
    let rows = table.rows.into_iter();
    let rows: Vec<_> = rows
        .filter(|row| (from_ns..to_ns).contains(&row.scheduled_ns))
        .collect();
    Ok(Window {
        span_ns: table.window_ns,
        offered: rows.len() as u64,
        rows,
    })
}

/// The end of what the client has printed.
fn last_words(folder: &Path) -> String {
    let log = fs::read_to_string(folder.join("client.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

/// A process that is killed when nobody waits for it any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Server {
    child: Running,
    port: u16,
    log: PathBuf,
}

impl Server {
    fn start(laboratory: &Laboratory, folder: &Path, setting: &Setting) -> anyhow::Result<Self> {
        let log = folder.join("server.csv");
        let milliseconds = |duration: Duration| (duration.as_secs_f64() * 1e3).to_string();
        let mut command = Command::new(&laboratory.server);
        command
            .args(["--tokens", &setting.tokens.to_string()])
            .args(["--first-token-ms", &milliseconds(setting.first_token)])
            .args(["--gap-ms", &milliseconds(setting.gap)])
            .arg("--log")
            .arg(&log);
        let mut command = laboratory.pinned(SERVER_CORE, &command);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let child = child.with_context(|| format!("failed to start {}", shell::describe(&command)))?;
        let mut child = Running(child);
        let mut address = String::new();
        let out = child.0.stdout.take().context("the server has no output")?;
        BufReader::new(out).read_line(&mut address)?;
        let port = address
            .trim()
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        Ok(Self {
            child,
            port: port.context("the server did not say where it listens")?,
            log,
        })
    }

    /// Ends it by closing its input, and reads what it saw.
    fn end(mut self) -> anyhow::Result<ServerTable> {
        drop(self.child.0.stdin.take());
        let status = self.child.0.wait()?;
        if !status.success() {
            bail!("the reference server ended with {status}");
        }
        Ok(ServerTable::read(&fs::read_to_string(&self.log)?)?)
    }
}
