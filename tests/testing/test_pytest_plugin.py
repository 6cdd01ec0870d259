"""The pytest plugin, loaded by a pytest of its own as a user's would be."""

import subprocess
import sys
from pathlib import Path

TESTS = """
import pytest, trypact
from trypact.fence import SqlAlchemyFence, sqlite_engine

@pytest.fixture
def shop(tmp_path):
    fence = SqlAlchemyFence(sqlite_engine(tmp_path / "shop.db"))
    fence.create_tables()
    shop = trypact.Participant("shop", fence=fence)
    shop.message("tell")(lambda call, connection: None)
    return shop

@pytest.mark.asyncio
async def test_that_passes(trypact_env, shop):
    async with trypact_env(shop) as env:
        await env.execute("fine", [trypact.message("shop.tell")])

@pytest.mark.asyncio
async def test_that_fails(trypact_env, shop):
    async with trypact_env(shop, seed=3) as env:
        await env.execute("broken", [trypact.message("shop.tell")], xid="order-7")
        await env.settle()
        assert False
"""


def test_the_fixture_makes_environments_and_a_failure_shows_their_timelines(
    tmp_path: Path,
) -> None:
    (tmp_path / "test_shop.py").write_text(TESTS)

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert "1 failed, 1 passed" in ran.stdout, ran.stdout + ran.stderr
    _, timeline = ran.stdout.split("trypact timeline")
    assert "order-7 'broken' is CONFIRMED" in timeline
    assert "Deliver #1 of tell (shop.tell) is answered OK" in timeline
    assert "'fine'" not in timeline
