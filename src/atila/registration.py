"""What an app is told while it is set up, besides its routes: hooks, events, decorators, templates, jobs.

All of it is thin: each method hands what it gets to the room that knows what to do with it.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from aquests.aliases import Aliases, aliases
from skitai.context import current
from skitai.preference import AttributeDict
from skitai.stores import Store

from . import decorators, hooks
from .cycle import Cycle
from .events import EventBus
from .maintenance import Maintenance
from .security import permissions
from .security.authentication import Authentication
from .security.members import Verification
from .validation import Inspection
from .was import OffRequest, Was

if TYPE_CHECKING:
    from jinja2 import Environment

    from .app import Atila
    from .request import Request
    from .templating import Templates

log = logging.getLogger('atila')

Function = TypeVar('Function', bound=Callable[..., Any])

LIFE = (
    'before_mount',
    'mounted',
    'before_reload',
    'reloaded',
    'mounted_or_reloaded',
    'before_umount',
    'umounted',
)


#: Held while an app's templates are made: requests may ask for them at the same time.
_MAKING = threading.Lock()


class Registration(Verification):
    """The part of `Atila` that registers. Filled by one thread before the app serves."""

    lifecycle: hooks.Lifecycle

    def __init__(self) -> None:
        #: Shared by all requests of this app in this worker process (SPEC G-01, G-02).
        self.g = self.store = Store()
        #: Names of backends: this app's own, and above them those of `skitai.alias` (SPEC TK-01).
        self.aliases = Aliases(aliases)
        self.events = EventBus(self._app)
        self.cycle = Cycle(self._app)
        #: Where templates are looked for, in this order; filled when the app is mounted.
        self.template_directories: list[str] = []
        self._templates: Templates | None = None
        self.maintenance = Maintenance()
        self.authentication = Authentication(self._app)
        self.permission_handler_function: Callable[..., Any] | None = None
        self._permission_rank = hooks.BASE

    @property
    def _app(self) -> Atila:
        return self  # type: ignore[return-value]

    @property
    def r(self) -> AttributeDict:
        """`was.request.g` of the request that is served here (SPEC G-05)."""
        return self.was().request.g

    def alias(self, name: str, type: str, members: str | list[str], **options: Any) -> None:
        """Register a backend for this app alone (SPEC TK-01); arguments are those of `skitai.alias`."""
        self.aliases.add(name, type, members, **options)

    # -- events (SPEC chapter 3) ------------------------------------------------------------------

    def on(self, *events: str) -> Callable[[Function], Function]:
        """Call the decorated `handler (was, *args)` for each of the `events` (SPEC EV-01)."""
        if not events or callable(events[0]):
            raise TypeError("name the events: @app.on ('custom-event')")

        def decorate(handler: Function) -> Function:
            for event in events:
                if event.endswith('_request') and not self.lifecycle.is_open:
                    raise RuntimeError(
                        f'@app.on ({event!r}): the app is mounted; register it in __setup__ or __mount__'
                    )
                self.events.add(event, handler)
            return handler

        return decorate

    def emit(self, event: str, /, *args: Any, **kargs: Any) -> None:
        """Call every handler of `event` with `was` and the arguments, here and now (SPEC EV-02).

        What a handler raises is logged and goes no further. Then the apps that subscribe to this one get
        the event.
        """
        self.events.emit(self.was(), event, args, kargs)

    def was(self) -> Was:
        """This app's `was`: of the request that is served here, or one without a request."""
        was: Was | None = current.get(None)
        return OffRequest(self._app) if was is None else was.of(self._app)

    def broadcast(self, event: str, /, *args: Any, **kargs: Any) -> None:
        """Emit `event` in every app of this server, once in each (SPEC EV-06)."""
        was = self.was()
        for app in {id(app): app for app in (self._app, *self._app.apps.values())}.values():
            events = getattr(app, 'events', None)
            if events is not None:
                events.tell(was, event, args, kargs)

    def emit_after(self, event: str) -> Callable[[Function], Function]:
        """Emit `event` when the decorated function has returned (SPEC EV-06)."""
        return lambda function: _then(function, functools.partial(self.emit, event))

    def broadcast_after(self, event: str) -> Callable[[Function], Function]:
        """The same in every app of this server."""
        return lambda function: _then(function, functools.partial(self.broadcast, event))

    on_broadcast = on

    def _on_life(self, event: str, handler: Function) -> Function:
        self.events.add(event, handler)
        return handler

    before_mount = functools.partialmethod(_on_life, 'before_mount')
    mounted = functools.partialmethod(_on_life, 'mounted')
    before_reload = functools.partialmethod(_on_life, 'before_reload')
    reloaded = functools.partialmethod(_on_life, 'reloaded')
    mounted_or_reloaded = functools.partialmethod(_on_life, 'mounted_or_reloaded')
    before_umount = functools.partialmethod(_on_life, 'before_umount')
    umounted = functools.partialmethod(_on_life, 'umounted')

    # -- request hooks (SPEC chapter 11) ----------------------------------------------------------

    def _hook(self, kind: str, hook: Function) -> Function:
        if not self.lifecycle.is_open:
            raise RuntimeError(f'@app.{kind}: the app is mounted; register it in __setup__ or __mount__')
        self.cycle.set(kind, hook, self.lifecycle.state.rank)
        return hook

    def before_request(self, hook: Function) -> Function:
        """Call `hook (was)` before each service: a content that it returns is the answer (SPEC RC-01)."""
        return self._hook('before_request', hook)

    def finish_request(self, hook: Function) -> Function:
        """Call `hook (was, response)` after each success: what it returns is sent instead (SPEC RC-02)."""
        return self._hook('finish_request', hook)

    def failed_request(self, hook: Function) -> Function:
        """Call `hook (was, expt)`, `expt` as of `sys.exc_info ()`, after each failure (SPEC RC-03)."""
        return self._hook('failed_request', hook)

    def teardown_request(self, hook: Function) -> Function:
        """Call `hook (was)` at the end of each request, however it went (SPEC RC-04)."""
        return self._hook('teardown_request', hook)

    # -- decorators of services (SPEC chapters 14 and 19) -----------------------------------------

    def _guard(
        self, function: Function, guard: decorators.Guard | None, afters: tuple[decorators.After, ...] = ()
    ) -> Function:
        if self._app.is_routed(function):
            raise TypeError(
                f'{function.__name__} is routed already: put @app.route above its other decorators'
            )
        return decorators.guarded(function, guard, afters)

    def inspect(
        self, scope: str = 'ARGS', required: Any = None, **spec: Any
    ) -> Callable[[Function], Function]:
        """Let only requests with such parameters pass, others get 400 (SPEC IN-01; see `validation`)."""
        inspection = Inspection(scope, required, **spec)
        return lambda function: self._guard(function, inspection)

    require = spec = params_required = parameters_required = test_params = inspect

    def validate(self, request: Request, **spec: Any) -> None:
        """The same for code: raises the 400 where the request's parameters don't fit (SPEC IN-26)."""
        Inspection(**spec)(request._was, {})

    def coroutine(self, function: Function) -> Function:
        """The route option `coroutine = True`, as a decorator of the function itself (SPEC CO-01)."""
        return self._with_option(function, 'coroutine')

    def input_stream(self, function: Function) -> Function:
        """The route option `input_stream = True`, as a decorator (SPEC SI-01)."""
        return self._with_option(function, 'input_stream')

    def _with_option(self, function: Function, name: str) -> Function:
        if self._app.is_routed(function):
            raise TypeError(f'{function.__name__} is routed already: put @app.route above @app.{name}')
        setattr(function, decorators.OPTIONS, {**getattr(function, decorators.OPTIONS, {}), name: True})
        return function

    def testpass_required(self, test: Callable[[Was], Any]) -> Callable[[Function], Function]:
        """Let only requests pass for which `test (was)` isn't False, others get 403 (SPEC HP-01)."""
        guard = decorators.testpass(test)
        return lambda function: self._guard(function, guard)

    def run_before(self, *functions: Callable[[Was], Any]) -> Callable[[Function], Function]:
        """Call `f (was)` for each before the service: the first content is the answer (SPEC HP-03)."""
        guard = decorators.before(functions)
        return lambda function: self._guard(function, guard)

    def run_after(self, *functions: Callable[[Was], Any]) -> Callable[[Function], Function]:
        """Call `f (was)` for each after the service; what they return is ignored (SPEC HP-04)."""
        afters = decorators.after(functions)
        return lambda function: self._guard(function, None, afters)

    def if_file_modified(
        self, path: str, reaction: Callable[[Was, str], Any], interval: float = 1
    ) -> Callable[[Function], Function]:
        """Call `reaction (was, path)` before the first request and whenever the file changed (SPEC HP-02)."""
        guard = decorators.if_file_modified(path, reaction, interval)
        return lambda function: self._guard(function, guard)

    def if_cache_updated(
        self, keys: str | list[str], reaction: Callable[[Was, str], Any], interval: float = 1
    ) -> Callable[[Function], Function]:
        """Call `reaction (was, key)` before the first request and whenever a key was stamped (SPEC CA-06)."""
        guard = decorators.if_cache_updated(keys, reaction, interval)
        return lambda function: self._guard(function, guard)

    # -- who may do what (SPEC chapters 9 and 10) -------------------------------------------------

    def authorization_required(self, kind: str) -> Callable[[Function], Function]:
        """Let only clients pass that say who they are: 'basic', 'digest' or 'bearer' (SPEC AU-02)."""
        checked = self.authentication.check_kind(kind)
        if checked is None:
            raise AssertionError("authorization_required needs 'basic', 'digest' or 'bearer'")
        guard = decorators.Authorization(checked, self.authentication.authenticate)
        return lambda function: self._guard(function, guard)

    def authorization_handler(self, handler: Function) -> Function:
        """Ask `handler (was, username)` for a user's record (SPEC AU-05, AU-06)."""
        self.authentication.set_authorization_handler(handler)
        return handler

    def bearer_handler(self, handler: Function) -> Function:
        """Let `handler (was, token)` set `was.request.user`, or refuse the token (SPEC AU-12)."""
        self.authentication.set_bearer_handler(handler)
        return handler

    default_bearer_handler = bearer_handler

    def permission_handler(self, handler: Function) -> Function:
        """Ask `handler (was, perms)` whether a request has the permissions, a set (SPEC PM-01).

        None grants; it refuses by raising `was.Error`; anything else that it returns is the answer.
        """
        permissions.check_handler(handler)
        rank = self.lifecycle.state.rank
        if self.permission_handler_function is None or self._permission_rank <= rank:
            self.permission_handler_function, self._permission_rank = handler, rank
        return handler

    permission_check_handler = permission_handler

    def permission_required(
        self, default: str | list[str] | None = None, **conditions: str | list[str]
    ) -> Callable[[Function], Function]:
        """Let only requests pass that the permission handler grants (SPEC PM-02; see `security.permissions`).

        `id = ["staff"]` applies where the request brings `id`, `DELETE = ["admin"]` to that method.
        """
        guard = permissions.required(self._app, default, conditions)
        return lambda function: self._guard(function, guard)

    def login_required(self, function: Function) -> Function:
        """Let only identified clients pass: the handler is asked with no permission (SPEC PM-05)."""
        return self._guard(function, permissions.required(self._app, [], {}))

    def identification_required(self, function: Function) -> Function:
        """Ask the handler who it is, and let everybody pass (SPEC PM-06)."""
        return self._guard(function, permissions.identification(self._app))

    clarify_permission = clarify_login = identification_required

    # -- maintenance (SPEC MT-01) -----------------------------------------------------------------

    def maintain(self, per_maintaining: Any = 1, threading: bool = False, once: str | None = None) -> Any:
        """Call the decorated `job (was, now, count)` every so many cycles of MAINTAIN_INTERVAL seconds.

        With `threading` in a thread of its own; with `once = 'host'` in one worker process only. Also
        without parentheses.
        """
        if callable(per_maintaining):
            self.maintenance.add(per_maintaining)
            return per_maintaining

        def decorate(job: Function) -> Function:
            self.maintenance.add(job, per_maintaining, threading, once)
            return job

        return decorate

    # -- templates (SPEC chapter 31) --------------------------------------------------------------

    @property
    def templates(self) -> Templates:
        """This app's templates; an app that has none doesn't load the engine. ImportError without Jinja2."""
        if self._templates is None:
            try:
                from .templating import Templates
            except ImportError as error:
                raise ImportError(f'templates need Jinja2: pip install jinja2 ({error})') from error
            with _MAKING:
                self._templates = self._templates or Templates(self._app)
        return self._templates

    @property
    def jinja_env(self) -> Environment:
        """The environment of this app's templates; there from the app's mounting on (SPEC TE-05)."""
        return self.templates.environment

    def jinja_overlay(self, **options: Any) -> None:
        """Change options of the environment before the app is started."""
        self.templates.overlay(**options)

    def add_jinja_ext(self, extension: Any) -> None:
        """Use a Jinja extension, before the app is started (SPEC TE-08)."""
        self.templates.add_extension(extension)

    def template_global(self, name: str) -> Callable[[Function], Function]:
        """Make the decorated function callable in templates as `name` (SPEC TE-06).

        `was` is passed to it if that is its first parameter.
        """
        _check_name('template_global', name)

        def decorate(function: Function) -> Function:
            self.templates.add_global(name, function)
            return function

        return decorate

    def template_filter(self, name: str) -> Callable[[Function], Function]:
        """Make the decorated function a filter in templates (SPEC TE-07)."""
        _check_name('template_filter', name)

        def decorate(function: Function) -> Function:
            self.templates.add_filter(name, function)
            return function

        return decorate


def _check_name(decorator: str, name: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"give the name: @app.{decorator} ('name')")


def _then(function: Function, action: Callable[[], None]) -> Function:
    wrapper: Any
    if decorators.is_async(function):

        @functools.wraps(function)
        async def wrapper(*args: Any, **values: Any) -> Any:
            result = await function(*args, **values)
            action()
            return result

    else:

        @functools.wraps(function)
        def wrapper(*args: Any, **values: Any) -> Any:
            result = function(*args, **values)
            action()
            return result

    return wrapper  # type: ignore[no-any-return]
