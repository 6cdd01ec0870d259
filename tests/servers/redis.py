"""A throw-away Redis server that writes each change to disk before it answers.

Needs only the binary (Debian's `redis-server`); nothing has to be running or configured. It listens
on 127.0.0.1 and dies with the process that started it.
"""

import shutil
import tempfile
from pathlib import Path

from tests.servers.process import ServerProcess, start_on_port

_SETTINGS = {
    "bind": "127.0.0.1",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "always",
    "daemonize": "no",
}


class RedisNotFound(Exception):
    """No Redis: install Debian's `redis-server`, or put it on PATH."""


class RedisServer:
    """One server with its own data folder. `settings` are what differs from those for tests."""

    def __init__(self, **settings: str) -> None:
        if shutil.which("redis-server") is None:
            raise RedisNotFound(
                "no redis-server on PATH; install it (apt-get install redis-server)"
            )
        self._settings = {**_SETTINGS, **settings}
        self._folder = Path(tempfile.mkdtemp(prefix="trypact-redis-"))
        self._process: ServerProcess | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        """The URL of its database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, on the port it had before if it had one."""
        ready = "Ready to accept connections"
        self._process, self.port = start_on_port(self._command, ready, self.port)

    def _command(self, port: int) -> list[str | Path]:
        settings = {**self._settings, "port": str(port), "dir": str(self._folder)}
        given = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return ["redis-server", *given]

    def kill(self) -> None:
        """Stop it at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
