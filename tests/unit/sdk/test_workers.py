"""Which calls share a batch, which run by themselves, and that nobody waits for ever."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from trypact import _workers
from trypact._workers import Workers
from trypact.call import Answer, Arrived, FencedCall, Ok
from trypact.fence.contract import ALONE, Verdict
from trypact.kinds import Decision, Kind, Operation


def call(xid: str) -> Arrived:
    fenced = FencedCall(xid, "b", "inventory.reserve", Kind.TCC, Operation.TRY)
    return Arrived(fenced, b"", 1, Decision.UNDECIDED, "")


class Work:
    """A participant whose calls do what their xids say; notes who ran with whom."""

    def __init__(self) -> None:
        self.awaits = False
        self.workers = 3
        self.batches = 1
        self.batch_calls_max = 4
        self.batches_overtake = True
        self.ran: list[list[str]] = []
        # Calls named `hold...` are inside, and wait.
        self.inside = threading.Event()
        self.release = threading.Event()
        # As many coroutines have begun as there are workers.
        self.full = asyncio.Event()

    def may_be_batched(self, arrived: Arrived) -> bool:
        return not self.awaits and not arrived.fenced.xid.startswith("single")

    def answer(self, arrived: Arrived) -> Answer:
        self._run([arrived])
        if arrived.fenced.xid.startswith("exit"):
            raise SystemExit
        return Ok(b"alone")

    async def answer_async(self, arrived: Arrived) -> Answer:
        self.ran.append([arrived.fenced.xid])
        if len(self.ran) == self.workers:
            self.full.set()
        if arrived.fenced.xid.startswith("exit"):
            raise SystemExit
        await asyncio.to_thread(self.release.wait, 10)
        return Ok(b"awaited")

    def answer_many(self, arrived: Sequence[Arrived]) -> Sequence[Verdict]:
        self._run(arrived)
        if any(one.fenced.xid.startswith("exit") for one in arrived):
            raise SystemExit
        return [
            ALONE if one.fenced.xid.startswith("poison") else Ok(b"in a batch")
            for one in arrived
            if not one.fenced.xid.startswith("forgotten")
        ]

    def _run(self, arrived: Sequence[Arrived]) -> None:
        xids = [one.fenced.xid for one in arrived]
        self.ran.append(xids)
        if any(xid.startswith("hold") for xid in xids):
            self.inside.set()
            assert self.release.wait(10)


Ask = Callable[..., "asyncio.Future[Answer | BaseException]"]


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
async def ask(work: Work) -> AsyncIterator[Ask]:
    loop = asyncio.get_running_loop()
    workers: list[Workers] = []

    def ask(xid: str) -> "asyncio.Future[Answer | BaseException]":
        if not workers:
            workers.append(Workers(work, "inventory", loop))
        answered: asyncio.Future[Answer | BaseException] = loop.create_future()
        workers[0].ask(call(xid), answered.set_result)
        return answered

    yield ask
    work.release.set()
    await workers[0].close()


async def test_what_arrives_at_once_is_one_batch(work: Work, ask: Ask) -> None:
    answers = await asyncio.gather(*map(ask, "abc"))

    assert answers == [Ok(b"in a batch")] * 3
    assert work.ran == [["a", "b", "c"]]


async def test_what_arrives_while_a_batch_runs_is_the_next_up_to_its_limit(
    work: Work, ask: Ask
) -> None:
    first = ask("hold")
    await asyncio.to_thread(work.inside.wait, 10)
    others = [ask(xid) for xid in "abcdef"]
    work.release.set()
    await asyncio.gather(first, *others)

    assert work.ran == [["hold"], ["a", "b", "c", "d"], ["e", "f"]]


async def test_who_may_not_be_batched_runs_beside_the_batches(work: Work, ask: Ask) -> None:
    batch = ask("hold")
    await asyncio.to_thread(work.inside.wait, 10)

    assert [await ask("single 1"), await ask("single 2")] == [Ok(b"alone")] * 2
    assert not batch.done()


async def test_a_call_that_its_batch_gives_back_runs_by_itself(work: Work, ask: Ask) -> None:
    answers = await asyncio.gather(*map(ask, ("a", "poison", "b")))

    assert answers == [Ok(b"in a batch"), Ok(b"alone"), Ok(b"in a batch")]
    assert work.ran == [["a", "poison", "b"], ["poison"]]


async def test_a_slow_batch_is_not_waited_for(
    work: Work, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_workers, "BATCH_PATIENCE_S", 0.0)
    slow = ask("hold")
    await asyncio.to_thread(work.inside.wait, 10)

    assert await ask("a") == Ok(b"in a batch")
    assert not slow.done()
    work.release.set()
    assert await slow == Ok(b"in a batch")


async def test_where_one_writes_at_a_time_no_batch_overtakes_another(
    work: Work, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_workers, "BATCH_PATIENCE_S", 0.0)
    work.batches_overtake = False
    slow = ask("hold")
    await asyncio.to_thread(work.inside.wait, 10)
    behind = ask("a")
    await ask("single")

    assert not behind.done()
    work.release.set()
    assert [await slow, await behind] == [Ok(b"in a batch")] * 2


async def test_with_one_worker_batches_and_singles_take_turns(work: Work, ask: Ask) -> None:
    work.workers = 1
    first = ask("hold")
    await asyncio.to_thread(work.inside.wait, 10)
    others = [ask(xid) for xid in ("a", "b", "c", "d", "e", "single 1", "single 2")]
    work.release.set()
    await asyncio.gather(first, *others)

    assert work.ran == [["hold"], ["single 1"], ["a", "b", "c", "d"], ["single 2"], ["e"]]


async def test_as_many_batches_run_at_once_as_are_allowed(work: Work, ask: Ask) -> None:
    work.batches = 2
    slow = ask("hold")
    await asyncio.to_thread(work.inside.wait, 10)

    assert await ask("a") == Ok(b"in a batch")
    assert not slow.done()


async def test_a_batch_that_fails_in_no_known_way_runs_alone_and_everybody_is_told(
    work: Work, ask: Ask
) -> None:
    good, bad = await asyncio.gather(ask("a"), ask("exit"))

    assert good == Ok(b"alone")
    assert isinstance(bad, SystemExit)


async def test_a_fence_that_forgets_a_verdict_makes_everybody_run_alone(
    work: Work, ask: Ask
) -> None:
    answers = await asyncio.gather(*map(ask, ("a", "forgotten", "b")))

    assert answers == [Ok(b"alone")] * 3
    assert await ask("next") == Ok(b"in a batch")


async def test_an_answer_that_cannot_be_given_leaves_the_others_theirs(work: Work) -> None:
    loop = asyncio.get_running_loop()
    workers = Workers(work, "inventory", loop)
    told: asyncio.Future[Answer | BaseException] = loop.create_future()

    def fail(answer: Answer | BaseException) -> None:
        raise ValueError("the stream is gone")

    workers.ask(call("a"), fail)
    workers.ask(call("b"), told.set_result)

    assert await told == Ok(b"in a batch")
    await workers.close()


# ---------------------------------------------------------------- handlers that are awaited


async def test_as_many_coroutines_run_at_once_as_there_are_workers(work: Work, ask: Ask) -> None:
    work.awaits = True
    answers = [ask(f"single {number}") for number in range(5)]
    await work.full.wait()
    for _ in range(10):
        await asyncio.sleep(0)

    assert len(work.ran) == 3
    work.release.set()
    assert await asyncio.gather(*answers) == [Ok(b"awaited")] * 5
    assert len(work.ran) == 5


async def test_a_coroutine_that_wants_to_exit_is_an_answer_like_any_other(
    work: Work, ask: Ask
) -> None:
    work.awaits = True
    work.release.set()
    bad, good = await asyncio.gather(ask("exit single"), ask("single"))

    assert isinstance(bad, SystemExit)
    assert good == Ok(b"awaited")


async def test_a_coroutine_that_nobody_asks_for_any_more_is_waited_for_in_the_grace(
    work: Work,
) -> None:
    work.awaits, work.workers = True, 1
    loop = asyncio.get_running_loop()
    workers = Workers(work, "inventory", loop)
    answered: asyncio.Future[Answer | BaseException] = loop.create_future()
    workers.ask(call("a"), answered.set_result)
    await work.full.wait()
    closing = asyncio.create_task(workers.close(60.0))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not closing.done()
    work.release.set()

    await closing
    assert await answered == Ok(b"awaited")
