"""Queries that wait for a connection to PostgreSQL, and those that take them.

A query is put into its member's queue; each connection in use takes one after the other (`_Taker`). So it has
no coroutine of its own, nor to wait for its turn at the pool, and many at once cost less than by themselves.

Everything here is touched by the loop's thread only, except `Query._begin` and what Tasks are for everybody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any

from ..cluster import Seat
from ..errors import NetworkError, TaskCancelled
from .base import Query as BaseQuery
from .connections import Connections


class Query(BaseQuery):
    """A request to PostgreSQL. It goes from the loop's inbox into a queue, not into a coroutine."""

    __slots__ = ('_at', '_taker', '_tried')

    def _begin(self) -> None:
        self._at: Seat | None = None
        self._taker: _Taker | None = None
        self._tried: tuple[Seat, ...] = ()
        super()._begin()

    # -- on the loop ------------------------------------------------------------------------------------

    def _start(self) -> None:
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

    `perform (connection, request)` carries one out. `take_back (connection, clean, error)` takes a connection
    back after an error, and tells what is raised in its place; `recover (connection)` brings one in order.
    """

    def __init__(
        self,
        connections: Connections[Any],
        perform: Callable[[Any, Any], Awaitable[Any]],
        take_back: Callable[[Any, bool, BaseException], NetworkError | None],
        recover: Callable[[Any], None],
    ) -> None:
        self.connections = connections
        self.perform, self.take_back, self.recover = perform, take_back, recover
        self._waiting: deque[Query] = deque()
        self._closed = False
        self.takers: set[_Taker] = set()
        connections.on_free = self._serve

    def put(self, query: Query) -> None:
        if self._closed:
            query.failed(TaskCancelled('the connections were closed'))
            return
        query.request.waiting = True
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

    def _serve(self) -> None:
        """One more takes queries, if there is a connection to be had."""
        if self._waiting:
            connection = self.connections.take()
            if connection is not None or self.connections.reserve():
                self.takers.add(_Taker(self, connection))


class _Taker:
    """A connection that takes queries until there are none, or somebody else waits for it.

    `connection`: None for the place of one, which it makes for the first query.
    """

    __slots__ = ('_connection', '_query', '_queue', '_task')

    def __init__(self, queue: Queue, connection: Any) -> None:
        self._queue = queue
        self._connection = connection
        self._query: Query | None = None
        # In a context of its own: it must not keep the request that happens to be the first.
        self._task = asyncio.get_running_loop().create_task(self._take(), context=Context())

    def stop(self) -> None:
        """Stop what is done; the connection is then brought in order."""
        self._task.cancel()

    async def _take(self) -> None:
        queue, connection = self._queue, self._connection
        connections, perform = queue.connections, queue.perform
        clean = True
        try:
            while clean and not connections.wanted and (query := queue.next()) is not None:
                self._query = query
                query.taken(self)
                if connection is None:
                    connection = self._connection = await connections.connect()
                request = query.request
                clean = request.clean
                rows = await perform(connection, request)
                self._query = None
                query.answered(rows)
        except BaseException as error:
            # Without this frame, which would keep the query, and be kept by this name.
            trace = error.__traceback__
            trace = trace and trace.tb_next
            self._failed(error.with_traceback(trace), clean)
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            if not clean:
                queue.recover(connection)
            elif connection is None:
                connections.forget()
            else:
                connections.release(connection)
        finally:
            queue.takers.discard(self)

    def _failed(self, error: BaseException, clean: bool) -> None:
        """The query has failed, or the making of a connection for it; the connection goes."""
        query, self._query = self._query, None
        if self._connection is None:
            self._queue.connections.forget()
        else:
            broken = self._queue.take_back(self._connection, clean, error)
            if broken is not None:
                broken.__cause__ = error
                error = broken
        if query is not None:
            query.failed(error)
