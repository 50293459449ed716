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
