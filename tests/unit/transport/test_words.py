"""What a failed call says, in words that name what to look at."""

import grpc
import pytest
from trypact_coordinator.transport.wire import failed

TRIED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:7010: "


@pytest.mark.parametrize(
    ("details", "said"),
    [
        (
            f"{TRIED}connection attempt timed out before receiving SETTINGS frame",
            "127.0.0.1:7010: takes connections, but does not answer: is it hung?",
        ),
        (
            f"{TRIED}Failed to connect to remote host: connect: Connection refused (111)",
            "127.0.0.1:7010: Connection refused",
        ),
        ("Socket closed", "Socket closed"),
        (None, "no details"),
    ],
)
def test_a_failed_call_names_the_address_and_the_trouble(details: str | None, said: str) -> None:
    assert failed(grpc.StatusCode.UNAVAILABLE, details).error == f"UNAVAILABLE: {said}"
