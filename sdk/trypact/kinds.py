"""The words of the protocol, as both sides of a service see them.

Each is a string that reads like the documentation, and knows its number on the wire.
"""

from enum import StrEnum
from typing import Any, Self, TypeVar


class Word(StrEnum):
    """A word of the protocol with its number on the wire."""

    number: int

    def __new__(cls, word: str, number: int = 0) -> Self:
        """Make the member of that word and number."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.number = number
        return member

    @classmethod
    def _missing_(cls, value: object) -> Self:
        what = cls.__name__.lower()
        raise ValueError(f"{what}: {value!r}; allowed: {', '.join(cls)}")

    @property
    def wire(self) -> Any:
        """Its number, for the generated stubs, which have a type of their own for each enum."""
        return self.number


class Kind(Word):
    """What a branch is.

    >>> [str(kind) for kind in Kind]
    ['tcc', 'saga', 'message', 'notice']
    """

    TCC = "tcc", 1
    SAGA = "saga", 2
    MESSAGE = "message", 3
    NOTICE = "notice", 4


class On(Word):
    """The decision after which a message or notice is delivered.

    >>> message("member.add_points", on="any").on is On.ANY
    True
    """

    CONFIRM = "confirm", 1
    CANCEL = "cancel", 2
    ANY = "any", 3


class Operation(Word):
    """What a participant can be asked to do for a branch.

    >>> [str(operation) for operation in Operation]
    ['try', 'confirm', 'cancel', 'deliver']
    """

    TRY = "try", 1
    CONFIRM = "confirm", 2
    CANCEL = "cancel", 3
    DELIVER = "deliver", 4


class Decision(Word):
    """The coordinator's verdict. CONFIRM and CANCEL never change once given.

    >>> (await client.decision("never-heard-of")).decision is Decision.UNKNOWN
    True
    """

    CONFIRM = "confirm", 1
    CANCEL = "cancel", 2
    UNDECIDED = "undecided", 3
    # The coordinator has never heard of the xid. That is not CANCEL.
    UNKNOWN = "unknown", 4


class State(Word):
    """Where a transaction is.

    >>> outcome = await client.execute("order", [tcc("inventory.reserve", {"pieces": 2})])
    >>> outcome.state is State.CONFIRMED
    True
    """

    TRYING = "trying", 1
    CONFIRMING = "confirming", 2
    CANCELLING = "cancelling", 3
    CONFIRMED = "confirmed", 4
    CANCELLED = "cancelled", 5


class BranchState(Word):
    """Where a branch is.

    >>> outcome = await client.execute("order", [tcc("inventory.reserve", {"pieces": 2})])
    >>> outcome.branch("reserve").state is BranchState.CONFIRMED
    True
    """

    REGISTERED = "registered", 1
    TRYING = "trying", 2
    TRIED = "tried", 3
    REFUSED = "refused", 4
    CONFIRMING = "confirming", 5
    CONFIRMED = "confirmed", 6
    CANCELLING = "cancelling", 7
    CANCELLED = "cancelled", 8
    DELIVERING = "delivering", 9
    DELIVERED = "delivered", 10
    # A notice whose deliveries all failed.
    UNDELIVERED = "undelivered", 11
    # A message or notice whose `on` is not what was decided.
    NOT_NEEDED = "not needed", 12
    # Settled by hand by an operator.
    SKIPPED = "skipped", 13


class Until(Word):
    """When a caller is answered."""

    # All tcc and saga branches are settled.
    SETTLED = "settled", 1
    # The decision is durable.
    DECIDED = "decided", 2


WordT = TypeVar("WordT", bound=Word)


def from_wire(words: type[WordT], number: int) -> WordT | None:
    """Return the member of that number; None for 0 and for those of a newer contract."""
    return _BY_NUMBER[words].get(number)


_BY_NUMBER: dict[type[Any], dict[int, Any]] = {
    words: {word.number: word for word in words} for words in Word.__subclasses__()
}
