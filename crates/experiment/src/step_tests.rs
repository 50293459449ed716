//! The step by cases. Each line of a case is an event, the effects that follow, and the phases after it.

use gipfel_backend::{
    DeploymentStatus, Effect as StartEffect, Failure, FailureReason, Found, Handle, RunStatus,
};
use gipfel_model::{EndpointSpec, Provenance};

mod life;
mod out;
mod resumed;

use crate::{
    Campaign, Deployment, DeploymentEvent as D, Effect, Event, Limits, RunEvent as R, RunOutcome, RunPhase,
    Scope, ServerChoice, SubmitFailure, plan_campaign, samples,
};

fn handle(name: &str) -> Handle {
    Handle {
        system: "test".to_owned(),
        name: name.to_owned(),
        detail: "1".to_owned(),
    }
}

fn failure(reason: FailureReason) -> Failure {
    Failure {
        reason,
        message: "why".to_owned(),
        log_tail: "last line".to_owned(),
    }
}

fn refused(effect: StartEffect, retryable: bool) -> SubmitFailure {
    SubmitFailure {
        effect,
        failure: failure(FailureReason::ServerFailed),
        retryable,
    }
}

/// `d-1 submitted`, `r-1 completed`, `tick`: an event in words.
fn event(text: &str) -> Event {
    let Some((name, what)) = text.split_once(' ') else {
        return match text {
            "start" => Event::Start,
            "tick" => Event::Tick(Scope::All),
            "near-tick" => Event::Tick(Scope::Near),
            "interrupt" => Event::Interrupt,
            _ => panic!("no event: {text}"),
        };
    };
    if name.starts_with("d-") {
        Event::Deployment(name.parse().unwrap(), deployment_event(&handle(name), what))
    } else {
        Event::Run(name.parse().unwrap(), run_event(&handle(name), what))
    }
}

fn deployment_event(handle: &Handle, what: &str) -> D {
    let handle = handle.clone();
    let observed = |status| D::Observed {
        handle: handle.clone(),
        asked_at: i64::MAX,
        status,
    };
    match what {
        "submitted" => D::Submitted(handle),
        "refused" => D::SubmitFailed(refused(StartEffect::NotStarted, true)),
        "impossible" => D::SubmitFailed(refused(StartEffect::NotStarted, false)),
        "in-doubt" => D::SubmitFailed(refused(StartEffect::Unknown, true)),
        "found" => D::Found(Found::Started(handle)),
        "absent" => D::Found(Found::Absent),
        "unsettled" => D::Found(Found::Unsettled),
        "queued" => observed(DeploymentStatus::Queued),
        "starting" => observed(DeploymentStatus::Starting),
        "ready" => observed(ready()),
        "ready-before" => D::Observed {
            handle,
            asked_at: i64::MIN,
            status: ready(),
        },
        "gone" => observed(DeploymentStatus::Ended(failure(FailureReason::ServerFailed))),
        "unseen" => D::ObserveFailed { handle },
        "log" => D::Log {
            handle,
            text: "last line".to_owned(),
        },
        "ended" => D::Ended { handle, usage: None },
        "lives-on" => D::EndFailed {
            handle,
            message: "no".to_owned(),
            retryable: true,
        },
        _ => panic!("no deployment event: {what}"),
    }
}

fn ready() -> DeploymentStatus {
    DeploymentStatus::Ready {
        endpoint: EndpointSpec::new("http://h"),
        provenance: Provenance::default(),
        load_time: None,
    }
}

fn run_event(handle: &Handle, what: &str) -> R {
    let handle = handle.clone();
    let observed = |status| R::Observed {
        handle: handle.clone(),
        status,
    };
    match what {
        "submitted" => R::Submitted(handle),
        "refused" => R::SubmitFailed(refused(StartEffect::NotStarted, true)),
        "in-doubt" => R::SubmitFailed(refused(StartEffect::Unknown, true)),
        "found" => R::Found(Found::Started(handle)),
        "absent" => R::Found(Found::Absent),
        "running" => observed(RunStatus::Running(None)),
        "completed" => observed(RunStatus::Completed(None)),
        "stopped" => observed(RunStatus::Stopped(None)),
        "died" => observed(RunStatus::Failed(failure(FailureReason::LoadFailed))),
        "unseen" => R::ObserveFailed { handle },
        "asked" => R::StopAsked { handle },
        "fetched" => R::Fetched {
            handle,
            database: "run.db".into(),
        },
        "unfetched" => R::FetchFailed {
            handle,
            message: "no".to_owned(),
            retryable: true,
        },
        "ended" => R::Ended { handle, usage: None },
        "lives-on" => R::EndFailed {
            handle,
            message: "no".to_owned(),
            retryable: true,
        },
        _ => panic!("no run event: {what}"),
    }
}

fn effect(effect: &Effect) -> String {
    let verb = match effect {
        Effect::SubmitDeployment(_) | Effect::SubmitRun(_) => "submit",
        Effect::FindDeployment(_) | Effect::FindRun(_) => "find",
        Effect::ObserveDeployment(..) | Effect::ObserveRun(..) => "look",
        Effect::ReadDeploymentLog(..) => "log",
        Effect::EndDeployment(..) | Effect::EndRun(..) => "end",
        Effect::StopRun(..) => "stop",
        Effect::FetchRun(..) => "fetch",
    };
    format!("{verb} {}", effect.object())
}

fn phases(campaign: &Campaign) -> String {
    let deployment = |deployment: &Deployment| {
        let runs = deployment
            .runs
            .iter()
            .map(|run| format!(" {} {}", run.id, run.phase.name()));
        format!(
            "{} {}{}",
            deployment.id,
            deployment.phase.name(),
            runs.collect::<String>()
        )
    };
    campaign
        .deployments
        .iter()
        .map(deployment)
        .collect::<Vec<_>>()
        .join(" | ")
}

/// Limits of two tries; times are up at 1000.
fn limits() -> Limits {
    use std::time::Duration;
    let none = Duration::ZERO;
    Limits {
        attempts: 2,
        end_attempts: 2,
        end_patience: none,
        check_patience: Duration::from_secs(1),
        stop_grace: Duration::from_secs(1),
        collect_attempts: 2,
        unreachable_after: 2,
        mutation: None,
    }
}

/// Takes the events of a script at `now`. A line is an event or `event: effects => phases`, which are compared; one
/// that begins with `#` is a comment.
fn check_at(campaign: &mut Campaign, now: i64, script: &str) {
    let lines = script.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (text, expected) = line.split_once(": ").unwrap_or((line, ""));
        let effects: Vec<String> = campaign
            .step(event(text), now, &limits())
            .iter()
            .map(effect)
            .collect();
        let found = format!("{} => {}", effects.join(", "), phases(campaign));
        if !expected.is_empty() {
            assert_eq!(found.trim_start(), expected, "after `{text}`");
        }
    }
}

fn check(campaign: &mut Campaign, script: &str) {
    check_at(campaign, 0, script);
}

fn quietly(campaign: &mut Campaign, events: &[&str]) {
    check(campaign, &events.join("\n"));
}

fn resume(campaign: &mut Campaign) {
    campaign.resume(0, &limits(), &mut |_| "d-9".parse().unwrap());
}

fn one() -> Campaign {
    samples::campaign(vec![samples::experiment("m", samples::local())], false)
}

fn two() -> Campaign {
    let experiment = samples::experiment("m", samples::local());
    samples::campaign(vec![experiment.clone(), experiment], false)
}

/// One run, measuring.
fn running() -> Campaign {
    let mut campaign = one();
    quietly(
        &mut campaign,
        &["start", "d-1 submitted", "d-1 ready", "r-1 submitted"],
    );
    campaign
}
