"""What the docstring of an example promises: commands, and what each of them prints."""

import ast
import re
import shlex
from dataclasses import dataclass

from tests.tidy.repository import ROOT

EXAMPLES = ROOT / "examples"
_INDENT = "    "


@dataclass(frozen=True)
class Step:
    """One line after a `$`, and the lines until the next one or the end of the block."""

    command: str
    output: str

    def __str__(self) -> str:
        return self.command

    @property
    def in_background(self) -> bool:
        return self.command.endswith("&")

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(shlex.split(self.command.removesuffix("&")))


def programs() -> list[str]:
    """The names of all examples."""
    return sorted(path.name for path in EXAMPLES.glob("*.py"))


def promised(program: str) -> list[Step]:
    """Return the session in the docstring of an example."""
    docstring = ast.get_docstring(ast.parse((EXAMPLES / program).read_text())) or ""
    return session(docstring)


def session(docstring: str) -> list[Step]:
    """Return the commands that a docstring shows, each with its output.

    The output is that of stdout, with an ellipsis (...) for what differs from run to run.
    """
    found = re.findall(
        rf"^{_INDENT}\$ (.+)\n((?:{_INDENT}(?!\$ ).*\n?)*)", docstring + "\n", re.MULTILINE
    )
    return [Step(command, _unindented(output)) for command, output in found]


def _unindented(output: str) -> str:
    return "".join(line.removeprefix(_INDENT) for line in output.splitlines(keepends=True))
