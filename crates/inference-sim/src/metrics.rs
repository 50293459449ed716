//! What `/metrics` shows: written by the engine's thread, read by the server's.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    histogram::{Histogram, QUEUE_BOUNDS, TTFT_BOUNDS},
    model::Load,
    stream::Work,
};

/// Values of one engine; floating-point numbers are stored as their bits.
#[derive(Debug)]
pub(crate) struct Gauges {
    pub(crate) running: AtomicU64,
    pub(crate) waiting: AtomicU64,
    pub(crate) kv_usage_bits: AtomicU64,
    pub(crate) preemptions: AtomicU64,
    pub(crate) prompt_tokens: AtomicU64,
    pub(crate) prefix_queries: AtomicU64,
    pub(crate) prefix_hits: AtomicU64,
    /// From a request's arrival to the hand-over of its first token.
    pub(crate) ttft: Histogram,
    /// From a request's arrival to the step that admits it.
    pub(crate) queue: Histogram,
    pub(crate) generation_tokens: AtomicU64,
    pub(crate) steps: AtomicU64,
    pub(crate) modelled_ns: AtomicU64,
    pub(crate) elapsed_ns: AtomicU64,
    pub(crate) late_ns: AtomicU64,
    pub(crate) latest_ns: AtomicU64,
}

impl Default for Gauges {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            running: zero(),
            waiting: zero(),
            kv_usage_bits: zero(),
            preemptions: zero(),
            prompt_tokens: zero(),
            prefix_queries: zero(),
            prefix_hits: zero(),
            ttft: Histogram::new(TTFT_BOUNDS),
            queue: Histogram::new(QUEUE_BOUNDS),
            generation_tokens: zero(),
            steps: zero(),
            modelled_ns: zero(),
            elapsed_ns: zero(),
            late_ns: zero(),
            latest_ns: zero(),
        }
    }
}

impl Gauges {
    /// A prompt whose prefill is complete. Without a hit there is no prefix cache.
    pub(crate) fn count_prompt(&self, work: Work) {
        let add = |counter: &AtomicU64, tokens: u32| {
            counter.fetch_add(u64::from(tokens), Ordering::Relaxed);
        };
        add(&self.prompt_tokens, work.prompt);
        if work.cached > 0 {
            add(&self.prefix_queries, work.prompt);
            add(&self.prefix_hits, work.cached);
        }
    }

    pub(crate) fn set_load(&self, load: Load) {
        self.running.store(load.running as u64, Ordering::Relaxed);
        self.waiting.store(load.waiting as u64, Ordering::Relaxed);
        self.kv_usage_bits
            .store(load.kv_usage.to_bits(), Ordering::Relaxed);
        self.preemptions.store(load.preemptions, Ordering::Relaxed);
    }

    /// Prometheus text with vLLM's names, and gipfel's own for the step times.
    pub(crate) fn render(&self, model: &str) -> String {
        let mut text = Exposition {
            labels: format!("engine=\"0\",model_name=\"{}\"", escape_label(model)),
            text: String::with_capacity(4096),
        };
        let count = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64;
        let seconds = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64 / 1e9;
        text.gauge(
            "vllm:num_requests_running",
            "Requests that have a slot.",
            count(&self.running),
        );
        text.gauge(
            "vllm:num_requests_waiting",
            "Requests that wait for a slot.",
            count(&self.waiting),
        );
        text.gauge(
            "vllm:kv_cache_usage_perc",
            "Share of the KV cache in use, 0 to 1.",
            f64::from_bits(self.kv_usage_bits.load(Ordering::Relaxed)),
        );
        text.counter(
            "vllm:num_preemptions_total",
            "Preempted requests.",
            count(&self.preemptions),
        );
        text.counter(
            "vllm:prompt_tokens_total",
            "Prompt tokens, those that were cached included.",
            count(&self.prompt_tokens),
        );
        text.counter(
            "vllm:generation_tokens_total",
            "Tokens generated.",
            count(&self.generation_tokens),
        );
        text.counter(
            "vllm:prefix_cache_queries_total",
            "Prompt tokens looked up in the prefix cache.",
            count(&self.prefix_queries),
        );
        text.counter(
            "vllm:prefix_cache_hits_total",
            "Prompt tokens found in the prefix cache.",
            count(&self.prefix_hits),
        );
        text.histogram(
            "vllm:time_to_first_token_seconds",
            "Seconds from a request's arrival to its first token.",
            &self.ttft,
        );
        text.histogram(
            "vllm:request_queue_time_seconds",
            "Seconds that a request waited for a slot.",
            &self.queue,
        );
        text.counter(
            "gipfel_sim_step_seconds_count",
            "Steps carried out.",
            count(&self.steps),
        );
        text.counter(
            "gipfel_sim_step_seconds_sum",
            "Seconds that these steps took by this machine's clock, until their tokens were handed over.",
            seconds(&self.elapsed_ns),
        );
        text.counter(
            "gipfel_sim_modelled_step_seconds_sum",
            "Seconds that these steps last by the model.",
            seconds(&self.modelled_ns),
        );
        text.counter(
            "gipfel_sim_step_lateness_seconds_sum",
            "Seconds by which tokens were handed over after the end of their step.",
            seconds(&self.late_ns),
        );
        text.gauge(
            "gipfel_sim_step_lateness_seconds_max",
            "The latest that tokens were handed over after the end of their step.",
            seconds(&self.latest_ns),
        );
        text.text
    }
}

struct Exposition {
    labels: String,
    text: String,
}

impl Exposition {
    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.metric(name, "gauge", help, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.metric(name, "counter", help, value);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        histogram.render(&mut self.text, name, help, &self.labels);
    }

    fn metric(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        let labels = &self.labels;
        // Writing to a String cannot fail.
        let _ = write!(
            self.text,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{{{labels}}} {value:?}\n"
        );
    }
}

fn escape_label(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_prometheus() {
        let gauges = Gauges::default();
        gauges.set_load(Load {
            running: 3,
            waiting: 2,
            kv_usage: 0.25,
            preemptions: 1,
        });
        gauges.elapsed_ns.store(1_500_000_000, Ordering::Relaxed);
        gauges.ttft.observe(250_000_000);
        gauges.count_prompt(Work {
            prompt: 10,
            cached: 6,
            output: 1,
        });
        let text = gauges.render("a\"b");
        let samples: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.contains("_bucket"))
            .collect();
        insta::assert_snapshot!(samples.join("\n"), @r#"
        vllm:num_requests_running{engine="0",model_name="a\"b"} 3.0
        vllm:num_requests_waiting{engine="0",model_name="a\"b"} 2.0
        vllm:kv_cache_usage_perc{engine="0",model_name="a\"b"} 0.25
        vllm:num_preemptions_total{engine="0",model_name="a\"b"} 1.0
        vllm:prompt_tokens_total{engine="0",model_name="a\"b"} 10.0
        vllm:generation_tokens_total{engine="0",model_name="a\"b"} 0.0
        vllm:prefix_cache_queries_total{engine="0",model_name="a\"b"} 10.0
        vllm:prefix_cache_hits_total{engine="0",model_name="a\"b"} 6.0
        vllm:time_to_first_token_seconds_sum{engine="0",model_name="a\"b"} 0.25
        vllm:time_to_first_token_seconds_count{engine="0",model_name="a\"b"} 1.0
        vllm:request_queue_time_seconds_sum{engine="0",model_name="a\"b"} 0.0
        vllm:request_queue_time_seconds_count{engine="0",model_name="a\"b"} 0.0
        gipfel_sim_step_seconds_count{engine="0",model_name="a\"b"} 0.0
        gipfel_sim_step_seconds_sum{engine="0",model_name="a\"b"} 1.5
        gipfel_sim_modelled_step_seconds_sum{engine="0",model_name="a\"b"} 0.0
        gipfel_sim_step_lateness_seconds_sum{engine="0",model_name="a\"b"} 0.0
        gipfel_sim_step_lateness_seconds_max{engine="0",model_name="a\"b"} 0.0
        "#);
    }
}
