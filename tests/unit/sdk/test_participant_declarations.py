"""What a participant can be told, and what it says to mistakes."""

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import trypact
from trypact.fence import SqlAlchemyFence, sqlite_engine


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


def test_a_participant_without_workers_is_refused(fence: SqlAlchemyFence) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        trypact.Participant("shop", fence=fence, workers=0)


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
