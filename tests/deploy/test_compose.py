"""The Compose file: valid by its own schema, and everything it names exists."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from trypact_coordinator.settings import FIELDS, load_settings, variable_of
from trypact_shop.endpoints import ENDPOINTS

from tests.tidy.commands import misunderstood
from tests.tidy.repository import ROOT

COMPOSE = ROOT / "deploy/compose.yaml"
CHECK = [
    Path(sys.executable).parent / "check-jsonschema",
    "--builtin-schema",
    "vendor.compose-spec",
]
PARTICIPANTS = {"order", "inventory", "coupon", "balance", "member", "notification"}


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(COMPOSE.read_text())
    return loaded


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def test_its_schema_accepts_it() -> None:
    ran = subprocess.run([*CHECK, COMPOSE], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_its_schema_would_refuse_a_mistake(tmp_path: Path) -> None:
    bad = tmp_path / "compose.yaml"
    bad.write_text(COMPOSE.read_text().replace("depends_on:", "depend_on:"))
    ran = subprocess.run([*CHECK, bad], capture_output=True, text=True, check=False)

    assert ran.returncode != 0


def test_everybody_who_belongs_to_the_shop_is_there() -> None:
    assert set(services()) == PARTICIPANTS | {"coordinator", "postgres", "redis"}
    assert set(ENDPOINTS) == PARTICIPANTS


def test_the_coordinator_is_started_as_it_can_be() -> None:
    coordinator = services()["coordinator"]
    settings = load_settings({}, coordinator["environment"])

    assert misunderstood(coordinator["command"]) == ""
    assert settings.journal.startswith("postgresql://")
    assert settings.insecure, "the others could not reach it"
    assert f"127.0.0.1:7080:{settings.http_listen.rpartition(':')[2]}" in coordinator["ports"]


@pytest.mark.parametrize("name", sorted(PARTICIPANTS))
def test_a_participant_is_started_as_it_can_be(name: str) -> None:
    service = services()[name]
    python, option, module = service["entrypoint"]
    environment = service["environment"]

    assert (python, option) == ("python", "-m")
    assert importlib.util.find_spec(f"{module}.__main__")
    assert environment["TRYPACT_SHOP_ADVERTISE"] == f"dns:///{name}:7000"
    assert environment["TRYPACT_SHOP_DATABASE"].endswith(f"/shop_{name}")
    assert environment["TRYPACT_SERVER"] == "coordinator:7000"


def test_every_variable_of_ours_is_read_by_somebody() -> None:
    read = {variable_of(name) for name in FIELDS}
    for path in (ROOT / "participants/trypact_shop").glob("*.py"):
        read |= set(re.findall(r"TRYPACT_[A-Z_]+", path.read_text()))
    read |= {f"TRYPACT_SHOP_{name.upper()}" for name in ENDPOINTS}
    given = {
        variable
        for service in services().values()
        for variable in service.get("environment", {})
        if variable.startswith("TRYPACT_")
    }

    assert given - read == set()


def test_every_database_is_created() -> None:
    script = (ROOT / "deploy/postgres/databases.sql").read_text()
    created = set(re.findall(r"CREATE DATABASE (\w+);", script))
    created.add(services()["postgres"]["environment"]["POSTGRES_DB"])
    used = set(re.findall(r"@postgres/(\w+)", COMPOSE.read_text()))

    assert used == created


def test_everybody_has_a_health_check_and_waits_for_healthy_ones() -> None:
    for name, service in services().items():
        assert service["healthcheck"]["test"], name
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services()
            assert how == {"condition": "service_healthy"}


def test_nothing_is_published_beyond_this_machine() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_our_processes_may_do_next_to_nothing() -> None:
    for name in PARTICIPANTS | {"coordinator"}:
        service = services()[name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_no_password_is_written_down() -> None:
    passwords = re.findall(r"//trypact:([^@]+)@|POSTGRES_PASSWORD: (.*)", COMPOSE.read_text())

    assert passwords
    assert all("${POSTGRES_PASSWORD" in one + other for one, other in passwords)
