//! Servers that are not ours.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    thread,
};

use gipfel_backend::{Deployer, DeploymentStatus, Effect, Finder, Found};
use gipfel_local_backend::UrlDeployer;
use gipfel_model::{
    CampaignId, DeploymentId, EndpointSpec, LocalSpec,
    deployment::{ApiKeySource, Placement},
};

use crate::harness::{answer, spec};

/// A server of this process, which ends with it.
fn server() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.incoming().for_each(|stream| answer(&stream.unwrap())));
    format!("http://127.0.0.1:{port}")
}

fn ids() -> (CampaignId, DeploymentId) {
    ("c-url".parse().unwrap(), "d-url".parse().unwrap())
}

async fn observe(endpoint: EndpointSpec) -> Result<DeploymentStatus, String> {
    let (campaign, id) = ids();
    let mut spec = spec(LocalSpec::default());
    spec.placement = Placement::External(endpoint);
    let deployer = UrlDeployer::new();
    let handle = deployer.ensure(&campaign, &id, &spec).await.map_err(|error| {
        assert_eq!(error.effect, Effect::NotStarted);
        std::error::Error::source(&error.source).unwrap().to_string()
    })?;
    deployer.end(&handle).await.unwrap();
    // A later gipfel goes on with the handle alone.
    Ok(UrlDeployer::new().observe(&handle).await.unwrap())
}

#[tokio::test]
async fn a_url_is_ready_when_it_answers() {
    let url = server();
    let endpoint = EndpointSpec::new(&format!("{url}/v1/"));
    let DeploymentStatus::Ready {
        endpoint: found,
        provenance,
        ..
    } = observe(endpoint.clone()).await.unwrap()
    else {
        panic!("it is ready");
    };
    assert_eq!(found, endpoint);
    assert_eq!(provenance.0.values().collect::<Vec<_>>(), ["9.9"]);
    let ready = observe(EndpointSpec::new(&format!("{url}/old"))).await.unwrap();
    assert!(matches!(ready, DeploymentStatus::Ready { .. }), "{ready:?}");
    assert_eq!(
        observe(EndpointSpec::new(&format!("{url}/empty"))).await,
        Ok(DeploymentStatus::Starting)
    );
}

#[tokio::test]
async fn a_url_that_cannot_be_used_is_refused() {
    let url = server();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    let closed = |api_key| EndpointSpec {
        api_key,
        ..EndpointSpec::new(&format!("{url}/closed"))
    };
    let check = async |endpoint, expected: &str| {
        let error = observe(endpoint).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("open"), "{error}");
    };
    check(
        EndpointSpec::new("http://127.0.0.1:1"),
        "nothing answers at http://127.0.0.1:1/v1/models",
    )
    .await;
    check(closed(ApiKeySource::None), "wants an API key").await;
    check(
        closed(ApiKeySource::Environment("GIPFEL_NO_SUCH".to_owned())),
        "`GIPFEL_NO_SUCH`",
    )
    .await;
    check(closed(ApiKeySource::File(file.clone())), "cannot read").await;
    fs::write(&file, "open\n").unwrap();
    check(closed(ApiKeySource::File(file.clone())), "refuses the API key").await;
    fs::write(&file, "sesame\n").unwrap();
    let ready = observe(closed(ApiKeySource::File(file))).await.unwrap();
    assert!(matches!(ready, DeploymentStatus::Ready { .. }), "{ready:?}");

    let mut local = spec(LocalSpec::default());
    local.placement = Placement::Local(LocalSpec::default());
    let (campaign, id) = ids();
    assert!(UrlDeployer::new().ensure(&campaign, &id, &local).await.is_err());
}

#[tokio::test]
async fn nothing_of_a_url_is_ours() {
    let (campaign, id) = ids();
    let deployer = UrlDeployer::new();
    assert_eq!(deployer.find_deployment(&id).await.unwrap(), Found::Absent);
    assert_eq!(deployer.find_campaign(&campaign).await.unwrap(), []);
}
