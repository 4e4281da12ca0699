"""The event loop that Tasks with connections run on: the one that `use` was told, else one of our own.

Our own runs in a daemon thread, made when first asked for. Whoever keeps connections on the loop says with
`at_end` how they are closed: `end` does it, on the loop, before that ends. A forked child begins anew.
Shared: `_used`, `_own` and `_closers`, under `_lock`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any

log = logging.getLogger('aquests')

#: Seconds that the loop has to close what is open on it.
CLOSING = 2.0

#: Closes something, within so many seconds.
Closer = Callable[[float], Awaitable[object]]

_used: asyncio.AbstractEventLoop | None = None
_own: _OwnLoop | None = None
_lock = threading.Lock()
_closers: dict[Closer, None] = {}
#: Loops of a parent process: closing them here would take what they watch from the parent.
_inherited: list[Any] = []


class _OwnLoop:
    def __init__(self) -> None:
        self.loop = Context().run(_new_loop)  # it would keep that of who happens to be the first
        self._thread = threading.Thread(target=self._run, name='aquests-loop', daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self.loop.close()
            raise

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def close(self, timeout: float) -> None:
        """Tasks have `timeout` seconds, then all that runs is cancelled and waited for; close."""
        try:
            asyncio.run_coroutine_threadsafe(self._end(timeout), self.loop).result(timeout + 2 * CLOSING)
        except TimeoutError:  # something blocks the loop: it cannot be ended
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(1.0)
        if not self._thread.is_alive():
            self._close_loop()

    def _close_loop(self) -> None:
        """uvloop waits in `close ()` until all that was open on it is closed: for ever, if somebody's isn't.

        So that happens on a thread which may be left behind.
        """
        closing = threading.Thread(target=self.loop.close, name='aquests-loop-closing', daemon=True)
        try:
            closing.start()
        except RuntimeError:  # the interpreter ends, and with it the loop
            return
        closing.join(CLOSING)
        if closing.is_alive():
            log.warning('something is still open on the event loop of aquests: it is left behind')

    def refuse_on_its_thread(self) -> None:
        if threading.current_thread() is self._thread:
            raise RuntimeError('aquests.shutdown () was called on the loop that it is to end')

    async def _end(self, timeout: float) -> None:
        deadline = self.loop.time() + timeout
        await asyncio.sleep(0)  # those made this moment begin
        while (running := _tasks_of_ours()) and (left := deadline - self.loop.time()) > 0:
            await asyncio.wait(running, timeout=left)
        rest = min(max(deadline - self.loop.time(), 0.5), CLOSING)
        await end(rest)
        await _end_tasks(rest)


def use(loop: asyncio.AbstractEventLoop | None) -> None:
    """From now on Tasks run on `loop`; a server's worker says so at its start. None for our own."""
    global _used
    with _lock:
        _used = loop


def get() -> asyncio.AbstractEventLoop:
    """The loop; it runs, or is about to. Call it from any thread: `call_soon_threadsafe`."""
    global _own
    used = _used  # read without the lock: a server's worker says which at its start
    if used is not None and not used.is_closed():
        return used
    with _lock:
        if _used is not None and not _used.is_closed():
            return _used
        if _own is None:
            _own = _OwnLoop()
        return _own.loop


def at_end(closer: Closer) -> None:
    """Have `closer (timeout)` awaited on the loop before that ends; once, however often it is said."""
    with _lock:
        _closers[closer] = None


async def end(timeout: float) -> None:
    """Close what is kept on this loop, side by side. Who owns the loop that `use` was told awaits it."""
    with _lock:
        closers = list(_closers)
        _closers.clear()
    for closed in await asyncio.gather(*(closer(timeout) for closer in closers), return_exceptions=True):
        if isinstance(closed, BaseException):
            log.error('connections could not be closed', exc_info=closed)


def refuse_on_its_thread() -> None:
    """RuntimeError on the thread of our own loop: that cannot wait for its own end."""
    own = _own
    if own is not None:
        own.refuse_on_its_thread()


def close(timeout: float) -> None:
    """End our own loop; one that `use` was told is its owner's."""
    global _own, _used
    with _lock:
        own, _own, _used = _own, None, None
    if own is not None:
        own.close(timeout)


def forget() -> None:
    """Begin anew, in a forked child."""
    global _own, _used, _lock
    _inherited.append((_own, _used))
    _own = _used = None
    _closers.clear()
    _lock = threading.Lock()


def _tasks_of_ours() -> set[asyncio.Task[Any]]:
    """The asyncio tasks in which Tasks run; others' are what libraries have in the background."""
    from .looptask import LoopTask  # which needs us

    run = LoopTask._run.__code__
    return {task for task in asyncio.all_tasks() if getattr(task.get_coro(), 'cr_code', None) is run}


async def _end_tasks(timeout: float) -> None:
    """Cancel what runs, and wait for it and for what it begins on its way out (connections that are put in
    order or closed).
    """
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)  # what was made this moment begins, or it would not learn of its end
    cancelled: set[asyncio.Task[Any]] = set()
    deadline = loop.time() + timeout
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        late = loop.time() >= deadline
        if late or not cancelled:
            for task in tasks - cancelled:
                task.cancel()
            cancelled |= tasks
        done, _ = await asyncio.wait(tasks, timeout=0.1 if late else deadline - loop.time())
        if late and not done:
            break
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            await loop.shutdown_asyncgens()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
