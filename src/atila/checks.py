"""What can be asked of one value: conversions, checks and operators (SPEC IN-05 to IN-24).

Each is made when a decorator is, for a subject that its messages name ('parameter age', 'parameter length
of name'), and is then a function of a value alone: it knows nothing of requests. `validation` decides which
are made on what. A value is whatever a query, a form, JSON or a default may hold, so each looks at its type
first: the only thing it raises is `Mismatch`. What cannot be meant is a ValueError or TypeError when it is
made.

Text that compares with a number must be plain decimal digits (a sign, blanks around them); numbers compare
as they are. No conversion takes a boolean for a number. Regular expressions over a client's text are linear.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

#: Takes a value (never None), gives it back, converted or not; Mismatch for one that is refused.
Check = Callable[[Any], Any]

#: More digits than any number means; int () refuses more than 4,300.
_MAX_TEXT = 4000
_INT = re.compile(r'[ \t\r\n]*[+-]?[0-9]+[ \t\r\n]*').fullmatch
_FLOAT = re.compile(r'[ \t\r\n]*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t\r\n]*').fullmatch
_BOOLEANS: dict[str, bool] = {
    **dict.fromkeys(('True', 'yes', 'true', 'y', 't'), True),
    **dict.fromkeys(('False', 'no', 'false', 'n', 'f'), False),
}
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_EMAIL = re.compile(
    _ATOM + r'(?:\.' + _ATOM + r')*@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+'
    r'[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]'
).fullmatch
_MAX_EMAIL = 254  # RFC 5321, 4.5.3.1.3 less the angle brackets
_UUID = re.compile(r'[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}').fullmatch
#: What an HTML tokenizer takes for a tag or a comment: 'a < b' is neither (HTML, 13.2.5.6).
_TAG = re.compile(r'<[A-Za-z/!?]').search
#: Browsers skip control characters and blanks before a scheme, and some inside it.
_SCHEME = r'[\x00-\x20]*'.join('javascript:')
_UNSAFE = re.compile(
    rf"""<[\x00-\x20]*script | (?:^|["'`=])[\x00-\x20]*{_SCHEME} | [\x00-\x20/"'`]on[a-z]+[\x00-\x20]*="""
    r'| &\#(?:x[0-9a-f]|[0-9])',
    re.IGNORECASE | re.ASCII | re.VERBOSE,
).search


class Mismatch(Exception):
    """Why a value is refused, for the client."""


# -- conversions (IN-05 to IN-13, IN-18): made for a subject such as 'parameter age' -------------------


def of_type(subject: str, label: str) -> str:
    return f'{subject} should be {label} type'


def _to_int(subject: str) -> Check:
    reason = of_type(subject, 'int')

    def check(value: Any) -> Any:
        kind = type(value)
        if kind is int:
            return value
        if kind is str and len(value) <= _MAX_TEXT:
            if (value.isascii() and value.isdigit()) or _INT(value):  # the usual case first: it is quicker
                return int(value)
        elif kind is float and value.is_integer():  # 5.0 is JSON for 5, too
            return int(value)
        raise Mismatch(reason)

    return check


def _to_float(subject: str) -> Check:
    reason = of_type(subject, 'float')

    def check(value: Any) -> Any:
        kind = type(value)
        if kind is int or kind is float or (kind is str and len(value) <= _MAX_TEXT and _FLOAT(value)):
            try:
                number = float(value)
            except OverflowError:
                raise Mismatch(reason) from None
            if number - number == 0.0:  # '1e999' is infinite: JSON cannot carry it
                return number
        raise Mismatch(reason)

    return check


def _to_number(subject: str) -> Check:
    """For comparing with an int: numbers as they are, text as an int."""
    to_int = _to_int(subject)
    return lambda value: value if type(value) is float else to_int(value)


def _to_real(subject: str) -> Check:
    """For comparing with a float: numbers as they are, text as a float."""
    to_float = _to_float(subject)
    return lambda value: value if type(value) is int else to_float(value)


def _to_text(subject: str) -> Check:
    """For comparing with a str."""
    reason = of_type(subject, 'string')

    def check(value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return value
        if kind is float or (kind is int and value.bit_length() <= _MAX_TEXT):
            return str(value)
        if kind is UUID:
            return str(value)
        raise Mismatch(reason)

    return check


def _to_bool(subject: str) -> Check:
    reason = f'{subject} should be a boolean (one of yes, no, y, n, t, f, true or false)'

    def check(value: Any) -> Any:
        kind = type(value)
        if kind is bool:
            return value
        if kind is str and value in _BOOLEANS:
            return _BOOLEANS[value]
        if (kind is int or kind is float) and (value == 0 or value == 1):
            return value == 1
        raise Mismatch(reason)

    return check


def _from_text(kind: type, parse: Callable[[str], Any]) -> Callable[[str], Check]:
    """A conversion to a type that neither a query nor JSON has."""

    def make(subject: str) -> Check:
        reason = of_type(subject, kind.__name__)

        def check(value: Any) -> Any:
            if type(value) is kind:
                return value
            if kind is Decimal and type(value) in (int, float):
                value = str(value) if type(value) is float or value.bit_length() <= _MAX_TEXT else ''
            if type(value) is not str or not value.isascii() or len(value) > _MAX_TEXT:
                raise Mismatch(reason)
            try:
                return parse(value)
            except (ValueError, ArithmeticError):  # the latter of an exponent without measure
                raise Mismatch(reason) from None

        return check

    return make


def _parse_decimal(text: str) -> Decimal:
    if not _FLOAT(text):  # nor 'NaN', which compares with nothing
        raise ValueError(text)
    return Decimal(text.strip())


def _parse_uuid(text: str) -> UUID:
    if not _UUID(text):
        raise ValueError(text)
    return UUID(text)


def _parse_datetime(text: str) -> datetime:
    """ISO 8601; a naive one is UTC, as everywhere (SPEC RS-13)."""
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _parse_time(text: str) -> time:
    return time.fromisoformat(text).replace(tzinfo=None)


#: How a value becomes what `name = type` asks for.
CONVERSIONS: dict[type, Callable[[str], Check]] = {
    int: _to_int,
    float: _to_float,
    bool: _to_bool,
    date: _from_text(date, date.fromisoformat),
    datetime: _from_text(datetime, datetime.fromisoformat),
    time: _from_text(time, _parse_time),
    Decimal: _from_text(Decimal, _parse_decimal),
    UUID: _from_text(UUID, _parse_uuid),
}

#: The same for comparing with a condition of this type (IN-22).
COMPARABLES: dict[type, Callable[[str], Check]] = CONVERSIONS | {
    int: _to_number,
    float: _to_real,
    str: _to_text,
    datetime: lambda subject: _aware(_from_text(datetime, _parse_datetime)(subject)),
}


def _aware(convert: Check) -> Check:
    def check(value: Any) -> Any:
        found = convert(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found  # a default may be naive

    return check


def _a_str(subject: str) -> Check:
    reason = of_type(subject, 'string')

    def check(value: Any) -> Any:
        if type(value) is not str:
            raise Mismatch(reason)
        return value

    return check


def _an_email(subject: str) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not str or len(value) > _MAX_EMAIL or not _EMAIL(value):
            raise Mismatch(f'{subject} should be an email address')
        return value

    return check


def _a_uuid(subject: str) -> Check:
    def check(value: Any) -> Any:
        if type(value) is UUID or (type(value) is str and _UUID(value)):
            return value
        raise Mismatch(f'{subject} should be a UUID')

    return check


def _to_list(subject: str) -> Check:
    reason = of_type(subject, 'list')

    def check(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return value
        if type(value) is str:
            return value.split('|') if value else []
        raise Mismatch(reason)

    return check


def _a_dict(subject: str) -> Check:
    reason = of_type(subject, 'dict')

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Mismatch(reason)
        return value

    return check


def _to_range(subject: str) -> Check:
    to_int = _to_int(subject)

    def check(value: Any) -> Any:
        if type(value) is tuple and len(value) == 2:  # has been converted
            return to_int(value[0]), to_int(value[1])
        if type(value) is str:
            first, tilde, last = value.partition('~')
            if tilde and _INT(first) and _INT(last) and len(value) <= _MAX_TEXT:
                return int(first), int(last)
        raise Mismatch(f'{subject} should be a range like 1~10')

    return check


def _texts(value: Any) -> Iterable[str]:
    """All text in a value, keys too; without recursion, since clients choose the depth."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            left += value.keys()
            left += value.values()
        elif isinstance(value, list | tuple):
            left += value


def _without(search: Callable[[str], Any], ending: str) -> Callable[[str], Check]:
    def make(subject: str) -> Check:
        reason = f'{subject} {ending}'

        def check(value: Any) -> Any:
            if any(map(search, (value,) if type(value) is str else _texts(value))):
                raise Mismatch(reason)
            return value

        return check

    return make


class _List(NamedTuple):
    """A list keyword. `each`: made on each of several values. `numeric`: 'me' in a URL is exempt."""

    make: Callable[[str], Check]
    each: bool = True
    numeric: bool = False


#: List keywords that are about single parameters, in the order in which they are applied.
LISTS = {
    'lists': _List(_to_list, each=False),
    'dicts': _List(_a_dict, each=False),
    'notags': _List(_without(_TAG, 'should not contain html tags'), each=False),
    'safes': _List(_without(_UNSAFE, 'is unsafe'), each=False),
    'strings': _List(_a_str),
    'emails': _List(_an_email),
    'uuids': _List(_a_uuid),
    'ranges': _List(_to_range),
    'booleans': _List(_to_bool),
    'ints': _List(_to_int, numeric=True),
    'floats': _List(_to_float, numeric=True),
}


# -- operators (IN-22 to IN-24): functions of keyword, subject, condition ------------------------------

_COMPARISONS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    'eq': (operator.eq, 'be'),
    'exact': (operator.eq, 'be'),
    'neq': (operator.ne, 'not be'),
    'lte': (operator.le, 'less or equal than'),
    'lt': (operator.lt, 'less than'),
    'gte': (operator.ge, 'greater or equal than'),
    'gt': (operator.gt, 'greater than'),
}

_ALIASES = {'ncontains': 'notcontain', 'nstartswith': 'notstartwith', 'nendswith': 'notendwith'}


def plain(condition: Any) -> Any:
    """An enumeration's member stands for its value."""
    return condition.value if isinstance(condition, Enum) else condition


def _comparable(keyword: str, subject: str, condition: Any) -> tuple[Check, Any]:
    """(what converts a value, the condition to compare it with)."""
    make = COMPARABLES.get(type(condition))
    if make is None:
        hint = ''
        if isinstance(condition, list | tuple | set | frozenset):
            hint = '; for one of several write name__in = [...]'
        raise TypeError(
            f'{keyword} = {condition!r}: cannot be compared with what a request brings; use '
            + ', '.join(sorted(kind.__name__ for kind in COMPARABLES))
            + hint
        )
    if (type(condition) is Decimal and condition.is_nan()) or condition != condition:
        raise ValueError(f'{keyword} = {condition!r}: nothing compares with it')
    if type(condition) is datetime and condition.tzinfo is None:
        condition = condition.replace(tzinfo=UTC)
    if type(condition) is time:
        condition = condition.replace(tzinfo=None)
    return make(subject), condition


def _comparison(compare: Callable[[Any, Any], Any], phrase: str) -> _Operator:
    def make(keyword: str, subject: str, condition: Any) -> Check:
        reason = f'{subject} should {phrase} {condition}'
        convert, limit = _comparable(keyword, subject, condition)
        #: A value of this type need not be converted.
        same = type(limit) if type(limit) in (int, float, str, bool) else None

        def check(value: Any) -> Any:
            if not compare(value if type(value) is same else convert(value), limit):
                raise Mismatch(reason)
            return value

        return check

    return make


def _items(keyword: str, condition: Any, what: str) -> list[Any]:
    if not isinstance(condition, list | tuple | set | frozenset) or not condition:
        raise TypeError(f'{keyword} = {condition!r}: write {what}')
    return [plain(item) for item in condition]


def _between(keyword: str, subject: str, condition: Any) -> Check:
    what = 'a pair of the lowest and the highest value, such as (1, 10)'
    if isinstance(condition, set | frozenset):
        raise TypeError(f'{keyword} = {condition!r}: write {what}')
    pair = _items(keyword, condition, what)
    if len(pair) != 2:
        raise ValueError(f'{keyword} = {condition!r}: write {what}')
    # Of an int and a float, the float: '1.5' is between 1 and 2.5.
    convert, low = _comparable(keyword, subject, pair[0])
    other, high = _comparable(keyword, subject, pair[1])
    if type(high) is float:
        convert = other
    try:
        ordered = bool(low <= high)
    except TypeError:
        raise TypeError(f'{keyword} = {condition!r}: the two cannot be compared with each other') from None
    if not ordered:
        raise ValueError(f'{keyword} = {condition!r}: write the lower value first')
    reason = f'{subject} should be between {pair[0]} ~ {pair[1]}'

    def check(value: Any) -> Any:
        if not low <= convert(value) <= high:
            raise Mismatch(reason)
        return value

    return check


def _membership(wanted: bool, phrase: str) -> _Operator:
    def make(keyword: str, subject: str, condition: Any) -> Check:
        reason = f'{subject} should {phrase} {condition}'
        members: Collection[Any]
        if isinstance(condition, range):
            members, converts = condition, [_to_int(subject)]
        else:
            items = _items(keyword, condition, 'a list of values, with one at least')
            pairs = [_comparable(keyword, subject, item) for item in items]
            members = frozenset(item for _, item in pairs)
            #: One for each type: the value may have any of them.
            converts = list({type(item): convert for convert, item in pairs}.values())

        def check(value: Any) -> Any:
            found, failure = False, None
            for convert in converts:
                try:
                    found = found or convert(value) in members
                except Mismatch as mismatch:
                    failure = mismatch
            if failure is not None and len(converts) == 1:
                raise failure
            if found is not wanted:
                raise Mismatch(reason)
            return value

        return check

    return make


def _containing(wanted: bool, phrase: str) -> _Operator:
    """Part of a text, one of a list, a key of a dict."""

    def make(keyword: str, subject: str, condition: Any) -> Check:
        reason = f'{subject} should {phrase} {condition}'
        convert, part = _comparable(keyword, subject, condition)

        def equal(item: Any) -> bool:
            try:
                return bool(convert(item) == part)
            except Mismatch:
                return False

        def check(value: Any) -> Any:
            if type(value) is str and type(part) is str:
                found = part in value
            elif isinstance(value, list | tuple | dict):
                found = any(equal(item) for item in value)
            else:
                raise Mismatch(reason)
            if found is not wanted:
                raise Mismatch(reason)
            return value

        return check

    return make


def _edge(at_end: bool, wanted: bool, phrase: str) -> _Operator:
    def make(keyword: str, subject: str, condition: Any) -> Check:
        edges = tuple(condition) if isinstance(condition, list | tuple) else (condition,)
        if not edges or not all(isinstance(edge, str) for edge in edges):
            raise TypeError(f'{keyword} = {condition!r}: write a str, or a list of them')
        reason = f'{subject} should {phrase} {condition}'
        method = str.endswith if at_end else str.startswith

        def check(value: Any) -> Any:
            if type(value) is not str or method(value, edges) is not wanted:
                raise Mismatch(reason)
            return value

        return check

    return make


def _searching(keyword: str, subject: str, condition: Any) -> Check:
    if isinstance(condition, str):
        try:
            pattern: Any = re.compile(condition)
        except re.error as error:
            raise ValueError(f'{keyword} = {condition!r} is no regular expression: {error}') from None
    else:
        pattern = condition
    text = getattr(pattern, 'pattern', pattern)
    return searched(keyword, pattern, f'{subject} should match with regular expression {text}')


def searched(keyword: str, pattern: Any, reason: str) -> Check:
    try:
        pattern.search('')
        search = pattern.search
    except (AttributeError, TypeError) as error:
        raise TypeError(f'{keyword} = {pattern!r}: write a regular expression for text ({error})') from None

    def check(value: Any) -> Any:
        if type(value) is not str or not search(value):
            raise Mismatch(reason)
        return value

    return check


_Operator = Callable[[str, str, Any], Check]

#: Operators that a length has, too (IN-23).
LENGTH_OPERATORS: dict[str, _Operator] = {
    name: _comparison(compare, phrase) for name, (compare, phrase) in _COMPARISONS.items()
} | {
    'between': _between,
    'in': _membership(True, 'be one of'),
    'notin': _membership(False, 'be not one of'),
}

OPERATORS: dict[str, _Operator] = LENGTH_OPERATORS | {
    'contains': _containing(True, 'contain'),
    'notcontain': _containing(False, 'not contain'),
    'startswith': _edge(at_end=False, wanted=True, phrase='start with'),
    'notstartwith': _edge(at_end=False, wanted=False, phrase='not start with'),
    'endswith': _edge(at_end=True, wanted=True, phrase='end with'),
    'notendwith': _edge(at_end=True, wanted=False, phrase='not end with'),
    'regex': _searching,
}
OPERATORS |= {alias: OPERATORS[name] for alias, name in _ALIASES.items()}

#: Operators that take a list as it is, not each of its elements.
OF_LISTS = ('contains', 'notcontain', 'ncontains')


def of_length(name: str, check: Check) -> Check:
    def check_length(value: Any) -> Any:
        if not isinstance(value, str | list | tuple | dict):
            raise Mismatch(f'parameter {name} has no length')
        check(len(value))
        return value

    return check_length
