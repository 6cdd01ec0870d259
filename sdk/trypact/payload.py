"""Payloads and results: values of the service on one side, bytes of the wire on the other.

What is written is compact JSON with sorted keys, so that equal values are equal bytes: the same
request under the same xid is then the same transaction. `bytes` travel as they are, None as
nothing. Reading into a dataclass checks every field and names the first that is wrong; msgspec
structs, pydantic models and protobuf messages check themselves, anywhere inside.
"""

import dataclasses
import json
import math
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, overload
from uuid import UUID

from trypact._codecs import below, codec_of
from trypact.errors import PayloadError
from trypact.limits import PAYLOAD_DEPTH_MAX

ValueT = TypeVar("ValueT")
_Reader = Callable[[Any, str], Any]


def encode(value: Any) -> bytes:
    """Return the bytes of a dataclass, model, dict, list, scalar, bytes or None.

    A model is a msgspec struct, a pydantic model or a protobuf message. Dates are ISO 8601,
    Decimals and UUIDs strings, enums their values. Raises PayloadError for anything else, for NaN,
    and for keys that are no strings.
    """
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    return _JSON.encode(_plain(value, "", 0)).encode("utf-8", "surrogatepass")


_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plain(value: Any, path: str, depth: int) -> Any:
    if isinstance(value, Enum):
        return _plain(value.value, path, depth)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise PayloadError(path, f"is {value}, which JSON cannot carry")
        return value
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if depth > PAYLOAD_DEPTH_MAX:
        raise PayloadError(path, f"is nested deeper than {PAYLOAD_DEPTH_MAX} levels")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
        return {
            name: item if type(item) in _AS_IT_IS else _plain(item, below(path, name), depth + 1)
            for name, item in items
        }
    if isinstance(value, dict):
        return {
            _key(key, path): (
                item if type(item) in _AS_IT_IS else _plain(item, below(path, str(key)), depth + 1)
            )
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [
            item if type(item) in _AS_IT_IS else _plain(item, f"{path}[{i}]", depth + 1)
            for i, item in enumerate(value)
        ]
    model: Any = type(value)
    if (codec := codec_of(model)) is not None:
        return _plain(codec.plain(value, path), path, depth + 1)
    raise PayloadError(path, f"is {model.__name__}, which has no form in JSON")


# What needs no look inside, nor a path that an error could name.
_AS_IT_IS = frozenset((str, bool, int, NoneType))


def _key(key: Any, path: str) -> str:
    if not isinstance(key, str):
        raise PayloadError(path, f"has the key {key!r}, and JSON's keys are strings")
    return key


@overload
def decode(data: bytes, as_type: type[ValueT]) -> ValueT: ...
@overload
def decode(data: bytes, as_type: Any) -> Any: ...
def decode(data: bytes, as_type: Any = dict) -> Any:
    """Return the value of the bytes, as that type.

    Args:
        data: what `encode` wrote, here or in another language.
        as_type: `bytes` for the bytes themselves; otherwise a dataclass, a msgspec struct, a
            pydantic model, a protobuf message, a scalar, or any of their lists, dicts, tuples,
            unions and Literals. `dict` and `Any` take what comes.

    Raises PayloadError naming the field that is wrong, missing or unknown.
    """
    if as_type is bytes:
        return data
    value = _parsed(data) if data else None
    if value is None and as_type is dict:
        return {}
    try:
        return _reader(as_type)(value, "")
    except RecursionError:
        raise PayloadError("", "is nested too deeply") from None


def _parsed(data: bytes) -> Any:
    try:
        return _DECODER.decode(data.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise PayloadError(
            "", f"is not JSON ({error}); who wants bytes says Call[bytes] or bytes"
        ) from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# Made once: `json.loads` would make one for each payload.
_DECODER = json.JSONDecoder(parse_constant=_no_constant)


# ---------------------------------------------------------------- readers, one for each type


@cache
def _reader(wanted: Any) -> _Reader:
    """Return the function that reads a value of that type; it is built once for each."""
    if wanted is Any:
        return lambda value, path: value
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        return _dataclass_reader(wanted)
    if wanted in _SCALARS:
        return _SCALARS[wanted]
    origin, arguments = get_origin(wanted) or wanted, get_args(wanted)
    if origin in (Union, UnionType):
        return _union_reader(arguments)
    if origin is Literal:
        return _literal_reader(arguments)
    if origin is list:
        return _list_reader(list, arguments[0] if arguments else Any)
    if origin is tuple:
        return _tuple_reader(arguments)
    if origin is dict:
        return _dict_reader(arguments[1] if arguments else Any)
    if isinstance(origin, type) and issubclass(origin, Enum):
        return _enum_reader(origin)
    if isinstance(origin, type) and (codec := codec_of(origin)) is not None:
        return partial(codec.read, wanted)
    raise TypeError(
        f"{wanted!r} cannot be read from JSON; allowed: dataclasses, msgspec structs, pydantic "
        "models, protobuf messages, and lists, dicts, tuples and unions of them and of scalars"
    )


def _wrong(value: Any, path: str, wanted: str) -> PayloadError:
    if value is None:
        return PayloadError(path, f"is null, not {wanted}")
    return PayloadError(path, f"is {_JSON_NAMES.get(type(value), 'a value')}, not {wanted}")


_JSON_NAMES: dict[type, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    list: "an array",
    dict: "an object",
}


def _exactly(wanted: type, name: str) -> _Reader:
    def read(value: Any, path: str) -> Any:
        # bool is an int to Python, and a boolean to JSON.
        if type(value) is not wanted:
            raise _wrong(value, path, name)
        return value

    return read


def _float(value: Any, path: str) -> float:
    if type(value) not in (int, float):
        raise _wrong(value, path, "a number")
    try:
        return float(value)
    except OverflowError:
        raise PayloadError(path, "is too large for a number") from None


def _from_text(parse: Callable[[str], Any], name: str) -> _Reader:
    def read(value: Any, path: str) -> Any:
        if type(value) is not str:
            raise _wrong(value, path, f"{name} in a string")
        try:
            return parse(value)
        except (ValueError, InvalidOperation):
            raise PayloadError(path, f"is no {name.removeprefix('a ')}") from None

    return read


_SCALARS: dict[Any, _Reader] = {
    str: _exactly(str, "a string"),
    int: _exactly(int, "an integer"),
    bool: _exactly(bool, "a boolean"),
    NoneType: _exactly(NoneType, "null"),
    None: _exactly(NoneType, "null"),
    float: _float,
    Decimal: _from_text(Decimal, "a decimal number"),
    UUID: _from_text(UUID, "a UUID"),
    datetime: _from_text(datetime.fromisoformat, "a date and time"),
    date: _from_text(date.fromisoformat, "a date"),
}


def _dataclass_reader(wanted: type[Any]) -> _Reader:
    # Not resolved yet: a dataclass may contain itself.
    hints = get_type_hints(wanted)
    fields = [field for field in dataclasses.fields(wanted) if field.init]
    names = {field.name for field in fields}
    required = [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]

    def read(value: Any, path: str) -> Any:
        if type(value) is not dict:
            raise _wrong(value, path, f"an object of {', '.join(sorted(names))}")
        for name in required:
            if name not in value:
                raise PayloadError(below(path, name), "is missing")
        for name in value:
            if name not in names:
                raise PayloadError(below(path, name), "is no field of " + wanted.__name__)
        arguments = {
            name: _reader(hints[name])(item, below(path, name)) for name, item in value.items()
        }
        try:
            return wanted(**arguments)
        except (ValueError, TypeError) as error:
            # What the dataclass's own __post_init__ refuses.
            raise PayloadError(path, str(error) or "is not valid") from error

    return read


def _union_reader(options: tuple[Any, ...]) -> _Reader:
    def read(value: Any, path: str) -> Any:
        failures = []
        for option in options:
            try:
                return _reader(option)(value, path)
            except PayloadError as error:
                if option is not NoneType:
                    failures.append(error)
        if len(failures) == 1:
            raise failures[0]
        raise PayloadError(path, "; or ".join(error.why for error in failures))

    return read


def _literal_reader(options: tuple[Any, ...]) -> _Reader:
    def read(value: Any, path: str) -> Any:
        for option in options:
            if type(option) is type(value) and option == value:
                return option
        raise PayloadError(path, f"is none of {', '.join(map(repr, options))}")

    return read


def _enum_reader(wanted: type[Enum]) -> _Reader:
    def read(value: Any, path: str) -> Any:
        for member in wanted:
            if type(member.value) is type(value) and member.value == value:
                return member
        raise PayloadError(path, f"is none of {', '.join(repr(m.value) for m in wanted)}")

    return read


def _list_reader(make: Callable[[list[Any]], Any], item_type: Any) -> _Reader:
    def read(value: Any, path: str) -> Any:
        if type(value) is not list:
            raise _wrong(value, path, "an array")
        return make([_reader(item_type)(item, f"{path}[{i}]") for i, item in enumerate(value)])

    return read


def _tuple_reader(item_types: tuple[Any, ...]) -> _Reader:
    if not item_types:
        return _list_reader(tuple, Any)
    if len(item_types) == 2 and item_types[1] is Ellipsis:
        return _list_reader(tuple, item_types[0])

    def read(value: Any, path: str) -> Any:
        if type(value) is not list or len(value) != len(item_types):
            raise _wrong(value, path, f"an array of {len(item_types)}")
        return tuple(
            _reader(item_type)(item, f"{path}[{i}]")
            for i, (item_type, item) in enumerate(zip(item_types, value, strict=True))
        )

    return read


def _dict_reader(item_type: Any) -> _Reader:
    def read(value: Any, path: str) -> Any:
        if type(value) is not dict:
            raise _wrong(value, path, "an object")
        return {name: _reader(item_type)(item, below(path, name)) for name, item in value.items()}

    return read
