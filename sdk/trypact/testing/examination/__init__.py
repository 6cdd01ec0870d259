"""Proves a participant right: duplicates, other orders, calls at once, late ones, crashes.

    report = await conformance(inventory, "inventory.reserve", {"sku": "tea", "pieces": 1})

The same cases run against a process of any language: `trypact conformance HOST:PORT ACTION`.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from trypact.errors import InvalidRequest
from trypact.kinds import Kind
from trypact.participant import Participant
from trypact.payload import encode
from trypact.testing.examination.callee import Callee, LocalCallee, RemoteCallee, Unreachable
from trypact.testing.examination.cases import CASES, Case
from trypact.testing.examination.repeats import tracebacks_once
from trypact.testing.examination.report import Finding, Mark, NotConformant, Report
from trypact.testing.examination.trial import Failed, NotServed, Subject, Trial

__all__ = [
    "Callee",
    "Finding",
    "Mark",
    "NotConformant",
    "NotServed",
    "RemoteCallee",
    "Report",
    "Subject",
    "Unreachable",
    "conformance",
    "examine",
]

# The cases without which no other says anything.
_FIRST = 1
_TOO_LATE = (
    "not tried because every call was answered before the kill; let handlers wait at their end"
)


async def conformance(
    participant: Participant | Callable[[], Participant],
    action: str | None = None,
    payload: Any = None,
    *,
    refused: Any = None,
    probe: Callable[[], Any] | None = None,
    patience: float = 10.0,
) -> Report:
    """Examine one action of a participant in this process, for each of its kinds.

    Args:
        participant: it, or what makes it: then it is also made anew, as after a crash.
        action: "inventory.reserve"; may be left out for a participant that serves but one.
        payload: one whose Try succeeds, some sixty times one after another; or what makes it of a
            number that is new for each branch, where the business wants a key of its own.
        refused: the same, whose Try is refused for business reasons, if there is one.
        probe: reads the business state, in any form that can be compared; sync or async. Without
            it an effect that comes twice is found only where its answer shows it.
        patience: seconds in which a call must be done or refused, asked again and again.

    Raises NotConformant, whose message is the table with the traces of what failed, and
    InvalidRequest for an action that is not served.

    >>> report = await conformance(inventory, "inventory.reserve", {"pieces": 1})
    >>> report.passed, report.failed
    (True, ())
    """
    local = LocalCallee(_maker(participant))
    served = {
        f"{local.participant.name}.{verb}": kinds
        for verb, kinds in local.participant.actions.items()
    }
    if action is None and len(served) == 1:
        (action,) = served
    if action is None or action not in served:
        known = ", ".join(served) or "nothing"
        raise InvalidRequest(f"action: {action!r} is not served; allowed: {known}")
    subject = Subject(
        action,
        Kind.TCC,
        _payloads(payload),
        refused_payload=None if refused is None else _payloads(refused),
        probe=None if probe is None else _awaitable(probe),
        restart=None if isinstance(participant, Participant) else local.restart,
        patience=patience,
    )
    findings: list[Finding] = []
    try:
        with tracebacks_once():
            for kind in served[action]:
                report = await examine(local, replace(subject, kind=kind))
                findings += report.findings
    finally:
        await local.close()
    whole = Report(action, tuple(findings))
    if not whole.passed:
        raise NotConformant(whole)
    return whole


async def examine(callee: Callee, subject: Subject) -> Report:
    """Run every case that the kind of a subject has.

    Raises Unreachable, and NotServed where there is nothing to examine.
    """
    await callee.ready(subject.patience)
    cases = [case for case in CASES if subject.kind in case.kinds]
    findings: list[Finding] = []
    for case in cases:
        first = findings[:_FIRST]
        if any(finding.mark is Mark.FAILED for finding in first):
            findings.append(_not_tried(case, subject, f"not tried because {first[0].name} failed"))
        elif not case.given(subject):
            findings.append(_not_tried(case, subject, f"not tried without {case.needs}"))
        else:
            findings.append(await _run(case, callee, subject, begun=bool(findings)))
    return Report(subject.action, tuple(findings))


async def _run(case: Case, callee: Callee, subject: Subject, *, begun: bool) -> Finding:
    trial = Trial(callee, subject)
    try:
        await case.run(trial)
    except Failed as failure:
        # Its very first call: there is nothing to examine.
        if isinstance(failure, NotServed) and not begun and len(trial.trace) == 1:
            raise
        return Finding(
            case.name,
            subject.kind,
            case.sentence,
            Mark.FAILED,
            str(failure),
            tuple(map(str, trial.trace)),
        )
    if trial.deaths and trial.late == trial.deaths:
        return _not_tried(case, subject, _TOO_LATE)
    return Finding(case.name, subject.kind, case.sentence, Mark.HELD)


def _not_tried(case: Case, subject: Subject, why: str) -> Finding:
    return Finding(case.name, subject.kind, case.sentence, Mark.NOT_TRIED, why)


def _maker(participant: Participant | Callable[[], Participant]) -> Callable[[], Participant]:
    if isinstance(participant, Participant):
        return lambda: participant
    return participant


def _payloads(payload: Any) -> Callable[[int], bytes]:
    if callable(payload):
        return lambda number: encode(payload(number))
    data = encode(payload)
    return lambda number: data


def _awaitable(probe: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    async def read() -> Any:
        said = probe()
        return await said if inspect.isawaitable(said) else said

    return read
