"""Declining the event engine: in time, only where it is known, never against the environment."""

import subprocess
import sys

import pytest
from trypact_coordinator.cli.poller import use_classic_poller

SERVING = """
import sys
import trypact_coordinator.cli.serve
from trypact_coordinator.cli.poller import use_classic_poller
assert "grpc" not in sys.modules, "gRPC has looked already"
use_classic_poller()
import asyncio, grpc.aio
async def main():
    server = grpc.aio.server()
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await server.stop(None)
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("version", "declined"),
    [("1.79.3", False), ("1.80.0", True), ("1.85.1", True), ("1.86.0rc1", False), ("2.0.0", False)],
)
def test_the_event_engine_is_declined_where_it_is_the_default_and_can_be(
    version: str, declined: bool
) -> None:
    environment: dict[str, str] = {}
    use_classic_poller(environment, version)

    assert (environment != {}) is declined


def test_what_the_environment_says_stands() -> None:
    environment = {"GRPC_EXPERIMENTS": "tcp_frame_size_tuning"}
    use_classic_poller(environment, "1.85.1")

    assert environment == {"GRPC_EXPERIMENTS": "tcp_frame_size_tuning"}


def test_it_is_declined_before_grpc_looks_and_the_installed_one_takes_it_without_a_word() -> None:
    ran = subprocess.run([sys.executable, "-c", SERVING], capture_output=True, text=True)

    assert (ran.returncode, ran.stderr) == (0, "")
