"""Every command, every method of redis-py's: it works, or is refused in words. Scripts, scans, builders."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import databases
import pytest
import redis
from databases import Redis
from redis.commands import CoreCommands, RedisModuleCommands, SentinelCommands

import aquests
from aquests import Task, loop
from aquests.dbi import redisrefused as refused
from aquests.errors import NetworkError, WouldBlock

Db = Callable[..., Any]

#: They end the server or its service, or hold it up.
NOT_FOR_A_TEST = {'shutdown', 'failover', 'replicaof', 'slaveof', 'debug', 'client|pause', 'migrate'}


@pytest.fixture
def db(redis_db: Any) -> Any:
    return redis_db


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    with databases.redis(tmp_path) as server:
        yield server


def on_loop(coroutine: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(coroutine, loop.get()).result(30)


# -- the server's list ------------------------------------------------------------------------------


def state(db: Any) -> dict[str, Any]:
    """What the server knows of the connection that all share."""
    info = db.execute('CLIENT INFO').fetch()
    fields = dict(field.split('=', 1) for field in info.split())
    names = ('id', 'name', 'flags', 'db', 'sub', 'psub', 'ssub', 'multi', 'watch', 'user', 'redir', 'resp')
    return {name: fields[name] for name in (*names, 'lib-name', 'lib-ver')}


def test_every_command_of_the_server(redis_of: Db, server: Redis) -> None:
    """It leaves the connection that others use too as it was, or is refused before it is sent."""
    db = redis_of(f'{server.host}:{server.port}', timeout=2)
    arity = {}
    for command in db.execute('COMMAND').fetch():
        arity[command[0].lower()] = abs(command[1])
        arity.update((each[0].lower(), abs(each[1])) for each in command[9])
    names = db.execute('COMMAND', 'LIST').fetch()
    assert len(names) > 300
    before = state(db)
    used, unused = set(), set()
    for name in sorted({name.lower() for name in names} - NOT_FOR_A_TEST):
        words = name.split('|')
        upper = ' '.join(words).upper()
        for given in ((), ('1',) * (arity[name] - len(words)), ('on',)):
            if upper in refused.COMMANDS or upper in ('WAIT', 'WAITAOF'):
                with pytest.raises(ValueError, match=re.escape(refused.COMMANDS.get(upper, 'use pipeline'))):
                    db.execute(*words, *given)
                unused.add(upper)
                break
            db.execute(*words, *given).dispatch()  # it works, or the server says why not
            used.add(upper)
            assert state(db) == before, f'{upper} changed the connection'
    known = {name.upper().replace('|', ' ') for name in names}
    assert unused == (set(refused.COMMANDS) & known) | {'WAIT', 'WAITAOF'}
    assert len(used) > 250
    assert all(len(reason) > 10 for reason in refused.COMMANDS.values())


# -- redis-py's methods -----------------------------------------------------------------------------


def methods(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith('_') and callable(getattr(cls, name))}


def calls(method: Callable[..., Any]) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """Arguments that may be right for a method."""
    parameters = inspect.signature(method).parameters.values()
    needed = [p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD][1:]
    kinds = ('1', ['1', '2'], {'a': 1}, 1, [('a', 'b')], 'ON', 'XX', ['k', {'a': 'b'}])
    extras: list[tuple[list[Any], dict[str, Any]]] = [([], {}), (['1'], {}), (['1', '2'], {})]
    extras += [([], {name: value}) for name, value in OPTIONS.items()]
    for values in itertools.product(kinds, repeat=min(len(needed), 4)):
        for more, options in extras:
            yield [*values, *['1'] * (len(needed) - 4), *more], options


#: Without one of these some methods say nothing.
OPTIONS: dict[str, Any] = {
    'direction': 'LEFT',
    'min': True,
    'member': 'a',
    'mapping': {'a': 1},
    'maxlen': 1,
    'addr': 'a',
    'idmp_maxsize': 1,
}
#: What no guess hits.
EXAMPLES = {
    'argrep': lambda db: db.argrep('a', 0, 1, [(redis.commands.core.ArrayPredicateType.EXACT, 'x')]),
    'arop': lambda db: db.arop('a', 0, 1, redis.commands.core.ArrayAggregateOperations.SUM),
    'geoadd': lambda db: db.geoadd('a', [1.0, 2.0, 'b']),
    'hotkeys_start': lambda db: db.hotkeys_start([redis.commands.core.HotkeysMetricsTypes.CPU]),
    'geosearch': lambda db: db.geosearch('a', member='b', radius=1, unit='m'),
    'geosearchstore': lambda db: db.geosearchstore('d', 'a', member='b', radius=1, unit='m'),
    'stralgo': lambda db: db.stralgo('LCS', 'a', 'b'),
    'xclaim': lambda db: db.xclaim('a', 'b', 'c', 1, ['1-1']),
    'xnack': lambda db: db.xnack('a', 'b', 'FAIL', '1-1'),
    'zmpop': lambda db: db.zmpop(1, ['a'], min=True),
    'bzmpop': lambda db: db.bzmpop(0.1, 1, ['a'], min=True),
}


def collects(pipe: Any, name: str) -> str | None:
    """Why a method neither makes a command nor is refused, if so."""
    if name in EXAMPLES:
        EXAMPLES[name](pipe)
        return None
    reasons = set()
    for args, options in calls(getattr(CoreCommands, name)):
        try:
            getattr(pipe, name)(*args, **options)
            return None
        except (ValueError, TypeError, AttributeError, KeyError, redis.DataError) as error:
            if any(str(error).startswith(f'{command}: ') for command in refused.COMMANDS):
                return None
            reasons.add(repr(error))
    return f'{name}: {sorted(reasons)[:5]}'


@pytest.mark.filterwarnings('ignore:Call to')  # some are on trial, some are out of date
def test_every_method_of_redis_pys(redis_of: Db) -> None:
    """It makes a command, or says what to use instead. (Nothing is sent.)"""
    db = redis_of('127.0.0.1:1')
    ours = methods(type(db))
    wrong = []
    for name in sorted(methods(CoreCommands) - ours):
        if name in refused.METHODS:
            with pytest.raises(AttributeError, match=r'is not to be had here: .{10}'):
                getattr(db, name)
        else:
            wrong.append(collects(db.pipeline(), name))
    assert list(filter(None, wrong)) == []


def test_every_other_method_of_redis_pys(db: Any) -> None:
    """What its client has besides commands, what modules have, what sentinels have."""
    others = methods(redis.Redis) | methods(RedisModuleCommands) | methods(SentinelCommands)
    for name in others - methods(CoreCommands):
        if name not in methods(type(db)):
            assert name in refused.METHODS, f'{name} is new: does it work?'
            with pytest.raises(AttributeError, match='is not to be had here'):
                getattr(db, name)


def test_the_tables_have_nothing_else() -> None:
    known = methods(redis.Redis) | methods(RedisModuleCommands) | methods(SentinelCommands)
    assert set(refused.METHODS) <= known


# -- connections of their own -----------------------------------------------------------------------


def test_alone(redis_of: Db, server: Redis) -> None:
    """A command that we don't know to block keeps nobody from going on."""
    db = redis_of(f'{server.host}:{server.port}', timeout=5)
    load = """#!lua name=mine
        redis.register_function ('nothing', function () return 1 end)"""
    assert db.function_load(load).fetch() == 'mine'
    common = db.client_id().fetch()
    assert db.alone.client_id().fetch() != common
    assert db.client_id().fetch() == common
    assert db.alone.raw.echo('ä').fetch() == db.raw.alone.echo('ä').fetch() == 'ä'.encode()
    assert db.alone.fcall('nothing', 0).fetch() == 1
    with db.alone.pipeline() as pipe:
        assert pipe.client_id().execute().fetch() != [common]


# -- scripts ----------------------------------------------------------------------------------------

ADD = "return {redis.call ('incrby', KEYS [1], ARGV [1]), ARGV [2]}"


def test_scripts(db: Any) -> None:
    add = db.register_script(ADD)
    db.script_flush().commit()
    for count in (5, 10):  # unknown to the server, and known
        task = add(keys=['n'], args=[5, 'ä'])
        assert isinstance(task, Task)
        assert task.fetch() == [count, 'ä']
    assert db.script_exists(add.sha).fetch() == [True]
    db.script_flush().commit()
    assert add(['n'], [1, b'\xff'], client=db.raw).fetch() == [11, b'\xff']
    assert add(['n'], [1, ''], client=db.alone).fetch() == [12, '']
    db.script_flush().commit()
    assert add(['n'], [1, ''], client=db.alone).fetch() == [13, '']
    with db.pipeline() as pipe:
        assert add(['n'], [1, ''], client=pipe) is pipe
        assert pipe.execute().fetch() == [[14, '']]
        pipe.watch('n')
        assert add(['n'], [1, ''], client=pipe).fetch() == [15, '']
    with pytest.raises(redis.ResponseError):
        db.register_script('nonsense')().fetch()
    with pytest.raises(TypeError, match='a script is a str'):
        db.register_script(1)
    assert db.register_script('return 1')().fetch() == 1


def test_a_script_and_many_members(redis_of: Db, redis_server: Redis, server: Redis, db: Any) -> None:
    """Each learns of it when it is asked."""
    at = f'{redis_server.host}:{redis_server.port}/9'
    both = redis_of([at, server.member])
    db.script_flush().commit()
    add = both.register_script(ADD)
    assert sorted(add(['n'], [1, '']).fetch()[0] for _ in range(4)) == [1, 1, 2, 2]


# -- scans ------------------------------------------------------------------------------------------


def test_scans(db: Any) -> None:
    with db.pipeline(transaction=False) as pipe:
        for number in range(500):
            pipe.set(f'key:{number}', number).hset('hash', f'ä{number}', number)
            pipe.sadd('set', number).zadd('sorted', {number: number / 2})
        pipe.execute().commit()
    keys = db.scan_iter(match='key:*', count=20)
    assert set(keys) == {f'key:{number}' for number in range(500)}
    assert len(set(keys)) == 500  # once more
    assert dict(db.hscan_iter('hash')) == {f'ä{number}': str(number) for number in range(500)}
    assert set(db.hscan_iter('hash', no_values=True)) == {f'ä{number}' for number in range(500)}
    assert set(db.raw.sscan_iter('set', count=50)) == {b'%d' % number for number in range(500)}
    assert dict(db.zscan_iter('sorted', score_cast_func=float))['3'] == 1.5
    assert list(db.sscan_iter('nothing')) == []

    async def here() -> set[str]:
        with pytest.raises(WouldBlock):
            next(iter(db.scan_iter()))
        return {key async for key in db.scan_iter(match='key:*')}

    assert len(on_loop(here())) == len(asyncio.run(here())) == 500


def test_a_scan_asks_one_member(redis_of: Db, redis_server: Redis, db: Any) -> None:
    """A cursor is a server's own."""
    at = f'{redis_server.host}:{redis_server.port}'
    other = redis_of(f'{at}/10')
    for one, name in ((db, 'a'), (other, 'b')):
        one.mset({f'{name}{number}': 1 for number in range(300)}).commit()
    try:
        both = redis_of([f'{at}/9', f'{at}/10'])
        for _ in range(4):
            found = set(both.scan_iter(count=10))
            assert len(found) == 300
            assert len({key[0] for key in found}) == 1
        with pytest.raises(TypeError, match='asks one member'):
            redis_of([f'{at}/9', f'{at}/10'], everywhere=True).scan_iter()
    finally:
        other.flushdb().commit()


def test_a_scan_and_options(redis_of: Db, redis_server: Redis, db: Any) -> None:
    """Parts are neither kept nor filtered; each has the time of a command."""
    at = f'{redis_server.host}:{redis_server.port}/9'
    other = redis_of(at, use_cache=True, filter=len)
    db.set('a', 1).commit()
    assert list(other.scan_iter()) == ['a']
    db.set('b', 1).commit()
    assert set(other.scan_iter()) == {'a', 'b'}


def test_a_bitfield(db: Any) -> None:
    assert db.bitfield('bits').set('u8', 0, 7).get('u8', 0).incrby('u8', 0, 1).execute().fetch() == [0, 7, 8]


def test_sharded_channels(db: Any) -> None:
    with db.ssubscribe('news') as channel:
        assert db.spublish('news', 'hellö').fetch() == 1
        assert channel.next(5).fetch() == {'channel': 'news', 'data': 'hellö', 'pattern': None}


def test_a_server_that_is_told_to_end(redis_of: Db, server: Redis) -> None:
    db = redis_of(server.member)
    with pytest.raises(NetworkError, match='closed the connection'):
        db.execute('SHUTDOWN', 'NOSAVE').fetch()
    assert db.ping().dispatch().status == aquests.STA_NETERR
    server.kill()
