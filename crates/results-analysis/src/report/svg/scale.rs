//! Scales: from a value to a place, with ticks at round numbers.

/// How values are spread over the axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// Equal differences are equally long.
    Linear,
    /// Equal ratios are equally long; values are greater than zero.
    Log,
}

/// An axis: the values from `low` to `high` lie between the places `from` and `to`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    spread: Spread,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// An axis just as long as asked for; a domain without extent is widened.
    pub(crate) fn exact(spread: Spread, (low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        let (low, high) = match spread {
            Spread::Linear if high > low => (low, high),
            Spread::Linear => (low, low + low.abs().max(1.0)),
            Spread::Log => {
                let low = low.max(1e-9);
                (low, if high > low { high } else { low * 10.0 })
            }
        };
        Self {
            spread,
            low,
            high,
            from,
            to,
        }
    }

    /// A linear axis from zero to a round number above `high`.
    pub(crate) fn from_zero(high: f64, places: (f64, f64)) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        let step = round_step(high, 6);
        Self::exact(Spread::Linear, (0.0, (high / step - 1e-9).ceil() * step), places)
    }

    /// A linear axis between round numbers around a domain; from zero unless that would leave half of it empty, or the
    /// domain is but a point.
    pub(crate) fn around((low, high): (f64, f64), places: (f64, f64)) -> Self {
        if low < high / 2.0 || high <= low * 1.02 {
            return Self::from_zero(high, places);
        }
        let step = round_step(high - low, 8);
        let ends = (
            (low / step + 1e-9).floor() * step,
            (high / step - 1e-9).ceil() * step,
        );
        Self::exact(Spread::Linear, ends, places)
    }

    /// A logarithmic axis between numbers of the form 1, 2, 5 × 10ⁿ around a domain.
    pub(crate) fn log((low, high): (f64, f64), places: (f64, f64)) -> Self {
        let low = low.max(1e-9);
        Self::exact(
            Spread::Log,
            (log_step_below(low), log_step_above(high.max(low))),
            places,
        )
    }

    /// Where a value lies; one beyond the axis lies at its end.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let share = match self.spread {
            Spread::Linear => (value - self.low) / (self.high - self.low),
            Spread::Log => (value.max(1e-12) / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Whether a value lies on the axis.
    pub(crate) fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// The places of both ends.
    pub(crate) fn places(&self) -> (f64, f64) {
        (self.from, self.to)
    }

    /// At most about so many ticks, each with its label.
    pub(crate) fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        match self.spread {
            Spread::Linear => {
                let step = round_step(self.high - self.low, most);
                let first = (self.low / step - 1e-9).ceil() as i64;
                let last = (self.high / step + 1e-9).floor() as i64;
                let decimals = decimals(step);
                (first..=last)
                    .map(|index| index as f64 * step)
                    .map(|value| (value, format!("{value:.decimals$}")))
                    .collect()
            }
            Spread::Log => self.log_ticks(most),
        }
    }

    fn log_ticks(&self, most: usize) -> Vec<(f64, String)> {
        let decades = (self.high / self.low).log10();
        let digits: &[f64] = if decades * 3.0 <= most as f64 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        let mut ticks = Vec::new();
        for exponent in first..=last {
            for digit in digits {
                let value = digit * 10f64.powi(exponent);
                if value >= self.low * 0.999 && value <= self.high * 1.001 {
                    ticks.push((value, format!("{:.*}", (-exponent).max(0) as usize, value)));
                }
            }
        }
        ticks
    }
}

/// The smallest of 1, 2, 5 × 10ⁿ with which `extent` has at most `most` steps.
fn round_step(extent: f64, most: usize) -> f64 {
    let least = extent / most.max(1) as f64;
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

fn decimals(step: f64) -> usize {
    (-(step.log10() + 1e-9).floor()).max(0.0) as usize
}

fn log_step_below(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|step| *step <= value * (1.0 + 1e-9))
        .unwrap_or(power)
}

fn log_step_above(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|step| *step >= value * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, most: usize) -> String {
        let labels: Vec<String> = scale.ticks(most).into_iter().map(|(_, label)| label).collect();
        labels.join(" ")
    }

    #[test]
    fn ticks_are_round_numbers() {
        let places = (0.0, 100.0);
        let check = |scale: Scale, most, expected: &str| assert_eq!(labels(scale, most), expected);
        check(Scale::from_zero(38.0, places), 6, "0 10 20 30 40");
        check(Scale::from_zero(0.07, places), 6, "0.00 0.02 0.04 0.06 0.08");
        check(Scale::from_zero(0.0, places), 6, "0.0 0.2 0.4 0.6 0.8 1.0");
        check(Scale::around((24.6, 26.3), places), 8, "24.5 25.0 25.5 26.0 26.5");
        check(Scale::around((5.0, 38.0), places), 8, "0 5 10 15 20 25 30 35 40");
        check(Scale::around((25.0, 25.0), places), 5, "0 5 10 15 20 25");
        let exact = Scale::exact(Spread::Linear, (24.6, 26.3), places);
        check(exact, 4, "25.0 25.5 26.0");
        check(
            Scale::log((87.0, 4100.0), places),
            8,
            "50 100 200 500 1000 2000 5000",
        );
        check(
            Scale::log((0.3, 90_000.0), places),
            6,
            "1 10 100 1000 10000 100000",
        );
        check(Scale::log((0.02, 0.09), places), 8, "0.02 0.05 0.1");
    }

    #[test]
    fn values_beyond_the_axis_lie_at_its_end() {
        let scale = Scale::log((10.0, 1000.0), (100.0, 0.0));
        for (value, place) in [
            (10.0, 100.0),
            (100.0, 50.0),
            (1000.0, 0.0),
            (1.0, 100.0),
            (f64::INFINITY, 0.0),
        ] {
            assert!((scale.at(value) - place).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn a_domain_without_extent_has_an_axis() {
        for spread in [Spread::Linear, Spread::Log] {
            let scale = Scale::exact(spread, (5.0, 5.0), (0.0, 10.0));
            assert!(scale.at(5.0).is_finite());
        }
    }
}
