-- Version 1. A released script is never edited; what changes comes as the next script.
--
-- Times are integer nanoseconds. A level's start and a scheduled arrival count from the run's monotonic anchor;
-- the clock points of a request count from its scheduled arrival.

CREATE TABLE run (
    run INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    -- `gipfel`, or `predecessor` for what was imported from a database of three tables.
    origin TEXT NOT NULL,
    campaign_id TEXT,
    deployment_id TEXT,
    deployment TEXT,
    model TEXT NOT NULL,
    backend TEXT NOT NULL,
    backend_config TEXT,
    dataset_config TEXT,
    -- The listed rates as JSON; absent when rates are found on the way.
    rate_levels TEXT,
    warmup_s REAL,
    measurement_s REAL,
    slos TEXT NOT NULL,
    informational_slos TEXT NOT NULL,
    created_at TEXT,
    server_load_time_s REAL,
    state TEXT NOT NULL,
    error TEXT
);

-- Open names; `run_config` is the whole run configuration as JSON.
CREATE TABLE provenance (
    run INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, name)
) WITHOUT ROWID;

CREATE TABLE level (
    run INTEGER NOT NULL,
    level INTEGER NOT NULL,
    rate REAL NOT NULL,
    state TEXT NOT NULL,
    start_ns INTEGER NOT NULL,
    warmup_ns INTEGER NOT NULL,
    measured_ns INTEGER NOT NULL,
    started_unix_ns INTEGER NOT NULL,
    ended_unix_ns INTEGER,
    offered_rate REAL NOT NULL,
    sent_rate REAL NOT NULL,
    completed_rate REAL NOT NULL,
    attainment TEXT NOT NULL,
    validity TEXT NOT NULL,
    verdict TEXT,
    PRIMARY KEY (run, level)
) WITHOUT ROWID;

CREATE TABLE phase (code INTEGER PRIMARY KEY, name TEXT NOT NULL);
INSERT INTO phase VALUES (0, 'warmup'), (1, 'measured'), (2, 'tail');

CREATE TABLE outcome (code INTEGER PRIMARY KEY, name TEXT NOT NULL);
INSERT INTO outcome VALUES
    (0, 'ok'),
    (1, 'http_error'),
    (2, 'connect_error'),
    (3, 'timeout_connect'),
    (4, 'timeout_first_token'),
    (5, 'timeout_between_tokens'),
    (6, 'timeout_total'),
    (7, 'stream_cut'),
    (8, 'stream_error'),
    (9, 'parse_error'),
    (10, 'shed');

CREATE TABLE count_source (code INTEGER PRIMARY KEY, name TEXT NOT NULL);
INSERT INTO count_source VALUES (0, 'none'), (1, 'usage');

CREATE TABLE request (
    run INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    request INTEGER NOT NULL,
    level INTEGER NOT NULL,
    phase INTEGER NOT NULL,
    class INTEGER NOT NULL,
    session INTEGER,
    turn INTEGER NOT NULL,
    endpoint INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    http_status INTEGER,
    scheduled_ns INTEGER NOT NULL,
    connect_ns INTEGER,
    send_ns INTEGER,
    header_ns INTEGER,
    first_chunk_ns INTEGER,
    first_token_ns INTEGER,
    first_output_ns INTEGER,
    last_token_ns INTEGER,
    end_ns INTEGER NOT NULL,
    input_tokens INTEGER,
    output_tokens INTEGER,
    cached_tokens INTEGER,
    requested_input INTEGER NOT NULL,
    requested_output INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    itl_max_ns INTEGER,
    count_source INTEGER NOT NULL,
    finish_reason TEXT,
    error TEXT,
    PRIMARY KEY (run, rank, request)
) WITHOUT ROWID;
CREATE INDEX request_by_level ON request (run, level);

CREATE TABLE scrape (
    run INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    endpoint INTEGER NOT NULL,
    at_ns INTEGER NOT NULL,
    level INTEGER NOT NULL,
    requests_running REAL,
    requests_waiting REAL,
    kv_cache_usage REAL,
    preemptions REAL,
    prefix_cache_queries REAL,
    prefix_cache_hits REAL,
    spec_accepted_tokens REAL,
    spec_draft_tokens REAL,
    -- Only of imported runs, whose databases hold the ratio and not its parts.
    spec_accept_rate REAL,
    PRIMARY KEY (run, rank, endpoint, at_ns)
) WITHOUT ROWID;

-- Gaps between token-bearing chunks of the measured requests, in nanoseconds, as an HdrHistogram in its V2 form.
CREATE TABLE gaps (
    run INTEGER NOT NULL,
    level INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    histogram BLOB NOT NULL,
    PRIMARY KEY (run, level, rank)
) WITHOUT ROWID;

-- The predecessors' tables. Complete levels and their measured windows only; columns of our own stand at the end.

CREATE VIEW experiments AS
SELECT
    r.run_id AS run_id,
    r.model AS model,
    r.backend AS backend,
    r.backend_config AS backend_config,
    r.dataset_config AS dataset_config,
    coalesce(
        r.rate_levels,
        (SELECT json_group_array(rate) FROM (SELECT DISTINCT rate FROM level WHERE run = r.run ORDER BY rate))
    ) AS rate_levels,
    r.warmup_s AS warmup_s,
    r.measurement_s AS measurement_s,
    r.created_at AS created_at,
    r.server_load_time_s AS server_load_time_s
FROM run AS r;

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
WHERE q.phase = 1 AND l.state = 'complete';

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
    AND (
        r.origin = 'predecessor'
        OR (
            s.at_ns >= l.start_ns + l.warmup_ns
            AND s.at_ns < l.start_ns + l.warmup_ns + l.measured_ns
        )
    );
