"""A client that calls an ASGI 3 application in this process, without sockets, for unit tests (SPEC TC-03).

The application runs on an event loop in a thread of its own; the calls are synchronous. Everything but the
transport (forms, JSON, cookies, redirects, content codings) is the other clients': an adapter for
`requests` turns the prepared request into one ASGI connection (ASGI 3.0, HTTP specification 2.4). No
lifespan events are sent, no header fields are added to the response.

Threads: `_Call`'s coroutines run on the loop; the caller's thread waits for them, never for longer than
the call's timeout. The application is at most one chunk ahead of the reader.
"""

from __future__ import annotations

import asyncio
import io
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator, MutableMapping
from concurrent.futures import Future, wait
from email.message import Message
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from ..errorpage import reason_of
from .client import Client

ASGIMessage = MutableMapping[str, Any]
ASGIApp = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[ASGIMessage]],
        Callable[[ASGIMessage], Awaitable[None]],
    ],
    Awaitable[None],
]

#: Bytes in one `http.request` message of a body that is a whole or a file.
CHUNK = 65536
#: Seconds for the loop's thread to begin and to end.
LOOP_TIMEOUT = 10.0

Start = tuple[int, list[tuple[bytes, bytes]]]


class InProcessClient(Client):
    """Calls `application` as if it were served at `base_url`; `client` is the peer that it sees.

    If the application raises, or breaks the protocol, the call raises that exception. A call returns when
    the application has ended, what it does after the response included. With `stream = True` it returns when
    the response has begun: the content is what the application sends meanwhile (`iter_content (None)`: one
    piece for each of its messages), reading it raises what the application raises, and `response.close ()`
    is a disconnect. No answer, or no piece of it, within `timeout` seconds: `requests.ReadTimeout`, and the
    application is cancelled. `stop ()` cancels what still runs.
    """

    def __init__(
        self,
        application: ASGIApp,
        base_url: str = 'http://testserver',
        client: tuple[str, int] = ('127.0.0.1', 50000),
    ) -> None:
        thread = _LoopThread()
        super().__init__(base_url.rstrip('/'), _ASGIAdapter(application, thread, client), thread)


class _LoopThread:
    """An event loop in a thread, until `stop ()`, garbage collection or the interpreter's exit."""

    def __init__(self) -> None:
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        thread = threading.Thread(target=_run_loop, args=(ready,), name='in-process client', daemon=True)
        thread.start()
        self._loop, stop = ready.result(LOOP_TIMEOUT)
        self._finalizer = weakref.finalize(self, _stop_loop, self._loop, stop, thread)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        if not self._finalizer.alive:
            coroutine.close()
            raise RuntimeError('this client has been stopped')
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def soon(self, function: Callable[[], object]) -> None:
        """Call `function` on the loop, if there still is one."""
        if self._finalizer.alive:
            self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        self._finalizer()


def _run_loop(ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        ready.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()

    asyncio.run(main())  # cancels what is left


def _stop_loop(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(stop.set)
    if thread is not threading.current_thread():  # garbage is collected on any thread
        thread.join(LOOP_TIMEOUT)


class _Call:
    """One ASGI connection of type http. Used on the loop only, but for `started` and `failure`."""

    def __init__(self, application: ASGIApp, scope: dict[str, Any], body: Iterator[bytes]) -> None:
        self.application = application
        self.scope = scope
        self.body: Iterator[bytes] | None = body
        #: Status and headers; the failure where the application has none.
        self.started: Future[Start] = Future()
        #: Why the response isn't whole. Set before the end of `chunks`.
        self.failure: BaseException | None = None
        self.chunks: asyncio.Queue[bytes | None] = asyncio.Queue()  # bounded by `room`
        self.room = asyncio.Semaphore(1)
        self.over = asyncio.Event()  # the response is complete, or the client has gone
        self.complete = False
        self.gone = False
        self.bodiless = scope['method'] == 'HEAD'
        self.missing: int | None = None  # bytes of the declared length not yet sent

    async def run(self) -> None:
        try:
            await self.application(self.scope, self.receive, self.send)
            if not self.complete:
                raise RuntimeError('the application has ended before its response')
        except BaseException as error:  # SystemExit too: it would end the loop, not the test
            self.failure = self.failure or error
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            if not self.started.done():
                self.started.set_exception(self.failure or RuntimeError('no response'))
            self.chunks.put_nowait(None)

    async def receive(self) -> ASGIMessage:
        if self.body is not None and not self.over.is_set():
            try:
                # a thread: the body may be an iterator that waits, for what the application answers even
                chunk = await asyncio.to_thread(next, self.body, None)
            except Exception as error:
                self.failure = error
                self.disconnect()
                return {'type': 'http.disconnect'}
            if chunk is None:
                self.body = None
            return {'type': 'http.request', 'body': chunk or b'', 'more_body': chunk is not None}
        await self.over.wait()
        return {'type': 'http.disconnect'}

    async def send(self, message: ASGIMessage) -> None:
        if self.gone:
            raise OSError('the client has disconnected')
        expected = 'http.response.body' if self.started.done() else 'http.response.start'
        if self.complete or message['type'] != expected:
            state = 'after the end of the response' if self.complete else f'where {expected!r} was expected'
            raise RuntimeError(f'the application sent {message["type"]!r} {state}')
        if expected == 'http.response.start':
            self._start(message)
        else:
            await self._body(message.get('body', b''), bool(message.get('more_body')))

    def _start(self, message: ASGIMessage) -> None:
        status = message['status']
        headers = [(bytes(name), bytes(value)) for name, value in message.get('headers', ())]
        self.bodiless = self.bodiless or status in (204, 304)
        lengths = [value for name, value in headers if name.lower() == b'content-length']
        if lengths and not self.bodiless:
            self.missing = int(lengths[0])
        self.started.set_result((status, headers))

    async def _body(self, chunk: bytes, more: bool) -> None:
        if self.missing is not None:
            self.missing -= len(chunk)
            if self.missing < 0 or (self.missing and not more):
                raise RuntimeError("the response's length is not its Content-Length")
        if chunk and not self.bodiless:
            await self.room.acquire()
            if self.gone:
                raise OSError('the client has disconnected')
            self.chunks.put_nowait(bytes(chunk))
        if not more:
            self.complete = True
            self.over.set()

    async def next_chunk(self) -> bytes | None:
        """What the application sends next; None when it has ended."""
        chunk = await self.chunks.get()
        self.room.release()
        return chunk

    def disconnect(self) -> None:
        self.gone = True
        self.over.set()
        self.room.release()


class _Broken(Exception):
    """Carries `error` past urllib3, which would take an OSError of the application's for the network's."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Content(io.RawIOBase):
    """The response's body as a file. Closed before its end, it disconnects."""

    def __init__(self, call: _Call, task: Future[Any], thread: _LoopThread, timeout: float | None) -> None:
        self._call = call
        self._task = task
        self._thread = thread
        self._timeout = timeout
        self._rest = b''
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest and not self._ended:
            self._rest = self._next()
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def _next(self) -> bytes:
        future = self._thread.run(self._call.next_chunk())
        _await(future, self._timeout, self._task)
        chunk: bytes | None = future.result()
        if chunk is not None:
            return chunk
        self._ended = True
        if self._call.failure is not None:
            raise _Broken(self._call.failure)
        return b''

    def close(self) -> None:
        if not self.closed and not self._ended:
            self._thread.soon(self._call.disconnect)
        super().close()


def _await(future: Future[Any], timeout: float | None, task: Future[Any]) -> None:
    """Until `future` is done; after `timeout` seconds cancel the application and raise."""
    wait([future], timeout)
    if not future.done():
        future.cancel()
        task.cancel()
        raise _Broken(requests.ReadTimeout(f'the application did not answer within {timeout:g} s'))


class _Original:
    """What `requests` reads cookies from: the place of `http.client.HTTPResponse`."""

    def __init__(self, headers: list[tuple[str, str]]) -> None:
        self.msg = Message()
        for name, value in headers:
            self.msg[name] = value

    def isclosed(self) -> bool:
        return False

    def close(self) -> None:
        pass


class _Raw(urllib3.HTTPResponse):
    def stream(self, amt: int | None = CHUNK, decode_content: bool | None = None) -> Iterator[bytes]:  # type: ignore[override]
        """Decoded pieces as they come, instead of waiting until there are `amt` bytes."""
        try:
            while data := self.read1(amt, decode_content):
                yield data
        except _Broken as broken:
            raise broken.error from None


class _ASGIAdapter(HTTPAdapter):
    def __init__(self, application: ASGIApp, thread: _LoopThread, client: tuple[str, int]) -> None:
        super().__init__()
        self._application = application
        self._thread = thread
        self._client = client

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        seconds = timeout[1] if isinstance(timeout, tuple) else timeout
        call = _Call(self._application, _scope(request, self._client), _body_chunks(request.body))
        task = self._thread.run(call.run())
        try:
            _await(call.started, seconds, task)
        except _Broken as broken:
            raise broken.error from None
        status, raw_headers = call.started.result()
        headers = [(name.decode('latin-1'), value.decode('latin-1')) for name, value in raw_headers]
        raw = _Raw(
            io.BufferedReader(_Content(call, task, self._thread, seconds), CHUNK),
            headers=urllib3.HTTPHeaderDict(headers),
            status=status,
            reason=reason_of(status),
            version=11,
            preload_content=False,
            original_response=_Original(headers),  # type: ignore[arg-type]  # the part that is used
        )
        raw.length_remaining = (
            None  # `_Call` compares the lengths, and what follows the last byte matters too
        )
        return self.build_response(request, raw)


def _scope(request: requests.PreparedRequest, client: tuple[str, int]) -> dict[str, Any]:
    """The connection scope of `request` (ASGI, HTTP connection scope)."""
    url = urlsplit(str(request.url))
    raw_path, _, query = request.path_url.partition('?')
    headers = [(_latin1(name).lower(), _latin1(value)) for name, value in request.headers.items()]
    if 'Host' not in request.headers:
        headers.insert(0, (b'host', url.netloc.rpartition('@')[2].encode('latin-1')))
    return {
        'type': 'http',
        'asgi': {'version': '3.0', 'spec_version': '2.4'},
        'http_version': '1.1',
        'method': request.method,
        'scheme': url.scheme,
        'path': unquote(raw_path),
        'raw_path': raw_path.encode('latin-1'),
        'query_string': query.encode('latin-1'),
        'root_path': '',
        'headers': headers,
        'client': client,
        'server': (url.hostname, url.port or (443 if url.scheme == 'https' else 80)),
    }


def _latin1(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode('latin-1')


def _body_chunks(body: Any) -> Iterator[bytes]:
    """A body that `requests` has prepared: nothing, bytes, text, a file, an iterable of them."""
    if body is None:
        return
    if isinstance(body, str):
        body = body.encode()
    if isinstance(body, (bytes, bytearray)):
        body = io.BytesIO(body)
    chunks = iter(lambda: body.read(CHUNK), body.read(0)) if hasattr(body, 'read') else iter(body)
    for chunk in chunks:
        yield chunk.encode() if isinstance(chunk, str) else bytes(chunk)
