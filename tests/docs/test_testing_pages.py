"""The pages about tests and simulations, followed to the letter."""

import re

from trypact.testing.examination.cases import CASES

from tests.docs.conftest import Desk
from tests.docs.pages import Block, sections
from tests.tidy.repository import ROOT

EXAMINE = "docs/how-to/test-your-participant.md"
SIMULATE = "docs/how-to/simulate.md"


def timeless(text: str) -> str:
    """What pytest says, whatever time it took."""
    return re.sub(r"in \d+\.\d+s", "in a while", text)


def run_as_shown(desk: Desk, blocks: list[Block]) -> None:
    """Save a test, run it, and hold what it says against the page."""
    desk.save(blocks)
    command, said = blocks[-2:]
    assert timeless(desk.run(command.text)) == timeless(said.text)


def test_the_page_about_tests_says_what_its_examples_say(desk: Desk) -> None:
    page = sections(EXAMINE)
    desk.save(page[""])

    run_as_shown(desk, page["Does it keep the contract?"])
    run_as_shown(desk, page["What becomes of a whole transaction?"])
    run_as_shown(desk, page["An environment in a fixture"])


def test_the_page_about_tests_examines_what_runs(desk: Desk) -> None:
    page = sections(EXAMINE)
    desk.save(page[""])
    blocks = page["Does it keep the contract in another language?"]
    desk.save(blocks)
    start, examine, _, _, start_careless, examine_careless, said = blocks

    right = desk._run(where_it_is_served(desk, start, examine))
    assert right.returncode == 0
    assert "warehouse.reserve: 16 held, 6 not tried" in right.stdout

    wrong = desk._run(where_it_is_served(desk, start_careless, examine_careless))
    assert wrong.returncode == 1
    assert said.text in wrong.stdout


def where_it_is_served(desk: Desk, start: Block, examine: Block) -> str:
    """Start a participant; return the command that examines it, at the port that it really has."""
    process = desk.terminal(start.text, "is served at")
    address = process.wait_for(r"is served at (\S+)")[1]
    return re.sub(r"127\.0\.0\.1:702\d", address, examine.text)


def test_the_page_about_tests_knows_every_case() -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", (ROOT / EXAMINE).read_text(), re.MULTILINE)

    assert sorted(re.findall(r"`([\w-]+)`", " ".join(rows))) == sorted(c.name for c in CASES)


def test_the_page_about_simulations_says_what_its_examples_say(desk: Desk) -> None:
    desk.save(sections(EXAMINE)[""])
    page = sections(SIMULATE)
    run_as_shown(desk, page["Thirty bad days"])

    script, again, repeats = page["A bad day, once more"]
    desk.save([script])
    worse = desk._run(again.text)
    assert worse.returncode == 1
    assert repeats.text in worse.stdout

    seed, command = re.fullmatch(
        r"repeat it with: TRYPACT_(SEED=\d+) (.*)\n", repeats.text
    ).groups()
    assert seed == "SEED=1"
    desk.exported["TRYPACT_SEED"] = "1"
    repeated = desk._run(command)
    assert repeated.returncode == 1
    assert repeats.text in repeated.stdout
