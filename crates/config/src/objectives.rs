//! Latency objectives: `slos`, a list of texts, or the predecessor's `latency_slos`.

use std::time::Duration;

use gipfel_model::{LatencyMetric, Quantile, Slo, SloError};

use crate::{
    field::{Field, one_line},
    nearest::nearest,
    section::Section,
};

const MOST_MS: f64 = 86_400_000.0;

/// The predecessor's objectives: the first one decides, the second one is shown.
const DEFAULT_TTFT: (&str, u64) = ("ttft_p95_ms", 500);
const DEFAULT_E2E: (&str, u64) = ("e2e_p95_ms", 10_000);

/// The objectives of one level of the file: of the defaults or of an experiment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objectives {
    main: Option<MainObjectives>,
    informational: Option<Vec<Slo>>,
}

#[derive(Clone, Debug)]
struct MainObjectives {
    deciding: Vec<Slo>,
    informational: Vec<Slo>,
}

impl Objectives {
    pub(crate) fn take(section: &mut Section<'_>) -> Self {
        section.exclusive(
            "slos",
            "latency_slos",
            "an objective is given in one of the two forms",
        );
        let slos = section.take("slos");
        let latency_slos = section.take("latency_slos");
        let informational = section.take("informational_slos");
        let slos = read_slos(&slos).map(|deciding| MainObjectives {
            deciding,
            informational: Vec::new(),
        });
        Self {
            main: read_latency_slos(&latency_slos).or(slos),
            informational: read_list(&informational),
        }
    }

    /// The objectives of an experiment take the place of the defaults' as a whole.
    pub(crate) fn or(self, defaults: &Self) -> Self {
        Self {
            main: self.main.or_else(|| defaults.main.clone()),
            informational: self.informational.or_else(|| defaults.informational.clone()),
        }
    }

    /// Those that decide, and those that are shown.
    pub(crate) fn resolve(self) -> (Vec<Slo>, Vec<Slo>) {
        let main = self.main.unwrap_or_else(|| with_defaults(Vec::new(), Vec::new()));
        (main.deciding, self.informational.unwrap_or(main.informational))
    }
}

fn read_slos(field: &Field<'_>) -> Option<Vec<Slo>> {
    let slos = read_list(field)?;
    if field.is_empty_list() {
        field.fault("an empty list; a search needs an objective, such as `ttft p95 <= 500ms`");
    }
    Some(slos)
}

fn read_list(field: &Field<'_>) -> Option<Vec<Slo>> {
    let items = field.as_list("a list of objectives, such as `[ttft p95 <= 500ms, error_rate <= 1%]`")?;
    Some(items.iter().filter_map(read_slo).collect())
}

fn read_slo(field: &Field<'_>) -> Option<Slo> {
    let text = field.as_text("an objective, such as `ttft p95 <= 500ms` or `error_rate <= 1%`")?;
    text.parse()
        .map_err(|error: SloError| field.fault(one_line(&error.to_string())))
        .ok()
}

fn read_latency_slos(field: &Field<'_>) -> Option<MainObjectives> {
    let mut section = field.as_section()?;
    let mut deciding = Vec::new();
    let mut informational = Vec::new();
    for (key, field) in section.take_rest() {
        let Some((metric, quantile)) = parse_key(key) else {
            refuse_key(key, &field);
            continue;
        };
        let Some(limit) = read_milliseconds(&field) else {
            continue;
        };
        let slo = Slo::Latency {
            metric,
            quantile,
            limit,
        };
        if key == DEFAULT_E2E.0 {
            informational.push(slo);
        } else {
            deciding.push(slo);
        }
    }
    Some(with_defaults(deciding, informational))
}

/// A default holds unless another percentile of its metric is given.
fn with_defaults(mut deciding: Vec<Slo>, mut informational: Vec<Slo>) -> MainObjectives {
    let given = |wanted: LatencyMetric| {
        let is = |slo: &Slo| matches!(slo, Slo::Latency { metric, .. } if *metric == wanted);
        deciding.iter().chain(&informational).any(is)
    };
    let (ttft_given, e2e_given) = (given(LatencyMetric::Ttft), given(LatencyMetric::E2e));
    if !ttft_given {
        deciding.insert(0, p95(LatencyMetric::Ttft, DEFAULT_TTFT.1));
    }
    if !e2e_given {
        informational.push(p95(LatencyMetric::E2e, DEFAULT_E2E.1));
    }
    MainObjectives {
        deciding,
        informational,
    }
}

fn p95(metric: LatencyMetric, limit_ms: u64) -> Slo {
    Slo::Latency {
        metric,
        quantile: Quantile::P95,
        limit: Duration::from_millis(limit_ms),
    }
}

/// Reads `<metric>_p<NN>_ms`.
fn parse_key(key: &str) -> Option<(LatencyMetric, Quantile)> {
    let (metric, quantile) = key.strip_suffix("_ms")?.split_once('_')?;
    Some((metric.parse().ok()?, quantile.parse().ok()?))
}

fn refuse_key(key: &str, field: &Field<'_>) {
    let common = [
        "ttft_p50_ms",
        "ttft_p95_ms",
        "ttft_p99_ms",
        "tpot_p95_ms",
        "itl_p95_ms",
        "e2e_p95_ms",
    ];
    field.unknown_key(
        "`<metric>_p<NN>_ms` of the metrics ttft, tpot, itl, e2e, such as ttft_p95_ms",
        nearest(key, common),
    );
}

fn read_milliseconds(field: &Field<'_>) -> Option<Duration> {
    let milliseconds = field.as_number("milliseconds, greater than 0, at most a day", |number| {
        number > 0.0 && number <= MOST_MS
    })?;
    // Whole nanoseconds; a limit below one would be none.
    let nanoseconds = (milliseconds * 1e6).round().max(1.0);
    Some(Duration::from_nanos(nanoseconds as u64))
}
