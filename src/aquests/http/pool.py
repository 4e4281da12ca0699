"""Connections to HTTP servers, kept on the event loop that they were made on (aiohttp's sessions).

A session is made when a loop first needs one, and closed with it (`loop.at_end`), or by who owns that loop.
Where several loops run (an ASGI server's, and that of Tasks) each has its own.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
from typing import Any

import aiohttp
from yarl import URL

from .. import loop as loops
from ..aliases import Alias, Member
from ..apart import apart
from ..errors import MalformedAnswer, NetworkError, PoolExhausted, TaskTimeout
from ..tls import words
from .address import Base, base_of
from .request import Request, Stream
from .response import Response
from .sending import PIECE, Parts, Patience, Pieces, Trip

#: Seconds to connect, TLS included.
CONNECT_TIMEOUT = 3.0
#: Seconds that an unused connection is kept: less than what servers wait before they close it, which is
#: seldom below 5. Who closes first cannot be surprised by the other.
KEEP = 4.0
#: An answer's longest line and field, in bytes.
LONGEST_FIELD = 32 * 1024

_TIMES = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
#: aiohttp adds nothing to what it is given.
_AS_GIVEN = ('User-Agent', 'Accept', 'Accept-Encoding', 'Content-Type')
_WITH_DECODING = ('User-Agent', 'Accept', 'Content-Type')


#: Sessions that are open: let go of in a forked child, they would close what is the parent's.
_open: set[aiohttp.ClientSession] = set()
_inherited: list[object] = []


class KeptConnectionClosed(NetworkError):
    """A connection that had been kept was closed when it was used: the server need not be down."""


class Pool:
    """At most `size` requests under way on each loop, `each` to one server; those beyond it wait."""

    def __init__(self, size: int, each: int = 0) -> None:
        self._size, self._each = size, each
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}

    async def send(self, base: Base, request: Request, name: str) -> Response:
        """The answer's head. NetworkError, TaskTimeout, MalformedAnswer; what the body's Stream raises."""
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop) or contextvars.Context().run(self._new, loop)
        trip, patience = Trip(), Patience(request.timeout)
        work = _send(session, base, request, patience, trip)
        try:
            async with patience:
                # What connections hold for ever must not be the request that made them.
                answer = await (apart(work, _close) if len(contextvars.copy_context()) else work)
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError too
            raise _translated(error, request, trip, patience, name, self._size) from error
        trip.answer = answer
        return Response(answer, request, base.origin + base.path, name)

    async def close(self, timeout: float) -> None:
        """Close what this loop has; the next use opens anew."""
        running = asyncio.get_running_loop()
        for loop in list(self._sessions):
            if loop is running or loop.is_closed():
                session = self._sessions.pop(loop)
                _open.discard(session)
                await session.close()

    def _new(self, loop: asyncio.AbstractEventLoop) -> aiohttp.ClientSession:
        session = self._sessions[loop] = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._size, limit_per_host=self._each, keepalive_timeout=KEEP
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_TIMES,
            max_line_size=LONGEST_FIELD,
            max_field_size=LONGEST_FIELD,
            trace_configs=[_trace()],
        )
        _open.add(session)
        loops.at_end(self.close)
        return session


class Backend:
    """One member's connections (see `cluster.Backend`)."""

    def __init__(self, alias: Alias, member: Member) -> None:
        self.base = base_of(alias, member)
        self.name = f'{alias.name}: {member.address}'
        self.pool = Pool(alias.max_conns)

    async def send(self, request: Request) -> Response:
        return await self.pool.send(self.base, request, self.name)

    async def close(self, timeout: float) -> None:
        await self.pool.close(timeout)


async def _send(
    session: aiohttp.ClientSession, base: Base, request: Request, patience: Patience, trip: Trip
) -> aiohttp.ClientResponse:
    headers = request.headers
    if (base.user or base.password) and all(name != 'authorization' for name, _ in headers):
        headers = [*headers, ('authorization', basic(base.user, base.password))]
    body = request.body
    data: Any = body
    if isinstance(body, Stream):
        data = Parts(body, patience, trip)
    elif body is not None and len(body) > PIECE:
        data = Pieces(body, patience)
    return await session.request(
        request.method,
        URL(base.origin + base.path + request.target, encoded=True),
        headers=headers,
        data=data,
        allow_redirects=False,
        auto_decompress=request.decompress,
        skip_auto_headers=_WITH_DECODING if request.decompress else _AS_GIVEN,
        trace_request_ctx=trip,
    )


def _close(answer: aiohttp.ClientResponse) -> None:
    answer.close()


def _translated(
    error: Exception, request: Request, trip: Trip, patience: Patience, name: str, size: int
) -> BaseException:
    """What an error of aiohttp's means for who asked."""
    body = request.body
    if isinstance(body, Stream) and body.error is not None:
        return body.error
    if patience.expired:
        if trip.waiting:
            return PoolExhausted(
                f'{name}: all {size} connections were in use for {request.timeout:g} s; max_conns sets how '
                'many an alias may have'
            )
        return TaskTimeout(f'{name}: no answer within {request.timeout:g} s')
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return NetworkError(f'{name} cannot be reached: no answer within {CONNECT_TIMEOUT:g} s', False)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return NetworkError(f'{name} cannot be reached: {words(error.certificate_error)}', False)
    if isinstance(error, aiohttp.ClientConnectorError):
        return NetworkError(f'{name} cannot be reached: {words(error.os_error)}', False)
    if isinstance(error, aiohttp.ClientResponseError):
        return MalformedAnswer(f'{name}: the answer is not HTTP: {error.message.splitlines()[0]}')
    kind = KeptConnectionClosed if trip.reused else NetworkError
    return kind(f'{name}: the connection broke: {str(error) or type(error).__name__}', True)


def _trace() -> aiohttp.TraceConfig:
    """Tells Trips of what happens to them."""

    async def waits(session: Any, context: Any, params: Any) -> None:
        context.trace_request_ctx.waiting = True

    async def waits_no_more(session: Any, context: Any, params: Any) -> None:
        context.trace_request_ctx.waiting = False

    async def is_reused(session: Any, context: Any, params: Any) -> None:
        context.trace_request_ctx.reused = True

    async def is_new(session: Any, context: Any, params: Any) -> None:
        context.trace_request_ctx.reused = False

    trace = aiohttp.TraceConfig()
    trace.on_connection_queued_start.append(waits)
    trace.on_connection_queued_end.append(waits_no_more)
    trace.on_connection_reuseconn.append(is_reused)
    trace.on_connection_create_start.append(is_new)
    return trace


def basic(user: str, password: str) -> str:
    """The value of `Authorization` (RFC 7617)."""
    return 'Basic ' + base64.b64encode(f'{user}:{password}'.encode()).decode()


def forget() -> None:
    """In a forked child: the connections are the parent's."""
    global _open
    _inherited.append(_open)
    _open = set()
