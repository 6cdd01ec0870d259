"""What an initiator asks for: branches of four kinds, described before anything is sent.

[
    tcc("inventory.reserve", Reserve(sku="sku-1", quantity=2), id="stock"),
    message("member.add_points", {"points": 30}, after=["stock"]),
    message(topic="order.paid", payload={"order": "17"}),
    notice("notification.send", {"text": "paid"}, on="any", delay=5.0),
]
"""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from trypact._arguments import require_number, require_text
from trypact.action import Action
from trypact.errors import InvalidRequest, LimitExceeded, PayloadError
from trypact.kinds import Kind, On
from trypact.limits import (
    ATTEMPTS_MAX,
    BRANCH_ID_BYTES_MAX,
    DELAY_S_MAX,
    PAYLOAD_BYTES_MAX,
    TIMEOUT_S_MAX,
)
from trypact.payload import encode
from trypact.v1 import transaction_pb2

RequestT = TypeVar("RequestT")


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch of a transaction, as its initiator describes it.

    >>> branch = tcc("inventory.reserve", {"pieces": 2}, id="stock")
    >>> branch.id, branch.payload
    ('stock', b'{"pieces":2}')
    """

    kind: Kind
    # "participant.verb".
    action: str
    payload: bytes = b""
    # Unique in its transaction. Empty until the transaction chooses a readable one.
    id: str = ""
    # Branch ids whose Try (or, for a delivery, whose end) comes first.
    after: tuple[str, ...] = ()
    on: On = On.CONFIRM
    delay_ms: int = 0
    pivot: bool = False
    attempts_max: int = 0
    retry_for_ms: int = 0
    # Of a message that has no action: it goes to everybody who has subscribed.
    topic: str = ""

    @property
    def is_delivery(self) -> bool:
        """Whether it is delivered after the decision instead of tried before it."""
        return self.kind in _DELIVERIES


_DELIVERIES = (Kind.MESSAGE, Kind.NOTICE)


def tcc(
    action: Action[RequestT, Any] | str,
    payload: RequestT | None = None,
    *,
    id: str = "",  # noqa: A002
    after: Sequence[str] = (),
    attempts: int = 0,
    retry_for: float = 0.0,
) -> Branch:
    """Reserve in Try; use the reservation in Confirm, or release it in Cancel.

    Args:
        action: "participant.verb", or an Action, which says what the payload must be.
        payload: a dataclass, a model of msgspec, pydantic or protobuf, a dict, list, scalar, bytes
            or None; at most 256 KiB as JSON.
        id: unique in its transaction; the verb if not given.
        after: ids of branches whose Try comes first.
        attempts: failing calls of its Try after which the transaction is cancelled; 0 for as many
            as fit before the deadline. PENDING is no failure.
        retry_for: seconds since the first failing call after which the same happens; 0 likewise.

    Raises PayloadError, LimitExceeded or InvalidRequest.

        >>> outcome = await client.execute("order", [tcc("inventory.reserve", {"pieces": 2})])
        >>> outcome.result("reserve")
        {'pieces': 2}
    """
    return branch_of(
        Kind.TCC, action, payload, id=id, after=after, attempts=attempts, retry_for=retry_for
    )


def saga(
    action: Action[RequestT, Any] | str,
    payload: RequestT | None = None,
    *,
    id: str = "",  # noqa: A002
    after: Sequence[str] = (),
    attempts: int = 0,
    retry_for: float = 0.0,
    pivot: bool = False,
) -> Branch:
    """Do the work in Try; compensate it in Cancel, in reverse order of the saga's steps.

    The other arguments and the errors are those of `tcc`.

    Args:
        action: "participant.verb", or an Action.
        payload: as of `tcc`.
        id: as of `tcc`.
        after: as of `tcc`.
        attempts: as of `tcc`.
        retry_for: as of `tcc`.
        pivot: it cannot be compensated, so its answer is the decision. It comes after all other
            tcc and saga branches, but for saga steps after it, which are done whatever it takes.
            For `execute`: in an interactive transaction the decision is yours.

        >>> flight = saga("inventory.book", {"pieces": 1}, id="flight")
        >>> hotel = saga("inventory.book", {"pieces": 1}, id="hotel", after=["flight"])
        >>> str((await client.execute("trip", [flight, hotel])).state)
        'confirmed'
    """
    return branch_of(
        Kind.SAGA,
        action,
        payload,
        id=id,
        after=after,
        attempts=attempts,
        retry_for=retry_for,
        pivot=pivot,
    )


def message(
    action: Action[RequestT, Any] | str = "",
    payload: RequestT | None = None,
    *,
    topic: str = "",
    id: str = "",  # noqa: A002
    after: Sequence[str] = (),
    on: On | str = On.CONFIRM,
    delay: float = 0.0,
) -> Branch:
    """Deliver after the decision, again and again until it is acknowledged.

    Args:
        action: "participant.verb", or an Action, which says what the payload must be. Not with a
            topic.
        topic: "order.paid": deliver to every participant that has subscribed to it by the time
            the message is admitted, to each until it acknowledges.
        payload: a dataclass, a model of msgspec, pydantic or protobuf, a dict, list, scalar, bytes
            or None; at most 256 KiB as JSON.
        id: unique in its transaction; the verb if not given.
        after: ids of branches whose end comes first.
        on: the decision it is for: "confirm", "cancel" or "any".
        delay: seconds between the decision and the first delivery.

    Raises PayloadError, LimitExceeded or InvalidRequest.

        >>> stock = tcc("inventory.reserve", {"pieces": 2}, id="stock")
        >>> points = message("member.add_points", {"points": 30}, after=["stock"])
        >>> (await client.execute("order", [stock, points])).confirmed
        True
    """
    if bool(topic) == bool(action):
        raise InvalidRequest("message: needs an action or a topic; allowed: one of them")
    require_text("topic", topic)
    branch = branch_of(Kind.MESSAGE, action, payload, id=id, after=after, on=on, delay=delay)
    return replace(branch, topic=topic) if topic else branch


def notice(
    action: Action[RequestT, Any] | str,
    payload: RequestT | None = None,
    *,
    id: str = "",  # noqa: A002
    after: Sequence[str] = (),
    on: On | str = On.CONFIRM,
    delay: float = 0.0,
    attempts: int = 0,
    retry_for: float = 0.0,
) -> Branch:
    """Deliver after the decision, a bounded number of times; its failure never matters.

    The other arguments and the errors are those of `message`.

    Args:
        action: "participant.verb", or an Action.
        payload: as of `message`.
        id: as of `message`.
        after: as of `message`.
        on: as of `message`.
        delay: as of `message`.
        attempts: deliveries after which it is given up; 0 for as many as the coordinator's policy
            says, or `retry_for` allows.
        retry_for: seconds since the first failing delivery after which it is given up; 0 for none.

        >>> sorry = notice("notification.send", {"text": "sold out"}, on="cancel")
        >>> (await client.execute("order", [sorry])).branch("send").state is BranchState.NOT_NEEDED
        True
    """
    return branch_of(
        Kind.NOTICE,
        action,
        payload,
        id=id,
        after=after,
        on=on,
        delay=delay,
        attempts=attempts,
        retry_for=retry_for,
    )


def branch_of(
    kind: Kind | str,
    action: Action[RequestT, Any] | str,
    payload: RequestT | None = None,
    *,
    id: str = "",  # noqa: A002
    after: Sequence[str] = (),
    on: On | str = On.CONFIRM,
    delay: float = 0.0,
    attempts: int = 0,
    retry_for: float = 0.0,
    pivot: bool = False,
) -> Branch:
    """Return a branch of that kind; the builders above say what each argument means."""
    name = action.name if isinstance(action, Action) else action
    if isinstance(after, str):
        raise InvalidRequest(f"after: {after!r} is one string; allowed: a list of branch ids")
    for field, text in (("action", name), ("id", id), *(("after", one) for one in after)):
        require_text(field, text)
    if (delay, retry_for, attempts) != _UNBOUNDED:
        _check_numbers(delay, retry_for, attempts)
    try:
        data = encode(payload)
    except PayloadError as error:
        field = f"payload.{error.field}" if error.field else "payload"
        raise PayloadError(field, f"{error.why} (of {name})") from None
    if len(data) > PAYLOAD_BYTES_MAX:
        raise LimitExceeded(
            f"payload of {name or 'a message'}: is {len(data)} bytes long; allowed: at most "
            f"{PAYLOAD_BYTES_MAX}"
        )
    return Branch(
        kind=kind if type(kind) is Kind else word(Kind, "kind", kind),
        action=name,
        payload=data,
        id=id,
        after=tuple(after),
        on=on if type(on) is On else word(On, "on", on),
        delay_ms=round(delay * 1000),
        pivot=pivot,
        attempts_max=attempts,
        retry_for_ms=math.ceil(retry_for * 1000),
    )


# Neither a delay nor a budget of its own, like nearly every branch. (A False is a zero here; all
# else that is no number of its kind is found.)
_UNBOUNDED = (0, 0, 0)


def _check_numbers(delay: float, retry_for: float, attempts: int) -> None:
    require_number("delay", delay, 0, DELAY_S_MAX, "seconds")
    require_number("retry_for", retry_for, 0, TIMEOUT_S_MAX, "seconds")
    require_number("attempts", attempts, 0, ATTEMPTS_MAX)
    if not isinstance(attempts, int):
        raise InvalidRequest(f"attempts: is {attempts!r}; allowed: a whole number")


def word(words: Any, field: str, value: Any) -> Any:
    """Return the word of the protocol that a caller gave. Raises InvalidRequest."""
    try:
        return words(value)
    except ValueError:
        allowed = ", ".join(str(word) for word in words)
        raise InvalidRequest(f"{field}: is {value!r}; allowed: {allowed}") from None


def with_ids(
    branches: Iterable[Branch], taken: Iterable[str] = (), prefix: str = ""
) -> Sequence[Branch]:
    """Give every branch that has no id a readable one: its verb, "reserve-2" for the second.

    The same branches in the same order always get the same ids. Raises InvalidRequest for what is
    no branch.
    """
    listed = _listed(branches)
    used = {branch.id for branch in listed}
    if "" not in used:
        return listed
    used.update(taken)
    named = []
    for branch in listed:
        if not branch.id:
            verb = (branch.action or branch.topic).rpartition(".")[2] or "branch"
            branch = replace(branch, id=free_id(prefix + verb, used))  # noqa: PLW2901
            used.add(branch.id)
        named.append(branch)
    return named


def _listed(branches: Any) -> tuple[Branch, ...]:
    made = "what tcc(), saga(), message() and notice() return"
    if not isinstance(branches, list | tuple) and (
        isinstance(branches, str | bytes | Mapping) or not isinstance(branches, Iterable)
    ):
        kind = type(branches).__name__
        raise InvalidRequest(f"branches: is one {kind}; allowed: a list of {made}")
    listed = tuple(branches)
    for number, branch in enumerate(listed):
        if not isinstance(branch, Branch):
            kind = type(branch).__name__
            raise InvalidRequest(f"branches: item {number} is a {kind}; allowed: {made}")
    return listed


def free_id(wanted: str, used: Container[str]) -> str:
    """Return an id like the one that is wanted, that is not used yet."""
    # Room for a number; what is no id at all is refused by the coordinator, with its name.
    wanted = wanted[: BRANCH_ID_BYTES_MAX - 4]
    number, candidate = 1, wanted
    while candidate in used:
        number += 1
        candidate = f"{wanted}-{number}"
    return candidate


def to_wire(branch: Branch) -> transaction_pb2.Branch:
    """Return the branch as it travels. Raises InvalidRequest."""
    wire = transaction_pb2.Branch()
    write(branch, wire)
    return wire


def write(branch: Branch, wire: transaction_pb2.Branch) -> None:
    """Write a branch into its place in a request, which is empty. Raises InvalidRequest."""
    # Field by field, and only what says something: half the price of naming them all at once.
    try:
        wire.id = branch.id
        wire.kind = branch.kind.wire
        if branch.topic:
            wire.topic = branch.topic
        else:
            wire.action = branch.action
        if branch.payload:
            wire.payload = branch.payload
        if branch.after:
            wire.after.extend(branch.after)
        if branch.delay_ms:
            wire.delay_ms = branch.delay_ms
        if branch.pivot:
            wire.pivot = True
        if branch.attempts_max:
            wire.attempts_max = branch.attempts_max
        if branch.retry_for_ms:
            wire.retry_for_ms = branch.retry_for_ms
        if branch.is_delivery:
            wire.on = branch.on.wire
    except (TypeError, ValueError) as error:
        # No text at all, or none that UTF-8 can say.
        raise InvalidRequest(f"branch {branch.id!r} of {branch.action!r}: {error}") from None
