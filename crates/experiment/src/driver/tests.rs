//! The driver against scripted backends, on a clock that the runtime advances.

mod twisted;

use std::{cell::RefCell, path::Path};

use gipfel_backend::{
    Failure, FailureReason,
    fake::{Fake, Script, SelfEnd, Submit},
};
use gipfel_model::{CampaignId, DeploymentKind};
use tempfile::TempDir;

use super::*;
use crate::{limits::Limits, run::RunOutcome, samples};

/// A results directory and a fake backend, which outlive drivers.
struct Bench {
    results: TempDir,
    fake: Arc<Fake>,
    campaign: CampaignId,
}

impl Bench {
    fn new(campaign: &Campaign) -> Self {
        let results = TempDir::new().unwrap();
        drop(Journal::create(results.path(), campaign).unwrap());
        Self {
            results,
            fake: Arc::new(Fake::new("fake")),
            campaign: campaign.campaign_id.clone(),
        }
    }

    /// One run on this machine.
    fn one() -> Self {
        Self::new(&samples::campaign(
            vec![samples::experiment("m", samples::local())],
            false,
        ))
    }

    fn driver(&self, backends: Backends) -> Driver {
        let (journal, campaign) = Journal::open(self.results.path(), &self.campaign).unwrap();
        Driver::new(
            campaign,
            journal,
            backends,
            DriverOptions::default(),
            Box::new(samples::run_config),
        )
        .unwrap()
    }

    fn backends(&self) -> Backends {
        let system = System::whole(&self.fake);
        Backends::new()
            .with(DeploymentKind::Local, system.clone())
            .with(DeploymentKind::K8s, system)
    }

    fn resume(&self) {
        let (journal, mut campaign) = Journal::open(self.results.path(), &self.campaign).unwrap();
        let now = Driver::unix_now_ms();
        campaign.resume(now, &Limits::default(), &mut |_| "d-fresh".parse().unwrap());
        journal.write(&campaign).unwrap();
    }

    fn stored(&self) -> Campaign {
        Journal::load(self.results.path(), &self.campaign).unwrap()
    }

    async fn drive(&self) -> (Departure, Vec<String>) {
        self.drive_until(self.backends(), &[]).await
    }

    /// Drives with commands that are sent when an update reads as given.
    async fn drive_until(
        &self,
        backends: Backends,
        commands: &[(&str, Command)],
    ) -> (Departure, Vec<String>) {
        let (sender, receiver) = mpsc::channel(4);
        let told = RefCell::new(Vec::new());
        let departure = self
            .driver(backends)
            .run(receiver, |update| {
                let text = words(&update);
                for (_, command) in commands.iter().filter(|(when, _)| *when == text) {
                    sender.try_send(*command).unwrap();
                }
                told.borrow_mut().push(text);
            })
            .await
            .unwrap();
        assert_eq!(self.stored(), departure.campaign);
        (departure, told.into_inner())
    }
}

fn words(update: &Update) -> String {
    match update {
        Update::Deployment { id, phase } => format!("{id} {}", phase.name()),
        Update::Run { id, phase } => format!("{id} {}", phase.name()),
        Update::Progress { id, .. } => format!("{id} gets on"),
        Update::Trouble { about, message } => format!("{about}: {message}"),
        Update::Unreachable { about } => format!("{about} is unreachable"),
    }
}

fn completes(observations: u32) -> Script {
    Script {
        ends_after: Some((observations, SelfEnd::Completed)),
        ..Script::default()
    }
}

fn outcomes(campaign: &Campaign) -> Vec<Option<&RunOutcome>> {
    campaign.runs().map(|(_, run)| run.outcome()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_campaign_is_driven_to_its_end() {
    let bench = Bench::one();
    bench.fake.script(
        "d-1",
        Script {
            starting: 3,
            ..Script::default()
        },
    );
    bench.fake.script("r-1", completes(3));
    let started = Instant::now();
    let (departure, told) = bench.drive().await;
    assert_eq!(departure.left, Left::Finished);
    assert_eq!(outcomes(&departure.campaign), [Some(&RunOutcome::Completed)]);
    assert_eq!(bench.fake.live(), Vec::<String>::new());
    let phases = "d-1 pending, r-1 waiting, d-1 submitting, d-1 starting, d-1 ready, r-1 submitting, r-1 running, \
                  r-1 checking, d-1 ending, r-1 collecting";
    assert_eq!(told[..10].join(", "), phases);
    let run = &departure.campaign.deployments[0].runs[0];
    assert_eq!(run.database.as_deref(), Some(Path::new("r-1/run_r-1.db")));
    // Three looks at the server 200 ms apart, three at the load generator a second apart.
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    let load_time = departure.campaign.deployments[0].load_time.unwrap();
    assert!((600..1500).contains(&load_time.as_millis()), "{load_time:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_far_is_looked_at_every_poll_interval() {
    let bench = Bench::new(&samples::campaign(
        vec![samples::experiment("m", samples::kubernetes())],
        false,
    ));
    bench.fake.script(
        "d-1",
        Script {
            queued: 4,
            starting: 1,
            end_fails: 3,
            ..Script::default()
        },
    );
    bench.fake.script(
        "r-1",
        Script {
            queued: 5,
            submits: vec![Submit::LostLate(3)],
            ..completes(2)
        },
    );
    let started = Instant::now();
    let (departure, told) = bench.drive().await;
    assert_eq!(outcomes(&departure.campaign), [Some(&RunOutcome::Completed)]);
    assert_eq!(bench.fake.live(), Vec::<String>::new());
    assert!(
        told.contains(&"r-1: it is not known yet whether it was started".to_owned()),
        "{told:?}"
    );
    assert_eq!(bench.fake.starts("r-1"), 1);
    assert!(
        started.elapsed() > Duration::from_mins(3),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_ends_everything_and_keeps_what_was_measured() {
    let bench = Bench::one();
    let (departure, _) = bench
        .drive_until(bench.backends(), &[("r-1 running", Command::Interrupt)])
        .await;
    assert_eq!(departure.left, Left::Interrupted);
    assert_eq!(outcomes(&departure.campaign), [Some(&RunOutcome::Stopped)]);
    assert!(departure.campaign.deployments[0].runs[0].database.is_some());
    assert_eq!(bench.fake.live(), Vec::<String>::new());
    assert!(departure.campaign.live().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_second_interrupt_leaves_at_once_and_names_what_lives() {
    let bench = Bench::one();
    bench.fake.script(
        "r-1",
        Script {
            stops_after: 1_000_000,
            ..Script::default()
        },
    );
    let commands = [
        ("r-1 running", Command::Interrupt),
        ("r-1 stopping", Command::Interrupt),
    ];
    let (departure, _) = bench.drive_until(bench.backends(), &commands).await;
    assert_eq!(departure.left, Left::Interrupted);
    let live: Vec<String> = departure
        .campaign
        .live()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(live, ["server d-1 (fake fake)", "load generator r-1 (fake fake)"]);
    assert_eq!(bench.fake.live(), ["d-1", "r-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_detached_campaign_lives_on_and_is_resumed() {
    let bench = Bench::one();
    bench.fake.script("r-1", completes(3));
    let (departure, _) = bench
        .drive_until(bench.backends(), &[("r-1 running", Command::Detach)])
        .await;
    assert_eq!(departure.left, Left::Detached);
    assert_eq!(bench.fake.live(), ["d-1", "r-1"]);
    bench.resume();
    let (departure, _) = bench.drive().await;
    assert_eq!(outcomes(&departure.campaign), [Some(&RunOutcome::Completed)]);
    assert_eq!((bench.fake.starts("d-1"), bench.fake.starts("r-1")), (1, 1));
    assert_eq!(bench.fake.live(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_detached_submission_is_settled_by_resume() {
    for submit in [Submit::LostBefore, Submit::LostAfter, Submit::LostLate(2)] {
        let bench = Bench::one();
        bench.fake.script(
            "d-1",
            Script {
                submits: vec![submit],
                ..Script::default()
            },
        );
        bench.fake.script("r-1", completes(1));
        bench
            .drive_until(bench.backends(), &[("d-1 settling", Command::Detach)])
            .await;
        bench.resume();
        let (departure, _) = bench.drive().await;
        assert_eq!(
            outcomes(&departure.campaign),
            [Some(&RunOutcome::Completed)],
            "{submit:?}"
        );
        assert_eq!(bench.fake.starts("d-1"), 1, "{submit:?}");
        assert_eq!(bench.fake.live(), Vec::<String>::new(), "{submit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_server_fails_its_run_and_resume_deploys_afresh() {
    let killed = Failure {
        reason: FailureReason::ServerFailed,
        message: "killed by signal 9".to_owned(),
        log_tail: "loaded\n".to_owned(),
    };
    let bench = Bench::one();
    bench.fake.script(
        "d-1",
        Script {
            ends_after: Some((1, SelfEnd::Failed(killed.clone()))),
            ..Script::default()
        },
    );
    let (departure, _) = bench.drive().await;
    assert_eq!(outcomes(&departure.campaign), [Some(&RunOutcome::Failed(killed))]);
    assert_eq!(bench.fake.live(), Vec::<String>::new());
    assert_eq!(
        Journal::latest_unfinished(bench.results.path()).unwrap(),
        Some(bench.campaign.clone())
    );

    bench.fake.script("d-fresh", Script::default());
    bench.fake.script("r-1", Script::default());
    bench.resume();
    let (departure, _) = bench
        .drive_until(bench.backends(), &[("r-1 running", Command::Interrupt)])
        .await;
    assert_eq!((bench.fake.starts("d-fresh"), bench.fake.starts("r-1")), (1, 2));
    assert_eq!(departure.campaign.deployments.len(), 2);
    assert_eq!(bench.fake.live(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_system_is_told_once_and_outlasted() {
    let bench = Bench::one();
    bench.fake.script(
        "d-1",
        Script {
            unreachable: 40,
            ..Script::default()
        },
    );
    bench.fake.script("r-1", completes(1));
    let (departure, told) = bench.drive().await;
    assert_eq!(outcomes(&departure.campaign), [Some(&RunOutcome::Completed)]);
    let times = |text: &str| told.iter().filter(|told| told.as_str() == text).count();
    assert_eq!(
        times("d-1: failed to observe: the system cannot be reached"),
        1,
        "{told:?}"
    );
    assert_eq!(times("d-1 is unreachable"), 1);
}

#[tokio::test]
async fn nothing_is_carried_out_without_the_journal() {
    let bench = Bench::one();
    let driver = bench.driver(bench.backends());
    std::fs::remove_dir_all(bench.results.path().join(bench.campaign.as_str())).unwrap();
    let (_sender, receiver) = mpsc::channel(1);
    let error = driver.run(receiver, |_| {}).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot write the journal, so nothing more can be started or ended; 1 process or job of ours may live"
    );
    assert!(bench.fake.calls().is_empty());
}

#[test]
fn a_kind_without_a_backend_is_refused() {
    let bench = Bench::new(&samples::campaign(
        vec![samples::experiment("m", samples::kubernetes())],
        false,
    ));
    let (journal, campaign) = Journal::open(bench.results.path(), &bench.campaign).unwrap();
    let options = DriverOptions::default();
    let driver = Driver::new(
        campaign,
        journal,
        Backends::new(),
        options,
        Box::new(samples::run_config),
    );
    assert_eq!(
        driver.err().unwrap().to_string(),
        "no backend is there for `k8s` deployments"
    );
}
