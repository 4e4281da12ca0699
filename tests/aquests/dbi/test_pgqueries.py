"""Queries that a connection takes together (`pgqueries`): each gets what it asked for, and nothing else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from projects import wait_for

import aquests
from aquests import Async, dbi, errors
from aquests.aliases import DB_PGSQL, Aliases
from aquests.dbi import Options, pgqueries, postgresql

if TYPE_CHECKING:
    from databases import Postgres

Db = Callable[..., Any]

SQL = 'SELECT $1::int AS a'


@pytest.fixture
def db(postgres: Postgres) -> Iterator[Db]:
    """`db (max_conns, ...)`: an interface with so many connections, and options."""
    register = Aliases()

    def make(max_conns: int = 1, **options: Any) -> Any:
        name = f'@pg{max_conns}'
        register.add(name, DB_PGSQL, postgres.member, max_conns=max_conns)
        return dbi.database(name, Options(**options), None, register)

    yield make
    aquests.shutdown(2)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries were sent in one go, each time that several were."""
    return counted(monkeypatch, [], [])


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The same of those that were done."""
    done: list[int] = []
    counted(monkeypatch, [], done)
    return done


def counted(monkeypatch: pytest.MonkeyPatch, sent: list[int], done: list[int]) -> list[int]:
    """From the next connection on."""
    perform = postgresql.perform_together

    async def perform_together(connection: Any, requests: Any) -> Any:
        sent.append(len(requests))
        found = await perform(connection, requests)
        done.append(len(requests))
        return found

    monkeypatch.setattr(postgresql, 'perform_together', perform_together)
    return sent


@contextmanager
def busy(db: Db) -> Iterator[None]:
    """The only connection is taken: what is made meanwhile waits, and is then there all at once."""
    with db().transaction() as tx:
        tx.execute('SELECT 1')
        yield
        all_wait()


def all_wait() -> None:
    """What was begun has come to the loop."""
    Async(asyncio.sleep, 0).commit()


def test_behind_one_that_was_cancelled_is_another_statement(db: Db) -> None:
    db().execute(SQL, [0]).commit()
    with busy(db):
        first = db().execute(SQL, [1])
        second = db().execute(SQL, [2])
        third = db().execute('SELECT $1::int * 10 AS b', [3])
        all_wait()
        second.cancel()
    assert first.fetch() == [{'a': 1}]
    assert third.fetch() == [{'b': 30}]


def test_too_few_values_are_not_made_up_for(db: Db) -> None:
    """The number that is added to a query's values must not be taken for one of them."""
    sql = 'SELECT $1::int AS a, $2::int AS b'
    db().execute(sql, [1, 2]).commit()
    with busy(db):
        tasks = [db().execute(sql, [i]) for i in range(3)]
    for task in tasks:
        with pytest.raises(asyncpg.InterfaceError):
            task.fetch()


def test_a_statement_for_many_values_is_not_one_of_them(db: Db) -> None:
    sql = 'SELECT $1::int[] AS a'
    db().execute(sql, [[0]]).commit()
    with busy(db):
        one = db().execute(sql, [[1]])
        many = db().executemany(sql, [[[2, 3]]])
    assert one.fetch() == [{'a': [1]}]
    assert many.fetch() == [{'a': [2, 3]}]


SHAPES = {
    'no columns': 'SELECT',
    'two columns of one name': 'SELECT $1::int AS a, $1::int + 1 AS a',
    'columns without a name': 'SELECT $1::int, $1::int + 1, now () > $$2000-01-01$$',
    'an empty one': 'SELECT $1::int AS a WHERE $1 = 1',
    'a comment at its end': 'SELECT $1::int AS a -- ; one',
    'a semicolon': 'SELECT $1::int AS a ; ',
    'a semicolon and a comment': 'SELECT $1::int AS a; -- one',
    'an order': 'SELECT a FROM unnest (ARRAY[3, $1::int, 2]) AS t (a) ORDER BY a DESC LIMIT 2 OFFSET 1',
    'a limit': 'SELECT a FROM generate_series (1, 5) AS a LIMIT $1',
    'union': 'SELECT $1::int AS a UNION ALL SELECT 5 UNION ALL SELECT $1 + 1',
    'values': 'VALUES ($1::int, $$x$$), (3, NULL)',
    'with': 'WITH RECURSIVE t (a) AS (SELECT $1::int UNION ALL SELECT a + 1 FROM t WHERE a < 4) TABLE t',
    'a text without a type': 'SELECT $$x$$ AS a, $1::text AS b, NULL AS c',
    'a value without a type': 'SELECT $1 AS a',
    'arrays': 'SELECT ARRAY[$1::int, NULL] AS a, ARRAY[ARRAY[1], ARRAY[$1]] AS b',
    'rows': 'SELECT ROW ($1::int, $$x$$) AS a, ARRAY (SELECT ROW (1, $1::int)) AS b',
    'json': 'SELECT jsonb_build_object ($$a$$, $1::int) AS a, json_agg ($1::int) AS b',
    'a marked text': 'SELECT $$$1::int$$ AS a, $x$;--$x$ AS "looked", $1::int AS "$2"',
}


@pytest.mark.parametrize('shape', SHAPES)
def test_together_is_the_same_as_alone(db: Db, shape: str) -> None:
    sql = SHAPES[shape]
    values: list[list[Any]] = [[i] if '$1' in sql.replace('$$$1', '') else [] for i in (1, 2, 3, 1)]
    if '::text' in sql or 'without a type' in shape:
        values = [[value and f'{value}'] for value in (1, 2, None, 1)]
    alone = [db().execute(sql, one).fetch() for one in values]
    with busy(db):
        tasks = [db().execute(sql, one) for one in values]
    assert [task.fetch() for task in tasks] == alone
    assert [[list(row) for row in task.fetch()] for task in tasks] == [[*map(list, rows)] for rows in alone]


def test_what_cannot_be_sent_together_is_tried_once(db: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0
    perform = postgresql.perform_together

    async def counted(connection: Any, requests: Any) -> Any:
        nonlocal tries
        tries += 1
        return await perform(connection, requests)

    monkeypatch.setattr(postgresql, 'perform_together', counted)
    sql = 'SELECT $1::int AS a; -- one'
    db().execute(sql, [0]).commit()
    for _ in range(3):
        with busy(db):
            tasks = [db().execute(sql, [i]) for i in range(4)]
        assert [task.one().a for task in tasks] == [0, 1, 2, 3]
    assert tries == 1


def test_of_those_sent_together_only_what_is_wrong_fails(db: Db, batches: list[int]) -> None:
    sql = 'SELECT 12 / $1::int AS a'
    db().execute(sql, [1]).commit()
    values: list[Any] = [1, 0, 2, 'x', 3, None, 1 << 40, 4]
    with busy(db):
        tasks = [db().execute(sql, [value]) for value in values]
    for value, task in zip(values, tasks, strict=True):
        if value == 0:
            with pytest.raises(asyncpg.DivisionByZeroError):
                task.fetch()
        elif value in ('x', 1 << 40):
            with pytest.raises(asyncpg.DataError):
                task.fetch()
        else:
            assert task.fetch() == [{'a': None if value is None else 12 // value}]
    with busy(db):
        tasks = [db().execute(sql, [i]) for i in range(1, 7)]
    assert [task.one().a for task in tasks] == [12 // i for i in range(1, 7)]
    assert batches == [6]


def test_some_of_those_sent_together_are_given_up(db: Db, sent: list[int]) -> None:
    """The others get theirs; when all are given up the server is told so."""
    db(2).execute('CREATE TABLE IF NOT EXISTS held (id int)').commit()
    sql = 'SELECT $1::int AS a, (SELECT count (*) FROM held) AS n'
    db().execute(sql, [0]).commit()

    def waits() -> int:
        return db(3).execute('SELECT 1 FROM pg_locks WHERE NOT granted').fetch().__len__()

    with db(2).transaction() as tx:
        tx.execute('LOCK TABLE held')
        with busy(db):
            tasks = [db(timeout=0.3 if i == 1 else 10).execute(sql, [i]) for i in range(4)]
        wait_for(waits, 'the queries to be held')
        tasks[0].cancel()
        with pytest.raises(errors.TaskTimeout):
            tasks[1].fetch()
    assert [task.fetch() for task in tasks[2:]] == [[{'a': 2, 'n': 0}], [{'a': 3, 'n': 0}]]
    assert sent == [4]
    with db(2).transaction() as tx:
        tx.execute('LOCK TABLE held')
        with busy(db):
            tasks = [db().execute(sql, [i]) for i in range(4)]
        wait_for(waits, 'the queries to be held')
        for task in tasks:
            task.cancel()
        wait_for(lambda: not waits(), 'the end of the queries')
    assert db().execute(sql, [7]).one() == {'a': 7, 'n': 0}
    db(2).execute('DROP TABLE held').commit()


def test_a_table_that_changes_meanwhile(db: Db) -> None:
    """A plan of before is not asked what it no longer gives."""
    table = 'changing'
    db(2).execute(f'DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (id int, a int)').commit()
    db(2).execute(f'INSERT INTO {table} SELECT i, i FROM generate_series (0, 9) AS i').commit()
    sql = f'SELECT * FROM {table} WHERE id = $1'
    kinds = ('text', 'bigint', 'text', 'numeric')
    for number, kind in enumerate(('int', *kinds)):
        if number:
            db(2).execute(f'ALTER TABLE {table} ALTER a TYPE {kind} USING a::{kind}').commit()
            db(2).execute(f'ALTER TABLE {table} ADD COLUMN c{number} int DEFAULT {number}').commit()
        for _ in range(2):
            with busy(db):
                tasks = [db().execute(sql, [i]) for i in range(10)]
            more = {f'c{i}': i for i in range(1, number + 1)}
            for i, task in enumerate(tasks):
                assert task.fetch() == [{'id': i, 'a': f'{i}' if kind == 'text' else i, **more}]
    db(2).execute(f'DROP TABLE {table}').commit()
    with busy(db):
        tasks = [db().execute(sql, [i]) for i in range(3)]
    for task in tasks:
        with pytest.raises(asyncpg.UndefinedTableError):
            task.fetch()


def test_large_results_together(db: Db, batches: list[int]) -> None:
    sql = 'SELECT i, rpad ($$$$, 1000, $1::text) AS a FROM generate_series (1, 2000) AS i'
    db().execute(sql, ['x']).commit()
    with busy(db):
        tasks = [db().execute(sql, [f'{i}']) for i in range(4)]
    for number, task in enumerate(tasks):
        rows = task.fetch()
        assert [row.i for row in rows] == list(range(1, 2001))
        assert {row.a for row in rows} == {f'{number}' * 1000}
    assert batches == [4]


def test_what_comes_back_belongs_to_what_was_asked(db: Db, batches: list[int]) -> None:
    """10,000 queries of 64 threads, with statements that look alike, some of them given up, some wrong."""
    statements = [
        ('SELECT $1::int AS a', lambda i: [{'a': i}]),
        ('SELECT $1::int + 1 AS a', lambda i: [{'a': i + 1}]),
        ('SELECT $1::int AS a UNION ALL SELECT -$1', lambda i: [{'a': i}, {'a': -i}]),
        ('SELECT $1::int AS a WHERE $1 % 2 = 0', lambda i: [] if i % 2 else [{'a': i}]),
        ('SELECT 100 / ($1::int % 50) AS a, $1 AS b', lambda i: [{'a': 100 // (i % 50), 'b': i}]),
    ]
    wrong: list[Any] = []

    def ask(number: int) -> None:
        for base in range(0, 160, 16):
            asked = []
            for i in range(base, base + 16):
                value = number * 1000 + i
                sql, answer = statements[(number + i // 4) % 5]
                asked.append((value, sql, answer, db(4, timeout=60).execute(sql, [value])))
            for value, _, _, task in asked:
                if value % 13 == 0:
                    task.cancel()
            for value, sql, answer, task in asked:
                result = task.dispatch()
                if isinstance(result.error, errors.TaskCancelled) and value % 13 == 0:
                    continue
                if '/' in sql and value % 50 == 0:
                    right = isinstance(result.error, asyncpg.DivisionByZeroError)
                else:
                    right = result.error is None and result.data == answer(value)
                if not right:
                    wrong.append((sql, value, result, result.data))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert len(batches) > 100


def test_queries_and_transactions_take_turns(db: Db) -> None:
    """However many transactions wait for a connection, a query has its turn; and the other way round."""
    over = threading.Event()
    counts = [0, 0]

    def transactions() -> None:
        while not over.is_set():
            with db(timeout=20).transaction() as tx:
                tx.execute('SELECT 1')
            counts[0] += 1

    def queries() -> None:
        while not over.is_set():
            db(timeout=20).execute(SQL, [1]).commit()
            counts[1] += 1

    threads = [threading.Thread(target=kind) for kind in (transactions, queries) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: min(counts) >= 20, 'both')
    finally:
        over.set()
        for thread in threads:
            thread.join(20)
    assert 1 / 20 < counts[0] / counts[1] < 20


@pytest.fixture
def slow(db: Db) -> Iterator[str]:
    """A look at `a` that takes 60 s for -1, 50 ms for 1 to 7, and no time for 0 and 8 to 10."""
    time = 'CASE WHEN a < 0 THEN pg_sleep (60)::text WHEN a BETWEEN 1 AND 7 THEN pg_sleep (0.05)::text END'
    db().execute('DROP VIEW IF EXISTS slow').commit()
    db().execute(f'CREATE VIEW slow AS SELECT a, {time} AS time FROM generate_series (-1, 10) AS a').commit()
    yield 'SELECT a, time FROM slow WHERE a = $1'
    db().execute('DROP VIEW slow').commit()


def test_a_slow_one_that_is_given_up_holds_up_no_other(db: Db, sent: list[int], slow: str) -> None:
    """It was sent with others: it is cancelled on the server, and they are done by themselves."""
    db().execute(slow, [0]).commit()
    with busy(db):
        first = db(timeout=0.5).execute(slow, [-1])
        others = [db(timeout=30).execute(slow, [number]) for number in (8, 9, 10)]
    with pytest.raises(errors.TaskTimeout):
        first.fetch()
    assert [task.fetch(timeout=20)[0]['a'] for task in others] == [8, 9, 10]
    assert sent == [4]
    active = "FROM pg_stat_activity WHERE query LIKE 'SELECT %FROM slow %' AND state = 'active'"
    looks = f'SELECT count (*) AS n {active} AND pid <> pg_backend_pid ()'
    wait_for(lambda: db(2).execute(looks).one().n == 0, 'its end on the server')
    assert db().execute(slow, [0]).one().a == 0


async def at_once(db: Db, sql: str, numbers: range) -> list[Any]:
    """Begun one after the other, with no step of the loop in between."""
    tasks = [db(8).execute(sql, [number]) for number in numbers]
    return [await task for task in tasks]


def test_quick_ones_that_come_at_once_share_a_connection(
    db: Db, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgqueries, 'QUICK', 60)  # whatever this machine is doing: one is quick
    db(8).execute(SQL, [0]).commit()
    rows = Async(at_once, db, SQL, range(20)).fetch()
    assert rows == [[{'a': number}] for number in range(20)]
    assert batches == [20]
    batches.clear()
    assert Async(at_once, db, SQL, range(100)).fetch() == [[{'a': number}] for number in range(100)]
    assert max(batches) == pgqueries.TOGETHER


def test_slow_ones_that_come_at_once_have_connections_of_their_own(
    db: Db, sent: list[int], slow: str
) -> None:
    db(8).execute(slow, [1]).commit()
    rows = Async(at_once, db, slow, range(1, 8)).fetch()
    assert [row['a'] for [row] in rows] == list(range(1, 8))
    assert sent == []
