"""SQLite. Its values have types, its parameters take any: nothing needs a cast."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

from ..refusals import refuse
from .dialect import PLAIN_KEY, Dialect, Keys, json_of, quoted_text, scalar_literal
from .expressions import Json

if TYPE_CHECKING:
    from .rendering import Rendering

#: Those its parser takes for something else in some place that we write, and what would be a value if
#: there is no such column.
_RESERVED = (
    'add all alter and as autoincrement between case cast check collate commit constraint create '
    'cross current_date current_time current_timestamp default deferrable delete distinct drop else '
    'escape except exists false foreign from full glob group having in index indexed inner insert '
    'intersect into is isnull join left like limit match natural not nothing notnull null offset on '
    'or order outer over primary raise recursive references regexp returning right select set table '
    'then to transaction true union unique update using values when where window with'
)


class SQLite(Dialect):
    name = 'sqlite'
    arrays = False
    like_escape = " ESCAPE '\\'"
    regex = None
    modifying_with = False
    delete_using = False
    no_limit = 'LIMIT -1'
    reserved = frozenset(_RESERVED.split())

    def quoted(self, part: str) -> str:
        # Backquotes: a name in double quotes that is no column's would be read as a text.
        return f'`{part}`' if part.lower() in self.reserved else part

    def place(self, number: int) -> str:
        return '?'

    def parameter(self, value: Any) -> Any:
        return json_of(value) if isinstance(value, dict | list | tuple | Json) else value

    def literal(self, value: Any) -> str:
        if isinstance(value, dict | list | tuple | Json):
            return quoted_text(json_of(value))
        if isinstance(value, bytes | bytearray | memoryview):
            return f"X'{bytes(value).hex()}'"
        if isinstance(value, date | datetime | time):
            return f"'{value}'"
        return scalar_literal(value)

    def type_of(self, value: Any) -> None:
        return None

    def wide_type(self, values: Sequence[Any]) -> None:
        return None

    def json_text(self, base: str, keys: Keys, out: Rendering) -> str:
        path = _path(keys)
        plain = all(PLAIN_KEY.fullmatch(key) for key in keys)
        return f'json_extract ({base}, {quoted_text(path) if plain else out.value(path)})'

    def json_value(self, base: str, keys: Keys, values: Sequence[Any], out: Rendering) -> str:
        return self.json_text(base, keys, out)

    def has_key(self, base: str, keys: Keys, wanted: Sequence[str], out: Rendering) -> str:
        path = _path(keys)
        terms = [f'json_type ({base}, {out.value(path + _step(key))}) IS NOT NULL' for key in wanted]
        return terms[0] if len(terms) == 1 else f'({" OR ".join(terms)})'


SQLITE = SQLite()


def _path(keys: Keys) -> str:
    path = '$'
    for key in keys:
        # An index that is too long for it SQLite takes modulo 2 ** 32.
        index = key.isascii() and key.isdigit() and len(key) < 10
        path += f'[{key}]' if index else _step(key)
    return path


def _step(key: str) -> str:
    # A path has no way to write these, and ends at a NUL.
    if '"' in key or '\\' in key or '\0' in key:
        error = ValueError(f'SQLite cannot look for a key like {key!r} in JSON')
        raise refuse(error, 'a key has a character that cannot be looked for')
    return f'."{key}"'
