"""Arrays as PostgreSQL reads them, made once for each column of a batch.

psycopg adapts lists element by element and picks a type by what it finds in them; at hundreds of
rows to a statement that is most of a batch's cost, and the statement would be planned anew
whenever the type it found changed.
"""

import struct
from collections.abc import Iterable, Sequence

_BYTEA = 17


def number_array(values: Iterable[int | None]) -> str:
    """Return the literal of an array of numbers or NULL."""
    return f"{{{','.join(['NULL' if value is None else str(value) for value in values])}}}"


def flag_array(values: Iterable[bool]) -> str:
    """Return the literal of an array of booleans."""
    return f"{{{','.join(['t' if value else 'f' for value in values])}}}"


def text_array(values: Iterable[str | None]) -> str:
    """Return the literal of an array of texts or NULL."""
    return f"{{{','.join(['NULL' if value is None else _quoted(value) for value in values])}}}"


def ragged_array(rows: Sequence[tuple[str, ...] | None]) -> str:
    """Return the literal of an array of texts or NULL, each text the literal of a row's array.

    PostgreSQL's own arrays of arrays are rectangular.
    """
    # Few of them differ: transactions of one name have the same participants.
    quoted = {row: "NULL" if row is None else _quoted(text_array(row)) for row in set(rows)}
    return f"{{{','.join([quoted[row] for row in rows])}}}"


def _quoted(value: str) -> str:
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'


class ByteaArray:
    """An array of byte strings in PostgreSQL's binary form; None is NULL."""

    __slots__ = ("binary",)

    def __init__(self, values: Sequence[bytes | None]) -> None:
        if not values:
            self.binary = struct.pack("!iiI", 0, 0, _BYTEA)
            return
        parts = [struct.pack("!iiIii", 1, 1, _BYTEA, len(values), 1)]
        for value in values:
            if value is None:
                parts.append(b"\xff\xff\xff\xff")
            else:
                parts.append(len(value).to_bytes(4, "big"))
                parts.append(value)
        self.binary = b"".join(parts)
