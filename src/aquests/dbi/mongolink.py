"""A MongoDB server's connections: one client of pymongo's for each member, on the event loop.

pymongo keeps the connections and watches the server; it neither looks for other servers nor tries again: both
is the cluster's. Every operation is told how much time it has, so that the server ends it too.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import pymongo
from pymongo import AsyncMongoClient, errors

from .. import loop as loops
from ..aliases import Alias, Member
from ..errors import NetworkError, TaskTimeout
from ..records import Record
from ..tls import context_of, words
from .base import Request
from .mongoguard import Guard

#: Seconds to find out that a server is not there.
CONNECT_TIMEOUT = 3.0
#: Seconds to tell a server that it may forget us.
GOODBYE = 0.5
#: Seconds that pymongo and the server have longer than the Task.
LATER = 0.25
#: Seconds that the server can be told at most (milliseconds, of 32 bits).
LONGEST = 2_000_000.0
#: Cursors that are kept for `get_more`, and for so many seconds: then the server forgets them too.
CURSORS = 1000
CURSOR_SECONDS = 600.0


class Kept(NamedTuple):
    """A cursor, how many documents were taken of it, and when the last ones."""

    cursor: Any
    taken: int
    since: float


class Operation(Request):
    """`perform (backend)` does it. `deadline`: of `time.monotonic ()`, or None."""

    __slots__ = ('deadline', 'perform')

    def __init__(self, perform: Perform, idempotent: bool, timeout: float | None) -> None:
        super().__init__(idempotent)
        self.perform = perform
        self.deadline = None if timeout is None else time.monotonic() + timeout


Perform = Callable[['Backend'], Awaitable[Any]]


class Backend:
    """One member's client; on the event loop, but `has_cursor` is asked by any thread."""

    def __init__(self, alias: Alias, member: Member) -> None:
        self._alias, self._member = alias, member
        self.database_name, self.collection_name = names_of(member)
        self._secured = context_of(alias)
        self._guard = Guard()
        self._client: AsyncMongoClient[Any] | None = None
        self._places: asyncio.Semaphore | None = None
        self._cursors: OrderedDict[int, Kept] = OrderedDict()

    async def run(self, request: Any) -> Any:
        if self._client is None or self._places is None:
            self._open()
        assert self._places is not None
        request.waiting = True
        async with self._places:
            request.waiting = False
            try:
                return await self._guard.run(self._run(request))
            except errors.PyMongoError as error:
                translated = self._translated(error, request)
                if translated is error:
                    raise
                raise translated from error

    async def close(self, timeout: float) -> None:
        """Close the connections; a later use opens new ones."""
        client, self._client, self._places = self._client, None, None
        self._cursors.clear()
        if client is not None:
            # It says goodbye first, and without a limit would look for a server that is gone.
            with pymongo.timeout(min(timeout, GOODBYE)):
                await client.close()

    # -- for operations -----------------------------------------------------------------------------

    def database(self) -> Any:
        assert self._client is not None
        return self._client[self.database_name]

    def collection(self, name: str | None) -> Any:
        """The collection of that name; None: the alias's own."""
        return self.database()[name or self.collection_name]

    def has_cursor(self, cursor_id: int) -> bool:
        return cursor_id in self._cursors

    async def keep_cursor(self, cursor: Any, taken: int) -> int:
        """Keep a cursor that is not at its end: its number; 0 for one that is. `taken`: documents so far."""
        if not cursor.alive or not cursor.cursor_id:
            await cursor.close()
            return 0
        self._cursors[cursor.cursor_id] = Kept(cursor, taken, time.monotonic())
        old = time.monotonic() - CURSOR_SECONDS
        while len(self._cursors) > CURSORS or next(iter(self._cursors.values())).since < old:
            _, oldest = self._cursors.popitem(last=False)
            await oldest.cursor.close()
        return int(cursor.cursor_id)

    def take_cursor(self, cursor_id: int) -> Kept:
        """A kept cursor, which is to be kept again or closed."""
        try:
            return self._cursors.pop(cursor_id)
        except KeyError:
            raise errors.CursorNotFound(
                f'cursor {cursor_id} is not known in this process: it came to its end, was not used for '
                'long, or is in use',
                43,
            ) from None

    async def end_cursors(self, cursor_ids: Sequence[int]) -> None:
        for cursor_id in cursor_ids:
            kept = self._cursors.pop(cursor_id, None)
            if kept is not None:
                await kept.cursor.close()

    # -- inside -------------------------------------------------------------------------------------

    def _open(self) -> None:
        member = self._member
        credentials: dict[str, Any] = {}
        if member.user:
            credentials = {
                'username': member.user,
                'password': member.password,
                'authSource': self._alias.source or self.database_name or 'admin',
            }
        self._client = AsyncMongoClient(
            host=member.host or 'localhost',
            port=member.port,
            tls=self._alias.ssl,
            directConnection=True,
            maxPoolSize=self._alias.max_conns,
            serverSelectionTimeoutMS=int(CONNECT_TIMEOUT * 1000),
            connectTimeoutMS=int(CONNECT_TIMEOUT * 1000),
            retryReads=False,
            retryWrites=False,
            document_class=Record,
            tz_aware=True,
            uuidRepresentation='standard',
            event_listeners=[self._guard],
            **credentials,
        )
        self._places = asyncio.Semaphore(self._alias.max_conns)
        loops.at_end(self.close)

    async def _run(self, request: Operation) -> Any:
        client = self._client
        if client is None:  # closed while this one waited for its place
            self._open()
            client = self._client
        assert client is not None
        if not client.topology_description.has_readable_server():
            await self._look_for(client)
        if request.deadline is None:
            return await request.perform(self)
        # The Task's own end comes first, and this one where it cannot break off: on the server.
        with pymongo.timeout(min(max(request.deadline - time.monotonic(), 0.0) + LATER, LONGEST)):
            return await request.perform(self)

    async def _look_for(self, client: AsyncMongoClient[Any]) -> None:
        """Wait until pymongo knows the server. NetworkError at once where nobody listens.

        Not left to the operation: with a time limit pymongo would look for the server until that is over.
        """
        member = self._member
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, writer = await asyncio.open_connection(
                    member.host or 'localhost', member.port, ssl=self._secured
                )
            writer.close()
        except OSError as error:  # TimeoutError too
            reason = 'no answer' if isinstance(error, TimeoutError) else words(error)
            message = f'{self._name} cannot be reached: {reason}'
            raise NetworkError(message, False) from error
        await client.admin.command('ping')

    @property
    def _name(self) -> str:
        return f'{self._alias.name}: {self._member.address}'

    def _translated(self, error: errors.PyMongoError, request: Operation) -> Exception:
        if error.timeout and request.deadline is not None and time.monotonic() > request.deadline - 0.1:
            return TaskTimeout(f'{self._alias.name}: the operation did not end in time')
        if not isinstance(error, errors.ConnectionFailure):
            return error
        if isinstance(error, errors.ServerSelectionTimeoutError | errors.WaitQueueTimeoutError):
            return NetworkError(f'{self._name} cannot be reached: {_short(error)}', False)
        # Who is no primary refused what it was told.
        return NetworkError(f'{self._name}: {_short(error)}', not isinstance(error, errors.NotPrimaryError))


def connect(alias: Alias, member: Member) -> Backend:
    return Backend(alias, member)


def names_of(member: Member) -> tuple[str, str]:
    """(database, collection) of a member's path: `db/collection`, or one name for both (SPEC DB-07)."""
    database, _, collection = member.path.partition('/')
    return database, collection or database


def _short(error: Exception) -> str:
    # What follows are descriptions of pymongo's settings and of its view of the servers.
    return str(error).partition(' (configured')[0].partition(', Timeout:')[0]
