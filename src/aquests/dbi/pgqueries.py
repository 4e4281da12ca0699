"""Queries that wait for a connection to PostgreSQL, and those that take them.

A query is put into its member's queue; each connection in use takes one after the other (`_Taker`). So it has
no coroutine of its own, nor to wait for its turn at the pool, and many at once cost less than by themselves.

Where several queries wait, a connection takes more than one: as many of the same statement as come next are
sent in one go (`perform_together`), if it only looks, and has worked before. How many: its share where more
wait than there are connections; more of a statement that is quick, for one message and one wake-up cost both
sides less than many, and nobody waits longer for it than a moment (`QUICK`).

Everything here is touched by the loop's thread only, except `Query._begin` and what Tasks are for everybody.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from time import monotonic
from typing import Any

from ..cluster import Seat
from ..errors import NetworkError, TaskCancelled
from .base import Query as BaseQuery
from .connections import Connections

#: Queries that a connection takes at once, at most; statements that are remembered to have worked.
TOGETHER = 32
PROVEN = 1000
#: Seconds that queries which are sent together may take for no other reason than that they are quick.
QUICK = 0.001
#: Seconds that those sent together get to their end, when one of them is given up.
PARTING = 0.05
#: How slowly it is believed that a statement has become slower: the loop may have been busy.
SLOWER = 1.05
SYNTAX_ERROR = '42601'


class Query(BaseQuery):
    """A request to PostgreSQL. It goes from the loop's inbox into a queue, not into a coroutine."""

    __slots__ = ('_at', '_taker', '_tried', 'alone', 'turn')

    def _begin(self) -> None:
        self._at: Seat | None = None
        self._taker: _Taker | None = None
        self._tried: tuple[Seat, ...] = ()
        #: It is not to be sent with others: one of those it was sent with has failed.
        self.alone = False
        #: Its number among those that wait for a connection.
        self.turn = 0
        super()._begin()

    # -- on the loop ------------------------------------------------------------------------------------

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._context = None
        if self._result is None:
            self._seek()

    def _cancel(self) -> None:
        """It is over: if it runs, that is stopped; if it waits, it will be passed over."""
        if self._taker is not None:
            self._taker.stop()

    def _seek(self) -> None:
        """Join a member's queue."""
        seat = self._at = self._seat or self._cluster.pick(self._tried)
        seat.active += 1
        seat.backend.queue.put(self)  # type: ignore[attr-defined]  # it is PostgreSQL's

    @property
    def request(self) -> Any:
        return self._request

    def taken(self, taker: _Taker) -> None:
        self._request.waiting = False
        self._taker = taker

    def passed_over(self) -> None:
        assert self._at is not None
        self._at.active -= 1

    def answered(self, rows: Any) -> None:
        seat = self._at
        assert seat is not None
        self._taker = None
        seat.active -= 1
        if seat.failures:
            self._cluster.worked(seat)
        self._succeed(rows)

    def failed(self, error: BaseException) -> None:
        """Fail, or go on with another member."""
        seat = self._at
        assert seat is not None
        self._taker = None
        seat.active -= 1
        if isinstance(error, NetworkError):
            self._cluster.failed(seat)
            self._tried = (*self._tried, seat)
            going = self._seat is None and self._result is None
            if going and self._cluster.goes_on(error, self._request, len(self._tried)):
                self._seek()
                return
        elif isinstance(error, asyncio.CancelledError):
            error = TaskCancelled(f'{self._describe()} was cancelled')
        self._fail(error)


class Queue:
    """The queries that wait for one member. There are takers as long as there are queries and connections.

    `perform (connection, request)` carries one out, `perform_together (connection, requests)` several.
    `take_back (connection, clean, error)` takes a connection back after an error, and tells what is raised in
    its place; `recover (connection)` brings one in order.
    """

    def __init__(
        self,
        connections: Connections[Any],
        perform: Callable[[Any, Any], Awaitable[Any]],
        perform_together: Callable[[Any, Any], Awaitable[Any]],
        take_back: Callable[[Any, bool, BaseException], NetworkError | None],
        recover: Callable[[Any], None],
    ) -> None:
        self.connections = connections
        self.perform, self.perform_together = perform, perform_together
        self.take_back, self.recover = take_back, recover
        #: Kinds of requests that have worked alone: seconds that each takes, None if not to be sent together.
        self._proven: dict[Any, float | None] = {}
        self._waiting: deque[Query] = deque()
        #: How many of those that wait are for takers that are about to begin.
        self._expected = 0
        self._closed = False
        self.takers: set[_Taker] = set()
        connections.on_free = self._serve
        connections.rival = self._first

    def put(self, query: Query) -> None:
        if self._closed:
            query.failed(TaskCancelled('the connections were closed'))
            return
        query.request.waiting = True
        query.turn = self.connections.turn()
        self._waiting.append(query)
        self._serve()

    def close(self) -> None:
        """Nobody is going to carry out what waits, or comes."""
        self._closed = True
        while (query := self.next()) is not None:
            query.failed(TaskCancelled('the connections were closed'))

    def next(self) -> Query | None:
        """The next that still waits."""
        waiting = self._waiting
        while waiting:
            query = waiting.popleft()
            if query._result is None:
                return query
            query.passed_over()
        return None

    def goes_first(self) -> bool:
        """Whether one of these is to go before who waits for a connection to have it for longer."""
        wanted = self.connections.wanted
        return wanted == math.inf or self._first() < wanted

    def _first(self) -> float:
        """The number of the next that still waits; infinity for none."""
        waiting = self._waiting
        while waiting:
            if waiting[0]._result is None:
                return waiting[0].turn
            waiting.popleft().passed_over()
        return math.inf

    def share(self, query: Query) -> list[Query]:
        """`query`, which was taken, and those after it that a connection may do with it."""
        waiting, size = self._waiting, self.connections.size
        taken = [query]
        like = query.request.like
        if waiting and like is not None and not query.alone and (each := self._proven.get(like)) is not None:
            share = min(max((len(waiting) + size) // size, int(QUICK / each)), TOGETHER)
            while len(taken) < share and waiting:
                other = waiting[0]
                if other._result is not None:
                    waiting.popleft().passed_over()
                elif other.request.like == like and not other.alone:
                    taken.append(waiting.popleft())
                else:
                    break
        return taken

    def proven(self, like: Any, seconds: float) -> None:
        """A request like this has worked by itself, or several together, in so many seconds each."""
        each = self._proven.get(like, math.inf)
        if each is math.inf and len(self._proven) >= PROVEN:
            self._proven.clear()
        if each is not None:
            self._proven[like] = max(min(seconds, each * SLOWER), 1e-6)

    def put_back(self, queries: list[Query], error: BaseException) -> None:
        """Some failed together, or were parted: each is done by itself now, and fails if it does then."""
        if getattr(error, 'sqlstate', None) == SYNTAX_ERROR:  # it cannot be a part of another statement
            self._proven[queries[0].request.like] = None
        for query in reversed(queries):
            query.alone = True
            query.request.waiting = True
            self._waiting.appendleft(query)
        self._serve()

    def not_reached(self, error: NetworkError) -> None:
        """A connection could not be made. Where there is no other either, nobody waits for one in vain."""
        connecting = sum(taker.connects for taker in self.takers)
        if self.connections.counts()[0] > connecting:
            return
        waiting, self._waiting = self._waiting, deque()
        for query in waiting:
            if query.done():
                query.passed_over()
            else:
                query.failed(error)

    def began(self, expected: int) -> None:
        """A taker has taken what it does first."""
        self._expected -= expected
        self._serve()

    def _serve(self) -> None:
        """More take queries, if there are connections to be had."""
        while len(self._waiting) > self._expected:
            connection = self.connections.take()
            if connection is None and not self.connections.reserve():
                return
            each = self._proven.get(self._waiting[-1].request.like)
            expected = 1 if each is None or connection is None else max(1, min(int(QUICK / each), TOGETHER))
            self._expected += expected
            self.takers.add(_Taker(self, connection, expected))


class _Taker:
    """A connection that takes queries until there are none, or it is somebody else's turn.

    `connection`: None for the place of one, which it makes for the first query.
    """

    __slots__ = ('_clean', '_connection', '_expected', '_parted', '_queries', '_queue', '_task')

    def __init__(self, queue: Queue, connection: Any, expected: int) -> None:
        self._queue = queue
        self._connection = connection
        self._expected = expected  # so many of those that wait, at first
        self._clean = True
        self._parted = False  # those under way were stopped for one of them: the others are begun anew
        self._queries: list[Query] = []  # those under way
        # In a context of its own: it must not keep the request that happens to be the first.
        self._task = asyncio.get_running_loop().create_task(self._take(), context=Context())

    @property
    def connects(self) -> bool:
        """Whether its connection is still to be made."""
        return self._connection is None

    def stop(self) -> None:
        """Stop what is done, if nobody wants it any more; the connection is then brought in order.

        Where others were sent with it, they may be waiting for it: if that lasts they are parted.
        """
        if all(query.done() for query in self._queries):
            self._task.cancel()
        else:
            loop = asyncio.get_running_loop()
            loop.call_later(PARTING, self._part, self._queries, context=Context())

    def _part(self, queries: list[Query]) -> None:
        if self._queries is queries:
            self._parted = True
            self._task.cancel()

    async def _take(self) -> None:
        queue = self._queue
        try:
            while self._clean and queue.goes_first() and (query := queue.next()) is not None:
                query.taken(self)
                self._queries = [query]
                if self._connection is None:
                    self._begin()
                    self._connection = await queue.connections.connect()
                self._queries = queries = queue.share(query)
                self._begin()
                if len(queries) == 1:
                    await self._do(query)
                else:
                    await self._do_together(queries)
                self._queries = []
        except BaseException as error:
            # Without this frame, which would keep the queries, and be kept by this name.
            trace = error.__traceback__
            trace = trace and trace.tb_next
            self._failed(error.with_traceback(trace))
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            if not self._clean:
                queue.recover(self._connection)
            elif self._connection is None:
                queue.connections.forget()
            else:
                queue.connections.release(self._connection)
        finally:
            queue.takers.discard(self)
            self._begin()

    def _begin(self) -> None:
        expected, self._expected = self._expected, 0
        if expected:
            self._queue.began(expected)

    async def _do(self, query: Query) -> None:
        request = query.request
        self._clean = request.clean
        before = monotonic()
        rows = await self._queue.perform(self._connection, request)
        if request.like is not None:
            self._queue.proven(request.like, monotonic() - before)
        self._queries = []
        query.answered(rows)

    async def _do_together(self, queries: list[Query]) -> None:
        for query in queries:
            query.taken(self)
        before = monotonic()
        found = await self._queue.perform_together(self._connection, [query.request for query in queries])
        self._queue.proven(queries[0].request.like, (monotonic() - before) / len(queries))
        self._queries = []
        for query, rows in zip(queries, found, strict=True):
            query.answered(rows)

    def _failed(self, error: BaseException) -> None:
        """The queries have failed, or the making of a connection for them; the connection goes."""
        queries, self._queries = self._queries, []
        together = len(queries) > 1 and (self._parted or isinstance(error, Exception))
        if self._connection is None:
            if isinstance(error, NetworkError):
                self._queue.not_reached(error)
            self._queue.connections.forget()
        else:
            broken = self._queue.take_back(self._connection, self._clean, error)
            if broken is not None:
                broken.__cause__ = error
                error, together = broken, False
        if together:
            self._queue.put_back(queries, error)
            return
        for query in queries:
            query.failed(error)
