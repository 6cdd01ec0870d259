"""What a fence does for handlers that use SQLAlchemy's own means, the same on every engine."""

from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from trypact.call import PENDING, Ok, Refused
from trypact.errors import FenceUnavailable, InvalidRequest, Refuse
from trypact.fence import SqlAlchemyFence

from tests.conformance.fence.conftest import ENGINES, SQLITE, Shop, in_company

every_engine = pytest.mark.parametrize("shop", in_company(ENGINES), indirect=True)
# Where a constraint can wait for COMMIT.
deferring = pytest.mark.parametrize("shop", in_company((*SQLITE, "postgresql")), indirect=True)


@every_engine
def test_a_constraint_of_the_business_tables_undoes_everything(shop: Shop) -> None:
    def oversell(connection: Connection) -> bytes:
        connection.execute(text("UPDATE stock SET sellable = sellable - 11"))
        return b""

    with pytest.raises(DBAPIError):
        shop.run("try", oversell)
    assert (shop.status, shop.stock) == (None, (10, 0, 0))


@every_engine
def test_a_session_on_the_connection_takes_part_in_its_transaction(shop: Shop) -> None:
    def refuse_after_commit(connection: Connection) -> bytes:
        with Session(bind=connection) as session:
            session.execute(text("UPDATE stock SET sellable = 0"))
            session.commit()
        raise Refuse("no")

    def use(connection: Connection) -> bytes:
        with Session(bind=connection) as session:
            session.execute(text("UPDATE stock SET sellable = 7 WHERE sku = 'a'"))
            session.commit()
        return b"7"

    assert shop.run("try", refuse_after_commit) == Refused("no")
    assert shop.stock == (10, 0, 0)
    assert shop.run("try", use, xid="y") == Ok(b"7")
    assert shop.stock == (7, 0, 0)


@deferring
def test_a_commit_that_fails_is_an_unknown_outcome(shop: Shop) -> None:
    with shop.engine.begin() as connection:
        connection.execute(text("CREATE TABLE parent (id INTEGER PRIMARY KEY)"))
        connection.execute(
            text(
                "CREATE TABLE child (id INTEGER REFERENCES parent (id)"
                " DEFERRABLE INITIALLY DEFERRED)"
            )
        )

    def orphan(connection: Connection) -> bytes:
        if shop.engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        connection.execute(text("INSERT INTO child VALUES (1)"))
        return b""

    with shop.engine.connect() as connection:
        foreign_keys = shop.engine.dialect.name != "sqlite" or bool(
            connection.exec_driver_sql("PRAGMA foreign_keys").scalar()
        )
    if foreign_keys:
        with pytest.raises(FenceUnavailable, match="may or may not have committed"):
            shop.run("try", orphan)
        assert shop.status is None
    else:
        # An ordinary engine of SQLite does not check them, and the fence does not change that.
        assert shop.run("try", orphan) == Ok()


@every_engine
def test_an_unknown_status_cannot_be_stored(shop: Shop) -> None:
    shop.run("try")

    with pytest.raises(DBAPIError), shop.engine.begin() as connection:
        connection.execute(text("UPDATE trypact_fence SET status = 'LOST'"))


@every_engine
@pytest.mark.parametrize("where", ["isolation_level", "execution_options"])
def test_an_engine_that_commits_by_itself_is_refused(shop: Shop, where: str) -> None:
    level: Any = "AUTOCOMMIT"
    options = {where: level if where == "isolation_level" else {"isolation_level": level}}
    by_itself = create_engine(shop.engine.url, **options)
    with pytest.raises(ValueError, match="engine: commits every statement by itself"):
        SqlAlchemyFence(by_itself)
    shop.run("try", lambda connection: PENDING)
    with (
        by_itself.connect() as connection,
        pytest.raises(InvalidRequest, match="begin one first"),
    ):
        shop.fence.complete(connection, "x", "b", "try")
    by_itself.dispose()
    assert shop.status == "TRY_PENDING"


@every_engine
def test_what_is_no_open_connection_completes_nothing(shop: Shop) -> None:
    with pytest.raises(TypeError, match="a Engine is no open connection; allowed: what handlers"):
        shop.fence.complete(shop.engine, "x", "b", "try")
    with (
        Session(shop.engine) as session,
        pytest.raises(TypeError, match=r"session\.connection\(\)"),
    ):
        shop.fence.complete(session, "x", "b", "try")
