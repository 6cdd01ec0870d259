"""Removes fence rows of which the coordinator says that no call can come for them any more.

Age proves nothing: a transaction may be stuck for a month. So each transaction is asked for, and
only what it says is over goes; what is reserved or pending stays whatever it says. A step that was
done goes if the decision was Confirm, of which nobody tells it. A row of a delivery goes once all
deliveries of its transaction are over, which may be later than its outcome.

Age is needed all the same, for calls that the network has kept: a Try that arrives after its row
has gone would run. So no row goes before it has been left alone for longer than any call can be on
its way, nor before the `not_after` of its Try has been over for that long.
"""

from collections.abc import Callable, Sequence
from inspect import iscoroutinefunction
from typing import Any, NamedTuple, Protocol

from trypact.fence.contract import CollectableFence
from trypact.fence.rules import COLLECTABLE, DELIVERED, SETTLED, STEPS, Over
from trypact.kinds import Decision
from trypact.outcome import Standing

OLDER_THAN_S = 24 * 60 * 60.0
OLDER_THAN_MIN_S = 60.0
PAGE_TRANSACTIONS = 200


class Collected(NamedTuple):
    """What one pass has done.

    >>> Collected(removed=17, kept=2, unknown=0).removed
    17
    """

    # Rows that are gone.
    removed: int
    # Transactions whose rows stay, since they are not over.
    kept: int
    # Transactions whose rows stay, since the coordinator has never heard of them or has forgotten
    # them: look why before you delete them by hand.
    unknown: int


class Decides(Protocol):
    """What is asked of a client."""

    def decision(self, xid: str) -> Standing:
        """Return what is decided about an xid."""
        ...


class Collector:
    """Removes what a fence need not keep any more.

        collector = Collector(client, fence)
        collector.collect()  # now and then: every hour, for example

    Several instances may do so at once.

    Args:
        client: a `SyncClient` of the coordinator that drives the fence's transactions.
        fence: a SqlAlchemyFence, PsycopgFence, RedisFence or ExternalFence.
        older_than: seconds for which a row has been left alone. Less than the coordinator's
            retention, or there is nobody left to ask; more than any call may be on its way.

    Raises ValueError for an `older_than` below 60 s, and TypeError for a fence or a client that is
    awaited.

    >>> fence = SqlAlchemyFence(engine)
    >>> fence.create_tables()
    >>> Collector(sync_client, fence, older_than=3600).collect()
    Collected(removed=0, kept=0, unknown=0)
    """

    def __init__(
        self,
        client: Decides,
        fence: CollectableFence,
        *,
        older_than: float = OLDER_THAN_S,
    ) -> None:
        require_waiting(self, client.decision, fence.run, awaited=False)
        require_age(older_than)
        self._client = client
        self._fence = fence.local
        self._older_than_us = int(older_than * 1e6)

    def collect(self) -> Collected:
        """Go once through all rows that are old enough; return what came of it.

        Raises FenceUnavailable or CoordinatorUnavailable; what was removed before stays removed.
        """
        before_us = self._fence.now() - self._older_than_us
        removed = kept = unknown = 0
        after = ""
        while xids := self._old(after, before_us):
            may_go: dict[Over, list[str]] = {over: [] for over in COLLECTABLE}
            for xid in xids:
                standing = self._client.decision(xid)
                if standing.final:
                    may_go[SETTLED].append(xid)
                elif standing.decision is Decision.UNKNOWN:
                    unknown += 1
                else:
                    kept += 1
                if standing.final and standing.decision is Decision.CONFIRM:
                    may_go[STEPS].append(xid)
                if standing.closed:
                    may_go[DELIVERED].append(xid)
            for over, its_xids in may_go.items():
                if its_xids:
                    removed += self._forget(its_xids, before_us, over)
            after = xids[-1]
        return Collected(removed, kept, unknown)

    def _old(self, after: str, before_us: int) -> Sequence[str]:
        database = self._fence.database
        return self._fence.insist(lambda: database.old(after, before_us, PAGE_TRANSACTIONS))

    def _forget(self, xids: Sequence[str], before_us: int, over: Over) -> int:
        database = self._fence.database
        return self._fence.insist(lambda: database.forget(xids, before_us, over))


def require_age(older_than: float, name: str = "older_than") -> None:
    """Raise ValueError for an age at which a call may still be on its way."""
    if not isinstance(older_than, int | float) or not older_than >= OLDER_THAN_MIN_S:
        raise ValueError(
            f"{name}: {older_than!r} s; a call may be on its way for longer, "
            f"so at least {OLDER_THAN_MIN_S:.0f} s"
        )


def require_waiting(collector: Any, *methods: Callable[..., Any], awaited: bool) -> None:
    """Raise TypeError unless a collector's client and fence wait as it does itself."""
    for method in methods:
        if iscoroutinefunction(method) is not awaited:
            whose, mine = type(getattr(method, "__self__", method)), type(collector)
            allowed = (
                "a Client and an async fence, or a Collector"
                if awaited
                else "a SyncClient and a fence that is not async, or an AsyncCollector"
            )
            raise TypeError(
                f"{mine.__name__}: {whose.__name__} is {'not ' if awaited else ''}awaited; "
                f"allowed: {allowed}"
            )
