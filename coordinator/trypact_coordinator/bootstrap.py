"""Puts a coordinator together and runs it: the only place that names concrete adapters."""

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from trypact_coordinator.core.errors import CoordinatorError
from trypact_coordinator.core.policy import MILLISECOND
from trypact_coordinator.durations import in_words
from trypact_coordinator.journal import open_journal
from trypact_coordinator.runtime.clock import JournalClock
from trypact_coordinator.runtime.coordinator import Coordinator
from trypact_coordinator.runtime.failpoints import Failpoints
from trypact_coordinator.runtime.ids import Uuid7
from trypact_coordinator.server.listening import CannotListen
from trypact_coordinator.server.serving import Server
from trypact_coordinator.settings import OFF, Settings
from trypact_coordinator.transport.grpc import GrpcTransport

if TYPE_CHECKING:
    from trypact_coordinator.server.http import HttpServer

# What is answered after the coordinator has settled what it could.
_LAST_ANSWERS_MS = 500

_ResultT = TypeVar("_ResultT")

log = structlog.get_logger(__name__)


class Running:
    """A coordinator that serves."""

    def __init__(self, coordinator: Coordinator, server: Server, http: "HttpServer | None") -> None:
        self.coordinator = coordinator
        self.server = server
        self.http = http

    @property
    def address(self) -> str:
        """Where it serves, with the port it was given."""
        return self.server.address

    @property
    def http_url(self) -> str:
        """Where its pages are; "" when it has none."""
        return self.http.url if self.http else ""


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Run a coordinator for the time of the block.

    The ports are taken before the journal, so that a mistake in either leaves the other alone.
    Raises CannotListen, JournalError, ValueError (a journal address that is none).
    """
    server = Server(settings.listen, insecure=settings.insecure, rpcs_max=settings.rpcs_max)
    coordinator = Coordinator(
        journal=open_journal(settings.journal),
        transport=GrpcTransport(),
        ids=Uuid7(),
        clock=JournalClock(),
        policy=settings.policy,
        settings=settings.runtime,
        failpoints=Failpoints.from_environment(),
    )
    http = _http_server(settings)
    await server.start(coordinator)
    try:
        if http is not None:
            await http.start(coordinator)
        await coordinator.start(settings.owner_name)
        await server.open()
        if http is not None:
            http.open()
        yield Running(coordinator, server, http)
    finally:
        if http is not None:
            http.drain()
        await server.drain()
        await coordinator.stop(settings.stop_grace_ms)
        await server.stop(_LAST_ANSWERS_MS)
        if http is not None:
            await http.stop()


def _http_server(settings: Settings) -> "HttpServer | None":
    if settings.http_listen == OFF:
        return None
    # Not before it is asked for: it costs memory that a coordinator without pages can do without.
    from trypact_coordinator.server.http import HttpServer

    try:
        return HttpServer(settings.http_listen, insecure=settings.insecure)
    except CannotListen as error:
        # There are two addresses; say which.
        raise type(error)(f"http-listen: {error}") from error


async def serve(settings: Settings, ready: Callable[[Running], None]) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the process at once.

    Args:
        settings: what to run with.
        ready: told once calls are answered.

    Raises what `running` raises, and the reason if the coordinator has to stop by itself.
    """
    stop: asyncio.Future[CoordinatorError | None] = asyncio.get_running_loop().create_future()
    with _signals(stop):
        async with running(settings) as coordinator:
            fatal = coordinator.coordinator.fatal
            _collect_garbage_rarely()
            ready(coordinator)
            await asyncio.wait((stop, fatal), return_when=asyncio.FIRST_COMPLETED)
            waits: dict[str, object] = {}
            if count := len(coordinator.coordinator):
                grace = in_words(settings.stop_grace_ms * MILLISECOND)
                waits = {"transactions": count, "waits": f"up to {grace}; a second signal ends it"}
            log.info("stopping", address=coordinator.address, **waits)
        if fatal.done():
            raise fatal.result()


def _collect_garbage_rarely() -> None:
    """Spare the collector what lives for ever, and most of its visits.

    Transactions, calls and records are part of no cycle and go when they are done; what the
    collector is for here is the little that exceptions and closed connections leave behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


@contextlib.contextmanager
def _signals(stop: asyncio.Future[Any]) -> Any:
    loop = asyncio.get_running_loop()
    names = (signal.SIGTERM, signal.SIGINT)

    def asked() -> None:
        if not stop.done():
            stop.set_result(None)
            for name in names:
                # From now on a signal does what it does to any process.
                loop.remove_signal_handler(name)
                signal.signal(name, signal.SIG_DFL)

    for name in names:
        loop.add_signal_handler(name, asked)
    try:
        yield
    finally:
        for name in names:
            loop.remove_signal_handler(name)


def run(main: Coroutine[Any, Any, _ResultT]) -> _ResultT:
    """Run a coroutine in a new event loop, on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def configure_logging(level: str) -> None:
    """Log to stderr: a line of JSON each, or readable text in a terminal."""
    renderer: Any = structlog.processors.JSONRenderer()
    format_error: Any = structlog.processors.format_exc_info
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if sys.stderr.isatty():
        processors = [*shared, structlog.dev.ConsoleRenderer()]
    else:
        processors = [*shared, format_error, renderer]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # grpc reports with the standard library's logging, always about its own troubles.
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(name)s: %(message)s")
