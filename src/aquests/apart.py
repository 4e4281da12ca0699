"""Work in a context of its own (contextvars): what it leaves behind, a connection above all, would otherwise
keep the request that happened to be the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar('T')


async def apart(work: Coroutine[Any, Any, T], drop: Callable[[T], object] | None = None) -> T:
    """What `work` returns; cancelled with the caller. `drop`: gets what came too late for a cancelled one."""
    task = asyncio.get_running_loop().create_task(work, context=Context())
    try:
        return await task
    except asyncio.CancelledError:
        if drop is not None and task.done() and not task.cancelled() and task.exception() is None:
            drop(task.result())
        raise
