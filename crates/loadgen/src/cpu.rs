//! How much of a processor a thread gets, where the system tells it.

use crate::messages::ThreadTime;

/// The calling thread's time on a core and in the queue for one; absent where the system does not tell.
#[cfg(target_os = "linux")]
pub(crate) fn of_this_thread(at_ns: i64) -> Option<ThreadTime> {
    parse(
        &std::fs::read_to_string("/proc/thread-self/schedstat").ok()?,
        at_ns,
    )
}

/// Other systems have no such figure.
#[cfg(not(target_os = "linux"))]
pub(crate) fn of_this_thread(_at_ns: i64) -> Option<ThreadTime> {
    None
}

/// Nanoseconds on a core, nanoseconds ready without one, number of time slices.
#[cfg(any(target_os = "linux", test))]
fn parse(text: &str, at_ns: i64) -> Option<ThreadTime> {
    let mut fields = text.split_ascii_whitespace().map(str::parse);
    let run_ns = fields.next()?.ok()?;
    let wait_ns = fields.next()?.ok()?;
    Some(ThreadTime {
        at_ns,
        run_ns,
        wait_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_figures_are_read() {
        let check = |text, expected: Option<(u64, u64)>| {
            assert_eq!(parse(text, 1).map(|time| (time.run_ns, time.wait_ns)), expected);
        };
        check("3000 40 7\n", Some((3000, 40)));
        check("3000\n", None);
        check("", None);
        check("a b c", None);
    }
}
