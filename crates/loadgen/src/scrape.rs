//! The server's `/metrics`, once a second.

use std::{cell::Cell, rc::Rc, time::Duration};

use futures_util::future::join_all;
use gipfel_engine::Engine;
use gipfel_model::ScrapeRecord;
use gipfel_stream_client::{Client, Clock};
use tokio::time::MissedTickBehavior;

use crate::{
    exposition::samples,
    writer::{Recorder, WriterMessage},
};

const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(5);
/// A vLLM page is 60 KB; this bounds what a wrong address can make us read.
const MAX_BYTES: usize = 8 << 20;

/// Reads `/metrics` of the servers.
#[derive(Clone)]
pub(crate) struct Scraper {
    pub(crate) clock: Clock,
    /// In the order of the endpoints.
    pub(crate) clients: Vec<Client>,
    pub(crate) engine: &'static Engine,
    pub(crate) rank: u32,
}

impl Scraper {
    /// One look at a server; `None` when it exports no metrics or did not answer.
    async fn look(&self, endpoint: usize, level: u32) -> Option<ScrapeRecord> {
        let path = self.engine.metrics_path()?;
        let at_ns = self.clock.now_ns();
        let (status, body) = self.clients[endpoint].get(path, TIMEOUT, MAX_BYTES).await.ok()?;
        if status != 200 {
            return None;
        }
        let text = std::str::from_utf8(&body).ok()?;
        Some(read(self.engine, text, self.empty(endpoint, level, at_ns)))
    }

    fn empty(&self, endpoint: usize, level: u32, at_ns: i64) -> ScrapeRecord {
        ScrapeRecord {
            rank: self.rank,
            endpoint: u32::try_from(endpoint).unwrap_or(u32::MAX),
            level,
            at_ns,
            ..ScrapeRecord::default()
        }
    }

    /// Looks each second until the task is dropped. A failed look is a row without values: counted, never fatal.
    pub(crate) async fn run(self, level: Rc<Cell<Option<u32>>>, rows: Recorder) {
        if self.engine.metrics_path().is_none() {
            return;
        }
        let each = (0..self.clients.len()).map(|endpoint| self.watch(endpoint, &level, &rows));
        join_all(each).await;
    }

    async fn watch(&self, endpoint: usize, level: &Cell<Option<u32>>, rows: &Recorder) {
        let mut ticker = tokio::time::interval(INTERVAL);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticker.tick().await;
            let Some(level) = level.get() else { continue };
            let at_ns = self.clock.now_ns();
            let look = self.look(endpoint, level).await;
            let row = look.unwrap_or_else(|| self.empty(endpoint, level, at_ns));
            if rows.write(WriterMessage::Scrape(row)).is_err() {
                return;
            }
        }
    }

    /// Waits until the servers have no request left, at most `limit`; one that does not say gets two seconds.
    pub(crate) async fn until_idle(&self, level: u32, limit: Duration) {
        let idle = join_all((0..self.clients.len()).map(|endpoint| self.until_one_is_idle(endpoint, level)));
        if tokio::time::timeout(limit, idle).await.is_err() {
            tracing::warn!(
                "the server still has requests {} s after they were cancelled",
                limit.as_secs()
            );
        }
    }

    async fn until_one_is_idle(&self, endpoint: usize, level: u32) {
        loop {
            let look = self.look(endpoint, level).await;
            let Some(busy) = look.as_ref().and_then(busy) else {
                // Nothing to observe: the two seconds of the level procedure.
                tokio::time::sleep(Duration::from_secs(2)).await;
                return;
            };
            if busy <= 0.0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Fills a row with what a page of `/metrics` says.
fn read(engine: &Engine, page: &str, row: ScrapeRecord) -> ScrapeRecord {
    let metrics = engine.read_metrics(samples(page));
    ScrapeRecord {
        requests_running: metrics.requests_running,
        requests_waiting: metrics.requests_waiting,
        kv_cache_usage: metrics.kv_cache_usage,
        preemptions: metrics.preemptions,
        prefix_cache_queries: metrics.prefix_cache_queries,
        prefix_cache_hits: metrics.prefix_cache_hits,
        spec_accepted_tokens: metrics.spec_accepted_tokens,
        spec_draft_tokens: metrics.spec_draft_tokens,
        ttft_sum_s: metrics.ttft_sum,
        ttft_count: metrics.ttft_count,
        queue_sum_s: metrics.queue_sum,
        queue_count: metrics.queue_count,
        ..row
    }
}

/// How many requests the server has, if it says.
fn busy(look: &ScrapeRecord) -> Option<f64> {
    match (look.requests_running, look.requests_waiting) {
        (None, None) => None,
        (running, waiting) => Some(running.unwrap_or(0.0) + waiting.unwrap_or(0.0)),
    }
}

#[cfg(test)]
mod tests {
    use gipfel_model::BackendKind;

    use super::*;

    #[test]
    fn a_page_of_vllm_is_read() {
        let page = r#"
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 7.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 5120.0
vllm:prefix_cache_queries_created{engine="0",model_name="m"} 1.78e+09
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 512.0
# HELP vllm:time_to_first_token_seconds Histogram of time to first token in seconds.
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="m"} 3.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="m"} 9.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="m"} 9.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="m"} 1.625
vllm:time_to_first_token_seconds_created{engine="0",model_name="m"} 1.78e+09
vllm:request_queue_time_seconds_bucket{engine="0",le="+Inf",model_name="m"} 11.0
vllm:request_queue_time_seconds_count{engine="0",model_name="m"} 11.0
vllm:request_queue_time_seconds_sum{engine="0",model_name="m"} 0.125
"#;
        let row = ScrapeRecord {
            rank: 1,
            level: 4,
            at_ns: 5,
            ..ScrapeRecord::default()
        };
        let expected = ScrapeRecord {
            requests_running: Some(7.0),
            requests_waiting: Some(2.0),
            kv_cache_usage: Some(0.25),
            prefix_cache_queries: Some(5120.0),
            prefix_cache_hits: Some(512.0),
            ttft_sum_s: Some(1.625),
            ttft_count: Some(9.0),
            queue_sum_s: Some(0.125),
            queue_count: Some(11.0),
            ..row
        };
        assert_eq!(
            read(gipfel_engine::engine(BackendKind::Vllm), page, row),
            expected
        );
    }
}
