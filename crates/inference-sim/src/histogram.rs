//! A histogram as Prometheus exports it: written by one thread, read by another.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

/// Upper bounds in seconds of vLLM's `vllm:time_to_first_token_seconds`.
pub(crate) const TTFT_BOUNDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];

/// Upper bounds in seconds of vLLM's `vllm:request_queue_time_seconds`.
pub(crate) const QUEUE_BOUNDS: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];

/// Times by their length.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// Observations up to each bound and above the one before; the last is for those above all.
    counts: Vec<AtomicU64>,
    sum_ns: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_ns: AtomicU64::new(0),
        }
    }

    pub(crate) fn observe(&self, ns: i64) {
        let ns = ns.max(0) as u64;
        let at = self.bounds.partition_point(|bound| *bound < ns as f64 / 1e9);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    /// Buckets, sum and count; `labels` without braces, not empty.
    pub(crate) fn render(&self, text: &mut String, name: &str, help: &str, labels: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut count = 0;
        for (at, here) in self.counts.iter().enumerate() {
            count += here.load(Ordering::Relaxed);
            let bound = self
                .bounds
                .get(at)
                .map_or("+Inf".to_owned(), |bound| format!("{bound:?}"));
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}.0");
        }
        let sum = self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9;
        let _ = writeln!(
            text,
            "{name}_sum{{{labels}}} {sum:?}\n{name}_count{{{labels}}} {count}.0"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let histogram = Histogram::new(&[0.1, 0.5]);
        for ns in [100_000_000, 100_000_001, 500_000_000, 2_000_000_000, -1] {
            histogram.observe(ns);
        }
        let mut text = String::new();
        histogram.render(&mut text, "x", "Some times.", "a=\"b\"");
        insta::assert_snapshot!(text, @r#"
        # HELP x Some times.
        # TYPE x histogram
        x_bucket{a="b",le="0.1"} 2.0
        x_bucket{a="b",le="0.5"} 4.0
        x_bucket{a="b",le="+Inf"} 5.0
        x_sum{a="b"} 2.700000001
        x_count{a="b"} 5.0
        "#);
    }
}
