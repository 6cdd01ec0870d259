"""The type checker follows a payload into an action, and its answer out of it."""

import re
import subprocess
import sys
from pathlib import Path

from tests.tidy.repository import ROOT

SHOWN = Path(__file__).with_name("shown.py")


def test_the_type_checker_knows_what_a_try_answers_and_refuses_other_payloads() -> None:
    command = [sys.executable, "-m", "mypy", "--no-error-summary", str(SHOWN)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout

    lines = enumerate(SHOWN.read_text().splitlines(), 1)
    wanted = [number for number, line in lines if line.endswith("# refused")]
    pattern = re.compile(rf"^{re.escape(str(SHOWN.relative_to(ROOT)))}:(\d+): error:", re.MULTILINE)
    refused = sorted({int(number) for number in pattern.findall(said)})
    assert refused == wanted, said
