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
    assert outcome.branch("stalls").result == b'{"seats":2}'
    assert await stage.said(r"Confirm play stalls: ok, (\d+) free") == "8"
    assert stage.purse.ran == ["Try", "Confirm"]


async def test_its_refusal_cancels_the_other(stage: Stage) -> None:
    with pytest.raises(trypact.TransactionCancelled, match="sold_out: 10 left"):
        await stage.execute("crowd", seats=11, cents=50)

    assert await stage.said(r"Try crowd stalls: (\w+), 10 free") == "refused"
    assert stage.purse.ran in (["Try", "Cancel"], [])


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"seats": 0},
        {"seats": -1},
        {"seats": 1.5},
        {"seats": "2"},
        {"seats": None},
        [2],
        2,
        None,
        b"two seats",
        b"",
    ],
    ids=repr,
)
async def test_a_payload_without_a_number_of_seats_is_refused_and_leaves_the_seats_alone(
    stage: Stage, payload: object
) -> None:
    with pytest.raises(trypact.TransactionCancelled, match="bad_request: send"):
        await stage.ask("odd", payload, cents=50)

    assert await stage.said(r"Try odd stalls: refused, (.+) free") == "10"
    assert (await stage.execute("play", seats=2, cents=50)).state is trypact.State.CONFIRMED


async def test_the_refusal_of_the_other_cancels_it(stage: Stage) -> None:
    stage.purse.may_try.clear()
    refused = asyncio.create_task(stage.execute("dear", seats=2, cents=100))
    assert await stage.said(r"Try dear stalls: ok, (\d+) free") == "8"
    stage.purse.may_try.set()

    with pytest.raises(trypact.TransactionCancelled, match="too_much"):
        await refused
    assert await stage.said(r"Cancel dear stalls: ok, (\d+) free") == "10"


async def test_killed_between_try_and_confirm_it_is_confirmed_once_it_is_back(
    stage: Stage,
) -> None:
    stage.purse.may_try.clear()
    asked = asyncio.create_task(stage.execute("play", seats=2, cents=50))
    await stage.said(r"Try play stalls: (ok)")
    stage.stalls.kill()
    stage.purse.may_try.set()
    stage.stalls = stage.start_stalls()

    assert await stage.said(REGISTERED) == "8"
    assert (await asked).state is trypact.State.CONFIRMED
    assert await stage.said(r"Confirm play stalls: ok, (\d+) free") == "8"


async def test_the_coordinator_calls_the_plain_methods_where_there_is_no_stream(
    stage: Stage,
) -> None:
    for number in range(5):
        await stage.execute(f"play{number}", seats=1, cents=1)

    attempts = (await scrape(stage.url)).series("branch_attempts_total")

    # Not one call was lost to the stream that the coordinator would have preferred.
    assert {key: count for key, count in attempts.items() if key[2] == "stalls"} == {
        ("try", "ok", "stalls"): 5,
        ("confirm", "ok", "stalls"): 5,
    }


def test_the_page_about_other_languages_shows_this_very_program() -> None:
    program = (HERE / "stalls.js").read_text()

    assert f"```js\n{program}```\n" in (ROOT / "docs/how-to/another-language.md").read_text()


def test_its_packages_are_pinned_by_hash_and_by_no_address() -> None:
    packages = json.loads((HERE / "package-lock.json").read_text())["packages"]
    installed = {name: package for name, package in packages.items() if name}

    assert installed
    assert all("integrity" in package for package in installed.values())
    assert not any("resolved" in package for package in installed.values())
