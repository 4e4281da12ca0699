"""What a service may return, and how each kind becomes an answer (SPEC chapter 30).

    str, bytes, bytearray, memoryview   the body
    API                                 JSON, or XML for a client that accepts text/xml
    File, MountedFile                   a file, with ranges and conditions
    list, tuple                         its parts, concatenated
    an object with read ()              its content, streamed
    an object with more ()              parts until one is empty, streamed
    generator, iterator                 parts, streamed at the client's pace
    asynchronous generator              the same, on the event loop
    an object with __respond__ (was)    answers itself (deferred contents: Map, then ...)

None is a service that forgot to return, anything else one that returned what is no content: both are
errors of the server (SPEC ER-07, ER-08), in words that say how to mend them.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from xmlrpc.client import Marshaller

import msgspec

from skitai.context import current
from skitai.errorpage import accepts
from skitai.exchange import RawHeaders
from skitai.headers import SERVER
from skitai.mounts.conditional import range_applies
from skitai.mounts.encodings import choose_coding
from skitai.mounts.fileanswer import FileAnswer, open_answer
from skitai.mounts.ranges import UnsatisfiableRange, parse_range
from skitai.preference import abspath

from . import jsons
from .errors import ClientGone, HTTPError, fail, parse_status

if TYPE_CHECKING:
    from .was import Was

log = logging.getLogger('atila')

#: Text bodies above so many bytes are compressed for clients that accept it (SPEC RS-11).
COMPRESS_FROM = 2048
_COMPRESSIBLE = (
    b'text/',
    b'application/json',
    b'application/xml',
    b'application/javascript',
    b'image/svg+xml',
)
#: Codings that we make, the best first, with what zlib calls them.
_WINDOWS = {b'gzip': 31, b'deflate': 15}
_NO_BODY = (204, 205, 304)
_CHUNK = 64 * 1024

#: Status and header fields of a streamed answer.
Head = tuple[int, RawHeaders]
_HTML = b'text/html; charset=utf-8'
_JSON = b'application/json'
_XML = b'text/xml; charset=utf-8'
_HTML_FIELD = (b'content-type', _HTML)
_JSON_FIELD = (b'content-type', _JSON)
_LENGTH_FIELDS = [(b'content-length', b'%d' % length) for length in range(COMPRESS_FROM + 1)]


# -- contents of our own -------------------------------------------------------------------------


class API(msgspec.Struct, eq=False):
    """A dict for programs: `was.API ('201 Created', {'id': 1}, name = 'x')` (SPEC RS-13)."""

    data: dict[str, Any]

    @classmethod
    def of(cls, was: Was, args: tuple[Any, ...], values: dict[str, Any]) -> API:
        """What `was.API (...)` makes of its positional arguments and keywords."""
        rest = list(args)
        if rest and isinstance(rest[0], str):
            was.response.set_status(rest.pop(0))
        data = rest.pop(0) if rest else {}
        if rest or not isinstance(data, dict):
            raise TypeError(
                'was.API takes a status line, a dict and keywords, each optional: was.API ({"id": 1})'
            )
        return cls({**data, **values})

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.data[key] = value

    set = __setitem__

    def __delitem__(self, key: str) -> None:
        del self.data[key]

    def __contains__(self, key: object) -> bool:
        return key in self.data

    def get(self, key: str, default: Any = None) -> Any:
        return self.data.get(key, default)

    def encode(self, was: Was) -> tuple[bytes, bytes]:
        """(content type, body) in the form the client accepts."""
        app, accept = was.app, was.exchange.fields.get(b'accept')
        if accept is not None and b'xml' in accept and accepts(accept, b'text/xml'):
            plain = jsons.plain(self.data, app.config.JSON_ENCODER)
            return _XML, _xml(plain)
        return _JSON, app.encode_json(self.data)


class File:
    """A file as content (SPEC RS-18). A relative path is relative to the launch script; missing: 404."""

    def __init__(
        self,
        path_or_file: str | os.PathLike[str] | BinaryIO,
        mimetype: str = 'application/octet-stream',
        filename: str | None = None,
    ) -> None:
        self.source = path_or_file
        self.mimetype = mimetype
        self.filename = filename


class MountedFile:
    """The file that the engine would serve at a URL path (SPEC RS-16); none there: 404."""

    def __init__(self, url_path: str) -> None:
        self.url_path = url_path


class _Marshaller(Marshaller):
    """XML-RPC with larger numbers than `int` has: `i8` is a common extension."""

    def dump_number(self, value: int, write: Callable[[str], Any]) -> None:
        kind = 'int' if -(2**31) <= value < 2**31 else 'i8'
        write(f'<value><{kind}>{value:d}</{kind}></value>\n')

    dispatch: Any = {**Marshaller.dispatch, int: dump_number}


def _xml(value: Any) -> bytes:
    text = _Marshaller('utf-8', True).dumps((value,))
    return f"<?xml version='1.0'?>\n<methodResponse>\n{text}</methodResponse>\n".encode()


# -- sending -------------------------------------------------------------------------------------


def send(was: Was, content: Any) -> None:
    """Answer with what a service returned."""
    kind = type(content)
    if was._response is None:  # nothing but a small body, the common case: in one step
        if kind is str:
            content_type, body = _HTML_FIELD, content.encode()
        elif kind is API:
            accept = was.exchange.fields.get(b'accept')
            if accept is None or b'xml' not in accept:
                content_type, body = _JSON_FIELD, was.app.encode_json(content.data)
            else:
                found, body = content.encode(was)
                content_type = (b'content-type', found)
        else:
            (_SENDERS.get(kind) or _sender_of(content))(was, content)
            return
        length = len(body)
        if length <= COMPRESS_FROM:
            was.exchange.respond(200, [SERVER, content_type, _LENGTH_FIELDS[length]], body)
        else:
            was.response.fields.append(content_type)
            send_bytes(was, body)
        return
    (_SENDERS.get(kind) or _sender_of(content))(was, content)


def _sender_of(content: Any) -> Callable[[Was, Any], None]:
    """How contents of this type are sent: found once for a type."""
    kind = type(content)
    sender = _SENDERS.get(kind)
    if sender is None:
        sender = _SENDERS[kind] = _sender_for(content)
    return sender


def is_quick(content: Any) -> bool:
    """Whether sending `content` never waits for code that may block: it may be sent on the event loop."""
    return type(content) in _QUICK or hasattr(type(content), '__anext__')


def _sender_for(content: Any) -> Callable[[Was, Any], None]:
    for kind, sender in _KINDS:
        if isinstance(content, kind):
            return sender
    if hasattr(type(content), '__respond__'):
        return _send_itself
    if callable(getattr(content, 'read', None)):
        return _send_reader
    if callable(getattr(content, 'more', None)):
        return _send_producer
    if hasattr(type(content), '__next__'):
        return _send_iterator
    if hasattr(type(content), '__anext__'):
        return _send_async
    return _refuse


def register(kind: type, sender: Callable[[Was, Any], None]) -> None:
    """Let contents of another room's type be sent."""
    _SENDERS[kind] = sender


def _send_itself(was: Was, content: Any) -> None:
    content.__respond__(was)


def send_bytes(was: Was, body: bytes, text: bool = False) -> None:
    """Answer with a whole body and what `was.response` says."""
    exchange, response = was.exchange, was._response
    if response is None:
        status, headers = 200, [SERVER]
    else:
        status, headers = response.status_code, [SERVER, *response.commit()]
    if status in _NO_BODY:
        _respond(was, status, [item for item in headers if item[0] != b'content-length'], b'')
        return
    headers = _typed(headers, text)
    if b'range' in exchange.fields and status == 200 and exchange.method == 'GET':
        status, headers, body = _part(was, headers, body)
    elif len(body) > COMPRESS_FROM:
        headers, body = _compressed(was, headers, body)
    headers.append((b'content-length', b'%d' % len(body)))
    _respond(was, status, headers, body)


def _respond(was: Was, status: int, headers: RawHeaders, body: bytes) -> None:
    if was._response is not None:
        was._response.end()
    was.exchange.respond(status, headers, body)


def _typed(headers: RawHeaders, text: bool) -> RawHeaders:
    """The headers with a content type, one for text with its charset, and without a length."""
    found = False
    checked: RawHeaders = []
    for name, value in headers:
        if name == b'content-length':
            continue
        if name == b'content-type':
            found = True
            if text and value.startswith(b'text/') and b'charset' not in value:
                value += b'; charset=utf-8'
        checked.append((name, value))
    if not found:
        checked.append((b'content-type', _HTML if text else b'text/html'))
    return checked


def _compressed(was: Was, headers: RawHeaders, body: bytes) -> tuple[RawHeaders, bytes]:
    """The body compressed, if that is worth it and the client takes it."""
    names = dict(headers)
    if b'content-encoding' in names or not names[b'content-type'].startswith(_COMPRESSIBLE):
        return headers, body
    headers.append((b'vary', b'Accept-Encoding'))
    coding = choose_coding(was.exchange.header(b'accept-encoding'), tuple(_WINDOWS))
    if coding is None:
        return headers, body
    squeeze = zlib.compressobj(1, wbits=_WINDOWS[coding])
    packed = squeeze.compress(body) + squeeze.flush()
    weakened = [(n, b'W/' + v) if n == b'etag' and not v.startswith(b'W/') else (n, v) for n, v in headers]
    return [*weakened, (b'content-encoding', coding)], packed


def _part(was: Was, headers: RawHeaders, body: bytes) -> tuple[int, RawHeaders, bytes]:
    """The part of a body that a Range asks for: (206, ...), (416, ...) or all of it (RFC 9110, 14)."""
    fields = was.exchange.fields
    etag = dict(headers).get(b'etag')
    if not range_applies(was.exchange.header, etag, None):
        return 200, headers, body
    try:
        span = parse_range(fields[b'range'], len(body))
    except UnsatisfiableRange:
        return 416, [*headers, (b'content-range', b'bytes */%d' % len(body))], b''
    if span is None:
        return 200, headers, body
    end = span.start + span.length
    extent = (b'content-range', b'bytes %d-%d/%d' % (span.start, end - 1, len(body)))
    return 206, [*headers, extent], body[span.start : end]


def begin_stream(was: Was, text: bool) -> Head | None:
    """Status and headers of a streamed answer; None where the status forbids a body (then it is sent)."""
    response = was._response
    status = 200 if response is None else response.status_code
    if status in _NO_BODY:
        send_bytes(was, b'')
        return None
    fields = [] if response is None else response.commit()
    length = [item for item in fields if item[0] == b'content-length']
    return status, [*_typed([SERVER, *fields], text), *length]


def _stream(was: Was, chunks: Iterator[bytes], text: bool = True) -> None:
    begun = begin_stream(was, text)
    if begun is None or was.exchange.method == 'HEAD':
        drop(chunks)
        if begun is not None:
            _respond(was, *begun, b'')
        return
    if was._response is not None and was._response.ending is not None:
        chunks = _Ending(chunks, was._response.end)
    was.exchange.stream(*begun, chunks)


def drop(content: Any) -> None:
    """Close a content that is not sent after all."""
    close = getattr(content, 'close', None)
    if close is not None:
        close()


class _Ending:
    """A stream at whose end, however it comes, the request's end is told."""

    def __init__(self, chunks: Iterator[bytes], end: Callable[[], None]) -> None:
        self._next = chunks.__next__
        self._chunks = chunks
        self._end = end
        self._context = copy_context()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._next()

    def close(self) -> None:
        try:
            drop(self._chunks)
        finally:
            self._context.run(self._end)


def as_bytes(part: Any) -> bytes:
    if type(part) is bytes:
        return part
    if isinstance(part, str):
        return part.encode()
    if isinstance(part, bytes | bytearray | memoryview):
        return bytes(part)
    raise TypeError(f'a part of a stream must be str or bytes, not {type(part).__name__}')


class _Parts:
    """A service's iterator as an iterator of bytes, in the request's own context."""

    def __init__(self, parts: Iterable[Any], close: Callable[[], None] | None = None) -> None:
        self._next = iter(parts).__next__
        self._context = copy_context()
        self._close = close or getattr(parts, 'close', None)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return as_bytes(self._context.run(self._next))

    def close(self) -> None:
        if self._close is not None:
            self._context.run(self._close)


def _send_iterator(was: Was, content: Iterator[Any]) -> None:
    """Streams it; what fails before the first part is still an ordinary error (SPEC CO-08)."""
    begun = _with_first_part(content)
    if begun is None:
        send_bytes(was, b'', text=True)
    else:
        _stream(was, begun)


def _with_first_part(content: Iterator[Any]) -> _Begun | None:
    parts = _Parts(content)
    try:
        return _Begun(next(parts), parts)
    except StopIteration:
        return None
    except BaseException:
        parts.close()
        raise


def begun(content: Any) -> Any:
    """The content; of an iterator's the first part is there, so that its failing is still the service's.

    That is an iterator too, of bytes.
    """
    if _sender_of(content) is _send_iterator:
        return _with_first_part(content) or ''
    return content


def is_async_stream(content: Any) -> bool:
    return _sender_of(content) is _send_async


def is_html(was: Was) -> bool:
    """Whether a text sent now would be HTML."""
    found: str = (
        'text/html' if was._response is None else was._response.get_header('content-type', 'text/html')
    )
    return found.partition(';')[0].strip().lower() == 'text/html'


class _Begun:
    """An iterator with its first part put back."""

    def __init__(self, first: bytes, rest: _Parts) -> None:
        self._first: bytes | None = first
        self._rest = rest

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return next(self._rest)

    def close(self) -> None:
        self._rest.close()


def _send_reader(was: Was, content: Any) -> None:
    def parts() -> Iterator[Any]:
        while part := content.read(_CHUNK):  # '' at the end of a text file
            yield part

    _stream(was, _Parts(parts(), getattr(content, 'close', None)), text=False)


def _send_producer(was: Was, content: Any) -> None:
    def parts() -> Iterator[Any]:
        while part := content.more():
            yield part

    _stream(was, _Parts(parts(), getattr(content, 'close', None)))


def _send_async(was: Was, content: AsyncIterator[Any]) -> None:
    was.exchange.run_coroutine(stream_async(was, content, send, fail))


async def stream_async(
    was: Was,
    parts: AsyncIterator[Any],
    finish: Callable[[Was, Any], Any],
    failed: Callable[[Was, BaseException], None],
    replace: Callable[[Was, Any], Any] | None = None,
) -> None:
    """The whole of an asynchronous stream, in one task (its time-outs and task groups belong to it).

    `replace (was, stream)` is asked, on a service thread, when the first part is there: another content is
    sent instead, by `finish`. What fails before is handed to `failed`.
    """
    current.set(was)
    begun = False
    try:
        if was.exchange.answered:
            return  # given up meanwhile
        stream: AsyncIterator[bytes] = await _with_first_part_async(parts)
        if replace is not None:
            other = await _on_service_thread(was, partial(replace, was, stream))
            if other is not None and not is_async_stream(other):
                on_thread(was, partial(_finish, was, other, finish, failed))
                begun = True
                return
            stream = stream if other is None else await _with_first_part_async(other)
        head = begin_stream(was, text=True)
        if head is None:
            return
        if was.exchange.method == 'HEAD':
            _respond(was, *head, b'')
        else:
            begun = True
            try:
                await was.exchange.asgi(partial(_relay, was, head, stream), '')
            finally:
                begun = False
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        begun = True
        on_thread(was, partial(failed, was, error))
    except BaseException as error:
        begun = True
        on_thread(was, partial(failed, was, error))
    finally:
        try:
            close = getattr(parts, 'aclose', None)
            if close is not None:
                await close()
        except Exception:
            log.exception(
                '%s %s: the stream failed while it was closed', was.exchange.method, was.exchange.path
            )
        finally:
            if not begun and was._response is not None and was._response.ending is not None:
                on_thread(was, was._response.end)


def _finish(was: Was, content: Any, finish: Callable[[Was, Any], Any], failed: Callable[..., None]) -> None:
    try:
        finish(was, content)
    except BaseException as error:
        failed(was, error)


class _BegunAsync:
    """An asynchronous iterator of bytes, with its first part there."""

    def __init__(self, first: bytes, rest: AsyncIterator[Any]) -> None:
        self._first: bytes | None = first
        self._rest = rest

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return as_bytes(await anext(self._rest))

    async def aclose(self) -> None:
        close = getattr(self._rest, 'aclose', None)
        if close is not None:
            await close()


async def _with_first_part_async(parts: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    try:
        return _BegunAsync(as_bytes(await anext(parts)), parts)
    except StopAsyncIteration:
        return _BegunAsync(b'', parts)


def is_cancelled() -> bool:
    """Whether this task is being cancelled: its own code may raise CancelledError, too."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def on_thread(was: Was, function: Callable[[], Any], context: Context | None = None) -> None:
    """Run `function` on a service thread, as this request's code: in a copy of the context that is now, or in
    `context`.
    """
    if context is None:
        context = copy_context()
    was.exchange.on_service_thread(partial(context.run, _in_request, was, function))


def _in_request(was: Was, function: Callable[[], Any]) -> None:
    current.set(was)
    function()


async def _on_service_thread(was: Was, function: Callable[[], Any]) -> Any:
    """What `function` returns or raises, called on a service thread."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if not future.done():
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    def run() -> None:
        result, failure = None, None
        try:
            result = function()
        except BaseException as error:  # an Exception is what a future can hold
            failure = error if isinstance(error, Exception) else RuntimeError(repr(error))
        loop.call_soon_threadsafe(settle, result, failure)

    on_thread(was, run)
    return await future


async def _relay(
    was: Was,
    head: Head,
    parts: AsyncIterator[bytes],
    scope: Any,
    receive: Any,
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """An ASGI application that sends `parts`. One that fails leaves it incomplete."""
    await send({'type': 'http.response.start', 'status': head[0], 'headers': head[1]})
    while True:
        try:
            part = await anext(parts)
        except StopAsyncIteration:
            break
        except BaseException as error:
            if is_cancelled():
                raise
            if not isinstance(error, ClientGone):
                log.exception('%s %s: the stream failed half-way', was.exchange.method, was.exchange.path)
            return
        if part:
            await send({'type': 'http.response.body', 'body': part, 'more_body': True})
    await send({'type': 'http.response.body', 'body': b'', 'more_body': False})


def _send_parts(was: Was, content: Iterable[Any]) -> None:
    if not all(isinstance(part, str | bytes | bytearray | memoryview) for part in content):
        _refuse(was, content)
    send_bytes(
        was, b''.join(as_bytes(part) for part in content), text=any(isinstance(p, str) for p in content)
    )


def _send_api(was: Was, content: API) -> None:
    content_type, body = content.encode(was)
    was.response.fields[:] = [item for item in was.response.fields if item[0] != b'content-type']
    was.response.fields.append((b'content-type', content_type))
    send_bytes(was, body)


def _send_file(was: Was, content: File) -> None:
    source = content.source
    response = was._response
    lends = False
    if isinstance(source, str | os.PathLike):
        source = abspath(os.fspath(source))
    elif response is not None and response.ending is not None and not isinstance(source, io.TextIOBase):
        source, lends = cast(BinaryIO, _EndingFile(source, was, response.ending)), True
    try:
        answer = open_answer(source, content_type=content.mimetype, filename=content.filename)
    except FileNotFoundError:
        raise HTTPError('404 Not Found') from None
    except PermissionError:
        raise HTTPError('403 Forbidden') from None
    if lends and response is not None:
        response.ending = None
    _send_answer(was, answer, 200 if response is None else response.status_code)


class _EndingFile:
    """A service's own file: its request ends when it has been sent."""

    def __init__(self, file: BinaryIO, was: Was, end: Callable[[Was], None]) -> None:
        self.seek, self.read, self._close = file.seek, file.read, file.close
        self._end: Callable[[Was], None] | None = end
        self._was, self._context = was, copy_context()

    def close(self) -> None:
        end, self._end = self._end, None
        try:
            self._close()
        finally:
            if end is not None:
                self._context.run(end, self._was)


def _send_mounted(was: Was, content: MountedFile) -> None:
    try:
        answer = was.app.find_file(was.exchange, content.url_path)
    except PermissionError:
        raise HTTPError('403 Forbidden') from None
    if answer is None:
        raise HTTPError('404 Not Found')
    _send_answer(was, answer, 200)


def _send_answer(was: Was, answer: FileAnswer, status: int) -> None:
    fields: RawHeaders = []
    try:
        if was._response is not None:
            fields = was._response.commit()
            was._response.end()
    except BaseException:
        answer.source.close()
        raise
    answer.send(was.exchange, fields, status)


def _refuse(was: Was, content: Any) -> None:
    kind = type(content).__name__
    hint = '; return was.API (...) for data' if isinstance(content, dict | list | int | float | bool) else ''
    raise TypeError(f'{was.endpoint.name} returned {kind}, which is no content{hint}')


def _refuse_none(was: Was, content: None) -> None:
    raise TypeError(
        f"{was.endpoint.name} returned None: a content or a part should not be None; return '' for nothing"
    )


_SENDERS: dict[type, Callable[[Was, Any], None]] = {
    str: lambda was, content: send_bytes(was, str(content).encode(), text=True),
    bytes: send_bytes,
    bytearray: lambda was, content: send_bytes(was, bytes(content)),
    memoryview: lambda was, content: send_bytes(was, bytes(content)),
    _Begun: _stream,
    type(None): _refuse_none,
    API: _send_api,
    File: _send_file,
    MountedFile: _send_mounted,
    list: _send_parts,
    tuple: _send_parts,
}
#: The kinds that are looked for by inheritance: not what `_SENDERS` learns, where `object` may turn up.
_KINDS = tuple(_SENDERS.items())
_QUICK = frozenset(_SENDERS)

__all__ = ['API', 'COMPRESS_FROM', 'File', 'MountedFile', 'parse_status', 'send', 'send_bytes']
