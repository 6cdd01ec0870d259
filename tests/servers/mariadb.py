"""A throw-away MariaDB server: it is there within a second, a database of it at once.

Needs only the binaries (Debian's `mariadb-server`); nothing has to be running or configured. It
listens on 127.0.0.1, lets everybody in, and dies with the process that started it. It refuses to
run as root, so under root it runs as another user.
"""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pymysql

from tests.servers.process import DIES_WITH_US, NotSaid, ServerProcess, free_port

_SETTINGS = {
    "bind-address": "127.0.0.1",
    "max-connections": "100",
    "innodb-buffer-pool-size": "32M",
    "innodb-log-file-size": "8M",
    # Nothing here outlives the machine, only the process.
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-doublewrite": "0",
    "innodb-use-native-aio": "0",
    # Longer than any test holds a lock, shorter than anybody waits for a broken one.
    "innodb-lock-wait-timeout": "15",
}
_FLAGS = ("--skip-grant-tables", "--skip-name-resolve", "--skip-log-bin")
_STARTS_MAX = 5


class MariaDbNotFound(Exception):
    """No MariaDB binaries: install Debian's `mariadb-server`, or put `mariadbd` on PATH."""


def find_binary(name: str) -> Path:
    """Return the path of one of MariaDB's programs. Raises MariaDbNotFound."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise MariaDbNotFound(
            f"no {name} on PATH or in /usr/sbin; install it (apt-get install mariadb-server)"
        )
    return Path(found)


class MariaDbServer:
    """One server with its own data folder; `create_database` gives a fresh URL each time.

    Args:
        settings: what differs from the settings for tests.
        ready: what it says, as a pattern, once it can be used.
        files: text files that are in its data folder before it starts.
    """

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        ready: str = "ready for connections",
        files: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = {**_SETTINGS, **(settings or {})}
        self._ready = ready
        server, install = find_binary("mariadbd"), find_binary("mariadb-install-db")
        self._folder = Path(tempfile.mkdtemp(prefix="trypact-mariadb-"))
        self._folder.chmod(0o755)
        self._as_user: tuple[str, ...] = ()
        if os.geteuid() == 0:
            user = _other_user()
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            # Whoever changes its user loses what makes it die with us, so it is said once more.
            who = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
            self._as_user = (DIES_WITH_US[0], *who, *DIES_WITH_US[1:])
        self._command = (str(server), "--no-defaults", f"--datadir={self._folder / 'data'}")
        self._numbers = itertools.count(1)
        self._process: ServerProcess | None = None
        self.port = 0
        self._install(install)
        for name, content in (files or {}).items():
            file = self._folder / "data" / name
            file.write_text(content)
            shutil.chown(file, (self._folder / "data").owner())
        self._start()

    @property
    def pid(self) -> int:
        """The process id of the server."""
        if self._process is None:
            raise RuntimeError("the server is stopped")
        return self._process.pid

    def create_database(self) -> str:
        """Create an empty database and return its URL, without a driver's name in it."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return f"mysql://root@127.0.0.1:{self.port}/{name}"

    def drop_database(self, url: str) -> None:
        """Drop a database."""
        self.execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]}")

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement outside of any database; return its rows, if it has any."""
        with (
            pymysql.connect(host="127.0.0.1", port=self.port, user="root") as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
            return list(cursor.fetchall())

    def remove(self) -> None:
        """Stop it and delete its data."""
        if self._process is not None:
            self._process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _install(self, install: Path) -> None:
        command = [str(install), *self._command[1:], "--skip-test-db", "--innodb-log-file-size=8M"]
        done = subprocess.run([*self._as_user, *command], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"mariadb-install-db failed:\n{done.stdout}{done.stderr}")

    def _start(self) -> None:
        for _ in range(_STARTS_MAX):
            self.port = free_port()
            settings = {
                **self._settings,
                "port": str(self.port),
                "socket": str(self._folder / "socket"),
                "pid-file": str(self._folder / "pid"),
                "tmpdir": str(self._folder),
            }
            given = [f"--{name}={value}" for name, value in settings.items()]
            self._process = ServerProcess([*self._as_user, *self._command, *_FLAGS, *given])
            try:
                self._process.wait_for(self._ready)
                return
            except NotSaid as error:
                self._process.kill()
                said = str(error)
        raise RuntimeError(f"MariaDB did not start: {said}")


def _other_user() -> pwd.struct_passwd:
    for name in ("mysql", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("MariaDB refuses to run as root, and there is no user to run it as")
