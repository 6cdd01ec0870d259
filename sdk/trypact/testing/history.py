"""What happened in an environment: the trace of all calls, and what participants really answered.

The coordinator has an opinion of what its participants did; this is what they did. A reply that
was lost, a call that came twice or a Try that came after its Cancel are in here, as they happened.
"""

from typing import NamedTuple

from trypact_coordinator.core.events import Answer, Ok, Pending, Refused, Retry, Unknown
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.core.transaction import Operation, Transaction

Key = tuple[str, str]


class Line(NamedTuple):
    """One line of a trace."""

    at_us: int
    # "" for what concerns no transaction, or all of them.
    xid: str
    text: str


class History:
    """The trace of one environment, and the answers of its participants, in their order."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._answers: dict[Key, list[tuple[Operation, Answer]]] = {}

    def note(self, at_us: int, text: str, xid: str = "") -> None:
        """Write a line."""
        self._lines.append(Line(at_us, xid, text))

    def answered(self, at_us: int, call: Call, answer: Answer) -> None:
        """Note what a participant itself answered to a call that reached it."""
        self._answers.setdefault((call.xid, call.branch_id), []).append((call.operation, answer))
        self.note(at_us, f"{said_of(call)} is answered {said(answer)}", call.xid)

    def answers(self, xid: str, branch_id: str) -> list[tuple[Operation, Answer]]:
        """Return what the participant of a branch answered, call by call."""
        return self._answers.get((xid, branch_id), [])

    def timeline(self, transaction: Transaction) -> str:
        """Draw the part of the trace that concerns one transaction, in the order it happened."""
        xid = transaction.xid
        numbers = [number for number, line in enumerate(self._lines) if line.xid == xid]
        lines = self._lines[numbers[0] : numbers[-1] + 1] if numbers else []
        head = f"{xid} {transaction.spec.name!r} is {transaction.state.name}"
        stuck = f", stuck: {transaction.stuck_reason}" if transaction.stuck_reason else ""
        return "\n".join([head + stuck, *(_drawn(one) for one in lines if one.xid in (xid, ""))])

    def trace(self) -> str:
        """Draw the whole trace."""
        return "\n".join(map(_drawn, self._lines))


def _drawn(line: Line) -> str:
    return f"{line.at_us / 1e6:12.3f} s  {line.text}"


def said_of(call: Call) -> str:
    """Name a call."""
    name = call.operation.name.capitalize()
    return f"{name} #{call.attempt} of {call.branch_id} ({call.branch.action})"


def said(answer: Answer) -> str:
    """Say an answer in words."""
    match answer:
        case Ok(result):
            return f"OK {result.decode('utf-8', 'replace')[:80]}".rstrip()
        case Refused(reason):
            return f"REFUSED: {reason}"
        case Retry(after_ms):
            return f"RETRY in {after_ms} ms"
        case Pending():
            return "PENDING"
        case Unknown(error):
            return f"nothing that counts: {error}"
