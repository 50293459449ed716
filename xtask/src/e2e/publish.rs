//! A load generator that writes on its machine and publishes, killed at random moments and taken up on another machine
//! each time; in the end its results are read from the published pieces alone.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use flate2::read::MultiGzDecoder;
use gipfel_model::{
    ArrivalProcess, ArrivalRate, BackendKind, DeploymentKind, EndpointSpec, LengthDistribution,
    LevelSchedule, Progress, PromptSource, Provenance, Published, Rates, RequestForm, RunConfig, RunState,
    Timeouts, WorkloadSpec,
    published::{MAX_PIECE_BYTES, PUBLISHED_FILE},
    run_config::RUN_CONFIG_FORMAT,
};
use sha2::{Digest, Sha256};

use super::{
    Simulator,
    kill::{LIMIT, Moments, WHOLE_RUN, check_database, complete_levels},
    world::{World, expect_exit, pause, wait_for},
};
use crate::shell;

const RUN_ID: &str = "20261122-101500_quickstart_sim_external_00aa";
/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:1";

/// Kills the load generator so many times, then lets it come to its end.
pub(crate) fn play(rounds: u32, seed: u64) -> anyhow::Result<()> {
    let world = World::new("publish")?;
    let simulator = Simulator::start(&world, &["--profile", "quickstart"])?;
    let directory = world.folder.join("run");
    fs::create_dir_all(&directory)?;
    fs::write(
        directory.join("run_config.json"),
        serde_json::to_vec_pretty(&run_config()?)?,
    )?;
    fs::write(directory.join("endpoint.txt"), format!("{}\n", simulator.url))?;
    let mut moments = Moments(seed);
    let mut closed = Vec::new();
    for round in 0..rounds {
        let after = moments.next(WHOLE_RUN / 2);
        let mut process = start(&world, &directory, round)?;
        pause(after);
        // One that came to its end meanwhile needs no kill.
        let _ = process.kill();
        process.wait()?;
        closed = look(&world, &directory, &closed)
            .with_context(|| format!("round {round}, killed after {:.2} s", after.as_secs_f64()))?;
        shell::say(&format!(
            "killed after {:.2} s: {} closed levels in what is published",
            after.as_secs_f64(),
            closed.len()
        ));
    }
    let mut last = start(&world, &directory, rounds)?;
    let status = wait_for("the end of the load generator", LIMIT, || {
        last.try_wait().ok().flatten()
    });
    // Fails for one that has ended, as it should have.
    let _ = last.kill();
    ensure!(status?.success(), "the load generator did not come to its end");
    look(&world, &directory, &closed)?;
    read_at_home(&world, &directory)
}

/// A load generator on a machine that nothing is known on.
fn start(world: &World, directory: &Path, round: u32) -> anyhow::Result<Child> {
    let work = world.folder.join(format!("node-{round}"));
    let log = File::create(world.folder.join(format!("benchmarker-{round}.log")))?;
    let mut command = world.gipfel(&["loadgen", "--of", "1", "--config"]);
    command
        .arg(directory.join("run_config.json"))
        .arg("--directory")
        .arg(directory)
        .arg("--work")
        .arg(work)
        .arg("--endpoint-file")
        .arg(directory.join("endpoint.txt"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("failed to start the load generator")
}

/// What is published is whole, and no level is lost or changed that was closed before or that progress tells of.
fn look(world: &World, directory: &Path, closed: &[(i64, i64)]) -> anyhow::Result<Vec<(i64, i64)>> {
    let progress = progress(directory)?;
    let told: Vec<i64> = progress
        .iter()
        .flat_map(|progress| progress.levels.iter().map(|level| i64::from(level.level)))
        .collect();
    let database = world.folder.join("look.db");
    if unpack(directory, &database)?.is_none() {
        ensure!(
            told.is_empty() && closed.is_empty(),
            "nothing is published, but {told:?} were told of"
        );
        return Ok(Vec::new());
    }
    let now = complete_levels(&database);
    ensure!(
        told.iter().all(|told| now.iter().any(|(level, _)| level == told)),
        "progress tells of the levels {told:?}, published are {now:?}"
    );
    ensure!(
        closed.iter().all(|level| now.contains(level)),
        "closed levels changed: {closed:?} then, {now:?} now"
    );
    Ok(now)
}

fn progress(directory: &Path) -> anyhow::Result<Option<Progress>> {
    match fs::read(directory.join("progress.json")) {
        Ok(text) => Ok(Some(
            serde_json::from_slice(&text).context("progress.json is damaged")?,
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes the database of the published pieces, as somebody would who has nothing but their description.
fn unpack(directory: &Path, database: &Path) -> anyhow::Result<Option<Published>> {
    let text = match fs::read(directory.join(PUBLISHED_FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let manifest = Published::parse(&text).context("published.json is damaged")?;
    let mut packed = Vec::new();
    for piece in &manifest.pieces {
        let bytes =
            fs::read(directory.join(&piece.name)).with_context(|| format!("no piece {}", piece.name))?;
        ensure!(
            bytes.len() as u64 == piece.bytes && piece.bytes <= MAX_PIECE_BYTES,
            "{} has {} bytes",
            piece.name,
            bytes.len()
        );
        ensure!(sum(&bytes) == piece.sha256, "{} is damaged", piece.name);
        packed.extend(bytes);
    }
    ensure!(
        packed.len() as u64 == manifest.bytes && sum(&packed) == manifest.sha256,
        "the pieces are not those of the manifest"
    );
    let mut file = File::create(database)?;
    io::copy(&mut MultiGzDecoder::new(&packed[..]), &mut file).context("the pieces cannot be unpacked")?;
    file.flush()?;
    Ok(Some(manifest))
}

fn sum(bytes: &[u8]) -> String {
    gipfel_model::provenance::hexadecimal(&Sha256::digest(bytes))
}

/// Only the pieces come home, and gipfel reads what they make.
fn read_at_home(world: &World, directory: &Path) -> anyhow::Result<()> {
    let home = world.folder.join("home");
    fs::create_dir_all(&home)?;
    let database = home.join(format!("run_{RUN_ID}.db"));
    let manifest = unpack(directory, &database)?.context("nothing is published")?;
    ensure!(
        manifest.complete,
        "the last publication does not say that it is the last"
    );
    check_database(&database)?;
    let state = progress(directory)?.map(|progress| progress.state);
    ensure!(state == Some(RunState::Completed), "progress says {state:?}");
    let output = shell::capture(world.gipfel(&["results", "summary"]).arg(&database))?;
    expect_exit(&output, 0)?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        text.contains("quickstart"),
        "the summary does not show the run:\n{text}"
    );
    let table: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
    shell::say(&format!(
        "all levels are whole in {} pieces of {} bytes; gipfel's summary of them:\n{}",
        manifest.pieces.len(),
        manifest.bytes,
        table.join("\n")
    ));
    Ok(())
}

/// Four short levels of a server that passes them all; its address comes from a file.
fn run_config() -> anyhow::Result<RunConfig> {
    let rates = [5.0, 6.0, 7.0, 8.0].map(ArrivalRate::per_second);
    Ok(RunConfig {
        header: RUN_CONFIG_FORMAT.header(),
        run_id: RUN_ID.parse()?,
        campaign_id: "c-20261122-101500_00aa".parse()?,
        deployment_id: format!("d-{RUN_ID}").parse()?,
        deployment: DeploymentKind::External,
        repeat: 0,
        model: "quickstart".to_owned(),
        served_model: None,
        backend: BackendKind::Sim,
        endpoint: EndpointSpec::new(NOBODY),
        backend_config: serde_json::Map::new(),
        dataset_config: serde_json::Map::new(),
        workload: WorkloadSpec {
            prompts: PromptSource::default(),
            arrivals: ArrivalProcess::Poisson,
            input_length: LengthDistribution::Fixed { value: 16 },
            output_length: LengthDistribution::Fixed { value: 8 },
            seed: 1,
            requests: RequestForm::default(),
        },
        schedule: LevelSchedule {
            rates: Rates::Listed(rates.into_iter().collect::<Result<_, _>>()?),
            warmup: Duration::from_secs(1),
            measured: Duration::from_secs(3),
            requests_per_level: None,
            warmup_ramp: false,
            exact_windows: true,
            all_levels: true,
            total_time: None,
        },
        slos: vec!["ttft p50 <= 500ms".parse()?],
        informational_slos: Vec::new(),
        timeouts: Timeouts::default(),
        workers: Some(1),
        server_load_time: None,
        provenance: Provenance::default(),
        created_at: "2026-11-22T10:15:00Z".to_owned(),
    })
}
