"""Every error that a coordinator, a service or a fence can answer, with all there is to say.

The terminal (`trypact explain`) and the error pages of the reference are made from these entries,
so they say the same. It must never know an error that the coordinator does not: what an error is
called and what it means stands at its class.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

# These modules add errors of their own to the tree.
import trypact_coordinator.journal.schema
import trypact_coordinator.server.errors
import trypact_coordinator.server.listening
import trypact_coordinator.settings  # noqa: F401
from trypact_coordinator.cli.advice import ADVICE, Advice
from trypact_coordinator.cli.failures import exit_code_of
from trypact_coordinator.cli.fence_advice import FENCE_ADVICE
from trypact_coordinator.cli.service_advice import SERVICE_ADVICE
from trypact_coordinator.core.errors import CallerError, CoordinatorError, JournalError

# What stands only for its subclasses.
_ABSTRACT = (CoordinatorError, CallerError, JournalError)

_WHOSE = {
    "business": "Nobody's: it is a business no, and an answer.",
    "caller": "The caller's, who sent the request.",
    "nobody": "Nobody's: it passes, and asking again helps.",
    "operator": "The operator's, of the coordinator or its journal.",
    "participant": "The participant's, whose answer it is.",
    "us": "Ours: it is a bug.",
}


class Speaker(StrEnum):
    """Who says it."""

    COORDINATOR = "coordinator"
    # To its caller.
    SERVICE = "service"
    # To the coordinator, in its participant's answer.
    FENCE = "fence"


class Entry(NamedTuple):
    """One reason: what it means, and what the reader of it can do."""

    reason: str
    # The name of the gRPC status; of a fence's, the answer.
    status: str
    # One or two sentences.
    what: str
    advice: Advice
    speaker: Speaker = Speaker.COORDINATOR

    def paragraphs(self) -> Iterator[tuple[str, str]]:
        """Yield what there is to say, each paragraph with what it is about."""
        yield "When", self.advice.when
        yield "What to do", self.advice.todo
        yield "Whose it is", _WHOSE[self.advice.whose]
        if self.speaker is Speaker.SERVICE:
            yield "On the wire", f"gRPC status `{self.status}`, details `{self.reason}: ...`."
        elif self.speaker is Speaker.FENCE:
            yield "On the wire", f"The answer `{self.status}`, reason `{self.reason}: ...`."
        elif self.advice.raises:
            yield "On the wire", f"gRPC status `{self.status}`, ErrorInfo reason `{self.reason}`."
        if self.advice.raises:
            yield "In Python", f"`trypact.errors.{self.advice.raises}`."
        if self.speaker is Speaker.COORDINATOR:
            code = exit_code_of(self.status, self.reason)
            yield "At the command line", f"Exit code {code}."
        yield "For example", f"“{self.advice.example}”"


def entries() -> dict[str, Entry]:
    """Return all entries by reason: the coordinator's as in its tree, services', fences'."""
    found: dict[str, Entry] = {}
    for error in _tree(CoordinatorError):
        if error not in _ABSTRACT and error.reason not in found:
            what = " ".join((error.__doc__ or "").split())
            found[error.reason] = Entry(error.reason, error.status, what, ADVICE[error.reason])
    nameless = "Something failed that has no name."
    found["INTERNAL"] = Entry("INTERNAL", "INTERNAL", nameless, ADVICE["INTERNAL"])
    for reason, (status, what, advice) in SERVICE_ADVICE.items():
        found[reason] = Entry(reason, status, what, advice, Speaker.SERVICE)
    for reason, (what, advice) in FENCE_ADVICE.items():
        found[reason] = Entry(reason, "REFUSED", what, advice, Speaker.FENCE)
    return found


def _tree(root: type[CoordinatorError]) -> Iterator[type[CoordinatorError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)
