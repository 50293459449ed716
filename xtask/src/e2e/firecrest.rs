//! FirecREST's client and simulator: the official client, random failures, large files, the doctor, and no secret in
//! anything that any of them prints.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::world::{World, expect_exit, wait_for};
use crate::shell;

const OFFICIAL_CLIENT: &str = "pyfirecrest==3.10.0";
const CRATES: [&str; 2] = ["firecrest-client", "firecrest-sim"];
/// A system of the simulator's demonstration, and an account of its user.
const SYSTEM: &str = "alps";
const ACCOUNT: &str = "a-demo";
/// How a secret of these programs and tests begins: client secrets, signed and opaque tokens.
const SECRETS: [&str; 5] = [
    "swordfish",
    "demo-secret",
    "the-secret-of-the-schedules",
    "opaque-access-token",
    "eyJ",
];
/// What stands in front of the signature of a presigned URL.
const SIGNATURES: [&str; 3] = ["X-Amz-Signature=", "Signature%3D", "&Signature="];

/// Plays all of it, with this many random schedules of failures.
pub(crate) fn play(schedules: u32) -> anyhow::Result<()> {
    let mut build = shell::cargo(&[
        "build",
        "--release",
        "--package",
        "firecrest-sim",
        "--bins",
        "--examples",
    ]);
    shell::run(&mut build)?;
    let mut said = Said::default();
    let world = World::new("firecrest")?;
    let site = Site::start(&world)?;
    official_client(&site)?;
    doctor(&world, &site, &mut said)?;
    site.stop()?;
    let count = schedules.to_string();
    said.of(Command::new(example("large_files")))?;
    let mut random = Command::new(example("schedules"));
    random.args(["--count", &count]);
    said.of(random)?;
    // A client that submits blindly is the fault that the schedules are for.
    let mut blind = Command::new(example("schedules"));
    blind.args(["--count", "200", "--mutate", "blind-submit"]);
    said.of(blind)?;
    said.test_suites()?;
    said.expect_no_secret()
}

fn release(name: &str) -> PathBuf {
    shell::target().join("release").join(name)
}

fn example(name: &str) -> PathBuf {
    release("examples").join(name)
}

/// A running `firecrest-sim` and what it says of itself.
struct Site {
    child: Child,
    variables: BTreeMap<String, String>,
}

impl Site {
    fn start(world: &World) -> anyhow::Result<Self> {
        let mut command = Command::new(release("firecrest-sim"));
        command.args(["serve", "--transfer-poll", "1s", "--system", SYSTEM, "--root"]);
        let mut child = command
            .arg(world.folder.join("site"))
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("the simulator has no output")?;
        let mut variables = BTreeMap::new();
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            let (name, value) = line.split_once('=').context("the simulator prints no variable")?;
            variables.insert(name.to_owned(), value.to_owned());
            if name == "FIRECREST_SYSTEM" {
                break;
            }
        }
        Ok(Self { child, variables })
    }

    fn variable(&self, name: &str) -> anyhow::Result<&str> {
        let value = self.variables.get(name).map(String::as_str);
        value.with_context(|| format!("the simulator does not say {name}"))
    }

    /// Ends it as a terminal would; it takes its jobs with it.
    fn stop(mut self) -> anyhow::Result<()> {
        shell::run(Command::new("kill").arg(self.child.id().to_string()))?;
        wait_for("the simulator leaves", Duration::from_secs(20), || {
            self.child.try_wait().ok().flatten()
        })?;
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // It has ended by itself, unless a step failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The official Python client, its classes and its command line.
fn official_client(site: &Site) -> anyhow::Result<()> {
    let environment = shell::target().join("e2e-downloads/pyfirecrest");
    let python = environment.join("bin/python");
    let complete = environment.join("complete");
    if !complete.exists() {
        shell::run(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&environment),
        )?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        shell::run(pip.arg(OFFICIAL_CLIENT))?;
        fs::write(complete, "")?;
    }
    let mut command = Command::new(python);
    command.arg(shell::root().join("crates/firecrest-sim/tests/pyfirecrest.py"));
    for name in [
        "FIRECREST_URL",
        "AUTH_TOKEN_URL",
        "FIRECREST_CLIENT_ID",
        "FIRECREST_CLIENT_SECRET",
    ] {
        command.arg(site.variable(name)?);
    }
    shell::say(&format!("{OFFICIAL_CLIENT} against the simulator"));
    shell::say(
        shell::read(&mut command)
            .context("the official client finds a difference")?
            .trim_end(),
    );
    Ok(())
}

/// `gipfel doctor slurm`, well and with each fault that a user can make.
fn doctor(world: &World, site: &Site, said: &mut Said) -> anyhow::Result<()> {
    let write = |file: &str, changed: &str, value: &str| -> anyhow::Result<()> {
        let mut text = String::new();
        for (name, own) in &site.variables {
            let value = if name == changed { value } else { own };
            text.push_str(&[name, "=", value, "\n"].concat());
        }
        world.write(file, &text)
    };
    write(".env", "", "")?;
    write("secret.env", "FIRECREST_CLIENT_SECRET", "demo-secret-of-another")?;
    write("url.env", "FIRECREST_URL", "http://127.0.0.1:1")?;
    let mut check = |arguments: &[&str], exit: i32, expected: &str| -> anyhow::Result<()> {
        let mut command = world.gipfel(&["doctor", "slurm"]);
        let output = said.output(command.args(arguments))?;
        expect_exit(&output, exit)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            text.contains(expected),
            "{arguments:?}: `{expected}` is not in\n{text}"
        );
        Ok(())
    };
    check(&[SYSTEM, "--account", ACCOUNT], 0, "ok     limits")?;
    check(&[SYSTEM, "--account", "nosuch"], 14, "there are a-demo")?;
    check(&["nosuch"], 14, "it has alps")?;
    check(&[SYSTEM, "--env-file", "secret.env"], 14, "fault  credentials")?;
    check(&[SYSTEM, "--env-file", "url.env"], 14, "fault  reach")
}

/// All that was printed.
#[derive(Default)]
struct Said {
    texts: Vec<(String, String)>,
}

impl Said {
    /// Runs a program, shows what it prints and fails if it does.
    fn of(&mut self, mut command: Command) -> anyhow::Result<()> {
        let output = self.output(&mut command)?;
        shell::say(String::from_utf8_lossy(&output.stdout).trim_end());
        expect_exit(&output, 0)
    }

    fn output(&mut self, command: &mut Command) -> anyhow::Result<Output> {
        shell::say(&format!("$ {}", shell::describe(command)));
        let output = shell::capture(command)?;
        let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        self.texts.push((shell::describe(command), text));
        Ok(output)
    }

    /// Both crates' tests once more, with all that they print and log, and panics with their traces.
    fn test_suites(&mut self) -> anyhow::Result<()> {
        for (name, program) in test_programs()? {
            let mut command = Command::new(program);
            command
                .arg("--nocapture")
                .current_dir(shell::root().join("crates").join(name))
                .env("RUST_LOG", "trace")
                .env("RUST_BACKTRACE", "full");
            let output = self.output(&mut command)?;
            expect_exit(&output, 0)?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            shell::say(
                text.lines()
                    .rfind(|line| line.starts_with("test result"))
                    .unwrap_or_default(),
            );
        }
        Ok(())
    }

    fn expect_no_secret(&self) -> anyhow::Result<()> {
        let mut bytes = 0;
        for (command, text) in &self.texts {
            for line in text.lines() {
                // The line itself would show it.
                ensure!(
                    !shows_secret(line),
                    "a secret is in what `{command}` prints: {} bytes",
                    line.len()
                );
            }
            bytes += text.len();
        }
        shell::say(&format!(
            "no secret in {bytes} bytes of {} programs",
            self.texts.len()
        ));
        Ok(())
    }
}

fn shows_secret(line: &str) -> bool {
    let signed = |name: &&str| {
        line.match_indices(*name)
            .any(|(at, _)| line[at + name.len()..].starts_with(|next: char| next.is_ascii_alphanumeric()))
    };
    SECRETS.iter().any(|secret| line.contains(secret)) || SIGNATURES.iter().any(signed)
}

/// The programs of both crates' tests, built as `cargo test --workspace` builds them.
fn test_programs() -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    let mut build = shell::cargo(&["test", "--workspace", "--no-run", "--message-format=json"]);
    let text = shell::read(build.stderr(Stdio::inherit()))?;
    let mut found = Vec::new();
    for line in text.lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        if message["profile"]["test"] != Value::Bool(true) {
            continue;
        }
        let manifest = Path::new(message["manifest_path"].as_str().unwrap_or_default());
        let of = CRATES
            .iter()
            .find(|name| manifest.ends_with(format!("{name}/Cargo.toml")));
        if let (Some(name), Some(program)) = (of, message["executable"].as_str()) {
            found.push((*name, PathBuf::from(program)));
        }
    }
    ensure!(found.len() >= 6, "only {} test programs were found", found.len());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_seen() {
        let check = |line: &str, expected| assert_eq!(shows_secret(line), expected, "{line}");
        check("GET /status/systems 200", false);
        check("client_secret=swordfish-client-secret", true);
        check("Bearer eyJhbGciOiJIUzI1NiJ9.e30.x", true);
        check("http://h/b?X-Amz-Signature=0a1b", true);
        check("http://h/b?X-Amz-Signature=****", false);
    }
}
