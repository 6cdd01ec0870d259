"""What the tidy tests look at: the files of this repository, read and parsed once.

Files that git ignores are not ours; generated stubs are ours but nobody writes them by hand, so
only the freshness test looks at those.
"""

import ast
import subprocess
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "trypact": "sdk/trypact",
    "trypact_coordinator": "coordinator/trypact_coordinator",
    "trypact_shop": "participants/trypact_shop",
}
CORE = "coordinator/trypact_coordinator/core/"


@dataclass(frozen=True)
class Source:
    """One text file: where it is, relative to the root, and what it says."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def is_product(self) -> bool:
        return self.path.startswith(tuple(f"{folder}/" for folder in PACKAGES.values()))

    @property
    def is_test(self) -> bool:
        return self.path.startswith("tests/")

    @property
    def is_core(self) -> bool:
        return self.path.startswith(CORE)

    def at(self, node: ast.AST, what: str) -> str:
        """A complaint about one place, as an editor can open it."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {what}"


def is_generated(path: str) -> bool:
    return Path(path).stem.endswith(("_pb2", "_pb2_grpc"))


@cache
def files() -> tuple[str, ...]:
    """Every file that is in git or would be added to it, generated stubs left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(
        path
        for path in sorted(set(listing.splitlines()))
        if (ROOT / path).is_file() and not is_generated(path)
    )


@cache
def read(path: str) -> Source:
    return Source(path, (ROOT / path).read_text())


@cache
def python() -> tuple[Source, ...]:
    """Every Python file written by hand."""
    return tuple(read(path) for path in files() if path.endswith(".py"))


def texts(*suffixes: str) -> tuple[Source, ...]:
    return tuple(read(path) for path in files() if path.endswith(suffixes))
