"""How commands reach a coordinator: the options they share, and one call at a time."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trypact_coordinator.cli.failures import USAGE, Failure, of_rpc
from trypact_coordinator.durations import parse_ms

if TYPE_CHECKING:
    import grpc

DEFAULT_SERVER = "127.0.0.1:7000"
# Room for 256 branches with the largest results.
_ANSWER_BYTES_MAX = 64 * 1024 * 1024

_CommandT = TypeVar("_CommandT", bound=Callable[..., Any])


def duration_ms(text: str) -> int:
    """Read a duration such as 5s or 1h30m; the type of an option."""
    try:
        return parse_ms(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


class Remote:
    """A coordinator at an address.

    Args:
        server: HOST:PORT or another gRPC target.
        timeout_ms: for each call.
    """

    def __init__(self, server: str, timeout_ms: int) -> None:
        _check_address(server)
        self.server = server
        self._timeout = timeout_ms / 1_000
        self._channel: grpc.Channel | None = None

    @property
    def channel(self) -> "grpc.Channel":
        """The connection, made at first use."""
        if self._channel is None:
            import grpc

            self._channel = grpc.insecure_channel(
                self.server,
                options=(
                    ("grpc.enable_retries", 0),
                    ("grpc.enable_http_proxy", 0),
                    ("grpc.max_receive_message_length", _ANSWER_BYTES_MAX),
                ),
            )
        return self._channel

    def admin(self) -> Any:
        """Return a stub of AdminService."""
        from trypact.v1.admin_pb2_grpc import AdminServiceStub

        return AdminServiceStub(self.channel)

    def registry(self) -> Any:
        """Return a stub of RegistryService."""
        from trypact.v1.registry_pb2_grpc import RegistryServiceStub

        return RegistryServiceStub(self.channel)

    def call(self, method: Callable[..., Any], request: Any, what: str) -> Any:
        """Call a method. Raises Failure; `what` says what could not be done."""
        import grpc

        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise of_rpc(error, what, self.server) from error

    def close(self) -> None:
        """Close the connection, if one was made."""
        if self._channel is not None:
            self._channel.close()


@contextlib.contextmanager
def connected(server: str, timeout: int) -> Iterator[Remote]:
    """Use a coordinator for the time of a command."""
    remote = Remote(server, timeout)
    try:
        yield remote
    finally:
        remote.close()


def remote_options(command: _CommandT) -> _CommandT:
    """Give a command the options that say which coordinator it is about."""
    timeout = click.option(
        "--timeout",
        type=duration_ms,
        default="10s",
        metavar="DURATION",
        help="How long to wait for an answer. [default 10s]",
    )
    server = click.option(
        "--server",
        envvar="TRYPACT_SERVER",
        default=DEFAULT_SERVER,
        metavar="HOST:PORT",
        help=f"The coordinator. [TRYPACT_SERVER; default {DEFAULT_SERVER}]",
    )
    return server(timeout(command))


def read_xids(xids: Iterable[str]) -> list[str]:
    """Return the xids of a command line; `-` stands for those on stdin, one a line."""
    found: dict[str, None] = {}
    for xid in xids:
        if xid == "-":
            found.update((line.strip(), None) for line in sys.stdin if line.strip())
        else:
            found[xid] = None
    return list(found)


def _check_address(server: str) -> None:
    host, colon, port = server.rpartition(":")
    if colon and host and port.isascii() and port.isdecimal() and 0 < int(port) <= 65535:
        return
    if server.startswith("unix:"):
        return
    raise Failure(
        "the coordinator cannot be reached",
        f"{server!r} is no address",
        "Give HOST:PORT with --server or TRYPACT_SERVER, such as 127.0.0.1:7000.",
        USAGE,
    )
