-- What a board has to know after a restart beside its artifacts and runs, and what happened on it
-- that they do not tell of.

CREATE TABLE states (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    data TEXT NOT NULL,          -- JSON
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE log (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    correlation_id TEXT,         -- NULL for the whole board
    data TEXT NOT NULL,          -- JSON
    position INTEGER NOT NULL,   -- the newest seq with it
    run INTEGER NOT NULL         -- the number of the newest run with it
) STRICT;

CREATE INDEX log_by_workflow ON log (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX log_by_time ON log (at);

-- Ticks of schedules that started runs which have not ended, or are dead letters.
CREATE TABLE ticks (
    run BLOB PRIMARY KEY,
    fire_time REAL NOT NULL,     -- when it was due
    iteration INTEGER NOT NULL,  -- which run of its schedule it started, from 1
    missed INTEGER NOT NULL      -- how many ticks before it got no run of their own
) STRICT, WITHOUT ROWID;
