"""The edge between gRPC and the shop's own functions: threads on one side, statuses on the other.

Database work is synchronous, so the methods of a query service are plain functions that run in a
thread each; `answering` makes them what grpc.aio serves.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from sqlalchemy.exc import SQLAlchemyError

from trypact_shop.errors import Invalid, NotAnswering, ShopError

ERROR_DOMAIN = "shop.trypact"
_DETAILS = "grpc-status-details-bin"

ServiceT = TypeVar("ServiceT")
RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


def answering(
    method: Callable[[ServiceT, RequestT], ResponseT],
) -> Callable[[ServiceT, RequestT, Any], Awaitable[ResponseT]]:
    """Serve a plain function: in a thread, its errors as statuses."""

    @functools.wraps(method)
    async def served(service: ServiceT, request: RequestT, context: Any) -> ResponseT:
        try:
            return await asyncio.to_thread(method, service, request)
        except (ShopError, SQLAlchemyError) as error:
            await abort(context, error)

    return served


async def abort(context: Any, error: ShopError | SQLAlchemyError) -> NoReturn:
    """End a call with the status that says what went wrong."""
    if isinstance(error, SQLAlchemyError):
        error = NotAnswering(f"the database does not answer ({type(error).__name__})")
    details: list[Any] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN),
    ]
    if isinstance(error, Invalid):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=f"{error.why}; allowed: {error.allowed}"
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    status = status_pb2.Status(
        code=error.status.value[0], message=str(error), details=packed
    ).SerializeToString()
    await context.abort(error.status, str(error), trailing_metadata=((_DETAILS, status),))
    raise error  # not reached: abort raises
