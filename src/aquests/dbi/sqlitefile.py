"""A connection to an SQLite file: whose turn it is, what is done about locks, errors and forks.

Rules. Who uses a connection has its turn (`work`); it is opened then, if it is not, and is left without a
transaction. A file that another connection has locked is asked again until the work is given up: in steps of
0.1 s, since SQLite's own waiting cannot be interrupted. What says that the file is damaged or gone closes the
connection, and the next work opens it anew.

SQLite's locks belong to a process, and it remembers the files that are open: a forked child that opened one
of them too would hold no lock and believe that it does. So connections are closed before a fork. A file that
could not be closed, because something was under way, cannot be opened in the child: it is told so.

Shared: a connection's `_job` and `_db` under its `_lock`; `_all` and what is about forks under `_guard`.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ..errors import TaskCancelled

T = TypeVar('T')

MEMORY = ':memory:'
#: Seconds that SQLite itself waits for a lock.
SLICE = 0.1
#: Seconds that a fork waits for what is under way.
STILL = 1.0
#: Steps of SQLite's machine (some 50 ms) after which it is asked whether they are still wanted. `interrupt`
#: does the same at once, but has no effect on what is just about to begin.
_STEPS = 4_000_000
#: Statements that each connection keeps prepared.
_PREPARED = 256

#: What errors say that ends a connection, and what concerns the file: their words name it.
_BROKEN = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOMEM,
    }
)
_OF_THE_FILE = _BROKEN | {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}


class Job(Protocol):
    """For whom a connection works. `hindrance`: set to LOCKED while another's lock is in the way."""

    hindrance: str

    def done(self) -> bool: ...


#: What a job may wait for.
QUEUE, LOCKED = 'queue', 'locked'


class Connection:
    """`writes`: it may. `worn`: set it, and the connection is closed after its turn."""

    __slots__ = ('_db', '_job', '_lock', '_turn', 'path', 'worn', 'writes')

    def __init__(self, path: str, writes: bool) -> None:
        self.path = path
        self.writes = writes
        self.worn = False
        self._db: sqlite3.Connection | None = None
        self._job: Job | None = None
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        with _guard:
            _all.add(self)

    # -- in one's turn ------------------------------------------------------------------------------

    def work(self, job: Job, do: Callable[..., T], *args: Any) -> T:
        """`do (self, job, *args)`, in this connection's turn.

        Raises what it raises, `examined`, and TaskCancelled when `job` is done before it begins.
        """
        while not self._turn.acquire(timeout=SLICE):
            _refuse_done(job)
        try:
            with self._lock:
                self._job = job
            # Whoever finished the job until now may have seen no connection to interrupt.
            _refuse_done(job)
            if self._db is None:
                self.patiently(job, self._open)
            return do(self, job, *args)
        except sqlite3.Error as error:
            raise self.examined(error) from None
        finally:
            with self._lock:
                self._job = None
            self._tidy()
            self._turn.release()

    @property
    def db(self) -> sqlite3.Connection:
        """Open, for who has the turn."""
        assert self._db is not None
        return self._db

    def patiently(self, job: Job, call: Callable[..., T], *args: Any) -> T:
        """`call (*args)`, again and again while the file is locked and `job` not done."""
        while True:
            try:
                value = call(*args)
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or job.done() or self._behind(error):
                    raise
                job.hindrance = LOCKED
                time.sleep(0.005)  # for SQLite does not always wait itself
            else:
                job.hindrance = ''
                return value

    def examined(self, error: sqlite3.Error) -> sqlite3.Error:
        """`error`, or one of the same kind that names the file. A broken connection is worn then."""
        code = _code(error)
        if is_broken(error):
            self.worn = True
        if code in _OF_THE_FILE and self.path != MEMORY:
            named = type(error)(f'{self.path}: {error}{self._hint(code)}')
            named.sqlite_errorcode, named.sqlite_errorname = error.sqlite_errorcode, error.sqlite_errorname
            return named
        return error

    # -- on any thread ------------------------------------------------------------------------------

    def interrupt(self, job: Job) -> None:
        """Break off what is done for `job`, if anything is."""
        with self._lock:
            if self._job is job and self._db is not None:
                self._db.interrupt()

    def close(self) -> None:
        """For good. What is under way on another thread, and does not end, keeps it open."""
        if self._turn.acquire(timeout=1.0):
            self._drop()
            self._turn.release()
        with _guard:
            _all.discard(self)

    # -- inside -------------------------------------------------------------------------------------

    def _open(self) -> None:
        if os.path.realpath(self.path) in _tainted:
            raise sqlite3.OperationalError(
                f'{self.path} was in use when this process was forked: end transactions and cursors, or call '
                'aquests.shutdown (), before a fork'
            )
        db = sqlite3.connect(
            self.path,
            timeout=SLICE,
            isolation_level=None,
            check_same_thread=False,  # a fork closes it on its own thread
            cached_statements=_PREPARED,
        )
        try:
            self._set_up(db)
        except BaseException:
            db.close()
            raise
        with self._lock:
            self._db = db

    def _set_up(self, db: sqlite3.Connection) -> None:
        if self.path != MEMORY:
            try:
                db.execute('PRAGMA journal_mode = WAL').close()
            except sqlite3.OperationalError as error:
                if not refused_to_write(error):  # it can be read all the same
                    raise
            db.execute('PRAGMA synchronous = NORMAL').close()
        db.execute('PRAGMA foreign_keys = ON').close()
        if not self.writes:
            db.execute('PRAGMA query_only = ON').close()
        db.set_progress_handler(self._unwanted, _STEPS)

    def _behind(self, error: sqlite3.OperationalError) -> bool:
        """Whether a transaction looked before others wrote: then it can never write itself."""
        db = self._db
        return error.sqlite_errorcode == sqlite3.SQLITE_BUSY_SNAPSHOT and db is not None and db.in_transaction

    def _unwanted(self) -> bool:
        job = self._job
        return job is not None and job.done()

    def _tidy(self) -> None:
        db = self._db
        if db is None:
            self.worn = False
            return
        if db.in_transaction:
            try:
                db.execute('ROLLBACK').close()
            except sqlite3.Error:
                self.worn = True
        if self.worn:
            self.worn = False
            if self.path != MEMORY:
                self._drop()

    def _drop(self) -> None:
        with self._lock:
            db, self._db = self._db, None
        if db is not None:
            db.close()

    def _hint(self, code: int) -> str:
        folder = os.path.dirname(self.path)
        if code == sqlite3.SQLITE_READONLY and not self.writes:
            return '; here nothing can be written'
        if not os.path.isdir(folder):
            return f'; there is no directory {folder}'
        if os.path.isdir(self.path):
            return '; it is a directory'
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            return '; file and directory must be writable'
        return ''


def _code(error: sqlite3.Error) -> int:
    """The primary code; 0 where it has none."""
    return int(getattr(error, 'sqlite_errorcode', 0)) & 0xFF


def is_broken(error: BaseException) -> bool:
    """Whether a connection that said so is of no use any more."""
    return isinstance(error, sqlite3.Error) and _code(error) in _BROKEN


def refused_to_write(error: BaseException) -> bool:
    """Whether a statement was found to write where nothing may be written."""
    return isinstance(error, sqlite3.Error) and _code(error) == sqlite3.SQLITE_READONLY


def bare(error: BaseException) -> BaseException:
    """What a database said, without the frames where it did: they would keep what is in them."""
    if isinstance(error, sqlite3.Error):
        error.__context__ = None
        return error.with_traceback(None)
    return error


def _refuse_done(job: Job) -> None:
    if job.done():
        raise TaskCancelled('it is not wanted any more')


# -- forks ----------------------------------------------------------------------------------------------

_guard = threading.Lock()
#: All that may be open.
_all: set[Connection] = set()
#: Those whose turn a fork has, while it happens.
_stilled: list[Connection] = []
#: Files that the parent of this process had open when it was forked, and the connections: closing them here
#: would take the parent's data from under it.
_tainted: set[str] = set()
_inherited: list[Connection] = []


def _before_fork() -> None:
    _guard.acquire()
    deadline = time.monotonic() + STILL
    for connection in _all:
        if connection._turn.acquire(timeout=max(deadline - time.monotonic(), 0)):
            _stilled.append(connection)
            if connection.path != MEMORY:
                connection._drop()


def _in_parent() -> None:
    for connection in _stilled:
        connection._turn.release()
    _stilled.clear()
    _guard.release()


def _in_child() -> None:
    global _guard
    _inherited.extend(_all)
    _tainted.update(
        os.path.realpath(connection.path)
        for connection in _all
        if connection.path != MEMORY and connection not in _stilled
    )
    _all.clear()
    _stilled.clear()
    _guard = threading.Lock()


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
