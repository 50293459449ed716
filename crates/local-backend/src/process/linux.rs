//! Processes by way of `/proc` and process descriptors.

use std::{fs, io, path::PathBuf};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{CAMPAIGN_VARIABLE, ID_VARIABLE, Process, ProcessKey, Status};

/// Names the time since the machine's last start.
pub(crate) fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// Whether this very process lives.
pub(crate) fn status(key: &ProcessKey) -> io::Result<Status> {
    Ok(match read_stat(key.pid)? {
        Some(stat) if stat.start != key.start => Status::Gone,
        Some(stat) if stat.zombie => Status::Zombie,
        Some(_) => Status::Lives,
        None => Status::Gone,
    })
}

/// All processes. One that ends meanwhile is left out, and what may not be read of one is absent.
pub(crate) fn list() -> io::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Some(stat) = read_stat(pid)? else { continue };
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        processes.push(Process {
            key: ProcessKey {
                pid,
                start: stat.start,
            },
            group: stat.group,
            zombie: stat.zombie,
            id: variable(&environment, ID_VARIABLE),
            campaign: variable(&environment, CAMPAIGN_VARIABLE),
            outputs: outputs(pid),
        });
    }
    Ok(processes)
}

/// Sends a signal to this very process; one that is gone is no error.
pub(crate) fn signal(key: &ProcessKey, signal: Signal) -> io::Result<()> {
    let Some(pid) = i32::try_from(key.pid).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    // The descriptor holds on to the process that has the id now, so that it can be looked at before the signal.
    let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(descriptor) => descriptor,
        Err(Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if status(key)? == Status::Gone {
        return Ok(());
    }
    match pidfd_send_signal(&descriptor, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    group: u32,
    zombie: bool,
    start: String,
}

fn read_stat(pid: u32) -> io::Result<Option<Stat>> {
    let text = match fs::read(format!("/proc/{pid}/stat")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&text);
    if text.is_empty() {
        // It ended between the opening and the reading.
        return Ok(None);
    }
    let stat = parse_stat(&text);
    let wrong = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("/proc/{pid}/stat is odd: {text}"),
        )
    };
    stat.map(Some).ok_or_else(wrong)
}

/// The name, in parentheses, may hold anything, parentheses too, so the fields are counted from the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        group: fields.get(2)?.parse().ok()?,
        zombie: matches!(*fields.first()?, "Z" | "X" | "x"),
        start: (*fields.get(19)?).to_owned(),
    })
}

fn variable(environment: &[u8], name: &str) -> Option<String> {
    environment.split(|byte| *byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

fn outputs(pid: u32) -> Vec<PathBuf> {
    [1, 2]
        .iter()
        .filter_map(|descriptor| fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stat_lines() {
        let line = "42 (a) b (c)) S 1 40 40 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 10 18446744073709551615";
        let check = |line: &str, expected| assert_eq!(parse_stat(line), expected, "{line}");
        check(
            line,
            Some(Stat {
                group: 40,
                zombie: false,
                start: "987654".to_owned(),
            }),
        );
        check(
            &line.replace(" S ", " Z "),
            Some(Stat {
                group: 40,
                zombie: true,
                start: "987654".to_owned(),
            }),
        );
        check("42 (a) S 1 40", None);
        check("", None);
    }

    #[test]
    fn variables() {
        let check = |environment: &[u8], expected: Option<&str>| {
            assert_eq!(variable(environment, ID_VARIABLE).as_deref(), expected);
        };
        check(b"A=1\0GIPFEL_ID=d-1\0GIPFEL_IDX=2\0", Some("d-1"));
        check(b"GIPFEL_IDX=2\0XGIPFEL_ID=3", None);
        check(b"", None);
    }

    #[test]
    fn this_process_is_listed() {
        let this = list()
            .unwrap()
            .into_iter()
            .find(|process| process.key.pid == std::process::id())
            .unwrap();
        assert_eq!(status(&this.key).unwrap(), Status::Lives);
        let earlier = ProcessKey {
            start: "1".to_owned(),
            ..this.key
        };
        assert_eq!(status(&earlier).unwrap(), Status::Gone);
        signal(&earlier, Signal::KILL).unwrap();
        assert!(!boot().unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn no_name_confuses(name in ".{0,16}", group in 0_u32..100_000, start in 0_u64..) {
            let rest = "0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0";
            let stat = parse_stat(&format!("1 ({name}) R 1 {group} 1 {rest} {start} 1 1"));
            prop_assert_eq!(stat, Some(Stat { group, zombie: false, start: start.to_string() }));
        }

        #[test]
        fn no_line_is_too_odd(line in ".*") {
            parse_stat(&line);
        }
    }
}
