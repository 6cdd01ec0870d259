-- A batch is one INSERT into a view, which is its own commit; a large one is several in one commit.
-- The first row has no xid, but the term's epoch, which is checked and the batch counted in the
-- same breath. The others are records: transactions begin, and transactions go on. Whatever a
-- trigger raises undoes all of it.

-- name: batch
CREATE TEMP VIEW batch (
    xid, version, epoch, write_id, state, due_at, finished_at, stuck, paused, progress, spec,
    participants, created_at, name, labels
) AS
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL;

-- name: in_term
CREATE TEMP TRIGGER in_term INSTEAD OF INSERT ON batch WHEN NEW.xid IS NULL
BEGIN
    UPDATE term SET batch = batch + 1 WHERE id = 1 AND epoch = NEW.epoch;
    SELECT raise(ABORT, 'the term is over') WHERE changes() = 0;
END;

-- name: begun
CREATE TEMP TRIGGER begun INSTEAD OF INSERT ON batch WHEN NEW.version = 1
BEGIN
    INSERT INTO transactions (
        xid, version, epoch, write_id, state, due_at, finished_at, stuck, paused, progress, spec,
        participants, created_at, name, labels
    )
    VALUES (
        NEW.xid, NEW.version, NEW.epoch, NEW.write_id, NEW.state, NEW.due_at, NEW.finished_at,
        NEW.stuck, NEW.paused, NEW.progress, NEW.spec, NEW.participants, NEW.created_at, NEW.name,
        NEW.labels
    )
    ON CONFLICT (xid) DO NOTHING;
    INSERT INTO labels (label, created_at, xid)
    SELECT value, NEW.created_at, NEW.xid FROM json_each(NEW.labels) WHERE changes() > 0
    ON CONFLICT DO NOTHING;
END;

-- name: went_on
CREATE TEMP TRIGGER went_on INSTEAD OF INSERT ON batch WHEN NEW.version > 1
BEGIN
    UPDATE transactions SET
        version = NEW.version, epoch = NEW.epoch, write_id = NEW.write_id, state = NEW.state,
        due_at = NEW.due_at, finished_at = NEW.finished_at, stuck = NEW.stuck,
        paused = NEW.paused, progress = NEW.progress, spec = coalesce(NEW.spec, spec),
        participants = coalesce(NEW.participants, participants)
    WHERE xid = NEW.xid AND version = NEW.version - 1 AND epoch <= NEW.epoch;
END;

-- name: append
INSERT INTO batch VALUES {rows};

-- name: count_batch
-- What is no batch of records is held to the epoch by this.
UPDATE term SET batch = batch + 1 WHERE id = 1 AND epoch = :term_epoch;

-- name: own_writes
-- By which a write that was lost, or had no effect, knows whether the row is its own.
SELECT xid, version, epoch, write_id FROM transactions
WHERE xid IN (SELECT value FROM json_each(?));

-- name: take_term
UPDATE term SET owner = :owner, epoch = epoch + 1 WHERE id = 1;

-- name: read_term
SELECT owner, epoch, incarnation, batch FROM term WHERE id = 1;

-- name: first_term
INSERT INTO term (id, owner, epoch, incarnation, batch)
VALUES (1, '', 0, lower(hex(randomblob(16))), 0) ON CONFLICT (id) DO NOTHING;

-- name: load
SELECT xid, spec, progress FROM transactions WHERE xid = :xid;

-- name: known
SELECT xid FROM transactions WHERE xid IN (SELECT value FROM json_each(:xids));

-- name: in_flight
SELECT xid, spec, progress FROM transactions INDEXED BY transactions_due
WHERE due_at = 0 AND xid > :after AND epoch < :epoch
ORDER BY xid LIMIT :limit;

-- name: due
SELECT xid, spec, progress, due_at FROM transactions INDEXED BY transactions_due
WHERE due_at > 0 AND due_at <= :now AND (due_at, xid) > (:after_due_at, :after_xid)
ORDER BY due_at, xid LIMIT :limit;

-- name: find
-- Finds the page by its narrow columns first, and reads the blobs of that page only.
SELECT t.xid, t.spec, t.progress, t.created_at FROM (
    SELECT xid, created_at FROM {source} WHERE {conditions}
    ORDER BY created_at DESC, xid DESC LIMIT :limit
) AS page CROSS JOIN transactions AS t ON t.xid = page.xid
ORDER BY t.created_at DESC, t.xid DESC;

-- name: count_unfinished
SELECT state, count(*), min(created_at) FROM transactions INDEXED BY transactions_due
WHERE due_at IS NOT NULL GROUP BY state ORDER BY state;

-- name: count_stuck
SELECT count(*) FROM transactions INDEXED BY transactions_stuck WHERE stuck IS NOT NULL;

-- name: prune_labels
DELETE FROM labels WHERE (label, created_at, xid) IN (
    SELECT l.value, old.created_at, old.xid FROM (
        SELECT xid, created_at, labels FROM transactions INDEXED BY transactions_newest
        WHERE created_at < :before AND finished_at < :before AND due_at IS NULL
        ORDER BY created_at, xid LIMIT :limit
    ) AS old, json_each(old.labels) AS l
);

-- name: prune
DELETE FROM transactions WHERE xid IN (
    SELECT xid FROM transactions INDEXED BY transactions_newest
    WHERE created_at < :before AND finished_at < :before AND due_at IS NULL
    ORDER BY created_at, xid LIMIT :limit
);

-- name: save_instance
INSERT INTO instances (participant, instance, content) VALUES (:participant, :instance, :content)
ON CONFLICT (participant, instance) DO UPDATE SET content = excluded.content;

-- name: delete_instance
DELETE FROM instances WHERE participant = :participant AND instance = :instance;

-- name: instances
SELECT content FROM instances ORDER BY participant, instance;

-- name: count_instances
SELECT count(*) FROM instances;

-- name: tables
SELECT count(*), count(*) FILTER (WHERE name = 'migrations') FROM sqlite_schema
WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\_%' ESCAPE '\';

-- name: schema_version
SELECT coalesce(max(version), 0) FROM migrations;

-- name: record_migration
INSERT INTO migrations (version, name, applied_at)
VALUES (:version, :name, CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000);

-- name: rows_after
SELECT
    xid, name, state, version, epoch, due_at, created_at, finished_at, stuck, paused, labels,
    participants, spec, progress
FROM transactions WHERE xid > :after ORDER BY xid LIMIT :limit;
