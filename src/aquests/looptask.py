"""Tasks on the event loop: what has a connection, and any coroutine (`Async`).

`LoopTask` runs its `_work ()` on the loop that `loop.get ()` gives, in a copy of the maker's context, whoever
makes it. Finished by its deadline or by `cancel ()`, the coroutine is cancelled.

Shared: `_running`, by the loop's thread only; what waits to begin, see `_Inbox`.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from asyncio import _get_running_loop
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from typing import Any

from . import loop as loops
from . import pools
from .errors import TaskCancelled
from .task import Task
from .threads import Options, name_of


class LoopTask(Task):
    """A Task whose work is a coroutine. A kind of it overrides `_work`, and calls `_begin` once made."""

    #: Set by `_begin`; `_loop` is None where there is none.
    __slots__ = ('_context', '_loop', '_runs')

    _context: Context | None
    _loop: asyncio.AbstractEventLoop | None
    _runs: asyncio.Task[None] | None

    def _work(self) -> Awaitable[Any]:
        """What is awaited for the Task's value, on the event loop."""
        raise NotImplementedError

    def _begin(self) -> None:
        self._context = copy_context()
        self._runs = self._loop = None
        try:
            loop = self._loop = loops.get()
            if _get_running_loop() is loop:
                self._start(loop)
                return
            inbox = _inbox
            if inbox is None or inbox.loop is not loop:
                inbox = _inbox_of(loop)
            inbox.tasks.append(self)
            if not inbox.called:
                inbox.call()
        except RuntimeError as error:  # no thread for a loop
            self.not_begun(error)

    def not_begun(self, error: RuntimeError) -> None:
        """There is no loop for it, or that was closed a moment ago."""
        self._fail(TaskCancelled(f'{self._describe()}: the event loop has ended ({error})'))

    # -- on the loop ------------------------------------------------------------------------------------

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        context, self._context = self._context, None
        if self._result is None:
            run = self._run()
            run.send(None)  # up to `_begun`: cancelled before its first step it still is told
            self._runs = loop.create_task(run, context=context)
            if self._alarm is None:
                _running.add(self)

    async def _run(self) -> None:
        try:
            await _begun
            value = await self._work()
        except asyncio.CancelledError:  # by `_stop`, by the loop's end, or by its own code
            self._fail(TaskCancelled(f'{self._describe()} was cancelled'))
        except BaseException as error:
            # Without the frame of this function, which would keep the Task, and be kept by this name.
            trace = error.__traceback__
            trace = trace and trace.tb_next
            self._fail(error.with_traceback(trace))
        else:
            self._succeed(value)
        finally:
            self._runs = None
            if _running:
                _running.discard(self)

    def _stop(self) -> None:
        loop = getattr(self, '_loop', None)  # not there if its time is up before it begins
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._cancel)
            except RuntimeError:  # the loop has ended, and with it the work
                pass

    def _cancel(self) -> None:
        if self._runs is not None:
            _running.add(self)  # the clock has let go of it
            self._runs.cancel()


class _Begun:
    """Awaited it yields once, as `asyncio.sleep (0)`. A tuple's iterator does that with the least ado."""

    __await__ = staticmethod(partial(iter, (None,)))


_begun: Any = _Begun()


class _Inbox:
    """Tasks that are to begin on a loop. However many threads put some in, the loop is woken once for all.

    Who puts a Task in calls the loop afterwards, unless it is `called`: from when it was told to look until
    it begins to. Two that tell it at the same time do no harm.
    """

    __slots__ = ('called', 'loop', 'tasks')

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.tasks: deque[LoopTask] = deque()
        self.called = False

    def call(self) -> None:
        self.called = True
        try:
            self.loop.call_soon_threadsafe(self._begin_all)
        except RuntimeError as error:  # it was closed: for those of others, too, that counted on us
            self.called = False
            while self.tasks:
                try:
                    self.tasks.popleft().not_begun(error)
                except IndexError:
                    return

    def _begin_all(self) -> None:
        self.called = False
        tasks = self.tasks
        for _ in range(len(tasks)):  # those that come meanwhile have told the loop
            task = tasks.popleft()
            try:
                task._start(self.loop)
            except Exception as error:  # the others begin nevertheless
                task._fail(error)


_inbox: _Inbox | None = None


def _inbox_of(loop: asyncio.AbstractEventLoop) -> _Inbox:
    """The inbox of the loop that is used now; who finds another loop's makes a new one (or both do)."""
    global _inbox
    inbox = _inbox
    if inbox is None or inbox.loop is not loop:
        inbox = _inbox = _Inbox(loop)
    return inbox


_IS_COROUTINE = inspect.CO_COROUTINE

#: What runs now and has no deadline (or none any more): held here, for the loop itself only has weak
#: references to its tasks. The others the clock holds.
_running: set[LoopTask] = set()
#: What ran in a parent process: let go of here it would be ended here, with what it has to do at its end.
_inherited: list[object] = []


def _forked() -> None:
    global _inbox, _running
    _inbox = None
    _inherited.append(_running)
    _running = set()


os.register_at_fork(after_in_child=_forked)


class Async(LoopTask):
    """`await func (*args, **kargs)` on the event loop: for libraries that know asyncio only.

    `func` is an `async def` function; TypeError for others (a function that blocks belongs in a Thread). Its
    result is what the function returns; what it raises is raised by fetch as it is. Options and their
    defaults are those of `Thread`. On timeout and `cancel ()` the coroutine is cancelled.
    """

    __slots__ = ('_work_to_do',)

    def __init__(self, func: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any, **kargs: Any) -> None:
        code = getattr(func, '__code__', None)
        if (code is None or not code.co_flags & _IS_COROUTINE) and not _is_async(func):
            raise TypeError(
                f'Async takes an async def function and its arguments, not {name_of(func)}: a function that '
                'blocks belongs in a Thread'
            )
        if args or not kargs:
            self._work_to_do = (func, args, kargs)
            Task.__init__(self, None, None, pools.sizes.timeout)
        else:
            options = Options('Async', func, args, kargs)
            self._work_to_do = (func, options.args, options.kwargs)
            super().__init__(options.meta, options.filter, options.timeout)
        self._begin()

    def _work(self) -> Awaitable[Any]:
        func, args, kwargs = self._work_to_do
        return func(*args, **kwargs)

    def _describe(self) -> str:
        return f'Async {name_of(self._work_to_do[0])}'


def _is_async(func: Any) -> bool:
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(type(func).__call__)
