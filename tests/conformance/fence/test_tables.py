"""The fence's table is created and migrated by one call, or by a service's own migrations."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import psycopg
import pytest
from sqlalchemy import (
    Column,
    Engine,
    Index,
    MetaData,
    String,
    Table,
    create_engine,
    inspect,
    make_url,
    text,
)
from trypact.call import FencedCall, Ok
from trypact.errors import WrongTable
from trypact.fence import PsycopgFence, SqlAlchemyFence, fence_table, sqlite_engine
from trypact.fence import psycopg as psycopg_fence
from trypact.fence.contract import Asked
from trypact.kinds import Kind, Operation

ENVIRONMENT = """
from alembic import context
from sqlalchemy import MetaData
from tests.conformance.fence.test_tables import table_of

metadata = MetaData()
table_of[context.config.attributes["version"]](metadata)
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


CALL = FencedCall("x", "b", "inventory.reserve", Kind.TCC, Operation.TRY)


def never(connection: Any) -> bytes:
    raise AssertionError("it has run before")


def recreated(engine: Engine) -> None:
    """Make the later version's table anew."""
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE trypact_fence"))
    SqlAlchemyFence(engine, table=later_table(MetaData())).create_tables()


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


def later_table(metadata: MetaData) -> Table:
    """What a later version's table may look like."""
    table = fence_table(metadata)
    table.append_column(Column("shard", String(16), nullable=False, server_default="none"))
    Index("trypact_fence_shard", table.c.shard)
    return table


table_of = {"this": fence_table, "later": later_table}


def migrate(engine: Engine, folder: Path, message: str, version: str = "this") -> Path:
    """Let alembic write a migration from what it sees, and run it; return its file."""
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    (folder / "env.py").write_text(ENVIRONMENT)
    (folder / "script.py.mako").write_text(TEMPLATE)
    config = alembic.config.Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    config.attributes["version"] = version
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


def test_alembic_migrates_the_table_to_a_later_version(engine: Engine, tmp_path: Path) -> None:
    migrate(engine, tmp_path / "migrations", "fence")
    later = migrate(engine, tmp_path / "migrations", "later", "later")

    assert "add_column('trypact_fence'" in later.read_text()
    by_alembic = described(engine)
    recreated(engine)
    assert described(engine) == by_alembic


def test_the_table_of_an_earlier_version_becomes_this_ones_and_keeps_its_rows(
    engine: Engine,
) -> None:
    earlier = SqlAlchemyFence(engine)
    earlier.create_tables()
    assert earlier.run(CALL, lambda connection: b"first") == Ok(b"first")
    later = SqlAlchemyFence(engine, table=later_table(MetaData()))
    for _ in range(2):
        later.create_tables()

    assert later.run(CALL, never) == Ok(b"first")
    # Instances of the version before still run, alone and in batches.
    others = [CALL._replace(xid=xid) for xid in ("y", "z")]
    asked = [Asked(call, lambda connection: b"by the earlier") for call in others]
    assert earlier.run_many(asked) == [Ok(b"by the earlier")] * 2
    assert earlier.run(CALL, never) == Ok(b"first")
    assert [later.run(call, never) for call in others] == [Ok(b"by the earlier")] * 2
    migrated, indexes = described(engine), inspect(engine).get_indexes("trypact_fence")
    recreated(engine)
    assert described(engine) == migrated
    assert inspect(engine).get_indexes("trypact_fence") == indexes != []


def test_without_sqlalchemy_it_becomes_this_ones_too(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fence = PsycopgFence(lambda: psycopg.connect(postgres_url))
    fence.create_tables()
    assert fence.run(CALL, lambda connection: b"first") == Ok(b"first")
    monkeypatch.setitem(psycopg_fence._COLUMNS, "shard", "VARCHAR(16) NOT NULL DEFAULT 'none'")
    later = PsycopgFence(lambda: psycopg.connect(postgres_url))
    for _ in range(2):
        later.create_tables()

    assert later.run(CALL, never) == Ok(b"first")
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT shard FROM trypact_fence").fetchall() == [("none",)]


def test_a_table_of_somebody_elses_is_named_and_left_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE trypact_fence (height INTEGER)"))
    with pytest.raises(WrongTable, match="trypact_fence that is there has no xid"):
        SqlAlchemyFence(engine).create_tables()
    assert len(inspect(engine).get_columns("trypact_fence")) == 1


def test_a_table_of_somebody_elses_is_named_without_sqlalchemy_too(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE trypact_fence (xid VARCHAR(128), height INTEGER)")
    with pytest.raises(WrongTable, match="trypact_fence that is there has no branch_id"):
        PsycopgFence(lambda: psycopg.connect(postgres_url)).create_tables()


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


def test_instances_that_start_at_once_all_find_the_table_migrated(engine: Engine) -> None:
    SqlAlchemyFence(engine).create_tables()
    start = threading.Barrier(4)

    def migrate() -> None:
        start.wait(10)
        SqlAlchemyFence(engine, table=later_table(MetaData())).create_tables()

    at_once(migrate)
    assert "shard" in {column["name"] for column in inspect(engine).get_columns("trypact_fence")}


def test_instances_without_sqlalchemy_that_start_at_once_all_find_it(postgres_url: str) -> None:
    start = threading.Barrier(4)

    def create() -> None:
        start.wait(10)
        PsycopgFence(lambda: psycopg.connect(postgres_url)).create_tables()

    at_once(create)


def test_without_sqlalchemy_a_type_that_has_its_name_is_told_and_not_waited_for(
    postgres_url: str,
) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TYPE trypact_fence AS ENUM ('of somebody else')")
    with pytest.raises(psycopg.errors.DuplicateObject, match="already exists"):
        PsycopgFence(lambda: psycopg.connect(postgres_url)).create_tables()


def at_once(create: Callable[[], None]) -> None:
    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(create) for _ in range(4)]:
            future.result(20)
