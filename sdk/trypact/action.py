"""Actions as values: the name and the types of an operation, shared by both of its sides.

    RESERVE = Action("inventory.reserve", request=Reserve, result=Held)

    @inventory.tcc(RESERVE)                       # the participant
    class Reserves: ...

    held = await tx.try_(RESERVE, Reserve("sku-1", 2))    # the initiator; `held` is a Held

A module that holds a service's actions is all that its callers need to import of it.
"""

import re
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\.[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True, init=False)
class Action(Generic[RequestT, ResultT]):
    """What a participant offers, with the types of its request and its result.

    Args:
        name: "participant.verb".
        request: what its payloads are: a dataclass, `dict`, `bytes`.
        result: what its Try (or Deliver) answers; nothing if not given.

    Raises ValueError for a name of another form.

        >>> reserve = Action("inventory.reserve", request=dict, result=dict)
        >>> async with client.transaction("order") as tx:
        ...     await tx.try_(reserve, {"pieces": 2})
        {'pieces': 2}
    """

    name: str
    request: type[RequestT]
    result: type[ResultT]

    @overload
    def __init__(
        self: "Action[RequestT, None]", name: str, *, request: type[RequestT], result: None = None
    ) -> None: ...
    @overload
    def __init__(self, name: str, *, request: type[RequestT], result: type[ResultT]) -> None: ...
    def __init__(self, name: str, *, request: Any, result: Any = None) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} is no action's name; allowed: two lower-case words, 'participant.verb'"
            )
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "request", request)
        object.__setattr__(self, "result", type(None) if result is None else result)

    @property
    def participant(self) -> str:
        """The first half of its name: who serves it."""
        return self.name.partition(".")[0]

    @property
    def verb(self) -> str:
        """The second half of its name."""
        return self.name.partition(".")[2]
