"""Q (SPEC SQ-10)."""

from __future__ import annotations

import sqlite3
import time
from functools import reduce
from operator import and_, or_
from typing import Any

import pytest

from aquests.sql import POSTGRESQL, SQLITE, Entry, F, Q

db = Entry()


def shown(*terms: Any) -> str:
    sql = ' '.join(str(db.select('t').filter(*terms)).split())
    return sql.removeprefix('SELECT * FROM t').removeprefix(' WHERE ')


a, b, c, d = Q(a=1), Q(b=2), Q(c=3), Q(d=4)


@pytest.mark.parametrize(
    ('q', 'sql'),
    [
        (a, 'a = 1'),
        (a | b, '(a = 1 OR b = 2)'),
        (a & b, '(a = 1 AND b = 2)'),
        (Q(a=1, b=2), '(a = 1 AND b = 2)'),
        (a | b | c, '(a = 1 OR b = 2 OR c = 3)'),
        ((a | b) & (c | d), '((a = 1 OR b = 2) AND (c = 3 OR d = 4))'),
        (a | (b & c), '(a = 1 OR (b = 2 AND c = 3))'),
        (a & b | c, '((a = 1 AND b = 2) OR c = 3)'),
        (~a, 'NOT (a = 1)'),
        (~~a, 'a = 1'),
        (~(a | b), 'NOT (a = 1 OR b = 2)'),
        (~(a | b) | c, '(NOT (a = 1 OR b = 2) OR c = 3)'),
        (~~(a | b) | c, '(a = 1 OR b = 2 OR c = 3)'),
        (Q('x OR y') & a, '((x OR y) AND a = 1)'),
        (Q(F('x = {}', 5)), '(x = 5)'),
        (Q(a, b, c=3), '(a = 1 AND b = 2 AND c = 3)'),
        (Q(a | b, c=3), '((a = 1 OR b = 2) AND c = 3)'),
        (Q(a | b), '(a = 1 OR b = 2)'),
        (Q(), ''),
        (~Q(a=None), ''),
        (Q() | a, 'a = 1'),
        (a & ~Q(), 'a = 1'),
        (Q(a=None) | Q(b=None), ''),
        (Q(Q(), a=None), ''),
    ],
)
def test_combinations(q: Q, sql: str) -> None:
    assert shown(q) == sql
    assert q.void == (not sql)


def test_a_q_never_changes() -> None:
    q = a | b
    _ = q | c, q & c, ~q, Q(q, d=4), db.select('t').filter(q).filter(c=3)
    assert shown(q) == '(a = 1 OR b = 2)'


def test_only_q_combines() -> None:
    for other in ('x', None, 5, db.select('t')):
        with pytest.raises(TypeError, match='combined with Q'):
            _ = a | other
    with pytest.raises(TypeError, match='condition'):
        Q(db.select('t'))


@pytest.mark.parametrize('word', [or_, and_])
def test_ten_thousand_terms(word: Any) -> None:
    """No recursion, no quadratic time, and SQLite takes it."""
    started = time.monotonic()
    q = reduce(word, [Q(a=number) for number in range(10_000)])
    for dialect in (POSTGRESQL, SQLITE):
        sql, params = db.select('t').filter(q).compile(dialect)
        assert params == list(range(10_000))
    assert time.monotonic() - started < 10
    with sqlite3.connect(':memory:') as connection:
        connection.execute('CREATE TABLE t (a)')
        connection.execute('INSERT INTO t VALUES (9999)')
        assert connection.execute(sql, params).fetchall() == ([(9999,)] if word is or_ else [])
        many = db.select('t')
        for number in range(3000):
            many.filter(a__gt=number)
        assert connection.execute(*many.compile(SQLITE)).fetchall() == [(9999,)]
    connection.close()


def test_depth_is_bounded_and_negations_are_none() -> None:
    q = a
    for _ in range(10_001):
        q = ~q
    assert shown(q) == 'NOT (a = 1)'
    q = a
    for _ in range(31):
        q = (q | b) & c
    assert shown(q).count('OR') == 31
    with pytest.raises(ValueError, match='nested deeper'):
        reduce(lambda q, _: (q | b) & c, range(10_000), q)
