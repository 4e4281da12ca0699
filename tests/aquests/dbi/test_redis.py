"""Redis (SPEC DB-06): commands, pipelines, channels, members (SPEC chapter 26), faults."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

import databases
import pytest
import redis
from databases import Redis
from hypothesis import given, settings
from hypothesis import strategies as st
from projects import wait_for

import aquests
from aquests import Scope, Task, loop
from aquests.dbi import redisbackend as backend
from aquests.dbi import redislink
from aquests.dbi.rediscommands import _LOOKS, BLOCKING
from aquests.errors import NetworkError, PoolExhausted, TaskCancelled, TaskTimeout

Db = Callable[..., Any]


@pytest.fixture
def db_of(redis_of: Db) -> Db:
    return redis_of


@pytest.fixture
def db(redis_db: Any) -> Any:
    return redis_db


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    """A server of one's own, that may be killed."""
    with databases.redis(tmp_path) as server:
        yield server


def on_loop(coroutine: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(coroutine, loop.get()).result(30)


def clients(db: Any) -> int:
    """Connections that the server has."""
    return len(db.client_list().fetch())


# -- commands ---------------------------------------------------------------------------------------


def test_commands_are_methods(db: Any) -> None:
    with db as entered:
        task1 = entered.set('foo', 'bar')
        task2 = entered.get('foo')
    assert task1.fetch() is True
    assert task2.fetch() == 'bar'
    assert db.get('nothing').fetch() is None
    assert db.incr('count').fetch() == 1
    assert db.incrby('count', 2**53).fetch() == 2**53 + 1
    assert db.hset('hash', mapping={'a': 1, 'ä': 'ö'}).fetch() == 2
    assert db.hgetall('hash').fetch() == {'a': '1', 'ä': 'ö'}
    assert db.zadd('sorted', {'one': 1.5}).fetch() == 1
    assert db.zrange('sorted', 0, -1, withscores=True).fetch() == [('one', 1.5)]
    assert db.sadd('set', 'x').fetch() == 1
    assert db.smembers('set').fetch() == {'x'}
    assert db.eval("return {1, 'two', {KEYS[1], ARGV[1]}}", 1, 'k', 'v').fetch() == [1, 'two', ['k', 'v']]
    assert db.mget('foo', 'nothing').fetch() == ['bar', None]
    assert db.set('foo', 'other', nx=True).fetch() is None


def test_a_command_by_its_words(db: Any) -> None:
    assert db.execute('SET', 'a', 1.5, 'EX', 100).fetch() == 'OK'
    assert db.execute('CONFIG GET', 'databases').fetch() == ['databases', '16']
    assert db.execute(b'config', 'get', 'databases').fetch() == ['databases', '16']
    assert db.execute('EXISTS', 'a').fetch() == 1
    with pytest.raises(TypeError, match='a command and its arguments'):
        db.execute()
    with pytest.raises(TypeError, match='name of a command'):
        db.execute(1)


def test_bytes(db: Any) -> None:
    """What is no UTF-8 can be read as str, and written back; `raw` gives bytes."""
    anything = bytes(range(256))
    db.set('bytes', anything).commit()
    text = db.get('bytes').fetch()
    assert isinstance(text, str)
    assert db.raw.get('bytes').fetch() == anything
    db.set('again', text).commit()
    assert db.raw.get('again').fetch() == anything
    assert db.raw.get(b'nothing').fetch() is None
    db.set('view', memoryview(b'\0\xff')).commit()
    assert db.raw.get('view').fetch() == b'\0\xff'
    dump = db.dump('bytes').fetch()
    assert isinstance(dump, bytes)
    db.restore('restored', 0, dump).commit()
    assert db.raw.get('restored').fetch() == anything


def test_any_value_comes_back(db: Any) -> None:
    values = st.text() | st.binary() | st.integers() | st.floats(allow_nan=False)

    @given(st.dictionaries(st.text() | st.binary(), values, min_size=1, max_size=20))
    @settings(max_examples=60, deadline=None)
    def check(values: dict[Any, Any]) -> None:
        with db.raw.pipeline() as pipe:
            for key, value in values.items():
                pipe.set(key, value)
                pipe.get(key)
            raw = pipe.execute().fetch()[1::2]
        for value, got in zip(values.values(), raw, strict=True):
            if isinstance(value, float):
                assert float(got) == value
            elif isinstance(value, int):
                assert int(got) == value
            else:
                assert got == (value if isinstance(value, bytes) else value.encode())
        for key, value in list(values.items())[-1:]:
            if isinstance(value, str):
                assert db.get(key).fetch() == value

    check()


def test_errors_are_redis_pys(db: Any) -> None:
    db.set('text', 'x').commit()
    with pytest.raises(redis.ResponseError, match='not an integer') as caught:
        db.incr('text').fetch()
    assert caught.value.http_status == 502  # type: ignore[attr-defined]
    result = db.incr('text').dispatch()
    assert (result.status, result.status_code) == (aquests.STA_NORMAL, 500)
    with pytest.raises(redis.exceptions.NoScriptError):
        db.evalsha('0' * 40, 0).fetch()
    with pytest.raises(redis.ResponseError):
        db.execute('NOSUCHCOMMAND').fetch()


def test_what_cannot_be_sent_is_refused_at_once(db: Any) -> None:
    with pytest.raises(AttributeError, match=r"'gett' is no command.*execute"):
        db.gett('x')
    with pytest.raises(AttributeError, match=r"'watch' is not to be had here: .*with db.pipeline"):
        db.watch('x')
    for wrong in (None, True, {}, []):
        with pytest.raises(redis.DataError, match='cannot be sent to Redis'):
            db.set('x', wrong)
    with pytest.raises(UnicodeEncodeError):
        db.set('x', '\ud800')
    with pytest.raises(ValueError, match='SELECT: it would change a connection that others use too'):
        db.select(1)
    with pytest.raises(ValueError, match='CLIENT REPLY'):
        db.execute('client', 'reply', 'OFF')
    with pytest.raises(ValueError, match='CLIENT REPLY'):
        db.client_reply('OFF')
    with pytest.raises(ValueError, match='use a pipeline'):
        db.execute('MULTI')
    with pytest.raises(ValueError, match='use subscribe'):
        db.execute('subscribe', 'x')


def test_what_is_known_of_commands_is_what_the_server_says(db: Any) -> None:
    """What may be sent again after a connection broke, and what blocks."""
    flags = {info[0].upper(): info[2] for info in db.execute('COMMAND').fetch()}
    wrong = {name for name in _LOOKS & flags.keys() if 'write' in flags[name]}
    assert not wrong
    unknown = {
        name for name, of in flags.items() if 'readonly' in of and 'blocking' not in of and name[0] != 'V'
    }
    assert unknown <= _LOOKS
    assert {name for name, of in flags.items() if 'blocking' in of} <= BLOCKING


def test_options(db_of: Db, redis_server: Redis, db: Any) -> None:
    """SPEC TK-13 to TK-15, CA-02."""
    member = f'{redis_server.host}:{redis_server.port}/9'
    told: list[Any] = []
    other = db_of(member, meta={'a': 1}, filter=str.upper, callback=lambda task: told.append(task.fetch()))
    db.set('foo', 'bar').commit()
    task = other.get('foo')
    assert task.fetch() == 'BAR'
    assert task.meta == {'a': 1}
    assert told == ['BAR']
    cached = db_of(member, use_cache=True)
    assert cached.get('foo').fetch() == 'bar'
    db.set('foo', 'new').commit()
    assert cached.get('foo').fetch() == 'bar'
    assert cached.raw.get('foo').fetch() == b'new'


# -- pipelines --------------------------------------------------------------------------------------


@pytest.mark.parametrize('transaction', [True, False])
def test_pipelines(db: Any, transaction: bool) -> None:
    with db.pipeline(transaction=transaction) as pipe:
        pipe.set('a', 'ä').get('a')
        pipe.incr('n')
        pipe.dump('a')
        pipe.hset('h', mapping={'x': 1})
        pipe.hgetall('h')
        pipe.execute_command('GET', 'a')
        assert len(pipe) == 7
        task = pipe.execute()
        assert len(pipe) == 0
        assert pipe.execute().fetch() == []
    assert isinstance(task, Task)
    first, second, third, dump, *rest = task.fetch()
    assert (first, second, third) == (True, 'ä', 1)
    assert isinstance(dump, bytes)
    assert rest == [1, {'x': '1'}, 'ä']


@pytest.mark.parametrize('transaction', [True, False])
def test_a_pipelines_first_error(db: Any, transaction: bool) -> None:
    def fill(pipe: Any) -> Any:
        return pipe.set('text', 'x').incr('text').set('after', '1')

    with pytest.raises(redis.ResponseError, match='not an integer') as caught:
        fill(db.pipeline(transaction)).execute().fetch()
    assert caught.value.__notes__ == ['by command 2 of the pipeline, INCRBY']
    values = fill(db.pipeline(transaction)).execute(raise_on_error=False).fetch()
    assert [type(value) for value in values] == [bool, redis.ResponseError, bool]


def test_a_transaction_that_is_refused_does_nothing(db: Any) -> None:
    with pytest.raises(redis.ResponseError, match='unknown command'):
        db.pipeline().set('a', 1).execute_command('NOSUCH').execute().fetch()
    assert db.get('a').fetch() is None


def test_transactions_are_not_mixed(db: Any) -> None:
    """All commands share a connection; nothing comes between those of a transaction."""

    def work(number: int) -> None:
        for _ in range(20):
            pipe = db.pipeline()
            for _ in range(5):
                pipe.incr('n')
            values = pipe.execute().fetch()
            assert values == list(range(values[0], values[0] + 5))

    threads = [aquests.Thread(work, number) for number in range(6)]
    for thread in threads:
        thread.fetch(timeout=30)
    assert db.get('n').fetch() == '600'


# -- commands that block ----------------------------------------------------------------------------


def test_who_blocks_disturbs_nobody(db: Any) -> None:
    waiting = db.blpop('list', timeout=0)
    for number in range(50):
        assert db.incr('n').fetch() == number + 1
    assert not waiting.done()
    db.rpush('list', 'x').commit()
    assert waiting.fetch() == ('list', 'x')
    assert db.blpop('list', timeout=0.01).fetch() is None


@pytest.mark.parametrize('how', ['cancel', 'timeout'])
def test_a_blocked_command_ends_with_its_task(db_of: Db, redis_server: Redis, db: Any, how: str) -> None:
    """Else the server would give an element to nobody."""

    def blocked() -> list[Any]:
        return [client for client in db.client_list().fetch() if client['cmd'] == 'blpop']

    member = f'{redis_server.host}:{redis_server.port}/9'
    task = db_of(member, timeout=0.3 if how == 'timeout' else 20).blpop('list', timeout=0)
    wait_for(lambda: len(blocked()) == 1, 'blocked')
    if how == 'cancel':
        task.cancel()
    with pytest.raises(TaskCancelled if how == 'cancel' else TaskTimeout):
        task.fetch()
    wait_for(lambda: not blocked(), 'let go')
    db.rpush('list', 'x').commit()
    assert db.lrange('list', 0, -1).fetch() == ['x']


def test_all_connections_in_use(db_of: Db, redis_server: Redis, db: Any) -> None:
    """SPEC LB-05."""
    member = f'{redis_server.host}:{redis_server.port}/9'
    few = db_of(member, max_conns=3, timeout=0.5)
    first, second, third = (few.blpop(f'list{number}', timeout=0) for number in range(3))
    with pytest.raises(PoolExhausted, match='all 3 connections were in use'):
        third.fetch()
    for task in (first, second):
        with pytest.raises(TaskTimeout):
            task.fetch()
    assert few.incr('n').fetch() == 1
    waits = few.blpop('list', timeout=0)
    db.rpush('list', 'x').commit()
    assert waits.fetch() == ('list', 'x')


# -- members ----------------------------------------------------------------------------------------


def test_user_and_password(db_of: Db, tmp_path: Path) -> None:
    with databases.redis(tmp_path, password='p@ss ü') as server:
        admin = db_of(server.member)
        assert admin.ping().fetch() is True
        admin.acl_setuser(
            'anna', enabled=True, passwords=['+s:cret'], keys=['*'], commands=['+@all']
        ).commit()
        at = f'{server.host}:{server.port}'
        assert db_of(f'anna:s%3Acret@{at}/3').acl_whoami().fetch() == 'anna'
        for wrong in (f'anna:no@{at}', f':no@{at}'):
            task = db_of(wrong).ping()
            with pytest.raises(redis.AuthenticationError) as caught:
                task.fetch()
            assert 's:cret' not in str(caught.value)
        with pytest.raises(redis.AuthenticationError):
            db_of(at).get('x').fetch()


def test_the_path_is_the_number_of_a_database(db_of: Db, redis_server: Redis) -> None:
    at = f'{redis_server.host}:{redis_server.port}'
    one, other = db_of(f'{at}/7'), db_of(f'{at}/8')
    one.set('where', 'seven').commit()
    assert other.get('where').fetch() is None
    one.flushdb().commit()
    with pytest.raises(redis.ResponseError, match='out of range'):
        db_of(f'{at}/99').get('x').fetch()
    with pytest.raises(ValueError, match='the number of a database'):
        db_of(f'{at}/name')


def test_weights(db_of: Db, redis_server: Redis) -> None:
    """SPEC LB-02, A-91: 2 to 1."""
    at = f'{redis_server.host}:{redis_server.port}'
    both = db_of([f'{at}/10 20', f'{at}/11 10'])
    for _ in range(10):
        for task in [both.incr('n') for _ in range(30)]:
            task.commit()
    counts = [db_of(f'{at}/{number}').get('n').fetch() for number in (10, 11)]
    for number in (10, 11):
        db_of(f'{at}/{number}').flushdb().commit()
    assert counts == ['200', '100']


def test_everywhere(db_of: Db, redis_server: Redis) -> None:
    """SPEC LB-04: also where two members have one address."""
    at = f'{redis_server.host}:{redis_server.port}'
    task = db_of([f'{at}/12', f'{at}/12'], everywhere=True).incr('n')
    assert sorted(task.fetch()) == [1, 2]
    assert [result.status for result in task.dispatch()] == [aquests.STA_NORMAL] * 2
    db_of(f'{at}/12').flushdb().commit()


def test_reads_go_on_without_a_killed_member(db_of: Db, redis_server: Redis, server: Redis) -> None:
    """SPEC LB-03."""
    at = f'{redis_server.host}:{redis_server.port}/13'
    both = db_of([at, server.member])
    for _ in range(10):
        assert both.get('x').fetch() is None
    server.kill()
    for _ in range(50):
        assert both.get('x').fetch() is None
    for number in range(50):  # not sent to the dead one, so that even these go on
        assert both.incr('n').fetch() == number + 1
    db_of(at).flushdb().commit()


def test_tls(
    db_of: Db, redis_server: Redis, tls_to: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    secure = db_of(f'localhost:{tls_to(redis_server.port)}/9', ssl=True)
    assert secure.ping().fetch() is True
    assert secure.blpop('list', timeout=0.01).fetch() is None
    with secure.pipeline() as pipe:
        pipe.watch('a')
        assert pipe.execute().fetch() == []
    with secure.subscribe('news') as channel:
        secure.publish('news', 'x').commit()
        assert channel.next(5).fetch().data == 'x'
    with pytest.raises(NetworkError, match=r"not trusted .*mismatch.* for '127\.0\.0\.1'"):
        db_of(f'127.0.0.1:{tls_to(redis_server.port)}', ssl=True).ping().fetch()
    with monkeypatch.context() as patch:
        patch.delenv('SSL_CERT_FILE')
        with pytest.raises(NetworkError, match=r'not trusted \(self-signed.*SSL_CERT_FILE names') as caught:
            db_of(f'localhost:{tls_to(redis_server.port)}', ssl=True).set('x', 'y').fetch()
    assert not caught.value.sent
    # Redis waits for more of what it takes for a command.
    monkeypatch.setattr(redislink, 'CONNECT_TIMEOUT', 0.3)
    with pytest.raises(NetworkError, match=r'cannot be reached: no answer within 0\.3 s'):
        db_of(f'localhost:{redis_server.port}', ssl=True).ping().fetch()


# -- faults -----------------------------------------------------------------------------------------


def test_a_server_that_is_not_there(db_of: Db, server: Redis) -> None:
    db = db_of(server.member)
    server.kill()
    for task in [db.set('x', 'y') for _ in range(20)]:
        with pytest.raises(NetworkError, match=f'{server.host}:{server.port}/0 cannot be reached') as caught:
            task.fetch()
        assert not caught.value.sent
        assert task.dispatch().status == aquests.STA_NETERR
    server.start()
    assert db.set('x', 'y').fetch() is True


def test_killed_and_restarted_in_the_middle(db_of: Db, server: Redis) -> None:
    """No wrong answer, no hang; failures are errors; what was confirmed is there; later ones succeed."""
    db = db_of(server.member)
    killed = threading.Event()
    errors: list[BaseException] = []
    confirmed: dict[str, str] = {}

    def work(number: int) -> None:
        for count in range(125):
            key, value = f'{number}:{count}', f'{number * 1000 + count}'
            try:
                assert db.set(key, value).fetch() is True
                confirmed[key] = value
                got = db.get(key).fetch()
                assert got == value
            except NetworkError as error:
                errors.append(error)
                killed.wait(0.01)
            if count == 40:
                killed.set()

    threads = [aquests.Thread(work, args=(number,), timeout=60) for number in range(8)]
    killed.wait(20)
    server.kill()
    server.start()
    for thread in threads:
        thread.fetch(timeout=30)
    assert errors
    assert db.set('later', 'x').fetch() is True
    for key, value in confirmed.items():
        assert db.get(key).fetch() == value


def test_nothing_is_left_of_what_failed(db_of: Db, redis_server: Redis, db: Any) -> None:
    """1,000 commands that failed, were cancelled, or whose time was up."""
    member = f'{redis_server.host}:{redis_server.port}/9'
    db.set('text', 'x').commit()
    hurried = db_of(member, timeout=0.0005)
    short = db_of(member, timeout=0.01, max_conns=4)
    hurried.ping().wait()
    short.blpop('list').wait()
    before = clients(db)
    for _ in range(50):
        tasks = [db.incr('text') for _ in range(5)]
        tasks += [hurried.get('text') for _ in range(5)]
        tasks += [db.set('other', 'y' * 1000) for _ in range(5)]
        for task in tasks[10:]:
            task.cancel()
        tasks += [short.blpop('list', timeout=0) for _ in range(5)]
        for task in tasks:
            task.wait()
            task.dispatch()
    assert db.get('text').fetch() == 'x'
    wait_for(lambda: clients(db) <= before, 'the connections are gone')

    async def others() -> int:
        return len(asyncio.all_tasks()) - 1

    wait_for(lambda: on_loop(others()) == 0, 'nothing runs')


def test_a_stopped_server(db_of: Db, server: Redis) -> None:
    """Its time is up, and later it answers those that nobody waits for; no reply goes to another command."""
    db = db_of(server.member, timeout=0.3)
    db.set('a', 'A').commit()
    pid = int(db.info('server').fetch()['process_id'])
    os.kill(pid, signal.SIGSTOP)
    try:
        tasks = [db.get('a') for _ in range(20)]
        for task in tasks:
            with pytest.raises(TaskTimeout):
                task.fetch()
    finally:
        os.kill(pid, signal.SIGCONT)
    for number in range(20):
        assert db.echo(str(number)).fetch() == str(number)


def test_a_connection_keeps_nothing_of_the_request_that_made_it(db_of: Db, redis_server: Redis) -> None:
    class Kept: ...

    kept = Kept()
    variable: ContextVar[Any] = ContextVar('variable', default=None)
    db = db_of(f'{redis_server.host}:{redis_server.port}/9')

    def work(kept: Kept) -> None:
        variable.set(kept)
        db.ping().commit()
        db.blpop('list', timeout=0.01).commit()

    copy_context().run(work, kept)
    gone = weakref.ref(kept)
    del kept
    wait_for(lambda: gc.collect() >= 0 and gone() is None, 'the request is gone')


class Fake:
    """A server that does with each connection what `behave (socket, number)` says."""

    def __init__(self, behave: Callable[[socket.socket, int], None]) -> None:
        self.behave = behave
        self.listening = socket.create_server(('127.0.0.1', 0))
        self.member = f'127.0.0.1:{self.listening.getsockname()[1]}'
        self.connections: list[socket.socket] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            connection.settimeout(10)
            self.connections.append(connection)
            connection.recv(1000)
            connection.sendall(b'+OK\r\n')
            self.behave(connection, len(self.connections))

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *error: object) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join(20)
        for connection in self.connections:
            connection.close()


def test_a_silent_connection_is_replaced(db_of: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something between us and the server forgot the connection, but takes what is sent."""
    monkeypatch.setattr(backend, 'SILENCE', 0.2)

    def behave(connection: socket.socket, number: int) -> None:
        if number > 1:
            connection.recv(1000)
            connection.sendall(b'+PONG\r\n')

    with Fake(behave) as fake:
        db = db_of(fake.member, timeout=0.4)
        with pytest.raises(TaskTimeout):
            db.ping().fetch()
        wait_for(lambda: db.ping().dispatch().status == aquests.STA_NORMAL, 'a new connection')
        assert len(fake.connections) == 2
        aquests.shutdown(1)


@pytest.mark.parametrize('answer', [b'', b'HTTP/1.1 400 Bad Request\r\n\r\n', b'$5\r\nab'])
def test_a_connection_that_breaks_in_the_middle(db_of: Db, answer: bytes) -> None:
    """Who knows whether it was done: a look is tried again, others are errors."""

    def behave(connection: socket.socket, number: int) -> None:
        connection.recv(1000)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_RDWR)

    with Fake(behave) as fake:
        db = db_of(fake.member)
        with pytest.raises(NetworkError) as caught:
            db.set('x', 1).fetch()
        assert caught.value.sent
        assert len(fake.connections) == 1
        with pytest.raises(NetworkError):
            db.get('x').fetch()
        assert len(fake.connections) == 3


def test_large_values(db: Any) -> None:
    value = 'ä' * 4_000_000
    tasks = [db.set(f'large{number}', value) for number in range(3)]
    small = db.set('small', 'x')
    assert [task.fetch() for task in (*tasks, small)] == [True] * 4
    assert db.get('large2').fetch() == value


# -- channels ---------------------------------------------------------------------------------------


def test_channels(db: Any) -> None:
    with db.subscribe('news', 'sport') as channel:
        first, second = channel.next(5), channel.next(5)
        assert db.publish('news', 'hellö').fetch() == 1
        assert db.publish('sport', b'\xff').fetch() == 1
        assert first.fetch() == {'channel': 'news', 'data': 'hellö', 'pattern': None}
        message = second.fetch()
        assert (message.channel, message.data) == ('sport', '\udcff')
        with pytest.raises(TaskTimeout, match="the next message of channel 'news', 'sport'"):
            channel.next(0.05).fetch()
        db.publish('news', 'kept').commit()
        assert channel.next(5).fetch().data == 'kept'
        waiting = channel.next()
    with pytest.raises(TaskCancelled, match='was closed'):
        waiting.fetch()
    with pytest.raises(TaskCancelled, match='was closed'):
        channel.next().fetch()
    wait_for(lambda: db.publish('news', 'x').fetch() == 0, 'nobody listens')
    channel.close()


def test_patterns_and_bytes(db: Any) -> None:
    with db.psubscribe('a.*') as channel, db.raw.subscribe('a.b') as raw:
        db.publish('a.b', 'x').commit()
        assert channel.next(5).fetch() == {'channel': 'a.b', 'data': 'x', 'pattern': 'a.*'}
        assert raw.next(5).fetch() == {'channel': b'a.b', 'data': b'x', 'pattern': None}


def test_what_nobody_asks_for_is_dropped(db: Any) -> None:
    with db.subscribe('news', limit=3) as channel:
        for number in range(10):
            db.publish('news', number).commit()
        wait_for(lambda: channel.dropped == 7, 'seven are dropped')
        assert [channel.next(5).fetch().data for _ in range(3)] == ['7', '8', '9']


def test_channels_on_an_event_loop(db: Any) -> None:
    async def listen() -> list[Any]:
        got = []
        async with db.subscribe('news') as channel:
            for number in range(3):
                await db.publish('news', number)
            async for message in channel:
                got.append(message.data)
                if len(got) == 3:
                    channel.close()
        return got

    assert on_loop(listen()) == ['0', '1', '2']
    assert asyncio.run(listen()) == ['0', '1', '2']


def test_a_channel_ends_with_its_request(db_of: Db, redis_server: Redis, db: Any) -> None:
    scope = Scope()
    member = f'{redis_server.host}:{redis_server.port}/9'
    channel = db_of(member, own=scope.add).subscribe('news')
    waiting = channel.next()
    assert db.publish('news', 'x').fetch() == 1
    waiting.fetch()
    waiting = channel.next()
    scope.cancel()
    with pytest.raises(TaskCancelled):
        waiting.fetch()
    wait_for(lambda: db.publish('news', 'x').fetch() == 0, 'nobody listens')
    assert len(scope) == 0


def test_a_channel_that_nobody_has_is_closed(db_of: Db, redis_server: Redis, db: Any) -> None:
    scope = Scope()
    member = f'{redis_server.host}:{redis_server.port}/9'
    channel = db_of(member, own=scope.add).subscribe('news')
    task = channel.next(5)
    del channel
    gc.collect()
    assert db.publish('news', 'x').fetch() == 1  # somebody still waits
    assert task.fetch().data == 'x'
    del task
    gc.collect()
    wait_for(lambda: db.publish('news', 'x').fetch() == 0, 'nobody listens')
    wait_for(lambda: len(scope) == 0, 'the request knows nothing of it')


def test_a_channel_outlives_the_servers_restart(db_of: Db, server: Redis) -> None:
    db = db_of(server.member)
    with db.subscribe('news') as channel:
        assert channel.gaps == 0
        waiting = channel.next(20)
        server.kill()
        server.start()
        wait_for(lambda: _published(db, 'again'), 'it listens again')
        assert waiting.fetch().data == 'again'
        assert channel.gaps == 1


def _published(db: Any, message: str) -> bool:
    count: int = db.publish('news', message).fetch()
    return count == 1


def test_a_channel_that_cannot_be_had(db_of: Db, server: Redis) -> None:
    db = db_of(server.member)
    db.acl_setuser('deaf', enabled=True, nopass=True, commands=['+@all'], reset_channels=True).commit()
    with pytest.raises(redis.exceptions.NoPermissionError):
        db_of(f'deaf:x@{server.host}:{server.port}').subscribe('news')
    server.kill()
    with pytest.raises(NetworkError, match='cannot be reached'):
        db.subscribe('news')

    async def listen() -> None:
        async with db.subscribe('news'):
            pass

    with pytest.raises(NetworkError):
        on_loop(listen())
    with pytest.raises(TypeError, match='names of channels'):
        db.subscribe()
    with pytest.raises(TypeError, match='one member'):
        db_of(server.member, everywhere=True).subscribe('x')


def test_shutdown_ends_all(db: Any, redis_server: Redis) -> None:
    channel = db.subscribe('news')
    message, blocked = channel.next(), db.blpop('list', timeout=0)
    db.ping().commit()
    aquests.shutdown(2)
    for task in (message, blocked):
        with pytest.raises(TaskCancelled):
            task.fetch()
    wait_for(lambda: clients(db) == 1, 'the server has one connection again')
