"""What leaves a stream together: everything that is ready, within the bounds of one message."""

import asyncio

import pytest
from trypact_coordinator.outbox import BATCH_BYTES_MAX, BATCH_ITEMS_MAX, Outbox


async def batches(outbox: Outbox[int]) -> list[list[int]]:
    """Close it and return what leaves it."""
    outbox.close()
    return await batches_to_the_end(outbox)


async def batches_to_the_end(outbox: Outbox[int]) -> list[list[int]]:
    return [batch async for batch in outbox]


async def test_what_is_ready_leaves_together_in_the_order_it_came() -> None:
    outbox = Outbox[int]()
    for number in range(BATCH_ITEMS_MAX):
        outbox.put(number, 1)
    assert await batches(outbox) == [list(range(BATCH_ITEMS_MAX))]


async def test_one_item_more_than_a_batch_takes_is_the_next_batch() -> None:
    outbox = Outbox[int]()
    for number in range(BATCH_ITEMS_MAX + 1):
        outbox.put(number, 1)
    assert [len(batch) for batch in await batches(outbox)] == [BATCH_ITEMS_MAX, 1]


@pytest.mark.parametrize(
    ("sizes", "leave"),
    [
        ((BATCH_BYTES_MAX - 1, 1, 1), [[0, 1], [2]]),
        ((BATCH_BYTES_MAX, 1), [[0], [1]]),
        ((BATCH_BYTES_MAX + 1, 1), [[0], [1]]),
        ((1, BATCH_BYTES_MAX + 1, 1), [[0], [1], [2]]),
    ],
)
async def test_a_batch_is_bounded_by_bytes_but_has_one_item_however_large(
    sizes: tuple[int, ...], leave: list[list[int]]
) -> None:
    outbox = Outbox[int]()
    for number, size_bytes in enumerate(sizes):
        outbox.put(number, size_bytes)
    assert await batches(outbox) == leave


async def test_what_is_dropped_does_not_leave_and_makes_room() -> None:
    outbox = Outbox[int]()
    for number, size_bytes in enumerate((BATCH_BYTES_MAX, 2, BATCH_BYTES_MAX - 2)):
        outbox.put(number, size_bytes)
    outbox.drop(lambda number: number == 0)
    assert await batches(outbox) == [[1, 2]]


async def test_whoever_waits_is_woken_by_the_next_item() -> None:
    outbox = Outbox[int]()
    waiting = asyncio.create_task(anext(outbox))
    await asyncio.sleep(0)
    assert not waiting.done()
    outbox.put(1, 1)
    assert await waiting == [1]


async def test_whoever_waits_is_told_of_the_end() -> None:
    outbox = Outbox[int]()
    waiting = asyncio.create_task(batches_to_the_end(outbox))
    await asyncio.sleep(0)
    outbox.close()
    assert await waiting == []
