"""Write the reference of the wire contract: `python tools/protocol_reference.py [--check]`.

`docs/reference/protocol.md` has every service, method, message, field and enum of `proto/trypact`,
with the comments of the .proto files. A service, a message or a method that is refused for good
reasons says so there, and nowhere else.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from pages import GENERATED, ROOT, written_or_checked

PACKAGE = "trypact/v1"
# As a reader meets them: first what the others speak of.
FILES = ("transaction", "initiator", "participant", "registry", "admin")

HEAD = f"""\
# The wire contract

What initiators, participants and the coordinator say to each other, over gRPC, from the files in
[`proto/{PACKAGE}`](../../proto/{PACKAGE}). A client of any language is generated from those;
[a participant in another language](../how-to/another-language.md) shows one. Errors are
[a page of their own](errors.md), and [the limits](limits.md) hold for every field.
"""

# A place in a file, as google.protobuf.SourceCodeInfo numbers it.
Place = tuple[int, ...]
_SYNTAX: Place = (12,)
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_FIELD, _NESTED, _VALUE, _METHOD = 2, 3, 2, 2


class Page:
    """The part of the page that comes from one file."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._file = file
        self._comments = {
            tuple(found.path): " ".join((found.leading_comments or found.trailing_comments).split())
            for found in file.source_code_info.location
        }

    def text(self) -> Iterator[str]:
        name = Path(self._file.name).name
        yield f"\n## {name}\n\n{self._comments.get(_SYNTAX, '')}\n"
        for number, service in enumerate(self._file.service):
            yield from self._service(service, (_SERVICE, number))
        for number, enum in enumerate(self._file.enum_type):
            yield from self._enum(enum, (_ENUM, number))
        for number, message in enumerate(self._file.message_type):
            yield from self._message(message, (_MESSAGE, number), message.name)

    def _service(self, service: ServiceDescriptorProto, place: Place) -> Iterator[str]:
        rows = []
        for number, method in enumerate(service.method):
            asked = _streamed(_linked(method.input_type), method.client_streaming)
            answered = _streamed(_linked(method.output_type), method.server_streaming)
            about = self._about((*place, _METHOD, number))
            rows.append((f"`{method.name}`", asked, answered, about))
        yield self._headed(service.name, place)
        yield from _table(("method", "request", "response", "what it does"), rows)

    def _message(self, message: DescriptorProto, place: Place, name: str) -> Iterator[str]:
        rows = []
        for number, field in enumerate(message.field):
            about = self._about((*place, _FIELD, number))
            if field.HasField("oneof_index") and not field.proto3_optional:
                choice = message.oneof_decl[field.oneof_index].name
                about = f"One of `{choice}`. {about}".rstrip()
            rows.append((f"`{field.name}`", str(field.number), _type_of(field, message), about))
        yield self._headed(name, place)
        yield from _table(("field", "number", "type", "meaning"), rows)
        for number, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                inside = (*place, _NESTED, number)
                yield from self._message(nested, inside, f"{name}.{nested.name}")

    def _enum(self, enum: EnumDescriptorProto, place: Place) -> Iterator[str]:
        rows = [
            (f"`{value.name}`", str(value.number), self._about((*place, _VALUE, number)))
            for number, value in enumerate(enum.value)
        ]
        yield self._headed(enum.name, place)
        yield from _table(("value", "number", "meaning"), rows)

    def _about(self, place: Place) -> str:
        return self._comments.get(place, "").replace("|", "\\|")

    def _headed(self, name: str, place: Place) -> str:
        about = self._comments.get(place, "")
        return f"\n### {name}\n" + (f"\n{about}\n" if about else "")


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        return
    yield f"\n| {' | '.join(titles)} |\n|{' --- |' * len(titles)}\n"
    for row in rows:
        yield f"| {' | '.join(row)} |\n"


def _streamed(linked: str, streams: bool) -> str:
    return f"stream of {linked}" if streams else linked


def _type_of(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    for nested in message.nested_type:
        if nested.options.map_entry and field.type_name.endswith(f".{nested.name}"):
            key, value = (_type_of(part, nested) for part in nested.field)
            return f"map of {key} to {value}"
    word = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    written = _linked(field.type_name) if field.type_name else f"`{word}`"
    repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    return f"repeated {written}" if repeated else written


def _linked(type_name: str) -> str:
    """Return a type as a link to where it stands on the page, if it is one of ours."""
    ours = f".{PACKAGE.replace('/', '.')}."
    name = type_name.removeprefix(ours)
    if name == type_name:
        return f"`{type_name.removeprefix('.')}`"
    return f"[`{name}`](#{name.lower().replace('.', '')})"


def described() -> FileDescriptorSet:
    """Return the contract as protoc reads it, comments included."""
    names = [f"{PACKAGE}/{name}.proto" for name in FILES]
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "set.binpb"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT / 'proto'}"]
        command += ["--include_source_info", f"--descriptor_set_out={out}", *names]
        subprocess.run(command, check=True)
        return FileDescriptorSet.FromString(out.read_bytes())


def page() -> str:
    by_name = {Path(file.name).stem: file for file in described().file}
    kept = {path.stem for path in (ROOT / "proto" / PACKAGE).glob("*.proto")}
    if kept != set(FILES):
        sys.exit(f"FILES in tools/protocol_reference.py has not {sorted(kept ^ set(FILES))}")
    return GENERATED + HEAD + "".join(text for name in FILES for text in Page(by_name[name]).text())


if __name__ == "__main__":
    sys.exit(written_or_checked(__doc__, "docs/reference", {"protocol.md": page()}))
