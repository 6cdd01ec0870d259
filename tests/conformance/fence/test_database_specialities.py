"""What only one database can do to a fence."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, Engine, MetaData, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from trypact.call import PENDING, FencedCall, Ok
from trypact.errors import FenceUnavailable, InvalidRequest, ParticipantError
from trypact.fence import PsycopgFence, SqlAlchemyFence, fence_table, sqlite_engine
from trypact.kinds import Kind, Operation
from trypact.limits import RESULT_BYTES_MAX

from tests.conformance.fence.conftest import ALL_ALONE, Gate, Shop, neighbour
from tests.conformance.fence.places import OnSqlAlchemy

# ---------------------------------------------------------------- PostgreSQL


def test_a_deadlock_is_run_again_and_nobody_sees_it(
    postgres_engine: Callable[..., Engine],
) -> None:
    options = {"options": "-c deadlock_timeout=10ms"}
    shop = Shop(OnSqlAlchemy(postgres_engine(connect_args=options)))
    both_hold_one = threading.Barrier(2)
    runs: list[str] = []

    def crossed(first: str, second: str) -> Callable[[Connection], bytes]:
        def handler(connection: Connection) -> bytes:
            runs.append(first)
            update = "UPDATE stock SET sellable = sellable - 1 WHERE sku = "
            connection.execute(text(f"{update}'{first}'"))
            if len(runs) <= 2:
                both_hold_one.wait(10)
            connection.execute(text(f"{update}'{second}'"))
            return b""

        return handler

    futures = [
        shop.start("try", crossed("a", "b"), xid="1"),
        shop.start("try", crossed("b", "a"), xid="2"),
    ]

    assert [future.result(10) for future in futures] == [Ok(), Ok()]
    assert len(runs) == 3
    assert shop.stock == (8, 0, 0)
    shop.close()


def test_a_serialization_failure_is_run_again(postgres_engine: Callable[..., Engine]) -> None:
    engine = postgres_engine(isolation_level="SERIALIZABLE")
    shop = Shop(OnSqlAlchemy(engine))
    both_have_read = threading.Barrier(2)
    runs: list[str] = []

    def skewed(reads: str, writes: str) -> Callable[[Connection], bytes]:
        def handler(connection: Connection) -> bytes:
            connection.execute(text(f"SELECT sellable FROM stock WHERE sku = '{reads}'")).all()
            runs.append(writes)
            if len(runs) <= 2:
                both_have_read.wait(10)
            connection.execute(
                text(f"UPDATE stock SET sellable = sellable - 1 WHERE sku = '{writes}'")
            )
            return b""

        return handler

    futures = [
        shop.start("try", skewed("a", "b"), xid="1"),
        shop.start("try", skewed("b", "a"), xid="2"),
    ]

    assert [future.result(10) for future in futures] == [Ok(), Ok()]
    assert len(runs) > 2
    with engine.connect() as connection:
        assert connection.execute(text("SELECT sum(sellable) FROM stock")).scalar() == 18
    shop.close()


def test_a_lost_connection_is_an_unknown_outcome(
    postgres_engine: Callable[..., Engine], company: str
) -> None:
    shop = Shop(OnSqlAlchemy(postgres_engine()), company)

    def lose(connection: Connection) -> bytes:
        shop.move_try(connection)
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar()
        with postgres_engine().connect() as other:
            other.execute(text(f"SELECT pg_terminate_backend({pid}, 5000)"))
        connection.execute(text("SELECT 1"))
        return b""

    with pytest.raises(FenceUnavailable):
        shop.run("try", lose)
    assert (shop.status, shop.stock) == (None, (10, 0, 0))
    assert isinstance(shop.run("try"), Ok)
    shop.close()


@pytest.mark.parametrize("operation", ["try", "deliver"])
def test_an_error_that_a_handler_hides_is_no_success(
    postgres_engine: Callable[..., Engine], company: str, operation: str
) -> None:
    shop = Shop(OnSqlAlchemy(postgres_engine()), company)

    def hide(connection: Connection) -> bytes:
        shop.move_deliver(connection)
        with contextlib.suppress(DBAPIError):
            connection.execute(text("SELECT 1 / 0"))
        return b""

    # The driver calls its COMMIT a success, and nothing of it is kept.
    with pytest.raises(ParticipantError, match="hid an error of the database"):
        shop.run(operation, hide)
    assert (shop.status, shop.stock) == (None, (10, 0, 0))
    shop.close()


def test_an_exhausted_pool_is_an_unknown_outcome(
    postgres_engine: Callable[..., Engine], gate: Gate
) -> None:
    shop = Shop(OnSqlAlchemy(postgres_engine(pool_size=1, max_overflow=0, pool_timeout=0.05)))
    first = shop.start("try", gate.hold(shop.move_try))
    assert gate.inside.wait(10)

    with pytest.raises(FenceUnavailable, match="QueuePool limit"):
        shop.run("try", xid="y")
    # Nobody of a batch waits for it once more.
    verdicts = shop.fence.run_many([neighbour("y", shop.move_try), neighbour("z", shop.move_try)])
    assert [type(verdict) for verdict in verdicts] == [FenceUnavailable] * 2
    gate.open()
    assert isinstance(first.result(10), Ok)
    shop.close()


def test_a_connection_of_psycopgs_that_commits_by_itself_completes_nothing(
    postgres_address: str,
) -> None:
    fence = PsycopgFence(lambda: psycopg.connect(postgres_address))
    fence.create_tables()
    fence.run(FencedCall("x", "b", "bank.pay", Kind.TCC, Operation.TRY), lambda connection: PENDING)
    with psycopg.connect(postgres_address, autocommit=True) as connection:
        with pytest.raises(InvalidRequest, match="begin one first"):
            fence.complete(connection, "x", "b", "try")
        with pytest.raises(TypeError, match="a str is no open connection"):
            fence.complete(postgres_address, "x", "b", "try")
        with connection.transaction():
            fence.complete(connection, "x", "b", "try")


# ---------------------------------------------------------------- MariaDB


@pytest.fixture
def mariadb(mariadb_url: str) -> Engine:
    return create_engine(make_url(mariadb_url).set(drivername="mysql+pymysql"))


def test_a_deadlock_of_mariadbs_is_run_again_and_nobody_sees_it(mariadb: Engine) -> None:
    shop = Shop(OnSqlAlchemy(mariadb))
    both_hold_one = threading.Barrier(2)
    runs: list[str] = []

    def crossed(first: str, second: str) -> Callable[[Connection], bytes]:
        def handler(connection: Connection) -> bytes:
            runs.append(first)
            update = "UPDATE stock SET sellable = sellable - 1 WHERE sku = "
            connection.execute(text(f"{update}'{first}'"))
            if len(runs) <= 2:
                both_hold_one.wait(10)
            connection.execute(text(f"{update}'{second}'"))
            return b""

        return handler

    futures = [
        shop.start("try", crossed("a", "b"), xid="1"),
        shop.start("try", crossed("b", "a"), xid="2"),
    ]

    assert [future.result(10) for future in futures] == [Ok(), Ok()]
    assert len(runs) == 3
    assert shop.stock == (8, 0, 0)
    shop.close()


@pytest.mark.parametrize("operation", ["try", "confirm"])
def test_a_deadlock_that_a_handler_hides_is_no_success(
    mariadb: Engine, company: str, operation: str
) -> None:
    shop = Shop(OnSqlAlchemy(mariadb), company)
    shop.run("try")
    before = shop.stock
    holds = threading.Event()
    done = threading.Event()

    def other() -> None:
        with mariadb.begin() as connection:
            # Of two that wait for each other, the one that has changed less is given up.
            changes = [{"sku": f"c{number}"} for number in range(200)]
            connection.execute(text("INSERT INTO stock VALUES (:sku, 1, 0, 0)"), changes)
            connection.execute(text("UPDATE stock SET sold = 1 WHERE sku = 'b'"))
            holds.set()
            connection.execute(text("UPDATE stock SET sold = 0 WHERE sku = 'a'"))
            connection.rollback()
        done.set()

    def hide(connection: Connection) -> bytes:
        shop.place.change(connection, sold=7)
        if not holds.is_set():
            shop._threads.submit(other)
            assert holds.wait(10)
            with contextlib.suppress(DBAPIError):
                connection.execute(text("UPDATE stock SET sold = 2 WHERE sku = 'b'"))
            assert done.wait(10)
        # Another transaction begins here without a word.
        connection.execute(text("UPDATE stock SET sold = sold + 0 WHERE sku = 'a'"))
        return b""

    xid = "y" if operation == "try" else "x"
    if company == ALL_ALONE:
        with pytest.raises(ParticipantError, match="ended the fence's local transaction"):
            shop.run(operation, hide, xid=xid)
        assert shop.stock == before
    assert isinstance(shop.run(operation, hide, xid=xid), Ok)
    assert shop.stock[2] == 7
    shop.close()


def test_a_statement_for_which_mariadb_commits_is_found_out(mariadb: Engine) -> None:
    shop = Shop(OnSqlAlchemy(mariadb))
    shop.run("try")

    def commit(connection: Connection) -> bytes:
        connection.execute(text("CREATE TABLE shelves (number INTEGER)"))
        return b""

    with pytest.raises(ParticipantError, match="ended the fence's local transaction"):
        shop.run("confirm", commit)
    shop.close()


def test_a_batch_refuses_a_statement_for_which_mariadb_commits(mariadb: Engine) -> None:
    shop = Shop(OnSqlAlchemy(mariadb))

    def commit(connection: Connection) -> bytes:
        connection.execute(text("CREATE TABLE shelves (number INTEGER)"))
        return b""

    said = shop.fence.run_many([neighbour("y", shop.move_try), neighbour("z", commit)])

    assert isinstance(said[0], Ok)
    assert isinstance(said[1], ParticipantError)
    assert "must not CREATE" in str(said[1])
    assert shop.stock == (8, 2, 0)
    shop.close()


def test_who_waits_too_long_for_a_lock_does_not_know(mariadb: Engine, gate: Gate) -> None:
    impatient = create_engine(
        mariadb.url, connect_args={"init_command": "SET innodb_lock_wait_timeout = 1"}
    )
    shop = Shop(OnSqlAlchemy(impatient))
    first = shop.start("try", gate.hold(shop.move_try))
    assert gate.inside.wait(10)

    with pytest.raises(FenceUnavailable, match="Lock wait timeout exceeded"):
        shop.run("try")
    gate.open()
    assert isinstance(first.result(10), Ok)
    assert shop.run("try") == Ok(b"result of run 1")
    shop.close()


def test_keys_that_differ_in_case_or_accents_are_different_branches(
    mariadb: Engine, company: str
) -> None:
    shop = Shop(OnSqlAlchemy(mariadb), company)
    for xid in ("x", "X", "é", "e"):
        assert isinstance(shop.run("try", xid=xid), Ok)
    assert shop.stock == (2, 8, 0)
    shop.close()


def test_the_largest_result_there_is_fits(mariadb: Engine, company: str) -> None:
    shop = Shop(OnSqlAlchemy(mariadb), company)
    largest = bytes(range(256)) * (RESULT_BYTES_MAX // 256)

    assert shop.run("try", lambda connection: largest) == Ok(largest)
    assert shop.run("try") == Ok(largest)
    shop.close()


@pytest.mark.parametrize("step_us", [0, -1, -2, 1])
def test_a_batch_knows_its_own_rows_whatever_the_clock_does(mariadb: Engine, step_us: int) -> None:
    shop = Shop(OnSqlAlchemy(mariadb))

    def move(connection: Connection) -> bytes:
        shop.clock_us = 1_000_000 + step_us
        return shop.move_try(connection)

    calls = [neighbour(xid, move) for xid in ("y", "z")]
    first = shop.fence.run_many(calls)

    assert shop.fence.run_many(calls) == first
    assert len(shop.ran) == 2
    shop.close()


# ---------------------------------------------------------------- SQLite


def test_a_sqlite_engine_is_durable_and_checks_foreign_keys(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "shop.db")
    with engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    engine.dispose()

    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_fence_makes_commits_of_a_careless_engine_durable(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}", pool_size=1, max_overflow=0)
    shop = Shop(OnSqlAlchemy(engine))
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA synchronous = OFF")

    def level(connection: Connection) -> bytes:
        return str(connection.exec_driver_sql("PRAGMA synchronous").scalar()).encode()

    assert shop.run("try", level) == Ok(b"2")
    shop.close()


@pytest.mark.parametrize(
    "database", [":memory:", "sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory"]
)
def test_a_database_in_memory_is_no_place_for_a_fence(database: str) -> None:
    with pytest.raises(ValueError, match="in memory nothing lasts"):
        sqlite_engine(database)


def test_another_database_is_no_sqlite_engine() -> None:
    with pytest.raises(ValueError, match="is no SQLite database"):
        sqlite_engine("postgresql://127.0.0.1/shop")


def test_a_database_that_stays_locked_is_an_unknown_outcome(tmp_path: Path) -> None:
    shop = Shop(
        OnSqlAlchemy(
            create_engine(f"sqlite:///{tmp_path / 'shop.db'}", connect_args={"timeout": 0.01})
        )
    )
    with shop.engine.connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")

        with pytest.raises(FenceUnavailable, match="database is locked"):
            shop.run("try")
    assert isinstance(shop.run("try"), Ok)
    shop.close()


# ---------------------------------------------------------------- both


def test_a_database_without_a_fence_is_named() -> None:
    engine = create_engine("sqlite://")
    engine.dialect.name = "oracle"

    with pytest.raises(ValueError, match="oracle: no fence for this database"):
        SqlAlchemyFence(engine)


def test_an_asynchronous_engine_is_named(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'shop.db'}")

    with pytest.raises(ValueError, match="synchronous engine"):
        SqlAlchemyFence(engine.sync_engine)


def test_the_table_can_live_on_the_services_own_metadata(tmp_path: Path) -> None:
    metadata = MetaData()
    engine = sqlite_engine(tmp_path / "shop.db")
    fence = SqlAlchemyFence(engine, table=fence_table(metadata, "inbox"))
    metadata.create_all(engine)

    assert fence.table is metadata.tables["inbox"]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM inbox")).scalar() == 0
    engine.dispose()
