"""What runs here, for whoever writes a log line: the transaction, the branch, the operation.

While a handler runs, on its thread or in its task, `current()` says for which branch; inside an
initiator's `transaction` block, and while `execute` runs, it says for which transaction. It travels
as context variables do: into tasks that are made there, and not into threads
(`contextvars.copy_context` takes it there).

    logging.basicConfig(format="%(xid)s %(action)s %(operation)s %(message)s")
    logging.getLogger().handlers[0].addFilter(trypact.context.LogFilter())

    structlog.configure(processors=[trypact.context.add_context, ...])

Nothing is decided by it, and it is never sent anywhere.

    >>> async with client.transaction("order", xid="order-18"):
    ...     print(context.current().xid)
    order-18
"""

import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from trypact.kinds import Operation


class Context(NamedTuple):
    """A transaction and, in its participants, what they are doing for it.

    >>> reserving = Context("order-17", "reserve", "inventory.reserve", Operation.TRY)
    >>> f"{reserving.action} {reserving.operation} of {reserving.xid}"
    'inventory.reserve try of order-17'
    """

    # Empty while a set-based handler runs, which is for many transactions at once.
    xid: str
    # Empty in the initiator, and for a set-based handler.
    branch_id: str = ""
    # "participant.verb"; empty in the initiator.
    action: str = ""
    # None in the initiator.
    operation: Operation | None = None


_current: ContextVar[Context | None] = ContextVar("trypact.context", default=None)


def current() -> Context | None:
    """Return what runs here; None outside of handlers and transactions.

    >>> print(current())
    None
    >>> with bound(Context("order-17")):
    ...     current().xid
    'order-17'
    """
    return _current.get()


@contextmanager
def bound(context: Context) -> Iterator[None]:
    """Say that this runs here, for as long as the block lasts; what was said before returns.

    >>> with bound(Context("order-17")):
    ...     with bound(Context("order-18")):
    ...         print(current().xid)
    ...     print(current().xid)
    order-18
    order-17
    """
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


class LogFilter(logging.Filter):
    """Gives log records `xid`, `branch_id`, `action` and `operation`; empty where nothing runs.

    Add it to a handler of `logging`, so that records of every logger pass it. It drops none, and
    leaves what a record has already.

    >>> import logging
    >>> record = logging.makeLogRecord({"msg": "looking"})
    >>> with bound(Context("order-17")):
    ...     LogFilter().filter(record)
    True
    >>> logging.Formatter("%(xid)s: %(message)s").format(record)
    'order-17: looking'
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Complete a record; always True."""
        for name, value in _words().items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True


def add_context(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Add what runs here to an event of structlog, without what is empty; a processor.

    >>> with bound(Context("order-17")):
    ...     add_context(None, "info", {"event": "looking"})
    {'event': 'looking', 'xid': 'order-17'}
    """
    for name, value in _words().items():
        if value:
            event.setdefault(name, value)
    return event


_NOTHING = Context("")


def _words() -> dict[str, str]:
    return {name: str(value or "") for name, value in (current() or _NOTHING)._asdict().items()}
