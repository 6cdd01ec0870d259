"""What can go wrong on a participant's own side, and what its handlers raise on purpose.

The tree is drawn in `trypact.errors`, which is where to import these from.
"""

from functools import partial
from typing import Any

from trypact._error import TrypactError
from trypact.limits import RETRY_AFTER_S_MAX, shortened


class ParticipantError(TrypactError):
    """A participant could not do its part; the coordinator asks again.

    >>> issubclass(errors.FenceUnavailable, errors.ParticipantError)
    True
    """


class EndpointTaken(ParticipantError):
    """The address cannot be listened on.

    >>> try:
    ...     async with inventory.serve("127.0.0.1:7000"):
    ...         pass
    ... except errors.EndpointTaken as taken:
    ...     print(taken)
    inventory cannot listen on 127.0.0.1:7000: Address already in use; allowed: ...
    """


class ResultTooLarge(ParticipantError):
    """The result of a handler is larger than 64 KiB.

    >>> str(errors.ResultTooLarge())
    'The result of a handler is larger than 64 KiB.'
    """


class TryTooLate(ParticipantError):
    """A Try arrived after its `not_after`, so it was not run.

    >>> str(errors.TryTooLate())
    'A Try arrived after its `not_after`, so it was not run.'
    """


class WrongTable(ParticipantError):
    """A table of that name is there, and it is not trypact's.

    Attributes:
        table: its name.
        column: what it lacks.

        >>> with engine.begin() as connection:
        ...     _ = connection.exec_driver_sql("CREATE TABLE trypact_fence (height INTEGER)")
        >>> try:
        ...     fence.SqlAlchemyFence(engine).create_tables()
        ... except errors.WrongTable as wrong:
        ...     print(wrong)
        the table trypact_fence that is there has no xid: it is not trypact's; rename it, or ...
    """

    def __init__(self, table: str, column: str) -> None:
        self.table = table
        self.column = column
        super().__init__(
            f"the table {table} that is there has no {column}: it is not trypact's; rename it, or "
            "give trypact's another name"
        )

    def __reduce__(self) -> Any:
        return type(self), (self.table, self.column)


class FenceUnavailable(ParticipantError):
    """The participant's database does not answer, or may not have committed.

    >>> import psycopg
    >>> rows = fence.PsycopgFence(lambda: psycopg.connect("postgresql://127.0.0.1:1/shop"))
    >>> try:
    ...     rows.finish("order-17", "approve", "try", lambda connection: b"")
    ... except errors.FenceUnavailable as away:
    ...     print(away)
    OperationalError: connection failed: ...
    """


class NotPending(ParticipantError):
    """There is no PENDING operation of this branch to complete.

    >>> rows = fence.SqlAlchemyFence(engine)
    >>> rows.create_tables()
    >>> with engine.begin() as connection:
    ...     try:
    ...         rows.complete(connection, "order-17", "approve", "try", ok={"by": "Grace"})
    ...     except errors.NotPending as no:
    ...         print(no)
    branch ...
    """


class CancelledMeanwhile(NotPending):
    """The decision is Cancel, and came before the PENDING operation was complete.

    Attributes:
        xid: the transaction.
        branch_id: the branch.
        completed: whether the effect is in the service's database, where the branch's Cancel finds
            it and undoes it. If not, it must not happen any more.

        >>> str(errors.CancelledMeanwhile("order-17", "approve", completed=False))
        "the decision about transaction order-17 is cancel: branch 'approve' is CANCELLED, ..."
    """

    def __init__(self, xid: str, branch_id: str, *, completed: bool) -> None:
        self.xid = xid
        self.branch_id = branch_id
        self.completed = completed
        what = "its Cancel undoes what was done" if completed else "nothing of it may happen now"
        super().__init__(
            f"the decision about transaction {xid} is cancel: branch {branch_id!r} is CANCELLED, "
            f"{what}"
        )

    def __reduce__(self) -> Any:
        return partial(type(self), completed=self.completed), (self.xid, self.branch_id)


class HandlerAnswer(TrypactError):
    """Raised by a handler on purpose.

    >>> issubclass(Refuse, errors.HandlerAnswer), issubclass(RetryLater, errors.HandlerAnswer)
    (True, True)
    """


class Refuse(HandlerAnswer):
    """A business no. To a Try it decides Cancel; the reason is cut to 1 KiB.

    Raised by a handler, or returned: `raise Refuse("OUT_OF_STOCK: 3 of sku-1 wanted, 2 left")`.
    What the handler wrote in its connection is undone.

        >>> def try_(call, connection):
        ...     if call.request["pieces"] > 10:
        ...         raise Refuse("out_of_stock")
    """

    def __init__(self, reason: str = "refused without a reason") -> None:
        self.reason = shortened(str(reason))
        super().__init__(self.reason)


class RetryLater(HandlerAnswer):
    """Not now: the coordinator asks again after this long. What the handler wrote is undone.

    Args:
        after: seconds, at most an hour; 0 leaves it to the coordinator.
        reason: for operators; cut to 1 KiB.

    Raises ValueError for another `after`.

        >>> def deliver(call, connection):
        ...     raise RetryLater(after=30.0, reason="the office opens at nine")
    """

    def __init__(self, after: float = 1.0, reason: str = "") -> None:
        if not 0 <= after <= RETRY_AFTER_S_MAX:
            raise ValueError(f"after: {after} s; allowed: 0 to {RETRY_AFTER_S_MAX:.0f} s")
        self.after = after
        self.reason = shortened(reason)
        super().__init__(self.reason or f"asked to wait {after} s")

    def __reduce__(self) -> tuple[type, tuple[float, str]]:
        return type(self), (self.after, self.reason)
