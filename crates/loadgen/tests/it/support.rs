//! A fast server, run directories, and what a run leaves in them.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use gipfel_inference_sim::{Faults, ServerProfile, SimOptions, StepLaw, serve};
use gipfel_loadgen::{Options, database_name, run_blocking};
use gipfel_model::{
    ArrivalProcess, ArrivalRate, BackendKind, DeploymentKind, EndpointSpec, LengthDistribution, LevelRecord,
    LevelSchedule, Phase, Progress, Provenance, Published, Rates, RequestForm, RequestRecord, RunConfig,
    RunState, ScrapeRecord, Timeouts, WorkloadSpec, run_config::RUN_CONFIG_FORMAT,
};
use gipfel_results_db::{ResultsDb, RunRow, published};
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Looks until `look` finds something.
#[expect(
    clippy::disallowed_methods,
    reason = "files and processes can only be looked at"
)]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < give_up, "waited in vain for {what}");
        thread::sleep(LOOK_INTERVAL);
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// A simulator on a thread of its own; it ends when it is dropped.
pub(crate) struct Sim {
    pub(crate) url: String,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sim {
    /// Steps of a millisecond, and room for everybody.
    pub(crate) fn fast() -> Self {
        Self::start(1e6, 512, Faults::default())
    }

    /// Such a server of another model.
    pub(crate) fn of(model: &str) -> Self {
        Self::serve(model, 1e6, 512, Faults::default())
    }

    /// Four requests at a time, of which each token takes five milliseconds.
    pub(crate) fn narrow() -> Self {
        Self::start(5e6, 4, Faults::default())
    }

    pub(crate) fn start(base_ns: f64, max_seqs: u32, faults: Faults) -> Self {
        Self::serve("test-model", base_ns, max_seqs, faults)
    }

    fn serve(model: &str, base_ns: f64, max_seqs: u32, faults: Faults) -> Self {
        let profile = ServerProfile {
            name: model.to_owned(),
            law: StepLaw {
                base_ns,
                token_ns: 1_000.0,
                context_ns: 0.0,
                noise: 0.0,
                token_budget: 8_192,
                max_seqs,
                kv_tokens: 1_000_000,
            },
            input: LengthDistribution::Fixed { value: 8 },
            output: LengthDistribution::Fixed { value: 8 },
            slos: Vec::new(),
            truth: None,
        };
        let options = SimOptions {
            faults,
            ..SimOptions::default()
        };
        let (shutdown, told) = oneshot::channel::<()>();
        let (address, bound) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            runtime().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let local = listener.local_addr().expect("an address");
                address.send(local).expect("somebody waits");
                let until = async {
                    let _ = told.await;
                };
                serve(listener, profile, options, until)
                    .await
                    .expect("a simulator");
            });
        });
        let address = bound.recv_timeout(PATIENCE).expect("an address");
        Self {
            url: format!("http://{address}"),
            shutdown: Some(shutdown),
            thread: Some(thread),
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A run: one worker, constant arrivals, 8 tokens in and 20 out, levels of 0.2 + 1 s.
pub(crate) fn config(url: &str, rates: &[f64], slos: &[&str]) -> RunConfig {
    let rates = rates
        .iter()
        .map(|rate| ArrivalRate::per_second(*rate).expect("a rate"))
        .collect();
    RunConfig {
        header: RUN_CONFIG_FORMAT.header(),
        run_id: "20261122-101500_test-model_sim_external_00aa"
            .parse()
            .expect("an id"),
        campaign_id: "c-20261122-101500_00aa".parse().expect("an id"),
        deployment_id: "d-20261122-101500_test-model_sim_external_00aa"
            .parse()
            .expect("an id"),
        deployment: DeploymentKind::External,
        repeat: 0,
        model: "test-model".to_owned(),
        served_model: None,
        backend: BackendKind::Sim,
        endpoint: EndpointSpec::new(url),
        backend_config: serde_json::Map::new(),
        dataset_config: serde_json::Map::new(),
        workload: WorkloadSpec {
            prompts: gipfel_model::PromptSource::default(),
            arrivals: ArrivalProcess::Constant,
            input_length: LengthDistribution::Fixed { value: 8 },
            output_length: LengthDistribution::Fixed { value: 20 },
            seed: 7,
            requests: RequestForm::default(),
        },
        schedule: LevelSchedule {
            rates: Rates::Listed(rates),
            warmup: Duration::from_millis(200),
            measured: Duration::from_secs(1),
            requests_per_level: None,
            warmup_ramp: false,
            exact_windows: true,
            all_levels: true,
            total_time: None,
        },
        slos: slos
            .iter()
            .map(|slo| slo.parse().expect("an objective"))
            .collect(),
        informational_slos: Vec::new(),
        timeouts: Timeouts {
            drain: Duration::from_secs(10),
            ..Timeouts::default()
        },
        workers: Some(1),
        server_load_time: None,
        provenance: Provenance::default(),
        created_at: "2026-11-22T10:15:00Z".to_owned(),
    }
}

/// The directory of a run.
pub(crate) struct RunDirectory {
    directory: TempDir,
    config: RunConfig,
}

impl RunDirectory {
    pub(crate) fn new(config: RunConfig) -> Self {
        let directory = TempDir::new().expect("a directory");
        let text = serde_json::to_vec(&config).expect("JSON");
        std::fs::write(directory.path().join("run_config.json"), text).expect("a file");
        Self { directory, config }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path().join(database_name(&self.config.run_id))
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            config: self.path().join("run_config.json"),
            directory: self.path().to_owned(),
            of: Some(1),
            ..Options::default()
        }
    }

    pub(crate) fn run(&self) -> anyhow::Result<RunState> {
        run_blocking(&self.options())
    }

    /// The same as a process of its own; `command` gets the program and its arguments appended.
    pub(crate) fn spawn(&self, mut command: Command) -> Process {
        let child = command
            .arg("--config")
            .arg(self.path().join("run_config.json"))
            .arg("--directory")
            .arg(self.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        Process(child)
    }

    pub(crate) fn progress(&self) -> Option<Progress> {
        let text = std::fs::read(self.path().join("progress.json")).ok()?;
        Some(serde_json::from_slice(&text).expect("whole at any moment"))
    }

    pub(crate) fn wait_for_progress(&self, what: &str, is: impl Fn(&Progress) -> bool) {
        wait_for(what, || self.progress().filter(&is));
    }

    /// Until this level attempt is shown in this phase.
    pub(crate) fn wait_for_phase(&self, level: u32, phase: Phase) {
        self.wait_for_progress("the phase", |progress| {
            let current = progress.current.as_ref();
            current.is_some_and(|current| current.level == level && current.phase == phase)
        });
    }

    /// Everything that the database holds, after a look for damage.
    pub(crate) fn results(&self) -> Results {
        Self::results_in(&self.database())
    }

    /// What is published, unpacked elsewhere; nothing if nothing is.
    pub(crate) fn published(&self) -> Option<(Published, Results)> {
        let manifest = published::find(self.path()).expect("readable")?;
        let home = TempDir::new().expect("a directory");
        let database = home.path().join("home.db");
        published::unpack_from(self.path(), &manifest, &database).expect("whole");
        Some((manifest, Self::results_in(&database)))
    }

    pub(crate) fn results_in(database: &Path) -> Results {
        runtime().block_on(async {
            let db = ResultsDb::open_read_only(database).await.expect("a database");
            db.integrity_check().await.expect("no damage");
            let run = db.runs().await.expect("runs").remove(0);
            let records = db.levels(run.key).await.expect("levels");
            let mut levels = Vec::new();
            for record in records {
                levels.push(Level {
                    requests: db.requests(run.key, record.level).await.expect("requests"),
                    gaps: db.gaps(run.key, record.level).await.expect("gaps"),
                    record,
                });
            }
            Results {
                levels,
                scrapes: db.scrapes(run.key).await.expect("scrapes"),
                provenance: db.provenance(run.key).await.expect("provenance"),
                run,
            }
        })
    }
}

pub(crate) fn loadgen() -> Command {
    Command::new(env!("CARGO_BIN_EXE_gipfel-loadgen"))
}

/// A load generator; it is killed if a test forgets it.
pub(crate) struct Process(Child);

impl From<Child> for Process {
    fn from(child: Child) -> Self {
        Self(child)
    }
}

impl Process {
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).expect("it lives");
    }

    /// One that has ended by itself needs no signal.
    pub(crate) fn signal_if_alive(&mut self, signal: rustix::process::Signal) {
        if self.0.try_wait().expect("a child").is_none() {
            self.signal(signal);
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("a child").is_some()
    }

    pub(crate) fn exit(&mut self) -> ExitStatus {
        wait_for("the process to end", || self.0.try_wait().expect("a child"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail for a process that has ended, as it should have.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) run: RunRow,
    pub(crate) levels: Vec<Level>,
    pub(crate) scrapes: Vec<ScrapeRecord>,
    pub(crate) provenance: Provenance,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Level {
    pub(crate) record: LevelRecord,
    pub(crate) requests: Vec<RequestRecord>,
    pub(crate) gaps: Vec<Vec<u8>>,
}

impl Level {
    pub(crate) fn of_phase(&self, phase: Phase) -> Vec<&RequestRecord> {
        self.requests.iter().filter(|one| one.phase == phase).collect()
    }

    pub(crate) fn verdict(&self) -> Option<&'static str> {
        self.record.verdict.as_ref().map(gipfel_model::Verdict::name)
    }
}
