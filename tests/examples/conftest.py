"""Where the examples are run: a folder of their own, beside a coordinator for development."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.examples.sessions import EXAMPLES, Step
from tests.servers.mariadb import MariaDbServer
from tests.servers.nats import NatsServer
from tests.servers.process import BIN, SECONDS_MAX, ServerProcess
from tests.servers.redis import RedisServer

# What the programs show; a test's web application listens elsewhere.
PORT_SHOWN = "8000"
REDIS_SHOWN = "redis://127.0.0.1:6379"
NATS_SHOWN = "nats://127.0.0.1:4222"
POSTGRES_SHOWN = "postgresql://postgres@127.0.0.1:5432/shop"
MARIADB_SHOWN = "mysql+pymysql://root@127.0.0.1:3306/shop"
STARTED = r"[Rr]unning on http://\S+:(\d+)|is registered with the coordinator"


class Terminal:
    """Runs the commands of a session, those that end in `&` in the background."""

    def __init__(self, folder: Path, coordinator: str, servers: Mapping[str, str]) -> None:
        self._folder = folder
        self._servers = servers
        self._environment = {"TRYPACT_SERVER": coordinator}
        self._port = PORT_SHOWN
        self._background: list[ServerProcess] = []

    def run(self, step: Step) -> str:
        """Run one command, which must succeed; return what it says on stdout."""
        if step.in_background:
            self._start(step.words)
            return ""
        done = subprocess.run(
            self._local(word.replace(f":{PORT_SHOWN}", f":{self._port}") for word in step.words),
            cwd=self._folder,
            env={"PATH": f"{BIN}:/usr/bin:/bin", **self._environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS_MAX,
        )
        said = "".join(process.output for process in self._background)
        assert done.returncode == 0, f"{step}: {done.stdout}{done.stderr}{said}"
        return done.stdout

    def _start(self, words: tuple[str, ...]) -> None:
        free = ["0" if word == PORT_SHOWN else word for word in words]
        process = ServerProcess(self._local(free), self._environment, self._folder)
        self._background.append(process)
        self._port = process.wait_for(STARTED)[1] or self._port

    def _local(self, words: "Iterator[str] | list[str]") -> list[str]:
        program, *rest = (self._servers.get(word, word) for word in words)
        return [str(BIN / program) if (BIN / program).exists() else program, *rest]

    def close(self) -> None:
        """Stop what runs in the background. It must not have failed meanwhile."""
        for process in self._background:
            process.stop()
            assert "Traceback" not in process.output, process.output


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a `trypact dev`."""
    command: list[str | Path] = [
        BIN / "trypact",
        "dev",
        "--listen",
        "127.0.0.1:0",
        "--http-listen",
        "off",
    ]
    process = ServerProcess(command, folder=tmp_path_factory.mktemp("coordinator"))
    yield process.wait_for(r"listening on (\S+)")[1]
    process.kill()


@pytest.fixture
def terminal(
    tmp_path: Path,
    coordinator: str,
    redis_server: RedisServer,
    nats_server: NatsServer,
    postgres_url: str,
    mariadb_server: MariaDbServer,
) -> Iterator[Terminal]:
    """A terminal in a copy of the examples."""
    folder = tmp_path / "examples"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("*.db*", "__pycache__"))
    mariadb_url = mariadb_server.create_database()
    servers = {
        REDIS_SHOWN: redis_server.url,
        NATS_SHOWN: nats_server.url,
        POSTGRES_SHOWN: postgres_url,
        MARIADB_SHOWN: mariadb_url.replace("mysql:", "mysql+pymysql:"),
    }
    opened = Terminal(folder, coordinator, servers)
    yield opened
    opened.close()
    mariadb_server.drop_database(mariadb_url)
