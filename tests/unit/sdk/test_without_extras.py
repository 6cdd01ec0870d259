"""What somebody is told who has installed `trypact` and nothing else."""

import subprocess
import sys

import pytest


def without(library: str, code: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in a process that lacks a library."""
    hidden = f"import sys; sys.modules[{library!r}] = None; {code}"
    return subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("library", "name", "extra"),
    [
        ("sqlalchemy", "fence.SqlAlchemyFence", "sqlalchemy"),
        ("psycopg", "fence.PsycopgFence", "psycopg"),
        ("redis", "fence.RedisFence", "redis"),
        ("sqlalchemy", "outbox.Outbox", "sqlalchemy"),
        ("redis", "outbox.RedisPublisher", "redis"),
        ("nats", "outbox.JetStreamPublisher", "nats"),
        ("sqlalchemy", "inbox.Inbox", "sqlalchemy"),
    ],
)
def test_a_name_whose_library_is_missing_names_the_extra(
    library: str, name: str, extra: str
) -> None:
    done = without(library, f"from trypact.{name.replace('.', ' import ')}")
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        f"ModuleNotFoundError: trypact.{name} needs {library}; install it with "
        f"pip install 'trypact[{extra}]'"
    )


@pytest.mark.parametrize(
    ("library", "module", "extra"),
    [("opentelemetry", "otel", "otel"), ("msgspec", "testing", "testing")],
)
def test_a_module_whose_library_is_missing_names_the_extra(
    library: str, module: str, extra: str
) -> None:
    done = without(library, f"import trypact.{module}")
    says = f"trypact.{module} needs {library}; install it with pip install 'trypact[{extra}]'"
    assert done.stderr.strip().endswith(says)


def test_an_engine_without_its_driver_says_how_to_install_it() -> None:
    code = "from trypact.fence import async_sqlite_engine; async_sqlite_engine('purse.db')"
    done = without("aiosqlite", code)
    says = "async_sqlite_engine needs aiosqlite; install it with pip install 'aiosqlite'"
    assert done.stderr.strip().splitlines()[-1].endswith(says)


def test_what_is_missing_for_another_reason_is_not_blamed_on_an_extra() -> None:
    done = without("typing_extensions", "from trypact.fence import SqlAlchemyFence")
    assert "pip install" not in done.stderr
    assert "typing_extensions" in done.stderr


@pytest.mark.parametrize("command", ["outbox", "inbox"])
def test_a_command_without_its_library_says_how_to_install_it(command: str) -> None:
    run = "from trypact_coordinator.cli.entry import main; sys.exit(main())"
    done = without("sqlalchemy", f"sys.argv = ['trypact', '{command}', 'list']; {run}")
    assert done.returncode == 1
    what, why, todo = done.stderr.splitlines()
    assert what == f"error: the command {command} cannot be used"
    install = "install it with pip install 'trypact[sqlalchemy]'"
    assert why == f"  why: trypact {command} needs sqlalchemy; {install}"
    assert todo == "   do: Install what is missing, and try again."


@pytest.mark.parametrize("library", ["click", "msgspec"])
def test_the_command_line_without_its_extra_says_how_to_install_it(library: str) -> None:
    command = "from trypact_coordinator.cli.entry import main; sys.exit(main())"
    done = without(library, f"sys.argv = ['trypact', 'dev']; {command}")
    assert done.returncode == 1
    what, why, todo = done.stderr.splitlines()
    assert what.startswith("error: ")
    assert why == f"  why: it needs {library}"
    assert todo == "   do: pip install 'trypact[server]'"
