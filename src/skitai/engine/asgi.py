"""A mount table as an ASGI 3 application: the engine for any ASGI server, and the fallback for ours.

    app = AsgiEngine (table, Settings ())        # uvicorn module:app

Same contract as `engine.granian`, with public names only. Rules. Everything of a request happens on the
event loop but its service, which runs on a thread of the `Dispatcher`, at most `threads` at a time. The
request's coroutine (`_Answering`) reads the body, brings the exchange to its handler, waits for what the handler
answers with, and sends that: it is the only one that talks to the server, except that an ASGI mount's
task does so itself while the coroutine waits for its end.

An answer that fails half-way leaves the application as an exception: the server then aborts the
connection. What is given up (client gone, time over) is cancelled and closed; a service that runs on is
let alone, its answer is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, MutableMapping
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import Context
from time import monotonic
from typing import Any
from urllib.parse import quote

from ..body import Body
from ..config import Settings
from ..errorpage import error_answer
from ..exchange import Exchange, Handler, RawHeaders
from ..mounts.table import MountTable
from .dispatch import Dispatcher

log = logging.getLogger('skitai.engine')

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: A whole answer is handed to the server in parts, each of which must be taken in time.
PART = 256 * 1024
#: What is thrown away of a body that is refused, so that the client can finish and read the answer.
LINGER_BYTES = 1 << 20
LINGER_SECONDS = 5.0
_MISSING: Any = object()
_NO_BODY_METHODS = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE'})


class AsgiEngine:
    """The application. One instance may serve several event loops, one after the other.

    `access_log` gets each finished exchange; `lifespan ()` is entered at the server's start and left at its
    shutdown, when the requests' tasks have ended or `settings.drain_timeout` is over.
    `in_flight` holds requests without an answer; every thread changes it by single operations, whoever
    pops a request is the one to answer it.
    """

    def __init__(
        self,
        table: MountTable,
        settings: Settings,
        access_log: Callable[[Exchange], None] | None = None,
        lifespan: Callable[[], AbstractAsyncContextManager[Any]] = nullcontext,
    ) -> None:
        self.table = table
        self.settings = settings
        self.log = access_log
        self.lifespan = lifespan
        self.dispatcher = Dispatcher(settings.threads, settings.queue)
        self.in_flight: dict[AsgiExchange, None] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        kind = scope['type']
        if kind == 'http':
            await AsgiExchange(self, scope, receive, send).answer()
        elif kind == 'lifespan':
            await self._live(receive, send)
        elif kind == 'websocket':
            await receive()
            await send({'type': 'websocket.close', 'code': 1000})
        else:
            raise RuntimeError(f'unknown ASGI scope {kind!r}')

    async def _live(self, receive: Receive, send: Send) -> None:
        """The lifespan protocol: two questions, two answers."""
        await receive()
        context = self.lifespan()
        try:
            await context.__aenter__()
        except Exception as error:
            log.exception('the application could not start')
            await send({'type': 'lifespan.startup.failed', 'message': str(error)})
            return
        await send({'type': 'lifespan.startup.complete'})
        await receive()
        await self._drain()
        try:
            await context.__aexit__(None, None, None)
        except Exception as error:
            log.exception('the application could not shut down')
            await send({'type': 'lifespan.shutdown.failed', 'message': str(error)})
            return
        await send({'type': 'lifespan.shutdown.complete'})

    async def _drain(self) -> None:
        if self.tasks:
            await asyncio.wait(set(self.tasks), timeout=self.settings.drain_timeout)
        left = set(self.tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1.0)
        self.dispatcher.close()
        self.dispatcher = Dispatcher(self.settings.threads, self.settings.queue)

    def _call_handler(self, exchange: AsgiExchange) -> None:
        """Run a handler, here; its failure is answered with 500."""
        try:
            if exchange in self.in_flight:  # not given up while it waited for the thread
                assert exchange.handler is not None
                exchange.handler(exchange)
        except BaseException:
            log.exception('%s %s: a handler failed', exchange.method, exchange.path)
            exchange.refuse(500)
        finally:
            exchange._let_go()


class AsgiExchange(Exchange):
    """A request of an ASGI server."""

    __slots__ = ('_answer', '_holders', '_receive', '_relay', '_send', '_task', 'engine', 'loop')

    def __init__(self, engine: AsgiEngine, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.engine = engine
        self.loop: AbstractEventLoop = asyncio.get_running_loop()
        self._receive = receive
        self._send = send
        self.scope = scope = _complete(scope)
        self.method = scope['method']
        path, root = scope['path'], scope['root_path']
        if root and path.startswith(root):
            path = path[len(root) :]
        self.path = self.local_path = path or '/'
        self.mount = None
        self.handler = None
        self.path_params = None
        self.body = None
        self.body_received = 0
        self.status = self.sent = 0
        self.started = monotonic()
        self.finished = 0.0
        self.user_name = None
        self.transaction = None
        self._fields = None
        #: What `answer` sends; a coroutine function, so that what is dropped leaves nothing unawaited.
        self._answer: asyncio.Future[_Answer] = self.loop.create_future()
        self._task: asyncio.Task[None] | None = None
        #: The end of an ASGI mount's answer, which its task sends itself.
        self._relay: asyncio.Future[None] | None = None
        #: Who may still read the body: this coroutine, the handler, a stream. The last one closes it.
        self._holders: list[None] = [None]

    # -- the request's walk ----------------------------------------------------------------------

    async def answer(self) -> None:
        """The whole request. What it raises makes the server abort the connection."""
        engine = self.engine
        engine.in_flight[self] = None
        gone: asyncio.Task[None] | None = None
        try:
            if not await self._dispatch():
                return
            assert self.handler is not None
            if not self._answer.done() and self.handler.body_limit is not None:
                gone = self.loop.create_task(self._until_gone())
            answer = await self._wait_for_answer(gone)
            if answer is not None:
                await answer.send(self, gone)
        except asyncio.CancelledError:
            self._give_up()
            raise
        finally:
            engine.in_flight.pop(self, None)
            if gone is not None:
                gone.cancel()
            if self._answer.done() and not self._answer.cancelled():
                self._answer.result().drop(self)
            self._let_go()
            self.finished = monotonic()
            if engine.log is not None:
                engine.log(self)

    async def _dispatch(self) -> bool:
        """Bring the request to its handler (or refuse it); False when the client went before."""
        engine = self.engine
        try:
            handler = engine.table.find(self)
        except Exception:
            log.exception('%s %s: no handler could be found', self.method, self.path)
            self.handler = _Nothing()
            self.refuse(500)
            return True
        if handler.body_limit is not None and not await self._read(handler.body_limit):
            return self not in engine.in_flight and self._answer.done()
        self._hold()
        if handler.on_loop:
            engine._call_handler(self)
        elif not engine.dispatcher.offer(engine._call_handler, self):
            self._let_go()
            self.overloaded()
        return True

    async def _read(self, limit: int) -> bool:
        """Receive the body; False when it was refused or the client has gone."""
        length = self.content_length
        if length is not None and length > limit:
            self.refuse(413, f'the body may have {limit} bytes at most', unread=True)
            return False
        if length is not None or b'transfer-encoding' in self.fields or self._may_have_body():
            self.body = Body()
        more = True
        while more:
            try:
                async with asyncio.timeout(self.engine.settings.network_timeout):
                    message = await self._receive()
            except TimeoutError:
                self.refuse(408, 'the body did not arrive in time', unread=True)
                return False
            if message['type'] == 'http.disconnect':
                self._give_up()
                return False
            chunk = message.get('body', b'')
            self.body_received += len(chunk)
            if self.body_received > limit:
                self.refuse(413, f'the body may have {limit} bytes at most', unread=True)
                return False
            if chunk:
                if self.body is None:
                    self.body = Body()
                self.body.write(chunk)
            more = message.get('more_body', False)
        return True

    def _may_have_body(self) -> bool:
        """From HTTP/2 on a body needs no header that announces it."""
        return not self.http_version.startswith('1') and self.method not in _NO_BODY_METHODS

    async def _until_gone(self) -> None:
        """Until the client has left; what it still sends is thrown away."""
        while (await self._receive())['type'] != 'http.disconnect':
            pass

    async def _wait_for_answer(self, gone: asyncio.Task[None] | None) -> _Answer | None:
        """What the handler answers with; None when the client has gone before."""
        waited: set[asyncio.Future[Any]] = {self._answer} if gone is None else {self._answer, gone}
        timeout = self.engine.settings.request_timeout
        await asyncio.wait(waited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not self._answer.done() and not waited - {self._answer} & {w for w in waited if w.done()}:
            if self._claim():
                log.error('%s %s: no answer within %g s', self.method, self.path, timeout)
                self._cancel_task()
                self._set_answer(self._busy())
            return await self._answer  # ours, or one that is on its way from another thread
        if self._answer.done():
            return self._answer.result()
        self._give_up()
        return None

    # -- giving up -------------------------------------------------------------------------------

    def _claim(self) -> bool:
        """Whether the caller is the one to answer."""
        return self.engine.in_flight.pop(self, _MISSING) is not _MISSING

    def _give_up(self) -> None:
        """Nobody waits for the answer any more."""
        if self._claim():
            self.status = 499
        self._cancel_task()

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _hold(self) -> None:
        self._holders.append(None)

    def _let_go(self) -> None:
        self._holders.pop()
        if not self._holders and self.body is not None:
            self.body.close()

    # -- answering -------------------------------------------------------------------------------

    @property
    def answered(self) -> bool:
        return self not in self.engine.in_flight

    def respond(self, status: int, headers: RawHeaders, body: bytes) -> None:
        if self._claim():
            self._post(self._set_answer, _Whole(status, headers, body))

    def stream(
        self, status: int, headers: RawHeaders, chunks: Iterator[bytes], *, quick: bool = False
    ) -> None:
        stream = _Stream(self, status, headers, _InlineSteps(chunks) if quick else _ThreadSteps(self, chunks))
        if not self._claim() or not self._post(self._set_answer, stream):
            stream.steps.close()

    def stream_async(self, status: int, headers: RawHeaders, chunks: AsyncIterator[bytes]) -> None:
        if self._claim():
            self._post(self._set_answer, _Stream(self, status, headers, _AsyncSteps(chunks)))
