"""The how-to pages, followed to the letter: their files, their commands, their output."""

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
