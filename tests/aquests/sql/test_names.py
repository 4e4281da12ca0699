"""What may be a name (SPEC SQ-20), and which are quoted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aquests.sql import POSTGRESQL, SQLITE, D, Entry, Q

db = Entry()

HOSTILE = [
    'a = 1; drop table x; --',
    'a"',
    "a'",
    'a`b',
    'a]b',
    'a b',
    'a\nb',
    'a\0',
    '1a',
    'a.',
    '.a',
    'a..b',
    'a,b;',
    'count(*)',
    'a-b',
    '\uff41',
    'é',
    '$1',
    '?',
    '%s',
    '--',
    '/**/',
    '*/',
    '\\',
]

PLACES: list[Callable[[str], Any]] = [
    lambda name: db.select(name),
    lambda name: db.select('t', name),
    lambda name: db.insert(name),
    lambda name: db.update(name),
    lambda name: db.delete(name),
    lambda name: db.select('t').filter(**{name: 1}),
    lambda name: db.select('t').filter(**{f'{name}__gt': 1}),
    lambda name: db.select('t').filter(**{f'{name}___key': 1}),
    lambda name: db.select('t').exclude(**{f't__{name}': 1}),
    lambda name: Q(**{f'{name}__in': [1]}),
    lambda name: db.insert('t').set({name: 1}),
    lambda name: db.update('t').set(**{name: 1}),
    lambda name: db.select('t').order_by(name),
    lambda name: db.select('t').order_by('-' + name),
    lambda name: db.select('t').group_by(name),
    lambda name: db.insert('t').returning(name),
    lambda name: db.insert('t').upflict(name),
    lambda name: db.insert('t').upflict('a', **{name: 1}),
    lambda name: db.select('t').join(name, on='x'),
    lambda name: db.select('t').join('u', name, 'x'),
    lambda name: db.select('t').join('u', 'u', **{name: 1}),
    lambda name: db.update('t').from_(name),
    lambda name: db.select('t').into(name),
    lambda name: db.select('t').into('u', name),
    lambda name: db.select('t').const(name, 1),
    lambda name: db.select('t').with_(name, db.select('u')),
    lambda name: D(**{name: 1}),
]


@pytest.mark.parametrize('place', range(len(PLACES)))
@pytest.mark.parametrize('name', HOSTILE)
def test_whatever_is_no_name_is_refused(place: int, name: str) -> None:
    with pytest.raises(ValueError, match='is not a name'):
        PLACES[place](name)


@pytest.mark.parametrize('name', ['', 'a\n', ' a'])
def test_a_keyword_is_a_name_as_it_is(name: str) -> None:
    for place in (*PLACES[:6], *PLACES[10:12]):
        with pytest.raises(ValueError, match='is not a name'):
            place(name)


def test_a_keyword_that_filter_itself_has() -> None:
    sql, params = db.select('t').filter(self=1, terms=2, lookups=3).exclude(self=4).compile()
    assert 'self = $1 AND terms = $2 AND lookups = $3' in sql
    assert params == [1, 2, 3, 4]
    assert db.insert('t').set(self=1, values=2).compile()[1] == [1, 2]
    assert db.insert('t').set(a=1).upflict('a', self=1, field=2).compile()[1] == [1, 1, 2]
    assert db.select('t').join('u', 'u', table=1).compile()[1] == [1]


def test_quotes_where_they_are_needed() -> None:
    """PostgreSQL reads upper case as lower case; in SQLite a name in double quotes may become a text."""
    query = db.select('order', 'Group').filter(user=1, Id=2, x__Select__gt=3, name=4, _a=5).order_by('desc')
    assert ' '.join(query.compile(POSTGRESQL)[0].split()) == (
        'SELECT * FROM "order" AS "Group" WHERE "user" = $1 AND "Id" = $2 AND x."Select" > $3 AND name = $4 '
        'AND _a = $5 ORDER BY "desc"'
    )
    assert ' '.join(query.compile(SQLITE)[0].split()) == (
        'SELECT * FROM `order` AS `Group` WHERE user = ? AND Id = ? AND x.`Select` > ? AND name = ? '
        'AND _a = ? ORDER BY desc'
    )
