-- What is asked of a board. `{artifact}` stands for the columns of an artifact.

-- name: get
SELECT {artifact} FROM artifacts WHERE id = ?;

-- name: at
SELECT {artifact} FROM artifacts WHERE seq = ?;

-- name: published_as
SELECT {artifact} FROM artifacts
WHERE seq = (SELECT seq FROM idempotency_keys WHERE key = ?);

-- name: position
SELECT max(
    coalesce((SELECT max(seq) FROM artifacts), 0),
    coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'position'), 0)
);

-- name: last_run
SELECT max(
    coalesce((SELECT max(number) FROM runs), 0),
    coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'last_run'), 0)
);

-- name: last_logged
SELECT max(
    coalesce((SELECT max(number) FROM log), 0),
    coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'last_logged'), 0)
);

-- name: states
SELECT key, CAST(data AS BLOB) FROM states WHERE kind = ? ORDER BY key;

-- name: state
SELECT CAST(data AS BLOB) FROM states WHERE kind = ? AND key = ?;

-- name: log
SELECT kind, at, correlation_id, CAST(data AS BLOB), number, position, run FROM log
WHERE number > ? ORDER BY number LIMIT ?;

-- name: workflow_log
SELECT kind, at, correlation_id, CAST(data AS BLOB), number, position, run FROM log
WHERE correlation_id = ? AND number > ? ORDER BY number LIMIT ?;

-- name: delete_log
DELETE FROM log WHERE at < ?;

-- name: all_runs
SELECT number, id, agent, inputs, made, attempt, seen, position, began, committed, correlation_id
FROM runs WHERE number > ? ORDER BY number LIMIT ?;

-- name: all_outputs
SELECT run, id FROM artifacts WHERE seq > ? AND seq <= ? AND run IS NOT NULL ORDER BY seq;

-- name: open_runs
SELECT id, agent, subscription, is_batch, attempt, due, emitted, deliveries, inputs FROM open_runs;

-- name: tick
SELECT fire_time, iteration, missed FROM ticks WHERE run = ?;

-- name: import_tick
INSERT INTO ticks (run, fire_time, iteration, missed) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: deliveries
SELECT d.agent, d.subscription, d.opens_at, d.arrived, d.number, d.seq
FROM deliveries AS d ORDER BY d.seq, d.agent, d.subscription;

-- name: arrivals
SELECT agent, subscription, number FROM arrivals;

-- name: steps
SELECT name, CAST(value AS BLOB) FROM steps WHERE run = ?;

-- name: consumptions
SELECT r.agent, r.id, r.correlation_id, r.committed
FROM consumptions AS c JOIN runs AS r ON r.number = c.run
WHERE c.seq = (SELECT seq FROM artifacts WHERE id = ?) ORDER BY c.run;

-- name: runs
SELECT number, id, agent, correlation_id, committed, attempt, seen FROM runs
WHERE correlation_id = ? ORDER BY number;

-- name: run_inputs
SELECT seq FROM consumptions WHERE run = ? ORDER BY place;

-- name: workflow_runs
SELECT number, id, agent, inputs, made, attempt, seen, position, began, committed FROM runs
WHERE correlation_id = ? AND number > ? ORDER BY number LIMIT ?;

-- name: workflow_outputs
SELECT run, id FROM artifacts
WHERE correlation_id = ? AND seq > ? AND seq <= ? AND run IS NOT NULL ORDER BY seq;

-- name: dead_letters
SELECT id, run, agent, subscription, correlation_id, is_batch, attempt, emitted, deliveries,
    inputs, error_type, error_message, created, seen, began, position
FROM dead_letters ORDER BY id;

-- name: workflow_dead_letters
SELECT id, run, agent, subscription, correlation_id, is_batch, attempt, emitted, deliveries,
    inputs, error_type, error_message, created, seen, began, position
FROM dead_letters WHERE correlation_id = ? ORDER BY id;

-- name: spent
SELECT model, calls, input_tokens, output_tokens, cached_tokens, usd, unpriced, latency
FROM accounts WHERE run = x'' AND correlation_id = ? AND agent = ?;

-- name: spent_by_run
SELECT model, calls, input_tokens, output_tokens, cached_tokens, usd, unpriced, latency,
    correlation_id, agent
FROM accounts WHERE run = ?;

-- name: holder
SELECT value FROM meta WHERE name = 'holder';

-- name: set_meta
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value;

-- name: drop_open_run
DELETE FROM open_runs WHERE id = ?;

-- name: doomed
-- Artifacts from before a moment that neither open work nor dead letters need.
CREATE TEMP TABLE doomed AS
SELECT a.seq FROM artifacts AS a
WHERE a.created < ?
    AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.seq = a.seq)
    AND NOT EXISTS (SELECT 1 FROM dead_letter_inputs AS l WHERE l.seq = a.seq)
    AND a.seq NOT IN (
        SELECT i.value FROM open_runs AS o, json_each(o.inputs) AS i WHERE i.type = 'integer'
    );

-- name: surplus
-- All but the newest artifacts of each workflow, that neither open work nor dead letters need.
CREATE TEMP TABLE doomed AS
SELECT ranked.seq FROM (
    SELECT seq, row_number() OVER (PARTITION BY correlation_id ORDER BY seq DESC) AS place
    FROM artifacts
) AS ranked
WHERE ranked.place > ?
    AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.seq = ranked.seq)
    AND NOT EXISTS (SELECT 1 FROM dead_letter_inputs AS l WHERE l.seq = ranked.seq)
    AND ranked.seq NOT IN (
        SELECT i.value FROM open_runs AS o, json_each(o.inputs) AS i WHERE i.type = 'integer'
    );

-- name: delete_doomed
DELETE FROM artifacts WHERE seq IN (SELECT seq FROM doomed);

-- name: delete_doomed_tags
DELETE FROM artifact_tags WHERE seq IN (SELECT seq FROM doomed);

-- name: delete_doomed_keys
DELETE FROM idempotency_keys WHERE seq IN (SELECT seq FROM doomed);

-- name: delete_doomed_consumptions
DELETE FROM consumptions WHERE seq IN (SELECT seq FROM doomed);

-- name: delete_doomed_runs
-- Runs that used something, of which nothing is left.
DELETE FROM runs WHERE number IN (
    SELECT DISTINCT c.run FROM consumptions AS c WHERE c.seq IN (SELECT seq FROM doomed)
    EXCEPT
    SELECT c.run FROM consumptions AS c
    WHERE c.run IN (SELECT run FROM consumptions WHERE seq IN (SELECT seq FROM doomed))
        AND c.seq NOT IN (SELECT seq FROM doomed)
);

-- name: drop_doomed
DROP TABLE doomed;

-- name: extent
SELECT count(*), (SELECT count(DISTINCT correlation_id) FROM artifacts), min(created), max(created)
FROM artifacts;

-- name: workflow
SELECT (SELECT count(*) FROM runs WHERE correlation_id = :workflow),
    (SELECT count(*) FROM artifacts AS a JOIN deliveries AS d ON d.seq = a.seq
        WHERE a.correlation_id = :workflow),
    (SELECT count(*) FROM dead_letters WHERE correlation_id = :workflow),
    (SELECT created FROM artifacts WHERE seq = :first),
    (SELECT created FROM artifacts WHERE seq = :last);

-- name: waiting
-- What was delivered and is in no run that was gathered or begun.
SELECT d.agent, d.subscription, count(*), min(d.seq) FROM deliveries AS d
WHERE (d.seq, d.agent, d.subscription) NOT IN (
    SELECT used.value, r.agent, r.subscription FROM open_runs AS r, json_each(r.deliveries) AS used
)
GROUP BY d.agent, d.subscription ORDER BY d.agent, d.subscription;

-- name: open_for
SELECT agent, subscription FROM deliveries WHERE seq = ? ORDER BY agent, subscription;

-- name: dead_letters_of
SELECT letter FROM dead_letter_inputs WHERE seq = ? ORDER BY letter;

-- name: dead_letter
SELECT id, run, agent, subscription, correlation_id, is_batch, attempt, emitted, deliveries,
    inputs, error_type, error_message, created
FROM dead_letters WHERE id = ?;

-- name: export_board
-- Everything from a position on.
SELECT {artifact}, run, (SELECT key FROM idempotency_keys AS k WHERE k.seq = artifacts.seq)
FROM artifacts WHERE seq >= :start AND seq <= :end ORDER BY seq;

-- name: export_workflow
-- A workflow, and what its runs and dead letters used of others.
SELECT {artifact}, run, (SELECT key FROM idempotency_keys AS k WHERE k.seq = artifacts.seq)
FROM artifacts WHERE seq IN (
    SELECT seq FROM artifacts WHERE correlation_id = :workflow
    UNION
    SELECT c.seq FROM runs AS r JOIN consumptions AS c ON c.run = r.number
    WHERE r.correlation_id = :workflow
    UNION
    SELECT i.seq FROM dead_letters AS l JOIN dead_letter_inputs AS i ON i.letter = l.id
    WHERE l.correlation_id = :workflow
) AND seq >= :start AND seq <= :end ORDER BY seq;

-- name: export_runs
SELECT id, agent, correlation_id, committed, attempt, seen, began, position, made, inputs FROM runs
WHERE number >= :start AND number <= :end ORDER BY number;

-- name: export_workflow_runs
SELECT id, agent, correlation_id, committed, attempt, seen, began, position, made, inputs FROM runs
WHERE correlation_id = :workflow AND number >= :start AND number <= :end ORDER BY number;

-- name: export_dead_letters
SELECT id, run, agent, subscription, correlation_id, is_batch, attempt, emitted, deliveries,
    inputs, error_type, error_message, created, seen, began, position
FROM dead_letters ORDER BY id;

-- name: export_workflow_dead_letters
SELECT id, run, agent, subscription, correlation_id, is_batch, attempt, emitted, deliveries,
    inputs, error_type, error_message, created, seen, began, position
FROM dead_letters WHERE correlation_id = :workflow ORDER BY id;

-- name: id_at
SELECT id FROM artifacts WHERE seq = ?;

-- name: stored_as
SELECT seq, checksum FROM artifacts WHERE id = ?;

-- name: imported
-- Positions in the file that is imported, and on the board.
CREATE TEMP TABLE imported (old INTEGER PRIMARY KEY, new INTEGER NOT NULL) STRICT;

-- name: remember_imported
INSERT INTO imported (old, new) VALUES (?, ?);

-- name: newest_imported
SELECT new FROM imported WHERE old <= ? ORDER BY old DESC LIMIT 1;

-- name: drop_imported
DROP TABLE imported;

-- name: import_key
INSERT INTO idempotency_keys (key, seq) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: import_run
INSERT INTO runs (number, id, agent, correlation_id, committed, attempt, seen, began, position,
    made, inputs)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: import_input
INSERT INTO consumptions (seq, run, place)
SELECT seq, ?, ? FROM artifacts WHERE id = ? ON CONFLICT DO NOTHING;

-- name: import_dead_letter
INSERT INTO dead_letters (id, run, agent, subscription, correlation_id, is_batch, attempt, emitted,
    deliveries, inputs, error_type, error_message, created, seen, began, position)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: need_for_dead_letter
INSERT INTO dead_letter_inputs (seq, letter) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: import_step
INSERT INTO steps (run, name, value) VALUES (?, ?, CAST(? AS TEXT)) ON CONFLICT DO NOTHING;

-- name: reopen_delivery
INSERT INTO deliveries (seq, agent, subscription, opens_at, arrived, number)
VALUES (?, ?, ?, 0, 0, 0) ON CONFLICT DO NOTHING;

-- name: reopen_run
INSERT INTO open_runs (id, agent, subscription, is_batch, attempt, due, emitted, deliveries, inputs)
VALUES (?, ?, ?, ?, 0, 0, ?, ?, ?);

-- name: drop_dead_letter
DELETE FROM dead_letters WHERE id = ?;

-- name: drop_dead_letter_inputs
DELETE FROM dead_letter_inputs WHERE letter = ?;
