"""The fence's table is created by one call, or by a service's own migrations."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import psycopg
import pytest
from sqlalchemy import Engine, MetaData, create_engine, inspect, make_url, text
from trypact.fence import PsycopgFence, SqlAlchemyFence, fence_table, sqlite_engine

ENVIRONMENT = """
from alembic import context
from sqlalchemy import MetaData
from trypact.fence import fence_table

metadata = MetaData()
fence_table(metadata)
connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
"""
TEMPLATE = """
from alembic import op
import sqlalchemy as sa
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}

def upgrade():
    ${upgrades if upgrades else "pass"}

def downgrade():
    ${downgrades if downgrades else "pass"}
"""


def url_of(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    if name == "sqlite":
        return sqlite_engine(tmp_path / "shop.db")
    url = make_url(request.getfixturevalue(f"{name}_url"))
    driver = {"postgres": "postgresql+psycopg", "mariadb": "mysql+pymysql"}[name]
    return create_engine(url.set(drivername=driver))


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    engine = url_of(request.param, request, tmp_path)
    yield engine
    engine.dispose()


def described(engine: Engine) -> dict[str, Any]:
    """The table as the database describes it."""
    seen = inspect(engine)
    return {
        "columns": [
            (column["name"], str(column["type"]), column["nullable"])
            for column in seen.get_columns("trypact_fence")
        ],
        "key": seen.get_pk_constraint("trypact_fence")["constrained_columns"],
        "checks": [
            (each["name"], each["sqltext"]) for each in seen.get_check_constraints("trypact_fence")
        ],
    }


def migrate(engine: Engine, folder: Path, message: str) -> Path:
    """Let alembic write a migration from what it sees, and run it; return its file."""
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    (folder / "env.py").write_text(ENVIRONMENT)
    (folder / "script.py.mako").write_text(TEMPLATE)
    config = alembic.config.Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        written: Any = alembic.command.revision(config, message, autogenerate=True)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")
    return Path(written.path)


def test_alembic_sees_the_table_creates_it_and_is_content(engine: Engine, tmp_path: Path) -> None:
    first = migrate(engine, tmp_path / "migrations", "fence")
    second = migrate(engine, tmp_path / "migrations", "nothing")

    assert "create_table('trypact_fence'" in first.read_text()
    assert second.read_text().count("pass") == 2
    by_alembic = described(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE trypact_fence"))
    SqlAlchemyFence(engine).create_tables()
    assert described(engine) == by_alembic


def test_psycopg_creates_the_same_table(postgres_url: str) -> None:
    engine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"))
    PsycopgFence(lambda: psycopg.connect(postgres_url)).create_tables()
    by_psycopg = described(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE trypact_fence"))
    SqlAlchemyFence(engine).create_tables()

    assert described(engine) == by_psycopg
    engine.dispose()


def test_mariadb_keeps_the_table_where_transactions_are(mariadb_url: str) -> None:
    engine = create_engine(make_url(mariadb_url).set(drivername="mysql+pymysql"))
    with engine.begin() as connection:
        connection.execute(text("ALTER DATABASE CHARACTER SET latin1 COLLATE latin1_german1_ci"))
        connection.execute(text("SET GLOBAL default_storage_engine = MyISAM"))
    try:
        SqlAlchemyFence(engine).create_tables()
        options = inspect(engine).get_table_options("trypact_fence")
    finally:
        with engine.begin() as connection:
            connection.execute(text("SET GLOBAL default_storage_engine = InnoDB"))
        engine.dispose()

    assert options["mysql_engine"] == "InnoDB"
    assert options["mysql_collate"] == "utf8mb4_bin"


def test_instances_that_start_at_once_all_find_the_table(engine: Engine) -> None:
    start = threading.Barrier(4)

    def create() -> None:
        start.wait(10)
        SqlAlchemyFence(engine, table=fence_table(MetaData())).create_tables()

    at_once(create)
    assert inspect(engine).has_table("trypact_fence")


def test_instances_without_sqlalchemy_that_start_at_once_all_find_it(postgres_url: str) -> None:
    start = threading.Barrier(4)

    def create() -> None:
        start.wait(10)
        PsycopgFence(lambda: psycopg.connect(postgres_url)).create_tables()

    at_once(create)


def at_once(create: Callable[[], None]) -> None:
    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(create) for _ in range(4)]:
            future.result(20)
