"""A participant's own collector troubles nobody: not when it fails, not when it is to stop."""

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine
from trypact import Participant, _collecting
from trypact._collecting import EVERY_S, Collecting
from trypact.call import FencedCall
from trypact.clock import now_us
from trypact.fence import (
    AsyncSqlAlchemyFence,
    SqlAlchemyFence,
    async_sqlite_engine,
    sqlite_engine,
)
from trypact.kinds import Kind, Operation

OLDER_THAN_S = 60.0


class Rests:
    """Notes how long each rest is, and lets a number of them pass at once."""

    def __init__(self, number: int) -> None:
        self.seconds: list[float] = []
        self.over = asyncio.Event()
        self._left = number

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self._left -= 1
        if self._left < 0:
            self.over.set()
            await asyncio.Event().wait()


def with_an_old_row(folder: Path) -> SqlAlchemyFence:
    engine = sqlite_engine(folder / "shop.db", poolclass=NullPool)
    old = SqlAlchemyFence(engine, now=lambda: now_us() - 120_000_000)
    old.create_tables()
    old.run(FencedCall("x", "b", "shop.sell", Kind.TCC, Operation.CANCEL), _never)
    return SqlAlchemyFence(engine)


def _never(handle: Any) -> bytes:
    raise AssertionError


@pytest.mark.parametrize(
    ("fence_of", "said"),
    [
        (
            lambda folder: SqlAlchemyFence(sqlite_engine(folder / "a.db"), now=lambda: 1 // 0),
            "ZeroDivisionError",
        ),
        (
            lambda folder: SqlAlchemyFence(create_engine("postgresql+psycopg://n@127.0.0.1:1/n")),
            "shop collects no fence rows now: OperationalError",
        ),
    ],
    ids=["a bug", "no database"],
)
async def test_what_goes_wrong_is_logged_and_tried_again(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fence_of: Callable[[Path], SqlAlchemyFence],
    said: str,
) -> None:
    rests = Rests(2)
    collecting = Collecting("shop", fence_of(tmp_path), "127.0.0.1:1", OLDER_THAN_S, pause=rests)
    with caplog.at_level(logging.WARNING):
        collecting.start()
        async with asyncio.timeout(10):
            await rests.over.wait()
            await collecting.stop()

    assert caplog.text.count(said) == 2
    first, second, third = rests.seconds
    assert 0 <= first <= EVERY_S
    assert all(EVERY_S / 2 <= each <= EVERY_S * 1.5 for each in (second, third))


@pytest.mark.parametrize("awaited", [False, True], ids=["on a thread", "awaited"])
async def test_who_stops_does_not_wait_for_a_coordinator_that_hangs(
    tmp_path: Path, awaited: bool
) -> None:
    with_an_old_row(tmp_path)
    path = tmp_path / "shop.db"
    fence = (
        AsyncSqlAlchemyFence(async_sqlite_engine(path, poolclass=NullPool))
        if awaited
        else SqlAlchemyFence(sqlite_engine(path, poolclass=NullPool))
    )
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        endpoint = f"127.0.0.1:{hangs.getsockname()[1]}"
        collecting = Collecting("shop", fence, endpoint, OLDER_THAN_S, pause=Rests(1))
        collecting.start()
        await asyncio.to_thread(hangs.accept)
        async with asyncio.timeout(3):
            await collecting.stop()


async def test_what_it_rests_grows_with_what_a_pass_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_collecting, "EVERY_S", 0.0)
    rests = Rests(1)
    fence = SqlAlchemyFence(sqlite_engine(tmp_path / "shop.db"))
    fence.create_tables()
    collecting = Collecting("shop", fence, "127.0.0.1:1", OLDER_THAN_S, pause=rests)
    collecting.start()
    async with asyncio.timeout(10):
        await rests.over.wait()
        await collecting.stop()

    assert rests.seconds[0] == 0.0 < rests.seconds[1]


def test_a_participant_says_for_how_long_rows_are_left_alone(tmp_path: Path) -> None:
    fence = SqlAlchemyFence(sqlite_engine(tmp_path / "shop.db"))
    assert Participant("shop", fence=fence).collect_older_than == 24 * 3600
    assert Participant("shop", fence=fence, collect_older_than=None).collect_older_than is None
    with pytest.raises(ValueError, match=r"collect_older_than: 59\.9 s.* at least 60 s"):
        Participant("shop", fence=fence, collect_older_than=59.9)
