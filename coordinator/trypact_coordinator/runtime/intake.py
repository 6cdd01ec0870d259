"""Decides whether one more transaction may begin, from how long our own work waits.

What is measured is the coordinator's own delay: how long records wait for the journal and for
their turn of the event loop, and whether requests lie unread. A participant that hangs, or answers
in seconds, fills memory but none of these queues, so a calm door stays open whatever it does.

A door that is calm lets everything in, for a burst is best served by working it off in large
batches. Once more has come than is worked off, it is crowded: there is a window for the records on
their way to the journal, and a transaction comes in while there are fewer. It narrows while the
delay is above its target and widens while it is below, so there is as much to do as keeps the
coordinator busy, and no more. It must never refuse anything but new transactions; who asks for what
is known already is not asked about here.

Pure: told by its callers what happened and when. Instants and durations are seconds.
"""

import zlib

# A stream whose next message had come already, each time for so long, is not read fast enough.
UNREAD_MAX = 0.1
# The same while crowded, when the queue is to stay short; for so long the window narrows then.
UNREAD_MAX_CROWDED = 0.04
UNREAD_COUNTS = 0.02
# Our own delay that is aimed at while crowded: so much, and a multiple of the journal's own time.
DELAY = 0.0025
JOURNAL_TIMES = 4
# The journal's own time is the shortest that a batch took in this interval or the one before.
INTERVAL = 10.0
# Records on their way while crowded. With fewer, batches are so small that what each of them costs,
# whatever is in it, is most of the work.
WINDOW_MIN = 28
WINDOW_FIRST = 32
# What the window changes by with each batch, as a share of it: by all of it where the delay is
# nothing or twice the target. What it lets in is felt several batches later, so it would swing in
# larger steps; but a delay of less than two thirds of the target says that it is far too narrow.
STEP = 0.02
STEP_FAR = 0.1
FAR = 1 / 3
# The delay is a mean over about so many batches.
BATCHES = 8
# It is over when nobody was refused for a while, and tried out now and then in any case: those who
# ask again keep it crowded, also when there are no longer too many of them.
CALM_AFTER = 1.0
CROWDED_MAX = 30.0

HINT_MS = 100
HINT_MS_MAX = 5_000


class Intake:
    """Says whether one more transaction is taken in.

    Args:
        records_max: records that may be on their way to the journal before it is crowded: two
            batches, so that whoever comes waits for the one that is being written, and its own.
    """

    def __init__(self, records_max: int) -> None:
        self._records_max = records_max
        self.crowded = False
        self._crowded_at = 0.0
        self._refused_at = 0.0
        self._window = float(min(WINDOW_FIRST, records_max))
        # Whether somebody has found the window full since the last batch.
        self._full = False
        # The mean of the last delays; 0 before the first.
        self._delay = 0.0
        self._unread_at = -UNREAD_MAX
        # The shortest that the journal took for a batch in this interval and in the one before.
        self._shortest = self._shortest_before = float("inf")
        self._interval_at = 0.0
        # Of the present second: how many were let in and refused; and how that was the second
        # before, refused ones for each that was let in.
        self._second_at = 0.0
        self._let_in = self._refused = 0
        self._pressure = 0.0

    # ------------------------------------------------------------ what is measured

    def written(self, now: float, delay: float, took: float) -> None:
        """Note a batch: how long its oldest record waited in all, and what the journal took."""
        if now - self._interval_at >= INTERVAL:
            self._interval_at = now
            self._shortest_before, self._shortest = self._shortest, took
        self._shortest = min(self._shortest, took)
        self._delay += (delay - self._delay) / (BATCHES if self._delay else 1)
        if self.crowded:
            target = DELAY + JOURNAL_TIMES * min(self._shortest, self._shortest_before)
            unread = now - self._unread_at < UNREAD_COUNTS
            spare = -1.0 if unread else max(-1.0, 1 - self._delay / target)
            if spare < 0 or self._full:
                step = STEP_FAR if spare > FAR else STEP
                window = self._window * (1 + step * spare)
                self._window = min(max(window, WINDOW_MIN), self._records_max)
        self._full = False

    def unread(self, now: float, lasted: float) -> None:
        """Note that a message was read, and for how long none had to be waited for before it."""
        if lasted >= (UNREAD_MAX_CROWDED if self.crowded else UNREAD_MAX):
            self._unread_at = now
            if not self.crowded:
                self._crowd(now)

    # ------------------------------------------------------------ what is decided

    def shut(self, now: float, records: int) -> bool:
        """Whether no transaction may begin now, with so many records on their way."""
        if self.crowded:
            refused_lately = now - self._refused_at < CALM_AFTER
            if refused_lately and now - self._crowded_at < CROWDED_MAX:
                full = records >= self._window
                self._full = self._full or full
                return full
            self.crowded = False
        if records <= self._records_max:
            return False
        self._crowd(now)
        return True

    def let_in(self, now: float) -> None:
        """Note that a transaction begins."""
        self._count(now)
        self._let_in += 1

    def refuse(self, now: float, xid: str, count: int = 1) -> int:
        """Note that some were refused; return in how many milliseconds they may be asked again.

        Longer the more are refused for each that is let in, and different for each xid (of one of
        them), so that those who are refused one by one do not all come back at once.
        """
        self._count(now)
        self._refused += count
        self._refused_at = now
        hint_ms = min(HINT_MS * (1 + self._pressure), HINT_MS_MAX)
        # In sixteenths, so that whoever writes refusals writes few different ones.
        sixteenth = zlib.crc32(xid.encode()) >> 28
        return int(hint_ms * (8 + sixteenth) / 16)

    def _crowd(self, now: float) -> None:
        self.crowded = True
        self._crowded_at = self._refused_at = now

    def _count(self, now: float) -> None:
        if now - self._second_at >= 1.0:
            self._pressure = self._refused / max(self._let_in, 1)
            self._let_in = self._refused = 0
            self._second_at = now
