"""Where a server may listen: addresses, who can reach them, and whether they are free.

The gRPC and the HTTP server keep the same rules. Nothing here takes calls.
"""

import errno
import ipaddress
import os
import socket

from trypact_coordinator.core.errors import CoordinatorError


class CannotListen(CoordinatorError):
    """The address cannot be listened on."""

    status = "UNAVAILABLE"
    reason = "CANNOT_LISTEN"


class NotLoopback(CannotListen):
    """Only loopback addresses may be served without TLS and tokens.

    Listen on 127.0.0.1, or pass --insecure if everyone who can reach the address may do anything.
    """

    reason = "NOT_LOOPBACK"


def split_address(listen: str) -> tuple[str, int]:
    """Split `HOST:PORT` or `[IPV6]:PORT`. Raises CannotListen when it is neither."""
    host, colon, port = listen.rpartition(":")
    if colon and host and port.isascii() and port.isdecimal() and int(port) <= 65535:
        bare = host.removeprefix("[").removesuffix("]")
        if (bare != host) == (":" in bare):
            return bare, int(port)
    raise CannotListen(f"{listen!r} is no address; write HOST:PORT, such as 127.0.0.1:7000.")


def bracketed(host: str) -> str:
    """Return a host as it stands before a colon and a port."""
    return f"[{host}]" if ":" in host else host


def require_loopback(listen: str, host: str, risk: str) -> None:
    """Refuse an address that others can reach.

    Args:
        listen: as it was written.
        host: its half before the port.
        risk: what would follow, for the message.

    Raises NotLoopback, or CannotListen when the host cannot be resolved.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CannotListen(f"{listen} cannot be listened on: {error.strerror}.") from None
    if not all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in found):
        raise NotLoopback(
            f"{listen} can be reached from other machines, and there are no TLS and no tokens "
            f"yet: {risk}. Listen on 127.0.0.1, or pass --insecure if the network itself keeps "
            "others out."
        )


def listen_on(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one. Raises CannotListen saying why not."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            # Connections of an earlier server that linger are no obstacle.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen()
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise CannotListen(f"{bracketed(host)}:{port} cannot be listened on: {_why(error)}.") from (
            error
        )
    return listening


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another process listens on it already"
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
