"""Fixtures that several rooms of tests share."""

from collections.abc import Iterator

import pytest

from tests.servers.mariadb import MariaDbServer
from tests.servers.nats import NatsServer
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for this session (one for each xdist worker); fails if none is found."""
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database that is this test's alone."""
    url = postgres_server.lend_database()
    yield url
    postgres_server.give_back(url)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDbServer]:
    """A MariaDB server for this session (one for each xdist worker); fails if none is found."""
    server = MariaDbServer()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis server for this session (one for each xdist worker); fails if none is found."""
    server = RedisServer()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    """A NATS server for this session (one for each xdist worker); fails if none is found."""
    server = NatsServer()
    yield server
    server.remove()
