"""The cases: what every participant must do, whatever arrives, as often and in any order.

Each is a function of a trial that raises Failed where the participant does not hold; its name is
the name of the case, and the first line of its docstring what must hold.
"""

# ruff: noqa: D401 - a docstring says what must hold, as the report prints it

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

from trypact_coordinator.core.events import Refused

from trypact import clock
from trypact.kinds import Kind, Operation
from trypact.testing.examination.trial import Branch, Failed, Subject, Trial

TRY, CONFIRM, CANCEL, DELIVER = (
    Operation.TRY,
    Operation.CONFIRM,
    Operation.CANCEL,
    Operation.DELIVER,
)
# How often calls are sent at once, since they do not meet every time.
ROUNDS = 10
# When a participant is killed in a call, in shares of the time that such calls take; most near the
# end, when the handler is likely to be over and nothing committed.
SHARES = (0.5, 0.8, 0.95)
_LATE_US = 60_000_000
# Of the business state, by one operation that is attempted until it is done.
_CHANGES_MAX = 2

ResultT = TypeVar("ResultT")


class Case(NamedTuple):
    """One thing that must hold."""

    run: Callable[[Trial], Awaitable[None]]
    # Kinds of branches for which it can be asked.
    kinds: frozenset[Kind]
    # What has to be given to try it, in words, and whether it was.
    needs: str = ""
    given: Callable[[Subject], bool] = lambda subject: True

    @property
    def name(self) -> str:
        """The name by which it is known."""
        return getattr(self.run, "__name__", "").replace("_", "-")

    @property
    def sentence(self) -> str:
        """What must hold."""
        return (self.run.__doc__ or "").partition("\n")[0].rstrip(".")


# ---------------------------------------------------------------- in order


async def try_and_cancel(trial: Trial) -> None:
    """A Try is answered OK, and its Cancel takes everything back."""
    branch, before = trial.branch(), await trial.state()
    await trial.ok(TRY, branch, "give a payload whose Try succeeds")
    await trial.ok(CANCEL, branch, "what was tried could never be taken back")
    await trial.same(before, "Cancel did not take back what Try did")


async def try_and_confirm(trial: Trial) -> None:
    """A Try is answered OK, and its Confirm too."""
    branch = trial.branch()
    await trial.ok(TRY, branch, "give a payload whose Try succeeds")
    await trial.ok(CONFIRM, branch, "a Confirm must not be refused: nobody can take it back")


# ---------------------------------------------------------------- more than once


async def duplicate_try(trial: Trial) -> None:
    """A repeated Try answers the first result and changes nothing."""
    branch, before = trial.branch(), await trial.state()
    first = await trial.ok(TRY, branch, "give a payload whose Try succeeds")
    once = await trial.state()
    again = await trial.ok(TRY, branch, "a lost reply would then cancel what was reserved")
    trial.equal([first, again], "the repeated Try had another result than the first")
    await trial.same(once, "the repeated Try had an effect of its own")
    await trial.ok(CANCEL, branch, "what was tried could never be taken back")
    await trial.same(before, "one Cancel did not take back what two Tries did")


async def duplicate_confirm(trial: Trial) -> None:
    """A repeated Confirm is answered OK and changes nothing."""
    branch = await _tried(trial)
    await trial.ok(CONFIRM, branch, "a Confirm must not be refused: nobody can take it back")
    once = await trial.state()
    await trial.ok(CONFIRM, branch, "a lost reply would leave the transaction stuck")
    await trial.same(once, "the repeated Confirm had an effect of its own")


async def duplicate_cancel(trial: Trial) -> None:
    """A repeated Cancel is answered OK and changes nothing."""
    before = await trial.state()
    branch = await _tried(trial)
    for _ in range(2):
        await trial.ok(CANCEL, branch, "a lost reply would leave the transaction stuck")
    await trial.same(before, "the repeated Cancel had an effect of its own")


async def try_after_confirm(trial: Trial) -> None:
    """A Try that comes again after its Confirm answers the first result and changes nothing."""
    branch = trial.branch()
    first = await trial.ok(TRY, branch, "give a payload whose Try succeeds")
    await trial.ok(CONFIRM, branch, "a Confirm must not be refused: nobody can take it back")
    confirmed = await trial.state()
    again = await trial.until_answered(TRY, branch)
    if not isinstance(again, Refused):
        trial.equal([first, again.result], "the late Try had another result than the first")
    await trial.same(confirmed, "the late Try had an effect of its own")


async def deliver_twice(trial: Trial) -> None:
    """A delivery that comes twice has its effect once, and the first result."""
    branch = trial.branch()
    first = await trial.ok(DELIVER, branch, "a delivery must not be refused: it is asked for ever")
    once = await trial.state()
    again = await trial.ok(DELIVER, branch, "a lost reply would leave the message stuck")
    trial.equal([first, again], "the repeated delivery had another result than the first")
    await trial.same(once, "the repeated delivery had an effect of its own")


# ---------------------------------------------------------------- in another order


async def empty_cancel(trial: Trial) -> None:
    """A Cancel without a Try is answered OK and changes nothing."""
    branch, before = trial.branch(), await trial.state()
    await trial.ok(CANCEL, branch, "a Try that was lost on its way could never be cancelled")
    await trial.same(before, "a Cancel without a Try had an effect")


async def late_try(trial: Trial) -> None:
    """A Try that comes after its Cancel is refused, and never runs."""
    branch, before = trial.branch(), await trial.state()
    await trial.ok(CANCEL, branch, "a Try that was lost on its way could never be cancelled")
    await trial.never_ok(TRY, branch, "what it reserves is never released")
    await trial.same(before, "the late Try had an effect, though it was not answered OK")
    await trial.ok(CANCEL, branch, "a lost reply would leave the transaction stuck")


async def confirm_without_try(trial: Trial) -> None:
    """A Confirm without a Try is refused, and never runs."""
    branch, before = trial.branch(), await trial.state()
    await trial.never_ok(CONFIRM, branch, "it confirms what was never reserved")
    await trial.same(before, "a Confirm without a Try had an effect")


async def confirm_after_cancel(trial: Trial) -> None:
    """A Confirm after its Cancel is refused, and never runs."""
    before = await trial.state()
    branch = await _tried(trial)
    await trial.ok(CANCEL, branch, "what was tried could never be taken back")
    await trial.never_ok(CONFIRM, branch, "it uses a reservation that is gone")
    await trial.same(before, "a Confirm after the Cancel had an effect")


async def cancel_after_confirm(trial: Trial) -> None:
    """A Cancel after its Confirm is refused, and never runs."""
    branch = await _tried(trial)
    await trial.ok(CONFIRM, branch, "a Confirm must not be refused: nobody can take it back")
    confirmed = await trial.state()
    await trial.never_ok(CANCEL, branch, "it takes back what is final")
    await trial.same(confirmed, "a Cancel after the Confirm had an effect")


async def late_not_after(trial: Trial) -> None:
    """A Try that comes after its `not_after` is not run."""
    branch, before = trial.branch(), await trial.state()
    late = clock.now_us() - _LATE_US
    await trial.never_ok(TRY, branch, "its Cancel may be over already", not_after_us=late)
    await trial.same(before, "the Try ran, though its time was over")
    await trial.ok(CANCEL, branch, "what was tried could never be taken back")


# ---------------------------------------------------------------- at once


async def tries_at_once(trial: Trial) -> None:
    """The same Try twice at once runs once, and both have its result."""
    for _ in range(ROUNDS):
        branch, before = trial.branch(), await trial.state()
        calls = [trial.ok(TRY, branch, "one of them had succeeded") for _ in range(2)]
        results = await _all(calls)
        trial.equal(results, "two Tries at once had two results")
        await trial.ok(CANCEL, branch, "what was tried could never be taken back")
        await trial.same(before, "one Cancel did not take back what two Tries at once did")
        trial.trace.clear()


async def cancels_at_once(trial: Trial) -> None:
    """The same Cancel twice at once takes back once."""
    for _ in range(ROUNDS):
        before = await trial.state()
        branch = await _tried(trial)
        await _all([trial.ok(CANCEL, branch, "one of them had succeeded") for _ in range(2)])
        await trial.same(before, "two Cancels at once took back more than the Try did")
        trial.trace.clear()


async def try_and_cancel_at_once(trial: Trial) -> None:
    """A Try and its Cancel at once leave nothing, and no Try can follow."""
    for _ in range(ROUNDS):
        branch, before = trial.branch(), await trial.state()
        otherwise = "a Try that was lost on its way could never be cancelled"
        await _all([trial.once(TRY, branch), trial.ok(CANCEL, branch, otherwise)])
        await trial.never_ok(TRY, branch, "what it reserves is never released")
        await trial.same(before, "something is held, though the Cancel was answered OK")
        trial.trace.clear()


async def deliveries_at_once(trial: Trial) -> None:
    """The same delivery twice at once has one effect, and both have its result."""
    branch = trial.branch()
    otherwise = "a delivery must not be refused: it is asked for ever"
    results = await _all([trial.ok(DELIVER, branch, otherwise) for _ in range(2)])
    trial.equal(results, "two deliveries at once had two results")


# ---------------------------------------------------------------- keys, refusals, crashes


async def keys_are_exact(trial: Trial) -> None:
    """Branches whose ids differ in a letter, its case or its place are different branches."""
    before = await trial.state()
    branch = trial.branch("b1")
    first = await trial.ok(TRY, branch, "give a payload whose Try succeeds")
    tried = await trial.state()
    others = [
        (branch.xid, "B1"),
        (branch.xid, "b"),
        (f"{branch.xid}b", "1"),
        (branch.xid.upper(), "b1"),
    ]
    for xid, branch_id in others:
        other = branch._replace(xid=xid, branch_id=branch_id)
        await trial.ok(CANCEL, other, "it is another branch, that nobody tried")
    again = await trial.ok(TRY, branch, "the Cancel of another branch has hit this one")
    trial.equal([first, again], "the Cancel of another branch has hit this one")
    await trial.same(tried, "the Cancel of another branch had an effect")
    await trial.ok(CANCEL, branch, "what was tried could never be taken back")
    await trial.same(before, "Cancel did not take back what Try did")


async def refusal_is_kept(trial: Trial) -> None:
    """A refused Try is refused again for the same reason, and its Cancel changes nothing."""
    branch, before = trial.refused_branch(), await trial.state()
    reasons = []
    for _ in range(2):
        answer = await trial.until_answered(TRY, branch)
        if not isinstance(answer, Refused):
            raise Failed("the Try was not refused; give a payload whose Try is")
        reasons.append(answer.reason.encode())
    trial.equal(reasons, "the repeated Try was refused for another reason than the first")
    await trial.same(before, "a refused Try had an effect")
    await trial.ok(CANCEL, branch, "the coordinator may not have heard of the refusal")
    await trial.same(before, "the Cancel of a refused Try had an effect")


async def crash_between(trial: Trial) -> None:
    """What was answered before a crash is known after it."""
    branch, before = trial.branch(), await trial.state()
    first = await trial.ok(TRY, branch, "give a payload whose Try succeeds")
    await trial.restart()
    again = await trial.ok(TRY, branch, "it had succeeded before the crash")
    trial.equal([first, again], "after the crash the Try has another result")
    await trial.ok(CANCEL, branch, "what was tried could never be taken back")
    await trial.restart()
    await trial.never_ok(TRY, branch, "after the crash it has forgotten the Cancel")
    await trial.ok(CANCEL, branch, "a lost reply would leave the transaction stuck")
    await trial.same(before, "something is held after the crash")


async def crash_during_try(trial: Trial) -> None:
    """A Try in whose middle the participant is killed can be cancelled, and leaves nothing."""
    for share in SHARES:
        branch, before = trial.branch(), await trial.state()
        await trial.dying(TRY, branch, share)
        await trial.ok(CANCEL, branch, "what was tried could never be taken back")
        await trial.never_ok(TRY, branch, "what it reserves is never released")
        await trial.same(before, "something is held after the crash")
        trial.trace.clear()


async def crash_during_cancel(trial: Trial) -> None:
    """A Cancel in whose middle the participant is killed takes back once when it is repeated."""
    for share in SHARES:
        before = await trial.state()
        branch = await _tried(trial)
        await trial.dying(CANCEL, branch, share)
        await trial.ok(CANCEL, branch, "it would be asked for ever")
        await trial.same(before, "two Cancels, one of which has died, took back something else")
        trial.trace.clear()


async def crash_during_confirm(trial: Trial) -> None:
    """A Confirm in whose middle the participant is killed again and again has its effect once."""
    await _once_for_all_deaths(trial, CONFIRM, await _tried(trial))


async def crash_during_delivery(trial: Trial) -> None:
    """A delivery in whose middle the participant is killed again and again has its effect once."""
    await _once_for_all_deaths(trial, DELIVER, trial.branch())


async def _once_for_all_deaths(trial: Trial, operation: Operation, branch: Branch) -> None:
    """Require that no two attempts add to what earlier ones have left behind.

    An effect in the local transaction comes with the attempt that commits. One beside it that is
    idempotent comes with the first attempt that lives long enough; so two changes are right.
    """
    states = [await trial.state()]
    for share in SHARES:
        await trial.dying(operation, branch, share)
        states.append(await trial.state())
    await trial.ok(operation, branch, "it would be asked for ever")
    states.append(await trial.state())
    changes = sum(one != other for one, other in itertools.pairwise(states))
    if changes > _CHANGES_MAX:
        trial.trace.append(f"the business state was, after each: {states!r}")
        raise Failed(f"its effect came {changes} times: some of it is in no local transaction")


async def crash_after_confirm(trial: Trial) -> None:
    """A Confirm that was answered before a crash is known after it."""
    branch = await _tried(trial)
    await trial.restart()
    await trial.ok(CONFIRM, branch, "it was tried before the crash")
    confirmed = await trial.state()
    await trial.restart()
    await trial.ok(CONFIRM, branch, "a lost reply would leave the transaction stuck")
    await trial.never_ok(CANCEL, branch, "it takes back what is final")
    await trial.same(confirmed, "what was confirmed changed with the crash")


async def crash_after_delivery(trial: Trial) -> None:
    """A delivery that was answered before a crash has no effect after it."""
    branch = trial.branch()
    first = await trial.ok(DELIVER, branch, "a delivery must not be refused: it is asked for ever")
    once = await trial.state()
    await trial.restart()
    again = await trial.ok(DELIVER, branch, "a lost reply would leave the message stuck")
    trial.equal([first, again], "after the crash the delivery has another result")
    await trial.same(once, "after the crash the delivery had an effect of its own")


async def _tried(trial: Trial) -> Branch:
    branch = trial.branch()
    await trial.ok(TRY, branch, "give a payload whose Try succeeds")
    return branch


async def _all(calls: Sequence[Awaitable[ResultT]]) -> list[ResultT]:
    """Run calls at once; all of them end, and then the first failure is raised."""
    results: list[ResultT] = []
    for ended in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
        results.append(ended)
    return results


_TCC = frozenset({Kind.TCC})
_TRIED = frozenset({Kind.TCC, Kind.SAGA})
_DELIVERED = frozenset({Kind.MESSAGE, Kind.NOTICE})
_RESTART = "a way to restart it"


def _restarts(subject: Subject) -> bool:
    return subject.restart is not None


CASES: tuple[Case, ...] = (
    Case(try_and_cancel, _TRIED),
    Case(try_and_confirm, _TCC),
    Case(duplicate_try, _TRIED),
    Case(duplicate_confirm, _TCC),
    Case(duplicate_cancel, _TRIED),
    Case(try_after_confirm, _TCC),
    Case(empty_cancel, _TRIED),
    Case(late_try, _TRIED),
    Case(confirm_without_try, _TCC),
    Case(confirm_after_cancel, _TCC),
    Case(cancel_after_confirm, _TCC),
    Case(late_not_after, _TRIED),
    Case(tries_at_once, _TRIED),
    Case(cancels_at_once, _TRIED),
    Case(try_and_cancel_at_once, _TRIED),
    Case(keys_are_exact, _TRIED),
    Case(
        refusal_is_kept,
        _TRIED,
        "a payload that is refused",
        lambda subject: subject.refused_payload is not None,
    ),
    Case(deliver_twice, _DELIVERED),
    Case(deliveries_at_once, _DELIVERED),
    Case(crash_between, _TRIED, _RESTART, _restarts),
    Case(crash_during_try, _TRIED, _RESTART, _restarts),
    Case(crash_during_confirm, _TCC, _RESTART, _restarts),
    Case(crash_during_cancel, _TRIED, _RESTART, _restarts),
    Case(crash_after_confirm, _TCC, _RESTART, _restarts),
    Case(crash_during_delivery, _DELIVERED, _RESTART, _restarts),
    Case(crash_after_delivery, _DELIVERED, _RESTART, _restarts),
)
