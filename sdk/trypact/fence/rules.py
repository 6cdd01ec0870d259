"""What a call means for a branch that has got so far: one table, the same for every database."""

from enum import Enum, StrEnum
from typing import NamedTuple

from trypact.call import Answer, FencedCall, Ok, Pending, Refused
from trypact.kinds import Kind, Operation


class Status(StrEnum):
    """How far a branch has got at its participant. A missing row has heard of nothing.

    >>> fence = SqlAlchemyFence(engine)
    >>> fence.create_tables()
    >>> with engine.connect() as connection:  # what still holds something
    ...     tried = fence.table.c.status == Status.TRIED
    ...     connection.execute(fence.table.select().where(tried)).all()
    []
    """

    # Try ran; it is completed later.
    TRY_PENDING = "TRY_PENDING"
    TRIED = "TRIED"
    REFUSED = "REFUSED"
    CONFIRM_PENDING = "CONFIRM_PENDING"
    CONFIRMED = "CONFIRMED"
    CANCEL_PENDING = "CANCEL_PENDING"
    # With or without a Try before it.
    CANCELLED = "CANCELLED"
    DELIVER_PENDING = "DELIVER_PENDING"
    DELIVERED = "DELIVERED"


# What names a fence row: the xid and the branch's id.
Key = tuple[str, str]


class FenceRow(NamedTuple):
    """A whole fence row, in the order of the table's columns; instants are microseconds."""

    xid: str
    branch_id: str
    action: str
    kind: str
    status: str
    result: bytes
    reason: str
    created_at: int
    updated_at: int
    # The last Try's; a Try that arrives later is not run. 0 for a row without one.
    not_after: int


class Row(NamedTuple):
    """A fence row, as far as the rules are concerned."""

    action: str
    kind: str
    status: Status
    result: bytes
    reason: str


class Meeting(Enum):
    """What comes of a call that meets a row."""

    RUN = "run the handler"
    # It ran before; a Try or Deliver answers its first result.
    DONE = "ok, with the stored result"
    REFUSED = "refused, with the stored reason"
    PENDING = "pending"
    ALREADY_CANCELLED = "refused: already cancelled"
    ALREADY_CONFIRMED = "refused: already confirmed"
    NOT_TRIED = "refused: there is no Try to confirm"


_TRY, _CONFIRM, _CANCEL, _DELIVER = (
    Operation.TRY,
    Operation.CONFIRM,
    Operation.CANCEL,
    Operation.DELIVER,
)
_S, _M = Status, Meeting

MEETINGS: dict[tuple[Operation, Status], Meeting] = {
    (_TRY, _S.TRY_PENDING): _M.PENDING,
    (_TRY, _S.TRIED): _M.DONE,
    (_TRY, _S.REFUSED): _M.REFUSED,
    (_TRY, _S.CONFIRM_PENDING): _M.DONE,
    (_TRY, _S.CONFIRMED): _M.DONE,
    (_TRY, _S.CANCEL_PENDING): _M.ALREADY_CANCELLED,
    (_TRY, _S.CANCELLED): _M.ALREADY_CANCELLED,
    (_CONFIRM, _S.TRY_PENDING): _M.NOT_TRIED,
    (_CONFIRM, _S.TRIED): _M.RUN,
    (_CONFIRM, _S.REFUSED): _M.NOT_TRIED,
    (_CONFIRM, _S.CONFIRM_PENDING): _M.PENDING,
    (_CONFIRM, _S.CONFIRMED): _M.DONE,
    (_CONFIRM, _S.CANCEL_PENDING): _M.ALREADY_CANCELLED,
    (_CONFIRM, _S.CANCELLED): _M.ALREADY_CANCELLED,
    (_CANCEL, _S.TRY_PENDING): _M.RUN,
    (_CANCEL, _S.TRIED): _M.RUN,
    # Its answer was lost: there is nothing to undo, and the row keeps late Tries out.
    (_CANCEL, _S.REFUSED): _M.DONE,
    (_CANCEL, _S.CONFIRM_PENDING): _M.ALREADY_CONFIRMED,
    (_CANCEL, _S.CONFIRMED): _M.ALREADY_CONFIRMED,
    (_CANCEL, _S.CANCEL_PENDING): _M.PENDING,
    (_CANCEL, _S.CANCELLED): _M.DONE,
    (_DELIVER, _S.DELIVER_PENDING): _M.PENDING,
    (_DELIVER, _S.DELIVERED): _M.DONE,
}

# What a row says once the operation has run.
DONE: dict[Operation, Status] = {
    _TRY: _S.TRIED,
    _CONFIRM: _S.CONFIRMED,
    _CANCEL: _S.CANCELLED,
    _DELIVER: _S.DELIVERED,
}
# What it says when the handler answered PENDING.
PENDING: dict[Operation, Status] = {
    _TRY: _S.TRY_PENDING,
    _CONFIRM: _S.CONFIRM_PENDING,
    _CANCEL: _S.CANCEL_PENDING,
    _DELIVER: _S.DELIVER_PENDING,
}
# A Try that has not ended by then must not have any effect.
CANCEL_BEGUN = frozenset({_S.CANCEL_PENDING, _S.CANCELLED})

# Whose results their initiators see.
WITH_RESULT = frozenset({_TRY, _DELIVER})


class Over(NamedTuple):
    """Rows that may go once the coordinator says so: of these kinds, in these statuses."""

    kinds: tuple[Kind, ...]
    statuses: tuple[Status, ...]


# Once the transaction is final.
SETTLED = Over((Kind.TCC, Kind.SAGA), (_S.REFUSED, _S.CONFIRMED, _S.CANCELLED))
# Once it is final, and its decision is Confirm: nobody tells a step, and it stays as it was tried.
STEPS = Over((Kind.SAGA,), (_S.TRIED,))
# Once it is closed.
DELIVERED = Over((Kind.MESSAGE, Kind.NOTICE), (_S.DELIVERED,))
# Never what is reserved or pending.
COLLECTABLE = (SETTLED, STEPS, DELIVERED)


def row_of(call: FencedCall, now: int) -> FenceRow:
    """Return the row as it is once the operation has run without a result."""
    return FenceRow(
        xid=call.xid,
        branch_id=call.branch_id,
        action=call.action,
        kind=str(call.kind),
        status=str(DONE[call.operation]),
        result=b"",
        reason="",
        created_at=now,
        updated_at=now,
        not_after=call.not_after_us,
    )


def meet(call: FencedCall, row: Row | None) -> Answer | None:
    """Answer a call from what its branch has got so far; None means: run the handler.

    A missing row is what a Confirm without a Try meets. The others insert the row first, and run
    the handler (Try, Deliver) or have nothing to do (Cancel) when it was not there before.
    """
    if row is None:
        # What a Try left in a database of another instance's own looks like that from here.
        why = (
            "there is no Try to confirm in this database; do all instances of the participant "
            "share one?"
        )
        return _refused(call, "NOT_TRIED", why)
    if (row.action, row.kind) != (call.action, str(call.kind)):
        return _refused(
            call, "KEY_IN_USE", f"this branch is {row.action} by {row.kind} for this participant"
        )
    match MEETINGS.get((call.operation, row.status)):
        case Meeting.RUN:
            return None
        case Meeting.DONE:
            return Ok(row.result if call.operation in WITH_RESULT else b"")
        case Meeting.REFUSED:
            return Refused(row.reason)
        case Meeting.PENDING:
            return Pending()
        case Meeting.ALREADY_CANCELLED:
            return _refused(call, "ALREADY_CANCELLED", "this branch is cancelled for ever")
        case Meeting.ALREADY_CONFIRMED:
            return _refused(call, "ALREADY_CONFIRMED", "this branch is confirmed for ever")
        case _:
            return _refused(call, "NOT_TRIED", f"this branch is {row.status}")


def _refused(call: FencedCall, code: str, why: str) -> Refused:
    return Refused(f"{code}: {call.operation} refused by the fence, {why}")
