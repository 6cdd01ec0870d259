"""What can go wrong at the command line: three lines and an exit code for each.

0 ok · 1 failed · 2 usage · 3 not allowed · 4 not found · 5 conflict · 6 partly done
130 interrupted · 141 the reader of the output went away
"""

from typing import TYPE_CHECKING, Any

from trypact_coordinator.cli.advice import todo
from trypact_coordinator.text import one_line

if TYPE_CHECKING:
    import grpc

FAILED = 1
USAGE = 2
NOT_ALLOWED = 3
NOT_FOUND = 4
CONFLICT = 5
PARTLY_DONE = 6
INTERRUPTED = 130
BROKEN_PIPE = 141


class Failure(Exception):
    """A command could not do what it was asked.

    Args:
        what: what could not be done.
        why: the reason.
        todo: what its reader can do about it.
        exit_code: see the table above.
    """

    def __init__(self, what: str, why: str, todo: str, exit_code: int = FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.todo = todo
        self.exit_code = exit_code

    def lines(self) -> str:
        """Return the three lines."""
        what, why, todo = map(one_line, (self.what, self.why, self.todo))
        return f"error: {what}\n  why: {why}\n   do: {todo}"


_BY_STATUS = {
    "INVALID_ARGUMENT": USAGE,
    "OUT_OF_RANGE": USAGE,
    "UNAUTHENTICATED": NOT_ALLOWED,
    "PERMISSION_DENIED": NOT_ALLOWED,
    "NOT_FOUND": NOT_FOUND,
    "ALREADY_EXISTS": CONFLICT,
    "FAILED_PRECONDITION": CONFLICT,
    "ABORTED": CONFLICT,
}

_EXIT_CODES = {"UNKNOWN_PARTICIPANT": NOT_FOUND, "NOT_LOOPBACK": NOT_ALLOWED}


def of_reason(what: str, why: str, status: str, reason: str) -> Failure:
    """Return the failure for a stable reason of the coordinator's."""
    advice = f"{todo(reason)} More: `trypact explain {reason}`."
    return Failure(what, why, advice, exit_code_of(status, reason))


def exit_code_of(status: str, reason: str) -> int:
    """Return what a command ends with for a gRPC status and a stable reason."""
    return _EXIT_CODES.get(reason, _BY_STATUS.get(status, FAILED))


def of_rpc(error: "grpc.RpcError", what: str, server: str) -> Failure:
    """Return the failure for a call that failed.

    Args:
        error: from a synchronous stub.
        what: what was asked, as "transaction X could not be shown".
        server: the address that was called.
    """
    call: Any = error
    status, details = call.code().name, call.details() or "no details were given"
    reason = _reason_of(call)
    if reason:
        return of_reason(what, details, status, reason)
    if status == "UNAVAILABLE":
        return Failure(
            what,
            f"no coordinator answers at {server} ({details})",
            "Start one with `trypact dev` or `trypact serve`, or name its address with --server.",
        )
    if status == "DEADLINE_EXCEEDED":
        return Failure(
            what,
            f"the coordinator at {server} did not answer in time",
            "See whether it is overloaded, or wait longer with --timeout.",
        )
    if status in ("UNIMPLEMENTED", "UNKNOWN", "INTERNAL"):
        return Failure(
            what,
            f"what listens at {server} did not answer as a trypact coordinator ({details})",
            "Check the address given with --server or TRYPACT_SERVER.",
        )
    exit_code = _BY_STATUS.get(status, FAILED)
    return Failure(what, f"{status}: {details}", "See the coordinator's log.", exit_code)


def _reason_of(call: Any) -> str:
    """Return the ErrorInfo reason of a call, if the coordinator sent one."""
    from google.rpc import error_details_pb2, status_pb2

    for key, value in call.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info) and info.domain == "trypact":
                    return str(info.reason)
    return ""
