"""What is known of an effect that is in no database, when its fence asks for it again."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import NullPool
from trypact._framing import framed
from trypact.call import PENDING, FencedCall, Ok, Pending, Refused
from trypact.errors import Refuse, TryTooLate
from trypact.fence import (
    AsyncExternalFence,
    AsyncSqlAlchemyFence,
    Effect,
    ExternalFence,
    Known,
    RedisFence,
    async_sqlite_engine,
)
from trypact.kinds import Kind, Operation

from tests.conformance.fence.conftest import open_place
from tests.conformance.fence.places import Clock, OnRedis, Place
from tests.servers.redis import RedisServer

TRY, CONFIRM, CANCEL, DELIVER = Operation
PLACES = ("sqlite", "postgresql", "mariadb", "psycopg", "redis")


class Crash(BaseException):
    """The process dies here."""


class Bank:
    """An API far away, and the fence before it. Notes what each handler was told."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.fence = ExternalFence(place.fence)
        self.told: list[tuple[Operation, Known]] = []
        self.effects: list[Effect] = []

    def run(
        self,
        operation: str,
        does: Callable[[Effect], Any] = lambda effect: b"",
        kind: Kind = Kind.TCC,
        not_after_us: int = 0,
    ) -> Any:
        asked = Operation(operation)

        def handler(effect: Effect) -> Any:
            self.told.append((asked, effect.known))
            self.effects.append(effect)
            return does(effect)

        call = FencedCall("x", "b", "bank.pay", kind, asked, not_after_us)
        return self.fence.run(call, handler)

    def crash(self, operation: str, **fields: Any) -> None:
        """Die beside the effect, which may have happened or not."""

        def die(effect: Effect) -> bytes:
            raise Crash

        with pytest.raises(Crash):
            self.run(operation, die, **fields)


@pytest.fixture(params=PLACES)
def bank(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bank]:
    place = open_place(request.param, request, tmp_path)
    yield Bank(place)
    place.close()


def test_what_goes_well_is_done_once_and_each_step_knows_of_the_one_before(bank: Bank) -> None:
    tries = [bank.run("try", lambda effect: b"payment 7") for _ in range(2)]
    confirms = [bank.run("confirm", lambda effect: b"not kept") for _ in range(2)]

    assert (tries, confirms) == ([Ok(b"payment 7")] * 2, [Ok()] * 2)
    assert bank.told == [(TRY, Known.NOTHING), (CONFIRM, Known.DONE)]
    assert bank.effects[1].result == b"payment 7"


def test_every_attempt_of_an_operation_has_the_same_key_and_no_other_has_it(bank: Bank) -> None:
    bank.crash("try")
    bank.run("try")
    bank.run("cancel")

    assert [effect.key for effect in bank.effects] == ["x/b/try", "x/b/try", "x/b/cancel"]
    assert {effect.branch for effect in bank.effects} == {"x/b"}


def test_the_intent_is_committed_before_the_effect(bank: Bank) -> None:
    seen: list[str | None] = []

    def look(effect: Effect) -> bytes:
        seen.append(bank.place.status())
        return b""

    bank.run("try", look)
    bank.run("confirm", look)

    assert seen == ["TRY_PENDING", "CONFIRM_PENDING"]
    assert bank.place.status() == "CONFIRMED"


def test_a_try_after_a_crash_is_told_that_nobody_knows(bank: Bank) -> None:
    bank.crash("try")

    assert bank.run("try", lambda effect: b"found") == Ok(b"found")
    assert bank.told == [(TRY, Known.NOTHING), (TRY, Known.UNKNOWN)]


def test_an_attempt_that_loses_to_another_is_not_told_that_nothing_has_been_done(
    redis_server: RedisServer,
) -> None:
    # Nobody waits in Redis: both attempts are about to commit the intent, and one may.
    bank = Bank(OnRedis(redis.Redis.from_url(redis_server.url)))
    overtaking = iter([lambda: None, lambda: bank.crash("try")])

    class Overtaken(Clock):
        def __call__(self) -> int:
            next(overtaking, lambda: None)()
            return super().__call__()

    slow = ExternalFence(RedisFence(redis.Redis.from_url(redis_server.url), now=Overtaken()))
    call = FencedCall("x", "b", "bank.pay", Kind.TCC, TRY)
    told: list[Known] = []

    def pay(effect: Effect) -> bytes:
        told.append(effect.known)
        return b"found"

    assert slow.run(call, pay) == Ok(b"found")
    assert bank.told == [(TRY, Known.NOTHING)]
    assert told == [Known.UNKNOWN]
    bank.place.close()


def test_cancel_runs_whenever_there_is_an_intent(bank: Bank) -> None:
    bank.crash("try")
    bank.crash("cancel")

    assert [bank.run("cancel"), bank.run("cancel")] == [Ok(), Ok()]
    assert bank.told[1:] == [(CANCEL, Known.UNKNOWN), (CANCEL, Known.UNKNOWN)]
    assert bank.run("try") == Refused(
        "ALREADY_CANCELLED: try refused by the fence, this branch is cancelled for ever"
    )


def test_cancel_after_a_try_that_ended_knows_that_it_did(bank: Bank) -> None:
    bank.run("try", lambda effect: b"payment 7")
    bank.run("cancel")

    assert bank.told[-1] == (CANCEL, Known.DONE)
    assert bank.effects[-1].result == b"payment 7"


def test_cancel_without_an_intent_runs_nothing(bank: Bank) -> None:
    assert bank.run("cancel") == Ok()
    assert bank.told == []


def test_a_refusal_says_that_nothing_has_happened(bank: Bank) -> None:
    def refuse(effect: Effect) -> bytes:
        raise Refuse("no money")

    assert [bank.run("try", refuse), bank.run("try")] == [Refused("no money")] * 2
    assert bank.run("cancel") == Ok()
    assert bank.told == [(TRY, Known.NOTHING)]


def test_an_exception_leaves_it_unknown(bank: Bank) -> None:
    def time_out(effect: Effect) -> bytes:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        bank.run("try", time_out)
    bank.run("cancel")

    assert bank.told == [(TRY, Known.NOTHING), (CANCEL, Known.UNKNOWN)]


def test_what_is_pending_is_asked_for_again_with_each_call(bank: Bank) -> None:
    answers = [bank.run("try", lambda effect: PENDING) for _ in range(2)]

    assert answers == [Pending(), Pending()]
    assert bank.run("try", lambda effect: b"paid by now") == Ok(b"paid by now")
    assert bank.told == [(TRY, Known.NOTHING), (TRY, Known.UNKNOWN), (TRY, Known.UNKNOWN)]


def test_an_unknown_confirm_still_has_what_the_try_returned(bank: Bank) -> None:
    bank.run("try", lambda effect: b"payment 7")
    bank.crash("confirm")
    bank.run("confirm")

    assert bank.told[1:] == [(CONFIRM, Known.DONE), (CONFIRM, Known.UNKNOWN)]
    assert bank.effects[-1].result == b"payment 7"


def test_a_try_of_unknown_outcome_is_not_tried_again_too_late(bank: Bank) -> None:
    bank.crash("try", not_after_us=bank.place.clock.us)
    not_after_us, bank.place.clock.us = bank.place.clock.us, bank.place.clock.us + 1

    with pytest.raises(TryTooLate):
        bank.run("try", not_after_us=not_after_us)
    assert bank.told == [(TRY, Known.NOTHING)]


def test_a_try_that_ends_after_its_cancel_is_refused_and_shown(
    bank: Bank, caplog: pytest.LogCaptureFixture
) -> None:
    def overtaken(effect: Effect) -> bytes:
        assert bank.run("cancel") == Ok()
        return b"done all the same"

    answer = bank.run("try", overtaken)

    assert isinstance(answer, Refused)
    assert answer.reason.startswith("ALREADY_CANCELLED")
    assert "its effect may stand" in caplog.text
    assert bank.place.status() == "CANCELLED"


def test_a_try_that_ends_while_its_cancel_is_at_work_does_not_end_that(bank: Bank) -> None:
    def overtaken(effect: Effect) -> bytes:
        bank.crash("cancel")
        return b"done"

    assert isinstance(bank.run("try", overtaken), Refused)
    assert bank.place.status() == "CANCEL_PENDING"
    assert bank.run("cancel") == Ok()


def test_a_webhook_tells_the_end_of_what_is_pending(bank: Bank) -> None:
    bank.run("try", lambda effect: PENDING)

    assert bank.fence.finish("x", "b", TRY, lambda handle: b"payment 7") == Ok(b"payment 7")
    assert bank.run("try") == Ok(b"payment 7")
    assert bank.told == [(TRY, Known.NOTHING)]


def test_a_cancel_that_is_refused_does_not_make_an_unknown_try_known(bank: Bank) -> None:
    def refuse(effect: Effect) -> bytes:
        raise Refuse("the bank is closed")

    bank.crash("try")

    assert bank.run("cancel", refuse) == Refused("the bank is closed")
    assert bank.run("cancel") == Ok()
    assert bank.told[1:] == [(CANCEL, Known.UNKNOWN), (CANCEL, Known.UNKNOWN)]


def test_a_try_that_expires_hands_on_its_result_alone(bank: Bank) -> None:
    bank.run("try", lambda effect: framed(b"payment 7", expires_at_us=1))
    bank.crash("confirm")
    bank.run("confirm")

    assert [effect.result for effect in bank.effects[1:]] == [b"payment 7"] * 2


def test_a_delivery_is_made_once_and_a_refused_one_again(bank: Bank) -> None:
    def refuse(effect: Effect) -> bytes:
        raise Refuse("mailbox full")

    assert bank.run("deliver", refuse, kind=Kind.MESSAGE) == Refused("mailbox full")
    assert [bank.run("deliver", kind=Kind.MESSAGE) for _ in range(2)] == [Ok(), Ok()]
    assert bank.told == [(DELIVER, Known.NOTHING)] * 2


async def test_coroutines_are_told_the_same(tmp_path: Path) -> None:
    engine = async_sqlite_engine(tmp_path / "bank.db", poolclass=NullPool)
    inner = AsyncSqlAlchemyFence(engine)
    await inner.create_tables()
    fence = AsyncExternalFence(inner)
    told: list[Known] = []

    async def pay(effect: Effect) -> bytes:
        told.append(effect.known)
        await asyncio.sleep(0)
        if effect.known is Known.NOTHING:
            raise TimeoutError
        return b"paid"

    call = FencedCall("x", "b", "bank.pay", Kind.TCC, TRY)
    with pytest.raises(TimeoutError):
        await fence.run(call, pay)
    assert [await fence.run(call, pay) for _ in range(2)] == [Ok(b"paid"), Ok(b"paid")]
    assert told == [Known.NOTHING, Known.UNKNOWN]
    await engine.dispose()
