"""What may stand where a value stands, and is none: raw SQL, sub-queries, conditions (SPEC SQ-04, SQ-15).

An expression renders itself with `_sql (out)`. It never changes once it is in a query: `_taken` gives what is
kept, for a builder a copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .names import single

if TYPE_CHECKING:
    from .rendering import Rendering


class Expression:
    """A part of a query that is not a value."""

    __slots__ = ()

    def _sql(self, out: Rendering) -> str:
        raise NotImplementedError

    def _taken(self) -> Expression:
        return self


class SubQuery(Expression):
    """What can stand behind IN, EXISTS, FROM: SELECT in parentheses."""

    __slots__ = ()


class F(Expression):
    """SQL as it is: `update ('t').set (n = F ('n + 1'))`.

    Never put what comes from a user into the text. Values have a place for it: `F ('n + {}', step)` binds
    `step`; a brace is written `{{` where there are values, and as it is where there are none. On PostgreSQL
    a value whose type cannot be inferred needs a cast: `F ('CAST ({} AS int)', n)`.
    """

    __slots__ = ('_pieces', '_values')

    def __init__(self, sql: str, *values: Any) -> None:
        if not isinstance(sql, str) or not sql.strip():
            raise TypeError(f'F takes SQL as a str, not {sql!r}')
        self._values = tuple(taken(value, 'F') for value in values)
        self._pieces = _pieces(sql) if values else [sql]
        if len(self._pieces) != len(values) + 1:
            raise ValueError(f'{sql!r} has {len(self._pieces) - 1} places {{}} for {len(values)} values')

    def _sql(self, out: Rendering) -> str:
        sql = self._pieces[0]
        for value, piece in zip(self._values, self._pieces[1:], strict=True):
            sql += out.operand(value) + piece
        return sql

    def __repr__(self) -> str:
        return f'F ({"{}".join(self._pieces)!r})'


class Enclosed(Expression):
    """A condition that was given as SQL, in parentheses: an OR in it must not reach its neighbours."""

    __slots__ = ('_condition',)

    def __init__(self, condition: F) -> None:
        self._condition = condition

    def _sql(self, out: Rendering) -> str:
        return f'({self._condition._sql(out)})'


class V(Expression):
    """A value that is taken as one where a str would be SQL, or None would be ignored.

    `select ('t').get (V ('id'))` selects the text; `filter (a = V (None))` is `a IS NULL`.
    """

    __slots__ = ('value',)

    def __init__(self, value: Any) -> None:
        if isinstance(value, Expression):
            raise TypeError(f'V takes a value, not {value!r}')
        self.value = value

    def _sql(self, out: Rendering) -> str:
        return out.typed(self.value)

    def __repr__(self) -> str:
        return f'V ({self.value!r})'


class D(Expression):
    """Values as a table, for `with_ ('t', D (a = 1, b = 'x'))`; several rows as dicts: `D ({...}, {...})`.

    The first row names the columns; the others have the same. ValueError where they don't.
    """

    __slots__ = ('columns', 'rows')

    def __init__(self, *rows: Mapping[str, Any], **row: Any) -> None:
        given = [*rows, row] if row else list(rows)
        if not given or not all(isinstance(each, Mapping) and each for each in given):
            raise TypeError('D takes columns, as in D (a = 1), or a dict for each row')
        self.columns = [single(column, 'D') for column in given[0]]
        for each in given:
            if each.keys() != given[0].keys():
                raise ValueError(f'D: a row has {list(each)}, the first one {self.columns}')
        self.rows = [[taken(each[column], 'D') for column in self.columns] for each in given]

    def _sql(self, out: Rendering) -> str:
        rows = (f'({", ".join(out.typed(value) for value in row)})' for row in self.rows)
        return f'VALUES {", ".join(rows)}'


class Json:
    """A parameter for PostgreSQL that is to be JSON: `value` is a dict, or whatever JSON can hold.

    Dicts need not be wrapped; a list is an array unless it is: `set (tags = Json (['a']))`.
    """

    __slots__ = ('value',)

    value: Any

    def __init__(self, value: Any) -> None:
        self.value = value.value if isinstance(value, Json) else value

    def __repr__(self) -> str:
        return f'Json ({self.value!r})'

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Json) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


def taken(value: Any, what: str) -> Any:
    """What is kept of a value: what is in a V, a copy of a query, anything else as it is.

    TypeError, naming `what`, for expressions that cannot stand for a value: Q, INSERT and the like.
    """
    if isinstance(value, V):
        return value.value
    if isinstance(value, F | SubQuery):
        return value._taken()
    if isinstance(value, Expression):
        raise TypeError(f'{what} takes a value, a SELECT or F (...), not {value!r}')
    return value


def _pieces(sql: str) -> Sequence[str]:
    """The text around each `{}`."""
    pieces = ['']
    at = 0
    while at < len(sql):
        pair = sql[at : at + 2]
        if pair == '{}':
            pieces.append('')
        elif pair in ('{{', '}}'):
            pieces[-1] += pair[0]
        else:
            pieces[-1] += sql[at]
            at -= 1
        at += 2
    return pieces
