"""Connections of one's own to a database (SPEC DB-08): what the three base classes have in common.

    from aquests.dbi import asynredis

    class MyDBI (asynredis.AsynConnect):
        def connect (self):
            self.socket = socket.create_connection (self.address)

        def execute (self, request):
            request.handle_result (None, None, self.ask (request.method, request.params))

        def close (self):
            self.socket.close ()

    skitai.add_database_interface ('*mydbi', MyDBI)
    skitai.alias ('@mydbi', '*mydbi', 'localhost:9000')

An instance is one connection; it executes one request at a time, and is kept for the next. `custom` uses it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any, ClassVar

log = logging.getLogger('aquests')

#: (path, (user, password)) of a member: `user:password@host:port/path`. Empty where it has none.
Params = tuple[str, tuple[str, str]]


class AsynConnect:
    """One connection. `connect` and `execute` are yours: as plain methods they run on a thread of Tasks and
    may block, as `async def` on the event loop, where nothing may block.

    `address`: (host, port). `params`: (path, (user, password)). `lock`: an RLock that all connections to the
    same server share. `logger`: for log lines. A subclass's `__init__` takes these four or none; the
    attributes are there in either case. `ssl`: whether the alias asks for TLS, which is yours to speak.
    """

    #: Which of the base classes it is; set by them.
    style: ClassVar[str] = ''

    address: tuple[str, int]
    params: Params
    lock: Any
    logger: logging.Logger
    ssl: bool = False

    def __init__(self, address: tuple[str, int], params: Params, lock: Any, logger: logging.Logger) -> None:
        self.address, self.params, self.lock, self.logger = address, params, lock, logger

    def connect(self) -> Any:
        """Connect. An OSError means that the server cannot be reached: another member is tried."""
        raise NotImplementedError(f'{type(self).__name__} must have a method connect (self)')

    def execute(self, request: AsynRequest) -> Any:
        """Carry a request out, and report by `request.handle_result`, before or after this returns.

        What it raises is reported for it. A ConnectionError, TimeoutError or EOFError, raised or reported,
        means that the connection broke: it is closed, and the Task fails with a NetworkError.
        """
        raise NotImplementedError(f'{type(self).__name__} must have a method execute (self, request)')

    def usable(self) -> bool:
        """Asked before the connection is used again, on the event loop: False closes it instead."""
        return True

    def close(self) -> Any:
        """The connection is not needed any more. After a timeout `execute` may still be under way."""


class AsynRequest:
    """What is to be executed.

    Of the Redis and MongoDB styles: `method`, a str, `params`, its arguments (a tuple), `options`, those with
    names (a dict). Of the RDBMS style: `sql`, and `params`, a list, tuple or dict, or None; `method` is
    'execute'.

    Shared: `_handled`, by whoever reports, under `_lock`.
    """

    __slots__ = ('_answer', '_deadline', '_handled', '_lock', '_loop', 'method', 'options', 'params', 'sql')

    def __init__(
        self, method: str, sql: str, params: Any, options: dict[str, Any], deadline: float | None
    ) -> None:
        self.method, self.sql, self.params, self.options = method, sql, params, options
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[tuple[Any, BaseException | None, Any]] = self._loop.create_future()
        self._lock = threading.Lock()
        self._handled = False

    def __repr__(self) -> str:
        return f'<request {self.sql or self.method}>'

    @property
    def timeout(self) -> float | None:
        """Seconds that are left; None for no limit."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    def handle_result(self, description: Any, exception: BaseException | None, data: Any) -> None:
        """Report, once, on any thread. Whoever never does lets the Task's time run out.

        `description`: the names of the columns, as strs or as DB-API has them, or None; with it rows become
        Records. `exception`: with which the Task fails, or None. `data`: its value.
        """
        with self._lock:
            again, self._handled = self._handled, True
        if again:
            log.warning('%r was reported more than once: the first report counts', self)
            return
        if isinstance(exception, type) and issubclass(exception, BaseException):
            exception = exception()
        elif exception is not None and not isinstance(exception, BaseException):
            exception = TypeError(f'handle_result takes an exception or None, not {exception!r}')
        try:
            self._loop.call_soon_threadsafe(self._settle, (description, exception, data))
        except RuntimeError:  # the loop has ended, and with it the Task
            pass

    async def answer(self) -> tuple[Any, BaseException | None, Any]:
        """What was reported."""
        return await self._answer

    def _settle(self, answer: tuple[Any, BaseException | None, Any]) -> None:
        if not self._answer.done():
            self._answer.set_result(answer)
