"""Branches are immutable values with ids that are chosen before anything is sent."""

import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any, cast

import pytest
import trypact
from trypact import message, notice, saga, tcc
from trypact.branches import to_wire, with_ids
from trypact.errors import InvalidRequest, LimitExceeded, PayloadError
from trypact.kinds import Kind, On
from trypact.v1 import transaction_pb2


def test_the_four_kinds_are_what_they_say() -> None:
    branches = [tcc("a.b"), saga("a.b"), message("a.b"), notice("a.b")]

    assert [b.kind for b in branches] == [Kind.TCC, Kind.SAGA, Kind.MESSAGE, Kind.NOTICE]
    assert [b.is_delivery for b in branches] == [False, False, True, True]


def test_a_branch_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        tcc("a.b").id = "x"  # type: ignore[misc]


def test_everything_a_branch_says_travels() -> None:
    branch = notice("sms.send", {"n": 1}, id="sms", after=["stock"], on="any", delay=5.0)

    assert to_wire(branch) == transaction_pb2.Branch(
        id="sms",
        kind=transaction_pb2.BRANCH_KIND_NOTICE,
        action="sms.send",
        payload=b'{"n":1}',
        after=["stock"],
        on=transaction_pb2.DELIVER_ON_ANY,
        delay_ms=5000,
    )
    assert to_wire(tcc("a.b", id="x")).on == transaction_pb2.DELIVER_ON_UNSPECIFIED


def test_ids_are_the_verb_and_a_number_and_always_the_same() -> None:
    branches = [
        tcc("stock.reserve"),
        tcc("stock.reserve", id="reserve-2"),
        saga("other.reserve"),
        message("mail.send"),
    ]

    ids = [b.id for b in with_ids(branches)]

    assert ids == ["reserve", "reserve-2", "reserve-3", "send"]
    assert [b.id for b in with_ids(branches)] == ids
    assert [b.id for b in with_ids([tcc("a.send")], taken=["send"])] == ["send-2"]


def test_an_id_of_a_long_verb_is_within_its_limit() -> None:
    branches = with_ids([tcc("a." + "v" * 64)] * 256)

    assert max(len(b.id) for b in branches) <= 64
    assert len({b.id for b in branches}) == 256


def test_words_are_taken_as_strings_too() -> None:
    assert message("a.b", on="cancel").on is On.CANCEL
    with pytest.raises(InvalidRequest, match="on: is 'maybe'; allowed: confirm, cancel, any"):
        message("a.b", on="maybe")


def test_a_payload_over_its_limit_is_refused_before_it_is_sent() -> None:
    assert len(tcc("a.b", b"x" * 262_144).payload) == 262_144
    with pytest.raises(LimitExceeded, match=r"payload of a\.b: is 262145 bytes long"):
        tcc("a.b", b"x" * 262_145)


def test_a_payload_that_cannot_be_written_names_field_and_action() -> None:
    with pytest.raises(PayloadError, match=r"payload\.when: is object, .* \(of a\.b\)"):
        tcc("a.b", {"when": object()})


def test_after_is_a_list_of_ids_and_no_string() -> None:
    with pytest.raises(InvalidRequest, match="after: 'stock' is one string"):
        tcc("a.b", after="stock")


@pytest.mark.parametrize("delay", [-1.0, float("inf"), float("nan")])
def test_a_delay_that_is_none_is_refused(delay: float) -> None:
    with pytest.raises(InvalidRequest, match="delay: is"):
        notice("a.b", delay=delay)


def test_a_branch_that_cannot_travel_is_refused_before_it_is_sent() -> None:
    with pytest.raises(InvalidRequest, match="surrogates not allowed"):
        to_wire(tcc("a.b", id="\ud800"))


@pytest.mark.parametrize(
    ("branches", "said"),
    [
        (["lab.step"], "branches: item 0 is a str; allowed: what tcc(), saga(), message() and "),
        ([tcc("lab.step"), None], "branches: item 1 is a NoneType; allowed: what tcc()"),
        (saga("lab.step"), "branches: is one Branch; allowed: a list of what tcc()"),
        ("lab.step", "branches: is one str; allowed: a list of what tcc()"),
        ({"lab.step": {}}, "branches: is one dict; allowed: a list of"),
        (None, "branches: is one NoneType; allowed: a list of"),
    ],
)
def test_what_is_no_branch_is_refused_by_its_place(branches: Any, said: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(said)):
        with_ids(branches)


def test_branches_may_come_from_a_generator() -> None:
    assert [b.id for b in with_ids(tcc("lab.step") for _ in range(2))] == ["step", "step-2"]


def test_a_pivot_and_budgets_travel_and_nothing_else_does() -> None:
    assert to_wire(saga("a.b", id="p", pivot=True)).pivot
    budget = to_wire(notice("a.b", id="n", attempts=2, retry_for=1.5))
    assert (budget.attempts_max, budget.retry_for_ms) == (2, 1500)
    assert to_wire(tcc("a.b", id="t", retry_for=0.0001)).retry_for_ms == 1
    plain = to_wire(saga("a.b", id="s"))
    assert [field.name for field, _ in plain.ListFields()] == ["id", "kind", "action"]


def test_a_budget_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="attempts: is -1; allowed: 0 to 1000"):
        tcc("a.b", attempts=-1)
    with pytest.raises(InvalidRequest, match="retry_for: is nan; allowed: 0 to 2592000 seconds"):
        saga("a.b", retry_for=float("nan"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"attempts": True}, "attempts: is True; allowed: 0 to 1000"),
        ({"attempts": 1.0}, "attempts: is 1.0; allowed: a whole number"),
        ({"attempts": None}, "attempts: is None; allowed: 0 to 1000"),
        ({"retry_for": "0"}, "retry_for: is '0'; allowed: 0 to 2592000 seconds"),
        ({"retry_for": None}, "retry_for: is None; allowed: 0 to 2592000 seconds"),
    ],
)
def test_a_budget_that_is_no_number_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        tcc("a.b", **fields)


def test_a_zero_of_any_kind_is_no_budget() -> None:
    wire = to_wire(tcc("a.b", id="t", attempts=False, retry_for=0))
    assert (wire.attempts_max, wire.retry_for_ms) == (0, 0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"action": 3}, "action: is 3; allowed: a string"),
        ({"id": 3}, "id: is 3; allowed: a string"),
        ({"after": ["a", 3]}, "after: is 3; allowed: a string"),
        ({"attempts": "3"}, "attempts: is '3'; allowed: 0 to 1000"),
        ({"attempts": 1.5}, "attempts: is 1.5; allowed: a whole number"),
        ({"attempts": 1001}, "attempts: is 1001; allowed: 0 to 1000"),
        ({"retry_for": "3"}, "retry_for: is '3'; allowed: 0 to 2592000 seconds"),
        ({"retry_for": True}, "retry_for: is True; allowed: 0 to 2592000 seconds"),
    ],
)
def test_arguments_of_a_wrong_type_are_refused_by_their_name(
    fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(said)):
        tcc(**{"action": "a.b", **fields})
    with pytest.raises(InvalidRequest, match="topic: is 3; allowed: a string"):
        message(topic=cast("str", 3))


def test_a_message_goes_to_an_action_or_to_a_topic() -> None:
    (paid,) = with_ids([message(topic="order.paid", payload={"order": "17"})])
    wire = to_wire(paid)
    assert (wire.id, wire.topic, wire.action) == ("paid", "order.paid", "")
    for wrong in ({}, {"action": "a.b", "topic": "order.paid"}):
        with pytest.raises(InvalidRequest, match="needs an action or a topic"):
            message(**wrong)


def described(build: Callable[..., Any]) -> dict[str, Any]:
    """What a builder takes by name, and what it is if not given."""
    parameters = inspect.signature(build).parameters.values()
    return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}


@pytest.mark.parametrize("block", [trypact.Transaction, trypact.SyncTransaction])
def test_a_block_takes_what_the_builders_take(block: type[Any]) -> None:
    """All but a pivot, which decides where a block is decided by its initiator."""
    tried = described(block.try_)
    assert tried.pop("kind") == "tcc"
    assert tried.pop("returns") is Any
    assert tried == described(tcc)
    assert described(saga) == tried | {"pivot": False}
    assert described(block.message) == described(message)
    assert described(block.notice) == described(notice)
