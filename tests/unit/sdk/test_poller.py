"""Declining gRPC's event engine: only where that is known, and never against the environment."""

import subprocess
import sys

import pytest
from trypact._poller import use_classic_poller

SERVING = """
import asyncio, grpc.aio
from trypact._poller import use_classic_poller
use_classic_poller()
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
    use_classic_poller(version, environment)

    assert (environment != {}) is declined


def test_what_the_environment_says_stands() -> None:
    environment = {"GRPC_EXPERIMENTS": "tcp_frame_size_tuning"}
    use_classic_poller("1.85.1", environment)

    assert environment == {"GRPC_EXPERIMENTS": "tcp_frame_size_tuning"}


def test_the_installed_grpc_takes_it_without_a_word() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SERVING], env={}, capture_output=True, text=True, check=True
    )

    assert ran.stderr == ""
