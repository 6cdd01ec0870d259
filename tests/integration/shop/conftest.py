"""Fixtures of the shop's tests: each runs on SQLite and on PostgreSQL."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from trypact_shop.demo.world import World
from trypact_shop.launcher import Children

from tests.integration.shop.desk import Desk
from tests.integration.shop.desks import Setting
from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres_desks(postgres_server: PostgresServer) -> Iterator[Callable[[Setting], Desk]]:
    """Desks on PostgreSQL, opened once: creating their tables takes longer than most tests."""
    opened: dict[str, Desk] = {}

    def desk_of(setting: Setting) -> Desk:
        if setting.name not in opened:
            opened[setting.name] = setting.open(postgres_server.create_database())
        opened[setting.name].clear()
        return opened[setting.name]

    yield desk_of
    for desk in opened.values():
        desk.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def desk_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Setting], Desk]]:
    """Opens a participant's desk with the world of its setting."""
    opened: list[Desk] = []

    def opens(setting: Setting) -> Desk:
        if request.param == "postgresql":
            desk: Desk = request.getfixturevalue("postgres_desks")(setting)
        else:
            desk = setting.open(f"sqlite:///{tmp_path / setting.name}.db")
            opened.append(desk)
        setting.fill(desk)
        return desk

    yield opens
    for desk in opened:
        desk.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """The whole shop: a coordinator and six participants, each a process with its database."""

    def database_of(name: str) -> str:
        if request.param == "sqlite":
            return ""
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return server.create_database()

    folder = tmp_path_factory.mktemp("shop")
    with Children(folder) as children:
        made = World(children, folder, database_of)
        made.open()
        yield made
        made.close()
