"""Whatever comes from outside: values never become SQL, names never more than names (SPEC SQ-20).

On a real SQLite in memory: what goes in comes out, and no other row is touched.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from aquests.sql import POSTGRESQL, SQLITE, D, Entry, Q, Select, V
from aquests.sql.lookups import OPERATORS


class Lite(Entry):
    _dialect = SQLITE


db = Lite()

#: What no text of ours has in it.
MARK = 'Zq7'

TRICKS = [
    "'",
    "''",
    '"',
    '`',
    '\\',
    "\\'",
    '%',
    '_',
    '\\%',
    ';',
    '--',
    '/*',
    '$1',
    '?',
    '{}',
    '{x}',
    '\n',
    'é',
    '😀',
]
TRICKS += ["'; DROP TABLE t; --", "' OR '1' = '1", '\\', 'NULL', '1', 'a', 'A', '']
pieces = st.sampled_from(TRICKS) | st.text(
    st.characters(exclude_categories=['Cs'], exclude_characters='\0'), max_size=4
)
texts = st.lists(pieces, max_size=4).map(''.join)
values = (
    texts | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.binary(max_size=8) | st.none()
)
documents = st.recursive(
    texts | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
many = settings(max_examples=100, deadline=None)


@contextmanager
def table(rows: Sequence[tuple[Any, ...]] = ()) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(':memory:')) as connection:
        connection.execute('CREATE TABLE t (id INTEGER PRIMARY KEY, a)')
        connection.executemany('INSERT INTO t VALUES (?, ?)', rows)
        yield connection


def run(connection: sqlite3.Connection, query: Any) -> list[Any]:
    return connection.execute(*query.compile()).fetchall()


def found(connection: sqlite3.Connection, *terms: Any, **lookups: Any) -> list[int]:
    query = db.select('t').get('id').filter(*terms, **lookups).order_by('id')
    return [id for (id,) in run(connection, query)]


def everywhere(word: str, value: str) -> Q:
    """A condition with `value`, by an operator; or in containers, or as a key."""
    if word == 'containers':
        return Q(a=1) | ~Q(b__gt=value, c=[value], d={'k': value, value: 1})
    if word == 'keys':
        return Q(**{f'a___{value}': value, 'b___k': value, 'c___k__in': [value]})
    if word in ('in', 'notin', 'between', 'all', 'haskeyin'):
        return Q(**{f'a__{word}': [value, value]})
    if word in ('exists', 'notexist'):
        return Q(**{word: db.select('u').filter(x=value)})
    return Q(**{f'a__{word}': value})


@many
@given(
    texts.map(lambda text: text + MARK + text),
    st.sampled_from([*sorted({*OPERATORS} - {'isnull'}), 'containers', 'keys']),
)
def test_a_value_is_never_in_the_text(value: str, place: str) -> None:
    """Of any statement, in either dialect; and it is among the parameters as it was given."""
    if place in ('keys', 'haskey', 'haskeyin'):
        value = value.replace('"', '').replace('\\', '') + "'"
    condition = everywhere(place, value)
    pattern = value.replace('\\', '\\\\').replace('%', '\\%').replace('_', '\\_')
    for query in (
        db.select('t').filter(condition).const('x', value).get(V(value)),
        db.select(db.select('t').exclude(condition), 'q').with_('w', D(a=value, b=[value])),
        db.insert('t').set(a=value, b=[value], c={value: value}).upflict('a', b=value).returning(),
        db.update('t').set(a=value).filter(condition).append(db.delete('t').filter(condition)),
        db.select('t').union(db.select('t').filter(a__in=db.select('t').filter(condition)).limit(5)),
        db.template('{a}{b}').feed(a=value, b=condition),
    ):
        for dialect in (POSTGRESQL, SQLITE):
            if dialect is SQLITE and place == 'regex':
                continue
            statements = query.statements(dialect)
            for sql, params in statements:
                assert MARK not in sql
                if dialect is POSTGRESQL:
                    assert f'${len(params)}' in sql or not params
                else:
                    assert sql.count('?') == len(params)
            params = [param for _, params in statements for param in params]
            expected = value, [value, value], f'%{pattern}%', f'{pattern}%', f'%{pattern}', f'$."{value}"'
            assert any(each in params for each in expected)


@many
@given(st.lists(values, min_size=1, max_size=6))
@example(['a', 'A', b'a', 1, 1.0, None, '1'])
def test_values_come_back_as_they_went_in(given: list[Any]) -> None:
    with table() as connection:
        for id, value in enumerate(given):
            run(connection, db.insert('t').set(id=id, a=value))
        assert run(connection, db.select('t').order_by('id')) == list(enumerate(given))
        assert [type(a) for _, a in run(connection, db.select('t').order_by('id'))] == [
            type(a) for a in given
        ]
        for value in given:
            same = [id for id, other in enumerate(given) if same_in_sql(other, value)]
            if value is not None:
                assert found(connection, a=value) == found(connection, a__in=[value]) == same
                assert (
                    found(connection, a__all=[value]) == found(connection, a__between=(value, value)) == same
                )
                assert found(connection, a__gte=value, a__lte=value) == same
                others = [id for id, other in enumerate(given) if id not in same and other is not None]
                assert found(connection, a__neq=value) == found(connection, a__notin=[value]) == others
                assert (
                    found(connection, ~Q(a=value))
                    == found(connection, Q(a__lt=value) | Q(a__gt=value))
                    == others
                )
            else:
                assert found(connection, a=V(None)) == found(connection, a__isnull=True) == same
            constant = db.select('t').get('id').const('c', value).filter(id=0)
            assert run(connection, constant) == [(0, value)]
            assert run(connection, db.select('w').with_('w', D(a=value, b=1))) == [(value, 1)]


def same_in_sql(one: Any, other: Any) -> bool:
    numbers = isinstance(one, int | float) and isinstance(other, int | float)
    return bool(one == other) and (numbers or type(one) is type(other))


@many
@given(st.lists(texts, min_size=1, max_size=6), texts, texts)
@example(['a%', 'ab', 'A%c', '%', ''], '%', 'a%')
def test_like_is_literal(rows: list[str], part: str, other: str) -> None:
    """Upper and lower case of ASCII are the same to SQLite."""
    with table(list(enumerate(rows))) as connection:
        for wanted in (part, other, *rows, *(row[1:3] for row in rows)):
            for word, opposite, is_in in LIKES:
                yes = [id for id, row in enumerate(rows) if is_in(_fold(row), _fold(wanted))]
                no = [id for id in range(len(rows)) if id not in yes]
                assert found(connection, **{f'a__{word}': wanted}) == yes
                assert found(connection, **{f'a__n{word}': wanted}) == no
                assert found(connection, **{f'a__{opposite}': wanted}) == no


LIKES: list[tuple[str, str, Callable[[str, str], bool]]] = [
    ('contains', 'notcontain', str.__contains__),
    ('startswith', 'notstartwith', str.startswith),
    ('endswith', 'notendwith', str.endswith),
]


def _fold(text: str) -> str:
    return ''.join(chr(ord(c) + 32) if 'A' <= c <= 'Z' else c for c in text)


@many
@given(st.lists(st.tuples(values, values), min_size=1, max_size=6), st.integers(0, 5))
def test_no_other_row_is_touched(rows: list[tuple[Any, Any]], at: int) -> None:
    at %= len(rows)
    with table([(id, a) for id, (a, _) in enumerate(rows)]) as connection:
        old, new = rows[at]
        changed = db.update('t').set(a=new).filter(id=at).returning('id', 'a')
        assert run(connection, changed) == [(at, new)]
        expected = [(id, new if id == at else a) for id, (a, _) in enumerate(rows)]
        assert run(connection, db.select('t').order_by('id')) == expected
        upsert = db.insert('t').set(id=at, a='x').upflict('id', a=old)
        run(connection, upsert)
        assert run(connection, db.select('t').order_by('id')) == [(id, a) for id, (a, _) in enumerate(rows)]
        if old is not None:
            run(connection, db.delete('t').filter(a=old))
            left = [(id, a) for id, (a, _) in enumerate(rows) if not same_in_sql(a, old)]
            assert run(connection, db.select('t').order_by('id')) == left


@many
@given(st.dictionaries(texts, documents, max_size=4), texts)
def test_json(document: dict[str, Any], key: str) -> None:
    """SPEC SQ-09: data___key."""
    with table() as connection:
        run(connection, db.insert('t').set(id=1, a={key: document, 'x': {'y': [document]}}))
        run(connection, db.insert('t').set(id=2, a={'other': 1}))
        [(text,)] = run(connection, db.select('t').get('a').filter(id=1))
        assert json.loads(text) == {key: document, 'x': {'y': [document]}}
        for name, value in document.items():
            if any(special in part for part in (key, name) for special in '"\\') or not _writable(key, name):
                continue
            path = f'a___{key}___{name}' if key and key != 'x' else f'a___x___y___0___{name}'
            if value is None:
                assert found(connection, **{f'{path}__isnull': True}) == [1, 2]
                continue
            assert found(connection, **{path: value}) == [1]
            assert found(connection, **{f'{path}__in': [value, 'zz']}) == [1]
            assert found(connection, **{f'{path}__isnull': False}) == [1]
            assert found(connection, **{f'{path.rpartition("___")[0]}__haskey': name}) == [1]
            assert found(connection, **{f'{path.rpartition("___")[0]}__haskeyin': ['zz', name]}) == [1]


def _writable(*keys: str) -> bool:
    """As a part of a keyword; and JSON does not write it in another way."""
    return all(
        key and '__' not in key and key.strip('_') == key and not key.isdigit() and key.isprintable()
        for key in keys
    )


# -- any sequence of methods ----------------------------------------------------------------------------

NAMES = [
    'id',
    'a',
    't.a',
    'order',
    'Group',
    'true',
    'null',
    'rowid',
    'user',
    'no_such',
    't__a',
    'a__gt',
    'a__in',
]
NAMES += [
    '*',
    't.*',
    '',
    'a b',
    'a; DROP TABLE t',
    "a'",
    'a"',
    'a`',
    'a]',
    '-a',
    '+order',
    'a, id',
    'select',
    '1',
]
NAMES += [
    'a___k',
    "a___k'___0",
    'a__isnull',
    'a__startswith',
    'a__between',
    'a__haskey',
    'a__all',
    'a__notin',
]
names = st.sampled_from(['id', 'a', 't', 'order', 'user']) | st.sampled_from(NAMES) | texts
words = st.dictionaries(names, values | st.lists(texts, max_size=3) | st.booleans(), max_size=2)
one_name = names.map(lambda name: ((name,), {}))
lookups = words.map(lambda words: ((), words))
conditions = st.tuples(words, words).map(lambda both: ((_q(both),), {}))
numbers = st.integers(-1, 3).map(lambda number: ((number,), {}))
named_value = st.tuples(names, values).map(lambda both: (both, {}))


def _q(both: Any) -> Any:
    """Q of them, made only when it is called for: it may be refused."""
    return lambda: Q(**both[0]) | ~Q(**both[1])


def _other(name: str) -> Any:
    return lambda: db.select(name).get('a')


joins = st.tuples(names, names, words).map(lambda each: ((each[0], each[1], _q((each[2], {}))), {}))
queries = names.map(lambda name: ((_other(name),), {}))
METHODS: dict[str, st.SearchStrategy[Any]] = {
    'filter': lookups | conditions,
    'exclude': lookups | conditions,
    'all': st.just(((), {})),
    'order_by': one_name,
    'group_by': one_name,
    'returning': one_name,
    'limit': numbers,
    'offset': numbers,
    'set': lookups,
    'const': named_value,
    'upflict': st.tuples(names, words).map(lambda both: ((both[0],), both[1])),
    'join': joins,
    'left_join': joins,
    'cross_join': joins,
    'from_': joins,
    'with_': st.tuples(names, names).map(lambda both: ((both[0], _other(both[1])), {})) | queries,
    'union': queries,
    'union_all': queries,
    'intersect': queries,
    'except_': queries,
    'into': st.tuples(names, names).map(lambda both: (both, {})),
    'clone': st.just(((), {})),
}
calls = st.sampled_from(sorted(METHODS)).flatmap(
    lambda method: METHODS[method].map(lambda arguments: (method, *arguments))
)

#: What SQLite may say of a sound statement: it is about something that isn't there, or doesn't fit.
FITTING = (
    'no such column',
    'no such table',
    'ambiguous column name',
    'has no column named',
    'no tables specified',
    'do not have the same number of result columns',
    'columns but',  # ... values were supplied
    'values for',
    'ORDER BY term does not match',
    'ON CONFLICT clause does not match',
    'row value misused',
    'misuse of aggregate',
    'circular reference',
    'duplicate WITH table name',
    'cannot join using column',
    'target object/alias may not appear in FROM clause',
    'RETURNING may not use',
    'a JOIN clause is required before ON',
)


@many
@given(st.sampled_from(['select', 'insert', 'update', 'delete']), names, st.lists(calls, max_size=7))
def test_any_sequence_of_methods_is_refused_or_is_sound(
    kind: str, table_name: str, sequence: list[Any]
) -> None:
    with closing(sqlite3.connect(':memory:')) as connection:
        connection.execute(
            'CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE, "order", "Group", user, "select", "true")'
        )
        connection.execute('CREATE TABLE "order" (id, a)')
        try:
            query: Any = getattr(db, kind)(table_name)
        except ValueError:
            query = getattr(db, kind)('t')
        for method, args, kwargs in sequence:
            if not hasattr(query, method):
                continue
            before = query.clone()
            try:
                query = getattr(query, method)(
                    *(each() if callable(each) else each for each in args), **kwargs
                )
            except (ValueError, TypeError):
                query = before
        try:
            sql, params = query.compile()
        except (ValueError, TypeError, AssertionError):
            return
        try:
            connection.execute('EXPLAIN ' + sql, params)
        except sqlite3.OperationalError as error:
            assert any(words in str(error) for words in FITTING), (str(error), sql)  # noqa: PT017
        assert tables(connection) == ['order', 't']
        str(query)
        Select('x').with_('y', query).compile()


def tables(connection: sqlite3.Connection) -> list[str]:
    return [
        name
        for (name,) in connection.execute(
            'SELECT name FROM sqlite_master WHERE type = ? ORDER BY 1', ['table']
        )
    ]
