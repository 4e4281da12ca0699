"""Any ASGI callable as a mount (ASGI 3, HTTP; SPEC ST-03, MA-05).

Rules. The application runs on the event loop; it reads the request's body itself, up to
`settings.max_upload_size` bytes.
What it sends is checked here, before the engine sees it. Its head is held back until its first body
message (as ASGI asks): an application that fails before gets 500, one that fails later has the connection
aborted. An answer in one message is sent as a whole, with its length.

When the client goes, `receive` says so and `send` raises an OSError (ASGI 2.4); the application is not
cancelled, except when it has not begun to answer in time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from ..config import Settings
from ..errorpage import error_answer
from ..exchange import Exchange, Handler
from .head import Head
from .table import TO_DIRECTORY

log = logging.getLogger('asgi')

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApplication = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

#: What is thrown away of a body that is too large, so that the client can finish and read the 413.
LINGER_BYTES = 1 << 20
LINGER_SECONDS = 5.0
_VERSIONS = {'version': '3.0', 'spec_version': '2.4'}
_DISCONNECT = {'type': 'http.disconnect'}


class AsgiMount:
    """Mounts `application`, which is started and stopped by `lifespan ()` around the server's time."""

    on_loop = True
    body_limit: int | None = None

    def __init__(self, application: AsgiApplication, settings: Settings) -> None:
        self.application = application
        self.max_body = settings.max_upload_size
        #: What the application's lifespan left for its requests; each gets a shallow copy.
        self.state: dict[str, Any] = {}

    def find(self, exchange: Exchange) -> Handler:
        return self if exchange.local_path else TO_DIRECTORY

    def __call__(self, exchange: Exchange) -> None:
        exchange.run_coroutine(self._serve(exchange))

    async def _serve(self, exchange: Exchange) -> None:
        point = exchange.mount.point if exchange.mount is not None else ''
        await exchange.asgi(_Call(self, exchange), exchange.scope.get('root_path', '') + point)

    @asynccontextmanager
    async def lifespan(self, timeout: float = 60.0) -> AsyncIterator[None]:
        """Start the application up, and shut it down at the end; each may take `timeout` seconds.

        RuntimeError where its start fails. An application without lifespan support is left alone.
        """
        self.state.clear()
        life = _Lifespan(self.application, self.state, timeout)
        await life.start_up()
        try:
            yield
        finally:
            await life.shut_down()


class _Call:
    """One call of an application: an ASGI callable around it that checks what passes."""

    __slots__ = (
        '_arriving',
        '_last',
        '_pass_on',
        '_take_in',
        'begun',
        'ended',
        'exchange',
        'gone',
        'head',
        'mount',
        'received',
    )

    _take_in: Receive
    _pass_on: Send

    def __init__(self, mount: AsgiMount, exchange: Exchange) -> None:
        self.mount = mount
        self.exchange = exchange
        self.head: Head | None = None
        self.begun = False  # the head was passed on: what fails from here on aborts
        self.ended = False
        self.gone = False
        self.received = 0
        #: The message that is awaited or not asked for yet: a cancelled `receive` loses none.
        self._arriving: asyncio.Future[Message] | None = None
        #: The body's last message, where it was taken to see what comes behind it.
        self._last: Message | None = None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self._take_in = receive
        self._pass_on = send
        exchange = self.exchange
        try:
            length = exchange.content_length
            if length is not None and length > self.mount.max_body:
                await self._too_large()
                return
            await self.mount.application(self._scope(scope), self.receive, self.send)
            if not self.ended and not self.gone:
                raise RuntimeError('the application returned before its answer was complete')
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if self.gone and isinstance(error, Exception):
                log.debug('%s %s: the client is gone', exchange.method, exchange.path, exc_info=True)
                return
            log.exception('%s %s: the ASGI application failed', exchange.method, exchange.path)
            if not self.begun and not self.ended:
                self._fail()
        finally:
            if self._arriving is not None:
                self._arriving.cancel()

    def _scope(self, scope: dict[str, Any]) -> dict[str, Any]:
        scope['asgi'] = _VERSIONS
        if scope['http_version'] == '1':  # RFC 9112's "1.0"
            scope['http_version'] = '1.0'
        for end in ('client', 'server'):
            address = scope.get(end)
            if address and address[1] is not None:
                scope[end] = (address[0], int(address[1]))
        # Other extensions send what is not counted here (files by path, trailers, pushes).
        scope['extensions'] = {k: v for k, v in (scope.get('extensions') or {}).items() if k == 'tls'}
        scope['state'] = self.mount.state.copy()
        return scope

    # -- what the application calls --------------------------------------------------------------

    async def receive(self) -> Message:
        if (last := self._last) is not None:
            self._last = None
            return await self._taken(last)
        while not self.gone:
            arriving = self._awaited()
            await asyncio.wait({arriving})
            if arriving is self._arriving:  # else another `receive` took it
                self._arriving = None
                return await self._taken(arriving.result())
        return dict(_DISCONNECT)

    def _awaited(self) -> asyncio.Future[Message]:
        if self._arriving is None:
            self._arriving = asyncio.ensure_future(self._take_in())
        return self._arriving

    async def _taken(self, message: Message) -> Message:
        if message['type'] == 'http.disconnect':
            self.gone = True
        else:
            self.received += len(message.get('body', b''))
            if self.received > self.mount.max_body:
                self.gone = True
                if not self.begun and not self.ended:
                    await self._too_large()
                return dict(_DISCONNECT)
        return message

    async def send(self, message: Message) -> None:
        """ASGI's `send`. RuntimeError, TypeError and ValueError tell of the application's mistakes."""
        kind = message['type']
        if kind == 'http.response.start':
            if self.head is not None:
                raise RuntimeError('http.response.start was sent twice')
            fields = ((_text(name), _text(value)) for name, value in message.get('headers', ()))
            self.head = Head(int(message['status']), fields, self.exchange.method)
        elif kind == 'http.response.body':
            if self.head is None or self.ended:
                raise RuntimeError(
                    f'http.response.body was sent {"after the last" if self.head else "first"}'
                )
            body = message.get('body', b'')
            if not isinstance(body, (bytes, bytearray, memoryview)):
                raise TypeError(f'the body is made of bytes, not of {type(body).__name__}')
            await self._send_body(self.head, bytes(body), message.get('more_body', False))
        else:
            raise RuntimeError(f'unexpected ASGI message {kind!r}')

    async def _send_body(self, head: Head, chunk: bytes, more: bool) -> None:
        if self._is_gone():
            raise ConnectionResetError('the client is gone')
        if head.bodiless:
            await self._send_bodiless(head, len(chunk), more)
            return
        head.count(len(chunk))
        if not more:
            head.settle(head.counted)
            head.finish()
        if not self.begun and not more:
            self.ended = True
            self.exchange.respond(head.status, head.headers, chunk)
            return
        if not self.begun:
            self.begun = True
            await self._pass_on(
                {'type': 'http.response.start', 'status': head.status, 'headers': head.headers}
            )
        self.ended = not more
        if chunk or not more:
            await self._pass({'type': 'http.response.body', 'body': chunk, 'more_body': more})

    async def _send_bodiless(self, head: Head, size: int, more: bool) -> None:
        """Answer at the first part, let the others vanish."""
        if not self.begun:
            self.begun = True
            if size and not more:
                head.settle(size)
            self.exchange.respond(head.status, head.headers, b'')
        self.ended = not more
        await asyncio.sleep(0)

    async def _pass(self, message: Message) -> None:
        try:
            await self._pass_on(message)
        except OSError:
            self.gone = True
            raise

    def _is_gone(self) -> bool:
        """Whether a client that is streamed to has left; looks ahead at what arrives from it."""
        if not self.gone and self.begun:
            arriving = self._awaited()
            if arriving.done():
                message = arriving.result()
                self.gone = message['type'] == 'http.disconnect'
                if not self.gone and not message.get('more_body'):
                    self._last, self._arriving = message, None
        return self.gone

    # -- answers of our own ----------------------------------------------------------------------

    def _fail(self) -> None:
        exchange = self.exchange
        headers, body = error_answer(exchange, 500)
        exchange.respond(500, headers, b'' if exchange.method == 'HEAD' else body)

    async def _too_large(self) -> None:
        """Answer 413, and take some more of the body before the answer's end closes the connection."""
        self.begun = self.ended = True
        exchange = self.exchange
        headers, body = error_answer(exchange, 413, f'the body may have {self.mount.max_body} bytes at most')
        if exchange.http_version.startswith('1.'):
            headers.append((b'connection', b'close'))
        await self._pass({'type': 'http.response.start', 'status': 413, 'headers': headers})
        await self._pass({'type': 'http.response.body', 'body': body, 'more_body': True})
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                await self._linger()
        except TimeoutError:
            pass
        await self._pass({'type': 'http.response.body', 'body': b'', 'more_body': False})

    async def _linger(self) -> None:
        if b'expect' in self.exchange.fields and not self.received:
            return  # the client waits with its body for our word
        left = LINGER_BYTES
        while left > 0:
            message = await self._take_in()
            left -= len(message.get('body', b''))
            if not message.get('more_body'):
                return


def _text(value: Any) -> str:
    """A field's name or value, which ASGI has as bytes."""
    return bytes(value).decode('latin-1')


class _Lifespan:
    """The two questions of ASGI's lifespan protocol to one application, which runs in a task of its own."""

    def __init__(self, application: AsgiApplication, state: dict[str, Any], timeout: float) -> None:
        self.timeout = timeout
        self._questions: asyncio.Queue[Message] = asyncio.Queue(2)
        self._answers: asyncio.Queue[Message] = asyncio.Queue(2)
        scope = {'type': 'lifespan', 'asgi': dict(_VERSIONS), 'state': state}
        self._task = asyncio.ensure_future(application(scope, self._questions.get, self._answers.put))

    async def start_up(self) -> None:
        answer = await self._ask('lifespan.startup')
        if answer is None:
            error = None if self._task.cancelled() else self._task.exception()
            log.info('the ASGI application has no lifespan: %r', error)
        elif answer['type'] != 'lifespan.startup.complete':
            await self._end()
            raise RuntimeError(f'the ASGI application could not start: {answer.get("message", "")}')

    async def shut_down(self) -> None:
        try:
            answer = await self._ask('lifespan.shutdown')
            if answer is not None and answer['type'] != 'lifespan.shutdown.complete':
                log.error('the ASGI application could not shut down: %s', answer.get('message', ''))
        except TimeoutError as error:
            log.error('%s', error)
        await self._end()

    async def _ask(self, question: str) -> Message | None:
        """The answer to `question`; None where the application has ended. TimeoutError."""
        if self._task.done():
            return None
        await self._questions.put({'type': question})
        answer = asyncio.ensure_future(self._answers.get())
        try:
            await asyncio.wait(
                {self._task, answer}, timeout=self.timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if answer.done():
                return answer.result()
            if not self._task.done():
                await self._end()
                raise TimeoutError(f'the ASGI application gave no answer to {question} in {self.timeout:g} s')
            return None if self._answers.empty() else self._answers.get_nowait()
        finally:
            answer.cancel()

    async def _end(self) -> None:
        """Let the application end, which has nothing left to do; its failure is logged."""
        await asyncio.wait({self._task}, timeout=1.0)
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=1.0)
        if self._task.done() and not self._task.cancelled() and self._task.exception() is not None:
            log.error('the ASGI application failed in its lifespan', exc_info=self._task.exception())
