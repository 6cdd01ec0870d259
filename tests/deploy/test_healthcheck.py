"""The containers' health check, run as the process it is, against real health services."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from tests.tidy.repository import ROOT


@pytest.fixture
def health() -> Iterator[tuple[HealthServicer, str]]:
    servicer = HealthServicer()
    server = grpc.server(ThreadPoolExecutor(1))
    add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None).wait()


def check(target: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "deploy/healthcheck.py", target]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_serving_process_is_healthy(health: tuple[HealthServicer, str]) -> None:
    servicer, target = health
    servicer.set("", HealthCheckResponse.SERVING)

    assert check(target).returncode == 0


def test_a_process_that_is_not_serving_is_unhealthy(health: tuple[HealthServicer, str]) -> None:
    servicer, target = health
    servicer.set("", HealthCheckResponse.NOT_SERVING)

    ran = check(target)

    assert ran.returncode == 1
    assert "NOT_SERVING" in ran.stderr


def test_a_port_where_nobody_listens_is_unhealthy() -> None:
    ran = check("127.0.0.1:1")

    assert ran.returncode == 1
    assert "UNAVAILABLE" in ran.stderr
