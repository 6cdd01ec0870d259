"""Every exported name shows in its docstring how it is used, and what it shows is so.

The examples are those of `doctest`, with `await` allowed. They find everything of `trypact`, a
`client` and a `sync_client` of a real coordinator, and the services of `tests/examples/services`.
"""

import ast
import contextlib
import doctest
import inspect
import io
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trypact

from tests.examples.services import serving

# What the examples show; the coordinator of a test listens elsewhere.
SHOWN = "127.0.0.1:7000"


def documented() -> dict[str, str]:
    """The docstring of each exported name, and of each method of its own that has an example."""
    found = {}
    for name in trypact.__all__:
        value = getattr(trypact, name)
        found[name] = inspect.getdoc(value) or ""
        if isinstance(value, type):
            for below, member in vars(value).items():
                doc = inspect.getdoc(member) or ""
                if not below.startswith("_") and ">>>" in doc:
                    found[f"{name}.{below}"] = doc
    return found


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a coordinator that the services are registered with."""
    with serving(tmp_path_factory.mktemp("services")) as address:
        yield address


@pytest.fixture
async def names(
    coordinator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[dict[str, Any]]:
    """What an example may use without saying where it is from."""
    monkeypatch.chdir(tmp_path)
    offered = {name: getattr(trypact, name) for name in trypact.__all__}
    with trypact.SyncClient(coordinator) as sync_client:
        async with trypact.Client(coordinator) as client:
            yield {**offered, "trypact": trypact, "client": client, "sync_client": sync_client}


@pytest.mark.parametrize("name", documented())
async def test_the_examples_of_a_docstring_do_what_they_show(
    name: str, names: dict[str, Any], coordinator: str
) -> None:
    text = documented()[name].replace(SHOWN, coordinator)

    for example in doctest.DocTestParser().get_examples(text, name):
        said = await run(example.source, names)
        wanted = example.exc_msg or example.want
        kept = doctest.OutputChecker().check_output(wanted, said, doctest.ELLIPSIS)
        assert kept, f"{name}: {example.source}promised:\n{wanted}said:\n{said}"


async def run(source: str, names: dict[str, Any]) -> str:
    """Run one example; return what it prints, or its last line if it raises."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(source, "<example>", "single", flags, dont_inherit=True)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            waiting = eval(code, names)
            if inspect.isawaitable(waiting):
                await waiting
        except Exception as error:
            return traceback.format_exception_only(error)[-1]
    return printed.getvalue()


@pytest.mark.parametrize("name", trypact.__all__)
def test_every_exported_name_has_an_example(name: str) -> None:
    assert ">>>" in documented()[name], f"trypact.{name} shows no example that runs"


async def test_an_example_that_does_not_keep_its_promise_is_noticed() -> None:
    assert await run("6 * 7\n", {}) == "42\n"
    assert await run("import asyncio; await asyncio.sleep(0); print('a')\n", {}) == "a\n"
    assert await run("1 / 0\n", {}) == "ZeroDivisionError: division by zero\n"
