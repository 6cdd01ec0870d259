"""The entry point: the root command, its lazily imported parts, and the guard around them."""

import importlib
import os
import sys
from collections.abc import Sequence

import click

from trypact_coordinator.cli.failures import (
    BROKEN_PIPE,
    FAILED,
    INTERRUPTED,
    USAGE,
    Failure,
    of_reason,
)
from trypact_coordinator.cli.plugins import line_of, plugins

# Name -> (module, attribute, one line for the listing).
_COMMANDS = {
    "dev": ("serve", "dev", "Run a coordinator for development, on SQLite."),
    "serve": ("serve", "serve", "Run a coordinator."),
    "tx": ("tx", "tx", "See transactions, and act on them."),
    "participant": ("participant", "participant", "See who is registered."),
    "journal": ("journal", "journal", "Migrate, prune and verify a journal."),
    "explain": ("explain", "explain", "Say what an error means, and what to do about it."),
}

_EPILOG = (
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 not allowed, 4 not found, 5 conflict, "
    "6 partly done, 130 interrupted."
)


class LazyCommands(click.Group):
    """A group whose commands are imported when they are asked for; plugins join it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands, ours first, without importing any."""
        return [*_COMMANDS, *sorted(plugins().keys() - _COMMANDS.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command. A plugin that cannot be imported fails only here."""
        if cmd_name in _COMMANDS:
            module, attribute, _ = _COMMANDS[cmd_name]
            found = importlib.import_module(f"trypact_coordinator.cli.{module}")
            return getattr(found, attribute)  # type: ignore[no-any-return]
        plugin = plugins().get(cmd_name)
        if plugin is None:
            return None
        try:
            return plugin.load()  # type: ignore[no-any-return]
        except ModuleNotFoundError as missing:
            raise Failure(
                f"the command {cmd_name} cannot be used",
                missing.msg,
                "Install what is missing, and try again.",
            ) from missing
        except Exception as error:  # whatever another package's import raises
            raise Failure(
                f"the command {cmd_name} cannot be used",
                f"its package does not import: {type(error).__name__}: {error}",
                f"Mend or remove the package that provides {plugin.value}.",
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with one line each."""
        rows = [(name, about) for name, (_, _, about) in _COMMANDS.items()]
        rows += [
            (name, line_of(plugin))
            for name, plugin in sorted(plugins().items())
            if name not in _COMMANDS
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"trypact {version('trypact')}")
        ctx.exit()


@click.group(cls=LazyCommands, epilog=_EPILOG, context_settings={"max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Print the version and exit.",
)
def cli() -> None:
    """Drive transactions that span services: all of it happens, or none of it does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; return its exit code. No exception leaves it."""
    # gRPC's core writes its own chatter to stderr, unless told not to before it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that cannot show a character gets a question mark, not an error.
            stream.reconfigure(errors="replace")
    try:
        code = cli.main(arguments, prog_name="trypact", standalone_mode=False)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):
        # click turns a pipe that broke while it wrote into an exit of its own; nothing else exits.
        _silence_stdout()
        return BROKEN_PIPE
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except Exception as error:  # the guard's whole purpose
        failure = _failure_of(error)
        if os.environ.get("TRYPACT_TRACEBACK"):
            raise
        _say(failure)
        return failure.exit_code
    return code if isinstance(code, int) else 0


def _say(failure: Failure) -> None:
    try:
        click.echo(failure.lines(), err=True)
    except OSError:
        # Nobody reads stderr; the exit code still tells.
        return


def _failure_of(error: Exception) -> Failure:
    from trypact_coordinator.core.errors import CoordinatorError

    if isinstance(error, Failure):
        return error
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "trypact"
        what = f"{path} was not understood"
        return Failure(what, error.format_message(), f"See `{path} --help`.", USAGE)
    if isinstance(error, click.ClickException):
        todo = "Correct it and try again."
        return Failure("the command failed", error.format_message(), todo, error.exit_code)
    if isinstance(error, CoordinatorError):
        return of_reason("the command failed", str(error), error.status, error.reason)
    if isinstance(error, ModuleNotFoundError):
        why = f"it needs {error.name}"
        return Failure("a library is missing", why, "pip install 'trypact[server]'")
    if isinstance(error, OSError):
        why = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        return Failure("the command failed", why, "Check the path and your permissions.")
    return Failure(
        "the command failed unexpectedly",
        f"{type(error).__name__}: {error}",
        "Run it again with TRYPACT_TRACEBACK=1 and report what it shows.",
        FAILED,
    )


def _silence_stdout() -> None:
    """Keep the interpreter from complaining about the lost pipe when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
