"""The throw-away server keeps its promises."""

import psycopg
import pytest

from tests.servers.postgres import PostgresServer, find_binaries


def test_each_test_gets_an_empty_database_of_its_own(postgres_server: PostgresServer) -> None:
    first, second = postgres_server.create_database(), postgres_server.create_database()
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE t (n int)")
    with psycopg.connect(second) as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT n FROM t")
    postgres_server.drop_database(first)
    postgres_server.drop_database(second)


def test_what_was_committed_survives_a_kill_and_a_start() -> None:
    server = PostgresServer()
    try:
        url = server.create_database()
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE t (n int)")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        server.start()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    finally:
        server.remove()


def test_the_binaries_are_found() -> None:
    assert (find_binaries() / "postgres").exists()
