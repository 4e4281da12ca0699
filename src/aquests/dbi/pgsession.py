"""A PostgreSQL connection that is held for a transaction or a cursor (`transactions.Session`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ..cluster import Cluster, Seat
from ..errors import NetworkError, TaskCancelled
from ..looptask import LoopTask
from ..task import Task
from .base import Options, Request, failure_of
from .postgresql import BROKEN, Backend, perform, records, statement_of


class Step(LoopTask):
    """One thing that a session does, after those before it."""

    __slots__ = ('_do',)

    def __init__(self, options: Options, do: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._do = do
        super().__init__(options.meta, options.filter, options.timeout)
        self._begin()

    def _work(self) -> Awaitable[Any]:
        return self._do()

    def _fail(self, error: BaseException) -> bool:
        return self._settle(failure_of(error))

    def _describe(self) -> str:
        return 'a step of a transaction'


class PgSession:
    """Touched by the loop's thread only, except for what makes Tasks.

    A step that fails by its statement leaves the session as PostgreSQL leaves a transaction: only a rollback
    helps. One that was cancelled, or whose connection broke, ends it.
    """

    def __init__(self, cluster: Cluster, options: Options) -> None:
        self._cluster = cluster
        self._options = options
        self._turn = asyncio.Lock()
        self._seat: Seat | None = None
        self._connection: Any = None
        self._transaction: Any = None
        self._cursor: Any = None
        self._closed = False

    # -- steps, made on any thread ----------------------------------------------------------------

    def execute(self, query: Any, params: Any = None) -> Task:
        statement = statement_of(query, params)

        async def do(connection: Any) -> Any:
            return await perform(connection, statement)

        return self._step(do)

    def open(self, query: Any, params: Any = None) -> Task:
        statement = statement_of(query, params)

        async def do(connection: Any) -> Any:
            self._cursor = await connection.cursor(statement.sql, *statement.values)

        return self._step(do)

    def take(self, count: int) -> Task:
        async def do(connection: Any) -> Any:
            if self._cursor is None:
                raise RuntimeError('nothing was executed with this cursor yet')
            return records(await self._cursor.fetch(count))

        return self._step(do)

    def commit(self) -> Task:
        async def do() -> None:
            transaction, self._transaction = self._transaction, None
            self._cursor = None
            if transaction is not None:
                await transaction.commit()

        return Step(self._options, lambda: self._guarded(do))

    def rollback(self) -> Task:
        async def do() -> None:
            transaction, self._transaction = self._transaction, None
            self._cursor = None
            if transaction is not None:
                await transaction.rollback()

        return Step(self._options, lambda: self._guarded(do))

    def close(self) -> None:
        from .. import loop

        try:
            loop.get().call_soon_threadsafe(self._end)
        except RuntimeError:  # the loop has ended, and with it the connection
            pass

    # -- on the loop ------------------------------------------------------------------------------

    def _step(self, do: Callable[[Any], Coroutine[Any, Any, Any]]) -> Task:
        async def step() -> Any:
            await self._begin()
            return await do(self._connection)

        return Step(self._options, lambda: self._guarded(step))

    async def _guarded(self, do: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run a step when those before it are done. What ends the session is seen here."""
        async with self._turn:
            if self._closed:
                raise TaskCancelled('this transaction has ended')
            try:
                return await do()
            except BROKEN as error:
                seat = self._seat
                self._end()
                if seat is None:
                    raise
                self._cluster.failed(seat)
                raise _backend(seat).broken(error) from error
            except (asyncio.CancelledError, NetworkError):
                self._end()
                raise

    async def _begin(self) -> None:
        """A connection and a transaction on it, where there is none yet."""
        if self._connection is None:
            self._seat, self._connection = await _connection(self._cluster)
            self._seat.active += 1
        if self._transaction is None:
            transaction = self._connection.transaction()
            await transaction.start()
            self._transaction = transaction

    def _end(self) -> None:
        """Give the connection back; what is open on it is rolled back, what runs there is cancelled."""
        self._closed = True
        seat, connection, transaction = self._seat, self._connection, self._transaction
        self._seat = self._connection = self._transaction = self._cursor = None
        if seat is not None:
            seat.active -= 1
            _backend(seat).recover(connection, transaction)


async def _connection(cluster: Cluster) -> tuple[Seat, Any]:
    """A connection to a member that can be reached."""
    tried: list[Seat] = []
    request = Request(True)
    while True:
        seat = cluster.pick(tried)
        try:
            connection = await _backend(seat).acquire(request)
        except NetworkError as error:
            cluster.failed(seat)
            tried.append(seat)
            if not cluster.goes_on(error, request, len(tried)):
                raise
        else:
            cluster.worked(seat)
            return seat, connection


def _backend(seat: Seat) -> Backend:
    backend = seat.backend
    assert isinstance(backend, Backend)
    return backend
