"""The event bus of an app (SPEC chapter 3).

Handlers are called in the emitter's thread, in the order of their registration, with `was` first; one that
fails is logged and changes nothing for anybody else. What is emitted in an app is then emitted in the apps
that subscribe to it (MA-01), each of them once however their subscriptions run in circles.

Handlers are registered while apps are mounted; later registrations replace the whole tuple of an event's
handlers, so that whoever emits meanwhile sees the old ones or the new ones.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import Atila
    from .was import Was

log = logging.getLogger('atila')

Handler = Callable[..., Any]


class EventBus:
    """One app's handlers, and the apps that listen to it."""

    def __init__(self, app: Atila) -> None:
        self.app = app
        self.subscribers: list[Atila] = []
        self._handlers: dict[str, tuple[Handler, ...]] = {}

    def add(self, event: str, handler: Handler) -> None:
        """Register a handler; one of the same function (by module and name) is replaced (EV-01).

        TypeError for a name that is none, and for a handler that could not run here and now: one that is
        asynchronous or a generator.
        """
        if not isinstance(event, str) or not event:
            raise TypeError(f"{event!r} is no event's name: write @app.on ('name')")
        _check(handler)
        identity = _identity(handler)
        known = self._handlers.get(event, ())
        kept = tuple(other for other in known if _identity(other) != identity)
        self._handlers[event] = (*kept, handler)

    def heard(self, event: str) -> bool:
        """Whether anybody would be called for `event`, here or in a subscriber."""
        return any(event in app.events._handlers for app in self._audience())

    def emit(self, was: Was, event: str, args: tuple[Any, ...], kargs: dict[str, Any]) -> None:
        """Call every handler of `event`; unknown events are no error."""
        if self.subscribers:
            for app in self._audience():
                app.events._call(was.of(app), event, args, kargs)
        else:
            self._call(was, event, args, kargs)

    def tell(self, was: Was, event: str, args: tuple[Any, ...], kargs: dict[str, Any]) -> None:
        """Call this app's own handlers and nobody else's: for who goes through all apps (EV-06)."""
        self._call(was.of(self.app), event, args, kargs)

    def _audience(self) -> list[Atila]:
        """This app, its subscribers, theirs, and so on; nobody twice."""
        found = [self.app]
        for app in found:
            found += [other for other in app.events.subscribers if other not in found]
        return found

    def _call(self, was: Was, event: str, args: tuple[Any, ...], kargs: dict[str, Any]) -> None:
        for handler in self._handlers.get(event, ()):
            try:
                handler(was, *args, **kargs)
            except BaseException:  # not even SystemExit is more than this handler's own
                log.exception(
                    '%s: the handler %s of the event %r failed', self.app.name, _name(handler), event
                )


def _check(handler: Handler) -> None:
    if not callable(handler):
        raise TypeError(f'{handler!r} is no function: an event needs a handler (was, ...)')
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(is_kind(handler) for is_kind in kinds):
        raise TypeError(
            f'the event handler {_name(handler)} must be an ordinary function: neither async nor a generator'
        )


def _identity(handler: Handler) -> tuple[str | None, Any]:
    """By what a handler is known again: functions of one name in one module are one handler.

    Functions without a name (lambdas) are only themselves.
    """
    name = getattr(handler, '__qualname__', None)
    known = None if name is None or name.endswith('<lambda>') else name
    return getattr(handler, '__module__', None), handler if known is None else known


def _name(handler: Handler) -> str:
    return getattr(handler, '__qualname__', None) or repr(handler)
