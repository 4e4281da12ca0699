"""SELECT (SPEC SQ-03, SQ-11 to SQ-14, SQ-18)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from ..refusals import refuse, sendable
from .builder import Builder, Database, Returning
from .expressions import D, Expression, F, SubQuery, V, taken
from .joins import Joined, Source
from .names import Name, columns_in, short, single
from .rendering import Rendering, joined
from .targets import columns as names_of
from .targets import written
from .writing import Upflict

#: The greatest number that both databases take.
_MOST = (1 << 63) - 1


class Select(Joined, Upflict, Returning, SubQuery):
    """`SELECT ... FROM table`. `table`: a name, a model, a query, or F (...); a query needs an `alias`.

    ORDER BY, LIMIT and OFFSET of one with `union` and the like are those of the whole.
    """

    def __init__(self, table: Any, alias: str | None = None, database: Database | None = None) -> None:
        super().__init__(database)
        self._source = Source(table, alias, 'select')
        self._columns: list[Name | Expression] = []
        self._group: list[Name | Expression] = []
        self._having: list[F] = []
        self._order: list[tuple[Name | Expression, str]] = []
        self._limit: int | None = None
        self._offset: int | None = None
        self._sets: list[tuple[str, Select]] = []
        self._into: tuple[Name, list[Name]] | None = None

    # -- what is selected -------------------------------------------------------------------------------

    def get(self, *columns: Any) -> Self:
        """Columns instead of `*`, with those of earlier calls; a str may have several (SPEC SQ-03).

        A str that is more than names is SQL as it is, so never let users choose it. V (...) is a value, a
        query a sub-query. None and '' are left out.
        """
        for column in columns:
            if isinstance(column, str):
                if column.strip():
                    self._columns.extend(columns_in(column) or [F(column)])
            elif isinstance(column, Expression):
                self._columns.append(column if isinstance(column, V) else taken(column, 'get'))
            elif column is not None:
                raise TypeError(f'get takes columns, not {short(column)}')
        return self

    partial = get

    def const(self, name: str, value: Any) -> Self:
        """A further column `name` that is `value` in every row."""
        self._columns.append(_Constant(single(name, 'const'), taken(value, 'const')))
        return self

    def aggregate(self, *columns: Any, ignore_limit: bool = True) -> Self:
        """These columns instead of all others; ORDER BY, GROUP BY, HAVING go, and LIMIT and OFFSET too unless
        `ignore_limit` is False (SPEC SQ-14). To be called on a clone. SQL as it is, as with `get`.
        """
        if self._sets:
            raise ValueError(
                "aggregate: first make a table of it, select (query, 'q').get ('count (*) as n')"
            )
        self._columns = []
        self.get(*columns)
        if not self._columns:
            raise ValueError('aggregate takes a column, as in count (*) as n')
        self._order, self._group, self._having = [], [], []
        if ignore_limit:
            self._limit = self._offset = None
        return self

    def group_by(self, *columns: str | F) -> Self:
        """Names of columns, or F (...)."""
        self._group.extend(names_of(columns, 'group_by'))
        return self

    def having(self, condition: str | F) -> Self:
        """SQL as it is; several are ANDed."""
        if not isinstance(condition, F):
            condition = F(condition)
        self._having.append(condition)
        return self

    # -- which rows, in which order ---------------------------------------------------------------------

    def order_by(self, *columns: str | F) -> Self:
        """`f`, `+f`, or `-f` for descending order; SQL only as F (...), for sort fields come from users."""
        for column in columns:
            if isinstance(column, str):
                for part in filter(None, map(str.strip, column.split(','))):
                    down = ' DESC' if part[0] == '-' else ''
                    name = part[1:] if part[0] in '+-' else part
                    self._order.extend((each, down) for each in names_of([name], 'order_by'))
            else:
                self._order.extend((each, '') for each in names_of([column], 'order_by'))
        return self

    def limit(self, number: int | None) -> Self:
        """At most `number` rows; None for all. With 0 nothing is executed, and the result is empty."""
        self._limit = _count(number, 'limit')
        return self

    def offset(self, number: int | None) -> Self:
        """Leave out the first `number` rows."""
        self._offset = _count(number, 'offset')
        return self

    def __getitem__(self, rows: slice) -> Self:
        """`q [10:30]`: a copy with LIMIT 20 OFFSET 10."""
        if not isinstance(rows, slice) or rows.step is not None:
            raise TypeError(f'a query takes [from:to], not {short(rows)}')
        start = _count(rows.start, 'the start of a slice') or 0
        stop = _count(rows.stop, 'the end of a slice')
        return self.clone().offset(start or None).limit(None if stop is None else max(stop - start, 0))

    __iter__ = None  # it would be [0], [1], ...

    # -- with others ------------------------------------------------------------------------------------

    def union(self, other: Select) -> Self:
        """The rows of both, each once. What is combined first is one side of what comes next, as written."""
        return self._combine('UNION', other)

    def union_all(self, other: Select) -> Self:
        return self._combine('UNION ALL', other)

    def intersect(self, other: Select) -> Self:
        return self._combine('INTERSECT', other)

    def except_(self, other: Select) -> Self:
        return self._combine('EXCEPT', other)

    def _combine(self, word: str, other: Select) -> Self:
        if not isinstance(other, Select) or not other._only_reads():
            raise TypeError(f'{word} takes a SELECT, not {short(other)}')
        self._sets.append((word, other._alone()))
        return self

    def into(self, table: Any, *columns: str) -> Self:
        """`INSERT INTO table (columns) SELECT ...`."""
        self._into = written(table, 'into'), [(single(column, 'into'),) for column in columns]
        return self

    # -- rendering --------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._into is None:
            if self._returning or self._conflict is not None:
                raise ValueError('SELECT has returning () or upflict () only with into ()')
        elif self._conflict is not None and self._sets:
            raise ValueError("into: with upflict () the union must be a table, as in select (query, 'q')")

    def _only_reads(self) -> bool:
        return self._into is None

    def _is_void(self) -> bool:
        return self._limit == 0 and not self._appended and all(_reads(query) for _, query in self._with)

    def _sql(self, out: Rendering) -> str:
        if self._into is not None:
            raise ValueError('a SELECT with into () is an INSERT: it cannot stand for a value or a table')
        return super()._sql(out)

    def _statement(self, out: Rendering) -> list[str]:
        clauses = []
        if self._into is not None:
            table, columns = self._into
            names = f' ({", ".join(map(out.name, columns))})' if columns else ''
            clauses.append(f'INSERT INTO {out.name(table)}{names}')
        clauses.extend(self._combined(out))
        if self._order:
            order = [out.column(column) + down for column, down in self._order]
            clauses.append(f'ORDER BY {", ".join(order)}')
        if self._limit is not None:
            clauses.append(f'LIMIT {out.value(self._limit)}')
        if self._offset:
            if self._limit is None and out.dialect.no_limit:
                clauses.append(out.dialect.no_limit)
            clauses.append(f'OFFSET {out.value(self._offset)}')
        return [*clauses, *self._conflict_clause(out), *self._returning_clause(out)]

    def _combined(self, out: Rendering) -> list[str]:
        """This query's own part and those of `union` and the like."""
        words = ['', *(word for word, _ in self._sets)]
        # INTERSECT binds closer than the others in PostgreSQL, and not in SQLite: before it what is on the
        # left becomes a table.
        closing = [word == 'INTERSECT' and words[at - 1] in _LOOSE for at, word in enumerate(words)]
        clauses = ['SELECT * FROM ('] * sum(closing) + self._core(out)
        for number, (word, other) in enumerate(self._sets, 1):
            if closing[number]:
                clauses.append(f') AS left_{number}')
            clauses += [word, other._as_side(number, out)]
        return clauses

    def _core(self, out: Rendering) -> list[str]:
        columns = self._columns
        if all(isinstance(column, _Constant) for column in columns):
            columns = [('*',), *columns]
        clauses = [f'SELECT {", ".join(map(out.column, columns))}', f'FROM {self._source.sql(out)}']
        clauses += self._join_clauses(out)
        where = self._where_clause(out)
        if not where and self._conflict is not None:
            where = ['WHERE 1 = 1']  # without it SQLite takes ON CONFLICT for a join's ON
        clauses += where
        if self._group:
            clauses.append(f'GROUP BY {", ".join(map(out.column, self._group))}')
        if self._having:
            clauses.append(f'HAVING {_both(self._having, out)}')
        return clauses

    def _as_side(self, number: int, out: Rendering) -> str:
        """To stand behind UNION. With further clauses as a table: SQLite has no parentheses there."""
        with out.nested():
            text = self._text(out)
        own = self._order or self._sets or self._with or self._limit is not None or self._offset
        return f'SELECT * FROM ({text}) AS right_{number}' if own else text


#: Those that bind less than INTERSECT.
_LOOSE = frozenset(('UNION', 'UNION ALL', 'EXCEPT'))


class _Constant(Expression):
    """A value as a column."""

    __slots__ = ('_name', '_value')

    def __init__(self, name: str, value: Any) -> None:
        self._name, self._value = name, value

    def _sql(self, out: Rendering) -> str:
        return f'{out.typed(self._value)} AS {out.name((self._name,))}'


def _reads(query: Builder | D) -> bool:
    """It surely changes nothing, so that it need not be executed."""
    return isinstance(query, D) or (isinstance(query, Select) and query._only_reads())


def _both(conditions: Sequence[F], out: Rendering) -> str:
    if len(conditions) == 1:
        return conditions[0]._sql(out)
    return joined([f'({condition._sql(out)})' for condition in conditions], 'AND')


def _count(number: Any, what: str) -> int | None:
    """A number of rows."""
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int):
        error = TypeError(f'{what} takes an int, not {short(number)}')
        raise refuse(error, f'{what} is a whole number') if sendable(number) else error
    if not 0 <= number <= _MOST:
        outside = ValueError(f'{what} takes a number from 0 to {_MOST}, not {short(number)}')
        raise refuse(outside, f'{what} is not negative, and not as great as that')
    return number
