"""`field__op = value` (SPEC SQ-09)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from aquests.sql import POSTGRESQL, SQLITE, Entry, F, Json, Q

db = Entry()
sub = db.select('u').get('id').filter(z=9)


def where(dialect: Any, lookups: dict[str, Any]) -> tuple[str, list[Any]]:
    sql, params = db.select('t').filter(**lookups).compile(dialect)
    return ' '.join(sql.split()).removeprefix('SELECT * FROM t WHERE '), params


POSTGRES: list[tuple[str, Any, str, list[Any]]] = [
    ('a', 1, 'a = $1', [1]),
    ('a__eq', 'x', 'a = $1', ['x']),
    ('a__exact', 'x', 'a = $1', ['x']),
    ('a__neq', 1, 'a <> $1', [1]),
    ('a__lt', 1, 'a < $1', [1]),
    ('a__lte', 1, 'a <= $1', [1]),
    ('a__gt', 1, 'a > $1', [1]),
    ('a__gte', 1, 'a >= $1', [1]),
    ('a', [1, 2], 'a = $1', [[1, 2]]),
    ('a', {'x': 1}, 'a = $1', [Json({'x': 1})]),
    ('a', sub, 'a = (SELECT id FROM u WHERE z = $1)', [9]),
    ('a__gt', F('b + 1'), 'a > b + 1', []),
    ('a__in', ['x', 'y'], 'a = ANY ($1)', [['x', 'y']]),
    ('a__in', {5}, 'a = ANY ($1)', [[5]]),
    ('a__in', range(3), 'a = ANY ($1)', [[0, 1, 2]]),
    ('a__in', [], '1 = 0', []),
    ('a__in', [1, F('b')], 'a IN ($1,b)', [1]),
    ('a__in', [[1], [2]], 'a IN ($1,$2)', [[1], [2]]),
    ('a__in', [{'x': 1}], 'a IN ($1)', [Json({'x': 1})]),
    ('a__in', sub, 'a IN (SELECT id FROM u WHERE z = $1)', [9]),
    ('a__notin', (1, 2), 'a <> ALL ($1)', [[1, 2]]),
    ('a__notin', [], '1 = 1', []),
    ('a__notin', sub, 'a NOT IN (SELECT id FROM u WHERE z = $1)', [9]),
    ('a__all', [1, 1], 'a = ALL ($1)', [[1, 1]]),
    ('a__all', [], '1 = 1', []),
    ('a__all', sub, 'a = ALL (SELECT id FROM u WHERE z = $1)', [9]),
    ('a__between', (1, 2), 'a BETWEEN $1 AND $2', [1, 2]),
    ('a__between', [F('b'), 2], 'a BETWEEN b AND $1', [2]),
    ('a__isnull', True, 'a IS NULL', []),
    ('a__isnull', False, 'a IS NOT NULL', []),
    ('a__contains', '50%_\\', 'a LIKE $1', ['%50\\%\\_\\\\%']),
    ('a__startswith', '%', 'a LIKE $1', ['\\%%']),
    ('a__endswith', '_', 'a LIKE $1', ['%\\_']),
    ('a__ncontains', 'x', 'a NOT LIKE $1', ['%x%']),
    ('a__notcontain', 'x', 'a NOT LIKE $1', ['%x%']),
    ('a__nstartswith', 'x', 'a NOT LIKE $1', ['x%']),
    ('a__notstartwith', 'x', 'a NOT LIKE $1', ['x%']),
    ('a__nendswith', 'x', 'a NOT LIKE $1', ['%x']),
    ('a__notendwith', 'x', 'a NOT LIKE $1', ['%x']),
    ('a__regex', '^x', 'a ~ $1', ['^x']),
    ('a__exists', sub, 'EXISTS (SELECT id FROM u WHERE z = $1)', [9]),
    ('exists', sub, 'EXISTS (SELECT id FROM u WHERE z = $1)', [9]),
    ('a__notexist', sub, 'NOT EXISTS (SELECT id FROM u WHERE z = $1)', [9]),
    ('exists', 1, '"exists" = $1', [1]),
    ('a__haskey', 'k', 'a ? $1', ['k']),
    ('a__haskeyin', ['k', 'l'], 'a ?| $1', [['k', 'l']]),
    ('a__haskeyin', [], '1 = 0', []),
    # columns
    ('t1__id__gt', 1, 't1.id > $1', [1]),
    ('t1__id', 1, 't1.id = $1', [1]),
    ('s__t1__id', 1, 's.t1.id = $1', [1]),
    ('t1._id__lt', 1, 't1._id < $1', [1]),
    ('a__foo', 1, 'a.foo = $1', [1]),
    ('gt', 1, 'gt = $1', [1]),
    ('t__all__eq', 1, 't."all" = $1', [1]),
    # JSON
    ('d___k', 'x', "d ->> 'k' = $1", ['x']),
    ('d___k', 1.5, "CAST (d ->> 'k' AS double precision) = $1", [1.5]),
    ('d___k', True, "CAST (d ->> 'k' AS boolean) = $1", [True]),
    ('d___k', Decimal(1), "CAST (d ->> 'k' AS numeric) = $1", [Decimal(1)]),
    ('d___k', 2**40, "CAST (d ->> 'k' AS bigint) = CAST ($1 AS bigint)", [2**40]),
    ('d___k', date(2020, 1, 1), "CAST (d ->> 'k' AS date) = $1", [date(2020, 1, 1)]),
    ('d___k', UUID(int=1), "CAST (d ->> 'k' AS uuid) = $1", [UUID(int=1)]),
    ('d___k', {'a': 1}, "CAST (d -> 'k' AS jsonb) = $1", [Json({'a': 1})]),
    ('d___k', [1], "CAST (d -> 'k' AS jsonb) = $1", [Json([1])]),
    ('d___k__in', [1, 2], "CAST (d ->> 'k' AS int) = ANY ($1)", [[1, 2]]),
    ('d___k__in', [1, 2.5], "CAST (d ->> 'k' AS double precision) = ANY ($1)", [[1, 2.5]]),
    ('d___k__in', [[1], {'a': 1}], "CAST (d -> 'k' AS jsonb) IN ($1,$2)", [Json([1]), Json({'a': 1})]),
    ('d___k__between', (1, 2), "CAST (d ->> 'k' AS int) BETWEEN $1 AND $2", [1, 2]),
    ('d___k___l__gte', 20, "CAST (d -> 'k' ->> 'l' AS int) >= $1", [20]),
    ('d___k__isnull', True, "d ->> 'k' IS NULL", []),
    ('d___k__contains', 'x', "d ->> 'k' LIKE $1", ['%x%']),
    ('d___k__haskey', 'x', "d -> 'k' ? $1", ['x']),
    ('d___k', sub, "d ->> 'k' = (SELECT id FROM u WHERE z = $1)", [9]),
    ('d___k__foo', 'x', "d ->> 'k__foo' = $1", ['x']),
    ('d___3___n', 'x', "d #> '{3}' ->> 'n' = $1", ['x']),
    ('d___n___0', 1, "CAST (d -> 'n' #>> '{0}' AS int) = $1", [1]),
    ('t1__d___k', 'x', "t1.d ->> 'k' = $1", ['x']),
    ("d___k' OR 1 = 1; --", 'x', 'd ->> CAST ($1 AS text) = $2', ["k' OR 1 = 1; --", 'x']),
    ('d___é___n', 1, "CAST (d -> CAST ($1 AS text) ->> 'n' AS int) = $2", ['é', 1]),
]

LITE: list[tuple[str, Any, str, list[Any]]] = [
    ('a__in', [1, 2], 'a IN (?,?)', [1, 2]),
    ('a__notin', [], '1 = 1', []),
    ('a__all', [1, 2], '(a = ? AND a = ?)', [1, 2]),
    ('a__contains', '%', "a LIKE ? ESCAPE '\\'", ['%\\%%']),
    ('a', {'x': 1}, 'a = ?', ['{"x":1}']),
    ('d___k', True, "json_extract (d, '$.\"k\"') = ?", [True]),
    ('d___k___0__gt', 1, "json_extract (d, '$.\"k\"[0]') > ?", [1]),
    ('d___4294967296', 1, "json_extract (d, '$.\"4294967296\"') = ?", [1]),
    ("d___k'", 1, 'json_extract (d, ?) = ?', ['$."k\'"', 1]),
    ("d___k'__all", [1, 2], '(json_extract (d, ?) = ? AND json_extract (d, ?) = ?)',
     ['$."k\'"', 1, '$."k\'"', 2]),
    ('d__haskey', 'k', 'json_type (d, ?) IS NOT NULL', ['$."k"']),
    ('d___l__haskeyin', ['0', "'"],
     '(json_type (d, ?) IS NOT NULL OR json_type (d, ?) IS NOT NULL)', ['$."l"."0"', '$."l"."\'"']),
]  # fmt: skip


@pytest.mark.parametrize(('keyword', 'value', 'sql', 'params'), POSTGRES)
def test_postgresql(keyword: str, value: Any, sql: str, params: list[Any]) -> None:
    assert where(POSTGRESQL, {keyword: value}) == (sql, params)


@pytest.mark.parametrize(('keyword', 'value', 'sql', 'params'), LITE)
def test_sqlite(keyword: str, value: Any, sql: str, params: list[Any]) -> None:
    assert where(SQLITE, {keyword: value}) == (sql, params)


@pytest.mark.parametrize('keyword', sorted({keyword for keyword, *_ in POSTGRES}))
def test_none_is_ignored(keyword: str) -> None:
    assert Q(**{keyword: None}).void


def test_many_values_are_one_parameter() -> None:
    """PostgreSQL has 32767 places."""
    _, params = where(POSTGRESQL, {'a__in': range(100_000)})
    assert len(params) == 1


WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: Q(a__in='abc'), TypeError, 'a__in takes a list'),
    (lambda: Q(a__in=5), TypeError, 'a__in takes a list'),
    (lambda: Q(a__in={'x': 1}), TypeError, 'a__in takes a list'),
    (lambda: Q(a__in=[1, None]), ValueError, 'isnull'),
    (lambda: Q(a__notin=[None]), ValueError, 'isnull'),
    (lambda: Q(a__between=(1,)), ValueError, 'from, to'),
    (lambda: Q(a__between=(1, None)), ValueError, 'None'),
    (lambda: Q(a__isnull='false'), TypeError, 'True or False'),
    (lambda: Q(a__contains=5), TypeError, 'takes a str'),
    (lambda: Q(a__startswith='x\0y'), ValueError, 'NUL'),
    (lambda: Q(a__regex=5), TypeError, 'takes a str'),
    (lambda: Q(a__exists=True), TypeError, 'takes a query'),
    (lambda: Q(a__haskey=5), TypeError, 'takes a str'),
    (lambda: Q(a__haskeyin='abc'), TypeError, 'list'),
    (lambda: Q(a__haskeyin=[5]), TypeError, 'list of str'),
    (lambda: Q(d___=1), ValueError, 'empty key'),
    (lambda: Q(__a=1), ValueError, 'is not a name'),
    (lambda: Q(a=Q(b=1)), TypeError, 'takes a value'),
    (lambda: where(SQLITE, {'a__regex': 'x'}), ValueError, 'regular expressions'),
    (lambda: where(SQLITE, {'a__all': sub}), ValueError, 'ALL'),
    (lambda: where(SQLITE, {'d___a"b': 1}), ValueError, 'key'),
    (lambda: where(POSTGRESQL, {'d___k__in': [1, 'x']}), ValueError, 'one type'),
]


@pytest.mark.parametrize(('make', 'error', 'words'), WRONG)
def test_what_is_wrong_is_said(make: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
