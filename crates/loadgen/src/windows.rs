//! How long warm-up and measured window of a listed level are: at least as the user says, and long enough for the
//! server's own latencies.

use std::time::Duration;

use gipfel_model::Phase;

use crate::board::{Timing, nanos};

/// The warm-up lasts at least so many median E2E latencies of the level.
const WARMUP_E2ES: i64 = 3;
/// The measured window lasts at least so many.
const MEASURED_E2ES: i64 = 5;
/// No window becomes longer than so many times what the user says.
const MOST_STRETCH: i64 = 10;
/// A window is stretched by pieces of this length.
const PIECE_NS: i64 = 2_000_000_000;

/// What is known of the level's latencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum E2e {
    /// No request has ended: it takes longer than anything so far.
    Unknown,
    /// The median of those that ended well; 0 when all have failed.
    Median(i64),
}

/// The windows of a level, appended piece by piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    start_ns: i64,
    warmup_ns: i64,
    measured_ns: i64,
    drain_ns: i64,
    /// How far ahead of its time a piece is appended.
    lead_ns: i64,
    stretch: bool,
    /// The measured window must end by then, unless the user's windows already do not.
    end_by_ns: i64,
    warm_until_ns: i64,
    measured: Option<(i64, i64)>,
    /// Whether the measured window ends where it does whatever the latencies: its requests are counted.
    counted: bool,
    tail: bool,
}

/// A piece to append.
pub(crate) type Piece = (Phase, (i64, i64));

impl Windows {
    /// The windows of a level that begins at `start_ns`, as long as the user says.
    pub(crate) fn new(start_ns: i64, warmup: Duration, measured: Duration, drain: Duration) -> Self {
        Self {
            start_ns,
            warmup_ns: nanos(warmup),
            measured_ns: nanos(measured),
            drain_ns: nanos(drain),
            lead_ns: 0,
            stretch: false,
            end_by_ns: i64::MAX,
            warm_until_ns: start_ns,
            measured: None,
            counted: false,
            tail: false,
        }
    }

    /// Stretches them to the level's latencies, with pieces appended `lead_ns` ahead; the end of the measured window
    /// stays before `end_by_ns`.
    pub(crate) fn stretched(self, lead_ns: i64, end_by_ns: i64) -> Self {
        Self {
            stretch: true,
            lead_ns,
            end_by_ns,
            ..self
        }
    }

    /// The next piece to append at `now_ns`, if it is time.
    pub(crate) fn next_piece(&mut self, now_ns: i64, e2e: E2e) -> Option<Piece> {
        let appended_to = self.measured.map_or(self.warm_until_ns, |(_, to)| to);
        let begun = appended_to > self.start_ns;
        if self.tail || (begun && self.stretch && appended_to - now_ns > self.lead_ns) {
            return None;
        }
        let piece = match self.measured {
            None => {
                let missing_ns = self.warmup_target(e2e) - (self.warm_until_ns - self.start_ns);
                let first_ns = if begun { PIECE_NS } else { self.warmup_ns };
                if missing_ns > 0 {
                    let to = self.warm_until_ns + missing_ns.min(first_ns);
                    (Phase::Warmup, (self.warm_until_ns, to))
                } else {
                    let from = self.warm_until_ns;
                    (Phase::Measured, (from, from.saturating_add(self.measured_ns)))
                }
            }
            Some((from, to)) => {
                let missing_ns = self.measured_target(from, e2e) - (to - from);
                if missing_ns > 0 {
                    (Phase::Measured, (to, to + missing_ns.min(PIECE_NS)))
                } else {
                    (Phase::Tail, (to, to.saturating_add(self.drain_ns)))
                }
            }
        };
        let (phase, (from, to)) = piece;
        match phase {
            Phase::Warmup => self.warm_until_ns = to,
            Phase::Measured => self.measured = Some((self.measured.map_or(from, |(from, _)| from), to)),
            Phase::Tail => self.tail = true,
        }
        Some(piece)
    }

    /// Ends the measured window at this time, whatever the latencies.
    pub(crate) fn end_measured(&mut self, to_ns: i64) {
        self.counted = true;
        if let Some((_, to)) = &mut self.measured {
            *to = to_ns;
        }
    }

    fn warmup_target(&self, e2e: E2e) -> i64 {
        let latest_ns = self
            .end_by_ns
            .saturating_sub(self.start_ns)
            .saturating_sub(self.measured_ns);
        self.target(self.warmup_ns, WARMUP_E2ES, latest_ns, e2e)
    }

    fn measured_target(&self, from_ns: i64, e2e: E2e) -> i64 {
        if let Some((from, to)) = self.measured.filter(|_| self.counted) {
            return to - from;
        }
        let latest_ns = self.end_by_ns.saturating_sub(from_ns);
        self.target(self.measured_ns, MEASURED_E2ES, latest_ns, e2e)
    }

    /// The user's length, or so many latencies if that is longer, within the limits of stretching.
    fn target(&self, user_ns: i64, e2es: i64, latest_ns: i64, e2e: E2e) -> i64 {
        if !self.stretch {
            return user_ns;
        }
        let wanted_ns = match e2e {
            E2e::Unknown => i64::MAX,
            E2e::Median(median_ns) => median_ns.saturating_mul(e2es),
        };
        let most_ns = user_ns.saturating_mul(MOST_STRETCH).min(latest_ns).max(user_ns);
        wanted_ns.clamp(user_ns, most_ns)
    }

    /// How long the measured window will be, as far as is known.
    pub(crate) fn expected_measured_ns(&self, e2e: E2e) -> i64 {
        match self.measured {
            Some((from, to)) if !self.tail => self.measured_target(from, e2e).max(to - from),
            Some((from, to)) => to - from,
            None => self.measured_ns,
        }
    }

    /// The measured window so far.
    pub(crate) fn measured(&self) -> Option<(i64, i64)> {
        self.measured
    }

    /// The times as they are planned at this moment.
    pub(crate) fn planned(&self) -> Timing {
        let planned = (
            self.warm_until_ns,
            self.warm_until_ns.saturating_add(self.measured_ns),
        );
        let (measured_from_ns, measured_to_ns) = self.measured.unwrap_or(planned);
        Timing {
            start_ns: self.start_ns,
            measured_from_ns,
            measured_to_ns,
            drain_until_ns: measured_to_ns.saturating_add(self.drain_ns),
        }
    }

    /// The times, once nothing can change them.
    pub(crate) fn settled(&self) -> Option<Timing> {
        self.tail.then(|| self.planned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;
    const LEAD: i64 = S / 2;

    fn windows() -> Windows {
        let seconds = Duration::from_secs;
        Windows::new(0, seconds(30), seconds(60), seconds(300))
    }

    /// Appends as a level does that is looked at ten times a second; warm-up, measured window, end of the tail.
    fn run(mut windows: Windows, e2e: impl Fn(i64) -> E2e) -> (i64, i64, i64) {
        let (mut now, mut appended_to, mut tail_to) = (-LEAD, 0, 0);
        while tail_to == 0 {
            while let Some((phase, (from, to))) = windows.next_piece(now, e2e(now)) {
                assert_eq!(from, appended_to, "no gap, nothing twice");
                assert!(from - now <= LEAD || !windows.stretch || phase == Phase::Tail);
                assert!(to > from);
                appended_to = to;
                if phase == Phase::Tail {
                    tail_to = to;
                }
            }
            now += S / 10;
        }
        let timing = windows.settled().expect("a tail");
        assert_eq!(timing.drain_until_ns, tail_to);
        (
            timing.measured_from_ns / S,
            (timing.measured_to_ns - timing.measured_from_ns) / S,
            tail_to / S,
        )
    }

    #[test]
    fn exact_windows_are_appended_at_once() {
        let mut windows = windows();
        let mut next = || windows.next_piece(-LEAD, E2e::Unknown);
        assert_eq!(next(), Some((Phase::Warmup, (0, 30 * S))));
        assert_eq!(next(), Some((Phase::Measured, (30 * S, 90 * S))));
        assert_eq!(next(), Some((Phase::Tail, (90 * S, 390 * S))));
        assert_eq!(next(), None);
        let seconds = Duration::from_secs;
        let mut cold = Windows::new(0, Duration::ZERO, seconds(60), seconds(1));
        assert_eq!(
            cold.next_piece(-LEAD, E2e::Unknown),
            Some((Phase::Measured, (0, 60 * S)))
        );
    }

    #[test]
    fn windows_grow_with_the_latency() {
        let check = |e2e: i64, expected| {
            let stretched = windows().stretched(LEAD, i64::MAX);
            // Nothing is known before the first request has ended.
            let known = |now: i64| {
                if now < e2e * S {
                    E2e::Unknown
                } else {
                    E2e::Median(e2e * S)
                }
            };
            assert_eq!(run(stretched, known), expected, "{e2e} s");
        };
        check(0, (30, 60, 390));
        check(8, (30, 60, 390));
        check(12, (36, 60, 396));
        check(50, (150, 250, 700));
        check(200, (300, 600, 1200));
    }

    #[test]
    fn a_counted_window_is_not_stretched() {
        let mut windows = windows().stretched(LEAD, i64::MAX);
        let unknown = |windows: &mut Windows, now| windows.next_piece(now, E2e::Median(50 * S));
        let mut now = -LEAD;
        let (from, to) = loop {
            match unknown(&mut windows, now) {
                Some((Phase::Measured, span)) => break span,
                Some(_) => {}
                None => now += S / 10,
            }
        };
        assert_eq!(to - from, 60 * S);
        windows.end_measured(from + 7 * S);
        let tail = unknown(&mut windows, from + 7 * S);
        assert_eq!(tail, Some((Phase::Tail, (from + 7 * S, from + 307 * S))));
    }

    #[test]
    fn a_server_without_an_answer_stretches_to_the_limit_and_one_that_fails_does_not() {
        assert_eq!(
            run(windows().stretched(LEAD, i64::MAX), |_| E2e::Unknown),
            (300, 600, 1200)
        );
        assert_eq!(
            run(windows().stretched(LEAD, i64::MAX), |_| E2e::Median(0)),
            (30, 60, 390)
        );
    }

    #[test]
    fn the_runs_time_limits_the_stretch() {
        let check = |end_by: i64, expected| {
            let stretched = windows().stretched(LEAD, end_by * S);
            assert_eq!(run(stretched, |_| E2e::Median(50 * S)), expected);
        };
        check(100, (40, 60, 400));
        check(200, (140, 60, 500));
        check(250, (150, 100, 550));
        // Whoever offered the level knew that it does not fit.
        check(10, (30, 60, 390));
    }
}
