"""Decorators below `@app.route`: what is asked before a service, and done after it (SPEC HP-01 to HP-06).

A guard is `f (was, arguments)`: called on a service thread with the keyword arguments that the service is
about to get, which it may change. None lets the request pass; anything else is the answer; it may raise.
Its attribute `check`, if it has one, is called when the app is mounted: what is missing then is reported.

A decorated function is a function still: called directly it asks its guard first. When it is routed, the
guards are taken off its outside (`peel`) and run by `cycle.Surrounded`, for `def` and `async def` alike. Only
those that are on top of the function as it is routed are taken: what somebody's own decorator hides below
itself goes on being called through it, so that no guard is ever lost.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from skitai import shared

from .errors import HTTPError

if TYPE_CHECKING:
    from .was import Was

log = logging.getLogger('atila')

Function = TypeVar('Function', bound=Callable[..., Any])
Guard = Callable[['Was', dict[str, Any]], Any]
After = Callable[['Was'], Any]

_MARK = '__atila_decorated__'
#: Where `@app.coroutine` and `@app.input_stream` leave their route options.
OPTIONS = '__atila_options__'


class Peeled:
    """A function without our decorators: `inner`, `guards` (outermost first), `afters` (in running order)."""

    __slots__ = ('afters', 'authenticate', 'guards', 'inner')

    def __init__(self, function: Callable[..., Any]) -> None:
        #: How a client must say who it is, where a decorator tells.
        self.authenticate: str | None = None
        guards: list[Guard] = []
        afters: list[After] = []
        while (mark := getattr(function, _MARK, None)) is not None and mark.wrapper is function:
            if isinstance(mark.guard, Authorization):
                self.authenticate = self.authenticate or mark.guard.kind  # asked before anything else
            elif mark.guard is not None:
                guards.append(mark.guard)
            afters[:0] = mark.afters  # the innermost decorator's come first
            function = mark.inner
        self.inner = function
        self.guards = tuple(guards)
        self.afters = tuple(afters)


class _Mark:
    """What a decorator of ours leaves on its wrapper. `wrapper` tells it from a copy by `functools.wraps`."""

    __slots__ = ('afters', 'guard', 'inner', 'wrapper')

    def __init__(self, inner: Callable[..., Any], guard: Guard | None, afters: tuple[After, ...]) -> None:
        self.inner = inner
        self.guard = guard
        self.afters = afters
        self.wrapper: Callable[..., Any] | None = None


def is_async(function: Callable[..., Any] | None) -> bool:
    """Whether `function`, or what it decorates, is a coroutine function."""
    while function is not None:
        if inspect.iscoroutinefunction(function):
            return True
        function = getattr(function, '__wrapped__', None)
    return False


def check_plain(what: str, function: Callable[..., Any]) -> None:
    """TypeError for a function that would have to be awaited or iterated where nobody does."""
    if is_async(function) or inspect.isgeneratorfunction(inspect.unwrap(function)):
        raise TypeError(f'{what} must be a plain `def`, not async and not a generator: nobody awaits it')


def guarded(function: Function, guard: Guard | None, afters: tuple[After, ...] = ()) -> Function:
    """`function` with a guard before it and `afters` behind it; its signature stays visible (HP-06)."""
    if not callable(function):
        raise TypeError(f'{function!r} is no function: decorate a service')
    names = _names(function)

    def bind(args: tuple[Any, ...], values: dict[str, Any]) -> dict[str, Any]:
        if len(args) > len(names):
            raise TypeError(
                f'{function.__name__} takes {len(names)} arguments besides `was`, not {len(args)}'
            )
        return {**dict(zip(names, args, strict=False)), **values}

    wrapper: Any
    if is_async(function):

        @functools.wraps(function)
        async def wrapper(was: Was, /, *args: Any, **values: Any) -> Any:
            arguments = bind(args, values)
            content = None if guard is None else guard(was, arguments)
            if content is None:
                content = await function(was, **arguments)
                for after in afters:
                    after(was)
            return content

    else:

        @functools.wraps(function)
        def wrapper(was: Was, /, *args: Any, **values: Any) -> Any:
            arguments = bind(args, values)
            content = None if guard is None else guard(was, arguments)
            if content is None:
                content = function(was, **arguments)
                for after in afters:
                    after(was)
            return content

    mark = _Mark(function, guard, afters)
    mark.wrapper = wrapper
    setattr(wrapper, _MARK, mark)
    return wrapper  # type: ignore[no-any-return]


def _names(function: Callable[..., Any]) -> list[str]:
    """What a function takes besides `was`, in its order."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds]
    return found[1:]


# -- the guards ----------------------------------------------------------------------------------


class Authorization:
    """SPEC AU-02: as a guard, where somebody else's decorator hides it from the route."""

    def __init__(self, kind: str, authenticate: Callable[[Was, str], None]) -> None:
        self.kind = kind
        self._authenticate = authenticate

    def __call__(self, was: Was, arguments: dict[str, Any]) -> None:
        self._authenticate(was, self.kind)


def testpass(function: Callable[[Was], Any]) -> Guard:
    """SPEC HP-01: False is a 403, None or True pass, anything else is the answer."""
    _check_takes_was(function, 'testpass_required')

    def guard(was: Was, arguments: dict[str, Any]) -> Any:
        passed = function(was)
        if passed is False:
            raise HTTPError('403 Permission Denied')
        return None if passed is True else passed

    return guard


def before(functions: tuple[Callable[[Was], Any], ...]) -> Guard:
    """SPEC HP-03: the first content that one of `functions` returns is the answer."""
    for function in functions:
        _check_takes_was(function, 'run_before')

    def guard(was: Was, arguments: dict[str, Any]) -> Any:
        for function in functions:
            content = function(was)
            if content is not None:
                return content
        return None

    return guard


def after(functions: tuple[After, ...]) -> tuple[After, ...]:
    """SPEC HP-04."""
    for function in functions:
        _check_takes_was(function, 'run_after')
    return functions


class _Changes:
    """Looks at versions of things at most every `interval` seconds; who finds a newer one reports it.

    Shared by the service threads: `_lock` guards the look, not the report, so a slow reaction delays the
    request that found the change and nobody else. Each change is reported once in a worker process; until
    the first reaction to a thing has returned, others that come wait for it, so that nobody is served
    before what it prepares is there.
    """

    def __init__(
        self, names: tuple[str, ...], version: Callable[[str], float | None], interval: float
    ) -> None:
        if isinstance(interval, bool) or not isinstance(interval, int | float) or interval < 0:
            raise ValueError(f'interval = {interval!r}: seconds, 0 or more, are needed')
        self._names = names
        self._version = version
        self._interval = interval
        self._seen: dict[str, float] = {}
        self._looked = float('-inf')
        self._prepared = False
        self._lock = threading.Lock()
        self._first = threading.RLock()

    def react(self, reaction: Callable[[str], Any]) -> Any:
        """Call `reaction (name)` for each thing that changed; the first content it returns."""
        if self._prepared:
            return self._report(reaction)
        with self._first:
            content = self._report(reaction)
            self._prepared = bool(self._seen)
            return content

    def _report(self, reaction: Callable[[str], Any]) -> Any:
        found = self._changed()
        for position, (name, _) in enumerate(found):
            try:
                content = reaction(name)
            except BaseException:
                self._put_back(found[position:])
                raise
            if content is not None:
                self._put_back(found[position + 1 :])
                return content
        return None

    def _put_back(self, found: list[tuple[str, float | None]]) -> None:
        """Nobody has reacted to these: the next request finds them again."""
        with self._lock:
            for name, known in found:
                if known is None:
                    del self._seen[name]
                else:
                    self._seen[name] = known
            if found:
                self._looked = float('-inf')

    def _changed(self) -> list[tuple[str, float | None]]:
        """The names of what changed, each with the version that was known before."""
        now = time.monotonic()
        if now - self._looked < self._interval:
            return []
        with self._lock:
            if now - self._looked < self._interval:
                return []
            self._looked = now
            found = []
            for name in self._names:
                version, known = self._version(name), self._seen.get(name)
                if version is not None and (known is None or version > known):
                    self._seen[name] = version
                    found.append((name, known))
            return found


def if_file_modified(path: str, function: Callable[[Was, str], Any], interval: float = 1) -> Guard:
    """SPEC HP-02: `function (was, path)` at the first request and whenever the file's time grows.

    A missing file counts as unchanged, and is logged once until it is there.
    """
    missing: set[str] = set()

    def modified(name: str) -> float | None:
        try:
            version = os.stat(name).st_mtime_ns
        except OSError as error:
            if name not in missing:
                missing.add(name)
                log.error('if_file_modified: %s', error)
            return None
        missing.discard(name)
        return version

    check_plain('the reaction of if_file_modified', function)
    changes = _Changes((os.fspath(path),), modified, interval)

    def guard(was: Was, arguments: dict[str, Any]) -> Any:
        return changes.react(lambda name: function(was, name))

    return guard


def if_cache_updated(
    keys: str | list[str] | tuple[str, ...], function: Callable[[Was, str], Any], interval: float = 1
) -> Guard:
    """SPEC CA-06: `function (was, key)` for each key at the first request, and after each `setlu` of it."""
    names = (keys,) if isinstance(keys, str) else tuple(keys)
    if not names:
        raise ValueError('if_cache_updated needs a key, or several')
    check_plain('the reaction of if_cache_updated', function)
    changes = _Changes(names, shared.stamped, interval)

    def guard(was: Was, arguments: dict[str, Any]) -> Any:
        return changes.react(lambda name: function(was, name))

    guard.check = partial(shared.stamped, *names)  # type: ignore[attr-defined]
    return guard


def _check_takes_was(function: Callable[..., Any], decorator: str) -> None:
    if not callable(function):
        raise TypeError(f'{decorator} takes functions f (was), not {function!r}')
    check_plain(f'what {decorator} takes', function)
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        raise TypeError(
            f'{decorator}: {getattr(function, "__name__", function)} must take `was` alone'
        ) from None
