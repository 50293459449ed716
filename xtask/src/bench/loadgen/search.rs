//! The highest rate that is kept, by probes.

/// A search by steps of a factor until a rate is kept and one above it is not, then by halves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    guess: f64,
    step: f64,
    kept: Option<f64>,
    lost: Option<f64>,
    server_share_when_lost: f64,
}

/// How near the lowest rate that was not kept must be.
const RESOLUTION: f64 = 1.04;
/// No search goes below this rate.
const LEAST: f64 = 10.0;

impl Search {
    /// One that begins at `guess`, in steps of the factor `step`.
    pub(super) fn new(guess: f64, step: f64) -> Self {
        Self {
            guess,
            step,
            kept: None,
            lost: None,
            server_share_when_lost: 0.0,
        }
    }

    /// The next rate to try; none when the answer is near enough.
    pub(super) fn next(&self) -> Option<f64> {
        match (self.kept, self.lost) {
            (None, None) => Some(self.guess),
            (Some(kept), None) => Some(kept * self.step),
            (None, Some(lost)) => Some(lost / self.step).filter(|rate| *rate >= LEAST),
            (Some(kept), Some(lost)) => (lost / kept > RESOLUTION).then(|| (kept * lost).sqrt()),
        }
    }

    /// A rate was tried, and the server took this share of its core.
    pub(super) fn tell(&mut self, rate: f64, is_kept: bool, server_share: f64) {
        if is_kept {
            self.kept = Some(self.kept.map_or(rate, |kept| kept.max(rate)));
        } else if self.lost.is_none_or(|lost| rate < lost) {
            self.lost = Some(rate);
            self.server_share_when_lost = server_share;
        }
    }

    /// The server's share of its core at the lowest rate that was not kept: near 1, the server was the limit.
    pub(super) fn server_share_when_lost(&self) -> f64 {
        self.server_share_when_lost
    }

    /// The highest rate that was kept; 0 if none was.
    pub(super) fn kept(&self) -> f64 {
        self.kept.unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches on a client that keeps every rate up to `limit`; returns what was found, the lowest rate that was not
    /// kept in place of the server's share there, and the number of probes.
    fn find(limit: f64, guess: f64, step: f64) -> (f64, f64, usize) {
        let mut search = Search::new(guess, step);
        let mut probes = 0;
        while let Some(rate) = search.next() {
            search.tell(rate, rate <= limit, rate);
            probes += 1;
        }
        (search.kept(), search.server_share_when_lost(), probes)
    }

    #[test]
    fn the_limit_is_found_to_four_percent() {
        let check = |limit: f64, guess, step, most| {
            let (kept, share, probes) = find(limit, guess, step);
            assert!(kept <= limit && limit / kept <= RESOLUTION, "{limit}: {kept}");
            assert!(probes <= most, "{limit}: {probes} probes");
            assert!(share > limit && share / kept <= RESOLUTION, "{limit}: {share}");
        };
        check(8000.0, 3000.0, 1.3, 8);
        check(8000.0, 20_000.0, 1.3, 8);
        check(8000.0, 7900.0, 1.1, 5);
        check(123.0, 100.0, 1.3, 6);
    }

    #[test]
    fn a_client_that_keeps_nothing_is_given_up() {
        assert!(find(0.0, 5000.0, 1.3).0 < 1e-12);
    }
}
