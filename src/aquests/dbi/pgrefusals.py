"""Which of PostgreSQL's errors are about a value that a client may have sent (SPEC ER-05).

Uncaught these are answered with 400, or 409 where other rows are in the way; all others stay 502. In doubt it
is the service's fault: an error in the text of a statement, or in one without any values; a value that no
client can have sent, such as a class; a text that was in a table already, and can't be read as a number now.

Of SQLSTATE class 22 these are not here: what a service computes with values that it should have looked at
(22012 division by zero, 2201E and 2201F logarithm and power, 22013, 22014, 22016, 2201G, 2202G, 2202H:
arguments of window functions and the like), how a statement is written (22004, 22005, 2202E, 22019, 2200B,
2200C, 22P06, and 22031 to 2203G: a path through JSON that is not there), and what goes wrong between driver
and server or there (22P03, 22P04, 22P01, 2200H).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from ..refusals import refuse, sendable
from ..sql import Json
from .pgvalues import Number

#: 409, whatever the statement: the data that is there is in the way.
CONFLICTS = {
    '23505': 'there is one like it already',
    '23503': 'it refers to what is not there, or is still referred to itself',
    '23001': 'it is still referred to',
    '23P01': 'it overlaps with one that is there already',
}
#: 400, if the statement has values. 23502 and 23514 may be a service's that forgot something, but then it
#: always fails; the rules that a table has are there for values that are not known beforehand.
VALUES = {
    '22000': 'a value is not one of those that are possible',
    '22001': 'a text is too long',
    '22003': 'a number is out of range',
    '22007': 'a date or time is not written as one',
    '22008': 'a date or time is out of range',
    '22009': 'there is no such time zone',
    '22011': 'a length or position is out of range',
    '22015': 'a span of time is out of range',
    '22018': 'a value is not of the kind that is needed',
    '22021': 'a text has a character that cannot be kept',
    '22P05': 'a text has a character that cannot be kept',
    '22023': 'a value is not one of those that are possible',
    '22025': 'a pattern ends with its escape character',
    '22026': 'a value has the wrong length',
    '2201B': 'a regular expression is not written as one',
    '2201W': 'a number of rows is negative',
    '2201X': 'a number of rows is negative',
    '2200L': 'a text is not XML',
    '2200M': 'a text is not XML',
    '2200N': 'a text is not XML',
    '2200S': 'a text is not XML',
    '2200T': 'a text is not XML',
    '22030': 'a JSON object has a key twice',
    '22032': 'a text is not JSON',
    '22P02': 'a value is not written as it has to be',
    '23502': 'a value is missing',
    '23514': 'a value is not one of those that are allowed',
    '42601': 'a text is not written as it has to be',  # `to_tsquery` says so; of SQL it has a position
    '54000': 'a value is too large',  # for an index
    '54001': 'a value is nested too deep',
}
#: Those that quote what they are about.
_QUOTING = frozenset({'22003', '22007', '22008', '22018', '22P02'})
#: What the driver itself said (it sent nothing), by what made it say so.
_UNSENT: tuple[tuple[type[BaseException], str], ...] = (
    (OverflowError, 'a number is out of range'),
    (UnicodeError, 'a text has a character that cannot be kept'),
    (RecursionError, 'a value is nested too deep'),
)
_NOT_OF_THE_KIND = 'a value is not of the kind that is needed'
#: More than the protocol has places for.
_PLACES = 32767

_ARGUMENT = re.compile(r'query argument \$(\d+)(?: in element #(\d+))?')
_QUOTED = re.compile(r'"([^"]*)"')
_PORTAL = re.compile(r'portal (?:"[^"]*" )?parameter \$(\d+)')


def look(error: BaseException, values: Sequence[Any], many: bool = False) -> None:
    """Mark `error`, which a statement with `values` (`many`: with lists of these) has ended with, if it is
    about one of them.
    """
    state = getattr(error, 'sqlstate', None)
    if state in CONFLICTS:
        refuse(error, CONFLICTS[state], 409)
    elif not values or not isinstance(error, Exception):
        return
    elif state is None:
        _unknown(error, values)
    elif getattr(error, 'severity', None) is None:
        _unsent(error, values, many)
    elif state in VALUES and _is_of(error, state, values):
        refuse(error, _named(error, VALUES[state]))


def _unknown(error: Exception, values: Sequence[Any]) -> None:
    """It has no SQLSTATE: the driver could not even say what is wrong, or there are too many values."""
    if type(error) in (ValueError, OverflowError, RecursionError):
        refuse(error, _kind(error))
    elif len(values) > _PLACES and 'query arguments' in str(error):
        refuse(error, 'there are too many values')


def _unsent(error: Exception, values: Sequence[Any], many: bool) -> None:
    found = _ARGUMENT.search(str(error))
    cause = error.__cause__
    if found is None or cause is None:
        return
    if isinstance(cause, TypeError | AttributeError) and not _sendable(_at(found, values, many)):
        return
    refuse(error, f'parameter {found[1]}: {_kind(cause)}')


def _kind(error: BaseException) -> str:
    return next((words for kind, words in _UNSENT if isinstance(error, kind)), _NOT_OF_THE_KIND)


def _at(found: re.Match[str], values: Sequence[Any], many: bool) -> Any:
    place = int(found[1]) - 1
    return values[int(found[2] or 0)][place] if many else values[place]


def _sendable(value: Any) -> bool:
    return sendable(value.value if isinstance(value, Json) else value, Number)


def _is_of(error: Any, state: str, values: Sequence[Any]) -> bool:
    """Whether it is about one of `values`, not about the statement, or what is in a table."""
    if error.position is not None or error.internal_position is not None:
        return False
    message = str(error.args[0])
    if state not in _QUOTING or '"' not in message:
        return True
    # Of the whole, which may have quotes in it, or of a part: an element of an array, the day of a date.
    quoted = [message[message.index('"') + 1 : message.rindex('"')], *_QUOTED.findall(message)]
    return any(part and part in text for text in _texts(values) for part in quoted)


def _texts(values: Sequence[Any]) -> Iterator[str]:
    """All that is in them and may be quoted."""
    rest = list(values)
    while rest:
        value = rest.pop()
        if isinstance(value, Json):
            rest.append(value.value)
        elif isinstance(value, list | tuple):
            rest.extend(value)
        elif isinstance(value, dict):
            rest.extend(value)
            rest.extend(value.values())
        elif value is not None:
            try:
                yield str(value)
            except ValueError:  # an int of more digits than Python writes
                continue


def _named(error: Any, words: str) -> str:
    """With the column, or the parameter's number, where the server knows it."""
    if error.column_name:
        return f'{error.column_name}: {words}'
    found = _PORTAL.search(error.context or '')
    return words if found is None else f'parameter {found[1]}: {words}'
