"""Transactions and cursors: one connection for a while (SPEC DB-04).

    with was.transaction ('@mypg') as tx:
        tx.update ('wallet').set (total = 1).filter (id = 8).execute ()
        tx.execute ('SELECT ...').fetch ()

Leaving the block commits; an exception rolls back, and so does whatever ends the request early. On a service
thread each step waits until it is done, and raises. On an event loop nothing may wait: there the steps give
Tasks to be awaited or yielded, `async with` commits, and a plain `with` rolls back what was not committed,
with a RuntimeError.

What a connection does is a `Session`'s, which each database has of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, Self

from ..result import only
from ..sql import Builder, Dialect, Entry
from ..task import Task, refuse_on_loop
from .lease import Lease

log = logging.getLogger('aquests')


class Session(Protocol):
    """A connection with a transaction on it, begun with the first step. Steps follow one another.

    `execute` gives the rows; `open` begins to read the rows of a statement, `take (n)` gives the next ones.
    `close` rolls back what is open and gives the connection back; it may be called on any thread, in the
    middle of a step, and more than once, and waits for nothing.
    """

    def execute(self, query: Any, params: Any = None) -> Task: ...

    def open(self, query: Any, params: Any = None) -> Task: ...

    def take(self, count: int) -> Task: ...

    def commit(self) -> Task: ...

    def rollback(self) -> Task: ...

    def close(self) -> None: ...


class _Held:
    """What transactions and cursors share: a session, and its end."""

    def __init__(self, session: Session, own: Callable[[Task], object] | None) -> None:
        """`own (task)` is told of each step, and of what stands for the connection (`Lease`)."""
        self._session = session
        self._own = own
        self._lease = Lease(session.close, 'a transaction')
        if own is not None:
            own(self._lease)

    def close(self) -> None:
        """Give the connection back; what was not committed is rolled back."""
        self._session.close()
        self._lease.end()

    def _step(self, task: Task) -> Task:
        if self._own is not None:
            self._own(task)
        return task

    def _check(self) -> None:
        if self._lease.done():
            raise RuntimeError('the connection was given back: this transaction or cursor has ended')

    def __del__(self) -> None:
        lease: Lease | None = getattr(self, '_lease', None)  # None: it was never made
        if lease is not None and not lease.done():
            log.warning(
                'a transaction or cursor was let go of without being closed: use it in a `with` block'
            )
            self.close()


class Transaction(_Held, Entry):
    """`with was.transaction (alias) as tx` (SPEC DB-04)."""

    def __init__(
        self, session: Session, dialect: Dialect, own: Callable[[Task], object] | None = None
    ) -> None:
        self._dialect = dialect
        self._last: Task | None = None
        self._open = False  # whether there is something to commit
        super().__init__(session, own)

    # -- steps --------------------------------------------------------------------------------------

    def execute(self, query: Any, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Task:
        """Carry a statement out, as `was.db (alias).execute`; the finished Task of its rows.

        On an event loop the Task is not finished: await or yield it.
        """
        self._check()
        self._last = self._step(self._session.execute(query, params))
        self._open = True
        return _done(self._last)

    def fetch(self) -> Any:
        """The rows of the last statement. RuntimeError where there was none."""
        if self._last is None:
            raise RuntimeError('nothing was executed in this transaction yet')
        return self._last.fetch()

    fetchall = fetch

    def fetchone(self) -> Any:
        """The first row of the last statement, or None."""
        rows = self.fetch()
        return rows[0] if rows else None

    def fetchmany(self, count: int = 1) -> Any:
        """The first `count` rows of the last statement."""
        return self.fetch()[:count]

    def one(self) -> Any:
        """The only row of the last statement; PartialNotFound or Conflict otherwise."""
        return only(self.fetch())

    def commit(self) -> Task:
        """Keep what was done; what follows is a transaction of its own."""
        self._check()
        self._open = False
        return _done(self._step(self._session.commit()))

    def rollback(self) -> Task:
        """Undo what was done since the last commit; what follows is a transaction of its own."""
        self._check()
        self._open = False
        return _done(self._step(self._session.rollback()))

    def _run_query(self, builder: Builder, **options: Any) -> Task:
        return self.execute(builder)

    # -- the block ----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None and self._open:
                if self._lease.done():
                    self._lease.commit()  # raises if the request has ended, and this with it
                elif on_loop():
                    raise RuntimeError(
                        'nothing was committed: where this transaction ended nothing may wait; '
                        '`yield tx.commit ()` or `await tx.commit ()` first, or use `async with`'
                    )
                else:
                    self._step(self._session.commit()).commit()
        finally:
            self.close()

    async def __aenter__(self) -> Self:
        self._check()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None and self._open:
                await (self._lease if self._lease.done() else self._step(self._session.commit()))
        finally:
            self.close()


class Cursor(_Held):
    """`with was.cursor (alias) as cursor`: rows as they are needed, however many there are (SPEC DB-04)."""

    def execute(self, query: Any, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Task:
        """Begin to read the rows of a statement; what was left of the last one is dropped."""
        self._check()
        return _done(self._step(self._session.open(query, params)))

    def fetchmany(self, count: int = 100) -> Any:
        """The next rows, at most `count`; an empty list at the end. On an event loop a Task of it."""
        self._check()
        task = self._step(self._session.take(count))
        return task if on_loop() else task.fetch()

    fetch = fetchn = fetchmany

    def fetchone(self) -> Any:
        """The next row, or None. On an event loop a Task of a list with it."""
        rows = self.fetchmany(1)
        return rows if isinstance(rows, Task) else (rows[0] if rows else None)

    def fetchall(self) -> Any:
        """All rows that are left; on a service thread."""
        return list(self)

    def __iter__(self) -> Iterator[Any]:
        refuse_on_loop(lambda: 'the rows of a cursor')
        while rows := self.fetchmany():
            yield from rows

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def on_loop() -> bool:
    """Whether the calling thread runs an event loop: nothing may wait there."""
    return asyncio._get_running_loop() is not None


def _done(task: Task) -> Task:
    """`task`, finished and not failed, where one may wait for it."""
    if not on_loop():
        task.commit()
    return task
