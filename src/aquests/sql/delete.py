"""DELETE."""

from __future__ import annotations

from typing import Any

from .builder import Database, Returning
from .joins import Joined
from .rendering import Rendering
from .targets import written


class Delete(Joined, Returning):
    """`DELETE FROM table WHERE ...`; without a filter AssertionError, see `all` (SPEC SQ-08)."""

    def __init__(self, table: Any, database: Database | None = None) -> None:
        super().__init__(database)
        self._table = written(table, 'delete')

    def _check(self) -> None:
        self._check_filter('DELETE')

    def _statement(self, out: Rendering) -> list[str]:
        if self._joins and not out.dialect.delete_using:
            raise ValueError(f'{out.dialect}: DELETE cannot look at other tables; use id__in = query')
        return [
            f'DELETE FROM {out.name(self._table)}',
            *self._from_clauses('USING', out),
            *self._where_clause(out),
            *self._returning_clause(out),
        ]
