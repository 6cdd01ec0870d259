"""What can go wrong in the shop, apart from a business no (which is an answer).

    ShopError
    ├── Invalid         the caller's request is wrong: which field, why, what is allowed
    ├── NotFound        there is no such thing
    ├── Conflict        the same id with other content
    └── NotAnswering    somebody who is needed does not answer: repeat the same request

Each has one gRPC status and one stable reason, in a google.rpc.ErrorInfo.
"""

from typing import ClassVar

import grpc


class ShopError(Exception):
    """The shop could not do this."""

    status: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    reason: ClassVar[str] = "INTERNAL"


class Invalid(ShopError, ValueError):
    """A field of a request is not valid."""

    status = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    def __init__(self, field: str, why: str, allowed: str) -> None:
        self.field = field
        self.why = why
        self.allowed = allowed
        super().__init__(f"{field}: {why}; allowed: {allowed}")


class NotFound(ShopError):
    """There is no such thing."""

    status = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"


class Conflict(ShopError):
    """The same id was used before, with other content."""

    status = grpc.StatusCode.ALREADY_EXISTS
    reason = "CONFLICT"


class NotAnswering(ShopError):
    """Somebody who is needed does not answer; repeating the same request is safe."""

    status = grpc.StatusCode.UNAVAILABLE
    reason = "NOT_ANSWERING"
