"""A violation of each rule, planted, is caught; the nearest legal thing is not."""

import pytest

from tests.tidy import rules
from tests.tidy.repository import Source

PRODUCT = "coordinator/trypact_coordinator/runtime/thing.py"
IN_CORE = "coordinator/trypact_coordinator/core/thing.py"
IN_TESTS = "tests/unit/test_thing.py"
LONG = "def f():\n" + "    x = 1\n" * rules.FUNCTION_LINES_MAX

# rule, path, the violation, what the complaint must say
VIOLATIONS = [
    (rules.functions_are_short, PRODUCT, LONG, "f has 61 lines"),
    (rules.files_are_short, PRODUCT, "x = 1\n" * 501, "501 lines"),
    (rules.lines_are_narrow, PRODUCT, "x = '" + "a" * 96 + "'", "102 columns"),
    (rules.modules_open_with_a_paragraph, PRODUCT, "x = 1", "no docstring"),
    (rules.modules_have_a_name_of_their_own, "sdk/trypact/utils.py", "", "'utils' says nothing"),
    (rules.modules_have_a_name_of_their_own, "sdk/trypact/base/x.py", "", "'base' says nothing"),
    (rules.test_names_are_sentences, IN_TESTS, "def test_commit(): ...", "no sentence"),
    (rules.nothing_is_left_for_later, PRODUCT, "# TODO: later", "TODO"),
    (rules.silenced_checks_say_which, PRODUCT, "x = 1  # type: ignore", "name the check"),
    (rules.silenced_checks_say_which, PRODUCT, "x = 1  # noqa", "name the check"),
    (rules.banned_calls_have_a_better_way, PRODUCT, "import time\ntime.time()", "Clock"),
    (rules.banned_calls_have_a_better_way, PRODUCT, "from time import time as t\nt()", "Clock"),
    (rules.banned_calls_have_a_better_way, PRODUCT, "import time\nf(clock=time.time)", "Clock"),
    (
        rules.banned_calls_have_a_better_way,
        PRODUCT,
        "from datetime import datetime\ndatetime.now()",
        "Clock",
    ),
    (rules.banned_calls_have_a_better_way, PRODUCT, "import uuid\nuuid.uuid4()", "Ids"),
    (rules.banned_calls_have_a_better_way, PRODUCT, "print(1)", "click.echo"),
    (rules.asserts_stay_in_tests, PRODUCT, "assert x", "invariant"),
    (rules.tests_never_sleep_to_wait, IN_TESTS, "import time\ntime.sleep(1)", "wait for"),
    (rules.tests_never_sleep_to_wait, IN_TESTS, "import asyncio\nasyncio.sleep(0.1)", "wait for"),
    (rules.tests_are_never_skipped, IN_TESTS, "import pytest\npytest.skip()", "make it run"),
    (
        rules.tests_are_never_skipped,
        IN_TESTS,
        "import pytest\n@pytest.mark.xfail\ndef test_a_b_c(): ...",
        "make it run",
    ),
    (rules.core_is_pure, IN_CORE, "async def f(): ...", "waits"),
    (rules.core_is_pure, IN_CORE, "import random", "as an argument"),
    (rules.core_is_pure, IN_CORE, "from datetime import datetime", "as an argument"),
    (rules.core_is_pure, IN_CORE, "open('x')", "I/O"),
]

LEGAL = [
    (rules.functions_are_short, PRODUCT, LONG.removesuffix("    x = 1\n")),
    (rules.lines_are_narrow, PRODUCT, "x = '" + "a" * 94 + "'"),
    (rules.modules_open_with_a_paragraph, "sdk/trypact/v1/__init__.py", ""),
    (rules.test_names_are_sentences, IN_TESTS, "def test_a_commit_is_durable(): ..."),
    (rules.silenced_checks_say_which, PRODUCT, "x = 1  # type: ignore[misc]"),
    (rules.banned_calls_have_a_better_way, PRODUCT, "import time\ntime.monotonic()"),
    (rules.banned_calls_have_a_better_way, IN_TESTS, "print(1)"),
    (rules.banned_calls_have_a_better_way, "sdk/trypact/x.py", "import logging as l\nl.getLogger"),
    (rules.asserts_stay_in_tests, IN_TESTS, "assert x"),
    (rules.tests_never_sleep_to_wait, IN_TESTS, "import asyncio\nasyncio.sleep(0)"),
    (rules.tests_never_sleep_to_wait, "tests/sim/x.py", "import asyncio\nasyncio.sleep(9)"),
    (rules.core_is_pure, PRODUCT, "async def f(): ..."),
    (rules.core_is_pure, IN_CORE, "import zlib"),
]


@pytest.mark.parametrize(("rule", "path", "text", "says"), VIOLATIONS)
def test_a_planted_violation_is_caught(rule: rules.Rule, path: str, text: str, says: str) -> None:
    (complaint,) = rule(Source(path, text))

    assert complaint.startswith(f"{path}:")
    assert says in complaint


@pytest.mark.parametrize(("rule", "path", "text"), LEGAL)
def test_the_nearest_legal_thing_is_left_alone(rule: rules.Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text))) == []


def test_every_rule_has_a_planted_violation() -> None:
    planted = {rule for rule, *_ in VIOLATIONS}

    assert planted == set(rules.PYTHON_RULES) | set(rules.TEXT_RULES)
