"""A transaction where it is known: in its own block, and in services that are called from there.

What is known there names whatever is added to the transaction, so that ids are unique across all
processes without asking anybody. A call that leaves gets an id of its own, and everything its
receiver adds is below that: `reserve/hold`, or `reserve/Charge/freeze` one service further on. The
same call therefore always means the same branches.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from trypact.branches import Branch, free_id, with_ids
from trypact.context import Context, bound
from trypact.errors import BranchConflict, InvalidRequest, NoTransaction

# What a call carries in its metadata.
XID_KEY = "trypact-xid"
CALL_KEY = "trypact-call"
# Longer ones become a digest, so that a branch id has room for a verb however far the call went.
CALL_ID_BYTES_MAX = 32


# Of a call: what gRPC's contexts and the headers of an HTTP request give.
Metadata = Iterable[tuple[str, str | bytes]]


@dataclass(eq=False)
class Carried:
    """One transaction, as far as this block or this call goes.

    Attributes:
        xid: the transaction.
        call_id: of the call that brought it here; empty in its own block.
        begin: makes sure that the coordinator knows it; None where it does. What it returns is
            awaited if it can be.
    """

    xid: str
    call_id: str = ""
    begin: Callable[[], Any] | None = None
    _ids: set[str] = field(default_factory=set)
    _unsettled: dict[str, str] = field(default_factory=dict)
    # Calls that had no answer yet when they were last looked at.
    _open: list[tuple[str, Any]] = field(default_factory=list)
    # Threads may add to one block at once, and two branches with one id would be one.
    _naming: threading.Lock = field(default_factory=threading.Lock)

    @property
    def unsettled(self) -> dict[str, str]:
        """What was asked and gave no result, and why. It must not be confirmed so."""
        looked_at, self._open = self._open, []
        for call_id, call in looked_at:
            self.sent(call_id, call)
        return self._unsettled

    @property
    def _prefix(self) -> str:
        return f"{self.call_id}/" if self.call_id else ""

    def named(self, branch: Branch) -> Branch:
        """Return the branch with its id in the whole transaction. Raises BranchConflict."""
        if self.call_id:
            after = tuple(f"{self._prefix}{name}" for name in branch.after)
            own = branch.id and f"{self._prefix}{branch.id}"
            branch = replace(branch, id=own, after=after)
        with self._naming:
            (named,) = with_ids([branch], self._ids, self._prefix)
            if named.id in self._ids:
                raise BranchConflict(
                    f"branch id {named.id!r} is used twice in transaction {self.xid}"
                )
            self._ids.add(named.id)
        return named

    def leaving(self, method: str, call_id: str = "") -> str:
        """Return the id of a call that takes the transaction along, and wait for its answer.

        A call that its caller named keeps that name, so that it can be repeated.
        """
        with self._naming:
            if call_id:
                call_id = f"{self._prefix}{call_id}"
            else:
                call_id = free_id(f"{self._prefix}{method.rpartition('/')[2]}", self._ids)
            self._ids.add(call_id)
        if len(call_id) > CALL_ID_BYTES_MAX:
            call_id = hashlib.blake2b(call_id.encode(), digest_size=8).hexdigest()
        self._unsettled[call_id] = f"the call {call_id} of {method} has no answer"
        return call_id

    def sent(self, call_id: str, call: Any) -> None:
        """Note how a synchronous call ended, now or when somebody wants to know.

        It cannot tell by itself: whoever waits for it goes on before its callbacks are called.
        """
        if call.done():
            self.answered(call_id, call.code().name)
        else:
            self._open.append((call_id, call))

    def answered(self, call_id: str, status: str | int) -> None:
        """Note the status that a call ended with, gRPC's name or HTTP's number."""
        if _leaves_open(status):
            doubt = self._unsettled.get(
                call_id, f"a repetition of the call {call_id} has no answer"
            )
            self._unsettled[call_id] = f"{doubt} ({status})"
        else:
            self._unsettled.pop(call_id, None)


def _leaves_open(status: str | int) -> bool:
    """Whether nobody knows what a call did that ended so."""
    if isinstance(status, str):
        return status in _DOUBTFUL
    # In 408 somebody on the way gave up waiting.
    return not 200 <= status < 500 or status == 408


# Statuses that gRPC itself gives to calls which may have been run; RESOURCE_EXHAUSTED where the
# answer is too large to be received.
_DOUBTFUL = frozenset(
    (
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "CANCELLED",
        "UNKNOWN",
        "INTERNAL",
        "DATA_LOSS",
        "RESOURCE_EXHAUSTED",
    )
)

_here: ContextVar[Carried | None] = ContextVar("trypact.carried", default=None)


def here() -> Carried | None:
    """Return the transaction that this code runs in; None outside of any."""
    return _here.get()


@contextmanager
def carrying(carried: Carried | None) -> Iterator[None]:
    """Run in that transaction, or in none; log lines in here say which."""
    token = _here.set(carried)
    try:
        if carried is None:
            yield
        else:
            with bound(Context(carried.xid)):
                yield
    finally:
        _here.reset(token)


def arriving(metadata: Metadata | None) -> Carried | None:
    """Return the transaction that a call brings; None for a call of no transaction.

    Raises InvalidRequest where it brings one without saying which call it is: what it adds could
    then not be told from what other calls add.
    """
    # gRPC writes keys in lower case, HTTP's frameworks as they like.
    found = {key.lower(): value for key, value in metadata or ()}
    xid, call_id = found.get(XID_KEY), found.get(CALL_KEY)
    if not xid:
        return None
    if not call_id:
        raise InvalidRequest(
            f"metadata: {XID_KEY} is {xid!r} without a {CALL_KEY}; allowed: both or none, the "
            "second unique for each call of the transaction"
        )
    return Carried(str(xid), str(call_id))


def brought(metadata: Metadata | None) -> Carried:
    """Return the transaction that a call brings, the present one if no metadata is given.

    Raises NoTransaction, InvalidRequest.
    """
    carried = here() if metadata is None else arriving(metadata)
    if carried is None:
        raise NoTransaction
    if not carried.call_id:
        raise InvalidRequest(
            f"this code runs in the block of transaction {carried.xid} itself; allowed: its own "
            "try_"
        )
    return carried
