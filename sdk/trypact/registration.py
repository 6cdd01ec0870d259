"""Keeps one participant registered, whatever the coordinator goes through meanwhile."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import grpc
import grpc.aio

from trypact._exchange import CHANNEL_OPTIONS
from trypact.kinds import Kind
from trypact.v1 import registry_pb2, registry_pb2_grpc

logger = logging.getLogger("trypact.participant")

RPC_TIMEOUT_S = 5.0
DEREGISTER_TIMEOUT_S = 1.0
BACKOFF_BASE_S = 0.1
BACKOFF_CAP_S = 3.0


class Registration:
    """Registers one instance, renews at the interval it is told, and starts again when unknown.

    Args:
        coordinator: the coordinator's gRPC target.
        request: what to register.
        pause: waits that many seconds.
    """

    def __init__(
        self,
        coordinator: str,
        request: registry_pb2.RegisterRequest,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._coordinator = coordinator
        self._request = request
        self._pause = pause
        self._channel: grpc.aio.Channel | None = None
        self._task: asyncio.Task[None] | None = None
        # Set while the coordinator is known to know this instance.
        self.registered = asyncio.Event()
        # What went wrong last; an error is logged once, not at every attempt.
        self._trouble = ""

    def start(self) -> None:
        """Register in the background."""
        self._channel = grpc.aio.insecure_channel(self._coordinator, options=CHANNEL_OPTIONS)
        self._task = asyncio.create_task(self._keep_registered(self._channel))

    async def stop(self) -> None:
        """Deregister, if the coordinator answers at once, and stop."""
        if self._task is None or self._channel is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        stub: Any = registry_pb2_grpc.RegistryServiceStub(self._channel)
        if self.registered.is_set():
            request = registry_pb2.DeregisterRequest(
                participant=self._request.participant, instance=self._request.instance
            )
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.Deregister(request, timeout=DEREGISTER_TIMEOUT_S)
        self.registered.clear()
        await self._channel.close(None)

    async def _keep_registered(self, channel: grpc.aio.Channel) -> None:
        stub: Any = registry_pb2_grpc.RegistryServiceStub(channel)
        failures = 0
        renew_every_s = 0.0
        while True:
            try:
                unknown = not self.registered.is_set()
                if unknown:
                    renew_every_s = await self._register(stub)
                elif not await self._renew(stub):
                    self.registered.clear()
                    continue
                if unknown or self._trouble:
                    self._tell()
                failures, self._trouble = 0, ""
                # A little early and never in step with its siblings.
                await self._pause(renew_every_s * random.uniform(0.8, 1.0))  # noqa: S311
            except Exception as error:  # whatever it is, the next attempt may do better
                failures += 1
                self._note(error)
                ceiling = min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2 ** min(failures, 16))
                await self._pause(ceiling * random.uniform(0.5, 1.0))  # noqa: S311

    async def _register(self, stub: Any) -> float:
        reply = await stub.Register(self._request, timeout=RPC_TIMEOUT_S)
        self.registered.set()
        if reply.warning:
            logger.warning("the coordinator at %s says: %s", self._coordinator, reply.warning)
        return max(float(reply.renew_every_ms) / 1000, 0.05)

    async def _renew(self, stub: Any) -> bool:
        request = registry_pb2.RenewRequest(
            participant=self._request.participant, instance=self._request.instance
        )
        reply = await stub.Renew(request, timeout=RPC_TIMEOUT_S)
        return bool(reply.known)

    def _tell(self) -> None:
        """Say that all is well, at first and after every warning."""
        logger.info(
            "%s %s is registered with the coordinator at %s",
            self._request.participant,
            self._request.instance,
            self._coordinator,
        )

    def _note(self, error: Exception) -> None:
        kind, said = type(error).__name__, str(error)
        if isinstance(error, grpc.aio.AioRpcError):
            kind, said = error.code().name, error.details() or ""
        if kind != self._trouble:
            logger.warning(
                "the coordinator at %s does not take the registration of %s (%s: %s); trying on",
                self._coordinator,
                self._request.participant,
                kind,
                said,
            )
        self._trouble = kind


def registration_request(
    participant: str,
    instance: str,
    endpoint: str,
    actions: Mapping[str, Sequence[Kind]],
    topics: Mapping[str, str] = MappingProxyType({}),
) -> registry_pb2.RegisterRequest:
    """Describe an instance as it travels.

    Args:
        participant: its name.
        instance: what tells it from its siblings.
        endpoint: where the coordinator reaches it.
        actions: the verbs it serves, each with its kinds.
        topics: the topics it has subscribed to, each with the verb that takes its messages.
    """
    return registry_pb2.RegisterRequest(
        participant=participant,
        instance=instance,
        endpoint=endpoint,
        actions=[
            registry_pb2.Action(
                verb=verb,
                kinds=[kind.wire for kind in kinds],
                topics=sorted(topic for topic, taker in topics.items() if taker == verb),
            )
            for verb, kinds in actions.items()
        ],
    )
