"""Reads what a page of the documentation shows: its files, its commands, its output."""

import re
from dataclasses import dataclass

from tests.tidy.repository import ROOT


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    text: str


def sections(page: str) -> dict[str, list[Block]]:
    """Return the fenced blocks of a page below each of its headings; "" is what comes first."""
    found: dict[str, list[Block]] = {"": []}
    heading = ""
    pattern = re.compile(r"^## +([^\n]*)$|^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    for match in pattern.finditer((ROOT / page).read_text()):
        if match[1] is not None:
            heading = match[1]
            found[heading] = []
        else:
            found[heading].append(Block(match[2], match[3]))
    return found


def files(blocks: list[Block]) -> dict[str, str]:
    """Return the files that Python blocks show, by the name in their first line."""
    named = {}
    for block in blocks:
        first = block.text.partition("\n")[0]
        if block.language == "python" and (name := re.fullmatch(r"# (\w+\.py)", first)):
            named[name[1]] = block.text
    return named
