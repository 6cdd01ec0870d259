"""Who writes, relays or receives messages dies by kill -9 at each named point.

What was committed arrives, what was not does not, and its effects happen once.
"""

import sys
from pathlib import Path

import pytest
import redis
from sqlalchemy import text

from tests.crash.post import DESK_POINTS, SHELF_POINTS, TOPIC, engine_of
from tests.servers.process import ServerProcess
from tests.servers.redis import RedisServer
from tests.tidy.repository import ROOT

KILLED = -9


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "post.db")
    url: str = request.getfixturevalue("postgres_url")
    return url.replace("postgresql:", "postgresql+psycopg:")


@pytest.fixture
def broker(redis_server: RedisServer) -> str:
    """The URL of an empty Redis."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


def run(*arguments: str) -> int:
    """Run one process to its end; return its exit code."""
    command = [sys.executable, "-m", "tests.crash.post", *arguments]
    process = ServerProcess(command, {"PYTHONPATH": str(ROOT)}, ROOT)
    code = process.wait()
    assert code in (0, KILLED), process.output
    return code


def placed(database: str, broker: str) -> tuple[int, list[tuple[str, int]], int]:
    """Orders, messages by their state, entries of the stream."""
    engine = engine_of(database)
    with engine.connect() as connection:
        orders = connection.execute(text("SELECT count(*) FROM orders")).scalar_one()
        states = connection.execute(
            text("SELECT state, count(*) FROM trypact_outbox GROUP BY state ORDER BY state")
        )
        found = [(state, count) for state, count in states]
    engine.dispose()
    with redis.Redis.from_url(broker) as client:
        entries = client.xlen(f"trypact:{{{TOPIC}}}")
    return orders, found, int(entries)


@pytest.mark.parametrize("point", DESK_POINTS)
def test_what_was_committed_arrives_once_after_kill_nine_and_nothing_else(
    point: str, database: str, broker: str
) -> None:
    assert run("desk", database, broker, point, "1") == KILLED, "the point was not reached"
    if point == "before-commit":
        assert placed(database, broker) == (0, [], 0)
    elif point != "after-arrival":
        assert placed(database, broker)[:2] != (1, [("ARRIVED", 1)])
        assert run("desk", database, broker, "", "") == 0
    if point != "before-commit":
        assert placed(database, broker) == (1, [("ARRIVED", 1)], 1)


@pytest.mark.parametrize("point", SHELF_POINTS)
def test_effects_happen_once_though_their_consumer_is_killed(
    point: str, database: str, broker: str
) -> None:
    assert run("desk", database, broker, "", "1") == 0
    assert run("shelf", database, broker, point) == KILLED, "the point was not reached"
    assert shelf(database) == (["1"] if point == "after-commit" else [])

    assert run("shelf", database, broker, "") == 0
    assert shelf(database) == ["1"]
    with redis.Redis.from_url(broker) as client:
        assert client.xpending(f"trypact:{{{TOPIC}}}", "shelf")["pending"] == 0


def shelf(database: str) -> list[str]:
    engine = engine_of(database)
    with engine.connect() as connection:
        found = list(connection.execute(text("SELECT id FROM shelf")).scalars())
    engine.dispose()
    return found
