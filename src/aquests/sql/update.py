"""UPDATE."""

from __future__ import annotations

from typing import Any

from ..refusals import refuse
from .builder import Database, Returning
from .joins import Joined
from .rendering import Rendering
from .targets import written
from .writing import Assigned, assignments


class Update(Assigned, Joined, Returning):
    """`UPDATE table SET ... WHERE ...`; without a filter AssertionError, see `all` (SPEC SQ-08)."""

    def __init__(self, table: Any, database: Database | None = None) -> None:
        super().__init__(database)
        self._table = written(table, 'update')

    def _check(self) -> None:
        self._check_filter('UPDATE')
        if not self._values:
            raise refuse(ValueError('UPDATE needs values: set (...)'), 'there is nothing to be changed')

    def _statement(self, out: Rendering) -> list[str]:
        return [
            f'UPDATE {out.name(self._table)} SET {assignments(self._values, out)}',
            *self._from_clauses('FROM', out),
            *self._where_clause(out),
            *self._returning_clause(out),
        ]
