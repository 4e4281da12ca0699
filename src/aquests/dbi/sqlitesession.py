"""An SQLite connection that is held for a transaction or a cursor (`transactions.Session`).

The session occupies a connection's thread and runs there what it is told, step by step. A transaction begins
with BEGIN IMMEDIATE, so that it can always go on and commit; a cursor reads one state of the file, and while
it is open the WAL can grow.

A statement that fails leaves the others of its transaction as they are, except where SQLite rolled back all
of it: then every step but `rollback` fails. A step that was cancelled or timed out ends the session.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from ..cluster import Cluster
from ..errors import QueueFull, TaskCancelled, TaskTimeout
from ..keeping import Options
from ..records import Record
from ..task import Mask, Task
from .base import failure_of
from .sqlite import Backend, backend_of
from .sqlitefile import QUEUE, Connection, bare, is_broken, refused_to_write
from .sqliterefusals import look
from .sqlitestatements import Script, records, request_of, run, steps

Do = Callable[[Connection], Any]


class Step(Task):
    """One thing that a session does, after those before it. `do`: on the connection's thread."""

    __slots__ = ('_session', 'do')

    def __init__(self, session: SqliteSession, options: Options, do: Do, rows: bool) -> None:
        self._session = session
        self.do = do
        super().__init__(options.meta, options.filter if rows else None, options.timeout)

    def _fail(self, error: BaseException) -> bool:
        return self._settle(failure_of(error))

    def _stop(self) -> None:
        self._session.close()

    def _too_late(self) -> TaskTimeout:
        return self._session.too_late(self._describe()) or super()._too_late()

    def _describe(self) -> str:
        return f'a step of a {self._session.name}'


class SqliteSession:
    """`writes`: a transaction, else a cursor.

    Shared: `_closed`, `_begun` and whether a step may be put into the queue, under `_lock`; what concerns the
    transaction is the connection's thread's.
    """

    def __init__(self, cluster: Cluster, options: Options, writes: bool) -> None:
        self.name = f'{"transaction on" if writes else "cursor of"} {cluster.alias.name}'
        self.hindrance = QUEUE
        self._cluster = cluster
        self._options = options
        self._writes = writes
        self._lock = threading.Lock()
        self._steps: SimpleQueue[Step | None] = SimpleQueue()
        self._backend: Backend | None = None
        self._connection: Connection | None = None
        self._begun = self._closed = False
        self._cursor: sqlite3.Cursor | None = None
        self._lost: BaseException | None = None

    # -- steps, made on any thread ----------------------------------------------------------------

    def execute(self, query: Any, params: Any = None) -> Task:
        request = request_of(query, params)

        def do(connection: Connection) -> list[Record]:
            self._enter_transaction(connection)
            return steps(connection, self, request)

        return self._step(do, rows=True)

    def open(self, query: Any, params: Any = None) -> Task:
        statement = request_of(query, params)
        if isinstance(statement, Script):
            raise TypeError('a cursor reads the rows of one statement, not of several')

        def do(connection: Connection) -> None:
            self._leave_cursor()
            cursor = self._cursor = connection.db.cursor()
            connection.worn = connection.worn or statement.nature.wears
            try:
                connection.patiently(self, cursor.execute, statement.sql, statement.values)
            except Exception as error:
                look(error, statement.values)
                if refused_to_write(error) and not connection.writes:
                    error.add_note('a cursor only reads: use was.transaction or was.db for what writes')
                raise

        return self._step(do)

    def take(self, count: int) -> Task:
        def do(connection: Connection) -> list[Record]:
            if self._cursor is None:
                raise RuntimeError('nothing was executed with this cursor yet')
            return records(self._cursor, self._cursor.fetchmany(count))

        return self._step(do, rows=True)

    def commit(self) -> Task:
        def do(connection: Connection) -> None:
            self._check()
            self._leave_cursor()
            if connection.db.in_transaction:
                connection.patiently(self, run, connection, 'COMMIT')

        return self._step(do) if self._begun else Mask()

    def rollback(self) -> Task:
        def do(connection: Connection) -> None:
            self._lost = None
            self._leave_cursor()
            if connection.db.in_transaction:
                run(connection, 'ROLLBACK')

        return self._step(do) if self._begun else Mask()

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        connection = self._connection
        if connection is not None:
            connection.interrupt(self)
        self._cancel_steps()
        self._steps.put(None)

    def _step(self, do: Do, rows: bool = False) -> Task:
        step = Step(self, self._options, do, rows)
        with self._lock:
            closed, begun = self._closed, self._begun
            if not closed:
                self._begun = True
                self._steps.put(step)
        if closed:
            step._fail(TaskCancelled(f'this {self.name} has ended'))
        elif not begun:
            self._begin(step)
        return step

    def _begin(self, step: Step) -> None:
        """Ask for a connection's thread."""
        backend = self._backend = backend_of(self._cluster.pick())
        pool = backend.pool(self._writes)
        try:
            if pool.submit(self):
                return
            error: Exception = (
                TaskCancelled('aquests was shut down')
                if pool.closed
                else QueueFull(f'{pool.queue} Tasks wait for {pool.name} already')
            )
        except RuntimeError as no_thread:
            error = no_thread
        step._fail(error)
        self.close()

    # -- a job, as a pool and a connection see it -------------------------------------------------

    def done(self) -> bool:
        return self._closed

    def cancel(self) -> bool:
        self.close()
        return True

    def too_late(self, who: str) -> TaskTimeout | None:
        return None if self._backend is None else self._backend.too_late(who, self.hindrance, self._writes)

    def run_on(self, connection: Connection) -> None:
        """For the thread of a connection: what the session is told, until it is closed."""
        self.hindrance = ''
        self._connection = connection
        try:
            connection.work(self, self._live)
        except BaseException as error:  # there is no connection
            self._fail_steps(bare(error))
        finally:
            self._connection = None
            self.close()
            self._cancel_steps()

    # -- on the connection's thread ---------------------------------------------------------------

    def _live(self, connection: Connection, session: object) -> None:
        try:
            while (step := self._steps.get()) is not None:
                if self._closed:
                    step.cancel()
                    return
                self._do(step, connection)
                del step  # while nothing is to be done nothing is kept
        finally:
            self._leave_cursor()

    def _do(self, step: Step, connection: Connection) -> None:
        within = connection.db.in_transaction
        try:
            value = step.do(connection)
        except BaseException as error:
            look(error, ())
            reason = bare(connection.examined(error) if isinstance(error, sqlite3.Error) else error)
            if within and not connection.db.in_transaction:
                self._lost = reason
            # What ran when the session was closed was interrupted.
            step._fail(TaskCancelled(f'this {self.name} has ended') if self._closed else reason)
            if is_broken(reason):
                self.close()
        else:
            step._succeed(value)

    def _enter_transaction(self, connection: Connection) -> None:
        self._check()
        if self._writes and not connection.db.in_transaction:
            connection.patiently(self, run, connection, 'BEGIN IMMEDIATE')

    def _check(self) -> None:
        if self._lost is not None:
            raise sqlite3.OperationalError(
                f'the transaction was rolled back when a step failed ({self._lost}); rollback () begins anew'
            )

    def _leave_cursor(self) -> None:
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            cursor.close()

    def _cancel_steps(self) -> None:
        self._end_steps(lambda step: step.cancel())

    def _fail_steps(self, error: BaseException) -> None:
        self._end_steps(lambda step: step._fail(error))

    def _end_steps(self, end: Callable[[Step], object]) -> None:
        while True:
            try:
                step = self._steps.get_nowait()
            except Empty:
                return
            if step is not None:
                end(step)
