"""Calls that take a transaction along over HTTP, or whatever else has headers.

For gRPC, `trypact.interceptors` does this by itself.
"""

from trypact._carried import CALL_KEY, XID_KEY, Carried
from trypact.errors import InvalidRequest


class OutgoingCall:
    """A call that takes a block's transaction along; `Transaction.outgoing` makes it.

    The block does not confirm before `answered` was told of an answer. To repeat the call, send
    its headers again: the service that joins with them adds the same branches.

    >>> async with client.transaction("order", xid="order-41") as tx:
    ...     call = await tx.outgoing("inventory/reserve")
    ...     print(call.headers)
    ...     # ... response = await http.post(url, headers=call.headers) ...
    ...     call.answered(200)
    {'trypact-xid': 'order-41', 'trypact-call': 'reserve'}
    """

    def __init__(self, carried: Carried, name: str) -> None:
        last = name.rpartition("/")[2]
        # What it names is a header's value.
        if not (last.isascii() and last.isprintable() and last.split() == [last]):
            raise InvalidRequest(
                f"name: is {name!r}; allowed: what ends in visible ASCII, as 'inventory/reserve'"
            )
        self._carried = carried
        self._id = carried.leaving(name)

    def __repr__(self) -> str:
        return f"<OutgoingCall {self._id} of {self._carried.xid}>"

    @property
    def headers(self) -> dict[str, str]:
        """What the call has to carry; a dict of the caller's own."""
        return {XID_KEY: self._carried.xid, CALL_KEY: self._id}

    def answered(self, status: int) -> None:
        """Note the HTTP status of the answer.

        2xx, 3xx and 4xx but 408 say what the call did. Any other leaves that open, as no answer
        does.
        """
        self._carried.answered(self._id, status)
