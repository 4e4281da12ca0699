"""Python's values on their way to PostgreSQL, where asyncpg would change them without a word.

To a column of whole numbers it would give 1.9 as 1, so that `filter (id = 1.9)` finds the row 1; to a numeric
one 0.1 as 0.1000000000000000055511151231257827, so that `filter (price = 0.1)` finds none; and in JSON NaN
would be null.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from ..sql import Json

#: Lists within each other: PostgreSQL's arrays have no more dimensions. What is deeper can only become JSON.
DIMENSIONS = 6
#: What may have to be replaced, or has such in it.
_CHANGED = frozenset({float, Decimal, list, tuple})


class Number(Decimal):
    """A number with a fraction: the shortest one that is read as that float, and no whole number's."""

    __slots__ = ()

    def __int__(self) -> int:
        raise ValueError('it has a fraction, and a whole number is needed')

    __repr__ = Decimal.__str__


def exact(values: Sequence[Any], depth: int = 0) -> Sequence[Any]:
    """`values` as they are given to asyncpg: the same object where nothing is to be done."""
    if _CHANGED.isdisjoint(map(type, values)):
        return values
    return [_exact(value, depth) for value in values]


def _exact(value: Any, depth: int) -> Any:
    if type(value) is float:
        return value if value.is_integer() or not math.isfinite(value) else Number(repr(value))
    if type(value) is Decimal:
        return Number(value) if value.is_finite() and value != value.to_integral_value() else value
    if (type(value) is list or type(value) is tuple) and depth < DIMENSIONS:
        changed = exact(value, depth + 1)
        return value if changed is value else type(value)(changed)
    return value


def encoded(value: Any) -> str:
    """A value, or a Json, as JSON. ValueError for NaN and infinity, which JSON has not."""
    plain = value.value if isinstance(value, Json) else value
    text = msgspec.json.encode(plain, enc_hook=_plain)
    if b'null' in text and not _finite(plain):
        raise ValueError('JSON has neither NaN nor infinity')
    return text.decode()


def _plain(value: Any) -> Any:
    if isinstance(value, Number):  # a float by itself, or in a list that need not have been one for JSON
        return float(value)
    raise TypeError(f'a {type(value).__name__} cannot be written as JSON')


def _finite(value: Any) -> bool:
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            rest.extend(one.values())
        elif isinstance(one, list | tuple):
            rest.extend(one)
        elif isinstance(one, float) and not math.isfinite(one):
            return False
    return True
