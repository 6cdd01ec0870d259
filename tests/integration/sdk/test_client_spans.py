"""Spans of what an initiator asks for, with OpenTelemetry's own SDK and a real coordinator."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
import trypact
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from trypact import context, tcc
from trypact.otel import ClientSpans

from tests.integration.sdk.conftest import World
from tests.integration.sdk.test_client import freeze


class Spans:
    """Every span that has ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def ended(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
async def observed(world: World, spans: Spans) -> AsyncIterator[trypact.Client]:
    observer = ClientSpans(spans.provider)
    async with trypact.Client(world.endpoint, patience=5.0, observer=observer) as client:
        yield client


async def trace_parent(world: World, xid: str) -> str:
    assert world.coordinator is not None
    return (await world.coordinator.coordinator.get(xid)).spec.trace_parent


def parent_of(span: ReadableSpan) -> str:
    """The W3C traceparent that names a span as the parent."""
    context = span.get_span_context()
    assert context is not None
    flags = f"{context.trace_flags:02x}"
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags}"


async def test_a_transaction_is_a_span_that_its_branches_are_below(
    world: World, spans: Spans, observed: trypact.Client
) -> None:
    tracer = spans.provider.get_tracer("the service")
    with tracer.start_as_current_span("request"):
        await observed.execute("order", [tcc("bank.freeze", freeze(1))], xid="one")
        async with observed.transaction("trip", xid="two") as tx:
            await tx.try_("bank.freeze", freeze(1))

    one, two, request = spans.ended
    assert (one.name, two.name, request.name) == ("order", "trip", "request")
    assert dict(one.attributes or {}) == {"trypact.xid": "one"}
    assert one.parent == two.parent == request.get_span_context()
    assert await trace_parent(world, "one") == parent_of(one)
    assert await trace_parent(world, "two") == parent_of(two)


async def test_a_traceparent_that_the_caller_names_is_kept(
    world: World, observed: trypact.Client
) -> None:
    own = f"00-{'a' * 32}-{'b' * 16}-01"
    await observed.execute("order", [tcc("bank.freeze", freeze(1))], xid="one", trace_parent=own)

    assert await trace_parent(world, "one") == own


class Listener:
    """An observer that keeps which transactions were known to be running while they were."""

    def __init__(self) -> None:
        self.known: list[context.Context | None] = []

    @contextlib.contextmanager
    def asking(self, name: str, xid: str, /) -> Iterator[str]:
        self.known.append(context.current())
        yield ""
        self.known.append(context.current())


async def test_what_an_initiator_asks_for_is_known_to_its_log_lines(world: World) -> None:
    def work() -> None:
        with trypact.SyncClient(world.endpoint, patience=5.0, observer=listener) as client:
            client.execute("order", [tcc("bank.freeze", freeze(1))], xid="two")

    listener = Listener()
    async with trypact.Client(world.endpoint, patience=5.0, observer=listener) as client:
        await client.execute("order", [tcc("bank.freeze", freeze(1))], xid="one")
        assert context.current() is None
        async with client.transaction("trip", xid="three"):
            assert context.current() == context.Context("three")
    await asyncio.to_thread(work)

    assert [one.xid for one in listener.known if one] == ["one"] * 2 + ["three"] * 2 + ["two"] * 2
    assert context.current() is None


class Broken:
    """An observer that fails before the block has begun."""

    def asking(self, name: str, xid: str, /) -> contextlib.AbstractContextManager[str]:
        raise RuntimeError("no exporter")


async def test_a_block_that_cannot_be_entered_leaves_nothing_bound(world: World) -> None:
    async with trypact.Client(world.endpoint, observer=Broken()) as client:
        with pytest.raises(RuntimeError, match="no exporter"):
            async with client.transaction("order"):
                pass

        assert context.current() is None
        with pytest.raises(trypact.NoTransaction):
            client.joined()


async def test_a_refusal_is_an_answer_and_anything_else_an_error(
    spans: Spans, observed: trypact.Client
) -> None:
    with pytest.raises(trypact.TransactionCancelled):
        await observed.execute("order", [tcc("bank.freeze", freeze(500))])
    with pytest.raises(trypact.BranchRefused):
        async with observed.transaction("order") as tx:
            await tx.try_("bank.freeze", freeze(500))
    with pytest.raises(KeyError):
        async with observed.transaction("order"):
            raise KeyError("price")

    once, step, wrong = spans.ended
    for refused in (once, step):
        assert (refused.attributes or {})["trypact.reason"] == "TOO_LITTLE: 500 wanted"
        assert refused.status.status_code is StatusCode.UNSET
    assert wrong.status.description == "KeyError"
    assert [event.name for event in wrong.events] == ["exception"]


async def test_the_sync_client_has_the_same_spans(world: World, spans: Spans) -> None:
    def work() -> None:
        observer = ClientSpans(spans.provider)
        with trypact.SyncClient(world.endpoint, patience=5.0, observer=observer) as client:
            client.execute("order", [tcc("bank.freeze", freeze(1))], xid="one")
            with client.transaction("trip", xid="two") as tx:
                tx.try_("bank.freeze", freeze(1))

    await asyncio.to_thread(work)

    one, two = spans.ended
    assert await trace_parent(world, "one") == parent_of(one)
    assert await trace_parent(world, "two") == parent_of(two)
