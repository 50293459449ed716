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
    assert_snapshot!(peak(&format!("http://127.0.0.1:{}", free_port()), &[]), @"
    exit 11
    error: failed to reach http://127.0.0.1:<port>
      caused by: nothing answers at http://127.0.0.1:<port>/v1/models
      caused by: error sending request
      caused by: client error (Connect)
      caused by: tcp connect error
      caused by: Connection refused (os error 111)
    hint: nobody listens at this address: is the server running, and are host and port right?
    ");
    let keys = format!(
        "model: m, backend: openai, deployment: external, url: 'http://127.0.0.1:{}', server_ready_timeout: 2s",
        free_port()
    );
    assert_snapshot!(experiment(&keys), @"
    exit 11
    m on openai, external: failed: server-failed: failed to reach http://127.0.0.1:<port>: nothing answers at http://127.0.0.1:<port>/v1/models: error sending request: client error (Connect): tcp connect error: Connection refused (os error 111)
    hint: nobody listens at this address: is the server running, and are host and port right?
    `gipfel logs c-<run>` prints what servers and load generators said
    ");
}

#[test]
fn keys() {
    let closed = format!("http://127.0.0.1:{}", answering(UNAUTHORIZED));
    assert_snapshot!(peak(&closed, &[]), @"
    exit 2
    error: failed to reach http://127.0.0.1:<port>
      caused by: http://127.0.0.1:<port> wants an API key: give `api_key_env` or `api_key_file`
    hint: `api_key_env` (`--api-key-env`) takes the name of the environment variable that holds the key
    ");
    assert_snapshot!(peak(&closed, &["--header", "X-Key=PATH"]), @"
    exit 2
    error: failed to reach http://127.0.0.1:<port>
      caused by: http://127.0.0.1:<port> refuses the API key
    hint: is it the key of this server, and still valid? A gateway may want it in a header of its own: `headers` (`--header`)
    ");
    assert_snapshot!(peak(&closed, &["--api-key-env", "GIPFEL_TEST_UNSET"]), @"
    exit 2
    error: failed to reach http://127.0.0.1:<port>
      caused by: the environment variable `GIPFEL_TEST_UNSET` with the API key is not set
    hint: set the variable where gipfel is started, such as by `export NAME=…`
    ");
    let keys =
        format!("model: m, backend: openai, deployment: external, url: '{closed}', api_key_file: gone.txt");
    assert_snapshot!(experiment(&keys), @"
    exit 11
    m on openai, external: failed: server-failed: failed to reach http://127.0.0.1:<port>: cannot read `gone.txt` with the API key: No such file or directory (os error 2)
    hint: is the path of `api_key_file` right? `~` is not expanded
    `gipfel logs c-<run>` prints what servers and load generators said
    ");
}

#[test]
fn encryption() {
    let plain = format!("https://127.0.0.1:{}", answering(NOT_FOUND));
    assert_snapshot!(peak(&plain, &[]), @"
    exit 11
    error: failed to reach https://127.0.0.1:<port>
      caused by: nothing answers at https://127.0.0.1:<port>/v1/models
      caused by: error sending request
      caused by: client error (Connect)
      caused by: received corrupt message of type InvalidContentType
    hint: the server speaks no TLS at this port: write `http://`
    ");
    assert_snapshot!(peak(&plain, &["--ca-file", "gone.pem"]), @"
    exit 2
    error: failed to reach https://127.0.0.1:<port>
      caused by: cannot read `gone.pem` with certificates of authorities
      caused by: No such file or directory (os error 2)
    hint: is the path of `ca_file` right? `~` is not expanded
    ");
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
    assert_snapshot!(run(&world, &arguments), @"
    exit 2
    error: failed to reach https://127.0.0.1:<port>
      caused by: the certificates of `ca_file` are no PEM text
      caused by: base64 decode error: InvalidCharacter(63)
    hint: `ca_file` takes certificates that begin with `-----BEGIN CERTIFICATE-----`
    ");
}

#[test]
fn proxies() {
    let gone = format!("http://127.0.0.1:{}", free_port());
    assert_snapshot!(peak("http://models.invalid", &["--proxy", &gone]), @"
    exit 11
    error: failed to reach http://models.invalid
      caused by: nothing answers at http://models.invalid/v1/models through the proxy http://127.0.0.1:<port>
      caused by: error sending request
      caused by: client error (Connect)
      caused by: tcp connect error
      caused by: Connection refused (os error 111)
    hint: nobody listens at the proxy's address: is `proxy` (`--proxy`) right?
    ");
    let refusing = format!("http://127.0.0.1:{}", answering(BAD_GATEWAY));
    assert_snapshot!(peak("https://models.invalid", &["--proxy", &refusing]), @"
    exit 11
    error: failed to reach https://models.invalid
      caused by: nothing answers at https://models.invalid/v1/models through the proxy http://127.0.0.1:<port>
      caused by: error sending request
      caused by: client error (Connect)
      caused by: tunnel error: unsuccessful
    hint: the proxy does not lead to this server: is `proxy` right, and may it reach the server's port?
    ");
}

#[test]
fn servers_that_are_none() {
    let page = format!("http://127.0.0.1:{}", answering(PAGE));
    assert_snapshot!(peak(&page, &[]), @"
    exit 2
    error: the server lists no model
    hint: is this the base URL of an OpenAI-compatible server? One without a list of models needs `model` (`--model`)
    ");
    let nothing = format!("http://127.0.0.1:{}", answering(NOT_FOUND));
    assert_snapshot!(peak(&nothing, &[]), @"
    exit 2
    error: the server lists no model
    hint: is this the base URL of an OpenAI-compatible server? One without a list of models needs `model` (`--model`)
    ");
    let broken = format!("http://127.0.0.1:{}", answering(BAD_GATEWAY));
    assert_snapshot!(peak(&broken, &[]), @"
    exit 11
    error: failed to reach http://127.0.0.1:<port>
      caused by: the server answers with HTTP status 502
    hint: the server, or a gateway before it, is in trouble: its log says more
    ");
    let waiting = answering(EMPTY_LIST);
    let keys = format!(
        "model: m, backend: vllm, deployment: external, url: 'http://127.0.0.1:{waiting}', server_ready_timeout: 2s"
    );
    assert_snapshot!(experiment(&keys), @"
    exit 11
    m on vllm, external: failed: ready-timeout: the server was not ready within 2s
    hint: the server answers and is not ready: does `/v1/models` list a model? `server_ready_timeout` waits longer
    `gipfel logs c-<run>` prints what servers and load generators said
    ");
}

#[test]
fn every_request_is_refused() {
    let port = answering(NOT_FOUND);
    let world = World::new();
    let keys = format!("model: m, backend: openai, deployment: external, url: 'http://127.0.0.1:{port}'");
    write_config(&world, &keys);
    let output = world.run(&["run", "bench.yaml"]);
    assert_snapshot!(shown(&world, &output), @"
    exit 10
      20 req/s: TTFT p95 –, completed 0.00 req/s: rejected (ttft p50 <= 3s)
    ");
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = answer.lines().find(|line| line.contains("did not complete"));
    // How many are sent until the rejection is certain differs.
    let counted = Regex::new(r"\d+ of \d+|error \d+").expect("a pattern");
    assert_snapshot!(counted.replace_all(line.unwrap_or_default(), "<some>"), @"- 20 req/s: <some> measured requests did not complete (http_<some>); most often: not found");
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
    assert_snapshot!(run(&world, &["run", "bench.yaml"]), @"
    exit 11
    other-model on sim, external: failed: model-not-found: failed to use the server at http://127.0.0.1:<port>: the server does not list the model `other-model`; it lists real-model
    hint: choose one of the listed names with `model` (`--model`)
    `gipfel logs c-<run>` prints what servers and load generators said
    ");
    let arguments = [
        "peak",
        &sim.url,
        "--slo",
        "ttft p95 <= 500ms",
        "--model",
        "other-model",
    ];
    assert_snapshot!(run(&world, &arguments), @"
    exit 2
    error: the server does not list `other-model`; it lists real-model
    hint: choose one of the listed names with `model` (`--model`)
    ");
}

fn command(words: &str) -> String {
    experiment(&format!(
        "model: m, backend: vllm, deployment: local, server_ready_timeout: 3s, command: {words}"
    ))
}

#[test]
fn servers_that_do_not_start() {
    assert_snapshot!(command("[no-such-program, '{port}']"), @"
    exit 11
    m on vllm, local: failed: command-not-found: failed to start the server `<server>` on this machine: `no-such-program` is no program in PATH that can be run
    hint: is vllm installed, and its environment active where gipfel is started? `command` names another program
    `gipfel logs c-<run>` prints what servers and load generators said
    ");
    assert_snapshot!(command("[sh, -c, 'echo loading the weights; exit 3']"), @"
    exit 11
    m on vllm, local: failed: server-failed: the server's process <pid> exited with status 3
      | loading the weights
    hint: the last lines above are the server's; once it is mended, `gipfel run` again tries what failed
    `gipfel logs c-<run>` prints what servers and load generators said
    ");
    assert_snapshot!(command("[sh, -c, 'echo torch.OutOfMemoryError: CUDA out of memory; exit 1']"), @"
    exit 11
    m on vllm, local: failed: out-of-memory: the server's process <pid> exited with status 1; its log says: torch.OutOfMemoryError: CUDA out of memory
      | torch.OutOfMemoryError: CUDA out of memory
    hint: lower `max_model_len` or `gpu_memory_utilization`, or share the model among more GPUs with `tensor_parallel_size`; does another process use the GPU?
    `gipfel logs c-<run>` prints what servers and load generators said
    ");
    assert_snapshot!(
        command("[sh, -c, 'echo OSError: nope is not a local folder and is not a valid model identifier; exit 1']"),
        @"
    exit 11
    m on vllm, local: failed: model-not-found: the server's process <pid> exited with status 1; its log says: OSError: nope is not a local folder and is not a valid model identifier
      | OSError: nope is not a local folder and is not a valid model identifier
    hint: is `model: m` a repository or a path that the server can read? A gated one needs a token
    `gipfel logs c-<run>` prints what servers and load generators said
    ");
    assert_snapshot!(command("[sh, -c, 'echo loading shard 1 of 4; sleep 60']"), @"
    exit 11
    m on vllm, local: failed: ready-timeout: the server was not ready within 3s
      | loading shard 1 of 4
    hint: a large model takes minutes to load: raise `server_ready_timeout`; if the log stands still, look at its last line
    `gipfel logs c-<run>` prints what servers and load generators said
    ");
}

#[test]
fn a_port_that_is_taken() {
    let port = answering(NOT_FOUND);
    assert_snapshot!(experiment(&format!("model: m, backend: sim, deployment: local, port: {port}")), @"
    exit 11
    m on sim, local: failed: port-taken: failed to start the server `<server>` on this machine: port <port> is taken by another process; choose another, or 0 for a free one
    hint: leave `port` out, and a free one is taken; or end what listens there
    `gipfel logs c-<run>` prints what servers and load generators said
    ");
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
    assert_snapshot!(counted.replace_all(&relevant.collect::<Vec<_>>().join("\n"), "<some> requests"), @"
    exit 12
      400 req/s: TTFT p95 –, completed 0.00 req/s: invalid: the client ran out of sockets for <some> requests; raise the limit of open files, `ulimit -n`
    ");
}

#[test]
fn results_that_cannot_be_kept() {
    let keys = "model: m, backend: sim, deployment: local";
    let world = World::new();
    write_config(&world, keys);
    world.write("taken", "a file");
    assert_snapshot!(run(&world, &["run", "bench.yaml", "--results-dir", "taken"]), @"
    exit 2
    error: `taken` is no directory, so no results can be kept in it
    hint: name another one with --results-dir
    ");
    assert_snapshot!(run(&world, &["run", "bench.yaml", "--results-dir", "/proc/results"]), @"
    exit 2
    error: failed to create `/proc/results`
      caused by: No such file or directory (os error 2)
    hint: choose a directory that can be written with --results-dir
    ");
}

#[test]
fn campaigns_that_cannot_go_on() {
    let world = World::new();
    assert_snapshot!(run(&world, &["resume"]), @"
    exit 2
    error: there is no unfinished campaign under `results`
    hint: `gipfel list` says what became of the others
    ");
    assert_snapshot!(run(&world, &["resume", "20200101-000000-abcd"]), @"
    exit 2
    error: there is no campaign `<campaign>`
    hint: `gipfel list` names those of `results`
    ");
    assert_snapshot!(run(&world, &["resume", "yesterday"]), @"
    exit 2
    error: there is no campaign `yesterday`
    hint: `gipfel list` names those of `results`
    ");
    let folder = world.path("results/20200101-000000-abcd");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("state.json"), "{\"header\":").expect("a file");
    assert_snapshot!(run(&world, &["resume", "20200101-000000-abcd"]), @"
    exit 2
    error: `results/<campaign>/state.json` is damaged
      caused by: EOF while parsing a value at line 1 column 10
    hint: the databases of its runs are not touched: `gipfel results merge` reads them; with the directory moved away, `gipfel run` begins anew
    ");
    let newer = r#"{"header":{"format":"gipfel-state","major":9,"minor":0}}"#;
    std::fs::write(folder.join("state.json"), newer).expect("a file");
    assert_snapshot!(run(&world, &["resume", "20200101-000000-abcd"]), @"
    exit 2
    error: cannot read `results/<campaign>/state.json`
      caused by: the file has gipfel-state version 9.0, written by a newer gipfel; this gipfel is older and reads up to 1.2
    hint: go on with the gipfel that began it, or begin anew with another --results-dir
    ");
}

#[test]
fn files_that_are_none_of_ours() {
    let world = World::new();
    world.write("notes.db", "not a database at all");
    assert_snapshot!(run(&world, &["results", "summary", "notes.db"]), @"
    exit 2
    error: failed to read `notes.db`
      caused by: `notes.db` is no SQLite database
    hint: name a run's database, `run_<id>.db`, or the merged `results.db`
    ");
    assert_snapshot!(run(&world, &["results", "summary", "gone.db"]), @"
    exit 2
    error: there is no database `gone.db`
    hint: `gipfel results merge` makes it from the runs of a results directory
    ");
    assert_snapshot!(run(&world, &["results", "summary"]), @"
    exit 2
    error: there is no database `results/results.db`
    hint: `gipfel results merge` makes it from the runs of a results directory
    ");
    assert_snapshot!(run(&world, &["run", "gone.yaml"]), @"
    exit 2
    error: failed to read `gone.yaml`
      caused by: No such file or directory (os error 2)
    hint: is the path right? `gipfel new` writes a configuration to begin with
    ");
    assert_snapshot!(run(&world, &["run", "."]), @"
    exit 2
    error: failed to read `.`
      caused by: Is a directory (os error 21)
    hint: name the file itself
    ");
}

#[test]
fn servers_of_earlier_runs() {
    let world = World::new();
    write_config(&world, "model: m, backend: sim, deployment: local");
    assert_snapshot!(run(&world, &["run", "bench.yaml", "--on", "nothing"]), @"
    exit 2
    error: no campaign under `results` has a deployment or run `nothing`
    hint: `gipfel list` and `gipfel status` name what there is; --on slurm:JOB uses a server of a cluster that `gipfel ps` shows
    ");
    assert_snapshot!(run(&world, &["run", "bench.yaml", "--on", "http://u:p@h"]), @"
    exit 2
    error: a URL with a user, a password or a query is refused, since it would be stored; give an API key with --api-key-env
    ");
}
