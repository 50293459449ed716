//! What processes and the machine have used, from `/proc`.

use std::{fs, time::Duration};

/// Between two looks at a process.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// Ticks of `/proc` in a second.
const TICKS: f64 = 100.0;

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// User and system time of all its threads, in seconds.
    pub(super) cpu_s: f64,
    /// Its memory, in mebibytes.
    pub(super) resident_mib: f64,
    /// The most memory that it has held, in mebibytes.
    pub(super) most_mib: f64,
}

/// What a living process has used.
pub(super) fn usage(process: u32) -> Option<Usage> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{process}/{name}")).ok();
    let status = read("status")?;
    Some(Usage {
        cpu_s: cpu_seconds(&read("stat")?)?,
        resident_mib: mebibytes(&status, "VmRSS:")?,
        most_mib: mebibytes(&status, "VmHWM:")?,
    })
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    // After the name in parentheses, which may hold anything, user and system time are the 12th and 13th field.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

fn mebibytes(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes / 1024.0)
}

/// The time that the machine's cores were not idle, theirs together, in seconds; what a hypervisor took counts as well.
pub(super) fn machine_seconds() -> Option<f64> {
    busy_seconds(&fs::read_to_string("/proc/stat").ok()?)
}

fn busy_seconds(stat: &str) -> Option<f64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<f64> = fields.map_while(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user.
    let busy = [0, 1, 2, 5, 6, 7].map(|index| ticks.get(index).copied());
    let sum: Option<f64> = busy.into_iter().sum();
    Some(sum? / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_the_kernels_texts() {
        let stat = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        let status = "Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t   1536 kB\n";
        assert_eq!(mebibytes(status, "VmHWM:"), Some(2.0));
        assert_eq!(mebibytes(status, "VmRSS:"), Some(1.5));
        assert_eq!(mebibytes(status, "VmSwap:"), None);
        let machine = "cpu  100 200 300 9000 9000 1 2 397 50 60\ncpu0 1 2\n";
        assert_eq!(busy_seconds(machine), Some(10.0));
        assert_eq!(busy_seconds("cpu 1 2"), None);
    }
}
