"""PostgreSQL, by asyncpg (SPEC DB-02 to DB-05, SQ).

A pool of connections for each member. asyncpg keeps the statements of a connection prepared, and cancels on
the server what is cancelled here. A connection goes back to the pool as it was, except after a statement that
may have changed its session (SET, LISTEN, a temporary table): then it is reset first.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import asyncpg  # type: ignore[import-untyped]
import msgspec

from ..aliases import Alias, Member
from ..errors import NetworkError
from ..records import Record
from ..sql import POSTGRESQL, Builder, Entry
from ..task import Task
from .base import Interface as Base
from .base import Request
from .channels import LIMIT, Channel
from .connections import Connections
from .pgqueries import Query, Queue
from .pgrefusals import look
from .pgvalues import encoded, exact
from .statements import numbered, traits
from .transactions import Cursor, Transaction

if TYPE_CHECKING:
    from .pgsession import PgSession

log = logging.getLogger('aquests')

#: Seconds to connect (fewer than a Task has: another member may have time left), and to bring a connection in
#: order after its statement was cancelled.
CONNECT_TIMEOUT = 5.0
RESET_TIMEOUT = 5.0

#: The server is going, or not there yet: it says so in an answer.
_GOING = (
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
)
BROKEN = (OSError, asyncpg.PostgresConnectionError, asyncpg.InternalClientError, *_GOING)

#: What `reset` leaves of a session: SET ROLE, temporary tables, what `lastval` tells, PREPARE.
_TIDY = """
SET SESSION AUTHORIZATION DEFAULT; DISCARD TEMP; DISCARD SEQUENCES;
DO $$ DECLARE name text; BEGIN
FOR name IN SELECT p.name FROM pg_prepared_statements p WHERE from_sql LOOP
EXECUTE format('DEALLOCATE %I', name);
END LOOP; END $$
"""


class Statement(Request):
    """`sql` with `$1` ... and its values. `many`: `values` is a list of them, and it is done for each.

    Statements are equal that do the same, so that they are keys of what is kept.
    """

    __slots__ = ('clean', 'like', 'many', 'reads', 'several', 'sql', 'values')

    def __init__(self, sql: str, values: Sequence[Any], many: bool = False) -> None:
        looks, self.reads, self.clean, self.several, copies = traits(sql)
        if copies:
            raise ValueError(
                'COPY from STDIN or to STDOUT speaks with a client of its own: use executemany to write many '
                'rows, a cursor to read them'
            )
        super().__init__(looks)
        self.sql, self.many = sql, many
        self.values = [exact(each) for each in values] if many else exact(values)
        #: It may be sent with others that are like it (see `perform_together`); None for with none. A wrong
        #: number of values is not like a right one: the number that is added would make up for one.
        self.like = (sql, len(values)) if looks and not many else None

    def _key(self) -> tuple[Any, ...]:
        return self.sql, repr(self.values), self.many

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Statement) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


class Script(Request):
    """Statements one after the other, in one transaction."""

    reads = False
    like = None

    __slots__ = ('clean', 'statements')

    def __init__(self, statements: Sequence[Statement]) -> None:
        super().__init__(False)
        self.clean = all(statement.clean for statement in statements)
        self.statements = statements

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Script) and self.statements == other.statements

    def __hash__(self) -> int:
        return hash(tuple(self.statements))


class Backend:
    """One member's connections; on the event loop."""

    def __init__(self, alias: Alias, member: Member) -> None:
        self._alias, self._member = alias, member
        self.connections: Connections[Any] = Connections(self._connect, _close, _usable, alias.max_conns)
        #: Those that have a connection.
        self.sessions: set[PgSession] = set()
        #: Held here, for the loop itself only has weak references.
        self._recovering: set[asyncio.Future[None]] = set()
        self._ssl: ssl.SSLContext | str = ssl.create_default_context() if alias.ssl else 'prefer'
        self.queue = Queue(self.connections, perform, perform_together, self.take_back, self.recover)

    def take_back(self, connection: Any, clean: bool, error: BaseException) -> NetworkError | None:
        """Take a connection back after an error; what is raised in its place where the connection broke."""
        if is_broken(error, connection):
            self.connections.discard(connection)
            return self.broken(error)
        if clean and isinstance(error, Exception) and not connection.is_in_transaction():
            self.connections.release(connection)
        else:  # cancelled in the middle, in a Script, or the session may have been changed
            self.recover(connection)
        return None

    async def close(self, timeout: float) -> None:
        self.queue.close()
        for session in list(self.sessions):
            session.end()
        if self._recovering:
            await asyncio.wait(self._recovering, timeout=timeout)
        await self.connections.close()

    async def acquire(self, request: Request) -> Any:
        return await self.connections.acquire(request)

    def recover(self, connection: Any, transaction: Any = None) -> None:
        """Bring a connection in order, in the background, and give it back; or else close it.

        `transaction`: asyncpg's, if one was begun with it.
        """
        recovering = asyncio.ensure_future(self._recover(connection, transaction))
        self._recovering.add(recovering)
        recovering.add_done_callback(self._recovering.discard)

    async def _recover(self, connection: Any, transaction: Any) -> None:
        try:
            async with asyncio.timeout(RESET_TIMEOUT):
                await connection.execute('')  # what was cancelled has ended then, perhaps by succeeding
                if transaction is not None:
                    await transaction.rollback()
                if connection.is_in_transaction():
                    await connection.execute('ROLLBACK')
                await connection.execute(_TIDY)
                await connection.reset()
        except BaseException as error:
            self.connections.discard(connection)
            if not isinstance(error, Exception):
                raise
        else:
            self.connections.release(connection)

    def broken(self, error: BaseException) -> NetworkError:
        """A connection broke in the middle."""
        return NetworkError(f'{self._alias.name}: {self._member.address}: {_words(error)}', True)

    async def _connect(self) -> Any:
        # In a context of its own: a connection must not keep the request that happened to make it.
        opening = asyncio.get_running_loop().create_task(self.open(), context=Context())
        try:
            return await opening
        except asyncio.CancelledError:
            if opening.done() and not opening.cancelled() and opening.exception() is None:  # this moment
                opening.result().terminate()
            raise

    async def open(self) -> Any:
        """A connection that is not the pool's: the caller's to close."""
        member = self._member
        try:
            connection = await asyncpg.connect(
                host=member.host or 'localhost',
                port=member.port,
                user=member.user or None,
                password=member.password or None,
                database=member.path or None,
                ssl=self._ssl,
                timeout=CONNECT_TIMEOUT,
            )
        except (*BROKEN, TimeoutError) as error:
            message = f'{self._alias.name}: {member.address} cannot be reached: {_words(error)}'
            raise NetworkError(message, False) from error
        try:
            for name in ('json', 'jsonb'):
                await connection.set_type_codec(
                    name, encoder=encoded, decoder=msgspec.json.decode, schema='pg_catalog'
                )
        except BaseException:
            connection.terminate()
            raise
        return connection


def connect(alias: Alias, member: Member) -> Backend:
    return Backend(alias, member)


async def perform(connection: Any, request: Statement | Script) -> list[Record]:
    """Carry a request out; the rows, of several statements those of the last."""
    if type(request) is Script:
        found: list[Record] = []
        await connection.execute('BEGIN')  # who takes the connection back after an error rolls back
        for one in request.statements:
            found = await perform(connection, one)
        try:
            await connection.execute('COMMIT')
        except Exception as error:  # a constraint that is deferred until then
            look(error, ())
            raise
        return found
    statement: Statement = request  # type: ignore[assignment]
    try:
        if statement.several and not statement.values:
            await connection.execute(statement.sql)
            return []
        if statement.many:
            rows = await connection.fetchmany(statement.sql, statement.values) if statement.values else []
        else:
            rows = await connection.fetch(statement.sql, *statement.values)
    except Exception as error:
        look(error, statement.values, statement.many)
        await _settle(connection, error)
        raise
    return records(rows)


async def perform_together(connection: Any, requests: Sequence[Statement]) -> list[list[Record]]:
    """The rows of each of some requests that differ in their values only, sent in one go."""
    sql = _numbering(requests[0].sql, len(requests[0].values) + 1)
    values = [(*request.values, number) for number, request in enumerate(requests)]
    try:
        rows = await connection.fetchmany(sql, values)
    except Exception as error:
        await _settle(connection, error)
        raise
    found: list[list[Record]] = [[] for _ in requests]
    if rows:
        names = tuple(rows[0].keys())[:-1]
        for row in rows:
            found[row[-1]].append(Record(zip(names, row, strict=False)))
    return found


async def _settle(connection: Any, error: Exception) -> None:
    """After an error of the driver's own, which could not write a value: the server has read the statement,
    and waits for the value within a transaction that holds the table. An empty statement ends that.
    """
    if getattr(error, 'severity', None) is not None or isinstance(error, BROKEN):
        return
    if not connection.is_closed() and not connection.is_in_transaction():
        with suppress(Exception):  # else it is seen to be broken when it is given back
            await connection.execute('')


@lru_cache(maxsize=1024)
def _numbering(sql: str, place: int) -> str:
    """`sql`, which only looks, with its parameter `$place` as one more column: whose row it is.

    The line ends are for a comment at its end.
    """
    return f'SELECT looked.*, ${place}::int4 FROM (\n{sql.rstrip().rstrip(";")}\n) AS looked'


def records(rows: Sequence[Any]) -> list[Record]:
    """Rows as they are handed out."""
    if not rows:
        return []
    names = tuple(rows[0].keys())
    return [Record(zip(names, row, strict=False)) for row in rows]


def is_broken(error: BaseException, connection: Any) -> bool:
    """Whether a connection ended with this error."""
    return (
        isinstance(error, BROKEN)
        or (isinstance(error, asyncpg.InterfaceError) and connection.is_closed())
        or getattr(error, 'severity_en', None) in ('FATAL', 'PANIC')
    )


def _usable(connection: Any) -> bool:
    return not connection.is_closed()


async def _close(connection: Any) -> None:
    """Say goodbye, or hang up."""
    try:
        await connection.close(timeout=2.0)
    except Exception:
        connection.terminate()


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def request_of(query: Any, params: Any = None) -> Statement | Script:
    """What is to be done for `execute (query, params)`."""
    if type(query) is str:
        return Statement(*numbered(query, params))
    if params is not None:
        raise TypeError('parameters go with a text: a built query has its values, a list has none of its own')
    if isinstance(query, list | tuple):
        statements = [statement for one in query for statement in _statements_of(one)]
        return statements[0] if len(statements) == 1 else Script(statements)
    statements = _statements_of(query)
    if len(statements) == 1 and not (isinstance(query, Builder) and query.is_transaction):
        return statements[0]
    return Script(statements)


def statement_of(query: Any, params: Any = None) -> Statement:
    """The same where it must be a single statement; TypeError otherwise."""
    request = request_of(query, params)
    if isinstance(request, Script):
        raise TypeError('a cursor reads the rows of one statement')
    return request


def _statements_of(query: Any) -> list[Statement]:
    if isinstance(query, Builder):
        return [Statement(*one) for one in query.statements()]
    if not isinstance(query, str):
        raise TypeError(f'execute takes SQL as str, a built query, or a list of these, not {query!r}')
    return [Statement(query, ())]


class Interface(Entry, Base):
    """`was.db ('@postgresql')`: `execute`, the query builder, transactions, listening."""

    _dialect = POSTGRESQL
    query = Query

    def execute(self, query: Any, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Task:
        """The rows of a statement: a list of Records, empty where there are none (SPEC DB-02, DB-03).

        `query`: SQL text, with `$1` or `%s` for the values of a list or tuple, `%(name)s` for those of a
        dict; a built query; or a list of these, done in one transaction, of which the last one's rows are
        the result. Without parameters a text may have several statements.
        """
        request = request_of(query, params)
        return self._send(request, request, request.reads)

    def executemany(self, query: str, params: Sequence[Sequence[Any]]) -> Task:
        """A statement once for each list of values, in one go and one transaction; all its rows."""
        if not isinstance(query, str):
            raise TypeError(f'executemany takes SQL as str, not {query!r}')
        lists = [numbered(query, values) for values in params]
        sql = lists[0][0] if lists else query
        statement = Statement(sql, [values for _, values in lists], many=True)
        return self._send(statement, object())  # it may be long, and nobody asks for it again

    def transaction(self) -> Transaction:
        """One connection, whose statements hold together (SPEC DB-04)."""
        return Transaction(self._session(True), self._dialect, self._own)

    def cursor(self) -> Cursor:
        """Rows as they are needed (SPEC DB-04). It only reads."""
        return Cursor(self._session(False), self._own)

    def listen(self, *channels: str, limit: int = LIMIT) -> Channel:
        """Hear what NOTIFY says on `channels`: Records of `channel`, `data` and the sender's `pid`.

        At most `limit` wait for who asks too late; then the oldest is dropped, and counted.
        """
        from .pglistening import Ears

        if not channels:
            raise TypeError('listen takes the names of channels')
        what = f'the notifications {", ".join(channels)} of {self.alias.name}'
        return Channel(Ears(self._cluster, channels).listen, what, self._own, limit)

    def _session(self, writes: bool) -> PgSession:
        from .pgsession import PgSession

        return PgSession(self._cluster, self._options, writes)

    def _run_query(self, builder: Builder, **options: Any) -> Task:
        return self.execute(builder)
