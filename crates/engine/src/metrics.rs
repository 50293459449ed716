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
    /// Takes a sample in; samples of one name, or of several that make one metric, are combined, those of a less
    /// preferred name dropped.
    fn take(&mut self, names: &[String], name: &str, value: f64, combine: Combine) {
        let Some(preference) = names
            .iter()
            .position(|known| known.split(" + ").any(|one| one == name))
        else {
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

    /// The engine's own dialect, and the same metrics of a server of which nothing is known.
    fn check_page(kind: BackendKind, page: &str, expected: EngineMetrics) {
        let samples: Vec<(&str, f64)> = page
            .lines()
            .filter_map(|line| {
                let (name, value) = line.trim().split_once(' ')?;
                Some((name, value.parse().ok()?))
            })
            .collect();
        check(kind, &samples, expected);
        check(BackendKind::Openai, &samples, expected);
    }

    #[test]
    fn pages_of_each_engine() {
        let common = EngineMetrics {
            requests_running: Some(3.0),
            requests_waiting: Some(2.0),
            prefix_cache_queries: Some(100.0),
            prefix_cache_hits: Some(40.0),
            ..EngineMetrics::default()
        };
        let with_cache = EngineMetrics {
            kv_cache_usage: Some(0.5),
            preemptions: Some(4.0),
            ttft_sum: Some(1.5),
            ttft_count: Some(6.0),
            queue_sum: Some(0.25),
            queue_count: Some(7.0),
            ..common
        };
        let speculative = EngineMetrics {
            spec_accepted_tokens: Some(9.0),
            spec_draft_tokens: Some(20.0),
            ..with_cache
        };
        check_page(
            BackendKind::Vllm,
            "vllm:num_requests_running 3
             vllm:num_requests_waiting 2
             vllm:num_requests_waiting_by_reason 2
             vllm:kv_cache_usage_perc 0.5
             vllm:num_preemptions_total 4
             vllm:prefix_cache_queries_total 100
             vllm:prefix_cache_hits_total 40
             vllm:prefix_cache_hits_created 1.7e9
             vllm:external_prefix_cache_hits_total 1
             vllm:spec_decode_num_drafts_total 7
             vllm:spec_decode_num_draft_tokens_total 20
             vllm:spec_decode_num_accepted_tokens_total 9
             vllm:spec_decode_num_accepted_tokens_per_pos_total 5
             vllm:time_to_first_token_seconds_sum 1.5
             vllm:time_to_first_token_seconds_count 6
             vllm:request_queue_time_seconds_sum 0.25
             vllm:request_queue_time_seconds_count 7",
            speculative,
        );
        check_page(
            BackendKind::Vllm,
            "vllm:num_requests_running 3
             vllm:num_requests_waiting 2
             vllm:num_requests_swapped 0
             vllm:gpu_cache_usage_perc 0.5
             vllm:cpu_cache_usage_perc 0.125
             vllm:num_preemptions_total 4
             vllm:gpu_prefix_cache_queries_total 100
             vllm:gpu_prefix_cache_hits_total 40
             vllm:time_to_first_token_seconds_sum 1.5
             vllm:time_to_first_token_seconds_count 6
             vllm:request_queue_time_seconds_sum 0.25
             vllm:request_queue_time_seconds_count 7",
            with_cache,
        );
        check_page(
            BackendKind::Sglang,
            "sglang:num_running_reqs 3
             sglang:num_queue_reqs 2
             sglang:token_usage 0.5
             sglang:num_retracted_reqs 1
             sglang:num_retracted_requests_total 4
             sglang:prompt_tokens_total 100
             sglang:cached_tokens_total 40
             sglang:time_to_first_token_seconds_sum 1.5
             sglang:time_to_first_token_seconds_count 6
             sglang:queue_time_seconds_sum 0.25
             sglang:queue_time_seconds_count 7",
            with_cache,
        );
        check_page(
            BackendKind::Llamacpp,
            "llamacpp:requests_processing 3
             llamacpp:requests_deferred 2
             llamacpp:prompt_tokens_total 60
             llamacpp:prompt_tokens_cached_total 40
             llamacpp:prompt_tokens_seconds 1
             llamacpp:spec_decode_num_draft_tokens_total 20
             llamacpp:spec_decode_num_accepted_tokens_total 9",
            EngineMetrics {
                spec_accepted_tokens: Some(9.0),
                spec_draft_tokens: Some(20.0),
                ..common
            },
        );
        let frontend = "dynamo_frontend_active_requests 1
             dynamo_frontend_active_requests 2
             dynamo_frontend_inflight_requests 9
             dynamo_frontend_queued_requests 2
             dynamo_frontend_input_sequence_tokens_sum 100
             dynamo_frontend_cached_tokens_sum 40
             dynamo_frontend_time_to_first_token_seconds_sum 1.5
             dynamo_frontend_time_to_first_token_seconds_count 6";
        check_page(
            BackendKind::Dynamo,
            frontend,
            EngineMetrics {
                ttft_sum: Some(1.5),
                ttft_count: Some(6.0),
                ..common
            },
        );
        check_page(
            BackendKind::Dynamo,
            "vllm:num_requests_running 3
             vllm:num_requests_waiting 2
             vllm:kv_cache_usage_perc 0.5
             vllm:gpu_cache_usage_perc 0.25
             vllm:num_preemptions_total 4",
            EngineMetrics {
                prefix_cache_queries: None,
                prefix_cache_hits: None,
                kv_cache_usage: Some(0.5),
                preemptions: Some(4.0),
                ..common
            },
        );
    }
}
