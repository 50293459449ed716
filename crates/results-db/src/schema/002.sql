-- Version 2: the adaptive search, repeats, and the server's own view of the latencies.

ALTER TABLE run ADD COLUMN repeat INTEGER NOT NULL DEFAULT 0;

-- What a level was offered for, and as JSON what the estimate of the peak takes from it.
ALTER TABLE level ADD COLUMN stage TEXT NOT NULL DEFAULT 'level';
ALTER TABLE level ADD COLUMN evidence TEXT;

-- The server's own histograms, sums in seconds, since its start.
ALTER TABLE scrape ADD COLUMN ttft_sum_s REAL;
ALTER TABLE scrape ADD COLUMN ttft_count REAL;
ALTER TABLE scrape ADD COLUMN queue_sum_s REAL;
ALTER TABLE scrape ADD COLUMN queue_count REAL;

-- The steps of a search's ramp are looks, no measurements, so the views leave them out. Nothing else of them changes.

DROP VIEW experiments;
CREATE VIEW experiments AS
SELECT
    r.run_id AS run_id,
    r.model AS model,
    r.backend AS backend,
    r.backend_config AS backend_config,
    r.dataset_config AS dataset_config,
    coalesce(
        r.rate_levels,
        (
            SELECT json_group_array(rate)
            FROM (SELECT DISTINCT rate FROM level WHERE run = r.run AND stage <> 'ramp' ORDER BY rate)
        )
    ) AS rate_levels,
    r.warmup_s AS warmup_s,
    r.measurement_s AS measurement_s,
    r.created_at AS created_at,
    r.server_load_time_s AS server_load_time_s
FROM run AS r;

DROP VIEW requests;
CREATE VIEW requests AS
SELECT
    r.run_id AS run_id,
    l.rate AS rate_lambda,
    q.request AS request_id,
    CASE WHEN q.outcome = 0 THEN q.first_token_ns / 1e6 END AS ttft_ms,
    CASE
        WHEN q.outcome = 0 AND q.output_tokens > 1
        THEN (q.last_token_ns - q.first_token_ns) / (q.output_tokens - 1) / 1e6
    END AS tpot_ms,
    CASE WHEN q.outcome = 0 THEN q.last_token_ns / 1e6 END AS e2e_ms,
    q.input_tokens AS input_tokens,
    q.output_tokens AS output_tokens,
    q.outcome = 0 AS success,
    CASE WHEN q.outcome <> 0 THEN coalesce(q.error, o.name) END AS error,
    CASE WHEN q.outcome = 0 THEN (q.first_token_ns - q.send_ns) / 1e6 END AS ttft_from_send_ms,
    (q.scheduled_ns - l.start_ns) / 1e6 AS scheduled_at_ms,
    q.level AS level,
    o.name AS outcome,
    q.rank AS rank
FROM request AS q
JOIN run AS r ON r.run = q.run
JOIN level AS l ON l.run = q.run AND l.level = q.level
JOIN outcome AS o ON o.code = q.outcome
WHERE q.phase = 1 AND l.state = 'complete' AND l.stage <> 'ramp';

DROP VIEW server_stats;
CREATE VIEW server_stats AS
SELECT
    r.run_id AS run_id,
    l.rate AS rate_lambda,
    (l.started_unix_ns + s.at_ns - l.start_ns) / 1e9 AS ts,
    s.requests_running AS requests_running,
    s.requests_waiting AS requests_waiting,
    s.kv_cache_usage * 100.0 AS gpu_cache_pct,
    coalesce(s.spec_accept_rate, CASE WHEN s.drafted > 0 AND s.accepted >= 0 THEN s.accepted / s.drafted END)
        AS spec_accept_rate
FROM (
    SELECT
        *,
        spec_accepted_tokens - lag(spec_accepted_tokens) OVER earlier AS accepted,
        spec_draft_tokens - lag(spec_draft_tokens) OVER earlier AS drafted
    FROM scrape
    WINDOW earlier AS (PARTITION BY run, rank, endpoint ORDER BY at_ns)
) AS s
JOIN run AS r ON r.run = s.run
JOIN level AS l ON l.run = s.run AND l.level = s.level
WHERE l.state = 'complete'
    AND l.stage <> 'ramp'
    AND (
        r.origin = 'predecessor'
        OR (
            s.at_ns >= l.start_ns + l.warmup_ns
            AND s.at_ns < l.start_ns + l.warmup_ns + l.measured_ns
        )
    );
