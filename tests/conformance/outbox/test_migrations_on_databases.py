"""Tables that an earlier version has created become this one's, with what is in them."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Column, Index, MetaData, String, Table, inspect, text
from trypact.inbox import Inbox, inbox_table
from trypact.outbox import Message, Outbox, outbox_table

from tests.conformance.outbox.conftest import Shop

MAKERS: list[tuple[Callable[[MetaData], Table], Callable[[Table], Any]]] = [
    (outbox_table, lambda table: Outbox(table=table)),
    (inbox_table, lambda table: Inbox("shipping", table=table)),
]


@pytest.mark.parametrize(("table_of", "owner_of"), MAKERS, ids=["outbox", "inbox"])
def test_the_table_of_an_earlier_version_becomes_this_ones(
    shop: Shop, table_of: Callable[[MetaData], Table], owner_of: Callable[[Table], Any]
) -> None:
    # This version is the earlier one here, and what it lacks is invented.
    earlier, later = table_of(MetaData()), table_of(MetaData())
    later.append_column(Column("shard", String(16), nullable=False, server_default="none"))
    Index(f"{later.name}_shard", later.c.shard)
    for table in (earlier, later, later):
        with shop.engine.begin() as connection:
            owner_of(table).create_tables(connection)

    seen = inspect(shop.engine)
    assert "shard" in {column["name"] for column in seen.get_columns(later.name)}
    assert f"{later.name}_shard" in {index["name"] for index in seen.get_indexes(later.name)}


async def test_messages_of_an_earlier_version_are_sent(shop: Shop) -> None:
    later = outbox_table(MetaData())
    later.append_column(Column("shard", String(16), nullable=False, server_default="none"))
    with shop.engine.begin() as connection:
        shop.outbox.add(connection, Message("order.paid"))
    with shop.engine.begin() as connection:
        Outbox(table=later).create_tables(connection)
        assert connection.execute(text("SELECT shard FROM trypact_outbox")).scalar_one() == "none"
    await shop.relay().drain()
    assert [message.topic for (message,) in shop.postbox.batches] == ["order.paid"]
