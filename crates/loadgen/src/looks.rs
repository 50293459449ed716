//! What the load generator sees of its own process while a level is measured.

use gipfel_model::Little;

use crate::messages::{InFlightCount, ProcessLook};

/// Shares of time are not told of less than this.
pub(crate) const MIN_SPAN_NS: i64 = 500_000_000;
/// By so much the requests in flight may differ from Little's law, but for what follows.
const LITTLE_LIMIT: f64 = 0.02;
/// What is counted at the window's ends may be so old: two looks and two reports.
const LITTLE_EDGES_NS: f64 = 400e6;
/// So many standard errors of the looks at the requests in flight are chance.
const LITTLE_ERRORS: f64 = 3.0;

/// What was seen of this process within the measured window.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    count: u64,
    /// The sum of the requests in flight.
    in_flight: u64,
    /// The first and the last look.
    ends: Option<((InFlightCount, ProcessLook), (InFlightCount, ProcessLook))>,
    /// The first and the last look at the machine's own oscillator: when, and how far it was from the monotonic clock.
    raw: Option<((i64, i64), (i64, i64))>,
    /// The first distance of the wall clock to the monotonic one, and the largest deviation from it.
    wall: Option<(i64, i64)>,
    open_files: Option<u64>,
    connections: u64,
}

impl Looks {
    pub(crate) fn add(&mut self, in_flight: &InFlightCount, process: &ProcessLook) {
        self.count += 1;
        self.in_flight += in_flight.all;
        let look = (*in_flight, *process);
        self.ends.get_or_insert((look, look)).1 = look;
        if let Some(offset_ns) = process.raw_offset_ns {
            let look = (process.at_ns, offset_ns);
            self.raw.get_or_insert((look, look)).1 = look;
        }
        if let Some(offset_ns) = process.wall_offset_ns {
            let (first_ns, step_ns) = self.wall.get_or_insert((offset_ns, 0));
            *step_ns = larger(*step_ns, offset_ns - *first_ns);
        }
        self.open_files = self.open_files.max(process.open_files);
        self.connections = self.connections.max(in_flight.connections);
    }

    pub(crate) fn mean_in_flight(&self) -> Option<f64> {
        (self.count > 0).then(|| self.in_flight as f64 / self.count as f64)
    }

    /// From the first look to the last, unless that is too short to tell of.
    fn span_ns(&self) -> Option<f64> {
        let ((_, first), (_, last)) = self.ends?;
        let span_ns = last.at_ns - first.at_ns;
        (span_ns >= MIN_SPAN_NS).then_some(span_ns as f64)
    }

    /// The cores that the process used.
    pub(crate) fn cores(&self) -> Option<f64> {
        let ((_, first), (_, last)) = self.ends?;
        Some((last.run_ns? - first.run_ns?) as f64 / self.span_ns()?)
    }

    /// Connections that were open at one time, at most, and that were dialled; absent where that is not known.
    pub(crate) fn sockets(&self) -> (Option<u64>, Option<u64>) {
        let known = self.connections > 0;
        let dialled = self
            .ends
            .map(|((first, _), (last, _))| last.dialled.saturating_sub(first.dialled));
        (known.then_some(self.connections), dialled.filter(|_| known))
    }

    pub(crate) fn open_files(&self) -> Option<u64> {
        self.open_files
    }

    /// The largest step of the wall clock against the monotonic one.
    pub(crate) fn clock_step_ns(&self) -> Option<i64> {
        self.wall.map(|(_, step_ns)| step_ns)
    }

    pub(crate) fn slew_ppm(&self) -> Option<f64> {
        let ((from_ns, before), (to_ns, after)) = self.raw?;
        let span_ns = to_ns - from_ns;
        (span_ns >= MIN_SPAN_NS).then(|| (before - after) as f64 / span_ns as f64 * 1e6)
    }

    /// Holds the mean of the looks against the time that the requests have spent in flight: those that ended, by
    /// `ended_ns`, and at both ends those that had not.
    pub(crate) fn little(&self, ended_ns: i64) -> Option<Little> {
        let ((first, _), (last, _)) = self.ends?;
        let span_ns = self.span_ns()?;
        let in_flight = self.in_flight as f64 / self.count as f64;
        let expected = (ended_ns + last.age_ns - first.age_ns) as f64 / span_ns;
        let chance = LITTLE_ERRORS / (self.count as f64 * expected.max(1.0)).sqrt();
        (in_flight > 0.0 || expected > 0.0).then_some(Little {
            in_flight,
            expected,
            allowed: LITTLE_LIMIT + LITTLE_EDGES_NS / span_ns + chance,
        })
    }
}

/// The one that is farther from zero.
pub(crate) fn larger(one: i64, other: i64) -> i64 {
    if other.abs() > one.abs() { other } else { one }
}
