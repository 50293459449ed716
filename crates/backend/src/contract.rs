//! The promises of the traits, as a suite that every backend passes.
//!
//! A backend implements a harness that knows how to start something harmless on it, and calls the suite in a test.
//! A broken promise is a panic that names it.

use gipfel_model::{CampaignId, DeploymentId, DeploymentSpec, LoadPlacement, RunConfig, RunId};

use crate::{
    BoxFuture, Deployer, DeploymentStatus, FailureReason, Finder, Found, Handle, LoadRunner, RunStatus,
};

/// How often a state is asked for before the suite gives up; the harness decides how long a pause is.
const OBSERVATIONS: u32 = 400;

/// What the suite needs of a backend for servers.
pub trait DeployerHarness: Send + Sync {
    /// The backend.
    fn deployer(&self) -> &dyn Deployer;
    /// Its finder.
    fn finder(&self) -> &dyn Finder;
    /// An id that was not used before.
    fn deployment(&self, tag: &str) -> DeploymentId;
    /// A campaign of its own.
    fn campaign(&self) -> CampaignId;
    /// A server that becomes ready and lives until it is ended.
    fn spec(&self) -> DeploymentSpec;
    /// Waits until observing again can show something new.
    fn pause(&self) -> BoxFuture<'_, ()>;
}

/// What the suite needs of a backend for load generators.
pub trait RunnerHarness: Send + Sync {
    /// The backend.
    fn runner(&self) -> &dyn LoadRunner;
    /// Its finder.
    fn finder(&self) -> &dyn Finder;
    /// An id that was not used before.
    fn run(&self, tag: &str) -> RunId;
    /// A run that goes on until it is stopped or ended, of a campaign of its own.
    fn config(&self, run: &RunId) -> RunConfig;
    /// Where it runs.
    fn place(&self) -> LoadPlacement;
    /// Waits until observing again can show something new.
    fn pause(&self) -> BoxFuture<'_, ()>;
}

/// Checks the promises of [`Deployer`] and [`Finder`].
pub async fn deployer_contract(harness: &dyn DeployerHarness) {
    let (deployer, finder, campaign) = (harness.deployer(), harness.finder(), harness.campaign());
    let spec = harness.spec();
    let (first, second) = (harness.deployment("first"), harness.deployment("second"));

    let unknown = harness.deployment("unknown");
    let mut found = Found::Unsettled;
    for _ in 0..OBSERVATIONS {
        found = finder
            .find_deployment(&unknown)
            .await
            .expect("an unknown name can be searched for");
        if found != Found::Unsettled {
            break;
        }
        harness.pause().await;
    }
    assert_eq!(
        found,
        Found::Absent,
        "an unknown name is absent, once that is settled"
    );
    let handle = deployer
        .ensure(&campaign, &unknown, &spec)
        .await
        .expect("a name that was absent can be started");
    deployer
        .end(&handle)
        .await
        .expect("a server can be ended at once");

    let handle = deployer
        .ensure(&campaign, &first, &spec)
        .await
        .expect("a server starts");
    assert_eq!(handle.name, first.as_str(), "a handle carries the id");
    let again = deployer
        .ensure(&campaign, &first, &spec)
        .await
        .expect("ensure can be repeated");
    assert_eq!(
        again, handle,
        "ensure is idempotent by name while the server starts"
    );
    ready(harness, &handle).await;
    let again = deployer
        .ensure(&campaign, &first, &spec)
        .await
        .expect("ensure can be repeated");
    assert_eq!(
        again, handle,
        "ensure is idempotent by name while the server is ready"
    );
    let found = finder
        .find_deployment(&first)
        .await
        .expect("a name can be searched for");
    assert_eq!(
        found,
        Found::Started(handle.clone()),
        "what was started is found by name"
    );

    let other = deployer
        .ensure(&campaign, &second, &spec)
        .await
        .expect("a second server starts");
    assert_ne!(other, handle, "two names are two servers");
    assert_eq!(
        live(finder, &campaign).await,
        sorted([&first, &second]),
        "a campaign's servers are found"
    );

    deployer.end(&handle).await.expect("a server can be ended");
    deployer.end(&handle).await.expect("end is idempotent");
    let status = deployer
        .observe(&handle)
        .await
        .expect("an ended server can be observed");
    assert!(
        matches!(status, DeploymentStatus::Ended(_)),
        "after its end a server is ended, not {status:?}"
    );
    deployer
        .logs(&handle, 10)
        .await
        .expect("logs can be read after the end");
    assert_eq!(
        live(finder, &campaign).await,
        sorted([&second]),
        "an ended server is not among the living"
    );
    ready(harness, &other).await;
    let found = finder
        .find_deployment(&first)
        .await
        .expect("a name can be searched for");
    assert!(
        matches!(found, Found::Started(_)),
        "what was started stays known after its end, not {found:?}"
    );
    let again = deployer
        .ensure(&campaign, &first, &spec)
        .await
        .expect("ensure of an ended server takes it up");
    let status = deployer
        .observe(&again)
        .await
        .expect("an ended server can be observed");
    assert!(
        matches!(status, DeploymentStatus::Ended(_)),
        "a name has one server, so it stays ended: {status:?}"
    );

    deployer.end(&other).await.expect("a server can be ended");
    assert_eq!(
        live(finder, &campaign).await,
        Vec::<String>::new(),
        "nothing is left"
    );
}

/// Checks the promises of [`LoadRunner`] and [`Finder`].
pub async fn runner_contract(harness: &dyn RunnerHarness) {
    let (runner, finder) = (harness.runner(), harness.finder());
    let run = harness.run("first");
    let (config, place) = (harness.config(&run), harness.place());
    let campaign = &config.campaign_id;

    let unknown = harness.run("unknown");
    let mut found = Found::Unsettled;
    for _ in 0..OBSERVATIONS {
        found = finder
            .find_run(&unknown)
            .await
            .expect("an unknown name can be searched for");
        if found != Found::Unsettled {
            break;
        }
        harness.pause().await;
    }
    assert_eq!(
        found,
        Found::Absent,
        "an unknown name is absent, once that is settled"
    );

    let handle = runner.ensure(&config, &place).await.expect("a run starts");
    assert_eq!(handle.name, run.as_str(), "a handle carries the id");
    running(harness, &handle).await;
    let again = runner
        .ensure(&config, &place)
        .await
        .expect("ensure can be repeated");
    assert_eq!(again, handle, "ensure is idempotent by name");
    let found = finder.find_run(&run).await.expect("a name can be searched for");
    assert_eq!(
        found,
        Found::Started(handle.clone()),
        "what was started is found by name"
    );
    assert_eq!(
        live(finder, campaign).await,
        [run.as_str()],
        "a campaign's runs are found"
    );

    runner.stop(&handle).await.expect("a run can be stopped");
    let status = over(harness, &handle).await;
    assert!(
        matches!(status, RunStatus::Stopped(_)),
        "after stop a run is stopped, not {status:?}"
    );
    runner
        .stop(&handle)
        .await
        .expect("stop of a run that is over is no error");
    runner
        .end(&handle)
        .await
        .expect("end of a run that is over is no error");
    assert_eq!(
        live(finder, campaign).await,
        Vec::<String>::new(),
        "a stopped run is not among the living"
    );

    let handle = runner
        .ensure(&config, &place)
        .await
        .expect("a run that is over can be started again");
    running(harness, &handle).await;
    runner.end(&handle).await.expect("a run can be ended");
    runner.end(&handle).await.expect("end is idempotent");
    let status = runner
        .observe(&handle)
        .await
        .expect("an ended run can be observed");
    assert!(
        matches!(status, RunStatus::Stopped(_) | RunStatus::Failed(_)),
        "after its end a run is stopped or failed, not {status:?}"
    );
    runner
        .logs(&handle, 10)
        .await
        .expect("logs can be read after the end");
    assert_eq!(
        live(finder, campaign).await,
        Vec::<String>::new(),
        "nothing is left"
    );
}

async fn ready(harness: &dyn DeployerHarness, handle: &Handle) {
    let mut last = None;
    for _ in 0..OBSERVATIONS {
        match harness.deployer().observe(handle).await {
            Ok(DeploymentStatus::Ready { endpoint, .. }) => {
                assert!(!endpoint.url.is_empty(), "a ready server has an endpoint");
                return;
            }
            Ok(DeploymentStatus::Ended(failure)) => {
                panic!("the server ended before it was ready: {failure:?}")
            }
            status => last = Some(status),
        }
        harness.pause().await;
    }
    panic!("the server does not become ready, last seen: {last:?}");
}

async fn running(harness: &dyn RunnerHarness, handle: &Handle) {
    let mut last = None;
    for _ in 0..OBSERVATIONS {
        match harness.runner().observe(handle).await {
            Ok(RunStatus::Running(_)) => return,
            Ok(RunStatus::Failed(failure)) => panic!("the run failed: {failure:?}"),
            status => last = Some(status),
        }
        harness.pause().await;
    }
    panic!("the run does not run, last seen: {last:?}");
}

async fn over(harness: &dyn RunnerHarness, handle: &Handle) -> RunStatus {
    let mut last = None;
    for _ in 0..OBSERVATIONS {
        match harness.runner().observe(handle).await {
            Ok(RunStatus::Queued | RunStatus::Running(_)) => {}
            Ok(status) => return status,
            Err(error) => last = Some(error),
        }
        harness.pause().await;
    }
    panic!("the run does not end, last error: {last:?}");
}

async fn live(finder: &dyn Finder, campaign: &CampaignId) -> Vec<String> {
    let handles = finder
        .find_campaign(campaign)
        .await
        .expect("a campaign can be searched for");
    let mut names: Vec<String> = handles.into_iter().map(|handle| handle.name).collect();
    names.sort();
    names
}

fn sorted<const N: usize>(ids: [&DeploymentId; N]) -> Vec<String> {
    let mut names = ids.map(ToString::to_string).to_vec();
    names.sort();
    names
}

/// The reason that a failure must have, for the suites of backends that can cause it.
pub fn expect_ended(status: &DeploymentStatus, reason: FailureReason) {
    let DeploymentStatus::Ended(failure) = status else {
        panic!("ended for {reason}, not {status:?}")
    };
    assert_eq!(failure.reason, reason, "{failure:?}");
}
