"""The how-to pages, followed to the letter: their files, their commands, their output."""

import asyncio

import pytest

from tests.docs.conftest import Desk
from tests.docs.pages import sections

REGISTERED = "is registered with the coordinator"


def test_the_page_about_branches_says_what_its_example_says(desk: Desk) -> None:
    desk.start_coordinator()
    script, *runs = sections("docs/how-to/branches.md")["All four in one transaction"]
    desk.save([script])

    for command, output in zip(runs[::2], runs[1::2], strict=True):
        assert desk.run(command.text) == output.text


async def test_the_page_about_asking_says_what_its_examples_say(desk: Desk) -> None:
    page = sections("docs/how-to/interactive-and-sync.md")
    desk.start_coordinator()
    for blocks in page.values():
        desk.save(blocks)
    _, start = page[""]
    hotel = desk.terminal(start.text, REGISTERED)

    _, *runs = page["Step by step"]
    for command, output in zip(runs[::2], runs[1::2], strict=True):
        assert desk.run(command.text) == output.text
    _, reserve, reserved = page["Without asyncio"]
    assert desk.run(reserve.text) == reserved.text

    again, unknown, _, ask, confirmed, settle, settled = page["When the outcome is not known"]
    hotel.kill()
    assert desk.run(again.text) == unknown.text
    desk.terminal(start.text, REGISTERED)
    assert desk.run(ask.text) == confirmed.text
    assert "".join(map(desk.run, settle.text.splitlines())) == settled.text


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_the_page_about_participants_says_what_its_examples_say(
    desk: Desk, database: str, request: pytest.FixtureRequest
) -> None:
    blocks = sections("docs/how-to/participants.md")["A loan that somebody has to approve"]
    if database == "postgresql":
        url = request.getfixturevalue("postgres_url")
        desk.exported["LOANS_DATABASE"] = url.replace("postgresql://", "postgresql+psycopg://")
    desk.start_coordinator()
    desk.save(blocks)
    start, quick, answers, large, explaining, approving, approved = blocks[3:]
    desk.terminal(start.text, REGISTERED)

    assert "".join(map(desk.run, quick.text.splitlines())) == answers.text

    first, second = large.text.splitlines()
    explain_first, explain_second = explaining.text.splitlines()
    approve_first, approve_second = approving.text.splitlines()
    ada = asyncio.create_task(asyncio.to_thread(desk.run, first))
    await asyncio.to_thread(desk.run_until, explain_first, "was accepted by loans")
    bob = asyncio.create_task(asyncio.to_thread(desk.run, second))
    await asyncio.to_thread(desk.run_until, explain_second, "loan-3 is being looked at")
    assert "approved by Grace" in await asyncio.to_thread(desk.run, approve_first)
    await asyncio.to_thread(desk.run_until, approve_second, "approved by Grace")
    assert await ada + await bob == approved.text
