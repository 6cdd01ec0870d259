"""The Python that pages show is Python, and what it takes from trypact is in the reference.

So is what the programs in `examples/` take.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import Block, sections
from tests.tidy.repository import ROOT, texts


def shown() -> Iterator[tuple[str, Block]]:
    """Every block of Python that is written by hand, with its page."""
    for page in texts(".md"):
        if not page.path.startswith("docs/reference/"):
            for blocks in sections(page.path).values():
                yield from ((page.path, block) for block in blocks if block.language == "python")


def pages() -> dict[str, list[ast.Module]]:
    """The blocks of each page, parsed; an `await` at the margin is fine."""
    found: dict[str, list[ast.Module]] = {}
    for path, block in shown():
        found.setdefault(path, []).append(parsed(path, block))
    return found


def parsed(path: str, block: Block) -> ast.Module:
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    # A page may show a decorator alone.
    alone = block.text.startswith("@") and block.text.count("\n") == 1
    text = f"{block.text}class Shown: ..." if alone else block.text
    try:
        tree = compile(text, path, "exec", flags, dont_inherit=True)
    except SyntaxError as error:
        pytest.fail(f"{path}: {error.msg}:\n{text}")
    assert isinstance(tree, ast.Module)
    return tree


@cache
def referenced(module: str) -> set[str]:
    """The names that a module's page of the reference has."""
    page = ROOT / f"docs/reference/sdk/{module}.md"
    return (
        set(re.findall(r"^## (\w+)$", page.read_text(), re.MULTILINE)) if page.exists() else set()
    )


def missing(tree: ast.Module) -> Iterator[str]:
    """Names that are taken from trypact, and that the reference does not have."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "trypact":
            taken = [(node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "trypact":
            taken = [("trypact", node.attr)]
        else:
            continue
        for module, name in taken:
            if name not in referenced(module) and not referenced(f"{module}.{name}"):
                yield f"{module}.{name}"


def test_every_python_block_takes_from_trypact_what_the_reference_has() -> None:
    found = pages()
    lost = {path: names for path, trees in found.items() if (names := [*_all(trees)])}

    assert "docs/tutorial/first-transaction.md" in found
    assert lost == {}


def _all(trees: list[ast.Module]) -> Iterator[str]:
    for tree in trees:
        yield from missing(tree)


@pytest.mark.parametrize("program", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_every_example_takes_from_trypact_what_the_reference_has(program: Path) -> None:
    assert list(missing(ast.parse(program.read_text()))) == []


def test_a_name_that_is_not_there_is_noticed() -> None:
    tree = ast.parse(
        "from trypact import fence\n"
        "from trypact.clock import now_us\n"
        "from trypact.fence import OracleFence, RedisFence\n"
        "trypact.Clint\n"
        "trypact.testing.Environment\n"
        "trypact.Client"
    )

    lost = ["trypact.clock.now_us", "trypact.fence.OracleFence", "trypact.Clint"]
    assert list(missing(tree)) == lost
