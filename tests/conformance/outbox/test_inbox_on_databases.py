"""What an inbox promises, on every database: effects once, however often a message is delivered."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import trypact
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from trypact.inbox import Consumer, Inbox, State
from trypact.outbox import Message

from tests.conformance.outbox.conftest import Shop

MESSAGE = Message("order.paid", {"order": 17}, id="m1")


class Delivery:
    """A message as a broker hands it over."""

    def __init__(self, message: Message = MESSAGE, redelivered: bool = False) -> None:
        self.message = message
        self.redelivered = redelivered
        self.acked = 0

    async def ack(self) -> None:
        self.acked += 1


def ship(message: Message, connection: Connection) -> None:
    """An effect that could be done any number of times."""
    count = connection.execute(text("SELECT count(*) FROM orders")).scalar_one()
    connection.execute(text("INSERT INTO orders VALUES (:id)"), {"id": f"{message.id}-{count}"})


@pytest.fixture
def inbox(shop: Shop) -> Inbox:
    inbox = Inbox("shipping", now=lambda: shop.clock_us)
    with shop.engine.begin() as connection:
        inbox.create_tables(connection)
    return inbox


def row_of(shop: Shop, inbox: Inbox) -> Any:
    """State, times, remark of the only row."""
    columns = inbox.table.c
    with shop.engine.connect() as connection:
        found = inbox.table.select().with_only_columns(columns.state, columns.times, columns.remark)
        return tuple(connection.execute(found).one())


async def test_a_message_that_is_delivered_twice_is_done_once(shop: Shop, inbox: Inbox) -> None:
    consumer = Consumer(shop.engine, inbox, ship)
    first, again, redelivered = Delivery(), Delivery(), Delivery(redelivered=True)
    for delivery in (first, again, redelivered):
        assert await consumer.handle(delivery)
    assert shop.orders == 1
    assert (first.acked, again.acked, redelivered.acked) == (1, 1, 1)
    assert row_of(shop, inbox) == (State.DONE, 1, "")


async def test_awaited_handlers_do_it_once_too(
    shop: Shop, inbox: Inbox, async_engine: AsyncEngine
) -> None:
    async def handle(message: Message, connection: AsyncConnection) -> None:
        await connection.run_sync(lambda below: ship(message, below))

    consumer = Consumer(async_engine, inbox, handle)
    assert await consumer.handle(Delivery())
    assert await consumer.handle(Delivery(redelivered=True))
    assert shop.orders == 1


async def test_each_group_does_its_own(shop: Shop, inbox: Inbox) -> None:
    other = Inbox("billing")
    for one in (inbox, other):
        assert await Consumer(shop.engine, one, ship).handle(Delivery())
    assert shop.orders == 2


async def test_what_a_failing_handler_did_is_undone_and_done_the_next_time(
    shop: Shop, inbox: Inbox
) -> None:
    def fail(message: Message, connection: Connection) -> None:
        ship(message, connection)
        raise RuntimeError("no carrier today")

    failing, working = Consumer(shop.engine, inbox, fail), Consumer(shop.engine, inbox, ship)
    first, second, third = Delivery(), Delivery(redelivered=True), Delivery(redelivered=True)
    assert not await failing.handle(first)
    assert row_of(shop, inbox) == (State.FAILED, 1, "RuntimeError: no carrier today")
    assert not await failing.handle(second)
    assert row_of(shop, inbox) == (State.FAILED, 2, "RuntimeError: no carrier today")
    assert (shop.orders, first.acked, second.acked) == (0, 0, 0)

    assert await working.handle(third)
    assert (shop.orders, third.acked) == (1, 1)
    assert row_of(shop, inbox) == (State.DONE, 3, "")


async def test_one_who_died_in_the_middle_is_seen_and_done_again(shop: Shop, inbox: Inbox) -> None:
    with shop.engine.begin() as connection:
        inbox.begin(connection, MESSAGE)
    assert row_of(shop, inbox) == (State.PROCESSING, 1, "")
    assert await Consumer(shop.engine, inbox, ship).handle(Delivery(redelivered=True))
    assert row_of(shop, inbox) == (State.DONE, 2, "")
    assert shop.orders == 1


async def test_what_fails_too_often_is_parked_until_somebody_has_it_retried(
    shop: Shop, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    broken, runs = True, 0

    def handle(message: Message, connection: Connection) -> None:
        nonlocal runs
        runs += 1
        if broken:
            raise RuntimeError("no carrier")
        ship(message, connection)

    few = Inbox("shipping", attempts_max=3, now=lambda: shop.clock_us)
    consumer, delivery = Consumer(shop.engine, few, handle), Delivery(redelivered=True)
    assert not await consumer.handle(Delivery())
    for _ in range(4):
        assert not await consumer.handle(delivery)
    assert (runs, delivery.acked) == (3, 0)
    assert row_of(shop, few) == (State.PARKED, 3, "RuntimeError: no carrier")
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3 + ["ERROR"] * 2
    with shop.engine.begin() as connection:
        assert few.purge(connection, 0) == 0
        (parked,) = few.entries(connection)
        said = ("m1", "order.paid", State.PARKED, 3, "RuntimeError: no carrier", shop.clock_us)
        assert parked == said
        assert few.entries(connection, [State.DONE, State.FAILED]) == []
        assert Inbox("billing").entries(connection) == []
        assert Inbox("billing").retry(connection) == 0
        assert (few.retry(connection, ["other"]), few.retry(connection, ["m1"])) == (0, 1)
        assert few.retry(connection) == 0

    broken = False
    assert await consumer.handle(delivery)
    assert (shop.orders, delivery.acked) == (1, 1)


async def test_what_ends_its_consumer_each_time_is_parked_too_and_may_be_skipped(
    shop: Shop, inbox: Inbox
) -> None:
    few = Inbox("shipping", attempts_max=2, now=lambda: shop.clock_us)
    for state in (State.PROCESSING, State.PROCESSING, State.PARKED, State.PARKED):
        with shop.engine.begin() as connection:
            assert few.begin(connection, MESSAGE) is state
    says = "its consumers ended in the middle of it; it began 2 times"
    assert row_of(shop, few) == (State.PARKED, 2, says)
    with shop.engine.begin() as connection:
        assert few.skip(connection, ["m1", "other"]) == 1
        assert few.skip(connection, ["m1"]) == 0
    delivery = Delivery(redelivered=True)
    assert await Consumer(shop.engine, few, ship).handle(delivery)
    assert (shop.orders, delivery.acked) == (0, 1)


async def test_a_duplicate_of_what_is_parked_may_still_do_it(shop: Shop, inbox: Inbox) -> None:
    few = Inbox("shipping", attempts_max=1)
    with shop.engine.begin() as connection:
        assert few.fail(connection, MESSAGE, "no") is State.PARKED
    assert await Consumer(shop.engine, few, ship).handle(Delivery())
    assert await Consumer(shop.engine, few, ship).handle(Delivery(redelivered=True))
    assert shop.orders == 1


async def test_an_acknowledgement_that_fails_does_not_undo_what_was_done(
    shop: Shop, inbox: Inbox
) -> None:
    class Deaf(Delivery):
        async def ack(self) -> None:
            raise ConnectionError("the broker is gone")

    consumer = Consumer(shop.engine, inbox, ship)
    with pytest.raises(ConnectionError):
        await consumer.handle(Deaf())
    assert await consumer.handle(Delivery(redelivered=True))
    assert shop.orders == 1


def test_consumers_that_get_the_same_message_at_once_do_it_once(shop: Shop, inbox: Inbox) -> None:
    barrier = threading.Barrier(4)

    def take(_: int) -> bool:
        barrier.wait(10)
        with shop.engine.begin() as connection:
            if first := inbox.take(connection, MESSAGE):
                ship(MESSAGE, connection)
        return first

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(take, range(4))) == [False, False, False, True]
    assert shop.orders == 1


def test_a_message_is_not_done_if_its_transaction_is_undone(shop: Shop, inbox: Inbox) -> None:
    with shop.engine.connect() as connection:
        assert inbox.take(connection, MESSAGE)
        connection.rollback()
    with shop.engine.begin() as connection:
        assert inbox.take(connection, MESSAGE)
    with shop.engine.begin() as connection:
        assert not inbox.take(connection, MESSAGE)
        assert inbox.begin(connection, MESSAGE) is State.DONE
        assert inbox.fail(connection, MESSAGE, "too late") is State.DONE
    assert row_of(shop, inbox) == (State.DONE, 1, "")


def test_only_what_was_done_long_ago_is_forgotten(shop: Shop, inbox: Inbox) -> None:
    with shop.engine.begin() as connection:
        inbox.take(connection, Message("t", id="old"))
        inbox.fail(connection, Message("t", id="failed"), "no")
        inbox.begin(connection, Message("t", id="begun"))
        Inbox("billing", now=lambda: shop.clock_us).take(connection, Message("t", id="old"))
        shop.pass_time(100)
        inbox.take(connection, Message("t", id="young"))
        assert inbox.purge(connection, 50) == 1
        counts = {count.state: count.messages for count in inbox.counts(connection)}
    assert counts == {State.DONE: 1, State.FAILED: 1, State.PROCESSING: 1}


def test_handlers_have_to_fit_their_engine(shop: Shop, inbox: Inbox) -> None:
    async def handle(message: Message, connection: AsyncConnection) -> None:
        """Never called."""

    with pytest.raises(TypeError, match="async def"):
        Consumer(shop.engine, inbox, handle)
    with pytest.raises(trypact.errors.InvalidRequest, match="group: is empty; allowed: 1 to 64"):
        Inbox("")
    with pytest.raises(trypact.errors.InvalidRequest, match="attempts_max: is 0; allowed: 1 to"):
        Inbox("shipping", attempts_max=0)


async def test_plain_connections_of_psycopg_keep_an_inbox(postgres_url: str) -> None:
    inbox = Inbox("shipping")
    engine = create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        inbox.create_tables(connection)
    engine.dispose()
    with psycopg.connect(postgres_url) as plain:
        assert inbox.take(plain, MESSAGE)
    async with await psycopg.AsyncConnection.connect(postgres_url) as awaited:
        assert not await inbox.take_async(awaited, MESSAGE)
        assert await inbox.take_async(awaited, Message("t"))


async def test_a_consumer_ends_with_its_deliveries(shop: Shop, inbox: Inbox) -> None:
    async def deliveries() -> Any:
        for number in range(3):
            yield Delivery(Message("t", number))
            await asyncio.sleep(0)

    await Consumer(shop.engine, inbox, ship).run(deliveries())
    assert shop.orders == 3
