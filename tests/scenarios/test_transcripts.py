"""Each `*.txt` beside this file is a scenario; see interpreter.py for how to write one."""

from pathlib import Path

import pytest

from tests.scenarios.interpreter import run

TRANSCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


def test_there_are_enough_transcripts_to_speak_of():
    assert len(TRANSCRIPTS) >= 25


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_the_core_answers_as_the_transcript_says(path: Path, request: pytest.FixtureRequest):
    written = path.read_text()
    answered = run(written)
    if request.config.getoption("--rewrite", default=False):
        path.write_text(answered)
    else:
        assert answered == written


def test_a_wrong_transcript_is_noticed():
    right = run("begin order.submit\n  stock tcc\n")
    assert "call try stock #1" in right
    assert run(right.replace("#1", "#7")) == right
