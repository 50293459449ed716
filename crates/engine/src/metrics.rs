//! An engine's metrics under one set of names.

use crate::{Engine, data::MetricNames};

/// What one scrape says; a value that the engine does not export is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EngineMetrics {
    /// Requests that the server is working on.
    pub requests_running: Option<f64>,
    /// Requests that wait in the server's queue.
    pub requests_waiting: Option<f64>,
    /// Share of the KV cache in use, 0 to 1.
    pub kv_cache_usage: Option<f64>,
    /// Preemptions since the server's start.
    pub preemptions: Option<f64>,
    /// Prefix cache queries since the server's start, in tokens.
    pub prefix_cache_queries: Option<f64>,
    /// Prefix cache hits since the server's start, in tokens.
    pub prefix_cache_hits: Option<f64>,
    /// Draft tokens that were accepted since the server's start.
    pub spec_accepted_tokens: Option<f64>,
    /// Draft tokens proposed since the server's start.
    pub spec_draft_tokens: Option<f64>,
    /// The sum of the server's own TTFT histogram since its start, in seconds.
    pub ttft_sum: Option<f64>,
    /// The number of requests in it.
    pub ttft_count: Option<f64>,
    /// The sum of the server's own histogram of queueing times since its start, in seconds.
    pub queue_sum: Option<f64>,
    /// The number of requests in it.
    pub queue_count: Option<f64>,
}

/// Makes one value of two label sets.
type Combine = fn(f64, f64) -> f64;

/// The value of a metric under its most preferred name so far.
#[derive(Clone, Copy, Default)]
struct Best {
    value: Option<f64>,
    preference: usize,
}

impl Best {
    /// Takes a sample in; samples of one name are combined, those of a less preferred name dropped.
    fn take(&mut self, names: &[String], name: &str, value: f64, combine: Combine) {
        let Some(preference) = names.iter().position(|known| known == name) else {
            return;
        };
        match self.value {
            Some(_) if preference > self.preference => {}
            Some(before) if preference == self.preference => self.value = Some(combine(before, value)),
            _ => {
                *self = Self {
                    value: Some(value),
                    preference,
                }
            }
        }
    }
}

fn sum(a: f64, b: f64) -> f64 {
    a + b
}

impl Engine {
    /// Reads one scrape: pairs of a metric's name and a value, one for each label set.
    ///
    /// Label sets, such as those of several engines behind one port, are summed; of cache usage the largest
    /// counts. When old and new names of a metric are both there, one of them counts.
    pub fn read_metrics<'a>(&self, samples: impl Iterator<Item = (&'a str, f64)>) -> EngineMetrics {
        let MetricNames {
            requests_running,
            requests_waiting,
            kv_cache_usage,
            preemptions,
            prefix_cache_queries,
            prefix_cache_hits,
            spec_accepted_tokens,
            spec_draft_tokens,
            ttft_sum,
            ttft_count,
            queue_sum,
            queue_count,
        } = &self.data.metrics;
        let wanted: [(&[String], Combine); 12] = [
            (requests_running, sum),
            (requests_waiting, sum),
            (kv_cache_usage, f64::max),
            (preemptions, sum),
            (prefix_cache_queries, sum),
            (prefix_cache_hits, sum),
            (spec_accepted_tokens, sum),
            (spec_draft_tokens, sum),
            (ttft_sum, sum),
            (ttft_count, sum),
            (queue_sum, sum),
            (queue_count, sum),
        ];
        let mut best = [Best::default(); 12];
        for (name, value) in samples.filter(|(_, value)| value.is_finite()) {
            for (best, (names, combine)) in best.iter_mut().zip(wanted) {
                best.take(names, name, value, combine);
            }
        }
        let [
            running,
            waiting,
            usage,
            preempted,
            queries,
            hits,
            accepted,
            drafted,
            ttft_sum,
            ttft_count,
            queue_sum,
            queue_count,
        ] = best.map(|best| best.value);
        EngineMetrics {
            requests_running: running,
            requests_waiting: waiting,
            kv_cache_usage: usage,
            preemptions: preempted,
            prefix_cache_queries: queries,
            prefix_cache_hits: hits,
            spec_accepted_tokens: accepted,
            spec_draft_tokens: drafted,
            ttft_sum,
            ttft_count,
            queue_sum,
            queue_count,
        }
    }
}

#[cfg(test)]
mod tests {
    use gipfel_model::BackendKind;

    use super::*;
    use crate::engine;

    fn check(kind: BackendKind, samples: &[(&str, f64)], expected: EngineMetrics) {
        assert_eq!(
            engine(kind).read_metrics(samples.iter().copied()),
            expected,
            "{samples:?}"
        );
    }

    #[test]
    fn label_sets_are_combined() {
        check(
            BackendKind::Vllm,
            &[
                ("vllm:num_requests_running", 3.0),
                ("vllm:num_requests_running", 4.0),
                ("vllm:kv_cache_usage_perc", 0.5),
                ("vllm:kv_cache_usage_perc", 0.25),
                ("vllm:num_preemptions_created", 1e9),
            ],
            EngineMetrics {
                requests_running: Some(7.0),
                kv_cache_usage: Some(0.5),
                ..EngineMetrics::default()
            },
        );
    }

    #[test]
    fn of_two_names_one_counts_in_any_order() {
        let expected = EngineMetrics {
            prefix_cache_hits: Some(8.0),
            ..EngineMetrics::default()
        };
        let old = ("vllm:gpu_prefix_cache_hits_total", 5.0);
        let new = ("vllm:prefix_cache_hits_total", 8.0);
        check(BackendKind::Vllm, &[old, new], expected);
        check(BackendKind::Vllm, &[new, old], expected);
        let only_old = EngineMetrics {
            prefix_cache_hits: Some(5.0),
            ..EngineMetrics::default()
        };
        check(BackendKind::Vllm, &[old], only_old);
    }

    #[test]
    fn histograms_are_read_by_sum_and_count() {
        let expected = EngineMetrics {
            ttft_sum: Some(2.5),
            ttft_count: Some(10.0),
            queue_sum: Some(0.5),
            queue_count: Some(9.0),
            ..EngineMetrics::default()
        };
        for kind in [BackendKind::Vllm, BackendKind::Sim, BackendKind::Dynamo] {
            check(
                kind,
                &[
                    ("vllm:time_to_first_token_seconds_bucket", 7.0),
                    ("vllm:time_to_first_token_seconds_sum", 2.5),
                    ("vllm:time_to_first_token_seconds_count", 10.0),
                    ("vllm:time_to_first_token_seconds_created", 1e9),
                    ("vllm:request_queue_time_seconds_sum", 0.5),
                    ("vllm:request_queue_time_seconds_count", 9.0),
                ],
                expected,
            );
        }
        check(
            BackendKind::Sglang,
            &[
                ("sglang:time_to_first_token_seconds_sum", 2.5),
                ("sglang:time_to_first_token_seconds_count", 10.0),
                ("sglang:queue_time_seconds_sum", 0.5),
                ("sglang:queue_time_seconds_count", 9.0),
            ],
            expected,
        );
        check(
            BackendKind::Dynamo,
            &[
                ("dynamo_frontend_time_to_first_token_seconds_sum", 2.5),
                ("dynamo_frontend_time_to_first_token_seconds_count", 10.0),
            ],
            EngineMetrics {
                queue_sum: None,
                queue_count: None,
                ..expected
            },
        );
    }

    #[test]
    fn each_engine_has_its_names() {
        let waiting = EngineMetrics {
            requests_waiting: Some(2.0),
            ..EngineMetrics::default()
        };
        check(BackendKind::Sim, &[("vllm:num_requests_waiting", 2.0)], waiting);
        check(BackendKind::Sglang, &[("sglang:num_queue_reqs", 2.0)], waiting);
        check(
            BackendKind::Llamacpp,
            &[("llamacpp:requests_deferred", 2.0)],
            waiting,
        );
        check(
            BackendKind::Dynamo,
            &[
                ("dynamo_frontend_queued_requests", 9.0),
                ("vllm:num_requests_waiting", 2.0),
            ],
            waiting,
        );
        check(
            BackendKind::Ollama,
            &[("vllm:num_requests_waiting", 2.0)],
            EngineMetrics::default(),
        );
        check(
            BackendKind::Vllm,
            &[("vllm:kv_cache_usage_perc", f64::NAN)],
            EngineMetrics::default(),
        );
    }
}
