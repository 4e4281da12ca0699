"""A mount table as an ASGI 3 application: the engine for any ASGI server, and the fallback for ours.

    app = AsgiEngine (table, Settings ())        # then: uvicorn module:app

The same contract as `engine.direct`, with public names only. Rules. Everything of a request happens on
the event loop, except its service: that runs on a thread, at most `threads` at a time (`Dispatcher`). The
request's coroutine (`AsgiExchange.answer`) reads the body, brings the exchange to its handler, waits for
what the handler answers with (one of the `_Answer`s below) and sends it.

An answer that fails half-way leaves the application as `AnswerFailed`: the server then aborts the
connection. What is given up (client gone, time over) is cancelled and closed. A service cannot be
cancelled: it is told (`when_given_up`), and runs on; its answer is dropped.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, MutableMapping
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import Context, copy_context
from time import monotonic
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import quote

from ..config import Settings
from ..errorpage import error_answer
from ..exchange import BodyHandler, Exchange, Handler, RawHeaders
from ..mounts.table import MountTable
from .dispatch import Dispatcher

log = logging.getLogger('skitai.engine')

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: A whole answer is handed to the server in parts of so many bytes, each to be taken in time.
PART = 256 * 1024
#: What is thrown away of a body that is refused, so that the client can finish and read the answer.
LINGER_BYTES = 1 << 20
LINGER_SECONDS = 5.0

_T = TypeVar('_T')
_MISSING: Any = object()
_NO_BODY_METHODS = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE'})


class AnswerFailed(Exception):
    """An answer ended before it was complete (and was logged): the server is to abort the connection."""


class _ClientGone(ConnectionResetError):
    """The server's `send` told that nobody is there to send to (ASGI 2.4)."""


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel what has not ended, and give it a second to clean up."""
    left = {task for task in tasks if not task.done()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=1.0)


class AsgiEngine:
    """The application. One instance may serve several event loops, one after the other.

    `access_log` gets each exchange at its end. `lifespan ()` is entered at the server's start and left at
    its shutdown, when the requests' tasks have ended or `settings.drain_timeout` is over.

    `in_flight` holds the requests without an answer; every thread changes it by single operations:
    whoever pops a request from it is the one to answer.
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
        self.tasks: set[asyncio.Task[Any]] = set()

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
        """ASGI's lifespan protocol: two questions, two answers."""
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
        """Let the tasks that outlive their requests' answers end, then the service threads."""
        if self.tasks:
            _, left = await asyncio.wait(set(self.tasks), timeout=self.settings.drain_timeout)
            await cancelled(left)
        self.dispatcher.close()
        self.dispatcher = Dispatcher(self.settings.threads, self.settings.queue)

    def spawn(self, coroutine: Coroutine[Any, Any, _T], context: Context | None = None) -> asyncio.Task[_T]:
        """A task in a context of its own (nothing of one request is seen by another)."""
        if context is None:
            context = Context()
        task = asyncio.get_running_loop().create_task(coroutine, context=context)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


class _Answer(Protocol):
    """What a request is answered with."""

    async def send(self, exchange: AsgiExchange) -> None:
        """Send it; AnswerFailed where that ends before its end."""
        ...

    def close(self) -> None:
        """Called at the end, sent or not, on the event loop."""
        ...


class AsgiExchange(Exchange):
    """A request of an ASGI server."""

    __slots__ = (
        '_active',
        '_answer',
        '_gone',
        '_holders',
        '_on_given_up',
        '_over',
        '_receive',
        '_send',
        '_tasks',
        '_watched',
        'engine',
        'loop',
    )

    def __init__(self, engine: AsgiEngine, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.engine = engine
        self.loop = asyncio.get_running_loop()
        self._receive = receive
        self._send = send
        self.scope = _complete(scope)
        self.method = scope['method']
        path, root = scope['path'], self.scope['root_path']
        self.path = self.local_path = (path.removeprefix(root) if root else path) or '/'
        self.mount = None
        self.handler = None
        self.path_params = None
        self.fields = dict(self.scope['headers'])
        self.body = None
        self.body_received = self.status = self.sent = 0
        self.started = self._active = monotonic()  # `_active`: when the time to answer began
        self.finished = 0.0
        self.user_name = None
        self.transaction = None
        self._answer: asyncio.Future[_Answer] = self.loop.create_future()
        self._gone: asyncio.Task[None] | None = None
        #: Done when `_gone` is there: a body that was left unread at first is watched for later.
        self._watched: asyncio.Future[None] = self.loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = False
        self._on_given_up: list[Callable[[], object]] = []
        #: Who may read the body: this request's coroutine, and its handler. The last one closes it.
        self._holders: list[None] = [None]

    # -- the request's walk ----------------------------------------------------------------------

    async def answer(self) -> None:
        """The whole request. AnswerFailed makes the server abort the connection."""
        engine = self.engine
        engine.in_flight[self] = None
        try:
            await self._dispatch()
            answer = await self._awaited_answer()
            await answer.send(self)
        except _ClientGone:
            log.debug('%s %s: the client is gone', self.method, self.path)
        except asyncio.CancelledError:  # by the server, when its own patience ends
            self._cancel_tasks()
            raise
        finally:
            self._end()

    async def _dispatch(self) -> None:
        """Bring the request to its handler, or refuse it."""
        engine = self.engine
        try:
            handler = engine.table.find(self)
        except Exception:
            log.exception('%s %s: no handler could be found', self.method, self.path)
            self.refuse(500)
            return
        await self._bring(handler)

    async def _bring(self, handler: Handler) -> None:
        """Call the handler, with the body that it wants."""
        engine = self.engine
        if handler.body_limit is not None:
            if not await self._read(handler, handler.body_limit):
                return
            self._active = monotonic()
        self._holders.append(None)
        if handler.on_loop:
            _call_handler(self)
        elif not engine.dispatcher.offer(_call_handler, self):
            self._holders.pop()
            self._overloaded()
        if not self._answer.done() and handler.body_limit is not None:
            self._watch()

    def receive(self, handler: BodyHandler) -> None:
        self.handler = handler
        self._post(self._start_receiving, handler)

    def _start_receiving(self, handler: BodyHandler) -> None:
        if not self._over:
            task = self.engine.spawn(self._guarded(self._bring(handler)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _read(self, handler: Handler, limit: int) -> bool:
        """Receive the body; False when it was refused or the client has gone."""
        length = self.content_length
        if length is not None and length > limit:
            return self._refuse_body(413, f'the body may have {limit} bytes at most')
        if length is not None or b'transfer-encoding' in self.fields or self._is_unannounced():
            self.body = cast(BodyHandler, handler).make_body(self)
        more = True
        while more:
            try:
                async with asyncio.timeout(self.engine.settings.network_timeout):
                    message = await self._receive()
            except TimeoutError:
                return self._refuse_body(408, 'the body did not arrive in time')
            if message['type'] == 'http.disconnect':
                self._forget()
                return False
            self._active = monotonic()  # while the body arrives, the time to answer begins anew
            chunk = message.get('body', b'')
            self.body_received += len(chunk)
            if self.body_received > limit:
                return self._refuse_body(413, f'the body may have {limit} bytes at most')
            if self.body is not None:
                try:
                    self.body.write(chunk)
                except Exception as error:
                    log.exception('%s %s: the body could not be stored', self.method, self.path)
                    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
                    return self._refuse_body(503 if full else 500, '')
            more = message.get('more_body', False)
        return True

    def _is_unannounced(self) -> bool:
        """From HTTP/2 on, no field needs to tell of a body."""
        return not self.http_version.startswith('1') and self.method not in _NO_BODY_METHODS

    async def _awaited_answer(self) -> _Answer:
        """What the handler answers with; what is sent instead when time is over or the client gone."""
        answer = self._answer
        timeout = self.engine.settings.request_timeout
        while not answer.done() and not self.is_gone:
            left = self._active + timeout - monotonic()
            if left <= 0:
                break
            waited: set[asyncio.Future[Any]] = {answer, self._watched}
            if self._gone is not None:
                waited = {answer, self._gone}
            await asyncio.wait(waited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done() and not self.answered:
            if self.is_gone:
                self._forget()
                self._cancel_tasks()
            else:
                self._give_up(timeout)
        return await answer  # if not there, it is on its way from the thread that took the request

    def _end(self) -> None:
        self._claim()
        if self._gone is not None:
            self._gone.cancel()
        if not self._answer.done():
            self._answer.cancel()
        elif not self._answer.cancelled():
            self._answer.result().close()
        self._release()
        self.finished = monotonic()
        if self.engine.log is not None:
            self.engine.log(self)

    # -- the client ------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Notice from now on when the client goes. Whatever else it sends is thrown away."""
        if self._gone is None:
            self._gone = self.loop.create_task(self._until_gone())
            if not self._watched.done():
                self._watched.set_result(None)

    async def _until_gone(self) -> None:
        try:
            while (await self._receive())['type'] != 'http.disconnect':
                await asyncio.sleep(0)  # a server that always has a message must not hold the loop
        except OSError:
            pass

    @property
    def is_gone(self) -> bool:
        return self._gone is not None and self._gone.done()

    async def begin(self, status: int, headers: RawHeaders) -> None:
        self.status = status
        await self._deliver({'type': 'http.response.start', 'status': status, 'headers': headers})

    async def part(self, chunk: bytes, more: bool = True) -> None:
        """Send a part of the body; returns when there is room for the next."""
        self.sent += len(chunk)
        await self._deliver({'type': 'http.response.body', 'body': chunk, 'more_body': more})
        if more:
            await asyncio.sleep(0)  # a fast reader leaves the loop to others between two parts

    async def _deliver(self, message: Message) -> None:
        timer = asyncio.timeout(self.engine.settings.network_timeout)
        try:
            async with timer:
                await self._send(message)
        except OSError as error:
            if timer.expired():
                log.warning('%s %s: the client takes no data', self.method, self.path)
                raise AnswerFailed('the client takes no data') from None
            raise _ClientGone from error

    async def discard_body(self) -> None:
        """Let the client send a part of its body, so that it comes to read the answer."""
        if b'expect' in self.fields and not self.body_received:
            return  # the client waits with its body for our word
        left = LINGER_BYTES
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while left > 0:
                    message = await self._receive()
                    if not message.get('more_body'):
                        return
                    left -= len(message.get('body', b''))
        except TimeoutError:
            pass

    # -- giving up -------------------------------------------------------------------------------

    def _claim(self) -> bool:
        """Whether the caller is the one to answer."""
        return self.engine.in_flight.pop(self, _MISSING) is not _MISSING

    def _forget(self) -> None:
        """The client went before its answer."""
        if self._claim():
            self.status = 499
            self._set_answer(_Nothing())

    def _cancel_tasks(self) -> None:
        self.abandon()
        for task in list(self._tasks):
            task.cancel()

    def abandon(self) -> None:
        """Nobody waits for what is being made: tell who makes it."""
        self._over = True
        for callback in self._on_given_up:
            callback()

    def when_given_up(self, callback: Callable[[], object]) -> None:
        self._on_given_up.append(callback)
        if self._over:
            callback()

    def notice_client(self) -> None:
        pass  # every client is watched from when its body is read

    def notice_client_soon(self) -> None: ...

    def give_up(self, seconds: float) -> None:
        self._post(self._give_up, seconds)

    def _give_up(self, seconds: float) -> None:
        if not self.answered:
            log.error('%s %s: no answer within %g s', self.method, self.path, seconds)
            self._overloaded('the service took too long')
            self._cancel_tasks()

    def _release(self) -> None:
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
        steps = _QuickSteps(self, chunks) if quick else _ThreadSteps(self, chunks)
        if not self._claim() or not self._post(self._set_answer, _Stream(status, headers, steps)):
            steps.finish()

    def refuse(self, status: int, detail: str = '') -> None:
        """Answer with an error page, if there is no answer yet."""
        headers, body = error_answer(self, status, detail)
        self.respond(status, headers, body)

    def _refuse_body(self, status: int, detail: str) -> bool:
        headers, body = error_answer(self, status, detail)
        if self.http_version.startswith('1'):
            headers.append((b'connection', b'close'))
        if self._claim():
            self._set_answer(_Whole(status, headers, body, unread=True))
        return False

    def _overloaded(self, detail: str = 'the server is busy') -> None:
        headers, body = error_answer(self, 503, detail)
        headers.append((b'retry-after', b'%d' % self.engine.settings.retry_after))
        self.respond(503, headers, body)

    def _post(self, function: Callable[..., None], *args: Any) -> bool:
        """Call `function` on the event loop; False when there is none any more."""
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            log.warning('%s %s: the server has ended', self.method, self.path)
            return False
        return True

    def _set_answer(self, answer: _Answer) -> None:
        if self._answer.done():
            answer.close()
        else:
            self._answer.set_result(answer)

    # -- where work runs -------------------------------------------------------------------------

    def on_service_thread(self, function: Callable[[], None]) -> None:
        self.engine.dispatcher.submit(self._guarded_call, function)

    def _guarded_call(self, function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException:
            self._failed()

    def run_coroutine(self, coroutine: Coroutine[Any, Any, None]) -> None:
        if not self._post(self._start_task, coroutine, copy_context()):
            coroutine.close()

    def _start_task(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        # Also where the request is over: the coroutine sees that itself, and does what is to be done then.
        task = self.engine.spawn(self._guarded(coroutine), context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await coroutine
        except _ClientGone:
            log.debug('%s %s: the client is gone', self.method, self.path)
        except BaseException as error:  # not even SystemExit may end the event loop
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            self._failed()

    def _failed(self) -> None:
        log.exception('%s %s: a handler failed', self.method, self.path)
        self.refuse(500)

    # -- ASGI mounts -----------------------------------------------------------------------------

    async def receive_message(self) -> dict[str, Any]:
        message = dict(await self._receive())
        self.body_received += len(message.get('body', b''))
        self._active = monotonic()
        return message

    async def asgi(self, application: Callable[..., Any], root_path: str) -> None:
        relay = _Relay(self)
        try:
            await application(self.scope | {'root_path': root_path}, relay.receive, relay.send_message)
        finally:
            self._forget()
            relay.application_ended()


def _complete(scope: dict[str, Any]) -> dict[str, Any]:
    """A copy of `scope` with the keys that ASGI makes optional, and the types that we rely on."""
    raw_path = scope.get('raw_path')
    return scope | {
        'scheme': scope.get('scheme', 'http'),
        'raw_path': raw_path if raw_path is not None else quote(scope['path']).encode('ascii'),
        'query_string': scope.get('query_string', b''),
        'root_path': scope.get('root_path', ''),
        'headers': [(bytes(name), bytes(value)) for name, value in scope['headers']],
    }


def _call_handler(exchange: AsgiExchange) -> None:
    """Run the handler, here; its failure is answered with 500."""
    try:
        if not exchange.answered and exchange.handler is not None:  # not given up while it waited
            Context().run(exchange.handler, exchange)
    except BaseException:
        exchange._failed()
    finally:
        exchange._release()


# -- kinds of answers ------------------------------------------------------------------------------


class _Nothing:
    """For a client that has gone."""

    async def send(self, exchange: AsgiExchange) -> None:
        pass

    def close(self) -> None:
        pass


class _Whole(_Nothing):
    """An answer in one piece. `unread`: the request's body has not been received to its end."""

    def __init__(self, status: int, headers: RawHeaders, body: bytes, unread: bool = False) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.unread = unread

    async def send(self, exchange: AsgiExchange) -> None:
        body = b'' if exchange.method == 'HEAD' else self.body
        await exchange.begin(self.status, self.headers)
        if self.unread:  # the end of the answer closes the connection
            await exchange.part(body)
            await exchange.discard_body()
            body = b''
        while len(body) > PART:
            await exchange.part(body[:PART])
            body = body[PART:]
        await exchange.part(body, more=False)


class _Stream:
    """An answer in steps: the next one is made when the client has taken the one before."""

    def __init__(self, status: int, headers: RawHeaders, steps: _Steps) -> None:
        self.status = status
        self.headers = headers
        self.steps = steps

    async def send(self, exchange: AsgiExchange) -> None:
        await exchange.begin(self.status, self.headers)
        if exchange.method == 'HEAD':
            await exchange.part(b'', more=False)
            return
        exchange._watch()
        assert exchange._gone is not None
        pump = exchange.engine.spawn(self._pump(exchange))
        try:
            await asyncio.wait({pump, exchange._gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            complete = pump.done()
            pump.cancel()
            if not complete:
                exchange.abandon()  # a step may wait for something
        if not complete:
            raise _ClientGone
        if pump.cancelled():
            raise AnswerFailed('the stream cancelled itself')
        if (failure := pump.result()) is not None:
            raise failure

    async def _pump(self, exchange: AsgiExchange) -> Exception | None:
        """Send all steps. What went wrong is returned, as nobody may be left to catch it."""
        try:
            async for chunk in self.steps:
                if chunk:
                    await exchange.part(chunk)
            await exchange.part(b'', more=False)
        except (AnswerFailed, _ClientGone) as error:
            return error
        except asyncio.CancelledError:
            raise
        except BaseException:
            log.exception('%s %s: the stream failed half-way', exchange.method, exchange.path)
            return AnswerFailed('the stream failed half-way')
        return None

    def close(self) -> None:
        self.steps.close()


class _Steps:
    """The chunks of a stream, as an asynchronous iterator on the event loop."""

    def __init__(self, exchange: AsgiExchange, chunks: Any) -> None:
        self.exchange = exchange
        self.chunks = chunks

    def __aiter__(self) -> _Steps:
        return self

    async def __anext__(self) -> bytes:
        raise NotImplementedError

    def close(self) -> None:
        """End the stream, on the event loop; after a step that is under way."""
        raise NotImplementedError

    def finish(self) -> None:
        """Close the chunks, here and now."""
        close = getattr(self.chunks, 'close', None)
        try:
            if close is not None:
                close()
        except BaseException:
            log.exception('%s %s: closing the stream failed', self.exchange.method, self.exchange.path)


class _QuickSteps(_Steps):
    """Made on the event loop itself: a step never blocks for long."""

    async def __anext__(self) -> bytes:
        chunk: bytes = next(self.chunks, _MISSING)
        if chunk is _MISSING:
            raise StopAsyncIteration
        return chunk

    def close(self) -> None:
        self.finish()


class _ThreadSteps(_Steps):
    """Made on service threads. `_busy` and `_closed` belong to the event loop."""

    def __init__(self, exchange: AsgiExchange, chunks: Any) -> None:
        super().__init__(exchange, chunks)
        self._busy = False
        self._closed = False
        self._made: asyncio.Future[tuple[bytes, BaseException | None]] = exchange.loop.create_future()

    async def __anext__(self) -> bytes:
        self._made = self.exchange.loop.create_future()
        self._busy = True
        self.exchange.engine.dispatcher.submit(self._make, None)
        chunk, error = await self._made
        if error is not None:
            raise error
        if chunk is _MISSING:
            raise StopAsyncIteration
        return chunk

    def _make(self, _: None) -> None:
        error = None
        chunk: bytes = _MISSING
        try:
            chunk = next(self.chunks, _MISSING)
        except BaseException as failure:
            error = failure
        if not self.exchange._post(self._take, chunk, error):
            self.finish()

    def _take(self, chunk: bytes, error: BaseException | None) -> None:
        self._busy = False
        if not self._made.done():
            self._made.set_result((chunk, error))
        if self._closed:
            self._finish_on_thread()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            if not self._busy:
                self._finish_on_thread()

    def _finish_on_thread(self) -> None:
        try:
            self.exchange.on_service_thread(self.finish)
        except RuntimeError:  # the service threads have ended before
            self.finish()


class _Relay(_Nothing):
    """What an ASGI application sends, passed on by its own task; an answer that waits for the end of that."""

    def __init__(self, exchange: AsgiExchange) -> None:
        self.exchange = exchange
        self.begun = False
        self.ended: asyncio.Future[bool] = exchange.loop.create_future()

    async def send(self, exchange: AsgiExchange) -> None:
        waited: set[asyncio.Future[Any]] = {self.ended}
        if exchange._gone is not None:
            waited.add(exchange._gone)
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not self.ended.done():
            exchange._cancel_tasks()
            raise _ClientGone
        if not self.ended.result():
            raise AnswerFailed('the application ended before its answer was complete')

    def close(self) -> None:
        self.ended.cancel()

    def application_ended(self) -> None:
        if not self.ended.done():
            self.ended.set_result(False)

    async def receive(self) -> Message:
        message = await self.exchange._receive()
        if message['type'] == 'http.request':
            self.exchange.body_received += len(message.get('body', b''))
            self.exchange._active = monotonic()
        return message

    async def send_message(self, message: Message) -> None:
        exchange = self.exchange
        if message['type'] == 'http.response.start':
            if exchange._claim():
                self.begun = True
                exchange._set_answer(self)
                await exchange.begin(message['status'], message['headers'])
        elif self.begun:
            more = message['more_body']
            await exchange.part(message['body'], more)
            if not more and not self.ended.done():
                self.ended.set_result(True)
