"""Inspection of parameters: `@app.inspect (...)` and `app.validate (...)` (SPEC chapter 14, IN rows).

An `Inspection` is compiled once, where it is written: each inspected parameter gets a few functions that take
its value and give it back, converted or not. A request that doesn't fit gets 400 with code 40050; what is
wrong with the specification itself is a ValueError or TypeError at decoration.

What a keyword means:

    ints = 'a b' or ['a', 'b']   list keywords name parameters, as they are: see `_LISTS` and `_RULES`
    a = int, [int, float]        a's type                                                        (IN-19)
    a = re.compile (...)         must be found in a                                              (IN-20)
    a = 'x'                      a must equal it                                                 (IN-21)
    a__gte = 10                  an operator, see `_OPERATORS`                                   (IN-22)
    a__len__gte = 10             the operator on a's length                                      (IN-23)
    a___k__1___x__len__gte = 10  the same at a ['k'][1]['x'] of a JSON value                     (IN-25)

Three underscores go down to a key, two before a number to an index, two before a word to an operator. So a
parameter whose own name has two underscores in a row, or ends in one, can only be named in list keywords.

The order: `required`, `oneof`, `manyof`; then for each parameter the list keywords, the rest as written,
and `nones` last. Values that are absent or None are skipped. Where the path of a JSON value leads nowhere,
or to null, the request is refused; not where the parameter itself is absent.

Values that a query or form gives several times arrive as lists. Checks and conversions that are about one
value are then made on each of them (`ints`: '?n=1&n=2' gives [1, 2]); `a = int` wants one value, `a = list`
several; `contains` looks among them. A list in JSON is one value: `ints` refuses it. Parameters that are
in `lists` are lists wherever they come from: the other checks are made on each element, `len` is the
number of elements.

Text that compares with a number must be plain decimal digits (a sign, blanks around them); JSON numbers
compare as they are. No conversion takes a boolean for a number.
"""

from __future__ import annotations

import operator
import re
import types
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Never, get_args
from uuid import UUID

from .errors import HTTPError
from .routing import SPECIALS

if TYPE_CHECKING:
    from .request import Request
    from .was import Was

#: The code in the body of a refusal (SPEC IN-01).
ERRNO = 40050

#: Takes a value (never None), gives it back, converted or not; _Mismatch for one that is refused.
Check = Callable[[Any], Any]

_QUERY_METHODS = frozenset(('GET', 'HEAD', 'DELETE'))
_BODY_METHODS = frozenset(('POST', 'PUT', 'PATCH'))
_METHODS = {'GET': ('GET', 'HEAD')} | {m: (m,) for m in ('POST', 'PUT', 'PATCH', 'DELETE')}
_SCOPES = ('ARGS', 'URL', 'FORM', 'JSON', 'DATA', *_METHODS)

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


class _Mismatch(Exception):
    """Why a value is refused, for the client."""


# -- conversions (IN-05 to IN-13, IN-18): made for a subject such as 'parameter age' -------------------


def _of_type(subject: str, label: str) -> str:
    return f'{subject} should be {label} type'


def _to_int(subject: str) -> Check:
    reason = _of_type(subject, 'int')

    def check(value: Any) -> Any:
        kind = type(value)
        if kind is int:
            return value
        if kind is str and len(value) <= _MAX_TEXT and _INT(value):
            return int(value)
        if kind is float and value.is_integer():  # 5.0 is JSON for 5, too
            return int(value)
        raise _Mismatch(reason)

    return check


def _to_float(subject: str) -> Check:
    reason = _of_type(subject, 'float')

    def check(value: Any) -> Any:
        kind = type(value)
        if kind is int or kind is float or (kind is str and len(value) <= _MAX_TEXT and _FLOAT(value)):
            try:
                number = float(value)
            except OverflowError:
                raise _Mismatch(reason) from None
            if number - number == 0.0:  # '1e999' is infinite: JSON cannot carry it
                return number
        raise _Mismatch(reason)

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
    reason = _of_type(subject, 'string')

    def check(value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return value
        if kind is float or (kind is int and value.bit_length() <= _MAX_TEXT):
            return str(value)
        if kind is UUID:
            return str(value)
        raise _Mismatch(reason)

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
        raise _Mismatch(reason)

    return check


def _from_text(kind: type, parse: Callable[[str], Any]) -> Callable[[str], Check]:
    """A conversion to a type that neither a query nor JSON has."""

    def make(subject: str) -> Check:
        reason = _of_type(subject, kind.__name__)

        def check(value: Any) -> Any:
            if type(value) is kind:
                return value
            if kind is Decimal and type(value) in (int, float):
                value = str(value) if type(value) is float or value.bit_length() <= _MAX_TEXT else ''
            if type(value) is not str or not value.isascii() or len(value) > _MAX_TEXT:
                raise _Mismatch(reason)
            try:
                return parse(value)
            except (ValueError, OverflowError):
                raise _Mismatch(reason) from None

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
_CONVERSIONS: dict[type, Callable[[str], Check]] = {
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
_COMPARABLES: dict[type, Callable[[str], Check]] = _CONVERSIONS | {
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
    reason = _of_type(subject, 'string')

    def check(value: Any) -> Any:
        if type(value) is not str:
            raise _Mismatch(reason)
        return value

    return check


def _an_email(subject: str) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not str or len(value) > _MAX_EMAIL or not _EMAIL(value):
            raise _Mismatch(f'{subject} should be an email address')
        return value

    return check


def _a_uuid(subject: str) -> Check:
    def check(value: Any) -> Any:
        if type(value) is UUID or (type(value) is str and _UUID(value)):
            return value
        raise _Mismatch(f'{subject} should be a UUID')

    return check


def _to_list(subject: str) -> Check:
    reason = _of_type(subject, 'list')

    def check(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return value
        if type(value) is str:
            return value.split('|') if value else []
        raise _Mismatch(reason)

    return check


def _a_dict(subject: str) -> Check:
    reason = _of_type(subject, 'dict')

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _Mismatch(reason)
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
        raise _Mismatch(f'{subject} should be a range like 1~10')

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
                raise _Mismatch(reason)
            return value

        return check

    return make


class _List(NamedTuple):
    """A list keyword. `each`: made on each of several values. `numeric`: 'me' in a URL is exempt."""

    make: Callable[[str], Check]
    each: bool = True
    numeric: bool = False


#: List keywords that are about single parameters, in the order in which they are applied.
_LISTS = {
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

#: List keywords that are applied before and after those.
_RULES = ('oneof', 'manyof', 'nones')


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


def _plain(condition: Any) -> Any:
    """An enumeration's member stands for its value."""
    return condition.value if isinstance(condition, Enum) else condition


def _comparable(keyword: str, subject: str, condition: Any) -> tuple[Check, Any]:
    """(what converts a value, the condition to compare it with)."""
    make = _COMPARABLES.get(type(condition))
    if make is None:
        hint = ''
        if isinstance(condition, list | tuple | set | frozenset):
            hint = '; for one of several write name__in = [...]'
        raise TypeError(
            f'{keyword} = {condition!r}: cannot be compared with what a request brings; use '
            + ', '.join(sorted(kind.__name__ for kind in _COMPARABLES))
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
                raise _Mismatch(reason)
            return value

        return check

    return make


def _items(keyword: str, condition: Any, what: str) -> list[Any]:
    if not isinstance(condition, list | tuple | set | frozenset) or not condition:
        raise TypeError(f'{keyword} = {condition!r}: write {what}')
    return [_plain(item) for item in condition]


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
            raise _Mismatch(reason)
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
                except _Mismatch as mismatch:
                    failure = mismatch
            if failure is not None and len(converts) == 1:
                raise failure
            if found is not wanted:
                raise _Mismatch(reason)
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
            except _Mismatch:
                return False

        def check(value: Any) -> Any:
            if type(value) is str and type(part) is str:
                found = part in value
            elif isinstance(value, list | tuple | dict):
                found = any(equal(item) for item in value)
            else:
                raise _Mismatch(reason)
            if found is not wanted:
                raise _Mismatch(reason)
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
                raise _Mismatch(reason)
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
    return _search(keyword, pattern, f'{subject} should match with regular expression {text}')


def _search(keyword: str, pattern: Any, reason: str) -> Check:
    try:
        pattern.search('')
        search = pattern.search
    except (AttributeError, TypeError) as error:
        raise TypeError(f'{keyword} = {pattern!r}: write a regular expression for text ({error})') from None

    def check(value: Any) -> Any:
        if type(value) is not str or not search(value):
            raise _Mismatch(reason)
        return value

    return check


_Operator = Callable[[str, str, Any], Check]

#: Operators that a length has, too (IN-23).
_LENGTH_OPERATORS: dict[str, _Operator] = {
    name: _comparison(compare, phrase) for name, (compare, phrase) in _COMPARISONS.items()
} | {
    'between': _between,
    'in': _membership(True, 'be one of'),
    'notin': _membership(False, 'be not one of'),
}

_OPERATORS: dict[str, _Operator] = _LENGTH_OPERATORS | {
    'contains': _containing(True, 'contain'),
    'notcontain': _containing(False, 'not contain'),
    'startswith': _edge(at_end=False, wanted=True, phrase='start with'),
    'notstartwith': _edge(at_end=False, wanted=False, phrase='not start with'),
    'endswith': _edge(at_end=True, wanted=True, phrase='end with'),
    'notendwith': _edge(at_end=True, wanted=False, phrase='not end with'),
    'regex': _searching,
}
_OPERATORS |= {alias: _OPERATORS[name] for alias, name in _ALIASES.items()}

#: Operators that take a list as it is, not each of its elements.
_OF_LISTS = ('contains', 'notcontain', 'ncontains')


def _length(name: str, check: Check) -> Check:
    def check_length(value: Any) -> Any:
        if not isinstance(value, str | list | tuple | dict):
            raise _Mismatch(f'parameter {name} has no length')
        check(len(value))
        return value

    return check_length


# -- compiling ---------------------------------------------------------------------------------------


class _Step(NamedTuple):
    """A check of one parameter. `strict`: the same for JSON values; `each`, `numeric`: see `_List`."""

    check: Check
    strict: Check
    each: bool
    numeric: bool


class _Target(NamedTuple):
    """A keyword, taken apart: what it is about and how."""

    name: str
    path: tuple[str | int, ...]
    length: bool
    operator: str | None

    @property
    def label(self) -> str:
        """For messages: data.scores.1"""
        return '.'.join(map(str, (self.name, *self.path)))


def _parse_keyword(keyword: str) -> _Target:
    path: list[str | int] = []
    rest: list[str] = []
    for part in keyword.split('___'):
        if rest:
            raise ValueError(f'{keyword}: {rest[0]!r} is no index; an operator comes last')
        word, *rest = part.split('__')
        if not word:
            raise ValueError(f'{keyword}: a name is missing between the underscores')
        path.append(word)
        while rest and rest[0].isascii() and rest[0].isdigit():
            path.append(int(rest.pop(0)))
    length = rest[:1] == ['len']
    if length:
        del rest[0]
        if not rest:
            raise ValueError(f'{keyword}: say what the length should be, as in {keyword}__lte = 10')
    known = _LENGTH_OPERATORS if length else _OPERATORS
    if len(rest) > 1 or (rest and rest[0] not in known):
        raise ValueError(
            f'{keyword}: unknown operator {"__".join(rest)!r}; '
            + ('a length has ' if length else 'there are len, ')
            + ', '.join(sorted(known))
        )
    name, *below = path
    return _Target(str(name), tuple(below), length, rest[0] if rest else None)


def _types_of(keyword: str, condition: Any) -> tuple[type, ...] | None:
    """The types that `keyword = condition` asks for; None where it doesn't ask for types."""
    if isinstance(condition, types.UnionType):
        condition = [kind for kind in get_args(condition) if kind is not type(None)]
    if not isinstance(condition, list | tuple):
        condition = [condition] if isinstance(condition, type) else []
    elif not condition or not all(isinstance(kind, type) for kind in condition):
        raise TypeError(
            f'{keyword} = {condition!r}: a list holds types here; for one of several values write '
            f'{keyword}__in = [...]'
        )
    for kind in condition:
        if isinstance(kind, types.GenericAlias):
            raise TypeError(f'{keyword}: write {kind.__origin__.__name__}, what it holds is not inspected')
    return tuple(condition) or None


def _typed(keyword: str, subject: str, kinds: tuple[type, ...]) -> _Step:
    """`name = type`: text is converted where it can be, JSON values must have the type (IN-19)."""
    try:
        isinstance(None, kinds)
    except TypeError as error:
        raise TypeError(f'{keyword}: {error}') from None
    # True is an int to isinstance (), not to a client.
    takes_bool = any(issubclass(bool, kind) and kind is not int for kind in kinds)
    converts = {kind: _CONVERSIONS[kind](subject) for kind in kinds if kind in _CONVERSIONS}
    # JSON has no dates, and clients write 5.0 as 5.
    strict_converts = {kind: convert for kind, convert in converts.items() if kind not in (int, bool)}
    reason = _of_type(subject, ' or '.join('string' if kind is str else kind.__name__ for kind in kinds))
    if kinds == (bool,):
        reason = f'{subject} should be a boolean (one of yes, no, y, n, t, f, true or false)'

    def loose(value: Any) -> Any:
        if isinstance(value, kinds) and (takes_bool or type(value) is not bool):
            return value
        return _first(converts, value, reason)

    def strict(value: Any) -> Any:
        if isinstance(value, kinds) and (takes_bool or type(value) is not bool):
            return value
        found = _first(strict_converts, value, reason)
        if type(found) is float and type(value) is str:
            raise _Mismatch(reason)
        return found

    return _Step(loose, strict, each=False, numeric=int in kinds or float in kinds)


def _first(converts: dict[type, Check], value: Any, reason: str) -> Any:
    for convert in converts.values():
        try:
            return convert(value)
        except _Mismatch:
            continue
    raise _Mismatch(reason)


def _same(check: Check, each: bool = True, numeric: bool = False) -> _Step:
    return _Step(check, check, each, numeric)


def _compile(keyword: str, condition: Any, is_list: bool) -> tuple[str, _Step]:
    """(name, step) of a keyword that is no list keyword. `is_list`: the parameter is in `lists`."""
    target = _parse_keyword(keyword)
    name = target.label
    step = _compile_condition(keyword, target, _plain(condition))
    if target.length:
        step = _same(_length(name, step.check), each=not is_list)
    if target.path:
        step = _same(_below(target, step.strict), each=False)
    return target.name, step


def _compile_condition(keyword: str, target: _Target, condition: Any) -> _Step:
    name = target.label
    subject = f'parameter {name}'
    if condition is None:
        raise TypeError(f'{keyword} = None: values that are None are not inspected; leave it out')
    if target.operator is not None:
        if target.length:
            subject = f'parameter length of {name}'
            numbers = condition if isinstance(condition, list | tuple | set | frozenset) else (condition,)
            if not isinstance(condition, range) and not all(type(number) is int for number in numbers):
                raise TypeError(f'{keyword} = {condition!r}: a length is an int')
        check = _OPERATORS[target.operator](keyword, subject, condition)
        return _same(check, target.operator not in _OF_LISTS, _is_number(condition))
    kinds = _types_of(keyword, condition)
    if kinds is not None:
        return _typed(keyword, subject, kinds)
    if hasattr(condition, 'search'):
        return _same(_search(keyword, condition, f'{subject} is invalid'))
    if type(condition) not in _COMPARABLES:
        raise TypeError(
            f'{keyword} = {condition!r}: write a type, a list of types, a compiled regular expression, a '
            'value that it must equal, or an operator as in name__gte = 10'
        )
    return _same(_LENGTH_OPERATORS['eq'](keyword, subject, condition), numeric=_is_number(condition))


def _is_number(condition: Any) -> bool:
    if isinstance(condition, range):
        return True
    if isinstance(condition, list | tuple | set | frozenset):
        return all(type(_plain(item)) in (int, float) for item in condition)
    return type(condition) in (int, float)


def _below(target: _Target, check: Check) -> Check:
    """`check` made on what is at the path inside a JSON value; the value is given back as it is."""
    path = target.path
    reason = f'parameter {target.name} has no {target.label} (key related error)'

    def descend(value: Any) -> Any:
        found = value
        for step in path:
            if type(step) is int:
                if not isinstance(found, list | tuple) or step >= len(found):
                    raise _Mismatch(reason)
            elif not isinstance(found, dict) or step not in found:
                raise _Mismatch(reason)
            found = found[step]
        if found is None:
            raise _Mismatch(reason)
        check(found)
        return value

    return descend


def _mapped(check: Check) -> Check:
    return lambda values: [check(value) for value in values]


class _Plan:
    """What is done with one parameter.

    `single`: a value of a query, form or path, or a default. `several`: a list of them. `strict`: a
    value of a JSON body. `special`: 'me', 'notme' and 'new' of a typed path parameter.
    """

    __slots__ = ('name', 'several', 'single', 'special', 'strict')

    def __init__(self, name: str, steps: list[_Step], is_list: bool) -> None:
        self.name = name
        several = tuple(_mapped(step.check) if step.each else step.check for step in steps)
        self.several = several
        self.single = several if is_list else tuple(step.check for step in steps)
        self.strict = several if is_list else tuple(step.strict for step in steps)
        self.special = tuple(step.check for step in steps if not step.numeric)


def _names(keyword: str, value: Any) -> tuple[str, ...]:
    """The names that a list keyword gives: a list, or a str with blanks between them (IN-04)."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = value.split()
    if not isinstance(value, list | tuple | set | frozenset) or not all(
        isinstance(name, str) and name for name in value
    ):
        raise TypeError(f'{keyword} = {value!r}: write a list of names, or a str with blanks between them')
    for name in value:
        if ',' in name or ' ' in name:
            raise ValueError(f'{keyword}: {name!r} is no name; put blanks between names, or use a list')
    return tuple(dict.fromkeys(value))


def _scope(scope: Any) -> str:
    if callable(scope):
        raise TypeError('write it with its parentheses: @app.inspect (required = [...])')
    if isinstance(scope, list | tuple | set | dict):
        raise TypeError(
            f'inspect ({scope!r}): names are given by keyword, as in required = [...] or ints = [...]'
        )
    if not isinstance(scope, str) or scope.upper() not in _SCOPES:
        raise ValueError(
            f'inspect ({scope!r}): unknown scope; there are {", ".join(_SCOPES)}. Names are given by '
            'keyword, as in required = [...]'
        )
    return scope.upper()


class Inspection:
    """Checks and converts a request's parameters (SPEC IN-01 to IN-25).

    `scope`: 'ARGS' (all parameters, and the service's defaults), 'URL' (the query's), 'FORM', 'JSON', 'DATA'
    (the body's; only for POST, PUT and PATCH, JSON only for that content type), or a method: requests
    with it only, the query's parameters for GET and DELETE, else the body's. `required`: names that must
    be given, neither blank nor zero. The rest: see the top of this module.

    ValueError or TypeError for a specification that cannot be meant.
    """

    __slots__ = ('_manyof', '_message', '_oneof', '_plans', '_required', 'scope')

    def __init__(self, scope: str = 'ARGS', required: Any = None, **spec: Any) -> None:
        self.scope = _scope(scope)
        self._message = f'missing or bad parameter in {self.scope}'
        self._required = _names('required', required)
        self._oneof, self._manyof, nones = (_names(rule, spec.pop(rule, None)) for rule in _RULES)
        for keyword, several in (('oneof', self._oneof), ('manyof', self._manyof)):
            if len(several) == 1:
                raise ValueError(f'{keyword} = {list(several)}: name two at least, or use required')
        lists = _names('lists', spec.get('lists'))
        steps: dict[str, list[_Step]] = {}
        for keyword, kind in _LISTS.items():
            for name in _names(keyword, spec.pop(keyword, None)):
                check = kind.make(f'parameter {name}')
                # What comes after `lists` gets a list, but these two look through one themselves.
                steps.setdefault(name, []).append(_same(check, kind.each, kind.numeric))
        for keyword, condition in spec.items():
            name, step = _compile(keyword, condition, keyword.partition('__')[0] in lists)
            steps.setdefault(name, []).append(step)
        for name in nones:
            steps.setdefault(name, []).append(_same(lambda value: value or None, each=False))
        self._plans = tuple(_Plan(name, found, name in lists) for name, found in steps.items())

    def __call__(self, was: Was, arguments: dict[str, Any]) -> None:
        """Check the request of `was`: HTTPError 400 where it doesn't fit.

        Converted values are written to `was.request.args`, to where they came from, and to `arguments`:
        the keyword arguments that the service is about to get. Touches nothing but this request.
        """
        request = was.request
        scope = self.scope
        if scope == 'ARGS':
            values: dict[str, Any] = request.args
            from_json: Collection[str] = ()
            if was.exchange.body is not None and isinstance(request.JSON, dict):
                from_json = request.JSON
        else:
            found = self._find(request)
            if found is None:
                return
            values, from_json = found
        if self._required or self._oneof or self._manyof:
            self._count(request, values)
        for plan in self._plans:
            name = plan.name
            value = values.get(name)
            if value is None:
                continue
            if name in from_json:
                steps = plan.strict
            elif type(value) is list:
                steps = plan.several
            else:
                steps = plan.single
            result = value
            try:
                for step in steps:
                    result = step(result)
            except _Mismatch as mismatch:
                if value.__class__ is not str or value not in SPECIALS or not self._exempt(was, name):
                    self._refuse(str(mismatch))
                result = self._special(plan, value)
            if result is not value:
                self._store(was, arguments, values, name, result)

    def _refuse(self, reason: str) -> Never:
        raise HTTPError('400 Bad Request', reason, ERRNO, message=self._message) from None

    def _find(self, request: Request) -> tuple[dict[str, Any], Collection[str]] | None:
        """(parameters, names of those in JSON) of another scope than ARGS; None where it doesn't apply."""
        scope, method = self.scope, request.method
        if scope in _METHODS:
            if method not in _METHODS[scope]:
                return None
            scope = 'URL' if method in _QUERY_METHODS else 'DATA'
        if scope == 'URL':
            return request.URL, ()
        if method not in _BODY_METHODS:
            return None
        if scope == 'FORM':
            return request.FORM or {}, ()
        if scope == 'JSON' and not _is_json(request.get_content_type()):
            return None
        data = request.JSON if scope == 'JSON' else request.DATA
        if data is None:
            return {}, ()
        if not isinstance(data, dict):
            self._refuse('the body should be a JSON object')
        return data, (data if request.FORM is None else ())

    def _count(self, request: Request, values: dict[str, Any]) -> None:
        """`required`, `oneof`, `manyof` (IN-03, IN-14, IN-15)."""
        for name in self._required:
            value = values.get(name)
            if value is None or value == '' or (type(value) in (int, float) and value == 0):
                self._refuse(f'parameter {name} required')
        if not self._oneof and not self._manyof:
            return
        if self.scope == 'ARGS':
            values = request.given  # a default is not given
        if self._oneof and sum(values.get(name) not in (None, '') for name in self._oneof) != 1:
            self._refuse(f'exactly one parameter of {", ".join(self._oneof)} are required')
        if self._manyof and all(values.get(name) in (None, '') for name in self._manyof):
            self._refuse(f'one or more parameters of {", ".join(self._manyof)} are required')

    def _exempt(self, was: Was, name: str) -> bool:
        """Whether it is a typed parameter of the path, where 'me' stands for a number (RT-06)."""
        if self.scope != 'ARGS' or was.endpoint.rule.kinds.get(name) not in ('int', 'float'):
            return False
        request = was.request
        return name in request.PARAMS and not _in_body(was, name)

    def _special(self, plan: _Plan, value: Any) -> Any:
        try:
            for step in plan.special:
                value = step(value)
        except _Mismatch as mismatch:
            self._refuse(str(mismatch))
        return value

    def _store(
        self, was: Was, arguments: dict[str, Any], values: dict[str, Any], name: str, value: Any
    ) -> None:
        """Put a converted value to where it came from, and to what is passed if that is this value."""
        request = was.request
        if self.scope == 'ARGS':
            if _in_body(was, name):
                request.DATA[name] = value
            elif name not in request.PARAMS and name in request.URL:
                request.URL[name] = value
        else:
            values[name] = value
            if values is request.URL and (name in request.PARAMS or _in_body(was, name)):
                return
        request.args[name] = value
        # A default that is converted must be passed, too: the function has it as it was.
        if name in arguments or name in request.DEFAULT:
            arguments[name] = value


def _in_body(was: Was, name: str) -> bool:
    if was.exchange.body is None:
        return False
    data = was.request.DATA
    return isinstance(data, dict) and name in data


def _is_json(media: str | None) -> bool:
    return media is not None and (
        media == 'application/json' or (media.startswith('application/') and media.endswith('+json'))
    )
