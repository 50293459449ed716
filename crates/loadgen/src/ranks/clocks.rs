//! How two ranks agree on the time, although their wall clocks may differ.
//!
//! Each line that a rank appends says when, by its own monotonic clock. Whoever reads it knows that it was appended before
//! it was read: the difference of the two readings is the line's way and the difference of the clocks, of which the way is
//! not negative. Lines in both directions hold the difference of the clocks between two bounds, as far apart as the quickest
//! line each way took. The wall clocks say where it should be; where the bounds exclude that, they are wrong.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the lines of the other side have shown: reading minus writing, of the two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ways {
    /// Of the line that seemed quickest.
    pub(super) least_ns: i64,
    /// Of the line that seemed slowest.
    pub(super) most_ns: i64,
}

impl Ways {
    /// Takes a further line into account.
    pub(super) fn add(known: Option<Self>, ns: i64) -> Self {
        let Self { least_ns, most_ns } = known.unwrap_or(Self {
            least_ns: ns,
            most_ns: ns,
        });
        Self {
            least_ns: least_ns.min(ns),
            most_ns: most_ns.max(ns),
        }
    }
}

/// What is settled between rank 0 and another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreement {
    /// How much later than rank 0's the axis of the other one begins.
    pub(super) ahead_ns: i64,
    /// By how much this may be wrong.
    pub(super) within_ns: i64,
    /// By how much the other's wall clock is ahead of rank 0's, at least and at most, if it cannot be right.
    pub(super) wall_is_off_ns: Option<(i64, i64)>,
    /// The longest way of a line.
    pub(super) longest_way: Duration,
}

/// Settles it: `by_wall_clock_ns` is how much later the other axis begins by the wall clocks, `here` are the ways of its
/// lines to rank 0, `there` those of rank 0's lines to it.
pub(super) fn agree(by_wall_clock_ns: i64, here: Ways, there: Ways) -> Agreement {
    let (from_ns, to_ns) = (-there.least_ns, here.least_ns);
    let believed = (from_ns..=to_ns).contains(&by_wall_clock_ns);
    let ahead_ns = if believed {
        by_wall_clock_ns
    } else {
        i64::midpoint(from_ns, to_ns)
    };
    let way_ns = (here.most_ns - ahead_ns).max(there.most_ns + ahead_ns);
    Agreement {
        ahead_ns,
        within_ns: (to_ns - ahead_ns).max(ahead_ns - from_ns),
        wall_is_off_ns: (!believed).then_some((by_wall_clock_ns - to_ns, by_wall_clock_ns - from_ns)),
        longest_way: Duration::from_nanos(u64::try_from(way_ns).unwrap_or(0)),
    }
}

impl Agreement {
    /// What there is to say of rank `rank`, on this machine.
    pub(super) fn in_words(&self, rank: u32, node: &str) -> String {
        let ms = |ns: i64| ns as f64 / 1e6;
        let within = ms(self.within_ns);
        match self.wall_is_off_ns {
            None => format!("rank {rank} on {node}: by the wall clock, proven within {within:.1} ms"),
            Some((least, most)) => {
                let (near, far, where_to) = if most < 0 {
                    (-most, -least, "behind")
                } else {
                    (least, most, "ahead of")
                };
                format!(
                    "rank {rank} on {node}: its wall clock is {:.1} to {:.1} ms {where_to} that of rank 0; corrected, within \
                     {within:.1} ms",
                    ms(near),
                    ms(far)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn ways(least_ms: i64, most_ms: i64) -> Ways {
        Ways {
            least_ns: least_ms * MS,
            most_ns: most_ms * MS,
        }
    }

    #[test]
    fn the_quickest_and_the_slowest_line_count() {
        let ways = [5, 3, 9]
            .into_iter()
            .fold(None, |known, ns| Some(Ways::add(known, ns)));
        assert_eq!(
            ways,
            Some(Ways {
                least_ns: 3,
                most_ns: 9
            })
        );
    }

    /// The other rank's axis begins 100 ms after rank 0's; its wall clock is wrong by `wall_ms`. Lines take 2 to 8 ms to
    /// rank 0 and 1 to 6 ms from it.
    fn check(wall_ms: i64, ahead_ms: f64, expected: &str) {
        let agreement = agree((100 + wall_ms) * MS, ways(102, 108), ways(-99, -94));
        assert_eq!(agreement.ahead_ns, (ahead_ms * 1e6) as i64, "{wall_ms}");
        assert_eq!(agreement.in_words(3, "nid7"), expected);
        assert!(agreement.longest_way >= Duration::from_millis(7), "{agreement:?}");
    }

    #[test]
    fn a_wall_clock_is_believed_unless_it_is_proven_wrong() {
        check(
            0,
            100.0,
            "rank 3 on nid7: by the wall clock, proven within 2.0 ms",
        );
        check(
            -1,
            99.0,
            "rank 3 on nid7: by the wall clock, proven within 3.0 ms",
        );
        check(
            5,
            100.5,
            "rank 3 on nid7: its wall clock is 3.0 to 6.0 ms ahead of that of rank 0; corrected, within 1.5 ms",
        );
        check(
            -1000,
            100.5,
            "rank 3 on nid7: its wall clock is 999.0 to 1002.0 ms behind that of rank 0; corrected, within 1.5 ms",
        );
    }
}
