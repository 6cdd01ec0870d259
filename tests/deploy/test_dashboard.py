"""The Grafana dashboard: laid out, asking only for what a coordinator serves, in legal PromQL."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from trypact_coordinator.server.metrics_table import METRICS, Kind

from tests.deploy.test_alerts import promtool, rules
from tests.tidy.repository import ROOT

DASHBOARD = ROOT / "deploy/grafana/trypact.json"
# Grafana fills these in.
VARIABLES = {"$__rate_interval": "5m", "$job": "trypact", "$instance": ".*"}
# What Prometheus itself, or every client of it, adds.
OF_OTHERS = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}


def served() -> set[str]:
    """Every series of the table; a real scrape is held against the same table."""
    names = set()
    for name, metric in METRICS.items():
        suffixes = ("_bucket", "_count", "_sum") if metric.kind is Kind.HISTOGRAM else ("",)
        names |= {name + suffix for suffix in suffixes}
    return names


def asked(expression: str) -> dict[str, set[str]]:
    """The series that an expression names, with the labels it selects them by."""
    found: dict[str, set[str]] = {}
    for name, selector in re.findall(
        r"\b((?:trypact|process)_\w+|up)\b(?:\{([^}]*)\})?", expression
    ):
        found.setdefault(name, set()).update(re.findall(r"(\w+) *(?:=~|!=|=)", selector))
    return found


def panels() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return loaded


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


@pytest.mark.parametrize(
    "expression", [*expressions(), *(rule["expr"] for rule in rules().values())]
)
def test_it_asks_for_what_is_served_by_labels_that_are_there(expression: str) -> None:
    names = asked(expression)

    assert names
    assert set(names) - served() - OF_OTHERS == set()
    for name, labels in names.items():
        metric = METRICS.get(re.sub(r"_(bucket|count|sum)$", "", name), METRICS.get(name))
        own = set(metric.labels) if metric else set()
        assert labels <= {*own, "job", "instance", "le"}, name


def test_every_metric_is_on_it() -> None:
    shown = {name for expression in expressions() for name in asked(expression)}
    missing = {name for name in METRICS if not {name, f"{name}_bucket", f"{name}_count"} & shown}

    assert missing == set()


def test_prometheus_can_read_every_expression(tmp_path: Path) -> None:
    filled = []
    for expression in expressions():
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        assert "$" not in expression
        filled.append({"record": f"panel:{len(filled)}", "expr": expression})
    page = tmp_path / "rules.yml"
    page.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": filled}]}))

    ran = promtool("check", "rules", page)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_its_panels_are_named_apart_and_none_covers_another() -> None:
    covered = set()
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & covered, panel["title"]
        covered |= cells
    for key in ("id", "title"):
        assert len({panel[key] for panel in panels()}) == len(panels())


def test_a_name_that_is_not_served_is_noticed() -> None:
    assert set(asked('rate(trypact_tranactions_total{job="x"}[5m])')) - served()
