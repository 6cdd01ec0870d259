"""What is said of a handler or a transaction: its context always, and what an observer wants.

An observer is how a service sees its handlers, or the transactions it opens, from outside, for
example as spans (`trypact.otel`). Without one, nothing is paid for it.

    >>> observed = Client("127.0.0.1:7000", observer=trypact.otel.ClientSpans())
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

from trypact.call import Call
from trypact.context import Context, bound
from trypact.v1 import initiator_pb2

__all__ = ["InitiatorObserver", "Observer"]


class Observer(Protocol):
    """Surrounds handlers.

    >>> from contextlib import contextmanager
    >>> class Printing:
    ...     @contextmanager
    ...     def handling(self, call):
    ...         print(call.action, call.operation)
    ...         yield
    >>> rows = fence.SqlAlchemyFence(engine)
    >>> rows.create_tables()
    >>> office = Participant("office", fence=rows, observer=Printing())
    >>> @office.message("ask")
    ... def ask(call, connection): ...
    >>> async with trypact.testing.Environment([office]) as env:
    ...     _ = await env.execute("loan", [message("office.ask")])
    ...     _ = await env.settle()
    office.ask deliver
    """

    def handling(self, call: Call[Any], /) -> AbstractContextManager[None]:
        """Return what surrounds the handler of a call, on its thread or in its task.

        What the handler raises passes through; it must not be kept. The blocks of a set-based
        handler's calls are entered one inside the other.
        """
        ...


@contextmanager
def observed(calls: Sequence[Call[Any]], observer: Observer | None) -> Iterator[None]:
    """Surround the handler of some calls of one operation: of one, unless it is set-based."""
    first = calls[0]
    one = len(calls) == 1
    context = Context(
        first.xid if one else "", first.branch_id if one else "", first.action, first.operation
    )
    with bound(context):
        if observer is None:
            yield
            return
        with ExitStack() as stack:
            for call in calls:
                stack.enter_context(observer.handling(call))
            yield


class InitiatorObserver(Protocol):
    """Surrounds transactions, from their opening to their end, as their initiators see it.

    >>> from contextlib import contextmanager
    >>> class Printing:
    ...     @contextmanager
    ...     def asking(self, name, xid):
    ...         print(name, xid)
    ...         yield ""  # no traceparent
    >>> async with Client("127.0.0.1:7000", observer=Printing()) as observed:
    ...     reserve = tcc("inventory.reserve", {"pieces": 1})
    ...     _ = await observed.execute("order", [reserve], xid="order-31")
    order order-31
    """

    def asking(self, name: str, xid: str, /) -> AbstractContextManager[str]:
        """Return what surrounds a transaction; it gives the W3C traceparent of its branches.

        What ends the transaction badly passes through; it must not be kept.
        """
        ...


@contextmanager
def asking(observer: InitiatorObserver | None, begin: initiator_pb2.Begin) -> Iterator[None]:
    """Surround a transaction, and let its branches know by what unless its caller said so."""
    with bound(Context(begin.xid)):
        if observer is None:
            yield
            return
        with observer.asking(begin.name, begin.xid) as trace_parent:
            begin.trace_parent = begin.trace_parent or trace_parent
            yield
