"""What is given in place of what is meant is refused where it is given, in a sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import trypact
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from trypact import fence
from trypact.outbox import RedisPublisher, RedisSubscription
from trypact.testing import Environment

engine = fence.sqlite_engine(Path("never-opened.db"))
in_memory = create_engine("sqlite://")
async_in_memory = create_async_engine("sqlite+aiosqlite:///:memory:")
async_engine = fence.async_sqlite_engine(Path("never-opened.db"))
# They are what a type checker refuses too; not everybody has one.
participant: Any = trypact.Participant
fences: Any = fence
blocking: Any = redis.Redis()


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda: participant("shop", fence=engine), "fence: is a Engine; allowed: a fence, "),
        (lambda: participant("shop", fence=fence.SqlAlchemyFence), "fence: is a type; allowed: "),
        (lambda: participant("shop", fence=None), "fence: is a NoneType; allowed: a fence, "),
        (lambda: fences.SqlAlchemyFence("sqlite:///shop.db"), "takes a synchronous engine"),
        (lambda: fences.SqlAlchemyFence(async_engine), "takes a synchronous engine"),
        (lambda: fence.SqlAlchemyFence(in_memory), "a file; in memory nothing lasts"),
        (lambda: fence.AsyncSqlAlchemyFence(async_in_memory), "in memory nothing lasts"),
        (lambda: fences.AsyncSqlAlchemyFence(engine), "takes an engine from `create_async_engine`"),
        (lambda: fences.PsycopgFence("postgresql://"), "connect: is a str; allowed: what gives"),
        (lambda: fences.RedisFence("redis://"), "the fence takes a redis.Redis"),
        (lambda: fences.ExternalFence(engine), "fence: is a Engine; allowed: a SqlAlchemyFence"),
        (
            lambda: fences.ExternalFence(fence.AsyncSqlAlchemyFence(async_engine)),
            "for coroutines see AsyncExternalFence",
        ),
        (
            lambda: fences.AsyncExternalFence(fence.SqlAlchemyFence(engine)),
            "for plain functions see ExternalFence",
        ),
        (lambda: RedisPublisher(blocking), "redis: is a redis.client.Redis; allowed: a client of"),
        (lambda: RedisSubscription(blocking, "a", "b", "c"), "allowed: a client of redis.asyncio"),
    ],
)
def test_what_cannot_do_its_part_is_refused_where_it_is_given(
    mistake: Callable[[], object], said: str
) -> None:
    with pytest.raises((TypeError, ValueError)) as refused:
        mistake()
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("listen", "others", "said"),
    [
        ("127.0.0.1:99999", {}, "listen: is '127.0.0.1:99999'; allowed: HOST:PORT"),
        ("localhost", {}, "listen: is 'localhost'; .*port from 0 to 65535"),
        ("127.0.0.1:abc", {}, "listen: is '127.0.0.1:abc'; allowed: HOST:PORT"),
        (7020, {}, "listen: is 7020; allowed: HOST:PORT"),
        ("127.0.0.1:0", {"coordinator": "localhost"}, "coordinator: is 'localhost'; .*from 1 to"),
        ("[::]:0", {"advertise": "inventory:0"}, "advertise: is 'inventory:0'; allowed"),
    ],
)
def test_a_participant_is_served_at_an_address(listen: Any, others: Any, said: str) -> None:
    inventory = trypact.Participant("inventory", fence=fence.SqlAlchemyFence(engine))
    inventory.message("ship")(lambda call, connection: None)

    for serve in (inventory.serve, inventory.run):
        with pytest.raises(trypact.errors.InvalidRequest, match=said):
            serve(listen, **others)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (trypact.Participant("shop", fence=fence.SqlAlchemyFence(engine)), "is one Participant"),
        ([engine], "holds a Engine; allowed: Participants"),
    ],
    ids=["one", "another"],
)
def test_an_environment_is_of_a_list_of_participants(given: Any, said: str) -> None:
    with pytest.raises(trypact.errors.InvalidRequest, match=f"participants: {said}"):
        Environment(given)
