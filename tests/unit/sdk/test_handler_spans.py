"""Spans of handlers, as OpenTelemetry's own SDK collects them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trypact
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from trypact import Call
from trypact.call import Arrived, FencedCall, Ok, Pending, Refused
from trypact.fence import (
    AsyncSqlAlchemyFence,
    SqlAlchemyFence,
    async_sqlite_engine,
    sqlite_engine,
)
from trypact.kinds import Decision, Kind, Operation
from trypact.otel import HandlerSpans

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def observer(exporter: InMemorySpanExporter) -> HandlerSpans:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return HandlerSpans(provider)


@pytest.fixture
def shop(tmp_path: Path, observer: HandlerSpans) -> trypact.Participant:
    fence = SqlAlchemyFence(sqlite_engine(tmp_path / "f.db"))
    fence.create_tables()
    return trypact.Participant("shop", fence=fence, observer=observer)


def arrived(xid: str = "x", payload: bytes = b"", trace_parent: str = PARENT) -> Arrived:
    fenced = FencedCall(xid, "b", "shop.tell", Kind.MESSAGE, Operation.DELIVER)
    return Arrived(fenced, payload, 2, Decision.CONFIRM, trace_parent)


def parent_of(span: ReadableSpan) -> tuple[str, str]:
    assert span.parent is not None
    return f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}"


def test_an_operation_is_a_span_below_its_transactions(
    shop: trypact.Participant, exporter: InMemorySpanExporter
) -> None:
    inside = []

    @shop.message("tell")
    def tell(call: Call[Any], connection: Any) -> None:
        inside.append(trace.get_current_span().get_span_context())

    assert shop.answer(arrived()) == Ok()
    # The fence answers this one; nothing is handled.
    assert shop.answer(arrived()) == Ok()
    (span,) = exporter.get_finished_spans()

    assert (span.name, span.kind) == ("shop.tell deliver", SpanKind.CONSUMER)
    assert parent_of(span) == (TRACE, SPAN)
    assert inside == [span.get_span_context()]
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        "trypact.xid": "x",
        "trypact.branch_id": "b",
        "trypact.action": "shop.tell",
        "trypact.kind": "message",
        "trypact.operation": "deliver",
        "trypact.attempt": 2,
    }


def test_a_refusal_and_a_wait_are_no_errors_and_a_failure_is_one(
    shop: trypact.Participant, exporter: InMemorySpanExporter
) -> None:
    raised = iter([trypact.Refuse("no"), trypact.RetryLater(1, "busy"), KeyError("secret")])

    @shop.message("tell")
    def tell(call: Call[Any], connection: Any) -> None:
        raise next(raised)

    assert shop.answer(arrived("a")) == Refused("no")
    with pytest.raises(trypact.RetryLater):
        shop.answer(arrived("b"))
    with pytest.raises(KeyError):
        shop.answer(arrived("c"))
    said = exporter.get_finished_spans()

    attributes = [span.attributes or {} for span in said]
    assert [each.get("trypact.answer") for each in attributes] == ["refused", "retry", None]
    assert [each.get("trypact.reason") for each in attributes] == ["no", "busy", None]
    codes = [span.status.status_code for span in said]
    assert codes == [StatusCode.UNSET, StatusCode.UNSET, StatusCode.ERROR]
    assert said[2].status.description == "KeyError"
    assert [event.name for event in said[2].events] == ["exception"]


@pytest.mark.parametrize("trace_parent", ["", "nonsense"])
def test_without_a_parent_a_span_begins_a_trace(
    shop: trypact.Participant, exporter: InMemorySpanExporter, trace_parent: str
) -> None:
    shop.message("tell")(lambda call, connection: trypact.PENDING)

    assert shop.answer(arrived(trace_parent=trace_parent)) == Pending()
    (span,) = exporter.get_finished_spans()
    assert span.parent is None


def test_each_call_of_a_set_has_a_span_in_its_own_trace(
    shop: trypact.Participant, exporter: InMemorySpanExporter
) -> None:
    @shop.message("tell")
    @trypact.many
    def tell(calls: Sequence[Call[Any]], connection: Any) -> None: ...

    traces = ["1" * 32, "2" * 32]
    calls = [arrived(each, trace_parent=f"00-{each}-{SPAN}-01") for each in traces]
    assert shop.answer_many(calls) == [Ok(), Ok()]

    found = {(span.attributes or {})["trypact.xid"]: span for span in exporter.get_finished_spans()}
    assert {xid: parent_of(span)[0] for xid, span in found.items()} == {x: x for x in traces}


async def test_a_coroutine_has_its_span_in_its_task(
    tmp_path: Path, observer: HandlerSpans, exporter: InMemorySpanExporter
) -> None:
    engine = async_sqlite_engine(tmp_path / "f.db")
    fence = AsyncSqlAlchemyFence(engine)
    await fence.create_tables()
    shop = trypact.Participant("shop", fence=fence, observer=observer)
    inside = []

    @shop.message("tell")
    async def tell(call: Call[Any], connection: Any) -> None:
        inside.append(trace.get_current_span().get_span_context())

    assert await shop.answer_async(arrived()) == Ok()
    await engine.dispose()
    (span,) = exporter.get_finished_spans()
    assert inside == [span.get_span_context()]
    assert not trace.get_current_span().get_span_context().is_valid
