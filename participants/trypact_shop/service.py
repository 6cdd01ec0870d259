"""Runs one participant as a process: the same flags and environment variables for all of them.

    python -m trypact_shop.inventory --listen 127.0.0.1:7011 --database sqlite:///inventory.db

The actions, the participant's own query service and the health service share one port.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import click
import grpc.aio
import trypact
from sqlalchemy import Engine, MetaData
from sqlalchemy.exc import SQLAlchemyError
from trypact.fence import Fence, SqlAlchemyFence
from trypact.serving import AddServices, Serving

from trypact_shop.database import open_database
from trypact_shop.endpoints import COORDINATOR, COORDINATOR_VARIABLE, ENDPOINTS
from trypact_shop.errors import Invalid
from trypact_shop.failpoint import armed_by_environment

logger = logging.getLogger(__name__)

# Opens what a participant's own services need, and gives what adds them to a server.
Services = Callable[[Engine, str], AbstractAsyncContextManager[AddServices]]


@dataclass(frozen=True)
class Service:
    """What makes a participant a process."""

    name: str
    tables: MetaData
    participant: Callable[[Fence], trypact.Participant]
    services: Services


def plain(add: Callable[[Engine, grpc.aio.Server], None]) -> Services:
    """Return services that need the database only."""

    @asynccontextmanager
    async def opened(engine: Engine, coordinator: str) -> AsyncIterator[AddServices]:
        yield lambda server: add(engine, server)

    return opened


def run(service: Service) -> None:
    """Run the process of a participant, from its command line to its end."""

    @click.command(help=f"Run the shop's {service.name} participant.")
    @click.option(
        "--listen",
        envvar="TRYPACT_SHOP_LISTEN",
        default=ENDPOINTS[service.name],
        show_default=True,
        help="Address to serve on, HOST:PORT; port 0 takes a free one.",
    )
    @click.option(
        "--advertise",
        envvar="TRYPACT_SHOP_ADVERTISE",
        help="Where the coordinator reaches it, if that is not --listen: dns:///inventory:7000.",
    )
    @click.option(
        "--database",
        envvar="TRYPACT_SHOP_DATABASE",
        default=f"sqlite:///shop-{service.name}.db",
        show_default=True,
        help="Its own database, SQLite or PostgreSQL.",
    )
    @click.option(
        "--coordinator",
        envvar=COORDINATOR_VARIABLE,
        default=COORDINATOR,
        show_default=True,
        help="Address of the coordinator.",
    )
    @click.option(
        "--instance",
        envvar="TRYPACT_SHOP_INSTANCE",
        default=f"{service.name}-1",
        show_default=True,
        help="Names this process among those of the participant.",
    )
    def command(
        listen: str, advertise: str | None, database: str, coordinator: str, instance: str
    ) -> None:
        logging.basicConfig(
            stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
        )
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(_serve(service, listen, advertise, database, coordinator, instance))
        except Invalid as error:
            raise click.UsageError(str(error)) from None
        except SQLAlchemyError as error:
            raise click.ClickException(f"the database cannot be used: {error}") from None
        except trypact.errors.EndpointTaken as error:
            raise click.ClickException(str(error)) from None

    command(prog_name=f"python -m trypact_shop.{service.name}")


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the quicker event loop, where there is one."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(
    service: Service,
    listen: str,
    advertise: str | None,
    database: str,
    coordinator: str,
    instance: str,
) -> None:
    engine = open_database(database, service.tables)
    fence = SqlAlchemyFence(engine)
    fence.create_tables()
    participant = service.participant(armed_by_environment(fence))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with (
        service.services(engine, coordinator) as add_services,
        participant.serve(
            listen,
            coordinator=coordinator,
            instance=instance,
            advertise=advertise,
            services=add_services,
        ) as server,
    ):
        announcing = asyncio.create_task(_announce(server))
        await stop.wait()
        announcing.cancel()
        logger.info("%s stops", service.name)


async def _announce(server: Serving) -> None:
    """Say that it can be used: it listens, and the coordinator knows it."""
    await server.wait_registered()
    click.echo(f"listening on {server.endpoint}", err=True)
