"""A transaction in plain words, for whoever is called at three in the morning.

`explain` answers four questions: what is it doing, who holds it up and since when, what happens
next and when, and what may an operator safely do. The command line and alerts use the same text.
"""

import re
from collections.abc import Iterator

from trypact_coordinator.core.policy import SECOND
from trypact_coordinator.core.transaction import (
    DECIDING,
    SETTLED,
    Branch,
    BranchState,
    Decision,
    Operation,
    Role,
    State,
    Transaction,
)
from trypact_coordinator.durations import in_words
from trypact_coordinator.server.standing import (
    failed_calls,
    failing_since,
    held_up_by,
    next_attempt_at,
    operation_of,
)
from trypact_coordinator.text import one_line

# Further branches that hold a transaction up are counted instead of described.
_DESCRIBED_MAX = 5
# So many calls without an answer are no hiccup: whoever looks is told what to look at.
_FAILING_CALLS = 2
_RAISED = re.compile(r"the handler raised (\w+)")


def explain(tx: Transaction, now: int, stall: tuple[float, str] | None = None) -> str:
    """Say in plain words how a transaction stands at `now` (microseconds, the journal's clock).

    `stall` says for how many seconds the journal has taken nothing, and why. Paragraphs are
    separated by empty lines; a paragraph is one line, to be wrapped by the reader.
    """
    paragraphs = [_headline(tx, now), *_marks(tx)]
    if stall and _unfinished(tx):
        paragraphs.append(_stalled(*stall))
    else:
        paragraphs += [*_holding_up(tx, now), *_next(tx, now), *_left_behind(tx), _advice(tx)]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


# ---------------------------------------------------------------- what it is doing


def _headline(tx: Transaction, now: int) -> str:
    title = f"Transaction {tx.xid}" + (f" ({tx.spec.name})" if tx.spec.name else "")
    if tx.state is State.TRYING:
        return f"{title} began {_ago(tx.created_at, now)} and is undecided. {_tries(tx)}"
    if tx.settled:
        return f"{title} {_ending(tx, now)}"
    if tx.state is State.CONFIRMING:
        done = _counted(tx, BranchState.CONFIRMED)
        return (
            f"{title} was decided Confirm {_ago(tx.decided_at, now)}, and that never changes. "
            f"{done} confirmed."
        )
    done = _counted(tx, BranchState.CANCELLED, BranchState.REFUSED)
    return (
        f"{title} was decided Cancel {_ago(tx.decided_at, now)}, because {_why(tx)}. "
        f"That never changes. {done} released."
    )


def _tries(tx: Transaction) -> str:
    tried = _deciding(tx)
    if not tried:
        return "No branch has been registered that needs a Try."
    done = sum(branch.state is BranchState.TRIED for branch in tried)
    if done < len(tried):
        return f"{done} of {_plural(len(tried), 'Try', 'Tries')} answered OK so far."
    if tx.auto_commit:
        return "Every Try answered OK."
    return "Every Try answered OK; it waits for its initiator to commit or to roll back."


def _ending(tx: Transaction, now: int) -> str:
    if not tx.branches and not tx.spec.name:
        return (
            f"was settled as cancelled {_ago(tx.finished_at, now)}, before anybody began it, so "
            "that a late attempt to begin it is refused."
        )
    took = in_words(tx.finished_at - tx.created_at)
    when = f"{_ago(tx.finished_at, now)}, {took} after it began"
    if tx.state is State.CONFIRMED:
        return (
            f"ended as confirmed {when}: {_not_done(tx) or 'everything it set out to do was done'}."
        )
    released = _not_done(tx) or "whatever it had reserved was released"
    return f"ended as cancelled {when}, because {_why(tx)}. {released[0].upper()}{released[1:]}."


def _not_done(tx: Transaction) -> str:
    """Say what a final transaction still owes or left undone; "" when that is nothing."""
    owed = sum(branch.state not in SETTLED for branch in tx.branches)
    given_up = sum(branch.state is BranchState.UNDELIVERED for branch in tx.branches)
    by_hand = sum(branch.state is BranchState.SKIPPED for branch in tx.branches)
    parts = []
    if owed:
        parts.append(f"{_plural(owed, 'delivery is', 'deliveries are')} still owed")
    if given_up:
        parts.append(f"{_plural(given_up, 'delivery was', 'deliveries were')} given up")
    if by_hand:
        parts.append(f"{_plural(by_hand, 'branch was', 'branches were')} settled by hand")
    return f"its outcome is final, but {' and '.join(parts)}" if parts else ""


def _why(tx: Transaction) -> str:
    if tx.refused_branch_id:
        refuser = tx.branch(tx.refused_branch_id)
        action = f" ({refuser.spec.action})" if refuser else ""
        return f"branch {tx.refused_branch_id}{action} refused: {_quoted(tx.reason)}"
    if any(entry.event == "cancel by operator" for entry in tx.timeline):
        # The core keeps an operator's reason as "by ACTOR: REASON".
        actor, _, reason = tx.reason.removeprefix("by ").partition(": ")
        return f"the operator {one_line(actor)} cancelled it: {_quoted(reason)}"
    return _quoted(tx.reason)


def _marks(tx: Transaction) -> Iterator[str]:
    if tx.frozen:
        yield (
            f"It is frozen. An invariant did not hold: {_quoted(tx.frozen)}. The coordinator "
            "stopped everything about it instead of guessing; nothing is called and nothing is "
            "decided."
        )
    elif tx.paused and not tx.settled:
        decided = "" if tx.decided or tx.pivot_sent else " The deadline still decides."
        yield f"It is paused by an operator: no call leaves until it is resumed.{decided}"
    elif tx.paused and _unfinished(tx):
        yield "It is paused by an operator: no delivery leaves until it is resumed."


# ---------------------------------------------------------------- who holds it up


def _stalled(seconds: float, why: str) -> str:
    """Say that it is the journal; what participants have answered meanwhile nobody can see yet."""
    since = in_words(int(seconds * SECOND))
    because = f": {one_line(why)}" if why else ""
    return (
        f"The journal has taken no record for {since}{because}. Until it does nothing is decided, "
        "and what has been answered meanwhile is not shown here. What to do: see to the journal; "
        "then everything goes on by itself."
    )


def _holding_up(tx: Transaction, now: int) -> Iterator[str]:
    if tx.frozen:
        return
    waiting = held_up_by(tx)
    for branch in waiting[:_DESCRIBED_MAX]:
        yield _wait(tx, branch, now)
    more = len(waiting) - _DESCRIBED_MAX
    if more > 0:
        yield f"{_plural(more, 'more branch waits', 'more branches wait')} in the same way."


def _wait(tx: Transaction, branch: Branch, now: int) -> str:
    operation = operation_of(tx, branch)
    if operation is None:
        return ""
    what = f"{operation.name.capitalize()} of branch {branch.spec.id} ({branch.spec.action})"
    failed = failed_calls(tx, branch)
    since = _ago(failing_since(tx, branch), now)
    if branch.state is BranchState.TRYING and operation is Operation.CANCEL:
        return (
            f"{what} waits until its Try, whose outcome is unknown, can no longer be running. "
            f"{_asked_next(tx, branch, now)}"
        )
    if branch.reason == "pending":
        return (
            f"{what} was accepted by {branch.spec.participant} {since}, which has not reported "
            f"its outcome yet. {_asked_next(tx, branch, now)}"
        )
    if not failed:
        if branch.in_flight:
            answer = f"the answer of {branch.spec.participant} is due {_in(branch.due_at, now)}"
            return f"{what} was sent: {answer}."
        return f"{what} is due {_in(next_attempt_at(tx, branch), now)}."
    calls = _plural(failed, "call", "calls")
    if branch.stuck and _last_was(tx, branch, "refused"):
        return (
            f"{what} was refused by {branch.spec.participant} {since}: {_quoted(branch.reason)}. "
            f"A decided operation may not be refused, so a human is needed. "
            f"{_asked_next(tx, branch, now)}"
        )
    human = " A human is needed." if branch.stuck else ""
    held = "that delivery" if tx.settled else "it"
    return (
        f"{branch.spec.participant} holds {held} up: {what} failed {since} for the first time, and "
        f"{calls} got no OK; the last said {_quoted(branch.reason)}.{human} "
        f"{_asked_next(tx, branch, now)}{_budget(tx, branch, now)}"
    )


def _budget(tx: Transaction, branch: Branch, now: int) -> str:
    """Say when a branch that fails is given up, if its initiator has said so."""
    ends = []
    if branch.spec.attempts_max:
        failing = "call" if branch.spec.is_delivery else "failing call"
        ends.append(f"after {_plural(branch.spec.attempts_max, failing, failing + 's')}")
    if branch.give_up_at:
        ends.append(_in(branch.give_up_at, now))
    if not ends or (tx.decided and not branch.spec.is_delivery):
        return ""
    with_it = "" if branch.spec.is_delivery else ", and the transaction is cancelled"
    return f" Without an OK it is given up {' or '.join(ends)}{with_it}."


def _last_was(tx: Transaction, branch: Branch, answer: str) -> bool:
    for entry in reversed(tx.timeline):
        if entry.branch_id == branch.spec.id and entry.detail == branch.reason:
            return entry.event.endswith(answer)
    return False


def _asked_next(tx: Transaction, branch: Branch, now: int) -> str:
    if branch.in_flight:
        return f"Another call is under way; its answer is due {_in(branch.due_at, now)}."
    at = next_attempt_at(tx, branch)
    if tx.paused or tx.frozen:
        return "It is not asked again while that lasts."
    return f"It is asked again {_in(at, now)}."


# ---------------------------------------------------------------- what happens next


def _next(tx: Transaction, now: int) -> Iterator[str]:
    if tx.frozen:
        return
    if tx.pivot_sent:
        yield (
            f"Its pivot {_pivot(tx).spec.id} was sent, so nothing but the answer to that decides: "
            "OK confirms it, a refusal cancels it. Neither the deadline nor an operator does."
        )
    elif not tx.decided:
        expect = ""
        if tx.auto_commit:
            expect = "Once every Try is OK it is confirmed; one refusal cancels it. "
        due = _in(tx.deadline_at, now)
        yield f"{expect}If nothing decides before, its deadline cancels it {due}."
    elif not tx.settled:
        end = "confirmed" if tx.decision is Decision.CONFIRM else "cancelled"
        unasked = [
            branch
            for branch in _first_phase(tx)
            if branch.state not in SETTLED and branch not in held_up_by(tx)
        ]
        if unasked:
            ids = _listed([branch.spec.id for branch in unasked])
            yield f"After that comes the turn of {ids}."
        yield f"It is {end} as soon as every tcc and saga branch is settled."
    else:
        waiting = held_up_by(tx)
        later = [
            branch
            for branch in tx.branches
            if branch.state not in SETTLED and branch not in waiting
        ]
        if waiting or later:
            yield (
                "The outcome is final; only deliveries remain, and they change nothing about it."
            )
        if later:
            yield f"Deliveries that wait for others: {_listed([b.spec.id for b in later])}."


def _left_behind(tx: Transaction) -> Iterator[str]:
    skipped = [b.spec.id for b in tx.branches if b.state is BranchState.SKIPPED]
    if skipped:
        yield (
            f"Settled by hand, without the participant's word: {_listed(skipped)}. "
            "The timeline says by whom and why."
        )
    for branch in tx.branches:
        if branch.state is BranchState.UNDELIVERED:
            yield (
                f"The notice {branch.spec.id} ({branch.spec.action}) was given up after "
                f"{_plural(branch.attempt, 'call', 'calls')}: {_quoted(branch.reason)}."
            )


# ---------------------------------------------------------------- what an operator may do


def _advice(tx: Transaction) -> str:
    command = "`trypact tx {} " + tx.xid + " --reason ...`"
    if tx.frozen:
        return (
            "What to do: keep the journal as it is, look at the participants' own records for "
            "this xid, and report this as a bug together with `trypact tx show "
            f"{tx.xid} -o json`. No command changes a frozen transaction."
        )
    if not _unfinished(tx):
        return "Nothing is left to do."
    if tx.paused:
        return f"What to do: {command.format('resume')} lets calls leave again."
    if not tx.decided:
        return f"What to do: {_advice_undecided(tx, command)}"
    if any(branch.stuck for branch in tx.branches):
        stuck = next(branch for branch in tx.branches if branch.stuck)
        return (
            f"What to do: mend {stuck.spec.participant}, then {command.format('retry')} asks at "
            "once. Only if its effect was put right by hand: `trypact tx skip-branch "
            f"{tx.xid} {stuck.spec.id} --reason ...`. The decision itself cannot be changed."
        )
    return f"What to do: {_mending(tx)} {command.format('retry')} asks at once instead of waiting."


def _mending(tx: Transaction) -> str:
    """Say what to do about the worst of those that hold it up, which mostly is nothing."""
    for branch in held_up_by(tx):
        if failed_calls(tx, branch) < _FAILING_CALLS or not _last_was(tx, branch, "unknown"):
            continue
        who, then = branch.spec.participant, "it goes on by itself then."
        if raised := _RAISED.search(branch.reason):
            return f"look for {raised[1]} in the log of {who}, and mend its handler; {then}"
        if "the participant's database" in branch.reason:
            return f"see that the database of {who} answers; {then}"
        if branch.reason.startswith("UNAVAILABLE"):
            ping = f"`trypact participant ping {who}`"
            return f"start {who}, or see why the coordinator cannot reach it ({ping}); {then}"
        return f"see in the log of {who} why it gives no answer; {then}"
    return "nothing, it goes on by itself."


def _advice_undecided(tx: Transaction, command: str) -> str:
    tried = _deciding(tx)
    if tx.pivot_sent:
        asks = f"{command.format('retry')} asks at once"
        return f"see that {_pivot(tx).spec.participant} answers; {asks} instead of waiting."
    cancel = f"{command.format('cancel')} cancels it safely at any time"
    if tried and all(branch.state is BranchState.TRIED for branch in tried):
        return (
            f"nothing, unless its initiator is gone: then {command.format('confirm')} confirms "
            f"it, or {cancel}."
        )
    return f"{_mending(tx)} {cancel}; confirming it by hand is possible only once every Try is OK."


# ---------------------------------------------------------------- words


def _first_phase(tx: Transaction) -> list[Branch]:
    return [branch for branch in tx.branches if not branch.spec.is_delivery]


def _deciding(tx: Transaction) -> list[Branch]:
    """Return the branches that are tried before the decision."""
    return [branch for branch in tx.branches if branch.role in DECIDING]


def _pivot(tx: Transaction) -> Branch:
    return next(branch for branch in tx.branches if branch.role is Role.PIVOT)


def _unfinished(tx: Transaction) -> bool:
    return not tx.settled or any(branch.state not in SETTLED for branch in tx.branches)


def _counted(tx: Transaction, *states: BranchState) -> str:
    branches = _first_phase(tx)
    done = sum(branch.state in states for branch in branches)
    return f"{done} of {_plural(len(branches), 'branch is', 'branches are')}"


def _plural(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _quoted(text: str) -> str:
    return f"“{one_line(text)}”" if text.strip() else "no reason was given"


def _listed(ids: list[str]) -> str:
    shown = ", ".join(ids[:_DESCRIBED_MAX])
    more = len(ids) - _DESCRIBED_MAX
    return f"{shown} and {more} more" if more > 0 else shown


def _ago(at: int, now: int) -> str:
    if not at:
        # The line that would tell was left out of a long timeline.
        return "some time ago"
    return f"{in_words(now - at)} ago"


def _in(at: int, now: int) -> str:
    return f"in {in_words(at - now)}" if at > now else "now"
