"""The filter of ListTransactions: a small part of AIP-160, read into a Query.

    state=TRYING AND label.order="17" AND older_than=1h

Terms are `key=value` joined by AND; a value may be quoted, with backslash escapes. Everything
else of AIP-160 (OR, NOT, other comparisons, parentheses) is refused by name, never ignored.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from trypact_coordinator.core import limits
from trypact_coordinator.core.errors import InvalidArgument, LimitExceeded
from trypact_coordinator.core.transaction import State
from trypact_coordinator.durations import parse_ms
from trypact_coordinator.ports import Query

FILTER_BYTES_MAX = 4096
_LABEL = "label."
_FORM = 'key=value AND key="value"'
_TOKEN = re.compile(
    r"""\s*(?:(?P<word>[^\s="()<>!]+)|"(?P<text>(?:[^"\\]|\\.)*)"|(?P<sign>[<>!]?=|.))""",
    re.DOTALL,
)


def parse_filter(text: str, now: int) -> Query:
    """Read a filter; `now` is what ages are counted from.

    Raises InvalidArgument naming `filter`, the term and what is allowed instead.
    """
    size = len(text.encode())
    if size > FILTER_BYTES_MAX:
        raise LimitExceeded("filter", f"is {size} bytes long", f"at most {FILTER_BYTES_MAX}")
    fields: dict[str, Any] = {}
    for key, value in _terms(text):
        name, read = _label(key) if key.startswith(_LABEL) else _known(key)
        if name in fields:
            raise InvalidArgument("filter", f"has {key.partition('.')[0]} twice")
        try:
            fields[name] = read(value, now)
        except ValueError as error:
            raise InvalidArgument("filter", f"{key}: {error}") from None
    return Query(**fields)


def _terms(text: str) -> Iterator[tuple[str, str]]:
    tokens = _TOKEN.finditer(text.strip())
    token = next(tokens, None)
    while token is not None:
        key = _word(token, "a key")
        token = _next(tokens)
        if key == _LABEL and token["text"] is not None:
            # A label whose own name needs quotes: label."a=b"="17".
            key += _unquote(token["text"])
            token = _next(tokens)
        if token["sign"] != "=":
            raise _refuse(token, "=")
        token = _next(tokens)
        if token["text"] is not None:
            yield key, _unquote(token["text"])
        else:
            yield key, _word(token, f"the value of {key}")
        token = next(tokens, None)
        if token is not None:
            if token["word"] != "AND":
                raise _refuse(token, "AND")
            token = _next(tokens)


def _next(tokens: Iterator[re.Match[str]]) -> re.Match[str]:
    token = next(tokens, None)
    if token is None:
        raise InvalidArgument("filter", "ends within a term", _FORM)
    return token


def _word(token: re.Match[str], expected: str) -> str:
    word: str | None = token["word"]
    if word is None:
        raise _refuse(token, expected)
    return word


def _refuse(token: re.Match[str], expected: str) -> InvalidArgument:
    found = token[0].strip()[:64]
    return InvalidArgument("filter", f"has {found!r} where {expected} was expected", _FORM)


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


_Read = Callable[[str, int], Any]


def _label(key: str) -> tuple[str, _Read]:
    return "label", lambda value, _: (key.removeprefix(_LABEL), value)


def _known(key: str) -> tuple[str, _Read]:
    try:
        return _KEYS[key]
    except KeyError:
        raise InvalidArgument(
            "filter", f"has no key {key[:64]!r}", f"{', '.join(_KEYS)}, label.NAME"
        ) from None


def _state(value: str, _: int) -> State:
    try:
        return State[value.upper()]
    except KeyError:
        allowed = ", ".join(state.name for state in State)
        raise ValueError(f"{value!r} is no state; allowed: {allowed}") from None


def _text(value: str, _: int) -> str:
    if not value:
        raise ValueError("is empty")
    if len(value.encode()) > limits.NAME_BYTES_MAX:
        raise ValueError(f"is longer than {limits.NAME_BYTES_MAX} bytes")
    return value


def _truth(value: str, _: int) -> bool:
    if value not in ("true", "false"):
        raise ValueError(f"{value!r} is neither true nor false")
    return value == "true"


def _ago(value: str, now: int) -> int:
    return now - parse_ms(value) * 1_000


_KEYS: dict[str, tuple[str, _Read]] = {
    "state": ("state", _state),
    "name": ("name", _text),
    "participant": ("participant", _text),
    "stuck": ("stuck", _truth),
    "paused": ("paused", _truth),
    "unfinished": ("unfinished", _truth),
    "older_than": ("created_before", _ago),
    "newer_than": ("created_after", _ago),
}
