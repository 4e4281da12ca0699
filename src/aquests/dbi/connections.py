"""A pool of connections to one server, on the event loop.

Rules. There are at most `size` connections; who finds all in use waits in arrival order. The last that was
given back is taken first; those that nobody took for `keep` seconds are closed. A connection that is no
longer usable is not handed out: that is the whole health check, for a server that went away closes its ends.

Who waits elsewhere (`pgqueries.Queue`) takes a number with `turn ()`, as those here do, and is asked for it
by `rival`: what becomes free is for the lowest.

Touched by the loop's thread only.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from itertools import count
from time import monotonic
from typing import Generic, Protocol, TypeVar

C = TypeVar('C')

#: Seconds that an unused connection is kept.
KEEP = 300.0


class Waiter(Protocol):
    """`waiting` is true while it waits because all connections are in use."""

    waiting: bool


def _nobody() -> None:
    """Nobody takes what is free."""


def _never() -> float:
    """Nobody waits elsewhere."""
    return math.inf


class Connections(Generic[C]):
    """`connect ()` makes a connection, `close (connection)` ends it, `usable (connection)` is asked of those
    that were not in use for a while.
    """

    __slots__ = (
        '_close',
        '_closed',
        '_closing',
        '_connect',
        '_free',
        '_made',
        '_reaping',
        '_usable',
        '_waiting',
        'on_free',
        'rival',
        'size',
        'turn',
    )

    def __init__(
        self,
        connect: Callable[[], Awaitable[C]],
        close: Callable[[C], Awaitable[object]],
        usable: Callable[[C], bool],
        size: int,
    ) -> None:
        self._connect, self._close, self._usable = connect, close, usable
        self.size = size
        self._free: list[tuple[C, float]] = []
        self._made = 0
        self._waiting: deque[tuple[int, asyncio.Future[C | None]]] = deque()
        #: Gives the next number of who waits.
        self.turn = count().__next__
        #: Gives the number of who waits elsewhere and takes what is left free; infinity for nobody.
        self.rival: Callable[[], float] = _never
        self._reaping: asyncio.TimerHandle | None = None
        #: Called when a connection, or the place for one, is left free.
        self.on_free: Callable[[], object] = _nobody
        self._closed = False
        self._closing: set[asyncio.Future[object]] = set()

    def counts(self) -> tuple[int, int, int]:
        """(made, free, waiting), for the curious."""
        return self._made, len(self._free), len(self._waiting)

    async def acquire(self, waiter: Waiter | None = None) -> C:
        """A connection, to be given back with `release` or `discard`. Raises what `connect` does."""
        connection = self.take()
        if connection is not None:
            return connection
        if not self.reserve():
            connection = await self._wait(waiter)
            if connection is not None:
                return connection
        try:
            return await self._connect()
        except BaseException:
            self.forget()
            raise

    @property
    def wanted(self) -> float:
        """The number of who waits in `acquire`; infinity for nobody."""
        return self._waiting[0][0] if self._waiting else math.inf

    def take(self) -> C | None:
        """A connection that is free, if there is one; to be given back as those of `acquire`."""
        while self._free:
            connection, _ = self._free.pop()
            if self._usable(connection):
                return connection
            self._made -= 1
            self._let_go(connection)
        return None

    def reserve(self) -> bool:
        """Take the place of a connection that may be made; then `connect`, or give it back by `forget`."""
        if self._made >= self.size:
            return False
        self._made += 1
        return True

    async def connect(self) -> C:
        """Make a connection for a reserved place. Where that fails the place is still the caller's."""
        return await self._connect()

    def forget(self) -> None:
        """There is one connection less: its place is for who waits."""
        if not self._wake(None):
            self._made -= 1
            self.on_free()

    def release(self, connection: C) -> None:
        """Give a connection back that can be used again."""
        if self._closed or not self._usable(connection):
            self.discard(connection)
        elif not self._wake(connection):
            self._free.append((connection, monotonic()))
            if self._reaping is None:
                self._reaping = asyncio.get_running_loop().call_later(KEEP / 2, self._reap, context=Context())
            self.on_free()

    def discard(self, connection: C) -> None:
        """Give a connection back that cannot be used again: it is closed, in the background."""
        self._let_go(connection)
        self.forget()

    async def close(self) -> None:
        """Close what is free; what is in use is closed when it is given back."""
        self._closed = True
        free, self._free = self._free, []
        if self._reaping is not None:
            self._reaping.cancel()
            self._reaping = None
        self._made -= len(free)
        closing = [self._close(connection) for connection, _ in free]
        await asyncio.gather(*closing, *self._closing, return_exceptions=True)

    # -- inside -------------------------------------------------------------------------------------

    async def _wait(self, waiter: Waiter | None) -> C | None:
        """Another's connection, or None for its place: one may be made then."""
        place: asyncio.Future[C | None] = asyncio.get_running_loop().create_future()
        entry = (self.turn(), place)
        self._waiting.append(entry)
        if waiter is not None:
            waiter.waiting = True
        try:
            return await place
        except asyncio.CancelledError:
            if place.cancelled():
                with contextlib.suppress(ValueError):
                    self._waiting.remove(entry)
            else:  # given at the very moment
                given = place.result()
                if given is None:
                    self.forget()
                else:
                    self.release(given)
            raise
        finally:
            if waiter is not None:
                waiter.waiting = False

    def _let_go(self, connection: C) -> None:
        closing: asyncio.Future[object] = asyncio.ensure_future(self._close(connection))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _wake(self, connection: C | None) -> bool:
        while self._waiting:
            if self.rival() < self._waiting[0][0]:
                return False
            _, place = self._waiting.popleft()
            if not place.done():
                place.set_result(connection)
                return True
        return False

    def _reap(self) -> None:
        """Close what nobody took for long."""
        self._reaping = None
        old = monotonic() - KEEP
        unused = [connection for connection, since in self._free if since < old]
        self._free = [(connection, since) for connection, since in self._free if since >= old]
        for connection in unused:
            self._made -= 1
            self._let_go(connection)
        if self._free:
            self._reaping = asyncio.get_running_loop().call_later(KEEP / 2, self._reap, context=Context())
