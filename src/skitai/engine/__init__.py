"""The engine: the only room that knows which server carries the requests."""

from __future__ import annotations

import logging
import socket
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Protocol

from ..config import Settings
from ..exchange import Exchange
from ..mounts.table import MountTable

log = logging.getLogger('skitai.engine')


class Engine(Protocol):
    """Serves a mount table in a worker process."""

    def start(self, listener: socket.socket) -> None: ...

    async def stop(self) -> bool: ...


def make_engine(
    table: MountTable,
    settings: Settings,
    loop: AbstractEventLoop,
    access_log: Callable[[Exchange], None] | None,
) -> Engine:
    """The engine for this worker: direct dispatch, or the fallback where this Granian lacks its names."""
    from .granian import direct_dispatch_is_possible

    if direct_dispatch_is_possible():
        from .direct import DirectEngine

        return DirectEngine(table, settings, loop, access_log)
    from .stock import StockEngine

    log.warning('this version of Granian has no direct dispatch: its own scheduler is used, which is slower')
    return StockEngine(table, settings, loop, access_log)
