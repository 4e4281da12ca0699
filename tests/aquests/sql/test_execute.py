"""`execute ()`: who is asked, and when not (SPEC SQ-01, SQ-08, SQ-12)."""

from __future__ import annotations

from typing import Any

import pytest

from aquests import Mask, Task
from aquests.sql import SQLITE, D, Entry, Select


class Spy(Entry):
    _dialect = SQLITE

    def __init__(self) -> None:
        self.asked: list[tuple[Any, dict[str, Any]]] = []

    def _run_query(self, builder: Any, **options: Any) -> Task:
        self.asked.append((builder, options))
        return Mask(builder.statements())


def test_the_database_is_asked() -> None:
    db = Spy()
    query = db.select('t').filter(a=1)
    task = query.execute(timeout=5)
    assert db.asked == [(query, {'timeout': 5})]
    assert task.fetch() == [('SELECT *\nFROM t\nWHERE a = ?', [1])]
    for query in (
        db.insert('t'), db.update('t').set(a=1).all(), db.delete('t').all(), db.template('X'),
        db.with_('a', db.select('b')).select('a'), db.select('t').clone().aggregate('x'), db.select('t')[1:3],
    ):  # fmt: skip
        query.execute()
        assert db.asked[-1] == (query, {})


def test_nothing_is_asked_for_no_rows() -> None:
    db = Spy()
    for query in (db.select('t').limit(0), db.select('t')[5:5], db.select('t')[5:3],
                  db.select('t').with_(D(a=1)).with_(db.select('u')).limit(0)):  # fmt: skip
        task = query.execute(meta={'a': 1}, timeout=3)
        assert task.done()
        assert task.fetch() == []
        assert task.meta == {'a': 1}
    assert not db.asked
    # But what must be done is.
    db.select('t').limit(0).append(db.delete('t').all()).execute()
    Select('t', database=db).with_('x', db.template('DELETE FROM t')).limit(0).execute()
    db.select('t').limit(0).aggregate('count (*)').execute()
    assert len(db.asked) == 3


def test_what_is_wrong_is_not_asked() -> None:
    db = Spy()
    with pytest.raises(AssertionError, match='no filter'):
        db.update('t').set(a=1).execute()
    with pytest.raises(ValueError, match='regular'):
        db.select('t').filter(a__regex='x').limit(0).execute()
    assert not db.asked


def test_without_a_database() -> None:
    for query in (Select('t'), Entry().select('t')):
        with pytest.raises(RuntimeError, match=r"was\.db \('@alias'\)"):
            query.execute()
    with pytest.raises(AssertionError, match='no filter'):
        Entry().delete('t').execute()
