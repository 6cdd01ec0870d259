"""What is published: a message, its states on the way, and the limits it meets at the door."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar, overload

from trypact.errors import InvalidRequest, LimitExceeded, PayloadError
from trypact.ids import new_xid
from trypact.limits import PAYLOAD_BYTES_MAX
from trypact.payload import decode, encode

ValueT = TypeVar("ValueT")

# Bytes of UTF-8. A topic can be an action, "participant.verb".
TOPIC_BYTES_MAX = 129
KEY_BYTES_MAX = 128
TAG_BYTES_MAX = 64
GROUP_BYTES_MAX = 64
ID_BYTES_MAX = 64


class State(StrEnum):
    """How far a message has got on its way out.

    >>> outbox = Outbox()
    >>> with engine.begin() as connection:
    ...     outbox.create_tables(connection)
    ...     _ = outbox.add(connection, Message("order.paid"))
    ...     [entry.state for entry in outbox.entries(connection)]
    [<State.NEW: 'NEW'>]
    """

    # In the table, and not published yet.
    NEW = "NEW"
    # Handed to the publisher; nobody knows yet whether it has arrived, so that is asked for.
    SENT = "SENT"
    # Refused by whom it was sent to. It is sent again, unless it is parked.
    FAILED = "FAILED"
    # Known to have arrived; retention removes it some day.
    ARRIVED = "ARRIVED"
    # Given up by hand; retention removes it too.
    SKIPPED = "SKIPPED"


# Nothing more happens to these by itself, and they hold nobody back.
ENDED = (State.ARRIVED, State.SKIPPED)
WAITING = tuple(state for state in State if state not in ENDED)


@dataclass(frozen=True, slots=True, init=False)
class Message:
    """A message to be published, or one that has been received.

    Args:
        topic: what it is about, at most 129 bytes: "order.paid".
        payload: a dataclass, dict, list, scalar, bytes or None; at most 256 KiB as JSON.
        key: messages with the same key are published in their order, one after another; at most
            128 bytes. Use a business key, such as the order's number: keys are meant to be many.
        tag: narrows the topic down for those who receive it; at most 64 bytes.
        group: who sends it, for operators; at most 64 bytes.
        id: unique among all messages of all services, for it is what duplicates are recognised
            by; a fresh one if not given; at most 64 bytes.

    Raises InvalidRequest, LimitExceeded or PayloadError, naming the field.

    >>> paid = Message("order.paid", {"order": 17}, key="17")
    >>> paid.payload, paid.read()
    (b'{"order":17}', {'order': 17})
    """

    topic: str
    payload: bytes
    key: str
    tag: str
    group: str
    id: str

    def __init__(
        self,
        topic: str,
        payload: Any = None,
        *,
        key: str = "",
        tag: str = "",
        group: str = "",
        id: str = "",  # noqa: A002
    ) -> None:
        values = {
            "topic": text_of("topic", topic, TOPIC_BYTES_MAX, required=True),
            "payload": _data(topic, payload),
            "key": text_of("key", key, KEY_BYTES_MAX),
            "tag": text_of("tag", tag, TAG_BYTES_MAX),
            "group": text_of("group", group, GROUP_BYTES_MAX),
            "id": text_of("id", id, ID_BYTES_MAX) or new_xid(),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @overload
    def read(self, as_type: type[ValueT]) -> ValueT: ...
    @overload
    def read(self, as_type: Any = Any) -> Any: ...
    def read(self, as_type: Any = Any) -> Any:
        """Return the payload as that type, or as JSON's own. Raises PayloadError."""
        return decode(self.payload, as_type)


def received(topic: str, payload: bytes, *, id: str, **names: str) -> Message:  # noqa: A002
    """Return a message that has come over a broker.

    Raises InvalidRequest for one without an id: with a fresh one each time it is delivered, no
    duplicate of it would be known again.
    """
    return Message(topic, payload, id=text_of("id", id, ID_BYTES_MAX, required=True), **names)


def text_of(field: str, value: Any, bytes_max: int, *, required: bool = False) -> str:
    """Return a text that every database and broker keeps. Raises InvalidRequest, LimitExceeded."""
    if not isinstance(value, str):
        raise InvalidRequest(f"{field}: is a {type(value).__name__}; allowed: a string")
    if required and not value:
        raise InvalidRequest(f"{field}: is empty; allowed: 1 to {bytes_max} bytes")
    if not value.isprintable():
        # What is no text in every database and every broker.
        raise InvalidRequest(f"{field}: is {value!r}; allowed: printable characters only")
    if value != value.strip():
        # MySQL compares without spaces at the end, and NATS takes them away.
        raise InvalidRequest(f"{field}: is {value!r}; allowed: no spaces at its ends")
    size_bytes = len(value.encode())
    if size_bytes > bytes_max:
        raise LimitExceeded(
            f"{field}: is {size_bytes} bytes long; allowed: at most {bytes_max} ({value[:20]!r}...)"
        )
    return value


def _data(topic: str, payload: Any) -> bytes:
    try:
        data = encode(payload)
    except PayloadError as error:
        field = f"payload.{error.field}" if error.field else "payload"
        raise PayloadError(field, f"{error.why} (of {topic})") from None
    if len(data) > PAYLOAD_BYTES_MAX:
        raise LimitExceeded(
            f"payload of {topic}: is {len(data)} bytes long; allowed: at most {PAYLOAD_BYTES_MAX}"
        )
    return data
