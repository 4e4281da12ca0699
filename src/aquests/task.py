"""What all Tasks have in common (SPEC chapter 20).

A Task starts when it is made, has one Result, and never changes after it. Who finishes it, the work or
its deadline or `cancel ()`, is decided by `_settle`: the first wins, the others are dropped.

A kind of Task calls `_succeed` or `_fail` from any thread, and overrides `_stop`, which ends the work of a
Task that was finished without it.

Shared: `_result` and `_callbacks`, under `_lock`; a set `_result` is read without it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextvars import copy_context
from http.client import responses
from typing import TYPE_CHECKING, Any

from . import clock as clocks
from .errors import TaskCancelled, TaskTimeout, WouldBlock
from .places import Pool, blocking
from .result import CODE_TIMEOUT, STA_REQFAIL, STA_TIMEOUT, Result, Success, failure
from .seconds import seconds

if TYPE_CHECKING:
    from .scope import Scope

log = logging.getLogger('aquests')

#: Seconds that a Task has if nothing is said (SPEC TK-13).
TIMEOUT = 10.0
#: A wait of so many seconds is told to the Task's Scope; shorter ones shall cost nothing.
LONG = 0.05

Callback = Callable[[Any], object]
Filter = Callable[[Any], Any]


class Then:
    """`task.then (func)`: returned by a service, answered with `func (was, task)` (SPEC TK-09)."""

    __slots__ = ('func', 'task')

    def __init__(self, task: Task, func: Callable[..., Any] | None = None) -> None:
        self.task, self.func = task, func


class Task:
    """Work that has been started.

    `meta`: a dict of the user's (SPEC TK-15). `filter`: `f (data) -> data`, applied once, on the thread that
    finishes the Task and in the context of its maker; if it raises, the Task has failed (SPEC TK-14).
    `timeout`: seconds from now, after which the Task is finished with STA_TIMEOUT; None for no limit (SPEC
    TK-16).

    On an event loop's thread `await task`, or yield it: there fetch and the like raise WouldBlock (a
    RuntimeError) unless the Task is done.
    """

    __slots__ = (
        '__weakref__',
        '_alarm',
        '_callbacks',
        '_deadline',
        '_filter',
        '_lock',
        '_result',
        '_scope',
        'meta',
    )

    def __init__(
        self,
        meta: Mapping[str, Any] | None = None,
        filter: Filter | None = None,
        timeout: float | None = TIMEOUT,
    ) -> None:
        self.meta: dict[str, Any] = {} if meta is None else meta if type(meta) is dict else dict(meta)
        self._filter = None if filter is None else _in_this_context(filter)
        self._result: Result | None = None
        self._callbacks: list[Callback] | None = None
        self._lock = threading.Lock()
        self._scope: Scope | None = None  # while it is not done
        self._alarm: clocks.Bucket | None = None
        self._deadline: float | None = None
        if timeout is not None:
            when = self._deadline = time.monotonic() + timeout
            clock = clocks.clock
            if timeout > clocks.FAR:
                self._alarm = clock.far
                clock.far.add(self)
                if not clock.looks:
                    clock.look_soon()
            else:
                self._alarm = clock.set(when, self)

    def __repr__(self) -> str:
        state = 'pending' if self._result is None else f'{self._result.status_code} {self._result.reason}'
        return f'<{self._describe()} {state}>'

    # -- waiting --------------------------------------------------------------------------------------

    def fetch(
        self, cache: float | None = None, cache_if: Sequence[int] = (200,), timeout: float | None = None
    ) -> Any:
        """Wait and return the data; raise if the Task failed (SPEC TK-04).

        `timeout`: seconds to wait; then TaskTimeout is raised and the Task goes on. `cache`, `cache_if`
        concern kinds of Tasks that can be cached.
        """
        result = self._result
        if result is None:
            result = self._await_result(timeout)
        try:
            return result.fetch()
        finally:
            del self, result  # see `Result`

    def one(
        self, cache: float | None = None, cache_if: Sequence[int] = (200,), timeout: float | None = None
    ) -> Any:
        """Like fetch, but the only element: PartialNotFound (410) or Conflict (409) otherwise (SPEC
        TK-05).
        """
        try:
            return self._await_result(timeout).one()
        finally:
            del self

    def commit(self, timeout: float | None = None) -> None:
        """Wait; raise if the Task failed (SPEC TK-06)."""
        try:
            self._await_result(timeout).commit()
        finally:
            del self

    def dispatch(
        self, cache: float | None = None, cache_if: Sequence[int] = (200,), timeout: float | None = None
    ) -> Any:
        """Wait and return the Result, which tells of a failure; raises for none (SPEC TK-07).

        When the wait times out its status is STA_TIMEOUT, though the Task goes on.
        """
        result = self._await_result(timeout)
        result.seen()
        return result

    def wait(self, timeout: float | None = None) -> Any:
        """Wait; the Result. Unlike dispatch, a failure remains to be fetched, or is logged (SPEC TK-08)."""
        return self._await_result(timeout)

    def __await__(self) -> Generator[Any, Any, Any]:
        if self._result is None:
            yield from self.completed().__await__()
        try:
            return self.fetch()
        finally:
            del self

    async def completed(self) -> Any:
        """Wait without blocking and without raising; the Task."""
        if self._result is None:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()

            def wake(task: Task) -> None:
                try:
                    loop.call_soon_threadsafe(_set, future)
                except RuntimeError:  # the loop was closed meanwhile
                    pass

            self.add_done_callback(wake)
            try:
                await future
            finally:
                self._remove_done_callback(wake)
        return self

    # -- being told, giving up ------------------------------------------------------------------------

    def done(self) -> bool:
        return self._result is not None

    def cancel(self) -> bool:
        """Finish the Task with TaskCancelled and stop its work; False if it is done."""
        if not self._settle(failure(TaskCancelled(f'{self._describe()} was cancelled'))):
            return False
        self._stop()
        return True

    def expire(self) -> None:
        """Time is up: finish the Task with STA_TIMEOUT and stop its work."""
        if self._settle(failure(self._too_late())):
            self._stop()

    def add_done_callback(self, f: Callback) -> None:
        """Call `f (task)` when the Task is done, at once if it is, on whatever thread finishes it.

        It must not block. What it raises is logged.
        """
        with self._lock:
            if self._result is None:
                if self._callbacks is None:
                    self._callbacks = [f]
                else:
                    self._callbacks.append(f)
                return
        self._tell([f])

    def _remove_done_callback(self, f: Callback) -> None:
        with self._lock:
            if self._callbacks is not None and f in self._callbacks:
                self._callbacks.remove(f)

    # -- services ---------------------------------------------------------------------------------------

    def then(self, func: Callable[..., Any] | None = None) -> Then:
        """To be returned by a service: `func (was, task)` answers; without it the data does (SPEC TK-09)."""
        return Then(self, func)

    def returning(self, value: Any) -> Any:
        """`value`; the Task goes on (SPEC TK-17)."""
        return value

    def cache(self, secs: float = 0, cache_if: Sequence[int] = (200,)) -> Task:
        """For Tasks whose results can be kept; these are not (SPEC TK-18)."""
        return self

    # -- for the kinds of Tasks -----------------------------------------------------------------------

    def _succeed(self, value: Any) -> bool:
        """Finish with `value`, filtered; False if the Task is done already."""
        if self._result is not None:
            return False
        if self._filter is None:
            result = Success(value)
            with self._lock:  # `_settle` and `_finish`, written out for what most come by
                if self._result is not None:
                    return False
                self._result = result
                self._scope = None
                if self._alarm is not None:
                    self._alarm.discard(self)
                    self._alarm = None
                callbacks, self._callbacks = self._callbacks, None
            if callbacks is not None:
                self._tell(callbacks)
            return True
        value, error = self._filter(value)
        try:
            return self._settle(Success(value) if error is None else failure(error))
        finally:
            del self, error  # the exception's traceback keeps the frames of its callers

    def _fail(self, error: BaseException) -> bool:
        """Finish with an exception; False if the Task is done already."""
        return self._settle(failure(error))

    def _settle(self, result: Result) -> bool:
        with self._lock:
            if self._result is not None:
                return False
            callbacks = self._finish(result)
        if callbacks is not None:
            self._tell(callbacks)
        return True

    def _finish(self, result: Result) -> list[Callback] | None:
        """The Task is done, from now on; under `_lock`. Who is to be told then, without it."""
        if result.error is not None:
            result.watch(self._describe())
        self._result = result
        self._scope = None
        if self._alarm is not None:
            self._alarm.discard(self)
            self._alarm = None
        callbacks = self._callbacks
        if callbacks is not None:
            self._callbacks = None
        return callbacks

    def _tell(self, callbacks: list[Callback]) -> None:
        for callback in callbacks:
            try:
                callback(self)
            except BaseException:  # not even SystemExit may end the thread that finishes Tasks
                log.exception('a callback of %s failed', self._describe())

    def _stop(self) -> None:
        """End the work of a Task that was finished by its deadline or cancelled. Must not block."""

    def _help(self, pool: Pool) -> None:
        """Run what waits for a thread of `pool` here, on one of its threads that has nothing else to do."""

    def _too_late(self) -> TaskTimeout:
        """The error of a Task whose time is up."""
        return TaskTimeout(f'{self._describe()} did not finish in time')

    def _describe(self) -> str:
        """For messages: what kind of Task, doing what."""
        return type(self).__name__

    # -- inside -----------------------------------------------------------------------------------------

    def _await_result(self, timeout: float | None) -> Result:
        """The Result, waited for `timeout` seconds; then one that says that there is none yet."""
        result = self._result
        if result is not None:
            return result
        refuse_on_loop(self._describe)
        if timeout is not None and (timeout != timeout or not isinstance(timeout, int | float)):
            seconds(timeout)  # raises: it is no number. A negative one, as it may be computed, is no wait
        gate = threading.Lock()
        gate.acquire()

        def open_gate(task: Task) -> None:
            gate.release()

        self.add_done_callback(open_gate)
        with blocking() as starving:
            if starving is not None:
                self._help(starving)
            arrived = self._pass(gate, timeout)
        if not arrived:
            self._remove_done_callback(open_gate)
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self.expire()  # the clock is late, or not there
        return self._result or _not_yet(f'{self._describe()} is not finished yet; it goes on')

    def _pass(self, gate: threading.Lock, timeout: float | None) -> bool:
        """Wait for `gate`; on the way the Scope hears that this takes long."""
        patience, scope = self._patience(timeout), self._scope
        if scope is None or 0 <= patience <= LONG:
            return gate.acquire(timeout=patience)
        if gate.acquire(timeout=LONG):
            return True
        scope.waited_for()
        return gate.acquire(timeout=self._patience(None if timeout is None else timeout - LONG))

    def _patience(self, timeout: float | None) -> float:
        """Seconds to block: -1 for no limit."""
        if self._deadline is not None:
            # A moment longer than the Task has: the clock, which is there for it, goes first.
            left = max(self._deadline - time.monotonic(), 0) + 0.1
            timeout = left if timeout is None else min(timeout, left)
        return -1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX)


def refuse_on_loop(describe: Callable[[], str]) -> None:
    """Raise WouldBlock on the thread of a running event loop."""
    if asyncio._get_running_loop() is not None:
        raise WouldBlock(f'waiting for {describe()} here would block the event loop: yield or await it')


class Mask(Task):
    """A Task that is finished: it has `data`, or failed with `error` (SPEC TH-03).

    `status_code`: of its Result; with 300 or more fetch raises BadStatus. A Mask can be unpacked as its data.
    """

    __slots__ = ()

    def __init__(
        self,
        data: Any = None,
        error: BaseException | None = None,
        status_code: int = 200,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        if error is not None and not isinstance(error, BaseException):
            raise TypeError(f'Mask: error = {error!r}: it takes an exception')
        if type(status_code) is not int:
            raise TypeError(f'Mask: status_code = {status_code!r}: it takes a number')
        # Not super ().__init__ (): there is nothing to wait for, and a Mask should cost next to nothing.
        self.meta = {} if meta is None else dict(meta)
        self._filter = self._callbacks = self._alarm = self._deadline = self._scope = None
        self._lock = _no_contention
        if error is None:
            self._result = Result(
                data,
                status_code=status_code,
                reason='OK' if status_code == 200 else responses.get(status_code, ''),
            )
        else:
            code = 500 if status_code == 200 else status_code
            self._result = Result(data, error, STA_REQFAIL, code, 'Task Failed')

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetch())


#: A Mask never changes, so nobody ever waits for this one.
_no_contention = threading.Lock()


def _in_this_context(filter: Filter) -> Callable[[Any], tuple[Any, BaseException | None]]:
    """`filter` in a copy of the context that is now: (data, None) or (None, exception)."""
    if not callable(filter):
        raise TypeError(f'filter takes a function f (data), not {filter!r}')
    context = copy_context()

    def filtered(data: Any) -> tuple[Any, BaseException | None]:
        try:
            return context.run(filter, data), None
        except BaseException as error:
            return None, error

    return filtered


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _not_yet(message: str) -> Result:
    return Result(None, TaskTimeout(message), STA_TIMEOUT, CODE_TIMEOUT, 'Timeout')
