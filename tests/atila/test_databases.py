"""Databases in services: `was.db` and its like (SPEC DB-01 to DB-05, CA-02 to CA-08)."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from projects import Launcher, wait_for

import aquests
import skitai
from aquests import dbi
from aquests.aliases import DB_PGSQL, DB_REDIS, Aliases
from atila import Atila
from skitai.testing import Client, ServerClient

if TYPE_CHECKING:
    from databases import Postgres

Make = Callable[..., Client]

FORMS = ('plain', 'block', 'generator', 'then', 'map', 'async', 'pass')
SECRET = 'tr0ub4dor'


@pytest.fixture(scope='module')
def db(postgres: Postgres) -> Iterator[Any]:
    """The test's own way to the server."""
    register = Aliases()
    register.add('@own', DB_PGSQL, postgres.member)
    yield dbi.database('@own', register=register)
    aquests.shutdown(2)


@pytest.fixture
def table(db: Any) -> Iterator[str]:
    """The name of a table `(id int PRIMARY KEY, name text)` with a row (1, 'a')."""
    name = f't_{uuid.uuid4().hex[:8]}'
    db.execute(f'CREATE TABLE {name} (id int PRIMARY KEY, name text)').commit()
    db.execute(f"INSERT INTO {name} VALUES (1, 'a')").commit()
    yield name
    db.execute(f'DROP TABLE {name}').commit()


def names(db: Any, table: str) -> list[str]:
    return [row.name for row in db.execute(f'SELECT name FROM {table} ORDER BY id').fetch()]


def add_forms(app: Atila) -> None:
    """A service of each form that answers with the rows of the SQL that it gets."""

    @app.route('/plain')
    def plain(was, sql, timeout=10.0, how='fetch'):  # type: ignore[no-untyped-def]
        return was.API(rows=getattr(was.db('@pg', timeout=float(timeout)).execute(sql), how)())

    @app.route('/block')
    def block(was, sql, timeout=10.0, how='fetch'):  # type: ignore[no-untyped-def]
        with was.db('@pg', timeout=float(timeout)) as db:
            task = db.execute(sql)
        return was.API(rows=getattr(task, how)())

    @app.route('/generator', coroutine=True)
    def generator(was, sql, timeout=10.0, how='fetch'):  # type: ignore[no-untyped-def]
        task = yield was.postgresql('@pg', timeout=float(timeout)).execute(sql)
        task = yield was.db('@pg', timeout=float(timeout)).execute(sql)
        return was.API(rows=getattr(task, how)())

    @app.route('/then')
    def then(was, sql, timeout=10.0, how='fetch'):  # type: ignore[no-untyped-def]
        def respond(was, task):  # type: ignore[no-untyped-def]
            return was.API(rows=getattr(task, how)())

        return was.db('@pg', timeout=float(timeout)).execute(sql).then(respond)

    @app.route('/map')
    def mapped(was, sql, timeout=10.0, how='fetch'):  # type: ignore[no-untyped-def]
        task = was.db.lb('@pg', timeout=float(timeout)).execute(sql)
        return was.Map(**{f'rows__{how}': task})

    @app.route('/async')
    async def awaits(was, sql, timeout=10.0, how='fetch'):  # type: ignore[no-untyped-def]
        task = was.db('@pg', timeout=float(timeout)).execute(sql)
        await task.completed()
        return was.API(rows=getattr(task, how)())

    @app.route('/pass')
    def thread_pass(was, sql, timeout=10.0, how='fetch'):  # type: ignore[no-untyped-def]
        return was.ThreadPass(plain, sql, timeout, how)


@pytest.fixture
def app(postgres: Postgres) -> Atila:
    app = Atila(f'databases_{uuid.uuid4().hex[:8]}')
    app.alias('@pg', skitai.DB_PGSQL, postgres.member, max_conns=4)
    add_forms(app)
    return app


# -- forms of services ------------------------------------------------------------------------------------


def test_rows_in_every_form(client_for: Make, app: Atila, table: str) -> None:
    """SPEC DB-01 to DB-03."""
    client = client_for(app)
    for form in FORMS:
        answer = client.get(f'/{form}', params={'sql': f'SELECT * FROM {table}'})
        assert (form, answer.status_code, answer.json()) == (form, 200, {'rows': [{'id': 1, 'name': 'a'}]})


@pytest.mark.parametrize(
    ('sql', 'how', 'timeout', 'status'),
    [
        ("SELECT 'tr0ub4dor' FROM nowhere", 'fetch', 10, 502),
        ("SELECT 'tr0ub4dor'::int", 'fetch', 10, 502),
        ("INSERT INTO {table} VALUES (1, 'tr0ub4dor')", 'fetch', 10, 409),
        ("INSERT INTO {table} VALUES (1, 'tr0ub4dor')", 'commit', 10, 409),
        ("INSERT INTO {table} VALUES (1, 'tr0ub4dor') RETURNING id", 'one', 10, 409),
        ("SELECT 'tr0ub4dor' WHERE false", 'one', 10, 410),
        ("SELECT 'tr0ub4dor' UNION SELECT 'b'", 'one', 10, 409),
        ("SELECT pg_sleep (60), 'tr0ub4dor'", 'fetch', 0.2, 504),
    ],
)
def test_errors_in_every_form(
    client_for: Make, app: Atila, db: Any, table: str, sql: str, how: str, timeout: float, status: int
) -> None:
    """SPEC TK-05, TK-12, ER-05: neither a traceback nor a value is told."""
    client = client_for(app)
    for form in FORMS:
        answer = client.get(
            f'/{form}', params={'sql': sql.format(table=table), 'how': how, 'timeout': timeout}
        )
        assert (form, answer.status_code) == (form, status)
        for told in (SECRET, 'Traceback', 'asyncpg', table):
            assert told not in answer.text
    assert names(db, table) == ['a']
    if status == 504:
        wait_for(lambda: not activity(db, 'pg_sleep (60)'), 'the end on the server')


def test_a_server_that_is_not_there(client_for: Make, app: Atila, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as nobody:
        nobody.bind(('127.0.0.1', 0))
        app.alias('@gone', skitai.DB_PGSQL, f'me:{SECRET}@127.0.0.1:{nobody.getsockname()[1]}/db')

        @app.route('/gone')
        def gone(was):  # type: ignore[no-untyped-def]
            return was.API(rows=was.db('@gone').execute('SELECT 1').fetch())

        @app.route('/gone/async')
        async def gone_async(was):  # type: ignore[no-untyped-def]
            return was.API(rows=await was.db('@gone').execute('SELECT 1'))

        client = client_for(app)
        for path in ('/gone', '/gone/async'):
            answer = client.get(path)
            assert answer.status_code == 502
            assert SECRET not in answer.text
    assert 'cannot be reached' in caplog.text
    assert SECRET not in caplog.text


def test_an_unknown_alias(client_for: Make, app: Atila, caplog: pytest.LogCaptureFixture) -> None:
    """SPEC TK-01."""

    @app.route('/unknown')
    def unknown(was):  # type: ignore[no-untyped-def]
        with pytest.raises(NameError):
            was.db('@nobody')
        return was.API(rows=was.db('@nobody').execute('SELECT 1').fetch())

    answer = client_for(app).get('/unknown')
    assert answer.status_code == 500
    assert 'nobody' not in answer.text
    assert "alias '@nobody' is not registered: call skitai.alias ('@nobody'" in caplog.text


def test_a_member_of_was_for_each_type(client_for: Make, app: Atila) -> None:
    app.alias('@redis', DB_REDIS, 'localhost')

    @app.route('/types')
    def types(was):  # type: ignore[no-untyped-def]
        with pytest.raises(TypeError, match=r'@pg is of type .*postgresql.*redis'):
            was.redis('@pg')
        with pytest.raises(TypeError, match='@redis is of type'):
            was.postgresql('@redis')
        with pytest.raises(TypeError, match='transactions'):
            was.transaction('@redis')
        return was.API(rows=was.postgresql('@pg').execute('SELECT 1 AS a').one())

    assert client_for(app).get('/types').json() == {'rows': {'a': 1}}


def test_aliases_of_one_app_alone(client_for: Make, app: Atila, postgres: Postgres) -> None:
    """SPEC TK-01: they are not seen by other apps; those of `skitai.alias` are."""
    name = f'@all{uuid.uuid4().hex[:8]}'
    skitai.alias(name, skitai.DB_PGSQL, postgres.member)
    other = Atila('other_of_databases')

    @other.route('/own')
    def own(was):  # type: ignore[no-untyped-def]
        return was.db('@pg').execute('SELECT 1').fetch()

    @other.route('/all')
    def everybodys(was):  # type: ignore[no-untyped-def]
        return was.API(rows=was.db(name).execute('SELECT 1 AS a').one())

    client = client_for(other)
    assert client.get('/own').status_code == 500
    assert client.get('/all').json() == {'rows': {'a': 1}}


def test_options(client_for: Make, app: Atila) -> None:
    """SPEC TK-13 to TK-15, LB-04."""
    called = threading.Event()

    @app.route('/options')
    def options(was):  # type: ignore[no-untyped-def]
        with was.db(
            '@pg', meta={'a': 1}, filter=lambda rows: rows[0].a, callback=lambda task: called.set()
        ) as db:
            task = db.execute('SELECT 5 AS a')
        return was.API(a=task.fetch(), meta=task.meta)

    @app.route('/members')
    def members(was):  # type: ignore[no-untyped-def]
        return was.API(rows=was.db.map('@pg').execute('SELECT 5 AS a').fetch())

    client = client_for(app)
    assert client.get('/options').json() == {'a': 5, 'meta': {'a': 1}}
    assert called.wait(5)
    assert client.get('/members').json() == {'rows': [[{'a': 5}]]}


# -- transactions -----------------------------------------------------------------------------------------


def add_transactions(app: Atila, table: str) -> None:
    sql = f'INSERT INTO {table} VALUES ($1, $2)'

    @app.route('/plain/tx')
    def plain(was, id, fail=''):  # type: ignore[no-untyped-def]
        with was.transaction('@pg') as tx:
            tx.execute(sql, [int(id), 'b'])
            if fail:
                raise LookupError('on purpose')
        return 'done'

    @app.route('/option/tx')
    def option(was, id, fail=''):  # type: ignore[no-untyped-def]
        with was.db('@pg', transaction=True) as tx:
            tx.insert(table).set(id=int(id), name='b').execute()
            assert not fail
        with was.db('@pg', cursor=True) as cursor:
            cursor.execute(f'SELECT * FROM {table}')
            assert cursor.fetchone()
        return 'done'

    @app.route('/generator/tx', coroutine=True)
    def generator(was, id, fail=''):  # type: ignore[no-untyped-def]
        with was.transaction('@pg') as tx:
            yield tx.execute(sql, [int(id), 'x'])
            yield tx.execute(f"UPDATE {table} SET name = 'b' WHERE id = $1", [int(id)])
            if fail:
                raise LookupError('on purpose')
            yield tx.commit()
        return 'done'

    @app.route('/async/tx')
    async def awaits(was, id, fail=''):  # type: ignore[no-untyped-def]
        async with was.transaction('@pg') as tx:
            await tx.execute(sql, [int(id), 'b'])
            if fail:
                raise LookupError('on purpose')
        return 'done'

    @app.route('/forgotten/tx', coroutine=True)
    def forgotten(was, id, fail=''):  # type: ignore[no-untyped-def]
        with was.transaction('@pg') as tx:
            yield tx.execute(sql, [int(id), 'b'])
            yield was.Thread(time.sleep, 0.1)  # from here on it is on the event loop
        return 'done'

    @app.route('/dropped/tx')
    def dropped(was, id, fail=''):  # type: ignore[no-untyped-def]
        was.transaction('@pg').execute(sql, [int(id), 'b'])
        return 'done'


def test_transactions(
    client_for: Make, app: Atila, db: Any, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SPEC DB-04."""
    add_transactions(app, table)
    client = client_for(app)
    expected = ['a']
    for id, form in enumerate(('plain', 'option', 'generator', 'async'), 10):
        assert client.get(f'/{form}/tx', params={'id': id, 'fail': 'yes'}).status_code == 500
        assert names(db, table) == expected
        answer = client.get(f'/{form}/tx', params={'id': id})
        assert (form, answer.status_code, answer.text) == (form, 200, 'done')
        expected.append('b')
        assert names(db, table) == expected
    assert client.get('/forgotten/tx', params={'id': 20}).status_code == 500
    assert 'nothing was committed' in caplog.text
    assert client.get('/dropped/tx', params={'id': 21}).status_code == 200
    assert 'let go of without being closed' in caplog.text
    assert names(db, table) == expected
    assert client.get('/plain/tx', params={'id': 22}).status_code == 200  # all connections are there
    wait_for(lambda: not activity(db, table, "state LIKE 'idle in%'"), 'no transaction that is open')


# -- kept results -----------------------------------------------------------------------------------------

KEYS = ('databases.users', 'databases.more')


@pytest.fixture
def cached(app: Atila, table: str, monkeypatch: pytest.MonkeyPatch) -> Atila:
    from aquests import cache

    skitai.register_g(*KEYS)
    monkeypatch.setattr(cache, 'cache', cache.Cache())
    sql = f'SELECT name FROM {table} WHERE id = 1'

    @app.route('/query')
    def query(was, key=KEYS[0]):  # type: ignore[no-untyped-def]
        return was.db('@pg', use_cache=key.split(',') if ',' in key else key).execute(sql).one().name

    @app.route('/update')
    def update(was, name, key=KEYS[0]):  # type: ignore[no-untyped-def]
        db = was.db('@pg', rm_cache=key, use_cache=True)
        db.execute(f'UPDATE {table} SET name = %s WHERE id = 1', [name]).commit()
        return was.API(seen=list(seen))

    @app.route('/update/tx')
    def update_in_transaction(was, name):  # type: ignore[no-untyped-def]
        with was.db('@pg', rm_cache=[KEYS[0]], transaction=True) as tx:
            tx.update(table).set(name=name).filter(id=1).execute()
        return 'done'

    seen: list[str] = []

    @app.on(f'setlu:{KEYS[0]}')
    def changed(was):  # type: ignore[no-untyped-def]
        seen.append('changed')

    return app


def test_a_result_is_kept_until_its_key_is_stamped(
    client_for: Make, cached: Atila, db: Any, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SPEC CA-02 to CA-04."""
    client = client_for(cached)
    both = {'key': ','.join(KEYS)}
    assert client.get('/query').text == client.get('/query', params=both).text == 'a'
    db.execute(f"UPDATE {table} SET name = 'behind' WHERE id = 1").commit()
    assert client.get('/query').text == client.get('/query', params=both).text == 'a'
    assert client.get('/update', params={'name': 'b', 'key': KEYS[1]}).json() == {'seen': []}
    assert client.get('/query').text == 'a'
    assert client.get('/query', params=both).text == 'b'
    assert client.get('/query').text == 'b'  # the same query: that one is newer
    assert client.get('/update', params={'name': 'c'}).json() == {'seen': ['changed']}
    assert client.get('/query').text == client.get('/query', params=both).text == 'c'
    assert client.get('/update/tx', params={'name': 'd'}).text == 'done'
    assert client.get('/query').text == 'd'
    assert client.get('/query', params={'key': 'nobody'}).status_code == 500
    assert "KeyError: 'nobody'" in caplog.text or 'nobody' in caplog.text
    assert client.get('/update', params={'name': 'e', 'key': 'nobody'}).status_code == 500
    assert names(db, table) == ['d']


def test_a_read_that_an_update_overtakes_is_not_kept_as_newer(
    client_for: Make, cached: Atila, db: Any, table: str
) -> None:
    """SPEC CA-03: the update is stamped when it is done, too."""
    client = client_for(cached)
    blocked: list[str] = []
    update = threading.Thread(target=lambda: blocked.append(client.get('/update?name=b').text))
    with db.transaction() as tx:  # the update is asked for, stamped, and cannot be carried out
        tx.execute(f'SELECT * FROM {table} FOR UPDATE')
        update.start()
        wait_for(lambda: activity(db, f'UPDATE {table}', "wait_event_type = 'Lock'"), 'the update')
        assert client.get('/query').text == 'a'  # newer than the first stamp
    update.join(10)
    assert blocked
    assert client.get('/query').text == 'b'


PROJECT = """
    import os
    import skitai
    from atila import Atila

    app = Atila (__name__)
    skitai.register_g ('users')

    @app.route ('/query')
    def query (was):
        row = was.db ('@pg', use_cache = 'users').execute ('SELECT name FROM {table}').one ()
        return was.API (name = row.name, pid = os.getpid ())

    @app.route ('/update')
    def update (was, name):
        was.db ('@pg', rm_cache = 'users').execute ('UPDATE {table} SET name = %s', [name]).commit ()
        return was.API (pid = os.getpid ())

    @app.route ('/plain')
    def plain (was, mark):
        return was.API (rows = was.db ('@pg').execute (f'SELECT pg_sleep (60) /* {{mark}} */').fetch ())

    @app.route ('/generator', coroutine = True)
    def generator (was, mark):
        task = yield was.db ('@pg').execute (f'SELECT pg_sleep (60) /* {{mark}} */')
        return was.API (rows = task.fetch ())

    @app.route ('/then')
    def then (was, mark):
        task = was.db ('@pg').execute (f'SELECT pg_sleep (60) /* {{mark}} */')
        return task.then (lambda was, task: was.API (rows = task.fetch ()))

    @app.route ('/map')
    def mapped (was, mark):
        return was.Map (rows = was.db ('@pg').execute (f'SELECT pg_sleep (60) /* {{mark}} */'))

    @app.route ('/async')
    async def awaits (was, mark):
        return was.API (rows = await was.db ('@pg').execute (f'SELECT pg_sleep (60) /* {{mark}} */'))

    @app.route ('/pass')
    def thread_pass (was, mark):
        return was.ThreadPass (plain, mark)

    @app.route ('/transaction')
    def transaction (was, mark):
        with was.transaction ('@pg') as tx:
            tx.execute ('UPDATE {table} SET name = %s', ['never'])
            tx.execute (f'SELECT pg_sleep (60) /* {{mark}} */')
        return 'done'

    @app.route ('/transaction/async')
    async def transaction_async (was, mark):
        async with was.transaction ('@pg') as tx:
            await tx.execute ('UPDATE {table} SET name = %s', ['never'])
            await tx.execute (f'SELECT pg_sleep (60) /* {{mark}} */')
        return 'done'

    @app.route ('/transaction/generator', coroutine = True)
    def transaction_generator (was, mark):
        with was.transaction ('@pg') as tx:
            yield tx.execute ('UPDATE {table} SET name = %s', ['never'])
            yield tx.execute (f'SELECT pg_sleep (60) /* {{mark}} */')
            yield tx.commit ()
        return 'done'

    @app.route ('/cursor')
    def cursor (was, mark):
        with was.cursor ('@pg') as cursor:
            cursor.execute (f'SELECT pg_sleep (60) /* {{mark}} */')
            return was.API (rows = cursor.fetchall ())

    if __name__ == '__main__':
        skitai.alias ('@pg', skitai.DB_PGSQL, '{member}', max_conns = 3)
        skitai.mount ('/', app)
        skitai.run (port = 5000, workers = 2, threads = 4)
"""


def activity(db: Any, what: str, condition: str = "state <> 'idle'") -> int:
    """How many statements with `what` in their text there are on the server for which that holds."""
    sql = (
        f'SELECT count (*) AS n FROM pg_stat_activity WHERE {condition} AND pid <> pg_backend_pid () '
        'AND position ($1 IN query) > 0'
    )
    number: int = db.execute(sql, [what]).one().n
    return number


@pytest.fixture(scope='module')
def site(
    launch_module: Callable[[], Launcher], postgres: Postgres, db: Any
) -> Iterator[tuple[ServerClient, str]]:
    """A server with two workers, and its table."""
    table = f't_{uuid.uuid4().hex[:8]}'
    db.execute([f'CREATE TABLE {table} (name text)', f"INSERT INTO {table} VALUES ('a')"]).commit()
    yield launch_module()({'serve.py': PROJECT.format(table=table, member=postgres.member)}), table
    db.execute(f'DROP TABLE {table}').commit()


def ask(client: ServerClient, path: str) -> Any:
    """On a connection of its own, so that either worker may take it."""
    with closing(http.client.HTTPConnection('127.0.0.1', client.port, timeout=30)) as connection:
        connection.request('GET', path, headers={'Connection': 'close'})
        with connection.getresponse() as answer:
            assert answer.status == 200
            return json.loads(answer.read())


def test_workers_share_what_is_stamped(site: tuple[ServerClient, str]) -> None:
    """SPEC CA-07: each has results of its own, and none is out of date."""
    client, _ = site
    updating: set[int] = set()
    for number in range(10):
        updating.add(ask(client, f'/update?name=n{number}')['pid'])
        asked: set[int] = set()
        for _ in range(100):
            found = ask(client, '/query')
            assert found['name'] == f'n{number}'
            asked.add(found['pid'])
            if len(asked) == 2:
                break
        assert len(asked) == 2


@pytest.mark.parametrize(
    'form',
    [
        'plain',
        'generator',
        'then',
        'map',
        'async',
        'pass',
        'transaction',
        'transaction/async',
        'transaction/generator',
        'cursor',
    ],
)
def test_a_client_that_leaves_leaves_no_statement(site: tuple[ServerClient, str], db: Any, form: str) -> None:
    """SPEC CO-09, B.17: what runs for nobody is cancelled on the server, and rolled back."""
    client, table = site
    mark = uuid.uuid4().hex
    before = names_of(db, table)
    # In a transaction they wait for each other's row.
    count = 1 if form.startswith('transaction') else 3
    connections = []
    try:
        for _ in range(count):
            connection = socket.create_connection(('127.0.0.1', client.port), timeout=20)
            connections.append(connection)
            connection.sendall(f'GET /{form}?mark={mark} HTTP/1.1\r\nHost: t\r\n\r\n'.encode())
        wait_for(lambda: activity(db, mark) == count, 'the statements')
    finally:
        for connection in connections:
            connection.close()
    wait_for(lambda: not activity(db, mark), 'the end of what nobody waits for', 8)
    wait_for(lambda: not activity(db, '', "state LIKE 'idle in%'"), 'no open transaction', 5)
    assert names_of(db, table) == before
    assert ask(client, '/query')['name'] == before[0]


def test_queries_while_an_app_is_mounted(launch: Launcher, postgres: Postgres, db: Any, table: str) -> None:
    """SPEC EV-03: handlers may wait for them before requests come, and after they went."""
    launched = launch(
        {
            'serve.py': f"""
                import skitai
                from atila import Atila

                app = Atila (__name__)
                EVENTS = ['before_mount', 'mounted', 'before_umount', 'umounted']

                def note (event):
                    @app.on (event)
                    def handler (was):
                        number = EVENTS.index (event) + 2
                        query = was.db ('@pg', timeout = 5).insert ('{table}')
                        query.set (id = number, name = event).execute ().commit ()

                for event in EVENTS:
                    note (event)

                @app.route ('/')
                def rows (was):
                    return was.API (rows = was.db ('@pg').select ('{table}').execute ().fetch ())

                if __name__ == '__main__':
                    skitai.alias ('@pg', skitai.DB_PGSQL, '{postgres.member}')
                    skitai.mount ('/', app)
                    skitai.run (port = 5000)
            """
        }
    )
    assert len(launched.get('/').json()['rows']) == 3
    assert names(db, table) == ['a', 'before_mount', 'mounted']
    launched.stop()
    assert names(db, table) == ['a', 'before_mount', 'mounted', 'before_umount', 'umounted']


def names_of(db: Any, table: str) -> list[str]:
    return [row.name for row in db.execute(f'SELECT name FROM {table}').fetch()]
