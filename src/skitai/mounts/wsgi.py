"""Any WSGI callable as a mount (PEP 3333; SPEC ST-03, MA-05, DJ-04), and the environ dict (RQ-06).

Rules. The application runs on a service thread, its request's body read before. A list is answered as a
whole; anything else is streamed chunk by chunk at the client's pace, so that a slow reader holds no
thread: one chunk's thread need not be the next one's. All of a request's steps run in one context
(`contextvars`) of its own, one at a time. The iterable's `close ()` is called whatever happens.

What is given to `write ()` is kept (above 1 MB on disk) and sent when the application returns: the old
imperative style works, at the price of a delay.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context
from types import TracebackType
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import FileWrapper

from ..body import Body
from ..config import Settings
from ..errorpage import error_answer
from ..exchange import Exchange, Handler
from .head import Head
from .table import TO_DIRECTORY

log = logging.getLogger('wsgi')

Environ = dict[str, Any]
WsgiApplication = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType]

_PIECE = 1 << 16
#: Their names in the environ are other ones; `Proxy` would become HTTP_PROXY, which programs take for their
#: own configuration (httpoxy); the body is decoded and its length known.
_NOT_HTTP = frozenset({b'content-type', b'content-length', b'proxy', b'transfer-encoding'})
_END: Any = object()


class _Errors:
    """`wsgi.errors`: each line becomes a record of the logger 'wsgi'."""

    __slots__ = ('_rest',)

    def __init__(self) -> None:
        self._rest = ''

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split('\n')
        for line in lines:
            log.error('%s', line)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self._rest:
            self.write('\n')


def make_environ(exchange: Exchange, multiprocess: bool = False) -> Environ:
    """The request as PEP 3333 describes it. Text is latin-1 decoded bytes.

    `multiprocess`: whether other worker processes serve the same application.

    SCRIPT_NAME is the mount point (behind the `root_path` of an outer server), PATH_INFO the rest of the
    path, percent-decoded. Repeated fields are joined; a field with '_' in its name is left out (it could
    pass for the one with '-'). A body of unknown length has been read: CONTENT_LENGTH tells it.
    """
    scope, body = exchange.scope, exchange.body
    script, path = _paths(exchange)
    client, client_port = exchange.client
    server = scope.get('server') or ('localhost', None)
    port = server[1] if server[1] is not None else (443 if exchange.scheme == 'https' else 80)
    environ: Environ = {
        'REQUEST_METHOD': exchange.method,
        'SCRIPT_NAME': script.decode('latin-1'),
        'PATH_INFO': path.decode('latin-1'),
        'QUERY_STRING': exchange.query_string.decode('latin-1'),
        'REQUEST_URI': exchange.target,
        'SERVER_NAME': server[0],
        'SERVER_PORT': str(port),
        'SERVER_PROTOCOL': 'HTTP/' + exchange.http_version,
        'SERVER_SOFTWARE': 'Skitai',
        'REMOTE_ADDR': client,
        'REMOTE_PORT': str(client_port),
        'wsgi.version': (1, 0),
        'wsgi.url_scheme': exchange.scheme,
        'wsgi.input': body.open() if body is not None else io.BytesIO(),
        'wsgi.input_terminated': True,
        'wsgi.errors': _Errors(),
        'wsgi.file_wrapper': FileWrapper,
        'wsgi.multithread': True,
        'wsgi.multiprocess': multiprocess,
        'wsgi.run_once': False,
    }
    if body is not None:
        environ['CONTENT_LENGTH'] = str(body.size)
    for name in exchange.fields:
        if name not in _NOT_HTTP and b'_' not in name:
            key = 'HTTP_' + name.decode('latin-1').upper().replace('-', '_')
            environ[key] = (exchange.header(name) or b'').decode('latin-1')
    content_type = exchange.fields.get(b'content-type')
    if content_type is not None:
        environ['CONTENT_TYPE'] = content_type.decode('latin-1')
    return environ


def _paths(exchange: Exchange) -> tuple[bytes, bytes]:
    """(SCRIPT_NAME, PATH_INFO) as bytes, from the path as sent: it need not be valid UTF-8."""
    point = exchange.mount.point if exchange.mount is not None else ''
    script = (exchange.scope.get('root_path', '') + point).encode('utf-8', 'surrogateescape')
    path = unquote_to_bytes(exchange.raw_path)
    if path.startswith(script):
        return script, path[len(script) :]
    return script, exchange.local_path.encode('utf-8', 'surrogateescape')


class WsgiMount:
    """Mounts `application`. A body of more than `settings.max_upload_size` bytes gets 413."""

    on_loop = False

    def __init__(self, application: WsgiApplication, settings: Settings) -> None:
        self.application = application
        self.body_limit: int | None = settings.max_upload_size
        self.multiprocess = settings.workers > 1

    def find(self, exchange: Exchange) -> Handler:
        return self if exchange.local_path else TO_DIRECTORY

    def make_body(self, exchange: Exchange) -> Body:
        return Body()

    def __call__(self, exchange: Exchange) -> None:
        _Call(exchange, make_environ(exchange, self.multiprocess)).run(self.application)


class _Call:
    """One call of an application; when its answer is streamed, the iterator that the engine takes."""

    __slots__ = ('begun', 'chunks', 'context', 'environ', 'exchange', 'head', 'result', 'source', 'written')

    def __init__(self, exchange: Exchange, environ: Environ) -> None:
        self.exchange = exchange
        self.environ = environ
        self.context = Context()
        self.head: Head | None = None
        self.begun = False
        self.written: Body | None = None
        self.result: Any = None
        #: The iterator over the application's result, and the one over what is sent of it.
        self.source: Iterator[bytes] = iter(())
        self.chunks: Iterator[bytes] = iter(())

    # -- what the application calls --------------------------------------------------------------

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333's `start_response`. An invalid status or field raises here, in the application."""
        if exc_info is not None:
            try:
                if self.begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no cycle through the traceback's frames
            self._discard_written()
        elif self.head is not None:
            raise AssertionError('start_response was called a second time without exc_info')
        code = status[:3]
        if not code.isascii() or not code.isdigit() or status[3:4] not in ('', ' '):
            raise ValueError(f'invalid status {status!r}: expected as in "200 OK"')
        self.head = Head(int(code), headers, self.exchange.method)
        return self.write

    def write(self, data: bytes) -> None:
        """PEP 3333's `write`: only before the application returns its iterable's first chunk."""
        if self.begun:
            raise AssertionError('write was called after the answer had begun')
        if self.written is None:
            self.written = Body()
        self.written.write(_checked(data))

    # -- the answer ------------------------------------------------------------------------------

    def run(self, application: WsgiApplication) -> None:
        try:
            self.result = self.context.run(application, self.environ, self.start_response)
            self._answer()
        except BaseException:
            exchange = self.exchange
            log.exception('%s %s: the WSGI application failed', exchange.method, exchange.path)
            headers, body = error_answer(exchange, 500)
            exchange.respond(500, headers, b'' if exchange.method == 'HEAD' else body)
            self._close_logged()

    def _answer(self) -> None:
        result = self.result
        if isinstance(result, (list, tuple)) and self.written is None:
            content, whole = b''.join(result), True
        else:
            self.source = self.context.run(iter, result)
            content, whole = self._first(), False
        head = self.head
        if head is None:
            raise AssertionError('the application returned without a call of start_response')
        if head.bodiless:
            if whole and content:
                head.settle(len(content))
            self._respond(head, b'')
        elif whole or (not content and self.written is None):
            head.settle(len(content))
            head.count(len(content))
            head.finish()
            self._respond(head, content)
        elif self.written is None and len(content) == head.length:
            self._respond(head, content, drain=True)
        else:
            self.begun = True
            self.chunks = self._stream(head, content)
            self.exchange.stream(head.status, head.headers, self)

    def _respond(self, head: Head, content: bytes, drain: bool = False) -> None:
        """Answer as a whole, then end the iterable (`drain`: let it go on from its last chunk)."""
        self.exchange.respond(head.status, head.headers, content)
        if drain:
            try:
                if self._first():
                    log.error(
                        '%s %s: the body is longer than its Content-Length',
                        self.exchange.method,
                        self.exchange.path,
                    )
            except BaseException:
                log.exception('%s %s: failed after the answer', self.exchange.method, self.exchange.path)
        self._close_logged()

    def _first(self) -> bytes:
        """The next chunk that is not empty; b'' at the end."""
        while (chunk := self._pull()) is not _END:
            if chunk:
                return chunk
        return b''

    def _pull(self) -> bytes:
        chunk = self.context.run(next, self.source, _END)
        return chunk if chunk is _END else _checked(chunk)

    def _stream(self, head: Head, first: bytes) -> Iterator[bytes]:
        if self.written is not None:
            spool = self.written.open()
            while piece := spool.read(_PIECE):
                head.count(len(piece))
                yield piece
        chunk = first
        while chunk is not _END:
            if chunk:
                head.count(len(chunk))
                yield chunk
            chunk = self._pull()
        head.finish()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self.chunks)

    def close(self) -> None:
        """End the call: the iterable's own `close`, once, and what is left on `wsgi.errors`."""
        result, self.result = self.result, None
        self._discard_written()
        try:
            close = getattr(result, 'close', None)
            if close is not None:
                self.context.run(close)
        finally:
            self.environ['wsgi.errors'].flush()

    def _close_logged(self) -> None:
        try:
            self.close()
        except BaseException:
            log.exception('%s %s: closing the answer failed', self.exchange.method, self.exchange.path)

    def _discard_written(self) -> None:
        if self.written is not None:
            self.written.close()
            self.written = None


def _checked(chunk: Any) -> bytes:
    """`chunk`, if it is bytes (PEP 3333): TypeError otherwise."""
    if not isinstance(chunk, bytes):
        raise TypeError(f'the body is made of bytes, not of {type(chunk).__name__}')
    return chunk
