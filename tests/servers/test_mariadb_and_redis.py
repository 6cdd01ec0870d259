"""The other throw-away servers keep their promises too."""

import pymysql
import redis

from tests.servers.mariadb import MariaDbServer
from tests.servers.redis import RedisServer


def test_each_database_of_mariadb_is_empty_and_apart(mariadb_server: MariaDbServer) -> None:
    urls = [mariadb_server.create_database() for _ in range(2)]
    names = [url.rpartition("/")[2] for url in urls]
    mariadb_server.execute(f"CREATE TABLE {names[0]}.t (n int)")

    with pymysql.connect(
        host="127.0.0.1", port=mariadb_server.port, user="root", database=names[1]
    ) as connection:
        assert connection.cursor().execute("SHOW TABLES") == 0
    for url in urls:
        mariadb_server.drop_database(url)


def test_what_redis_has_answered_survives_a_kill_and_a_start() -> None:
    server = RedisServer()
    try:
        with redis.Redis.from_url(server.url) as client:
            client.set("sellable", 3)
        server.kill()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("sellable") == b"3"
    finally:
        server.remove()
