"""The virtual loop itself."""

import asyncio
import random

import pytest
from trypact.testing.virtual_loop import Stalled, VirtualLoop


def run(coroutine, seed: int = 1):
    loop = VirtualLoop(random.Random(seed), lambda: None)
    try:
        return loop.run_until_complete(coroutine), loop
    finally:
        loop.close()


def test_a_year_passes_at_once():
    async def sleeper():
        await asyncio.sleep(365 * 24 * 3600)
        return asyncio.get_running_loop().time()

    at, loop = run(sleeper())
    assert at == 365 * 24 * 3600
    assert loop.events < 10


def test_timers_fire_in_the_order_of_their_instants():
    async def main():
        seen: list[int] = []
        loop = asyncio.get_running_loop()
        for delay in (3, 1, 2):
            loop.call_later(delay, seen.append, delay)
        await asyncio.sleep(5)
        return seen

    assert run(main())[0] == [1, 2, 3]


def test_what_is_ready_at_once_runs_in_an_order_of_the_seed():
    async def main():
        seen: list[int] = []
        loop = asyncio.get_running_loop()
        for n in range(6):
            loop.call_soon(seen.append, n)
        await asyncio.sleep(1)
        return tuple(seen)

    orders = {run(main(), seed)[0] for seed in range(10)}
    assert len(orders) > 5
    assert run(main(), 3)[0] == run(main(), 3)[0]


def test_a_time_out_works_and_a_cancelled_timer_does_not_fire():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.Event().wait()
        asyncio.get_running_loop().call_later(1, pytest.fail).cancel()
        await asyncio.sleep(2)
        return asyncio.get_running_loop().time()

    assert run(main())[0] == 4


def test_waiting_for_what_never_happens_is_noticed():
    async def main():
        await asyncio.Event().wait()

    loop = VirtualLoop(random.Random(1), lambda: None)
    task = loop.create_task(main())
    with pytest.raises(Stalled):
        loop.run_until_complete(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
