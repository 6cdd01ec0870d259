"""The guard around the command line, and how little it imports."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click
import pytest
from trypact_coordinator.cli import main as entry
from trypact_coordinator.cli.failures import INTERRUPTED
from trypact_coordinator.cli.main import main


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("trypact 0.")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from trypact_coordinator.cli.main import main; main(['--help']);"
        "heavy = {'grpc', 'rich', 'sqlalchemy', 'structlog', 'asyncio', 'msgspec', 'psycopg'};"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert ran.returncode == 0, ran.stderr
    assert "Exit codes: 0 ok" in ran.stdout


def test_ctrl_c_is_heeded_before_everything_is_imported() -> None:
    program = (
        "import signal, sys\n"
        "class Impatient:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'click': signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Impatient())\n"
        "from trypact_coordinator.cli.entry import main\n"
        "sys.exit(main())"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (ran.returncode, ran.stderr) == (INTERRUPTED, "interrupted\n")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["tx", "bogus"], "No such command 'bogus'"),
        (["--bogus"], "No such option"),
        (["tx", "show"], "Missing argument 'XID...'"),
        (["tx", "list", "-o", "yaml"], "'yaml' is not one of table, wide, json, jsonl, ids"),
        (["tx", "list", "--since", "5"], "'5' is not a duration"),
        (["tx", "list", "--limit", "0"], "0 is not in the range"),
        (["tx", "list", "--label", "x"], "'x' has no value"),
    ],
)
def test_usage_errors_are_three_lines_and_two(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2

    said = capsys.readouterr()
    assert said.out == ""
    what, reason, todo = said.err.splitlines()
    assert what.startswith("error: ")
    assert why in reason
    assert todo.startswith("   do: ")


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    installed: dict[str, Any] = {}
    monkeypatch.setattr(entry, "plugins", lambda: installed)
    return installed


def plugin(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, "trypact.commands")


def test_help_repeats_what_plugins_say_of_themselves(
    plugins: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "half_written.py").write_text("def half(:")
    monkeypatch.syspath_prepend(tmp_path)
    plugins["half"] = plugin("half", "half_written:half")
    plugins["misbehave"] = plugin("misbehave", f"{__name__}:misbehave")
    plugins["mute"] = plugin("mute", "trypact.outbox.cli:no_such_command")
    plugins["native"] = plugin("native", "math:sqrt")
    plugins["outbox"] = plugin("outbox", "trypact.outbox.cli:outbox")

    assert main(["--help"]) == 0

    said = capsys.readouterr().out
    assert "misbehave    Fail in a way of its own." in said
    assert "half         Commands of half_written." in said
    assert "mute         Commands of trypact." in said
    assert "native       Commands of math." in said
    assert "outbox       See an outbox, and have its messages sent again or given up." in said


def test_a_plugin_that_does_not_import_is_reported_only_when_asked_for(
    plugins: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    plugins["shop"] = plugin("shop", "no_such_package.cli:shop")

    assert main(["--help"]) == 0
    said = capsys.readouterr()
    assert "shop         Commands of no_such_package." in said.out
    assert said.err == ""

    assert main(["shop"]) == 1
    assert "No module named 'no_such_package'" in capsys.readouterr().err


class NotThere(click.ClickException):
    exit_code = 4


@click.command()
@click.argument("how")
def misbehave(how: str) -> None:
    """Fail in a way of its own."""
    errors = {
        "bug": ZeroDivisionError("division by zero"),
        "file": FileNotFoundError(2, "No such file or directory", "/there"),
        "ctrl-c": KeyboardInterrupt(),
        "pipe": BrokenPipeError(),
        "exit": click.exceptions.Exit(3),
        "own code": NotThere("nobody is called that"),
    }
    raise errors[how]


@pytest.mark.parametrize(
    ("how", "code", "says"),
    [
        ("bug", 1, "ZeroDivisionError: division by zero"),
        ("file", 1, "No such file or directory: /there"),
        ("ctrl-c", 130, "interrupted"),
        ("exit", 3, ""),
        ("own code", 4, "nobody is called that"),
    ],
)
def test_no_exception_leaves_main(
    how: str,
    code: int,
    says: str,
    plugins: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    plugins["misbehave"] = plugin("misbehave", f"{__name__}:misbehave")
    sys.modules[__name__].misbehave = misbehave  # type: ignore[attr-defined]

    assert main(["misbehave", how]) == code

    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said
