"""`trypact inbox`: what an operator sees of a group's inbox, and does to it."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine
from trypact.fence import sqlite_engine
from trypact.inbox import Inbox
from trypact.inbox.cli import inbox
from trypact.outbox import Message
from trypact_coordinator.cli.failures import NOT_FOUND, PARTLY_DONE


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """A database where one message is done, one failed, two are parked and one is in work."""
    made = sqlite_engine(tmp_path / "parcels.db")
    shipping = Inbox("shipping", attempts_max=2)
    with made.begin() as connection:
        shipping.create_tables(connection)
        for one in ("done", "failed", "parked", "parked-2", "dying"):
            message = Message("order.paid", id=one)
            if one == "done":
                shipping.take(connection, message)
            elif one == "dying":
                shipping.begin(connection, message)
            for _ in range({"failed": 1, "parked": 2, "parked-2": 2}.get(one, 0)):
                shipping.fail(connection, message, "no carrier\nat all")
    return made


def run(engine: Engine, command: str, *arguments: str, group: str = "shipping") -> Result:
    options = ("--database", f"sqlite:///{engine.url.database}", "--group", group)
    return CliRunner().invoke(inbox, (command, *options, *arguments))


def states(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        found = Inbox("shipping").entries(connection)
    return {entry.id: str(entry.state) for entry in found}


def test_the_list_counts_states_and_says_why_something_waits(engine: Engine) -> None:
    shown = run(engine, "list").stdout.splitlines()
    assert [line.split() for line in shown[:5]] == [
        ["STATE", "MESSAGES", "OLDEST"],
        ["DONE", "1", "0s"],
        ["FAILED", "1", "0s"],
        ["PARKED", "2", "0s"],
        ["PROCESSING", "1", "0s"],
    ]
    why = ["no", "carrier", "at", "all"]
    assert [line.split() for line in shown[6:]] == [
        ["ID", "TOPIC", "STATE", "TIMES", "AGE", "WHY"],
        ["failed", "order.paid", "FAILED", "1", "0s", *why],
        ["parked", "order.paid", "PARKED", "2", "0s", *why],
        ["parked-2", "order.paid", "PARKED", "2", "0s", *why],
        ["dying", "order.paid", "PROCESSING", "1", "0s"],
    ]

    only = run(engine, "list", "--state", "done", "--state", "parked", "--limit", "2").stdout
    assert [line.split()[0] for line in only.splitlines()[7:]] == ["done", "parked"]


def test_a_group_without_messages_says_so_beside_the_output(engine: Engine) -> None:
    shown = run(engine, "list", group="nobody")
    assert (shown.exit_code, shown.stdout, shown.stderr) == (0, "", "There are no messages.\n")


def test_retry_has_what_is_parked_worked_on_again(engine: Engine) -> None:
    done = run(engine, "retry", "parked")
    said = "1 messages will be worked on when they are delivered next\n"
    assert (done.exit_code, done.output) == (0, said)
    assert states(engine) == {
        "failed": "FAILED",
        "parked": "FAILED",
        "parked-2": "PARKED",
        "dying": "PROCESSING",
    }

    refused = run(engine, "retry", "parked", "nobody")
    assert refused.exit_code == NOT_FOUND
    assert "2 of 2 are not there, or are not parked" in refused.output

    assert run(engine, "retry", "--all", group="nobody").output.startswith("0 messages")
    assert run(engine, "retry", "--all").output.startswith("1 messages")
    assert states(engine)["parked-2"] == "FAILED"


def test_skip_gives_messages_up_in_whatever_state_they_wait(engine: Engine) -> None:
    done = run(engine, "skip", "failed", "parked", "dying")
    assert (done.exit_code, done.output) == (0, "3 messages are skipped\n")

    partly = run(engine, "skip", "parked", "parked-2", "nobody")
    assert partly.exit_code == PARTLY_DONE
    assert "2 of 3 are not there, or are done" in partly.output
    assert states(engine) == {}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("list", "--database", "sqlite://"), "Missing option '--group'"),
        (("list", "--group", "a"), "Missing option '--database'"),
        (("list", "--group", "a", "--database", "sqlite://"), "no such table: trypact_inbox"),
        (("list", "--group", "a" * 65, "--database", "sqlite://"), "--group: "),
        (("retry", "--group", "a", "--database", "sqlite://"), "the ids of parked messages, or"),
        (("retry", "--group", "a", "--database", "sqlite://", "--all", "x"), "or --all"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: tuple[str, ...], complaint: str) -> None:
    done = CliRunner().invoke(inbox, arguments)
    assert done.exit_code != 0
    assert complaint in done.output
