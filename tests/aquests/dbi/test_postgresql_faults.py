"""A PostgreSQL server that dies, comes late, refuses, has no room (SPEC LB-03, DB-05)."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import databases
import pytest
from projects import wait_for

import aquests
from aquests import STA_NETERR, STA_NORMAL, Scope, dbi, errors, loop, looptask
from aquests.aliases import DB_PGSQL, Aliases
from aquests.dbi import Options

Server = databases.Postgres


@pytest.fixture(scope='module')
def servers() -> Iterator[list[Server]]:
    """Two servers of this module's own, for they are killed."""
    with databases.postgres() as first, databases.postgres() as second:
        for server in (first, second):
            db = make([server])
            db.execute('CREATE TABLE numbers AS SELECT generate_series (0, 99) AS n').commit()
            db.execute('CREATE TABLE written (n int)').commit()
        aquests.shutdown(2)
        yield [first, second]


@pytest.fixture(autouse=True)
def _all_run(servers: list[Server]) -> Iterator[None]:
    yield
    aquests.shutdown(2)
    for server in servers:
        if not server._running:
            server.start()


_register = Aliases()


def make(servers: list[Server], max_conns: int = 4, name: str = '', **options: Any) -> Any:
    """The interface of an alias with these members."""
    members = [server.member for server in servers]
    name = name or f'@{"-".join(str(server.port) for server in servers)}-{max_conns}'
    _register.add(name, DB_PGSQL, members, max_conns=max_conns)
    return dbi.database(name, Options(**options), None, _register)


def ask(db: Any, number: int) -> Any:
    return db.execute('SELECT n, $1::int AS asked FROM numbers WHERE n = $1', [number])


def from_threads(count: int, work: Callable[[int], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.parametrize('together', [False, True])
def test_a_server_dies_in_the_middle_of_1000_queries(servers: list[Server], together: bool) -> None:
    """No wrong answer, nothing that hangs; what fails is an error, what comes later succeeds."""
    server = servers[0]
    outcome: Counter[str] = Counter()
    wrong: list[Any] = []
    lock = threading.Lock()
    killing = threading.Event()

    def look(number: int, task: Any) -> None:
        try:
            row = task.one()
        except errors.NetworkError:
            kind = 'lost'
        except Exception as error:
            kind = 'wrong'
            wrong.append(error)
        else:
            kind = 'right'
            if row != {'n': number, 'asked': number}:
                wrong.append((number, row))
        with lock:
            outcome[kind] += 1

    def work(thread: int) -> None:
        db = make([server])
        numbers = [(thread * 125 + i) % 100 for i in range(125)]
        if together:
            for start in range(0, 125, 25):
                tasks = [(number, ask(db, number)) for number in numbers[start : start + 25]]
                for number, task in tasks:
                    look(number, task)
                if start == 50:
                    killing.wait(20)
                time.sleep(0.02)
        else:
            for i, number in enumerate(numbers):
                look(number, ask(db, number))
                if i == 60:
                    killing.wait(20)
                time.sleep(0.002)

    threads = from_threads(8, work)
    wait_for(lambda: outcome['right'] > 100, 'the first answers')
    killing.set()
    server.kill()
    wait_for(lambda: outcome['lost'] or not any(thread.is_alive() for thread in threads), 'an error')
    server.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong
    assert sum(outcome.values()) == 1000
    assert outcome['lost']
    db = make([server])
    assert [ask(db, number).one().n for number in range(20)] == list(range(20))


def test_what_was_written_was_written_once(servers: list[Server]) -> None:
    """What may have been carried out is not sent again: each number is there once at most."""
    server = servers[0]
    done: list[int] = []
    lost: list[int] = []
    killing = threading.Event()

    def work(thread: int) -> None:
        db = make([server])
        for i in range(100):
            number = thread * 100 + i
            if i == 50:
                killing.wait(20)
            time.sleep(0.002)
            try:
                db.execute('INSERT INTO written VALUES ($1)', [number]).commit()
                done.append(number)
            except errors.NetworkError:
                lost.append(number)
                time.sleep(0.01)

    threads = from_threads(4, work)
    wait_for(lambda: len(done) > 40, 'the first')
    killing.set()
    server.kill()
    wait_for(lambda: lost, 'an error')
    server.start()
    for thread in threads:
        thread.join(30)
    rows = Counter(row.n for row in make([server]).execute('SELECT n FROM written').fetch())
    assert set(rows.values()) == {1}
    assert set(done) <= set(rows)
    assert len(done) + len(lost) == 400


def test_one_of_two_members_dies_and_reads_go_on(servers: list[Server]) -> None:
    """SPEC LB-03."""
    failed: list[Any] = []
    count = [0] * 6
    ended = threading.Event()

    def work(thread: int) -> None:
        db = make(servers)
        while not ended.is_set():
            try:
                if ask(db, count[thread] % 100).one().n != count[thread] % 100:
                    failed.append('wrong')
            except Exception as error:
                failed.append(error)
            count[thread] += 1

    threads = from_threads(6, work)
    try:
        wait_for(lambda: min(count) > 20, 'answers')
        servers[0].kill()
        at = min(count)
        wait_for(lambda: min(count) > at + 50, 'more answers')
    finally:
        ended.set()
        for thread in threads:
            thread.join(30)
    assert not failed


def test_writes_go_to_who_is_there(servers: list[Server]) -> None:
    servers[0].kill()
    db = make(servers, 3)
    before = make([servers[1]], 3).execute('SELECT count (*) AS c FROM written').one().c
    for i in range(10):
        db.execute('INSERT INTO written VALUES ($1)', [1000 + i]).commit()
        with db.transaction() as tx:
            tx.execute('INSERT INTO written VALUES ($1)', [2000 + i])
    assert make([servers[1]], 3).execute('SELECT count (*) AS c FROM written').one().c == before + 20


def test_a_server_that_is_not_there_yet(servers: list[Server], caplog: pytest.LogCaptureFixture) -> None:
    server = servers[0]
    server.kill()
    db = make([server], 3)
    for _ in range(15):
        task = ask(db, 1)
        with pytest.raises(
            errors.NetworkError, match=f'127.0.0.1:{server.port}/postgres cannot be reached'
        ) as e:
            task.fetch()
        assert not e.value.sent
        assert task.dispatch().status == STA_NETERR
        assert task.dispatch().status_code >= 700
    with pytest.raises(errors.NetworkError), db.transaction() as tx:
        tx.execute('SELECT 1')
    server.start()
    assert ask(db, 1).one().n == 1
    with db.transaction() as tx:
        assert tx.execute('SELECT 1 AS a').one().a == 1
    assert 'password' not in caplog.text


def test_a_wrong_password_is_the_drivers_error() -> None:
    with databases.postgres(password='s3cret/ä') as server:
        assert make([server], name='@right').execute('SELECT 1 AS a').one().a == 1
        server.password = 'wr0ng'
        db = make([server], name='@wrong')
        for _ in range(2):
            task = db.execute('SELECT 1')
            with pytest.raises(asyncpg.InvalidPasswordError) as caught:
                task.fetch()
            assert caught.value.http_status == 502
            assert 'wr0ng' not in str(caught.value)
            assert (task.dispatch().status, task.dispatch().status_code) == (STA_NORMAL, 500)
        assert not db._cluster.seats[0].failures
        assert db._cluster.seats[0].backend.connections.counts() == (0, 0, 0)
        aquests.shutdown(2)


def test_a_database_that_does_not_exist(servers: list[Server]) -> None:
    _register.add('@nowhere', DB_PGSQL, servers[0].member.replace('/postgres', '/nowhere'))
    db = dbi.database('@nowhere', Options(), None, _register)
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        db.execute('SELECT 1').fetch()


def test_more_connections_than_the_server_has(servers: list[Server]) -> None:
    """Those for whom there is no room fail; nobody hangs; later ones succeed."""
    db = make([servers[0]], 300)
    room = int(db.execute('SHOW max_connections').one().max_connections)
    tasks = [db.execute('SELECT $1::int AS a, pg_sleep (0.7)', [i]) for i in range(room + 40)]
    outcome: Counter[str] = Counter()
    for i, task in enumerate(tasks):
        try:
            outcome['right' if task.one().a == i else 'wrong'] += 1
        except errors.NetworkError:
            outcome['lost'] += 1
    assert not outcome['wrong']
    assert outcome['right'] > room // 2
    assert [ask(db, i).one().n for i in range(10)] == list(range(10))


def test_a_server_that_says_nothing(servers: list[Server]) -> None:
    """It takes connections, and does not answer: a timeout, and no connection is left."""
    with socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        silent.listen(8)
        _register.add(f'@silent{silent.getsockname()[1]}', DB_PGSQL, f'127.0.0.1:{silent.getsockname()[1]}')
        name = f'@silent{silent.getsockname()[1]}'
        db = dbi.database(name, Options(timeout=0.2), None, _register)
        task = db.execute('SELECT 1')
        with pytest.raises(errors.TaskTimeout) as caught:
            task.fetch()
        assert not isinstance(caught.value, errors.PoolExhausted)
        connections = db._cluster.seats[0].backend.connections
        wait_for(lambda: connections.counts() == (0, 0, 0), 'no connection')


def test_another_member_where_one_says_nothing(
    servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    from aquests.dbi import postgresql

    monkeypatch.setattr(postgresql, 'CONNECT_TIMEOUT', 0.3)
    with socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        silent.listen(8)
        name = f'@half{silent.getsockname()[1]}'
        members = [f'127.0.0.1:{silent.getsockname()[1]}', servers[0].member]
        _register.add(name, DB_PGSQL, members)
        db = dbi.database(name, Options(), None, _register)
        assert [ask(db, i).one().n for i in range(5)] == list(range(5))
        assert db._cluster.seats[0].failures == 1

        name = f'@many{silent.getsockname()[1]}'  # none waits for one connect after the other
        _register.add(name, DB_PGSQL, members, max_conns=1)
        db = dbi.database(name, Options(timeout=3), None, _register)
        tasks = [ask(db, i) for i in range(60)]
        assert [task.one().n for task in tasks] == list(range(60))


def descriptors() -> int:
    return len(os.listdir('/proc/self/fd'))


def test_a_thousand_that_fail_leave_nothing(servers: list[Server]) -> None:
    """No thread, no descriptor, no asyncio task, no connection more than there were."""
    server = servers[0]
    db, late = make([server]), make([server], timeout=0.05)
    db.execute('SELECT 1').commit()
    tasks: list[Any] = []

    def census() -> tuple[int, int, int]:
        async def count() -> int:
            return len(asyncio.all_tasks()) - 1

        running = asyncio.run_coroutine_threadsafe(count(), loop.get()).result(5)
        return threading.active_count(), descriptors(), running

    def fail() -> None:
        for i in range(200):
            scope = Scope()
            cancelled = dbi.database(db.alias.name, Options(), scope.add, _register)
            tasks.append(db.execute('SELECT 1/0'))
            tasks.append(late.execute('SELECT pg_sleep (60)'))
            tasks.append(cancelled.execute('SELECT pg_sleep (60)'))
            tasks.append(db.execute(['SELECT 1', 'SELECT * FROM nowhere']))
            tx = cancelled.transaction()
            tasks.append(looptask.Async(_begin, tx))
            scope.cancel()
            if i % 20 == 0:
                time.sleep(0.02)
        for task in tasks:
            task.dispatch(timeout=20)
        tasks.clear()
        gc.collect()

    fail()
    made = db._cluster.seats[0].backend.connections.counts
    wait_for(lambda: made()[0] == made()[1], 'all connections given back')
    aquests.Tasks(db.execute('SELECT pg_sleep (0.1)') for _ in range(4)).commit()
    wait_for(lambda: made() == (4, 4, 0), 'as many connections as there may be')
    before = census()
    fail()
    assert ask(db, 5).one().n == 5
    wait_for(lambda: made()[0] == made()[1] <= 4 and not made()[2], 'all connections given back')
    wait_for(lambda: all(a <= b for a, b in zip(census(), before, strict=True)), f'as before: {before}', 10)
    sql = "SELECT count (*) AS c FROM pg_stat_activity WHERE backend_type = 'client backend'"
    assert db.execute(sql).one().c <= 4
    aquests.shutdown(2)
    count = make([server], 1).execute(sql).one().c
    assert count == 1


async def _begin(tx: Any) -> None:
    with tx:
        await tx.execute('SELECT pg_sleep (60)')
