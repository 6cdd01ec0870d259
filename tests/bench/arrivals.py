"""A lean initiator for loads beyond what the coordinator can take.

The real client costs nearly as much for a request that is refused as for one that is served, so at
twice the capacity it would be what is measured. This one speaks the same ExecuteStream, asks each
request once, and counts from the moment a request was to be sent, not from when it was: whoever
only asks when the last answer is there never sees a queue.
"""

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import grpc
import grpc.aio
from google.rpc import code_pb2, status_pb2
from grpc.aio import EOF  # type: ignore[attr-defined]
from trypact.ids import new_xid
from trypact.v1 import initiator_pb2, transaction_pb2

PATH = "/trypact.v1.TransactionService/ExecuteStream"
# How often an open load sends what is due.
TICK_SECONDS = 0.002
CONFIRMED = transaction_pb2.TRANSACTION_STATE_CONFIRMED


@dataclass
class Seen:
    """What came of the requests that were to be sent while the load was watched."""

    seconds: float
    # Of those that were confirmed, from the moment each was to be sent.
    latencies_ms: list[float] = field(default_factory=list)
    refused: int = 0
    # Cancelled transactions, and errors that are no Overloaded.
    failed: int = 0
    # When each that was confirmed was answered, in seconds since the watched time began.
    answered_at: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Confirmed transactions a second, of the answers within the watched time."""
        return sum(0 <= at < self.seconds for at in self.answered_at) / self.seconds

    def quantile(self, share: float) -> float:
        """The latency that this share of the confirmed stays within, in milliseconds."""
        ordered = sorted(self.latencies_ms)
        if not ordered:
            return float("nan")
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


class Initiator:
    """One stream, asked either by clients that wait for each answer or by a schedule.

    Args:
        coordinator: its address.
        participants: a tcc branch for each of them.
        name: of the transactions.
    """

    def __init__(
        self, coordinator: str, participants: tuple[str, ...], name: str = "bench"
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel = grpc.aio.insecure_channel(coordinator)
        method: Any = self._channel.stream_stream(
            PATH,
            request_serializer=None,
            response_deserializer=initiator_pb2.ExecuteStreamResponse.FromString,
        )
        self._stream = method()
        self._requests = requests(participants, name)
        # When each request without an answer was to be sent.
        self._asked_at: dict[int, float] = {}
        self._due: list[float] = []
        self._wake = asyncio.Event()
        self._again = self._over = False
        self._seen = Seen(0.0)
        self._watched_from = float("inf")
        self._watched_until = float("-inf")
        self._tasks: list[asyncio.Task[None]] = []
        self._over = False

    async def closed(self, clients: int, warm_up_seconds: float, seconds: float) -> Seen:
        """Keep that many requests without an answer, each followed by the next."""
        self._again = True
        self._watch(warm_up_seconds, seconds)
        self._ask([time.perf_counter()] * clients)
        self._start()
        await self._passed(self._watched_until)
        return await self._end()

    async def scheduled(self, rate: float, warm_up_seconds: float, seconds: float) -> Seen:
        """Send that many requests a second, whatever comes of them."""
        self._watch(warm_up_seconds, seconds)
        self._start()
        began, sent = time.perf_counter(), 0
        while (now := time.perf_counter()) < self._watched_until:
            due = int((now - began) * rate)
            self._ask([began + number / rate for number in range(sent, due)])
            sent = due
            await self._passed(now + TICK_SECONDS)
        return await self._end()

    async def abandon(self) -> None:
        """Close the connection; nobody is told how what is under way ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close(None)

    def _watch(self, warm_up_seconds: float, seconds: float) -> None:
        self._seen = Seen(seconds)
        self._watched_from = time.perf_counter() + warm_up_seconds
        self._watched_until = self._watched_from + seconds

    def _start(self) -> None:
        self._tasks = [
            self._loop.create_task(self._read()),
            self._loop.create_task(self._write()),
        ]

    def _ask(self, due: list[float]) -> None:
        if due:
            self._due += due
            self._wake.set()

    async def _write(self) -> None:
        # Never cancelled: that would end the call, and with it what is under way.
        while not self._over:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due, []
            for first in range(0, len(due), 256):
                batch = []
                for at, (id_, data) in zip(due[first : first + 256], self._requests, strict=False):
                    self._asked_at[id_] = at
                    batch.append(data)
                # Encoded messages in a row are one message with the items of each.
                await self._stream.write(b"".join(batch))

    async def _read(self) -> None:
        while (response := await self._stream.read()) is not EOF:
            now = time.perf_counter()
            for item in response.items:
                self._take(item, now)
            if self._again and now < self._watched_until:
                self._ask([now] * len(response.items))

    def _take(self, item: initiator_pb2.ExecuteStreamResponse.Item, now: float) -> None:
        asked_at = self._asked_at.pop(item.id)
        if not self._watched_from <= asked_at < self._watched_until:
            if now >= self._watched_from and item.HasField("execute"):
                self._seen.answered_at.append(now - self._watched_from)
            return
        if item.HasField("execute") and item.execute.outcome.state == CONFIRMED:
            self._seen.latencies_ms.append((now - asked_at) * 1000)
            self._seen.answered_at.append(now - self._watched_from)
        elif is_refusal(item.status):
            self._seen.refused += 1
        else:
            if not self._seen.failed:
                print(item)
            self._seen.failed += 1

    async def _end(self) -> Seen:
        """Wait for the answers that are still out, and close the stream."""
        self._again, self._over = False, True
        self._wake.set()
        reading, writing = self._tasks
        await writing
        await self._stream.done_writing()
        await reading
        await self._channel.close(None)
        return self._seen

    async def _passed(self, until: float) -> None:
        over = self._loop.create_future()
        self._loop.call_later(until - time.perf_counter(), _set, over)
        await over


def _set(over: "asyncio.Future[None]") -> None:
    if not over.done():
        over.set_result(None)


@lru_cache
def is_refusal(status: bytes) -> bool:
    """Whether a request was turned away; few different words are used for that."""
    code: int = status_pb2.Status.FromString(status).code
    return code == code_pb2.RESOURCE_EXHAUSTED


def requests(participants: tuple[str, ...], name: str) -> Iterator[tuple[int, bytes]]:
    """Yield requests for one transaction each: the id, and an ExecuteStreamRequest.

    It is encoded once; of each request nothing differs but the digits of its id and its xid.
    """
    id_, digits = 1 << 34, 12
    xid = f"{new_xid()}-{'#' * digits}"
    template = initiator_pb2.ExecuteStreamRequest()
    item = template.items.add(id=id_, timeout_ms=90_000)
    item.execute.fresh = True
    item.execute.begin.name, item.execute.begin.xid = name, xid
    for one in participants:
        tcc = transaction_pb2.BRANCH_KIND_TCC
        item.execute.branches.add(id=one, kind=tcc, action=f"{one}.run")
    before, between, after = _cut(template.SerializeToString(), _varint(id_), b"#" * digits)
    for number in itertools.count():
        xid_digits = f"{number:0{digits}}".encode()
        yield id_ + number, b"".join((before, _varint(id_ + number), between, xid_digits, after))


def _cut(data: bytes, *gaps: bytes) -> tuple[bytes, ...]:
    """Return what is around the gaps, each of which is there once."""
    parts = []
    for gap in gaps:
        part, found, data = data.partition(gap)
        assert found
        assert gap not in data
        parts.append(part)
    return (*parts, data)


def _varint(number: int) -> bytes:
    """Return a number as protobuf writes it: in five bytes from 2**28 up to 2**35."""
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*parts, number))
