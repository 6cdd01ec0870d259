"""What only many calls in one local transaction can show, the same on every database."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from trypact.call import PENDING, Ok, Pending, Refused
from trypact.errors import ParticipantError, Refuse, RetryLater, TryTooLate
from trypact.fence.contract import ALONE, Asked, Said
from trypact.kinds import Kind, Operation

from tests.conformance.fence.conftest import ENGINES, Gate, Shop, neighbour, refuse, run_each

TRY, CONFIRM, CANCEL, DELIVER = Operation


pytestmark = pytest.mark.parametrize(
    "shop", [pytest.param((name, "alone"), id=name) for name in ENGINES], indirect=True
)


def asked(shop: Shop, operation: str, xid: str = "x", handler: Any = None, **fields: Any) -> Asked:
    one = neighbour(xid, handler or getattr(shop, f"move_{operation}"))
    return one._replace(call=one.call._replace(operation=Operation(operation), **fields))


def statements(engine: Engine) -> list[str]:
    """The statements that are run from now on."""
    seen: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def executed(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        word = statement.split()[0]
        if word not in ("BEGIN", "ROLLBACK"):  # how an ordinary engine of SQLite is made to begin
            seen.append(word)

    return seen


def statuses(shop: Shop) -> dict[str, str]:
    with shop.engine.connect() as connection:
        found = connection.execute(text("SELECT xid, status FROM trypact_fence"))
        return {row.xid: row.status for row in found}


def test_a_whole_batch_takes_one_statement_for_each_step(shop: Shop) -> None:
    def nothing(connection: Connection) -> bytes:
        return b"r"

    xids = [str(number) for number in range(64)]
    seen = statements(shop.engine)

    first = shop.fence.run_many([asked(shop, "try", xid, nothing) for xid in xids])
    # MariaDB does not tell which rows it has inserted, and is asked.
    assert seen in (["INSERT", "UPDATE"], ["INSERT", "INSERT"], ["INSERT", "SELECT", "INSERT"])
    seen.clear()
    again = shop.fence.run_many([asked(shop, "confirm", xid, nothing) for xid in xids])

    assert (first, again) == ([Ok(b"r")] * 64, [Ok()] * 64)
    assert len(seen) == 2
    assert set(statuses(shop).values()) == {"CONFIRMED"}
    # What the Try said is still there.
    assert shop.fence.run_many([asked(shop, "try", xid, nothing) for xid in xids]) == first


def test_every_answer_there_is_can_stand_beside_every_other(shop: Shop) -> None:
    def raises(error: Exception) -> Any:
        def handler(connection: Connection) -> bytes:
            connection.execute(text("UPDATE stock SET sellable = 0"))
            raise error

        return handler

    shop.run_many([asked(shop, "try", xid, lambda c: b"") for xid in ("c", "d", "e", "f")])
    late = shop.clock_us - 1
    calls = [
        asked(shop, "try", "a"),
        asked(shop, "try", "b", raises(Refuse("no"))),
        asked(shop, "cancel", "c", raises(Refuse("not today"))),
        asked(shop, "confirm", "d", raises(RetryLater(1.0))),
        asked(shop, "confirm", "e", lambda connection: PENDING),
        asked(shop, "cancel", "f", lambda connection: b"ignored"),
        asked(shop, "try", "g", raises(ZeroDivisionError())),
        asked(shop, "try", "h", not_after_us=late),
        asked(shop, "cancel", "i"),
        asked(shop, "confirm", "j"),
        asked(shop, "try", "k", lambda connection: PENDING),
        asked(shop, "deliver", "l", kind=Kind.MESSAGE),
        asked(shop, "deliver", "m", raises(Refuse("closed")), kind=Kind.MESSAGE),
        asked(shop, "try", "c", kind=Kind.SAGA),
    ]

    said = shop.fence.run_many(calls)

    assert said[:3] == [Ok(b"result of run 1"), Refused("no"), Refused("not today")]
    assert isinstance(said[3], RetryLater)
    assert said[4:6] == [Pending(), Ok()]
    assert isinstance(said[6], ZeroDivisionError)
    assert isinstance(said[7], TryTooLate)
    assert said[8] == Ok()
    assert isinstance(said[9], Refused)
    assert said[10:13] == [Pending(), Ok(b"result of run 2"), Refused("closed")]
    assert isinstance(said[13], Refused)
    assert said[13].reason.startswith("KEY_IN_USE")
    assert shop.stock == (8, 2, 2)
    assert statuses(shop) == {
        "a": "TRIED", "b": "REFUSED", "c": "TRIED", "d": "TRIED", "e": "CONFIRM_PENDING",
        "f": "CANCELLED", "i": "CANCELLED", "k": "TRY_PENDING", "l": "DELIVERED",
    }  # fmt: skip


def test_calls_of_one_branch_in_one_batch_run_in_their_order(shop: Shop) -> None:
    operations = ("try", "try", "confirm", "cancel", "try", "confirm")

    said = shop.fence.run_many([asked(shop, operation) for operation in operations])

    first = Ok(b"result of run 1")
    refused = said[3]
    assert said == [first, first, Ok(), refused, first, Ok()]
    assert isinstance(refused, Refused)
    assert refused.reason.startswith("ALREADY_CONFIRMED")
    assert shop.ran == [TRY, CONFIRM]
    assert shop.stock == (8, 0, 2)


def test_a_cancel_and_its_late_try_in_one_batch_leave_nothing(shop: Shop) -> None:
    cancelled, late = shop.fence.run_many([asked(shop, "cancel"), asked(shop, "try")])

    assert cancelled == Ok()
    assert isinstance(late, Refused)
    assert late.reason.startswith("ALREADY_CANCELLED")
    assert (shop.ran, shop.stock) == ([], (10, 0, 0))


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_handler_that_ends_the_transaction_makes_everybody_run_alone(
    shop: Shop, ending: str
) -> None:
    def end(connection: Connection) -> bytes:
        shop.move_try(connection)
        getattr(connection, ending)()
        return b""

    calls = [asked(shop, "try", xid, end if xid == "b" else None) for xid in ("a", "b", "c")]

    # Not even the fence's rows are kept, which are written before the handlers run.
    assert shop.fence.run_many(calls) == [ALONE] * 3
    assert (statuses(shop), shop.stock) == ({}, (10, 0, 0))
    said = shop.run_many([calls[0], calls[2]])
    assert [type(each) for each in said] == [Ok, Ok]


ENDINGS = ["COMMIT", " commit", "END", "-- done\nCommit", "/* done */ COMMIT", "ROLLBACK", "BEGIN"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_statement_that_would_end_the_transaction_is_refused_before_it_does_harm(
    shop: Shop, ending: str
) -> None:
    def end(connection: Connection) -> bytes:
        connection.execute(text("UPDATE stock SET sold = 99"))
        connection.execute(text(ending))
        return b""

    def end_by_driver(connection: Connection) -> bytes:
        connection.exec_driver_sql(ending)
        return b""

    handlers = {"b": end, "c": end_by_driver}
    calls = [asked(shop, "try", xid, handlers.get(xid)) for xid in ("a", "b", "c", "d")]
    said = shop.fence.run_many(calls)

    assert [type(each) for each in said] == [Ok, ParticipantError, ParticipantError, Ok]
    assert (statuses(shop), shop.stock) == ({"a": "TRIED", "d": "TRIED"}, (6, 4, 0))
    # Each neighbour ran once, whoever asks again.
    assert shop.run_many([calls[0], calls[3]]) == [said[0], said[3]]
    assert shop.ran == [TRY, TRY]


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_commit_behind_the_fences_back_makes_no_neighbour_look_done(
    shop: Shop, goes_on: bool
) -> None:
    def commit(connection: Connection) -> bytes:
        connection.connection.commit()
        if goes_on:
            connection.execute(text("UPDATE stock SET sold = sold"))
        return b""

    handlers = {"b": commit, "r": refuse}
    calls = [asked(shop, "try", xid, handlers.get(xid)) for xid in ("r", "a", "b", "c")]
    said = shop.run_many(calls)

    assert said == [Refused("a neighbour's no"), Ok(b"result of run 1"), Ok(), said[3]]
    assert isinstance(said[3], Ok)
    assert (shop.ran, shop.stock) == ([TRY, TRY], (6, 4, 0))


def test_a_savepoint_of_a_handlers_own_is_no_ending(shop: Shop) -> None:
    def protect(connection: Connection) -> bytes:
        with connection.begin_nested() as savepoint:
            connection.execute(text("UPDATE stock SET sold = 99"))
            savepoint.rollback()
        connection.exec_driver_sql("SAVEPOINT mine")
        word = "WORK" if connection.dialect.name == "mysql" else "TRANSACTION"
        connection.exec_driver_sql(f"ROLLBACK {word} TO SAVEPOINT mine")
        connection.exec_driver_sql("RELEASE SAVEPOINT mine")
        return shop.move_try(connection)

    said = shop.fence.run_many([asked(shop, "try", "a"), asked(shop, "try", "b", protect)])

    assert [type(each) for each in said] == [Ok, Ok]
    assert shop.stock == (6, 4, 0)


def test_a_set_that_fails_is_undone_and_each_of_it_is_to_run_alone(shop: Shop) -> None:
    def fail(asked: Sequence[Asked], connection: Connection) -> list[Said]:
        run_each(asked, connection)
        raise LookupError("a bug")

    calls = [asked(shop, "try", xid)._replace(together=fail) for xid in ("a", "b")]
    plain = asked(shop, "try", "c", lambda connection: b"plain")

    assert shop.fence.run_many([*calls, plain]) == [ALONE, ALONE, Ok(b"plain")]
    assert (statuses(shop), shop.stock) == ({"c": "TRIED"}, (10, 0, 0))
    assert shop.fence.run_many(calls) == [ALONE, ALONE]
    assert all(isinstance(each, Ok) for each in shop.run_many(calls))
    assert shop.stock == (6, 4, 0)


def test_a_set_runs_once_for_those_whose_turn_it_is(shop: Shop) -> None:
    sets: list[list[str]] = []

    def together(asked: Sequence[Asked], connection: Connection) -> list[Said]:
        sets.append([one.call.xid for one in asked])
        others: dict[str, Said] = {"later": RetryLater(1.0), "no": Refuse("no"), "pending": PENDING}
        return [others.get(xid, b"r") for xid in sets[-1]]

    shop.run_many([asked(shop, "try", "done"), asked(shop, "cancel", "cancelled")])
    xids = ["no", "done", "later", "b", "cancelled", "pending", "a"]
    said = shop.fence.run_many(
        [asked(shop, "try", xid)._replace(together=together) for xid in xids]
    )

    assert sets == [["no", "later", "b", "pending", "a"]]
    assert said[:2] == [Refused("no"), Ok(b"result of run 1")]
    assert isinstance(said[2], RetryLater)
    assert said[3:] == [Ok(b"r"), said[4], Pending(), Ok(b"r")]
    assert isinstance(said[4], Refused)
    assert "later" not in statuses(shop)


def test_two_batches_with_the_same_branches_agree(shop: Shop, gate: Gate) -> None:
    xids = ["a", "b", "c", "d"]
    tries = [asked(shop, "try", xid) for xid in xids]
    held = [tries[0]._replace(handler=gate.hold(shop.move_try)), *tries[1:]]
    cancels = [asked(shop, "cancel", xid) for xid in reversed(xids)]

    first = shop._threads.submit(shop.run_many, held)
    assert gate.inside.wait(10)
    taken = threading.Event()
    event.listen(shop.engine, "checkout", lambda *arguments: taken.set())
    second = shop._threads.submit(shop.run_many, cancels)
    assert taken.wait(10)
    gate.open()

    assert [type(each) for each in first.result(10)] == [Ok] * 4
    assert second.result(10) == [Ok()] * 4
    assert set(statuses(shop).values()) == {"CANCELLED"}
    assert shop.stock == (10, 0, 0)


def test_a_handler_may_not_leave_a_savepoint_open_to_its_neighbours(shop: Shop) -> None:
    def leave(connection: Connection) -> bytes:
        connection.begin_nested()
        return b""

    calls = [asked(shop, "try", "a"), asked(shop, "try", "b", leave)]

    assert shop.fence.run_many(calls) == [ALONE, ALONE]
    assert statuses(shop) == {}


def test_what_is_no_error_of_the_database_is_found_out_alone(shop: Shop) -> None:
    def commit(connection: Connection) -> bytes:
        connection.commit()
        return b""

    said = shop.run_many([asked(shop, "try", "a"), asked(shop, "confirm", "b", commit)])

    assert isinstance(said[0], Ok)
    assert isinstance(said[1], Refused)  # it has no Try, so its handler never ran
    shop.run_many([asked(shop, "try", "b")])
    said = shop.run_many([asked(shop, "try", "c"), asked(shop, "confirm", "b", commit)])
    assert isinstance(said[0], Ok)
    assert isinstance(said[1], ParticipantError)
