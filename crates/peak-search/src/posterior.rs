//! Where the violating share crosses what an objective allows, and how sure that is.

/// Width of a cell of the grid over the crossing, in ln rate.
const CROSSING_STEP: f64 = 0.002;
/// The grid reaches so far beyond the lowest and the highest rate, in ln rate.
const CROSSING_MARGIN: f64 = 0.25;
const SLOPE_CELLS: usize = 15;
/// The slope's grid reaches so many standard deviations to both sides.
const SLOPE_REACH: f64 = 2.2;

/// One level as the estimate sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    /// ln of the rate of work that was really drawn: the offered rate and what chance made of it.
    pub(crate) position: f64,
    /// Variance of that chance, relative.
    pub(crate) chance: f64,
    /// The violating share.
    pub(crate) share: f64,
    /// How many independent requests the level is worth.
    pub(crate) weight: f64,
}

/// The log-normal prior of the slope: logit of the violating share per unit of ln rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlopePrior {
    pub(crate) centre: f64,
    pub(crate) spread: f64,
}

impl SlopePrior {
    /// The slope so many standard deviations from the centre.
    fn at(self, deviation: f64) -> f64 {
        self.centre * self.spread.powf(deviation)
    }
}

/// The standard deviations from the prior's centre at which a cell of the slope's grid lies.
fn deviation(cell: usize) -> f64 {
    SLOPE_REACH * (2.0 * cell as f64 / (SLOPE_CELLS - 1) as f64 - 1.0)
}

/// The posterior of the crossing.
#[derive(Clone, Debug)]
pub(crate) struct Posterior {
    /// ln rate of the first cell.
    first: f64,
    /// Sums to 1.
    cells: Vec<f64>,
    /// The geometric mean of the slope.
    slope: f64,
}

impl Posterior {
    /// The posterior of the rate at which the share is `target`, by a logistic curve over ln rate with a flat prior on
    /// the crossing; `None` without points.
    pub(crate) fn new(points: &[Point], target: f64, prior: SlopePrior) -> Option<Self> {
        let least = points.iter().map(|point| point.position).reduce(f64::min)?;
        let most = points.iter().map(|point| point.position).reduce(f64::max)?;
        let first = least - CROSSING_MARGIN;
        let count = ((most + CROSSING_MARGIN - first) / CROSSING_STEP).ceil() as usize + 1;
        let offset = (target / (1.0 - target)).ln();
        let shifts: Vec<Vec<f64>> = (0..SLOPE_CELLS)
            .map(|cell| {
                let slope = prior.at(deviation(cell));
                points
                    .iter()
                    .map(|point| shift(offset, slope * point.chance.sqrt()))
                    .collect()
            })
            .collect();
        let mut logs = vec![f64::NEG_INFINITY; count * SLOPE_CELLS];
        for (at, log) in logs.iter_mut().enumerate() {
            let crossing = first + (at / SLOPE_CELLS) as f64 * CROSSING_STEP;
            let deviation = deviation(at % SLOPE_CELLS);
            let slope = prior.at(deviation);
            let shifts = &shifts[at % SLOPE_CELLS];
            *log = -deviation * deviation / 2.0
                + points
                    .iter()
                    .zip(shifts)
                    .map(|(point, shift)| {
                        log_likelihood(point, offset - shift + slope * (point.position - crossing))
                    })
                    .sum::<f64>();
        }
        let greatest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut cells: Vec<f64> = logs
            .chunks(SLOPE_CELLS)
            .map(|slopes| slopes.iter().map(|log| (log - greatest).exp()).sum())
            .collect();
        let sum: f64 = cells.iter().sum();
        for cell in &mut cells {
            *cell /= sum;
        }
        let deviations: f64 = logs
            .iter()
            .enumerate()
            .map(|(at, log)| (log - greatest).exp() / sum * deviation(at % SLOPE_CELLS))
            .sum();
        Some(Self {
            first,
            cells,
            slope: prior.at(deviations),
        })
    }

    /// The slope that the points suggest.
    pub(crate) fn slope(&self) -> f64 {
        self.slope
    }

    /// The mean, as a rate.
    pub(crate) fn mean(&self) -> f64 {
        let mean: f64 = self
            .cells
            .iter()
            .enumerate()
            .map(|(at, cell)| cell * self.position(at))
            .sum();
        mean.exp()
    }

    /// The rate below which the crossing lies with probability `p`.
    pub(crate) fn quantile(&self, p: f64) -> f64 {
        let mut below = 0.0;
        for (at, cell) in self.cells.iter().enumerate() {
            if below + cell >= p {
                let within = if *cell > 0.0 {
                    (p - below) / cell - 0.5
                } else {
                    0.0
                };
                return (self.position(at) + within * CROSSING_STEP).exp();
            }
            below += cell;
        }
        self.position(self.cells.len()).exp()
    }

    fn position(&self, at: usize) -> f64 {
        self.first + at as f64 * CROSSING_STEP
    }
}

/// By how much the logit of a stretch whose work is known lies below that of the long run, whose share is the mean over
/// what chance makes of the work: the d with E[σ(offset − d + spread · z)] = σ(offset), z standard normal.
fn shift(offset: f64, spread: f64) -> f64 {
    // Seven points of Gauss–Hermite quadrature for the standard normal distribution.
    const NODES: [(f64, f64); 4] = [
        (0.0, 0.457_142_857_142_857_1),
        (1.154_405_394_739_968, 0.240_123_178_605_012_7),
        (2.366_759_410_734_541, 0.030_757_123_967_586_5),
        (3.750_439_717_725_742, 0.000_548_268_855_972_218),
    ];
    let sigma = |logit: f64| 1.0 / (1.0 + (-logit).exp());
    let mean = |d: f64| {
        NODES
            .iter()
            .map(|(node, weight)| {
                let (up, down) = (
                    sigma(offset - d + spread * node),
                    sigma(offset - d - spread * node),
                );
                if *node == 0.0 {
                    weight * up
                } else {
                    weight * (up + down)
                }
            })
            .sum::<f64>()
    };
    let (mut low, mut high) = (0.0, spread * spread / 2.0 + 1e-9);
    for _ in 0..30 {
        let middle = f64::midpoint(low, high);
        if mean(middle) > sigma(offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// ln of the likelihood of a share when the curve's logit there is `logit`; counts need not be whole.
fn log_likelihood(point: &Point, logit: f64) -> f64 {
    // ln(1 + e^logit) without overflow.
    let log_odds_sum = logit.max(0.0) + (-logit.abs()).exp().ln_1p();
    point.weight * (point.share * logit - log_odds_sum)
}
