"""PostgreSQL.

Its parameters have types, inferred from what is beside them; the driver refuses other ones. So a value is
cast where nothing tells its type, and nowhere else: a cast must not change what a comparison means.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..refusals import refuse
from .dialect import PLAIN_KEY, Dialect, Keys, json_of, quoted_text, scalar_literal
from .expressions import Json

if TYPE_CHECKING:
    from .rendering import Rendering

#: By class, the first that fits: a bool is an int, a datetime is a date.
_TYPES: tuple[tuple[type, str], ...] = (
    (bool, 'boolean'),
    (float, 'double precision'),
    (Decimal, 'numeric'),
    (str, 'text'),
    (bytes, 'bytea'),
    (bytearray, 'bytea'),
    (memoryview, 'bytea'),
    (date, 'date'),
    (timedelta, 'interval'),
    (UUID, 'uuid'),
    (dict, 'jsonb'),
    (Json, 'jsonb'),
)
#: Each can hold what those before it can; fractions need the last two.
_NUMBERS = ('int', 'bigint', 'double precision', 'numeric')

#: pg_get_keywords () of PostgreSQL 18, all but the unreserved ones.
_RESERVED = (
    'all analyse analyze and any array as asc asymmetric authorization between bigint binary bit '
    'boolean both case cast char character check coalesce collate collation column concurrently '
    'constraint create cross current_catalog current_date current_role current_schema current_time '
    'current_timestamp current_user dec decimal default deferrable desc distinct do else end except '
    'exists extract false fetch float for foreign freeze from full grant greatest group grouping '
    'having ilike in initially inner inout int integer intersect interval into is isnull join json '
    'json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar '
    'json_serialize json_table json_value lateral leading least left like limit localtime '
    'localtimestamp merge_action national natural nchar none normalize not notnull null nullif '
    'numeric offset on only or order out outer overlaps overlay placing position precision primary '
    'real references returning right row select session_user setof similar smallint some substring '
    'symmetric system_user table tablesample then time timestamp to trailing treat trim true union '
    'unique user using values varchar variadic verbose when where window with xmlattributes '
    'xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize '
    'xmltable'
)


class PostgreSQL(Dialect):
    name = 'postgresql'
    arrays = True
    like_escape = ''
    regex = '~'
    modifying_with = True
    delete_using = True
    no_limit = ''
    reserved = frozenset(_RESERVED.split())

    def quoted(self, part: str) -> str:
        # Unquoted upper case would be read as lower case.
        return f'"{part}"' if part in self.reserved or part != part.lower() else part

    def place(self, number: int) -> str:
        return f'${number}'

    def parameter(self, value: Any) -> Any:
        if isinstance(value, dict):
            return Json(value)
        return list(value) if isinstance(value, tuple) else value

    def literal(self, value: Any) -> str:
        if isinstance(value, list | tuple):
            return quoted_text(_array(value))
        if isinstance(value, dict | Json):
            return quoted_text(json_of(value))
        if isinstance(value, bytes | bytearray | memoryview):
            return f"'\\x{bytes(value).hex()}'"
        if isinstance(value, datetime):
            return f"{'TIMESTAMP' if value.tzinfo is None else 'TIMESTAMPTZ'} '{value}'"
        for kind, word in ((date, 'DATE'), (time, 'TIME'), (timedelta, 'INTERVAL')):
            if isinstance(value, kind):
                return f"{word} '{value}'"
        return scalar_literal(value)

    def type_of(self, value: Any) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            return 'int' if _fits(value, 31) else 'bigint' if _fits(value, 63) else 'numeric'
        if isinstance(value, datetime):
            return 'timestamp' if value.tzinfo is None else 'timestamptz'
        if isinstance(value, time):
            return 'time' if value.tzinfo is None else 'timetz'
        if isinstance(value, list | tuple):
            types = [self.type_of(each) for each in _flat(value)]
            return f'{common_type(types) if types else "text"}[]'
        for kind, type in _TYPES:
            if isinstance(value, kind):
                return type
        raise TypeError(f"the SQL type of {value!r} is not known: write F ('CAST ({{}} AS type)', value)")

    def wide_type(self, values: Sequence[Any]) -> str | None:
        # Compared with an int a parameter is an int too, and the driver refuses a greater one: then asking
        # for a row that cannot be there would be an error. Across number types comparing is exact.
        wide = [value for value in values if isinstance(value, int) and not _fits(value, 31)]
        return common_type([self.type_of(value) for value in wide]) if wide else None

    def json_text(self, base: str, keys: Keys, out: Rendering) -> str:
        *inner, last = keys
        return f'{self._document(base, inner, out)} {_step(last, out, ">>")}'

    def json_value(self, base: str, keys: Keys, values: Sequence[Any], out: Rendering) -> str:
        types = ['jsonb' if isinstance(value, list | tuple) else self.type_of(value) for value in values]
        type = common_type(types) if types else 'text'
        if type == 'jsonb':
            return f'CAST ({self._document(base, keys, out)} AS jsonb)'
        text = self.json_text(base, keys, out)
        return text if type == 'text' else f'CAST ({text} AS {type})'

    def json_parameter(self, value: Any) -> Any:
        return Json(value) if isinstance(value, list | tuple) else value

    def has_key(self, base: str, keys: Keys, wanted: Sequence[str], out: Rendering) -> str:
        document = self._document(base, keys, out)
        if len(wanted) == 1:
            return f'{document} ? {out.value(wanted[0])}'
        return f'{document} ?| {out.value(list(wanted))}'

    def _document(self, base: str, keys: Keys, out: Rendering) -> str:
        return ' '.join([base, *(_step(key, out, '>') for key in keys)])


POSTGRESQL = PostgreSQL()


def common_type(types: Sequence[str]) -> str:
    """The one type for several values that are compared with the same thing; ValueError if there is none."""
    found = set(types)
    if len(found) > 1 and found <= set(_NUMBERS):
        return max(found, key=_NUMBERS.index)
    if len(found) > 1:
        error = ValueError(f'values of one type are needed here, not {", ".join(sorted(found))}')
        raise refuse(error, 'values of one kind are needed')
    return types[0]


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    """What is in an array, of as many dimensions as it has, without NULL."""
    rest = list(values)
    while rest:
        value = rest.pop()
        if isinstance(value, list | tuple):
            rest.extend(value)
        elif value is not None:
            yield value


def _array(values: Sequence[Any]) -> str:
    return '{' + ','.join(_element(value) for value in values) + '}'


def _element(value: Any) -> str:
    if isinstance(value, list | tuple):
        return _array(value)
    if value is None or isinstance(value, bool | int | float | Decimal):
        return scalar_literal(value).strip("'")
    text = json_of(value) if isinstance(value, dict | Json) else str(value)
    if isinstance(value, bytes | bytearray):
        text = f'\\x{value.hex()}'
    return '"' + text.replace('\\', '\\\\').replace('"', '\\"') + '"'


def _step(key: str, out: Rendering, arrow: str) -> str:
    """The way to `key`: `-> 'key'`. A number may be an object's key or an array's index; `#>` takes both."""
    if key.isascii() and key.isdigit():
        return f"#{arrow} '{{{key}}}'"
    return f'-{arrow} {quoted_text(key) if PLAIN_KEY.fullmatch(key) else out.value(key, "text")}'


def _fits(value: int, bits: int) -> bool:
    return -(1 << bits) <= value < 1 << bits
