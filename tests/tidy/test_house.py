"""The repository holds to its own rules: style, layers, dependencies, generated files."""

import ast
import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.tidy import rules
from tests.tidy.repository import PACKAGES, ROOT, files, python, texts

BIN = Path(sys.executable).parent
# What each package may import: these extras of pyproject.toml beside the dependencies.
EXTRAS_OF = {
    "trypact": ("msgspec", "nats", "otel", "psycopg", "redis", "server", "sqlalchemy", "testing"),
    "trypact_coordinator": ("server",),
    "trypact_shop": ("sqlalchemy", "server"),
}


@pytest.mark.parametrize("rule", rules.PYTHON_RULES, ids=lambda rule: rule.__name__)
def test_python_files_keep_the_rule(rule: rules.Rule) -> None:
    complaints = [complaint for source in python() for complaint in rule(source)]

    assert not complaints, "\n".join(["", *complaints])


@pytest.mark.parametrize("rule", rules.TEXT_RULES, ids=lambda rule: rule.__name__)
def test_other_files_keep_the_rule(rule: rules.Rule) -> None:
    sources = [
        source
        for source in texts(*rules.TEXT_SUFFIXES)
        if not source.path.startswith("requirements/")
    ]
    complaints = [complaint for source in sources for complaint in rule(source)]

    assert len(sources) > 5
    assert not complaints, "\n".join(["", *complaints])


def test_the_layers_hold() -> None:
    ran = subprocess.run(
        [BIN / "lint-imports", "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_layers_know_every_module_of_the_sdk() -> None:
    """The coordinator may use the stubs only; a module nobody listed would be allowed."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    (forbidden,) = (
        set(contract["forbidden_modules"])
        for contract in tool["importlinter"]["contracts"]
        if contract["name"].endswith("only the generated stubs")
    )
    inside = (ROOT / PACKAGES["trypact"]).iterdir()
    modules = {
        path.stem for path in inside if path.suffix == ".py" or (path / "__init__.py").is_file()
    }

    assert forbidden == {f"trypact.{name}" for name in modules - {"__init__", "v1"}}


def test_top_level_folders_are_no_packages() -> None:
    """`proto/__init__.py` would shadow another package, and so on."""
    wrong = [path for path in files() if path.count("/") == 1 and path.endswith("__init__.py")]

    assert wrong == []


def test_every_import_is_declared_in_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    providers = importlib.metadata.packages_distributions()
    undeclared = []
    for package, folder in PACKAGES.items():
        lines = list(project["dependencies"])
        for extra in EXTRAS_OF[package]:
            lines += project["optional-dependencies"][extra]
        declared = {canonicalize_name(Requirement(line).name) for line in lines}
        for source in python():
            if not source.path.startswith(f"{folder}/"):
                continue
            foreign = imported_modules(source.tree) - set(sys.stdlib_module_names) - set(PACKAGES)
            for module in foreign:
                names = {canonicalize_name(name) for name in providers.get(module, ["nothing"])}
                if not names & declared:
                    undeclared.append(f"{source.path}: imports {module} of {sorted(names)}")

    assert not undeclared, "\n".join(["", *undeclared])


def imported_modules(tree: ast.Module) -> set[str]:
    """The top-level names of everything a module imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize(
    "tool",
    [
        "stubs",
        "diagrams",
        "reference",
        "command_reference",
        "sdk_reference",
        "protocol_reference",
        "requirements",
    ],
)
def test_generated_files_are_fresh(tool: str) -> None:
    command = [sys.executable, f"tools/{tool}.py", "--check"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr
