"""A throw-away Galera cluster: two nodes of MariaDB that both take writes.

A node locks nothing on the other. What two transactions have both changed is found out when they
commit, and the one that comes second fails there.
"""

from pathlib import Path

from tests.servers.mariadb import MariaDbNotFound, MariaDbServer
from tests.servers.process import free_port

_PROVIDERS = (Path("/usr/lib/galera/libgalera_smm.so"), Path("/usr/lib64/galera/libgalera_smm.so"))
# What a node would have written, had it left the group in that state: it need not be sent all data.
_STATE = "# GALERA saved state\nversion: 2.1\nuuid: {uuid}\nseqno: {seqno}\nsafe_to_bootstrap: 0\n"


class GaleraCluster:
    """Two nodes; `urls` are those of one empty database, on each of them."""

    def __init__(self) -> None:
        provider = next(filter(Path.exists, _PROVIDERS), None)
        if provider is None:
            raise MariaDbNotFound("no Galera library; install it (apt-get install galera-4)")
        port = free_port()
        self._first = MariaDbServer(_settings(provider, "gcomm://", port))
        status = dict(self._first.execute("SHOW STATUS LIKE 'wsrep_%'"))
        state = _STATE.format(
            uuid=status["wsrep_cluster_state_uuid"], seqno=status["wsrep_last_committed"]
        )
        self._second = MariaDbServer(
            _settings(provider, f"gcomm://127.0.0.1:{port}", free_port()),
            ready="Synchronized with group",
            files={"grastate.dat": state},
        )
        url = self._first.create_database()
        self.urls = (url, url.replace(f":{self._first.port}/", f":{self._second.port}/"))

    def remove(self) -> None:
        """Stop both and delete their data."""
        self._second.remove()
        self._first.remove()


def _settings(provider: Path, cluster: str, port: int) -> dict[str, str]:
    options = {
        "gmcast.listen_addr": f"tcp://127.0.0.1:{port}",
        "ist.recv_addr": f"127.0.0.1:{free_port()}",
        "gcache.size": "8M",
    }
    return {
        "wsrep-on": "1",
        "wsrep-provider": str(provider),
        "wsrep-cluster-address": cluster,
        "wsrep-node-address": "127.0.0.1",
        "wsrep-provider-options": ";".join(f"{name}={value}" for name, value in options.items()),
        # Each read sees what any node has committed before.
        "wsrep-sync-wait": "7",
        "binlog-format": "ROW",
        "innodb-autoinc-lock-mode": "2",
    }
