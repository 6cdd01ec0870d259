"""A process of ours under test: started, watched for what it says, stopped or killed.

It dies with the test run that started it. Waiting means waiting for a line of its output or for
its end, never for time to pass.
"""

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

BIN = Path(sys.executable).parent
# A bound for broken tests; what works answers long before.
SECONDS_MAX = 30.0
_STARTS_MAX = 5
# Not by preexec_fn: Python code between fork and exec crashes now and then beside gRPC's threads.
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")


class NotSaid(Exception):
    """The process ended, or the time was up, before it said what was waited for."""


class ServerProcess:
    """One process. Its stdout and stderr are read as one.

    Args:
        command: program and arguments.
        environment: added to a bare environment.
        folder: its working directory.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self._lines: list[str] = []
        self._said = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(
            [*DIES_WITH_US, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env={"PATH": f"{BIN}:/usr/bin:/bin", "PYTHONUNBUFFERED": "1", **(environment or {})},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def output(self) -> str:
        """All it has said so far."""
        with self._said:
            return "".join(self._lines)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until a line matches; return the match. Raises NotSaid."""
        seen = 0
        with self._said:
            while True:
                for line in self._lines[seen:]:
                    if found := re.search(pattern, line):
                        return found
                seen = len(self._lines)
                if self._ended or not self._said.wait(SECONDS_MAX):
                    ending = f"ended with {self._process.wait()}" if self._ended else "runs on"
                    said = "".join(self._lines)
                    raise NotSaid(f"never said {pattern!r}; {ending}; said:\n{said}")

    def wait(self) -> int:
        """Wait until it has ended; return its exit code, negative for a signal."""
        code = self._process.wait(SECONDS_MAX)
        self._reader.join(SECONDS_MAX)
        return code

    def kill(self) -> None:
        """End it as a crash does: kill -9."""
        self._process.kill()
        self.wait()

    def stop(self) -> int:
        """Ask it to stop, wait, and return its exit code."""
        self._process.terminate()
        return self.wait()

    def _read(self) -> None:
        stream = self._process.stdout
        if stream is not None:
            with stream:
                for line in stream:
                    with self._said:
                        self._lines.append(line)
                        self._said.notify_all()
        with self._said:
            self._ended = True
            self._said.notify_all()


def start_coordinator(
    journal: str,
    listen: str = "127.0.0.1:0",
    environment: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> tuple[ServerProcess, str]:
    """Start `trypact serve`; return it once it serves, with its address. Raises NotSaid."""
    command = [BIN / "trypact", "serve", "--listen", listen, "--journal", journal, *arguments]
    process = ServerProcess(command, environment)
    try:
        return process, process.wait_for(r"listening on (\S+)")[1]
    except NotSaid:
        process.kill()
        raise


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_on_port(
    command: Callable[[int], Sequence[str | Path]], ready: str, port: int = 0
) -> tuple[ServerProcess, int]:
    """Start a server on a port, or on a free one: another process may be quicker to take that.

    Args:
        command: of the server on that port.
        ready: what it says once it serves.
        port: 0 for any that is free.
    """
    for _ in range(_STARTS_MAX):
        chosen = port or free_port()
        process = ServerProcess(command(chosen))
        try:
            process.wait_for(ready)
        except NotSaid as error:
            process.kill()
            said = str(error)
        else:
            return process, chosen
    raise RuntimeError(f"the server did not start: {said}")
