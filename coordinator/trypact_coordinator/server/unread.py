"""Tells how long a stream has been read without ever having to wait for its next message.

What lies unread in the connection is a queue that nobody counts, and gRPC does not say how long it
is. But a message that had come already is there within a few turns of the event loop, however long
a turn takes; if for many messages in a row there was never a wait, they come faster than we read.
"""

import asyncio

# Turns of the event loop that reading a message takes which had come already.
_TURNS = 3


class Unread:
    """Watches the reading of one stream."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # Of the present reading; what an earlier one left in the loop is told apart by it.
        self._reading = 0
        self._waited = True
        self._since = 0.0

    def ask(self) -> None:
        """Note that the next message is asked for."""
        self._loop.call_soon(self._turn, self._reading, _TURNS)

    def came(self) -> float:
        """Note that it has come; return for how many seconds none had to be waited for."""
        now = self._loop.time()
        self._reading += 1
        if self._waited:
            self._waited, self._since = False, now
        return now - self._since

    def held_up(self) -> None:
        """Note that the reader itself waited, so that what has come meanwhile says nothing."""
        self._waited = True

    def _turn(self, reading: int, left: int) -> None:
        if reading != self._reading:
            return
        if left:
            self._loop.call_soon(self._turn, reading, left - 1)
        else:
            self._waited = True
