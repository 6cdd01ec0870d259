"""Spans of OpenTelemetry for transactions and handlers; needs the extra `trypact[otel]`.

    client = trypact.Client("127.0.0.1:7000", observer=ClientSpans())
    inventory = trypact.Participant("inventory", fence=fence, observer=HandlerSpans())

A handler's span is the child of the span in which its transaction was opened, whose W3C
traceparent travels with every call, however much later that is, and whichever coordinator asks.

    >>> observed = Client("127.0.0.1:7000", observer=ClientSpans())
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trypact._lazy import from_extra
from trypact.call import Call
from trypact.errors import BranchRefused, HandlerAnswer, Refuse, TransactionCancelled
from trypact.kinds import Operation

with from_extra("trypact.otel"):
    from opentelemetry import trace
    from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()


class HandlerSpans:
    """An observer that makes a span of each operation a handler runs for: "inventory.reserve try".

    Its attributes are `trypact.xid`, `trypact.branch_id`, `trypact.action`, `trypact.kind`,
    `trypact.operation`, `trypact.attempt`, and `trypact.answer` where the handler refused
    ("refused", with `trypact.reason`) or asked for time ("retry"). Neither is an error; whatever
    else a handler raises is, and is recorded. A call that the fence answers by itself, because it
    ran before, has no span.

    Args:
        provider: whose spans they are; the global one if not given.

        >>> from opentelemetry.sdk.trace import TracerProvider
        >>> from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        >>> from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        >>> provider, spans = TracerProvider(), InMemorySpanExporter()
        >>> provider.add_span_processor(SimpleSpanProcessor(spans))
        >>> rows = fence.SqlAlchemyFence(engine)
        >>> rows.create_tables()
        >>> post = Participant("post", fence=rows, observer=HandlerSpans(provider))
        >>> @post.message("send")
        ... def send(call, connection): ...
        >>> async with trypact.testing.Environment([post]) as env:
        ...     _ = await env.execute("mail", [message("post.send", {"to": "Ada"})])
        ...     _ = await env.settle()
        >>> [span.name for span in spans.get_finished_spans()]
        ['post.send deliver']
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("trypact", tracer_provider=provider)

    @contextmanager
    def handling(self, call: Call[Any], /) -> Iterator[None]:
        """Surround a handler; see `Observer`."""
        delivered = call.operation is Operation.DELIVER
        with self._tracer.start_as_current_span(
            f"{call.action} {call.operation}",
            context=_PROPAGATOR.extract({"traceparent": call.trace_parent}),
            kind=SpanKind.CONSUMER if delivered else SpanKind.SERVER,
            attributes={
                "trypact.xid": call.xid,
                "trypact.branch_id": call.branch_id,
                "trypact.action": call.action,
                "trypact.kind": str(call.kind),
                "trypact.operation": str(call.operation),
                "trypact.attempt": call.attempt,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except HandlerAnswer as answer:
                refused = isinstance(answer, Refuse)
                span.set_attribute("trypact.answer", "refused" if refused else "retry")
                span.set_attribute("trypact.reason", str(answer))
                raise
            except Exception as error:
                span.record_exception(error)
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise


class ClientSpans:
    """An observer that makes a span of each transaction a client opens, named as the transaction.

    It lasts until the transaction has ended, or its block is left, and is current meanwhile. The
    spans of handlers are its children. Its attribute is `trypact.xid`; what ends it badly is
    recorded as an error, but for a refusal, which is an answer (`trypact.answer` is "cancelled").

    Args:
        provider: whose spans they are; the global one if not given.

        >>> from opentelemetry.sdk.trace import TracerProvider
        >>> from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        >>> from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        >>> provider, spans = TracerProvider(), InMemorySpanExporter()
        >>> provider.add_span_processor(SimpleSpanProcessor(spans))
        >>> async with Client("127.0.0.1:7000", observer=ClientSpans(provider)) as observed:
        ...     _ = await observed.execute("order", [tcc("inventory.reserve", {"pieces": 1})])
        >>> [span.name for span in spans.get_finished_spans()]
        ['order']
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("trypact", tracer_provider=provider)

    @contextmanager
    def asking(self, name: str, xid: str, /) -> Iterator[str]:
        """Surround a transaction; see `InitiatorObserver`."""
        with self._tracer.start_as_current_span(
            name,
            kind=SpanKind.CLIENT,
            attributes={"trypact.xid": xid},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            carrier: dict[str, str] = {}
            _PROPAGATOR.inject(carrier)
            try:
                yield carrier.get("traceparent", "")
            except (TransactionCancelled, BranchRefused) as no:
                span.set_attribute("trypact.answer", "cancelled")
                span.set_attribute("trypact.reason", no.reason)
                raise
            except Exception as error:
                span.record_exception(error)
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise
