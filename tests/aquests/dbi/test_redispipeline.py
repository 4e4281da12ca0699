"""Pipelines that watch: connections of their own, given back clean whatever happens."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import databases
import pytest
import redis
from databases import Redis
from projects import wait_for

import aquests
from aquests import Scope, loop
from aquests.aliases import DB_REDIS
from aquests.dbi import redissession
from aquests.errors import NetworkError, PoolExhausted, TaskCancelled, TaskTimeout, WouldBlock
from atila import Atila
from skitai.testing import Client

Db = Callable[..., Any]


@pytest.fixture
def db(redis_db: Any) -> Any:
    return redis_db


@pytest.fixture
def member(redis_server: Redis) -> str:
    return f'{redis_server.host}:{redis_server.port}/9'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    with databases.redis(tmp_path) as server:
        yield server


def on_loop(coroutine: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(coroutine, loop.get()).result(30)


def watching(db: Any) -> int:
    """Connections of the server's that watch a key."""
    return sum(client['watch'] != '0' for client in db.client_list().fetch())


def connections(db: Any) -> set[str]:
    return {client['id'] for client in db.client_list().fetch()}


def test_nothing_is_changed_meanwhile(db: Any) -> None:
    db.set('stock', 7).commit()
    with db.pipeline() as pipe:
        assert pipe.watch('stock', b'other').done()
        left = int(pipe.get('stock').fetch())
        assert watching(db) == 1
        pipe.multi()
        assert pipe.set('stock', left - 1).get('stock') is pipe
        assert db.get('stock').fetch() == '7'
        assert pipe.execute().fetch() == [True, '6']
        # and once more
        pipe.watch('stock')
        pipe.multi()
        assert pipe.execute().fetch() == []
    assert watching(db) == 0


@pytest.mark.parametrize('by', ['another', 'itself'])
def test_a_changed_key(db: Any, by: str) -> None:
    db.set('stock', 7).commit()
    with db.pipeline() as pipe:
        pipe.watch('stock')
        (db if by == 'another' else pipe).set('stock', 3).commit()
        pipe.multi()
        pipe.set('stock', 6)
        task = pipe.execute()
        with pytest.raises(redis.WatchError, match='begin with watch again') as caught:
            task.fetch()
        assert caught.value.http_status == 409  # type: ignore[attr-defined]
        assert db.get('stock').fetch() == '3'
        pipe.watch('stock')
        pipe.multi()
        pipe.set('stock', 6)
        assert pipe.execute().fetch() == [True]


def test_the_order_of_steps(db: Any) -> None:
    with db.pipeline() as pipe:
        pipe.set('a', 1)
        with pytest.raises(redis.RedisError, match='watch comes first'):
            pipe.watch('a')
        with pytest.raises(redis.RedisError, match='multi comes once'):
            pipe.multi()
        pipe.reset()
        assert len(pipe) == 0
        with pytest.raises(TypeError, match='names of keys'):
            pipe.watch()
        pipe.watch('a')
        pipe.multi()
        for wrong in (pipe.multi, pipe.unwatch, lambda: pipe.watch('b')):
            with pytest.raises(redis.RedisError):
                wrong()
        pipe.reset()
        pipe.watch('a')
        assert pipe.unwatch().fetch() is True
        db.set('a', 2).commit()
        assert pipe.get('a').execute().fetch() == ['2']
    wait_for(lambda: watching(db) == 0, 'nothing is watched')


def test_multi_makes_a_transaction_of_any_pipeline(db: Any) -> None:
    pipe = db.pipeline(transaction=False)
    pipe.multi()
    pipe.set('a', 1).execute_command('NOSUCH')
    with pytest.raises(redis.ResponseError):
        pipe.execute().fetch()
    assert db.get('a').fetch() is None


def test_values_and_errors_as_elsewhere(db: Any) -> None:
    db.set('text', 'ä').commit()
    with db.raw.pipeline() as pipe:
        pipe.watch('text')
        assert pipe.get('text').fetch() == 'ä'.encode()
        assert pipe.execute_command('GET', 'text').fetch() == 'ä'.encode()
        with pytest.raises(redis.ResponseError, match='not an integer'):
            pipe.incr('text').fetch()
        with pytest.raises(ValueError, match='SELECT'):
            pipe.select(1)
        assert pipe.bitfield('bits').incrby('u8', 0, 3).execute().fetch() == [3]
        pipe.multi()
        pipe.get('text').bitfield('bits').incrby('u8', 0, 1).execute()
        pipe.incr('text')
        values = pipe.execute(raise_on_error=False).fetch()
        assert values[:2] == ['ä'.encode(), [4]]
        assert isinstance(values[2], redis.ResponseError)


def test_options(redis_of: Db, member: str, db: Any) -> None:
    """SPEC TK-13: as with the other commands; what is read is never a kept result."""
    db.set('a', 'x').commit()
    told: list[Any] = []
    other = redis_of(
        member, meta={'a': 1}, use_cache=True, callback=told.append, filter=lambda value: f'<{value}>'
    )
    assert other.get('a').fetch() == '<x>'
    db.set('a', 'y').commit()
    with other.pipeline() as pipe:
        assert pipe.watch('a').fetch() is True
        task = pipe.get('a')
        assert task.fetch() == '<y>'
        assert task.meta == {'a': 1}
        pipe.multi()
        assert pipe.execute().fetch() == '<[]>'
    assert len(told) == 3


def test_no_update_is_lost(redis_of: Db, member: str, db: Any) -> None:
    """Many at once, more than there are connections."""
    few = redis_of(member, max_conns=4, timeout=20)

    def increase(pipe: Any) -> None:
        value = int(pipe.get('n').fetch() or 0)
        pipe.multi()
        pipe.set('n', value + 1)

    def work() -> None:
        for _ in range(15):
            assert few.transaction(increase, 'n').fetch() == [True]

    for thread in [aquests.Thread(work, args=(), timeout=60) for _ in range(8)]:
        thread.fetch()
    assert db.get('n').fetch() == '120'
    wait_for(lambda: watching(db) == 0, 'nothing is watched')


def test_a_transaction_by_a_function(redis_of: Db, member: str, db: Any) -> None:
    tries: list[int] = []

    def once_too_late(pipe: Any) -> str:
        tries.append(1)
        if len(tries) == 1:
            db.set('a', 'other').commit()
        pipe.multi()
        pipe.get('a')
        return 'returned'

    assert db.transaction(once_too_late, 'a').fetch() == ['other']
    assert len(tries) == 2
    assert db.transaction(once_too_late, 'a', value_from_callable=True).fetch() == 'returned'

    def always_too_late(pipe: Any) -> None:
        db.incr('b').commit()
        pipe.multi()

    with pytest.raises(redis.WatchError):
        redis_of(member, timeout=0.3).transaction(always_too_late, 'b')

    def fails(pipe: Any) -> None:
        raise KeyError('mine')

    with pytest.raises(KeyError, match='mine'):
        db.transaction(fails, 'a')
    with pytest.raises(TypeError, match=r'with db.pipeline \(\) as pipe: pipe.watch'):
        db.transaction()
    wait_for(lambda: watching(db) == 0, 'nothing is watched')

    async def here() -> None:
        db.transaction(fails, 'a')

    with pytest.raises(WouldBlock):
        on_loop(here())


def test_on_an_event_loop(db: Any) -> None:
    async def work() -> Any:
        with db.pipeline() as pipe:
            await pipe.watch('n')
            value = int(await pipe.get('n') or 0)
            pipe.multi()
            pipe.set('n', value + 1)
            pipe.get('n')
            return await pipe.execute()

    assert on_loop(work()) == [True, '1']
    assert asyncio.run(work()) == [True, '2']


def test_what_blocks_and_what_counts_on_its_connection(db: Any) -> None:
    db.rpush('list', 'x').commit()
    with db.pipeline() as pipe:
        pipe.watch('n')
        assert pipe.blpop('list').fetch() == ('list', 'x')
        assert pipe.wait(0, 10).fetch() == 0
    with pytest.raises(ValueError, match=r'use pipeline \(transaction = False\)'):
        db.wait(1, 10)
    with db.pipeline(transaction=False) as pipe:
        assert pipe.set('a', 1).wait(0, 10).execute().fetch() == [True, 0]


# -- connections are given back clean ---------------------------------------------------------------


def leave(pipe: Any) -> None:
    pipe.__exit__()


def unwatch(pipe: Any) -> None:
    pipe.unwatch()


def fail(pipe: Any) -> None:
    pipe.multi()
    pipe.execute_command('NOSUCH')
    pipe.execute().dispatch()


def execute(pipe: Any) -> None:
    pipe.multi()
    pipe.execute().commit()


@pytest.mark.parametrize('how', [leave, unwatch, fail, execute])
def test_a_connection_is_used_again(redis_of: Db, member: str, db: Any, how: Callable[[Any], None]) -> None:
    """And watches nothing: what changed before is no matter to the next."""
    only = redis_of(member, max_conns=2)
    pipe = only.pipeline()
    pipe.watch('a')
    first = pipe.client_id().fetch()
    how(pipe)
    db.set('a', 1).commit()
    with only.pipeline() as other:
        other.watch('b')
        assert other.client_id().fetch() == first
        other.multi()
        other.get('a')
        assert other.execute().fetch() == ['1']


@pytest.mark.parametrize('how', ['cancel', 'timeout'])
def test_given_up_in_the_middle(redis_of: Db, member: str, db: Any, how: str) -> None:
    """The server may still be about to answer: this connection nobody gets."""
    only = redis_of(member, max_conns=2, timeout=0.4 if how == 'timeout' else 20)
    with only.pipeline() as pipe:
        pipe.watch('a')
        number = str(pipe.client_id().fetch())
        task = pipe.blpop('list', timeout=0)
        if how == 'cancel':
            wait_for(lambda: any(c['cmd'] == 'blpop' for c in db.client_list().fetch()), 'it waits')
            task.cancel()
        with pytest.raises(TaskCancelled if how == 'cancel' else TaskTimeout):
            task.fetch()
        pipe.multi()
        pipe.set('a', 1)
        with pytest.raises(TaskCancelled, match='watches no more: a step of it'):
            pipe.execute().fetch()
    wait_for(lambda: number not in connections(db), 'its connection is closed')
    assert db.get('a').fetch() is None
    with only.pipeline() as pipe:
        pipe.watch('a')
        assert pipe.execute().fetch() == []


def test_it_ends_with_its_request(redis_of: Db, member: str, db: Any) -> None:
    scope = Scope()
    mine = redis_of(member, own=scope.add)
    pipe = mine.pipeline()
    pipe.watch('a')
    pipe.multi()
    pipe.set('a', 1)
    assert watching(db) == 1
    scope.cancel()
    wait_for(lambda: watching(db) == 0, 'nothing is watched')
    with pytest.raises(TaskCancelled):
        pipe.execute().fetch()
    assert db.get('a').fetch() is None
    assert len(scope) == 0
    with pytest.raises(TaskCancelled):
        mine.pipeline().watch('a')
    wait_for(lambda: watching(db) == 0, 'nothing is watched')


def test_it_leaves_nothing_with_a_request_that_goes_on(redis_of: Db, member: str, db: Any) -> None:
    scope = Scope()
    mine = redis_of(member, own=scope.add)
    for _ in range(5):
        with mine.pipeline() as pipe:
            pipe.watch('a')
            pipe.multi()
            pipe.execute().commit()
    assert len(scope) == 0


def test_it_is_let_go_of(db: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        pipe = db.pipeline()
        pipe.watch('a')
        del pipe
        gc.collect()
    assert 'use it in a `with` block' in caplog.text
    wait_for(lambda: watching(db) == 0, 'nothing is watched')


def test_who_executes_need_not_wait(redis_of: Db, member: str, db: Any) -> None:
    """The end of the block does not stop what was begun in it."""
    for number in range(50):
        with db.pipeline() as pipe:
            pipe.watch('a')
            read = pipe.get('a')
            pipe.multi()
            pipe.set('a', number)
            task = pipe.execute()
        assert read.fetch() == (str(number - 1) if number else None)
        assert task.fetch() == [True]


def test_all_connections_in_use(redis_of: Db, member: str, db: Any) -> None:
    few = redis_of(member, max_conns=3, timeout=0.5)
    pipes = [few.pipeline() for _ in range(3)]
    for pipe in pipes[:2]:
        pipe.watch('a')
    with pytest.raises(PoolExhausted, match='all 3 connections'):
        pipes[2].watch('a')
    with pytest.raises(TaskCancelled):
        pipes[2].execute().fetch()
    for pipe in pipes:
        pipe.reset()
    with few.pipeline() as pipe:
        pipe.watch('a')
        assert pipe.execute().fetch() == []


def test_everywhere_is_refused(redis_of: Db, member: str) -> None:
    with pytest.raises(TypeError, match='keys of one member'):
        redis_of([member, member], everywhere=True).pipeline().watch('a')


# -- faults -----------------------------------------------------------------------------------------


def test_a_server_that_is_not_there(redis_of: Db, server: Redis) -> None:
    db = redis_of(server.member)
    server.kill()
    with db.pipeline() as pipe:
        with pytest.raises(NetworkError, match='cannot be reached'):
            pipe.watch('a')
        server.start()
        with pytest.raises(TaskCancelled, match=r'watches no more: .* cannot be reached'):
            pipe.set('a', 1).commit()
        assert db.get('a').fetch() is None
        pipe.watch('a')
        pipe.set('a', 1).commit()
    assert db.get('a').fetch() == '1'


def test_killed_while_it_watches(redis_of: Db, server: Redis) -> None:
    db = redis_of(server.member)
    with db.pipeline() as pipe:
        pipe.watch('a')
        server.kill()
        server.start()
        pipe.multi()
        pipe.set('a', 1)
        with pytest.raises(NetworkError):
            pipe.execute().fetch()
        assert db.get('a').fetch() is None
        pipe.watch('a')
        pipe.multi()
        pipe.set('a', 2)
        assert pipe.execute().fetch() == [True]


def test_watches_another_member(redis_of: Db, member: str, server: Redis, db: Any) -> None:
    both = redis_of([server.member, member])
    server.kill()
    for _ in range(4):
        with both.pipeline() as pipe:
            pipe.watch('a')
            pipe.multi()
            pipe.incr('a')
            pipe.execute().commit()
    assert db.get('a').fetch() == '4'


def test_who_may_not(redis_of: Db, server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whose rights end in the middle leaves nothing to others either."""
    admin = redis_of(server.member)
    at = f'{server.host}:{server.port}'
    for name, denied in (
        ('nowatch', '-watch'),
        ('nounwatch', '-unwatch'),
        ('nomulti', '-multi'),
        ('noexec', '-exec'),
    ):
        admin.acl_setuser(
            name, enabled=True, passwords=['+x'], keys=['*'], commands=['+@all', denied]
        ).commit()
    with pytest.raises(redis.exceptions.NoPermissionError):
        redis_of(f'nowatch:x@{at}').pipeline().watch('a')
    pipe = redis_of(f'nounwatch:x@{at}').pipeline()
    pipe.watch('a')
    pipe.unwatch()
    wait_for(lambda: watching(admin) == 0, 'its connection is closed')
    for name in ('nomulti', 'noexec'):
        denied = redis_of(f'{name}:x@{at}')
        pipe = denied.pipeline()
        pipe.watch('a')
        pipe.multi()
        with pytest.raises(redis.ResponseError, match='no permissions'):
            pipe.set('b', 1).execute().fetch()
        wait_for(lambda: watching(admin) == 0, 'nothing is watched')
        with pytest.raises(redis.ResponseError, match='no permissions'):
            denied.pipeline().set('b', 1).execute().fetch()
        assert denied.echo('x').fetch() == 'x'


def test_nothing_is_left_of_what_failed(redis_of: Db, member: str, db: Any) -> None:
    db.set('text', 'x').commit()
    hurried, few = redis_of(member, timeout=0.003), redis_of(member, max_conns=3)
    for number in range(60):
        for one in (hurried, few):
            pipe = one.pipeline()
            try:
                pipe.watch('text')
                task = pipe.incr('text')
                if number % 3:
                    task.cancel()
                pipe.multi()
                pipe.incr('text')
                pipe.execute().dispatch()
            except aquests.errors.TaskError:
                pass
            finally:
                pipe.reset()
    wait_for(lambda: watching(db) == 0, 'nothing is watched')
    wait_for(lambda: not redissession._running, 'nothing is being brought in order')
    with few.pipeline() as pipe:
        pipe.watch('text')
        assert pipe.get('text').fetch() == 'x'
    aquests.shutdown(2)
    wait_for(lambda: len(connections(db)) == 1, 'the server has one connection again')


# -- in a service -----------------------------------------------------------------------------------


def test_in_services_of_all_forms(client_for: Callable[..., Client], member: str, db: Any) -> None:
    app = Atila(__name__)
    app.alias('@redis', DB_REDIS, member)

    @app.route('/plain')
    def plain(was: Any) -> Any:
        with was.db('@redis') as redis_db, redis_db.pipeline() as pipe:
            pipe.watch('n')
            count = int(pipe.get('n').fetch() or 0)
            pipe.multi()
            pipe.set('n', count + 1)
            pipe.get('n')
            return was.API(values=pipe.execute().fetch())

    @app.route('/yields', coroutine=True)
    def yields(was: Any) -> Any:
        with was.db('@redis').pipeline() as pipe:
            yield pipe.watch('n')
            task = yield pipe.get('n')
            count = int(task.fetch() or 0)
            pipe.multi()
            pipe.set('n', count + 1).get('n')
            task = yield pipe.execute()
            return was.API(values=task.fetch())

    @app.route('/awaits')
    async def awaits(was: Any) -> Any:
        with was.db('@redis').pipeline() as pipe:
            await pipe.watch('n')
            count = int(await pipe.get('n') or 0)
            pipe.multi()
            pipe.set('n', count + 1).get('n')
            return was.API(values=await pipe.execute())

    @app.route('/conflict')
    def conflict(was: Any) -> Any:
        with was.db('@redis').pipeline() as pipe:
            pipe.watch('n')
            was.db('@redis').incr('n').commit()
            pipe.multi()
            return was.API(values=pipe.execute().fetch())

    @app.route('/blocked', timeout=0.3)
    def blocked(was: Any) -> Any:
        pipe = was.db('@redis').pipeline()
        pipe.watch('n')
        pipe.blpop('list', timeout=0).fetch()
        raise AssertionError('not reached')

    @app.route('/forgotten')
    def forgotten(was: Any) -> str:
        pipe = was.db('@redis').pipeline()
        pipe.watch('n')
        return 'the request has ended'

    client = client_for(app)
    for number, path in enumerate(['/plain', '/yields', '/awaits'], 1):
        assert client.get(path).json() == {'values': [True, str(number)]}
    assert client.get('/conflict').status_code == 409
    assert client.get('/blocked').status_code == 503
    wait_for(lambda: watching(db) == 0, 'nothing is watched')
    assert client.get('/forgotten').text == 'the request has ended'
    wait_for(lambda: watching(db) == 0, 'nothing is watched')
    db.rpush('list', 'x').commit()
    assert db.lrange('list', 0, -1).fetch() == ['x']
