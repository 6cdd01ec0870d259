"""Write the reference of the command line: `python tools/command_reference.py [--check]`.

`docs/reference/commands.md` has every command with what it takes, as its own `--help` says it. A
command or an option without a sentence of help is a failure here.
"""

import sys
from collections.abc import Iterator
from inspect import cleandoc

import click
from pages import GENERATED, written_or_checked
from trypact_coordinator.cli.main import cli

HEAD = """\
# Commands

Every command of `trypact`, as `--help` shows it. What they share, their exit codes and the forms of
their output are on [a page of their own](cli.md). What `serve` and `dev` are told by flags can be
said by a file or by the environment too: see [configuration](configuration.md).

"""


def commands(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    """Yield the context of each command below one, in the order of its help; groups are none."""
    if not isinstance(command, click.Group):
        yield context
        return
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        if below is not None:
            yield from commands(below, click.Context(below, parent=context, info_name=name))


def section(context: click.Context) -> str:
    command, name = context.command, context.command_path
    if not command.help:
        sys.exit(f"{name} has no help: give its function a docstring")
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    told = cleandoc(command.help).replace("\b\n", "")
    rows = [row(context, option) for option in command.params if option.param_type_name == "option"]
    head = "| option | meaning |\n| --- | --- |\n"
    table = head + "\n".join(rows) + "\n" if rows else ""
    return f"## {name}\n\n{told}\n\n```text\n{usage}\n```\n\n{table}"


def row(context: click.Context, option: click.Parameter) -> str:
    record = option.get_help_record(context)
    if record is None or not getattr(option, "help", None):
        sys.exit(f"{context.command_path} {option.opts[0]} has no help")
    words, meaning = (" ".join(text.split()).replace("|", "\\|") for text in record)
    return f"| `{words}` | {meaning} |"


def page() -> str:
    found = commands(cli, click.Context(cli, info_name="trypact"))
    return GENERATED + HEAD + "\n".join(map(section, found)).rstrip("\n") + "\n"


if __name__ == "__main__":
    sys.exit(written_or_checked(__doc__, "docs/reference", {"commands.md": page()}))
