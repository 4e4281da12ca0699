"""Queries that a connection takes together (`pgqueries`): each gets what it asked for, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg  # type: ignore[import-untyped]
import pytest

import aquests
from aquests import Async, dbi
from aquests.aliases import DB_PGSQL, Aliases
from aquests.dbi import Options, postgresql

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
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries were sent in one go, each time that several were."""
    sizes: list[int] = []
    perform = postgresql.perform_together

    async def counted(connection: Any, requests: Any) -> Any:
        found = await perform(connection, requests)
        sizes.append(len(requests))
        return found

    monkeypatch.setattr(postgresql, 'perform_together', counted)
    return sizes


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
