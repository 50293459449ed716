//! Starting a process that makes its own mark.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    os::unix::{
        fs::PermissionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    mark::{self, Attempt, Mark, MarkError},
    process::{CAMPAIGN_VARIABLE, ID_VARIABLE},
};

/// The job: makes its mark and becomes the program, both under one process id. `set -C` lets the redirection fail
/// when the file is there; a closed terminal does not concern it.
const JOB: &str = r#"
set -C
trap '' HUP
mark=$1 opening=$2
shift 2
if [ -r "/proc/$$/stat" ]; then
    IFS= read -r stat < "/proc/$$/stat"
    take() { shift 19; start=$1; }
    take ${stat##*) }
else
    start=$(LC_ALL=C TZ=UTC ps -o lstart= -p "$$")
fi
{ printf '%s"pid":%s,"start":"%s"}}\n' "$opening" "$$" "$start" > "$mark"; } 2> /dev/null || exit 97
exec "$@"
"#;

/// How long the shell may take until it has made its mark.
const MARKING: Duration = Duration::from_secs(10);

/// A process to start.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) log: &'a Path,
    pub(crate) id: &'a str,
    pub(crate) number: u32,
    pub(crate) attempt: Attempt,
    pub(crate) command: &'a [String],
    pub(crate) environment: &'a [(String, String)],
}

/// A start that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error("failed to start a process")]
    Spawn(#[source] io::Error),
    #[error("the shell that starts the process {0} before it made its mark")]
    Shell(String),
    #[error(transparent)]
    Mark(#[from] MarkError),
    #[error("the mark cannot be written")]
    Opening(#[source] serde_json::Error),
    #[error("a search has settled that this start never happens")]
    Settled,
    #[error("the process has made no mark within {} s", MARKING.as_secs())]
    Unmarked,
}

/// Starts the process, or finds that another start of the same number came first: the mark says whose it is.
pub(crate) async fn launch(children: &Children, launch: &Launch<'_>) -> Result<Mark, LaunchError> {
    let opening = mark::opening(&launch.attempt).map_err(LaunchError::Opening)?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(launch.log)
        .map_err(LaunchError::Spawn)?;
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", JOB, "gipfel-job"])
        .arg(mark::path(launch.directory, launch.number))
        .arg(opening)
        .args(launch.command)
        .envs(launch.environment.iter().map(|(name, value)| (name, value)))
        .env(ID_VARIABLE, launch.id)
        .env(CAMPAIGN_VARIABLE, launch.attempt.campaign.as_str())
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(LaunchError::Spawn)?)
        .stderr(log)
        .process_group(0);
    let pid = children.spawn(&mut command).map_err(LaunchError::Spawn)?;
    let deadline = Instant::now() + MARKING;
    loop {
        // In this order: a process that has ended can make no mark any more.
        let ended = children.ended(pid);
        if let Some(mark) = mark::read(launch.directory, launch.number)? {
            return Ok(mark);
        }
        if let Some(status) = ended {
            let made = mark::exists(launch.directory, launch.number)?;
            if status.code() != Some(LOST_RACE) || !made {
                return Err(LaunchError::Shell(describe(status)));
            }
            if !mark::read_all(launch.directory)?.unwritten {
                return Err(LaunchError::Settled);
            }
        }
        if Instant::now() >= deadline {
            return Err(LaunchError::Unmarked);
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// The shell's exit status when the mark was there.
const LOST_RACE: i32 = 97;

/// The processes that this one has started, so that none stays a zombie and their exit status is known.
#[derive(Debug, Default)]
pub(crate) struct Children(Mutex<BTreeMap<u32, Known>>);

#[derive(Debug)]
enum Known {
    Running(Child),
    Ended(ExitStatus),
}

impl Children {
    fn spawn(&self, command: &mut Command) -> io::Result<u32> {
        let child = command.spawn()?;
        let pid = child.id();
        self.lock().insert(pid, Known::Running(child));
        Ok(pid)
    }

    /// The exit status of a child that has ended.
    pub(crate) fn ended(&self, pid: u32) -> Option<ExitStatus> {
        self.reap();
        match self.lock().get(&pid)? {
            Known::Running(_) => None,
            Known::Ended(status) => Some(*status),
        }
    }

    /// Takes up every child that has ended.
    pub(crate) fn reap(&self) {
        for known in self.lock().values_mut() {
            if let Known::Running(child) = known
                && let Ok(Some(status)) = child.try_wait()
            {
                *known = Known::Ended(status);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a process ended, as it completes "the process …".
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(9)) => "was killed (signal 9), as the kernel does when memory runs out".to_owned(),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Whether the program can be run, looked for as the shell will: by path, or in the `PATH` of its environment.
pub(crate) fn is_runnable(program: &str, environment: &[(String, String)]) -> bool {
    let executable = |path: &Path| {
        fs::metadata(path)
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return executable(Path::new(program));
    }
    let own = environment
        .iter()
        .rev()
        .find(|(name, _)| name == "PATH")
        .map(|(_, value)| OsString::from(value));
    let path = own.or_else(|| env::var_os("PATH")).unwrap_or_default();
    env::split_paths(&path).any(|directory| executable(&directory.join(program)))
}

/// The length of a file; 0 when there is none.
pub(crate) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_late_job_of_a_settled_attempt_becomes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        assert!(mark::settle(directory, 1).unwrap());
        let start = async |number| {
            let launch = Launch {
                directory,
                log: &directory.join("log"),
                id: "d-late",
                number,
                attempt: Attempt {
                    campaign: "c-late".parse().unwrap(),
                    backend: None,
                    port: None,
                    host: "h".to_owned(),
                    boot: "b".to_owned(),
                    log_from: 0,
                },
                command: &[
                    "mkdir".to_owned(),
                    directory.join(number.to_string()).to_string_lossy().into_owned(),
                ],
                environment: &[],
            };
            let children = Children::default();
            let result = super::launch(&children, &launch).await;
            // The job's first process is the program, so its end is the program's.
            while children
                .lock()
                .values()
                .any(|known| matches!(known, Known::Running(_)))
            {
                children.reap();
                sleep(Duration::from_millis(1)).await;
            }
            result
        };
        assert!(matches!(start(1).await, Err(LaunchError::Settled)));
        assert!(!directory.join("1").exists());
        assert_eq!(start(2).await.unwrap().number, 2);
        assert!(directory.join("2").exists());
        assert_eq!(fs::read_to_string(directory.join("log")).unwrap(), "");
    }

    #[test]
    fn programs() {
        let check = |program: &str, expected| {
            let environment = [("PATH".to_owned(), "/nowhere:/bin".to_owned())];
            assert_eq!(is_runnable(program, &environment), expected, "{program}");
        };
        check("/bin/sh", true);
        check("sh", true);
        check("/bin/no-such-program", false);
        check("no-such-program", false);
        check("/bin", false);
        check("/etc/passwd", false);
    }

    #[test]
    fn ends_are_described() {
        let check = |raw, expected: &str| assert_eq!(describe(ExitStatus::from_raw(raw)), expected);
        check(3 << 8, "exited with status 3");
        check(15, "was ended by signal 15");
        check(
            9,
            "was killed (signal 9), as the kernel does when memory runs out",
        );
    }
}
