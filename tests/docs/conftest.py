"""A reader's desk: an empty folder, a coordinator, and terminals."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import Block, files
from tests.servers.process import BIN, SECONDS_MAX, ServerProcess

# The address the pages show; a test's coordinator listens elsewhere.
SHOWN = "127.0.0.1:7000"
ASKED_MAX = 50


class Desk:
    """Where a reader follows a page to the letter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = "127.0.0.1:0"
        # What this reader has exported.
        self.exported: dict[str, str] = {}
        self._open: list[ServerProcess] = []

    def save(self, blocks: list[Block]) -> None:
        """Save the files that blocks show; start the coordinator first."""
        for name, text in files(blocks).items():
            # Any free port will do for a participant, since it registers where it is.
            text = re.sub(r"127\.0\.0\.1:70[12]\d", "127.0.0.1:0", text)
            (self.folder / name).write_text(text.replace(SHOWN, self.address))

    def terminal(self, line: str, ready: str) -> ServerProcess:
        """Run a command in a terminal of its own; return once it has said what is expected."""
        process = ServerProcess(self._words(line), self._environment(), self.folder)
        self._open.append(process)
        process.wait_for(ready)
        return process

    def start_coordinator(self) -> ServerProcess:
        """`trypact dev`, at the same address each time."""
        command = f"trypact dev --listen {self.address} --http-listen off"
        process = self.terminal(command, r"listening on \S+")
        self.address = process.wait_for(r"listening on (\S+)")[1]
        return process

    def run(self, line: str) -> str:
        """Run a command, which must succeed; return what it says on stdout."""
        done = self._run(line)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout

    def run_until(self, line: str, says: str) -> None:
        """Run a command again and again, as an impatient reader would, until it says that."""
        for _ in range(ASKED_MAX):
            if says in " ".join((done := self._run(line)).stdout.split()):
                return
        raise AssertionError(f"{line} never said {says!r}, but: {done.stdout}{done.stderr}")

    def _run(self, line: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self._words(line),
            cwd=self.folder,
            env={"PATH": f"{BIN}:/usr/bin:/bin", **self._environment()},
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS_MAX,
        )

    def close(self) -> None:
        for process in self._open:
            process.kill()

    def _words(self, line: str) -> list[str]:
        words = shlex.split(line.replace(SHOWN, self.address))
        return [str(BIN / words[0]), *words[1:]]

    def _environment(self) -> dict[str, str]:
        return {"TRYPACT_SERVER": self.address, **self.exported}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """An empty desk."""
    made = Desk(tmp_path)
    yield made
    made.close()
