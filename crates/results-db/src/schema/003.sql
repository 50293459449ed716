-- Version 3: the reader's lag, and rows of requests of fewer bytes.
--
-- What is read is the view `request`, with the columns that the table of this name had, and the new ones. What is stored
-- is `request_row`, which leaves out what can be told from the rest and has its levels one after the other, so that no
-- index is needed.

CREATE TABLE request_row (
    run INTEGER NOT NULL,
    level INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    request INTEGER NOT NULL,
    -- Bits, the lowest first: 3 for the finish reason (0: none, 1: stop, 2: length, 3: tool_calls,
    -- 4: content_filter, 7: see the column), 2 for the phase, 1 for the
    -- count source, 1 when the first token's stamp is uncertain, 4 for the outcome, then one each when `first_chunk_ns` and
    -- `first_output_ns` are not the first token's time, and when `http_status` is not what the answer's head implies.
    marks INTEGER NOT NULL,
    endpoint INTEGER,
    scheduled_ns INTEGER NOT NULL,
    connect_ns INTEGER,
    send_ns INTEGER,
    header_ns INTEGER,
    first_token_ns INTEGER,
    first_token_lag_ns INTEGER,
    last_token_ns INTEGER,
    -- The end after the last token, or without one after the scheduled arrival.
    ended_after_ns INTEGER NOT NULL,
    input_tokens INTEGER,
    output_tokens INTEGER,
    cached_tokens INTEGER,
    requested_input INTEGER NOT NULL,
    requested_output INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    itl_max_ns INTEGER,
    -- Of most requests NULL.
    first_chunk_ns INTEGER,
    first_output_ns INTEGER,
    http_status INTEGER,
    class INTEGER,
    session INTEGER,
    turn INTEGER,
    finish_reason TEXT,
    error TEXT,
    PRIMARY KEY (run, level, rank, request)
) WITHOUT ROWID;

INSERT INTO request_row
SELECT
    run,
    level,
    rank,
    request,
    CASE finish_reason
        WHEN 'stop' THEN 1
        WHEN 'length' THEN 2
        WHEN 'tool_calls' THEN 3
        WHEN 'content_filter' THEN 4
        ELSE (finish_reason IS NOT NULL) * 7
    END
        | (phase << 3)
        | (count_source << 5)
        | (outcome << 7)
        | ((first_chunk_ns IS NOT first_token_ns) << 11)
        | ((first_output_ns IS NOT first_token_ns) << 12)
        | ((http_status IS NOT CASE WHEN header_ns IS NOT NULL THEN 200 END) << 13),
    nullif(endpoint, 0),
    scheduled_ns,
    connect_ns,
    send_ns,
    header_ns,
    first_token_ns,
    NULL,
    last_token_ns,
    end_ns - coalesce(last_token_ns, 0),
    input_tokens,
    output_tokens,
    cached_tokens,
    requested_input,
    requested_output,
    chunks,
    itl_max_ns,
    nullif(first_chunk_ns, first_token_ns),
    nullif(first_output_ns, first_token_ns),
    nullif(http_status, CASE WHEN header_ns IS NOT NULL THEN 200 END),
    nullif(class, 0),
    session,
    nullif(turn, 0),
    CASE WHEN finish_reason NOT IN ('stop', 'length', 'tool_calls', 'content_filter') THEN finish_reason END,
    error
FROM request
ORDER BY run, level, rank, request;

DROP VIEW requests;
DROP TABLE request;

CREATE VIEW request AS
SELECT
    run,
    rank,
    request,
    level,
    (marks >> 3) & 3 AS phase,
    coalesce(class, 0) AS class,
    session,
    coalesce(turn, 0) AS turn,
    coalesce(endpoint, 0) AS endpoint,
    (marks >> 7) & 15 AS outcome,
    CASE WHEN (marks >> 13) & 1 THEN http_status WHEN header_ns IS NOT NULL THEN 200 END AS http_status,
    scheduled_ns,
    connect_ns,
    send_ns,
    header_ns,
    CASE WHEN (marks >> 11) & 1 THEN first_chunk_ns ELSE first_token_ns END AS first_chunk_ns,
    first_token_ns,
    CASE WHEN (marks >> 12) & 1 THEN first_output_ns ELSE first_token_ns END AS first_output_ns,
    last_token_ns,
    coalesce(last_token_ns, 0) + ended_after_ns AS end_ns,
    input_tokens,
    output_tokens,
    cached_tokens,
    requested_input,
    requested_output,
    chunks,
    itl_max_ns,
    (marks >> 5) & 1 AS count_source,
    CASE marks & 7
        WHEN 1 THEN 'stop'
        WHEN 2 THEN 'length'
        WHEN 3 THEN 'tool_calls'
        WHEN 4 THEN 'content_filter'
        WHEN 7 THEN finish_reason
    END AS finish_reason,
    error,
    first_token_lag_ns,
    (marks >> 6) & 1 AS first_token_uncertain
FROM request_row;

-- As before.
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
