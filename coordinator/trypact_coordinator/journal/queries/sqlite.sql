-- name: count_batch
-- Checks the epoch in the same breath: no row, no right to write.
UPDATE term SET batch = batch + 1 WHERE id = 1 AND epoch = :term_epoch;

-- name: begin
INSERT INTO transactions (
    xid, version, epoch, write_id, state, due_at, finished_at, stuck, paused, progress,
    created_at, spec, name, participants, labels
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (xid) DO NOTHING;

-- name: add_label
INSERT INTO labels (label, created_at, xid) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: go_on
UPDATE transactions SET
    version = ?, epoch = ?, write_id = ?, state = ?, due_at = ?, finished_at = ?, stuck = ?,
    paused = ?, progress = ?
WHERE xid = ? AND version = ? AND epoch <= ?;

-- name: admit
UPDATE transactions SET
    version = ?, epoch = ?, write_id = ?, state = ?, due_at = ?, finished_at = ?, stuck = ?,
    paused = ?, progress = ?, spec = ?, participants = ?
WHERE xid = ? AND version = ? AND epoch <= ?;

-- name: own_write
SELECT version, epoch, write_id FROM transactions WHERE xid = ?;

-- name: now
-- The wall clock; SQLite tells it in whole milliseconds.
SELECT CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000;

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

-- name: find_old
SELECT xid, created_at, labels FROM transactions INDEXED BY transactions_newest
WHERE created_at < :before AND finished_at < :before AND due_at IS NULL
ORDER BY created_at, xid LIMIT :limit;

-- name: delete_label
DELETE FROM labels WHERE label = ? AND created_at = ? AND xid = ?;

-- name: delete
DELETE FROM transactions WHERE xid = ? AND due_at IS NULL;

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
