-- Which migrations have run.
CREATE TABLE migrations (
    version int PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The one row that says who may write. `batch` counts the batches of this history.
CREATE TABLE term (
    id int PRIMARY KEY CHECK (id = 1),
    owner text NOT NULL,
    epoch bigint NOT NULL CHECK (epoch >= 0),
    incarnation text NOT NULL,
    batch bigint NOT NULL CHECK (batch >= 0)
) WITH (fillfactor = 10);

-- One row a transaction. Instants are microseconds since 1970; states are those of the wire.
-- Half of each page is left free: updates that change no index stay on their page and leave all
-- indexes alone, and what they leave behind is reused at once (measured: faster and no larger).
CREATE TABLE transactions (
    xid text COLLATE "C" PRIMARY KEY CHECK (octet_length(xid) BETWEEN 1 AND 128),
    name text NOT NULL,
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 5),
    version bigint NOT NULL CHECK (version >= 1),
    epoch bigint NOT NULL CHECK (epoch >= 1),
    write_id bigint NOT NULL,
    -- 0: calls in flight. NULL: nothing is left to do, ever.
    due_at bigint CHECK (due_at >= 0),
    created_at bigint NOT NULL,
    finished_at bigint,
    stuck text,
    paused boolean NOT NULL,
    -- Each is "key value".
    labels text[] NOT NULL,
    participants text[] NOT NULL,
    spec bytea NOT NULL,
    progress bytea NOT NULL,
    -- Whatever is not final will be looked at again.
    CHECK (state >= 4 OR due_at IS NOT NULL),
    CHECK ((state >= 4) = (finished_at IS NOT NULL))
) WITH (fillfactor = 50);

-- Large ones go out of line as they are, and an update that does not name them leaves them there.
ALTER TABLE transactions ALTER COLUMN spec SET STORAGE EXTERNAL;
ALTER TABLE transactions ALTER COLUMN progress SET STORAGE EXTERNAL;

CREATE INDEX transactions_due ON transactions (due_at, xid) WHERE due_at IS NOT NULL;
CREATE INDEX transactions_stuck ON transactions (created_at, xid) WHERE stuck IS NOT NULL;
CREATE INDEX transactions_newest ON transactions (created_at, xid);
-- What finds a transaction by its business key; costs nothing where there are no labels.
CREATE INDEX transactions_labels ON transactions USING gin (labels) WHERE labels <> '{}';

CREATE TABLE instances (
    participant text COLLATE "C",
    instance text COLLATE "C",
    content bytea NOT NULL,
    PRIMARY KEY (participant, instance)
);
