"""The real `trypact` as a process."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

TRYPACT = Path(sys.executable).parent / "trypact"


class Ran:
    """How a process ended, and what it said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        assert "Traceback" not in err, err
        self.code = code
        self.out = out
        self.err = err

    @property
    def why(self) -> str:
        """The three lines of an error, joined."""
        lines = self.err.strip().splitlines()[-3:]
        assert lines[0].startswith("error: "), self.err
        assert lines[1].startswith("  why: "), self.err
        assert lines[2].startswith("   do: "), self.err
        return " ".join(lines)


def environment(server: str = "") -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TRYPACT_")}
    return kept | ({"TRYPACT_SERVER": server} if server else {})


async def start(
    *arguments: str, server: str = "", cwd: Path | None = None
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        str(TRYPACT),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(server),
        cwd=cwd,
    )


async def run(*arguments: str, server: str = "", stdin: str = "", cwd: Path | None = None) -> Ran:
    process = await start(*arguments, server=server, cwd=cwd)
    out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


class Serving:
    """`trypact serve` or `dev` that has said where it listens."""

    def __init__(self, process: asyncio.subprocess.Process, address: str, said: str) -> None:
        self.process = process
        self.address = address
        self.said = said

    async def stop(self) -> Ran:
        """Ask it to stop, as systemd does, and return how it ended."""
        self.process.send_signal(signal.SIGTERM)
        out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Ran(self.process.returncode, out.decode(), self.said + err.decode())


@contextlib.asynccontextmanager
async def serving(journal: Path, *arguments: str, command: str = "serve") -> AsyncIterator[Serving]:
    """Run a coordinator on a free port; kills it in the end if it still runs."""
    process = await start(
        command, "--listen", "127.0.0.1:0", "--journal", f"sqlite:///{journal}", *arguments
    )
    assert process.stderr is not None
    said = ""
    try:
        while not (ready := re.search(r"^listening on (\S+)$", said, re.MULTILINE)):
            line = await process.stderr.readline()
            assert line, f"it ended with {await process.wait()} after: {said}"
            said += line.decode()
        yield Serving(process, ready[1], said)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
