"""A throw-away NATS server with JetStream.

Needs only the binary (Debian's `nats-server`); nothing has to be running or configured. It listens
on 127.0.0.1 and dies with the process that started it.
"""

import shutil
import tempfile
from pathlib import Path

from tests.servers.process import ServerProcess, start_on_port


class NatsNotFound(Exception):
    """No NATS: install Debian's `nats-server`, or put it on PATH."""


class NatsServer:
    """One server with its own data folder."""

    def __init__(self) -> None:
        found = shutil.which("nats-server")
        if found is None:
            raise NatsNotFound("no nats-server on PATH; install it (apt-get install nats-server)")
        self._program = found
        self._folder = Path(tempfile.mkdtemp(prefix="trypact-nats-"))
        self._process: ServerProcess | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, on the port it had before if it had one."""
        self._process, self.port = start_on_port(self._command, "Server is ready", self.port)

    def _command(self, port: int) -> list[str | Path]:
        where = ["--addr", "127.0.0.1", "--port", str(port)]
        return [self._program, "--jetstream", "--store_dir", self._folder, *where]

    def kill(self) -> None:
        """Stop it at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
