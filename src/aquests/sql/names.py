"""Names of tables, columns, aliases (SPEC SQ-20).

Whatever comes here is checked, for it may come from outside: the keywords of a form, a sort field of a URL.
A name is parts joined by dots, each of `A-Za-z0-9_` and not beginning with a digit; so it can never be
more than a name. Whether a part must be quoted is the dialect's matter.
"""

from __future__ import annotations

import re
from typing import Any

from ..refusals import refuse

#: 'schema.table' as ('schema', 'table').
Name = tuple[str, ...]

_PART = r'[A-Za-z_][A-Za-z0-9_]*'
_NAME = re.compile(rf'{_PART}(\.{_PART})*')
_COLUMN = re.compile(rf'({_PART}\.)*({_PART}|\*)')
#: Not columns, though they look so: in raw SQL they stay as they are.
_CONSTANTS = (
    'null true false default current_date current_time current_timestamp current_user current_role '
    'current_catalog current_schema session_user system_user localtime localtimestamp'
)
_CONSTANT_WORDS = frozenset(_CONSTANTS.split())


def name(text: Any, what: str, star: bool = False) -> Name:
    """`text` as a Name; `what` it is, for the error. ValueError for any other text, TypeError for no text.

    `star`: `*` and `table.*` are names too.
    """
    if not isinstance(text, str):
        raise TypeError(f'{what} takes a name, not {short(text)}')
    if not (_COLUMN if star else _NAME).fullmatch(text):
        error = ValueError(
            f'{what}: {short(text)} is not a name (letters, digits, _ and dots); '
            'SQL that is not from users can be given as F (...)'
        )
        raise refuse(error, 'a name has only letters, digits, _ and dots')
    return tuple(text.split('.'))


def single(text: Any, what: str) -> str:
    """A name of one part: an alias, a column to be set."""
    parts = name(text, what)
    if len(parts) > 1:
        raise ValueError(f'{what} takes a name without dots, not {short(text)}')
    return parts[0]


def columns_in(sql: str) -> list[Name] | None:
    """The columns if `sql` is nothing but names with commas between; None if it is any other SQL."""
    parts = [part.strip() for part in sql.split(',')]
    if all(_COLUMN.fullmatch(part) and part.lower() not in _CONSTANT_WORDS for part in parts):
        return [tuple(part.split('.')) for part in parts]
    return None


def short(value: Any) -> str:
    """`value` for an error message."""
    try:
        shown = repr(value)
    except (ValueError, RecursionError):  # an int of too many digits, a list nested too deep
        shown = f'a {type(value).__name__}'
    return shown if len(shown) <= 80 else shown[:77] + '...'
