"""Ports that stay ours while the process that listens on them is down.

A demo restarts its processes, and another demo beside it must not take their ports meanwhile. So
each port is claimed by a UDP socket of the same number, which the kernel gives back when the demo
ends, however that ends.
"""

import socket

from trypact_shop.launcher import ChildFailed

# Below those that the kernel gives to outgoing connections.
_PORTS = range(20_000, 32_000)


class Ports:
    """So many free ports of 127.0.0.1, claimed until they are closed.

    Raises ChildFailed if there are not enough.
    """

    def __init__(self, count: int) -> None:
        self._claims: list[socket.socket] = []
        self.numbers: list[int] = []
        for port in _PORTS:
            if len(self.numbers) == count:
                return
            claim = _claimed(port)
            if claim is not None:
                self._claims.append(claim)
                self.numbers.append(port)
        self.close()
        raise ChildFailed(f"no {count} free ports from {_PORTS.start} to {_PORTS.stop}")

    def close(self) -> None:
        """Give them back."""
        for claim in self._claims:
            claim.close()


def _claimed(port: int) -> socket.socket | None:
    claim = socket.socket(type=socket.SOCK_DGRAM)
    try:
        claim.bind(("127.0.0.1", port))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        claim.close()
        return None
    return claim
