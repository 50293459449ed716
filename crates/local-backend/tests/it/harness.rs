//! Servers, load generators and waits of the tests.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use gipfel_backend::{Deployer, DeploymentStatus, Failure, Finder, Handle};
use gipfel_local_backend::LocalBackend;
use gipfel_model::{
    ArrivalProcess, ArrivalRate, BackendKind, CampaignId, DeploymentId, DeploymentKind, DeploymentSpec,
    EndpointSpec, LengthDistribution, LevelSchedule, LocalSpec, Provenance, Rates, RunConfig, RunId,
    Timeouts, WorkloadSpec, deployment::Placement, run_config::RUN_CONFIG_FORMAT,
};
use tempfile::TempDir;

/// A backend on a directory of its own, whose load generator is a shell script.
pub(crate) struct Site {
    pub(crate) backend: LocalBackend,
    pub(crate) root: TempDir,
    tag: String,
}

impl Site {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let root = tempfile::tempdir().unwrap();
        let tag = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let gipfel = write_loadgen(root.path());
        let backend = LocalBackend::new(root.path().to_owned(), gipfel);
        Self { backend, root, tag }
    }

    /// A second gipfel on the same directory, as after a restart.
    pub(crate) fn another(&self) -> LocalBackend {
        LocalBackend::new(self.root.path().to_owned(), self.root.path().join("gipfel"))
    }

    pub(crate) fn campaign(&self) -> CampaignId {
        format!("c-{}", self.tag).parse().unwrap()
    }

    pub(crate) fn deployment(&self, name: &str) -> DeploymentId {
        format!("d-{name}-{}", self.tag).parse().unwrap()
    }

    pub(crate) fn run(&self, name: &str) -> RunId {
        format!("{name}-{}", self.tag).parse().unwrap()
    }

    pub(crate) fn file(&self, name: &str, file: &str) -> PathBuf {
        self.root.path().join(name).join(file)
    }

    /// Starts a shell script as the server.
    pub(crate) async fn start(&self, name: &str, script: &str) -> Handle {
        let spec = spec(LocalSpec {
            command: Some(shell(script)),
            ..LocalSpec::default()
        });
        self.backend
            .ensure(&self.campaign(), &self.deployment(name), &spec)
            .await
            .unwrap()
    }

    /// Waits until the server has ended.
    pub(crate) async fn ended(&self, handle: &Handle) -> Failure {
        until("the server ends", async || {
            match Deployer::observe(&self.backend, handle).await.unwrap() {
                DeploymentStatus::Ended(failure) => Some(failure),
                _ => None,
            }
        })
        .await
    }
}

impl Drop for Site {
    /// Ends what a failed test has left.
    fn drop(&mut self) {
        let end_all = async {
            for handle in self
                .backend
                .find_campaign(&self.campaign())
                .await
                .unwrap_or_default()
            {
                drop(Deployer::end(&self.backend, &handle).await);
            }
        };
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
        };
        // A thread of its own, since the test's has a runtime already.
        std::thread::scope(|scope| {
            scope.spawn(|| runtime().map(|runtime| runtime.block_on(end_all)));
        });
    }
}

pub(crate) fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

pub(crate) fn spec(local: LocalSpec) -> DeploymentSpec {
    DeploymentSpec {
        model: "m".to_owned(),
        backend: BackendKind::Vllm,
        placement: Placement::Local(local),
        backend_config: serde_json::Map::new(),
        instance: 0,
        server_ready_timeout: Duration::from_mins(1),
    }
}

/// A server that answers: this executable, which runs one test only.
pub(crate) fn serving() -> LocalSpec {
    let program = std::env::current_exe().unwrap().to_string_lossy().into_owned();
    let arguments = ["serves", "--exact", "--include-ignored", "--nocapture", "{port}"];
    let command = std::iter::once(program)
        .chain(arguments.map(str::to_owned))
        .collect();
    LocalSpec {
        command: Some(command),
        environment: BTreeMap::new(),
        ..LocalSpec::default()
    }
}

/// Answers like an engine, until the process is ended.
pub(crate) fn serve(port: u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    for stream in listener.incoming() {
        answer(&stream.unwrap());
    }
}

/// Answers one request: `/version`, `/v1/models`, and everything else with an empty 200. A key is asked for by a
/// path that begins with `/closed`.
pub(crate) fn answer(mut stream: &TcpStream) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let key = headers
        .iter()
        .any(|header| header.eq_ignore_ascii_case("authorization: bearer sesame"));
    let (status, body) = match path {
        "/version" => ("200 OK", r#"{"version":"9.9"}"#),
        "/v1/models" => ("200 OK", r#"{"object":"list","data":[{"id":"m"}]}"#),
        "/closed/v1/models" if key => ("200 OK", r#"{"object":"list","data":[{"id":"m"}]}"#),
        path if path.starts_with("/closed") && !key => ("401 Unauthorized", "{}"),
        "/old/v1/models" => ("404 Not Found", "{}"),
        "/empty/v1/models" => ("200 OK", r#"{"object":"list","data":[]}"#),
        _ => ("200 OK", "{}"),
    };
    let length = body.len();
    // A client that has gone away is none of the server's business.
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
}

/// A load generator: writes its progress and database, runs until it is asked to stop. The run's seed says how it
/// ends by itself: 1 not at all, 2 completed, 3 failed with a reason, 4 it dies.
fn write_loadgen(root: &Path) -> PathBuf {
    let script = r#"#!/bin/sh
[ "$1 $2 $4" = "loadgen --config --directory" ] || { echo "odd arguments: $*"; exit 2; }
directory=$5
run=${directory##*/}
progress() {
    printf '{"header":{"format":"gipfel-progress","major":1,"minor":0},"run_id":"%s","state":"%s","updated_unix_ms":0,"pid":%s,"levels":[],"current":null,"planned_levels":null,"error":%s}' \
        "$run" "$1" "$$" "$2" > "$directory/progress.tmp"
    mv "$directory/progress.tmp" "$directory/progress.json"
}
echo "the load generator begins"
echo database > "$directory/run_$run.db"
trap 'progress stopped null; exit 0' TERM
progress running null
case $(grep '"seed"' "$3") in
    *2*) progress completed null; exit 0 ;;
    *3*) progress failed '"the endpoint refuses the key"'; exit 1 ;;
    *4*) echo "the load generator panicked"; exit 101 ;;
esac
while :; do sleep 0.05; done
"#;
    let path = root.join("gipfel");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

pub(crate) fn config(site: &Site, run: &RunId, seed: u64) -> RunConfig {
    let length = LengthDistribution::Fixed { value: 16 };
    RunConfig {
        header: RUN_CONFIG_FORMAT.header(),
        run_id: run.clone(),
        campaign_id: site.campaign(),
        deployment_id: site.deployment("of-run"),
        deployment: DeploymentKind::Local,
        repeat: 0,
        model: "m".to_owned(),
        served_model: None,
        backend: BackendKind::Vllm,
        endpoint: EndpointSpec::new("http://127.0.0.1:1"),
        backend_config: serde_json::Map::new(),
        dataset_config: serde_json::Map::new(),
        workload: WorkloadSpec {
            prompts: gipfel_model::PromptSource::default(),
            arrivals: ArrivalProcess::Poisson,
            input_length: length,
            output_length: length,
            seed,
            requests: gipfel_model::RequestForm::default(),
        },
        schedule: LevelSchedule {
            rates: Rates::Doubling {
                first: ArrivalRate::per_second(1.0).unwrap(),
            },
            warmup: Duration::ZERO,
            measured: Duration::from_secs(1),
            requests_per_level: None,
            warmup_ramp: false,
            exact_windows: false,
            all_levels: false,
            total_time: None,
        },
        slos: Vec::new(),
        informational_slos: Vec::new(),
        timeouts: Timeouts::default(),
        workers: None,
        server_load_time: None,
        provenance: Provenance::default(),
        created_at: "2026-11-21T22:43:12Z".to_owned(),
    }
}

/// Asks until there is an answer, within bounds.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A process id that a script has written into a file.
pub(crate) async fn pid_in(path: &Path) -> u32 {
    until(&format!("a process id in {}", path.display()), async || {
        fs::read_to_string(path).ok()?.strip_suffix('\n')?.parse().ok()
    })
    .await
}

/// Whether a process lives, as a zombie not.
pub(crate) fn lives(pid: u32) -> bool {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    if rustix::process::test_kill_process(pid).is_err() {
        return false;
    }
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    !stat
        .rsplit_once(')')
        .is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// The process of a handle.
pub(crate) fn pid_of(handle: &Handle) -> u32 {
    let mut words = handle.detail.split(' ').skip_while(|word| *word != "pid");
    words.nth(1).unwrap().parse().unwrap()
}
