"""Where statements begin (SPEC SQ-01)."""

from __future__ import annotations

from typing import Any, TypeVar

from ..task import Mask, Task
from .builder import Builder, no_database
from .delete import Delete
from .dialect import Dialect
from .expressions import D
from .insert import Insert
from .postgresql import POSTGRESQL
from .rendering import Rendering
from .select import Select
from .template import Template
from .update import Update

B = TypeVar('B', bound=Builder)


class Entry:
    """The methods of a database that make statements; a database inherits from this.

    It gives `_dialect` and `_run_query`. This class alone is for looking at SQL.
    """

    __slots__ = ()

    #: Whose SQL is written.
    _dialect: Dialect = POSTGRESQL

    def select(self, table: Any, alias: str | None = None) -> Select:
        return Select(table, alias, self)

    def insert(self, table: Any) -> Insert:
        return Insert(table, self)

    def update(self, table: Any) -> Update:
        return Update(table, self)

    def delete(self, table: Any) -> Delete:
        return Delete(table, self)

    def template(self, sql: str) -> Template:
        return Template(sql, self)

    def with_(self, alias: str | Builder | D, query: Builder | D | None = None) -> With:
        """`db.with_ ('a', query).select ('a')`: the statement that follows begins with it."""
        return With(self).with_(alias, query)

    def _run_query(self, builder: Builder, **options: Any) -> Task:
        """Execute `builder.statements ()`, in one transaction if `builder.is_transaction`."""
        raise no_database()

    def _empty_result(self, **options: Any) -> Task:
        """What `execute` gives where there is nothing to execute (SPEC SQ-12)."""
        return Mask([], meta=options.get('meta'))


class With(Builder):
    """What a statement is going to begin with; further `with_` add to it."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry)
        self._entry = entry

    def select(self, table: Any, alias: str | None = None) -> Select:
        return self._before(self._entry.select(table, alias))

    def insert(self, table: Any) -> Insert:
        return self._before(self._entry.insert(table))

    def update(self, table: Any) -> Update:
        return self._before(self._entry.update(table))

    def delete(self, table: Any) -> Delete:
        return self._before(self._entry.delete(table))

    def template(self, sql: str) -> Template:
        return self._before(self._entry.template(sql))

    def _before(self, statement: B) -> B:
        statement._with = [*self._with]
        return statement

    def _check(self) -> None:
        raise ValueError('with_ () is the beginning of a statement: go on with select () or another')

    def _statement(self, out: Rendering) -> list[str]:
        return []
