"""The generated reference leaves nothing out: no public name, no message of the contract."""

import importlib
import pkgutil
import re
from types import ModuleType

import pytest
import trypact
from trypact.v1 import (
    admin_pb2,
    initiator_pb2,
    participant_pb2,
    registry_pb2,
    transaction_pb2,
)

from tests.tidy.repository import ROOT

REFERENCE = ROOT / "docs/reference"


def public_modules() -> list[str]:
    """Every module that says what it exports, and those that `trypact` itself exports."""
    found = {"trypact"}
    found |= {
        f"trypact.{name}"
        for name in trypact.__all__
        if isinstance(getattr(trypact, name), ModuleType)
    }
    for module in pkgutil.iter_modules(trypact.__path__, "trypact."):
        if "._" not in module.name and hasattr(importlib.import_module(module.name), "__all__"):
            found.add(module.name)
    return sorted(found)


def headings(page: str) -> set[str]:
    return set(re.findall(r"^##+ (.*)$", page, re.MULTILINE))


@pytest.mark.parametrize("name", public_modules())
def test_every_name_that_a_public_module_exports_is_on_its_page(name: str) -> None:
    exported = getattr(importlib.import_module(name), "__all__", [])

    assert set(exported) <= headings((REFERENCE / f"sdk/{name}.md").read_text())


def test_a_method_shows_its_signature_its_overloads_and_its_docstring() -> None:
    page = (REFERENCE / "sdk/trypact.md").read_text()

    decision = page.partition("### Client.decision\n")[2].partition("\n###")[0]
    assert "async def decision(xid: str, *, settle: bool = False) -> Standing" in decision
    assert "UNKNOWN, which is not CANCEL" in decision
    tcc = page.partition("\n## tcc\n")[2].partition("\n## ")[0]
    assert "**Args:**\n\n* `action`: " in tcc


def test_examples_and_trees_of_docstrings_stand_as_code() -> None:
    for path in (REFERENCE / "sdk").iterdir():
        prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)

        assert re.findall(r"^(?: {4}.*|.*>>> .*|.*├──.*)$", prose, re.MULTILINE) == []


@pytest.mark.parametrize(
    "file", [transaction_pb2, initiator_pb2, participant_pb2, registry_pb2, admin_pb2]
)
def test_every_word_of_the_contract_is_on_its_page(file: ModuleType) -> None:
    page = (REFERENCE / "protocol.md").read_text()
    descriptor = file.DESCRIPTOR
    names = [*descriptor.message_types_by_name, *descriptor.enum_types_by_name]
    words = [
        method.name
        for service in descriptor.services_by_name.values()
        for method in service.methods
    ]
    words += [f.name for m in descriptor.message_types_by_name.values() for f in m.fields]
    words += [v.name for e in descriptor.enum_types_by_name.values() for v in e.values]

    assert {*names, *descriptor.services_by_name} <= headings(page)
    assert [word for word in words if f"| `{word}` |" not in page] == []
