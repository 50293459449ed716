//! The two programs against each other.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use gipfel_loadgen_bench::{
    probe::{Figures, Window},
    tables::{ClientTable, ServerTable},
};

/// A running server, which ends when its input is closed.
struct Server {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Server {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-server.csv"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_reference-server"))
            .args(arguments)
            .arg("--log")
            .arg(&log)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server");
        let mut address = String::new();
        let out = child.stdout.take().expect("an output");
        BufReader::new(out).read_line(&mut address).expect("an address");
        Self {
            child,
            address: address.trim().to_owned(),
            log,
        }
    }

    fn end(mut self) -> ServerTable {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("an end").success());
        ServerTable::read(&fs::read_to_string(self.log).expect("a table")).expect("a table")
    }
}

fn run_client(name: &str, server: &Server, connections: &str) -> ClientTable {
    let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-client.csv"));
    let (_, port) = server.address.rsplit_once(':').expect("a port");
    let status = Command::new(env!("CARGO_BIN_EXE_bare-client"))
        .args([
            "--port",
            port,
            "--rate",
            "200",
            "--warmup",
            "0.1",
            "--measured",
            "0.5",
        ])
        .args(["--connections", connections])
        .arg("--log")
        .arg(&log)
        .status();
    assert!(status.expect("the client").success());
    ClientTable::read(&fs::read_to_string(log).expect("a table")).expect("a table")
}

#[test]
fn the_client_sees_what_the_server_wrote() {
    let check = |name: &str, arguments: &[&str], gap_ns: u64| {
        let server = Server::start(name, arguments);
        let client = run_client(name, &server, "300");
        let table = server.end();
        let rows = client.rows.len();
        assert!(rows > 50, "{name}: {rows} requests");
        assert_eq!((table.rows.len(), table.connections), (rows, 300));
        let window = Window {
            span_ns: client.window_ns,
            offered: rows as u64,
            rows: client.rows,
        };
        assert_eq!(Figures::new(&window, &table, 200.0).joined, rows, "{name}");
        for row in &table.rows {
            let first_ns = row.first_token_ns.expect("a first token");
            let last_ns = row.last_token_ns.expect("a last token");
            assert!(first_ns >= row.read_ns + 20_000_000, "{name}: too early");
            assert!(
                last_ns >= row.read_ns + 20_000_000 + 3 * gap_ns,
                "{name}: too early"
            );
        }
        for row in &window.rows {
            assert!(
                row.sent_ns >= Some(row.scheduled_ns),
                "{name}: sent before its time"
            );
        }
    };
    let at_once = ["--tokens", "4", "--first-token-ms", "20"];
    check("at-once", &at_once, 0);
    let apart = ["--tokens", "4", "--first-token-ms", "20", "--gap-ms", "5"];
    check("apart", &apart, 5_000_000);
}

#[test]
fn no_connection_is_dialled_for_a_late_request() {
    let server = Server::start("few", &["--first-token-ms", "20"]);
    let client = run_client("few", &server, "2");
    let table = server.end();
    assert_eq!((table.connections, table.most_streams), (2, 2));
    assert_eq!(table.rows.len(), client.rows.len());
}

#[test]
fn other_paths_are_answered_as_a_load_generator_expects() {
    let server = Server::start("paths", &[]);
    let check = |path: &str, expected: &str| {
        let mut stream = TcpStream::connect(&server.address).expect("a connection");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").expect("a request");
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("the end of the requests");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.contains(expected), "{path}: {answer}");
    };
    check("/health", "HTTP/1.1 200 OK");
    check("/v1/models", "\"id\":\"reference\"");
    check("/metrics", "vllm:num_requests_running 0\n");
    check("/version", "HTTP/1.1 404 Not Found");
    check("/log", "written");
    assert!(fs::metadata(&server.log).is_ok());
    server.end();
}
