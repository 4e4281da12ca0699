"""`was`: one request's way to everything (SPEC chapter 7). One for each request, cheap to make."""

from __future__ import annotations

import html
import logging
from typing import TYPE_CHECKING, Any, BinaryIO

from skitai.errorpage import error_content
from skitai.logs import transaction_of

from . import contents, urls
from .errors import HTTPError, current_traceback, parse_status
from .request import Request
from .response import HeadersLike, Response

if TYPE_CHECKING:
    import os

    from skitai.exchange import Exchange

    from .app import Atila

log = logging.getLogger('atila.app')


class Was:
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
        """Forget what was set on the response."""
        self._response = Response(self)
        return self._response

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

    def API(self, *args: Any, **values: Any) -> contents.API:
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

    def urlfor(self, thing: Any, *args: Any, **values: Any) -> str:
        """The URL of a service (a function or its name) with parameters, or of '/a/path' of this app."""
        return urls.urlfor(self, thing, args, values)

    ab = urlfor

    def static(self, path: str) -> str:
        """The URL of a static file."""
        return urls.joined(self.app.config.STATIC_URL, path)

    def media(self, path: str) -> str:
        """The URL of a media file."""
        return urls.joined(self.app.config.MEDIA_URL, path)

    # -- logging (SPEC HE-01, HE-02) --------------------------------------------------------------

    def log(self, message: Any, category: str = 'info') -> None:
        """Write a line to the application log, with the request's transaction ids."""
        gtxid, ltxid = transaction_of(self.exchange)
        extra = {'category': category, 'gtxid': gtxid, 'ltxid': ltxid}
        log.log(
            _LEVELS.get(category, logging.INFO), '%s/%s [%s] %s', gtxid, ltxid, category, message, extra=extra
        )

    def traceback(self, id: str = '') -> None:
        """Write the exception being handled to the application log; `id` stands for the transaction ids."""
        gtxid, ltxid = transaction_of(self.exchange)
        log.error('%s', id or f'{gtxid}/{ltxid}', exc_info=True, extra={'gtxid': gtxid, 'ltxid': ltxid})


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
