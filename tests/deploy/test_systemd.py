"""The systemd unit: understood to the last line, starts what exists, and may do next to nothing."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from trypact_coordinator.durations import parse_ms
from trypact_coordinator.settings import load_settings

from tests.deploy.unit_file import BadUnit, parse
from tests.tidy.commands import misunderstood
from tests.tidy.repository import ROOT

UNIT = ROOT / "deploy/systemd/trypact.service"
CONFIG = ROOT / "deploy/coordinator.toml"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("ProtectSytem=strict", "no directive 'ProtectSytem'"),
        ("ProtectSystem=strickt", "cannot be 'strickt'"),
        ("NoNewPrivileges=maybe", "cannot be 'maybe'"),
        ("[Servise]", "no section"),
        ("Type=exec\nType=exec", "stands twice"),
        ("PrivateTmp", "no directive"),
    ],
)
def test_a_planted_mistake_is_refused(line: str, says: str) -> None:
    with pytest.raises(BadUnit, match=says):
        parse(f"[Service]\n{line}\n")


def test_every_line_of_the_unit_is_understood() -> None:
    unit = parse(UNIT.read_text())

    assert set(unit) == {"Unit", "Service", "Install"}


def test_it_runs_a_command_that_exists_with_the_example_settings() -> None:
    program, *words = shlex.split(parse(UNIT.read_text())["Service"]["ExecStart"][0])

    assert Path(program).name == "trypact"
    assert misunderstood(words) == ""
    assert words[words.index("--config") + 1] == "/etc/trypact/coordinator.toml"


def test_the_example_settings_are_legal_and_fit_the_unit() -> None:
    service = parse(UNIT.read_text())["Service"]
    settings = load_settings({}, {}, CONFIG)

    assert parse_ms(f"{service['TimeoutStopSec'][0]}s") > settings.stop_grace_ms
    assert settings.journal.startswith(f"sqlite:////var/lib/{service['StateDirectory'][0]}/")
    assert not settings.insecure


def test_the_example_settings_say_what_the_defaults_are() -> None:
    """So that deleting a line of the example changes nothing but where the journal is."""
    given, default = load_settings({}, {}, CONFIG), load_settings({}, {})
    differ = {name for name in vars(default) if getattr(given, name) != getattr(default, name)}

    assert differ == {"journal"}


def test_it_is_fenced_in() -> None:
    service = parse(UNIT.read_text())["Service"]

    assert service["DynamicUser"] == ["yes"]
    assert service["CapabilityBoundingSet"] == [""]
    assert service["ProtectSystem"] == ["strict"]
    assert service["NoNewPrivileges"] == ["yes"]
    assert service["SystemCallFilter"][0] == "@system-service"


def test_systemd_itself_agrees_where_it_is_installed(tmp_path: Path) -> None:
    systemd_analyze = shutil.which("systemd-analyze")
    if systemd_analyze is None:
        return  # the strict reader above has checked the same file
    copy = tmp_path / UNIT.name
    # The program need not be installed where the unit expects it.
    copy.write_text(UNIT.read_text().replace("/opt/trypact/bin/trypact", "/bin/true"))

    verified = subprocess.run(
        [systemd_analyze, "verify", copy], capture_output=True, text=True, check=False
    )
    rated = subprocess.run(
        [systemd_analyze, "security", "--offline=true", "--no-pager", copy],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (verified.returncode, verified.stderr) == (0, "")
    exposure = re.search(r"Overall exposure level for .*: ([\d.]+)", rated.stdout)
    assert exposure
    assert float(exposure[1]) <= 2.0
