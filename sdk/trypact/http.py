"""What a web application answers to its own caller when a transaction did not go well.

Statuses and words, for any framework. They never tell what an error's message may: that is for the
application's log.

>>> status_of(BranchRefused("order-17", "stock", "inventory.reserve", "out_of_stock")).detail
'out_of_stock'
"""

import math
from typing import NamedTuple

from trypact.errors import (
    BranchRefused,
    CoordinatorUnavailable,
    OutcomeUnknown,
    Overloaded,
    ParticipantUnavailable,
    TransactionCancelled,
    TrypactError,
    XidConflict,
    XidInUse,
)

__all__ = ["HttpAnswer", "status_of"]

_RETRY_AFTER_S = 1


class HttpAnswer(NamedTuple):
    """A status of HTTP, with what to say and to send beside it.

    >>> HttpAnswer(503, "not known yet: ask again", {"Retry-After": "1"}).status
    503
    """

    status: int
    detail: str
    headers: dict[str, str]


def status_of(error: TrypactError) -> HttpAnswer:
    """Return what to answer to the request that ended in this error.

    409 with the reason of whoever refused; 503 where the same request with the same xid finds out;
    429 where nothing was begun, each with Retry-After; 422 for an xid that was used for something
    else; 500 for what the program has to mend, which belongs in its log.

        >>> status_of(Overloaded(retry_after=2.5))
        HttpAnswer(status=429, detail='too busy: nothing was begun', headers={'Retry-After': '3'})
    """
    match error:
        case TransactionCancelled() | BranchRefused():
            return HttpAnswer(409, error.reason, {})
        case Overloaded():
            wait = max(1, math.ceil(error.retry_after))
            return HttpAnswer(429, "too busy: nothing was begun", {"Retry-After": str(wait)})
        case OutcomeUnknown() | CoordinatorUnavailable() | ParticipantUnavailable():
            again = {"Retry-After": str(_RETRY_AFTER_S)}
            return HttpAnswer(503, "not known yet: ask again", again)
        case XidConflict() | XidInUse():
            return HttpAnswer(422, "this id was used for something else", {})
    return HttpAnswer(500, "this request failed; the log says why", {})
