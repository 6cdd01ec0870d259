"""The demo as people run it: a process of its own, which must leave nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from trypact_shop.demo.world import until

_COMMAND = [sys.executable, "-m", "trypact_shop.demo", "--orders", "40"]
TIMEOUT = 110.0


def _environment(folder: Path) -> dict[str, str]:
    return os.environ | {"TMPDIR": str(folder), "COLUMNS": "100"}


def _children_of(folder: Path) -> list[int]:
    """Processes that work in the demo's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"{folder}/" in command:
            found.append(int(process.name))
    return found


def test_the_demo_crashes_twice_recovers_and_adds_up(tmp_path: Path) -> None:
    done = subprocess.run(
        _COMMAND, env=_environment(tmp_path), capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for said in (
        "balance is dead (kill -9), with 4 orders under way",
        "$ trypact tx stuck",
        "$ trypact tx explain order-",
        "the coordinator is dead (kill -9)",
        "a new one resumed from the journal: 4 orders are confirmed",
        "hold: nothing lost, nothing twice, nothing half",
    ):
        assert said in done.stdout
    assert "≠" not in done.stdout
    for participant in ("order", "inventory", "coupon", "balance"):
        assert f"      {participant} " in done.stdout, "everyone refuses something"
    assert list(tmp_path.iterdir()) == []
    assert _children_of(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)]
)
def test_however_the_demo_ends_no_process_is_left(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with subprocess.Popen(
        [*_COMMAND, "--buyers", "4"],
        env=_environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("2/5"):
                break
        assert len(_children_of(tmp_path)) >= 7
        demo.send_signal(number)
        rest = demo.stdout.read()
        assert demo.wait(TIMEOUT) == code, rest
    assert "Traceback" not in rest
    until("its children are gone", lambda: not _children_of(tmp_path), TIMEOUT)
