"""Calls the shop's services from the command line; each failure says who did not answer."""

from collections.abc import Callable
from typing import Any

from trypact_shop.cli.failures import of_rpc
from trypact_shop.endpoints import endpoint_of

# How long a command waits for an answer, in seconds: longer than a transaction may take.
TIMEOUT = 60.0


def call(participant: str, method: str, request: Any, what: str) -> Any:
    """Call one method of a participant's own service.

    Args:
        participant: "order"; its service is OrderService.
        method: "GetOrder".
        request: its request.
        what: what did not work if it fails, as "order 17 cannot be shown".

    Raises Failure.
    """
    import grpc

    endpoint = endpoint_of(participant)
    with grpc.insecure_channel(endpoint) as channel:
        ask: Callable[..., Any] = getattr(_stub(participant, channel), method)
        try:
            return ask(request, timeout=TIMEOUT)
        except grpc.RpcError as error:
            raise of_rpc(error, what, participant, endpoint) from None


def _stub(participant: str, channel: Any) -> Any:
    from importlib import import_module

    module = import_module(f"trypact_shop.v1.{participant}_pb2_grpc")
    return getattr(module, f"{participant.capitalize()}ServiceStub")(channel)
