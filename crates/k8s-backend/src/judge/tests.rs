use super::*;

fn pod(fixture: &str) -> Pod {
    serde_json::from_str(fixture).expect("the fixture is a pod")
}

macro_rules! pod {
    ($name:literal) => {
        pod(include_str!(concat!("../../tests/fixtures/", $name, ".json")))
    };
}

fn deployment(status: serde_json::Value) -> Deployment {
    let deployment = serde_json::json!({
        "metadata": {"generation": 2}, "spec": {"replicas": 1, "selector": {}, "template": {}}, "status": status
    });
    serde_json::from_value(deployment).expect("it is a Deployment")
}

fn complete() -> Deployment {
    deployment(serde_json::json!(
        {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    ))
}

fn judged(pod: Pod, events: &[Event]) -> Judgement {
    judge(Seen {
        rollout: &Rollout::of_deployment(&complete()),
        pods: &[pod],
        events,
    })
}

fn event(reason: &str, message: &str) -> Event {
    let event =
        serde_json::json!({"metadata": {}, "involvedObject": {}, "reason": reason, "message": message});
    serde_json::from_value(event).expect("it is an event")
}

#[test]
fn pods_that_fail() {
    let check = |pod: Pod, reason: FailureReason, part: &str| {
        let Judgement::Failed(found, message) = judged(pod, &[]) else {
            panic!("failed for `{part}`");
        };
        assert_eq!(found, reason, "{message}");
        assert!(message.contains(part), "{message}");
    };
    check(pod!("crash"), FailureReason::ServerFailed, "Error, exit code 1");
    check(pod!("out-of-memory"), FailureReason::OutOfMemory, "OOMKilled");
    check(
        pod!("image-missing"),
        FailureReason::ServerFailed,
        "lab.local/missing:1: not found",
    );
    check(
        pod!("image-denied"),
        FailureReason::ServerFailed,
        "ImagePullBackOff",
    );
    check(
        pod!("config-error"),
        FailureReason::ServerFailed,
        "CreateContainerConfigError",
    );
    check(
        pod!("claim-missing"),
        FailureReason::ServerFailed,
        "persistentvolumeclaim \"no-such-claim\" not found",
    );
}

fn trouble(judgement: Judgement, kind: TroubleKind, part: &str) {
    let Judgement::Troubled(found) = judgement else {
        panic!("it may pass, unlike {judgement:?}");
    };
    assert_eq!(found.kind, kind, "{found:?}");
    assert!(found.message.contains(part), "{found:?}");
}

#[test]
fn what_may_pass_is_no_failure_yet() {
    let room = "2 Insufficient nvidia.com/gpu";
    trouble(judged(pod!("unschedulable"), &[]), TroubleKind::Place, room);
    let with = |reason: &str, message: &str| {
        let mut pod = pod!("image-missing");
        let statuses = pod
            .status
            .as_mut()
            .and_then(|status| status.container_statuses.as_mut());
        let state = serde_json::json!({ "waiting": { "reason": reason, "message": message } });
        let state = serde_json::from_value(state).expect("it is a state");
        statuses.expect("it has one")[0].state = Some(state);
        judged(pod, &[])
    };
    let busy = "ErrImagePull: unexpected status: 429 Too Many Requests";
    trouble(with("ImagePullBackOff", busy), TroubleKind::Start, "429");
    trouble(
        with("ErrImagePull", "not found, at first"),
        TroubleKind::Start,
        "at first",
    );
    let cache = "failed to sync secret cache: timed out waiting for the condition";
    trouble(
        with("CreateContainerConfigError", cache),
        TroubleKind::Start,
        cache,
    );
    trouble(
        with("CreateContainerError", "context deadline exceeded"),
        TroubleKind::Start,
        "deadline",
    );
    assert!(matches!(
        with("InvalidImageName", "no name"),
        Judgement::Failed(..)
    ));
    assert_eq!(with("ContainerCreating", ""), Judgement::Starting);
}

/// A refusal of a set's pod, so many seconds before or after its newest pod was made.
#[test]
fn a_refusal_that_is_over_is_none() {
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
    let time = |seconds: i64| {
        Some(Time(
            Timestamp::from_second(1_795_296_000 + seconds).expect("a time"),
        ))
    };
    let mut pod = pod!("happy");
    pod.metadata.creation_timestamp = time(0);
    for condition in pod
        .status
        .iter_mut()
        .flat_map(|status| status.conditions.iter_mut().flatten())
    {
        "False".clone_into(&mut condition.status);
    }
    let check = |seconds: i64, is_trouble: bool| {
        let mut refused = event("FailedCreate", "exceeded quota");
        refused.last_timestamp = time(seconds);
        let rollout = Rollout {
            pods: 2,
            ..Rollout::default()
        };
        let judgement = judge(Seen {
            rollout: &rollout,
            pods: std::slice::from_ref(&pod),
            events: &[refused],
        });
        assert_eq!(
            matches!(judgement, Judgement::Troubled(_)),
            is_trouble,
            "{judgement:?}"
        );
    };
    check(-60, false);
    check(60, true);
}

#[test]
fn a_server_that_is_never_healthy_is_out_of_time() {
    let events = [
        event(
            "Unhealthy",
            "Startup probe failed: HTTP probe failed with statuscode: 503",
        ),
        event(
            "Killing",
            "Container server failed startup probe, will be restarted",
        ),
    ];
    assert_eq!(
        judged(pod!("crash"), &events),
        Judgement::Failed(
            FailureReason::ReadyTimeout,
            "Startup probe failed: HTTP probe failed with statuscode: 503".to_owned()
        )
    );
}

#[test]
fn ready_is_what_runs_now() {
    let check = |deployment: &Deployment, pods: &[Pod], expected: Judgement| {
        let seen = Seen {
            rollout: &Rollout::of_deployment(deployment),
            pods,
            events: &[],
        };
        assert_eq!(judge(seen), expected);
    };
    check(&complete(), &[pod!("happy")], Judgement::Ready);
    check(&complete(), &[pod!("ready")], Judgement::Ready);
    check(&complete(), &[], Judgement::Queued);
    // The moment after a change, in which the conditions still speak of the form before it.
    let stale = serde_json::json!({
        "observedGeneration": 2,
        "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]
    });
    check(&deployment(stale), &[pod!("happy")], Judgement::Starting);
    let mut loading = pod!("happy");
    let status = loading.status.as_mut().expect("it has a status");
    for condition in status
        .conditions
        .iter_mut()
        .flatten()
        .filter(|c| c.type_ == "Ready")
    {
        "False".clone_into(&mut condition.status);
    }
    check(&complete(), &[loading], Judgement::Starting);
}

#[test]
fn a_quota_is_told() {
    let message =
        "pods \"big\" is forbidden: exceeded quota: gpu-quota, requested: requests.nvidia.com/gpu=8";
    let refused = deployment(serde_json::json!({
        "conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]
    }));
    let seen = Seen {
        rollout: &Rollout::of_deployment(&refused),
        pods: &[],
        events: &[],
    };
    trouble(judge(seen), TroubleKind::Refusal, message);
}

/// The pod that is ready, with an init container in this state.
fn with_init(restarts: i32, state: &serde_json::Value, last: &serde_json::Value) -> Pod {
    let mut pod = pod!("ready");
    let status = serde_json::json!([{
        "name": "inject", "image": "i", "imageID": "", "ready": false, "restartCount": restarts,
        "state": state, "lastState": last
    }]);
    let statuses = serde_json::from_value(status).expect("it is a status");
    pod.status.as_mut().expect("it has one").init_container_statuses = Some(statuses);
    pod
}

#[test]
fn what_comes_before_the_server_may_end() {
    use serde_json::json;
    let ended = |code: i32| json!({ "terminated": { "exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" } } });
    let none = json!({});
    let waits = |reason: &str| json!({ "waiting": { "reason": reason, "message": "of the kubelet" } });
    let check = |pod: Pod, expected: Judgement| assert_eq!(judged(pod, &[]), expected);
    check(with_init(0, &ended(0), &none), Judgement::Ready);
    check(with_init(1, &ended(0), &ended(1)), Judgement::Ready);
    check(
        with_init(1, &waits("CrashLoopBackOff"), &ended(1)),
        Judgement::Ready,
    );
    check(
        with_init(2, &waits("CrashLoopBackOff"), &ended(1)),
        Judgement::Failed(
            FailureReason::ServerFailed,
            "init container `inject`: the container ended: Error, exit code 1".to_owned(),
        ),
    );
    check(
        with_init(0, &waits("InvalidImageName"), &none),
        Judgement::Failed(
            FailureReason::ServerFailed,
            "init container `inject`: InvalidImageName: of the kubelet".to_owned(),
        ),
    );
    let pulled_later = judged(with_init(0, &waits("ImagePullBackOff"), &none), &[]);
    trouble(
        pulled_later,
        TroubleKind::Start,
        "init container `inject`: ImagePullBackOff",
    );
}
