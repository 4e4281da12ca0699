"""How a service is run: the last hop of a request, from an exchange to an answer.

An `Endpoint` is a function at a rule: made when the function is routed, compiled once, shared by all its
requests. It is the `Handler` that the engine calls: on a service thread for a `def`, where the request
arrived (then on the event loop) for an `async def`. Each request runs in a context of its own, so that
nothing it leaves in a context variable is seen by the next request on that thread.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from functools import partial
from inspect import isasyncgenfunction, isawaitable, unwrap
from typing import TYPE_CHECKING, Any

from aquests.seconds import seconds
from skitai.body import Body
from skitai.context import current
from skitai.exchange import Exchange, Handler

from . import bodies, contents
from .decorators import OPTIONS, Peeled, is_async
from .errors import HTTPError, fail, fail_later
from .parameters import Signature
from .routing import Rule
from .was import Was

if TYPE_CHECKING:
    from .app import Atila
    from .security.cors import Cors


class Endpoint:
    """A service at a rule.

    Attributes used outside: `function` as the user wrote it (decorators and all), `signature`, `rule`,
    `methods`, `options` (those of `@app.route`), `mntopt` (those of the mount), `name` (for `urlfor`),
    `inner` (the function without our decorators), `guards` and `afters` (those decorators), `rank` (see
    `hooks`).
    """

    __slots__ = (
        'afters',
        'app',
        'authenticate',
        'bare',
        'body_limit',
        'content_types',
        'coroutine',
        'cors',
        'description',
        'door',
        'function',
        'guards',
        'handler',
        'inner',
        'input_stream',
        'methods',
        'mntopt',
        'name',
        'on_loop',
        'options',
        'plain',
        'rank',
        'rule',
        'signature',
        'subdomain',
        'timeout',
        'urlargs',
    )

    def __init__(
        self,
        app: Atila,
        function: Callable[..., Any],
        rule: Rule,
        methods: tuple[str, ...],
        options: dict[str, Any],
        name: str,
        mntopt: dict[str, Any],
        rank: int = 0,
    ) -> None:
        self.app = app
        self.function = function
        self.rule = rule
        self.methods = methods
        self.options = options
        self.name = name
        self.mntopt = mntopt
        self.rank = rank
        peeled = Peeled(function)
        self.inner, self.guards, self.afters = peeled.inner, peeled.guards, peeled.afters
        #: How clients must say who they are, where the route or its decorator tells (AU-01, AU-02).
        self.authenticate = _authenticate(app, name, options, peeled.authenticate)
        options = {**getattr(function, OPTIONS, {}), **options}
        #: The body is left unread: the service asks for it (SPEC SI-01).
        self.input_stream = bool(options.get('input_stream'))
        self.on_loop = is_async(function)
        #: A generator that yields Tasks (SPEC CO-01); without that a generator is a stream.
        self.coroutine = (
            not self.on_loop
            and not isasyncgenfunction(unwrap(function))  # a stream: it awaits its input itself
            and (self.input_stream or bool(options.get('coroutine')))
        )
        #: Seconds after which a request is given up (see `limits`).
        self.timeout: float | None = _seconds(name, options.get('timeout'))
        self.options = options
        #: What the engine calls for a request: this, or (once the app is mounted) what surrounds it.
        self.handler: Handler = self
        #: The same for a request with a body, where it must be let in first.
        self.door: Handler | None = None
        self.cors: Cors | None = None
        self.signature = Signature(function)
        self.urlargs = rule.names
        self.body_limit: int | None = 0  # set when the app is mounted
        self.content_types = frozenset(t.lower() for t in options.get('content_types') or ())
        self.subdomain: str | None = options.get('subdomain')
        #: Nothing to check before it is called: the router hands it out at once.
        self.plain = not (self.content_types or self.subdomain or self.unknown_urlargs)
        self.bare = self.signature.bare and not rule.names
        self.description = self._describe()

    def _describe(self) -> dict[str, Any]:
        """What `was.request.routable` tells (SPEC RQ-18)."""
        return {
            'methods': list(self.methods),
            'content_types': list(self.options.get('content_types') or ()),
            'options': self.options,
            'mntopt': self.mntopt,
            'args': list(self.signature.names),
            'defaults': self.signature.defaults,
            'urlargs': len(self.urlargs),
            'keywords': self.signature.any_name,
            'func_id': self.name,
            'route': self.rule.text,
            'coroutine': self.coroutine,
            'input_stream': self.input_stream,
        }

    @property
    def unknown_urlargs(self) -> list[str]:
        """Parameters of the rule that the function doesn't take (SPEC PR-06)."""
        if self.signature.any_name:
            return []
        return [name for name in self.urlargs if name not in self.signature.names]

    def path_arguments(self, exchange: Exchange) -> dict[str, Any]:
        """The path's parameters by name; an empty `<path:>` is left to its default."""
        values = exchange.path_params
        if not values:
            return {}
        found = dict(zip(self.urlargs, values, strict=False))
        last = self.urlargs[-1]
        if found.get(last) == '':
            del found[last]
        return found

    def mounted_with(self, options: dict[str, Any]) -> None:
        """The app is mounted with these options: they are below those of a module's mount."""
        self.mntopt = {**options, **self.mntopt}
        self.description = self._describe()

    def surrounded(self, handler: Handler, door: Handler | None) -> None:
        """Let `handler` answer in this endpoint's place, and `door` a request whose body is not read yet."""
        self.handler = handler
        self.door = door
        self.plain = False

    # -- a request -------------------------------------------------------------------------------

    def make_body(self, exchange: Exchange) -> Body:
        return bodies.body_for(exchange)

    def __call__(self, exchange: Exchange) -> None:
        if self.on_loop:
            self._begin_async(exchange)
            return
        was = Was(self.app, exchange, self)
        current.set(was)
        try:
            if self.bare and exchange.body is None and not exchange.scope['query_string']:
                content = self.function(was)
            else:
                content = self.function(was, **self.arguments(was))
            contents.send(was, content)
        except BaseException as error:
            fail(was, error)

    def _begin_async(self, exchange: Exchange) -> None:
        was = Was(self.app, exchange, self)
        try:
            arguments = self.arguments(was)
        except BaseException as error:
            fail_later(was, error)
            return
        exchange.run_coroutine(self._await(was, arguments))

    async def _await(self, was: Was, arguments: dict[str, Any]) -> None:
        current.set(was)
        if was.exchange.answered:
            return  # given up before it began
        try:
            content = self.function(was, **arguments)
            if isawaitable(content):
                content = await content
            if contents.is_quick(content):
                contents.send(was, content)
                return
            answer = partial(self._send, was, content)
        except BaseException as error:
            if isinstance(error, CancelledError) and contents.is_cancelled():
                was.cancel_tasks()
                raise
            answer = partial(fail, was, error)
        # A generator's next part, a file's, an error handler: what may block belongs on a service thread.
        contents.on_thread(was, answer)

    def _send(self, was: Was, content: Any) -> None:
        try:
            contents.send(was, content)
        except BaseException as error:
            fail(was, error)

    def arguments(self, was: Was) -> dict[str, Any]:
        """The service's keyword arguments; BadParameter where the request doesn't fit it."""
        exchange = was.exchange
        if exchange.body is None and not exchange.scope['query_string']:
            given = self.path_arguments(exchange)
        else:
            given = was.request.given
        return self.signature.check(given, self.app.restrict_parameter_count)


#: Neither the route nor a decorator tells: the mount's word counts, then the app's.
UNSAID = object()


def _authenticate(app: Atila, name: str, options: dict[str, Any], decorator: str | None) -> Any:
    """AssertionError for what is no kind, and where the two contradict each other: no guard is lost."""
    if 'authenticate' not in options:
        return UNSAID if decorator is None else decorator
    wanted = options['authenticate']
    kind = app.authentication.check_kind(wanted)
    if decorator is not None and kind != decorator:
        raise AssertionError(
            f'{name}: its route says authenticate = {wanted!r}, its decorator {decorator!r}: say it once'
        )
    return wanted


def _seconds(name: str, timeout: Any) -> float | None:
    try:
        limit = seconds(timeout, positive=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{name}: {error}') from None
    return None if limit is None else float(limit)


class Refusal:
    """A handler for requests that reach no service: an error answer by the app's rules (handlers, pages)."""

    __slots__ = (
        'app',
        'body_limit',
        'description',
        'function',
        'headers',
        'name',
        'on_loop',
        'signature',
        'status',
        'text',
    )

    def __init__(
        self, app: Atila, status: str, text: str = '', headers: list[tuple[bytes, bytes]] | None = None
    ):
        self.app = app
        self.status = status
        self.text = text
        self.headers = headers or []
        self.on_loop = False
        self.body_limit: int | None = None
        self.function = None
        self.name = ''
        self.signature = _NO_SIGNATURE
        self.description: dict[str, Any] = {}

    def __call__(self, exchange: Exchange) -> None:
        exchange.path_params = None
        was = Was(self.app, exchange, self)
        current.set(was)
        was.response.standing = self.app.standing(None)
        error = HTTPError(self.status, self.text, headers=self.headers)
        try:
            fail(was, error)
        except BaseException as failure:
            fail(was, failure)

    def path_arguments(self, exchange: Exchange) -> dict[str, Any]:
        return {}


def _nothing(was: Any) -> None: ...


_NO_SIGNATURE = Signature(_nothing)
