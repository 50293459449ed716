//! Looks at the processes of a probe.

use crate::bench::process::Usage;

/// One look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Of the monotonic clock.
    pub(super) at_ns: u64,
    pub(super) client: Usage,
    /// CPU time of the server.
    pub(super) server_s: f64,
    /// Time of all cores that was not idle.
    pub(super) machine_s: f64,
}

/// All looks of a probe, in the order of their times.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<Sample>);

/// CPU time between two times, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::struct_field_names, reason = "every number of seconds says its unit")]
pub(super) struct Used {
    pub(super) client_s: f64,
    pub(super) server_s: f64,
    pub(super) machine_s: f64,
}

impl Samples {
    /// A further look.
    pub(super) fn push(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    /// What was used between two times.
    pub(super) fn within(&self, [from_ns, to_ns]: [u64; 2]) -> Used {
        let between = |value: fn(&Sample) -> f64| self.at(to_ns, value) - self.at(from_ns, value);
        Used {
            client_s: between(|sample| sample.client.cpu_s),
            server_s: between(|sample| sample.server_s),
            machine_s: between(|sample| sample.machine_s),
        }
    }

    /// A value at a time, in a straight line between the looks around it.
    pub(super) fn at(&self, at_ns: u64, value: impl Fn(&Sample) -> f64) -> f64 {
        let after = self.0.partition_point(|sample| sample.at_ns <= at_ns);
        let before = after.checked_sub(1).map(|index| &self.0[index]);
        match (before, self.0.get(after)) {
            (Some(before), Some(after)) => {
                let part = (at_ns - before.at_ns) as f64 / (after.at_ns - before.at_ns) as f64;
                value(before) + part * (value(after) - value(before))
            }
            (Some(only), None) | (None, Some(only)) => value(only),
            (None, None) => 0.0,
        }
    }

    /// The most memory that the client held between two times, in mebibytes.
    pub(super) fn resident_mib(&self, [from_ns, to_ns]: [u64; 2]) -> f64 {
        let within = self
            .0
            .iter()
            .filter(|sample| (from_ns..=to_ns).contains(&sample.at_ns));
        within
            .map(|sample| sample.client.resident_mib)
            .fold(0.0, f64::max)
    }

    /// The most memory that the client has ever held, in mebibytes.
    pub(super) fn most_mib(&self) -> f64 {
        self.0.last().map_or(0.0, |sample| sample.client.most_mib)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Samples {
        let sample = |at_ns, cpu_s, resident_mib| Sample {
            at_ns,
            client: Usage {
                cpu_s,
                resident_mib,
                most_mib: 9.0,
            },
            server_s: 2.0 * cpu_s,
            machine_s: 4.0 * cpu_s,
        };
        Samples(vec![
            sample(100, 1.0, 5.0),
            sample(200, 3.0, 7.0),
            sample(300, 4.0, 6.0),
        ])
    }

    #[test]
    fn time_is_read_between_two_looks() {
        let check = |span, client_s| {
            let used = Used {
                client_s,
                server_s: 2.0 * client_s,
                machine_s: 4.0 * client_s,
            };
            assert_eq!(samples().within(span), used);
        };
        check([100, 300], 3.0);
        check([150, 250], 1.5);
        check([0, 100], 0.0);
        check([250, 900], 0.5);
    }

    #[test]
    fn memory_is_the_most_of_a_span() {
        assert!((samples().resident_mib([250, 400]) - 6.0).abs() < 1e-9);
        assert!((samples().resident_mib([100, 300]) - 7.0).abs() < 1e-9);
        assert!((samples().most_mib() - 9.0).abs() < 1e-9);
    }
}
