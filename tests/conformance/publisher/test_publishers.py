"""What every publisher promises to a relay, with the real servers."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from trypact.fence import sqlite_engine
from trypact.outbox import (
    Arrived,
    Failed,
    Message,
    Outbox,
    Pace,
    Published,
    Relay,
    State,
    Unknown,
)

from tests.conformance.publisher.conftest import NO_TOPIC, SECONDS_MAX, TOPIC, Branches, Place


async def until_arrived(place: Place, messages: Sequence[Message]) -> None:
    """Publish as a relay does: what has been sent is asked for until it has arrived."""
    async with asyncio.timeout(SECONDS_MAX):
        while not all(isinstance(one, Arrived) for one in await publish(place, messages)):
            pass


async def publish(place: Place, messages: Sequence[Message]) -> list[Published]:
    """Publish; what is raised means that nothing is known."""
    try:
        return list(await place.publisher.publish(messages))
    except Exception as error:
        return [Unknown(str(error))] * len(messages)


async def test_what_is_published_is_received_as_it_was_written(place: Place) -> None:
    message = Message(TOPIC, {"order": 17, "note": "süß"}, key="17 ü", tag="books", group="orders")
    await until_arrived(place, [message])
    (received,) = await place.received(1)
    assert (received.topic, received.payload) == (message.topic, message.payload)
    assert received.id == message.id
    if not isinstance(place, Branches):
        # A participant's handler gets the payload; the rest are labels of the transaction.
        assert received == message


async def test_payloads_are_any_bytes(place: Place) -> None:
    payload = bytes(range(256)) * 16
    await until_arrived(place, [Message(TOPIC, payload), Message(TOPIC)])
    payloads = {message.payload for message in await place.received(2)}
    assert payloads == {payload, b""}


async def test_the_same_message_published_again_is_there_once(place: Place) -> None:
    messages = [Message(TOPIC, number) for number in range(3)]
    await until_arrived(place, messages)
    await until_arrived(place, messages)
    await asyncio.gather(*(publish(place, messages) for _ in range(3)))
    await place.received(3)
    assert await place.total() == 3


async def test_what_is_refused_fails_alone(place: Place) -> None:
    outcomes = await publish(place, [Message(TOPIC, 1), Message(NO_TOPIC, 2), Message(TOPIC, 3)])
    assert [isinstance(outcome, Failed) for outcome in outcomes] == [False, True, False]
    assert len(await place.received(2)) == 2


async def test_without_a_server_nothing_is_known_and_later_it_arrives_once(place: Place) -> None:
    before, after = Message(TOPIC, 1), Message(TOPIC, 2)
    await until_arrived(place, [before])
    await place.stop()
    outcomes = await publish(place, [before, after])
    assert [type(outcome) for outcome in outcomes] == [Unknown, Unknown]

    await place.start()
    await until_arrived(place, [before, after])
    received = await place.received(2)
    assert sorted(message.read(int) for message in received) == [1, 2]
    assert await place.total() == 2


async def test_a_relay_brings_what_was_committed_and_says_so(place: Place, tmp_path: Path) -> None:
    engine, outbox = sqlite_engine(tmp_path / "orders.db"), Outbox()
    with engine.begin() as connection:
        outbox.create_tables(connection)
    pace = Pace(retry_first=0.01, retry_most=0.01, poll=0.01)
    async with Relay(engine, outbox, place.publisher, pace=pace):
        with engine.begin() as connection:
            for number in range(20):
                outbox.add(connection, Message(TOPIC, number, key=f"key {number % 4}"))
        received = await place.received(20)
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                with engine.connect() as connection:
                    counts = [(count.state, count.messages) for count in outbox.counts(connection)]
                if counts == [(State.ARRIVED, 20)]:
                    break
                await asyncio.sleep(0)
    for key in range(4):
        of_key = [n for n in (message.read(int) for message in received) if n % 4 == key]
        assert of_key == sorted(of_key)
    engine.dispose()
