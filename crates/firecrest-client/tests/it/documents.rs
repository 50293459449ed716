//! What the recorded answers say, as the client reads it.

use firecrest_client::{Client, Job, JobFilter, JobState, PendingReason, System};
use serde_json::{Map, Value};

use crate::{
    recordings::Recording,
    server::{Reply, Server},
    support::{job_id, job_name, quick, system},
};

/// A client of a server that gives the recorded answer, and one that gives it with keys in snake case.
async fn playing(name: &str, index: usize) -> [(Server, Client); 2] {
    let body = Recording::named(name).exchanges[index].body();
    let snake = serde_json::from_slice(&body).map(|value: Value| snake(&value).to_string().into_bytes());
    let start = |body: Vec<u8>| async move {
        let server = Server::start(move |_| Reply::new(200, body.clone())).await;
        let client = quick(&server.url());
        (server, client)
    };
    [start(body).await, start(snake.expect("a document")).await]
}

/// The value with all keys in snake case, as some releases write them.
fn snake(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let key = |key: &String| {
                key.chars().fold(String::new(), |mut text, c| {
                    if c.is_ascii_uppercase() {
                        text.push('_');
                    }
                    text.push(c.to_ascii_lowercase());
                    text
                })
            };
            object
                .iter()
                .map(|(name, value)| (key(name), snake(value)))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => items.iter().map(snake).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn systems_tell_their_limits_and_health() {
    for (_server, client) in playing("02-status-systems", 0).await {
        let systems = client.status().systems().await.expect("systems");
        let names: Vec<_> = systems.iter().map(|system| system.name.as_str()).collect();
        assert_eq!(
            names,
            ["clariden", "bristen", "deadssh", "mutessh", "noprobe", "daint"]
        );
        let clariden = client
            .status()
            .system(&"CLARIDEN".parse().expect("a name"))
            .await
            .expect("systems");
        let clariden = clariden.expect("the system, in whichever case");
        assert_eq!(clariden.direct_upload_limit(), Some(5_242_880));
        assert_eq!(clariden.direct_download_limit(), Some(3_932_157));
        assert!(clariden.transfers_need_account());
        assert_eq!(
            clariden.default_file_system().map(|found| found.path.as_str()),
            Some("/capstor/scratch/cscs")
        );
        let transfer = clariden
            .data_operation
            .as_ref()
            .and_then(|operation| operation.data_transfer.as_ref());
        let transfer = transfer.expect("a way of large files");
        assert_eq!(transfer.service_type.as_deref(), Some("s3"));
        assert_eq!(
            transfer
                .multipart
                .as_ref()
                .and_then(|multipart| multipart.max_part_size),
            Some(8_388_608)
        );
        assert_eq!(clariden.unhealthy().count(), 0);
        let unhealthy = |system: &System| {
            system
                .unhealthy()
                .map(|health| health.service_type.clone())
                .collect::<Vec<_>>()
        };
        let filesystem = "filesystem".to_owned();
        let dead = systems
            .iter()
            .find(|system| system.name == "deadssh")
            .expect("a system");
        let expected: Vec<_> = ["scheduler", "ssh"]
            .map(str::to_owned)
            .into_iter()
            .chain(vec![filesystem; 4])
            .collect();
        assert_eq!(unhealthy(dead), expected);
        let timeout = clariden
            .ssh
            .and_then(|ssh| ssh.timeout)
            .and_then(|timeout| timeout.command_execution_s);
        assert_eq!(timeout, Some(5.0));
    }
}

async fn job(name: &str, index: usize) -> Vec<Job> {
    let mut read = Vec::new();
    for (_server, client) in playing(name, index).await {
        let id = Recording::named(name).exchanges[index]
            .target()
            .0
            .rsplit('/')
            .next()
            .expect("an id")
            .to_owned();
        read.push(client.jobs(&system()).get(&job_id(&id)).await.expect("a job"));
    }
    assert_eq!(read[0], read[1], "both styles of keys say the same");
    read.remove(0)
}

#[tokio::test]
async fn jobs_are_read() {
    let running = &job("21-job-running", 2).await[0];
    assert_eq!(running.status.state, JobState::Running);
    assert_eq!(running.node_names().expect("nodes"), ["nid001001", "nid001002"]);
    assert_eq!(running.time.limit_s, Some(600));
    assert_eq!(running.account.as_deref(), Some("a-lab01"));

    let killed = &job("26-job-killed-by-signal", 0).await[0];
    assert_eq!(
        (killed.status.exit_code, killed.status.interrupt_signal),
        (Some(0), Some(9))
    );
    assert!(killed.status.state.is_ended() && !killed.status.state.is_success());

    let cancelled = &job("31-job-cancel-pending", 1).await[0];
    assert_eq!(
        cancelled.status.state,
        JobState::Cancelled {
            by: Some("25001".to_owned())
        }
    );
    assert_eq!(cancelled.node_names().expect("nodes"), Vec::<String>::new());

    let hopeless = &job("31-job-cancel-pending", 2).await[0];
    let never = PendingReason::Never("DependencyNeverSatisfied".to_owned());
    assert_eq!(hopeless.status.pending_reason(), Some(never));

    let failed = &job("69-node-fail", 2).await[0];
    assert_eq!(failed.status.state, JobState::NodeFail);
    let requeued = &job("69-node-fail", 3).await[0];
    assert_eq!(
        requeued.status.pending_reason(),
        Some(PendingReason::Waits("BeginTime".to_owned()))
    );

    let steps: Vec<_> = job("73-job-steps", 1).await[0]
        .tasks
        .iter()
        .map(|task| task.status.state.clone())
        .collect();
    assert_eq!(
        steps,
        [JobState::Completed, JobState::Completed, JobState::Failed]
    );
}

#[tokio::test]
async fn tasks_of_an_array_are_picked_out() {
    let [(_server, client), (_other, _)] = playing("36-job-array", 1).await;
    let jobs = client.jobs(&system());
    let ids = |jobs: Vec<Job>| jobs.into_iter().map(|job| job.id.to_string()).collect::<Vec<_>>();
    assert_eq!(
        ids(jobs.get(&job_id("62")).await.expect("an array")),
        ["62_0", "62_1", "62"]
    );
    assert_eq!(ids(jobs.get(&job_id("62_1")).await.expect("a task")), ["62_1"]);
}

#[tokio::test]
async fn names_are_compared_on_this_side_too() {
    // The recorded list is that of all jobs, as older servers give it whatever name is asked for.
    let [(_server, client), (_other, _)] = playing("29-job-list", 0).await;
    let jobs = client.jobs(&system());
    let names = |jobs: Vec<Job>| jobs.into_iter().map(|job| job.name).collect::<Vec<_>>();
    let all = names(jobs.list(&JobFilter::default()).await.expect("a list"));
    assert!(
        all.len() > 1 && all.iter().any(|name| name != "qps-inline"),
        "{all:?}"
    );
    let filtered = names(
        jobs.list(&JobFilter::named(job_name("qps-inline")))
            .await
            .expect("a list"),
    );
    assert!(
        !filtered.is_empty() && filtered.iter().all(|name| name == "qps-inline"),
        "{filtered:?}"
    );
}
