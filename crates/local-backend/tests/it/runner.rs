//! Load generators: how they end, and their databases.

use std::fs;

use gipfel_backend::{FailureReason, Finder, Found, LoadRunner, RunStatus};
use gipfel_model::{LoadPlacement, RunState};

use crate::harness::{Site, config, lives, pid_of, until};

async fn over(site: &Site, handle: &gipfel_backend::Handle) -> RunStatus {
    until("the run is over", async || {
        match LoadRunner::observe(&site.backend, handle).await.unwrap() {
            RunStatus::Queued | RunStatus::Running(_) => None,
            status => Some(status),
        }
    })
    .await
}

#[tokio::test]
async fn a_run_ends_as_its_progress_says() {
    let site = Site::new();
    let run = site.run("completed");
    let handle = LoadRunner::ensure(&site.backend, &config(&site, &run, 2), &LoadPlacement::Local)
        .await
        .unwrap();
    let RunStatus::Completed(Some(progress)) = over(&site, &handle).await else {
        panic!("completed")
    };
    assert_eq!(
        (progress.state, progress.run_id),
        (RunState::Completed, run.clone())
    );

    let run = site.run("failed");
    let handle = LoadRunner::ensure(&site.backend, &config(&site, &run, 3), &LoadPlacement::Local)
        .await
        .unwrap();
    let RunStatus::Failed(failure) = over(&site, &handle).await else {
        panic!("failed")
    };
    assert_eq!(failure.reason, FailureReason::LoadFailed);
    assert_eq!(failure.message, "the endpoint refuses the key");
    assert_eq!(failure.log_tail, "the load generator begins");

    let run = site.run("died");
    let handle = LoadRunner::ensure(&site.backend, &config(&site, &run, 4), &LoadPlacement::Local)
        .await
        .unwrap();
    let RunStatus::Failed(failure) = over(&site, &handle).await else {
        panic!("failed")
    };
    assert_eq!(failure.reason, FailureReason::LoadFailed);
    assert!(
        failure.message.contains("died; process") && failure.message.contains("status 101"),
        "{failure:?}"
    );
    assert_eq!(
        failure.log_tail,
        "the load generator begins\nthe load generator panicked"
    );
}

#[tokio::test]
async fn a_run_is_started_again_on_the_same_files() {
    let site = Site::new();
    let run = site.run("again");
    let first = LoadRunner::ensure(&site.backend, &config(&site, &run, 4), &LoadPlacement::Local)
        .await
        .unwrap();
    over(&site, &first).await;
    // The search settles that no late start of the first gipfel is to come, and what was started is still known.
    let found = site.another().find_run(&run).await.unwrap();
    assert_eq!(found, Found::Started(first.clone()));
    let second = LoadRunner::ensure(&site.another(), &config(&site, &run, 2), &LoadPlacement::Local)
        .await
        .unwrap();
    assert_ne!(second, first);
    assert!(matches!(over(&site, &second).await, RunStatus::Completed(_)));
    // The earlier attempt is not credited with the later one's progress.
    assert!(matches!(over(&site, &first).await, RunStatus::Failed(_)));
}

#[tokio::test]
async fn a_killed_run_is_over_and_leaves_nothing() {
    let site = Site::new();
    let run = site.run("killed");
    let handle = LoadRunner::ensure(&site.backend, &config(&site, &run, 1), &LoadPlacement::Local)
        .await
        .unwrap();
    until("it runs", async || {
        match LoadRunner::observe(&site.backend, &handle).await.unwrap() {
            RunStatus::Running(Some(_)) => Some(()),
            _ => None,
        }
    })
    .await;
    let pid = rustix::process::Pid::from_raw(pid_of(&handle).cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let RunStatus::Failed(failure) = over(&site, &handle).await else {
        panic!("failed")
    };
    assert_eq!(failure.reason, FailureReason::LoadFailed);
    assert!(!lives(pid_of(&handle)));
    assert_eq!(site.backend.find_campaign(&site.campaign()).await.unwrap(), []);
}

#[tokio::test]
async fn a_database_is_fetched_with_its_journal() {
    let site = Site::new();
    let run = site.run("fetched");
    let handle = LoadRunner::ensure(&site.backend, &config(&site, &run, 2), &LoadPlacement::Local)
        .await
        .unwrap();
    over(&site, &handle).await;
    let name = format!("run_{run}.db");
    let own = site.root.path().join(run.as_str());
    let path = LoadRunner::fetch(&site.backend, &handle, &own).await.unwrap();
    assert_eq!(path, own.join(&name));

    fs::write(own.join(format!("{name}-wal")), "journal").unwrap();
    let elsewhere = site.root.path().join("elsewhere");
    let path = LoadRunner::fetch(&site.backend, &handle, &elsewhere)
        .await
        .unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "database\n");
    assert_eq!(
        fs::read_to_string(elsewhere.join(format!("{name}-wal"))).unwrap(),
        "journal"
    );
    fs::remove_file(own.join(format!("{name}-wal"))).unwrap();
    LoadRunner::fetch(&site.backend, &handle, &elsewhere)
        .await
        .unwrap();
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);

    fs::remove_file(own.join(&name)).unwrap();
    assert!(
        LoadRunner::fetch(&site.backend, &handle, &elsewhere)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn progress_of_another_version_is_not_guessed_at() {
    let site = Site::new();
    let run = site.run("newer");
    let handle = LoadRunner::ensure(&site.backend, &config(&site, &run, 2), &LoadPlacement::Local)
        .await
        .unwrap();
    over(&site, &handle).await;
    let path = site.file(run.as_str(), "progress.json");
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace("\"major\":1", "\"major\":9");
    fs::write(&path, text).unwrap();
    let error = LoadRunner::observe(&site.backend, &handle).await.unwrap_err();
    assert!(!error.retryable);
    assert!(
        error.source.to_string().contains("this gipfel is older"),
        "{error:?}"
    );
}
