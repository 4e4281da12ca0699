"""SQLite (SPEC chapter 22): through `aquests.dbi.database`, on real files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as time_of_day
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from projects import wait_for

import aquests
from aquests import errors
from aquests.dbi import Interface, Options, aliases, database, sqlitestatements
from aquests.result import STA_NORMAL, STA_TIMEOUT
from aquests.scope import Scope
from aquests.sql import Json

#: It does not end by itself.
ENDLESS = 'WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max (i) AS i FROM n'
#: A million rows.
MILLION = 'WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) SELECT i FROM n'


@pytest.fixture(autouse=True)
def _no_aliases() -> Iterator[None]:
    yield
    aliases.clear()


@pytest.fixture
def db(tmp_path: Path) -> Any:
    """`@mylite`, with a table `t (id, name)`."""
    aliases.add('@mylite', '*sqlite3', str(tmp_path / 'my.db'))
    db = database('@mylite')
    db.execute('CREATE TABLE t (id integer PRIMARY KEY, name text UNIQUE)').commit()
    return db


def again(**options: Any) -> Any:
    return database('@mylite', Options(**options))


def names(db: Any) -> list[str]:
    return [row.name for row in db.execute('SELECT name FROM t ORDER BY id').fetch()]


def in_python(script: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Another process, with the alias `@mylite` on the file `arguments [0]` as `db`."""
    beginning = """
        import os, sys, aquests
        from aquests.dbi import Options, aliases, database
        aliases.add ('@mylite', '*sqlite3', sys.argv [1])
        db = database ('@mylite')
    """
    return subprocess.Popen(
        [sys.executable, '-c', textwrap.dedent(beginning) + textwrap.dedent(script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def output(process: subprocess.Popen[str]) -> str:
    with process:
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed
    return printed


# -- statements -------------------------------------------------------------------------------------------


def test_statements_and_rows(db: Any) -> None:
    """SPEC DB-02, DB-03, TK-05, TK-19."""
    assert db.execute('INSERT INTO t (name) VALUES (?)', ('Hans',)).fetch() == []
    assert db.execute('INSERT INTO t (name) VALUES (:name) RETURNING id', {'name': 'Ä'}).one().id == 2
    rows = db.execute('select * from t where id = ?', (1,)).fetch()
    assert rows == [{'id': 1, 'name': 'Hans'}]
    assert rows[0].name == rows[0]['name'] == 'Hans'
    assert db.execute('SELECT * FROM t WHERE id = 3').fetch() == []
    result = db.execute('SELECT count (*) AS n FROM t').dispatch()
    assert (result.status, result.status_code, result.data) == (STA_NORMAL, 200, [{'n': 2}])
    with db as same:
        assert same.execute('-- nothing').fetch() == []


def test_the_query_builder(db: Any) -> None:
    """SPEC SQ-01."""
    assert db.insert('t').set(name="O'Hara; --").returning('id').execute().one().id == 1
    db.update('t').set(name='x').filter(id=1).execute().commit()
    assert db.select('t').get('name').filter(id__gt=0).execute().fetch() == [{'name': 'x'}]
    assert db.execute(db.select('t').filter(name='x')).one().id == 1
    db.delete('t').filter(name='x').append(db.insert('t').set(name='y')).execute().commit()
    assert names(db) == ['y']
    with pytest.raises(TypeError, match='built query'):
        db.execute(db.select('t'), (1,))


def test_parameters_that_do_not_fit(db: Any) -> None:
    with pytest.raises(TypeError, match='list, tuple or dict'):
        db.execute('SELECT ?', 'abc')
    with pytest.raises(TypeError, match='execute takes SQL'):
        db.execute(5)
    with pytest.raises(TypeError, match='a list takes none'):
        db.execute(['SELECT 1'], (1,))
    with pytest.raises(TypeError, match='SQL texts'):
        db.execute([['SELECT 1']])
    with pytest.raises(sqlite3.ProgrammingError, match='bindings') as caught:
        db.execute('SELECT ?', (1, 2)).fetch()
    assert caught.value.http_status == 502  # type: ignore[attr-defined]
    with pytest.raises(sqlite3.ProgrammingError, match='missing'):
        db.execute('SELECT :missing', {'other': 1}).fetch()


def test_errors_are_the_drivers(db: Any) -> None:
    """SPEC TK-12; a unique key's is a 409 (TK-05)."""
    task = db.execute('SELECT * FROM nowhere')
    with pytest.raises(sqlite3.OperationalError, match='no such table: nowhere') as caught:
        task.fetch()
    assert caught.value.http_status == 502  # type: ignore[attr-defined]
    result = task.dispatch()
    assert (result.status, result.status_code, result.reason) == (STA_NORMAL, 500, 'Database Error')
    insert = "INSERT INTO t (id, name) VALUES (1, 'a') RETURNING id"
    db.execute(insert).commit()
    with pytest.raises(sqlite3.IntegrityError) as caught:
        db.execute(insert).one()
    assert caught.value.http_status == 409  # type: ignore[attr-defined]
    with pytest.raises(sqlite3.IntegrityError) as caught:
        db.execute(insert).fetch()
    assert caught.value.http_status == 409  # type: ignore[attr-defined]


def test_executemany(db: Any) -> None:
    insert = 'INSERT INTO t (name) VALUES (?)'
    many = [(f'{i}',) for i in range(1234)]
    assert db.executemany(insert, many).fetch() == []
    assert names(db) == [f'{i}' for i in range(1234)]
    with pytest.raises(sqlite3.IntegrityError):
        db.executemany(insert, [('new',), ('7',)]).commit()
    assert len(names(db)) == 1234
    rows = db.executemany(f'{insert} RETURNING name', [('a',), ('b',)]).fetch()
    assert rows == [{'name': 'a'}, {'name': 'b'}]
    by_name = 'WITH n AS (SELECT :n AS name) DELETE FROM t WHERE name IN (SELECT name FROM n)'
    db.executemany(by_name, [{'n': 'a'}, {'n': 'b'}]).commit()
    assert len(names(db)) == 1234
    assert db.executemany(insert, []).fetch() == []
    with pytest.raises(TypeError):
        db.executemany(db.insert('t'), [])


def test_several_statements_are_one_transaction(db: Any) -> None:
    """SPEC DB-02."""
    insert = db.insert('t').set(name='b')
    rows = db.execute(["INSERT INTO t (name) VALUES ('a')", insert, 'SELECT count (*) AS n FROM t']).fetch()
    assert rows == [{'n': 2}]
    for broken in (
        ["INSERT INTO t (name) VALUES ('c')", 'INSERT INTO nowhere VALUES (1)'],
        "INSERT INTO t (name) VALUES ('c'); 5",
    ):
        with pytest.raises(sqlite3.OperationalError):
            db.execute(broken).commit()
    assert names(db) == ['a', 'b']
    assert db.execute([]).fetch() == []


def test_a_script(db: Any) -> None:
    rows = db.execute("""
        -- a comment; with a semicolon
        CREATE TABLE log (text text);
        CREATE TRIGGER logged AFTER INSERT ON t BEGIN
            INSERT INTO log VALUES ('one; ' || new.name);
            INSERT INTO log VALUES ('two');
        END;
        INSERT INTO t (name) VALUES ('it''s; "x"'); /* ; */ ;
        SELECT text FROM log;
        -- the end
    """).fetch()
    assert [row.text for row in rows] == ['one; it\'s; "x"', 'two']


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(alphabet='a;\'"`[]-/*\n ', max_size=12), min_size=1, max_size=5))
def test_a_script_is_split_where_its_statements_end(texts: list[str]) -> None:
    statements = ['SELECT \'{}\' AS "{}";'.format(t.replace("'", "''"), t.replace('"', '""')) for t in texts]
    assert sqlitestatements.split('\n'.join(statements)) == [
        ('\n' if i else '') + statement for i, statement in enumerate(statements)
    ]


def test_a_transaction_of_ones_own_in_a_script(db: Any) -> None:
    db.execute("BEGIN; INSERT INTO t (name) VALUES ('a'); COMMIT; VACUUM").commit()
    for left_open in ('BEGIN', "BEGIN; INSERT INTO t (name) VALUES ('b')"):
        with pytest.raises(sqlite3.ProgrammingError, match=r'was\.transaction'):
            db.execute(left_open).commit()
    assert names(db) == ['a']


def test_what_looks_like_a_look_and_writes(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader refuses it: then it is the writer's."""
    look = sqlitestatements.nature('SELECT 1')
    monkeypatch.setattr(sqlitestatements, 'nature', lambda sql: look)
    sql = "INSERT INTO t (name) VALUES ('by a reader') RETURNING name"
    assert db.execute(sql).one() == {'name': 'by a reader'}
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(sql).fetch()


def test_what_changes_a_connection_ends_with_its_task(db: Any) -> None:
    db.execute('CREATE TABLE child (t integer REFERENCES t)').commit()
    db.execute('PRAGMA foreign_keys = OFF').commit()
    with pytest.raises(sqlite3.IntegrityError, match='FOREIGN KEY'):
        db.execute('INSERT INTO child VALUES (9)').commit()
    assert db.execute(['CREATE TEMP TABLE mine AS SELECT 1 AS i', 'SELECT i FROM mine']).one().i == 1
    with pytest.raises(sqlite3.OperationalError, match='no such table'):
        db.execute('SELECT i FROM mine').fetch()


def test_how_a_file_is_opened(db: Any, tmp_path: Path) -> None:
    db.execute('SELECT 1').commit()
    assert (tmp_path / 'my.db-wal').exists()
    for name, value in {'journal_mode': 'wal', 'synchronous': 1, 'foreign_keys': 1}.items():
        assert db.execute(f'PRAGMA {name}').one() == {name: value}


# -- values -----------------------------------------------------------------------------------------------

_zones = st.integers(-720, 720).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_texts = st.text(st.characters(exclude_categories=['Cs']))
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=8,
)


def _from_json(text: str) -> Any:
    import json

    return json.loads(text)


#: How each kind of value is made, and how it is read back from what SQLite has.
KINDS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    'None': (st.none(), lambda x: x),
    'int': (st.integers(-(2**63), 2**63 - 1), lambda x: x),
    'float': (st.floats(allow_nan=False), lambda x: x),
    'str': (_texts, lambda x: x),
    'bytes': (st.binary(), lambda x: x),
    'bytearray': (st.binary().map(bytearray), bytearray),
    'bool': (st.booleans(), bool),
    'Decimal': (st.decimals(allow_nan=False), Decimal),
    'date': (st.dates(), date.fromisoformat),
    'datetime': (st.datetimes(), datetime.fromisoformat),
    'aware': (st.datetimes(timezones=_zones), datetime.fromisoformat),
    'time': (st.times(), time_of_day.fromisoformat),
    'UUID': (st.uuids(), UUID),
    'dict': (st.dictionaries(_texts, _json, max_size=3), _from_json),
    'list': (st.lists(_json, max_size=3), _from_json),
}


@pytest.mark.parametrize('kind', KINDS)
def test_values_come_back(kind: str) -> None:
    """What is given as a parameter, in a list and in a dict, and through the builder."""
    aliases.add('@mylite', '*sqlite3', ':memory:')
    db: Any = database('@mylite')
    db.execute('CREATE TABLE v (i integer PRIMARY KEY, x)').commit()
    values, back = KINDS[kind]

    @settings(max_examples=40, deadline=None)
    @given(values)
    def check(value: Any) -> None:
        rows = db.execute(['DELETE FROM v', db.insert('v').set(x=value), 'SELECT x FROM v']).fetch()
        rows += db.execute('SELECT ? AS x', (value,)).fetch()
        rows += db.execute('SELECT :x AS x', {'x': value}).fetch()
        for row in rows:
            got = back(row.x) if row.x is not None else None
            assert got == value
            assert str(got) == str(value)  # with zone, sign and digits
            assert type(got) is type(value)

    check()


def test_values_of_other_kinds(db: Any) -> None:
    class Colour(str):
        pass

    def stored(value: Any) -> Any:
        return db.execute('SELECT ? AS x', (value,)).one().x

    assert stored(Json([1, 'ä'])) == '[1,"ä"]'
    assert stored((1, None)) == '[1,null]'
    assert stored(Colour('red')) == 'red'
    assert stored(memoryview(b'x')) == b'x'
    assert stored(float('inf')) == float('inf')
    assert stored(datetime(2024, 5, 6, 7, 8, tzinfo=UTC)) == '2024-05-06 07:08:00+00:00'
    # As SQLite's own functions write it, so that they can be compared.
    assert (
        stored(datetime(2024, 5, 6, 7, 8, 9))
        == db.execute("SELECT datetime ('2024-05-06T07:08:09') AS x").one().x
    )


def test_values_that_sqlite_has_no_place_for(db: Any) -> None:
    for number in (2**63, -(2**63) - 1, 10**400):
        with pytest.raises(OverflowError, match='64 bits'):
            db.execute('SELECT ?', (number,))
    with pytest.raises(ValueError, match='NaN'):
        db.execute('SELECT ?', (float('nan'),))
    with pytest.raises(TypeError, match='no place for a object'):
        db.execute('SELECT :a', {'a': object()})
    with pytest.raises(TypeError, match='JSON'):
        db.executemany('INSERT INTO t VALUES (?, ?)', [({'a': object()}, 1)])
    with pytest.raises(TypeError, match='set'):
        db.execute('SELECT ?', ({1},))


# -- Tasks ------------------------------------------------------------------------------------------------


def test_options(db: Any) -> None:
    """SPEC TK-13 to TK-15."""
    db.execute("INSERT INTO t (name) VALUES ('a')").commit()
    done = threading.Event()
    lite = again(meta={'a': 1}, filter=lambda rows: rows[0].name, callback=lambda task: done.set())
    task = lite.execute('SELECT name FROM t')
    assert task.fetch() == 'a'
    assert task.meta == {'a': 1}
    assert done.wait(5)


def test_a_filter_may_ask_the_same_file(db: Any) -> None:
    def filter(rows: Any) -> Any:
        return db.execute("INSERT INTO t (name) VALUES ('of the filter') RETURNING id").one().id + rows[0].id

    assert again(filter=filter).execute("INSERT INTO t (name) VALUES ('a') RETURNING id").fetch() == 3


def test_kept_results(db: Any) -> None:
    """SPEC CA-02."""
    lite = again(use_cache=True, cache=60)
    assert lite.execute('SELECT count (*) AS n FROM t WHERE id > ?', (0,)).one().n == 0
    db.execute("INSERT INTO t (name) VALUES ('a')").commit()
    assert lite.execute('SELECT count (*) AS n FROM t WHERE id > ?', (0,)).one().n == 0
    assert lite.execute('SELECT count (*) AS n FROM t WHERE id > ?', (0.0,)).one().n == 1


def test_all_members(tmp_path: Path) -> None:
    """SPEC LB-04."""
    aliases.add('@mylite', '*sqlite3', [str(tmp_path / 'a.db'), str(tmp_path / 'b.db')])
    everywhere = again(everywhere=True)
    everywhere.execute('CREATE TABLE t (name text)').fetch()
    everywhere.execute("INSERT INTO t VALUES ('x')").fetch()
    assert everywhere.execute('SELECT * FROM t').fetch() == [[{'name': 'x'}]] * 2


def test_on_an_event_loop(db: Any) -> None:
    async def main() -> Any:
        with pytest.raises(errors.WouldBlock):
            db.execute(ENDLESS, ()).fetch()
        tasks = [db.execute('SELECT ? AS i', (i,)) for i in range(20)]
        return [(await task)[0].i for task in tasks]

    assert asyncio.run(main()) == list(range(20))


def test_what_times_out_is_broken_off(db: Any) -> None:
    """SPEC TK-16. Its thread takes the next."""
    for _ in range(12):  # more than there are connections
        task = again(timeout=0.05).execute(ENDLESS)
        with pytest.raises(errors.TaskTimeout, match='in time'):
            task.fetch()
        assert task.dispatch().status == STA_TIMEOUT
    assert db.execute('SELECT 1 AS i').one().i == 1
    script = ["INSERT INTO t (name) VALUES ('a')", ENDLESS]
    with pytest.raises(errors.TaskTimeout):
        again(timeout=0.3).execute(script).fetch()
    assert names(db) == []
    assert len([thread for thread in threading.enumerate() if 'mylite' in thread.name]) <= 9


def test_cancelling_breaks_off_that_task_only(tmp_path: Path) -> None:
    aliases.add('@mylite', '*sqlite3', str(tmp_path / 'my.db'), max_conns=1)
    db: Any = database('@mylite')
    running = again(timeout=None).execute(ENDLESS)
    wait_for(lambda: running.hindrance == '', 'it runs')
    waiting = db.execute('SELECT 1 AS i')
    other = db.execute('SELECT 2 AS i')
    assert waiting.cancel()
    with pytest.raises(errors.TaskCancelled):
        waiting.fetch()
    assert not running.done()
    assert running.cancel()
    assert not running.cancel()
    assert other.one().i == 2


def test_what_is_cancelled_at_once(db: Any) -> None:
    """Whenever it comes, nothing hangs, and no other Task is hit."""
    for _ in range(200):
        task = db.execute(ENDLESS)
        short = db.execute('SELECT 1 AS i')
        task.cancel()
        assert short.one().i == 1
    assert db.execute('SELECT 1 AS i').fetch(timeout=5)


def test_all_connections_in_use(tmp_path: Path) -> None:
    aliases.add('@mylite', '*sqlite3', str(tmp_path / 'my.db'), max_conns=2)
    running = [again().execute(ENDLESS) for _ in range(2)]
    with pytest.raises(errors.PoolExhausted, match=r'all 2 connections that read .*my\.db') as caught:
        again(timeout=0.2).execute('SELECT 1').fetch()
    assert caught.value.http_status == 504
    for task in running:
        task.cancel()
    assert again().execute('SELECT 1').fetch()


def test_a_full_queue(db: Any) -> None:
    aquests.shutdown()
    aquests.configure(queue=1)
    with database('@mylite').transaction() as tx:
        tx.insert('t').set(name='a').execute()
        waiting = database('@mylite').execute("INSERT INTO t (name) VALUES ('b')")
        with pytest.raises(errors.QueueFull):
            database('@mylite').execute("INSERT INTO t (name) VALUES ('c')").commit()
    waiting.commit()
    assert names(database('@mylite')) == ['a', 'b']


# -- others who use the file ------------------------------------------------------------------------------


def test_a_file_that_another_has_locked(db: Any, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / 'my.db', isolation_level=None)) as other:
        other.execute('BEGIN IMMEDIATE')
        with pytest.raises(errors.TaskTimeout, match=r'my\.db was locked') as caught:
            again(timeout=0.3).execute("INSERT INTO t (name) VALUES ('a')").fetch()
        assert not isinstance(caught.value, errors.PoolExhausted)
        with pytest.raises(errors.TaskTimeout, match='was locked'):
            again(timeout=0.3).execute(['DELETE FROM t', 'SELECT 1']).fetch()
        assert db.execute('SELECT * FROM t').fetch() == []
        task = db.execute("INSERT INTO t (name) VALUES ('b')")
        wait_for(lambda: task.hindrance == 'locked', 'it waits for the lock')
        other.execute('COMMIT')
        task.commit()
    assert names(db) == ['b']


def test_readers_do_not_wait_for_a_writer(db: Any) -> None:
    with db.transaction() as tx:
        tx.execute("INSERT INTO t (name) VALUES ('a')")
        assert tx.execute('SELECT name FROM t').fetch() == [{'name': 'a'}]
        assert again(timeout=2).execute('SELECT name FROM t').fetch() == []
    assert names(db) == ['a']


def test_writers_in_threads_and_processes(db: Any, tmp_path: Path) -> None:
    db.execute("INSERT INTO t VALUES (1, '0')").commit()
    add = 'UPDATE t SET name = name + 1 WHERE id = 1'
    script = """
        db = database ('@mylite', Options (timeout = 60))
        for i in range (150):
            db.execute ('UPDATE t SET name = name + 1 WHERE id = 1').commit ()
            with db.transaction () as tx:
                count = int (tx.execute ('SELECT name FROM t WHERE id = 1').fetch () [0].name)
                tx.execute ('UPDATE t SET name = ? WHERE id = 1', (count + 1,))
    """
    others = [in_python(script, str(tmp_path / 'my.db')) for _ in range(2)]
    lite = again(timeout=60)

    def write() -> None:
        for _ in range(50):
            lite.execute(add).commit()

    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(write) for _ in range(4)]:
            future.result(60)
    for other in others:
        output(other)
    assert names(db) == [str(2 * 2 * 150 + 4 * 50)]


def test_a_process_that_is_killed_in_a_transaction(db: Any, tmp_path: Path) -> None:
    other = in_python(
        """
        import time
        tx = db.transaction ()
        tx.execute ("INSERT INTO t (name) VALUES ('lost')")
        print ('begun', flush = True)
        time.sleep (60)
        """,
        str(tmp_path / 'my.db'),
    )
    with other:
        assert other.stdout
        assert other.stdout.readline() == 'begun\n'
        task = db.execute("INSERT INTO t (name) VALUES ('kept')")
        wait_for(lambda: task.hindrance == 'locked', 'it waits for the lock')
        other.kill()
    task.commit()
    assert names(db) == ['kept']


# -- files ------------------------------------------------------------------------------------------------


def test_memory(tmp_path: Path) -> None:
    aliases.add('@mylite', '*sqlite3', ':memory:')
    aliases.add('@other', '*sqlite3', ':memory:')
    db: Any = database('@mylite')
    db.execute('CREATE TABLE t (i integer)').commit()
    db.execute('PRAGMA foreign_keys = OFF').commit()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda i: db.execute('INSERT INTO t VALUES (?)', (i,)).commit(), range(100)))
    assert db.execute('SELECT sum (i) AS s FROM t').one().s == 4950
    with db.transaction() as tx:
        tx.execute('DELETE FROM t')
        tx.rollback()
    with db.cursor() as cursor:
        cursor.execute('SELECT i FROM t ORDER BY i')
        assert [row.i for row in cursor.fetchmany(2)] == [0, 1]
        with pytest.raises(errors.PoolExhausted, match='its turn to use :memory:'):
            again(timeout=0.1).execute('SELECT 1').fetch()
    with pytest.raises(sqlite3.OperationalError, match='no such table'):
        database('@other').execute('SELECT * FROM t').fetch()  # type: ignore[attr-defined]
    assert not list(tmp_path.iterdir())


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the working directory at the first use."""
    (tmp_path / 'there' / 'data').mkdir(parents=True)
    aliases.add('@mylite', '*sqlite3', 'data/my file.db')
    monkeypatch.chdir(tmp_path / 'there')
    again().execute('CREATE TABLE t (i integer)').commit()
    monkeypatch.chdir(tmp_path)
    assert again().execute('SELECT * FROM t').fetch() == []
    assert (tmp_path / 'there' / 'data' / 'my file.db').exists()


def test_a_missing_directory(tmp_path: Path) -> None:
    aliases.add('@mylite', '*sqlite3', str(tmp_path / 'no' / 'my.db'))
    for sql in ('SELECT 1', 'CREATE TABLE t (i integer)'):
        with pytest.raises(sqlite3.OperationalError, match=r'no/my\.db: .*there is no directory /') as caught:
            again().execute(sql).fetch()
        assert caught.value.http_status == 502  # type: ignore[attr-defined]
        assert caught.value.sqlite_errorname == 'SQLITE_CANTOPEN'
    with pytest.raises(sqlite3.OperationalError, match='no directory'), again().transaction() as tx:
        tx.execute('SELECT 1')
    (tmp_path / 'no').mkdir()
    assert again().execute('SELECT 1 AS i').one().i == 1


def test_a_directory(tmp_path: Path) -> None:
    aliases.add('@mylite', '*sqlite3', str(tmp_path))
    with pytest.raises(sqlite3.OperationalError, match='is a directory'):
        again().execute('SELECT 1').fetch()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / 'my.db'
    path.write_text('no database' * 100)
    aliases.add('@mylite', '*sqlite3', str(path))
    for sql in ('SELECT 1', 'CREATE TABLE t (i integer)'):
        with pytest.raises(sqlite3.DatabaseError, match=r'my\.db: file is not a database'):
            again().execute(sql).fetch()
    path.unlink()
    again().execute('CREATE TABLE t (i integer)').commit()


def test_a_file_that_becomes_malformed_and_is_mended(db: Any, tmp_path: Path) -> None:
    db.executemany('INSERT INTO t (name) VALUES (?)', [('x' * 500 + str(i),) for i in range(200)]).commit()
    aquests.shutdown()
    path = tmp_path / 'my.db'
    good = path.read_bytes()
    page = int.from_bytes(good[16:18])
    path.write_bytes(good[:page] + b'\xff' * (len(good) - page))
    with pytest.raises(sqlite3.DatabaseError, match=r'my\.db: .*malformed'):
        again().execute('SELECT count (name) AS n FROM t').fetch()
    with pytest.raises(sqlite3.DatabaseError, match='malformed'), again().transaction() as tx:
        tx.execute('DELETE FROM t')
    path.write_bytes(good)
    assert again().execute('SELECT count (name) AS n FROM t').one().n == 200


def test_a_full_disk(db: Any, tmp_path: Path) -> None:
    """What fails for it is an error, and works when there is room again."""
    aquests.shutdown()
    script = """
        import resource, signal, sqlite3
        signal.signal (signal.SIGXFSZ, signal.SIG_IGN)
        def limit (size):
            resource.setrlimit (resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        insert = 'INSERT INTO t (name) VALUES (?)'
        db.execute (insert, ('before',)).commit ()
        limit (100_000)
        try:
            db.execute (insert, ('x' * 1_000_000,)).commit ()
        except sqlite3.OperationalError as error:
            print (error)
        try:
            with db.transaction () as tx:
                tx.execute (insert, ('small',))
                tx.execute (insert, ('y' * 10_000_000,))
        except sqlite3.OperationalError as error:
            print (error)
        limit (resource.RLIM_INFINITY)
        db.execute (insert, ('after' * 200_000,)).commit ()
        print ([row.name [:6] for row in db.execute ('SELECT name FROM t').fetch ()])
    """
    printed = output(in_python(script, str(tmp_path / 'my.db'))).splitlines()
    assert 'my.db: ' in printed[0], printed
    assert 'my.db: ' in printed[1], printed
    assert printed[2:] == ["['before', 'aftera']"]


def test_a_file_that_may_only_be_read(db: Any, tmp_path: Path) -> None:
    db.execute("INSERT INTO t (name) VALUES ('a')").commit()
    aquests.shutdown()
    with contextlib.closing(sqlite3.connect(tmp_path / 'my.db')) as other:
        other.execute('PRAGMA journal_mode = DELETE')
    script = """
        import sqlite3
        if os.getuid () == 0:
            os.setgroups ([])
            os.setgid (65534)
            os.setuid (65534)
        print (db.execute ('SELECT name FROM t').fetch ())
        for sql in ("INSERT INTO t (name) VALUES ('b')", 'DELETE FROM t; DELETE FROM t'):
            try:
                db.execute (sql).commit ()
            except sqlite3.OperationalError as error:
                print (error)
        print (db.execute ('SELECT name FROM t').fetch ())
    """
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and len(folder.parts) > 2:
            folder.chmod(0o755 if folder != tmp_path else 0o555)
    (tmp_path / 'my.db').chmod(0o444)
    try:
        printed = output(in_python(script, str(tmp_path / 'my.db'))).splitlines()
    finally:
        tmp_path.chmod(0o755)
    rows = "[{'name': 'a'}]"
    said = f'{tmp_path}/my.db: attempt to write a readonly database; file and directory must be writable'
    assert printed == [rows, said, said, rows]


# -- transactions and cursors -----------------------------------------------------------------------------


def test_a_transaction(db: Any) -> None:
    """SPEC DB-04."""
    with db.transaction() as tx:
        tx.insert('t').set(name='a').execute()
        assert tx.execute("INSERT INTO t (name) VALUES ('b') RETURNING id").one().id == 2
        assert tx.one().id == 2
        tx.execute('SELECT * FROM t ORDER BY id')
        assert (tx.fetchone().id, len(tx.fetchmany(5)), len(tx.fetchall())) == (1, 2, 2)
    assert names(db) == ['a', 'b']
    with pytest.raises(ZeroDivisionError), db.transaction() as tx:  # noqa: PT012
        tx.execute("INSERT INTO t (name) VALUES ('c'); DELETE FROM t WHERE id = 1")
        raise ZeroDivisionError
    assert names(db) == ['a', 'b']
    with db.transaction() as tx:
        tx.execute("INSERT INTO t (name) VALUES ('d')")
        tx.rollback()
        tx.execute("INSERT INTO t (name) VALUES ('e')")
        tx.commit()
        tx.execute("INSERT INTO t (name) VALUES ('f')")
        tx.close()
        with pytest.raises(RuntimeError, match='given back'):
            tx.execute('SELECT 1')
    assert names(db) == ['a', 'b', 'e']
    with db.transaction() as tx:
        tx.commit()
        tx.rollback()


def test_a_statement_that_fails_in_a_transaction(db: Any) -> None:
    with db.transaction() as tx:
        tx.execute("INSERT INTO t VALUES (1, 'a')")
        with pytest.raises(sqlite3.IntegrityError) as caught:
            tx.execute("INSERT INTO t VALUES (1, 'b')")
        assert caught.value.http_status == 409  # type: ignore[attr-defined]
        tx.execute("INSERT INTO t VALUES (2, 'c')")
    assert names(db) == ['a', 'c']


def test_a_transaction_that_sqlite_rolled_back_does_not_go_on_in_halves(db: Any) -> None:
    db.execute("INSERT INTO t VALUES (1, 'a')").commit()
    lost = pytest.raises(sqlite3.OperationalError, match=r'was rolled back when a step failed .*UNIQUE')
    with lost, db.transaction() as tx:
        tx.execute("INSERT INTO t VALUES (2, 'b')")
        with pytest.raises(sqlite3.IntegrityError):
            tx.execute("INSERT OR ROLLBACK INTO t VALUES (1, 'c')")
        with pytest.raises(sqlite3.OperationalError, match='UNIQUE'):
            tx.execute("INSERT INTO t VALUES (3, 'd')")
    assert names(db) == ['a']
    with db.transaction() as tx:
        tx.execute("INSERT INTO t VALUES (2, 'b')")
        with pytest.raises(sqlite3.IntegrityError):
            tx.execute("INSERT OR ROLLBACK INTO t VALUES (1, 'c')")
        tx.rollback()
        tx.execute("INSERT INTO t VALUES (3, 'd')")
    assert names(db) == ['a', 'd']


def test_a_commit_that_fails(db: Any) -> None:
    db.execute('CREATE TABLE child (t integer REFERENCES t DEFERRABLE INITIALLY DEFERRED)').commit()
    with pytest.raises(sqlite3.IntegrityError, match='FOREIGN KEY'), db.transaction() as tx:
        tx.execute('INSERT INTO child VALUES (9)')
    assert db.execute('SELECT * FROM child').fetch() == []


def test_writing_beside_ones_own_transaction_times_out(db: Any) -> None:
    with db.transaction() as tx:
        tx.execute("INSERT INTO t (name) VALUES ('a')")
        with pytest.raises(errors.PoolExhausted, match=r'write to .*my\.db .*open transaction'):
            again(timeout=0.2).execute("INSERT INTO t (name) VALUES ('b')").commit()
        with (
            pytest.raises(errors.PoolExhausted, match='open transaction'),
            again(timeout=0.2).transaction() as other,
        ):
            other.execute('SELECT 1')
    assert names(db) == ['a']


def test_a_transaction_waits_for_its_turn(db: Any, tmp_path: Path) -> None:
    first = db.transaction()
    first.execute("INSERT INTO t (name) VALUES ('a')")
    seen: list[Any] = []

    def second() -> None:
        with db.transaction() as tx:
            seen.extend(tx.execute('SELECT name FROM t').fetch())

    thread = threading.Thread(target=second)
    thread.start()
    assert seen == []
    with first:
        pass
    thread.join(10)
    assert seen == [{'name': 'a'}]
    with contextlib.closing(sqlite3.connect(tmp_path / 'my.db', isolation_level=None)) as other:
        other.execute('BEGIN IMMEDIATE')
        with pytest.raises(errors.TaskTimeout, match='was locked'), again(timeout=0.3).transaction() as tx:
            tx.execute('SELECT 1')


def test_a_step_that_times_out_ends_the_transaction(db: Any) -> None:
    ended = pytest.raises(errors.TaskCancelled, match='has ended')
    with ended, again(timeout=0.3).transaction() as tx:
        tx.execute("INSERT INTO t (name) VALUES ('a')")
        with pytest.raises(errors.TaskTimeout, match='a step of a transaction on @mylite'):
            tx.execute(ENDLESS)
        tx.execute("INSERT INTO t (name) VALUES ('b')")
    assert names(db) == []
    db.execute("INSERT INTO t (name) VALUES ('c')").commit()


def test_a_transaction_ends_with_its_request(db: Any) -> None:
    scope = Scope()
    tx: Any = database('@mylite', own=scope.add).transaction()  # type: ignore[attr-defined]
    tx.execute("INSERT INTO t (name) VALUES ('a')")

    def run() -> None:
        with pytest.raises(errors.TaskCancelled):
            tx.execute(ENDLESS)

    step = threading.Thread(target=run)
    step.start()
    scope.cancel()
    step.join(10)
    assert not step.is_alive()
    with pytest.raises(RuntimeError, match='given back'):
        tx.commit()
    db.execute("INSERT INTO t (name) VALUES ('b')").commit()
    assert names(db) == ['b']


def test_transactions_and_cursors_on_an_event_loop(db: Any) -> None:
    async def main() -> None:
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO t (name) VALUES ('a')")
            assert (await tx.execute('SELECT name FROM t')) == [{'name': 'a'}]
        with pytest.raises(RuntimeError, match='nothing was committed'), db.transaction() as tx:
            await tx.execute("INSERT INTO t (name) VALUES ('b')")
        with db.cursor() as cursor:
            await cursor.execute('SELECT name FROM t')
            assert await cursor.fetchmany(5) == [{'name': 'a'}]

    asyncio.run(main())
    assert names(db) == ['a']


def test_a_cursor(db: Any) -> None:
    db.executemany('INSERT INTO t (name) VALUES (?)', [(f'{i}',) for i in range(250)]).commit()
    with db.cursor() as cursor:
        with pytest.raises(RuntimeError, match='nothing was executed'):
            cursor.fetchone()
        cursor.execute('SELECT id FROM t WHERE id > :i ORDER BY id', {'i': 2})
        assert cursor.fetchone() == {'id': 3}
        assert [row.id for row in cursor.fetchn(2)] == [4, 5]
        db.execute('DELETE FROM t').commit()  # it reads on what there was
        assert [row.id for row in cursor] == list(range(6, 251))
        assert cursor.fetchmany() == []
        assert cursor.fetchone() is None
        cursor.execute('SELECT count (*) AS n FROM t')
        assert cursor.fetchall() == [{'n': 0}]
        with pytest.raises(sqlite3.OperationalError, match='here nothing can be written'):
            cursor.execute("INSERT INTO t (name) VALUES ('a')")
        with pytest.raises(TypeError, match='one statement'):
            cursor.execute('SELECT 1; SELECT 2')
        cursor.execute('SELECT 1 AS i')
        assert cursor.fetchone().i == 1
    with pytest.raises(RuntimeError, match='given back'):
        cursor.fetchone()


def test_a_cursor_does_not_hold_the_rows_that_it_read(db: Any) -> None:
    def megabytes() -> float:
        return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e6

    with again(timeout=60).cursor() as cursor:
        cursor.execute(MILLION)
        cursor.fetchmany(1000)
        before = megabytes()
        count = 1000
        while rows := cursor.fetchmany(10_000):
            count += len(rows)
        assert count == 1_000_000
        assert megabytes() - before < 20


def test_a_transaction_that_is_let_go_of(db: Any, caplog: pytest.LogCaptureFixture) -> None:
    import gc

    tx = db.transaction()
    tx.execute("INSERT INTO t (name) VALUES ('a')")
    del tx
    gc.collect()
    assert 'let go of without being closed' in caplog.text
    db.execute("INSERT INTO t (name) VALUES ('b')").commit()
    assert names(db) == ['b']


# -- processes, and the end -------------------------------------------------------------------------------


@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
def test_a_forked_child_has_connections_of_its_own(db: Any, tmp_path: Path) -> None:
    db.execute("INSERT INTO t (name) VALUES ('parent')").commit()
    db.execute('SELECT 1').fetch()
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            again().execute("INSERT INTO t (name) VALUES ('child')").commit()
            assert {'parent', 'child'} <= set(names(again()))
            aquests.shutdown()
            code = 0
        os._exit(code)
    with ThreadPoolExecutor(1) as thread:  # at the same time
        thread.submit(
            db.executemany, 'INSERT INTO t (id, name) VALUES (?, ?)', [(10, 'x'), (11, 'y')]
        ).result().commit()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sorted(names(db)) == ['child', 'parent', 'x', 'y']
    assert db.execute('PRAGMA integrity_check').one().integrity_check == 'ok'


@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
def test_a_fork_with_a_transaction_under_way(db: Any) -> None:
    """Its child must not use the file: it is told so. The parent goes on."""
    with db.transaction() as tx:
        tx.execute("INSERT INTO t (name) VALUES ('a')")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                again().execute('SELECT * FROM t').fetch()
            except sqlite3.OperationalError as error:
                code = 0 if 'was in use when this process was forked' in str(error) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        tx.execute("INSERT INTO t (name) VALUES ('b')")
    assert names(db) == ['a', 'b']


def test_nothing_is_left_at_the_end(tmp_path: Path) -> None:
    def threads() -> set[str]:
        return {thread.name for thread in threading.enumerate()}

    def files() -> int:
        return len(os.listdir('/proc/self/fd'))

    aquests.shutdown()
    aliases.add('@mylite', '*sqlite3', str(tmp_path / 'my.db'))
    before = threads(), files()
    db = again()
    db.execute('CREATE TABLE t (i integer)').commit()
    during: set[int] = set()
    for i in range(500):
        write, read = db.execute('INSERT INTO t VALUES (?)', (i,)), db.execute('SELECT * FROM t')
        broken = db.execute('SELECT * FROM nowhere')
        broken.wait().seen()
        write.commit()
        read.commit()
        if i > 100:
            during.add(files())
    assert max(during) - min(during) <= 3 * 8  # a connection has three
    aquests.shutdown()
    assert (threads(), files()) == before
    assert [path.name for path in tmp_path.iterdir()] == ['my.db']
    assert again().execute('SELECT count (*) AS n FROM t').one().n == 500


def test_the_end_with_something_under_way(db: Any) -> None:
    endless = again(timeout=None).execute(ENDLESS)
    tx = db.transaction()
    tx.execute("INSERT INTO t (name) VALUES ('a')")
    waiting = again(timeout=None).execute("INSERT INTO t (name) VALUES ('b')")
    began = time.monotonic()
    aquests.shutdown(0.5)
    assert time.monotonic() - began < 8
    for task in (endless, waiting):
        with pytest.raises(errors.TaskCancelled):
            task.fetch()
    with pytest.raises(errors.TaskCancelled, match='has ended'):
        tx.execute('SELECT 1')
    tx.close()
    with pytest.raises(errors.TaskCancelled, match='was shut down'):
        db.execute('SELECT 1').fetch()
    assert names(again()) == []


def test_what_an_interface_is(db: Any) -> None:
    assert isinstance(db, Interface)
    assert repr(db) == '<Interface @mylite>'
