"""The engine: a request's service runs on the very thread that brings the request, with no hop.

Belongs here: the walk of a request from the server's thread to its handler and back. Doesn't: what the
server is (`granian`), who may run when (`dispatch`).

Threads: the server's threads run `_dispatch`, service threads' work and all completions of reads and
writes; the event loop (the worker's main thread) runs coroutines and the once-a-second watch.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import socket
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context, copy_context
from functools import partial
from time import monotonic
from typing import Any

from ..config import Settings
from ..errorpage import error_answer
from ..exchange import BodyHandler, Exchange, RawHeaders
from ..mounts.table import MountTable
from .asgi import cancelled
from .dispatch import Dispatcher
from .granian import DirectServer, Wake, break_off, stir
from .patience import soon

log = logging.getLogger('skitai.engine')

#: A stream that never waits gives its thread to waiting requests after so many seconds.
STREAM_SLICE = 0.02
#: After an answer was sent before its request's body was read, what comes of it is thrown away for so long,
#: to let the client finish sending and read the answer (closing at once could reset the connection).
LINGER_BYTES = 1 << 30
LINGER_SECONDS = 5.0
#: A body of a declared length up to this is read to its end, and its connection kept, though nobody wants it.
SHORT_BODY = 1 << 16

#: The steps of a stop (see `DirectEngine.stop`), in seconds.
CLOSING_PAUSE = 0.15
CLOSING_PAUSE_DEVEL = 0.08

_NOT_IN_FLIGHT = object()
#: Guards a request's `_on_gone` and `_on_given_up`: for a few instructions, so one lock does for all.
_turn = threading.Lock()
_NO_BODY_METHODS = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE'})


class DirectExchange(Exchange):
    #: `_given_up`: the request was given up. `unread`: there is a body that nobody has read to its end. Set
    #: only when there is one: `_task` for a coroutine, `_on_gone` when the client is watched: who is called
    #: when it goes, `_gone` when it went; `_exhausted` when a body was asked for that isn't there.
    __slots__ = (
        '__weakref__',
        '_exhausted',
        '_given_up',
        '_on_given_up',
        '_on_gone',
        '_task',
        'engine',
        'proto',
        'unread',
    )

    def __init__(
        self, scope: dict[str, Any], fields: dict[bytes, bytes], proto: Any, engine: DirectEngine, now: float
    ) -> None:
        self.scope = scope
        self.proto = proto
        self.engine = engine
        self.method = scope['method']
        self.path = self.local_path = scope['path'] or '/'
        self.fields = fields
        self.body = None
        self.body_received = 0
        self.unread = False
        self._given_up = False
        self._on_given_up: tuple[Callable[[], object], ...] = ()
        self.user_name = None
        self.transaction = None
        self.started = now

    # -- answering -------------------------------------------------------------------------------

    @property
    def answered(self) -> bool:
        return self not in self.engine.in_flight

    def respond(self, status: int, headers: RawHeaders, body: bytes, *, service_runs: bool = False) -> None:
        """`service_runs`: the engine answers in a service's stead, which may still read the body."""
        engine = self.engine
        if engine.in_flight.pop(self, _NOT_IN_FLIGHT) is _NOT_IN_FLIGHT:
            if not service_runs:
                self._release_body()
            return
        if engine.closing or (self.unread and not self._is_short()):
            headers = self._closing(headers)
        if body and self.method == 'HEAD':
            body = b''  # over HTTP/2 Granian would send it
        send = self.proto.send
        send({'type': 'http.response.start', 'status': status, 'headers': headers})
        send({'type': 'http.response.body', 'body': body, 'more_body': False})
        self.status = status
        self.sent = len(body)
        if service_runs:
            self._given_up = True
        elif self.body is not None:
            self._release_body()
        if self.unread:
            engine.drain(self)
        if engine.log is not None:
            self.finished = monotonic()
            engine.log(self)

    def _is_short(self) -> bool:
        """Whether the body that nobody reads is so short that the connection can be used again."""
        length = self.content_length
        return length is not None and length <= SHORT_BODY

    def stream(
        self, status: int, headers: RawHeaders, chunks: Iterator[bytes], *, quick: bool = False
    ) -> None:
        _Stream(self, status, headers, chunks, quick).start()

    def begin(self, status: int, headers: RawHeaders) -> bool:
        """Start an answer whose body follows; False when the request has been answered."""
        if self.engine.in_flight.pop(self, _NOT_IN_FLIGHT) is _NOT_IN_FLIGHT:
            return False
        self.engine.streaming[self] = math.inf
        self.status = status
        self.sent = 0
        if self.engine.closing or (self.unread and not self._is_short()):
            headers = self._closing(headers)
        # What `send` returns when there is nothing to wait for has a type that Granian does not export.
        self.engine.ready_type = type(
            self.proto.send({'type': 'http.response.start', 'status': status, 'headers': headers})
        )
        return True

    def _closing(self, headers: RawHeaders) -> RawHeaders:
        """The headers, with word that this is the connection's last answer (HTTP/2 has its own way)."""
        if self.scope['http_version'] == '2' or (b'connection', b'close') in headers:
            return headers
        return [*headers, (b'connection', b'close')]

    def write(self, chunk: bytes) -> Any:
        """Send a part; the awaitable is ready when there is room for the next."""
        self.sent += len(chunk)
        return self.proto.send({'type': 'http.response.body', 'body': chunk, 'more_body': True})

    def end(self) -> None:
        self.proto.send({'type': 'http.response.body', 'body': b'', 'more_body': False})
        self._close_stream()
        if self.unread:
            self.engine.drain(self)

    def abort(self) -> None:
        """Break the connection off: the client sees an incomplete answer, never a shorter one.

        Granian offers no way to end a chunked body in an error, so this shuts down the socket of the
        peer's connection. Over HTTP/2 the connection's other streams end with it.
        """
        if not self._has_reset():
            break_off(self.client)
        self._close_stream()
        self._abandon()
        task = getattr(self, '_task', None)
        if task is not None and not task.done():
            self.engine.loop.call_soon_threadsafe(task.cancel)

    def _has_reset(self) -> bool:
        """Whether the client itself has ended this stream of HTTP/2: its others go on."""
        return getattr(self, '_on_gone', None) is _gone and self.scope['http_version'] == '2'

    def _close_stream(self) -> None:
        if self.engine.streaming.pop(self, None) is not None:
            self.finished = monotonic()
            self._release_body()
            if self.engine.log is not None:
                self.engine.log(self)

    def _release_body(self) -> None:
        if self.body is not None:
            self.body.close()
            self.body = None

    def _release_unused_body(self) -> None:
        """The handler has ended: if its request had been given up before, it was the last to use the body."""
        if self._given_up:
            self._release_body()

    # -- waiting ---------------------------------------------------------------------------------

    def when_gone(self, callback: Callable[[], object]) -> None:
        """Call `callback` once when the client goes (or, harmlessly, when the answer is complete).

        Only after the request's body was read to its end, or for a request without one. There is one watch
        for a request (Granian answers a second `receive` at once, with nothing in it), so a later callback
        takes an earlier one's place.
        """
        with _turn:
            before = getattr(self, '_on_gone', None)
            if before is not _gone:
                self._on_gone = callback
        if before is None:
            self._watch_client()
        elif before is _gone:
            callback()

    def notice_client(self) -> None:
        if self.handler is None or self.handler.body_limit is None:
            return  # somebody may read the body
        with _turn:
            if hasattr(self, '_on_gone'):
                return
            coroutine = getattr(self, '_task', None)
            self._on_gone = self._service_gone if coroutine is None else self._client_gone
        self._watch_client()

    def rouse(self) -> bool:
        """Have the server look whether to make a thread; False if this request cannot be used for it."""
        handler = getattr(self, 'handler', None)  # not there before the request's way is found
        if handler is None or handler.body_limit is None:
            return False  # somebody may read the body
        if self.body is not None and self.content_length != 0:  # so it is in `reading` until it was read
            if any(reader.exchange is self for reader in list(self.engine.reading)):
                return False
        elif not hasattr(self, '_exhausted'):
            if hasattr(self, '_on_gone') or (self.body is None and self._announces_body()):
                return False
            self.notice_client()  # which begins with a look, too
            return True
        stir(self.proto)
        return True

    def _announces_body(self) -> bool:
        """As `DirectEngine._dispatch` has it, written out there."""
        return (
            b'content-length' in self.fields
            or b'transfer-encoding' in self.fields
            or (self.scope['http_version'] == '2' and self.method not in _NO_BODY_METHODS)
        )

    def notice_client_soon(self) -> None:
        soon(_notice_waiting, self)

    def _service_gone(self) -> None:
        """The client has gone while a service thread works for it."""
        if self.engine.forget(self, service_runs=True):
            self._abandon()

    def when_given_up(self, callback: Callable[[], object]) -> None:
        with _turn:
            self._on_given_up += (callback,)
        if self._given_up:
            callback()

    def _abandon(self) -> None:
        """Nobody waits for what is being made: tell who makes it."""
        self._given_up = True
        for callback in self._on_given_up:
            callback()

    def give_up(self, seconds: float) -> None:
        self.engine.give_up(self, seconds)

    def _watch_client(self) -> None:
        awaitable = self.proto.receive()

        def look() -> None:
            result = getattr(awaitable, 'result', None)
            if result is None:
                return  # somebody else receives: there is nothing to learn
            message = result()
            if message['type'] == 'http.disconnect':
                with _turn:
                    callback, self._on_gone = self._on_gone, _gone
                callback()
            elif not message.get('more_body'):  # that was the empty body of a request that has none
                self._exhausted = True
                self._watch_client()

        if Wake(look).wait(awaitable):
            look()

    def receive(self, handler: BodyHandler) -> None:
        def ready(exchange: DirectExchange) -> None:
            exchange.handler = handler  # not before: see `notice_client`
            exchange.engine._ready(exchange)

        self.unread = False
        self.engine._receive(self, handler, ready)

    def on_service_thread(self, function: Callable[[], None]) -> None:
        self.engine.dispatcher.submit(_call, function)

    def run_coroutine(self, coroutine: Coroutine[Any, Any, None]) -> None:
        body_is_read = self.handler is not None and self.handler.body_limit is not None
        self.engine.loop.call_soon_threadsafe(self._start_task, coroutine, body_is_read, copy_context())

    def _start_task(self, coroutine: Coroutine[Any, Any, None], watch: bool, context: Context) -> None:
        loop = self.engine.loop
        task = loop.create_task(self._guarded(coroutine), context=context)
        self._task: asyncio.Task[None] | None = task
        self.engine.tasks.add(task)
        if watch:  # else the coroutine receives the body itself
            soon(_notice_waiting, self)

    async def _guarded(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await coroutine
        except BaseException as error:  # not even SystemExit may end the event loop
            if is_cancelled(error):  # the client has gone, or time is up
                self.engine.forget(self)
                self._release_unused_body()
                raise
            log.exception('%s %s: a handler failed', self.method, self.path)
            self.engine.refuse(self, 500)
        finally:
            task, self._task = self._task, None  # its context has the request, which has us
            if task is not None:
                self.engine.tasks.discard(task)

    def _client_gone(self) -> None:
        try:
            self.engine.loop.call_soon_threadsafe(self._cancel_if_unanswered)
        except RuntimeError:
            pass  # the loop has ended: so have its tasks

    def _cancel_if_unanswered(self) -> None:
        task = self._task
        if task is None:  # what follows it, on a service thread
            self._service_gone()
        elif self in self.engine.in_flight or self in self.engine.streaming:
            task.cancel()

    async def _completed(self, awaitable: Any) -> None:
        """Wait on the event loop for one of Granian's awaitables."""
        if type(awaitable) is self.engine.ready_type or not hasattr(awaitable, 'done') or awaitable.done():
            return
        loop = self.engine.loop
        future = loop.create_future()

        def wake() -> None:
            loop.call_soon_threadsafe(_resolve, future)

        if not Wake(wake).wait(awaitable):
            await future

    async def _taken(self, awaitable: Any) -> None:
        """Wait on the event loop until the client takes what was written."""
        streaming = self.engine.streaming
        streaming[self] = monotonic()
        await self._completed(awaitable)
        if self in streaming:
            streaming[self] = math.inf
        await asyncio.sleep(0)  # a fast reader leaves the loop to others between two parts

    async def asgi(self, application: Callable[..., Any], root_path: str) -> None:
        try:
            await application(self.scope | {'root_path': root_path}, self.receive_message, self._asgi_send)
        finally:
            if self in self.engine.streaming:
                self.abort()
            else:
                self.engine.forget(self)

    async def receive_message(self) -> dict[str, Any]:
        awaitable = self.proto.receive()
        await self._completed(awaitable)
        message: dict[str, Any] = awaitable.result()
        self.body_received += len(message.get('body', b''))
        if not message.get('more_body'):
            self.unread = False
        if self in self.engine.in_flight:  # while the body arrives, the time to answer begins anew
            self.engine.in_flight[self] = monotonic()
        return message

    async def _asgi_send(self, message: dict[str, Any]) -> None:
        if message['type'] == 'http.response.start':
            if not self.begin(message['status'], message['headers']):
                raise AnswerGone('the request has been answered already')
        elif self in self.engine.streaming:
            if message['body'] or (message['more_body'] and not self.sent):  # an empty one sends the head
                await self._taken(self.write(message['body']))
                await asyncio.sleep(0)  # a fast reader leaves the loop to others between two parts
            if not message['more_body']:
                self.end()
        else:
            raise AnswerGone('the request has been answered, or given up')


class AnswerGone(Exception):
    """A coroutine sends, but its request was answered in its stead, or its stream broken off."""


def is_cancelled(error: BaseException) -> bool:
    """Whether `error` is this task's cancellation, and not one that its own code has raised or passed on."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _notice_waiting(exchange: DirectExchange) -> None:
    if exchange in exchange.engine.in_flight or exchange in exchange.engine.streaming:
        exchange.notice_client()


def _gone() -> None:
    """What is called when a client goes that has gone."""


def _call(function: Callable[[], None]) -> None:
    function()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _Stream:
    """Sends an iterator's chunks at the client's pace: each step on whatever thread is there."""

    __slots__ = ('chunks', 'complete', 'exchange', 'gone', 'headers', 'last_write', 'quick', 'status')

    def __init__(
        self, exchange: DirectExchange, status: int, headers: RawHeaders, chunks: Iterator[bytes], quick: bool
    ) -> None:
        self.exchange = exchange
        self.status = status
        self.headers = headers
        self.chunks = chunks
        self.quick = quick
        self.gone = self.complete = False

    def start(self) -> None:
        if not self.exchange.begin(self.status, self.headers):
            self._close()
            return
        if self.exchange.method == 'HEAD':
            self._close()
            self.exchange.end()
            return
        try:
            self.exchange.when_gone(self._client_gone)
        except BaseException:
            self._close()
            self.exchange.abort()
            raise
        self.step()

    def _client_gone(self) -> None:
        self.gone = True  # seen by the next step; `send` completes at once when the client is gone
        if not self.complete:
            self.exchange._abandon()  # this step may wait for something

    def resume(self) -> None:
        streaming = self.exchange.engine.streaming
        if self.exchange in streaming:
            streaming[self.exchange] = math.inf
        if self.quick:
            self.step()
        else:
            self.exchange.engine.dispatcher.resume(_call, self.step)

    def step(self) -> None:
        """Send until the client is slower than we are, the stream ends, or others wait for the thread."""
        exchange, chunks = self.exchange, self.chunks
        engine = exchange.engine
        dispatcher, ready, streaming = engine.dispatcher, engine.ready_type, engine.streaming
        began = monotonic()
        while True:
            if self.gone or exchange not in streaming:
                self._close()
                exchange._close_stream()
                return
            try:
                chunk = next(chunks)
            except StopIteration:
                self._close()
                self.complete = True
                exchange.end()
                return
            except BaseException:
                if not self.gone:  # else it was woken for that
                    log.exception('%s %s: the stream failed half-way', exchange.method, exchange.path)
                self._close()
                exchange.abort()
                return
            if not chunk:
                continue
            streaming[exchange] = monotonic()
            awaitable = exchange.write(chunk)
            if type(awaitable) is not ready and not Wake(self.resume).wait(awaitable):
                return
            streaming[exchange] = math.inf
            if not self.quick and dispatcher.waiting and monotonic() - began > STREAM_SLICE:
                dispatcher.requeue(_call, self.step)
                return

    def _close(self) -> None:
        close = getattr(self.chunks, 'close', None)
        if close is not None:
            try:
                close()
            except BaseException:
                log.exception('%s %s: closing the stream failed', self.exchange.method, self.exchange.path)


class _BodyReader:
    """Receives a body without a thread, then hands the exchange on."""

    __slots__ = ('active', 'exchange', 'keep', 'limit', 'then')

    def __init__(
        self,
        exchange: DirectExchange,
        limit: int,
        then: Callable[[DirectExchange], object],
        keep: bool = True,
    ) -> None:
        self.exchange = exchange
        self.limit = limit
        self.then = then
        self.keep = keep
        self.active = monotonic()

    def pump(self) -> None:
        exchange = self.exchange
        while True:
            awaitable = exchange.proto.receive()
            if not Wake(partial(self._go_on, awaitable)).wait(awaitable):
                return
            if not self._take(awaitable.result()):
                return

    def _go_on(self, awaitable: Any) -> None:
        if self._take(awaitable.result()):
            self.pump()

    def _take(self, message: dict[str, Any]) -> bool:
        """Add a message; True when there is more to come."""
        exchange = self.exchange
        engine = exchange.engine
        if message['type'] == 'http.disconnect':  # the client is gone, or its chunks are malformed
            engine.reading.pop(self, None)
            if self.keep:
                headers, body = error_answer(exchange, 400, 'the body is malformed or incomplete')
                exchange.respond(400, [*headers, (b'connection', b'close')], body)
            return False
        chunk = message.get('body', b'')
        self.limit -= len(chunk)
        exchange.body_received += len(chunk)
        if self.limit < 0:
            engine.reading.pop(self, None)
            if self.keep:
                engine.refuse(exchange, 413, 'the body is larger than this service accepts', close=True)
            else:
                break_off(exchange.client)
            return False
        if self.keep:
            if (receiver := exchange.body) is not None:  # else the request was given up meanwhile
                try:
                    receiver.write(chunk)
                except Exception as error:
                    log.exception('%s %s: the body could not be stored', exchange.method, exchange.path)
                    engine.reading.pop(self, None)
                    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
                    engine.refuse(exchange, 503 if full else 500, close=True)
                    return False
            self.active = monotonic()
        if message.get('more_body'):
            return True
        if engine.reading.pop(self, _NOT_IN_FLIGHT) is _NOT_IN_FLIGHT:
            return False  # given up meanwhile
        self.then(exchange)
        return False


def _is_sound(scope: dict[str, Any]) -> bool:
    """Whether the target is a path, and the Host there where it must be (RFC 9112, 3.2)."""
    # Granian puts the target's host (or '') where there is no such field.
    hosts = [value for name, value in scope['headers'] if name == b'host']
    return bool(scope['path']) and len(hosts) <= 1 and (scope['http_version'] != '1.1' or any(hosts))


class DirectEngine:
    """Serves a mount table in this worker process until `stop ()` (or the loop's end).

    Shared: `in_flight` (requests without an answer yet, with the time since when one is waited for),
    `streaming` (answers under way, with the time since when the client is waited for) and `reading` (bodies
    under way) are dicts that every thread changes by single operations; whoever pops a request from
    `in_flight` is the one to answer it.
    """

    def __init__(
        self,
        table: MountTable,
        settings: Settings,
        loop: AbstractEventLoop,
        access_log: Callable[[Exchange], None] | None,
    ) -> None:
        self.table = table
        self.settings = settings
        self.loop = loop
        self.log = access_log
        self.dispatcher = Dispatcher(settings.threads, settings.queue)
        self.in_flight: dict[DirectExchange, float] = {}
        self.streaming: dict[DirectExchange, float] = {}
        self.reading: dict[_BodyReader, None] = {}
        self.tasks: set[asyncio.Task[None]] = set()  # the loop's thread only
        self.ready_type: type = type(None)
        #: Set when the worker is about to stop: each answer is then its connection's last.
        self.closing = False
        self._server = DirectServer(settings, loop, self._rouse)

    # -- a request's way in ----------------------------------------------------------------------

    def _dispatch(self, watcher: Any, now: float) -> None:
        """Called by Granian on one of its threads, once for each request."""
        try:
            scope = watcher.scope
            if scope['type'] != 'http':
                self._websocket(watcher)
                return
            fields = dict(scope['headers'])
            exchange = DirectExchange(scope, fields, watcher.proto, self, now)
            self.in_flight[exchange] = now
            try:
                handler = self.table.find(exchange)
            except BaseException:
                log.exception('%s %s: no handler could be found', exchange.method, exchange.path)
                self.refuse(exchange, 500)
                return
            if (
                not fields.get(b'host') or len(fields) != len(scope['headers']) or not scope['path']
            ) and not _is_sound(scope):
                self.refuse(exchange, 400, 'the request needs one Host and a path', close=True)
                return
            if (
                b'content-length' in fields
                or b'transfer-encoding' in fields
                or (scope['http_version'] == '2' and exchange.method not in _NO_BODY_METHODS)
            ):
                self._receive(exchange, handler)
            elif handler.on_loop:
                self._serve(exchange)
            elif not self.dispatcher.admit(self._serve, exchange):
                self._overloaded(exchange)
        except BaseException:
            log.exception('a request could not be dispatched')

    def _receive(
        self, exchange: DirectExchange, handler: Any, ready: Callable[[DirectExchange], None] | None = None
    ) -> None:
        ready = ready or self._ready
        limit = handler.body_limit
        if limit is None:
            exchange.unread = exchange.content_length != 0
            ready(exchange)
            return
        length = exchange.content_length
        if length is not None and length > limit:
            self.refuse(exchange, 413, f'the body may have {limit} bytes at most', close=True)
            return
        if length == 0:
            exchange.body = handler.make_body(exchange)
            ready(exchange)
            return
        reader = _BodyReader(exchange, limit, ready)
        self.reading[reader] = None  # before there is a `body`: see `rouse`
        exchange.body = handler.make_body(exchange)
        reader.pump()

    def _ready(self, exchange: DirectExchange) -> None:
        """The request is complete: run its handler."""
        handler = exchange.handler
        assert handler is not None
        if self.in_flight.pop(exchange, _NOT_IN_FLIGHT) is _NOT_IN_FLIGHT:
            exchange._release_body()
            return  # given up while its body arrived
        self.in_flight[exchange] = monotonic()
        if handler.on_loop:
            self._serve(exchange)
        elif not self.dispatcher.admit(self._serve, exchange):
            self._overloaded(exchange)

    def _serve(self, exchange: DirectExchange) -> None:
        if exchange not in self.in_flight:
            exchange._release_body()
            return  # given up while it waited for a thread
        try:
            Context().run(exchange.handler, exchange)  # type: ignore[arg-type]  # set by MountTable.find
        except BaseException:
            log.exception('%s %s: a handler failed', exchange.method, exchange.path)
            self.refuse(exchange, 500)
        if exchange.body is not None:
            exchange._release_unused_body()

    def _websocket(self, watcher: Any) -> None:
        watcher.proto.send({'type': 'websocket.close'})

    # -- answers of the engine's own -------------------------------------------------------------

    def refuse(self, exchange: DirectExchange, status: int, detail: str = '', close: bool = False) -> None:
        """Answer with an error page, if the request has no answer yet. `close`: its body is not read on."""
        headers, body = error_answer(exchange, status, detail)
        if close:
            headers.append((b'connection', b'close'))
        if exchange in self.streaming:
            exchange.abort()
            return
        exchange.unread = exchange.unread or close
        exchange.respond(status, headers, body)

    def drain(self, exchange: DirectExchange) -> None:
        """Throw away what comes of a body that nobody wants, so that the client can read its answer.

        A short one whole: the connection goes on. Of others so much, then the connection is broken off.
        Over HTTP/2 the server ends the stream by itself.
        """
        exchange.unread = False
        if exchange.scope['http_version'] == '2':
            return
        reader = _BodyReader(exchange, LINGER_BYTES, self.forget, keep=False)
        self.reading[reader] = None
        if b'expect' in exchange.fields and not exchange.body_received:
            reader.active -= LINGER_SECONDS - 0.5  # it waits for our word to send its body: close soon
        else:
            reader.pump()

    def _overloaded(self, exchange: DirectExchange) -> None:
        exchange.respond(503, *self._busy(exchange, 'the server is busy'))

    def _busy(self, exchange: DirectExchange, detail: str) -> tuple[RawHeaders, bytes]:
        headers, body = error_answer(exchange, 503, detail)
        headers.append((b'retry-after', b'%d' % self.settings.retry_after))
        return headers, body

    def forget(self, exchange: DirectExchange, service_runs: bool = False) -> bool:
        """The client went before an answer: nothing to send, nothing to log but the fact.

        `service_runs`: a service may still read the body. False if there is an answer.
        """
        if self.in_flight.pop(exchange, _NOT_IN_FLIGHT) is _NOT_IN_FLIGHT:
            return False
        exchange.status, exchange.sent, exchange.finished = 499, 0, monotonic()
        if service_runs:
            exchange._given_up = True
        else:
            exchange._release_body()
        if self.log is not None:
            self.log(exchange)
        return True

    def give_up(self, exchange: DirectExchange, seconds: float) -> None:
        """Answer 503 in a service's stead, if there is no answer yet, and end what can be ended of it."""
        if exchange not in self.in_flight:
            return
        log.error('%s %s: no answer within %g s', exchange.method, exchange.path, seconds)
        headers, body = self._busy(exchange, 'the service took too long')
        exchange.respond(503, headers, body, service_runs=True)
        if not exchange._given_up:
            return  # the service has just answered
        exchange._abandon()
        task = getattr(exchange, '_task', None)
        if task is not None:
            self.loop.call_soon_threadsafe(task.cancel)

    def _watch(self) -> None:
        """Once a second on the loop: give up what took too long."""
        try:
            self._give_up_late()
        except Exception:
            log.exception('the watch for time-outs failed')
        finally:
            self.loop.call_later(1.0, self._watch)

    def _rouse(self) -> None:
        """Called by the watch over the threads: requests may wait for one more."""
        for exchange in [*self.in_flight, *self.streaming]:
            if exchange.rouse():
                return

    def _give_up_late(self) -> None:
        now = monotonic()
        late = now - self.settings.request_timeout
        for reader in list(self.reading):
            patience = self.settings.network_timeout if reader.keep else LINGER_SECONDS
            if now - reader.active > patience:
                if self.reading.pop(reader, _NOT_IN_FLIGHT) is _NOT_IN_FLIGHT:
                    continue  # complete meanwhile
                if not reader.keep:
                    break_off(reader.exchange.client)
                    continue
                self.refuse(reader.exchange, 408, 'the body did not arrive in time', close=True)
        reading = {reader.exchange for reader in list(self.reading)}
        for exchange, since in list(self.in_flight.items()):
            if since < late and exchange not in reading:
                self.give_up(exchange, self.settings.request_timeout)
        stalled = now - max(self.settings.network_timeout, 60)
        for exchange, progress in list(self.streaming.items()):
            if progress < stalled:
                log.warning('%s %s: the client takes no data', exchange.method, exchange.path)
                exchange.abort()

    # -- life ------------------------------------------------------------------------------------

    def start(self, listener: socket.socket) -> None:
        """Listen and accept on `listener`, which is bound; it is closed when accepting ends."""
        self._listener = listener
        self._server.start(listener, self._dispatch)
        self.loop.call_later(1.0, self._watch)

    async def _end_draining(self) -> None:
        """Break off the connections of bodies that nobody wants.

        They would be waited for, and what is still being received when the server's runtime ends makes it
        abort the process (Granian 2.8 drops a Python object there without the interpreter's lock).
        """
        for reader in list(self.reading):
            if not reader.keep and self.reading.pop(reader, _NOT_IN_FLIGHT) is not _NOT_IN_FLIGHT:
                break_off(reader.exchange.client)
        await asyncio.sleep(0.01)  # the server notices

    async def stop(self) -> bool:
        """Accept no more, let requests in flight finish; True when all did within the drain time.

        In three steps, so that no request is lost that a client could send: connections in use are told
        to close while those that wait to be accepted still are; then none is accepted, and those just
        accepted get time to send their request; then idle ones are closed and the rest is waited for.
        """
        self.closing = True
        pause = CLOSING_PAUSE_DEVEL if self.settings.devel else CLOSING_PAUSE
        await asyncio.sleep(pause)
        self._server.pause()
        self._listener.close()
        await asyncio.sleep(pause)
        await self._end_draining()
        drained = await self._server.stop(self.settings.drain_timeout)
        await cancelled(self.tasks)
        self.dispatcher.close()
        return drained
