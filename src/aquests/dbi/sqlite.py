"""SQLite, by the standard library's sqlite3 (SPEC DB-02 to DB-05, SQ).

For each file one thread that writes and up to 8 that read, each with a connection of its own
(`sqlitefile`), in WAL mode: readers don't wait for the writer, nor it for them. A Task goes to such a thread
from where it is made, not over the event loop; its filter runs there. Several members are several files; none
replaces another.

`:memory:` has one thread and connection for everything, and is gone when that is closed.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from .. import loop as loops
from .. import pools
from ..aliases import Alias, Member
from ..cluster import Cluster, Seat
from ..errors import PoolExhausted, TaskTimeout
from ..keeping import Options
from ..places import Pool, Runner
from ..sql import SQLITE, Builder, Entry
from ..task import Task
from ..threads import begin
from .base import Interface as Base
from .base import Query as BaseQuery
from .base import Request
from .sqlitefile import LOCKED, MEMORY, QUEUE, Connection, bare, refused_to_write
from .sqliterefusals import look
from .sqlitestatements import Script, Statement, perform, request_of
from .sqlitevalues import bound
from .transactions import Cursor, Transaction

#: Threads that read a file at most.
READERS = 8
#: Seconds that an idle thread and its connection are kept.
KEEP = 300.0


class Backend:
    """The threads and connections of one file."""

    def __init__(self, alias: Alias, member: Member) -> None:
        self.path = MEMORY if member.path == MEMORY else os.path.abspath(member.path)
        self._shared: Connection | None = None
        if self.path == MEMORY:
            self._shared = Connection(MEMORY, True)
            self.writer = self.readers = self._pool(f'{alias.name}-sqlite', 1, True)
        else:
            self.writer = self._pool(f'{alias.name}-writer', 1, True)
            self.readers = self._pool(f'{alias.name}-reader', min(alias.max_conns, READERS), False)
        with suppress(RuntimeError):  # the interpreter ends
            loops.get()  # at its end we are closed; no other use is made of it

    def pool(self, writes: bool) -> Pool:
        return self.writer if writes else self.readers

    def too_late(self, who: str, hindrance: str, writes: bool) -> TaskTimeout | None:
        """The error of what waited for others until its time was up."""
        if hindrance == LOCKED:
            return TaskTimeout(
                f'{who}: {self.path} was locked by another process or connection until its time was up'
            )
        if hindrance != QUEUE:
            return None
        if self.readers is self.writer or writes:
            return PoolExhausted(
                f'{who}: its turn to {"write to" if writes else "use"} {self.path} did not come in time: one '
                'does at a time, and what did, an open transaction perhaps, did not end'
            )
        return PoolExhausted(
            f'{who}: all {self.readers.size} connections that read {self.path} were in use until its time '
            'was up; a cursor has one until it is closed'
        )

    async def close(self, timeout: float) -> None:
        """End threads and connections. SQLite writes back the WAL when the last one is closed."""
        deadline = time.monotonic() + timeout
        loop = asyncio.get_running_loop()
        closed = loop.create_future()

        def close() -> None:
            self._close(deadline)
            with suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(_finish, closed)

        try:
            threading.Thread(target=close, name='aquests-closing', daemon=True).start()
        except RuntimeError:  # the interpreter ends: there is nobody else to do it
            self._close(deadline)
        else:
            await closed

    def _close(self, deadline: float) -> None:
        self.readers.close(deadline)
        if self.writer is not self.readers:
            self.writer.close(deadline)
        if self._shared is not None:
            self._shared.close()

    def _pool(self, name: str, size: int, writes: bool) -> Pool:
        def runner() -> Runner:
            if self._shared is not None:
                return _Runner(self._shared, False)
            return _Runner(Connection(self.path, writes), True)

        return Pool(name, size, pools.sizes.queue, runner, KEEP)


class _Runner(Runner):
    """A thread's connection. `owns`: it ends with the thread."""

    def __init__(self, connection: Connection, owns: bool) -> None:
        self._connection = connection
        self._owns = owns

    def run(self, job: Any) -> None:
        job.run_on(self._connection)
        del job  # or an idle thread would keep it

    def close(self) -> None:
        if self._owns:
            self._connection.close()


class Query(BaseQuery):
    """A request to SQLite. Its work runs on a connection's thread."""

    __slots__ = ('_connection', '_writes', 'hindrance')

    _request: Statement | Script

    def __init__(
        self,
        cluster: Cluster,
        request: Request,
        options: Options,
        key: Hashable,
        keep: float | None = None,
        seat: Seat | None = None,
    ) -> None:
        self._connection: Connection | None = None
        self._writes = not request.idempotent
        self.hindrance = QUEUE
        super().__init__(cluster, request, options, key, keep, seat or cluster.pick())

    def _begin(self) -> None:
        begin(self._backend.pool(self._writes), self)

    def run_on(self, connection: Connection) -> None:
        """For the thread of a connection."""
        if self._result is not None:
            return
        self.hindrance = ''
        self._connection = connection
        try:
            rows = connection.work(self, perform, self._request)
        except BaseException as error:
            self._connection = None
            if refused_to_write(error) and not connection.writes:
                self._writes, self.hindrance = True, QUEUE  # it did not look like it
                self._begin()
            else:
                look(error, ())  # a constraint that is deferred until the end
                self._fail(bare(error))
        else:
            self._connection = None
            self._succeed(rows)

    def _stop(self) -> None:
        connection = self._connection
        if connection is not None:
            connection.interrupt(self)

    def _too_late(self) -> TaskTimeout:
        too_late = self._backend.too_late(self._describe(), self.hindrance, self._writes)
        return too_late or super()._too_late()

    @property
    def _backend(self) -> Backend:
        return backend_of(self._seat)


def backend_of(seat: Any) -> Backend:
    backend = seat.backend
    assert isinstance(backend, Backend)
    return backend


def connect(alias: Alias, member: Member) -> Backend:
    return Backend(alias, member)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Interface(Entry, Base):
    """`was.db ('@sqlite')`: `execute`, the query builder, transactions, cursors."""

    _dialect = SQLITE
    query = Query

    def execute(self, query: Any, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Task:
        """The rows of a statement: a list of Records, empty where there are none (SPEC DB-02, DB-03).

        `query`: SQL text, with `?` for the values of a list or tuple, `:name` for those of a dict (see
        `sqlitevalues` for how they are kept); a built query; or a list of these, done in one transaction, of
        which the last one's rows are the result. So is a text with several statements, without parameters.
        """
        request = request_of(query, params)
        return self._send(request, request.key, request.idempotent)

    def executemany(self, query: str, params: Sequence[Any]) -> Task:
        """A statement once for each list, tuple or dict of values, in one transaction; all its rows."""
        if not isinstance(query, str):
            raise TypeError(f'executemany takes SQL as str, not {query!r}')
        statement = Statement(query, [bound(values) for values in params], many=True)
        return self._send(statement, object())  # it may be long, and nobody asks for it again

    def transaction(self) -> Transaction:
        """The turn to write, until it is closed (SPEC DB-04): what else writes waits."""
        from .sqlitesession import SqliteSession

        return Transaction(SqliteSession(self._cluster, self._options, True), self._dialect, self._own)

    def cursor(self) -> Cursor:
        """One of the connections that read, until it is closed (SPEC DB-04)."""
        from .sqlitesession import SqliteSession

        return Cursor(SqliteSession(self._cluster, self._options, False), self._own)

    def _run_query(self, builder: Builder, **options: Any) -> Task:
        return self.execute(builder)
