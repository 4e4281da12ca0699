"""What is written: columns and values, and ON CONFLICT (SPEC SQ-04, SQ-17)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from ..refusals import refuse, sendable
from .builder import Builder, Database
from .expressions import taken
from .names import short, single
from .rendering import Rendering


class Assigned(Builder):
    """A statement with values for columns."""

    def __init__(self, database: Database | None = None) -> None:
        super().__init__(database)
        self._values: dict[str, Any] = {}

    def set(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> Self:
        """Columns and their values; a later one wins over an earlier one.

        A value is bound as it is, None as NULL, a dict as JSON, a list as an array (PostgreSQL) or as JSON. A
        query is a sub-query, F (...) is SQL as it is.
        """
        self._values.update(_checked(values, 'set'))
        self._values.update(_checked(more, 'set'))
        return self

    data = set


class Upflict(Builder):
    """A statement with ON CONFLICT."""

    def __init__(self, database: Database | None = None) -> None:
        super().__init__(database)
        self._conflict: tuple[list[str], dict[str, Any]] | None = None

    def upflict(self, field: str | list[str] | tuple[str, ...] | None = None, /, **data: Any) -> Self:
        """Where a row with the same `field` is there already it is left alone, or `data` set in it.

        `field`: a unique column, or several in a list. F ('excluded.a') in `data` is the new row's value.
        None: any conflict, and then without `data`.
        """
        fields = field.split(',') if isinstance(field, str) else field or []
        if data and not fields:
            raise ValueError('upflict: which column is it that must not conflict?')
        columns = [single(each.strip() if isinstance(each, str) else each, 'upflict') for each in fields]
        self._conflict = columns, _checked(data, 'upflict')
        return self

    def _conflict_clause(self, out: Rendering) -> list[str]:
        if self._conflict is None:
            return []
        columns, values = self._conflict
        target = f' ({", ".join(out.name((column,)) for column in columns)})' if columns else ''
        if not values:
            return [f'ON CONFLICT{target} DO NOTHING']
        return [f'ON CONFLICT{target} DO UPDATE SET {assignments(values, out)}']


def assignments(values: dict[str, Any], out: Rendering) -> str:
    """`a = 1, b = 2`."""
    return ', '.join(f'{out.name((column,))} = {out.operand(value)}' for column, value in values.items())


def _checked(values: Mapping[str, Any] | None, what: str) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        error = TypeError(f'{what} takes a dict of columns and values, not {short(values)}')
        raise refuse(error, 'an object with a value for each name is needed') if sendable(values) else error
    return {single(column, what): taken(value, f'{what}: {column}') for column, value in values.items()}
