"""Which of gRPC's two pollers a process of ours uses.

gRPC's event engine hands every message to a thread of its pool. The classic poller reads and writes
on the thread that waits anyway, which takes a third off the time and the CPU of a message that
travels alone: docs/decisions/0009-the-classic-poller.md. This is for entry points only: it decides
for the whole process, which a library must never do by being imported.
"""

import os
from collections.abc import MutableMapping

import grpc

# Where the event engine is the default, and can still be declined. What a version does not know, it
# complains about.
_FIRST, _LAST = (1, 80), (1, 85)


def use_classic_poller(
    version: str = grpc.__version__, environment: MutableMapping[str, str] = os.environ
) -> None:
    """Decline the event engine, unless the environment says which experiments to run.

    Args:
        version: gRPC's.
        environment: where gRPC looks when the first channel or server of the process is made;
            after that it changes nothing.
    """
    major, minor = version.split(".")[:2]
    if _FIRST <= (int(major), int(minor)) <= _LAST:
        experiments = "-event_engine_client,-event_engine_listener"
        environment.setdefault("GRPC_EXPERIMENTS", experiments)
