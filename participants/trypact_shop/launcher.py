"""Starts the shop's processes, watches them, and never leaves one behind.

Every child writes its log to a file, is ready once its log says "listening on HOST:PORT", and is
killed by the kernel when the thread that started it ends, however that ends.
"""

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType

_READY = "listening on "
# How long a child may take to start, and to end when it is asked to, in seconds.
START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0


class ChildFailed(Exception):
    """A child process did not do what it was started for."""


class Child:
    """One process, which can be started again after it died.

    Args:
        name: what people call it; its log is NAME.log.
        command: what to run; it gets `--listen` as well.
        listen: the address it serves on, if it is one that serves.
        logs: the folder for its log.
        ended: told the name when it ends.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        listen: str,
        logs: Path,
        ended: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.name = name
        self._ended = ended
        self.listen = listen
        self.command = [*command, *(["--listen", listen] if listen else [])]
        self.log = logs / f"{name}.log"
        self.endpoint = ""
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._ready = threading.Event()

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start it and wait until it listens. Raises ChildFailed."""
        self.launch(environment)
        self.wait_ready()

    def launch(self, environment: Mapping[str, str] | None = None) -> None:
        """Start it; `wait_ready` waits until it listens."""
        # Before the new reader runs: what the last run said must not be taken for this one's.
        if self._reader is not None:
            self._reader.join()
        self._ready.clear()
        self.endpoint = ""
        tether = [sys.executable, "-m", "trypact_shop.tether", str(os.getpid())]
        self._process = subprocess.Popen(  # noqa: S603 (our own commands; there is no shell)
            [*tether, *self.command],
            env=_inherited() | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # Its own session: an interrupt at the terminal is ours to pass on, in order.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def wait_ready(self) -> None:
        """Wait until it has said that it listens, even if it died right after that.

        Raises ChildFailed if it ends before, or takes too long.
        """
        in_time = self._ready.wait(START_TIMEOUT)
        if not self.endpoint:
            why = f"it ended with {self.returncode}" if in_time else "it took too long"
            raise ChildFailed(f"{self.name} did not start: {why}; see {self.log}\n{self.tail()}")

    @property
    def returncode(self) -> int | None:
        """How it ended; negative is the signal that killed it; None while it runs."""
        return None if self._process is None else self._process.poll()

    def wait_killed(self, timeout: float) -> None:
        """Wait until SIGKILL has ended it. Raises ChildFailed if something else happens."""
        if self._process is None:
            raise ChildFailed(f"{self.name} was not started")
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ChildFailed(
                f"{self.name} should have been killed by now; see {self.log}"
            ) from None
        if code != -signal.SIGKILL:
            raise ChildFailed(f"{self.name} ended with {code}, not by SIGKILL; see {self.log}")

    def command_again(self, environment: Mapping[str, str]) -> str:
        """Return the command, for a shell, that starts it again where it listened."""
        command = [*self.command]
        if self.listen and self.endpoint:
            command[-1] = self.endpoint
        settings = [f"{key}={shlex.quote(value)}" for key, value in environment.items()]
        return " ".join([*settings, shlex.join(command)])

    def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        if self._process is not None:
            self._process.kill()
            self._end()

    def stop(self) -> None:
        """Ask it to end; kill it if it does not."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._end()

    def terminate(self) -> None:
        """Ask it to end, without waiting."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _end(self) -> None:
        if self._process is not None:
            self._process.wait()
        if self._reader is not None:
            self._reader.join()

    def _read(self, process: "subprocess.Popen[str]") -> None:
        if process.stderr is None:
            return
        with process.stderr as lines, self.log.open("a") as log:
            for line in lines:
                log.write(line)
                log.flush()
                if not self._ready.is_set() and _READY in line:
                    self.endpoint = line.rpartition(_READY)[2].split()[0]
                    self._ready.set()
        process.wait()
        self._ready.set()
        self._ended(self.name)


def _inherited() -> dict[str, str]:
    """Return our environment without settings of trypact: children get theirs by flags."""
    return {key: value for key, value in os.environ.items() if not key.startswith("TRYPACT_")}


class Children:
    """All processes of one run; leaving the block stops every one of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.all: dict[str, Child] = {}
        self._ends: SimpleQueue[str] = SimpleQueue()

    def wait_any(self) -> str:
        """Wait until a child ends; return its name. Every end is told once, in order."""
        return self._ends.get()

    def add(self, name: str, command: Sequence[str], listen: str) -> Child:
        """Know a child; it is not started yet."""
        self.all[name] = Child(name, command, listen, self.logs, self._ends.put)
        return self.all[name]

    def add_participant(
        self, name: str, coordinator: str, listen: str, database: str = ""
    ) -> Child:
        """Know a participant of the shop; its database is a file in the folder by default."""
        url = database or f"sqlite:///{self.folder / name}.db"
        command = [sys.executable, "-m", f"trypact_shop.{name}"]
        command += ["--database", url, "--coordinator", coordinator]
        return self.add(name, command, listen)

    def stop(self) -> None:
        """Stop all, the last one first; those that do not end are killed."""
        for child in self.all.values():
            child.terminate()
        for child in reversed(self.all.values()):
            child.stop()

    def __enter__(self) -> "Children":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
