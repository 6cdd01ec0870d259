"""What the page about guards calls a proof is a test, and every guard has one."""

import re

import pytest

from tests.tidy.repository import ROOT

PAGE = ROOT / "docs/explanation/guards.md"


def guards() -> list[str]:
    """The paragraphs that are about a guard, each on one line."""
    paragraphs = PAGE.read_text().split("\n\n")
    return [" ".join(text.split()) for text in paragraphs if text.startswith("**")]


@pytest.mark.parametrize("guard", guards(), ids=lambda guard: guard.partition("**")[2][:40])
def test_every_guard_names_tests_that_exist(guard: str) -> None:
    assert "*Guard:*" in guard
    _, _, proof = guard.partition("*Proof:*")
    linked = re.findall(r"\[([^\]]+)\]\(\.\./\.\./(tests/[^)]+)\)", proof)

    assert linked
    for words, path in linked:
        if path.endswith(".py"):
            name = f"def test_{words.replace(' ', '_')}("
            assert name in (ROOT / path).read_text(), f"{path} has no {name}"
