"""PostgreSQL (SPEC DB-01 to DB-05), through `dbi.database`, on a real server."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from projects import wait_for

import aquests
from aquests import STA_NETERR, STA_NORMAL, STA_TIMEOUT, Async, Record, Scope, Tasks, dbi, errors
from aquests.aliases import DB_PGSQL, Aliases
from aquests.dbi import Options
from aquests.sql import Json

if TYPE_CHECKING:
    from databases import Postgres

Db = Callable[..., Any]

PID = 'SELECT pg_backend_pid () AS a, pg_sleep (0.01)'

#: What a text may have in it.
_CHARACTERS = st.characters(exclude_characters='\0', exclude_categories=['Cs'])


@pytest.fixture
def db(postgres: Postgres) -> Iterator[Db]:
    """`db (...)`: the interface of a server, with options; `max_conns` for one of its own."""
    register = Aliases()

    def make(own: Callable[[Any], object] | None = None, max_conns: int = 4, **options: Any) -> Any:
        name = f'@pg{max_conns}'
        register.add(name, DB_PGSQL, postgres.member, max_conns=max_conns)
        return dbi.database(name, Options(**options), own, register)

    yield make
    aquests.shutdown(2)


@pytest.fixture
def table(db: Db) -> Iterator[str]:
    """The name of an empty table `(id int PRIMARY KEY, name text)`."""
    name = f't_{uuid.uuid4().hex[:8]}'
    db().execute(f'CREATE TABLE {name} (id int PRIMARY KEY, name text)').commit()
    yield name
    db().execute(f'DROP TABLE {name}').commit()


def names(db: Db, table: str) -> list[str]:
    return [row.name for row in db().execute(f'SELECT name FROM {table} ORDER BY id').fetch()]


def activity(db: Db, what: str) -> int:
    """How many statements with `what` in their text the server carries out."""
    sql = (
        'SELECT count (*) AS n FROM pg_stat_activity '
        "WHERE state <> 'idle' AND pid <> pg_backend_pid () AND position ($1 IN query) > 0"
    )
    number: int = db(max_conns=5).execute(sql, [what]).one().n
    return number


def pool(db: Db, max_conns: int = 4) -> Any:
    return db(max_conns=max_conns)._cluster.seats[0].backend.connections


# -- statements -------------------------------------------------------------------------------------------


def test_rows_are_records(db: Db) -> None:
    """SPEC DB-02, DB-03, TK-19."""
    rows = db().execute("SELECT 1 AS id, 'ä' AS name UNION SELECT 2, NULL ORDER BY id").fetch()
    assert rows == [{'id': 1, 'name': 'ä'}, {'id': 2, 'name': None}]
    assert type(rows) is list
    assert type(rows[0]) is Record
    assert (rows[0].name, rows[0]['name'], rows[1].name) == ('ä', 'ä', None)


def test_results(db: Db, table: str) -> None:
    """SPEC DB-03, TK-10."""
    task = db().execute(f'INSERT INTO {table} VALUES (1)')
    assert task.fetch() == []
    result = db().execute('SELECT 1 AS a').dispatch()
    assert (result.status, result.status_code, result.reason) == (STA_NORMAL, 200, 'OK')
    assert result.data == [{'a': 1}]
    assert db().execute(f'SELECT * FROM {table} WHERE false').fetch() == []


def test_parameters(db: Db) -> None:
    assert db().execute('SELECT $1::int + $2 AS a', [1, 2]).one().a == 3
    assert db().execute("SELECT %s::text AS a, '%s' AS b, 7 %% 4 AS c", ['x']).one() == {
        'a': 'x',
        'b': '%s',
        'c': 3,
    }
    assert db().execute('SELECT %(a)s::int - %(b)s AS c', {'a': 5, 'b': 2}).one().c == 3
    with pytest.raises(ValueError, match='2 values'):
        db().execute('SELECT %s', [1, 2])
    with pytest.raises(TypeError, match='execute takes'):
        db().execute(5)
    with pytest.raises(TypeError, match='parameters go with a text'):
        db().execute(['SELECT 1'], [1])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(alphabet=_CHARACTERS, max_size=20), min_size=1, max_size=3))
@example(["'; DROP TABLE t; --"])
@example(['$1', '%s', '\\'])
def test_values_come_back_as_they_went(db: Db, values: list[str]) -> None:
    columns = ', '.join(f'%s::text AS c{i}' for i in range(len(values)))
    assert list(db().execute(f'SELECT {columns}', values).one().values()) == values


def test_a_list_is_one_transaction(db: Db, table: str) -> None:
    """SPEC DB-02."""
    rows = db().execute(
        [
            f"INSERT INTO {table} VALUES (1, 'a')",
            f"INSERT INTO {table} VALUES (2, 'b')",
            f'SELECT count (*) AS n FROM {table}',
        ]
    )
    assert rows.fetch() == [{'n': 2}]
    with pytest.raises(asyncpg.UniqueViolationError):
        db().execute([f"INSERT INTO {table} VALUES (3, 'c')", f'INSERT INTO {table} VALUES (1)']).fetch()
    assert names(db, table) == ['a', 'b']
    assert db().execute([]).fetch() == []
    assert db().execute(['SELECT 1 AS a']).fetch() == [{'a': 1}]


def test_a_script_is_one_transaction(db: Db, table: str) -> None:
    db().execute(f"INSERT INTO {table} VALUES (1, 'a;b'); INSERT INTO {table} VALUES (2, $$c;d$$);").commit()
    assert names(db, table) == ['a;b', 'c;d']
    with pytest.raises(asyncpg.DivisionByZeroError):
        db().execute(f'DELETE FROM {table}; SELECT 1/0').fetch()
    assert names(db, table) == ['a;b', 'c;d']


def test_built_queries(db: Db, table: str) -> None:
    db().insert(table).set(id=1, name="a'; --").execute().commit()
    task = db().select(table).get('name').filter(id__gte=1).execute()
    assert task.fetch() == [{'name': "a'; --"}]
    assert db().insert(table).set(id=2).returning('id').execute().one() == {'id': 2}
    rows = db().execute([db().delete(table).filter(id=2), f'SELECT id FROM {table}']).fetch()
    assert rows == [{'id': 1}]


def test_rows_by_the_connection_are_refused_at_once(db: Db, table: str) -> None:
    """What PostgreSQL would wait for nobody sends, and nobody takes what it sends."""
    one = db(max_conns=1)
    for sql in (f'COPY {table} FROM STDIN', f'SELECT 1; copy {table} to stdout', f'COPY {table} TO STDOUT;'):
        with pytest.raises(ValueError, match='use executemany to write many rows, a cursor to read them'):
            one.execute(sql)
        with pytest.raises(ValueError, match='use executemany'):
            one.execute(['SELECT 1', sql])
        with one.transaction() as tx:
            with pytest.raises(ValueError, match='use executemany'):
                tx.execute(sql)
            tx.execute(f'INSERT INTO {table} VALUES (1, %s) ON CONFLICT DO NOTHING', ['COPY t FROM STDIN'])
        with one.cursor() as cursor, pytest.raises(ValueError, match='use executemany'):
            cursor.execute(sql)
    one.execute(f"COPY {table} FROM PROGRAM 'echo 2,b' (FORMAT csv)").commit()
    assert names(db, table) == ['COPY t FROM STDIN', 'b']


def test_executemany(db: Db, table: str) -> None:
    rows = [(i, f'{i}') for i in range(100)]
    assert db().executemany(f'INSERT INTO {table} VALUES (%s, %s)', rows).fetch() == []
    assert db().executemany(f'DELETE FROM {table} WHERE id = $1 RETURNING id', [[1], [2]]).fetch() == [
        {'id': 1},
        {'id': 2},
    ]
    with pytest.raises(asyncpg.UniqueViolationError):
        db().executemany(f'INSERT INTO {table} VALUES (%s, %s)', [(1, 'a'), (3, 'b')]).fetch()
    assert len(names(db, table)) == 98
    assert db().executemany(f'INSERT INTO {table} VALUES (%s)', []).fetch() == []


def test_a_changed_table_is_read_as_it_is(db: Db, table: str) -> None:
    """The prepared statements of all connections are from before the change."""
    sql = f'SELECT * FROM {table}'
    Tasks(db().execute(sql) for _ in range(20)).commit()
    db().execute(f'ALTER TABLE {table} ADD COLUMN more int DEFAULT 7').commit()
    db().execute(f'INSERT INTO {table} (id) VALUES (1)').commit()
    found = Tasks(db().execute(sql) for _ in range(20)).fetch()
    assert found == [[{'id': 1, 'name': None, 'more': 7}]] * 20


def test_many_at_once_from_many_threads(db: Db) -> None:
    wrong: list[Any] = []

    def work(number: int) -> None:
        for i in range(100):
            if db().execute('SELECT $1::int AS a', [number * i]).one().a != number * i:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong
    made, free, waiting = pool(db).counts()
    assert made == free <= 4
    assert not waiting


# -- values -----------------------------------------------------------------------------------------------

EAST = timezone(timedelta(hours=5, minutes=30))


@pytest.mark.parametrize(
    ('type', 'value'),
    [
        ('numeric', Decimal('123456789012345678901234567890.000000001')),
        ('numeric', Decimal('-0.10')),
        ('int8', 2**63 - 1),
        ('int8', -(2**63)),
        ('numeric', Decimal(2**200)),
        ('float8', 1e308),
        ('float8', 0.1),
        ('bool', True),
        ('text', ''),
        ('text', 'ä€🙂\u202e\\\'"%s$1'),
        ('bytea', bytes(range(256))),
        ('date', date(2024, 2, 29)),
        ('timestamp', datetime(2024, 2, 29, 23, 59, 59, 999999)),
        ('timestamptz', datetime(2024, 2, 29, 12, tzinfo=UTC)),
        ('timestamptz', datetime(2024, 2, 29, 12, tzinfo=EAST)),
        ('time', datetime(2024, 1, 1, 1, 2, 3, 4).time()),
        ('interval', timedelta(days=3, seconds=5, microseconds=7)),
        ('interval', -timedelta(hours=1)),
        ('uuid', uuid.uuid4()),
        ('int[]', [1, None, 3]),
        ('int[]', []),
        ('text[]', ['a', 'b,c', '{"d"}', None, '']),
        ('int[][]', [[1, 2], [3, 4]]),
        ('jsonb', {'a': [1, None, True, 'ä"'], 'b': {}}),
        ('jsonb', [1, 2.5]),
        ('jsonb', 'text'),
        ('jsonb', 5),
        ('json', {'b': 1, 'a': 2}),
        ('jsonb', Json({'a': 1})),
        ('int', None),
        ('jsonb', None),
    ],
)
def test_values_of_all_kinds(db: Db, type: str, value: Any) -> None:
    found = db().execute(f'SELECT $1::{type} AS a', [value]).one().a
    assert found == (value.value if isinstance(value, Json) else value)
    if isinstance(value, datetime):
        assert (found.tzinfo is None) is (value.tzinfo is None)
    if isinstance(value, Decimal):
        assert str(found) == str(value)


def test_values_that_only_come(db: Db) -> None:
    row = db().execute("SELECT 'null'::jsonb AS a, 'NaN'::float8 AS b, '{}'::jsonb[] AS c, 1::oid AS d").one()
    assert row.a is None
    assert row.b != row.b
    assert row.c == []


def test_enums(db: Db) -> None:
    name = f'e_{uuid.uuid4().hex[:8]}'
    db().execute(f"CREATE TYPE {name} AS ENUM ('sad', 'glad')").commit()
    assert db().execute(f'SELECT $1::{name} AS a, array[$1::{name}] AS b', ['glad']).one() == {
        'a': 'glad',
        'b': ['glad'],
    }
    with pytest.raises(asyncpg.InvalidTextRepresentationError):
        db().execute(f'SELECT $1::{name} AS a', ['angry']).fetch()
    db().execute(f'DROP TYPE {name}').commit()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63)
        | st.floats(-1e15, 1e15)
        | st.text(alphabet=_CHARACTERS),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet=_CHARACTERS), inner),
        max_leaves=8,
    )
)
def test_json_comes_back(db: Db, value: Any) -> None:
    if value is None:
        return
    assert db().execute('SELECT $1::jsonb AS a, $1::json AS b', [value]).one() == {'a': value, 'b': value}


def test_kept_results_of_all_kinds(db: Db) -> None:
    sql = "SELECT '{1,2}'::int[] AS a, '{\"b\": [1]}'::jsonb AS b, now () AS c, 1.5 AS d"
    first = db(cache=60).execute(sql).fetch()
    for _ in range(2):
        found = db(use_cache=True).execute(sql).fetch()
        assert found == first
        found[0].b['b'].append(2)
    pair = 'SELECT (1, 2) AS a'  # a value that cannot be copied: not kept, but no harm
    assert tuple(db(cache=60).execute(pair).one().a) == (1, 2)


# -- errors -----------------------------------------------------------------------------------------------


def test_an_error_is_the_drivers(db: Db) -> None:
    """SPEC TK-12, ER-05."""
    task = db().execute('SELECT * FROM nowhere')
    with pytest.raises(asyncpg.UndefinedTableError, match='nowhere') as caught:
        task.fetch()
    assert caught.value.http_status == 502
    result = task.dispatch()
    assert (result.status, result.status_code, result.reason) == (STA_NORMAL, 500, 'Database Error')
    assert result.data is None
    with pytest.raises(asyncpg.UndefinedTableError):
        result.fetch()
    with pytest.raises(asyncpg.PostgresSyntaxError):
        db().execute('SELEC').fetch()
    assert db().execute('SELECT 1 AS a').one().a == 1


def test_a_wrong_kind_of_value_is_an_error(db: Db) -> None:
    with pytest.raises(asyncpg.DataError):
        db().execute('SELECT $1::int', ['x']).fetch()
    with pytest.raises(asyncpg.InterfaceError):
        db().execute('SELECT $1::int', [1, 2]).fetch()
    assert pool(db).counts()[:2] == (1, 1)


def test_a_value_that_cannot_be_sent_leaves_no_transaction_open(db: Db, table: str) -> None:
    """The server has read the statement then, and would wait with the table held."""
    sql = f'INSERT INTO {table} VALUES ($1, $2)'
    for number, values in enumerate(([2**40, 'x'], ['x', 'x'], [1], [1, '\ud800'], [1, object()])):
        with pytest.raises((asyncpg.DataError, asyncpg.InterfaceError)):
            db().execute(f'{sql} /* {number} */', values).fetch()
        assert activity(db, table) == 0
    with pytest.raises(asyncpg.DataError):
        db().executemany(f'{sql} /* many */', [[1, 'x'], [2, 'x'], ['x', 'x']]).fetch()
    assert activity(db, table) == 0
    assert names(db, table) == []


def test_a_second_row_with_the_same_key_is_409(db: Db, table: str) -> None:
    """SPEC TK-05."""
    sql = f'INSERT INTO {table} VALUES (1) RETURNING id'
    assert db().execute(sql).one() == {'id': 1}
    for one in (db().execute(sql).one, db().execute(sql).dispatch().one):
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            one()
        assert caught.value.http_status == 409
    for failing in (db().execute(sql).fetch, db().execute(sql).commit, db().execute(sql).dispatch().fetch):
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            failing()
        assert caught.value.http_status == 409


def test_one(db: Db) -> None:
    """SPEC TK-05."""
    with pytest.raises(errors.PartialNotFound):
        db().execute('SELECT 1 WHERE false').one()
    with pytest.raises(errors.Conflict):
        db().execute('SELECT 1 UNION SELECT 2').one()


def test_filter_meta_callback(db: Db) -> None:
    """SPEC TK-13 to TK-15."""
    called: list[Any] = []
    task = db(meta={'a': 1}, filter=lambda rows: rows[0].a, callback=called.append).execute('SELECT 1 AS a')
    assert task.fetch() == 1
    assert task.meta == {'a': 1}
    wait_for(lambda: called == [task], 'the callback')

    def fail(rows: Any) -> Any:
        raise LookupError('on purpose')

    with pytest.raises(LookupError):
        db(filter=fail).execute('SELECT 1').fetch()


def test_a_driver_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, db: Db) -> None:
    """SPEC GEN-04."""
    import sys

    for name in [name for name in sys.modules if name.startswith('aquests.dbi.p')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'asyncpg', None)
    monkeypatch.setattr(dbi, '_kinds', {})
    with pytest.raises(ImportError, match=r"@pg4 needs .* asyncpg: pip install 'atila\[postgresql\]'"):
        db()


# -- time -------------------------------------------------------------------------------------------------


def test_a_timeout_cancels_on_the_server(db: Db) -> None:
    """SPEC TK-16."""
    started = time.monotonic()
    task = db(timeout=0.2).execute('SELECT pg_sleep (61)')
    wait_for(lambda: activity(db, 'pg_sleep (61)'), 'the query')
    with pytest.raises(errors.TaskTimeout) as caught:
        task.fetch()
    assert type(caught.value) is errors.TaskTimeout
    assert time.monotonic() - started < 5
    assert task.dispatch().status == STA_TIMEOUT
    wait_for(lambda: not activity(db, 'pg_sleep (61)'), 'its end')
    assert db().execute('SELECT 1 AS a').one().a == 1


def test_cancel_cancels_on_the_server(db: Db) -> None:
    scope = Scope()
    tasks = [db(scope.add).execute('SELECT pg_sleep (62)') for _ in range(10)]  # some wait for a connection
    wait_for(lambda: activity(db, 'pg_sleep (62)') == 4, 'the queries')
    scope.cancel()
    for task in tasks:
        with pytest.raises(errors.TaskCancelled):
            task.fetch()
    wait_for(lambda: not activity(db, 'pg_sleep (62)'), 'their end')
    assert Tasks(db().execute('SELECT $1::int AS a', [i]) for i in range(10)).fetch() == [
        [{'a': i}] for i in range(10)
    ]
    wait_for(lambda: pool(db).counts()[0] == pool(db).counts()[1], 'all connections given back')


def test_what_waits_for_a_connection_too_long_is_told_so(db: Db) -> None:
    """SPEC LB-05."""
    sleeping = db(max_conns=1).execute('SELECT pg_sleep (0.6)')
    started = time.monotonic()
    with pytest.raises(errors.PoolExhausted, match=r'@pg1: all 1 connections.*max_conns') as caught:
        db(max_conns=1, timeout=0.2).execute('SELECT 1').fetch()
    assert 0.15 < time.monotonic() - started < 0.55
    assert caught.value.http_status == 504
    with pytest.raises(errors.PoolExhausted, match=r'a step of a transaction on @pg1: all 1'):
        db(max_conns=1, timeout=0.1).transaction().execute('SELECT 1')
    later = db(max_conns=1).execute('SELECT 1 AS a')
    sleeping.commit()
    assert later.one().a == 1


def test_where_many_of_one_statement_wait_each_has_its_own_answer(db: Db) -> None:
    """They may be sent in one go; one that fails takes no other with it."""
    one = {'max_conns': 1}
    sql = 'SELECT 12 / $1::int AS a, $2::text AS b UNION ALL SELECT 0, $2 WHERE $1 = 2 ORDER BY a DESC -- x'
    db(**one).execute(sql, [1, '']).commit()
    for _ in range(3):
        sleeping = db(**one).execute('SELECT pg_sleep (0.05)')
        tasks = [db(**one).execute(sql, [i % 4, f'{i}']) for i in range(40)]
        sleeping.commit()
        for i, task in enumerate(tasks):
            if i % 4 == 0:
                with pytest.raises(asyncpg.DivisionByZeroError):
                    task.fetch()
                continue
            rows = [{'a': 12 // (i % 4), 'b': f'{i}'}]
            assert task.fetch() == (rows if i % 4 != 2 else [*rows, {'a': 0, 'b': f'{i}'}])
    assert pool(db, 1).counts() == (1, 1, 0)


def test_where_many_wait_some_are_cancelled(db: Db, table: str) -> None:
    one = {'max_conns': 1}
    sql = f'SELECT $1::int AS a, (SELECT count (*) FROM {table}) AS n'
    db(**one).execute(sql, [1]).commit()
    with db().transaction() as tx:
        tx.execute(f'LOCK TABLE {table}')
        first = db(**one).execute(sql, [0])
        wait_for(lambda: activity(db, sql), 'the first')
        tasks = [db(**one).execute(sql, [i]) for i in range(30)]
        for task in tasks[::3]:
            task.cancel()
    assert first.one().a == 0
    for i, task in enumerate(tasks):
        if i % 3:
            assert task.one() == {'a': i, 'n': 0}
        else:
            with pytest.raises(errors.TaskCancelled):
                task.fetch()


def test_a_full_pool_serves_all_in_turn(db: Db) -> None:
    tasks = [db(max_conns=2).execute('SELECT $1::int AS a, pg_sleep (0.005)', [i]) for i in range(60)]
    assert [task.one().a for task in tasks] == list(range(60))
    assert pool(db, 2).counts() == (2, 2, 0)


# -- sessions are as they were ----------------------------------------------------------------------------

LEAKS = {
    'SET application_name = $$leaked$$': 'SELECT current_setting ($$application_name$$) AS a',
    'SET ROLE pg_monitor': 'SELECT current_user::text AS a',
    'SET SESSION AUTHORIZATION pg_monitor': 'SELECT current_user::text AS a',
    'SELECT set_config ($$application_name$$, $$leaked$$, false)': (
        'SELECT current_setting ($$application_name$$) AS a'
    ),
    'CREATE TEMP TABLE leaked (a int)': 'SELECT to_regclass ($$leaked$$)::text AS a',
    'SELECT 1 AS b INTO TEMP leaked': 'SELECT to_regclass ($$leaked$$)::text AS a',
    'SELECT pg_advisory_lock (617)': "SELECT count (*) AS a FROM pg_locks WHERE locktype = 'advisory'",
    'LISTEN leaked': 'SELECT count (*) AS a FROM pg_listening_channels ()',
    'PREPARE leaked AS SELECT 1': "SELECT count (*) AS a FROM pg_prepared_statements WHERE name = 'leaked'",
    'BEGIN': 'SELECT pg_current_xact_id_if_assigned () IS NULL AND now () = statement_timestamp () AS a',
    'BEGIN; SET LOCAL application_name = $$leaked$$': 'SELECT current_setting ($$application_name$$) AS a',
    'DECLARE leaked CURSOR WITH HOLD FOR SELECT 1': 'SELECT count (*) AS a FROM pg_cursors',
}


@pytest.mark.parametrize('leak', LEAKS)
def test_a_statement_that_changes_its_session_changes_no_others(db: Db, leak: str) -> None:
    look = LEAKS[leak]
    before = db(max_conns=1).execute(look).one().a
    db(max_conns=1).execute(leak).dispatch()
    assert db(max_conns=1).execute(look).one().a == before
    with db(max_conns=1).transaction() as tx:
        for part in leak.split('; '):
            if not part.startswith('BEGIN'):
                tx.execute(part)
    assert db(max_conns=1).execute(look).one().a == before


def test_so_does_one_that_fails_or_is_cancelled(db: Db) -> None:
    one = {'max_conns': 1}
    name = 'SELECT current_setting ($$application_name$$) AS a'
    before = db(**one).execute(name).one().a
    with pytest.raises(asyncpg.DivisionByZeroError):
        db(**one).execute('SELECT set_config ($$application_name$$, $$leaked$$, false), 1/0').fetch()
    assert db(**one).execute(name).one().a == before
    with pytest.raises(errors.TaskTimeout):
        db(timeout=0.2, **one).execute(
            ['SET application_name = leaked', 'CREATE TABLE leaked (a int)', 'SELECT pg_sleep (60)']
        ).fetch()
    assert db(**one).execute(name).one().a == before
    assert db(**one).execute("SELECT to_regclass ('leaked') AS a").one().a is None


def test_cancelled_at_any_moment_nothing_is_left_open(db: Db, table: str) -> None:
    """A BEGIN that succeeded though it was cancelled must not take the next ones into its transaction."""
    one = {'max_conns': 1}
    for i in range(60):
        task = db(**one).execute([f'INSERT INTO {table} VALUES ({-i - 1})', 'SELECT pg_sleep (0.002)'])
        time.sleep(i * 0.0001)
        task.cancel()
        db(**one).execute(f'INSERT INTO {table} VALUES ({i})').commit()
    tx = db(**one).transaction()
    tx.close()
    aquests.shutdown(2)  # what is open somewhere is lost with its connection
    rows = db(max_conns=2).execute(f'SELECT id FROM {table} WHERE id >= 0 ORDER BY id').fetch()
    assert [row.id for row in rows] == list(range(60))


# -- transactions -----------------------------------------------------------------------------------------


def test_a_transaction(db: Db, table: str) -> None:
    """SPEC DB-04."""
    with db().transaction() as tx:
        tx.execute(f"INSERT INTO {table} VALUES (1, 'a')")
        tx.insert(table).set(id=2, name='b').execute()
        assert names(db, table) == []
        rows = tx.execute(f'SELECT * FROM {table} ORDER BY id').fetch()
        assert [row.name for row in rows] == ['a', 'b']
        assert tx.fetch() == tx.fetchall() == rows
        assert tx.fetchone() == rows[0]
        assert tx.fetchmany(1) == rows[:1]
        with pytest.raises(errors.Conflict):
            tx.one()
        assert tx.execute('SELECT $1::int AS a', [5]).one().a == 5
        assert tx.execute([f'DELETE FROM {table} WHERE id = 2', 'SELECT 7 AS a']).one().a == 7
        tx.execute(f"INSERT INTO {table} VALUES (3, 'c'); INSERT INTO {table} VALUES (4, 'd')")
    assert names(db, table) == ['a', 'c', 'd']
    with pytest.raises(RuntimeError, match='has ended'):
        tx.execute('SELECT 1')
    tx.close()


def test_an_exception_rolls_back(db: Db, table: str) -> None:
    with pytest.raises(LookupError), db().transaction() as tx:  # noqa: PT012
        tx.execute(f'INSERT INTO {table} VALUES (1)')
        raise LookupError('on purpose')
    assert names(db, table) == []
    with pytest.raises(asyncpg.UndefinedTableError), db().transaction() as tx:  # noqa: PT012
        tx.execute(f'INSERT INTO {table} VALUES (1)')
        tx.execute('SELECT * FROM nowhere')
    assert names(db, table) == []


def test_commit_and_rollback(db: Db, table: str) -> None:
    with db().transaction() as tx:
        with pytest.raises(RuntimeError, match='nothing was executed'):
            tx.fetch()
        tx.execute(f"INSERT INTO {table} VALUES (1, 'a')")
        tx.commit()
        assert names(db, table) == ['a']
        tx.execute(f"INSERT INTO {table} VALUES (2, 'b')")
        tx.rollback()
        tx.execute(f"INSERT INTO {table} VALUES (3, 'c')")
    assert names(db, table) == ['a', 'c']


def test_what_failed_is_not_committed_in_silence(db: Db, table: str) -> None:
    """PostgreSQL takes the COMMIT of a failed transaction for a ROLLBACK, and says nothing."""

    def fail(tx: Any) -> None:
        tx.execute(f"INSERT INTO {table} VALUES (1, 'a')")
        with pytest.raises(asyncpg.UndefinedTableError):
            tx.execute('SELECT * FROM nowhere')

    with pytest.raises(RuntimeError, match=r'nothing was committed.*nowhere'), db().transaction() as tx:
        fail(tx)
    assert names(db, table) == []
    with db().transaction() as tx:
        fail(tx)
        tx.rollback()
        tx.execute(f"INSERT INTO {table} VALUES (2, 'b')")
        tx.execute('SAVEPOINT before')
        fail(tx)
        tx.execute('ROLLBACK TO before')
    with db().transaction() as tx:
        tx.execute(f"INSERT INTO {table} VALUES (3, 'c')")
        with pytest.raises(asyncpg.DataError):
            tx.execute('SELECT $1::int', ['never sent'])
    assert names(db, table) == ['b', 'c']


def test_a_transaction_has_the_connection_for_itself(db: Db) -> None:
    with db(max_conns=1).transaction() as tx:
        tx.execute('SELECT 1')
        with pytest.raises(errors.PoolExhausted):
            db(max_conns=1, timeout=0.1).execute('SELECT 1').fetch()
    assert db(max_conns=1).execute('SELECT 1 AS a').one().a == 1


def test_a_step_that_times_out_ends_the_transaction(db: Db, table: str) -> None:
    with (  # noqa: PT012
        pytest.raises(errors.TaskTimeout),
        db(max_conns=1, timeout=0.3).transaction() as tx,
    ):
        tx.execute(f'INSERT INTO {table} VALUES (1)')
        try:
            tx.execute('SELECT pg_sleep (63)')
        finally:
            with pytest.raises(errors.TaskCancelled, match='has ended'):
                tx.execute('SELECT 1')
    wait_for(lambda: not activity(db, 'pg_sleep (63)'), 'its end')
    assert db(max_conns=1).execute(f'SELECT * FROM {table}').fetch() == []


def test_the_end_of_a_request_rolls_back(db: Db, table: str) -> None:
    """Whatever the transaction does at the moment."""
    for sql in (f'INSERT INTO {table} VALUES (1)', 'SELECT pg_sleep (64)'):
        scope = Scope()
        failed: list[BaseException] = []
        waiting = threading.Event()

        def serve(sql: str = sql, scope: Scope = scope, failed: Any = failed, waiting: Any = waiting) -> None:
            try:
                with db(scope.add, max_conns=1).transaction() as tx:
                    tx.execute(f'INSERT INTO {table} VALUES (2)')
                    waiting.set()
                    tx.execute(sql)
                    time.sleep(0.3)
            except Exception as error:
                failed.append(error)  # noqa: B023

        thread = threading.Thread(target=serve)
        thread.start()
        assert waiting.wait(5)
        if 'sleep' in sql:
            wait_for(lambda: activity(db, 'pg_sleep (64)'), 'the query')
        scope.cancel()
        thread.join(5)
        assert [type(error) for error in failed] == [errors.TaskCancelled]
        assert db(max_conns=1).execute(f'SELECT * FROM {table}').fetch() == []
    assert not activity(db, 'pg_sleep (64)')


def test_the_end_of_a_request_that_waits_for_a_connection(db: Db, table: str) -> None:
    scope = Scope()
    with db(max_conns=1).transaction() as first:
        first.execute('SELECT 1')
        second = db(scope.add, max_conns=1).transaction()
        failed: list[BaseException] = []

        def serve() -> None:
            try:
                second.execute(f'INSERT INTO {table} VALUES (1)')
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        wait_for(lambda: pool(db, 1).counts()[2], 'who waits')
        scope.cancel()
        thread.join(5)
    assert [type(error) for error in failed] == [errors.TaskCancelled]
    assert db(max_conns=1).execute(f'SELECT * FROM {table}').fetch() == []
    wait_for(lambda: pool(db, 1).counts() == (1, 1, 0), 'the connection')


def test_one_that_is_dropped_gives_its_connection_back(
    db: Db, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At once: nothing waits for a collection of garbage, not even where a request has it."""
    scope = Scope()
    gc.disable()
    try:
        tx = db(scope.add, max_conns=1).transaction()
        tx.execute(f'INSERT INTO {table} VALUES (1)')
        del tx
        cursor = db(scope.add, max_conns=1).cursor()
        cursor.execute(f'SELECT * FROM {table}')
        assert cursor.fetchall() == []
        del cursor
        assert db(max_conns=1).execute(f'SELECT * FROM {table}').fetch() == []
    finally:
        gc.enable()
    assert caplog.text.count('let go of without being closed') == 2
    assert not len(scope)


def test_a_transaction_that_is_never_used_costs_nothing(db: Db) -> None:
    with db(max_conns=1).transaction(), db(max_conns=1).cursor():
        assert pool(db, 1).counts() == (0, 0, 0)
    assert pool(db, 1).counts() == (0, 0, 0)


def test_a_lost_connection_ends_the_transaction(db: Db, table: str) -> None:
    kill = 'SELECT pg_terminate_backend (pid) FROM pg_stat_activity WHERE pid = $1'
    with pytest.raises(errors.NetworkError) as caught, db(max_conns=1).transaction() as tx:  # noqa: PT012
        pid = tx.execute('SELECT pg_backend_pid () AS a').one().a
        tx.execute(f'INSERT INTO {table} VALUES (1)')
        db().execute(kill, [pid]).commit()
        tx.execute(f'INSERT INTO {table} VALUES (2)')
    assert caught.value.http_status == 502
    assert db(max_conns=1).execute(f'SELECT * FROM {table}').fetch() == []
    wait_for(lambda: pool(db, 1).counts() == (1, 1, 0), 'a connection')


def test_a_lost_connection_is_not_handed_out(db: Db) -> None:
    """SPEC DB-05."""
    Tasks(db().execute('SELECT pg_sleep (0.05)') for _ in range(4)).commit()
    kill = 'SELECT pg_terminate_backend (pid) FROM pg_stat_activity WHERE query LIKE $1'
    db(max_conns=5).execute(kill, ['SELECT pg_sleep (0.05)%']).commit()
    assert Tasks(db().execute('SELECT 1 AS a') for _ in range(8)).fetch() == [[{'a': 1}]] * 8


@pytest.mark.parametrize('sql', ['SELECT pg_terminate_backend (pg_backend_pid ())', 'SELECT pg_sleep (65)'])
def test_a_connection_that_breaks_in_the_middle(db: Db, sql: str) -> None:
    """What may have been carried out is not repeated, and is an error of the network."""
    task = db(max_conns=1).execute(sql)
    if 'sleep' in sql:
        wait_for(lambda: activity(db, sql), 'the query')
        kill = 'SELECT pg_terminate_backend (pid) FROM pg_stat_activity WHERE query = $1'
        db(max_conns=5).execute(kill, [sql]).commit()
    with pytest.raises(errors.NetworkError) as caught:
        task.fetch()
    assert caught.value.sent
    assert task.dispatch().status == STA_NETERR
    assert db(max_conns=1).execute('SELECT 1 AS a').one().a == 1


def test_a_look_is_repeated_when_its_connection_breaks(db: Db, table: str) -> None:
    """SPEC DB-05, LB-03."""
    with db().transaction() as tx:
        tx.execute(f'LOCK TABLE {table}')
        look = db(max_conns=1).execute(f'SELECT count (*) AS n FROM {table}')
        wait_for(lambda: activity(db, 'AS n FROM t_'), 'the query')
        kill = "SELECT pg_terminate_backend (pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        db(max_conns=5).execute(kill).commit()
    assert look.one().n == 0


def test_transactions_on_an_event_loop(db: Db, table: str) -> None:
    async def main() -> None:
        async with db().transaction() as tx:
            await tx.execute(f"INSERT INTO {table} VALUES (1, 'a')")
            assert (await tx.execute(f'SELECT name FROM {table}')) == [{'name': 'a'}]
            assert tx.fetch() == [{'name': 'a'}]
        with pytest.raises(LookupError):  # noqa: PT012
            async with db().transaction() as tx:
                await tx.execute(f"INSERT INTO {table} VALUES (2, 'b')")
                raise LookupError
        with db().transaction() as tx:
            await tx.execute(f"INSERT INTO {table} VALUES (3, 'c')")
            await tx.commit()
        with pytest.raises(RuntimeError, match='nothing was committed'), db().transaction() as tx:
            await tx.execute(f"INSERT INTO {table} VALUES (4, 'd')")
        with db().transaction() as tx:
            first = tx.execute(f"INSERT INTO {table} VALUES (5, 'e')")
            second = tx.execute(f"UPDATE {table} SET name = 'f' WHERE id = 5")  # one after the other
            await tx.commit()
            assert first.done()
            assert second.done()

    async def on_another_loop() -> None:
        async with db().transaction() as tx:
            await tx.execute(f"INSERT INTO {table} VALUES (6, 'g')")

    Async(main).fetch()
    assert names(db, table) == ['a', 'c', 'f']
    asyncio.run(on_another_loop())
    assert names(db, table) == ['a', 'c', 'f', 'g']


def test_steps_of_a_transaction_that_is_cancelled_on_the_loop(db: Db, table: str) -> None:
    """None of them is carried out without the others."""

    async def main() -> None:
        tx = db(max_conns=1).transaction()
        steps = [tx.execute(f'INSERT INTO {table} VALUES ({i})') for i in range(5)]
        await steps[0]
        steps[3].cancel()
        for step in steps:
            await step.completed()
        with pytest.raises(errors.TaskCancelled):
            await tx.commit()
        tx.close()

    Async(main).fetch()
    assert db(max_conns=1).execute(f'SELECT * FROM {table}').fetch() == []
    wait_for(lambda: pool(db, 1).counts() == (1, 1, 0), 'the connection')


# -- cursors ----------------------------------------------------------------------------------------------


def test_a_cursor(db: Db, table: str) -> None:
    """SPEC DB-04."""
    with db().cursor() as cursor, pytest.raises(RuntimeError, match='nothing was executed'):
        cursor.fetchone()
    with db().cursor() as cursor:
        cursor.execute('SELECT generate_series (1, $1) AS a', [250])
        assert cursor.fetchone().a == 1
        assert [row.a for row in cursor.fetchn(2)] == [2, 3]
        assert [row.a for row in cursor.fetchmany(2)] == [4, 5]
        assert [row.a for row in cursor] == list(range(6, 251))
        assert cursor.fetchmany() == cursor.fetch() == []
        assert cursor.fetchone() is None
        cursor.execute('SELECT 1 AS a')
        assert cursor.fetchall() == [{'a': 1}]
    with pytest.raises(RuntimeError, match='has ended'):
        cursor.fetchone()


def test_a_cursor_reads_as_it_goes(db: Db) -> None:
    with db().cursor() as cursor:
        cursor.execute('SELECT generate_series (1, 1000000000) AS a, repeat ($1, 1000) AS b', ['x'])
        assert [len(row.b) for row in cursor.fetchmany(3)] == [1000] * 3


def test_several_cursors(db: Db) -> None:
    with db().cursor() as first, db().cursor() as second:
        first.execute('SELECT generate_series (1, 3) AS a')
        second.execute('SELECT generate_series (11, 13) AS a')
        assert [(x.a, y.a) for x, y in zip(first, second, strict=True)] == [(1, 11), (2, 12), (3, 13)]


def test_a_cursor_only_reads(db: Db, table: str) -> None:
    """What it wrote would be rolled back at its end; it is refused."""
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError) as caught, db().cursor() as cursor:  # noqa: PT012
        cursor.execute(f'INSERT INTO {table} VALUES (1) RETURNING id')
        cursor.fetchall()
    assert any('was.transaction' in note for note in caught.value.__notes__)
    with db().cursor() as cursor, pytest.raises(TypeError, match='one statement'):
        cursor.execute('SELECT 1; SELECT 2')


def test_a_cursor_on_an_event_loop(db: Db) -> None:
    async def main() -> Any:
        with db().cursor() as cursor:
            await cursor.execute('SELECT generate_series (1, 3) AS a')
            rows = await cursor.fetchmany(2)
            for wrong in (cursor.fetchall, lambda: next(iter(cursor))):
                with pytest.raises(errors.WouldBlock):
                    wrong()
            return [*rows, *(await cursor.fetchone())]

    assert Async(main).fetch() == [{'a': 1}, {'a': 2}, {'a': 3}]


# -- the end ----------------------------------------------------------------------------------------------


def test_at_the_end_everything_is_closed(db: Db) -> None:
    sleeping = db(max_conns=2).execute('SELECT pg_sleep (66)')
    waiting = [db(max_conns=2, timeout=None).execute('SELECT pg_sleep (66)') for _ in range(4)]
    tx = db().transaction()
    tx.execute('SELECT 66')
    wait_for(lambda: activity(db, 'pg_sleep (66)') == 2, 'the queries')
    started = time.monotonic()
    aquests.shutdown(1)
    assert time.monotonic() - started < 6
    for task in (sleeping, *waiting):
        with pytest.raises(errors.TaskError):
            task.fetch(timeout=1)
    wait_for(lambda: not activity(db, '66'), 'the end on the server')
    assert db().execute('SELECT 1 AS a').one().a == 1
    tx.close()


def test_nothing_of_a_request_is_kept_by_a_connection(db: Db) -> None:
    """The context of who made it is let go of."""
    import weakref
    from contextvars import ContextVar, copy_context

    class Request: ...

    current: ContextVar[Any] = ContextVar('current')
    kept: list[weakref.ref[Request]] = []

    def serve() -> None:
        request = Request()
        kept.append(weakref.ref(request))
        current.set(request)
        db().execute('SELECT 1').commit()
        with db(max_conns=1).transaction() as tx:
            tx.execute('SELECT 1')

    copy_context().run(serve)

    def gone() -> bool:
        gc.collect()
        return kept[0]() is None

    wait_for(gone, 'the end of the request', 5)


def test_a_forked_child_has_connections_of_its_own(db: Db) -> None:
    """What it inherited it neither uses nor closes, nor does it stop the parent from hearing of it."""
    pids = {row.a for task in [db().execute(PID) for _ in range(8)] for row in task.fetch()}
    for _ in range(3):
        child = os.fork()
        if not child:
            code = 1
            try:
                gc.collect()
                if db().execute(PID).one().a not in pids:
                    gc.collect()
                    code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        found = {row.a for task in [db().execute(PID) for _ in range(8)] for row in task.fetch(timeout=5)}
        assert found <= pids
