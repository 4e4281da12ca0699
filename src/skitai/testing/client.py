"""The test client: requests to one server, with cookies and default headers (SPEC TC-01, TC-02).

`Client` is what all clients do, whatever carries the request: a transport adapter of `requests`. Here it is
TCP; `inprocess` has the one that calls an ASGI application. Clients for other protocols (RPC, gRPC,
websockets, HTTP/2) belong in modules of their own and get `base_url` from the client that makes them.
"""

# ruff: noqa: PT028  (`test_client` is no test)

from __future__ import annotations

import copy
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool

from .launcher import HOST, Server, free_port
from .response import Response

#: Seconds that a call waits for a connection, and then for each piece of the answer.
TIMEOUT = 30.0

Headers = Mapping[str, str | bytes | None] | None
Params = Mapping[str, Any] | None


class Stoppable(Protocol):
    def stop(self) -> None: ...


class Client:
    """Requests to `base_url`, which has no slash at its end. Use one in one thread; `clone ()` it for others.

    Every method takes a path ('/users?page=2'), relative to `base_url`, and the keyword arguments of
    `requests.Session.request`, with two other defaults: redirects are not followed, since a test wants to
    see them (`allow_redirects = True` follows), and `timeout` is 30 seconds. Proxies and credentials set in
    the environment are not used. Cookies are kept from call to call (`session.cookies`).
    """

    def __init__(self, base_url: str, adapter: HTTPAdapter, owned: Stoppable | None = None) -> None:
        self.base_url = base_url
        self._adapter = adapter
        self._owned = owned
        self.session = self._new_session()

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.mount(self.base_url + '/', self._adapter)
        return session

    # -- life ------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the connections, and stop what this client has started. Calling it again does nothing."""
        self.session.close()
        if self._owned is not None:
            self._owned.stop()

    def clone(self) -> Self:
        """Another client of the same server, with these default headers and no cookies.

        Its `stop ()` stops no server.
        """
        other = copy.copy(self)
        other._owned = None
        other.session = other._new_session()
        other.session.headers.update(self.session.headers)
        return other

    # -- requests --------------------------------------------------------------------------------

    def set_default_header(self, name: str, value: str | None) -> None:
        """Send this header field with every request that has none of its own; None sends it no more."""
        if value is None:
            self.session.headers.pop(name, None)
        else:
            self.session.headers[name] = value

    def request(
        self,
        method: str,
        uri: str,
        *,
        timeout: float | tuple[float, float] | None = None,
        allow_redirects: bool = False,
        **options: Any,
    ) -> Response:
        """Any method. A request without an answer raises a `requests.RequestException`."""
        response = self.session.request(
            method, self.url(uri), timeout=timeout or TIMEOUT, allow_redirects=allow_redirects, **options
        )
        return Response.of(response)

    def url(self, uri: str) -> str:
        """The address of the path `uri`; ValueError for an address on another server."""
        if uri.startswith(('http://', 'https://')):
            if not (uri + '/').startswith(self.base_url + '/'):
                raise ValueError(f'{uri} is not below {self.base_url}')
            return uri
        return self.base_url + (uri if uri.startswith('/') else '/' + uri)

    def get(
        self,
        uri: str,
        params: Mapping[str, Any] | None = None,
        headers: Headers = None,
        **options: Any,
    ) -> Response:
        """`params` become the query."""
        return self.request('GET', uri, params=params, headers=headers, **options)

    def head(
        self,
        uri: str,
        params: Mapping[str, Any] | None = None,
        headers: Headers = None,
        **options: Any,
    ) -> Response:
        return self.request('HEAD', uri, params=params, headers=headers, **options)

    def options(
        self,
        uri: str,
        params: Mapping[str, Any] | None = None,
        headers: Headers = None,
        **options: Any,
    ) -> Response:
        return self.request('OPTIONS', uri, params=params, headers=headers, **options)

    def delete(
        self,
        uri: str,
        params: Mapping[str, Any] | None = None,
        headers: Headers = None,
        **options: Any,
    ) -> Response:
        return self.request('DELETE', uri, params=params, headers=headers, **options)

    def post(
        self, uri: str, data: Any = None, json: Any = None, headers: Headers = None, **options: Any
    ) -> Response:
        """`json` is sent as JSON; `data` is a form if it is a dict, else the body: bytes, text (UTF-8), an
        open file, or an iterable of bytes, sent chunked."""
        return self.request('POST', uri, data=data, json=json, headers=headers, **options)

    def put(
        self, uri: str, data: Any = None, json: Any = None, headers: Headers = None, **options: Any
    ) -> Response:
        """Bodies as for `post`."""
        return self.request('PUT', uri, data=data, json=json, headers=headers, **options)

    def patch(
        self, uri: str, data: Any = None, json: Any = None, headers: Headers = None, **options: Any
    ) -> Response:
        """Bodies as for `post`."""
        return self.request('PATCH', uri, data=data, json=json, headers=headers, **options)

    def upload(self, uri: str, data: Mapping[str, Any], headers: Headers = None, **options: Any) -> Response:
        """POST a multipart form. `data`: values as for `multipart_parts`."""
        return self.request('POST', uri, files=multipart_parts(data), headers=headers, **options)


#: Name of the field, then file name (None for a plain field), content, media type.
Part = tuple[str, tuple[str | None, Any, str | None]]


def multipart_parts(data: Mapping[str, Any]) -> list[Part]:
    """The parts of a multipart form, in the order of `data`.

    An open file, or a tuple `(name, content)` or `(name, content, media type)`, is a file; a list is several
    parts of one name; anything else is a field. ValueError where there is no part: the form needs one.
    """
    parts: list[Part] = []
    for key, value in data.items():
        parts.extend((key, _part(key, item)) for item in (value if isinstance(value, list) else [value]))
    if not parts:
        raise ValueError('a multipart form needs at least one part')
    return parts


def _part(key: str, value: Any) -> tuple[str | None, Any, str | None]:
    if isinstance(value, tuple):
        name, content, *rest = value
        return name, content, rest[0] if rest else _media_type(name)
    if hasattr(value, 'read'):
        path = getattr(value, 'name', key)  # a number for a file without a name
        name = Path(path).name if isinstance(path, str) else key
        return name, value, _media_type(name)
    return None, value if isinstance(value, bytes) else str(value), None


def _media_type(name: str) -> str:
    return mimetypes.guess_type(name)[0] or 'application/octet-stream'


# -- a server on this machine ----------------------------------------------------------------------


class _LoopbackConnection(HTTPSConnection):
    """TLS whose certificate nobody checks: the peer is this machine, its certificate made for a test.

    Says it had been checked, or each request would warn (and fail, where warnings are errors).
    """

    def connect(self) -> None:
        super().connect()
        self.is_verified = True


class _LoopbackPool(HTTPSConnectionPool):
    ConnectionCls = _LoopbackConnection


class _LoopbackAdapter(HTTPAdapter):
    """Mounted for the server under test only: a redirect to another host has its certificate checked."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {
            **self.poolmanager.pool_classes_by_scheme,
            'https': _LoopbackPool,
        }

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        return super().send(request, *arguments, **{**options, 'verify': False})


class ServerClient(Client):
    """A client of a server at 127.0.0.1:`port`. `server`: the process that it has launched and will stop."""

    def __init__(self, port: int, ssl: bool = False, server: Server | None = None) -> None:
        scheme = 'https' if ssl else 'http'
        super().__init__(f'{scheme}://{HOST}:{port}', _LoopbackAdapter(), server)
        self.port = port
        self._server = server

    @property
    def pid(self) -> int | None:
        """The launched process; None where the server was there before."""
        return self._server.pid if self._server is not None else None

    def output(self) -> str:
        """What the launched script has written until now; '' where that isn't captured."""
        return self._server.output() if self._server is not None else ''

    def wait_for_output(self, text: str, timeout: float = 10.0) -> str:
        """Wait until the launched script has written `text`; errors as for `Server.wait_for_output`."""
        if self._server is None:
            raise RuntimeError('there is no output to wait for: this client has launched no server')
        return self._server.wait_for_output(text, timeout)


def test_client(
    script: str | Path | None = None,
    port: int | None = 5000,
    devel: bool = False,
    ssl: bool = False,
    silent: bool = True,
    dry: bool = False,
    temp_dir: str | Path | None = None,
    **options: Any,
) -> ServerClient:
    """A client of `script`, launched with `--port` on 127.0.0.1 and stopped by `stop ()` or `with`.

    `port` 0 or None: a free one. `devel` adds `--devel`, `options` become `--key value` (see
    `launcher.command_line`). `ssl`: the server speaks https; its certificate is not checked. `silent`: its
    output goes into a temporary file in `temp_dir` (`.output ()`), else to where this process writes. Without
    a script, or with `dry`, nothing is launched: the server on `port` is running (ValueError without a
    port). Errors as for `launcher.Server`. SPEC TC-01.
    """
    if script is None or dry:
        if not port:
            raise ValueError('which server? without a script, test_client needs the port of a running one')
        return ServerClient(port, ssl)
    port = port or free_port()
    server = Server(script, port, devel=devel, silent=silent, output_dir=temp_dir, options=options)
    return ServerClient(port, ssl, server)


# pytest takes a function of this name for a test where it is imported
test_client.__test__ = False  # type: ignore[attr-defined]
