"""Drives a conversation by hand: a script of replies, virtual time, no I/O."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from trypact._exchange import Conversation, Exchange, Failure, Pause, Send


@dataclass
class Script:
    """What the coordinator answers, in order; an exception in its place ends the conversation."""

    replies: list[Any]
    now: float = 0.0
    draw: float = 1.0
    # How long each request takes before it is answered.
    latency: float = 0.0
    sent: list[Send] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def exchange(self, patience: float = 10.0) -> Exchange:
        return Exchange(
            "coordinator:7000", patience, clock=lambda: self.now, draw=lambda: self.draw
        )

    def drive(self, conversation: Conversation[Any]) -> Any:
        try:
            step = next(conversation)
            while True:
                if isinstance(step, Pause):
                    self.pauses.append(step.seconds)
                    self.now += step.seconds
                    step = next(conversation)
                else:
                    self.sent.append(step)
                    self.now += min(self.latency, step.timeout)
                    step = conversation.send(self._next())
        except StopIteration as done:
            return done.value

    def _next(self) -> Message | Failure:
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Callable):  # type: ignore[arg-type]
            reply = reply()
        if isinstance(reply, BaseException):
            raise reply
        answer: Message | Failure = reply
        return answer

    @property
    def methods(self) -> list[str]:
        """The names of what was sent."""
        return [send.rpc.path.rpartition("/")[2] for send in self.sent]


DOWN = Failure("UNAVAILABLE", "connection refused")
NO_CONNECTION = Failure("UNAVAILABLE", "failed to connect to all addresses; last error: refused")
OVERLOADED = Failure("RESOURCE_EXHAUSTED", "too many", "OVERLOADED", retry_after=0.5)


def refusal(code: str, status: str = "FAILED_PRECONDITION") -> Failure:
    """A failure that only means that."""
    return Failure(status, f"said {code}", code)
