"""The fallback engine: Granian with its own scheduler, the mount table as an ASGI application on it.

Slower than `direct`, the same behaviour (one test body runs on both).
"""

from __future__ import annotations

import socket
from asyncio import AbstractEventLoop
from collections.abc import Callable

from ..config import Settings
from ..exchange import Exchange
from ..mounts.table import MountTable
from .asgi import AsgiEngine, cancelled
from .granian import StockServer


class StockEngine:
    """See `direct.DirectEngine`, whose place it takes."""

    def __init__(
        self,
        table: MountTable,
        settings: Settings,
        loop: AbstractEventLoop,
        access_log: Callable[[Exchange], None] | None,
    ) -> None:
        self._application = AsgiEngine(table, settings, access_log)
        self._server = StockServer(settings, loop)
        self._drain_timeout = settings.drain_timeout

    def start(self, listener: socket.socket) -> None:
        """Listen and accept on `listener`, which is bound; it is closed when accepting ends."""
        self._listener = listener
        self._server.start(listener, self._application)

    async def stop(self) -> bool:
        """Accept no more, let requests in flight finish; True when all did within the drain time."""
        self._server.pause()
        self._listener.close()
        drained = await self._server.stop(self._drain_timeout)
        await cancelled(self._application.tasks)
        self._application.dispatcher.close()
        return drained
