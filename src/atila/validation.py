"""Inspection of parameters: `@app.inspect (...)` and `app.validate (...)` (SPEC chapter 14, IN rows).

An `Inspection` is compiled once, where it is written: each inspected parameter gets a few functions that take
its value and give it back, converted or not. A request that doesn't fit gets 400 with code 40050; what is
wrong with the specification itself is a ValueError or TypeError at decoration.

What a keyword means:

    ints = 'a b' or ['a', 'b']   list keywords name parameters, as they are: see `LISTS` and `_RULES`
    a = int, [int, float]        a's type                                                        (IN-19)
    a = re.compile (...)         must be found in a                                              (IN-20)
    a = 'x'                      a must equal it                                                 (IN-21)
    a__gte = 10                  an operator, see `OPERATORS`                                    (IN-22)
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

What is asked of a value is in `checks`; here is what is asked of which.
"""

from __future__ import annotations

import types
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple, Never, get_args

from .checks import (
    COMPARABLES,
    CONVERSIONS,
    LENGTH_OPERATORS,
    LISTS,
    OF_LISTS,
    OPERATORS,
    Check,
    Mismatch,
    of_length,
    of_type,
    plain,
    searched,
)
from .errors import HTTPError
from .routing import SPECIALS

if TYPE_CHECKING:
    from .request import Request
    from .was import Was

#: The code in the body of a refusal (SPEC IN-01).
ERRNO = 40050

_QUERY_METHODS = frozenset(('GET', 'HEAD', 'DELETE'))
_BODY_METHODS = frozenset(('POST', 'PUT', 'PATCH'))
_METHODS = {'GET': ('GET', 'HEAD')} | {m: (m,) for m in ('POST', 'PUT', 'PATCH', 'DELETE')}
_SCOPES = ('ARGS', 'URL', 'FORM', 'JSON', 'DATA', *_METHODS)

#: List keywords that are applied before and after those.
_RULES = ('oneof', 'manyof', 'nones')


# -- compiling ---------------------------------------------------------------------------------------


class _Step(NamedTuple):
    """A check of one parameter. `strict`: the same for JSON values; `each`, `numeric`: see `checks.LISTS`."""

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
    known = LENGTH_OPERATORS if length else OPERATORS
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
    converts = {kind: CONVERSIONS[kind](subject) for kind in kinds if kind in CONVERSIONS}
    # JSON has no dates, and clients write 5.0 as 5.
    strict_converts = {kind: convert for kind, convert in converts.items() if kind not in (int, bool)}
    reason = of_type(subject, ' or '.join('string' if kind is str else kind.__name__ for kind in kinds))
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
            raise Mismatch(reason)
        return found

    return _Step(loose, strict, each=False, numeric=int in kinds or float in kinds)


def _first(converts: dict[type, Check], value: Any, reason: str) -> Any:
    for convert in converts.values():
        try:
            return convert(value)
        except Mismatch:
            continue
    raise Mismatch(reason)


def _same(check: Check, each: bool = True, numeric: bool = False) -> _Step:
    return _Step(check, check, each, numeric)


def _compile(keyword: str, condition: Any, is_list: bool) -> tuple[str, _Step]:
    """(name, step) of a keyword that is no list keyword. `is_list`: the parameter is in `lists`."""
    target = _parse_keyword(keyword)
    name = target.label
    step = _compile_condition(keyword, target, plain(condition))
    if target.length:
        step = _same(of_length(name, step.check), each=not is_list)
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
        check = OPERATORS[target.operator](keyword, subject, condition)
        return _same(check, target.operator not in OF_LISTS, _is_number(condition))
    kinds = _types_of(keyword, condition)
    if kinds is not None:
        return _typed(keyword, subject, kinds)
    if hasattr(condition, 'search'):
        return _same(searched(keyword, condition, f'{subject} is invalid'))
    if type(condition) not in COMPARABLES:
        raise TypeError(
            f'{keyword} = {condition!r}: write a type, a list of types, a compiled regular expression, a '
            'value that it must equal, or an operator as in name__gte = 10'
        )
    return _same(LENGTH_OPERATORS['eq'](keyword, subject, condition), numeric=_is_number(condition))


def _is_number(condition: Any) -> bool:
    if isinstance(condition, range):
        return True
    if isinstance(condition, list | tuple | set | frozenset):
        return all(type(plain(item)) in (int, float) for item in condition)
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
                    raise Mismatch(reason)
            elif not isinstance(found, dict) or step not in found:
                raise Mismatch(reason)
            found = found[step]
        if found is None:
            raise Mismatch(reason)
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
        lists = _names('lists', spec.get('lists'))
        steps: dict[str, list[_Step]] = {}
        for keyword, kind in LISTS.items():
            for name in _names(keyword, spec.pop(keyword, None)):
                check = kind.make(f'parameter {name}')
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
            self._count(request, values, from_json)
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
            except Mismatch as mismatch:
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

    def _count(self, request: Request, values: dict[str, Any], from_json: Collection[str]) -> None:
        """`required`, `oneof`, `manyof` (IN-03, IN-14, IN-15)."""
        for name in self._required:
            value = values.get(name)
            if _blank(value, name in from_json) or (type(value) in (int, float) and value == 0):
                self._refuse(f'parameter {name} required')
        if not self._oneof and not self._manyof:
            return
        if self.scope == 'ARGS':
            values = request.given  # a default is not given
        if self._oneof and sum(not _blank(values.get(name), name in from_json) for name in self._oneof) != 1:
            self._refuse(f'exactly one parameter of {", ".join(self._oneof)} are required')
        if self._manyof and all(_blank(values.get(name), name in from_json) for name in self._manyof):
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
        except Mismatch as mismatch:
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


def _blank(value: Any, from_json: bool) -> bool:
    if type(value) is list and value and not from_json:  # '?a=&a=': given twice, and both times nothing
        return all(item == '' for item in value)
    return value is None or value == ''


def _is_json(media: str | None) -> bool:
    return media is not None and (
        media == 'application/json' or (media.startswith('application/') and media.endswith('+json'))
    )
