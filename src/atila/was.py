"""`was`: one request's way to everything (SPEC chapter 7). One for each request, cheap to make.

`Was` belongs to a request; `OffRequest` is what jobs and life-cycle events get: the same without a request.
"""

from __future__ import annotations

import html
import logging
import os
import signal
import time
import uuid
from asyncio import _get_running_loop
from inspect import unwrap
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from aquests import Tasks
from skitai import shared
from skitai.errorpage import accepts, error_content
from skitai.logs import transaction_of

from . import contents, deferred, scratch, urls
from .databases import DatabaseMembers
from .errors import HTTPError, current_traceback, parse_status
from .request import Request
from .response import HeadersLike, Response
from .security.headers import new_nonce
from .security.members import Secrets
from .security.otp import generate as generate_otp  # noqa: F401  `atila.was.generate_otp` (HE-07)
from .stubs import StubMembers
from .tasks import TaskMembers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from skitai.exchange import Exchange
    from skitai.stores import Store

    from .app import Atila
    from .mail import Email
    from .state.cookie import Cookies
    from .state.mbox import MessageBox
    from .state.session import Session

log = logging.getLogger('atila.app')


class Was(Secrets, TaskMembers, DatabaseMembers, StubMembers):
    """The first argument of every service and hook.

    Belongs to one request and to the thread (or coroutine) that serves it at the moment. Users may set
    attributes of their own on it.
    """

    __slots__ = ('__dict__', '__weakref__', '_request', '_response', 'app', 'endpoint', 'exchange')

    #: Raise it: `raise was.Error ('404 Not Found')` (SPEC WAS-06).
    Error = HTTPError

    def __init__(self, app: Atila, exchange: Exchange, endpoint: Any) -> None:
        self.app = app
        self.exchange = exchange
        self.endpoint = endpoint
        self._request: Request | None = None
        self._response: Response | None = None

    @property
    def request(self) -> Request:
        request = self._request
        if request is None:
            request = self._request = Request(self)
        return request

    @property
    def response(self) -> Response:
        response = self._response
        if response is None:
            response = self._response = Response(self)
        return response

    def new_response(self) -> Response:
        """Forget what was set on the response, cookies and their like included (SPEC RC-07)."""
        before, response = self._response, Response(self)
        if before is not None:
            response.ending, before.ending = before.ending, None
            response.standing = before.standing
        self._response = response
        if self._request is not None:
            self._request.forget_state()
        return self._response

    def of(self, app: Atila) -> Was:
        """This request's `was` as another app sees it: with that app's names, on the same response."""
        if app is self.app:
            return self
        other = Was(app, self.exchange, self.endpoint)
        other._request, other._response = self.request, self.response
        return other

    @property
    def cookie(self) -> Cookies:
        """`was.request.cookie`."""
        return self.request.cookie

    @property
    def session(self) -> Session:
        """`was.request.session`."""
        return self.request.session

    @property
    def mbox(self) -> MessageBox:
        """`was.request.mbox`."""
        return self.request.mbox

    @property
    def csp_nonce(self) -> str:
        """What a script or style in this answer's page needs: `<script nonce="{{ was.csp_nonce }}">`."""
        values = self.__dict__
        if 'csp_nonce' not in values:
            values['csp_nonce'] = new_nonce()
        nonce: str = values['csp_nonce']
        return nonce

    @property
    def g(self) -> Store:
        """What all apps of this worker process share (SPEC G-03)."""
        return self.app.shared

    @property
    def env(self) -> dict[str, Any]:
        """`was.request.env`."""
        return self.request.env

    @property
    def user(self) -> Any:
        """`was.request.user`."""
        return self.request.user

    @property
    def apps(self) -> Apps:
        """The other apps of this server, by name."""
        return Apps(self.app.apps)

    # -- contents (SPEC chapter 30) ---------------------------------------------------------------

    def API(self, /, *args: Any, **values: Any) -> contents.API:
        """A dict as JSON (or XML): `was.API ('201 Created', {'id': 1}, name = 'x')`, each part optional."""
        return contents.API.of(self, args, values) if args else contents.API(values)

    def Fault(
        self,
        status: str = '200 OK',
        message: str = '',
        code: int = 0,
        debug: Any = None,
        more_info: str | None = None,
        exc_info: Any = None,
        traceback: bool = False,
    ) -> bytes:
        """An error body with a status, without raising (SPEC RS-14)."""
        number, reason = parse_status(status)
        self.response.set_status(status)
        trace = current_traceback() if (traceback or exc_info) and self.app.debug else None
        content_type, body = error_content(
            self.exchange.header(b'accept'), number, message or reason, more_info or '', code, trace
        )
        self.response.set_header('Content-Type', content_type.decode())
        return body

    def render(self, template: str, values: dict[str, Any] | None = None, /, **named: Any) -> Any:
        """A template's text, with a dict or with keywords (SPEC TE-01). AssertionError for both.

        Tasks among the values can be fetched by the template (SPEC TE-09). On the event loop, with one that
        is not finished, it is not a str but a content for the service to return: see `deferred.Page`.
        """
        assert values is None or not named, 'was.render takes a dict or keywords, not both'
        return self._page(template, named if values is None else values)

    def _page(self, template: str, values: dict[str, Any]) -> Any:
        if _get_running_loop() is not None and deferred.pending(values):
            return deferred.Page(template, values)
        return self.app.templates.render(self, template, values)

    def render_or_API(self, template: str, values: dict[str, Any] | None = None, /, **named: Any) -> Any:
        """`was.API` for clients that accept application/json, for others the template (SPEC RS-15)."""
        assert values is None or not named, 'was.render_or_API takes a dict or keywords, not both'
        given = named if values is None else values
        self.response.add_header('Vary', 'Accept')
        if accepts(self.exchange.header(b'accept'), b'application/json'):
            if any(isinstance(value, self.Task) for value in given.values()):
                return self.Mapped(Tasks.of((), given))
            return contents.API(given)
        return self._page(template, given)

    def File(
        self,
        path_or_file: str | os.PathLike[str] | BinaryIO,
        mimetype: str = 'application/octet-stream',
        filename: str | None = None,
    ) -> contents.File:
        """A file; with `filename` as a download of that name. Missing: 404."""
        return contents.File(path_or_file, mimetype, filename)

    def MountedFile(self, url_path: str) -> contents.MountedFile:
        """The file that is served at the URL path `url_path` (below '/')."""
        return contents.MountedFile(url_path)

    Mounted = MountedFile

    def Static(self, uri: str) -> contents.MountedFile:
        """The static file `uri`, relative to STATIC_URL; a leading '/' makes it an absolute URL path."""
        return contents.MountedFile(self.static(uri))

    def Media(self, uri: str) -> contents.MountedFile:
        """The media file `uri`, relative to MEDIA_URL."""
        return contents.MountedFile(self.media(uri))

    def redirect(
        self, url: str, status: str = '302 Object Moved', body: Any = None, headers: HeadersLike = None
    ) -> Any:
        """Send the client to `url` (SPEC RS-19). ValueError for control characters in it."""
        response = self.response
        response.set_status(status)
        response.set_headers(headers)
        response.set_header('Location', urls.quoted(url))
        response.set_header('Cache-Control', 'max-age=0')
        response.set_header('Expires', urls.now())
        if body is not None:
            return body
        escaped = html.escape(url)
        link = f'<a href="{escaped}">{escaped}</a>'
        return f'<html><head><title>{response.reason}</title></head><body>{link}</body></html>'

    # -- URLs (SPEC chapter 19) -------------------------------------------------------------------

    def urlfor(self, thing: Any, /, *args: Any, **values: Any) -> str:
        """The URL of a service (a function or its name) with parameters, or of '/a/path' of this app.

        'app:name' names a service of another app (SPEC MA-03).
        """
        return urls.urlfor(self, thing, args, values)

    def urlpatch(self, thing: Any, /, **values: Any) -> str:
        """`urlfor` with the parameters of this request's URL, `values` going above them (SPEC UR-03)."""
        return urls.urlpatch(self, thing, values)

    def baseurl(self, thing: Any) -> str:
        """The URL of a service without any parameter (SPEC UR-04)."""
        return urls.baseurl(self, thing)

    def urlspec(self, thing: Any) -> dict[str, Any]:
        """How a service is called: its methods, path, parameters (SPEC UR-04)."""
        return urls.urlspec(self, thing)

    ab, partial, basepath = urlfor, urlpatch, baseurl

    def static(self, path: str) -> str:
        """The URL of a static file."""
        app, path = urls.owner(self.app, path)
        return urls.joined(app.config.STATIC_URL, path)

    def media(self, path: str) -> str:
        """The URL of a media file."""
        app, path = urls.owner(self.app, path)
        return urls.joined(app.config.MEDIA_URL, path)

    def pipe(self, thing: Any, /, *args: Any, **values: Any) -> Any:
        """What another service gives for these arguments: its function without decorators (SPEC PP-01)."""
        app, endpoint = urls.service(self, thing)
        return unwrap(endpoint.function)(self.of(app), *args, **values)

    # -- events and what workers share (SPEC CA-04, CA-05, EV-06) ---------------------------------

    def setlu(self, name: str, /, *args: Any, x_ignore: bool = False, **values: Any) -> None:
        """Stamp `name` (shared by all workers) and emit 'setlu:<name>' with the arguments in this process.

        KeyError for a name that `skitai.register_g` doesn't know, unless `x_ignore`.
        """
        try:
            shared.stamp(name)
        except KeyError:
            if not x_ignore:
                raise
            return
        self.app.events.emit(self, f'setlu:{name}', args, values)

    def getlu(self, *names: str, x_ignore: bool = False) -> float:
        """The newest stamp of `names`, epoch seconds; before the first stamp this process's start."""
        if x_ignore:
            names = tuple(name for name in names if name in shared.g)
        return shared.stamped(*names)

    def emit(self, event: str, /, *args: Any, **values: Any) -> None:
        """Emit an event in this app (SPEC EV-02)."""
        self.app.events.emit(self, event, args, values)

    def broadcast(self, event: str, /, *args: Any, **values: Any) -> None:
        """Emit an event in every app of this server (SPEC EV-06)."""
        self.app.broadcast(event, *args, **values)

    def get_lock(self, name: str, timeout: float = 30.0) -> shared.Lock:
        """A lock of that name, to be used in `with`: it excludes all threads of all workers of this server.

        TimeoutError when it is not free within `timeout` seconds.
        """
        return shared.lock(name, timeout)

    # -- small helpers (SPEC WAS-05) --------------------------------------------------------------

    @property
    def timestamp(self) -> int:
        """The time now, in milliseconds since the epoch."""
        return int(time.time() * 1000)

    @property
    def uniqid(self) -> str:
        """An id that nobody else has, 32 hexadecimal digits; another one at each look."""
        return uuid.uuid4().hex

    def gentemp(self, suffix: str = '') -> str:
        """The path of a new, empty temporary file; the caller removes it."""
        return scratch.gentemp(suffix)

    def flashfile(self, path: str) -> scratch.FlashFile:
        """`path`, for use in `with`: the file is deleted at its end."""
        return scratch.FlashFile(path)

    def tempfile(self, suffix: str = '') -> scratch.FlashFile:
        """A new temporary file's path, for use in `with`."""
        return scratch.FlashFile(scratch.gentemp(suffix))

    def push(self, uri: str) -> None:
        """Tell the client that it will need `uri` (a preload link, RFC 8288: clients gave up server push)."""
        self.response.add_header('Link', f'<{urls.quoted(uri)}>; rel=preload')

    # -- the server (SPEC WAS-05, B.16) -----------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """What serves this request: process, workers, threads, apps."""
        settings = self.app.settings
        return {
            'name': settings.name,
            'pid': os.getpid(),
            'workers': settings.workers,
            'threads': settings.threads,
            'app': self.app.name,
            'apps': sorted(self.app.apps),
        }

    def restart(self, timeout: float = 0) -> None:
        """Replace this server by its code as it is on disk, losing no request (SIGHUP to the master).

        In `timeout` seconds from now. RuntimeError where no master of ours runs this process.
        """
        self.app.settings.signal_master(signal.SIGHUP, timeout)

    def shutdown(self, timeout: float = 0) -> None:
        """Stop this server, in `timeout` seconds; requests in flight are answered (SIGTERM to the master)."""
        self.app.settings.signal_master(signal.SIGTERM, timeout)

    def email(self, subject: str, sender: str, to: str | Iterable[str], **options: Any) -> Email:
        """A mail to write and send (SPEC WAS-05, B.15); see `mail.Email`."""
        from .mail import Email  # few services send mail

        return Email(subject, sender, to, **options)

    # -- logging (SPEC HE-01, HE-02) --------------------------------------------------------------

    def _transaction(self) -> tuple[str, str]:
        return transaction_of(self.exchange)

    def txnid(self) -> str:
        """'<global>/<local>': the ids under which this request is logged."""
        return '/'.join(self._transaction())

    def log(self, message: Any, category: str = 'info') -> None:
        """Write a line to the application log, with the request's transaction ids."""
        gtxid, ltxid = self._transaction()
        extra = {'category': category, 'gtxid': gtxid, 'ltxid': ltxid}
        log.log(
            _LEVELS.get(category, logging.INFO), '%s/%s [%s] %s', gtxid, ltxid, category, message, extra=extra
        )

    def traceback(self, id: str = '') -> None:
        """Write the exception being handled to the application log; `id` stands for the transaction ids."""
        gtxid, ltxid = self._transaction()
        log.error('%s', id or f'{gtxid}/{ltxid}', exc_info=True, extra={'gtxid': gtxid, 'ltxid': ltxid})


class OffRequest(Was):
    """`was` where no request is served: in maintenance jobs, life-cycle events, and code at start.

    `request`, `response` and what hangs on them are a RuntimeError; the app, its URLs, templates, events,
    stores and the log are there.
    """

    __slots__ = ()

    def __init__(self, app: Atila) -> None:
        super().__init__(app, cast('Exchange', None), None)

    def of(self, app: Atila) -> Was:
        return self if app is self.app else OffRequest(app)

    @property
    def request(self) -> Request:
        raise RuntimeError('there is no request here: was.request is for services and request hooks')

    @property
    def response(self) -> Response:
        raise RuntimeError('there is no response here: was.response is for services and request hooks')

    def _transaction(self) -> tuple[str, str]:
        return '-', '-'


_LEVELS = {
    'debug': logging.DEBUG,
    'info': logging.INFO,
    'warn': logging.WARNING,
    'warning': logging.WARNING,
    'error': logging.ERROR,
    'fail': logging.ERROR,
    'critical': logging.CRITICAL,
}


class Apps:
    """Apps by name: an unknown one is a NameError; `get` gives None for it (SPEC MA-02)."""

    __slots__ = ('_apps',)

    def __init__(self, apps: dict[str, Any]) -> None:
        self._apps = apps

    def __getitem__(self, name: str) -> Any:
        try:
            return self._apps[name]
        except KeyError:
            raise NameError(f'no app is mounted under the name {name!r}') from None

    def __contains__(self, name: object) -> bool:
        return name in self._apps

    def get(self, name: str, default: Any = None) -> Any:
        return self._apps.get(name, default)
