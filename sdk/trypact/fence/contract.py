"""What a participant needs of a fence."""

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, runtime_checkable

from trypact.call import Answer, FencedCall, PendingType
from trypact.errors import Refuse, RetryLater
from trypact.kinds import Operation

if TYPE_CHECKING:
    from trypact.fence.local import LocalFence

Handler = Callable[[Any], "bytes | PendingType"]
AsyncHandler = Callable[[Any], "Awaitable[bytes | PendingType]"]
# What a set-based handler says of each of its calls.
Said = bytes | PendingType | Refuse | RetryLater


class AloneType(Enum):
    """The type of ALONE."""

    ALONE = "alone"


# Of a call in a batch: nothing of it is known to have happened, and it is to be run by itself.
ALONE: Final = AloneType.ALONE

# What became of a call in a batch: its answer, what its handler raised, or ALONE.
Verdict = Answer | Exception | AloneType


class Asked(NamedTuple):
    """One call of a batch, with what runs it."""

    call: FencedCall
    # Runs this call and no other.
    handler: Handler
    # Runs all calls of the batch that have an equal one, in one go.
    together: "Together | None" = None
    # What `together` has to know of the call; the fence does not look at it.
    request: Any = None


# Takes some calls and the open connection; returns what it says of each, in their order.
Together = Callable[[Sequence[Asked], Any], Sequence[Said]]


class Fence(Protocol):
    """Runs each operation of each branch at most once, in the participant's own database.

    >>> class CountingFence:
    ...     def __init__(self, fence):
    ...         self.fence, self.calls = fence, 0
    ...     def run(self, call, handler):
    ...         self.calls += 1
    ...         return self.fence.run(call, handler)
    >>> inner = SqlAlchemyFence(engine)
    >>> inner.create_tables()
    >>> stock = Participant("stock", fence=CountingFence(inner))
    """

    def run(self, call: FencedCall, handler: Handler, /) -> Answer:
        """Answer a call, running the handler only if it has not run before.

        Everything happens in one local transaction: the fence's row comes first, then the handler
        with the open connection, then the answer into the row. What the handler raises undoes all
        of it, but for the Refuse of a Try, which undoes the handler's part and stays as the
        answer. Blocks; it is called on a thread of its own.

        The handler may be run again when the database asks for it (deadlock, serialization); what
        it did before is undone then.

        Raises TryTooLate, FenceUnavailable, and whatever the handler raises but Refuse.
        """
        ...


class AsyncFence(Protocol):
    """A fence for a participant whose handlers are coroutines, in a database it awaits.

    >>> class CountingFence:
    ...     def __init__(self, fence):
    ...         self.fence, self.calls = fence, 0
    ...     async def run(self, call, handler):
    ...         self.calls += 1
    ...         return await self.fence.run(call, handler)
    >>> inner = AsyncSqlAlchemyFence(async_sqlite_engine("purse.db"))
    >>> purse = Participant("purse", fence=CountingFence(inner))
    """

    async def run(self, call: FencedCall, handler: AsyncHandler, /) -> Answer:
        """Answer a call, running the handler only if it has not run before.

        What `Fence.run` promises, without blocking: it is awaited on the event loop, and the
        handler is too. A cancelled task leaves nothing behind that has not been committed.
        """
        ...


@runtime_checkable
class FinishingFence(Protocol):
    """A fence that can complete a PENDING operation in a local transaction of its own."""

    def finish(
        self, xid: str, branch_id: str, operation: Operation | str, effect: Callable[[Any], Any], /
    ) -> Any:
        """Run the effect in an open transaction, and complete the operation with what it returns.

        That is what is kept of the result; for an `AsyncFence`, which is awaited here too, what is
        awaited for it. What the effect did is undone when it raises; its Refuse completes the
        operation with a business no. Returns how it ended: an Ok or a Refused.

        Raises NotPending, CancelledMeanwhile, FenceUnavailable, and what the effect raises.
        """
        ...


@runtime_checkable
class CollectableFence(Protocol):
    """A fence with rows that a collector can remove."""

    @property
    def run(self) -> Callable[..., Any]:
        """See `Fence.run`, or `AsyncFence.run`."""
        ...

    @property
    def local(self) -> "LocalFence":
        """The fence that keeps the rows."""
        ...


@runtime_checkable
class BatchFence(Fence, Protocol):
    """A fence that can answer many calls in one local transaction."""

    # Whether its database lets one transaction write at a time: then no batch overtakes another.
    one_writer: bool

    def run_many(self, asked: Sequence[Asked], /) -> Sequence[Verdict]:
        """Answer each call as `run` would, in one local transaction for all of them.

        Returns a verdict for each, in their order, once the transaction has ended. One handler's
        refusal or exception undoes its own part only. Where the transaction cannot go on, or its
        COMMIT fails, and for a set whose handler fails, the verdict is ALONE, and the caller runs
        those calls by themselves: a poisonous one then harms nobody else. A handler may so be run
        twice; what it did before is undone, or known to the fence.

        Calls of one branch are run one after another, each in a transaction of its own. Blocks.
        Does not raise.
        """
        ...
