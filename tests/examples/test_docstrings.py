"""Every public name shows in its docstring how it is used, and what it shows is so.

The examples are those of `doctest`, with `await` allowed at the margin. They find everything of
`trypact` and of their own module, a `client` and a `sync_client` of a real coordinator, an `engine`
of an empty database, and `inventory`, one of the participants of `tests/examples/services`. The
addresses of servers that they show are those of real ones.
"""

import ast
import asyncio
import contextlib
import doctest
import importlib
import inspect
import io
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple

import pytest
import structlog
import trypact
from trypact.fence import sqlite_engine

from tests.examples.conftest import NATS_SHOWN, POSTGRES_SHOWN, REDIS_SHOWN
from tests.examples.services import participants, serving
from tests.servers.nats import NatsServer
from tests.servers.redis import RedisServer
from tests.tidy.repository import ROOT

# Each public module has a page there, made by tools/sdk_reference.py, with all that it exports.
PAGES = ROOT / "docs/reference/sdk"
# The addresses that examples show, and the fixtures that know where such a server really is.
SERVERS = {
    "127.0.0.1:7000": "coordinator",
    NATS_SHOWN: "nats_url",
    REDIS_SHOWN: "redis_url",
    POSTGRES_SHOWN: "postgres_url",
}


class Documented(NamedTuple):
    """A public name, the module whose names its examples may use, and what it says of itself."""

    name: str
    module: str
    doc: str


def exported(module: str) -> list[str]:
    """The names that a public module exports."""
    return re.findall(r"^## (\w+)$", (PAGES / f"{module}.md").read_text(), re.MULTILINE)


def names_of(module: str) -> dict[str, Any]:
    """What a public module exports, by name."""
    imported = importlib.import_module(module)
    return {name: getattr(imported, name) for name in exported(module)}


def public() -> list[Documented]:
    """Every public module and every name that one exports; what several export comes once."""
    found: dict[int, Documented] = {}
    for module in sorted(path.stem for path in PAGES.glob("*.md")):
        doc = importlib.import_module(module).__doc__ or ""
        found[id(importlib.import_module(module))] = Documented(module, module, doc)
        for name, value in names_of(module).items():
            # A union of types has no docstring; its members have.
            if not isinstance(value, UnionType):
                doc = inspect.getdoc(value) or ""
                found.setdefault(id(value), Documented(f"{module}.{name}", module, doc))
    return list(found.values())


def documented() -> Iterator[Documented]:
    """All that is public, and the methods of public classes that have examples of their own."""
    for each in public():
        yield each
        _, _, name = each.name.rpartition(".")
        value = getattr(importlib.import_module(each.module), name, None)
        if isinstance(value, type):
            for below, member in vars(value).items():
                doc = inspect.getdoc(member) or ""
                if not below.startswith("_") and ">>>" in doc:
                    yield Documented(f"{each.name}.{below}", each.module, doc)


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a coordinator that the services are registered with."""
    with serving(tmp_path_factory.mktemp("services")) as address:
        yield address


@pytest.fixture
def nats_url(nats_server: NatsServer) -> str:
    """Where a NATS server with JetStream listens."""
    return nats_server.url


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Where a Redis server listens."""
    return redis_server.url


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """The event loop in which an example awaits; it does not run while one does not."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def given(
    runner: asyncio.Runner, coordinator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """What an example may use without saying where it is from."""
    monkeypatch.chdir(tmp_path)
    # Where nobody has chosen a log, the testing kit keeps the coordinator's out of the output.
    structlog.reset_defaults()
    engine = sqlite_engine("shop.db")
    client = runner.run(opened(coordinator))
    with trypact.SyncClient(coordinator) as sync_client:
        yield {
            "client": client,
            "sync_client": sync_client,
            "engine": engine,
            "inventory": next(participants(tmp_path)),
        }
    runner.run(client.close())
    engine.dispose()


async def opened(coordinator: str) -> trypact.Client:
    return trypact.Client(coordinator)


@pytest.mark.parametrize("one", [*documented()], ids=lambda one: one.name)
def test_the_examples_of_a_docstring_do_what_they_show(
    one: Documented,
    given: dict[str, Any],
    runner: asyncio.Runner,
    request: pytest.FixtureRequest,
) -> None:
    names = {"trypact": trypact, **names_of("trypact"), **names_of(one.module), **given}
    text = one.doc
    for shown, fixture in SERVERS.items():
        if shown in text:
            text = text.replace(shown, request.getfixturevalue(fixture))

    for example in doctest.DocTestParser().get_examples(text, one.name):
        said = run(example.source, names, runner)
        wanted = example.exc_msg or example.want
        kept = doctest.OutputChecker().check_output(wanted, said, doctest.ELLIPSIS)
        assert kept, f"{one.name}: {example.source}promised:\n{wanted}said:\n{said}"


def run(source: str, names: dict[str, Any], runner: asyncio.Runner) -> str:
    """Run one example; return what it prints, or its last line if it raises."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(source, "<example>", "single", flags, dont_inherit=True)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            waiting = eval(code, names)
            if inspect.iscoroutine(waiting):
                runner.run(waiting)
        except Exception as error:
            return traceback.format_exception_only(error)[-1]
    return printed.getvalue()


@pytest.mark.parametrize("one", public(), ids=lambda one: one.name)
def test_every_public_name_has_an_example(one: Documented) -> None:
    assert ">>>" in one.doc, f"{one.name} shows no example that runs"


def test_an_example_that_does_not_keep_its_promise_is_noticed(runner: asyncio.Runner) -> None:
    assert run("6 * 7\n", {}, runner) == "42\n"
    assert run("import asyncio; await asyncio.sleep(0); print('a')\n", {}, runner) == "a\n"
    assert run("1 / 0\n", {}, runner) == "ZeroDivisionError: division by zero\n"
