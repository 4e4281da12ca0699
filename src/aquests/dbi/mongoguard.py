"""Cancelling what pymongo does, but never in the middle of making a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any
from weakref import WeakSet

from pymongo.monitoring import ConnectionPoolListener


class Guard(ConnectionPoolListener):
    """Knows which of the loop's tasks make a connection, and has them not cancelled before it is there.

    pymongo would let go of its socket without closing it: the system might have given the number to another
    connection when uvloop closes it, late. It takes `mongolink.CONNECT_TIMEOUT` at most.
    """

    def __init__(self) -> None:
        self._tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        #: Those that are to be cancelled when it is there.
        self._given_up: WeakSet[asyncio.Task[Any]] = WeakSet()

    async def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What `work` returns, done in a context of its own; cancelled with the caller."""
        task = asyncio.get_running_loop().create_task(work, context=Context())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task in self._tasks:
                self._given_up.add(task)
            else:
                task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # it is seen
            raise

    def connection_created(self, event: Any) -> None:
        if (task := asyncio.current_task()) is not None:
            self._tasks.add(task)

    def connection_ready(self, event: Any) -> None:
        if (task := asyncio.current_task()) is not None:
            self._tasks.discard(task)
            if task in self._given_up:
                self._given_up.discard(task)
                task.cancel()

    connection_closed = connection_ready

    # -- of no concern ------------------------------------------------------------------------------

    def pool_created(self, event: Any) -> None: ...

    def pool_ready(self, event: Any) -> None: ...

    def pool_cleared(self, event: Any) -> None: ...

    def pool_closed(self, event: Any) -> None: ...

    def connection_check_out_started(self, event: Any) -> None: ...

    def connection_check_out_failed(self, event: Any) -> None: ...

    def connection_checked_out(self, event: Any) -> None: ...

    def connection_checked_in(self, event: Any) -> None: ...
