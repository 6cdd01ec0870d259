"""The fence over Redis, for services whose business is in Redis.

Redis has no transactions that could be undone, but two things that together make one: WATCH, which
lets EXEC fail if a key has changed since it was read, and MULTI, which queues writes until EXEC. So
the handler reads at once and queues its writes; the fence's row is read before and written with
them. Nothing has happened before EXEC, and EXEC does all of it or nothing.

Rows are JSON texts, one for each branch. One sorted set has all their names in order, so that the
collector finds them.
"""

import json
import logging
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from redis import Redis
from redis import exceptions as said
from redis.client import Pipeline

from trypact.clock import now_us
from trypact.errors import ParticipantError, Refuse
from trypact.fence import rules
from trypact.fence.local import ENDED, LocalFence, Trouble
from trypact.fence.rules import FenceRow, Key, Over, Row, Status

logger = logging.getLogger("trypact.fence")

# Between xid and branch id, which are visible ASCII; it sorts before all of that.
_SPACE: Final = " "
_BEYOND: Final = "!"
# How many rows of the sorted set are looked at in one go.
_LOOKED_AT_MAX: Final = 500
_UNAVAILABLE = (
    said.ConnectionError,
    said.TimeoutError,
    said.ReadOnlyError,
    said.OutOfMemoryError,
)


class RedisFence(LocalFence):
    """A fence in a Redis database.

    Handlers get redis-py's own pipeline, watching the fence's row. First they `watch` the keys they
    depend on and read them, at once; then they call `multi`, and what they write from there is
    queued, and done together with the fence's row:

        def reserve(call, redis):
            key = f"stock:{call.request.sku}"
            redis.watch(key)
            left = int(redis.get(key) or 0)
            if left < call.request.count:
                raise Refuse(f"OUT_OF_STOCK: {left} left")
            redis.multi()
            redis.decrby(key, call.request.count)

    A watched key that another client has changed meanwhile makes the handler run again. A command
    that writes before `multi` is refused, since nothing could undo it.

    Args:
        client: of one Redis server, or of one that a Sentinel names; not of a cluster, where keys
            of one transaction lie on different nodes.
        prefix: what all keys of the fence begin with.
        now: microseconds since 1970-01-01T00:00Z.

    Raises TypeError for another client.

    >>> import redis
    >>> fence = RedisFence(redis.Redis.from_url("redis://127.0.0.1:6379"))
    >>> fence.create_tables()
    >>> inventory = Participant("inventory", fence=fence)
    """

    def __init__(
        self,
        client: Redis,
        *,
        prefix: str = "trypact:fence",
        now: Callable[[], int] = now_us,
    ) -> None:
        if not isinstance(client, Redis) or isinstance(client, Pipeline):
            given = f"{type(client).__module__}.{type(client).__name__}"
            raise TypeError(f"{given}: the fence takes a redis.Redis, and runs handlers on threads")
        self._database = _Database(client, prefix)
        # Never set: what is waited for is the time-out.
        super().__init__(self._database, now=now, pause=threading.Event().wait)

    def create_tables(self) -> None:
        """Look whether Redis keeps what it has answered, for it needs no tables; log if not."""
        self._database.look_at_durability()

    @contextmanager
    def transaction(self) -> Iterator[Pipeline]:
        """Give a pipeline for `complete`, and execute it at the end unless something is raised.

        Raises redis.WatchError if something that was watched has changed: then nothing was done.
        """
        with self._database.begin() as transaction:
            yield transaction.handle
            transaction.commit("the transaction")


class _Pipeline(Pipeline):
    """A pipeline that refuses to write before `multi`."""

    def __init__(self, client: Redis, reading: Callable[[], frozenset[str]]) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, True, None)
        self._reading = reading
        # What the fence's rows will be; None for one that is to go.
        self.rows: dict[Key, FenceRow | None] = {}

    def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        """Run what reads; raise ParticipantError for everything else."""
        name = str(args[0]).upper()
        if name not in self._reading():
            raise ParticipantError(
                f"{name} before multi() would be done at once, and nothing could undo it; read "
                "first, call multi(), and write then"
            )
        return super().immediate_execute_command(*args, **options)  # type: ignore[no-untyped-call]


class _Database:
    """See `Database`."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._commands: frozenset[str] = frozenset()

    def look_at_durability(self) -> None:
        persistence: Any = self._client.info("persistence")
        if not int(persistence.get("aof_enabled", 0)):
            logger.warning(
                "Redis keeps no append-only file: what it has answered can be lost, with the "
                "fence's rows; set appendonly to yes and appendfsync to always"
            )

    @contextmanager
    def begin(self) -> Iterator["_Transaction"]:
        pipeline = _Pipeline(self._client, self._reading)
        try:
            yield _Transaction(pipeline, self._prefix)
        finally:
            pipeline.reset()

    def join(self, handle: Pipeline) -> "_Transaction":
        if not isinstance(handle, _Pipeline):
            raise TypeError("complete takes what `fence.transaction()` gives")
        return _Transaction(handle, self._prefix)

    def trouble(self, error: Exception) -> Trouble:
        if isinstance(error, said.WatchError):
            # Also when the connection was lost at EXEC: what became of it is in the row.
            return Trouble.GIVEN_UP
        return Trouble.UNAVAILABLE if isinstance(error, _UNAVAILABLE) else Trouble.NONE

    def old(self, after: str, before_us: int, limit: int) -> list[str]:
        found: dict[str, None] = {}
        beyond = f"[{after}{_BEYOND}" if after else "-"
        while len(found) < limit:
            names: list[Any] = self._client.zrangebylex(
                self._prefix, beyond, "+", 0, _LOOKED_AT_MAX
            )
            for name in map(_text, names):
                row = _read(self._client.get(f"{self._prefix}:{name}"))
                if row and any(_is_old(row, before_us, over) for over in rules.COLLECTABLE):
                    found[row.xid] = None
                beyond = f"({name}"
            if len(names) < _LOOKED_AT_MAX:
                break
        return list(found)[:limit]

    def forget(self, xids: Sequence[str], before_us: int, over: Over) -> int:
        deleted = 0
        for xid in xids:
            first, end = f"[{xid}{_SPACE}", f"({xid}{_BEYOND}"
            names: list[Any] = self._client.zrangebylex(self._prefix, first, end)
            for name in map(_text, names):
                deleted += self._forget(name, before_us, over)
        return deleted

    def _forget(self, name: str, before_us: int, over: Over) -> int:
        key = f"{self._prefix}:{name}"
        with self._client.pipeline() as pipeline:
            pipeline.watch(key)  # type: ignore[no-untyped-call]
            row = _read(pipeline.get(key))
            if row is None or not _is_old(row, before_us, over):
                return 0
            pipeline.multi()
            pipeline.delete(key)
            pipeline.zrem(self._prefix, name)
            try:
                pipeline.execute()
            except said.WatchError:
                # Something has happened to it after all.
                return 0
        return 1

    def _reading(self) -> frozenset[str]:
        """Return the commands that only read, as the server itself says."""
        if not self._commands:
            known: dict[Any, Any] = self._client.command()
            reading = [
                _text(name).upper()
                for name, about in known.items()
                if "readonly" in set(map(_text, about["flags"]))
            ]
            self._commands = frozenset([*reading, "WATCH"])
        return self._commands


class _Transaction:
    """See `LocalTransaction`. What its rows will be is kept in the pipeline until EXEC."""

    def __init__(self, pipeline: _Pipeline, prefix: str) -> None:
        self.handle = pipeline
        self._prefix = prefix

    def put(self, row: FenceRow) -> bool:
        key = row.xid, row.branch_id
        if self._look(key) is not None:
            return False
        self.handle.rows[key] = row
        return True

    def read(self, key: Key) -> Row | None:
        row = self._look(key)
        if row is None:
            return None
        return Row(row.action, row.kind, Status(row.status), row.result, row.reason)

    def lock(self, key: Key, now: int) -> None:
        self._look(key)

    def write(
        self, key: Key, status: Status, now: int, result: bytes = b"", reason: str = ""
    ) -> None:
        row = self._look(key)
        if row is None:
            raise ParticipantError(f"there is no row of {key} to change")
        self.handle.rows[key] = row._replace(
            status=str(status),
            updated_at=now,
            result=result or row.result,
            reason=reason or row.reason,
        )

    def remove(self, key: Key) -> None:
        self.handle.rows[key] = None

    @contextmanager
    def shielded(self, *, refusable: bool) -> Iterator[None]:
        """Surround a handler, whose writes are forgotten when it refuses."""
        try:
            yield
        except Refuse:
            self.handle.command_stack = []
            self._require_watching("the handler")
            raise
        self._require_watching("the handler")

    def commit(self, who: str) -> None:
        pipeline = self.handle
        self._require_watching(who)
        if not pipeline.explicit_transaction:
            pipeline.multi()
        for key, row in pipeline.rows.items():
            name = _name(key)
            if row is None:
                pipeline.delete(f"{self._prefix}:{name}")
                pipeline.zrem(self._prefix, name)
            else:
                pipeline.set(f"{self._prefix}:{name}", _written(row))
                pipeline.zadd(self._prefix, {name: 0})
        for came in pipeline.execute(raise_on_error=False):
            if isinstance(came, Exception):
                # Redis undoes nothing, and has done the rest: the row is right to stand.
                raise ParticipantError(f"a command of {who} failed, and only that one: {came}")

    def _look(self, key: Key) -> FenceRow | None:
        pipeline = self.handle
        if key not in pipeline.rows:
            if pipeline.explicit_transaction:
                raise ParticipantError("the fence's row has to be read before multi() is called")
            place = f"{self._prefix}:{_name(key)}"
            pipeline.watch(place)  # type: ignore[no-untyped-call]
            found: Any = pipeline.get(place)
            if found is None:
                return None
            pipeline.rows[key] = _read(found)
        return pipeline.rows[key]

    def _require_watching(self, who: str) -> None:
        if not self.handle.watching:
            raise ParticipantError(f"{who} {ENDED}")


def _name(key: Key) -> str:
    return _SPACE.join(key)


def _written(row: FenceRow) -> str:
    return json.dumps({**row._asdict(), "result": b64encode(row.result).decode()})


def _read(text: Any) -> FenceRow | None:
    if text is None:
        return None
    found = json.loads(text)
    return FenceRow(**{**found, "result": b64decode(found["result"])})


def _is_old(row: FenceRow, before_us: int, over: Over) -> bool:
    may_go = row.kind in over.kinds and row.status in over.statuses
    return may_go and max(row.updated_at, row.not_after) <= before_us


def _text(said: Any) -> str:
    """Return what Redis said as text, whether or not the client decodes it."""
    return said.decode() if isinstance(said, bytes) else str(said)
