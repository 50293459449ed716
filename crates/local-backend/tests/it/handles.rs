//! Handles that are used under another root than the one they were made under.

use std::fs;

use gipfel_backend::{Deployer, DeploymentStatus, FailureReason};

use crate::harness::{Site, lives, pid_of, serving, shell, spec, until};

#[tokio::test]
async fn a_handle_is_enough_from_another_root() {
    let (site, other) = (Site::new(), Site::new());
    let mut local = serving();
    let serve = local.command.take().unwrap();
    let script = "echo listening; exec \"$@\"";
    local.command = Some([shell(script), vec!["sh".to_owned()], serve].concat());
    let id = site.deployment("borrowed");
    let handle = site
        .backend
        .ensure(&site.campaign(), &id, &spec(local))
        .await
        .unwrap();
    until("the server is ready", async || {
        match Deployer::observe(&other.backend, &handle).await.unwrap() {
            DeploymentStatus::Ready { .. } => Some(()),
            DeploymentStatus::Ended(failure) => panic!("{failure:?}"),
            _ => None,
        }
    })
    .await;
    let log = Deployer::logs(&other.backend, &handle, 100).await.unwrap();
    assert!(log.starts_with("listening"), "{log}");
    Deployer::end(&other.backend, &handle).await.unwrap();
    assert!(!lives(pid_of(&handle)));
    for backend in [&other.backend, &site.backend] {
        let status = Deployer::observe(backend, &handle).await.unwrap();
        let DeploymentStatus::Ended(failure) = status else {
            panic!("{status:?}")
        };
        assert_eq!(failure.reason, FailureReason::Cancelled, "{failure:?}");
    }
    assert!(!other.root.path().join(&handle.name).exists());
}

#[tokio::test]
async fn a_directory_that_was_moved_is_found_under_the_root() {
    let site = Site::new();
    let handle = site.start("moved", "echo over").await;
    site.ended(&handle).await;
    let other = Site::new();
    let moved = other.root.path().join(&handle.name);
    fs::rename(site.root.path().join(&handle.name), moved).unwrap();
    assert_eq!(Deployer::logs(&other.backend, &handle, 1).await.unwrap(), "over");
}
