"""Rendering a query: once to be executed, with every value bound; once to be shown.

A query writes itself from left to right and asks for a place for each value when it gets there, so that
`?` and `$1` number themselves, through sub-queries and WITH.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .dialect import Dialect
from .expressions import Expression, Json
from .names import Name

#: Sub-queries and parentheses within each other. More are refused: both databases and Python have a limit.
MAX_DEPTH = 64

#: What an array cannot hold, or not as one element.
_NO_ELEMENTS = (Expression, Json, dict, list, tuple)


class Rendering:
    """`dialect`: what is written."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._depth = 0

    def value(self, value: Any, type: str | None = None) -> str:
        """A place for a value, cast to `type` where the dialect needs that."""
        raise NotImplementedError

    def operand(self, value: Any) -> str:
        """A value or an expression, where the database infers the type from what is beside it."""
        return value._sql(self) if isinstance(value, Expression) else self.value(value)

    def compared(self, value: Any) -> str:
        """The same beside a comparison with a column: a number may be too great for the column's type."""
        if isinstance(value, Expression):
            return value._sql(self)
        return self.value(value, self.dialect.wide_type((value,)))

    def typed(self, value: Any) -> str:
        """The same where nothing tells the type: SELECT and VALUES."""
        if isinstance(value, Expression):
            return value._sql(self)
        return 'NULL' if value is None else self.value(value, self.dialect.type_of(value))

    def array(self, values: Sequence[Any]) -> str | None:
        """One place for a list of values; None if each is to have its own."""
        return None

    def name(self, name: Name) -> str:
        return '.'.join(part if part == '*' else self.dialect.quoted(part) for part in name)

    def column(self, column: Name | Expression) -> str:
        return column._sql(self) if isinstance(column, Expression) else self.name(column)

    @contextmanager
    def nested(self) -> Iterator[None]:
        """Inside of parentheses; ValueError when they are too many."""
        if self._depth >= MAX_DEPTH:
            raise ValueError(f'a query is nested deeper than {MAX_DEPTH}')
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1


class Bound(Rendering):
    """To be executed. `params`: the values, in the order of their places."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self.params: list[Any] = []

    def value(self, value: Any, type: str | None = None) -> str:
        self.params.append(self.dialect.parameter(value))
        place = self.dialect.place(len(self.params))
        return place if type is None else f'CAST ({place} AS {type})'

    def array(self, values: Sequence[Any]) -> str | None:
        # So a list of any length is the same statement, which the database can keep prepared.
        if not self.dialect.arrays or any(isinstance(value, _NO_ELEMENTS) for value in values):
            return None
        type = self.dialect.wide_type(values)
        return self.value(list(values), None if type is None else f'{type}[]')


class Shown(Rendering):
    """To be read: the values are literals."""

    def value(self, value: Any, type: str | None = None) -> str:
        return self.dialect.literal(value)


def joined(terms: list[str], word: str) -> str:
    """`a AND b AND c`. A great many in groups: SQLite counts each AND as a level, and allows 1000."""
    while len(terms) > 400:
        groups = (terms[at : at + 400] for at in range(0, len(terms), 400))
        terms = [f'({f" {word} ".join(group)})' for group in groups]
    return f' {word} '.join(terms)
