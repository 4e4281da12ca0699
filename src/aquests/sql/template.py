"""SQL that is written by hand, with places for values (SPEC SQ-01)."""

from __future__ import annotations

import re
from typing import Any, Self

from .builder import Builder, Database
from .expressions import Expression, SubQuery, taken
from .names import short
from .q import Q
from .rendering import Rendering

_PLACE = re.compile(r'\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}')


class Template(Builder, SubQuery):
    """`template ('SELECT * FROM t WHERE id = {id} AND {more}').feed (id = 5, more = Q (a = 1))`.

    The text is executed as it is, so never let users write in it. `{name}` is a place: for a value, which is
    bound; a query, in parentheses; a Q, which becomes a condition (a void one is a ValueError); or F (...). A
    brace that looks like a place is written twice, as in `'{{a}}'`.
    """

    def __init__(self, sql: str, database: Database | None = None) -> None:
        super().__init__(database)
        if not isinstance(sql, str) or not sql.strip():
            raise TypeError(f'template takes SQL as a str, not {short(sql)}')
        self._template = sql
        self._fed: dict[str, Any] = {}

    def feed(self, /, **values: Any) -> Self:
        """What is put in the places; a later value wins over an earlier one."""
        places = {match[1] for match in _PLACE.finditer(self._template)}
        for name, value in values.items():
            if name not in places:
                raise ValueError(f'the template has no place {{{name}}}')
            self._fed[name] = value if isinstance(value, Q) else taken(value, f'feed: {name}')
        return self

    def _only_reads(self) -> bool:
        # Whatever it is: the database will say so if it can't be there.
        return True

    def _statement(self, out: Rendering) -> list[str]:
        sql, at = '', 0
        for match in _PLACE.finditer(self._template):
            sql += self._template[at : match.start()] + self._filled(match, out)
            at = match.end()
        return [sql + self._template[at:]]

    def _filled(self, match: re.Match[str], out: Rendering) -> str:
        name = match[1]
        if name is None:
            return match[0][0]
        if name not in self._fed:
            raise ValueError(f'the template has no value for {{{name}}}: feed ({name} = ...)')
        value = self._fed[name]
        return value._sql(out) if isinstance(value, Expression) else out.value(value)
