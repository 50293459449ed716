//! The pod of a rendered Job, run by hand as a process with its environment and the files of its volumes.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use gipfel_k8s_backend::{LoadAttempt, LoadManifests};
use gipfel_model::{LevelState, Progress};
use gipfel_results_db::{ResultsDb, published};
use k8s_openapi::api::core::v1::Container;
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::run::{Sim, config, load, program};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

const RUN: &str = "r-1";

struct Pod {
    directory: TempDir,
    container: Container,
}

/// The pod's processes; none outlives its test.
struct Process(Child);

impl Process {
    fn kill(&mut self) {
        // What has ended cannot be killed.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

impl Pod {
    /// Nothing where the load generator was not built.
    fn new(url: &str) -> anyhow::Result<Option<Self>> {
        let directory = tempfile::tempdir()?;
        let Some(program) = program(directory.path())? else {
            return Ok(None);
        };
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::copy(&mut File::open(program)?, &mut packed)?;
        let manifests = LoadManifests::new(&LoadAttempt {
            config: &config(url, &RUN.parse()?, &[20.0, 21.0], 2),
            load: &load(),
            program: &packed.finish()?,
            attempt: 1,
            claim_uid: "uid",
            is_restored: false,
        })?;
        for volume in ["program", "config", "work", "results"] {
            fs::create_dir(directory.path().join(volume))?;
        }
        let pieces = manifests
            .program
            .into_iter()
            .filter_map(|piece| piece.binary_data);
        for (name, bytes) in pieces.flatten() {
            fs::write(directory.path().join("program").join(name), bytes.0)?;
        }
        for (name, bytes) in manifests.config.data.unwrap_or_default() {
            fs::write(directory.path().join("config").join(name), bytes.0)?;
        }
        let pod = manifests.job.spec.and_then(|spec| spec.template.spec);
        let container = pod.and_then(|pod| pod.containers.into_iter().next());
        let container = container.ok_or_else(|| anyhow::anyhow!("the Job has a container"))?;
        Ok(Some(Self { directory, container }))
    }

    /// Where the pod would see it.
    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path.trim_start_matches('/'))
    }

    fn results(&self) -> PathBuf {
        self.at("results").join(RUN)
    }

    fn start(&self) -> anyhow::Result<Process> {
        let words = self.container.command.clone().unwrap_or_default();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).process_group(0);
        for variable in self.container.env.iter().flatten() {
            let value = variable.value.clone().unwrap_or_default();
            // What begins with a mount's path is a path.
            let is_path = value.starts_with('/');
            command.env(
                &variable.name,
                if is_path {
                    self.at(&value)
                } else {
                    PathBuf::from(value)
                },
            );
        }
        Ok(Process(command.spawn()?))
    }

    fn closed_levels(&self) -> usize {
        let text = fs::read(self.results().join("progress.json")).unwrap_or_default();
        serde_json::from_slice::<Progress>(&text).map_or(0, |progress| progress.levels.len())
    }

    async fn wait_for(&self, what: &str, is: impl Fn() -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while !is() {
            anyhow::ensure!(Instant::now() < until, "waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The states of the levels in the database that is published, all of whose checksums are proven.
    async fn published(&self) -> anyhow::Result<Vec<LevelState>> {
        let manifest = published::find(&self.results())?;
        let manifest = manifest.ok_or_else(|| anyhow::anyhow!("something is published"))?;
        let database = self.at("run.db");
        published::unpack_from(&self.results(), &manifest, &database)?;
        states(&database).await
    }
}

async fn states(database: &Path) -> anyhow::Result<Vec<LevelState>> {
    let database = ResultsDb::open_read_only(database).await?;
    database.integrity_check().await?;
    let runs = database.runs().await?;
    let run = runs.first().ok_or_else(|| anyhow::anyhow!("a run"))?;
    let levels = database.levels(run.key).await?;
    database.close().await?;
    Ok(levels.iter().map(|level| level.state).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_makes_a_database_and_waits_until_it_is_fetched() -> anyhow::Result<()> {
    let sim = Sim::start().await?;
    let Some(pod) = Pod::new(&sim.url)? else {
        return Ok(());
    };
    let mut process = pod.start()?;
    pod.wait_for("the end", || pod.results().join("ended.txt").exists())
        .await?;
    assert_eq!(
        fs::read_to_string(pod.results().join("ended.txt"))?,
        "0 the load generator\n"
    );
    assert_eq!(
        pod.published().await?,
        [LevelState::Complete, LevelState::Complete]
    );
    assert!(
        process.0.try_wait()?.is_none(),
        "it waits for somebody to read from it"
    );
    fs::write(pod.results().join("fetched"), "")?;
    assert_eq!(process.0.wait()?.code(), Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_killed_leaves_a_whole_database() -> anyhow::Result<()> {
    let sim = Sim::start().await?;
    let Some(pod) = Pod::new(&sim.url)? else {
        return Ok(());
    };
    let mut process = pod.start()?;
    pod.wait_for("a level", || pod.closed_levels() == 1).await?;
    process.kill();
    assert_eq!(pod.published().await?.first(), Some(&LevelState::Complete));
    assert!(!pod.results().join("ended.txt").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_told_to_leave_publishes_what_it_has() -> anyhow::Result<()> {
    let sim = Sim::start().await?;
    let Some(pod) = Pod::new(&sim.url)? else {
        return Ok(());
    };
    let mut process = pod.start()?;
    pod.wait_for("a level", || pod.closed_levels() == 1).await?;
    // As the kubelet does: to the first process of the container, not to its children.
    rustix::process::kill_process(Pid::from_child(&process.0), Signal::TERM)?;
    assert_eq!(process.0.wait()?.code(), Some(0));
    let ended = fs::read_to_string(pod.results().join("ended.txt"))?;
    assert!(ended.ends_with(" a signal\n"), "{ended}");
    let manifest = published::find(&pod.results())?;
    assert!(manifest.is_some_and(|manifest| manifest.complete));
    assert_eq!(pod.published().await?.first(), Some(&LevelState::Complete));
    Ok(())
}
