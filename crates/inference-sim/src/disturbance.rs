//! A server that does not stay the same: slower after a time, or at a standstill now and then.

/// What befalls the engine over time, on an axis that begins with its first request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Disturbance {
    /// From a time on, in nanoseconds, the server has this share of its capacity: steps last 1/share as long.
    pub slower: Option<Slowdown>,
    /// The engine stands still again and again.
    pub stall: Option<Stall>,
}

/// A loss of capacity that lasts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slowdown {
    /// When it begins, in nanoseconds.
    pub after_ns: i64,
    /// The capacity that is left, above 0.
    pub share: f64,
}

/// Standstills at each multiple of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The period, in nanoseconds.
    pub every_ns: i64,
    /// How long each one lasts, in nanoseconds; less than the period.
    pub for_ns: i64,
}

impl Disturbance {
    /// When a step ends that begins at `begin_ns` and would last `duration_ns` undisturbed.
    pub fn end_ns(&self, begin_ns: i64, duration_ns: i64) -> i64 {
        let duration_ns = match self.slower {
            Some(slower) if begin_ns >= slower.after_ns => (duration_ns as f64 / slower.share).round() as i64,
            _ => duration_ns,
        };
        match self.stall {
            Some(stall) => stall.end_ns(begin_ns, duration_ns),
            None => begin_ns + duration_ns,
        }
    }
}

impl Stall {
    /// The first standstill begins one period after the start.
    fn end_ns(&self, begin_ns: i64, duration_ns: i64) -> i64 {
        let mut now_ns = begin_ns;
        let mut left_ns = duration_ns;
        loop {
            let latest_ns = now_ns.div_euclid(self.every_ns) * self.every_ns;
            if latest_ns > 0 && now_ns < latest_ns + self.for_ns {
                now_ns = latest_ns + self.for_ns;
            }
            let next_ns = (latest_ns + self.every_ns).max(self.every_ns);
            if now_ns + left_ns <= next_ns {
                return now_ns + left_ns;
            }
            left_ns -= next_ns - now_ns;
            now_ns = next_ns;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_stretched_after_a_time() {
        let disturbance = Disturbance {
            slower: Some(Slowdown {
                after_ns: 100,
                share: 0.5,
            }),
            stall: None,
        };
        assert_eq!(disturbance.end_ns(99, 10), 109);
        assert_eq!(disturbance.end_ns(100, 10), 120);
        assert_eq!(Disturbance::default().end_ns(100, 10), 110);
    }

    #[test]
    fn nothing_moves_during_a_stall() {
        let check = |begin_ns, duration_ns, expected| {
            let stall = Stall {
                every_ns: 100,
                for_ns: 30,
            };
            assert_eq!(
                stall.end_ns(begin_ns, duration_ns),
                expected,
                "{begin_ns} + {duration_ns}"
            );
        };
        check(0, 10, 10);
        check(90, 10, 100);
        check(90, 11, 131);
        // An idle engine gets a request while it stands still.
        check(100, 5, 135);
        check(129, 5, 135);
        check(130, 5, 135);
        // Ten before the first stall, seventy between two, twenty after the second.
        check(90, 100, 250);
    }
}
