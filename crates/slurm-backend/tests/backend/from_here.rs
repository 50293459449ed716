//! Load generators of this machine and servers of a cluster.

use std::sync::Arc;

use gipfel_backend::{Deployer, LoadRunner, Redirected, fake::Fake};
use gipfel_model::{ClusterKind, LoadPlacement, SlurmReach};
use gipfel_slurm_backend::{Cluster, Place, TunnelWay, site::Site as Profile};

use crate::site::{Life, Site, campaign, config, deployment, reach, run, spec};

/// A place on the site's cluster that is reached so, by this profile.
fn place(site: &Site, reach: SlurmReach, profile: &str) -> Place {
    let cluster: Arc<dyn Cluster> = site.cluster.clone();
    Place::new(
        reach,
        cluster,
        Profile::built_in(profile).expect("a profile"),
        None,
    )
}

#[tokio::test]
async fn where_nodes_are_reached_the_load_goes_there() {
    let site = Site::new(Life::Run);
    let server = Deployer::ensure(&site.backend, &campaign(), &deployment("1"), &spec()).await;
    server.expect("it is submitted");
    let local = Arc::new(Fake::new("local"));
    let runner = Redirected::new(&local, TunnelWay::new(&Arc::new(site.another())));
    let config = config(&run("4"));
    let started = runner
        .ensure(&config, &LoadPlacement::Local)
        .await
        .expect("it is started");
    assert_eq!(started.name, config.run_id.as_str());
    assert_eq!(local.live(), [config.run_id.as_str()]);
    runner.end(&started).await.expect("it is ended");
    assert_eq!(local.live(), Vec::<String>::new());
}

#[tokio::test]
async fn without_its_server_no_load_is_started() {
    let site = Site::new(Life::Run);
    let local = Arc::new(Fake::new("local"));
    let runner = Redirected::new(&local, TunnelWay::new(&Arc::new(site.another())));
    let refused = runner.ensure(&config(&run("4")), &LoadPlacement::Local).await;
    let error = refused.expect_err("there is no server");
    assert_eq!(error.source.source.to_string(), "no job has left its mark there");
    assert_eq!(local.live(), Vec::<String>::new());
}

#[tokio::test]
async fn the_login_node_is_the_users_or_the_profiles() {
    let site = Site::new(Life::Run);
    let check =
        async |cluster, ssh_host: Option<&str>, profile: &str, expected: Result<Option<&str>, &str>| {
            let reach = SlurmReach {
                cluster,
                ssh_host: ssh_host.map(str::to_owned),
                ..reach()
            };
            let login = place(&site, reach, profile).login().await;
            let found = match &login {
                Ok(login) => Ok(login.as_ref().map(ToString::to_string)),
                Err(error) => Err(error.source.to_string()),
            };
            match expected {
                Ok(expected) => assert_eq!(found, Ok(expected.map(str::to_owned))),
                Err(words) => assert!(
                    found.as_ref().is_err_and(|error| error.contains(words)),
                    "{found:?}"
                ),
            }
        };
    let (firecrest, ssh) = (ClusterKind::Firecrest, ClusterKind::Ssh);
    check(ClusterKind::Commands, None, "clariden", Ok(None)).await;
    check(ssh, Some("login"), "generic", Ok(Some("login"))).await;
    check(firecrest, Some("login"), "clariden", Ok(Some("login"))).await;
    let built_in = "me@clariden.alps.cscs.ch behind me@ela.cscs.ch";
    check(firecrest, None, "clariden", Ok(Some(built_in))).await;
    check(
        firecrest,
        None,
        "generic",
        Err("write `ssh_host` into the configuration"),
    )
    .await;
    check(ssh, Some("-x"), "generic", Err("is no host")).await;
}
