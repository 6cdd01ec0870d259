"""SQLite and PostgreSQL against the memory journal: all three answer alike."""

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as with_fields
from trypact_coordinator.core.outcome import Record
from trypact_coordinator.core.transaction import IN_FLIGHT, PARKED, Kind, State, Transaction
from trypact_coordinator.journal import open_journal
from trypact_coordinator.journal.memory import MemoryJournal
from trypact_coordinator.ports import Instance, Journal, Query, Write

from tests.conformance.journal.stories import T0, begun, decided, everything, finished, frozen

XIDS = st.sampled_from(["a", "B", "a'", "b\\", "c"])
TEXTS = st.sampled_from(["", "x", "é", 'quo"te\\', "nul\0", "{},NULL", "a b", "'; --"])
LABELS = st.lists(st.tuples(st.sampled_from(["k", "l"]), TEXTS), max_size=2).map(tuple)
DUE = st.sampled_from([None, IN_FLIGHT, 1, T0, T0 + 1, PARKED])
SMALL = st.integers(0, 4)

begin = st.builds(
    lambda at, name, labels, epoch: ("begin", at, name or "n", labels, epoch),
    SMALL,
    TEXTS,
    LABELS,
    st.integers(1, 3),
)
# How far ahead of (or behind) the durable version the record claims to be, and its epoch.
go_on = st.builds(
    lambda *parts: ("go on", *parts),
    st.sampled_from(["decided", "finished", "frozen", "everything", "same"]),
    st.sampled_from([1, 1, 1, 1, 0, 2, -1]),
    st.integers(0, 3),
    DUE,
    st.booleans(),
)
batch = st.tuples(st.just("append"), st.dictionaries(XIDS, st.one_of(begin, go_on), min_size=1))
query = st.builds(
    Query,
    state=st.none() | st.sampled_from(State),
    name=st.sampled_from(["", "", "n", "é", "nul\0"]),
    label=st.none() | st.tuples(st.sampled_from(["k", "l"]), TEXTS),
    participant=st.sampled_from(["", "", "inventory", "warehouse", "ware"]),
    stuck=st.sampled_from([None, None, True, False]),
    paused=st.sampled_from([None, None, True, False]),
    unfinished=st.sampled_from([None, None, True, False]),
    created_before=st.none() | SMALL.map(lambda n: T0 + n),
    created_after=st.none() | SMALL.map(lambda n: T0 + n),
)
operation = st.one_of(
    batch,
    batch,
    batch,
    st.tuples(st.just("repeat")),
    st.tuples(st.just("find"), query, st.integers(1, 3)),
    st.tuples(st.just("due"), st.sampled_from([1, T0, T0 + 9, PARKED]), st.integers(1, 3)),
    st.tuples(st.just("in_flight"), st.integers(1, 4), st.integers(1, 3)),
    st.tuples(st.just("prune"), st.integers(T0, T0 + 6), st.integers(1, 2)),
    st.tuples(st.just("register"), st.sampled_from("pq"), st.sampled_from("12"), SMALL),
    st.tuples(st.just("deregister"), st.sampled_from("pq"), st.sampled_from("12")),
    st.tuples(st.just("reopen")),
)


class Both:
    """The model and a database, asked the same things."""

    def __init__(self, database: Journal) -> None:
        self.model = MemoryJournal()
        self.database = database
        self._write_id = 0
        self._latest: list[Write] = []

    async def alike(self, ask: Any) -> Any:
        expected = await ask(self.model)
        assert await ask(self.database) == expected
        return expected

    async def open(self) -> None:
        terms = [await journal.open("me") for journal in (self.model, self.database)]
        assert terms[0].epoch == terms[1].epoch

    async def close(self) -> None:
        await self.model.close()
        await self.database.close()

    async def carry_out(self, operation: tuple[Any, ...]) -> None:
        match operation:
            case ("append", steps):
                self._latest = [await self._write(xid, step) for xid, step in steps.items()]
                await self._append()
            case ("repeat",):
                await self._append()
            case ("find", wanted, size):
                await self._find(wanted, size)
            case ("due", now, size):
                await self._due(now, size)
            case ("in_flight", epoch, size):
                await self._in_flight(epoch, size)
            case ("prune", before, limit):
                await self.alike(lambda journal: journal.prune(before, limit))
            case ("register", participant, name, at):
                row = Instance(participant, name, "e", (("v", (Kind.TCC,)),), at)
                await self.alike(lambda journal: journal.save_instance(row))
            case ("deregister", participant, name):
                await self.alike(lambda journal: journal.delete_instance(participant, name))
            case _:
                await self.close()
                await self.open()
        await self.alike(lambda journal: journal.instances())

    async def _append(self) -> None:
        async def verdicts(journal: Journal) -> Any:
            return (await journal.append(self._latest)).verdicts

        await self.alike(verdicts)
        for write in self._latest:
            await self.alike(lambda journal, x=write.record.transaction.xid: journal.load(x))

    async def _write(self, xid: str, step: tuple[Any, ...]) -> Write:
        self._write_id += 1
        if step[0] == "begin":
            _, at, name, labels, epoch = step
            record = begun(xid, at=T0 + at, name="n", labels=labels, epoch=epoch)
            tx = record.transaction
            tx = with_fields(tx, spec=with_fields(tx.spec, name=name))
            return Write(Record(tx, forced=True, admits=True), self._write_id)
        _, how, ahead, epoch, due_at, forced = step
        held = await self.model.load(xid) or begun(xid).transaction
        tx = with_fields(
            _led(held, how), version=held.version + ahead, epoch=epoch or held.epoch, due_at=due_at
        )
        return Write(Record(tx, forced=forced, admits=how == "everything"), self._write_id)

    async def _find(self, wanted: Query, size: int) -> None:
        cursor = ""
        while True:
            page = await self.alike(lambda journal, at=cursor: journal.find(wanted, at, size))
            cursor = page.next_cursor
            if not cursor:
                return

    async def _due(self, now: int, size: int) -> None:
        after = (0, "")
        while page := await self.alike(lambda journal, at=after: journal.due(now, at, size)):
            after = (page[-1].due_at, page[-1].transaction.xid)

    async def _in_flight(self, epoch: int, size: int) -> None:
        after = ""
        while page := await self.alike(
            lambda journal, at=after: journal.in_flight(epoch, at, size)
        ):
            after = page[-1].xid


def _led(held: Transaction, how: str) -> Transaction:
    """A transaction that the held one could become, or could never become."""
    record = Record(held, forced=True)
    fresh = held.state is State.TRYING and not held.frozen and bool(held.branches)
    if how == "decided" and fresh and held.version == 1:
        return decided(record).transaction
    if how == "finished" and fresh and held.version == 1:
        return finished(decided(record)).transaction
    if how == "frozen" and not held.frozen:
        return frozen(record).transaction
    if how == "everything":
        whole = everything(held.xid)
        return with_fields(whole, created_at=held.created_at, spec=held.spec)
    return held


def empty(url: str) -> None:
    """Make the database as new, so that each history starts from nothing."""
    if url.startswith("sqlite"):
        for suffix in ("", "-wal", "-shm"):
            Path(url.removeprefix("sqlite:///") + suffix).unlink(missing_ok=True)
        return
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT to_regclass('term')").fetchone() != (None,):
            connection.execute("TRUNCATE transactions, instances")
            connection.execute("UPDATE term SET epoch = 0")


@pytest.mark.parametrize(("kind", "examples"), [("sqlite", 25), ("postgres", 10)])
def test_a_database_answers_as_the_model_does(
    kind: str, examples: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    if kind == "postgres":
        url = request.getfixturevalue("postgres_url")

    async def live_through(operations: list[tuple[Any, ...]]) -> None:
        both = Both(open_journal(url))
        await both.open()
        try:
            for operation in operations:
                await both.carry_out(operation)
        finally:
            await both.close()

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
    )
    @given(st.lists(operation, min_size=4, max_size=20))
    def explore(operations: list[tuple[Any, ...]]) -> None:
        empty(url)
        asyncio.run(live_through(operations))

    explore()
