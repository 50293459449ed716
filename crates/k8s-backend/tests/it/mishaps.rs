//! What the way to the cluster and its API server do to calls.

use std::time::Duration;

use gipfel_backend::{Deployer, DeploymentStatus, Effect, Finder, Found};
use gipfel_k8s_backend::{
    Connection, Deadlines,
    examine::Examiner,
    simulated::{Mishap, Shape, status},
};
use gipfel_model::{K8sModelCache, deployment::Placement};
use hyper::Method;

use crate::setup::{Setup, backend, spec};

/// A mishap of one call of a start, what is known of its effect, and whether trying again can help.
async fn check(
    method: Method,
    mishap: Mishap,
    is_known: fn(&Effect) -> bool,
    is_retryable: bool,
) -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let (campaign, id) = ("c-1".parse()?, "d-1".parse()?);
    setup.cluster.mishap(method.clone(), mishap.clone());
    let Err(error) = setup.backend.ensure(&campaign, &id, &spec("ml")).await else {
        anyhow::bail!("the start fails with {mishap:?} of {method}");
    };
    assert!(is_known(&error.effect), "{mishap:?} of {method}: {error:?}");
    assert_eq!(
        error.source.retryable, is_retryable,
        "{mishap:?} of {method}: {error:?}"
    );
    // Another process goes on from what is there.
    let other = backend(&setup.cluster, &setup.directory);
    let handle = other.ensure(&campaign, &id, &spec("ml")).await?;
    assert_eq!(other.find_deployment(&id).await?, Found::Started(handle.clone()));
    other.end(&handle).await?;
    assert_eq!(setup.cluster.objects(), Vec::<String>::new());
    Ok(())
}

fn is_unknown(effect: &Effect) -> bool {
    *effect == Effect::Unknown
}

fn is_not_started(effect: &Effect) -> bool {
    *effect == Effect::NotStarted
}

fn is_started(effect: &Effect) -> bool {
    matches!(effect, Effect::Started(_))
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_taken_up() -> anyhow::Result<()> {
    let late = Mishap::Slow(Duration::from_secs(4));
    check(Method::POST, Mishap::Lost, is_unknown, true).await?;
    check(Method::POST, late, is_unknown, true).await?;
    let timeout = Mishap::Answer(504, status(504, "Timeout", "etcd does not answer"));
    check(Method::POST, timeout, is_unknown, true).await
}

#[tokio::test]
async fn a_refusal_is_one() -> anyhow::Result<()> {
    let forbidden = Mishap::Answer(403, status(403, "Forbidden", "no right to create configmaps"));
    check(Method::POST, forbidden, is_not_started, false).await
}

#[tokio::test]
async fn objects_that_are_not_applied_leave_a_claim() -> anyhow::Result<()> {
    let typo = "failed to create typed patch object (ml/d): .spec.x: field not declared in schema";
    check(
        Method::PATCH,
        Mishap::Answer(500, status(500, "", typo)),
        is_started,
        false,
    )
    .await?;
    check(
        Method::PATCH,
        Mishap::Slow(Duration::from_secs(4)),
        is_started,
        true,
    )
    .await?;
    let conflict = Mishap::Answer(409, status(409, "Conflict", "conflict with another manager"));
    check(Method::PATCH, conflict, is_started, false).await
}

/// What the API server says to one object of a start, which no other try changes.
async fn check_refused(
    part: &'static str,
    method: Method,
    code: u16,
    reason: &str,
    message: &str,
) -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let mut spec = spec("ml");
    if let Placement::K8s(k8s) = &mut spec.placement {
        k8s.model_cache = Some(K8sModelCache {
            claim: "models".to_owned(),
            size: "2Ti".to_owned(),
            storage_class: None,
            mount_path: "/models".to_owned(),
            is_filled: false,
        });
    }
    let refused = Mishap::Answer(code, status(code, reason, message));
    setup.cluster.mishap_at(part, method, refused);
    let (campaign, id) = ("c-1".parse()?, "d-1".parse()?);
    let Err(error) = setup.backend.ensure(&campaign, &id, &spec).await else {
        anyhow::bail!("`{message}` is not told");
    };
    assert!(!error.source.retryable, "{error:?}");
    let words = error.source.source.to_string();
    assert!(words.contains(message), "{words}");
    if let Effect::Started(handle) = &error.effect {
        setup.backend.end(handle).await?;
    }
    let left = setup.cluster.objects();
    assert!(
        left.iter()
            .all(|name| name.starts_with("persistentvolumeclaims/")),
        "{left:?}"
    );
    Ok(())
}

#[tokio::test]
async fn refusals_have_the_clusters_words() -> anyhow::Result<()> {
    let (post, patch) = (Method::POST, Method::PATCH);
    let quota = "persistentvolumeclaims \"models\" is forbidden: exceeded quota: gpu-quota, requested: requests.storage=2Ti";
    check_refused("persistentvolumeclaims", post.clone(), 403, "Forbidden", quota).await?;
    let invalid = "Deployment.apps \"d\" is invalid: spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 99999";
    check_refused("deployments", patch.clone(), 422, "Invalid", invalid).await?;
    let right = "services \"d\" is forbidden: User \"u\" cannot patch resource \"services\"";
    check_refused("services", patch, 403, "Forbidden", right).await?;
    check_refused(
        "configmaps",
        post,
        404,
        "NotFound",
        "namespaces \"nope\" not found",
    )
    .await
}

/// With its storage away the API server answers a status without kind, as plain text.
#[tokio::test]
async fn a_status_without_its_kind_is_understood() -> anyhow::Result<()> {
    let bare = r#"{"metadata":{},"status":"Failure","message":"Timeout: request did not complete within the allotted timeout","reason":"Timeout","details":{},"code":504}"#;
    check(
        Method::POST,
        Mishap::Answer(504, bare.to_owned()),
        is_unknown,
        true,
    )
    .await?;
    let setup = Setup::new(Shape::Happy).await?;
    setup
        .cluster
        .mishap(Method::PATCH, Mishap::Answer(504, bare.to_owned()));
    let handle = setup
        .backend
        .ensure(&"c-1".parse()?, &"d-1".parse()?, &spec("ml"))
        .await?;
    setup.backend.end(&handle).await?;
    Ok(())
}

/// Before a campaign is begun the namespace is looked at, which one bad answer must not end.
#[tokio::test]
async fn what_passes_is_no_end_of_an_examination() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let connection = Connection::Url(setup.cluster.url().to_owned());
    let examiner = Examiner::new(connection, "ml", Deadlines::default());
    let answer = |code, reason| Mishap::Answer(code, status(code, reason, "etcd did not answer"));
    setup.cluster.mishap(Method::GET, answer(504, "Timeout"));
    setup.cluster.mishap(Method::GET, Mishap::Lost);
    examiner.has_namespace().await?;
    for _ in 0..4 {
        setup
            .cluster
            .mishap(Method::GET, answer(503, "ServiceUnavailable"));
    }
    assert!(
        examiner.has_namespace().await.is_err(),
        "it does not ask for ever"
    );
    Ok(())
}

#[tokio::test]
async fn what_passes_is_no_end_of_a_start() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let (campaign, id) = ("c-1".parse()?, "d-1".parse()?);
    let answer = |code, reason| Mishap::Answer(code, status(code, reason, "not now"));
    for mishap in [
        answer(504, "Timeout"),
        Mishap::Lost,
        answer(429, "TooManyRequests"),
    ] {
        setup.cluster.mishap(Method::PATCH, mishap);
    }
    let handle = setup.backend.ensure(&campaign, &id, &spec("ml")).await?;
    setup.backend.end(&handle).await?;
    for _ in 0..4 {
        setup
            .cluster
            .mishap(Method::PATCH, answer(503, "ServiceUnavailable"));
    }
    let id = "d-2".parse()?;
    let Err(error) = setup.backend.ensure(&campaign, &id, &spec("ml")).await else {
        anyhow::bail!("a server that is never there is waited for for ever");
    };
    assert!(is_started(&error.effect) && error.source.retryable, "{error:?}");
    Ok(())
}

#[tokio::test]
async fn a_restart_of_the_api_server_says_nothing_of_the_server() -> anyhow::Result<()> {
    let mut setup = Setup::new(Shape::Happy).await?;
    let (campaign, id) = ("c-1".parse()?, "d-1".parse()?);
    let handle = setup.backend.ensure(&campaign, &id, &spec("ml")).await?;
    setup.backend.observe(&handle).await?;
    setup.cluster.stop().await;
    let Err(error) = setup.backend.observe(&handle).await else {
        anyhow::bail!("nobody answers");
    };
    assert!(error.retryable, "{error:?}");
    let Err(error) = setup.backend.end(&handle).await else {
        anyhow::bail!("nobody can end it now");
    };
    assert!(error.retryable, "{error:?}");
    setup.cluster.start_again().await?;
    let mut is_ready = false;
    for _ in 0..100 {
        let status = setup.backend.observe(&handle).await?;
        is_ready = matches!(status, DeploymentStatus::Ready { .. });
        if is_ready {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(is_ready, "it goes on as if nothing had been");
    setup.backend.end(&handle).await?;
    assert_eq!(setup.cluster.objects(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn credentials_are_fetched_anew_once() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let rancher = r#"{"type":"error","status":"401","message":"must authenticate"}"#;
    let expired = || Mishap::Answer(401, rancher.to_owned());
    setup.cluster.mishap(Method::POST, expired());
    let (campaign, id) = ("c-1".parse()?, "d-1".parse()?);
    let handle = setup.backend.ensure(&campaign, &id, &spec("ml")).await?;
    let before = setup.cluster.requests().len();
    setup.cluster.mishap(Method::GET, expired());
    setup.cluster.mishap(Method::GET, expired());
    assert!(
        setup.backend.observe(&handle).await.is_err(),
        "the second refusal counts"
    );
    assert_eq!(setup.cluster.requests().len() - before, 2);
    setup.backend.end(&handle).await?;
    Ok(())
}

#[tokio::test]
async fn an_interrupted_start_is_found_by_its_claim() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let (campaign, id) = ("c-1".parse()?, "d-1".parse()?);
    setup.cluster.mishap(Method::POST, Mishap::Lost);
    assert!(setup.backend.ensure(&campaign, &id, &spec("ml")).await.is_err());
    // A machine without any record finds it too.
    let directory = tempfile::tempdir()?;
    let other = backend(&setup.cluster, &directory);
    let found = other.find_campaign(&campaign).await?;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        other.find_deployment(&id).await?,
        Found::Started(found[0].clone())
    );
    other.end(&found[0]).await?;
    assert_eq!(setup.cluster.objects(), Vec::<String>::new());
    Ok(())
}
