"""A PostgreSQL connection that is held for a transaction or a cursor (`transactions.Session`).

A statement that fails leaves its transaction as PostgreSQL leaves it: only a rollback helps, and a commit
says so. A step that was cancelled or timed out, or whose connection broke, ends the session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from ..cluster import Cluster, Seat
from ..errors import NetworkError, TaskCancelled, TaskTimeout
from ..keeping import Options
from ..looptask import LoopTask
from ..task import Task
from .base import Request, exhausted, failure_of
from .pgrefusals import look
from .postgresql import Backend, Script, is_broken, perform, records, request_of, statement_of


class Step(LoopTask):
    """One thing that a session does, after those before it."""

    __slots__ = ('_do', '_session')

    def __init__(
        self, session: PgSession, options: Options, do: Callable[[], Coroutine[Any, Any, Any]], rows: bool
    ) -> None:
        """`rows`: its result is rows, and to be filtered."""
        self._session = session
        self._do = do
        super().__init__(options.meta, options.filter if rows else None, options.timeout)
        self._begin()

    def _work(self) -> Awaitable[Any]:
        return self._session.in_turn(self._do)

    def _fail(self, error: BaseException) -> bool:
        return self._settle(failure_of(error))

    def _stop(self) -> None:
        self._session.close()

    def _too_late(self) -> TaskTimeout:
        return self._session.too_late(self._describe()) or super()._too_late()

    def _describe(self) -> str:
        return f'a step of a {self._session.name}'


class PgSession:
    """`writes`: a transaction, else a cursor, whose transaction is read-only.

    Touched by the loop's thread only, except for what makes Tasks.
    """

    def __init__(self, cluster: Cluster, options: Options, writes: bool) -> None:
        self.name = f'{"transaction on" if writes else "cursor of"} {cluster.alias.name}'
        self._cluster = cluster
        self._options = options
        self._writes = writes
        self._turn = asyncio.Lock()
        #: What has its turn or waits for it.
        self._steps: set[asyncio.Task[Any] | None] = set()
        self._request = Request(True)
        self._seat: Seat | None = None
        self._connection: Any = None
        self._transaction: Any = None
        self._cursor: Any = None
        self._values: Sequence[Any] = ()  # of the statement that the cursor reads
        #: Why the transaction cannot be committed.
        self._failed: BaseException | None = None
        self._closed = False

    # -- steps, made on any thread ----------------------------------------------------------------

    def execute(self, query: Any, params: Any = None) -> Task:
        request = request_of(query, params)

        async def do() -> Any:
            connection = await self._begun()
            rows: list[Any] = []
            for statement in request.statements if isinstance(request, Script) else (request,):
                rows = await perform(connection, statement)
            return rows

        return self._step(do, rows=True)

    def open(self, query: Any, params: Any = None) -> Task:
        statement = statement_of(query, params)
        if statement.several:
            raise TypeError('a cursor reads the rows of one statement, not of several')

        async def do() -> None:
            connection = await self._begun()
            self._cursor, self._values = None, statement.values
            self._cursor = await connection.cursor(statement.sql, *statement.values)

        return self._step(do)

    def take(self, count: int) -> Task:
        async def do() -> Any:
            if self._cursor is None:
                raise RuntimeError('nothing was executed with this cursor yet')
            return records(await self._cursor.fetch(count))

        return self._step(do, rows=True)

    def commit(self) -> Task:
        async def do() -> None:
            transaction, self._transaction = self._transaction, None
            failed, self._failed = self._failed, None
            if failed is not None:
                if transaction is not None:
                    await transaction.rollback()
                raise RuntimeError(
                    f'nothing was committed, for a statement of this transaction had failed: {failed}'
                ) from failed
            if transaction is not None:
                await transaction.commit()

        return self._step(do)

    def rollback(self) -> Task:
        async def do() -> None:
            transaction, self._transaction = self._transaction, None
            self._failed = None
            if transaction is not None:
                await transaction.rollback()

        return self._step(do)

    def close(self) -> None:
        from .. import loop

        try:
            loop.get().call_soon_threadsafe(self.end)
        except RuntimeError:  # the loop has ended, and with it the connection
            pass

    def too_late(self, who: str) -> TaskTimeout | None:
        return exhausted(who, self._cluster.alias) if self._request.waiting else None

    def _step(self, do: Callable[[], Coroutine[Any, Any, Any]], rows: bool = False) -> Task:
        return Step(self, self._options, do, rows)

    # -- on the loop ------------------------------------------------------------------------------

    async def in_turn(self, do: Callable[[], Awaitable[Any]]) -> Any:
        """Run a step when those before it are done. What ends the session is seen here."""
        step = asyncio.current_task()
        self._steps.add(step)
        try:
            async with self._turn:
                if self._closed:
                    raise TaskCancelled(f'this {self.name} has ended')
                return await self._watched(do)
        except asyncio.CancelledError:
            self.end()
            raise
        finally:
            self._steps.discard(step)
            if self._closed and not self._steps:
                self._give_back()

    async def _watched(self, do: Callable[[], Awaitable[Any]]) -> Any:
        try:
            value = await do()
        except NetworkError:
            self.end()
            raise
        except Exception as error:
            look(error, self._values)
            seat = self._seat
            if seat is not None and is_broken(error, self._connection):
                self.end()
                self._cluster.failed(seat)
                raise _backend(seat).broken(error) from error
            # Those without a severity are the driver's own: it sent nothing.
            if getattr(error, 'severity', None) is not None and self._transaction is not None:
                self._failed = error
            if isinstance(error, asyncpg.ReadOnlySQLTransactionError) and not self._writes:
                error.add_note('a cursor only reads: use was.transaction or was.db for what writes')
            raise
        self._failed = None  # it did something after that, so the user has helped himself (ROLLBACK TO)
        return value

    async def _begun(self) -> Any:
        """The connection, with a transaction on it."""
        if self._connection is None:
            self._seat, self._connection = await self._acquire()
            self._seat.active += 1
            _backend(self._seat).sessions.add(self)
        if self._transaction is None:
            self._transaction = self._connection.transaction(readonly=not self._writes)
            await self._transaction.start()
        return self._connection

    async def _acquire(self) -> tuple[Seat, Any]:
        """A connection to a member that can be reached."""
        tried: list[Seat] = []
        while True:
            seat = self._cluster.pick(tried)
            try:
                connection = await _backend(seat).acquire(self._request)
            except NetworkError as error:
                self._cluster.failed(seat)
                tried.append(seat)
                if not self._cluster.goes_on(error, self._request, len(tried)):
                    raise
            else:
                self._cluster.worked(seat)
                return seat, connection

    def end(self) -> None:
        """Cancel what is under way; then the connection is given back, and what is open is rolled back."""
        if not self._closed:
            self._closed = True
            for step in self._steps - {asyncio.current_task()}:
                assert step is not None
                step.cancel()
            if not self._steps:
                self._give_back()

    def _give_back(self) -> None:
        seat, connection, transaction = self._seat, self._connection, self._transaction
        self._seat = self._connection = self._transaction = self._cursor = None
        if seat is not None:
            seat.active -= 1
            _backend(seat).sessions.discard(self)
            _backend(seat).recover(connection, transaction)


def _backend(seat: Seat) -> Backend:
    backend = seat.backend
    assert isinstance(backend, Backend)
    return backend
