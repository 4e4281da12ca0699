"""Parameters: from query strings to a service's arguments (SPEC PR-01 to PR-09).

A service's signature is compiled once, when it is routed. Binding is by name only; what doesn't fit is a
400 that names the parameter.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from typing import Any

from .bodies import parse_pairs
from .errors import BadParameter

#: Sent with every form by our own helpers: never 'too many' (SPEC HE-04).
CSRF_FIELD = 'XSRF_TOKEN'


def parse_query(query: bytes) -> dict[str, Any]:
    """A query string's parameters: str values, lists for repeated keys, typed keys converted.

    BadParameter for what is malformed: bytes that are no UTF-8, an empty name, too many fields (PR-08).
    """
    if not query:
        return {}
    found = parse_pairs(query, 'utf-8', 'query string')
    if b':' in query or b'%3A' in query or b'%3a' in query:
        return {
            name.partition(':')[2] if _is_typed(name) else name: _typed(name, v) for name, v in found.items()
        }
    return found


# -- typed keys: int:n=3 (PR-07) -----------------------------------------------------------------

_TRUE = frozenset(('True', 'yes', 'true', 'y', 't', '1'))
_FALSE = frozenset(('False', 'no', 'false', 'n', 'f', '0', ''))


def _to_bool(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(text)


def _to_int(text: str) -> int:
    if not _INT.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _to_float(text: str) -> float:
    number = float(text) if _FLOAT.fullmatch(text) else math.nan
    if not math.isfinite(number):
        raise ValueError(text)
    return number


#: Plain decimals: no blanks, underscores, digits of other scripts, 'nan' or 'inf', which JSON has not.
_INT = re.compile(r'[+-]?[0-9]{1,4000}', re.ASCII)
_FLOAT = re.compile(r'[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?', re.ASCII)

_CONVERTERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    'int': ('an integer', _to_int),
    'i': ('an integer', _to_int),
    'f': ('a number', _to_float),
    'b': ('a boolean', _to_bool),
    'l': ('a list', lambda text: text.split('|')),
    'n': ('', lambda text: None if text in ('', '0') else text),
}


def _is_typed(name: str) -> bool:
    prefix, colon, rest = name.partition(':')
    return bool(colon and rest and prefix in _CONVERTERS)


def _typed(name: str, value: Any) -> Any:
    if not _is_typed(name):
        return value
    prefix, _, plain = name.partition(':')
    kind, convert = _CONVERTERS[prefix]
    try:
        return [convert(item) for item in value] if isinstance(value, list) else convert(value)
    except ValueError:
        raise BadParameter(f'parameter `{plain}` should be {kind}') from None


# -- signatures ----------------------------------------------------------------------------------


class Signature:
    """What a service takes besides `was`: names, which are required, defaults, whether anything goes.

    ValueError for a function that cannot be called by name (`*args`, positional-only), TypeError for one
    that doesn't take `was`.
    """

    __slots__ = ('any_name', 'bare', 'defaults', 'names', 'required', 'reserved')

    def __init__(self, function: Callable[..., Any]) -> None:
        name = getattr(function, '__name__', repr(function))
        parameters = list(inspect.signature(function).parameters.values())
        if not parameters or parameters[0].kind not in (
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.POSITIONAL_ONLY,
        ):
            raise TypeError(f'{name} must take `was` as its first argument: def {name} (was, ...)')
        #: The name of `was` itself, which a request may not give.
        self.reserved = parameters[0].name
        names: list[str] = []
        required: list[str] = []
        self.defaults: dict[str, Any] = {}
        self.any_name = False
        for parameter in parameters[1:]:
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                raise ValueError(
                    f'{name} has *{parameter.name}: parameters are passed by name, use **{parameter.name}'
                )
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                raise ValueError(
                    f'{name}: `{parameter.name}` is positional-only, parameters are passed by name'
                )
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                self.any_name = True
                continue
            names.append(parameter.name)
            if parameter.default is inspect.Parameter.empty:
                required.append(parameter.name)
            else:
                self.defaults[parameter.name] = parameter.default
        self.names = tuple(names)
        self.required = tuple(required)
        #: Takes nothing but `was`.
        self.bare = not names and not self.any_name

    def check(self, given: dict[str, Any], restrict: bool) -> dict[str, Any]:
        """The keyword arguments for `given`; BadParameter for what is missing or, if `restrict`, unknown."""
        for name in self.required:
            if name not in given:
                raise BadParameter(f'parameter `{name}` is missing')
        if self.any_name:
            if self.reserved in given:
                raise BadParameter(f"parameter `{self.reserved}` needn't")
            return given
        names = self.names
        unknown = [name for name in given if name not in names]
        if not unknown:
            return given
        if restrict:
            for name in unknown:
                if name != CSRF_FIELD:
                    raise BadParameter(
                        f"parameter `{name}` needn't" if names else f"too many parameter(s): `{name}` needn't"
                    )
        return {name: value for name, value in given.items() if name in names}
