"""A statement that is sent again and again: planned once, its parameters as the server reads them.

psycopg finds out anew for each execution how to write each parameter, and what its columns are. For
the one statement that every transaction waits for three times, that is most of the cost, so here it
is spoken to a level below. Whatever is asked less often goes through psycopg's own `execute`.
"""

import re
from collections.abc import Mapping
from typing import Any

from psycopg import AsyncConnection, generators
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format

from trypact_coordinator.journal.postgres_arrays import ByteaArray

_PARAMETER = re.compile(rb"%\((\w+)\)[sb]")

Value = str | ByteaArray


class PreparedStatement:
    """A statement with named parameters; `name` is the server's name for it.

    Args:
        name: unique on a connection.
        query: with its parameters as psycopg writes them, `%(name)s`.

    `query` has them as the server does, `$1` being the first of `names`.
    """

    def __init__(self, name: str, query: bytes) -> None:
        self.name = name.encode()
        found = [parameter.decode() for parameter in _PARAMETER.findall(query)]
        self.names = list(dict.fromkeys(found))
        numbers = {name: number for number, name in enumerate(self.names, 1)}
        self.query = _PARAMETER.sub(lambda m: b"$%d" % numbers[m[1].decode()], query)

    async def prepare(self, connection: AsyncConnection[Any]) -> None:
        """Have a connection plan it. Raises psycopg.Error."""
        async with connection.lock:
            connection.pgconn.send_prepare(self.name, self.query)
            await _result(connection)

    async def run(
        self, connection: AsyncConnection[Any], values: Mapping[str, Value]
    ) -> list[bytes | None]:
        """Run it where it is prepared; return its one row, as text. Raises psycopg.Error."""
        texts: list[bytes | None] = []
        formats: list[int] = []
        for name in self.names:
            value = values[name]
            if isinstance(value, str):
                texts.append(value.encode())
                formats.append(Format.TEXT)
            else:
                texts.append(value.binary)
                formats.append(Format.BINARY)
        async with connection.lock:
            connection.pgconn.send_query_prepared(self.name, texts, formats)
            result = await _result(connection)
        return [result.get_value(0, column) for column in range(result.nfields)]


async def _result(connection: AsyncConnection[Any]) -> Any:
    (result,) = await connection.wait(generators.execute(connection.pgconn))
    if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        raise error_from_result(result)
    return result
