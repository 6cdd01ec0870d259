"""Tables of the SDK in a service's database: one call creates them, or brings them up to date.

No version is stored beside a table, where it could differ from it: the columns say which version
made it. A version that needs another column gives it a `server_default`, for the rows that are
there and for instances of the version before, which still run and know nothing of it. What is more
than a column or an index needs a step of its own here. Services whose migrations create the tables
find the same differences with alembic.
"""

from typing import Any

from sqlalchemy import Column, Connection, Table, inspect
from sqlalchemy.schema import CreateColumn

from trypact.errors import WrongTable


def create_table(connection: Connection, table: Table) -> None:
    """Create a table unless it exists, and add the columns and indexes that it lacks.

    Raises WrongTable for a table that is not ours, and what the database raises: above
    all if somebody else does the same at once; `lacking` then tells whether all is well.
    """
    if not _is_there(connection, table):
        table.create(connection)
        return
    prepared = connection.dialect.identifier_preparer.format_table(table)
    for column in lacking(connection, table):
        if not column.nullable and column.server_default is None:
            # No version ever adds such a column.
            raise WrongTable(table.name, column.name)
        described = CreateColumn(column).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {prepared} ADD COLUMN {described}")
    for index in table.indexes:
        index.create(connection, checkfirst=True)


def lacking(connection: Connection, table: Table) -> list[Column[Any]]:
    """Return the columns that the database's table does not have; all where there is none."""
    present = set()
    if _is_there(connection, table):
        found = inspect(connection).get_columns(table.name, table.schema)
        present = {column["name"] for column in found}
    return [column for column in table.columns if column.name not in present]


def _is_there(connection: Connection, table: Table) -> bool:
    return inspect(connection).has_table(table.name, table.schema)
