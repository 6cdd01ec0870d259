"""The how-to pages, followed to the letter: their files, their commands, their output."""

import asyncio
import inspect
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import trypact
import trypact.outbox
from trypact_shop.demo.ports import Ports
from trypact_shop.endpoints import ENDPOINTS, variable_of

from tests.docs.conftest import Desk
from tests.docs.pages import sections
from tests.tidy.repository import ROOT

REGISTERED = "is registered with the coordinator"


def test_the_page_about_branches_says_what_its_example_says(desk: Desk) -> None:
    desk.start_coordinator()
    script, *runs = sections("docs/how-to/branches.md")["All four in one transaction"]
    desk.save([script])

    for command, output in zip(runs[::2], runs[1::2], strict=True):
        assert desk.run(command.text) == output.text


def test_the_page_about_branches_launches_a_rocket_or_not(desk: Desk) -> None:
    desk.start_coordinator()
    script, *runs = sections("docs/how-to/branches.md")["A step with no way back"]
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


def test_the_page_about_participants_seats_as_many_as_there_are_seats(desk: Desk) -> None:
    blocks = sections("docs/how-to/participants.md")["Many calls at once"]
    desk.start_coordinator()
    desk.save(blocks)
    start, rush, said = blocks[3:]
    desk.terminal(start.text, REGISTERED)

    assert desk.run(rush.text) == said.text


async def test_the_page_about_the_shop_does_what_it_says(desk: Desk) -> None:
    page = sections("docs/how-to/shop.md")
    desk.start_coordinator()
    ports = Ports(len(ENDPOINTS))
    for name, port in zip(ENDPOINTS, ports.numbers, strict=True):
        desk.exported[variable_of(name)] = f"127.0.0.1:{port}"
    _, up, seed = page["Open it"]
    shop = desk.terminal(up.text, "The shop is open")
    desk.run(seed.text)

    placing, looking = (block.text.splitlines() for block in page["Buy something"])
    assert "balance 172.50 = to pay 0.00" in desk.run(placing[0])
    assert "refused by inventory: out_of_stock" in desk._run(placing[1]).stdout
    listed = "".join(map(desk.run, looking))
    assert [word in listed for word in ("created", "Teapot", "172.50", "used")] == [True] * 4

    breaking, asking, mending, _, counting, killing, again = (
        b.text.splitlines() for b in page["Break it"]
    )
    stop, cont = (["pkill", f"-{name}", "-P", str(shop.pid), "-f"] for name in ("STOP", "CONT"))
    assert breaking[0] == f"{stop[0]} {stop[1]} -f trypact_shop.balance"
    assert mending[0] == f"{cont[0]} {cont[1]} -f trypact_shop.balance"
    await asyncio.to_thread(subprocess.run, [*stop, "trypact_shop.balance"], check=True)
    placed = asyncio.create_task(asyncio.to_thread(desk._run, breaking[1]))
    await asyncio.to_thread(desk.run_until, asking[0], "balance")
    await asyncio.to_thread(subprocess.run, [*cont, "trypact_shop.balance"], check=True)
    await placed
    header, ada = (line.split() for line in desk.run(counting[0]).splitlines())
    assert header[:3] == ["USER", "AVAILABLE", "FROZEN"]
    assert ada[2] == "0.00"
    assert killing == ["pkill -9 -f trypact_shop.balance"]
    kill = ["pkill", "-9", "-P", str(shop.pid), "-f", "trypact_shop.balance"]
    await asyncio.to_thread(subprocess.run, kill, check=True)
    said = await asyncio.to_thread(shop.wait_for, r"balance ended .*the others go on; again: (.*)")
    assert again[0].partition(" --coordinator")[0].partition("python ")[2] in said[1]
    ports.close()


@pytest.mark.parametrize("describe", [trypact.tcc, trypact.saga, trypact.message, trypact.notice])
def test_the_page_about_branches_knows_every_word_about_a_kind(
    describe: Callable[..., Any],
) -> None:
    page = (ROOT / "docs/how-to/branches.md").read_text()
    words = set(inspect.signature(describe).parameters) - {"action", "payload"}

    assert f"| `{describe.__name__}` |" in page
    assert [word for word in words if f"{word}=" not in page] == []


def test_the_page_about_fences_has_a_place_for_each() -> None:
    page = (ROOT / "docs/how-to/fences.md").read_text()
    # What others implement.
    ports = {"Fence", "AsyncFence"}
    fences = {name for name in trypact.fence.__all__ if name.endswith("Fence")} - ports

    assert [name for name in fences if f"`{name}" not in page] == []


def test_the_page_about_outboxes_has_a_place_for_each_publisher() -> None:
    page = (ROOT / "docs/how-to/outbox.md").read_text()
    publishers = {name for name in trypact.outbox.__all__ if name.endswith("Publisher")}

    assert [name for name in publishers - {"Publisher"} if f"| `{name}(" not in page] == []
