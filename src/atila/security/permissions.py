"""Permissions: which of an app's own a request needs, asked of the app's handler (SPEC chapter 10).

The framework unites what applies; whether all of them are needed or one is enough, the handler decides.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..decorators import check_plain
from ..errors import HTTPError

if TYPE_CHECKING:
    from ..app import Atila
    from ..decorators import Guard
    from ..was import Was

log = logging.getLogger('atila')

METHODS = frozenset(('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'))
#: What may be done to 'notme': look (PM-04).
_HARMLESS = frozenset(('GET', 'HEAD', 'OPTIONS'))


def required(app: Atila, default: Any, conditions: dict[str, Any]) -> Guard:
    """The guard of `@app.permission_required (default, **conditions)` (PM-02).

    A keyword that is a method's name applies to requests of that method; any other is a parameter, and
    applies where the request brings it with another value than 'me'. Both kinds are united; if none applies
    the default does. TypeError for what is neither a permission nor a list of them.
    """
    fallback = _names('the default', default)
    by_method = {name: _names(name, value) for name, value in conditions.items() if name in METHODS}
    by_parameter = {name: _names(name, value) for name, value in conditions.items() if name not in METHODS}
    for name in by_parameter:
        if name.isupper():
            raise TypeError(
                f'permission_required: {name} is no method (there are {", ".join(sorted(METHODS))})'
            )

    def guard(was: Was, arguments: dict[str, Any]) -> Any:
        method = 'GET' if was.exchange.method == 'HEAD' else was.exchange.method
        wanted: set[str] = set()
        applies = method in by_method
        if applies:
            wanted |= by_method[method]
        for name, permissions in by_parameter.items():
            values = _values(was, name)
            if 'notme' in values and method not in _HARMLESS:
                raise HTTPError('421 Misdirected Request', f'parameter `{name}` needs a name for {method}')
            if any(value != 'me' for value in values):
                wanted |= permissions
                applies = True
        return _ask(app, was, wanted if applies else set(fallback))

    guard.check = lambda: _check_handler(app)  # type: ignore[attr-defined]
    return guard


def _values(was: Was, name: str) -> list[Any]:
    """All values that a request brings for a parameter, wherever: none of them may hide another."""
    request = was.request
    places = [request.PARAMS, request.URL]
    if was.exchange.body is not None and isinstance(request.DATA, dict):
        places.append(request.DATA)
    found: list[Any] = []
    for place in places:
        value = place.get(name)
        if isinstance(value, list):
            found += value
        elif value is not None:
            found.append(value)
    return found


def identification(app: Atila) -> Guard:
    """The guard of `@app.identification_required`: whoever it is may pass (PM-06)."""

    def guard(was: Was, arguments: dict[str, Any]) -> Any:
        try:
            _ask(app, was, set())
        except HTTPError:
            pass

    guard.check = lambda: _check_handler(app)  # type: ignore[attr-defined]
    return guard


def _names(what: str, given: Any) -> frozenset[str]:
    names = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise TypeError(f'permission_required: {what} must be a permission or a list of them, not {given!r}')
    return frozenset(names)


def _ask(app: Atila, was: Was, permissions: set[str]) -> Any:
    handler = app.permission_handler_function
    if handler is None:
        raise RuntimeError(f'{app.name} asks for permissions, but has no @app.permission_handler')
    return handler(was, permissions)


def _check_handler(app: Atila) -> None:
    if app.permission_handler_function is None:
        log.error('%s asks for permissions, but has no @app.permission_handler: such requests fail', app.name)


def check_handler(handler: Callable[..., Any]) -> None:
    """TypeError for a function that cannot be called with (was, perms)."""
    check_plain('the permission handler', handler)
    try:
        inspect.signature(handler).bind(None, set())
    except TypeError:
        raise TypeError('the permission handler must take (was, perms)') from None
