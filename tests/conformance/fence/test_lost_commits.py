"""A connection that is lost at COMMIT, before it arrives or after it was done."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from trypact.call import Ok
from trypact.errors import FenceUnavailable
from trypact.kinds import Operation

from tests.conformance.fence.conftest import Shop, open_place
from tests.servers.proxy import Cut, Proxy

TRY, CONFIRM, CANCEL, DELIVER = Operation
MARIADB = ("mariadb", "asyncmy")
SERVED = ("postgresql", *MARIADB, "asyncpg", "psycopg, async", "psycopg", "psycopg pool")


def ending(name: str) -> bytes:
    """The bytes by which a local transaction is committed, and nothing else is done."""
    if name in MARIADB:
        # A whole statement: there is also SET AUTOCOMMIT.
        return b"\x03COMMIT"
    return b"EXEC" if name == "redis" else b"COMMIT"


class ProxyThread:
    """A proxy on an event loop of its own, for calls that block."""

    def __init__(self, port: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.proxy = Proxy(port)
        self._run(self.proxy.__aenter__())

    def cut(self, marker: bytes, cut: Cut) -> None:
        self.proxy.marker, self.proxy.cut = marker, cut

    def hang_up(self) -> None:
        self._loop.call_soon_threadsafe(self.proxy.hang_up)

    def close(self) -> None:
        self._run(self.proxy.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, waiting: object) -> None:
        asyncio.run_coroutine_threadsafe(waiting, self._loop).result(10)  # type: ignore[arg-type]


@pytest.fixture
def proxy(request: pytest.FixtureRequest, name: str) -> Iterator[ProxyThread]:
    """A proxy before the server of the place called `name`."""
    server = "redis" if name == "redis" else "mariadb" if name in MARIADB else "postgres"
    proxy = ProxyThread(request.getfixturevalue(f"{server}_server").port)
    yield proxy
    proxy.close()


@pytest.fixture
def shop(
    request: pytest.FixtureRequest, name: str, proxy: ProxyThread, tmp_path: Path
) -> Iterator[Shop]:
    shop = Shop(open_place(name, request, tmp_path, proxy.proxy.url))
    yield shop
    shop.close()


@pytest.mark.parametrize("name", SERVED)
@pytest.mark.parametrize("operation", ["try", "confirm", "cancel"])
def test_a_commit_whose_reply_is_lost_is_found_done_when_asked_again(
    shop: Shop, proxy: ProxyThread, name: str, operation: str
) -> None:
    if operation != "try":
        shop.run("try")
    proxy.cut(ending(name), Cut.REPLY)

    with pytest.raises(FenceUnavailable, match="may or may not have committed"):
        shop.run(operation)
    assert proxy.proxy.cuts == 1
    assert isinstance(shop.run(operation), Ok)
    assert shop.ran.count(Operation(operation)) == 1
    assert shop.stock == {"try": (8, 2, 0), "confirm": (8, 0, 2), "cancel": (10, 0, 0)}[operation]


@pytest.mark.parametrize("name", SERVED)
def test_a_commit_that_never_arrives_is_run_again_when_asked_again(
    shop: Shop, proxy: ProxyThread, name: str
) -> None:
    proxy.cut(ending(name), Cut.REQUEST)

    with pytest.raises(FenceUnavailable, match="may or may not have committed"):
        shop.run("try")
    # Until the server notices, the row is locked.
    proxy.hang_up()
    assert shop.run("try") == Ok(b"result of run 2")
    assert shop.ran == [TRY, TRY]
    assert shop.stock == (8, 2, 0)


@pytest.mark.parametrize("name", ["redis"])
@pytest.mark.parametrize(("cut", "runs"), [(Cut.REPLY, 1), (Cut.REQUEST, 2)])
def test_an_exec_that_is_lost_is_looked_for_at_once(
    shop: Shop, proxy: ProxyThread, name: str, cut: Cut, runs: int
) -> None:
    proxy.cut(ending(name), cut)

    assert shop.run("try") == Ok(b"result of run %d" % runs)
    assert proxy.proxy.cuts == 1
    assert len(shop.ran) == runs
    assert shop.stock == (8, 2, 0)
