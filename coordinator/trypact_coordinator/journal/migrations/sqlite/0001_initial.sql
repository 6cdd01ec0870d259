-- Which migrations have run.
CREATE TABLE migrations (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;

-- The one row that says who may write. `batch` counts the batches of this history.
CREATE TABLE term (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    owner TEXT NOT NULL,
    epoch INTEGER NOT NULL CHECK (epoch >= 0),
    incarnation TEXT NOT NULL,
    batch INTEGER NOT NULL CHECK (batch >= 0)
) STRICT;

-- One row a transaction. Instants are microseconds since 1970; states are those of the wire.
CREATE TABLE transactions (
    xid TEXT NOT NULL PRIMARY KEY CHECK (length(xid) BETWEEN 1 AND 128),
    name TEXT NOT NULL,
    state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 5),
    version INTEGER NOT NULL CHECK (version >= 1),
    epoch INTEGER NOT NULL CHECK (epoch >= 1),
    write_id INTEGER NOT NULL,
    -- 0: calls in flight. NULL: nothing is left to do, ever.
    due_at INTEGER CHECK (due_at >= 0),
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    stuck TEXT,
    paused INTEGER NOT NULL CHECK (paused IN (0, 1)),
    -- A JSON array of "key value".
    labels TEXT NOT NULL CHECK (json_type(labels) = 'array'),
    -- Names with a space before, between and after.
    participants TEXT NOT NULL,
    spec BLOB NOT NULL,
    progress BLOB NOT NULL,
    -- Whatever is not final will be looked at again.
    CHECK (state >= 4 OR due_at IS NOT NULL),
    CHECK ((state >= 4) = (finished_at IS NOT NULL))
) STRICT;

CREATE INDEX transactions_due ON transactions (due_at, xid) WHERE due_at IS NOT NULL;
CREATE INDEX transactions_stuck ON transactions (created_at, xid) WHERE stuck IS NOT NULL;
CREATE INDEX transactions_newest ON transactions (created_at, xid);

-- What finds a transaction by its business key; costs nothing where there are no labels.
CREATE TABLE labels (
    label TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    xid TEXT NOT NULL,
    PRIMARY KEY (label, created_at, xid)
) STRICT, WITHOUT ROWID;

CREATE TABLE instances (
    participant TEXT NOT NULL,
    instance TEXT NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (participant, instance)
) STRICT, WITHOUT ROWID;
