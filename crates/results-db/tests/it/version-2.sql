-- A database as version 2 writes it. Once released, it is never edited: it stands for the files of that release.
CREATE TABLE run (
    run INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    origin TEXT NOT NULL,
    campaign_id TEXT,
    deployment_id TEXT,
    deployment TEXT,
    model TEXT NOT NULL,
    backend TEXT NOT NULL,
    backend_config TEXT,
    dataset_config TEXT,
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
    spec_accept_rate REAL,
    PRIMARY KEY (run, rank, endpoint, at_ns)
) WITHOUT ROWID;

CREATE TABLE gaps (
    run INTEGER NOT NULL,
    level INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    histogram BLOB NOT NULL,
    PRIMARY KEY (run, level, rank)
) WITHOUT ROWID;


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

ALTER TABLE run ADD COLUMN repeat INTEGER NOT NULL DEFAULT 0;

ALTER TABLE level ADD COLUMN stage TEXT NOT NULL DEFAULT 'level';
ALTER TABLE level ADD COLUMN evidence TEXT;

ALTER TABLE scrape ADD COLUMN ttft_sum_s REAL;
ALTER TABLE scrape ADD COLUMN ttft_count REAL;
ALTER TABLE scrape ADD COLUMN queue_sum_s REAL;
ALTER TABLE scrape ADD COLUMN queue_count REAL;


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

PRAGMA application_id = 1195987014;
PRAGMA user_version = 2;

INSERT INTO run VALUES (1, 'run-a', 'gipfel', 'c-20261121-224312_0a1f', 'd-20261121-224312_sim_sim_local_0a1f', 'local',
    'sim', 'sim', '{}', '{}', NULL, 0.0, 0.0, '["ttft p95 <= 500ms"]', '[]', '2026-11-21T22:43:12Z', 12.5,
    'completed', NULL, 3);
INSERT INTO provenance VALUES (1, 'engine_version', '1.0');
INSERT INTO level VALUES (1, 0, 5.0, 'complete', 0, 30000000000, 60000000000, 1700000000000000000, 1700000095000000000,
    5.0, 5.0, 5.0, '[]',
    '{"schedule_delay_p50_ns":0,"schedule_delay_p99_ns":0,"schedule_delay_max_ns":0,"faults":[],"client":{"busiest_thread":null,"run_queue":null}}',
    NULL, 'ramp', NULL);
INSERT INTO level VALUES (1, 1, 10.0, 'complete', 100000000000, 30000000000, 60000000000, 1700000000000000000,
    1700000095000000000, 10.0, 10.0, 10.0,
    '[{"slo":"ttft p95 <= 500ms","scheduled":600,"decided":600,"violated":12,"n_eff":40.5,"interval":[0.001,0.125]}]',
    '{"schedule_delay_p50_ns":1,"schedule_delay_p99_ns":2,"schedule_delay_max_ns":3,"faults":[],"client":{"busiest_thread":0.25,"run_queue":0.125}}',
    NULL, 'track',
    '{"settle_s":1,"seconds":[{"a":11,"i":5632,"o":2816,"s":[{"n":0,"v":0}]},{"a":9,"i":4608,"o":2304,"s":[{"n":9,"v":2}]}],"stands_for_s":60,"overloaded":"ttft p95 <= 500ms","e2e_p50_s":0.5,"in_flight":4.5}');
INSERT INTO request VALUES (1, 0, 0, 0, 1, 0, NULL, 0, 0, 0, 200, 30000000000, NULL, 1000000, 2000000, 100000000,
    100000000, 100000000, 400000000, 401000000, 512, 11, NULL, 512, 11, 11, 50000000, 1, 'length', NULL);
INSERT INTO request VALUES (1, 0, 4294967296, 1, 1, 0, NULL, 0, 0, 0, 200, 130000000000, NULL, 1000000, 2000000,
    100000000, 100000000, 100000000, 400000000, 401000000, 512, 11, NULL, 512, 11, 11, 50000000, 1, 'length', NULL);
INSERT INTO scrape VALUES (1, 0, 0, 130000000000, 1, 3.0, 1.0, 0.25, NULL, NULL, NULL, NULL, NULL, NULL,
    12.5, 100.0, 2.5, 100.0);
INSERT INTO gaps VALUES (1, 1, 0, x'010203');
