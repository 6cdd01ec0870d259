"""Every program in examples/ is run as its docstring says, and prints what that promises."""

import doctest

import pytest

from tests.examples.conftest import Terminal
from tests.examples.sessions import EXAMPLES, Step, programs, promised, session


@pytest.mark.parametrize("program", programs())
def test_an_example_does_what_its_docstring_promises(program: str, terminal: Terminal) -> None:
    for step in promised(program):
        printed = terminal.run(step)

        # A web server's answer need not end its line.
        got = printed.rstrip("\n") + "\n" if printed else ""
        kept = doctest.OutputChecker().check_output(step.output, got, doctest.ELLIPSIS)
        assert kept, f"{program}: {step}\npromised:\n{step.output}printed:\n{printed}"


@pytest.mark.parametrize("program", programs())
def test_every_example_is_run_by_its_own_docstring(program: str) -> None:
    module = program.removesuffix(".py")
    words = [word.removesuffix(".py") for step in promised(program) for word in step.words]

    assert any(word.partition(":")[0] == module for word in words), f"{program} shows no run"


def test_every_example_is_in_the_table_of_the_readme() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    missing = [program for program in programs() if f"]({program})" not in readme]

    assert programs()
    assert missing == []


def test_a_session_is_read_command_by_command() -> None:
    shown = "Run it:\n\n    $ a &\n    $ b 'c d'\n    one\n    two\n\nAnd:\n\n    $ e\n    three"

    steps = session(shown)

    assert steps == [Step("a &", ""), Step("b 'c d'", "one\ntwo\n"), Step("e", "three\n")]
    assert [step.in_background for step in steps] == [True, False, False]
    assert steps[1].words == ("b", "c d")
