"""Where each participant listens, unless it is told otherwise."""

import os

ENDPOINTS = {
    "order": "127.0.0.1:7010",
    "inventory": "127.0.0.1:7011",
    "coupon": "127.0.0.1:7012",
    "balance": "127.0.0.1:7013",
    "member": "127.0.0.1:7014",
    "notification": "127.0.0.1:7015",
}
COORDINATOR = "127.0.0.1:7000"
COORDINATOR_VARIABLE = "TRYPACT_SERVER"


def variable_of(participant: str) -> str:
    """Return the environment variable that says where a participant is."""
    return f"TRYPACT_SHOP_{participant.upper()}"


def endpoint_of(participant: str) -> str:
    """Return where a participant is."""
    return os.environ.get(variable_of(participant)) or ENDPOINTS[participant]
