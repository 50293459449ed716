//! Failures on demand.

use std::time::{Duration, Instant};

use firecrest_sim::{Chance, Failure, RandomFailures, Rule, Service, Target};
use serde_json::{Value, json};

use crate::{
    site::{Site, WORK},
    wire::{Outgoing, eventually, over_one_connection},
};

fn job() -> Value {
    json!({"job": {"workingDirectory": WORK, "name": "once", "script": "#!/bin/bash\n#SBATCH --time=1\ntrue\n"}})
}

const JOBS: &str = "/compute/clariden/jobs";

/// Lets one submission fail; gives the answer's status, its body, and whether there is a job.
async fn submit(failure: Failure) -> (Option<u16>, Value, bool) {
    let site = Site::start().await;
    site.running.fail(Rule::once(failure, "POST", "/compute/*/jobs"));
    let reply = site.request("POST", JOBS, Some(&job())).send().await.ok();
    let submits = site.running.submits().len();
    assert_eq!(site.running.jobs().len(), submits);
    // The next call is well again.
    assert_eq!(site.call("POST", JOBS, Some(&job())).await.status, 201);
    site.running.stop().await;
    let status = reply.as_ref().map(|reply| reply.status.as_u16());
    (
        status,
        reply.map_or(Value::Null, |reply| reply.json()),
        submits == 1,
    )
}

#[tokio::test]
async fn each_failure_has_its_status_and_its_effect() {
    let expected = [
        (Failure::ExpiredToken, Some(401), false),
        (Failure::TooManyRequests { retry_after_s: None }, Some(429), false),
        (Failure::CommandTimeout, Some(408), false),
        (Failure::CommandTimeoutAfter, Some(408), true),
        (Failure::ChannelLimit, Some(424), false),
        (Failure::ServerError, Some(500), false),
        (Failure::ServerErrorAfter, Some(500), true),
        (Failure::Unhealthy, Some(503), false),
        (Failure::BadGateway, Some(502), false),
        (Failure::GatewayTimeout, Some(504), true),
        (Failure::CutBefore, None, false),
        (Failure::CutAfter, None, true),
        (Failure::CutBody, None, true),
        (
            Failure::Slow {
                by: Duration::from_millis(1),
            },
            Some(201),
            true,
        ),
        (Failure::AccountingDown, Some(201), true),
        (Failure::LostEntry, Some(201), true),
    ];
    for (failure, status, effect) in expected {
        let name = failure.name();
        let (found, _, had_effect) = submit(failure).await;
        assert_eq!((found, had_effect), (status, effect), "{name}");
    }
}

#[tokio::test]
async fn an_answer_of_the_server_does_not_tell_whether_there_was_an_effect() {
    let (_, before, _) = submit(Failure::ServerError).await;
    let (_, after, _) = submit(Failure::ServerErrorAfter).await;
    assert_eq!(before, after);
    assert_eq!(before["errorType"], "error");
}

#[tokio::test]
async fn the_gateway_speaks_its_own_language() {
    let site = Site::start().await;
    site.running.fail(Rule::once(
        Failure::TooManyRequests {
            retry_after_s: Some(7),
        },
        "GET",
        JOBS,
    ));
    let reply = site.call("GET", JOBS, None).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("retry-after")),
        (429, Some("7"))
    );
    assert_eq!(reply.json()["code"], "900802");
    site.running.fail(Rule::once(
        Failure::TooManyRequests { retry_after_s: None },
        "GET",
        JOBS,
    ));
    assert_eq!(site.call("GET", JOBS, None).await.header("retry-after"), None);
    site.running.fail(Rule::once(Failure::BadGateway, "GET", JOBS));
    assert_eq!(
        site.call("GET", JOBS, None).await.header("content-type"),
        Some("text/html")
    );
    site.running.stop().await;
}

#[tokio::test]
async fn a_hung_scheduler_makes_the_job_appear_later() {
    let site = Site::start_with(|options| {
        options.systems[0].command_timeout = Some(Duration::from_millis(100));
    })
    .await;
    let failure = Failure::SchedulerHung {
        appears_after: Duration::from_millis(300),
    };
    site.running.fail(Rule::once(failure, "POST", JOBS));
    let reply = site.call("POST", JOBS, Some(&job())).await;
    assert_eq!(reply.json()["message"], "('Channel not open for sending',)");
    assert_eq!(site.running.jobs(), [], "the job is not there yet");
    eventually(|| async {
        let listed = site
            .call("GET", "/compute/clariden/jobs?name=once", None)
            .await
            .json();
        if listed["jobs"][0]["name"] == "once" {
            Ok(())
        } else {
            Err(listed.to_string())
        }
    })
    .await;
    assert_eq!(site.running.submits().len(), 1);
    site.running.stop().await;
}

#[tokio::test]
async fn lists_and_accounts_fail_by_the_call() {
    let site = Site::start().await;
    site.submit("one", "#!/bin/bash\ntrue\n").await;
    site.submit("two", "#!/bin/bash\ntrue\n").await;
    site.running.fail(Rule::once(Failure::LostEntry, "GET", JOBS));
    site.running
        .fail(Rule::once(Failure::AccountingDown, "GET", JOBS));
    let names = |listed: Value| {
        let jobs = listed["jobs"].as_array().expect("a list").iter();
        jobs.map(|job| job["name"].as_str().expect("a name").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(site.call("GET", JOBS, None).await.json()), ["one"]);
    let lost = site.call("GET", JOBS, None).await;
    assert!(
        lost.json()["causedBy"].to_string().contains("sacct: error"),
        "{}",
        lost.json()
    );
    assert_eq!(names(site.call("GET", JOBS, None).await.json()), ["one", "two"]);
    site.running.stop().await;
}

#[tokio::test]
async fn a_slow_call_comes_late() {
    let site = Site::start().await;
    site.running.fail(Rule::once(
        Failure::Slow {
            by: Duration::from_millis(300),
        },
        "GET",
        JOBS,
    ));
    let begun = Instant::now();
    assert_eq!(site.call("GET", JOBS, None).await.status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    site.running.stop().await;
}

#[tokio::test]
async fn the_token_endpoint_fails_apart() {
    let site = Site::start().await;
    let target = Target {
        service: Service::Token,
        ..Target::default()
    };
    site.running.fail(Rule {
        failure: Failure::BadGateway,
        target,
        skip: 0,
        count: Some(1),
    });
    assert_eq!(site.call("GET", JOBS, None).await.status, 200);
    let form = "grant_type=client_credentials&client_id=f7t-tester&client_secret=secret-of-tester";
    let ask = Outgoing::new("POST", &site.running.token_url).body(form);
    assert_eq!(ask.send().await.expect("an answer").status, 502);
    let reply = ask.send().await.expect("an answer");
    let token = reply.json()["access_token"].as_str().expect("a token").to_owned();
    let call = Outgoing::new("GET", site.url(JOBS)).header("authorization", format!("Bearer {token}"));
    assert_eq!(call.send().await.expect("an answer").status, 200);
    site.running.stop().await;
}

#[tokio::test]
async fn equal_seeds_give_equal_schedules() {
    async fn statuses(seed: u64) -> Vec<Option<u16>> {
        let site = Site::start().await;
        let chance = |failure, probability| Chance {
            failure,
            target: Target::default(),
            probability,
        };
        let chances = vec![chance(Failure::CutBefore, 0.3), chance(Failure::ServerError, 0.3)];
        site.running.fail_at_random(RandomFailures { seed, chances });
        let mut statuses = Vec::new();
        for _ in 0..20 {
            let reply = site.request("GET", JOBS, None).send().await.ok();
            statuses.push(reply.map(|reply| reply.status.as_u16()));
        }
        site.running.stop().await;
        statuses
    }
    let first = statuses(1).await;
    assert_eq!(statuses(1).await, first);
    assert_ne!(statuses(2).await, first);
    for status in [None, Some(200), Some(500)] {
        assert!(first.contains(&status), "{status:?} in {first:?}");
    }
}

#[tokio::test]
async fn a_test_gives_orders_while_the_server_runs() {
    let site = Site::start().await;
    let order = |method: &str, path: &str, body: Value| {
        let outgoing = Outgoing::new(method, site.url(path)).json(&body);
        async move { outgoing.send().await.expect("an answer") }
    };
    let rule = json!({
        "failure": {"kind": "slow", "by": "1ms"}, "target": {"path": "/status/*"}, "count": 1,
    });
    assert_eq!(order("POST", "/_sim/failures", rule).await.status, 204);
    let rule = json!({"failure": {"kind": "unhealthy"}, "target": {"method": "GET", "path": JOBS}});
    assert_eq!(order("POST", "/_sim/failures", rule).await.status, 204);
    assert_eq!(site.call("GET", "/status/systems", None).await.status, 200);
    assert_eq!(site.call("GET", JOBS, None).await.status, 503);
    assert_eq!(order("DELETE", "/_sim/failures", Value::Null).await.status, 204);
    assert_eq!(site.call("GET", JOBS, None).await.status, 200);
    let services = json!({"system": "clariden", "services": {"ssh": "refused", "accounting_down": true}});
    assert_eq!(order("PUT", "/_sim/services", services).await.status, 204);
    assert_eq!(order("POST", "/_sim/health-check", Value::Null).await.status, 204);
    assert_eq!(site.call("GET", JOBS, None).await.status, 503);
    let pause = json!({"cluster": "clariden", "paused": true});
    assert_eq!(order("PUT", "/_sim/scheduler", pause).await.status, 204);
    let node = json!({"cluster": "clariden", "node": "nid001001", "down": true});
    assert_eq!(order("PUT", "/_sim/nodes", node).await.status, 204);
    let random = json!({"seed": 1, "chances": []});
    assert_eq!(order("PUT", "/_sim/random", random).await.status, 204);
    let job = json!({"cluster": "clariden", "job": 99, "state": "OUT_OF_MEMORY"});
    assert_eq!(order("PUT", "/_sim/job", job).await.status, 404);
    let wrong = order("PUT", "/_sim/services", json!({"system": "x", "nosuch": 1})).await;
    assert!(wrong.status == 400 && wrong.json()["message"].to_string().contains("nosuch"));
    let calls = order("GET", "/_sim/calls", Value::Null).await.json();
    let failures: Vec<_> = calls
        .as_array()
        .expect("a list")
        .iter()
        .map(|call| (&call["status"], &call["failure"]))
        .collect();
    let none = &Value::Null;
    let expected = [
        (&json!(200), &json!("slow")),
        (&json!(503), &json!("unhealthy")),
        (&json!(200), none),
        (&json!(503), none),
    ];
    assert_eq!(failures, expected);
    assert_eq!(order("DELETE", "/_sim/journal", Value::Null).await.status, 204);
    assert_eq!(order("GET", "/_sim/calls", Value::Null).await.json(), json!([]));
    site.running.stop().await;
}

#[tokio::test]
async fn numbers_of_requests_are_adopted() {
    let site = Site::start().await;
    let call = site
        .request("GET", JOBS, None)
        .header("x-request-id", "r-1")
        .header("x-correlation-id", "c-1");
    let reply = call.send().await.expect("an answer");
    assert_eq!(
        (reply.header("x-request-id"), reply.header("x-correlation-id")),
        (Some("r-1"), Some("c-1"))
    );
    let calls = site.running.calls();
    assert_eq!(
        (calls[0].request_id.as_str(), calls[0].user.as_deref()),
        ("r-1", Some("tester"))
    );
    site.running.stop().await;
}

#[tokio::test]
async fn some_errors_leave_a_dead_connection() {
    let site = Site::start().await;
    let call = site.request("GET", JOBS, None);
    assert_eq!(over_one_connection(&call, &call).await, [Some(200), Some(200)]);
    site.running.fail(Rule::once(Failure::ServerError, "GET", JOBS));
    assert_eq!(over_one_connection(&call, &call).await, [Some(500), None]);
    let without_path = site.request("GET", "/filesystem/clariden/ops/ls", None);
    assert_eq!(over_one_connection(&without_path, &call).await, [Some(400), None]);
    site.running.stop().await;
}

#[tokio::test]
async fn what_a_caller_began_goes_on_without_it() {
    let site = Site::start().await;
    site.running.fail(Rule::once(
        Failure::Slow {
            by: Duration::from_millis(300),
        },
        "POST",
        JOBS,
    ));
    let call = site.request("POST", JOBS, Some(&job()));
    let left = tokio::time::timeout(Duration::from_millis(100), call.send()).await;
    assert!(left.is_err(), "the caller leaves before the answer");
    eventually(|| async {
        let submits = site.running.submits().len();
        if submits == 1 {
            Ok(())
        } else {
            Err(format!("{submits} submits"))
        }
    })
    .await;
    assert_eq!(site.running.calls().len(), 1);
    site.running.stop().await;
}

#[tokio::test]
async fn nothing_is_written_after_the_end() {
    let site = Site::start().await;
    let slow = Failure::Slow {
        by: Duration::from_millis(600),
    };
    site.running
        .fail(Rule::once(slow, "POST", "/filesystem/clariden/ops/mkdir"));
    let body = json!({"path": format!("{WORK}/late"), "parent": true});
    let call = site.request("POST", "/filesystem/clariden/ops/mkdir", Some(&body));
    let answer = tokio::time::timeout(Duration::from_millis(200), call.send()).await;
    assert!(answer.is_err(), "the answer is late");
    let late = site.real(&format!("{WORK}/late"));
    site.running.stop().await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!late.exists());
}
