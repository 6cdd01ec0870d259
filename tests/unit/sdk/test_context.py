"""What runs here is known to whoever writes a log line, and to nobody beside."""

import asyncio
import contextvars
import logging
import threading
from typing import Any

import pytest
import structlog
from trypact.context import Context, LogFilter, add_context, bound, current
from trypact.kinds import Operation

TRY = Context("17", "stock", "inventory.reserve", Operation.TRY)


def record() -> logging.LogRecord:
    return logging.LogRecord("shop", logging.INFO, __file__, 1, "held", None, None)


def test_what_runs_is_known_inside_the_block_and_not_after_it() -> None:
    assert current() is None
    with bound(Context("16")):
        with bound(TRY):
            assert current() == TRY
        assert current() == Context("16")
    assert current() is None


def test_it_is_forgotten_when_the_block_fails() -> None:
    with pytest.raises(RuntimeError), bound(TRY):
        raise RuntimeError
    assert current() is None


async def test_tasks_have_each_their_own_and_give_it_to_their_children() -> None:
    met = asyncio.Barrier(2)

    async def child() -> Context | None:
        return current()

    async def run(xid: str) -> Context | None:
        with bound(Context(xid)):
            await met.wait()
            return await asyncio.create_task(child())

    assert await asyncio.gather(run("a"), run("b")) == [Context("a"), Context("b")]
    assert current() is None


def test_a_thread_has_it_only_if_it_is_taken_there() -> None:
    seen: list[Context | None] = []
    with bound(TRY):
        taken = contextvars.copy_context()
        threads = [
            threading.Thread(target=lambda: seen.append(current())),
            threading.Thread(target=taken.run, args=(lambda: seen.append(current()),)),
        ]
        for thread in threads:
            thread.start()
            thread.join()
    assert seen == [None, TRY]


def test_a_log_record_says_it_and_is_empty_where_nothing_runs() -> None:
    inside, outside = record(), record()
    with bound(TRY):
        assert LogFilter().filter(inside)
    assert LogFilter().filter(outside)

    layout = logging.Formatter("%(xid)s/%(branch_id)s/%(action)s/%(operation)s %(message)s")
    assert layout.format(inside) == "17/stock/inventory.reserve/try held"
    assert layout.format(outside) == "/// held"


def test_what_a_record_says_itself_is_left() -> None:
    own: Any = record()
    own.xid = "mine"
    with bound(TRY):
        LogFilter().filter(own)
    assert (own.xid, own.branch_id) == ("mine", "stock")


def test_an_event_of_structlog_says_it_without_what_is_empty() -> None:
    log = structlog.wrap_logger(
        structlog.testing.CapturingLogger(), processors=[add_context], wrapper_class=None
    )
    with bound(Context("17")):
        log.info("paid", branch_id="mine")
    with bound(TRY):
        log.info("held")
    log.info("idle")

    said = [call.kwargs for call in log._logger.calls]
    assert said[0] == {"event": "paid", "xid": "17", "branch_id": "mine"}
    assert said[1]["operation"] == "try"
    assert said[1]["action"] == "inventory.reserve"
    assert said[2] == {"event": "idle"}
