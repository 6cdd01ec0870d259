"""What only Redis can do to a fence: it waits for nobody, and undoes nothing."""

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from trypact.call import PENDING, Ok, Refused
from trypact.errors import FenceUnavailable, ParticipantError, Refuse
from trypact.fence import RedisFence
from trypact.kinds import Operation

from tests.conformance.fence.conftest import Gate, Shop
from tests.conformance.fence.places import OnRedis
from tests.servers.redis import RedisServer

TRY, CONFIRM, CANCEL, DELIVER = Operation


@pytest.fixture
def shop(redis_server: RedisServer) -> Iterator[Shop]:
    shop = Shop(OnRedis(redis.Redis.from_url(redis_server.url)))
    yield shop
    shop.close()


def test_a_cancel_that_overtakes_a_running_try_keeps_it_out(shop: Shop, gate: Gate) -> None:
    tried = shop.start("try", gate.hold(shop.move_try))
    assert gate.inside.wait(10)
    cancelled = shop.run("cancel")
    gate.open()

    assert cancelled == Ok()
    answer = tried.result(10)
    assert isinstance(answer, Refused)
    assert answer.reason.startswith("ALREADY_CANCELLED")
    assert (shop.status, shop.stock) == ("CANCELLED", (10, 0, 0))


@pytest.mark.parametrize("operation", ["try", "confirm", "cancel"])
def test_of_two_at_once_one_counts_and_both_agree(shop: Shop, gate: Gate, operation: str) -> None:
    if operation != "try":
        shop.run("try")
    first = shop.start(operation, gate.hold(getattr(shop, f"move_{operation}")))
    assert gate.inside.wait(10)
    second = shop.run(operation)
    gate.open()

    assert first.result(10) == second
    assert shop.stock == {"try": (8, 2, 0), "confirm": (8, 0, 2), "cancel": (10, 0, 0)}[operation]


def test_confirm_against_cancel_has_one_winner(shop: Shop, gate: Gate) -> None:
    shop.run("try")
    confirmed = shop.start("confirm", gate.hold(shop.move_confirm))
    assert gate.inside.wait(10)
    assert shop.run("cancel") == Ok()
    gate.open()

    assert isinstance(confirmed.result(10), Refused)
    assert shop.stock == (10, 0, 0)


def test_a_watched_key_that_another_changes_makes_the_handler_run_again(shop: Shop) -> None:
    seen: list[int] = []

    def last_ones(pipeline: Any) -> bytes:
        pipeline.watch("stock")
        left = int(pipeline.hget("stock", "sellable"))
        seen.append(left)
        if len(seen) == 1:
            shop.place._client.hset("stock", "sellable", 1)  # type: ignore[attr-defined]
        if left < 10:
            raise Refuse(f"OUT_OF_STOCK: {left} left")
        pipeline.multi()
        pipeline.hincrby("stock", "sellable", -10)
        return b""

    assert shop.run("try", last_ones) == Refused("OUT_OF_STOCK: 1 left")
    assert seen == [10, 1]
    assert shop.stock == (1, 0, 0)


def test_a_handler_that_always_loses_gives_way(shop: Shop) -> None:
    def disturbed(pipeline: Any) -> bytes:
        pipeline.watch("stock")
        shop.place._client.hincrby("stock", "sold", 1)  # type: ignore[attr-defined]
        return b""

    with pytest.raises(FenceUnavailable, match="WatchError"):
        shop.run("try", disturbed)
    assert shop.status is None


@pytest.mark.parametrize("write", ["set", "delete", "unwatch", "script"])
def test_what_would_happen_at_once_is_refused(shop: Shop, write: str) -> None:
    def early(pipeline: Any) -> bytes:
        match write:
            case "set":
                pipeline.set("stock", "all of it")
            case "delete":
                pipeline.delete("stock")
            case "unwatch":
                pipeline.unwatch()
            case _:
                pipeline.eval("redis.call('DEL', KEYS[1])", 1, "stock")
        return b""

    with pytest.raises(ParticipantError, match=r"before multi\(\) would be done at once"):
        shop.run("try", early)
    assert (shop.status, shop.stock) == (None, (10, 0, 0))


def test_a_command_that_fails_at_exec_is_named_for_nothing_undoes_the_others(shop: Shop) -> None:
    def wrong(pipeline: Any) -> bytes:
        shop.place.change(pipeline, sold=1)
        pipeline.incr("stock")
        return b""

    with pytest.raises(ParticipantError, match=r"failed, and only that one: .*WRONGTYPE"):
        shop.run("try", wrong)
    assert (shop.status, shop.stock) == ("TRIED", (10, 0, 1))


def test_completing_comes_before_the_writes(shop: Shop) -> None:
    shop.run("try", lambda pipeline: PENDING)

    with (
        pytest.raises(ParticipantError, match=r"before multi\(\) is called"),
        shop.fence.transaction() as pipeline,
    ):
        pipeline.multi()
        shop.fence.complete(pipeline, "x", "b", "try")
    assert shop.status == "TRY_PENDING"


def test_completing_takes_only_a_transaction_of_the_fences_own(shop: Shop) -> None:
    pipeline = shop.place._client.pipeline()  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=r"fence\.transaction\(\)"):
        shop.fence.complete(pipeline, "x", "b", "try")


def test_a_completion_that_a_cancel_overtakes_does_nothing(shop: Shop) -> None:
    shop.run("try", lambda pipeline: PENDING)

    with pytest.raises(redis.WatchError), shop.fence.transaction() as pipeline:
        shop.fence.complete(pipeline, "x", "b", "try", ok=1)
        shop.place.change(pipeline, sold=1)
        shop.run("cancel", lambda pipeline: b"")
    assert (shop.status, shop.stock) == ("CANCELLED", (10, 0, 0))


def test_a_client_that_decodes_and_results_that_are_no_text_go_together(
    redis_server: RedisServer,
) -> None:
    shop = Shop(OnRedis(redis.Redis.from_url(redis_server.url)))
    client = redis.Redis.from_url(redis_server.url, decode_responses=True)
    shop.fence = RedisFence(client)
    every_byte = bytes(range(256))

    assert shop.run("try", lambda pipeline: every_byte) == Ok(every_byte)
    assert shop.run("try") == Ok(every_byte)
    client.close()
    shop.close()


def test_a_server_that_is_gone_is_an_unknown_outcome(caplog: pytest.LogCaptureFixture) -> None:
    server = RedisServer(appendonly="no")
    client = redis.Redis.from_url(server.url, retry=None)
    with caplog.at_level(logging.WARNING):
        shop = Shop(OnRedis(client))
    assert "keeps no append-only file" in caplog.text
    server.kill()

    with pytest.raises(FenceUnavailable):
        shop.run("try")
    client.close()
    server.remove()


def test_what_was_answered_survives_a_crash_of_a_durable_server() -> None:
    server = RedisServer()
    try:
        shop = Shop(OnRedis(redis.Redis.from_url(server.url)))
        first = shop.run("try")
        server.kill()
        server.start()

        assert shop.run("try") == first
        assert shop.stock == (8, 2, 0)
        shop.close()
    finally:
        server.remove()


def test_many_branches_of_one_transaction_do_not_disturb_each_other(shop: Shop) -> None:
    start = threading.Barrier(4)

    def call(branch_id: str) -> object:
        start.wait(10)
        return shop.run("try", branch_id=branch_id)

    futures = [shop._threads.submit(call, str(number)) for number in range(4)]

    assert all(isinstance(future.result(10), Ok) for future in futures)
    assert shop.stock == (2, 8, 0)
    assert len(shop.ran) == 4


def test_another_client_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"redis\.asyncio\.client\.Redis: the fence takes a redis.Redis, and"
    ):
        RedisFence(redis.asyncio.Redis())  # type: ignore[arg-type]
