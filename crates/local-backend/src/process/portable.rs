//! Processes by way of `ps`, where there is no `/proc`. Environments and outputs cannot be read so: a process that
//! left its group is not found.

use std::{io, process::Command};

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};

use super::{Process, ProcessKey, Status};

/// Names the time since the machine's last start: the start of its first process.
pub(crate) fn boot() -> io::Result<String> {
    let start = ps(&["-o", "lstart=", "-p", "1"])?;
    Ok(start.trim().to_owned())
}

/// Whether this very process lives.
pub(crate) fn status(key: &ProcessKey) -> io::Result<Status> {
    let process = list()?.into_iter().find(|process| process.key == *key);
    Ok(match process {
        Some(process) if process.zombie => Status::Zombie,
        Some(_) => Status::Lives,
        None => Status::Gone,
    })
}

/// All processes.
pub(crate) fn list() -> io::Result<Vec<Process>> {
    let text = ps(&["-A", "-o", "pid=", "-o", "pgid=", "-o", "stat=", "-o", "lstart="])?;
    Ok(text.lines().filter_map(parse_line).collect())
}

/// Sends a signal to this process; one that is gone is no error. It may end and its id be used again between the
/// look and the signal: microseconds, in which the system would have to go through all ids.
pub(crate) fn signal(key: &ProcessKey, signal: Signal) -> io::Result<()> {
    if status(key)? == Status::Gone {
        return Ok(());
    }
    let Some(pid) = i32::try_from(key.pid).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn ps(arguments: &[&str]) -> io::Result<String> {
    let output = Command::new("ps")
        .args(arguments)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("ps ended with {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn parse_line(line: &str) -> Option<Process> {
    let mut fields = line.split_whitespace();
    let pid = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let zombie = fields.next()?.starts_with('Z');
    let start = fields.collect::<Vec<_>>().join(" ");
    (!start.is_empty()).then_some(Process {
        key: ProcessKey { pid, start },
        group,
        zombie,
        id: None,
        campaign: None,
        outputs: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ps() {
        let check = |line: &str, expected: Option<(u32, u32, bool, &str)>| {
            let process = parse_line(line);
            let found = process.as_ref().map(|process| {
                (
                    process.key.pid,
                    process.group,
                    process.zombie,
                    &*process.key.start,
                )
            });
            assert_eq!(found, expected, "{line}");
        };
        check(
            "  1     1 Ss   Sat Nov 21 22:42:10 2026",
            Some((1, 1, false, "Sat Nov 21 22:42:10 2026")),
        );
        check(
            "71 70 Z+ Sat Nov  1 22:42:10 2026",
            Some((71, 70, true, "Sat Nov 1 22:42:10 2026")),
        );
        check("71 70 Z+", None);
        check("PID PGID STAT STARTED", None);
        check("", None);
    }

    #[test]
    fn this_process_is_listed() {
        let processes = match list() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            processes => processes.unwrap(),
        };
        let this = processes
            .into_iter()
            .find(|process| process.key.pid == std::process::id())
            .unwrap();
        assert_eq!(status(&this.key).unwrap(), Status::Lives);
        let earlier = ProcessKey {
            start: "Thu Jan 1 00:00:00 1970".to_owned(),
            ..this.key
        };
        assert_eq!(status(&earlier).unwrap(), Status::Gone);
        signal(&earlier, Signal::KILL).unwrap();
        assert!(!boot().unwrap().is_empty());
    }
}
