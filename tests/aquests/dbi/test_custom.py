"""Database interfaces of one's own (SPEC DB-08)."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import socket
import sqlite3
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any, ClassVar

import pytest
from projects import wait_for

import aquests
from aquests import Record
from aquests.aliases import PORTS, Aliases
from aquests.dbi import Options, _kinds, add_database_interface, asynmongo, asynpsycopg2, asynredis, database
from aquests.errors import NetworkError, PoolExhausted, TaskTimeout
from aquests.sql import SQLITE

Db = Callable[..., Any]
_numbers = itertools.count()


@pytest.fixture
def db_of() -> Iterator[Db]:
    """`db_of (cls, members, max_conns, ssl, **options)`: an interface of a type with that class."""
    register = Aliases()
    added: list[str] = []

    def make(
        cls: Any, members: Any = 'localhost:9000', max_conns: int = 32, ssl: bool = False, **options: Any
    ) -> Any:
        added.append(f'*own{next(_numbers)}')
        name = f'@{added[-1][1:]}'
        add_database_interface(added[-1], cls)
        register.add(name, added[-1], members, max_conns=max_conns, ssl=ssl)
        return database(name, Options(**options), None, register)

    yield make
    for name in added:
        del _kinds[name], PORTS[name]


class LineServer:
    """Answers each line with the line, in capitals; `quit` with the end of the connection."""

    def __init__(self) -> None:
        self.listening = socket.create_server(('127.0.0.1', 0))
        self.address = f'127.0.0.1:{self.listening.getsockname()[1]}'
        self.open = 0
        self.total = 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            self.total += 1
            self.open += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile('rw') as file:
            for line in file:
                if line == 'quit\n':
                    break
                file.write(line.upper())
                file.flush()
        self.open -= 1

    def stop(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()


@pytest.fixture
def line_server() -> Iterator[LineServer]:
    server = LineServer()
    yield server
    server.stop()
    aquests.shutdown(1)
    wait_for(lambda: server.open == 0, 'all connections are closed')


class Blocking(asynredis.AsynConnect):
    """Asks a LineServer, on a thread."""

    def connect(self) -> None:
        self.socket = socket.create_connection(self.address, 5)
        self.file = self.socket.makefile('rw')

    def execute(self, request: Any) -> None:
        words = ' '.join((request.method, *map(str, request.params), *map(str, request.options.values())))
        self.file.write(words + '\n')
        self.file.flush()
        answer = self.file.readline()
        if not answer:
            raise EOFError('the server hung up')
        request.handle_result(None, None, answer.rstrip('\n'))

    def close(self) -> None:
        if hasattr(self, 'file'):
            self.file.close()
            self.socket.close()


class Asynchronous(asynredis.AsynConnect):
    """The same on the event loop."""

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(*self.address)

    async def execute(self, request: Any) -> None:
        words = ' '.join((request.method, *map(str, request.params), *map(str, request.options.values())))
        self.writer.write(words.encode() + b'\n')
        answer = await self.reader.readline()
        if not answer:
            raise EOFError('the server hung up')
        request.handle_result(None, None, answer.decode().rstrip('\n'))

    async def close(self) -> None:
        if hasattr(self, 'writer'):
            self.writer.close()


@pytest.fixture(params=[Blocking, Asynchronous])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_tls_is_the_connections_affair(
    db_of: Db, line_server: LineServer, tls_to: Callable[[int], int]
) -> None:
    """It is told what the alias asks for."""

    class Secure(Blocking):
        def connect(self) -> None:
            super().connect()
            if self.ssl:
                context = ssl.create_default_context()
                self.socket = context.wrap_socket(self.socket, server_hostname=self.address[0])
                self.file.close()
                self.file = self.socket.makefile('rw')

    port = int(line_server.address.rpartition(':')[2])
    assert db_of(Secure, f'localhost:{tls_to(port)}', ssl=True).echo('x').fetch() == 'ECHO X'
    assert db_of(Secure, line_server.address).echo('x').fetch() == 'ECHO X'
    untold = type('Untold', (Secure,), {'__init__': lambda self: None})
    assert db_of(untold, f'localhost:{tls_to(port)}', ssl=True).echo('x').fetch() == 'ECHO X'


# -- the style of Redis -----------------------------------------------------------------------------


def test_any_method_is_a_request(db_of: Db, line_server: LineServer, kind: Any) -> None:
    with db_of(kind, line_server.address) as db:
        assert db.set('foo', 1, key='bar').fetch() == 'SET FOO 1 BAR'
        assert db.execute('query', 'x').fetch() == 'QUERY X'
        tasks = [db.echo(number) for number in range(20)]
    assert [task.fetch() for task in tasks] == [f'ECHO {number}' for number in range(20)]
    with pytest.raises(AttributeError):
        db._private  # noqa: B018


def test_connections_are_pooled(db_of: Db, line_server: LineServer, kind: Any) -> None:
    db = db_of(kind, line_server.address, max_conns=3)
    for _ in range(5):
        db.echo('x').commit()
    assert line_server.total == 1
    for task in [db.echo(number) for number in range(30)]:
        task.commit()
    assert line_server.total <= 3


def test_a_connection_that_broke_is_replaced(db_of: Db, line_server: LineServer, kind: Any) -> None:
    db = db_of(kind, line_server.address)
    db.echo(1).commit()
    with pytest.raises(NetworkError, match='the server hung up') as caught:
        db.quit().fetch()
    assert caught.value.sent
    assert db.echo(2).fetch() == 'ECHO 2'
    assert line_server.total == 2


def test_a_server_that_is_not_there(db_of: Db, line_server: LineServer, kind: Any) -> None:
    """Another member is tried (SPEC LB-03)."""
    with socket.create_server(('127.0.0.1', 0)) as nobody:
        dead = f'127.0.0.1:{nobody.getsockname()[1]}'
    with pytest.raises(NetworkError, match=f'{dead} cannot be reached') as caught:
        db_of(kind, dead).echo(1).fetch()
    assert not caught.value.sent
    both = db_of(kind, [dead, line_server.address])
    assert [both.echo(number).fetch() for number in range(4)] == [f'ECHO {number}' for number in range(4)]


def test_everywhere(db_of: Db, line_server: LineServer, kind: Any) -> None:
    """SPEC LB-04."""
    db = db_of(kind, [line_server.address, line_server.address], everywhere=True)
    assert db.echo('x').fetch() == ['ECHO X', 'ECHO X']


def test_what_an_instance_is_given(db_of: Db) -> None:
    made: list[Any] = []

    class Four(asynredis.AsynConnect):
        def __init__(self, address: Any, params: Any, lock: Any, logger: Any) -> None:
            super().__init__(address, params, lock, logger)
            made.append((address, params, lock, logger))

        def connect(self) -> None: ...

        def execute(self, request: Any) -> None:
            request.handle_result(None, None, [self.address, self.params, request.timeout])

    class Nothing(Four):
        def __init__(self) -> None:
            made.append((self.address, self.params, self.lock, self.logger))

    for cls in (Four, Nothing):
        db = db_of(cls, 'user:p%40ss@db.example.com:9000/path/to', timeout=7)
        address, params, left = db.ask().fetch()
        assert (address, params) == (('db.example.com', 9000), ('path/to', ('user', 'p@ss')))
        assert 6 < left <= 7
        assert made[-1][:2] == (address, params)
        with made[-1][2], made[-1][2]:  # an RLock
            assert isinstance(made[-1][3], logging.Logger)


def test_the_documented_example(db_of: Db) -> None:
    """It can be registered; used, it says what is missing."""

    class MyDBI(asynredis.AsynConnect):
        def __init__(self) -> None: ...

    with pytest.raises(NotImplementedError, match=r'MyDBI must have a method connect \(self\)'):
        db_of(MyDBI).anything().fetch()


# -- reports ----------------------------------------------------------------------------------------


class Reports(asynredis.AsynConnect):
    """Reports as its methods are called."""

    connections: ClassVar[list[Any]] = []

    def connect(self) -> None:
        self.connections.append(self)

    def execute(self, request: Any) -> None:
        if request.method == 'later':
            threading.Timer(0.05, request.handle_result, (None, None, request.params[0])).start()
        elif request.method == 'twice':
            request.handle_result(None, None, 1)
            request.handle_result(None, ValueError('no'), 2)
        elif request.method == 'then_raises':
            request.handle_result(None, None, 1)
            raise ValueError('too late')
        elif request.method == 'raises':
            raise ZeroDivisionError('by itself')
        elif request.method == 'fails':
            request.handle_result(None, request.params[0], None)
        elif request.method == 'hangs':
            request.params[0].wait(20)


def test_reports(db_of: Db, caplog: pytest.LogCaptureFixture) -> None:
    db = db_of(Reports)
    assert [task.fetch() for task in [db.later(number) for number in range(5)]] == list(range(5))
    assert db.twice().fetch() == 1
    assert 'reported more than once' in caplog.text
    caplog.clear()
    assert db.then_raises().fetch() == 1
    assert 'reported more than once' in caplog.text
    with pytest.raises(ZeroDivisionError, match='by itself') as caught:
        db.raises().fetch()
    assert caught.value.http_status == 502  # type: ignore[attr-defined]
    with pytest.raises(KeyError):
        db.fails(KeyError('x')).fetch()
    with pytest.raises(KeyError):
        db.fails(KeyError).fetch()
    with pytest.raises(TypeError, match='an exception or None'):
        db.fails('text').fetch()
    with pytest.raises(NetworkError, match='reset'):
        db.fails(ConnectionResetError('reset')).fetch()


def test_who_never_reports_runs_out_of_time(db_of: Db, gate: threading.Event) -> None:
    Reports.connections.clear()
    db = db_of(Reports, timeout=0.2)
    with pytest.raises(TaskTimeout):
        db.nothing().fetch()
    with pytest.raises(TaskTimeout):
        db.hangs(gate).fetch()
    assert db.twice().fetch() == 1
    assert len(Reports.connections) == 3, 'who knows what goes on there: it is not used again'


def test_all_connections_in_use(db_of: Db, gate: threading.Event) -> None:
    """SPEC LB-05."""
    db = db_of(Reports, max_conns=1, timeout=2)
    longer, short = db.hangs(gate), type(db)(db.alias, db._cluster, Options(timeout=0.2)).twice()
    with pytest.raises(PoolExhausted, match='all 1 connections were in use'):
        short.fetch()
    gate.set()
    longer.cancel()
    assert db.twice().fetch() == 1


def test_a_connection_that_is_not_usable_is_not_used(db_of: Db) -> None:
    class Once(Reports):
        def usable(self) -> bool:
            return False

    Reports.connections.clear()
    db = db_of(Once)
    for _ in range(3):
        assert db.twice().fetch() == 1
    assert len(Reports.connections) == 3


def test_close_that_fails_or_hangs(
    db_of: Db, gate: threading.Event, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aquests.dbi import custom

    monkeypatch.setattr(custom, 'CLOSE_TIMEOUT', 0.1)

    class Fails(Reports):
        def close(self) -> None:
            raise ValueError('not now')

    class Hangs(Reports):
        def close(self) -> None:
            gate.wait(20)

    for cls in (Fails, Hangs):
        assert db_of(cls).twice().fetch() == 1
    began = time.monotonic()
    aquests.shutdown(2)
    assert time.monotonic() - began < 5
    assert 'Fails.close () failed' in caplog.text
    assert 'Hangs.close () did not end' in caplog.text


# -- relational -------------------------------------------------------------------------------------


class Lite(asynpsycopg2.AsynConnect):
    """A SQLite file, as an example of DB-API."""

    dialect = SQLITE

    def connect(self) -> None:
        file = f'/{self.params[0]}'
        self.connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)

    def execute(self, request: Any) -> None:
        cursor = self.connection.execute(request.sql, request.params or ())
        request.handle_result(cursor.description, None, cursor.fetchall() if cursor.description else None)

    def close(self) -> None:
        self.connection.close()


def test_rows_are_records(db_of: Db, tmp_path: Path) -> None:
    db = db_of(Lite, f'me@localhost{tmp_path}/own.db')
    assert db.execute('CREATE TABLE foo (id INTEGER PRIMARY KEY, name TEXT)').fetch() == []
    assert db.execute('INSERT INTO foo (name) VALUES (?), (?)', ('Hans', None)).fetch() == []
    rows = db.execute('SELECT id, name FROM foo WHERE id > ?', (0,)).fetch()
    assert rows == [{'id': 1, 'name': 'Hans'}, {'id': 2, 'name': None}]
    assert isinstance(rows[0], Record)
    assert rows[0].name == 'Hans'
    with pytest.raises(sqlite3.OperationalError, match='no such table'):
        db.execute('SELECT * FROM bar').fetch()
    with pytest.raises(TypeError, match='execute takes SQL'):
        db.execute(1)


def test_built_queries(db_of: Db, tmp_path: Path) -> None:
    db = db_of(Lite, f'me@localhost{tmp_path}/own.db')
    db.execute('CREATE TABLE foo (id INTEGER PRIMARY KEY, name TEXT)').commit()
    for name in ('Hans', "Robert'); DROP TABLE foo; --"):
        db.insert('foo').set(name=name).execute().commit()
    assert db.select('foo').get('id').filter(name="Robert'); DROP TABLE foo; --").execute().one().id == 2
    assert db.execute(db.select('foo').filter(id=1)).one().name == 'Hans'
    with pytest.raises(ValueError, match='no transactions'):
        db.insert('foo').set(name='x').append(db.insert('foo').set(name='y')).tran().execute()
    with pytest.raises(TypeError, match='give no parameters'):
        db.execute(db.select('foo'), [1])


def test_a_connection_keeps_nothing_of_the_request_that_made_it(
    db_of: Db, line_server: LineServer, kind: Any
) -> None:
    class Kept: ...

    kept = Kept()
    variable: ContextVar[Any] = ContextVar('variable', default=None)
    db = db_of(kind, line_server.address)

    def work(kept: Kept) -> None:
        variable.set(kept)
        db.echo(1).commit()

    copy_context().run(work, kept)
    gone = weakref.ref(kept)
    del kept
    wait_for(lambda: gc.collect() >= 0 and gone() is None, 'the request is gone')


# -- the style of MongoDB ---------------------------------------------------------------------------


class Memory(asynmongo.AsynConnect):
    """Documents in memory."""

    documents: ClassVar[list[dict[str, Any]]] = []

    async def connect(self) -> None: ...

    async def execute(self, request: Any) -> None:
        if request.method == 'insert':
            self.documents.append(request.params[1])
            request.handle_result(None, None, {'count': len(self.documents)})
        else:
            _, spec = request.params
            found = [each for each in self.documents if spec.items() <= each.items()]
            request.handle_result(None, None, found[: request.options.get('limit')])


def test_documents_are_records(db_of: Db) -> None:
    db = db_of(Memory)
    Memory.documents.clear()
    assert db.insert('people', {'city': 'Rome', 'address': {'street': 'Via'}}).fetch().count == 1
    assert db.insert('people', {'city': 'Rome', 'n': 2}).fetch() == {'count': 2}
    people = db.find('people', {'city': 'Rome'}).fetch()
    assert [type(each) for each in people] == [Record, Record]
    assert people[0].address.street == 'Via'
    assert len(db.find('people', {'city': 'Rome'}, limit=1).fetch()) == 1


# -- what is no interface ---------------------------------------------------------------------------


def test_what_is_no_interface() -> None:
    from aquests.dbi.asynconnect import AsynConnect

    for wrong in (
        object,
        int,
        'text',
        AsynConnect,
        Memory(('h', 1), ('', ('', '')), None, logging.getLogger()),
    ):
        with pytest.raises(TypeError, match='derive a class from AsynConnect'):
            add_database_interface('*wrong', wrong)  # type: ignore[arg-type]

    class Odd(asynredis.AsynConnect):
        def __init__(self, one: Any) -> None: ...

    with pytest.raises(TypeError, match=r'Odd.__init__ .* takes neither'):
        add_database_interface('*wrong', Odd)
    with pytest.raises(AssertionError, match="begins with '\\*'"):
        add_database_interface('wrong', Memory)
    assert '*wrong' not in _kinds
    assert '*wrong' not in PORTS
