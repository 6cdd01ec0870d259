"""What a participant can be told, and what it says to mistakes."""

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

    with pytest.raises(TypeError, match="Steps has no confirm"):
        participant.tcc("reserve")(Steps)


def test_an_action_has_one_handler_for_each_kind(fence: SqlAlchemyFence) -> None:
    participant = trypact.Participant("shop", fence=fence)
    participant.tcc("reserve")(Handlers)

    with pytest.raises(ValueError, match=r"shop\.reserve has a handler for tcc branches already"):
        participant.tcc("reserve")(Handlers)


def test_a_participant_without_workers_is_refused(fence: SqlAlchemyFence) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        trypact.Participant("shop", fence=fence, workers=0)
