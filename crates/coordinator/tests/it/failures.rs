//! What goes wrong while gipfel runs: each failure says what happened, where, and what to do.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Output, Stdio},
    sync::LazyLock,
    thread,
};

use insta::assert_snapshot;
use regex::Regex;

use crate::world::{Sim, World};

/// An answer that a server gives to every request.
type Answer = &'static str;

const NOT_FOUND: Answer = "HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nnot found";
const UNAUTHORIZED: Answer = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
const BAD_GATEWAY: Answer = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
const PAGE: Answer =
    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 20\r\n\r\n<html>Welcome</html>";
const EMPTY_LIST: Answer =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"data\":[]}";

/// A server that gives one answer, on a port of its own; it ends with the test.
fn answering(answer: Answer) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(connection) = connection else { return };
            thread::spawn(move || answer_all(connection, answer));
        }
    });
    port
}

fn answer_all(mut connection: TcpStream, answer: Answer) {
    let mut request = [0; 4096];
    while connection.read(&mut request).is_ok_and(|read| read > 0) {
        if connection.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// The exit code and what stands on standard error, without what differs from run to run.
fn shown(world: &World, output: &Output) -> String {
    static VARYING: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        let pairs = [
            (r"\[ *\d+:\d\d\] ", ""),
            (r"d-\d{8}-\d{6}_[\w.-]+", "<server>"),
            (r"\d{8}-\d{6}_[\w.-]+", "<run>"),
            (r"c-\d{8}-\d{6}-[0-9a-f]+|\d{8}-\d{6}-[0-9a-f]+", "<campaign>"),
            (r"127\.0\.0\.1:\d+", "127.0.0.1:<port>"),
            (r"port \d{4,5}", "port <port>"),
            (r"(process|pid) \d+", "$1 <pid>"),
            (r"\d{4}-\d\d-\d\dT[\d:.]+Z?", "<time>"),
        ];
        let regex = |(pattern, with)| (Regex::new(pattern).expect("a pattern"), with);
        pairs.into_iter().map(regex).collect()
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    let mut text = stderr.replace(&world.path("").display().to_string(), "<folder>/");
    for (pattern, with) in VARYING.iter() {
        text = pattern.replace_all(&text, *with).into_owned();
    }
    let is_progress = |line: &str| {
        let beginnings = ["campaign ", "server <", "run <", "<server>", "<run>"];
        beginnings.iter().any(|beginning| line.starts_with(beginning))
    };
    let text: Vec<&str> = text.lines().filter(|line| !is_progress(line)).collect();
    let text = text.join("\n");
    let code = output
        .status
        .code()
        .map_or("signal".to_owned(), |code| code.to_string());
    format!("exit {code}\n{text}")
}

fn run(world: &World, arguments: &[&str]) -> String {
    shown(world, &world.run(arguments))
}

/// One level of a second, of the experiment with these keys.
fn write_config(world: &World, keys: &str) {
    world.write(
        "bench.yaml",
        &format!(
            "defaults:\n  rate_levels: [20]\n  warmup_duration: 0s\n  measurement_duration: 1s\n  exact_windows: true\n  \
             slos: [ttft p50 <= 3s]\n  dataset: {{ input_length: 8, output_length: 4 }}\nexperiments:\n  - {{ {keys} }}\n"
        ),
    );
}

/// Runs the experiment with these keys.
fn experiment(keys: &str) -> String {
    let world = World::new();
    write_config(&world, keys);
    run(&world, &["run", "bench.yaml"])
}

fn peak(url: &str, more: &[&str]) -> String {
    let world = World::new();
    let arguments = [&["peak", url, "--slo", "ttft p95 <= 500ms"], more].concat();
    run(&world, &arguments)
}

#[test]
fn nothing_listens() {
    assert_snapshot!(peak(&format!("http://127.0.0.1:{}", free_port()), &[]), @"");
    let keys = format!(
        "model: m, backend: openai, deployment: external, url: 'http://127.0.0.1:{}', server_ready_timeout: 2s",
        free_port()
    );
    assert_snapshot!(experiment(&keys), @"");
}

#[test]
fn a_host_without_an_address() {
    // What the name service says differs between machines.
    let shown = peak("http://models.invalid:8000", &[]);
    let first: Vec<&str> = shown.lines().take(3).collect();
    assert_snapshot!(first.join("\n"), @"");
    assert_snapshot!(shown.lines().last().unwrap_or_default(), @"");
}

#[test]
fn keys() {
    let closed = format!("http://127.0.0.1:{}", answering(UNAUTHORIZED));
    assert_snapshot!(peak(&closed, &[]), @"");
    assert_snapshot!(peak(&closed, &["--header", "X-Key=PATH"]), @"");
    assert_snapshot!(peak(&closed, &["--api-key-env", "GIPFEL_TEST_UNSET"]), @"");
    let keys =
        format!("model: m, backend: openai, deployment: external, url: '{closed}', api_key_file: gone.txt");
    assert_snapshot!(experiment(&keys), @"");
}

#[test]
fn encryption() {
    let plain = format!("https://127.0.0.1:{}", answering(NOT_FOUND));
    assert_snapshot!(peak(&plain, &[]), @"");
    assert_snapshot!(peak(&plain, &["--ca-file", "gone.pem"]), @"");
    let world = World::new();
    world.write(
        "empty.pem",
        "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n",
    );
    let arguments = [
        "peak",
        &plain,
        "--slo",
        "ttft p95 <= 500ms",
        "--ca-file",
        "empty.pem",
    ];
    assert_snapshot!(run(&world, &arguments), @"");
}

#[test]
fn proxies() {
    let gone = format!("http://127.0.0.1:{}", free_port());
    assert_snapshot!(peak("http://models.invalid", &["--proxy", &gone]), @"");
    let refusing = format!("http://127.0.0.1:{}", answering(BAD_GATEWAY));
    assert_snapshot!(peak("https://models.invalid", &["--proxy", &refusing]), @"");
}

#[test]
fn servers_that_are_none() {
    let page = format!("http://127.0.0.1:{}", answering(PAGE));
    assert_snapshot!(peak(&page, &[]), @"");
    let nothing = format!("http://127.0.0.1:{}", answering(NOT_FOUND));
    assert_snapshot!(peak(&nothing, &[]), @"");
    let broken = format!("http://127.0.0.1:{}", answering(BAD_GATEWAY));
    assert_snapshot!(peak(&broken, &[]), @"");
    let waiting = answering(EMPTY_LIST);
    let keys = format!(
        "model: m, backend: vllm, deployment: external, url: 'http://127.0.0.1:{waiting}', server_ready_timeout: 2s"
    );
    assert_snapshot!(experiment(&keys), @"");
}

#[test]
fn every_request_is_refused() {
    let port = answering(NOT_FOUND);
    let world = World::new();
    let keys = format!("model: m, backend: openai, deployment: external, url: 'http://127.0.0.1:{port}'");
    write_config(&world, &keys);
    let output = world.run(&["run", "bench.yaml"]);
    assert_snapshot!(shown(&world, &output), @"");
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = answer.lines().find(|line| line.contains("did not complete"));
    assert_snapshot!(line.unwrap_or_default().split(" - ").last().unwrap_or_default(), @"");
}

#[test]
fn a_model_that_the_server_does_not_have() {
    let world = World::new();
    let sim = Sim::start(&world, "real-model");
    let keys = format!(
        "model: other-model, backend: sim, deployment: external, url: '{}'",
        sim.url
    );
    write_config(&world, &keys);
    assert_snapshot!(run(&world, &["run", "bench.yaml"]), @"");
    let arguments = [
        "peak",
        &sim.url,
        "--slo",
        "ttft p95 <= 500ms",
        "--model",
        "other-model",
    ];
    assert_snapshot!(run(&world, &arguments), @"");
}

fn command(words: &str) -> String {
    experiment(&format!(
        "model: m, backend: vllm, deployment: local, server_ready_timeout: 3s, command: {words}"
    ))
}

#[test]
fn servers_that_do_not_start() {
    assert_snapshot!(command("[no-such-program, '{port}']"), @"");
    assert_snapshot!(command("[sh, -c, 'echo loading the weights; exit 3']"), @"");
    assert_snapshot!(command("[sh, -c, 'echo torch.OutOfMemoryError: CUDA out of memory; exit 1']"), @"");
    assert_snapshot!(
        command("[sh, -c, 'echo OSError: nope is not a local folder and is not a valid model identifier; exit 1']"),
        @"");
    assert_snapshot!(command("[sh, -c, 'echo loading shard 1 of 4; sleep 60']"), @"");
}

#[test]
fn a_port_that_is_taken() {
    let port = answering(NOT_FOUND);
    assert_snapshot!(experiment(&format!("model: m, backend: sim, deployment: local, port: {port}")), @"");
}

#[test]
fn too_few_descriptors() {
    let world = World::new();
    let sim = Sim::start(&world, "m");
    write_config(
        &world,
        &format!(
            "model: m, backend: sim, deployment: external, url: '{}', rate_levels: [400], \
             dataset: {{ input_length: 8, output_length: 400 }}",
            sim.url
        ),
    );
    let gipfel = env!("CARGO_BIN_EXE_gipfel");
    let limited = std::process::Command::new("sh")
        .args([
            "-c",
            &format!("ulimit -n 60; exec {gipfel} run bench.yaml --no-live"),
        ])
        .current_dir(world.path(""))
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    let shown = shown(&world, &limited);
    let relevant = shown
        .lines()
        .filter(|line| line.starts_with("exit") || line.contains("sockets"));
    let counted = Regex::new(r"\d+ requests").expect("a pattern");
    assert_snapshot!(counted.replace_all(&relevant.collect::<Vec<_>>().join("\n"), "<some> requests"), @"");
}

#[test]
fn results_that_cannot_be_kept() {
    let keys = "model: m, backend: sim, deployment: local";
    let world = World::new();
    write_config(&world, keys);
    world.write("taken", "a file");
    assert_snapshot!(run(&world, &["run", "bench.yaml", "--results-dir", "taken"]), @"");
    assert_snapshot!(run(&world, &["run", "bench.yaml", "--results-dir", "/proc/results"]), @"");
}

#[test]
fn campaigns_that_cannot_go_on() {
    let world = World::new();
    assert_snapshot!(run(&world, &["resume"]), @"");
    assert_snapshot!(run(&world, &["resume", "20200101-000000-abcd"]), @"");
    assert_snapshot!(run(&world, &["resume", "yesterday"]), @"");
    let folder = world.path("results/20200101-000000-abcd");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("state.json"), "{\"header\":").expect("a file");
    assert_snapshot!(run(&world, &["resume", "20200101-000000-abcd"]), @"");
    let newer = r#"{"header":{"format":"gipfel-state","major":9,"minor":0}}"#;
    std::fs::write(folder.join("state.json"), newer).expect("a file");
    assert_snapshot!(run(&world, &["resume", "20200101-000000-abcd"]), @"");
}

#[test]
fn files_that_are_none_of_ours() {
    let world = World::new();
    world.write("notes.db", "not a database at all");
    assert_snapshot!(run(&world, &["results", "summary", "notes.db"]), @"");
    assert_snapshot!(run(&world, &["results", "summary", "gone.db"]), @"");
    assert_snapshot!(run(&world, &["results", "summary"]), @"");
    assert_snapshot!(run(&world, &["run", "gone.yaml"]), @"");
    assert_snapshot!(run(&world, &["run", "."]), @"");
}

#[test]
fn servers_of_earlier_runs() {
    let world = World::new();
    write_config(&world, "model: m, backend: sim, deployment: local");
    assert_snapshot!(run(&world, &["run", "bench.yaml", "--on", "nothing"]), @"");
    assert_snapshot!(run(&world, &["run", "bench.yaml", "--on", "http://u:p@h"]), @"");
}
