"""The HTTP server, in the coordinator's own event loop: `/metrics`, `/healthz`, and later pages.

It is bound before the coordinator owns its journal, as the gRPC server is, and answers from then
on; `/healthz` says whether the coordinator serves. It must never delay a transaction: whatever a
page asks of the journal is bounded where it is asked. Importing this module costs memory, so only
a coordinator that was told to listen does it.
"""

import asyncio
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from uvicorn import Config
from uvicorn import Server as Uvicorn

from trypact_coordinator.runtime.coordinator import Coordinator
from trypact_coordinator.server.listening import (
    bracketed,
    listen_on,
    require_loopback,
    split_address,
)
from trypact_coordinator.server.metrics import Metrics

# What is under way when the server stops may go on for this long.
_GRACE_SECONDS = 1
# Connections at once; whoever comes on top of them is told to come back (503).
_CONNECTIONS_MAX = 128


class HttpServer:
    """Serves one coordinator's pages on one address.

    Args:
        listen: `HOST:PORT`; port 0 takes a free one.
        insecure: allow addresses that others can reach.

    Raises CannotListen.
    """

    def __init__(self, listen: str, *, insecure: bool) -> None:
        host, port = split_address(listen)
        if not insecure:
            require_loopback(listen, host, "anyone could see what goes on")
        self._socket = listen_on(host, port)
        self.url = f"http://{bracketed(host)}:{self._socket.getsockname()[1]}"
        self._state = "starting"
        self._metrics: Metrics | None = None
        self._uvicorn: Uvicorn | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def start(self, coordinator: Coordinator, pages: Sequence[BaseRoute] = ()) -> None:
        """Take requests.

        Args:
            coordinator: whom it shows.
            pages: what else is served, beside what every coordinator does.
        """
        self._metrics = Metrics(coordinator)
        app = Starlette(
            routes=[
                Route("/metrics", self._show_metrics),
                Route("/healthz", self._show_health),
                *pages,
            ]
        )
        config = Config(
            app,
            loop="none",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS_MAX,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        config.load()
        # Not its `serve`, which takes over the signals of the process.
        self._uvicorn = uvicorn = Uvicorn(config)
        uvicorn.lifespan = config.lifespan_class(config)
        await uvicorn.startup([self._socket])
        self._ticking = asyncio.create_task(uvicorn.main_loop(), name="http")

    def open(self) -> None:
        """Say that the coordinator is ready."""
        self._state = "serving"

    def drain(self) -> None:
        """Tell load balancers to go elsewhere; requests are still answered."""
        self._state = "stopping"

    async def stop(self) -> None:
        """Answer what is under way, for a while, and close the port. Idempotent."""
        if self._metrics is not None:
            await self._metrics.close()
        if self._uvicorn is not None and self._ticking is not None:
            self._uvicorn.should_exit = True
            await self._ticking
            await self._uvicorn.shutdown()
            self._uvicorn = None
        self._socket.close()

    async def _show_metrics(self, request: Request) -> Response:
        if self._metrics is None:
            return PlainTextResponse("starting\n", 503)
        page, content_type = await self._metrics.scrape(request.headers.get("accept", ""))
        return Response(page, headers={"content-type": content_type})

    async def _show_health(self, request: Request) -> Response:
        code = 200 if self._state == "serving" else 503
        return PlainTextResponse(f"{self._state}\n", code, {"cache-control": "no-store"})
