//! What of ours lives on the real Slurm: a server that is kept and used again, from this results directory and another
//! one, the way to it, and its end.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{firecrest, firecrest::Firecrest, scene::load_generator, site::Site, sshd, sshd::Sshd};
use crate::{
    e2e::world::{self, World, expect_exit, number, query, wait_for},
    shell,
};

/// A server and a load generator, with words in capitals for what differs.
const CONFIGURATION: &str = "version: 1
defaults:
  slos: [ttft p95 <= 10s]
  rate_levels: [20, 30]
  warmup_duration: 2s
  measurement_duration: 8s
  exact_windows: true
dataset: { input_length: 64, output_length: 16 }
experiments:
  - model: quickstart
    deployment: slurm
    backend: sim
    cluster: CLUSTER
    site: generic
    scratch_base: SCRATCH
    partition: normal
    server_time_limit: 00:10:00
    benchmarker: BENCHMARKER
    benchmarker_partition: debug
    benchmarker_time_limit: 00:10:00
    port: 0
    command: [GIPFEL, sim, --host, '{host}', --port, '{port}', --model, '{model}']
";

/// A way to the Slurm, and how gipfel is told of it.
struct Way {
    /// What the configuration says.
    cluster: &'static str,
    /// What options say.
    options: Vec<String>,
    /// The environment of gipfel.
    variables: Vec<(String, String)>,
}

/// Plays both ways.
pub(super) fn play(site: &Site) -> anyhow::Result<()> {
    world::build()?;
    let load_generator = load_generator()?;
    let commands = Way {
        cluster: "commands",
        options: words(&["--cluster", "commands"]),
        variables: vec![(
            "SLURM_CONF".to_owned(),
            site.configuration().display().to_string(),
        )],
    };
    Scene::new(site, commands, &load_generator)?.by_commands()?;
    site.expect_no_jobs()?;
    by_firecrest(site, &load_generator)?;
    over_ssh(site, &load_generator)
}

fn by_firecrest(site: &Site, load_generator: &Path) -> anyhow::Result<()> {
    let way = Way {
        cluster: "firecrest",
        options: words(&["--firecrest-system", firecrest::SYSTEM, "--profile", "generic"]),
        variables: Vec::new(),
    };
    let mut scene = Scene::new(site, way, load_generator)?;
    let firecrest = Firecrest::start(&scene.scratch, &site.configuration())?;
    scene.way.variables = firecrest.variables.clone().into_iter().collect();
    let system = ("FIRECREST_SYSTEM".to_owned(), firecrest::SYSTEM.to_owned());
    scene.way.variables.push(system);
    let played = scene.through_firecrest();
    firecrest.stop()?;
    played?;
    site.expect_no_jobs()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn over_ssh(site: &Site, load_generator: &Path) -> anyhow::Result<()> {
    let folder = World::new("slurm-lives-sshd")?.folder;
    let sshd = Sshd::start(&folder.join("sshd"), &site.configuration())?;
    let ssh = Way {
        cluster: "ssh",
        options: words(&["--ssh-host", sshd::HOST]),
        variables: vec![("PATH".to_owned(), path_with_ssh(&folder, &sshd)?)],
    };
    let played = Scene::new(site, ssh, load_generator)?.by_ssh();
    sshd.stop();
    played?;
    site.expect_no_jobs()
}

/// The search path with an ssh before all others that knows the host.
fn path_with_ssh(folder: &Path, sshd: &Sshd) -> anyhow::Result<String> {
    let real = shell::read(Command::new("sh").args(["-c", "command -v ssh"]))?;
    let programs = folder.join("programs");
    fs::create_dir_all(&programs)?;
    let program = programs.join("ssh");
    let configuration = sshd.client_configuration();
    let script = format!(
        "#!/bin/sh\nexec {} -F '{}' \"$@\"\n",
        real.trim(),
        configuration.display()
    );
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let programs = std::path::absolute(programs)?;
    Ok(format!("{}:{}", programs.display(), std::env::var("PATH")?))
}

/// One way, with a folder of its own.
struct Scene<'a> {
    world: World,
    site: &'a Site,
    way: Way,
    load_generator: &'a Path,
    scratch: PathBuf,
}

impl<'a> Scene<'a> {
    fn new(site: &'a Site, way: Way, load_generator: &'a Path) -> anyhow::Result<Self> {
        let world = World::new(&format!("slurm-lives-{}", way.cluster))?;
        let scratch = std::path::absolute(world.folder.join("scratch"))?;
        fs::create_dir_all(&scratch)?;
        let scene = Self {
            world,
            site,
            way,
            load_generator,
            scratch,
        };
        for benchmarker in ["slurm", "same-job", "local"] {
            scene.write(benchmarker)?;
        }
        Ok(scene)
    }

    fn write(&self, benchmarker: &str) -> anyhow::Result<()> {
        let cluster = match self.way.cluster {
            "ssh" => format!("ssh\n    ssh_host: {}", sshd::HOST),
            other => other.to_owned(),
        };
        let text = CONFIGURATION
            .replace("[20, 30]", "[30]")
            .replace("8s", "5s")
            .replace("CLUSTER", &cluster)
            .replace("SCRATCH", &self.scratch.display().to_string())
            .replace("BENCHMARKER", benchmarker)
            .replace("GIPFEL", &world::program().display().to_string());
        self.world.write(&format!("{benchmarker}.yaml"), &text)
    }

    fn by_commands(&self) -> anyhow::Result<()> {
        let job = self.keep("slurm.yaml")?;
        self.is_told(&job)?;
        let run = self.latest_run("results")?;
        self.run("slurm.yaml", &["--on", &run, "--rerun"])?;
        self.run("same-job.yaml", &["--on", &run, "--rerun"])?;
        // Another results directory knows nothing of it.
        let on = format!("slurm:{job}");
        self.run("local.yaml", &["--on", &on, "--results-dir", "elsewhere"])?;
        self.refuses_what_is_not_ours()?;
        let printed = self.succeed(&self.with_way(&["connect", &on, "--print"]))?;
        ensure!(printed.contains("which this machine reaches itself"), "{printed}");
        self.clean(&job)
    }

    fn through_firecrest(&self) -> anyhow::Result<()> {
        let job = self.keep("same-job.yaml")?;
        self.is_told(&job)?;
        let on = format!("slurm:{job}");
        self.run("slurm.yaml", &["--on", &on, "--results-dir", "elsewhere"])?;
        let named = self.with_way(&["connect", &on]);
        let said = self.exits(&named, 2)?;
        ensure!(said.contains("names no `login_host`"), "{said}");
        let printed = self.succeed(&[named, words(&["--via", "me@login", "--print"])].concat())?;
        ensure!(printed.contains(" me@login\n"), "{printed}");
        self.clean(&job)
    }

    fn by_ssh(&self) -> anyhow::Result<()> {
        let job = self.keep("local.yaml")?;
        self.went_through_a_tunnel()?;
        self.is_told(&job)?;
        let run = self.latest_run("results")?;
        let printed = self.succeed(&words(&["connect", &run, "--print"]))?;
        ensure!(printed.contains("ssh -N -L 127.0.0.1:"), "{printed}");
        self.tunnel(&run)?;
        self.clean(&job)
    }

    /// The options of the way, behind a command.
    fn with_way(&self, command: &[&str]) -> Vec<String> {
        let mut all = words(command);
        all.extend(self.way.options.clone());
        all.extend(["--scratch-base".to_owned(), self.scratch.display().to_string()]);
        all
    }

    fn gipfel(&self, arguments: &[String]) -> Command {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = self.world.gipfel(&arguments);
        command
            .envs(self.way.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    fn succeed(&self, arguments: &[String]) -> anyhow::Result<String> {
        self.exits(arguments, 0)
    }

    /// Runs gipfel and gives what it prints, on both outputs.
    fn exits(&self, arguments: &[String], code: i32) -> anyhow::Result<String> {
        let mut command = self.gipfel(arguments);
        shell::say(&format!("$ {}", shell::describe(&command)));
        let output = shell::capture(&mut command)?;
        expect_exit(&output, code)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        shell::say(&text);
        Ok(text + &String::from_utf8_lossy(&output.stderr))
    }

    fn run(&self, configuration: &str, more: &[&str]) -> anyhow::Result<()> {
        let mut arguments = words(&[
            "run",
            configuration,
            "--no-live",
            "--poll-interval",
            "2",
            "--loadgen",
        ]);
        arguments.push(self.load_generator.display().to_string());
        arguments.extend(words(more));
        self.succeed(&arguments).map(|_| ())
    }

    /// Starts a server that is kept, and gives its job.
    fn keep(&self, configuration: &str) -> anyhow::Result<String> {
        self.run(configuration, &["--keep-server"])?;
        let jobs = self.site.jobs()?;
        let jobs: Vec<&str> = jobs.lines().collect();
        ensure!(jobs.len() == 1, "one job is kept: {jobs:?}");
        let job = jobs[0].split_whitespace().next().context("a job has a number")?;
        Ok(job.to_owned())
    }

    /// `ps` tells of the server, to who knows its campaign and to who does not.
    fn is_told(&self, job: &str) -> anyhow::Result<()> {
        self.succeed(&words(&["ps"]))?;
        let known = self.living(&words(&["ps", "--json"]))?;
        let elsewhere = self.living(&self.with_way(&["ps", "--json", "--results-dir", "elsewhere"]))?;
        for (jobs, is_known) in [(known, true), (elsewhere, false)] {
            ensure!(jobs.len() == 1, "one job of ours lives: {jobs:?}");
            let told = &jobs[0];
            let endpoint = told["endpoint"].as_str().unwrap_or_default();
            ensure!(
                told["job"] == job
                    && told["kind"] == "server"
                    && told["kept"] == true
                    && told["state"] == "runs"
                    && told["is_known_here"] == is_known
                    && endpoint.starts_with("http://"),
                "{told}"
            );
        }
        Ok(())
    }

    fn living(&self, arguments: &[String]) -> anyhow::Result<Vec<Value>> {
        let output = shell::capture(&mut self.gipfel(arguments))?;
        expect_exit(&output, 0)?;
        let told: Value = serde_json::from_slice(&output.stdout)?;
        let jobs = told["clusters"][0]["jobs"].as_array();
        jobs.cloned().with_context(|| format!("no jobs in {told}"))
    }

    fn latest_run(&self, results: &str) -> anyhow::Result<String> {
        let database = self.world.folder.join(results).join("results.db");
        let rows = query(&database, "SELECT run_id FROM run ORDER BY run_id DESC LIMIT 1")?;
        let run = rows.first().and_then(|row| row["run_id"].as_str());
        Ok(run.context("there is a run")?.to_owned())
    }

    fn refuses_what_is_not_ours(&self) -> anyhow::Result<()> {
        let mut submit = self.site.command("sbatch");
        submit.args([
            "--parsable",
            "--job-name=of-another",
            "--output=/dev/null",
            "--wrap=sleep 60",
        ]);
        let job = shell::read(&mut submit)?.trim().to_owned();
        let on = format!("slurm:{job}");
        let said = self.exits(&words(&["run", "slurm.yaml", "--on", &on, "--rerun"]), 2)?;
        ensure!(
            said.contains("write `deployment: external` with its URL"),
            "{said}"
        );
        shell::run(self.site.command("scancel").arg(&job))
    }

    /// The load generator sent to another port of this machine than the server listens on.
    fn went_through_a_tunnel(&self) -> anyhow::Result<()> {
        let found = self.world.find("run_config", ".json")?;
        let configuration: Value = serde_json::from_slice(&fs::read(found.first().context("a run")?)?)?;
        let sent = configuration["endpoint"]["url"].as_str().unwrap_or_default();
        let deployment = configuration["deployment_id"].as_str().unwrap_or_default();
        let endpoint = fs::read_to_string(self.scratch.join(deployment).join("endpoint.txt"))?;
        ensure!(
            sent.starts_with("http://127.0.0.1:") && sent != endpoint.trim(),
            "the load went to {sent}, and the server is at {endpoint}"
        );
        Ok(())
    }

    /// Opens a tunnel, asks the server through it, and closes it as a terminal would.
    fn tunnel(&self, name: &str) -> anyhow::Result<()> {
        let mut child = Tunnel(
            self.gipfel(&words(&["connect", name]))
                .stdout(Stdio::piped())
                .spawn()?,
        );
        let stdout = child.0.stdout.take().context("it prints")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut next = || {
            lines
                .next()
                .context("it has ended")?
                .context("its output breaks off")
        };
        let line = next()?;
        shell::say(&line);
        let url = line
            .split_whitespace()
            .next()
            .and_then(|url| url.strip_prefix("http://"));
        // An ssh that is gone is replaced.
        let mut find = Command::new("pgrep");
        find.args(["-P", &child.0.id().to_string(), "-f", "--", "-L 127.0.0.1:"]);
        let ssh = shell::read(&mut find)?;
        shell::run(Command::new("kill").arg(ssh.trim()))?;
        for expected in ["the tunnel has broken", "leads to the server again"] {
            let line = next()?;
            shell::say(&line);
            ensure!(line.contains(expected), "`{line}` lacks `{expected}`");
        }
        let mut stream = TcpStream::connect(url.context("it prints a URL")?)?;
        stream.write_all(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(
            answer.contains("200 OK") && answer.contains("quickstart"),
            "{answer}"
        );
        shell::run(Command::new("kill").args(["-INT", &child.0.id().to_string()]))?;
        let status = wait_for("the tunnel closes", Duration::from_secs(10), || {
            child.0.try_wait().ok().flatten()
        })?;
        ensure!(status.success(), "it ended with {status}");
        let address = url.context("it prints a URL")?;
        wait_for("the port is closed", Duration::from_secs(10), || {
            TcpStream::connect(address).err()
        })?;
        Ok(())
    }

    fn clean(&self, job: &str) -> anyhow::Result<()> {
        // A server that was kept is ended only when it is meant.
        let said = self.succeed(&words(&["clean", "--yes"]))?;
        ensure!(said.contains("is left: kept server"), "{said}");
        let said = self.exits(&words(&["clean", "--all"]), 2)?;
        ensure!(said.contains("there is no terminal to ask on"), "{said}");
        ensure!(self.site.jobs()?.starts_with(job), "it lives still");
        // From another laptop, whose results know nothing of it.
        let all = [
            "clean",
            "--all",
            "--yes",
            "--files",
            "--older-than",
            "0s",
            "--results-dir",
            "elsewhere",
        ];
        self.succeed(&self.with_way(&all))?;
        ensure!(self.site.jobs()?.trim().is_empty(), "{}", self.site.jobs()?);
        let left: Vec<PathBuf> = files(&self.scratch)?;
        ensure!(left.is_empty(), "files are left: {left:?}");
        let said = self.succeed(&words(&["ps"]))?;
        ensure!(said.contains("nothing of ours lives"), "{said}");
        let measured = number(
            &self.world.results().join("results.db"),
            "SELECT count(*) FROM run",
        )?;
        ensure!(measured >= 1, "the results are here");
        Ok(())
    }
}

/// The files below a folder.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// A gipfel that holds a tunnel; it is ended when a step fails.
struct Tunnel(Child);

impl Drop for Tunnel {
    fn drop(&mut self) {
        // It has ended by itself, unless a step failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
