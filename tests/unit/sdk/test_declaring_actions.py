"""Actions by classes, by functions and by values; coroutines; and what their requests are."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trypact
from trypact import Action, Call, context
from trypact._framing import unframed
from trypact.call import Answer, Arrived, FencedCall, Ok, Refused
from trypact.clock import now_us
from trypact.errors import ParticipantError
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.fence.contract import AsyncHandler
from trypact.kinds import Decision, Kind, Operation
from trypact.participant import NotServed
from trypact.registration import registration_request


@dataclass
class Reserve:
    sku: str


@dataclass
class Other:
    sku: str


RESERVE = Action("shop.reserve", request=Reserve, result=int)
TRY, CONFIRM, CANCEL, DELIVER = Operation


class Awaited:
    """A fence that awaits, and keeps nothing."""

    async def run(self, call: FencedCall, handler: AsyncHandler, /) -> Answer:
        result = await handler(None)
        assert isinstance(result, bytes)
        return Ok(result)


@pytest.fixture
def shop(tmp_path: Path) -> trypact.Participant:
    fence = SqlAlchemyFence(sqlite_engine(tmp_path / "f.db"))
    fence.create_tables()
    return trypact.Participant("shop", fence=fence)


@pytest.fixture
def awaiting() -> trypact.Participant:
    return trypact.Participant("shop", fence=Awaited())


def arrived(
    operation: Operation = TRY,
    kind: Kind = Kind.TCC,
    payload: bytes = b'{"sku":"a"}',
    xid: str = "x",
) -> Arrived:
    fenced = FencedCall(xid, "b", "shop.reserve", kind, operation)
    return Arrived(fenced, payload, 1, Decision.UNDECIDED, "")


# ---------------------------------------------------------------- functions


def test_a_saga_step_is_made_of_two_functions(shop: trypact.Participant) -> None:
    ran: list[str] = []

    @shop.saga("reserve")
    def reserve(call: Call[Reserve], connection: Any) -> str:
        return call.request.sku

    @reserve.cancel
    def release(call: Call[Reserve], connection: Any) -> None:
        ran.append("released")

    assert shop.answer(arrived(kind=Kind.SAGA)) == Ok(b'"a"')
    assert shop.answer(arrived(CANCEL, Kind.SAGA)) == Ok()
    assert ran == ["released"]
    # Each is still the function it was.
    call = Call("x", "b", "shop.reserve", Kind.SAGA, TRY, Reserve("b"))
    assert reserve(call, None) == "b"
    release(call, None)
    assert ran == ["released"] * 2


def test_a_tcc_action_of_functions_is_served_once_all_three_are_there(
    shop: trypact.Participant,
) -> None:
    @shop.tcc("reserve")
    def reserve(call: Call[Reserve], connection: Any) -> None: ...

    with pytest.raises(TypeError, match=r"shop\.reserve has no confirm, cancel; allowed: a func"):
        shop.serve()
    reserve.cancel(lambda call, connection: None)
    with pytest.raises(TypeError, match=r"shop\.reserve has no confirm; allowed"):
        _ = shop.actions
    with pytest.raises(NotServed):
        shop.answer(arrived())
    reserve.confirm(lambda call, connection: None)

    assert shop.actions == {"reserve": ("tcc",)}
    assert shop.answer(arrived()) == Ok()
    with pytest.raises(ValueError, match=r"shop\.reserve has a confirm already"):
        reserve.confirm(lambda call, connection: None)
    with pytest.raises(ValueError, match="has a handler for tcc branches already"):
        shop.tcc("reserve")(lambda call, connection: None)


def test_a_function_of_the_wrong_shape_is_refused_where_it_is_given(
    shop: trypact.Participant,
) -> None:
    tcc: Any = shop.tcc("reserve")
    with pytest.raises(TypeError, match=r"allowed: a plain function of \(call, connection\)"):
        tcc(lambda call: None)
    reserve: Any = shop.saga("reserve")(lambda call, connection: None)
    with pytest.raises(TypeError, match=r"allowed: a plain function of \(call, connection\)"):
        reserve.cancel(lambda call: None)
    assert not hasattr(reserve, "confirm")


# ---------------------------------------------------------------- coroutines


async def coroutine(call: Any, connection: Any) -> None: ...


async def coroutine_of_many(calls: Any, connection: Any) -> None: ...


class Coroutine:
    async def __call__(self, call: Any, connection: Any) -> None: ...


async def test_a_coroutine_is_awaited_behind_a_fence_that_awaits(
    awaiting: trypact.Participant,
) -> None:
    seen: list[context.Context | None] = []

    @awaiting.saga(RESERVE)
    async def reserve(call: Call[Reserve], connection: Any) -> str:
        seen.append(context.current())
        return call.request.sku

    reserve.cancel(coroutine)

    assert await awaiting.answer_async(arrived(kind=Kind.SAGA)) == Ok(b'"a"')
    assert seen == [("x", "b", "shop.reserve", "try")]
    assert context.current() is None
    assert not awaiting.may_be_batched(arrived(kind=Kind.SAGA))
    with pytest.raises(TypeError, match="Awaited is awaited; use `answer_async`"):
        awaiting.answer(arrived(kind=Kind.SAGA))
    with pytest.raises(TypeError, match="answers one call at a time"):
        awaiting.answer_many([arrived(kind=Kind.SAGA)])


async def test_a_fence_that_does_not_await_is_not_awaited(shop: trypact.Participant) -> None:
    with pytest.raises(TypeError, match="SqlAlchemyFence is not awaited; use `answer`"):
        await shop.answer_async(arrived())


@pytest.mark.parametrize("handler", [coroutine, functools.partial(coroutine), Coroutine()])
def test_a_coroutine_and_a_fence_that_does_not_await_are_no_pair(
    shop: trypact.Participant, handler: Any
) -> None:
    said = r"is async, and SqlAlchemyFence runs handlers on threads; allowed: a plain function"
    with pytest.raises(TypeError, match=said):
        shop.message("tell")(handler)


def test_a_plain_function_and_a_fence_that_awaits_are_no_pair(
    awaiting: trypact.Participant,
) -> None:
    said = "is not async, and Awaited awaits handlers; allowed: an `async def`"
    with pytest.raises(TypeError, match=said):
        awaiting.message("tell")(lambda call, connection: None)

    class Mixed:
        async def try_(self, call: Any, connection: Any) -> None: ...
        def cancel(self, call: Any, connection: Any) -> None: ...

    with pytest.raises(TypeError, match=r"Mixed\.cancel is not async"):
        awaiting.saga("reserve")(Mixed)
    with pytest.raises(TypeError, match="is set-based, and Awaited answers one call at a time"):
        awaiting.message("tell")(trypact.many(coroutine_of_many))


# ---------------------------------------------------------------- requests


def test_the_request_is_what_the_handlers_say(shop: trypact.Participant) -> None:
    class Reserves:
        def try_(self, call: Any, connection: Any) -> str:
            return type(call.request).__name__

        # As `from __future__ import annotations` leaves them, the second for type checkers only.
        try_.__annotations__ |= {"call": "Call[Reserve]", "connection": "NotImported"}

        @trypact.many
        def confirm(self, calls: Sequence[Call[Reserve]], connection: Any) -> None: ...

        def cancel(self, call: Any, connection: Any) -> None: ...

    shop.tcc("reserve")(Reserves)

    assert shop.answer(arrived()) == Ok(b'"Reserve"')
    refused = shop.answer(arrived(payload=b"{}", xid="y"))
    assert refused == Refused("invalid payload: sku: is missing")


@pytest.mark.parametrize("payload", [b'{"sku":"a"}', b'["a"]', b'"a"', b"1.5", b"true", b"null"])
@pytest.mark.parametrize("annotation", [Any, object, Call, Call[Any]])
def test_handlers_that_do_not_say_take_whatever_json_says(
    shop: trypact.Participant, annotation: Any, payload: bytes
) -> None:
    def tell(call: Any, connection: Any) -> str:
        return repr(call.request)

    tell.__annotations__["call"] = annotation
    shop.notice("reserve")(tell)

    told = shop.answer(arrived(DELIVER, Kind.NOTICE, payload=payload))
    assert told == Ok(json.dumps(repr(json.loads(payload))).encode())


def test_nothing_is_none_and_bytes_are_asked_for(shop: trypact.Participant) -> None:
    shop.notice("reserve")(lambda call, connection: repr(call.request))

    assert shop.answer(arrived(DELIVER, Kind.NOTICE, payload=b"")) == Ok(b'"None"')
    refused = shop.answer(arrived(DELIVER, Kind.NOTICE, payload=b"\xff", xid="y"))
    assert isinstance(refused, Refused)
    assert "is not JSON" in refused.reason
    assert "Call[bytes]" in refused.reason


def test_an_actions_request_is_its_own(shop: trypact.Participant) -> None:
    shop.message(RESERVE)(lambda call, connection: call.request.sku)

    assert shop.answer(arrived(DELIVER, Kind.MESSAGE)) == Ok(b'"a"')
    with pytest.raises(ValueError, match=r"shop\.reserve is an Action of shop with a request of"):
        shop.notice(RESERVE, request=Reserve)
    with pytest.raises(ValueError, match=r"orders\.ship is an Action of orders.*Action of shop"):
        shop.notice(Action("orders.ship", request=Reserve))


def test_handlers_that_take_different_requests_are_refused(shop: trypact.Participant) -> None:
    class Reserves:
        def try_(self, call: Call[Reserve], connection: Any) -> None: ...
        def confirm(self, call: Call[Reserve], connection: Any) -> None: ...
        def cancel(self, call: Call[Other], connection: Any) -> None: ...

    with pytest.raises(TypeError, match=r"try_ takes Reserve, and .*cancel takes Other; allowed"):
        shop.tcc("reserve")(Reserves)
    with pytest.raises(TypeError, match=r"the action takes Reserve, and .*cancel takes Other"):
        shop.tcc(RESERVE)(Reserves)
    with pytest.raises(TypeError, match=r"the action takes Other, and .*try_ takes Reserve"):
        shop.tcc("reserve", request=Other)(Reserves)


def test_a_request_that_is_nowhere_to_be_found_must_be_said(shop: trypact.Participant) -> None:
    def tell(call: Any, connection: Any) -> None: ...

    tell.__annotations__["call"] = "Call[Nowhere]"
    with pytest.raises(TypeError, match=r"tell takes a Call\[Nowhere\], and name 'Nowhere' is not"):
        shop.message("tell")(tell)
    shop.message("tell", request=Reserve)(tell)


# ---------------------------------------------------------------- Reserved


def test_a_reservation_says_when_it_ends_and_says_the_same_again(
    shop: trypact.Participant,
) -> None:
    @shop.tcc("reserve")
    def reserve(call: Call[Any], connection: Any) -> trypact.Reserved[int]:
        return trypact.Reserved(7, expires_in=60)

    reserve.confirm(lambda call, connection: None)
    reserve.cancel(lambda call, connection: None)
    before = now_us()
    first, second = shop.answer(arrived()), shop.answer(arrived())

    assert isinstance(first, Ok)
    assert first == second
    result, expires_at_us = unframed(first.result)
    assert result == b"7"
    assert before + 60_000_000 <= expires_at_us <= now_us() + 60_000_000


def test_only_the_try_of_a_tcc_branch_reserves(shop: trypact.Participant) -> None:
    shop.message("reserve")(lambda call, connection: trypact.Reserved(None, expires_in=1))

    with pytest.raises(
        ParticipantError, match="deliver answered Reserved; allowed: in the Try of a tcc"
    ):
        shop.answer(arrived(DELIVER, Kind.MESSAGE))


@pytest.mark.parametrize("expires_in", [0, -1, float("inf"), float("nan")])
def test_a_reservation_has_some_time_and_an_end(expires_in: float) -> None:
    with pytest.raises(ValueError, match="allowed: more than 0, and an end"):
        trypact.Reserved(7, expires_in=expires_in)


# ---------------------------------------------------------------- topics


def test_a_subscription_is_an_action_with_the_functions_own_name(
    shop: trypact.Participant,
) -> None:
    @shop.subscribe("order.paid", "order.gifted")
    def add_points(call: Call[Reserve], connection: Any) -> str:
        return call.request.sku

    shop.subscribe("order.closed", verb="forget")(lambda call, connection: None)

    assert shop.actions == {"add_points": ("message",), "forget": ("message",)}
    request = registration_request("shop", "one", "127.0.0.1:1", shop.actions, shop.topics)
    topics = {action.verb: list(action.topics) for action in request.actions}
    assert topics == {"add_points": ["order.gifted", "order.paid"], "forget": ["order.closed"]}
    call = arrived(DELIVER, Kind.MESSAGE)
    fenced = call.fenced._replace(action="shop.add_points")
    assert shop.answer(call._replace(fenced=fenced)) == Ok(b'"a"')


def test_a_topic_is_taken_once_and_has_a_form(shop: trypact.Participant) -> None:
    shop.subscribe("order.paid")(note)

    with pytest.raises(ValueError, match=r"shop takes the messages to order\.paid already"):
        shop.subscribe("order.paid", verb="other")
    with pytest.raises(ValueError, match=r"shop takes the messages to a\.b already"):
        shop.subscribe("a.b", "a.b")
    with pytest.raises(ValueError, match="names no topic; allowed: at least one"):
        shop.subscribe()
    with pytest.raises(ValueError, match="'<lambda>' is no action's verb"):
        shop.subscribe("a.b")(lambda call, connection: None)
    for wrong in ("", "Order.paid", "order.", "a b", "a" * 129):
        with pytest.raises(ValueError, match="is no topic; allowed: lower-case words with dots"):
            shop.subscribe(wrong)
    assert set(shop.topics) == {"order.paid"}


def note(call: Any, connection: Any) -> None: ...
