//! A shell of this machine.

use std::{io, process::Stdio};

use gipfel_backend::BoxFuture;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
};

use super::{
    frame::{self, Framed},
    transport::{Input, Shell, ShellCommand, ShellError, ShellOutput},
};

/// `sh` on this machine, with no more of the environment than a login has.
///
/// `sbatch` hands its environment on to the job and to the controller's files, and what this process was given may hold
/// secrets.
#[derive(Debug, Default)]
pub struct LocalShell {
    _private: (),
}

/// The variables that a line may see, by name.
const SEEN: &[&str] = &[
    "HOME",
    "LANG",
    "LOGNAME",
    "PATH",
    "SCRATCH",
    "SHELL",
    "SLURM_CONF",
    "TMPDIR",
    "USER",
];

/// The variables that a line may see, by how their names begin: the user's own defaults for submissions.
const SEEN_BEGINNINGS: &[&str] = &["LC_", "SBATCH_"];

impl LocalShell {
    /// The shell of this machine.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Shell for LocalShell {
    fn run<'a>(&'a self, command: &'a ShellCommand) -> BoxFuture<'a, Result<ShellOutput, ShellError>> {
        Box::pin(async move {
            let mut program = Command::new("sh");
            program.arg("-c").arg(frame::framed(&command.line)).env_clear();
            for (name, value) in std::env::vars_os().filter(|(name, _)| is_seen(&name.to_string_lossy())) {
                program.env(name, value);
            }
            let ended = run(program, "sh", command).await?;
            match frame::read(&ended.stdout) {
                Framed::Whole(code, stdout) => Ok(ShellOutput {
                    code,
                    stdout,
                    stderr: ended.stderr,
                }),
                Framed::Begun | Framed::Nothing => Err(ShellError::NoAnswer(ended.reason())),
            }
        })
    }
}

fn is_seen(name: &str) -> bool {
    SEEN.contains(&name) || SEEN_BEGINNINGS.iter().any(|begin| name.starts_with(begin))
}

/// What a program left behind that runs lines.
pub(super) struct Ended {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
    /// Its exit code, or why there is none.
    pub(super) status: Result<Option<i32>, &'static str>,
}

impl Ended {
    /// Why a line has no whole answer.
    pub(super) fn reason(&self) -> String {
        let text = self.stderr.trim();
        match self.status {
            Err(reason) => reason.to_owned(),
            Ok(_) if !text.is_empty() => text.chars().take(300).collect(),
            Ok(Some(code)) => format!("the shell exited with {code}"),
            Ok(None) => "a signal ended the shell".to_owned(),
        }
    }
}

/// Runs a program with the input, in a process group of its own, which ends when the time is up.
///
/// What a terminal sends to its foreground group, such as an interrupt, does not reach it.
pub(super) async fn run(
    mut program: Command,
    name: &str,
    command: &ShellCommand,
) -> Result<Ended, ShellError> {
    let input = open(&command.input).await?;
    program
        .stdin(match input {
            Opened::Nothing => Stdio::null(),
            Opened::Bytes(_) | Opened::File(_) => Stdio::piped(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let failed = |source: io::Error| ShellError::NoProgram {
        program: name.to_owned(),
        source,
    };
    let mut child = program.spawn().map_err(failed)?;
    let group = child.id();
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let all = async {
        tokio::join!(
            feed(stdin, input),
            drain(stdout, &mut out),
            drain(stderr, &mut err)
        );
    };
    let in_time = tokio::time::timeout(command.time, all).await.is_ok();
    let status = if in_time {
        child
            .wait()
            .await
            .map(|status| status.code())
            .map_err(|_| "its exit is not known")
    } else {
        end(&mut child, group).await;
        Err("its time was up")
    };
    Ok(Ended {
        stdout: out,
        stderr: String::from_utf8_lossy(&err).into_owned(),
        status,
    })
}

enum Opened<'a> {
    Nothing,
    Bytes(&'a [u8]),
    File(File),
}

async fn open(input: &Input) -> Result<Opened<'_>, ShellError> {
    match input {
        Input::Nothing => Ok(Opened::Nothing),
        Input::Bytes(bytes) => Ok(Opened::Bytes(bytes)),
        Input::File(path) => {
            let opened = File::open(path).await;
            opened.map(Opened::File).map_err(|source| ShellError::NoInput {
                path: path.clone(),
                source,
            })
        }
    }
}

/// A line that does not read its whole input says so by its exit, and one that misses some by its checksum.
async fn feed(stdin: Option<ChildStdin>, input: Opened<'_>) {
    let Some(mut stdin) = stdin else {
        return;
    };
    let fed = match input {
        Opened::Nothing => Ok(()),
        Opened::Bytes(bytes) => stdin.write_all(bytes).await,
        Opened::File(mut file) => tokio::io::copy(&mut file, &mut stdin).await.map(|_| ()),
    };
    if let Err(error) = fed {
        tracing::debug!(%error, "a line of shell does not take its input");
    }
}

async fn drain(pipe: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else {
        return;
    };
    if let Err(error) = pipe.read_to_end(into).await {
        tracing::debug!(%error, "the output of a line of shell breaks off");
    }
}

async fn end(child: &mut Child, group: Option<u32>) {
    let group = group
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let Some(group) = group
        && let Err(error) = kill_process_group(group, Signal::KILL)
    {
        tracing::debug!(%error, "a shell cannot be ended");
    }
    if let Err(error) = child.wait().await {
        tracing::debug!(%error, "the end of a shell is not seen");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn command(line: &str) -> ShellCommand {
        ShellCommand {
            line: line.to_owned(),
            input: Input::Nothing,
            time: Duration::from_secs(20),
        }
    }

    #[tokio::test]
    async fn lines_are_run() {
        let check = async |command: ShellCommand, expected: (i32, &str, &str)| {
            let output = LocalShell::new().run(&command).await.expect("it runs");
            let found = (
                output.code,
                String::from_utf8_lossy(&output.stdout),
                output.stderr.trim(),
            );
            assert_eq!((found.0, found.1.as_ref(), found.2), expected, "{}", command.line);
        };
        check(command("echo out; echo err >&2; exit 4"), (4, "out\n", "err")).await;
        let mut cat = command("wc -c");
        cat.input = Input::Bytes(vec![0; 1_000_000]);
        check(cat.clone(), (0, "1000000\n", "")).await;
        cat.line = "true".to_owned();
        check(cat, (0, "", "")).await;
        check(command("echo \"[$CARGO_MANIFEST_DIR]\""), (0, "[]\n", "")).await;
    }

    #[tokio::test]
    async fn lines_end_in_their_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("late");
        let mut late = command(&format!("sleep 30; touch {}", file.display()));
        late.time = Duration::from_millis(100);
        let error = LocalShell::new().run(&late).await.expect_err("its time is up");
        assert!(error.may_have_run());
        assert_eq!(error.to_string(), "no whole answer came: its time was up");
    }

    #[tokio::test]
    async fn inputs_that_are_not_there_begin_nothing() {
        let mut absent = command("true");
        absent.input = Input::File("/no/such/file".into());
        let error = LocalShell::new().run(&absent).await.expect_err("no input");
        assert!(!error.may_have_run());
    }
}
