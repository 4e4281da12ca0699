"""`Thread`: a function on a thread of the pool (SPEC TH-01)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Context, copy_context
from types import CoroutineType
from typing import Any

from . import pools
from .errors import QueueFull, TaskCancelled
from .places import Pool, Runner
from .seconds import seconds
from .task import Filter, Task

Call = tuple[Context, Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Options:
    """What the arguments of `Thread (func, *args, **kargs)` say (SPEC TH-01)."""

    __slots__ = ('args', 'filter', 'kwargs', 'meta', 'timeout')

    def __init__(
        self, kind: str, func: Callable[..., Any], args: tuple[Any, ...], kargs: dict[str, Any]
    ) -> None:
        if not callable(func):
            raise TypeError(f'{kind} takes a function and its arguments, not {func!r}')
        self.args, self.kwargs = args, kargs
        self.meta: dict[str, Any] | None = None
        self.filter: Filter | None = None
        self.timeout = pools.sizes.timeout
        if kargs and not args:
            self._take_options(kind)

    def _take_options(self, kind: str) -> None:
        kargs = self.kwargs
        args = kargs.pop('args', ())
        if not isinstance(args, tuple | list):
            raise TypeError(f'{kind}: args takes a tuple, as in args = ({args!r},)')
        self.args = tuple(args)
        self.meta = kargs.pop('meta', None)
        kwargs = kargs.pop('kwargs', {})
        for name, value in (('meta', self.meta or {}), ('kwargs', kwargs)):
            if not isinstance(value, Mapping):
                raise TypeError(f'{kind}: {name} takes a dict, not {value!r}')
        self.filter = kargs.pop('filter', None)
        self.timeout = seconds(kargs.pop('timeout', self.timeout))
        self.kwargs = {**kwargs, **kargs}


def begin(pool: Pool, task: Task) -> None:
    """Give `task` to `pool`; where that fails the Task has failed."""
    try:
        taken = pool.submit(task)
    except RuntimeError as error:  # no thread to be had
        task._fail(error)
        return
    if taken:
        return
    if pool.closed:
        task._fail(TaskCancelled('aquests was shut down'))
    else:
        task._fail(
            QueueFull(f'{pool.queue} Tasks wait for {pool.name} already; see aquests.configure (queue = ...)')
        )


class Thread(Task):
    """`func (*args, **kargs)` on one of `aquests.configure (threads = 4)` threads (SPEC TH-01).

    Its result is what the function returns; what it raises is raised by fetch as it is. It runs in a copy of
    the maker's context (contextvars). Without positional arguments the keywords `args` (a tuple), `kwargs`
    (a dict), `timeout`, `meta`, `filter` are options, not the function's.

    `timeout`: default 300 s from now, with the time in the queue (`aquests.configure (timeout = ...)`); None
    for no limit. A thread cannot be killed: after a timeout or `cancel ()` the function runs on, its result
    is dropped, and another thread takes its place, up to a bound (`places`).

    A Task that finds the queue full (10 000) fails with QueueFull.
    """

    __slots__ = ('_function', '_pool', '_work')

    def __init__(self, func: Callable[..., Any], /, *args: Any, **kargs: Any) -> None:
        options = Options('Thread', func, args, kargs)
        self._function = func
        self._pool = pools.pool_of('threads', _Runner)
        self._work: Call | None = (copy_context(), func, options.args, options.kwargs)
        super().__init__(options.meta, options.filter, options.timeout)
        begin(self._pool, self)

    def _run(self) -> None:
        work, self._work = self._work, None
        if work is None or self._result is not None:
            return
        value, error = _outcome(*work)
        if error is None:
            self._succeed(value)
        else:
            self._fail(error)
        # The exception's traceback keeps the frames of its callers, and so would keep us.
        del self, error

    def _stop(self) -> None:
        self._work = None
        self._pool.abandon(self)

    def _help(self, pool: Pool) -> None:
        if pool.take(self):
            self._run()

    def _describe(self) -> str:
        return f'Thread {name_of(self._function)}'


class _Runner(Runner):
    def run(self, job: Thread) -> None:
        job._run()
        del job  # as in `_run`

    def close(self) -> None: ...


def _outcome(
    context: Context, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, BaseException | None]:
    """(value, None) or (None, exception). In a frame without the Task: the traceback would keep it."""
    try:
        value = context.run(func, *args, **kwargs)
        if type(value) is CoroutineType:
            value.close()
            raise TypeError(
                f'{name_of(func)} is an async function: await it, a Thread is for functions that block'
            )
    except BaseException as error:
        return None, error
    return value, None


def name_of(func: Callable[..., Any]) -> str:
    return getattr(func, '__qualname__', None) or repr(func)
