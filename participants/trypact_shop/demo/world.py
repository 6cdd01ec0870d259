"""The demo's processes and the way to them: a coordinator and six participants on SQLite."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import grpc

from trypact_shop.demo.ports import Ports
from trypact_shop.endpoints import ENDPOINTS, variable_of
from trypact_shop.launcher import Child, ChildFailed, Children
from trypact_shop.v1 import (
    balance_pb2_grpc,
    coupon_pb2_grpc,
    inventory_pb2_grpc,
    member_pb2_grpc,
    order_pb2_grpc,
)

_COMMAND_TIMEOUT = 30.0

ValueT = TypeVar("ValueT")


class DemoFailed(Exception):
    """Something did not happen as it must."""


class World:
    """The processes of one demo.

    Args:
        children: where they live.
        folder: for databases and logs.
        database_of: the URL of a participant's database; "" for a file in the folder.
    """

    def __init__(
        self,
        children: Children,
        folder: Path,
        database_of: Callable[[str], str] = lambda name: "",
    ) -> None:
        self.children = children
        self._folder = folder
        self._trypact = _find_trypact()
        self._ports = Ports(1 + len(ENDPOINTS))
        first, *others = (f"127.0.0.1:{port}" for port in self._ports.numbers)
        self.coordinator = self._add_coordinator(first)
        self.endpoints = dict(zip(ENDPOINTS, others, strict=True))
        self.participants: dict[str, Child] = {
            name: children.add_participant(name, self.server, endpoint, database_of(name))
            for name, endpoint in self.endpoints.items()
        }
        self.channels: dict[str, grpc.Channel] = {}

    @property
    def server(self) -> str:
        """The coordinator's address."""
        return self.coordinator.listen

    def open(self) -> None:
        """Start everything and connect. Raises ChildFailed."""
        self.coordinator.start()
        for child in self.participants.values():
            child.launch(self.environment())
        for child in self.participants.values():
            child.wait_ready()
        for name, endpoint in self.endpoints.items():
            self.channels[name] = grpc.insecure_channel(
                endpoint, options=[("grpc.max_reconnect_backoff_ms", 500)]
            )

    def close(self) -> None:
        """Disconnect."""
        for channel in self.channels.values():
            channel.close()
        self._ports.close()

    def environment(self) -> dict[str, str]:
        """Return what tells participants where the others are."""
        return {variable_of(name): endpoint for name, endpoint in self.endpoints.items()}

    @property
    def order(self) -> order_pb2_grpc.OrderServiceStub:
        """OrderService."""
        return order_pb2_grpc.OrderServiceStub(self.channels["order"])

    @property
    def inventory(self) -> inventory_pb2_grpc.InventoryServiceStub:
        """InventoryService."""
        return inventory_pb2_grpc.InventoryServiceStub(self.channels["inventory"])

    @property
    def coupon(self) -> coupon_pb2_grpc.CouponServiceStub:
        """CouponService."""
        return coupon_pb2_grpc.CouponServiceStub(self.channels["coupon"])

    @property
    def balance(self) -> balance_pb2_grpc.BalanceServiceStub:
        """BalanceService."""
        return balance_pb2_grpc.BalanceServiceStub(self.channels["balance"])

    @property
    def member(self) -> member_pb2_grpc.MemberServiceStub:
        """MemberService."""
        return member_pb2_grpc.MemberServiceStub(self.channels["member"])

    # ------------------------------------------------------------ the command line, as by hand

    def command(self, *words: str, width: int = 120) -> str:
        """Run `trypact WORDS` against the coordinator; return what it printed.

        Raises DemoFailed if it fails.
        """
        done = subprocess.run(
            [self._trypact, *words, "--server", self.server],
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT,
            env=os.environ | {"COLUMNS": str(width)},
            check=False,
        )
        if done.returncode != 0:
            raise DemoFailed(f"`trypact {' '.join(words)}` failed:\n{done.stderr}")
        return done.stdout

    def transactions(self, *words: str) -> list[dict[str, Any]]:
        """Return what `trypact tx WORDS -o jsonl` lists."""
        lines = self.command("tx", *words, "-o", "jsonl").splitlines()
        return [json.loads(line) for line in lines if line.strip()]

    def _add_coordinator(self, listen: str) -> Child:
        command = [self._trypact, "serve", "--journal", f"sqlite:///{self._folder / 'journal.db'}"]
        # Short waits, so that the show goes on; the defaults suit production.
        command += ["--attempts-until-stuck", "3", "--slow-retry", "1s", "--backoff-cap", "500ms"]
        return self.children.add("coordinator", command, listen)


def until(what: str, find: Callable[[], ValueT], timeout: float, pause: float = 0.05) -> ValueT:
    """Ask again until there is an answer that is true; return it. Raises DemoFailed."""
    gives_up_at = time.monotonic() + timeout
    rest = threading.Event()
    while not (found := find()):
        if time.monotonic() > gives_up_at:
            raise DemoFailed(f"waited {timeout:.0f} s in vain: {what}")
        rest.wait(pause)
    return found


def _find_trypact() -> str:
    beside = Path(sys.executable).with_name("trypact")
    found = str(beside) if beside.exists() else shutil.which("trypact")
    if found is None:
        raise ChildFailed("the command `trypact` is not installed: pip install trypact[shop]")
    return found
