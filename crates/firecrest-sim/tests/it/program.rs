//! The program as a user starts it.

use std::{fs, process::Stdio, time::Duration};

use firecrest_sim::{Options, Simulator};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::Command,
    time::timeout,
};

use crate::wire::Outgoing;

const PROGRAM: &str = env!("CARGO_BIN_EXE_firecrest-sim");

const CONFIGURATION: &str = r#"
base_path = "/hpc/firecrest/v2"

[token]
life = "40s"

[limits]
transfer_poll = "200ms"

[[users]]
name = "tester"
uid = 25001
accounts = ["a-lab01"]
client_id = "f7t-tester"
client_secret = "hush"

[[clusters]]
name = "daint"
nodes = ["nid000001", "nid000002"]

[[clusters.partitions]]
name = "normal"
time_limit = "24h"

[[systems]]
name = "daint"

[[systems.file_systems]]
path = "/scratch"
root = "ROOT"

[[failures]]
failure = { kind = "slow", by = "1ms" }
target = { path = "/status/*" }
"#;

#[tokio::test]
async fn it_prints_what_a_client_needs_and_ends_on_a_signal() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("sim.toml");
    let root = folder.path().join("root").display().to_string();
    fs::write(&file, CONFIGURATION.replace("ROOT", &root)).expect("the configuration");
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--config"])
        .arg(&file)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let mut output = BufReader::new(child.stdout.take().expect("its output"));
    let mut lines = Vec::new();
    for _ in 0..5 {
        let mut line = String::new();
        let read = timeout(Duration::from_secs(20), output.read_line(&mut line)).await;
        read.expect("a line in time").expect("a line");
        lines.push(line.trim_end().to_owned());
    }
    let url = lines[0]
        .strip_prefix("FIRECREST_URL=")
        .expect("the address")
        .to_owned();
    let server = url.strip_suffix("/hpc/firecrest/v2").expect("the path in front");
    let expected = [
        format!("FIRECREST_URL={url}"),
        format!("AUTH_TOKEN_URL={server}/auth/realms/firecrest-sim/protocol/openid-connect/token"),
        "FIRECREST_CLIENT_ID=f7t-tester".to_owned(),
        "FIRECREST_CLIENT_SECRET=hush".to_owned(),
        "FIRECREST_SYSTEM=daint".to_owned(),
    ];
    assert_eq!(lines, expected);
    let reply = Outgoing::new("GET", format!("{url}/status/liveness/"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(reply.status, 200);
    let pid = i32::try_from(child.id().expect("a process")).expect("its number");
    let pid = rustix::process::Pid::from_raw(pid).expect("its number");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the signal is sent");
    let ended = timeout(Duration::from_secs(20), child.wait())
        .await
        .expect("its end in time");
    assert!(ended.expect("its end").success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).await.expect("the rest");
    assert_eq!(rest, "");
}

const README: &str = include_str!("../../README.md");

/// The text between two marks, after which the rest follows.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<(&'a str, &'a str)> {
    text.split_once(start)?.1.split_once(end)
}

#[test]
fn the_configuration_of_the_readme_is_read() {
    let (block, _) = between(README, "    [[users]]", "All fields").expect("the configuration");
    let text = format!("[[users]]{block}").replace("\n    ", "\n");
    let options = Options::from_toml(&text).expect("options");
    assert_eq!(
        (options.users.len(), options.clusters.len(), options.systems.len()),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn the_orders_of_the_readme_are_taken() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let running = Simulator::start(Options::demo(folder.path()))
        .await
        .expect("a running simulator");
    let mut orders = Vec::new();
    let mut rest = README;
    while let Some((order, after)) = between(rest, "curl -X ", "'\n") {
        let (method, order) = order.split_once(" $FIRECREST_URL").expect("an address");
        let (path, body) = order.split_once(" -d '").expect("a body");
        orders.push((method, path, body));
        rest = after;
    }
    for line in README.lines().filter(|line| line.starts_with("| `PUT /_sim/")) {
        let (order, after) = between(line, "`", "`").expect("an order");
        let (method, path) = order.split_once(' ').expect("a method");
        let (body, _) = between(after, "`", "`").expect("a body");
        orders.push((method, path, body));
    }
    assert_eq!(orders.len(), 6);
    for (method, path, body) in orders {
        let url = format!("{}{path}", running.base_url);
        let reply = Outgoing::new(method, url)
            .body(body.to_owned())
            .send()
            .await
            .expect("an answer");
        // There is no job to end.
        let expected = if path == "/_sim/job" { 404 } else { 204 };
        assert_eq!(reply.status, expected, "{path} {body}: {}", reply.json());
    }
    running.stop().await;
}

#[tokio::test]
async fn a_wrong_configuration_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("sim.toml");
    let check = async |text: String, expected: &str| {
        fs::write(&file, text).expect("the configuration");
        let output = Command::new(PROGRAM)
            .args(["serve", "--config"])
            .arg(&file)
            .output()
            .await;
        let output = output.expect("the program runs");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(
            errors.contains(expected) && !errors.contains("1234567"),
            "{errors}"
        );
    };
    check("\nnosuch = 1".to_owned(), "line 2: unknown field `nosuch`").await;
    let secret = "[[users]]\nclient_secret = 1234567";
    check(secret.to_owned(), "line 2: a secret must be a text").await;
    check("[token]\nlife = \"5 parsecs\"".to_owned(), "is no span of time").await;
    let lost = "[[systems]]\nname = \"x\"\ncluster = \"y\"".to_owned();
    check(lost, "system `x` names the cluster `y`, which is not configured").await;
}
