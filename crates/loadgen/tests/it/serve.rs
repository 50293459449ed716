//! The load generator as a service, asked as its clients ask it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::Stdio,
};

use gipfel_model::{Outcome, RunConfig};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Process, RunDirectory, Sim, config, loadgen, wait_for};

struct Service {
    directory: TempDir,
    address: String,
    process: Process,
}

impl Service {
    fn start(arguments: &[&str]) -> Self {
        let directory = TempDir::new().expect("a directory");
        let mut child = loadgen()
            .args(["serve", "--listen", "127.0.0.1:0", "--directory"])
            .arg(directory.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a service");
        let mut line = String::new();
        let told = child.stdout.take().expect("a pipe");
        BufReader::new(told).read_line(&mut line).expect("a line");
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .expect("an address");
        Self {
            address: address.to_owned(),
            directory,
            process: Process::from(child),
        }
    }

    fn ask_raw(&self, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .expect("a request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let end = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("a head");
        let body = answer.split_off(end + 4);
        let head = String::from_utf8(answer).expect("text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), body)
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.ask_raw(method, path, body);
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    fn text(&self, path: &str) -> String {
        let (status, body) = self.ask_raw("GET", path, "");
        assert_eq!(status, 200, "{path}");
        String::from_utf8(body).expect("text")
    }

    fn wait_for_result(&self) -> Value {
        wait_for("a result", || {
            let (status, result) = self.ask("GET", "/result", "");
            (status == 200).then_some(result)
        })
    }

    fn run_directory(&self, run: &str) -> PathBuf {
        self.directory.path().join(run)
    }
}

/// More levels than a test waits for.
const RATES: [f64; 5] = [20.0, 21.0, 22.0, 23.0, 24.0];

fn order(config: &RunConfig) -> String {
    serde_json::to_string(config).expect("JSON")
}

fn load(sim: &Sim, prompts: u32, rate: u32) -> Value {
    let port: u16 = sim
        .url
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    json!({
        "dataset_name": "random", "num_prompts": prompts, "request_rate": rate, "input_len": 8, "output_len": 5,
        "backend": "openai-chat", "endpoint": "/v1/chat/completions", "host": "127.0.0.1", "port": port,
        "model": "test-model",
    })
}

/// The value of a sample, by its whole name with labels.
fn sample<'a>(page: &'a str, name: &str) -> &'a str {
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in\n{page}"))
}

#[test]
fn a_load_is_started_watched_and_read() {
    let sim = Sim::fast();
    let service = Service::start(&[]);
    let status = |expected: &str| {
        let (code, status) = service.ask("GET", "/load-status", "");
        assert_eq!((code, &status["status"]), (200, &json!(expected)));
    };
    status("Ready to run benchmark");
    assert_eq!(service.ask("GET", "/result", "").0, 404);
    assert_eq!(
        service.ask("GET", "/load-result", ""),
        (400, json!({"error": "Benchmark result is not available yet"}))
    );
    assert_eq!(service.ask("GET", "/database", "").0, 404);
    assert_eq!(service.ask("POST", "/stop", "").0, 409);
    assert_eq!(service.ask("GET", "/start", "").0, 405);
    assert_eq!(service.ask("GET", "/nowhere", "").0, 404);

    let spec = load(&sim, 40, 20).to_string();
    let (code, started) = service.ask("POST", "/start-load", &spec);
    assert_eq!(
        (code, &started["status"]),
        (202, &json!("Load generation started"))
    );
    status("Load generation is running");
    assert_eq!(service.ask("POST", "/start-load", &spec).0, 409);
    let own = order(&config(&sim.url, &[20.0], &[]));
    assert_eq!(service.ask("POST", "/start", &own).0, 409);
    assert_eq!(service.ask("GET", "/health", ""), (200, json!({"status": "ok"})));
    assert_eq!(sample(&service.text("/metrics"), "load_generator:running"), "1");

    let result = service.wait_for_result();
    status("Load generation finished");
    assert_eq!(
        (&result["completed"], &result["num_prompts"]),
        (&json!(40), &json!(40)),
        "{result}"
    );
    assert_eq!(result["total_output_tokens"], json!(200));
    assert!(
        result["median_ttft_ms"].as_f64().is_some_and(|ttft| ttft > 0.0),
        "{result}"
    );
    assert_eq!(service.ask("GET", "/load-result", ""), (200, result));
    let text = service.text("/result?format=text");
    assert!(
        text.contains("Successful requests:                     40"),
        "{text}"
    );

    let run = started["run_id"].as_str().expect("an id");
    let (code, database) = service.ask_raw("GET", "/database", "");
    assert_eq!(code, 200);
    let copy = service.directory.path().join("copy.db");
    std::fs::write(&copy, database).expect("a file");
    let results = RunDirectory::results_in(&copy);
    assert_eq!(
        (results.run.run_id.as_str(), results.levels[0].requests.len()),
        (run, 40)
    );
    check_histogram(&service.text("/metrics/prometheus"), &results.levels[0]);
}

/// Each bucket of TTFT holds as many requests as the database has up to its bound.
fn check_histogram(page: &str, level: &crate::support::Level) {
    let labels = "dataset=\"random\",model=\"test-model\"";
    let ok = level
        .requests
        .iter()
        .filter(|request| request.outcome == Outcome::Ok);
    let ttfts: Vec<i64> = ok.filter_map(|request| request.first_token_ns).collect();
    let mut bounds = 0;
    for line in page.lines() {
        let prefix = format!("load_generator:ttft_bucket{{{labels},le=\"");
        let Some((bound, count)) = line
            .strip_prefix(&prefix)
            .and_then(|rest| rest.split_once("\"} "))
        else {
            continue;
        };
        let bound: f64 = bound.parse().expect("a bound");
        let below = ttfts.iter().filter(|ttft| **ttft as f64 / 1e9 <= bound).count();
        assert_eq!(count, below.to_string(), "up to {bound} s");
        bounds += 1;
    }
    assert_eq!(bounds, 22);
    let samples = sample(page, &format!("load_generator:ttft_count{{{labels}}}"));
    assert_eq!(samples, ttfts.len().to_string());
    for prefix in ["load_generator", "load_genenerator"] {
        let count = sample(
            page,
            &format!("{prefix}:successful_request_count_total{{{labels}}}"),
        );
        assert_eq!(count, ttfts.len().to_string());
    }
}

#[test]
fn what_cannot_be_carried_out_is_refused_with_every_reason() {
    let service = Service::start(&[]);
    let (code, answer) = service.ask("POST", "/start-load", r#"{"dataset_name": "hf", "model": "m"}"#);
    assert_eq!(
        (code, answer["reasons"].as_array().map(Vec::len)),
        (400, Some(2)),
        "{answer}"
    );
    for body in ["", "{", "[]", "{\"header\": 1}"] {
        let (code, answer) = service.ask("POST", "/start", body);
        assert_eq!(
            (code, answer["error"].is_string()),
            (400, true),
            "{body}: {answer}"
        );
        assert_eq!(service.ask("POST", "/start-load", body).0, 400, "{body}");
    }
    // A run that never finds its server is stopped, and there is nothing to show.
    let config = config("http://127.0.0.1:9", &[20.0], &["ttft p50 <= 3s"]);
    let (code, _) = service.ask("POST", "/start", &order(&config));
    assert_eq!(code, 202);
    let (code, _) = service.ask("POST", "/stop", "");
    assert_eq!(code, 202);
    wait_for("the end", || {
        (service.ask("GET", "/status", "").1["status"] == "Load generation finished").then_some(())
    });
    assert_eq!(service.ask("GET", "/load-result", "").0, 400);
}

#[test]
fn a_run_is_stopped_with_what_it_measured() {
    let sim = Sim::fast();
    let service = Service::start(&[]);
    let config = config(&sim.url, &RATES, &["ttft p50 <= 3s"]);
    assert_eq!(service.ask("POST", "/start", &order(&config)).0, 202);
    wait_for("a level", || {
        let (_, status) = service.ask("GET", "/status", "");
        let over = status["progress"]["levels"]
            .as_array()
            .is_some_and(|levels| !levels.is_empty());
        over.then_some(())
    });
    assert_eq!(service.ask("POST", "/stop", "").0, 202);
    service.wait_for_result();
    let (code, result) = service.ask("GET", "/result?level=0", "");
    assert_eq!((code, &result["completed"]), (200, &json!(20)), "{result}");
    assert_eq!(service.ask("GET", "/result?level=9", "").0, 404);
    assert_eq!(service.ask("GET", "/status", "").1["state"], json!("stopped"));
    // The same run is not begun anew, and another one is.
    assert_eq!(service.ask("POST", "/start", &order(&config)).0, 409);
    assert_eq!(
        service
            .ask("POST", "/start-load", &load(&sim, 5, 20).to_string())
            .0,
        202
    );
}

#[test]
fn a_signal_stops_the_run_and_then_the_service() {
    let sim = Sim::fast();
    let check = |with_run: bool, expected: i32| {
        let mut service = Service::start(&[]);
        let config = config(&sim.url, &RATES, &["ttft p50 <= 3s"]);
        if with_run {
            assert_eq!(service.ask("POST", "/start", &order(&config)).0, 202);
        }
        service.process.signal(rustix::process::Signal::TERM);
        assert_eq!(service.process.exit().code(), Some(expected));
        let progress = service
            .run_directory(config.run_id.as_str())
            .join("progress.json");
        if let Ok(text) = std::fs::read_to_string(progress) {
            assert!(text.contains("\"stopped\""), "{text}");
        }
    };
    check(false, 0);
    check(true, 130);
}

#[test]
fn the_loads_of_a_file_are_carried_out_and_the_service_leaves() {
    let sim = Sim::fast();
    let folder = TempDir::new().expect("a directory");
    let specs = folder.path().join("config.json");
    let check = |loads: Value, expected: i32| {
        std::fs::write(&specs, loads.to_string()).expect("a file");
        let path = specs.to_str().expect("text");
        let mut service = Service::start(&["--specs", path, "--exit-when-done"]);
        assert_eq!(service.ask("GET", "/health", "").0, 200);
        assert_eq!(service.process.exit().code(), Some(expected));
        assert!(service.directory.path().join("complete").exists());
        let entries = std::fs::read_dir(service.directory.path()).expect("a directory");
        entries
            .filter(|entry| {
                entry
                    .as_ref()
                    .is_ok_and(|entry| entry.path().join("result.json").exists())
            })
            .count()
    };
    assert_eq!(check(json!([load(&sim, 10, 20), load(&sim, 12, 40)]), 0), 2);
    let mut lost = load(&sim, 10, 20);
    lost["model"] = json!("another");
    assert_eq!(check(json!([lost, load(&sim, 10, 20)]), 11), 1);
}
