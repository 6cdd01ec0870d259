"""Checks that a command line which a page or a deploy file shows would be understood."""

import re
import shlex
from collections.abc import Sequence

import click
from trypact_coordinator.cli.failures import Failure
from trypact_coordinator.cli.main import cli

from tests.tidy.repository import ROOT, read


def misunderstood(words: Sequence[str]) -> str:
    """Return why the command line interface would refuse these words; "" if it would not.

    Parses every level as the real thing does, options and all, and runs nothing.
    """
    command: click.Command = cli
    context: click.Context | None = None
    name, rest = "trypact", list(words)
    try:
        while True:
            context = command.make_context(name, rest, parent=context)
            if not isinstance(command, click.Group):
                return ""
            words_left = [*context._protected_args, *context.args]
            found_name, found, rest = command.resolve_command(context, words_left)
            if found is None or found_name is None:
                return f"no such command: {words_left}"
            command, name = found, found_name
    except click.exceptions.Exit:
        return ""
    except click.ClickException as error:
        return error.format_message()
    except Failure as failure:
        return failure.lines()


def shell_commands(markdown: str) -> list[str]:
    """Return the lines of a page's shell blocks that a reader would type."""
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", markdown, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ").strip() for line in lines if line.strip()]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", read("Makefile").text, re.MULTILINE))


def wrong_with(line: str) -> str:
    """Return what is wrong with one shell line of a page; "" if nothing is."""
    commands: list[list[str]] = [[]]
    for word in shlex.split(line, comments=True):
        if word == "|":
            commands.append([])
        else:
            commands[-1].append(word)
    return "; ".join(filter(None, map(_wrong_with_command, commands)))


def _wrong_with_command(words: list[str]) -> str:
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    if not words:
        return ""
    program = words[0].removeprefix(".venv/bin/")
    if program == "make":
        targets = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
        unknown = set(targets) - make_targets()
        return f"no such make target: {sorted(unknown)}" if unknown else ""
    if program == "trypact":
        return misunderstood(words[1:])
    if program == "pytest":
        lost = [word for word in words[1:] if "/" in word and not (ROOT / word).exists()]
        return f"no such tests: {lost}" if lost else ""
    return ""
