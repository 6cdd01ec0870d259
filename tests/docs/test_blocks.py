"""The Python that pages show is Python, and what it imports from trypact is there."""

import ast
import importlib
from collections.abc import Iterator

import pytest

from tests.docs.pages import Block, sections
from tests.tidy.repository import texts


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


def missing(tree: ast.Module) -> Iterator[str]:
    """Names that a block takes from trypact, and that are not there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "trypact":
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                if not hasattr(module, alias.name):
                    yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            trypact = importlib.import_module("trypact")
            if node.value.id == "trypact" and not hasattr(trypact, node.attr):
                yield f"trypact.{node.attr}"


def test_every_python_block_takes_from_trypact_what_is_there() -> None:
    found = pages()
    lost = {path: names for path, trees in found.items() if (names := [*_all(trees)])}

    assert "docs/tutorial/first-transaction.md" in found
    assert lost == {}


def _all(trees: list[ast.Module]) -> Iterator[str]:
    for tree in trees:
        yield from missing(tree)


def test_a_name_that_is_not_there_is_noticed() -> None:
    tree = ast.parse("from trypact.fence import OracleFence\ntrypact.Clint\ntrypact.Client")

    assert list(missing(tree)) == ["trypact.fence.OracleFence", "trypact.Clint"]
