"""Hostile strings through the query builder on a real PostgreSQL: they stay values (SPEC SQ-20).

What goes in comes back, each lookup finds the row that it should, and no other row is touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import aquests
from aquests.aliases import DB_PGSQL, aliases
from aquests.dbi import database
from aquests.sql import D, Q

#: PostgreSQL's texts have no NUL, and UTF-8 no surrogates.
texts = st.text(st.characters(exclude_characters='\0', exclude_categories=['Cs']), min_size=1, max_size=30)


@pytest.fixture
def db(postgres: Any) -> Iterator[Any]:
    aliases.add('@hostile', DB_PGSQL, postgres.member, max_conns=2)
    db = database('@hostile')
    db.execute('DROP TABLE IF EXISTS hostile').commit()
    db.execute('CREATE TABLE hostile (id int PRIMARY KEY, name text, data jsonb, tags text [])').commit()
    yield db
    db.execute('DROP TABLE hostile').commit()
    aquests.shutdown(1)
    aliases.clear()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts)
@example(text="'; DROP TABLE hostile; --")
@example(text="\\' OR 1=1 --")
@example(text='%_\\%')
@example(text='$1 $$ %s %(x)s ?')
@example(text='{"a": 1}')
@example(text='"; \u2019 \U0001f4a3')
def test_values_stay_values(db: Any, text: str) -> None:
    db.delete('hostile').all().execute().commit()
    db.insert('hostile').set(id=1, name='other', data={'k': 'other'}, tags=['other']).execute().commit()
    made = db.insert('hostile').set(id=2, name=text, data={'k': text}, tags=[text]).returning('*').execute()
    row = {'id': 2, 'name': text, 'data': {'k': text}, 'tags': [text]}
    assert made.one() == row

    def found(*terms: Any, **lookups: Any) -> list[int]:
        query = db.select('hostile').get('id').filter(*terms, **lookups).order_by('id')
        return [one.id for one in query.execute().fetch()]

    here = [2] if text != 'other' else [1, 2]
    assert found(name=text) == here
    assert found(name__neq=text) == [i for i in (1, 2) if i not in here]
    assert found(name__in=[text]) == here
    assert found(name__notin=[text]) == [i for i in (1, 2) if i not in here]
    assert found(name__between=(text, text)) == here
    assert 2 in found(name__gte=text)
    assert 2 not in found(name__lt=text)
    for lookup in ('contains', 'startswith', 'endswith'):
        assert 2 in found(**{f'name__{lookup}': text})
        assert (1 in found(**{f'name__{lookup}': text})) == _holds('other', lookup, text)
        assert 2 not in found(**{f'name__n{lookup}': text})
    assert found(data___k=text) == here
    assert found(Q(name=text) | Q(id=0)) == here
    assert found(~Q(name=text)) == [i for i in (1, 2) if i not in here]
    inner = db.select('hostile').get('id').filter(name=text)
    assert found(id__in=inner) == here
    with_ = db.select('a').with_('a', D(value=text)).execute().fetch()
    assert [one.value for one in with_] == [text]

    upsert = db.insert('hostile').set(id=2, name='x').upflict('id', name=text + text).returning('name')
    assert upsert.execute().one() == {'name': text + text}
    changed = db.update('hostile').set(name=text).filter(id=2, name=text + text).returning('name').execute()
    assert changed.one() == {'name': text}
    assert db.select('hostile').get('name').filter(id=1).execute().one() == {'name': 'other'}
    db.delete('hostile').filter(id=2, name=text).execute().commit()
    assert found() == [1]


def _holds(value: str, lookup: str, text: str) -> bool:
    return {
        'contains': text in value,
        'startswith': value.startswith(text),
        'endswith': value.endswith(text),
    }[lookup]
