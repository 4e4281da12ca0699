"""Other tables in a statement (SPEC SQ-18)."""

from __future__ import annotations

from typing import Any, Self

from .builder import Database, Filtered
from .expressions import Expression, SubQuery
from .names import single
from .q import terms_of
from .rendering import Rendering, joined
from .targets import table as table_of


class Source:
    """A table and how it is called in the statement."""

    __slots__ = ('_alias', '_table')

    def __init__(self, table: Any, alias: str | None, what: str) -> None:
        self._table = table_of(table, what)
        self._alias = None if alias is None else single(alias, f'the alias of {what}')
        if alias is None and isinstance(self._table, SubQuery):
            raise ValueError(f"{what}: a query needs an alias, as in {what} (query, 'q')")

    def sql(self, out: Rendering) -> str:
        table = out.column(self._table)
        return table if self._alias is None else f'{table} AS {out.name((self._alias,))}'


class Joined(Filtered):
    """A statement that can look at other tables.

    `table`: as with `select`. `on`: Q, or SQL as a str, which must not contain anything from a user; `terms`
    and `lookups` as with `filter`. To compare columns write `b__id = F ('a.id')`. A column that is named
    `alias` or `on` needs its table in front: `b__on`.
    """

    def __init__(self, database: Database | None = None) -> None:
        super().__init__(database)
        self._joins: list[tuple[str, Source, list[Expression]]] = []

    def join(
        self, table: Any, /, alias: str | None = None, on: Any = None, *terms: Any, **lookups: Any
    ) -> Self:
        return self._join('INNER JOIN', Source(table, alias, 'join'), (on, *terms), lookups)

    def left_join(
        self, table: Any, /, alias: str | None = None, on: Any = None, *terms: Any, **lookups: Any
    ) -> Self:
        return self._join('LEFT JOIN', Source(table, alias, 'left_join'), (on, *terms), lookups)

    def right_join(
        self, table: Any, /, alias: str | None = None, on: Any = None, *terms: Any, **lookups: Any
    ) -> Self:
        return self._join('RIGHT JOIN', Source(table, alias, 'right_join'), (on, *terms), lookups)

    def full_join(
        self, table: Any, /, alias: str | None = None, on: Any = None, *terms: Any, **lookups: Any
    ) -> Self:
        return self._join('FULL JOIN', Source(table, alias, 'full_join'), (on, *terms), lookups)

    def cross_join(
        self, table: Any, /, alias: str | None = None, on: Any = None, *terms: Any, **lookups: Any
    ) -> Self:
        """Each row with each; conditions are the statement's."""
        self._joins.append(('CROSS JOIN', Source(table, alias, 'cross_join'), []))
        return self.filter(on, *terms, **lookups)

    def from_(
        self, table: Any, /, alias: str | None = None, on: Any = None, *terms: Any, **lookups: Any
    ) -> Self:
        """A further table: in SELECT as `cross_join`; FROM of an UPDATE, USING of a DELETE, where others can
        be joined to it.
        """
        self._joins.append(('CROSS JOIN', Source(table, alias, 'from_'), []))
        return self.filter(on, *terms, **lookups)

    def _join(self, word: str, source: Source, terms: tuple[Any, ...], lookups: dict[str, Any]) -> Self:
        on = terms_of(terms, lookups)
        if not on:
            raise ValueError(f'{word} needs a condition: on, or keywords')
        self._joins.append((word, source, on))
        return self

    def _join_clauses(self, out: Rendering) -> list[str]:
        return [_clause(*join, out) for join in self._joins]

    def _from_clauses(self, word: str, out: Rendering) -> list[str]:
        """The same for statements that begin with another table than those: FROM, USING."""
        if not self._joins:
            return []
        kind, source, on = self._joins[0]
        if on:
            raise ValueError(f'{kind}: the first table beside the own one is given by from_ (...)')
        return [f'{word} {source.sql(out)}', *(_clause(*join, out) for join in self._joins[1:])]


def _clause(word: str, source: Source, on: list[Expression], out: Rendering) -> str:
    table = f'{word} {source.sql(out)}'
    return f'{table} ON {joined([term._sql(out) for term in on], "AND")}' if on else table
