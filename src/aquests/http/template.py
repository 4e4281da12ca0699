"""URIs from templates and values: '/profiles/{}?limit={}' (SPEC HC-01). Text in, a target out.

A value is percent-encoded as a whole, so that it stays in its place: 'a/b?c' is one segment of the path.
What no encoding can keep there is refused: '..' (servers decode, and then understand it), and nothing at all,
which would make another path.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from string import Formatter
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from ..refusals import refuse, sendable

#: Around a value while the path is looked at; it is in no target.
_MARK = '\0'
_CONTROLS = re.compile('[\x00-\x1f\x7f]')
#: What stays as it is in a target's own text: all that can be printed but the blank.
_PRINTED = ''.join(map(chr, range(0x21, 0x7F)))
_STEPS = re.compile(r'[/\\]')


class _Place(NamedTuple):
    number: int
    form: str


class Template(NamedTuple):
    """`parts`: texts, and places for values. `places`: how many values it takes."""

    parts: tuple[str | _Place, ...]
    places: int


@lru_cache(maxsize=512)
def template(uri: str) -> Template:
    """`uri` with `{}`, `{0}`, `{:05d}` for values; `{{` and `}}` for braces. ValueError, in words."""
    parts: list[str | _Place] = []
    count = automatic = 0
    try:
        for text, name, form, conversion in Formatter().parse(uri):
            if text:
                parts.append(literal(text))
            if name is None:
                continue
            if conversion or (form and '{' in form) or not (name == '' or name.isdecimal()):
                raise ValueError('a place for a value is {}, {0} or {:05d}')
            index = int(name) if name else automatic
            automatic += not name
            parts.append(_Place(index, form or ''))
            count = max(count, index + 1)
    except ValueError as error:
        raise ValueError(
            f'{uri!r} is no template: {error}; braces themselves are written {{{{ and }}}}'
        ) from None
    if 0 < automatic < sum(isinstance(part, _Place) for part in parts):
        raise ValueError(f'{uri!r}: places are numbered all or none')
    return Template(tuple(parts), count)


def filled(uri: str, values: Sequence[Any]) -> str:
    """`uri` with `values` in its places, percent-encoded, without a fragment.

    ValueError for values that would not stay in their place: 400 where nobody catches it and a client may
    have sent them. TypeError for those that have no form in a URI.
    """
    found = template(uri)
    text = ''.join(
        part if isinstance(part, str) else _MARK + _quoted(word(values[part.number], part.form)) + _MARK
        for part in found.parts
    ).partition('#')[0]
    path, mark, query = text.partition('?')
    if _MARK in path:
        for segment in path.split('/'):
            if _MARK in segment:
                _check_segment(unquote(segment.replace(_MARK, '')), uri, values)
    return (path + mark + query).replace(_MARK, '')


def literal(text: str) -> str:
    """A target's own text: blanks and what is not ASCII are percent-encoded. ValueError for controls."""
    if (found := _CONTROLS.search(text)) is not None:
        raise ValueError(f'{text!r}: a URI has no {found.group()!r}')
    return quote(text, safe=_PRINTED)


def query(values: Mapping[str, Any]) -> str:
    """`values` as a query string, or a form's body. Lists are several values of a name, None is left out."""
    return '&'.join(f'{_quoted(str(name))}={_quoted(word(value))}' for name, value in pairs(values))


def pairs(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Name and value; a list's name as often as it has elements, those of None not at all."""
    for name, value in values.items():
        several: Iterable[Any] = value if isinstance(value, list | tuple | set | frozenset) else (value,)
        for one in several:
            if one is not None:
                yield name, one


def word(value: Any, form: str = '') -> str:
    """`value` as it stands in a URI or a form. TypeError for what has no such form."""
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, str | int | float | decimal.Decimal | uuid.UUID):
        return format(value, form) if form else str(value)
    if isinstance(value, datetime.date | datetime.time):
        return format(value, form) if form else value.isoformat()
    raise TypeError(f'{type(value).__name__} has no form in a URI or a form: give a text or a number')


def _quoted(text: str) -> str:
    try:
        return quote(text, safe='')
    except UnicodeEncodeError:
        words = 'a text with half a surrogate pair cannot be sent'
        raise refuse(ValueError(f'{text!r}: {words}'), words) from None


def _check_segment(segment: str, uri: str, values: Sequence[Any]) -> None:
    steps = _STEPS.split(segment)
    if segment and '.' not in steps and '..' not in steps:
        return
    words = "a value that is a part of a URL's path is neither empty nor '.' or '..'"
    error = ValueError(f'{uri!r}: {words}, which lead elsewhere: {segment!r}')
    raise refuse(error, words) if sendable(list(values)) else error
