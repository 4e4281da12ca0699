"""INSERT."""

from __future__ import annotations

from typing import Any

from .builder import Database, Returning
from .rendering import Rendering
from .targets import written
from .writing import Assigned, Upflict


class Insert(Assigned, Upflict, Returning):
    """`INSERT INTO table (...) VALUES (...)`; without `set` a row of defaults."""

    def __init__(self, table: Any, database: Database | None = None) -> None:
        super().__init__(database)
        self._table = written(table, 'insert')

    def _statement(self, out: Rendering) -> list[str]:
        clauses = [f'INSERT INTO {out.name(self._table)}']
        if self._values:
            columns = ', '.join(out.name((column,)) for column in self._values)
            clauses[0] += f' ({columns})'
            clauses.append(f'VALUES ({", ".join(map(out.operand, self._values.values()))})')
        elif self._conflict is not None:
            raise ValueError('upflict () needs values: set (...)')
        else:
            clauses.append('DEFAULT VALUES')
        return [*clauses, *self._conflict_clause(out), *self._returning_clause(out)]
