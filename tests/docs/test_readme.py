"""The first taste in the README tastes as it says."""

from tests.docs.conftest import SHOWN, Desk
from tests.docs.pages import sections


def test_the_first_taste_runs_and_says_what_the_page_says(desk: Desk) -> None:
    _, script, output = sections("README.md")["A first taste"]
    desk.start_coordinator()
    (desk.folder / "taste.py").write_text(script.text.replace(SHOWN, desk.address))

    assert desk.run("python taste.py") == output.text
