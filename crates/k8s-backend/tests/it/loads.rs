//! Load generators whose pods are processes of this machine.

use std::{path::Path, time::Duration};

use gipfel_backend::{
    BoxFuture, Deployer, Effect, FailureReason, Finder, Found, Handle, LoadRunner, RunStatus,
    contract::{RunnerHarness, runner_contract},
};
use gipfel_k8s_backend::{
    Connection, Deadlines, K8sLoads, object_name,
    simulated::{Mishap, Shape, SimulatedCluster, Weather, status},
};
use gipfel_model::{
    K8sIngress, K8sLoad, K8sVolume, LevelRecord, LevelState, LoadPlacement, RunConfig, RunId, RunState,
    deployment::Placement,
};
use gipfel_results_db::ResultsDb;
use hyper::Method;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    run::{Sim, config, load, program},
    setup::{Setup, spec},
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

struct Site {
    cluster: SimulatedCluster,
    loads: K8sLoads,
    sim: Sim,
    directory: TempDir,
}

impl Site {
    /// Nothing where the load generator was not built.
    async fn new() -> anyhow::Result<Option<Self>> {
        let directory = tempfile::tempdir()?;
        if program(directory.path())?.is_none() {
            return Ok(None);
        }
        let shape = Shape::Processes(directory.path().join("cluster"));
        let cluster = SimulatedCluster::start(shape).await?;
        Ok(Some(Self {
            loads: loads(&cluster, directory.path(), "home")?,
            sim: Sim::start().await?,
            cluster,
            directory,
        }))
    }

    async fn wait_for(&self, handle: &Handle, is: impl Fn(&RunStatus) -> bool) -> anyhow::Result<RunStatus> {
        let looking = async {
            loop {
                match self.loads.observe(handle).await {
                    Ok(status) if is(&status) => return Ok(status),
                    Ok(RunStatus::Failed(failure)) => anyhow::bail!("it failed: {failure:?}"),
                    Ok(_) => {}
                    Err(error) if error.retryable => {}
                    Err(error) => return Err(error.into()),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await?
    }

    async fn ended(&self, handle: &Handle) -> anyhow::Result<()> {
        self.loads.end(handle).await?;
        let left = self.cluster.objects();
        let left: Vec<&String> = left
            .iter()
            .filter(|name| !name.starts_with("persistentvolumeclaims"))
            .collect();
        assert_eq!(left, Vec::<&String>::new(), "nothing is left in the cluster");
        Ok(())
    }
}

/// One more process with a results directory of this name.
fn loads(cluster: &SimulatedCluster, directory: &Path, home: &str) -> anyhow::Result<K8sLoads> {
    let program = program(directory)?.unwrap_or_default();
    let connection = Connection::Url(cluster.url().to_owned());
    let deadlines = Deadlines {
        call: Duration::from_secs(10),
        ..Deadlines::default()
    };
    Ok(K8sLoads::with_deadlines(
        connection,
        "ml",
        directory.join(home),
        program,
        deadlines,
    ))
}

fn on_volume(pods: u32) -> K8sLoad {
    K8sLoad {
        pods,
        results: Some(K8sVolume {
            claim: "results".to_owned(),
            size: "1Gi".to_owned(),
            storage_class: None,
        }),
        ..load()
    }
}

fn within(load: K8sLoad) -> LoadPlacement {
    LoadPlacement::InCluster(Box::new(load))
}

impl RunnerHarness for Site {
    fn runner(&self) -> &dyn LoadRunner {
        &self.loads
    }

    fn finder(&self) -> &dyn Finder {
        &self.loads
    }

    fn run(&self, tag: &str) -> RunId {
        format!("r-{tag}").parse().expect("an id")
    }

    fn config(&self, run: &RunId) -> RunConfig {
        config(&self.sim.url, run, &[20.0], 600)
    }

    fn place(&self) -> LoadPlacement {
        within(load())
    }

    fn pause(&self) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(50)))
    }
}

/// The states of the run's levels and how many requests were measured, from a database that is whole.
async fn levels(database: &Path) -> anyhow::Result<(Vec<LevelState>, usize)> {
    let database = ResultsDb::open_read_only(database).await?;
    database.integrity_check().await?;
    let runs = database.runs().await?;
    let [run] = runs.as_slice() else {
        anyhow::bail!("one run, not {}", runs.len());
    };
    let levels = database.levels(run.key).await?;
    let mut measured = 0;
    for level in &levels {
        measured += database.measured_requests(run.key, level.level).await?.len();
    }
    database.close().await?;
    Ok((levels.iter().map(|level| level.state).collect(), measured))
}

async fn first_level(database: &Path) -> anyhow::Result<Option<LevelRecord>> {
    let database = ResultsDb::open_read_only(database).await?;
    let runs = database.runs().await?;
    let run = runs.first().ok_or_else(|| anyhow::anyhow!("a run"))?;
    let first = database.levels(run.key).await?.into_iter().next();
    database.close().await?;
    Ok(first)
}

fn closed_levels(status: &RunStatus) -> usize {
    match status {
        RunStatus::Running(Some(progress)) => progress.levels.len(),
        _ => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_kept() -> anyhow::Result<()> {
    let Some(site) = Site::new().await? else {
        return Ok(());
    };
    runner_contract(&site).await;
    assert_eq!(site.cluster.objects(), Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_comes_home_whole() -> anyhow::Result<()> {
    let Some(site) = Site::new().await? else {
        return Ok(());
    };
    let config = config(&site.sim.url, &"r-1".parse()?, &[20.0, 40.0], 1);
    let handle = site.loads.ensure(&config, &within(load())).await?;
    let status = site
        .wait_for(&handle, |status| matches!(status, RunStatus::Completed(_)))
        .await?;
    let RunStatus::Completed(Some(progress)) = status else {
        anyhow::bail!("it completed: {status:?}");
    };
    assert_eq!(progress.state, RunState::Completed);
    let database = site.loads.fetch(&handle, site.directory.path()).await?;
    assert_eq!(
        levels(&database).await?,
        (vec![LevelState::Complete, LevelState::Complete], 60)
    );
    assert!(
        site.loads.logs(&handle, 100).await?.contains("level"),
        "the log is kept"
    );
    site.ended(&handle).await?;
    assert!(matches!(
        site.loads.observe(&handle).await?,
        RunStatus::Completed(_)
    ));
    // What is kept here is enough.
    let again = site
        .loads
        .fetch(&handle, &site.directory.path().join("again"))
        .await?;
    assert_eq!(std::fs::read(again)?, std::fs::read(database)?);
    Ok(())
}

/// The pod of a run is killed after a level; another goes on.
async fn check_killed(load: K8sLoad) -> anyhow::Result<()> {
    let Some(site) = Site::new().await? else {
        return Ok(());
    };
    let config = config(&site.sim.url, &"r-1".parse()?, &[20.0, 21.0, 22.0], 2);
    let place = within(load);
    let handle = site.loads.ensure(&config, &place).await?;
    site.wait_for(&handle, |status| closed_levels(status) == 1)
        .await?;
    site.cluster.kill_pods();
    let status = site.loads.observe(&handle).await?;
    assert!(matches!(status, RunStatus::Failed(_)), "{status:?}");
    // The pod is lost with all that was in it; what was published is here.
    let database = site.loads.fetch(&handle, site.directory.path()).await?;
    let (states, measured) = levels(&database).await?;
    assert_eq!(states.first(), Some(&LevelState::Complete), "{states:?}");
    assert!(measured >= 40, "{measured}");
    let before = first_level(&database).await?;
    let next = site.loads.ensure(&config, &place).await?;
    assert_ne!(next, handle, "it is another Job");
    site.wait_for(&next, |status| matches!(status, RunStatus::Completed(_)))
        .await?;
    let database = site.loads.fetch(&next, site.directory.path()).await?;
    let (states, _) = levels(&database).await?;
    let complete = states
        .iter()
        .filter(|state| **state == LevelState::Complete)
        .count();
    assert_eq!(complete, 3, "{states:?}");
    assert_eq!(first_level(&database).await?, before, "it is not measured again");
    site.ended(&next).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_pod_is_lost_goes_on_from_what_is_kept_at_home() -> anyhow::Result<()> {
    check_killed(load()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_pod_is_killed_goes_on_from_its_volume() -> anyhow::Result<()> {
    check_killed(on_volume(1)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_before_it_goes_on_keeps_what_it_had() -> anyhow::Result<()> {
    let Some(site) = Site::new().await? else {
        return Ok(());
    };
    let config = config(&site.sim.url, &"r-1".parse()?, &[20.0, 21.0], 2);
    let handle = site.loads.ensure(&config, &within(load())).await?;
    site.wait_for(&handle, |status| closed_levels(status) == 1)
        .await?;
    site.cluster.kill_pods();
    let database = site.loads.fetch(&handle, site.directory.path()).await?;
    let before = first_level(&database).await?;
    let next = site.loads.ensure(&config, &within(load())).await?;
    // Its container runs, and nobody has looked at it, so that it still waits for what was measured.
    site.loads.stop(&next).await?;
    site.wait_for(&next, |status| matches!(status, RunStatus::Stopped(_)))
        .await?;
    let database = site.loads.fetch(&next, site.directory.path()).await?;
    assert_eq!(first_level(&database).await?, before);
    site.ended(&next).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_was_not_recorded_is_taken_up_with_what_it_waits_for() -> anyhow::Result<()> {
    let Some(site) = Site::new().await? else {
        return Ok(());
    };
    let config = config(&site.sim.url, &"r-1".parse()?, &[20.0, 21.0], 2);
    let handle = site.loads.ensure(&config, &within(load())).await?;
    site.wait_for(&handle, |status| closed_levels(status) == 1)
        .await?;
    site.cluster.kill_pods();
    let database = site.loads.fetch(&handle, site.directory.path()).await?;
    let before = first_level(&database).await?;
    let next = site.loads.ensure(&config, &within(load())).await?;
    // A machine that has nothing of it does not let it begin anew.
    let elsewhere = loads(&site.cluster, site.directory.path(), "elsewhere")?;
    for _ in 0..20 {
        let status = elsewhere.observe(&next).await?;
        assert!(
            matches!(status, RunStatus::Queued | RunStatus::Running(None)),
            "{status:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // As if gipfel had been killed between the Job and its record.
    std::fs::remove_file(site.directory.path().join("home/r-1/kubernetes.json"))?;
    let other = loads(&site.cluster, site.directory.path(), "home")?;
    assert_eq!(
        other.find_run(&config.run_id).await?,
        Found::Started(next.clone())
    );
    assert_eq!(
        other.find_campaign(&config.campaign_id).await?,
        std::slice::from_ref(&next)
    );
    assert_eq!(other.ensure(&config, &within(load())).await?, next);
    site.wait_for(&next, |status| matches!(status, RunStatus::Completed(_)))
        .await?;
    let database = site.loads.fetch(&next, site.directory.path()).await?;
    assert_eq!(first_level(&database).await?, before);
    site.ended(&next).await
}

/// Tries again what may pass, as whoever uses a backend does.
async fn again<T, E: std::fmt::Debug>(
    mut call: impl AsyncFnMut() -> Result<T, E>,
    may_pass: impl Fn(&E) -> bool,
) -> anyhow::Result<T> {
    for _ in 0..50 {
        match call().await {
            Ok(value) => return Ok(value),
            Err(error) if may_pass(&error) => {}
            Err(error) => anyhow::bail!("it does not pass: {error:?}"),
        }
    }
    anyhow::bail!("it went wrong 50 times")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_comes_home_through_bad_weather() -> anyhow::Result<()> {
    let Some(site) = Site::new().await? else {
        return Ok(());
    };
    site.cluster.weather(Weather { seed: 7, share: 0.2 });
    let config = config(&site.sim.url, &"r-1".parse()?, &[20.0, 40.0], 1);
    let place = within(load());
    let handle = again(
        async || site.loads.ensure(&config, &place).await,
        |error| error.source.retryable,
    )
    .await?;
    site.wait_for(&handle, |status| matches!(status, RunStatus::Completed(_)))
        .await?;
    let fetch = async || site.loads.fetch(&handle, site.directory.path()).await;
    let database = again(fetch, |error| error.retryable).await?;
    assert_eq!(
        levels(&database).await?,
        (vec![LevelState::Complete, LevelState::Complete], 60)
    );
    again(async || site.loads.end(&handle).await, |error| error.retryable).await?;
    assert_eq!(site.cluster.objects(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn pods_reach_a_server_of_their_namespace_by_its_service() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let config = config("https://d-1.example.org", &"r-1".parse()?, &[1.0], 1);
    let mut spec = spec("ml");
    if let Placement::K8s(k8s) = &mut spec.placement {
        k8s.ingress = Some(K8sIngress {
            domain: "example.org".to_owned(),
            class: None,
            tls_issuer: None,
            ca_file: None,
        });
    }
    setup
        .backend
        .ensure(&config.campaign_id, &config.deployment_id, &spec)
        .await?;
    let program = setup.directory.path().join("program");
    std::fs::write(&program, "a program")?;
    let connection = Connection::Url(setup.cluster.url().to_owned());
    let loads = K8sLoads::new(connection, "ml", setup.directory.path().to_owned(), program);
    loads.ensure(&config, &within(load())).await?;
    let secrets = format!("{}/api/v1/namespaces/ml/secrets", setup.cluster.url());
    let secrets: Value = serde_json::from_str(&reqwest::get(secrets).await?.text().await?)?;
    let secret: Secret = serde_json::from_value(secrets["items"][0].clone())?;
    let text = secret.data.and_then(|mut data| data.remove("run_config.json"));
    let text = text.ok_or_else(|| anyhow::anyhow!("the Secret has a run configuration"))?;
    let written: RunConfig = serde_json::from_slice(&text.0)?;
    let service = format!("http://{}.ml.svc:8080", object_name("d-1"));
    assert_eq!(written.endpoint.url, service);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn several_pods_send_together() -> anyhow::Result<()> {
    let Some(site) = Site::new().await? else {
        return Ok(());
    };
    let config = config(&site.sim.url, &"r-1".parse()?, &[40.0], 2);
    let handle = site.loads.ensure(&config, &within(on_volume(2))).await?;
    site.wait_for(&handle, |status| matches!(status, RunStatus::Completed(_)))
        .await?;
    let database = site.loads.fetch(&handle, site.directory.path()).await?;
    assert_eq!(levels(&database).await?, (vec![LevelState::Complete], 80));
    site.ended(&handle).await?;
    assert_eq!(
        site.cluster.objects(),
        ["persistentvolumeclaims/results"],
        "it stays"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_machine_finds_and_ends_a_run() -> anyhow::Result<()> {
    let Some(site) = Site::new().await? else {
        return Ok(());
    };
    let run: RunId = "r-1".parse()?;
    let config = site.config(&run);
    let handle = site.loads.ensure(&config, &site.place()).await?;
    site.wait_for(&handle, |status| matches!(status, RunStatus::Running(_)))
        .await?;
    let other = loads(&site.cluster, site.directory.path(), "elsewhere")?;
    let found = other.find_campaign(&config.campaign_id).await?;
    assert_eq!(found, std::slice::from_ref(&handle));
    assert_eq!(
        other.ensure(&config, &site.place()).await?,
        handle,
        "it is taken up"
    );
    other.end(&handle).await?;
    assert_eq!(site.cluster.objects(), Vec::<String>::new());
    let status = site.loads.observe(&handle).await?;
    assert!(matches!(status, RunStatus::Failed(_)), "{status:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_makes_no_second_job() -> anyhow::Result<()> {
    let Some(site) = Site::new().await? else {
        return Ok(());
    };
    let run: RunId = "r-1".parse()?;
    let config = site.config(&run);
    site.cluster.mishap(Method::POST, Mishap::Lost);
    let lost = site.loads.ensure(&config, &site.place()).await;
    let error = lost.expect_err("the claim's answer is lost");
    assert_eq!(error.effect, Effect::Unknown, "{error:?}");
    let forbidden = Mishap::Answer(403, status(403, "Forbidden", "exceeded quota"));
    site.cluster.mishap(
        Method::POST,
        Mishap::Answer(409, status(409, "AlreadyExists", "it is there")),
    );
    site.cluster.mishap(Method::POST, forbidden);
    let refused = site.loads.ensure(&config, &site.place()).await;
    let error = refused.expect_err("no ConfigMap is allowed");
    assert!(matches!(error.effect, Effect::Started(_)), "{error:?}");
    assert!(!error.source.retryable, "{error:?}");
    let handle = site.loads.ensure(&config, &site.place()).await?;
    site.wait_for(&handle, |status| matches!(status, RunStatus::Running(_)))
        .await?;
    let jobs = site.cluster.objects();
    assert_eq!(
        jobs.iter().filter(|name| name.starts_with("jobs/")).count(),
        1,
        "{jobs:?}"
    );
    site.ended(&handle).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_program_starts_nothing() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let cluster = SimulatedCluster::start(Shape::Happy).await?;
    let connection = Connection::Url(cluster.url().to_owned());
    let missing = directory.path().join("missing");
    let loads = K8sLoads::new(connection, "ml", directory.path().to_owned(), missing);
    let config = config("http://server", &"r-1".parse()?, &[1.0], 1);
    let error = loads
        .ensure(&config, &within(load()))
        .await
        .expect_err("no program");
    assert_eq!(
        (error.effect, error.reason),
        (Effect::NotStarted, FailureReason::CommandNotFound)
    );
    assert_eq!(cluster.objects(), Vec::<String>::new());
    Ok(())
}
