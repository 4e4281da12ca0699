"""A connection to a Redis server: bytes out, replies in, in the same order (RESP2).

Commands of many are sent one after the other without waiting for replies in between. A reply that nobody
wants any more is dropped when it comes: giving up a command disturbs no other.

Touched by the loop's thread only.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
import redis
from redis.connection import DefaultParser

from ..aliases import Alias, Member
from ..errors import NetworkError
from ..tls import words

#: Seconds to connect and to be let in.
CONNECT_TIMEOUT = 3.0
#: Seconds that a connection which has been replaced has for what is still under way on it.
RETIRED = 30.0
#: Seconds after which a peer counts as gone that acknowledges nothing.
SILENT_PEER = 15

_NOTHING = object()


class Link(asyncio.Protocol):
    """`name`: for messages. `listener`: gets what no command asked for; without one that is an error. `raw`:
    whether its texts stay bytes. `closed`: a future, done when the connection is. `heard`: the loop's time
    when the last bytes came.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._reader = _reader()
        self._transport: asyncio.Transport | None = None
        # For each reply to come: whether it stays bytes, the list that it goes to or None, and who waits,
        # with the last of a list only.
        self._expected: deque[tuple[bool, list[Any] | None, asyncio.Future[Any] | None]] = deque()
        self._resumed: asyncio.Future[None] | None = None
        self._retired: asyncio.TimerHandle | None = None
        self._reason: BaseException | None = None
        self.listener: Callable[[Any], None] | None = None
        self.raw = False
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.heard = 0.0

    @property
    def usable(self) -> bool:
        return self._transport is not None and self._retired is None and not self._transport.is_closing()

    @property
    def busy(self) -> bool:
        """Whether somebody waits for a reply."""
        return any(future is not None and not future.done() for _, _, future in self._expected)

    def write(self, data: bytes) -> None:
        """Send what is answered to `listener`."""
        assert self._transport is not None
        self._transport.write(data)

    def send(self, data: bytes, raws: Sequence[bool]) -> asyncio.Future[Any]:
        """Send commands. The reply of one, the list of replies of several; NetworkError where the link broke.

        `raws`: for each reply to come, whether its texts stay bytes. Errors are values, not raised.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self.usable:
            future.set_result(self._broken(False))
            return future
        expected = self._expected
        if len(raws) == 1:
            expected.append((raws[0], None, future))
        else:
            replies: list[Any] = []
            expected.extend((raw, replies, None) for raw in raws[:-1])
            expected.append((raws[-1], replies, future))
        self.write(data)
        return future

    async def room(self) -> None:
        """Wait until what was sent has been taken."""
        while self._resumed is not None:
            await asyncio.shield(self._resumed)

    def retire(self) -> None:
        """Close when nothing is under way any more, or in a while."""
        if self._retired is None and not self.closed.done():
            self._retired = self._loop.call_later(RETIRED, self.abort)
        self.given_up()

    def given_up(self) -> None:
        """Somebody doesn't wait any more: a retired connection has to stay only for others."""
        if self._retired is not None and not self.busy:
            self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- called by the loop -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is none by name
        _watch_peer(transport.get_extra_info('socket'))

    def data_received(self, data: bytes) -> None:
        self.heard = self._loop.time()
        reader, expected = self._reader, self._expected
        try:
            reader.feed(data)
            while True:
                reply = reader.gets(not (expected[0][0] if expected else self.raw))
                if reply is _NOTHING:
                    break
                self._arrived(reply)
        except (hiredis.HiredisError, redis.RedisError) as error:
            self._reason = error
            self.abort()
        if self._retired is not None:
            self.given_up()

    def _arrived(self, reply: Any) -> None:
        if self._expected:
            _, replies, future = self._expected.popleft()
            if replies is not None:
                replies.append(reply)
                reply = replies
            if future is not None and not future.done():
                future.set_result(reply)
        elif self.listener is not None:
            self.listener(reply)
        else:
            raise redis.InvalidResponse(f'a reply that nothing was sent for: {reply!r:.200}')

    def connection_lost(self, error: Exception | None) -> None:
        self._reason = self._reason or error
        if self._retired is not None:
            self._retired.cancel()
        self.resume_writing()
        while self._expected:
            _, _, future = self._expected.popleft()
            if future is not None and not future.done():
                future.set_result(self._broken(True))
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._resumed = self._loop.create_future()

    def resume_writing(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)

    def _broken(self, sent: bool) -> NetworkError:
        reason = self._reason
        why = 'the server closed the connection' if reason is None else words(reason)
        return NetworkError(f'{self._name}: {why}', sent)


async def open_link(
    alias: Alias, member: Member, database: int, secured: ssl.SSLContext | None = None
) -> Link:
    """A connection that has been let in to `database`. `secured`: what makes it one with TLS.

    NetworkError (not sent) where there is none; the server's error, as redis-py has it, where it refuses.
    """
    name = f'{alias.name}: {member.address}'
    loop = asyncio.get_running_loop()
    link: Link | None = None
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, link = await loop.create_connection(
                lambda: Link(name), member.host or 'localhost', member.port, ssl=secured
            )
            await _enter(link, member, database)
    except BaseException as error:
        if link is not None:
            link.abort()
        if isinstance(error, OSError):  # NetworkError and TimeoutError too
            reason = (
                f'no answer within {CONNECT_TIMEOUT:g} s' if type(error) is TimeoutError else words(error)
            )
            raise NetworkError(f'{name} cannot be reached: {reason}', False) from error
        raise
    return link


async def _enter(link: Link, member: Member, database: int) -> None:
    commands: list[Any] = []
    if member.user:
        commands.append(('AUTH', member.user, member.password))
    elif member.password:
        commands.append(('AUTH', member.password))
    # Also for the first: a server that is still loading, or has no place for us, says so here.
    commands.append(('SELECT', str(database)))
    for command in commands:
        reply = await link.send(hiredis.pack_command(command), (False,))
        if isinstance(reply, Exception):
            raise translated(reply, False)


def translated(error: Exception, sent: bool) -> Exception:
    """An error reply: NetworkError where the server is there, but not for us."""
    if isinstance(error, redis.BusyLoadingError) or type(error) is redis.ConnectionError:
        return NetworkError(f'the server says: {error}', sent)
    return error


def _reader() -> Any:
    # What is no UTF-8 can be read too, and written back: its bytes become single surrogates (PEP 383).
    return hiredis.Reader(
        protocolError=redis.InvalidResponse,
        replyError=DefaultParser.parse_error,
        encoding='utf-8',
        errors='surrogateescape',
        notEnoughData=_NOTHING,
    )


def _watch_peer(peer: socket.socket | None) -> None:
    """Have the system notice a peer that vanished without a word: busy is who acknowledges, only silent."""
    if peer is None or peer.family not in (socket.AF_INET, socket.AF_INET6):
        return
    options = {
        'TCP_KEEPIDLE': SILENT_PEER,
        'TCP_KEEPINTVL': 5,
        'TCP_KEEPCNT': 3,
        'TCP_USER_TIMEOUT': 1000 * SILENT_PEER,
        'TCP_NODELAY': 1,
    }
    with contextlib.suppress(OSError):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            if hasattr(socket, name):
                peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
