"""Which of gRPC's two pollers a coordinator's process uses.

gRPC's event engine hands every message to a thread of its pool. The classic poller reads and writes
on the thread that waits anyway, which takes a third off the time and the CPU of a message that
travels alone: docs/decisions/0009-the-classic-poller.md. gRPC looks when it is imported, so this
must be asked for before, and must not import it.
"""

import os
from collections.abc import MutableMapping
from importlib.metadata import version

# Where the event engine is the default, and can still be declined. What a version does not know, it
# complains about.
_FIRST, _LAST = (1, 80), (1, 85)


def use_classic_poller(
    environment: MutableMapping[str, str] = os.environ, grpc_version: str = ""
) -> None:
    """Decline the event engine, unless the environment says which experiments to run.

    Args:
        environment: of a process that has not imported gRPC yet.
        grpc_version: the installed one if not given.
    """
    major, minor = (grpc_version or version("grpcio")).split(".")[:2]
    if _FIRST <= (int(major), int(minor)) <= _LAST:
        experiments = "-event_engine_client,-event_engine_listener"
        environment.setdefault("GRPC_EXPERIMENTS", experiments)
