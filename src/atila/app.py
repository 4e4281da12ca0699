"""`Atila`: an app. What it is told while it is set up, and the handler it gives for a request.

An app is filled by one thread before it serves (module level, `__setup__`, `__mount__`) and only read
afterwards, by all threads.
"""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Callable, Iterable
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from skitai.config import Settings
from skitai.exchange import Exchange, Handler
from skitai.mounts.fileanswer import FileAnswer
from skitai.mounts.table import TO_DIRECTORY, slash_appended
from skitai.preference import AttributeDict, Preference, default_config
from skitai.stores import Store

from . import hooks, jsons
from .cycle import Door, Surrounded
from .decorators import check_plain
from .errors import parse_status
from .registration import Registration
from .routing import BadSegment, Resource, Router, Rule
from .security import headers as security_headers
from .security.cors import Cors, OptionsAnswer
from .services import UNSAID, Endpoint, Refusal

if TYPE_CHECKING:
    from skitai.exchange import RawHeaders
    from skitai.mounting import MountContext

    from .was import Was

log = logging.getLogger('atila')

Function = TypeVar('Function', bound=Callable[..., Any])

DEFAULT_METHODS = ('GET', 'POST')


class Atila(Registration):
    """An app: services at rules, hooks, configuration.

    `app_name` is usually `__name__`: services in modules below it are named relative to it.
    """

    def __init__(self, app_name: str) -> None:
        self.name = self.app_name = app_name
        self.config: AttributeDict = default_config()
        # SPEC ST-09
        self.debug = False
        self.use_reloader = False
        self.expose_spec = False
        self.enable_namespace = True
        self.restrict_parameter_count = True
        self.securekey: str | list[str] | None = None
        self.session_timeout: int | None = None
        self.access_control_allow_origin: list[str] | None = None
        self.access_control_max_age = 0
        self.authenticate: str | None = None
        self.security_headers: bool | dict[str, str | None] = False
        self.realm = 'App'
        self.users: Any = {}

        self.point = '/'
        self.settings = Settings()
        self.apps: dict[str, Any] = {}
        #: Status code (0: every other) -> (handler, the media type that the client must accept or '*').
        self.error_handlers: dict[int, tuple[Callable[..., Any], str]] = {}
        self._handler_ranks: dict[int, int] = {}
        self.encode_json = jsons.encoder('utcoffset', False)
        self.shared = Store()  # the engine's own, once the app is mounted
        self.lifecycle = hooks.Lifecycle(self)
        super().__init__()
        self._router = Router()
        self._endpoints: list[Endpoint] = []
        self._services: dict[str, Endpoint] = {}
        self._by_function: dict[Any, Endpoint] = {}
        self._unrouted: list[tuple[str, Refusal]] = []
        self._context: MountContext | None = None
        self._minify: Callable[[str], str] | None = None
        self._secure: security_headers.SecurityHeaders | None = None
        self._serves = False
        self._not_found = Refusal(self, '404 Not Found')
        self._foreign = Refusal(self, '403 Forbidden', 'this origin may not use the service')

    def __repr__(self) -> str:
        return f'<Atila {self.name}>'

    # -- setting up ------------------------------------------------------------------------------

    def route(self, rule: str, **options: Any) -> Callable[[Function], Function]:
        """Serve the decorated function at `rule` (SPEC RT-01). Several may be stacked on one function.

        `methods`: default GET and POST (HEAD comes with GET). `content_types`: media types that a body
        may have, others get 406. `subdomain`: only for hosts that begin with it. Other keywords are kept
        in `was.request.routable`.

        AssertionError for a bad rule, ValueError or TypeError for a function that cannot be a service.
        """

        def decorate(function: Function) -> Function:
            self._add_route(rule, function, options)
            return function

        parsed = Rule(self.lifecycle.state.point_for(rule))  # a bad rule is reported where it is written
        del parsed
        return decorate

    def _add_route(self, rule: str, function: Callable[..., Any], options: dict[str, Any]) -> None:
        state = self.lifecycle.state
        methods = options.get('methods') or DEFAULT_METHODS
        if isinstance(methods, str):
            methods = [methods]
        methods = tuple(dict.fromkeys(method.upper() for method in methods))
        name = self._service_name(function, state)
        full = Rule(state.point_for(rule))
        endpoint = Endpoint(self, function, full, methods, options, name, state.options, state.rank)
        for unknown in endpoint.unknown_urlargs:
            log.error(
                '%s at %r does not take the parameter <%s> of its rule: add it to the function',
                name,
                full.text,
                unknown,
            )
        self._endpoints.append(endpoint)
        known = self._services.get(name)
        again = known is not None and known.function is not function and known.rank == state.rank
        if again and not name.endswith('<lambda>'):  # nobody means to name those
            assert known is not None
            log.error('the service %s at %r is already defined at %r', name, full.text, known.rule.text)
        if known is None or known.rank <= state.rank:
            self._services[name] = endpoint
        self._by_function[function] = endpoint
        self._place(endpoint)

    def _place(self, endpoint: Endpoint) -> None:
        rule = endpoint.rule
        for method in endpoint.methods:
            replaced = self._router.resource(rule).add(method, endpoint, implicit=False)
            if replaced is not None and replaced.function is not endpoint.function:
                log.warning('%s %r: %s replaces %s', method, rule.text, endpoint.name, replaced.name)
        shortened = rule.shortened
        if shortened is None or endpoint.urlargs[-1] not in endpoint.signature.defaults:
            return
        shorter = [shortened] if shortened.text else [Rule('/')] if rule.text.count('/') == 1 else [shortened]
        for place in shorter:
            for method in endpoint.methods:
                self._router.resource(place).add(method, endpoint, implicit=True)

    def _service_name(self, function: Callable[..., Any], state: hooks.MountState) -> str:
        """SPEC RT-15: the module's path below the services' root, then the function's name."""
        name = getattr(function, '__name__', type(function).__name__)
        if state.ns is not None:
            return f'{state.ns}.{name}' if state.ns else name
        if not self.enable_namespace or state.module is None:
            return name
        path = hooks.path_below(state.package or self.app_name.partition('.')[0], state.module)
        return f'{path}.{name}' if path else name

    def mount(self, point: str, *modules: Any, **options: Any) -> None:
        """Mount modules with hooks, functions `f (app[, mntopt])` or a directory (SPEC LC-06).

        Belongs into `__setup__` (or before the app is run): RuntimeError inside `__mount__`.
        """
        self.lifecycle.mount(point, modules, options)

    mount_with = decorate_with = mount

    def extends(self, package: ModuleType) -> None:
        """Use what `package` has and this app hasn't: services, templates, static files (SPEC EX-01).

        At module level or in `__setup__`; `pref.extends` is the same, said by the launch script.
        """
        self.lifecycle.extend(package, hooks.BASE)

    def overrides(self, package: ModuleType | Callable[..., Any]) -> None:
        """Let `package`'s services, templates and static files replace this app's (SPEC EX-02)."""
        self.lifecycle.extend(package, hooks.OVERRIDING)

    def unroute(self, pattern: str, response_code: int = 404) -> None:
        """Answer requests whose path (below the mount point) matches the pattern with a status (EX-04)."""
        code, reason = parse_status(response_code)
        self._unrouted.append((pattern, Refusal(self, f'{code} {reason}')))

    def error_handler(self, code: int, accept: str = 'text/html') -> Callable[[Function], Function]:
        """Let the decorated `f (was, error)` make the page for `code` (SPEC ER-03).

        It is asked when the client's Accept names `accept`; with '*' always. What it returns is the
        content, as from a service. If it fails, the built-in page is sent.
        """
        status, _ = parse_status(code)

        def decorate(function: Function) -> Function:
            self._add_error_handler(status, function, accept)
            return function

        return decorate

    def _add_error_handler(self, status: int, handler: Callable[..., Any], accept: str) -> None:
        check_plain('an error handler', handler)
        rank = self.lifecycle.state.rank
        if status not in self.error_handlers or self._handler_ranks[status] <= rank:
            self.error_handlers[status] = (handler, accept)
            self._handler_ranks[status] = rank

    def default_error_handler(self, function: Function | None = None, accept: str = 'text/html') -> Any:
        """The same for every code that has no handler of its own; with or without parentheses."""

        def decorate(handler: Function) -> Function:
            self._add_error_handler(0, handler, accept)
            return handler

        return decorate if function is None else decorate(function)

    # -- being mounted (see skitai.mounting) -----------------------------------------------------

    def __skitai_mount__(self, context: MountContext) -> Atila:
        self._context = context
        self.point = context.point
        self.settings = context.settings
        self.apps = context.apps
        self.shared = context.shared
        for name, value in context.preference.attributes.items():
            setattr(self, name, value)
        self.config.update(context.preference.config)
        for url in ('STATIC_URL', 'MEDIA_URL'):
            if not self.config[url].endswith('/'):
                self.config[url] += '/'
        jsons.check_encoder(self.config.JSON_ENCODER)
        self.debug = self.use_reloader = self.expose_spec = context.settings.devel
        self.encode_json = jsons.encoder(self.config.JSON_ENCODER, self.config.PRETTY_JSON)
        for endpoint in self._endpoints:  # made at module level, before the mount was known
            endpoint.mounted_with(context.options)
        self.lifecycle.run(context)
        self._settle(context.settings)
        return self

    def _settle(self, settings: Settings) -> None:
        """Everything is routed: what depends on it, once."""
        if self.config.MINIFY_HTML is not None and self.config.MINIFY_HTML is not False:
            from .templating import minifier  # few apps minify

            self._minify = minifier(self.config.MINIFY_HTML)
        self._secure = security_headers.make(self.security_headers)
        limit = min(self.config.MAX_UPLOAD_SIZE, settings.max_upload_size)
        for endpoint in self._endpoints:
            endpoint.body_limit = None if endpoint.input_stream else limit
            endpoint.cors = self._cors(endpoint)
            self._gate(endpoint)  # what cannot be is reported now
            for guard in endpoint.guards:
                check = getattr(guard, 'check', None)
                if check is not None:
                    check()
        blank = self._router.fixed.get('')
        if self.point == '/' and blank is not None:
            self._router.fixed.setdefault('/', blank)  # at the root there is no other way to write ''

    def _cors(self, endpoint: Endpoint) -> Cors | None:
        """Its route's word before the app's (SPEC AC-01)."""
        options = endpoint.options
        origins = options.get('access_control_allow_origin', self.access_control_allow_origin)
        if origins is None:
            return None
        return Cors(origins, options.get('access_control_max_age', self.access_control_max_age))

    def __skitai_subscribe__(self, listener: Atila) -> None:
        """Let `listener` get this app's events too (SPEC MA-01)."""
        if listener not in self.events.subscribers:
            self.events.subscribers.append(listener)

    def __skitai_mounted__(self) -> None:
        """All apps of the server are there: what goes around services is known; jobs begin."""
        around = self.cycle.settle()
        for endpoint in self._endpoints:
            gate, standing = self._gate(endpoint), self.standing(endpoint.cors)
            own = endpoint.guards or endpoint.afters or endpoint.coroutine or endpoint.timeout
            if around or self._minify or own or gate or standing:
                inside = Surrounded(endpoint, self.cycle, self._minify, gate, standing)
                endpoint.surrounded(inside, Door(inside) if gate else None)
        self._serves = True
        self.emit('before_mount')
        self.emit('mounted')
        if self.settings.reloaded:
            self.emit('reloaded')
        self.emit('mounted_or_reloaded')
        self.maintenance.start(self)

    def _gate(self, endpoint: Endpoint) -> Callable[[Was], None] | None:
        """Who lets requests in: the route's word before its mount's, before the app's (AU-01)."""
        wanted = endpoint.authenticate
        if wanted is UNSAID:
            wanted = endpoint.mntopt.get('authenticate', self.authenticate)
        kind = self.authentication.check_kind(wanted)
        return None if kind is None else partial(self.authentication.authenticate, kind=kind)

    def standing(self, cors: Cors | None) -> Callable[[Was], RawHeaders] | None:
        """What gives the fields of every answer, if there are any."""
        secure = self._secure
        if cors is None and secure is None:
            return None

        def fields(was: Was) -> RawHeaders:
            found = [] if cors is None else cors.fields(was.exchange)
            if secure is not None:
                found = found + secure.fields(was.request.scheme, was.__dict__.get('csp_nonce'))
            return found

        return fields

    def __skitai_umount__(self, reloading: bool = False) -> None:
        if not self._serves:
            self.lifecycle.umount()
            return
        self._serves = False
        self.maintenance.stop()
        if reloading:
            self.emit('before_reload')
        self.emit('before_umount')
        self.lifecycle.umount()
        self.emit('umounted')

    # -- a request -------------------------------------------------------------------------------

    def find(self, exchange: Exchange) -> Handler | None:
        """The handler for a request: a service's endpoint, or a refusal. Never blocks."""
        exchange.path_params = None
        resource = self._router.fixed.get(exchange.local_path)
        if resource is not None and not self._unrouted:
            endpoint = resource.methods.get(exchange.method)
            if endpoint is not None and endpoint.plain:
                return endpoint
        return self._find(exchange)

    def _find(self, exchange: Exchange) -> Handler:
        path, method = exchange.local_path, exchange.method
        for pattern, refusal in self._unrouted:
            if fnmatch.fnmatchcase(path, pattern):
                return refusal
        if method == 'HEAD':
            method = 'GET'
        allowed: set[str] = set()
        resource = self._router.fixed.get(path)
        if method == 'OPTIONS' and (answer := self._options(resource, exchange)) is not None:
            return answer
        if resource is not None:
            endpoint = resource.methods.get(exchange.method) or resource.methods.get(method)
            if endpoint is not None:
                return self._checked(endpoint, exchange)
            allowed.update(resource.allowed)
        try:
            for candidate, values in self._router.find(self._raw_local_path(exchange)):
                endpoint = candidate.methods.get(exchange.method) or candidate.methods.get(method)
                if endpoint is None:
                    allowed.update(candidate.allowed)
                    continue
                if values[-1] == '' and endpoint.urlargs[-1] not in endpoint.signature.defaults:
                    continue  # an empty <path:> needs a default (SPEC RT-08)
                exchange.path_params = values
                return self._checked(endpoint, exchange)
        except UnicodeDecodeError:
            return Refusal(self, '400 Bad Request', 'the path is not UTF-8')
        except BadSegment as error:
            return Refusal(self, '400 Bad Request', f'invalid value in the path: {error.name}')
        if allowed:
            return self._not_allowed(allowed)
        return self._absent(exchange)

    def _options(self, resource: Resource | None, exchange: Exchange) -> Handler | None:
        """What answers OPTIONS (SPEC AC-02): None where it is no method of the resource."""
        if resource is None:
            try:
                resource = next(
                    (found for found, _ in self._router.find(self._raw_local_path(exchange))), None
                )
            except (UnicodeDecodeError, BadSegment):
                resource = None
        if resource is None:
            return None
        services = resource.methods
        if 'OPTIONS' not in services and not any(endpoint.cors for endpoint in services.values()):
            return None
        wanted = (exchange.header(b'access-control-request-method') or b'').decode('latin-1')
        if wanted == 'HEAD':
            wanted = 'GET'
        if wanted and wanted not in services:
            return self._not_allowed(resource.allowed)
        endpoint = services.get(wanted) or next((e for e in services.values() if e.cors), None)
        cors = None if endpoint is None else endpoint.cors
        if cors is not None and not cors.allows(exchange):
            return self._foreign
        return OptionsAnswer(sorted({*resource.allowed, 'OPTIONS'}), cors)

    def _not_allowed(self, methods: Iterable[str]) -> Refusal:
        allow = ', '.join(sorted(methods)).encode('latin-1')
        return Refusal(self, '405 Method Not Allowed', headers=[(b'allow', allow)])

    def _absent(self, exchange: Exchange) -> Handler:
        path = exchange.local_path
        if not path.endswith('/') and self._router.known(path + '/'):
            if path == '':
                return TO_DIRECTORY
            return Refusal(self, '301 Moved Permanently', headers=[(b'location', slash_appended(exchange))])
        return self._not_found

    def _raw_local_path(self, exchange: Exchange) -> bytes:
        """The path below the mount point as sent: its segments are decoded one by one."""
        raw = exchange.raw_path
        if self.point == '/':
            return raw
        depth = self.point.count('/')
        return b'/' + b'/'.join(raw.split(b'/')[depth + 1 :])

    def _checked(self, endpoint: Endpoint, exchange: Exchange) -> Handler:
        """What the route's options ask of a request (SPEC RT-04, RT-14, PR-06)."""
        if endpoint.subdomain is not None:
            host = (exchange.header(b'host') or b'').decode('latin-1').lower()
            if not host.startswith(endpoint.subdomain.lower() + '.'):
                return self._not_found
        if endpoint.cors is not None and not endpoint.cors.allows(exchange):
            return self._foreign
        if endpoint.content_types:
            declared = exchange.header(b'content-type')
            media = (declared or b'').partition(b';')[0].strip().lower().decode('latin-1')
            has_body = b'content-length' in exchange.fields or b'transfer-encoding' in exchange.fields
            if media not in endpoint.content_types and (declared is not None or has_body):
                return Refusal(
                    self,
                    '406 Not Acceptable',
                    f'the content type must be {" or ".join(sorted(endpoint.content_types))}',
                )
        if endpoint.unknown_urlargs:
            return Refusal(
                self, '530 Parameter Mismatch', 'the service does not take the parameters of its URL'
            )
        if endpoint.door is not None and (
            b'content-length' in exchange.fields
            or b'transfer-encoding' in exchange.fields
            or (exchange.http_version != '1.1' and exchange.method not in ('GET', 'HEAD'))
        ):
            return endpoint.door
        return endpoint.handler

    # -- for `was` -------------------------------------------------------------------------------

    def service(self, thing: Any) -> Endpoint:
        """The endpoint of a function or name; NameError for an unknown one."""
        endpoint = self._services.get(thing) if isinstance(thing, str) else self._by_function.get(thing)
        if endpoint is None:
            raise NameError(f'{self.name} has no service {getattr(thing, "__name__", thing)!r}')
        return endpoint

    def has_service(self, name: str) -> bool:
        return name in self._services

    def is_routed(self, function: Callable[..., Any]) -> bool:
        """Whether the function is a service already."""
        return function in self._by_function

    def find_file(self, exchange: Exchange, url_path: str) -> FileAnswer | None:
        """The mounted file at a URL path."""
        return self._context.find_file(exchange, url_path) if self._context is not None else None

    # -- running ---------------------------------------------------------------------------------

    def run(
        self,
        address: str = '127.0.0.1',
        port: int = 5000,
        mount: str = '/',
        pref: Preference | None = None,
        **settings: Any,
    ) -> None:
        """Mount this app alone and serve it (SPEC ST-14)."""
        import skitai

        skitai.mount(mount, self, pref)
        skitai.run(address, port, **settings)


def load(target: ModuleType | Atila, pref: Preference | None = None) -> Atila:
    """Build an app outside a server, for unit tests (SPEC ST-17)."""
    from skitai.mounting import Mounts

    mounts = Mounts()
    mounts.add('/', target, pref)
    mounts.configure()
    mounts.build(Settings())
    return next(iter(mounts.apps.values()))  # type: ignore[no-any-return]
