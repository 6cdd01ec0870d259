-- The parts of a batch, which is one statement, so one round trip and one commit: the term's epoch
-- is checked and its batch counted, transactions begin, transactions go on. A batch has `present`
-- and those of the others that it has records for. Every other part reads `present`, so under an
-- old epoch nothing happens at all.

-- name: present
present AS (
    UPDATE term SET batch = batch + 1 WHERE id = 1 AND epoch = %(term_epoch)s
    RETURNING batch, set_config('synchronous_commit', %(synchronous_commit)s, true)
);

-- name: begun
begun AS (
    INSERT INTO transactions (
        xid, version, epoch, write_id, state, due_at, finished_at, stuck, paused, progress,
        created_at, spec, name, participants, labels
    )
    SELECT
        b.xid, b.version, b.epoch, b.write_id, b.state, b.due_at, b.finished_at, b.stuck, b.paused,
        b.progress, b.created_at, b.spec, b.name, b.participants::text[], b.labels::text[]
    FROM present, unnest(
        %(begun_xid)s::text[], %(begun_version)s::bigint[], %(begun_epoch)s::bigint[],
        %(begun_write_id)s::bigint[], %(begun_state)s::smallint[], %(begun_due_at)s::bigint[],
        %(begun_finished_at)s::bigint[], %(begun_stuck)s::text[], %(begun_paused)s::boolean[],
        %(begun_progress)b::bytea[], %(begun_created_at)s::bigint[], %(begun_spec)b::bytea[],
        %(begun_name)s::text[], %(begun_participants)s::text[], %(begun_labels)s::text[]
    ) AS b (
        xid, version, epoch, write_id, state, due_at, finished_at, stuck, paused, progress,
        created_at, spec, name, participants, labels
    )
    ON CONFLICT (xid) DO NOTHING
    RETURNING 1
);

-- name: went_on
went_on AS (
    UPDATE transactions t SET
        version = n.version, epoch = n.epoch, write_id = n.write_id, state = n.state,
        due_at = n.due_at, finished_at = n.finished_at, stuck = n.stuck, paused = n.paused,
        progress = n.progress, spec = coalesce(n.spec, t.spec),
        participants = coalesce(n.participants::text[], t.participants)
    FROM present, unnest(
        %(next_xid)s::text[], %(next_version)s::bigint[], %(next_epoch)s::bigint[],
        %(next_write_id)s::bigint[], %(next_state)s::smallint[], %(next_due_at)s::bigint[],
        %(next_finished_at)s::bigint[], %(next_stuck)s::text[], %(next_paused)s::boolean[],
        %(next_progress)b::bytea[], %(next_spec)b::bytea[], %(next_participants)s::text[]
    ) AS n (
        xid, version, epoch, write_id, state, due_at, finished_at, stuck, paused, progress, spec,
        participants
    )
    WHERE t.xid = n.xid AND t.version = n.version - 1 AND t.epoch <= n.epoch
    RETURNING 1
);

-- name: own_writes
-- By which a write that was lost, or had no effect, knows whether the row is its own.
SELECT xid, version, epoch, write_id FROM transactions WHERE xid = ANY(%(xids)s::text[]);

-- name: now
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

-- name: take_term
UPDATE term SET owner = %(owner)s, epoch = epoch + 1 WHERE id = 1
RETURNING epoch, incarnation, batch, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

-- name: read_term
SELECT owner, epoch, incarnation, batch FROM term WHERE id = 1;

-- name: first_term
INSERT INTO term (id, owner, epoch, incarnation, batch)
VALUES (1, '', 0, gen_random_uuid()::text, 0) ON CONFLICT (id) DO NOTHING;

-- name: load
SELECT xid, spec, progress FROM transactions WHERE xid = %(xid)s;

-- name: known
SELECT xid FROM transactions
WHERE xid IN (SELECT jsonb_array_elements_text(%(xids)s::jsonb));

-- name: in_flight
SELECT xid, spec, progress FROM transactions
WHERE due_at = 0 AND xid > %(after)s AND epoch < %(epoch)s
ORDER BY due_at, xid LIMIT %(limit)s;

-- name: due
SELECT xid, spec, progress, due_at FROM transactions
WHERE due_at > 0 AND due_at <= %(now)s AND (due_at, xid) > (%(after_due_at)s, %(after_xid)s)
ORDER BY due_at, xid LIMIT %(limit)s;

-- name: find
SELECT xid, spec, progress, created_at FROM transactions
WHERE {conditions} ORDER BY {newest_first} LIMIT %(limit)s;

-- name: count_unfinished
SELECT state, count(*), min(created_at) FROM transactions
WHERE due_at IS NOT NULL GROUP BY state ORDER BY state;

-- name: count_stuck
SELECT count(*) FROM transactions WHERE stuck IS NOT NULL;

-- name: prune
WITH present AS (
    SELECT 1 FROM term WHERE id = 1 AND epoch = %(term_epoch)s FOR SHARE
), old AS (
    SELECT t.xid FROM present, transactions t
    WHERE t.created_at < %(before)s AND t.finished_at < %(before)s AND t.due_at IS NULL
    ORDER BY t.created_at, t.xid LIMIT %(limit)s
), gone AS (
    DELETE FROM transactions t USING old WHERE t.xid = old.xid AND t.due_at IS NULL RETURNING 1
)
SELECT (SELECT count(*) FROM present), (SELECT count(*) FROM gone);

-- name: save_instance
WITH present AS (SELECT 1 FROM term WHERE id = 1 AND epoch = %(term_epoch)s FOR SHARE)
INSERT INTO instances (participant, instance, content)
SELECT %(participant)s, %(instance)s, %(content)b FROM present
ON CONFLICT (participant, instance) DO UPDATE SET content = excluded.content
RETURNING 1;

-- name: delete_instance
WITH present AS (SELECT 1 FROM term WHERE id = 1 AND epoch = %(term_epoch)s FOR SHARE), gone AS (
    DELETE FROM instances USING present
    WHERE participant = %(participant)s AND instance = %(instance)s
)
SELECT 1 FROM present;

-- name: instances
SELECT content FROM instances ORDER BY participant, instance;

-- name: count_instances
SELECT count(*) FROM instances;

-- name: tables
SELECT count(*), count(*) FILTER (WHERE relname = 'migrations') FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm');

-- name: schema_version
SELECT coalesce(max(version), 0) FROM migrations;

-- name: record_migration
INSERT INTO migrations (version, name) VALUES (%(version)s, %(name)s);

-- name: rows_after
SELECT
    xid, name, state, version, epoch, due_at, created_at, finished_at, stuck, paused, labels,
    participants, spec, progress
FROM transactions WHERE xid > %(after)s ORDER BY xid LIMIT %(limit)s;

-- name: own
SELECT pg_advisory_lock(%(key)s, hashtext(current_schema()));

-- name: disown
SELECT pg_advisory_unlock_all();

-- name: owner
-- Whoever holds the lock on this database, to name it to the one who is refused.
SELECT a.application_name, a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %(key)s
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: session
SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid();

-- name: end_session
-- Ends a session of our own that was lost, and waits until it has ended: only then is its commit
-- decided and its lock free.
SELECT pg_terminate_backend(pid, %(wait_ms)s) FROM pg_stat_activity
WHERE pid = %(pid)s AND backend_start = %(backend_start)s;
