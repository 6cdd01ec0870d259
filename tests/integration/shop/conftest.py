"""Fixtures of the shop's tests: each runs on SQLite and on PostgreSQL."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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
