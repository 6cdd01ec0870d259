"""Whether all of it happened or none of it did, judged by what participants really answered."""

import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeAlias

from trypact_coordinator.core.events import Answer, Ok, Pending
from trypact_coordinator.core.transaction import (
    Branch,
    BranchState,
    Decision,
    Kind,
    On,
    Operation,
    Transaction,
)

from trypact.testing.environment import Environment

# A check of the user's own: it raises, or returns False, where something is lost or made.
Check: TypeAlias = Callable[[], "bool | Awaitable[bool | None] | None"]

_ON = {On.CONFIRM: Decision.CONFIRM, On.CANCEL: Decision.CANCEL}


class NotAtomic(AssertionError):
    """Something happened in part; the message says what, with the timeline of the transaction.

    >>> def every_piece_is_there():
    ...     return False
    >>> async with Environment([inventory]) as env:
    ...     try:
    ...         await assert_atomic(env, every_piece_is_there)
    ...     except NotAtomic as no:
    ...         print(no)
    every_piece_is_there does not hold...
    """


async def assert_atomic(env: Environment, *checks: Check, hours: float = 24) -> None:
    """Let everything end, and require that each transaction happened wholly or not at all.

    Args:
        env: whose transactions; virtual time passes until nothing is left to do.
        checks: of the business: each raises AssertionError, or returns False, if it does not hold.
        hours: virtual hours after which what is not done never will be.

    Requires that every transaction is final and its deliveries are done; that each confirmed
    branch was tried, and confirmed if it is tcc; that nothing stands of a cancelled one; and that
    no participant answered OK where the protocol forbids it. Raises NotAtomic.

    >>> async with Environment([inventory]) as env:
    ...     _ = await env.execute("order", [tcc("inventory.reserve", {"pieces": 1})])
    ...     await assert_atomic(env)
    """
    left = await env.settle(hours=hours)
    for tx in left:
        raise _not_atomic(env, tx, f"is not done after {hours:g} virtual hours")
    for tx in env.transactions():
        for wrong in wrongs(env, tx):
            raise _not_atomic(env, tx, wrong)
    for check in checks:
        name = getattr(check, "__name__", repr(check))
        try:
            said = check()
            holds = await said if inspect.isawaitable(said) else said
        except AssertionError as error:
            raise NotAtomic(f"{name} does not hold: {error}\n\n{env.timeline()}") from error
        if holds is False:
            raise NotAtomic(f"{name} does not hold\n\n{env.timeline()}")


def _not_atomic(env: Environment, tx: Transaction, wrong: str) -> NotAtomic:
    return NotAtomic(f"transaction {tx.xid} {wrong}\n\n{env.timeline(tx.xid)}")


def wrongs(env: Environment, tx: Transaction) -> Iterator[str]:
    """Yield what is wrong with a transaction that is done."""
    for branch in tx.branches:
        answers = env.history.answers(tx.xid, branch.spec.id)
        where = f"has a branch {branch.spec.id} ({branch.spec.action}) that"
        for wrong in illegal(answers):
            yield f"{where} {wrong}"
        if branch.state is not BranchState.SKIPPED:
            for wrong in _half_done(tx, branch, answers):
                yield f"{where} {wrong}"


def illegal(answers: list[tuple[Operation, Answer]]) -> Iterator[str]:
    """Yield what no participant may answer to the calls of one branch, in any order of arrival."""
    done: dict[Operation, Ok] = {}
    tried = False
    for operation, answer in answers:
        if isinstance(answer, Pending):
            tried = tried or operation is Operation.TRY
        if not isinstance(answer, Ok):
            continue
        if operation is Operation.TRY and Operation.CANCEL in done:
            yield "answered OK to a Try after its Cancel"
        if operation is Operation.CONFIRM and Operation.CANCEL in done:
            yield "answered OK to a Confirm after its Cancel"
        if operation is Operation.CONFIRM and not tried:
            yield "answered OK to a Confirm without a Try"
        if operation is Operation.CANCEL and Operation.CONFIRM in done:
            yield "answered OK to a Cancel after its Confirm"
        first = done.setdefault(operation, answer)
        if operation in (Operation.TRY, Operation.DELIVER) and first.result != answer.result:
            yield f"answered a repeated {operation.name.capitalize()} with another result"
        tried = tried or operation is Operation.TRY


def _half_done(
    tx: Transaction, branch: Branch, answers: list[tuple[Operation, Answer]]
) -> Iterator[str]:
    done = {operation for operation, answer in answers if isinstance(answer, Ok)}
    begun = {operation for operation, answer in answers if isinstance(answer, Ok | Pending)}
    spec = branch.spec
    if spec.is_delivery:
        wanted = _ON.get(spec.on, tx.decision) is tx.decision
        if spec.kind is Kind.MESSAGE and wanted and Operation.DELIVER not in begun:
            yield "was never delivered"
        if not wanted and Operation.DELIVER in begun:
            yield f"was delivered, though the decision is {tx.decision.name}"
    elif tx.decision is Decision.CONFIRM:
        if Operation.TRY not in begun:
            yield "was never tried, though the transaction is confirmed"
        if spec.kind is Kind.TCC and Operation.CONFIRM not in begun:
            yield "was never confirmed"
        if Operation.CANCEL in done:
            yield "was cancelled, though the transaction is confirmed"
    elif Operation.TRY in begun and Operation.CANCEL not in begun:
        yield "still holds what its Try did, though the transaction is cancelled"
    elif Operation.CONFIRM in begun:
        yield "was confirmed, though the transaction is cancelled"
