"""Tasks on the event loop: what has a connection, and any coroutine (`Async`).

`LoopTask` runs its `_work ()` on the loop that `loop.get ()` gives, in a copy of the maker's context, whoever
makes it. Finished by its deadline or by `cancel ()`, the coroutine is cancelled.

Shared: `_running`, by the loop's thread only.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, copy_context
from typing import Any

from . import loop as loops
from .errors import TaskCancelled
from .task import Filter, Task
from .threads import Options, name_of


class LoopTask(Task):
    """A Task whose work is a coroutine. A kind of it overrides `_work`, and calls `_begin` once made."""

    __slots__ = ('_context', '_loop', '_runs')

    def __init__(self, meta: Mapping[str, Any] | None, filter: Filter | None, timeout: float | None) -> None:
        super().__init__(meta, filter, timeout)
        self._runs: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def _work(self) -> Any:
        """The Task's value, or its exception; on the event loop."""
        raise NotImplementedError

    def _begin(self) -> None:
        self._context: Context | None = copy_context()
        try:
            loop = self._loop = loops.get()
            if asyncio._get_running_loop() is loop:
                self._start()
            else:
                loop.call_soon_threadsafe(self._start)
        except RuntimeError as error:  # no thread for a loop, or the loop was closed a moment ago
            self._fail(TaskCancelled(f'{self._describe()}: the event loop has ended ({error})'))

    # -- on the loop ------------------------------------------------------------------------------------

    def _start(self) -> None:
        context, self._context = self._context, None
        if self._result is None:
            assert self._loop is not None
            running = self._runs = self._loop.create_task(self._run(), context=context)
            _running.add(running)

    async def _run(self) -> None:
        try:
            value = await self._work()
        except asyncio.CancelledError:  # by `_stop`, by the loop's end, or by its own code
            self._fail(TaskCancelled(f'{self._describe()} was cancelled'))
        except BaseException as error:
            # Without the frames of this function and of `_work`, which would keep the Task.
            trace = error.__traceback__
            inner = trace and trace.tb_next and trace.tb_next.tb_next
            self._fail(error.with_traceback(inner))
        else:
            self._succeed(value)
        finally:
            running, self._runs = self._runs, None
            _running.discard(running)

    def _stop(self) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._cancel)
            except RuntimeError:  # the loop has ended, and with it the work
                pass

    def _cancel(self) -> None:
        if self._runs is not None:
            self._runs.cancel()


#: What runs now: held here, for the loop itself only has weak references.
_running: set[asyncio.Task[None] | None] = set()


os.register_at_fork(after_in_child=_running.clear)


class Async(LoopTask):
    """`await func (*args, **kargs)` on the event loop: for libraries that know asyncio only.

    `func` is an `async def` function; TypeError for others (a function that blocks belongs in a Thread). Its
    result is what the function returns; what it raises is raised by fetch as it is. Options and their
    defaults are those of `Thread`. On timeout and `cancel ()` the coroutine is cancelled.
    """

    __slots__ = ('_work_to_do',)

    def __init__(self, func: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any, **kargs: Any) -> None:
        if not inspect.iscoroutinefunction(func) and not inspect.iscoroutinefunction(type(func).__call__):
            raise TypeError(
                f'Async takes an async def function and its arguments, not {name_of(func)}: a function that '
                'blocks belongs in a Thread'
            )
        options = Options('Async', func, args, kargs)
        self._work_to_do = (func, options.args, options.kwargs)
        super().__init__(options.meta, options.filter, options.timeout)
        self._begin()

    async def _work(self) -> Any:
        func, args, kwargs = self._work_to_do
        return await func(*args, **kwargs)

    def _describe(self) -> str:
        return f'Async {name_of(self._work_to_do[0])}'
