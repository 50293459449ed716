//! Scripts that bash carries out, with stand-ins for Slurm's commands, the engine and the load generator.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use gipfel_model::BackendKind;
use gipfel_slurm_backend::RenderedJob;
use serde_json::json;
use tempfile::TempDir;

use crate::cases::{self, Server};

/// Carries out the command as often as there are tasks, each with its number; notes what it was asked for.
const SRUN: &str = r#"#!/bin/bash
echo "$*" >> "$FAKE/srun.log"
tasks=1 output=/dev/stdout
while [[ $1 == --* ]]; do
  case $1 in --ntasks=*) tasks=${1#*=} ;; --output=*) output=${1#*=} ;; esac
  shift
done
if [ "$tasks" = 1 ]; then SLURM_PROCID=0 exec "$@" >> "$output" 2>&1; fi
trap 'kill $(jobs -p); wait; exit 143' TERM
for ((task = 0; task < tasks; task++)); do SLURM_PROCID=$task "$@" >> "$output" 2>&1 & done
wait
"#;

/// Names and addresses of nodes that no other system knows.
const SCONTROL: &str = r#"#!/bin/bash
case $1$2 in
  showhostnames) tr ' ' '\n' <<< "$3" ;;
  shownode) echo "NodeName=$3 Arch=x NodeAddr=127.0.0.1 Version=1" ;;
esac
"#;

/// Says what it was given and lives until it is told to end.
const ENGINE: &str = r#"#!/bin/bash
echo "$$" > "$FAKE/engine-$1.pid"
echo "${HF_TOKEN:-none} $*" > "$FAKE/engine-$1.was-given"
while :; do sleep 0.1; done
"#;

/// Says what it was given, and waits for a file or the signal to end.
const LOAD_GENERATOR: &str = r#"#!/bin/bash
echo "$*" > "$FAKE/load-${SLURM_PROCID:-queued}.was-given"
trap 'echo published > "$FAKE/load.stopped"; exit 7' TERM
until [ -e "$FAKE/go" ]; do sleep 0.1; done
"#;

/// A cluster of one directory, with a server that answers.
struct World {
    directory: TempDir,
    port: u16,
}

impl World {
    fn new() -> Self {
        let world = Self {
            directory: tempfile::Builder::new()
                .prefix("gipfel-render-")
                .tempdir()
                .expect("a directory"),
            port: answering(),
        };
        for (name, script) in [
            ("srun", SRUN),
            ("scontrol", SCONTROL),
            ("engine", ENGINE),
            ("gipfel-loadgen", LOAD_GENERATOR),
        ] {
            let path = world.path(&format!("bin/{name}"));
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(&path, script).expect("a script");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("permissions");
        }
        fs::write(world.path(".hf_token"), "hf_secret\n").expect("a token");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A server on so many nodes, which answers on the world's port.
    fn server(&self, nodes: u32) -> Server {
        let mut server = Server::new("8b", BackendKind::Vllm, json!({ "tensor_parallel_size": nodes }));
        server.site = cases::site("generic");
        server.slurm.gpus_per_node = 1;
        server.slurm.image = None;
        server.slurm.port = self.port;
        server.slurm.command = Some(vec![
            self.text("bin/engine"),
            "{rank}".to_owned(),
            "{port}".to_owned(),
        ]);
        server.directory = self.text("d-1");
        server
    }

    /// Starts a job as Slurm would, in its directory.
    fn start(&self, job: &RenderedJob, directory: &str, id: u32) -> Running {
        fs::create_dir_all(self.path(directory).join("queue")).expect("a directory");
        for file in &job.files {
            fs::write(self.path(directory).join(&file.name), &file.content).expect("a file");
        }
        let script = self.path(directory).join("script");
        fs::write(&script, &job.script).expect("a script");
        let nodes: Vec<String> = (0..job.nodes).map(|node| format!("nid00{node}")).collect();
        let path = format!("{}:{}", self.text("bin"), std::env::var("PATH").expect("a path"));
        let log = fs::File::create(self.path(&format!("{id}.log"))).expect("a log");
        let child = Command::new("bash")
            .arg(&script)
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.directory.path())
            .env("FAKE", self.directory.path())
            .env("SLURM_JOB_ID", id.to_string())
            .env("SLURM_JOB_NODELIST", nodes.join(" "))
            .env("OAUTH_CLIENT_SECRET", "hunter2")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("bash");
        Running { child }
    }

    /// Waits until a file is there and holds this, and gives what it holds.
    fn wait_for(&self, name: &str, holds: &str) -> String {
        let mut found = String::new();
        let came = within(Duration::from_mins(1), || {
            found = fs::read_to_string(self.path(name)).unwrap_or_default();
            !found.is_empty() && found.contains(holds)
        });
        assert!(came, "{name} holds `{found}`, not `{holds}`\n{}", self.logs());
        found
    }

    fn logs(&self) -> String {
        let entries = fs::read_dir(self.directory.path())
            .expect("the directory")
            .flatten();
        let logs = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "log"));
        logs.map(|log| fs::read_to_string(log.path()).unwrap_or_default())
            .collect()
    }
}

/// A job's script; what is left of it goes with it.
struct Running {
    child: Child,
}

impl Running {
    fn code(&mut self) -> Option<i32> {
        let mut status = None;
        within(Duration::from_mins(1), || {
            status = self.child.try_wait().expect("a status");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    fn tell_to_end(&self) {
        signal("-TERM", &self.child.id().to_string());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        signal("-KILL", &format!("-{}", self.child.id()));
        // It is no child any more once its end was seen.
        let _ = self.child.wait();
    }
}

fn signal(which: &str, process: &str) {
    let mut kill = Command::new("kill");
    let _ = kill.args([which, "--", process]).stderr(Stdio::null()).status();
}

fn is_alive(process: &str) -> bool {
    Path::new("/proc").join(process.trim()).exists()
}

/// Tries until it holds, at most so long.
#[expect(
    clippy::disallowed_methods,
    reason = "files of another process are looked at again after a pause"
)]
fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if begun.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A server that is healthy and lists a model; it ends with the test's process.
fn answering() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut part = [0; 1024];
            // What is left unread would cut the answer off.
            while !request.ends_with(b"\r\n\r\n") {
                match connection.read(&mut part) {
                    Ok(length) if length > 0 => request.extend_from_slice(&part[..length]),
                    _ => break,
                }
            }
            let is_list = request.starts_with(b"GET /v1/models ");
            let body = if is_list {
                "{\"data\":[{\"id\":\"m\"}]}"
            } else {
                ""
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            // One that hangs up in the middle asks again.
            let _ = connection.write_all(format!("{head}{body}").as_bytes());
        }
    });
    port
}

#[test]
fn a_server_says_what_becomes_of_it() {
    let world = World::new();
    let job = world.server(1).rendered();
    let mut running = world.start(&job, "d-1", 77);
    let endpoint = world.wait_for("d-1/endpoint.txt", "\n");
    assert_eq!(endpoint, format!("http://127.0.0.1:{}\n", world.port));
    assert_eq!(
        fs::read_to_string(world.path("d-1/jobid")).expect("a mark"),
        "77\n"
    );
    let heartbeat = world.wait_for("d-1/heartbeat", "ready");
    let (seconds, _) = heartbeat.split_once(' ').expect("two words");
    assert!(
        seconds
            .parse::<u64>()
            .is_ok_and(|seconds| seconds > 1_700_000_000),
        "{heartbeat}"
    );
    assert!(!world.path("d-1/ended.txt").exists());

    // The token was given to the engine, and is in no command line and in no file of the job.
    let given = world.wait_for("engine-0.was-given", "\n");
    assert!(
        given.starts_with(&format!("hf_secret 0 {} ", world.port)),
        "{given}"
    );
    for file in fs::read_dir(world.path("d-1")).expect("the directory").flatten() {
        let text = fs::read_to_string(file.path()).unwrap_or_default();
        assert!(
            !text.contains("hf_secret") && !text.contains("hunter2"),
            "{}",
            file.path().display()
        );
        assert_eq!(
            file.metadata().expect("a file").permissions().mode() & 0o077 & mode_of_job(&file.path()),
            0
        );
    }
    let steps = fs::read_to_string(world.path("srun.log")).expect("a log");
    assert!(!steps.contains("hf_secret"), "{steps}");
    assert!(
        steps.contains("--ntasks=1 --ntasks-per-node=1 --nodelist=nid000"),
        "{steps}"
    );

    // The same submission a second time leaves the first one alone.
    let mut second = world.start(&job, "d-1", 78);
    assert_eq!(second.code(), Some(0));
    assert!(!world.path("d-1/ended.txt").exists());

    let engine = fs::read_to_string(world.path("engine-0.pid")).expect("a process");
    signal("-KILL", engine.trim());
    assert_eq!(world.wait_for("d-1/ended.txt", "\n"), "137 rank 0 on nid000\n");
    assert_eq!(running.code(), Some(137));
}

/// What the job itself has written is private; the test's own files are not.
fn mode_of_job(path: &Path) -> u32 {
    let own = ["script", "rank.sh", "queue"];
    let is_own = path
        .file_name()
        .is_some_and(|name| own.iter().any(|own| name == *own));
    if is_own { 0 } else { 0o777 }
}

#[test]
fn a_dead_rank_ends_the_job() {
    let world = World::new();
    let mut running = world.start(&world.server(2).rendered(), "d-1", 77);
    world.wait_for("d-1/endpoint.txt", "http");
    let processes = ["engine-0.pid", "engine-1.pid"].map(|name| world.wait_for(name, "\n"));
    signal("-TERM", processes[1].trim());
    assert_eq!(world.wait_for("d-1/ended.txt", "\n"), "143 rank 1 on nid001\n");
    assert_eq!(running.code(), Some(143));
    assert!(
        within(Duration::from_secs(20), || !is_alive(&processes[0])),
        "the first rank is left"
    );
}

#[test]
fn a_server_that_never_answers_ends() {
    let world = World::new();
    let mut server = world.server(1);
    // Nobody listens there: the port was free a moment ago.
    server.slurm.port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    server.ready_timeout = Duration::from_secs(1);
    let mut running = world.start(&server.rendered(), "d-1", 77);
    assert_eq!(
        world.wait_for("d-1/ended.txt", "\n"),
        "1 the wait for the server\n"
    );
    assert_eq!(running.code(), Some(1));
    assert!(!world.path("d-1/endpoint.txt").exists());
    assert!(
        world.logs().contains("the server did not answer within 1 s"),
        "{}",
        world.logs()
    );
}

#[test]
fn a_job_that_is_told_to_end_says_so() {
    let world = World::new();
    let mut running = world.start(&world.server(1).rendered(), "d-1", 77);
    world.wait_for("d-1/endpoint.txt", "http");
    running.tell_to_end();
    assert_eq!(world.wait_for("d-1/ended.txt", "\n"), "143 a signal\n");
    assert_eq!(running.code(), Some(143));
}

#[test]
fn a_run_in_the_queue_is_carried_out_once() {
    let world = World::new();
    let base = world.directory.path().display().to_string();
    let run = cases::queued(&base, &world.text("d-1"), &world.text("bin/gipfel-loadgen"));
    let _running = world.start(&world.server(1).rendered(), "d-1", 77);
    world.wait_for("d-1/endpoint.txt", "http");
    fs::create_dir(world.path("r-1")).expect("a directory");
    // What is not yet whole is left alone.
    let (part, _) = run.content.split_at(run.content.len() / 2);
    fs::write(world.path("d-1/queue/r-0"), part).expect("a file");
    fs::write(world.path("d-1/queue/r-1"), &run.content).expect("a file");
    let given = world.wait_for("load-0.was-given", "\n");
    assert!(
        given.contains(&format!(
            "--endpoint-file {base}/d-1/endpoint.txt --endpoint-timeout 900s"
        )),
        "{given}"
    );
    assert!(given.contains("--rank 0 --of 1"), "{given}");
    assert_eq!(
        fs::read_to_string(world.path("r-1/jobid")).expect("a mark"),
        "77\n"
    );
    fs::write(world.path("go"), "").expect("a file");
    assert_eq!(world.wait_for("r-1/ended.txt", "\n"), "0 the load generator\n");
    assert!(world.path("d-1/taken/r-1").exists() && !world.path("d-1/queue/r-1").exists());
    assert!(world.path("d-1/queue/r-0").exists());
    assert!(!world.path("d-1/ended.txt").exists(), "the server lives on");
}

#[test]
fn load_generators_end_with_their_job() {
    let program = |world: &World| world.text("bin/gipfel-loadgen");
    let start = |world: &World| {
        let base = world.directory.path().display().to_string();
        let job = cases::load_in((&base, &world.text("local")), &program(world), 1, 2, true);
        world.start(&job, "r-1", 80)
    };
    let world = World::new();
    let mut running = start(&world);
    for rank in [0, 1] {
        let given = world.wait_for(&format!("load-{rank}.was-given"), "\n");
        assert!(given.contains(&format!("--rank {rank} --of 2")), "{given}");
        assert!(
            given.contains(&format!("--work {}/gipfel-r-1-80/{rank} ", world.text("local"))),
            "{given}"
        );
    }
    fs::write(world.path("go"), "").expect("a file");
    assert_eq!(world.wait_for("r-1/ended.txt", "\n"), "0 the load generator\n");
    assert_eq!(running.code(), Some(0));
    assert!(within(Duration::from_secs(20), || !world
        .path("local/gipfel-r-1-80")
        .exists()));

    let world = World::new();
    let running = start(&world);
    world.wait_for("load-1.was-given", "\n");
    running.tell_to_end();
    world.wait_for("load.stopped", "published");
    assert_eq!(world.wait_for("r-1/ended.txt", "\n"), "143 a signal\n");
}
