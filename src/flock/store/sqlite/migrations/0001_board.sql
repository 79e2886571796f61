-- Artifacts in board order, what is open, what ended, and what was spent.
-- Ids are the 16 bytes of a UUID; times are seconds since the Unix epoch.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    type TEXT NOT NULL,
    version INTEGER NOT NULL,
    payload TEXT NOT NULL,       -- canonical JSON
    checksum INTEGER NOT NULL,   -- CRC-32 of id and payload
    produced_by TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    partition_key TEXT,
    tags TEXT,                   -- a JSON array; NULL without any
    visibility TEXT,             -- a JSON object; NULL if public
    kind TEXT,                   -- the kind of visibility in lower case; NULL if public
    created REAL NOT NULL,
    parents BLOB,                -- ids, one after the other; NULL without any
    depth INTEGER NOT NULL,
    run BLOB                     -- the run that made it; NULL from outside
) STRICT;

CREATE INDEX artifacts_by_type ON artifacts (type);
CREATE INDEX artifacts_by_workflow ON artifacts (correlation_id);
CREATE INDEX artifacts_by_producer ON artifacts (produced_by);
CREATE INDEX artifacts_by_time ON artifacts (created);
CREATE INDEX artifacts_by_kind ON artifacts (kind) WHERE kind IS NOT NULL;

CREATE TABLE artifact_tags (
    tag TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (tag, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX artifact_tags_by_artifact ON artifact_tags (seq);

CREATE TABLE idempotency_keys (
    key TEXT PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_artifact ON idempotency_keys (seq);

-- What is open: an artifact before a subscription (an agent's, by position from 0).
CREATE TABLE deliveries (
    seq INTEGER NOT NULL,
    agent TEXT NOT NULL,
    subscription INTEGER NOT NULL,
    opens_at REAL NOT NULL,      -- 0 for at once
    arrived REAL NOT NULL,       -- 0 before it came to its gate
    number INTEGER NOT NULL,     -- which arrival at a join it was, from 1; 0 if that is not counted
    PRIMARY KEY (seq, agent, subscription)
) STRICT, WITHOUT ROWID;

-- How many artifacts have come to a join whose window is counted.
CREATE TABLE arrivals (
    agent TEXT NOT NULL,
    subscription INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (agent, subscription)
) STRICT, WITHOUT ROWID;

-- Runs that were begun and have not ended.
CREATE TABLE open_runs (
    id BLOB PRIMARY KEY,
    agent TEXT NOT NULL,
    subscription INTEGER NOT NULL,
    is_batch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    due REAL NOT NULL,           -- when its next attempt may begin; 0 for at once
    emitted INTEGER NOT NULL,    -- how many outputs of a stream are on the board
    deliveries TEXT NOT NULL,    -- a JSON array of seqs
    inputs TEXT                  -- a JSON array of seqs and of artifacts that are not on the
                                 -- board; NULL if they are the deliveries'
) STRICT, WITHOUT ROWID;

CREATE TABLE steps (
    run BLOB NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,         -- JSON
    PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;

-- Runs that succeeded, in the order they were committed, and what they used.
CREATE TABLE runs (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    agent TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    committed REAL NOT NULL,
    attempt INTEGER NOT NULL,
    seen INTEGER NOT NULL,       -- the newest seq when its last attempt began
    began REAL NOT NULL,         -- when that was
    position INTEGER NOT NULL,   -- the newest seq once its end was committed
    made INTEGER NOT NULL,       -- how many artifacts it put on the board
    inputs BLOB NOT NULL         -- ids, one after the other, also of what was deleted since
) STRICT;

CREATE INDEX runs_by_workflow ON runs (correlation_id);

CREATE TABLE consumptions (
    seq INTEGER NOT NULL,
    run INTEGER NOT NULL,        -- number of the run
    place INTEGER NOT NULL,      -- of the input among the run's, from 0
    PRIMARY KEY (seq, run)
) STRICT, WITHOUT ROWID;

CREATE INDEX consumptions_by_run ON consumptions (run, place);

CREATE TABLE dead_letters (
    id BLOB PRIMARY KEY,
    run BLOB NOT NULL,
    agent TEXT NOT NULL,
    subscription INTEGER,        -- NULL if it was called directly
    correlation_id TEXT NOT NULL,
    is_batch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    seen INTEGER NOT NULL,       -- the newest seq when its last attempt began; 0 before the first
    began REAL NOT NULL,         -- when that was
    position INTEGER NOT NULL,   -- the newest seq once it was kept
    emitted INTEGER NOT NULL,
    deliveries TEXT NOT NULL,
    inputs TEXT,
    error_type TEXT NOT NULL,
    error_message TEXT NOT NULL,
    created REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX dead_letters_by_workflow ON dead_letters (correlation_id);

-- Which artifacts dead letters need, so that they are not deleted.
CREATE TABLE dead_letter_inputs (
    seq INTEGER NOT NULL,
    letter BLOB NOT NULL,
    PRIMARY KEY (seq, letter)
) STRICT, WITHOUT ROWID;

CREATE INDEX dead_letter_inputs_by_letter ON dead_letter_inputs (letter);

-- Sums of what was spent: of a workflow and an agent, '' for all of them; or of one run.
CREATE TABLE accounts (
    correlation_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    run BLOB NOT NULL,           -- x'' for all of them
    model TEXT NOT NULL,         -- '' for the runs that began
    calls INTEGER NOT NULL,      -- or runs
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    usd REAL NOT NULL,
    unpriced INTEGER NOT NULL,   -- how many charges have no known price
    latency REAL NOT NULL,
    PRIMARY KEY (run, correlation_id, agent, model)
) STRICT, WITHOUT ROWID;
