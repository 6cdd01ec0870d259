"""The Prometheus files: promtool takes them, and each alert fires for its ailment and no other."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.tidy.commands import misunderstood
from tests.tidy.repository import ROOT

FOLDER = ROOT / "deploy/prometheus"
ALERTS = FOLDER / "alerts.yml"

# A series, and its values as promtool writes them, ten seconds apart. None: it is not there.
Series = dict[str, str | None]

HEALTHY: Series = {
    "up": "1+0x90",
    "trypact_stuck": "0+0x90",
    "trypact_owned": "3 5 2 4 3 5 2 4 3 5 2 4 3+0x78",
    # One that its initiator keeps open is nobody's concern; what is decided moves on.
    "trypact_oldest_unfinished_seconds{state=trying}": "40+10x90",
    "trypact_oldest_unfinished_seconds{state=confirming}": "1+0x90",
    "trypact_oldest_unfinished_seconds{state=confirmed}": "20+0x90",
    "trypact_transactions_started_total": "0+100x90",
    "trypact_transactions_finished_total{outcome=confirmed}": "0+99x90",
    "trypact_transactions_finished_total{outcome=cancelled}": "0+1x90",
    "trypact_transactions_refused_total{reason=OVERLOADED}": "0+0x90",
    "trypact_transactions_refused_total{reason=PARTICIPANT_UNAVAILABLE}": "0+0x90",
    "trypact_transactions_refused_total{reason=UNKNOWN_ACTION}": "0+1x90",
    "trypact_journal_commit_seconds_count": "0+30x90",
    "trypact_journal_commit_seconds_bucket{le=0.005}": "0+30x90",
    "trypact_journal_commit_seconds_bucket{le=+Inf}": "0+30x90",
    # A hiccup that is over before a minute is.
    "trypact_breaker_state{participant=inventory}": "0 0 2 1 0+0x86",
}

# Alert -> what is different then, and what its summary says ten minutes later.
AILMENTS: dict[str, tuple[Series, str]] = {
    "TrypactDown": (
        {**dict.fromkeys(HEALTHY), "up": "0+0x90"},
        "The coordinator at c:7080 does not answer.",
    ),
    "TrypactStuck": ({"trypact_stuck": "2+0x90"}, "2 transactions need a human."),
    "TrypactDecidedWorkIsLate": (
        {"trypact_oldest_unfinished_seconds{state=confirming}": "0+10x90"},
        "A decided transaction has been unfinished for 10m 0s.",
    ),
    "TrypactNothingFinishes": (
        {
            "trypact_transactions_finished_total{outcome=confirmed}": "7+0x90",
            "trypact_transactions_finished_total{outcome=cancelled}": "7+0x90",
        },
        "Transactions begin at c:7080 and none finishes.",
    ),
    "TrypactNoCommits": (
        {"trypact_journal_commit_seconds_count": "7+0x90", "trypact_owned": "0+5x90"},
        "The coordinator at c:7080 takes work and writes nothing.",
    ),
    "TrypactJournalDoesNotAnswer": (
        {"trypact_stuck": None},
        "The journal of c:7080 cannot be read.",
    ),
    "TrypactBreakerOpen": (
        {"trypact_breaker_state{participant=inventory}": "2 1 2 2 1 2 2 1 2 2+0x80"},
        "inventory does not answer: its breaker is open.",
    ),
    "TrypactDeliveriesAreLate": (
        {"trypact_oldest_unfinished_seconds{state=confirmed}": "3600+10x90"},
        "A message has been undelivered for 1h 10m 0s.",
    ),
    "TrypactRefusesWork": (
        {"trypact_transactions_refused_total{reason=OVERLOADED}": "0+3x90"},
        "The coordinator at c:7080 is overloaded and refuses work.",
    ),
    "TrypactParticipantMissing": (
        # One burst: the counter was there before, so its very first refusals are seen.
        {"trypact_transactions_refused_total{reason=PARTICIPANT_UNAVAILABLE}": "0+0x40 9+0x50"},
        "c:7080 refuses work whose participant is not there.",
    ),
    "TrypactCommitsAreSlow": (
        {
            "trypact_journal_commit_seconds_bucket{le=0.005}": "0+0x90",
            "trypact_journal_commit_seconds_bucket{le=0.5}": "0+0x90",
            "trypact_journal_commit_seconds_bucket{le=1}": "0+30x90",
        },
        "One commit in a hundred takes 995ms or more.",
    ),
}
ALERT_LABELS = {
    "TrypactBreakerOpen": {"participant": "inventory"},
    "TrypactRefusesWork": {"reason": "OVERLOADED"},
    "TrypactParticipantMissing": {"reason": "PARTICIPANT_UNAVAILABLE"},
}


def rules() -> dict[str, dict[str, Any]]:
    groups = YAML(typ="safe").load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which(
        "promtool", path=f"{Path(sys.executable).parent}:/usr/bin:/usr/local/bin"
    )
    assert program, "promtool is missing; `tools/servers.sh` fetches it, or says what to do"
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def written(name: str) -> str:
    """A series as promtool writes it, with the labels that every scrape has."""
    family, _, labels = name.removesuffix("}").partition("{")
    pairs = [pair.partition("=") for pair in labels.split(",") if pair]
    pairs += [("job", "=", "trypact"), ("instance", "=", "c:7080")]
    labelled = ",".join(f'{key}="{value}"' for key, _, value in pairs)
    return f"{family}{{{labelled}}}"


def expected(name: str, summary: str) -> dict[str, Any]:
    rule = rules()[name]
    description = rule["annotations"]["description"].replace(
        "{{ $labels.participant }}", "inventory"
    )
    return {
        "exp_labels": {
            "job": "trypact",
            "instance": "c:7080",
            **rule["labels"],
            **ALERT_LABELS.get(name, {}),
        },
        "exp_annotations": {"summary": summary, "description": description},
    }


def run_history(folder: Path, changes: Series, fires: dict[str, str]) -> str:
    """Show promtool a history; return what it has to say against it."""
    history = {name: values for name, values in {**HEALTHY, **changes}.items() if values}
    test = {
        "interval": "10s",
        "input_series": [{"series": written(n), "values": v} for n, v in history.items()],
        "alert_rule_test": [
            {
                "eval_time": "10m",
                "alertname": name,
                "exp_alerts": [expected(name, fires[name])] if name in fires else [],
            }
            for name in rules()
        ],
    }
    # JSON is YAML.
    page = folder / "history.yml"
    asked = {"rule_files": [str(ALERTS)], "evaluation_interval": "10s", "tests": [test]}
    page.write_text(json.dumps(asked))
    ran = promtool("test", "rules", page)
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


def test_promtool_takes_the_alerts_and_the_scrape_settings() -> None:
    for arguments in (("rules", ALERTS), ("config", FOLDER / "prometheus.yml")):
        ran = promtool("check", *arguments)

        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_has_its_ailment_here() -> None:
    assert set(rules()) == set(AILMENTS)


def test_nobody_is_called_for_a_healthy_coordinator(tmp_path: Path) -> None:
    assert run_history(tmp_path, {}, {}) == ""


@pytest.mark.parametrize("name", AILMENTS)
def test_an_alert_fires_for_its_ailment_and_alone(tmp_path: Path, name: str) -> None:
    changes, summary = AILMENTS[name]

    assert run_history(tmp_path, changes, {name: summary}) == ""


def test_an_alert_that_does_not_fire_is_noticed(tmp_path: Path) -> None:
    assert "TrypactStuck" in run_history(tmp_path, {}, {"TrypactStuck": "2 transactions"})


@pytest.mark.parametrize("name", AILMENTS)
def test_the_commands_an_alert_names_exist(name: str) -> None:
    description = rules()[name]["annotations"]["description"]
    for command in re.findall(r"`trypact ([^`]+)`", description):
        words = command.replace("{{ $labels.participant }}", "inventory").split()
        assert misunderstood(words) == "", command
