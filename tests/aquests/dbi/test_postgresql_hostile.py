"""Hostile strings through the whole query builder on a real PostgreSQL: they stay values (SPEC SQ-20).

What goes in comes back, each condition finds the rows that it should, no other row is touched, and where a
name is expected such a string is refused. Each public method of each kind of statement is used, and each
lookup; the last test sees to that.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import wraps
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import aquests
from aquests.aliases import DB_PGSQL, aliases
from aquests.dbi import database
from aquests.sql import D, Delete, Entry, F, Insert, Json, Q, Select, Template, Update, V, With, lookups

#: PostgreSQL's texts have no NUL, and UTF-8 no surrogates.
texts = st.text(st.characters(exclude_characters='\0', exclude_categories=['Cs']), min_size=1, max_size=30)
hostile = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
OTHERS = {1: 'other', 3: 'third'}

Scenario = Callable[[Any, str], None]


@pytest.fixture
def db(postgres: Any) -> Iterator[Any]:
    aliases.add('@hostile', DB_PGSQL, postgres.member, max_conns=2)
    db = database('@hostile')
    db.execute(TABLES).commit()
    yield db
    db.execute('DROP TABLE hostile; DROP TABLE pair; DROP TABLE copy; DROP TABLE "user"').commit()
    aquests.shutdown(1)
    aliases.clear()


TABLES = """
    DROP TABLE IF EXISTS hostile, pair, copy, "user";
    CREATE TABLE hostile (id int PRIMARY KEY, name text, data jsonb, tags text []);
    CREATE TABLE pair (hid int, note text);
    CREATE TABLE copy (id int PRIMARY KEY, name text);
    CREATE TABLE "user" ("order" int, "Name" text)
"""


def reset(db: Any, text: str) -> None:
    """Row 2 is the hostile one."""
    empty = db.delete('hostile').all().append(db.delete('pair').all()).append(db.delete('copy').all())
    for id, name in {**OTHERS, 2: text}.items():
        empty.append(db.insert('hostile').set(id=id, name=name, data={'k': name}, tags=[name]))
        empty.append(db.insert('pair').set(hid=id, note=name))
    empty.tran().execute().commit()


def ids(query: Any) -> list[int]:
    return [row.id for row in query.get('id').order_by('id').execute().fetch()]


def rows(query: Any) -> list[list[Any]]:
    return [list(row.values()) for row in query.execute().fetch()]


def equal(text: str, yes: bool = True) -> list[int]:
    """The rows whose name is `text`, or isn't."""
    return [id for id, name in ((1, 'other'), (2, text), (3, 'third')) if (name == text) is yes]


# -- what is looked for -----------------------------------------------------------------------------------


def conditions(db: Any, text: str) -> None:
    def found(*terms: Any, **lookups: Any) -> list[int]:
        return ids(db.select('hostile').filter(*terms, **lookups))

    here, elsewhere = equal(text), equal(text, False)
    sub = db.select('pair').get('hid').filter(note=text)
    notes = db.select('pair').get('note').filter(note=text)
    for yes in (
        {'name': text}, {'name__eq': text}, {'name__exact': text}, {'name__in': [text]}, {'id__in': sub},
        {'name__all': [text, text]}, {'name__all': notes}, {'name__between': (text, text)}, {'name': V(text)},
        {'hostile__name': text}, {'data___k': text}, {'data___k__in': [text, text + 'x']},
        {'data': {'k': text}}, {'data': Json({'k': text})}, {'data__in': [{'k': text}]}, {'tags': [text]},
        {'tags': (text,)}, {'name': F('CAST ({} AS text) || CAST ({} AS text)', text[:1], text[1:])},
        {'name__gte': text, 'name__lte': text}, {'data___k__between': (text, text)},
    ):  # fmt: skip
        assert found(**yes) == found(Q(**yes)) == here, yes
        assert found(~Q(**yes)) == ids(db.select('hostile').exclude(**yes)) == elsewhere, yes
        assert found(Q(**yes) | Q(id=0)) == here
        assert found(Q(**yes) & Q(id__in=[1, 2, 3]), ~Q(id=0)) == here
    for no in ({'name__neq': text}, {'name__notin': (text,)}, {'id__notin': sub}, {'data___k__neq': text}):
        assert found(**no) == elsewhere, no
    assert sorted(found(name__lt=text) + found(name__gt=text)) == elsewhere
    for lookup, negatives, holds in LIKES:
        for column in ('name', 'data___k'):
            yes_ids = [id for id, name in ((1, 'other'), (2, text), (3, 'third')) if holds(name, text)]
            assert found(**{f'{column}__{lookup}': text}) == yes_ids
            for negative in negatives:
                expected = [id for id in (1, 2, 3) if id not in yes_ids]
                assert found(**{f'{column}__{negative}': text}) == expected
    literal = ''.join(f'[{each}]' if each not in '\\^[' else '\\' + each for each in text)
    assert found(name__regex=f'^{literal}$') == here
    assert found(exists=sub) == found(name__exists=sub) == [1, 2, 3]
    assert found(notexist=sub) == found(name__notexist=sub) == []
    assert found(name__isnull=False) == found(data___k__isnull=False) == [1, 2, 3]
    assert found(name__isnull=True) == found(**{f'data___{key(text)}__isnull': False}) == []


def key(text: str) -> str:
    """A key that can be a part of a keyword, and that no row has."""
    return 'x' + text.replace('_', '-') + 'x'


LIKES: list[tuple[str, list[str], Callable[[str, str], bool]]] = [
    ('contains', ['ncontains', 'notcontain'], str.__contains__),
    ('startswith', ['nstartswith', 'notstartwith'], str.startswith),
    ('endswith', ['nendswith', 'notendwith'], str.endswith),
]


def keys_of_documents(db: Any, text: str) -> None:
    """SPEC SQ-09: JSON, with keys from outside."""
    name = key(text)
    document = {'k': {name: text, 'l': [text, {name: [1, 2.5, True, text]}]}, text: 1}
    db.update('hostile').set(data=document).filter(id=2).execute().commit()
    for lookup, value in (
        (f'data___k___{name}', text),
        (f'data___k___{name}__contains', text),
        ('data___k___l___0', text),
        (f'data___k___l___1___{name}___0', 1),
        (f'data___k___l___1___{name}___1__lt', 2.6),
        (f'data___k___l___1___{name}___2', True),
        (f'data___k___l___1___{name}', [1, 2.5, True, text]),
        ('data___k', document['k']),
        ('data', document),
        (f'data___k___{name}__isnull', False),
        ('data__haskey', text),
        ('data__haskeyin', [text, text + name]),
        ('data___k__haskey', name),
        ('data___k__haskeyin', [name, text + name]),
    ):
        if text != 'k':  # all have that one
            assert ids(db.select('hostile').filter(**{lookup: value})) == [2], lookup
    assert db.select('hostile').get('data').filter(id=2).execute().one() == {'data': document}


# -- what is selected -------------------------------------------------------------------------------------


def columns(db: Any, text: str) -> None:
    query = db.select('hostile').get(V(text), F('concat ({}::text, name)', text)).partial('id')
    query.get(db.select('pair').get('note').filter(note=text).limit(1)).const('c', text).const('n', [text])
    assert rows(query.filter(id=1)) == [[text, text + 'other', 1, text, text, [text]]]
    assert rows(db.select('hostile').get(V({text: [text]})).filter(id=3)) == [[{text: [text]}]]


def groups(db: Any, text: str) -> None:
    query = db.select('hostile').get('name', 'count (*) as n').group_by('name')
    query.having(F('max (name) = {}', text)).having(F('count (*) > {}', 0)).order_by(F('name = {}', text))
    assert rows(query) == [[text, len(equal(text))]]
    by_expression = db.select('hostile').get(F('count (*) as n')).group_by(F('name = {}', text)).all()
    assert sorted(n for (n,) in rows(by_expression)) == sorted(
        filter(None, map(len, (equal(text), equal(text, False))))
    )
    counted = (
        query.clone()
        .filter(name=text)
        .aggregate(F('count (*) as n'), F('max (concat (name, {}::text)) as m', text))
    )
    assert rows(counted) == [[len(equal(text)), text + text]]
    assert rows(query.branch()) == rows(query)


def slices(db: Any, text: str) -> None:
    query = db.select('hostile').filter(name=text).get('name').order_by('-id')
    assert rows(query.limit(1)) == rows(query[:1]) == [[text]]
    assert rows(query.clone().offset(10**12)) == rows(query[5:]) == rows(query.clone().limit(0)) == []
    for wrong in (text, [text], 1.5, -1, 2**63, F('1')):
        for use in (query.limit, query.offset, lambda at: query[at:], lambda at: query[:at]):
            with pytest.raises((TypeError, ValueError), match=r'limit|offset|slice'):
                use(wrong)
    with pytest.raises(TypeError, match='from:to'):
        query[text]


def sets(db: Any, text: str) -> None:
    """UNION and its like."""

    def named(name: str) -> Any:
        return db.select('pair').get('note').filter(note=name)

    assert rows(named(text).union(named(text)).order_by('note')) == [[text]]
    assert len(rows(named(text).union_all(named(text)))) == 2 * len(equal(text))
    assert rows(named(text).intersect(named(text).const('c', text).aggregate('note'))) == [[text]]
    assert rows(named(text).except_(named(text))) == []
    both = named('other').union(named(text).limit(1)).intersect(named(text).union(named(text)))
    assert rows(both) == [[text]]


def queries_as_tables(db: Any, text: str) -> None:
    inner = db.select('hostile').filter(name=text)
    assert ids(db.select(inner, 'q').filter(q__name=text)) == equal(text)
    assert ids(db.select('w').with_('w', inner).filter(name=text)) == equal(text)
    assert ids(
        db.with_('w', inner).with_(D(x=text)).select('w').cross_join('cte_1', None, name=F('x'))
    ) == equal(text)
    values = D({'a': text, 'b': [text]}, {'a': None, 'b': [text, None]})
    assert rows(db.select('v').with_('v', values).filter(a=text)) == [[text, [text]]]
    changed = db.update('hostile').set(name=text + '!').filter(id=2, name=text).returning('name')
    assert rows(db.select('changed').with_('changed', changed)) == [[text + '!']]
    table = F('unnest (CAST ({} AS text []))', [text, text])
    assert rows(db.select(table, 'u').get('u')) == [[text], [text]]


def joins(db: Any, text: str) -> None:
    for kind in ('join', 'left_join', 'right_join', 'full_join', 'cross_join', 'from_'):
        query = db.select('hostile', 'h').get('h.id').order_by('h.id').filter(p__note=text)
        getattr(query, kind)('pair', 'p', Q(p__hid=F('h.id')), ~Q(p__note=text + 'x'))
        assert [row.id for row in query.execute().fetch()] == equal(text), kind
    inner = db.select('pair').filter(note=text)
    query = db.select('hostile', 'h').get('h.id').join(inner, 'p', None, p__hid=F('h.id'), p__note=text)
    assert rows(query.order_by('h.id')) == [[id] for id in equal(text)]


def templates(db: Any, text: str) -> None:
    sql = "SELECT id, CAST ({x} AS text) AS x, '{{x}}' AS y FROM hostile WHERE {cond} AND id IN {ids} {more}"
    query = db.template(sql).feed(x=text, cond=Q(name=text) | Q(name=None))
    query.feed(ids=db.select('pair').get('hid').filter(note=text), more=F('AND name = {}', text))
    expected = [[id, text, '{x}'] for id in equal(text)]
    assert rows(query.clone().feed(more=F('AND name = {} ORDER BY id', text))) == expected
    assert sorted(rows(query.branch())) == expected
    used = db.select('q').with_('q', query).filter(x=text).get('id').order_by('id')
    assert rows(used) == [[id] for id in equal(text)]
    assert rows(db.template('TABLE w').with_('w', D(a=text)).append(db.template('SELECT 1'))) == [[1]]
    assert rows(db.with_('w', D(a=text)).template('TABLE w').tran()) == [[text]]
    with pytest.raises(ValueError, match='no place'):
        query.feed(**{text + '}': 1})


# -- what is written --------------------------------------------------------------------------------------


def inserts(db: Any, text: str) -> None:
    made = db.insert('hostile').set({'name': text}, id=4).data(data={text: [text]}, tags=[text, None, text])
    assert made.returning().execute().one() == {
        'id': 4, 'name': text, 'data': {text: [text]}, 'tags': [text, None, text]
    }  # fmt: skip
    upsert = db.insert('hostile').set(id=4, name='x').upflict('id', name=text + text, data=Json([text]))
    assert upsert.returning('name, data').execute().one() == {'name': text + text, 'data': [text]}
    kept = upsert.clone().upflict(['id']).branch().returning(F('concat (name, {}::text) as n', text))
    assert kept.execute().fetch() == []
    by_query = db.insert('hostile').set(id=5, name=db.select('pair').get('note').filter(note=text).limit(1))
    by_query.set(tags=F('ARRAY [{}::text]', text)).with_('w', D(a=text)).returning('name', 'tags')
    assert rows(by_query) == [[text, [text]]]
    many = db.with_('w', D(a=text)).insert('copy').set(id=1, name=text)
    many.append(db.insert('copy').set(id=2, name=text)).append(db.select('copy').filter(name=text))
    assert rows(many.tran()) == [[1, text], [2, text]]
    into = db.select('hostile').get('id', V(text)).filter(id=2).into('copy', 'id', 'name')
    assert rows(into.clone().upflict('id', name=text + '!').returning('id', 'name')) == [[2, text + '!']]
    assert rows(into.upflict('id').returning('id')) == []
    db.insert('user').set({'order': 1, 'Name': text}).execute().commit()  # words that need quotes
    quoted = db.delete('user').filter(user__order=1, Name=text).returning('order', 'Name')
    assert rows(quoted) == [[1, text]]
    db.delete('hostile').filter(id__in=[4, 5]).execute().commit()


def updates(db: Any, text: str) -> None:
    changed = db.update('hostile').set({'name': text + '!'}).data(tags=[text], data={text: text})
    changed.filter(id=2, name=text).exclude(name=text + 'x').returning('name', 'tags', 'data')
    assert rows(changed) == [[text + '!', [text], {text: text}]]
    back = db.update('hostile').set(name=F('replace (name, {}, {})', text + '!', text), data={'k': text})
    assert rows(back.filter(name=text + '!').returning('name')) == [[text]]
    for kind in JOINED:
        query = db.update('hostile').set(name=F('concat (p.note, {}::text)', '!')).filter(id=2)
        query.from_('pair', 'p', None, p__note=text, hostile__id=F('p.hid'))
        joined(query, kind, text)
        assert rows(query.returning('hostile.name')) == [[text + '!']], kind
        all_rows = db.with_('w', D(a=text)).update('hostile').set(name=F('w.a')).from_('w').all().filter(id=2)
        assert rows(all_rows.clone().branch().returning('name')) == [[text]]
    two = db.update('pair').set(note=text).filter(hid=2).with_(D(a=text)).tran()
    assert rows(two.append(db.select('pair').get('note').filter(hid=2))) == [[text]]


JOINED = ('', 'join', 'left_join', 'right_join', 'full_join', 'cross_join')


def joined(query: Any, kind: str, text: str) -> None:
    """The pairs once more, as `r`."""
    if kind == 'cross_join':
        query.cross_join('pair', 'r', None, r__hid=F('p.hid'), r__note=text)
    elif kind:
        getattr(query, kind)('pair', 'r', None, Q(r__hid=F('p.hid')), r__note=F('p.note')).filter(
            r__note=text
        )


def deletes(db: Any, text: str) -> None:
    for kind in JOINED:
        query = db.delete('hostile').from_('pair', 'p', None, p__note=text, hostile__id=F('p.hid'))
        joined(query, kind, text)
        query.filter(id=2, name=text).exclude(name=text + 'x').returning('hostile.name', F('{}::text', text))
        assert rows(query) == [[text, text]], kind
        db.insert('hostile').set(id=2, name=text).execute().commit()
    gone = db.with_('w', D(a=text)).delete('hostile').filter(name=db.select('w').get('a'), id=2)
    gone.append(db.select('hostile').filter(id=2).get('name')).tran()
    assert gone.is_transaction
    assert rows(gone.clone().branch()) == []
    second = db.delete('pair').all().filter(note=text, hid=2).with_('w', D(a=text)).returning('note')
    assert rows(second) == [[text]]
    db.insert('hostile').set(id=2, name=text).execute().commit()


def shown(db: Any, text: str) -> None:
    """What is shown is not what is executed; it means the same all the same."""
    query = db.select('hostile').get('id').const('c', text).filter(name__in=[text, text + 'x'])
    query.filter(Q(name=text) | Q(name__startswith=text + 'x'), tags=[text], data___k=text).order_by('id')
    for show in (str, Select.render, Select.as_sql, lambda query: query.query):
        assert db.execute(show(query)).fetch() == query.execute().fetch()
    for query, params in (
        (db.select('hostile').filter(name=text), [[text]]),
        (db.select('hostile').append(db.delete('copy').filter(name=text)), [[], [text]]),
        (db.insert('copy').set(id=4, name=text), [[4, text]]),
        (
            db.insert('hostile').set(id=4, name=text).append(db.delete('hostile').filter(id=4)),
            [[4, text], [4]],
        ),
        (db.update('hostile').set(name=text).filter(id=2, name=text), [[text, 2, text]]),
        (db.delete('hostile').filter(name=text + 'x'), [[text + 'x']]),
        (db.template('SELECT {x}').feed(x=text), [[text]]),
    ):
        assert [values for _, values in query.clone().statements()] == params
        assert query.render() == query.as_sql() == query.query
        assert not query.is_transaction
        if len(params) == 1:
            assert query.compile() == query.statements()[0]
        db.execute(query.tran().render()).commit()


# -- where a name is expected -----------------------------------------------------------------------------


def names(db: Any, text: str) -> None:
    """Nothing is executed: whatever is no name is refused where it is given."""
    bad = text.replace('_', '-') + '"'
    query, other = db.select('hostile'), db.select('pair')
    for use in (
        lambda: query.order_by(bad), lambda: query.order_by('-' + bad), lambda: query.group_by(bad),
        lambda: query.returning(bad), lambda: query.into(bad), lambda: query.into('copy', bad),
        lambda: query.upflict(bad), lambda: query.upflict('id', **{bad: 1}), lambda: query.const(bad, 1),
        lambda: query.with_(bad, other), lambda: db.with_(bad, other), lambda: query.filter(**{bad: 1}),
        lambda: query.exclude(**{bad: 1}), lambda: Q(**{bad + '___k': 1}), lambda: Q(**{f'a__{bad}__gt': 1}),
        lambda: db.select(bad), lambda: db.select('hostile', bad), lambda: db.insert(bad),
        lambda: db.update(bad), lambda: db.delete(bad), lambda: db.insert('copy').set({bad: 1}),
        lambda: db.update('copy').data(**{bad: 1}), lambda: D({bad: 1}),
        *(lambda kind=kind: getattr(query, kind)(bad, 'p', on=Q(a=1)) for kind in JOINED[1:]),
        *(lambda kind=kind: getattr(query, kind)('pair', bad, on=Q(a=1)) for kind in (*JOINED[1:], 'from_')),
        *(lambda kind=kind: getattr(query, kind)('pair', 'p', **{bad: 1}) for kind in JOINED[1:]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r'is not a name|without dots') as caught:
            use()
        assert caught.value.http_status == 400  # type: ignore[attr-defined]
    for raw in (
        lambda: F(''),
        lambda: F(text.replace('{', '').replace('}', ''), text),
        lambda: F('{} {}', text),
    ):
        with pytest.raises((TypeError, ValueError), match=r'F takes|places'):
            raw()
    for wrong in (
        {'name__contains': [text]}, {'name__in': text}, {'name__between': [text]}, {'id__isnull': text},
        {'name__regex': 5}, {'data__haskey': 5}, {'data__haskeyin': text},
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match='takes'):
            query.filter(**wrong)
    with pytest.raises(AssertionError, match='no filter'):
        db.update('hostile').set(name=text).execute()
    with pytest.raises(AssertionError, match='no filter'):
        db.delete('hostile').filter(name=None).execute()


SCENARIOS: list[Scenario] = [
    conditions, keys_of_documents, columns, groups, slices, sets, queries_as_tables, joins, templates,
    inserts, updates, deletes, shown, names,
]  # fmt: skip


def tricks(test: Any) -> Any:
    for text in (
        "'; DROP TABLE hostile; --", "\\' OR 1=1 --", '%_\\%', '$1 $$ %s %(x)s ?', '{"a": 1}', '{x}{{y}}',
        'other', '"; \u2019 \U0001f4a3', '\\', 'E\\\\', '--', '/*', 'NULL', '\n', "''", '`', '$a$', 'k',
        '0', '1',
    ):  # fmt: skip
        test = example(text=text)(test)
    return test


@pytest.mark.parametrize('scenario', SCENARIOS)
@hostile
@given(text=texts)
@tricks
def test_values_stay_values(db: Any, scenario: Scenario, text: str) -> None:
    reset(db, text)
    scenario(db, text)
    left = db.select('hostile').get('id, name, data, tags').filter(id__neq=2).order_by('id')
    assert rows(left) == [[id, name, {'k': name}, [name]] for id, name in OTHERS.items()]
    assert rows(db.select('hostile').get('count (*)')) == [[3]]


def test_numbers_are_what_they_were(db: Any) -> None:
    """A fraction is no whole number, and none that is stored is another one."""
    db.execute(
        'CREATE TABLE numbers (i int, b bigint, a int [], n numeric, f float8, r real, m numeric [])'
    ).commit()
    try:
        given = {
            'i': 3.0,
            'b': Decimal(2**62),
            'a': [1.0, 2],
            'n': 0.1,
            'f': 0.1,
            'r': 0.5,
            'm': [19.99, 1e-7],
        }
        made = db.insert('numbers').set(given).returning().execute().one()
        assert made == {**given, 'n': Decimal('0.1'), 'm': [Decimal('19.99'), Decimal('1E-7')]}
        for column, value in (('n', 0.1), ('n__in', [0.1, 5]), ('f', 0.1), ('r', 0.5), ('m', [19.99, 1e-7])):
            assert len(rows(db.select('numbers').filter(**{column: value}))) == 1, column
        for column, value in (('i', 3.5), ('b', Decimal('0.5')), ('a', [1.0, 2.5]), ('i__in', [3, 3.2])):
            with pytest.raises(asyncpg.DataError, match='whole number'):
                db.delete('numbers').filter(**{column: value}).execute().commit()
        for value in (float('nan'), {'a': [float('inf')]}, Json([float('-inf')])):
            with pytest.raises(asyncpg.DataError, match='neither NaN'):
                db.execute('SELECT $1::jsonb', [value]).fetch()
        assert db.execute('SELECT $1::jsonb AS j', [[1.5, [None, 0.1]]]).one().j == [1.5, [None, 0.1]]
        assert len(rows(db.select('numbers'))) == 1
    finally:
        db.execute('DROP TABLE numbers').commit()


# -- nothing is left out ----------------------------------------------------------------------------------

KINDS = (Entry, With, Select, Insert, Update, Delete, Template)
#: What is no way for a value into a statement.
APART = {('With', name) for name in ('append', 'tran', 'is_transaction', 'compile', 'statements', 'render',
                                     'as_sql', 'query', 'execute', 'clone', 'branch')}  # fmt: skip


def public(kind: type) -> set[str]:
    names = {name for name in dir(kind) if not name.startswith('_')}
    return names | ({'__getitem__'} if hasattr(kind, '__getitem__') else set())


def test_every_method_and_lookup_is_used(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[tuple[str, str]] = set()

    def kind_of(one: Any) -> str:
        return next(kind.__name__ for kind in reversed(KINDS) if isinstance(one, kind))

    def watch(owner: type, name: str, member: Any) -> None:
        if isinstance(member, property):
            get = member.fget
            assert get is not None
            monkeypatch.setattr(owner, name, property(lambda one: used.add((kind_of(one), name)) or get(one)))
            return

        @wraps(member)
        def watched(one: Any, *args: Any, **kargs: Any) -> Any:
            used.add((kind_of(one), name))
            return member(one, *args, **kargs)

        monkeypatch.setattr(owner, name, watched)

    owners = {owner for kind in KINDS for owner in inspect.getmro(kind) if owner is not object}
    expected = {(kind.__name__, name) for kind in KINDS for name in public(kind)} - APART
    for owner in owners:
        for name, member in list(vars(owner).items()):
            if not name.startswith('_') or name == '__getitem__':
                watch(owner, name, member)

    words: set[str] = set()

    class Watched(dict[str, Any]):
        def __getitem__(self, word: str) -> Any:
            words.add(word)
            return super().__getitem__(word)

    monkeypatch.setattr(lookups, 'OPERATORS', Watched(lookups.OPERATORS))
    for scenario in SCENARIOS:
        reset(db, "it's")
        scenario(db, "it's")
    assert expected - used == set()
    assert set(lookups.OPERATORS) - words == set()
