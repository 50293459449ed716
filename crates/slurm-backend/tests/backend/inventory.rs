//! What of ours lives on a cluster, and what it has left there.

use std::sync::Arc;

use firecrest_client::JobState;
use gipfel_backend::{Deployer, Handle, LoadRunner};
use gipfel_slurm_backend::{Cluster, JobRequest, Place, Purpose, SlurmBackend, mark, site::Site as Profile};

use crate::site::{Life, Site, campaign, config, deployment, load, reach, run, spec};

fn place(site: &Site) -> Place {
    let cluster: Arc<dyn Cluster> = site.cluster.clone();
    Place::new(
        reach(),
        cluster,
        Profile::built_in("generic").expect("a profile"),
        None,
    )
}

async fn start_server(backend: &SlurmBackend, tag: &str) -> Handle {
    let started = Deployer::ensure(backend, &campaign(), &deployment(tag), &spec()).await;
    started.expect("it is submitted")
}

#[tokio::test]
async fn what_lives_says_whose_it_is() {
    let site = Site::new(Life::Run);
    let keeping = site.another().keeping([deployment("2")]);
    let server = start_server(&keeping, "1").await;
    let kept = start_server(&keeping, "2").await;
    let ended = start_server(&keeping, "3").await;
    site.cluster.end(&site.job(&ended.name).id, JobState::Failed, 1);
    let sent = LoadRunner::ensure(&site.backend, &config(&run("4")), &load()).await;
    let sent = sent.expect("it is submitted");
    foreign_job(&site, "gipfel-of-somebody").await;

    let living = place(&site).living().await.expect("a list");
    let told: Vec<_> = living
        .iter()
        .map(|alive| {
            (
                alive.id.as_str(),
                alive.purpose,
                alive.kept,
                alive.endpoint.as_deref(),
            )
        })
        .collect();
    let url = Some("http://nid001001:8080");
    assert_eq!(
        told,
        [
            (server.name.as_str(), Purpose::Server, false, url),
            (kept.name.as_str(), Purpose::Server, true, url),
            (sent.name.as_str(), Purpose::LoadGenerator, false, None),
        ]
    );
    assert!(living.iter().all(|alive| alive.is_signed));
    assert!(living.iter().all(|alive| alive.campaign == Some(campaign())));
    assert_eq!(living[0].server, Some(spec()));
}

/// A job of the user's that is not ours.
async fn foreign_job(site: &Site, name: &str) -> firecrest_client::JobId {
    let directory = "/scratch/me/other".parse().expect("a path");
    site.cluster.make_directory(&directory).await.expect("it is made");
    let request = JobRequest {
        name: name.parse().expect("a name"),
        mark: mark(&directory, 1).expect("a mark"),
        directory,
        script: "#!/bin/bash\n".to_owned(),
    };
    let submitted = site
        .cluster
        .submit(&request, firecrest_client::Earlier::Never)
        .await;
    submitted.expect("it is submitted")
}

#[tokio::test]
async fn jobs_are_ended_and_waited_for() {
    let site = Site::new(Life::Run);
    start_server(&site.backend, "1").await;
    let place = place(&site);
    let living = place.living().await.expect("a list");
    let jobs: Vec<_> = living.iter().map(|alive| alive.job.id.clone()).collect();
    place.end_jobs(&jobs).await.expect("they are ended");
    assert_eq!(place.living().await.expect("a list"), []);
    // A second time it is no error.
    place.end_jobs(&jobs).await.expect("they are ended");
}

#[tokio::test]
async fn a_server_of_another_laptop_is_found_by_its_job() {
    let site = Site::new(Life::Run);
    let started = start_server(&site.backend, "1").await;
    let place = place(&site);
    let job = site.job(&started.name).id;
    let found = place.server_in_job(&job).await.expect("a server");
    assert_eq!((found.handle, found.spec), (started, spec()));

    let sent = LoadRunner::ensure(&site.backend, &config(&run("4")), &load()).await;
    let load = site.job(&sent.expect("it is submitted").name).id;
    let foreign = foreign_job(&site, "train").await;
    let unsigned = start_server(&site.backend, "5").await;
    let directory = site.job(&unsigned.name).request.directory;
    site.cluster.erase(&format!("{directory}/gipfel.json"));
    let check = async |job: &firecrest_client::JobId, expected: &str| {
        let error = place.server_in_job(job).await.expect_err("it is refused");
        let source = error.source.to_string();
        assert!(source.contains(expected), "{source}");
    };
    check(&load, "is no server that gipfel started").await;
    check(&foreign, "write `deployment: external` with its URL").await;
    check(&site.job(&unsigned.name).id, "does not say what it serves").await;
    check(
        &"999999".parse().expect("an id"),
        "Slurm knows no job of this number",
    )
    .await;
    site.cluster.end(&job, JobState::Timeout, 0);
    check(&job, "the job has ended (Timeout)").await;
}

#[tokio::test]
async fn only_what_is_ours_and_dead_is_left_over() {
    let site = Site::new(Life::Run);
    let server = start_server(&site.backend, "1").await;
    let sent = LoadRunner::ensure(&site.backend, &config(&run("4")), &load()).await;
    let sent = sent.expect("it is submitted");
    let unsigned = start_server(&site.backend, "5").await;
    let base = "/scratch/me/gipfel";
    site.cluster
        .erase(&format!("{base}/{}/gipfel.json", unsigned.name));
    site.cluster.store(&format!("{base}/notes/mine.txt"), b"mine");
    let place = place(&site);
    let left = async || {
        let living = place.living().await.expect("a list");
        let left = place.leftovers(&living).await.expect("a list");
        left.iter().map(|left| left.path.to_string()).collect::<Vec<_>>()
    };
    // As long as anything of the campaign lives, all of it stays.
    site.cluster.end(&site.job(&sent.name).id, JobState::Completed, 0);
    assert_eq!(left().await, Vec::<String>::new());
    for name in [&server.name, &unsigned.name] {
        site.cluster.end(&site.job(name).id, JobState::Completed, 0);
    }
    let of = |name: &str| format!("{base}/{name}");
    let stored = format!(
        "{base}/load-generators/{}",
        firecrest_client::Sha256::of(b"program")
    );
    assert_eq!(left().await, [of(&sent.name), of(&server.name), stored]);

    let leftovers = place.leftovers(&[]).await.expect("a list");
    for leftover in &leftovers {
        place.remove(leftover).await.expect("it is removed");
    }
    let paths = site.cluster.paths();
    assert!(paths.contains(&format!("{base}/notes/mine.txt")), "{paths:?}");
    assert!(
        paths.iter().any(|path| path.contains(&unsigned.name)),
        "{paths:?}"
    );
    let gone = |path: &String| !path.contains(&server.name) && !path.contains(&sent.name);
    assert!(paths.iter().all(gone), "{paths:?}");
}
