"""A participant in another language, with nothing but the wire contract, in real transactions."""

import asyncio
import json

import pytest
import trypact

from tests.integration.node.conftest import HERE, REGISTERED, Stage
from tests.integration.server.scraping import scrape
from tests.tidy.repository import ROOT


async def test_both_languages_are_confirmed_in_one_transaction(stage: Stage) -> None:
    outcome = await stage.execute("play", seats=2, cents=50)

    assert outcome.state is trypact.State.CONFIRMED
    assert outcome.branch("seats").result == b'{"seats":2}'
    assert await stage.said(r"Confirm play seats: ok, (\d+) free") == "8"
    assert stage.purse.ran == ["Try", "Confirm"]


async def test_its_refusal_cancels_the_other(stage: Stage) -> None:
    with pytest.raises(trypact.TransactionCancelled, match="sold_out: 10 left"):
        await stage.execute("crowd", seats=11, cents=50)

    assert await stage.said(r"Try crowd seats: (\w+), 10 free") == "refused"
    assert stage.purse.ran in (["Try", "Cancel"], [])


async def test_the_refusal_of_the_other_cancels_it(stage: Stage) -> None:
    stage.purse.may_try.clear()
    refused = asyncio.create_task(stage.execute("dear", seats=2, cents=100))
    assert await stage.said(r"Try dear seats: ok, (\d+) free") == "8"
    stage.purse.may_try.set()

    with pytest.raises(trypact.TransactionCancelled, match="too_much"):
        await refused
    assert await stage.said(r"Cancel dear seats: ok, (\d+) free") == "10"


async def test_killed_between_try_and_confirm_it_is_confirmed_once_it_is_back(
    stage: Stage,
) -> None:
    stage.purse.may_try.clear()
    asked = asyncio.create_task(stage.execute("play", seats=2, cents=50))
    await stage.said(r"Try play seats: (ok)")
    stage.seats.kill()
    stage.purse.may_try.set()
    stage.seats = stage.start_seats()

    assert await stage.said(REGISTERED) == "8"
    assert (await asked).state is trypact.State.CONFIRMED
    assert await stage.said(r"Confirm play seats: ok, (\d+) free") == "8"


async def test_the_coordinator_calls_the_plain_methods_where_there_is_no_stream(
    stage: Stage,
) -> None:
    for number in range(5):
        await stage.execute(f"play{number}", seats=1, cents=1)

    attempts = (await scrape(stage.url)).series("branch_attempts_total")

    # Not one call was lost to the stream that the coordinator would have preferred.
    assert {key: count for key, count in attempts.items() if key[2] == "seats"} == {
        ("try", "ok", "seats"): 5,
        ("confirm", "ok", "seats"): 5,
    }


def test_the_page_about_other_languages_shows_this_very_program() -> None:
    program = (HERE / "seats.js").read_text()

    assert f"```js\n{program}```\n" in (ROOT / "docs/how-to/another-language.md").read_text()


def test_its_packages_are_pinned_by_hash_and_by_no_address() -> None:
    packages = json.loads((HERE / "package-lock.json").read_text())["packages"]
    installed = {name: package for name, package in packages.items() if name}

    assert installed
    assert all("integrity" in package for package in installed.values())
    assert not any("resolved" in package for package in installed.values())
