"""`trypact outbox`: what an operator sees of an outbox, and does to it."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from trypact.fence import sqlite_engine
from trypact.outbox import Failed, Message, Outbox, Pace, Relay
from trypact.outbox.cli import outbox
from trypact_coordinator.cli.failures import NOT_FOUND, PARTLY_DONE

from tests.conformance.outbox.conftest import Postbox


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'orders.db'}"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(outbox, arguments)


async def fill(database: str) -> list[str]:
    """One that has arrived, one that is parked, one that is new."""
    engine, box, postbox = sqlite_engine(database), Outbox(), Postbox()
    arrived = postbox.answer
    postbox.answer = lambda one: Failed("no such topic") if one.key == "bad" else arrived(one)
    with engine.begin() as connection:
        box.create_tables(connection)
        ids = [box.add(connection, Message("order.paid", key=key)) for key in ("good", "bad")]
    await Relay(engine, box, postbox, pace=Pace(failures_max=1)).drain()
    with engine.begin() as connection:
        ids.append(box.add(connection, Message("order.paid", key="new")))
    engine.dispose()
    return ids


async def test_the_list_counts_states_and_says_why_something_waits(database: str) -> None:
    _, bad, new = await fill(database)
    shown = run("list", "--database", database).output.splitlines()
    assert [line.split()[:-1] for line in shown[1:4]] == [
        ["ARRIVED", "1"],
        ["FAILED", "(parked)", "1"],
        ["NEW", "1"],
    ]
    assert shown[6].split() == [bad, "order.paid", "bad", "FAILED", "1", "0s", "parked", "no",
                                "such", "topic"]  # fmt: skip
    assert shown[7].split() == [new, "order.paid", "new", "NEW", "0", "0s", "now"]

    only = run("list", "--database", database, "--state", "arrived").output.splitlines()
    assert [line.split()[3] for line in only[6:]] == ["ARRIVED"]


async def test_resend_makes_the_failed_new_again(database: str) -> None:
    _, bad, new = await fill(database)
    done = run("resend", "--database", database, bad)
    assert (done.exit_code, done.output) == (0, "1 messages will be sent again\n")
    assert "parked" not in run("list", "--database", database).output

    refused = run("resend", "--database", database, new)
    assert refused.exit_code == NOT_FOUND
    assert "1 of 1 are not there, or have not failed" in refused.output
    assert run("resend", "--database", database, "--all").exit_code == 0


async def test_skip_gives_a_message_up_until_it_is_resent(database: str) -> None:
    good, bad, _ = await fill(database)
    done = run("skip", "--database", database, bad)
    assert (done.exit_code, done.output) == (0, "1 messages are skipped\n")
    assert bad not in run("list", "--database", database).output
    assert bad in run("list", "--database", database, "--state", "SKIPPED").output

    refused = run("skip", "--database", database, good, bad)
    assert refused.exit_code == NOT_FOUND
    assert "2 of 2 are not there, or have arrived" in refused.output
    assert "0 messages" in run("resend", "--database", database, "--all").output
    assert run("resend", "--database", database, bad).exit_code == 0


async def test_what_is_done_to_some_of_the_ids_is_done_though_others_are_unknown(
    database: str,
) -> None:
    _, bad, _ = await fill(database)
    partly = run("skip", "--database", database, bad, bad, "nobody")
    assert partly.exit_code == PARTLY_DONE
    assert "1 messages are skipped" in partly.output
    assert "1 of 2 are not there, or have arrived" in partly.output
    assert bad in run("list", "--database", database, "--state", "SKIPPED").output


def test_an_empty_outbox_says_so_beside_the_output(database: str) -> None:
    engine = sqlite_engine(database)
    with engine.begin() as connection:
        Outbox().create_tables(connection)
    engine.dispose()
    shown = run("list", "--database", database)
    assert (shown.exit_code, shown.stdout, shown.stderr) == (0, "", "There are no messages.\n")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("list",), "Missing option '--database'"),
        (("list", "--database", "nonsense"), "--database: Could not parse SQLAlchemy URL"),
        (("list", "--database", "sqlite:///:memory:"), "no such table: trypact_outbox"),
        (("resend", "--database", "sqlite://"), "give the ids of failed messages, or --all"),
        (("resend", "--database", "sqlite://", "--all", "x"), "give the ids"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: tuple[str, ...], complaint: str) -> None:
    done = run(*arguments)
    assert done.exit_code != 0
    assert complaint in done.output
