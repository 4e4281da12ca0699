"""Database interfaces of one's own (SPEC DB-08): connections as `asynconnect` describes them, in a pool.

There are at most `max_conns` connections to each member; each carries out one request at a time.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import loop as loops
from ..aliases import Alias, Member
from ..apart import apart
from ..errors import NetworkError
from ..records import Record
from ..sql import Builder, Entry
from ..task import Task
from ..threads import Thread
from .asynconnect import AsynConnect, AsynRequest
from .base import Interface as Base
from .base import Request
from .connections import Connections
from .statements import traits

log = logging.getLogger('aquests')

#: Seconds that closing a connection may take.
CLOSE_TIMEOUT = 2.0

_BROKEN = (ConnectionError, TimeoutError, EOFError)


class Order(Request):
    """What an interface was asked for; each member's connection gets an AsynRequest of its own."""

    __slots__ = ('_deadline', 'method', 'options', 'params', 'sql')

    def __init__(
        self,
        method: str,
        sql: str,
        params: Any,
        options: dict[str, Any],
        idempotent: bool,
        timeout: float | None,
    ) -> None:
        super().__init__(idempotent)
        self.method, self.sql, self.params, self.options = method, sql, params, options
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def request(self) -> AsynRequest:
        return AsynRequest(self.method, self.sql, self.params, self.options, self._deadline)

    @property
    def key(self) -> Any:
        return self.method, self.sql, repr(self.params), repr(self.options)


class Custom:
    """Stands for a type's module (`dbi.Kind`): the class of its connections. TypeError for what is none."""

    def __init__(self, cls: type[AsynConnect]) -> None:
        if not isinstance(cls, type) or not issubclass(cls, AsynConnect) or cls.style not in _INTERFACES:
            raise TypeError(
                f'{cls!r} is no database interface: derive a class from AsynConnect of '
                'aquests.dbi.asynredis, aquests.dbi.asynmongo or aquests.dbi.asynpsycopg2'
            )
        self._cls = cls
        self._takes_arguments = _takes_four(cls)
        self.Interface: type[Base] = _INTERFACES[cls.style]
        if dialect := getattr(cls, 'dialect', None):
            self.Interface = type('Interface', (Relational,), {'_dialect': dialect})

    def connect(self, alias: Alias, member: Member) -> Backend:
        return Backend(self, alias, member)

    def instance(self, alias: Alias, member: Member, lock: Any) -> AsynConnect:
        """A connection that is not connected yet."""
        address, params = (member.host, member.port), (member.path, (member.user, member.password))
        connection = self._cls.__new__(self._cls)
        connection.address, connection.params, connection.lock, connection.logger = address, params, lock, log
        connection.ssl = alias.ssl
        if self._takes_arguments:
            connection.__init__(address, params, lock, log)  # type: ignore[misc]
        else:
            connection.__init__()  # type: ignore[misc]
        return connection


class Backend:
    """One member's connections; on the event loop."""

    def __init__(self, kind: Custom, alias: Alias, member: Member) -> None:
        self._kind, self._alias, self._member = kind, alias, member
        self._lock = threading.RLock()
        self._connections = self._pool()

    async def run(self, order: Any) -> Any:
        connections = self._connections
        connection = await connections.acquire(order)
        request = order.request()
        broken = True
        try:
            try:
                await _call(connection.execute, request)
            except Exception as raised:
                request.handle_result(None, raised, None)
            description, error, data = await request.answer()
            broken = isinstance(error, _BROKEN)
        finally:
            if broken:  # or given up in the middle: who knows what is still under way
                connections.discard(connection)
            else:
                connections.release(connection)
        if error is None:
            return _shaped(description, data, self._kind.Interface)
        if broken and not isinstance(error, NetworkError):
            raise NetworkError(f'{self._name}: {str(error) or type(error).__name__}', True) from error
        raise error

    async def close(self, timeout: float) -> None:
        """Close what is free; what is in use is closed when it is given back."""
        connections, self._connections = self._connections, self._pool()
        await connections.close()

    def _pool(self) -> Connections[AsynConnect]:
        return Connections(self._connect, _close, _usable, self._alias.max_conns)

    async def _connect(self) -> AsynConnect:
        connection = self._kind.instance(self._alias, self._member, self._lock)
        try:
            await apart(_call(connection.connect))
        except BaseException as error:
            _in_background(_close(connection))
            if isinstance(error, OSError | EOFError) and not isinstance(error, NetworkError):
                reason = str(error) or type(error).__name__
                raise NetworkError(f'{self._name} cannot be reached: {reason}', False) from error
            raise
        loops.at_end(self.close)
        return connection

    @property
    def _name(self) -> str:
        return f'{self._alias.name}: {self._member.address}'


class Named(Base):
    """Any method's name and its arguments are a request."""

    def execute(self, method: str, *params: Any, **options: Any) -> Task:
        """A request with `method`, for names that this has itself."""
        order = Order(method, '', params, options, False, self._options.timeout)
        return self._send(order, order.key)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('_'):
            raise AttributeError(name)

        def send(*params: Any, **options: Any) -> Task:
            return self.execute(name, *params, **options)

        return send


class Documents(Named):
    """As `Named`; documents are Records."""


class Relational(Entry, Base):
    """`execute` and the query builder."""

    def execute(self, query: Any, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Task:
        """The rows of a statement. `query`: SQL text, a built query, or a list of texts, which are joined.

        Parameters are not looked at: how they are marked in the text is the connection's affair.
        """
        if isinstance(query, Builder):
            if params is not None:
                raise TypeError('a built query has its values already: give no parameters')
            if query.is_transaction:
                raise ValueError("a connection of one's own gets single statements, no transactions")
            query, params = query.compile()
        elif isinstance(query, list | tuple) and all(isinstance(text, str) for text in query):
            query = ';\n'.join(query)
        if not isinstance(query, str):
            raise TypeError(f'execute takes SQL as str, a built query, or a list of strs, not {query!r}')
        order = Order('execute', query, params, {}, traits(query).look, self._options.timeout)
        return self._send(order, order.key)

    def _run_query(self, builder: Builder, **options: Any) -> Task:
        return self.execute(builder)


_INTERFACES: dict[str, type[Base]] = {'redis': Named, 'mongo': Documents, 'rdbms': Relational}


def _takes_four(cls: type) -> bool:
    """Whether `cls (...)` takes address, params, lock and logger, or nothing. TypeError for neither."""
    signature = inspect.signature(cls)
    for arguments in ((None,) * 4, ()):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return bool(arguments)
    raise TypeError(
        f'{cls.__name__}.__init__ {signature} takes neither (address, params, lock, logger) nor nothing'
    )


async def _call(function: Callable[..., Any], *args: Any) -> None:
    """`function (*args)`: on the loop if it is an `async def` function, else on a thread."""
    if inspect.iscoroutinefunction(function):
        await function(*args)
        return
    thread = Thread(function, args=args, timeout=None)
    try:
        await thread
    except asyncio.CancelledError:
        thread.cancel()
        raise


async def _close(connection: AsynConnect) -> None:
    """Close, within a time. What it raises is logged."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            if inspect.iscoroutinefunction(connection.close):
                await connection.close()
            else:
                await _aside(connection.close)
    except TimeoutError:
        log.warning('%s.close () did not end within %g s', type(connection).__name__, CLOSE_TIMEOUT)
    except Exception:
        log.exception('%s.close () failed', type(connection).__name__)


async def _aside(function: Callable[[], Any]) -> None:
    """`function ()` on a thread of its own: at the end those of Tasks are gone already."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[BaseException | None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if not ended.done():
            ended.set_result(error)

    def run() -> None:
        error = None
        try:
            function()
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(tell, error)
        except RuntimeError:  # it has ended
            pass

    threading.Thread(target=run, name='aquests-closing', daemon=True).start()
    if (error := await ended) is not None:
        raise error


def _in_background(work: Any) -> None:
    closing = asyncio.ensure_future(work)
    _closing.add(closing)
    closing.add_done_callback(_closing.discard)


#: Held here, for the loop itself only has weak references.
_closing: set[asyncio.Future[Any]] = set()


def _usable(connection: AsynConnect) -> bool:
    return connection.usable()


def _shaped(description: Any, data: Any, interface: type[Base]) -> Any:
    """What was reported, as it is handed out."""
    if issubclass(interface, Documents):
        return _documents(data)
    if description and data:
        names = [column if isinstance(column, str) else column[0] for column in description]
        return [
            Record(row) if isinstance(row, Mapping) else Record(zip(names, row, strict=True)) for row in data
        ]
    return [] if data is None and issubclass(interface, Relational) else data


def _documents(data: Any) -> Any:
    if isinstance(data, Mapping):
        return Record((name, _documents(value)) for name, value in data.items())
    if isinstance(data, list):
        return [_documents(value) for value in data]
    return data
