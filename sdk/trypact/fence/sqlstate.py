"""What an SQLSTATE of PostgreSQL's says of the local transaction in which it was raised."""

from trypact.fence.local import Trouble

# serialization_failure, deadlock_detected.
_GIVEN_UP = frozenset({"40001", "40P01"})
# Classes of errors that are no fault of the statement: connections, resources, locks that are not
# to be had, operators.
_UNAVAILABLE = frozenset({"08", "53", "55", "57"})


def trouble_of_state(state: str) -> Trouble:
    """Return what an SQLSTATE means; "" means nothing."""
    if state in _GIVEN_UP:
        return Trouble.GIVEN_UP
    return Trouble.UNAVAILABLE if state[:2] in _UNAVAILABLE else Trouble.NONE
