"""Models of other libraries as payloads: msgspec structs, pydantic models, protobuf messages.

Each becomes JSON's own values, and is read from them by its own library's rules, so that a field
is checked by whoever declared it. No library is imported for that before a value of its kind is
met, and then its owner has imported it already.

All of them are JSON on the wire, protobuf too: equal messages are then equal bytes (protobuf's
binary form does not promise that), they nest in whatever else is JSON, and an operator can read
them.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Protocol

from google.protobuf.message import Message

from trypact.errors import PayloadError


class Codec(Protocol):
    """Knows the models of one library."""

    def knows(self, model: type[Any]) -> bool:
        """Whether that type is one of its models."""
        ...

    def plain(self, value: Any, path: str) -> Any:
        """Return a model as JSON's own values. Raises PayloadError."""
        ...

    def read(self, model: Any, value: Any, path: str) -> Any:
        """Return the model that JSON's own values describe. Raises PayloadError."""
        ...


@cache
def codec_of(model: Any) -> Codec | None:
    """Return what knows that type; None for types that are not a library's models."""
    return next((codec for codec in _CODECS if codec.knows(model)), None)


def below(path: str, name: str | int) -> str:
    """Return the path of a field of an object, or of an item of an array."""
    if isinstance(name, int):
        return f"{path}[{name}]"
    return f"{path}.{name}" if path else name


class _Msgspec:
    """Structs; their library's strict rules."""

    def knows(self, model: type[Any]) -> bool:
        return hasattr(model, "__struct_fields__") and hasattr(model, "__struct_config__")

    def plain(self, value: Any, path: str) -> Any:
        import msgspec

        try:
            return msgspec.to_builtins(value, str_keys=True, order="deterministic")
        except (TypeError, ValueError) as error:
            raise PayloadError(path, str(error)) from error

    def read(self, model: Any, value: Any, path: str) -> Any:
        import msgspec

        try:
            return msgspec.convert(value, model, str_keys=True)
        except msgspec.ValidationError as error:
            why, _, place = str(error).partition(" - at `$")
            inside = place.rstrip("`").removeprefix(".")
            raise PayloadError(_joined(path, inside), why) from error


class _Pydantic:
    """Models, by alias; the rules are those of JSON input."""

    def knows(self, model: type[Any]) -> bool:
        return hasattr(model, "model_validate_json") and hasattr(model, "model_fields")

    def plain(self, value: Any, path: str) -> Any:
        try:
            plain = value.model_dump(mode="json", by_alias=True, round_trip=True)
            return _in_order(plain, value.model_dump(by_alias=True, round_trip=True))
        except ValueError as error:
            raise PayloadError(path, str(error)) from error

    def read(self, model: Any, value: Any, path: str) -> Any:
        try:
            return model.model_validate_json(json.dumps(value))
        except ValueError as error:
            first = error.errors()[0]  # type: ignore[attr-defined]
            for name in first["loc"]:
                path = below(path, name)
            raise PayloadError(path, first["msg"]) from error


def _in_order(plain: Any, value: Any) -> Any:
    """Return JSON's values of a value, with its sets sorted: theirs differs between processes."""
    if isinstance(value, set | frozenset) and isinstance(plain, list):
        return sorted(plain, key=json.dumps)
    if isinstance(value, dict) and isinstance(plain, dict) and len(value) == len(plain):
        items = zip(plain.items(), value.values(), strict=True)
        return {name: _in_order(item, inside) for (name, item), inside in items}
    if isinstance(value, list | tuple) and isinstance(plain, list) and len(value) == len(plain):
        return [_in_order(item, inside) for item, inside in zip(plain, value, strict=True)]
    return plain


class _Protobuf:
    """Messages, in protobuf's own JSON with the field names of the .proto file."""

    def knows(self, model: type[Any]) -> bool:
        return issubclass(model, Message)

    def plain(self, value: Any, path: str) -> Any:
        from google.protobuf import json_format

        try:
            return json_format.MessageToDict(value, preserving_proto_field_name=True)
        except (json_format.Error, TypeError, ValueError) as error:
            raise PayloadError(path, str(error)) from error

    def read(self, model: Any, value: Any, path: str) -> Any:
        from google.protobuf import json_format

        # Before reading: what the library does with other values differs from one to the next.
        if not isinstance(value, dict) and not _is_special(model.DESCRIPTOR):
            raise PayloadError(path, f"is no object of {model.DESCRIPTOR.name}'s fields")
        try:
            return _parsed(model, value)
        except json_format.ParseError as error:
            raise PayloadError(*_culprit(model, value, path, str(error))) from error


def _parsed(model: Any, value: Any) -> Any:
    """Return the message of JSON's values. Raises protobuf's ParseError."""
    from google.protobuf import json_format

    try:
        return json_format.ParseDict(value, model())
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # Of wrappers and of Any the library lets out what Python itself says of a wrong value.
        raise json_format.ParseError(f"is no {model.DESCRIPTOR.name}") from error


def _culprit(model: Any, value: Any, path: str, why: str) -> tuple[str, str]:
    """Return the path of the innermost field that cannot be read, and why."""
    from google.protobuf import json_format
    from google.protobuf.message_factory import GetMessageClass

    if isinstance(value, dict) and not _is_special(model.DESCRIPTOR):
        for name, item in value.items():
            field = _field(model.DESCRIPTOR, name)
            if field is None:
                return below(path, name), f"is no field of {model.DESCRIPTOR.name}"
            for place, alone in _items(field, item, below(path, name)):
                try:
                    _parsed(model, {name: alone})
                except json_format.ParseError as error:
                    said = re.sub(r"^Failed to parse \S+ field: ", "", str(error))
                    inner, one = field.message_type, alone[0] if alone is not item else item
                    if inner is None or inner.GetOptions().map_entry:
                        return place, said
                    return _culprit(GetMessageClass(inner), one, place, said)
    return path, why


def _items(field: Any, value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield what can be read alone of a field's value: each item of an array, or all of it."""
    if not (field.is_repeated and isinstance(value, list)):
        yield path, value
        return
    for number, item in enumerate(value):
        yield below(path, number), [item]


def _field(descriptor: Any, name: str) -> Any:
    return next(
        (field for field in descriptor.fields if name in (field.name, field.json_name)), None
    )


def _is_special(descriptor: Any) -> bool:
    """Whether it is one of those whose JSON is not an object of its fields, such as Timestamp."""
    return bool(descriptor.file.package == "google.protobuf")


def _joined(path: str, inside: str) -> str:
    if not inside or inside.startswith("["):
        return path + inside
    return below(path, inside)


_CODECS: tuple[Codec, ...] = (_Protobuf(), _Msgspec(), _Pydantic())
