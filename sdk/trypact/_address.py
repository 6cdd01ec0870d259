"""Where somebody serves, as programs write it: checked at the door.

gRPC takes any text for a target, and is silent about a wrong one until the patience of whoever
asks has ended: without a port it goes to 443, and with one that is too large to another.
"""

from trypact.errors import InvalidRequest

_PORT_MAX = 65535
# Of gRPC's own targets, which say more than a host and a port, or, of tests, nothing of a network:
# https://grpc.github.io/grpc/core/md_doc_naming.html
_SCHEMES = ("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:", "xds:", "inproc:")


def require_target(address: object, name: str, port_min: int = 1) -> None:
    """Check where a program connects or listens: HOST:PORT, or a target with gRPC's scheme.

    Args:
        address: what is to be checked.
        name: of the argument, for the error.
        port_min: 0 for who listens, and takes any port that is free.

    Raises InvalidRequest.
    """
    fits = isinstance(address, str) and (
        address.startswith(_SCHEMES) or _is_host_and_port(address, port_min)
    )
    if fits:
        return
    raise InvalidRequest(
        f"{name}: is {address!r}; allowed: HOST:PORT, such as '127.0.0.1:7000', with a port from "
        f"{port_min} to {_PORT_MAX}, or one of gRPC's targets, such as 'unix:/run/trypact.sock'"
    )


def _is_host_and_port(address: str, port_min: int) -> bool:
    host, _, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or set(bare) & set("/ @") or (bare != host) != (":" in bare):
        return False
    return port.isascii() and port.isdecimal() and port_min <= int(port) <= _PORT_MAX
