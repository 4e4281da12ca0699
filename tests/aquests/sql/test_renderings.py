"""What is shown (SPEC E.1, chapter 23) and what is compiled for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from aquests.sql import POSTGRESQL, SQLITE, D, Entry, F, Json, Q, Select, V


class Lite(Entry):
    _dialect = SQLITE


db, lite = Entry(), Lite()


def flat(sql: str) -> str:
    """Without what cannot be seen."""
    return ' '.join(sql.split()).replace('( ', '(').replace(' )', ')')


def compiled(query: Any, dialect: Any = None) -> tuple[str, list[Any]]:
    sql, params = query.compile(dialect)
    return flat(sql), params


def root() -> Select:
    query = db.select('foo').order_by('-created_at').limit(10)
    return query.filter(Q(from_wallet_id=8) | Q(detail='ReturnTx'))


E1: list[tuple[Callable[[], Any], str, str, list[Any]]] = [
    (
        lambda: db.select('my_table').filter(name='Hans').with_('a', db.insert('my_table').set(name='Hans')),
        "WITH a AS (INSERT INTO my_table (name) VALUES ('Hans')) SELECT * FROM my_table WHERE name = 'Hans'",
        'WITH a AS (INSERT INTO my_table (name) VALUES ($1)) SELECT * FROM my_table WHERE name = $2',
        ['Hans', 'Hans'],
    ),
    (
        root,
        "SELECT * FROM foo WHERE (from_wallet_id = 8 OR detail = 'ReturnTx') "
        'ORDER BY created_at DESC LIMIT 10',
        'SELECT * FROM foo WHERE (from_wallet_id = $1 OR detail = $2) ORDER BY created_at DESC LIMIT $3',
        [8, 'ReturnTx', 10],
    ),
    (
        lambda: root().clone().aggregate('count (id) as cnt'),
        "SELECT count (id) as cnt FROM foo WHERE (from_wallet_id = 8 OR detail = 'ReturnTx')",
        'SELECT count (id) as cnt FROM foo WHERE (from_wallet_id = $1 OR detail = $2)',
        [8, 'ReturnTx'],
    ),
    (
        lambda: db.select('tble').get('id, name').filter(id__gt=0).limit(5),
        'SELECT id, name FROM tble WHERE id > 0 LIMIT 5',
        'SELECT id, name FROM tble WHERE id > $1 LIMIT $2',
        [0, 5],
    ),
    (
        lambda: db.update('t').set(a=None, b=True).filter(id=1).returning('*'),
        'UPDATE t SET a = NULL, b = true WHERE id = 1 RETURNING *',
        'UPDATE t SET a = $1, b = $2 WHERE id = $3 RETURNING *',
        [None, True, 1],
    ),
    (
        lambda: (
            db.delete('t')
            .filter(uid='x')
            .with_(db.delete('l').filter(user_id=db.select('u').filter(uid='x').get('id')))
        ),
        "WITH cte_1 AS (DELETE FROM l WHERE user_id = (SELECT id FROM u WHERE uid = 'x')) "
        "DELETE FROM t WHERE uid = 'x'",
        'WITH cte_1 AS (DELETE FROM l WHERE user_id = (SELECT id FROM u WHERE uid = $1)) '
        'DELETE FROM t WHERE uid = $2',
        ['x', 'x'],
    ),
    (
        lambda: db.select('t').filter(
            a__in=[1, 2],
            b__between=(1, 2),
            c__isnull=True,
            d__contains='f%',
            e__startswith='x',
            t1__id__neq=3,
            n=None,
        ),
        'SELECT * FROM t WHERE a IN (1,2) AND b BETWEEN 1 AND 2 AND c IS NULL AND '
        "d LIKE '%f\\%%' AND e LIKE 'x%' AND t1.id <> 3",
        'SELECT * FROM t WHERE a = ANY ($1) AND b BETWEEN $2 AND $3 AND c IS NULL AND '
        'd LIKE $4 AND e LIKE $5 AND t1.id <> $6',
        [[1, 2], 1, 2, '%f\\%%', 'x%', 3],
    ),
    (
        lambda: db.select('t').exclude(a=1, b=2),
        'SELECT * FROM t WHERE NOT (a = 1 AND b = 2)',
        'SELECT * FROM t WHERE NOT (a = $1 AND b = $2)',
        [1, 2],
    ),
    (
        lambda: db.select('t').filter(Q(a=1) | ~Q(b=2)),
        'SELECT * FROM t WHERE (a = 1 OR NOT (b = 2))',
        'SELECT * FROM t WHERE (a = $1 OR NOT (b = $2))',
        [1, 2],
    ),
    (
        lambda: db.select('t').filter(Q(a=None) | Q(b=1)),
        'SELECT * FROM t WHERE b = 1',
        'SELECT * FROM t WHERE b = $1',
        [1],
    ),
    (
        lambda: db.select('t')[10:30],
        'SELECT * FROM t LIMIT 20 OFFSET 10',
        'SELECT * FROM t LIMIT $1 OFFSET $2',
        [20, 10],
    ),
    (
        lambda: db.insert('city').set(name="O'Neil", t=1.5, d=db.select('x').get('y')),
        "INSERT INTO city (name, t, d) VALUES ('O''Neil', 1.5, (SELECT y FROM x))",
        'INSERT INTO city (name, t, d) VALUES ($1, $2, (SELECT y FROM x))',
        ["O'Neil", 1.5],
    ),
    (
        lambda: db.insert('t').set(a=1).upflict('a'),
        'INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO NOTHING',
        'INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO NOTHING',
        [1],
    ),
    (
        lambda: db.insert('t').set(a=1).upflict('a', b=2),
        'INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 2',
        'INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET b = $2',
        [1, 2],
    ),
    (
        lambda: db.select('t').filter(data___age=20, data___p___name='x'),
        "SELECT * FROM t WHERE CAST (data ->> 'age' AS int) = 20 AND data -> 'p' ->> 'name' = 'x'",
        "SELECT * FROM t WHERE CAST (data ->> 'age' AS int) = $1 AND data -> 'p' ->> 'name' = $2",
        [20, 'x'],
    ),
    (
        lambda: db.update('t').set(a=1).all(),
        'UPDATE t SET a = 1 WHERE 1 = 1',
        'UPDATE t SET a = $1 WHERE 1 = 1',
        [1],
    ),
]


@pytest.mark.parametrize(('make', 'shown', 'sql', 'params'), E1)
def test_the_truth_table(make: Callable[[], Any], shown: str, sql: str, params: list[Any]) -> None:
    """SPEC E.1, SQ-01, SQ-19."""
    query = make()
    assert flat(str(query)) == shown
    assert query.query == query.as_sql() == query.render() == str(query)
    assert compiled(query) == (sql, params)


def test_clauses_have_their_order_and_lines() -> None:
    """SPEC SQ-02."""
    query = (
        db.select('b')
        .returning('id')
        .upflict('id')
        .offset(2)
        .limit(1)
        .order_by('x', '+y', '-z')
        .having('count (*) > 1')
        .group_by('x, y')
        .filter(x=1)
        .join('c', 'cc', 'cc.id = b.id')
        .into('a', 'id', 'x')
        .with_('w', db.select('v'))
    )
    assert str(query).splitlines() == [
        'WITH w AS (SELECT *',
        'FROM v)',
        'INSERT INTO a (id, x)',
        'SELECT *',
        'FROM b',
        'INNER JOIN c AS cc ON (cc.id = b.id)',
        'WHERE x = 1',
        'GROUP BY x, y',
        'HAVING count (*) > 1',
        'ORDER BY x, y, z DESC',
        'LIMIT 1',
        'OFFSET 2',
        'ON CONFLICT (id) DO NOTHING',
        'RETURNING id',
    ]


class DjangoLike:
    class _meta:
        db_table = 'firebase_user'


class AlchemyLike:
    __tablename__ = 'person'


SHOWN: list[tuple[Any, str]] = [
    # SQ-01: tables
    (db.select('public.t', 'x'), 'SELECT * FROM public.t AS x'),
    (db.select(DjangoLike), 'SELECT * FROM firebase_user'),
    (db.select(AlchemyLike()), 'SELECT * FROM person'),
    (db.delete(DjangoLike).all(), 'DELETE FROM firebase_user WHERE 1 = 1'),
    (db.select(db.select('t').limit(3), 'q'), 'SELECT * FROM (SELECT * FROM t LIMIT 3) AS q'),
    (db.select(F('generate_series (1, 3)'), 'n'), 'SELECT * FROM generate_series (1, 3) AS n'),
    (db.with_('a', db.select('t')).select('a').filter(x=1),
     'WITH a AS (SELECT * FROM t) SELECT * FROM a WHERE x = 1'),
    (db.with_(db.select('t')).with_(D(a=1)).delete('u').all(),
     'WITH cte_1 AS (SELECT * FROM t), cte_2 (a) AS (VALUES (1)) DELETE FROM u WHERE 1 = 1'),
    (db.with_('a', db.select('t')).insert('u'), 'WITH a AS (SELECT * FROM t) INSERT INTO u DEFAULT VALUES'),
    (db.with_('a', db.select('t')).update('u').set(b=1).all(),
     'WITH a AS (SELECT * FROM t) UPDATE u SET b = 1 WHERE 1 = 1'),
    (db.with_('a', db.select('t')).template('TABLE a'), 'WITH a AS (SELECT * FROM t) TABLE a'),
    # SQ-03: columns
    (db.select('t').get('a', None, '').get('b, c'), 'SELECT a, b, c FROM t'),
    (db.select('t').partial('t.*', "data ? 'x' as has"), "SELECT t.*, data ? 'x' as has FROM t"),
    (db.select('t').get(V('id'), db.select('u').get('n')), "SELECT 'id', (SELECT n FROM u) FROM t"),
    (db.select('t').get('order, Name, NULL'), 'SELECT order, Name, NULL FROM t'),
    (db.select('t').get('order, Name'), 'SELECT "order", "Name" FROM t'),
    (db.select('t').const('kind', 'x'), "SELECT *, 'x' AS kind FROM t"),
    (db.select('t').const('one', 1).get('a').const('n', None), 'SELECT 1 AS one, a, NULL AS n FROM t'),
    # SQ-04: values
    (db.insert('t').set({'a': 1}, b=2).data(b=F('now ()')), 'INSERT INTO t (a, b) VALUES (1, now ())'),
    (db.insert('t').set(a={'k': "v'"}), """INSERT INTO t (a) VALUES ('{"k":"v''"}')"""),
    (db.insert('t').set(a=[1, None, 2.5], b=['x"', 'y']),
     """INSERT INTO t (a, b) VALUES ('{1,NULL,2.5}', '{"x\\"","y"}')"""),
    (db.insert('t').set(a=datetime(2020, 1, 2, 3, 4, 5), b=date(2020, 1, 2), c=time(3, 4)),
     "INSERT INTO t (a, b, c) VALUES (TIMESTAMP '2020-01-02 03:04:05', DATE '2020-01-02', TIME '03:04:00')"),
    (db.insert('t').set(a=datetime(2020, 1, 2, tzinfo=UTC)),
     "INSERT INTO t (a) VALUES (TIMESTAMPTZ '2020-01-02 00:00:00+00:00')"),
    (db.insert('t').set(a=Decimal('1.50'), b=b'\0\xff', c=UUID(int=5), d=float('inf')),
     "INSERT INTO t (a, b, c, d) VALUES (1.50, '\\x00ff', '00000000-0000-0000-0000-000000000005', 'inf')"),
    (db.insert('t').set(a=timedelta(hours=1)), "INSERT INTO t (a) VALUES (INTERVAL '1:00:00')"),
    (lite.insert('t').set(a=[1, 'x'], b=b'\1', c=datetime(2020, 1, 2), d=True),
     "INSERT INTO t (a, b, c, d) VALUES ('[1,\"x\"]', X'01', '2020-01-02 00:00:00', true)"),
    (db.update('t').set(n=F('n + {}', 2)).filter(id=1), 'UPDATE t SET n = n + 2 WHERE id = 1'),
    # SQ-05 to SQ-07
    (db.select('t').filter('a > b OR c', Q(d=1), e=2).filter(f=3),
     'SELECT * FROM t WHERE (a > b OR c) AND d = 1 AND e = 2 AND f = 3'),
    (db.select('t').filter(None, '', Q(), a=None), 'SELECT * FROM t'),
    (db.select('t').exclude(Q(a=1) | Q(b=2)).exclude(c=None), 'SELECT * FROM t WHERE NOT (a = 1 OR b = 2)'),
    (db.select('t').exclude(~Q(a=1)), 'SELECT * FROM t WHERE a = 1'),
    (db.select('t').filter(a=V(None), b__neq=V(None)), 'SELECT * FROM t WHERE a IS NULL AND b IS NOT NULL'),
    # SQ-11
    (db.select('t').group_by('a', F('b + 1')).having('x').having(F('y > {}', 1)),
     'SELECT * FROM t GROUP BY a, b + 1 HAVING (x) AND (y > 1)'),
    (db.select('t').order_by('-a, b', None, F('lower (c) DESC')),
     'SELECT * FROM t ORDER BY a DESC, b, lower (c) DESC'),
    # SQ-12
    (db.select('t')[5:], 'SELECT * FROM t OFFSET 5'),
    (db.select('t')[:5], 'SELECT * FROM t LIMIT 5'),
    (db.select('t').limit(3).limit(None).offset(0), 'SELECT * FROM t'),
    (lite.select('t')[5:], 'SELECT * FROM t LIMIT -1 OFFSET 5'),
    # SQ-14
    (db.select('t').get('a').order_by('a').group_by('a').having('x')[3:5]
        .aggregate('max (a)', ignore_limit=False),
     'SELECT max (a) FROM t LIMIT 2 OFFSET 3'),
    # SQ-15
    (db.select('x').with_('x', D({'a': 1, 'b': 'y'}, {'b': None, 'a': 2})),
     "WITH x (a, b) AS (VALUES (1, 'y'), (2, NULL)) SELECT * FROM x"),
    # SQ-16, SQ-17
    (db.insert('t').set(a=1).returning(), 'INSERT INTO t (a) VALUES (1) RETURNING *'),
    (db.insert('t').set(a=1).returning('id, t.a', F('a + 1 as b')),
     'INSERT INTO t (a) VALUES (1) RETURNING id, t.a, a + 1 as b'),
    (db.insert('t').set(a=1).upflict(['a', 'b'], c=F('excluded.c')),
     'INSERT INTO t (a) VALUES (1) ON CONFLICT (a, b) DO UPDATE SET c = excluded.c'),
    (db.insert('t').set(a=1).upflict(), 'INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING'),
    # SQ-18
    (db.select('t', 'a').left_join('u', 'b', None, Q(b__x=1) | Q(b__x=2), b__id=F('a.id')),
     'SELECT * FROM t AS a LEFT JOIN u AS b ON (b.x = 1 OR b.x = 2) AND b.id = a.id'),
    (db.select('t').right_join('u', on='x').full_join('v', on=Q(y=1)).cross_join('w').from_('z', 'zz', z=1),
     'SELECT * FROM t RIGHT JOIN u ON (x) FULL JOIN v ON y = 1 CROSS JOIN w CROSS JOIN z AS zz WHERE z = 1'),
    (db.update('t').set(a=F('u.a')).from_('u').join('v', on='v.id = u.id').filter(t__id=F('u.id')),
     'UPDATE t SET a = u.a FROM u INNER JOIN v ON (v.id = u.id) WHERE t.id = u.id'),
    (db.delete('t').from_('u', None, 't.id = u.id'), 'DELETE FROM t USING u WHERE (t.id = u.id)'),
    (db.select('a').filter(x=1).union(db.select('b')).union_all(db.select('c')).except_(db.select('d'))
        .order_by('x').limit(2),
     'SELECT * FROM a WHERE x = 1 UNION SELECT * FROM b UNION ALL SELECT * FROM c EXCEPT SELECT * FROM d '
     'ORDER BY x LIMIT 2'),
    (db.select('a').union(db.select('b').limit(1)).intersect(db.select('c')),
     'SELECT * FROM (SELECT * FROM a UNION SELECT * FROM (SELECT * FROM b LIMIT 1) AS right_1) AS left_2 '
     'INTERSECT SELECT * FROM c'),
    (db.select('t').get('a').into('u'), 'INSERT INTO u SELECT a FROM t'),
    (db.update('t').set(a=1).filter(b=2).append(db.delete('u').all()).append('VACUUM'),
     'UPDATE t SET a = 1 WHERE b = 2; DELETE FROM u WHERE 1 = 1; VACUUM;'),
    (db.insert('t').set(a=1).tran(), 'BEGIN; INSERT INTO t (a) VALUES (1); COMMIT;'),
    # template
    (db.template("SELECT '{{x}}', {1}, {n} FROM t WHERE {cond} AND id IN {ids} ORDER BY {by}").feed(
        n=5, cond=Q(a=1) | Q(b='x'), ids=db.select('u').get('id'), by=F('z')),
     "SELECT '{x}', {1}, 5 FROM t WHERE (a = 1 OR b = 'x') AND id IN (SELECT id FROM u) ORDER BY z"),
]  # fmt: skip


@pytest.mark.parametrize(('query', 'shown'), SHOWN)
def test_what_is_shown(query: Any, shown: str) -> None:
    assert flat(str(query)) == shown
    # What is executed is the same but for its values, and has as many places as values.
    for (sql, params), dialect in [(one, query._dialect) for one in query.statements()]:
        if dialect is POSTGRESQL:
            assert all(f'${number}' in sql for number in range(1, len(params) + 1))
            assert f'${len(params) + 1}' not in sql
        else:
            assert sql.count('?') == len(params)


COMPILED: list[tuple[Any, str, list[Any]]] = [
    # The type is said where PostgreSQL cannot infer it.
    (db.select('t').const('a', 1).const('b', 2**40).const('c', 2**70).const('d', 'x').const('e', True),
     'SELECT *, CAST ($1 AS int) AS a, CAST ($2 AS bigint) AS b, CAST ($3 AS numeric) AS c, '
     'CAST ($4 AS text) AS d, CAST ($5 AS boolean) AS e FROM t', [1, 2**40, 2**70, 'x', True]),
    (db.select('t').get(V([1, 2**40])).get(V({'a': 1})).get(V([[1.5], [None]])),
     'SELECT CAST ($1 AS bigint[]), CAST ($2 AS jsonb), CAST ($3 AS double precision[]) FROM t',
     [[1, 2**40], Json({'a': 1}), [[1.5], [None]]]),
    (db.select('x').with_('x', D(a=date(2020, 1, 1), b=b'x', c=UUID(int=1), d=datetime(2020, 1, 1))),
     'WITH x (a, b, c, d) AS (VALUES (CAST ($1 AS date), CAST ($2 AS bytea), CAST ($3 AS uuid), '
     'CAST ($4 AS timestamp))) SELECT * FROM x', [date(2020, 1, 1), b'x', UUID(int=1), datetime(2020, 1, 1)]),
    # Numbers that an int column's parameter could not be.
    (db.select('t').filter(a__gt=2**31, b=-(2**31), c__in=[1, 2**63]),
     'SELECT * FROM t WHERE a > CAST ($1 AS bigint) AND b = $2 AND c = ANY (CAST ($3 AS numeric[]))',
     [2**31, -(2**31), [1, 2**63]]),
    # One numbering through everything.
    (db.select(db.select('a').filter(x=1), 'q').with_('w', db.select('b').filter(y=2)).const('c', 3)
        .filter(z__in=db.select('d').filter(u=4)).union(db.select('e').filter(v=5)).limit(6),
     'WITH w AS (SELECT * FROM b WHERE y = $1) SELECT *, CAST ($2 AS int) AS c FROM (SELECT * FROM a '
     'WHERE x = $3) AS q WHERE z IN (SELECT * FROM d WHERE u = $4) UNION SELECT * FROM e WHERE v = $5 '
     'LIMIT $6',
     [2, 3, 1, 4, 5, 6]),
    (db.insert('t').set(a=(1, 2), b={'x': 1}, c=Json([1])), 'INSERT INTO t (a, b, c) VALUES ($1, $2, $3)',
     [[1, 2], Json({'x': 1}), Json([1])]),
    (lite.insert('t').set(a=(1, 2), b={'x': 'é'}, c=Json([1])), 'INSERT INTO t (a, b, c) VALUES (?, ?, ?)',
     ['[1,2]', '{"x":"é"}', '[1]']),
    (db.template('SELECT {a}, {b}, {a}').feed(a=1, b=[2]), 'SELECT $1, $2, $3', [1, [2], 1]),
    (db.select('t').filter(F('lower (a) = {} AND b = {}', 'x', 2)),
     'SELECT * FROM t WHERE (lower (a) = $1 AND b = $2)', ['x', 2]),
    # ON CONFLICT must not be read as a join's ON.
    (lite.select('t').into('u').upflict('a'),
     'INSERT INTO u SELECT * FROM t WHERE 1 = 1 ON CONFLICT (a) DO NOTHING', []),
]  # fmt: skip


@pytest.mark.parametrize(('query', 'sql', 'params'), COMPILED)
def test_what_is_compiled(query: Any, sql: str, params: list[Any]) -> None:
    """SPEC SQ-20."""
    assert compiled(query) == (sql, params)


def test_a_value_stays_the_object_that_it_was() -> None:
    given = [Decimal('1.10'), datetime(2020, 1, 1, tzinfo=UTC), b'\0', UUID(int=3), True, [1], 'x' * 9]
    for dialect in (POSTGRESQL, SQLITE):
        _, params = db.insert('t').set({f'c{at}': value for at, value in enumerate(given)}).compile(dialect)
        for value, param in zip(given, params, strict=True):
            assert param is value or isinstance(value, list)


def test_a_query_is_rendered_for_another_dialect() -> None:
    query = Select('t').filter(data___age=20, name__contains='x')
    assert compiled(query)[0] == "SELECT * FROM t WHERE CAST (data ->> 'age' AS int) = $1 AND name LIKE $2"
    assert compiled(query, SQLITE)[0] == (
        "SELECT * FROM t WHERE json_extract (data, '$.\"age\"') = ? AND name LIKE ? ESCAPE '\\'"
    )


def test_statements_of_several() -> None:
    """SPEC SQ-18: append, tran."""
    query = db.update('t').set(a=1).filter(b=2).append(db.select('u').append(db.select('v').filter(c=3)))
    assert [(flat(sql), params) for sql, params in query.statements()] == [
        ('UPDATE t SET a = $1 WHERE b = $2', [1, 2]),
        ('SELECT * FROM u', []),
        ('SELECT * FROM v WHERE c = $1', [3]),
    ]
    assert not query.is_transaction
    assert query.tran().is_transaction
    with pytest.raises(ValueError, match='statements'):
        query.compile()
    with pytest.raises(ValueError, match='of the whole'):
        db.select('t').append(db.select('u').tran())
    with pytest.raises(ValueError, match='part of another'):
        db.select('t').filter(a__in=db.select('t').tran())


def test_clones_are_independent() -> None:
    """SPEC SQ-13."""
    query = db.select('t').filter(a=1).order_by('a')
    before = str(query)
    for other in (query.clone(), query.branch(), query[1:2]):
        other.filter(b=2).order_by('b').get('c').limit(9).with_(db.select('x')).group_by('d').union(query)
        other.append('x').tran().join('j', on='k').having('l').returning('m').upflict('n').into('o')
        assert str(query) == before
    insert = db.insert('t').set(a=1)
    insert.clone().set(b=2).returning('x').upflict('a')
    assert flat(str(insert)) == 'INSERT INTO t (a) VALUES (1)'
    template = db.template('{a}').feed(a=1)
    template.clone().feed(a=2)
    assert str(template) == '1'


def test_what_is_put_into_a_query_is_taken_as_it_is_then() -> None:
    sub = db.select('u').get('id')
    query = db.select('t').filter(a__in=sub).with_('w', sub).union(sub)
    before = str(query)
    sub.filter(x=1)
    assert str(query) == before
    query.filter(b__in=query)
    assert str(query).count('b IN') == 1


def test_methods_return_the_builder() -> None:
    """SPEC SQ-01."""
    query = db.select('t')
    assert query.filter(a=1) is query
    assert query.get('a').order_by('a').limit(1).offset(1).group_by('a').all().exclude(a=2) is query


WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: db.update('t').set(a=1).render(), AssertionError, r'UPDATE has no filter.*\.all \(\)'),
    (lambda: db.update('t').set(a=1).filter(a=None).exclude(b=None).compile(), AssertionError, 'no filter'),
    (lambda: db.delete('t').execute(), AssertionError, 'DELETE has no filter'),
    (lambda: db.delete('t').filter('', None, Q(a=None), uid=None).execute(), AssertionError, 'no filter'),
    (lambda: str(db.select('t').with_(db.delete('u'))), AssertionError, 'no filter'),
    (lambda: db.select('t').append(db.delete('u')).statements(), AssertionError, 'no filter'),
    (lambda: db.update('t').all().compile(), ValueError, 'set'),
    (lambda: db.select('t').returning('a').compile(), ValueError, 'into'),
    (lambda: db.select(db.select('t')), ValueError, 'alias'),
    (lambda: db.select(5), TypeError, 'table'),
    (lambda: db.insert(db.select('t')), TypeError, 'insert takes a table'),
    (lambda: db.select('t').filter(5), TypeError, 'condition'),
    (lambda: db.select('t').filter(a=db.insert('t')), TypeError, 'a takes a value'),
    (lambda: db.insert('t').set(a=Q(b=1)), TypeError, 'set: a takes a value'),
    (lambda: db.insert('t').set(['a']), TypeError, 'dict'),
    (lambda: db.insert('t').set({'a.b': 1}), ValueError, 'without dots'),
    (lambda: lite.insert('t').set(a={'x': object()}).compile(), TypeError, 'JSON'),
    (lambda: db.select('t').get(V(object())).compile(), TypeError, 'CAST'),
    (lambda: db.select('t').get(V([1, 'x'])).compile(), ValueError, 'one type'),
    (lambda: db.select('t').limit('5'), TypeError, 'limit takes an int'),
    (lambda: db.select('t').limit(True), TypeError, 'limit takes an int'),
    (lambda: db.select('t').limit(-1), ValueError, 'limit'),
    (lambda: db.select('t').offset(2**63), ValueError, 'offset'),
    (lambda: db.select('t')[3], TypeError, 'from:to'),
    (lambda: db.select('t')[1:9:2], TypeError, 'from:to'),
    (lambda: db.select('t')[-5:], ValueError, 'start'),
    (lambda: list(db.select('t')), TypeError, 'iterable'),
    (lambda: db.select('t').join('u'), ValueError, 'condition'),
    (lambda: db.select('t').join('u', 'u', x=None), ValueError, 'condition'),
    (lambda: db.update('t').set(a=1).all().join('u', on='x').compile(), ValueError, 'from_'),
    (lambda: lite.delete('t').from_('u').all().compile(), ValueError, 'sqlite'),
    (lambda: lite.select('t').with_(lite.insert('u')).compile(), ValueError, 'sqlite'),
    (lambda: db.select('t').with_('a', db.select('u')).with_('a', db.select('v')), ValueError, 'already'),
    (lambda: db.select('t').with_('a', 'SELECT 1'), TypeError, 'with_ takes a query'),
    (lambda: db.with_('a', db.select('t')).compile(), ValueError, 'go on'),
    (lambda: db.select('t').union(db.insert('t')), TypeError, 'SELECT'),
    (lambda: db.select('t').union(db.select('u')).aggregate('count (*)'), ValueError, 'table'),
    (lambda: db.select('t').aggregate(), ValueError, 'column'),
    (lambda: db.select('t').filter(a=db.select('u').into('v')).compile(), ValueError, 'INSERT'),
    (lambda: db.insert('t').set(a=1).upflict(b=2), ValueError, 'column'),
    (lambda: db.template('{a}').compile(), ValueError, 'feed'),
    (lambda: db.template('x').feed(a=1), ValueError, 'no place'),
    (lambda: db.template('{a}').feed(a=Q(b=None)).compile(), ValueError, 'condition'),
    (lambda: F('{} {}', 1), ValueError, 'places'),
    (lambda: F(''), TypeError, 'SQL'),
    (lambda: D({'a': 1}, {'b': 1}), ValueError, 'row'),
    (lambda: D(), TypeError, 'columns'),
    (lambda: V(F('x')), TypeError, 'value'),
]  # fmt: skip


@pytest.mark.parametrize(('make', 'error', 'words'), WRONG)
def test_what_is_wrong_is_said(make: Callable[[], Any], error: type[Exception], words: str) -> None:
    """SPEC SQ-08, SQ-20."""
    with pytest.raises(error, match=words):
        make()


def test_nesting_is_bounded() -> None:
    query = db.select('t')
    for _ in range(60):
        query = db.select('t').filter(a__in=query)
    assert str(query).count('SELECT') == 61
    for _ in range(200):
        query = db.select('t').filter(a__in=query)
    for show in (query.compile, query.render, query.execute):
        with pytest.raises(ValueError, match='nested deeper'):
            show()
