//! How many connections the process may have.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors that are no connections: files, the database, other threads' own.
const RESERVED: u64 = 200;
/// More than one address of a server has ports for.
const MOST: u64 = 60_000;
/// For a process that hardly has any.
const LEAST: u64 = 16;

/// Takes what the system allows, and returns how many of it are for connections of the load.
pub(crate) fn for_connections() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let soft = limit.current;
    limit.current = limit
        .maximum
        .map_or(Some(RESERVED + MOST), |hard| Some(hard.min(RESERVED + MOST)));
    let raised =
        soft.is_some_and(|soft| Some(soft) < limit.current) && setrlimit(Resource::Nofile, limit).is_ok();
    share(if raised { limit.current } else { soft }) as usize
}

fn share(descriptors: Option<u64>) -> u64 {
    descriptors
        .unwrap_or(u64::MAX)
        .saturating_sub(RESERVED)
        .clamp(LEAST, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_not_for_connections() {
        assert_eq!(share(Some(1024)), 824);
        assert_eq!(share(Some(20)), LEAST);
        assert_eq!(share(None), MOST);
        assert!(for_connections() >= LEAST as usize);
    }
}
