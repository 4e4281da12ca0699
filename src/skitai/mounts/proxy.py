"""An alias as a mount: a reverse proxy to its members (SPEC LB-06).

Rules. Everything happens on the event loop; no service thread is held, however slow anybody is. Bodies
stream both ways, at the slower end's pace; a small one that says how long it is travels whole, so that a
request can be sent to another member, and a failure still be answered. Nothing is decoded or encoded.

Until the answer begins a failure is an answer of ours: 502 where no member could be reached, an answer broke
off or was none, 504 where nothing came in time. After that the connection is aborted. A client that goes ends
the request to the member.

Redirections to a member are moved below the mount point (`forwarding.moved`). Cookies are left alone, their
Path too: only the upstream knows what it is for.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aquests import http
from aquests.errors import MalformedAnswer, NetworkError, PoolExhausted, TaskTimeout, UnknownAlias
from aquests.http.request import Body, Stream

from ..config import Settings
from ..errorpage import error_answer
from ..exchange import Exchange, Handler
from . import forwarding
from .head import Head
from .table import TO_DIRECTORY

if TYPE_CHECKING:
    from aquests.http.clients import AliasClient
    from aquests.http.response import Response

log = logging.getLogger('proxy')

Message = MutableMapping[str, Any]

#: Bodies up to so many bytes travel whole, where they say how long they are.
SMALL = 1 << 16
#: Seconds that the upstream may be silent, if nothing is said.
TIMEOUT = 60.0
#: Seconds to close connections at the end.
CLOSING = 2.0

_NO_BODY_METHODS = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE'})


@dataclasses.dataclass(frozen=True, slots=True)
class Upstream:
    """What is mounted. `timeout`: seconds that it may be silent."""

    client: AliasClient
    timeout: float


def resolve(target: str, options: dict[str, Any]) -> Upstream:
    """'@alias[/path]' and the mount's keywords. AssertionError for what cannot be, ImportError.

    An alias that nobody registered is an UnknownAlias.
    """
    timeout = options.get('timeout', TIMEOUT)
    if unknown := set(options) - {'timeout'}:
        raise AssertionError(f'cannot mount {target!r}: it takes timeout, not {", ".join(sorted(unknown))}')
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout <= 0:
        raise AssertionError(f'cannot mount {target!r}: timeout = {timeout!r}: it takes seconds')
    try:
        client: Any = http.client(target)
    except UnknownAlias as error:
        raise UnknownAlias(f'cannot mount {target!r}: {error}') from None
    except (TypeError, ValueError) as error:
        raise AssertionError(f'cannot mount {target!r}: {error}') from None
    return Upstream(client, timeout)


class ProxyMount:
    """Passes requests on to `upstream`. A body of more than `max_body` bytes gets 413.

    More requests than there are connections wait for one, `settings.queue` at most: beyond that they get 503.
    """

    on_loop = True
    body_limit: int | None = None

    def __init__(self, upstream: Upstream, settings: Settings, max_body: int) -> None:
        self.client = upstream.client
        self.max_body = max_body
        self.believed = settings.proxied
        #: Requests under way, and as many as there may be: with a connection each, and waiting for one.
        self.under_way = 0
        alias = self.client.alias
        self.most = alias.max_conns * len(alias.members) + settings.queue
        self.retry_after = settings.retry_after
        #: Between two parts of an answer, and until it begins: before the engine answers in our stead.
        self.timeout = upstream.timeout
        self.until_begun = min(
            upstream.timeout, max(settings.request_timeout - 4, settings.request_timeout * 0.75)
        )
        #: For a part of the request's body, likewise.
        self.patience = min(settings.network_timeout, settings.request_timeout * 0.9)
        self.with_authorization = not any(member.user or member.password for member in alias.members)

    def find(self, exchange: Exchange) -> Handler:
        return self if exchange.local_path else TO_DIRECTORY

    def __call__(self, exchange: Exchange) -> None:
        exchange.run_coroutine(exchange.asgi(_Passage(self, exchange), ''))

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Around the time of serving: closes the connections that this event loop has."""
        try:
            yield
        finally:
            await self.client.cluster.close(CLOSING)


class _Refused(Exception):
    """The request cannot be passed on."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class _Passage:
    """One request on its way through: an ASGI callable."""

    def __init__(self, mount: ProxyMount, exchange: Exchange) -> None:
        self.mount = mount
        self.exchange = exchange
        #: The answer's head was passed on: what fails from here on aborts.
        self._begun = False

    async def __call__(
        self,
        scope: Any,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        exchange = self.exchange
        task = asyncio.current_task()
        assert task is not None
        mount = self.mount
        intake = _Intake(receive, mount, task)
        mount.under_way += 1
        try:
            if mount.under_way > mount.most:
                raise _Refused(503, 'the server is busy')
            await self._pass(intake, send)
        except _Refused as error:
            self._answer(error.status, str(error))
        except (NetworkError, MalformedAnswer, TaskTimeout) as error:
            log.warning('%s %s: %s', exchange.method, exchange.path, error)
            if not self._begun:
                self._answer(*_told(error))
        finally:
            mount.under_way -= 1
            intake.close()

    async def _pass(self, intake: _Intake, send: Callable[[Message], Awaitable[None]]) -> None:
        mount, exchange = self.mount, self.exchange
        prefix, target = self._target()
        fields = forwarding.request_fields(exchange, mount.believed, mount.with_authorization)
        body = await self._body(intake)
        if not isinstance(body, Stream):
            intake.watch()
        response = await mount.client.request(
            exchange.method, target, fields, body, timeout=mount.until_begun
        )
        async with response:
            response.timeout = mount.timeout
            base = response.base + mount.client.path
            try:
                head = Head(
                    response.status,
                    forwarding.answer_fields(response.headers, base, prefix),
                    exchange.method,
                )
            except ValueError as error:
                raise MalformedAnswer(f'{response.name}: {error}') from None
            await self._send(response, head, send)

    def _target(self) -> tuple[bytes, str]:
        exchange = self.exchange
        if b'websocket' in (exchange.header(b'upgrade') or b'').lower():
            raise _Refused(501, 'websockets are not passed on')
        if exchange.method in ('TRACE', 'CONNECT') or exchange.method != exchange.method.upper():
            raise _Refused(501, f'{exchange.method} is not passed on')
        paths = forwarding.split_path(exchange)
        if paths is None:
            raise _Refused(404, '')
        if forwarding.climbs_out(paths[1]):
            raise _Refused(400, 'the path leads out of what is mounted here')
        return paths[0], forwarding.target_of(paths[1], exchange.query_string)

    async def _body(self, intake: _Intake) -> Body:
        """The body to send: whole, where it is small, so that it can be sent again."""
        exchange, most = self.exchange, self.mount.max_body
        length = exchange.content_length
        if (coding := exchange.header(b'transfer-encoding')) is not None:
            if coding.strip().lower() != b'chunked':  # which the engine has decoded (RFC 9112, 6.1)
                raise _Refused(501, 'the only transfer coding is chunked')
            return Stream(intake)
        if length is not None:
            if length > most:
                raise _Refused(413, f'the body may have {most} bytes at most')
            if length == 0:
                return b''
            return await intake.whole() if length <= SMALL else Stream(intake, length)
        if b'content-length' in exchange.fields:
            raise _Refused(400, 'the Content-Length is no number')
        if exchange.http_version.startswith('1') or exchange.method in _NO_BODY_METHODS:
            return None
        return await intake.peeked()  # from HTTP/2 on, no field needs to tell of a body

    # -- the answer ------------------------------------------------------------------------------

    async def _send(self, response: Response, head: Head, send: Callable[[Message], Awaitable[None]]) -> None:
        exchange = self.exchange
        if head.bodiless:
            exchange.respond(head.status, head.headers, b'')
        elif response.is_here or (head.length is not None and head.length <= SMALL):
            response.timeout = self.mount.until_begun
            body = await response.read()
            head.settle(len(body))
            exchange.respond(head.status, head.headers, body)
        elif not exchange.answered:
            self._begun = True
            try:
                await send({'type': 'http.response.start', 'status': head.status, 'headers': head.headers})
                if not response.has_part:  # servers keep the head until the first of the body: not ours
                    await send({'type': 'http.response.body', 'body': b'', 'more_body': True})
                while part := await response.part():
                    await send({'type': 'http.response.body', 'body': part, 'more_body': True})
                await send({'type': 'http.response.body', 'body': b'', 'more_body': False})
            except (NetworkError, TaskTimeout, _Refused):
                raise
            except Exception as error:  # by `send`
                log.debug('%s %s: the client is gone: %r', exchange.method, exchange.path, error)

    def _answer(self, status: int, detail: str) -> None:
        if not self._begun:  # else the engine aborts: we return in the middle
            headers, body = error_answer(self.exchange, status, detail)
            if status == 503:
                headers.append((b'retry-after', b'%d' % self.mount.retry_after))
            self.exchange.respond(status, headers, body)


def _told(error: Exception) -> tuple[int, str]:
    """What a client learns of a failure: no address, no name."""
    if isinstance(error, PoolExhausted):
        return 504, 'the upstream server is busy'
    if isinstance(error, TaskTimeout):
        return 504, 'the upstream server took too long'
    if isinstance(error, MalformedAnswer):
        return 502, 'the upstream server gave no valid answer'
    return 502, 'the upstream server cannot be reached'


class _Intake:
    """The request's body as it arrives; then the word that the client has gone.

    One message is awaited at a time, in a task that outlives whoever waits for it: a message is never lost.
    """

    def __init__(
        self, receive: Callable[[], Awaitable[Message]], mount: ProxyMount, task: asyncio.Task[Any]
    ) -> None:
        self._receive = receive
        self._mount = mount
        self._task = task
        self._arriving: asyncio.Future[Message] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._first: bytes | None = None
        self._size = 0
        self._complete = False

    async def whole(self) -> bytes:
        return b''.join([part async for part in self])

    async def peeked(self) -> Body:
        """None where there is no body, bytes where it has come at once."""
        part = await self._part()
        if self._complete:
            return part or None
        self._first = part
        return Stream(self)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._complete:
            raise StopAsyncIteration
        try:
            part = await self._part()
        except asyncio.CancelledError:  # the upstream has answered without it
            self.watch()
            raise
        if self._complete:
            self.watch()
        return part

    async def _part(self) -> bytes:
        message = await self._message(self._mount.patience)
        if message is None:
            raise _Refused(408, 'the body did not arrive in time')
        if message['type'] == 'http.disconnect':
            self._complete = True
            raise _Refused(400, 'the body is malformed or incomplete')
        part: bytes = message.get('body', b'')
        self._size += len(part)
        if self._size > self._mount.max_body:
            raise _Refused(413, f'the body may have {self._mount.max_body} bytes at most')
        self._complete = not message.get('more_body')
        return part

    async def _message(self, patience: float | None) -> Message | None:
        """The next message; None if there is none within so many seconds."""
        arriving = self._arriving
        if arriving is None:
            arriving = self._arriving = asyncio.ensure_future(self._receive())
        await asyncio.wait({arriving}, timeout=patience)
        if not arriving.done():
            return None
        self._arriving = None
        return arriving.result()

    def watch(self) -> None:
        """Nobody reads on: cancel the passage when the client goes. What else comes is thrown away."""
        if self._watch is None and not self._task.done():
            self._watch = asyncio.get_running_loop().create_task(self._until_gone())

    async def _until_gone(self) -> None:
        try:
            while (message := await self._message(None)) is not None and message['type'] != 'http.disconnect':
                await asyncio.sleep(0)
        except OSError:
            pass
        self._task.cancel()

    def close(self) -> None:
        for awaited in (self._watch, self._arriving):
            if awaited is not None:
                awaited.cancel()
