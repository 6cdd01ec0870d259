"""Keeps a handler's traceback from the log when the same has been there already.

An examination asks again and again, as a coordinator does; its reader wants to see once why a
handler fails.
"""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def tracebacks_once() -> Iterator[None]:
    """Have each place that raises show its traceback once; lines without one stay as they are."""
    logger, repeats = logging.getLogger("trypact.participant"), _Repeats()
    logger.addFilter(repeats)
    try:
        yield
    finally:
        logger.removeFilter(repeats)


class _Repeats(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._seen: set[tuple[object, ...]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every line through, and take the traceback from those whose error was seen."""
        kind, _, traceback = record.exc_info or (None, None, None)
        place: list[object] = [kind]
        while traceback is not None:
            place.append((traceback.tb_frame.f_code, traceback.tb_lineno))
            traceback = traceback.tb_next
        if kind is not None and tuple(place) in self._seen:
            record.exc_info = None
        self._seen.add(tuple(place))
        return True
