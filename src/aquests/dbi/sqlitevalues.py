"""Python's values as SQLite keeps them (SPEC DB-02).

    None  int  float  str  bytes     as they are
    bool                             1 and 0
    Decimal, UUID                    text, without loss
    datetime, date, time             ISO text, a datetime with a blank, as SQLite's own functions write it;
                                     what has a zone keeps its offset
    dict, list, tuple, sql.Json      JSON text

Nothing is turned back: what was written as text is read as text. A column's declared type is a hint in
SQLite, and an expression has none, so that decoding by it would depend on how a query is written. SQLite
itself makes numbers of texts in a column that it takes for numeric: to keep a Decimal, declare it TEXT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from ..refusals import refuse
from ..sql import Json
from ..sql.dialect import json_of

#: What the driver takes as it is.
_PLAIN = frozenset({str, bytes, type(None)})
_LEAST, _MOST = -(2**63), 2**63 - 1

Bound = Sequence[Any] | Mapping[str, Any]


def bound(params: Any) -> Bound:
    """The values of a list or tuple for `?`, of a dict for `:name`; none for None.

    TypeError for what is none of these or has no place in SQLite, OverflowError for an int of more than 64
    bits, ValueError for NaN.
    """
    if params is None:
        return ()
    if isinstance(params, Mapping):
        return {name: stored(value) for name, value in params.items()}
    if isinstance(params, str | bytes) or not isinstance(params, Sequence):
        raise TypeError(f'parameters are given as a list, tuple or dict, not {type(params).__name__}')
    return [value if type(value) in _PLAIN else stored(value) for value in params]


def stored(value: Any) -> Any:
    """`value` as None, int, float, str or bytes."""
    if value is None:
        return None
    if isinstance(value, int):
        number = int(value)
        if not _LEAST <= number <= _MOST:
            told = f'{number:.3e}' if abs(number) < 10**300 else 'an int'
            error = OverflowError(
                f'{told} has more than the 64 bits of an SQLite integer: give it as text (str)'
            )
            raise refuse(error, 'a number is out of range')
        return number
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        if value != value:
            no_nan = ValueError('SQLite has no NaN, it would store NULL: give None, or a text')
            raise refuse(no_nan, 'a number is out of range')
        return float(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, datetime):
        return value.isoformat(' ')
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, dict | list | tuple | Json):
        return json_of(value)
    raise TypeError(
        f'SQLite has no place for a {type(value).__name__}: there are None, numbers, str, bytes, dates and '
        'times, UUID, and dict and list as JSON'
    )
