//! The fake keeps the contract, and its scripts do what they say.

use std::time::Duration;

use gipfel_backend::{
    BoxFuture, Deployer, DeploymentStatus, Effect, Failure, FailureReason, Finder, Found, LoadRunner,
    RunStatus,
    contract::{DeployerHarness, RunnerHarness, deployer_contract, expect_ended, runner_contract},
    fake::{Call, Fake, Script, SelfEnd, Submit, block_on},
};
use gipfel_model::{
    ArrivalProcess, ArrivalRate, BackendKind, CampaignId, DeploymentId, DeploymentKind, DeploymentSpec,
    EndpointSpec, LevelSchedule, LoadPlacement, LocalSpec, Rates, RunConfig, RunId, Timeouts,
    deployment::Placement, run_config::RUN_CONFIG_FORMAT,
};

fn campaign() -> CampaignId {
    "c-1".parse().unwrap()
}

fn spec() -> DeploymentSpec {
    DeploymentSpec {
        model: "m".to_owned(),
        backend: BackendKind::Sim,
        placement: Placement::Local(LocalSpec::default()),
        backend_config: serde_json::Map::new(),
        instance: 0,
        server_ready_timeout: Duration::from_secs(1),
    }
}

fn config(run: &RunId) -> RunConfig {
    let length = gipfel_model::LengthDistribution::Fixed { value: 16 };
    RunConfig {
        header: RUN_CONFIG_FORMAT.header(),
        run_id: run.clone(),
        campaign_id: campaign(),
        deployment_id: "d-1".parse().unwrap(),
        deployment: DeploymentKind::Local,
        repeat: 0,
        model: "m".to_owned(),
        served_model: None,
        backend: BackendKind::Sim,
        endpoint: EndpointSpec::new("http://127.0.0.1:1"),
        backend_config: serde_json::Map::new(),
        dataset_config: serde_json::Map::new(),
        workload: gipfel_model::WorkloadSpec {
            prompts: gipfel_model::PromptSource::default(),
            arrivals: ArrivalProcess::Poisson,
            input_length: length,
            output_length: length,
            seed: 1,
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
        provenance: gipfel_model::Provenance::default(),
        created_at: "2026-11-21T22:43:12Z".to_owned(),
    }
}

struct Harness(Fake);

impl DeployerHarness for Harness {
    fn deployer(&self) -> &dyn Deployer {
        &self.0
    }
    fn finder(&self) -> &dyn Finder {
        &self.0
    }
    fn deployment(&self, tag: &str) -> DeploymentId {
        format!("d-{tag}").parse().unwrap()
    }
    fn campaign(&self) -> CampaignId {
        campaign()
    }
    fn spec(&self) -> DeploymentSpec {
        spec()
    }
    fn pause(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl RunnerHarness for Harness {
    fn runner(&self) -> &dyn LoadRunner {
        &self.0
    }
    fn finder(&self) -> &dyn Finder {
        &self.0
    }
    fn run(&self, tag: &str) -> RunId {
        tag.parse().unwrap()
    }
    fn config(&self, run: &RunId) -> RunConfig {
        config(run)
    }
    fn place(&self) -> LoadPlacement {
        LoadPlacement::Local
    }
    fn pause(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[test]
fn the_fake_keeps_the_contract() {
    let slow = Script {
        queued: 2,
        starting: 3,
        stops_after: 2,
        ..Script::default()
    };
    for script in [Script::default(), slow] {
        let fake = Fake::new("fake");
        fake.script_all(script);
        let harness = Harness(fake);
        block_on(deployer_contract(&harness));
        block_on(runner_contract(&harness));
        assert_eq!(harness.0.live(), Vec::<String>::new());
    }
}

#[expect(clippy::result_large_err, reason = "the error of the trait")]
fn ensure(fake: &Fake, name: &str) -> Result<gipfel_backend::Handle, gipfel_backend::EnsureError> {
    block_on(Deployer::ensure(
        fake,
        &campaign(),
        &name.parse().unwrap(),
        &spec(),
    ))
}

fn find(fake: &Fake, name: &str) -> Found {
    block_on(fake.find_deployment(&name.parse().unwrap())).unwrap()
}

#[test]
fn submits_go_as_scripted() {
    let check = |submit, effect: fn(&Effect) -> bool, live: &[&str], found: fn(&Found) -> bool| {
        let fake = Fake::new("fake");
        fake.script(
            "d-1",
            Script {
                submits: vec![submit],
                ..Script::default()
            },
        );
        let error = ensure(&fake, "d-1").unwrap_err();
        assert!(effect(&error.effect), "{error:?}");
        assert_eq!(fake.live(), live, "{submit:?}");
        let first = find(&fake, "d-1");
        assert!(found(&first), "{submit:?}: {first:?}");
        if submit == Submit::LostLate(2) {
            assert!(
                ensure(&fake, "d-1").is_err(),
                "a second submit meanwhile starts no second one"
            );
            assert_eq!(find(&fake, "d-1"), Found::Unsettled);
            assert!(matches!(find(&fake, "d-1"), Found::Started(_)));
        }
        ensure(&fake, "d-1").unwrap();
        assert_eq!((fake.live(), fake.starts("d-1")), (vec!["d-1".to_owned()], 1));
    };
    let absent = |found: &Found| *found == Found::Absent;
    let started = |found: &Found| matches!(found, Found::Started(_));
    let unknown = |effect: &Effect| *effect == Effect::Unknown;
    check(
        Submit::Refused(FailureReason::PortTaken),
        |effect| *effect == Effect::NotStarted,
        &[],
        absent,
    );
    check(
        Submit::StartedWithError,
        |effect| matches!(effect, Effect::Started(_)),
        &["d-1"],
        started,
    );
    check(Submit::LostBefore, unknown, &[], absent);
    check(Submit::LostAfter, unknown, &["d-1"], started);
    check(Submit::LostLate(2), unknown, &["d-1"], |found| {
        *found == Found::Unsettled
    });
}

#[test]
fn lives_go_as_scripted() {
    let fake = Fake::new("fake");
    let failure = Failure {
        reason: FailureReason::OutOfMemory,
        message: "it died".to_owned(),
        log_tail: String::new(),
    };
    let ends_after = Some((1, SelfEnd::Failed(failure.clone())));
    fake.script(
        "d-1",
        Script {
            queued: 1,
            starting: 1,
            ends_after,
            unreachable: 1,
            ..Script::default()
        },
    );
    let handle = ensure(&fake, "d-1").unwrap();
    let observe = || block_on(Deployer::observe(&fake, &handle));
    assert!(observe().unwrap_err().retryable);
    assert_eq!(observe().unwrap(), DeploymentStatus::Starting);
    assert!(matches!(observe().unwrap(), DeploymentStatus::Ready { .. }));
    expect_ended(&observe().unwrap(), FailureReason::OutOfMemory);
    assert_eq!(fake.live(), Vec::<String>::new());

    fake.script(
        "r-1",
        Script {
            ends_after: Some((0, SelfEnd::Completed)),
            end_fails: 1,
            ..Script::default()
        },
    );
    let run = block_on(LoadRunner::ensure(
        &fake,
        &config(&"r-1".parse().unwrap()),
        &LoadPlacement::Local,
    ))
    .unwrap();
    assert!(block_on(LoadRunner::end(&fake, &run)).is_err());
    assert_eq!(fake.live(), ["r-1"]);
    assert_eq!(
        block_on(LoadRunner::observe(&fake, &run)).unwrap(),
        RunStatus::Completed(None)
    );

    let other = ensure(&fake, "d-2").unwrap();
    fake.kill("d-2", failure);
    expect_ended(
        &block_on(Deployer::observe(&fake, &other)).unwrap(),
        FailureReason::OutOfMemory,
    );
    fake.unreachable(1);
    assert!(block_on(Deployer::logs(&fake, &other, 1)).is_err());
    assert_eq!(
        block_on(Deployer::logs(&fake, &other, 1)).unwrap(),
        "log of d-2\n"
    );
    assert_eq!(fake.calls().last(), Some(&Call::Logs("d-2".to_owned())));
}
