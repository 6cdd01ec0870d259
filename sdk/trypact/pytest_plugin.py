"""The pytest plugin: a fixture that makes environments, and their timelines where a test fails.

    async def test_an_order_is_placed(trypact_env):
        async with trypact_env(inventory, balance) as env:
            ...

pytest loads it by itself; `-p no:trypact` leaves it out. Nothing heavy is imported before a test
asks for the fixture.
"""

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import pytest

from trypact.participant import Participant

if TYPE_CHECKING:
    from trypact.testing import Environment

_made: "pytest.StashKey[list[Environment]]" = pytest.StashKey()


@pytest.fixture
def trypact_env(request: pytest.FixtureRequest) -> "Callable[..., Environment]":
    """Return what makes an environment of participants, for `async with`.

    It takes the participants, and what `Environment` takes by name. Where the test fails, its
    report shows what happened to every transaction.
    """
    from trypact.testing import Environment

    made = request.node.stash.setdefault(_made, [])

    def make(*participants: Participant, **options: int | float) -> Environment:
        env = Environment(participants, **options)  # type: ignore[arg-type]
        made.append(env)
        return env

    return make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the timelines of a test that failed."""
    report = yield
    if report.failed:
        for env in item.stash.get(_made, []):
            report.sections.append(("trypact timeline", env.timeline() or "no transactions"))
    return report
