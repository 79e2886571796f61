PRAGMA application_id = 1179406147;
PRAGMA user_version = 2;
BEGIN TRANSACTION;
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
INSERT INTO "accounts" VALUES('','',X'','some/model',1,10,5,0,0.25,0,0.0);
INSERT INTO "accounts" VALUES('','slow',X'','some/model',1,10,5,0,0.25,0,0.0);
INSERT INTO "accounts" VALUES('019b76daa8007d1485a04d5c692550a8','',X'','some/model',1,10,5,0,0.25,0,0.0);
INSERT INTO "accounts" VALUES('019b76daa8007d1485a04d5c692550a8','slow',X'','some/model',1,10,5,0,0.25,0,0.0);
INSERT INTO "accounts" VALUES('019b76daa8007d1485a04d5c692550a8','slow',X'019B76DAA8007D1486814210FCB7DD7D','some/model',1,10,5,0,0.25,0,0.0);
CREATE TABLE arrivals (
    agent TEXT NOT NULL,
    subscription INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (agent, subscription)
) STRICT, WITHOUT ROWID;
CREATE TABLE artifact_tags (
    tag TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (tag, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO "artifact_tags" VALUES('grün',2);
INSERT INTO "artifact_tags" VALUES('paid',2);
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
INSERT INTO "artifacts" VALUES(1,X'019B76DAA8007D1485A04D5C692550A1','stored.Order',2,'{"n":1,"note":""}',3726976639,'external','first',NULL,NULL,NULL,NULL,1767225600.0,NULL,0,NULL);
INSERT INTO "artifacts" VALUES(2,X'019B76DAA8007D1485A04D5C692550A2','stored.Payment',1,'{"n":1}',3905383481,'external','first',NULL,'["gr\u00fcn", "paid"]',NULL,NULL,1767225600.0,NULL,0,NULL);
INSERT INTO "artifacts" VALUES(3,X'019B76DAA8007D1485A04D5C692550A3','stored.Order',2,'{"n":2,"note":"waits"}',234827705,'external','019b76daa8007d1485a04d5c692550a3',NULL,NULL,'{"kind":"Private","agents":["pair","auditor"]}','private',1767225600.0,NULL,0,NULL);
INSERT INTO "artifacts" VALUES(4,X'019B76DAA8007D1485A04D5C692550A4','stored.Broken',1,'{"n":3}',480118588,'external','019b76daa8007d1485a04d5c692550a4','p',NULL,NULL,NULL,1767225600.0,NULL,0,NULL);
INSERT INTO "artifacts" VALUES(5,X'019B76DAA8007D1485A04D5C692550A5','stored.Pair',1,'{"n":1}',3791807776,'pair','first',NULL,NULL,NULL,NULL,1767225600.0,X'019B76DAA8007D1485A04D5C692550A1019B76DAA8007D1485A04D5C692550A2',1,X'21F1DE7789547598DF817F1FB103943C');
INSERT INTO "artifacts" VALUES(6,X'019B76DAA8007D1485A04D5C692550A7','flock.WorkflowError',1,'{"failed_agent":"broken","error_type":"ValueError","error_message":"number 3 is broken","timestamp":"2026-01-01T00:00:00Z","task_id":"019b76daa8007d148e684960a68d271e.1","run_id":"019b76daa8007d148e684960a68d271e","attempt":1}',1981088857,'broken','019b76daa8007d1485a04d5c692550a4',NULL,NULL,NULL,NULL,1767225600.0,X'019B76DAA8007D1485A04D5C692550A4',1,NULL);
INSERT INTO "artifacts" VALUES(7,X'019B76DAA8007D1485A04D5C692550A8','stored.Slow',1,'{"n":4}',74482868,'external','019b76daa8007d1485a04d5c692550a8',NULL,NULL,NULL,NULL,1767225600.0,NULL,0,NULL);
CREATE TABLE consumptions (
    seq INTEGER NOT NULL,
    run INTEGER NOT NULL,        -- number of the run
    place INTEGER NOT NULL,      -- of the input among the run's, from 0
    PRIMARY KEY (seq, run)
) STRICT, WITHOUT ROWID;
INSERT INTO "consumptions" VALUES(1,1,0);
INSERT INTO "consumptions" VALUES(2,1,1);
CREATE TABLE dead_letter_inputs (
    seq INTEGER NOT NULL,
    letter BLOB NOT NULL,
    PRIMARY KEY (seq, letter)
) STRICT, WITHOUT ROWID;
INSERT INTO "dead_letter_inputs" VALUES(4,X'019B76DAA8007D1485A04D5C692550A6');
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
INSERT INTO "dead_letters" VALUES(X'019B76DAA8007D1485A04D5C692550A6',X'019B76DAA8007D148E684960A68D271E','broken',0,'019b76daa8007d1485a04d5c692550a4',0,1,5,1767225600.0,6,0,'[4]',NULL,'ValueError','number 3 is broken',1767225600.0);
CREATE TABLE deliveries (
    seq INTEGER NOT NULL,
    agent TEXT NOT NULL,
    subscription INTEGER NOT NULL,
    opens_at REAL NOT NULL,      -- 0 for at once
    arrived REAL NOT NULL,       -- 0 before it came to its gate
    number INTEGER NOT NULL,     -- which arrival at a join it was, from 1; 0 if that is not counted
    PRIMARY KEY (seq, agent, subscription)
) STRICT, WITHOUT ROWID;
INSERT INTO "deliveries" VALUES(2,'count',0,0.0,1767225600.0,0);
INSERT INTO "deliveries" VALUES(3,'pair',0,0.0,1767225600.0,0);
INSERT INTO "deliveries" VALUES(7,'slow',0,0.0,0.0,0);
CREATE TABLE idempotency_keys (
    key TEXT PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "idempotency_keys" VALUES('order 1',1);
CREATE TABLE log (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    correlation_id TEXT,         -- NULL for the whole board
    data TEXT NOT NULL,          -- JSON
    position INTEGER NOT NULL,   -- the newest seq with it
    run INTEGER NOT NULL         -- the number of the newest run with it
) STRICT;
INSERT INTO "log" VALUES(1,'run_failed',1767225600.0,'019b76daa8007d1485a04d5c692550a4','{"version":1,"agent":"broken","run_id":"019b76daa8007d148e684960a68d271e","attempt":1,"error_type":"ValueError","error_message":"number 3 is broken","usage":{}}',6,1);
INSERT INTO "log" VALUES(2,'dead_lettered',1767225600.0,'019b76daa8007d1485a04d5c692550a4','{"version":1,"agent":"broken","dead_letter_id":"019b76da-a800-7d14-85a0-4d5c692550a6","error_type":"ValueError","error_message":"number 3 is broken"}',6,1);
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
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
INSERT INTO "open_runs" VALUES(X'019B76DAA8007D1486814210FCB7DD7D','slow',0,0,1,0.0,0,'[7]',NULL);
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
INSERT INTO "runs" VALUES(1,X'21F1DE7789547598DF817F1FB103943C','pair','first',1767225600.0,1,2,1767225600.0,5,1,X'019B76DAA8007D1485A04D5C692550A1019B76DAA8007D1485A04D5C692550A2');
CREATE TABLE states (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    data TEXT NOT NULL,          -- JSON
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE steps (
    run BLOB NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,         -- JSON
    PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;
INSERT INTO "steps" VALUES(X'019B76DAA8007D1486814210FCB7DD7D','first','{"$value": "before"}');
CREATE TABLE ticks (
    run BLOB PRIMARY KEY,
    fire_time REAL NOT NULL,     -- when it was due
    iteration INTEGER NOT NULL,  -- which run of its schedule it started, from 1
    missed INTEGER NOT NULL      -- how many ticks before it got no run of their own
) STRICT, WITHOUT ROWID;
CREATE INDEX artifacts_by_type ON artifacts (type);
CREATE INDEX artifacts_by_workflow ON artifacts (correlation_id);
CREATE INDEX artifacts_by_producer ON artifacts (produced_by);
CREATE INDEX artifacts_by_time ON artifacts (created);
CREATE INDEX artifacts_by_kind ON artifacts (kind) WHERE kind IS NOT NULL;
CREATE INDEX artifact_tags_by_artifact ON artifact_tags (seq);
CREATE INDEX idempotency_keys_by_artifact ON idempotency_keys (seq);
CREATE INDEX runs_by_workflow ON runs (correlation_id);
CREATE INDEX consumptions_by_run ON consumptions (run, place);
CREATE INDEX dead_letters_by_workflow ON dead_letters (correlation_id);
CREATE INDEX dead_letter_inputs_by_letter ON dead_letter_inputs (letter);
CREATE INDEX log_by_workflow ON log (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX log_by_time ON log (at);
COMMIT;
