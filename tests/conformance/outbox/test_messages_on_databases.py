"""What an outbox and its relays promise, on every database."""

import asyncio
from typing import Any

import psycopg
import pytest
import trypact
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session
from trypact.inbox import Inbox, inbox_table
from trypact.outbox import (
    Failed,
    Message,
    Outbox,
    Pace,
    Published,
    Relay,
    Sent,
    State,
    Unknown,
    outbox_table,
)

from tests.conformance.outbox.conftest import PACE, Postbox, Shop


async def test_a_message_is_published_once_its_transaction_has_committed(shop: Shop) -> None:
    id_ = shop.order("order.paid", key="17", tag="books", group="orders")
    assert shop.state("order.paid") == State.NEW

    assert await shop.relay().drain() == 1

    message = Message(
        "order.paid", {"order": "order.paid"}, key="17", tag="books", group="orders", id=id_
    )
    assert shop.postbox.batches == [[message]]
    assert message.read() == {"order": "order.paid"}
    assert shop.state("order.paid") == State.ARRIVED
    assert await shop.relay().drain() == 0


async def test_a_message_is_gone_with_the_transaction_that_wrote_it(shop: Shop) -> None:
    with shop.engine.connect() as connection:
        connection.execute(text("INSERT INTO orders VALUES ('1')"))
        shop.outbox.add(connection, Message("order.paid"))
        connection.rollback()

    assert (shop.orders, shop.messages) == (0, 0)
    assert await shop.relay().drain() == 0


def test_an_id_cannot_be_written_twice(shop: Shop) -> None:
    shop.order("a", id="1")
    with pytest.raises(IntegrityError):
        shop.order("b", id="1")
    assert (shop.orders, shop.messages) == (1, 1)


async def test_sessions_and_awaited_connections_write_messages_too(
    shop: Shop, async_engine: AsyncEngine
) -> None:
    with Session(shop.engine) as session, session.begin():
        shop.outbox.add(session, Message("from.session"))
    async with async_engine.begin() as connection:
        await shop.outbox.add_async(connection, Message("from.async"))
    async with AsyncSession(async_engine) as session, session.begin():
        await shop.outbox.add_async(session, Message("from.async_session", b"\0\xff"))

    assert await shop.relay(async_engine).drain() == 3

    assert shop.postbox.topics == ["from.session", "from.async", "from.async_session"]
    assert shop.postbox.batches[0][2].payload == b"\0\xff"
    assert shop.state("from.async") == State.ARRIVED


@pytest.mark.parametrize("where", ["isolation_level", "execution_options"])
def test_an_engine_that_commits_by_itself_is_refused(shop: Shop, where: str) -> None:
    level: Any = "AUTOCOMMIT"
    options = {where: level if where == "isolation_level" else {"isolation_level": level}}
    by_itself = create_engine(shop.engine.url, **options)
    with (
        by_itself.connect() as connection,
        pytest.raises(trypact.errors.InvalidRequest, match="begin one first"),
    ):
        shop.outbox.add(connection, Message("order.paid"))
    with by_itself.connect() as connection:
        own = connection.execution_options(isolation_level="SERIALIZABLE")
        shop.outbox.add(own, Message("order.paid"))
    by_itself.dispose()
    assert shop.messages == 0


async def test_a_relay_that_shares_the_outbox_is_woken_by_a_commit(
    shop: Shop, async_engine: AsyncEngine
) -> None:
    async with shop.relay():
        await asyncio.to_thread(shop.order, "first")
        await shop.postbox.given(1)
        async with async_engine.begin() as connection:
            await shop.outbox.add_async(connection, Message("second"))
        await shop.postbox.given(2)
    assert shop.postbox.topics == ["first", "second"]


def test_a_commit_succeeds_though_the_loop_of_a_relay_has_ended(shop: Shop) -> None:
    shop.order("first")
    shop.postbox.open.clear()
    loop = asyncio.new_event_loop()
    relay = loop.create_task(shop.relay().run())
    loop.run_until_complete(shop.postbox.given(1))
    loop.close()

    shop.order("second")

    assert (shop.orders, shop.messages) == (2, 2)
    relay.get_coro().close()  # type: ignore[union-attr]


async def test_a_relay_that_was_stopped_serves_again_when_it_is_entered_again(shop: Shop) -> None:
    relay = shop.relay()
    for served in (1, 2):
        shop.order(f"order {served}")
        async with relay:
            await shop.postbox.given(served)
    assert shop.postbox.topics == ["order 1", "order 2"]


async def test_a_relay_finds_at_its_next_poll_what_another_process_wrote(shop: Shop) -> None:
    elsewhere = Outbox(now=lambda: shop.clock_us)
    async with shop.relay(poll=0.01):
        await shop.postbox.given(0)
        with shop.engine.begin() as connection:
            elsewhere.add(connection, Message("first"))
        await shop.postbox.given(1)


async def test_messages_go_out_in_batches_in_the_order_they_were_written(shop: Shop) -> None:
    for number in range(5):
        shop.order(f"order.{number}")
    await shop.relay(batch=2).drain()
    assert [len(batch) for batch in shop.postbox.batches] == [2, 2, 1]
    assert shop.postbox.topics == [f"order.{number}" for number in range(5)]


async def test_messages_of_one_key_go_one_after_another(shop: Shop) -> None:
    for topic, key in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("free", ""), ("a3", "a")):
        shop.order(topic, key=key)
    await shop.relay().drain()
    sent = [[message.topic for message in batch] for batch in shop.postbox.batches]
    assert sent == [["a1", "b1", "free"], ["a2"], ["a3"]]


@pytest.mark.parametrize("outcome", [Failed("no"), Sent(), Unknown("lost")])
async def test_a_message_that_has_not_arrived_holds_back_those_of_its_key(
    shop: Shop, outcome: Published
) -> None:
    shop.order("a1", key="a")
    shop.order("a2", key="a")
    shop.postbox.answer = lambda message: outcome
    await shop.relay().drain()
    assert shop.postbox.topics == ["a1"]
    assert shop.state("a2") == State.NEW


async def test_what_was_refused_is_sent_again_later_each_time_and_parked_in_the_end(
    shop: Shop,
) -> None:
    shop.order("order.paid")
    shop.postbox.answer = lambda message: Failed("no such topic")
    relay = shop.relay()
    waits = []
    for _ in range(PACE.failures_max):
        await relay.drain()
        row = shop.row("order.paid")
        assert (row.state, row.remark) == (State.FAILED, "no such topic")
        waits.append(None if row.due_at is None else row.due_at - shop.clock_us)
        shop.pass_time(8)
    assert waits == [1_000_000, 2_000_000, None]
    shop.pass_time(10**6)
    assert await relay.drain() == 0
    with shop.engine.connect() as connection:
        assert [count[:3] for count in shop.outbox.counts(connection)] == [(State.FAILED, True, 1)]


async def test_what_is_parked_arrives_when_it_is_resent_by_hand(shop: Shop) -> None:
    ids = [shop.order(name) for name in ("a", "b")]
    shop.postbox.answer = lambda message: Failed("no")
    relay = shop.relay(failures_max=1)
    await relay.drain()
    shop.postbox.answer = lambda message: Sent("on its way")
    with shop.engine.begin() as connection:
        assert shop.outbox.resend(connection, [ids[0]]) == 1
    await relay.drain()
    assert (shop.state("a"), shop.state("b")) == (State.SENT, State.FAILED)
    with shop.engine.begin() as connection:
        # What is on its way is not sent by hand as well.
        assert shop.outbox.resend(connection) == 1
        entries = shop.outbox.entries(connection)
    assert [(entry.topic, entry.state, entry.remark) for entry in entries] == [
        ("a", State.SENT, "on its way"),
        ("b", State.NEW, ""),
    ]
    assert entries[1].failures == 0


async def test_what_is_skipped_by_hand_holds_back_its_key_no_longer_and_is_sent_no_more(
    shop: Shop,
) -> None:
    ids = [shop.order(name, key="a") for name in ("a1", "a2", "a3")]
    answer = shop.postbox.answer
    shop.postbox.answer = lambda message: Failed("no") if message.topic == "a1" else answer(message)
    relay = shop.relay(failures_max=1)
    await relay.drain()
    with shop.engine.begin() as connection:
        assert shop.outbox.skip(connection, [ids[0], ids[1], "nobody"]) == 2
    await relay.drain()
    assert shop.postbox.topics == ["a1", "a3"]
    assert [shop.state(name) for name in ("a1", "a2", "a3")] == ["SKIPPED", "SKIPPED", "ARRIVED"]
    assert shop.row("a1").remark == "no"

    with shop.engine.begin() as connection:
        # What has arrived was not given up; what was given up may be taken back.
        assert shop.outbox.skip(connection, [ids[2]]) == 0
        assert shop.outbox.resend(connection) == 0
        assert shop.outbox.resend(connection, ids) == 2
    shop.postbox.answer = answer
    await relay.drain()
    assert shop.postbox.topics == ["a1", "a3", "a1", "a2"]


async def test_what_is_skipped_while_it_is_published_stays_so(shop: Shop) -> None:
    message_id = shop.order("a1", key="a")
    shop.order("a2", key="a")
    shop.postbox.open.clear()
    publishing = asyncio.create_task(shop.relay().step())
    await shop.postbox.given(1)
    with shop.engine.begin() as connection:
        assert shop.outbox.skip(connection, [message_id]) == 1
    shop.postbox.open.set()
    await publishing
    assert (shop.state("a1"), shop.state("a2")) == (State.SKIPPED, State.NEW)
    shop.pass_time(2 * PACE.timeout)
    await shop.relay().drain()
    assert shop.postbox.topics == ["a1", "a2"]


async def test_what_was_sent_is_asked_for_until_it_has_arrived(shop: Shop) -> None:
    shop.order("order.paid")
    postbox, relay = shop.postbox, shop.relay()
    arrived = postbox.answer
    postbox.answer = lambda message: Sent("its participant is away")
    await relay.drain()
    assert (shop.state("order.paid"), len(postbox.topics)) == (State.SENT, 1)
    assert await relay.drain() == 0

    shop.pass_time(1)
    await relay.drain()
    assert (shop.state("order.paid"), len(postbox.topics)) == (State.SENT, 2)
    assert shop.row("order.paid").remark == "its participant is away"

    postbox.answer = arrived
    shop.pass_time(2)
    await relay.drain()
    assert (shop.state("order.paid"), shop.row("order.paid").remark) == (State.ARRIVED, "")
    assert shop.row("order.paid").attempts == 3


async def test_what_nobody_knows_of_is_never_parked(shop: Shop) -> None:
    shop.order("order.paid")

    def lost(message: Message) -> Published:
        raise ConnectionError("the broker hung up")

    shop.postbox.answer = lost
    relay = shop.relay()
    for _ in range(PACE.failures_max + 2):
        assert await relay.drain() == 1
        row = shop.row("order.paid")
        assert (row.state, row.failures) == (State.SENT, 0)
        assert "the broker hung up" in row.remark
        shop.pass_time(8)


async def test_a_publisher_that_does_not_answer_in_time_is_given_up(shop: Shop) -> None:
    shop.order("order.paid")
    shop.postbox.open.clear()
    assert await shop.relay(timeout=0.01).drain() == 1
    assert "did not answer within 0.01 s" in shop.row("order.paid").remark


async def test_while_nobody_answers_the_relay_takes_no_further_messages(shop: Shop) -> None:
    for name in ("a", "b"):
        shop.order(name)
    shop.postbox.answer = lambda message: Unknown("down")
    async with shop.relay(batch=1, retry_first=60.0, retry_most=60.0, poll=0.001):
        await shop.postbox.given(1)
    assert (shop.postbox.topics, shop.state("b")) == (["a"], State.NEW)


async def test_a_claim_keeps_other_relays_away_until_it_ends(shop: Shop) -> None:
    shop.order("order.paid")
    shop.postbox.open.clear()
    dying = asyncio.create_task(shop.relay().drain())
    await shop.postbox.given(1)

    other = shop.relay()
    assert await other.drain() == 0
    # As kill -9 would: what came of it is not written.
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    shop.pass_time(2 * PACE.timeout - 1)
    assert await other.drain() == 0
    shop.pass_time(1)
    shop.postbox.open.set()
    assert await other.drain() == 1
    assert (shop.state("order.paid"), len(shop.postbox.topics)) == (State.ARRIVED, 2)


async def test_who_comes_too_late_does_not_write_over_what_came_of_it_since(shop: Shop) -> None:
    shop.order("order.paid")
    shop.postbox.open.clear()
    slow = asyncio.create_task(shop.relay().drain())
    await shop.postbox.given(1)
    shop.pass_time(2 * PACE.timeout)
    quick = Postbox()
    quick.answer = lambda message: Failed("no")
    assert await shop.relay(publisher=quick).drain() == 1

    shop.postbox.open.set()
    await slow

    row = shop.row("order.paid")
    assert (row.state, row.failures, row.attempts) == (State.FAILED, 1, 2)


async def test_relays_at_once_publish_each_message_once(
    shop: Shop, async_engine: AsyncEngine
) -> None:
    for number in range(60):
        shop.order(f"{number:02}", key=f"key {number % 7}" if number % 2 else "")
    relays = [shop.relay(batch=3) for _ in range(3)] + [shop.relay(async_engine, batch=3)]
    await _serve_until_all_have_arrived(shop, relays)
    assert sorted(shop.postbox.topics) == [f"{number:02}" for number in range(60)]
    for key in range(7):
        of_key = [t for t in shop.postbox.topics if int(t) % 7 == key and int(t) % 2]
        assert of_key == sorted(of_key)


async def _serve_until_all_have_arrived(shop: Shop, relays: list[Relay]) -> None:
    """Relays may collide in the database, which is then told to them; they go on."""
    for relay in relays:
        await relay.__aenter__()
    async with asyncio.timeout(60):
        while len(shop.postbox.topics) < 60:
            seen = len(shop.postbox.batches)
            shop.outbox.wake()
            await shop.postbox.given(seen + 1)
    for relay in relays:
        await relay.__aexit__(None, None, None)


async def test_only_messages_that_ended_long_ago_are_removed(shop: Shop) -> None:
    skipped, *_ = [shop.order(name) for name in ("skipped", "old", "failed", "asked for")]
    with shop.engine.begin() as connection:
        shop.outbox.skip(connection, [skipped])
    answers: dict[str, Any] = {"failed": Failed("no"), "asked for": Sent()}
    arrived = shop.postbox.answer
    shop.postbox.answer = lambda message: answers.get(message.topic) or arrived(message)
    await shop.relay(failures_max=1).drain()
    shop.pass_time(100)
    shop.order("young")
    await shop.relay(batch=1, retry_first=1000, retry_most=1000).drain()
    shop.order("new")
    shop.pass_time(10)

    with shop.engine.begin() as connection:
        assert shop.outbox.purge(connection, 50) == 2
        assert shop.outbox.purge(connection, 50) == 0
    with shop.engine.connect() as connection:
        left = {entry.topic for entry in shop.outbox.entries(connection, list(State))}
    assert left == {"failed", "asked for", "young", "new"}


async def test_a_relay_removes_what_arrived_long_ago_by_itself(shop: Shop) -> None:
    shop.order("old")
    await shop.relay().drain()
    shop.pass_time(100)
    async with shop.relay(keep=50.0):
        await asyncio.to_thread(shop.order, "new")
        await shop.postbox.given(2)
    assert shop.messages == 1


async def test_the_database_dates_claims_unless_told_otherwise(shop: Shop) -> None:
    outbox = Outbox()
    with shop.engine.begin() as connection:
        outbox.add(connection, Message("order.paid"))
        now = outbox.now(connection)
    assert 1_700_000_000_000_000 < now < 4_000_000_000_000_000
    assert abs(now - shop.row("order.paid").created_at) < 60_000_000
    assert await Relay(shop.engine, outbox, shop.postbox).drain() == 1


async def test_the_largest_message_goes_through(shop: Shop) -> None:
    largest = Message("t" * 129, b"x" * 262_144, key="ü" * 64, tag="g" * 64, group="r" * 64)
    with shop.engine.begin() as connection:
        shop.outbox.add(connection, largest)
    await shop.relay().drain()
    assert shop.postbox.batches == [[largest]]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"topic": ""}, "topic: is empty; allowed: 1 to 129 bytes"),
        ({"topic": "t" * 130}, "topic: is 130 bytes long; allowed: at most 129"),
        ({"topic": "t", "key": "ü" * 65}, "key: is 130 bytes long; allowed: at most 128"),
        ({"topic": "t", "id": "m1 "}, "id: is 'm1 '; allowed: no spaces at its ends"),
        ({"topic": "t", "tag": 1}, "tag: is a int; allowed: a string"),
        ({"topic": "t", "id": "a\0b"}, "id: is 'a\\\\x00b'; allowed: printable characters only"),
        ({"topic": "t", "payload": b"x" * 262_145}, "payload of t: is 262145 bytes long"),
        ({"topic": "t", "payload": {"a": object()}}, "payload.a: is object"),
    ],
)
def test_what_no_message_may_say_is_refused_at_the_door(
    fields: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(trypact.TrypactError, match=complaint):
        Message(**fields)


@pytest.mark.parametrize(
    ("pace", "complaint"),
    [
        ({"poll": 0}, "poll: is 0; allowed: 0.001 to 86400"),
        ({"batch": 1001}, "batch: is 1001; allowed: 1 to 1000"),
        ({"keep": -1}, "keep: is -1"),
    ],
)
def test_a_pace_out_of_bounds_is_refused(pace: dict[str, Any], complaint: str) -> None:
    with pytest.raises(trypact.errors.InvalidRequest, match=complaint):
        Pace(**pace)


def test_migrations_create_the_same_tables(shop: Shop) -> None:
    metadata = MetaData()
    outbox_table(metadata), inbox_table(metadata)
    with shop.engine.begin() as connection:
        Inbox("shipping").create_tables(connection)
        connection.execute(text("DROP TABLE orders"))
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    assert differences == []


# ---------------------------------------------------------------- plain psycopg


async def test_a_plain_connection_of_psycopg_writes_messages(postgres_url: str) -> None:
    outbox = Outbox()
    message = Message("order.paid", {"percent": "100%"}, key="17")
    with psycopg.connect(postgres_url) as connection:
        _create(outbox, postgres_url)
        outbox.add(connection, message)
    async with await psycopg.AsyncConnection.connect(postgres_url) as awaited:
        await outbox.add_async(awaited, Message("order.shipped"))
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute("SELECT id, payload FROM trypact_outbox ORDER BY seq").fetchall()
    assert len(rows) == 2
    assert rows[0] == (message.id, message.payload)


def test_a_connection_that_commits_by_itself_is_refused(postgres_url: str) -> None:
    outbox = Outbox()
    _create(outbox, postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        with pytest.raises(trypact.errors.InvalidRequest, match="begin one first"):
            outbox.add(connection, Message("order.paid"))
        with connection.transaction():
            outbox.add(connection, Message("order.paid"))
        count = connection.execute("SELECT count(*) FROM trypact_outbox").fetchone()
    assert count == (1,)


def _create(outbox: Outbox, url: str) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        outbox.create_tables(connection)
    engine.dispose()
