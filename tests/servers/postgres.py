"""A throw-away PostgreSQL server: initdb and start take half a second, a database some 10 ms.

Needs only the binaries of PostgreSQL (Debian's package is enough); nothing has to be running or
configured. It listens on 127.0.0.1 and dies with the process that started it. PostgreSQL refuses
to run as root, so under root it runs as another user.
"""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import psycopg

from tests.servers.process import free_port

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "32MB",
    # Nothing here outlives the machine, only the process.
    "fsync": "off",
    "full_page_writes": "off",
    # Statistics that appear by themselves would make query plans depend on the time.
    "autovacuum": "off",
    "log_min_messages": "warning",
    "timezone": "UTC",
}
# `locked` is a role for tests of wrong passwords; everybody else is trusted.
_HBA = """\
host  all locked 127.0.0.1/32 scram-sha-256
host  all all    127.0.0.1/32 trust
local all all                 trust
"""
_END_SESSIONS = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{}'"
_EMPTY = r"""
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT nspname FROM pg_namespace
        WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\_%'
    LOOP EXECUTE format('DROP SCHEMA %I CASCADE', name); END LOOP;
    CREATE SCHEMA public;
END $$
"""
_READY = "database system is ready to accept connections"
_STARTS_MAX = 5
_START_SECONDS_MAX = 30
# It must not outlive a test run that was killed. Not by preexec_fn: Python code between fork and
# exec crashes now and then beside gRPC's threads.
_DIES_WITH_US = ("setpriv", "--pdeathsig", "QUIT", "--")


class PostgresNotFound(Exception):
    """No PostgreSQL binaries: install Debian's `postgresql` package, or put them on PATH."""


def find_binaries() -> Path:
    """Return the folder that holds `initdb` and `postgres`. Raises PostgresNotFound."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(installed, key=lambda folder: int(folder.parent.name), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise PostgresNotFound(
        "no PostgreSQL binaries on PATH or in /usr/lib/postgresql/*/bin; "
        "install them (apt-get install postgresql) or put them on PATH"
    )


class PostgresServer:
    """One server with its own data folder; `create_database` gives a fresh URL each time.

    Args:
        settings: what differs from the settings for tests; benchmarks turn fsync on, for example.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._binaries = find_binaries()
        self._settings = {**_SETTINGS, **(settings or {})}
        self._user = _other_user() if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="trypact-pg-"))
        self._data = self._folder / "data"
        self._process: subprocess.Popen[str] | None = None
        self._log: deque[str] = deque(maxlen=200)
        self._numbers = itertools.count(1)
        self._empty: list[str] = []
        self.port = 0
        self._initdb()
        self.start()

    @property
    def admin_url(self) -> str:
        """The URL of the server's own database."""
        return self.url("postgres")

    @property
    def pid(self) -> int | None:
        """The process id of the server, parent of all its processes; None while it is stopped."""
        return self._process.pid if self._process is not None else None

    def url(self, database: str, user: str = "postgres", password: str = "") -> str:
        """Return the URL of a database."""
        who = f"{user}:{password}" if password else user
        return f"postgresql://{who}@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, throwing out whoever is connected."""
        self.execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def lend_database(self) -> str:
        """Return the URL of an empty database, one that was given back if there is one."""
        return self.url(self._empty.pop()) if self._empty else self.create_database()

    def give_back(self, url: str) -> None:
        """Empty a database for the next one; that is twenty times faster than a new one."""
        name = url.rpartition("/")[2]
        try:
            self.execute(_END_SESSIONS.format(name))
            self.execute(f"ALTER DATABASE {name} RESET ALL")
            with psycopg.connect(self.url(name), autocommit=True) as connection:
                connection.execute(_EMPTY)
        except psycopg.Error:
            # A test stopped the server or did away with the database.
            return
        self._empty.append(name)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement on the server's own database; return its rows, if it has any."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start it, on the port it had before if it had one."""
        for _ in range(_STARTS_MAX):
            fixed = self.port != 0
            port = self.port or free_port()
            if self._start_on(port):
                self.port = port
                return
            if fixed:
                break
        raise RuntimeError("PostgreSQL did not start:\n" + "".join(self._log))

    def stop(self) -> None:
        """Stop it cleanly; the data stays."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Stop it at once, as a crash does (its own crash recovery runs at the next start)."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _initdb(self) -> None:
        self._folder.chmod(0o755)
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        command = [self._binaries / "initdb", "-D", self._data, "-U", "postgres", "-A", "trust"]
        done = subprocess.run(
            [*command, "--no-sync", "--no-locale", "-E", "UTF8"],
            **self._as_user(),
            capture_output=True,
            text=True,
            cwd=self._folder,
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")
        (self._data / "pg_hba.conf").write_text(_HBA)

    def _start_on(self, port: int) -> bool:
        settings = {
            **self._settings,
            "port": str(port),
            "unix_socket_directories": str(self._folder),
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        process = subprocess.Popen(
            [*_DIES_WITH_US, self._binaries / "postgres", "-D", self._data, *options],
            **self._as_user(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._folder,
            start_new_session=True,
        )
        ready, ended = threading.Event(), threading.Event()
        reader = threading.Thread(target=self._read_log, args=(process, ready, ended), daemon=True)
        reader.start()
        if not ready.wait(_START_SECONDS_MAX) or ended.is_set():
            process.kill()
            process.wait()
            return False
        self._process = process
        return True

    def _read_log(
        self, process: "subprocess.Popen[str]", ready: threading.Event, ended: threading.Event
    ) -> None:
        stderr = process.stderr
        if stderr is not None:
            with stderr:
                for line in stderr:
                    self._log.append(line)
                    if _READY in line:
                        ready.set()
        if not ready.is_set():
            ended.set()
            ready.set()

    def _end(self, by: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(by)
            self._process.wait()
            self._process = None

    def _as_user(self) -> dict[str, object]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}


def _other_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("PostgreSQL refuses to run as root, and there is no user to run it as")
