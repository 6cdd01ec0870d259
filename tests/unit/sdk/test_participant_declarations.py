"""What a participant can be told, and what it says to mistakes."""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trypact
from sqlalchemy import create_engine
from trypact import errors
from trypact.call import Arrived, FencedCall, Ok, Pending, Refused
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.fence.contract import ALONE
from trypact.kinds import Decision, Kind, Operation


class Handlers:
    def try_(self, call: Any, connection: Any) -> Any: ...
    def confirm(self, call: Any, connection: Any) -> Any: ...
    def cancel(self, call: Any, connection: Any) -> Any: ...


class Steps:
    def try_(self, call: Any, connection: Any) -> Any: ...
    def cancel(self, call: Any, connection: Any) -> Any: ...


@pytest.fixture
def fence(tmp_path: Path) -> SqlAlchemyFence:
    return SqlAlchemyFence(sqlite_engine(tmp_path / "f.db"))


def test_an_action_may_serve_several_kinds(fence: SqlAlchemyFence) -> None:
    participant = trypact.Participant("shop", fence=fence)
    participant.tcc("reserve")(Handlers)
    participant.saga("reserve")(Handlers())
    participant.saga("ship")(Steps)

    @participant.message("tell")
    @participant.notice("tell")
    def tell(call: Any, connection: Any) -> None: ...

    assert participant.actions == {
        "reserve": ("tcc", "saga"),
        "ship": ("saga",),
        "tell": ("notice", "message"),
    }
    assert callable(tell)


@pytest.mark.parametrize("name", ["", "Shop", "my shop", "a.b", "9", "x" * 65])
def test_a_name_that_is_no_lower_case_word_is_refused(fence: SqlAlchemyFence, name: str) -> None:
    with pytest.raises(ValueError, match="lower-case word"):
        trypact.Participant(name, fence=fence)
    with pytest.raises(ValueError, match="lower-case word"):
        trypact.Participant("shop", fence=fence).tcc(name)(Handlers)


def test_handlers_that_lack_an_operation_are_refused(fence: SqlAlchemyFence) -> None:
    participant: Any = trypact.Participant("shop", fence=fence)

    with pytest.raises(
        TypeError, match=r"shop\.reserve: Steps has no confirm; allowed: a class with try_"
    ):
        participant.tcc("reserve")(Steps)


def test_an_action_has_one_handler_for_each_kind(fence: SqlAlchemyFence) -> None:
    participant = trypact.Participant("shop", fence=fence)
    participant.tcc("reserve")(Handlers)

    with pytest.raises(ValueError, match=r"shop\.reserve has a handler for tcc branches already"):
        participant.tcc("reserve")(Handlers)


class Odd:
    """Handlers of every shape but the right one."""

    async def awaited(self, call: Any, connection: Any) -> None: ...
    def alone(self, call: Any) -> None: ...
    def three(self, call: Any, connection: Any, more: Any) -> None: ...
    def named(self, call: Any, *, connection: Any) -> None: ...
    def yielding(self, call: Any, connection: Any) -> Any:
        yield call


class Awaited:
    async def __call__(self, call: Any, connection: Any) -> None: ...


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (Odd().awaited, "Odd.awaited is async"),
        (functools.partial(Odd().awaited), "partial is async"),
        (Awaited(), "Awaited is async"),
        (Odd().yielding, "Odd.yielding is a generator"),
        (Odd().alone, "Odd.alone takes (call: Any) -> None"),
        (Odd().three, "Odd.three takes"),
        (Odd().named, "Odd.named takes"),
        (Odd, "Odd is no function"),
        (7, "int is no function"),
    ],
)
def test_a_handler_of_the_wrong_shape_is_refused_when_it_is_registered(
    fence: SqlAlchemyFence, handler: Any, said: str
) -> None:
    participant: Any = trypact.Participant("shop", fence=fence)
    whole = f"shop.tell: {said}.*allowed: a plain function of (call, connection)"
    pattern = re.escape(whole).replace(re.escape(".*"), ".*")

    for served in (participant.message, participant.notice):
        with pytest.raises(TypeError, match=pattern):
            served("tell")(handler)
    assert participant.actions == {}


def test_a_method_of_the_wrong_shape_is_refused_when_it_is_registered(
    fence: SqlAlchemyFence,
) -> None:
    class Reserve(Handlers):
        async def confirm(self, call: Any, connection: Any) -> Any: ...

    class Ship(Steps):
        def cancel(self, call: Any) -> Any: ...  # type: ignore[override]

    participant: Any = trypact.Participant("shop", fence=fence)
    with pytest.raises(TypeError, match=r"shop\.reserve: .*Reserve\.confirm is async"):
        participant.tcc("reserve")(Reserve)
    with pytest.raises(TypeError, match=r"shop\.ship: .*Ship\.cancel takes \(call: Any\)"):
        participant.saga("ship")(Ship())


class Request: ...


class Connection: ...


class Mistaken:
    """Handlers that can be called, and are not what they are called with."""

    def bare(self, call: Request, connection: Any) -> None: ...
    def swapped(self, connection: Connection, call: trypact.Call[Request]) -> None: ...
    def unsaid(self, connection, call): ...  # type: ignore[no-untyped-def]

    @trypact.many
    def one(self, call: trypact.Call[Request], connection: Any) -> None: ...

    @trypact.many
    def bares(self, calls: Sequence[Request], connection: Any) -> None: ...

    @trypact.many
    def swapped_sets(self, connection, calls): ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (Mistaken().bare, "takes a Request where it is given its call; allowed: call: Call[...]"),
        (Mistaken().swapped, "takes its call second; allowed: a plain function of (call, conn"),
        (Mistaken().unsaid, "takes its call second"),
        (Mistaken().one, "takes a Call[Request] where it is given its calls; allowed: calls: Seq"),
        (Mistaken().bares, "takes a Sequence[Request] where it is given its calls; allowed"),
        (Mistaken().swapped_sets, "takes its calls second; allowed: a plain function of (calls, "),
    ],
)
def test_a_handler_of_something_else_than_its_call_is_refused(
    fence: SqlAlchemyFence, handler: Any, said: str
) -> None:
    participant: Any = trypact.Participant("shop", fence=fence)

    with pytest.raises(TypeError, match=re.escape(f"shop.tell: {handler.__qualname__} {said}")):
        participant.message("tell")(handler)


def test_a_method_that_is_nearly_a_handler_is_refused(fence: SqlAlchemyFence) -> None:
    class Misspelt(Handlers):
        def cancle(self, call: Any, connection: Any) -> None: ...

    class Helped(Handlers):
        def cancelled(self) -> None: ...
        def tries(self) -> None: ...

    participant = trypact.Participant("shop", fence=fence)
    with pytest.raises(TypeError, match=r"Misspelt has a cancle, which would never be called; all"):
        participant.tcc("reserve")(Misspelt)
    participant.tcc("reserve")(Helped)


def test_a_participant_without_actions_is_not_served(fence: SqlAlchemyFence) -> None:
    with pytest.raises(ValueError, match="shop serves nothing; allowed: at least one action"):
        trypact.Participant("shop", fence=fence).serve()


@pytest.mark.parametrize(
    ("handler", "answered"),
    [
        (lambda call, connection: trypact.Refuse("sold out"), Refused("sold out")),
        (lambda call, connection: trypact.Refuse(), Refused("refused without a reason")),
    ],
)
def test_a_refusal_may_be_returned_and_needs_no_reason(
    fence: SqlAlchemyFence, handler: Any, answered: Refused
) -> None:
    fence.create_tables()
    participant = trypact.Participant("shop", fence=fence)
    participant.saga("reserve")(handler).cancel(handler)
    fenced = FencedCall("x", "b", "shop.reserve", Kind.SAGA, Operation.TRY)

    assert participant.answer(Arrived(fenced, b"1", 1, Decision.UNDECIDED, "")) == answered


def test_whatever_takes_a_call_and_a_connection_is_a_handler(fence: SqlAlchemyFence) -> None:
    class Callable:
        def __call__(self, call: Any, connection: Any) -> None: ...

    participant: Any = trypact.Participant("shop", fence=fence)
    participant.message("a")(lambda call, connection, more=1: None)
    participant.message("b")(lambda *arguments: None)
    participant.message("c")(Callable())
    participant.message("d")(functools.partial(Odd().three, more=1))
    participant.message("e")(max)

    assert set(participant.actions) == set("abcde")


# ---------------------------------------------------------------- set-based handlers


def arrived(operation: Operation = Operation.TRY, xid: str = "x", payload: bytes = b"1") -> Arrived:
    fenced = FencedCall(xid, "b", "shop.reserve", Kind.TCC, operation)
    return Arrived(fenced, payload, 1, Decision.UNDECIDED, "")


class Sets:
    """Says of each call what its request asks for."""

    ANSWERS: ClassVar[dict[int, Any]] = {
        1: {"one": 1}, 2: trypact.Refuse("two"), 3: trypact.RetryLater(3.0), 4: trypact.PENDING,
        5: object(), 6: None,
    }  # fmt: skip

    def __init__(self) -> None:
        self.sets: list[int] = []

    @trypact.many
    def try_(self, calls: Sequence[trypact.Call[int]], connection: Any) -> list[Any]:
        self.sets.append(len(calls))
        if any(call.request == 7 for call in calls):
            return []
        return [self.ANSWERS[call.request] for call in calls]

    @trypact.many
    def confirm(self, calls: Sequence[trypact.Call[int]], connection: Any) -> None: ...

    def cancel(self, call: trypact.Call[int], connection: Any) -> None: ...


@pytest.fixture
def sets(fence: SqlAlchemyFence) -> Sets:
    fence.create_tables()
    return Sets()


def test_a_set_says_something_of_each_call(fence: SqlAlchemyFence, sets: Sets) -> None:
    participant = trypact.Participant("shop", fence=fence)
    participant.tcc("reserve", request=int)(sets)
    payloads = [b"1", b"2", b"3", b'"no number"', b"4", b"6"]

    said = participant.answer_many(
        [arrived(xid=str(n), payload=payload) for n, payload in enumerate(payloads)]
    )

    assert said[:2] == [Ok(b'{"one":1}'), Refused("two")]
    assert isinstance(said[2], trypact.RetryLater)
    assert said[3] == Refused("invalid payload: is a string, not an integer")
    assert said[4:] == [Pending(), Ok()]
    # Whoever cannot be read is none of the handler's business.
    assert sets.sets == [5]
    confirms = [arrived(Operation.CONFIRM, xid) for xid in "05"]
    assert participant.answer_many(confirms) == [Ok(), Ok()]


def test_a_set_of_one_is_what_a_single_call_is(fence: SqlAlchemyFence, sets: Sets) -> None:
    participant = trypact.Participant("shop", fence=fence)
    participant.tcc("reserve", request=int)(sets)

    assert participant.answer(arrived()) == Ok(b'{"one":1}')
    assert participant.answer(arrived(xid="y", payload=b"2")) == Refused("two")
    with pytest.raises(trypact.RetryLater):
        participant.answer(arrived(xid="z", payload=b"3"))


def test_one_bad_answer_makes_each_of_the_set_run_alone(fence: SqlAlchemyFence, sets: Sets) -> None:
    participant = trypact.Participant("shop", fence=fence)
    participant.tcc("reserve", request=int)(sets)
    calls = [arrived(xid="a"), arrived(xid="b", payload=b"5")]

    assert participant.answer_many(calls) == [ALONE, ALONE]
    assert participant.answer(calls[0]) == Ok(b'{"one":1}')
    with pytest.raises(errors.ParticipantError, match=r"shop\.reserve try returned .* is object"):
        participant.answer(calls[1])


def test_a_set_that_forgets_a_call_is_told_so(fence: SqlAlchemyFence, sets: Sets) -> None:
    participant = trypact.Participant("shop", fence=fence)
    participant.tcc("reserve", request=int)(sets)

    with pytest.raises(errors.ParticipantError, match=r"shop\.reserve try answered 1 calls with 0"):
        participant.answer(arrived(payload=b"7"))


def test_calls_share_a_transaction_unless_their_action_or_the_participant_says_no(
    fence: SqlAlchemyFence,
) -> None:
    class Plain:
        """A fence that knows nothing of batches."""

        run = fence.run

    plain: Any = Plain()
    shop = {
        "may": trypact.Participant("shop", fence=fence),
        "one": trypact.Participant("shop", fence=fence, batch_calls_max=1),
        "plain": trypact.Participant("shop", fence=plain),
        "no": trypact.Participant("shop", fence=fence),
    }
    for what, participant in shop.items():
        participant.tcc("reserve", batch=what != "no")(Handlers)

    assert [what for what in shop if shop[what].may_be_batched(arrived())] == ["may"]
    assert not shop["may"].may_be_batched(arrived(Operation.DELIVER))
    with pytest.raises(TypeError, match="Plain answers one call at a time"):
        shop["plain"].answer_many([arrived()])


def test_a_set_based_handler_of_the_wrong_shape_is_refused(fence: SqlAlchemyFence) -> None:
    participant: Any = trypact.Participant("shop", fence=fence)

    with pytest.raises(TypeError, match=r"allowed: a plain function of \(calls, connection\)"):
        participant.message("tell")(trypact.many(lambda calls: None))
    with pytest.raises(TypeError, match="a builtin_function_or_method cannot be marked"):
        trypact.many(max)


def test_nobody_overtakes_a_batch_on_sqlite(fence: SqlAlchemyFence) -> None:
    other = SqlAlchemyFence(create_engine("postgresql+psycopg://nowhere.invalid/shop"))

    assert not trypact.Participant("shop", fence=fence).batches_overtake
    assert trypact.Participant("shop", fence=other).batches_overtake


@pytest.mark.parametrize("number", ["workers", "batches", "batch_calls_max"])
def test_no_number_of_a_participant_is_below_one(fence: SqlAlchemyFence, number: str) -> None:
    arguments: Any = {number: 0}
    with pytest.raises(ValueError, match=f"{number}: 0; allowed: a whole number, at least 1"):
        trypact.Participant("shop", fence=fence, **arguments)


@pytest.mark.parametrize("number", ["8", 1.5, True, None])
def test_a_number_of_a_participant_is_a_whole_one(fence: SqlAlchemyFence, number: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"workers: {number!r}; allowed: a whole")):
        trypact.Participant("shop", fence=fence, workers=number)


def test_a_name_that_is_no_text_is_refused_in_words(fence: SqlAlchemyFence) -> None:
    nameless: Any = None
    with pytest.raises(ValueError, match=r"None is no participant's name; allowed: a lower-case"):
        trypact.Participant(nameless, fence=fence)


def test_a_decorator_without_the_name_of_its_action_says_how_it_is_written(
    fence: SqlAlchemyFence,
) -> None:
    participant: Any = trypact.Participant("shop", fence=fence)
    with pytest.raises(TypeError, match=r"said first: @shop\.tcc\('reserve'\); it is <class"):
        participant.tcc(Handlers)
    with pytest.raises(TypeError, match=r"said first: @shop\.message\('reserve'\); it is <fun"):
        participant.message(lambda call, connection: None)


def test_a_class_of_handlers_that_takes_arguments_is_made_by_the_service(
    fence: SqlAlchemyFence,
) -> None:
    class Wanting(Handlers):
        def __init__(self, db: str) -> None: ...

    participant: Any = trypact.Participant("shop", fence=fence)
    with pytest.raises(
        TypeError, match=r"shop\.reserve: Wanting is made without .*takes \(db: str"
    ):
        participant.tcc("reserve")(Wanting)
    participant.tcc("reserve")(Wanting("here"))


@pytest.mark.parametrize("age", ["3600", 59.0, float("nan")])
def test_an_age_to_collect_at_is_seconds_and_no_less_than_a_call_may_take(
    fence: SqlAlchemyFence, age: Any
) -> None:
    with pytest.raises(ValueError, match=f"collect_older_than: {age!r} s; .* at least 60 s"):
        trypact.Participant("shop", fence=fence, collect_older_than=age)
