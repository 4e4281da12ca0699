"""Maintain jobs: what an app does every now and then, whether requests come or not (SPEC MT-01, MT-02).

Each app that has jobs has one thread for them, from its mounting in a worker until it is unmounted. Every
`MAINTAIN_INTERVAL` seconds it runs a cycle: cycle 0 one interval after the start (so a start is not held
up, and code that is only tried runs no job), then on a fixed grid: a cycle that takes longer than an
interval costs the cycles that it has run over, it does not move the others.

A job never runs inside a request. Its `was` has no request; it is made for this one run, in a context of
its own, so nothing stays for the next. Jobs run one after another; those with `threading = True` each on a
thread of their own. A failure is logged and concerns nobody else.

`once = 'host'`: all workers of a server ask for the same claim (`skitai.shared`), also the old ones while
the code is replaced. The process that has it keeps it until it ends; then the next cycle of another gets it.
Processes without our master (those of another ASGI server) share nothing: there each runs such jobs.
"""

from __future__ import annotations

import inspect
import logging
import math
import threading
import time
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, NamedTuple

from skitai import shared
from skitai.context import current

if TYPE_CHECKING:
    from .app import Atila

log = logging.getLogger('atila')

#: Seconds that `stop ()` waits for jobs that run.
STOP_TIMEOUT = 3.0
#: What workers claim for jobs that run once.
_CLAIM = 'maintain'


class _Job(NamedTuple):
    function: Callable[..., Any]
    per_maintaining: int
    threading: bool
    once: str | None


class Maintenance:
    """An app's jobs and their timer.

    `add` is called while the app is set up, by one thread; `start` and `stop` by the thread that mounts
    and unmounts the app. `_running` is the timer thread's.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}
        self._app: Atila | None = None
        self._timer: threading.Thread | None = None
        self._stopping = threading.Event()
        #: The newest thread of each job that has its own.
        self._running: dict[str, threading.Thread] = {}

    def add(
        self,
        function: Callable[..., Any],
        per_maintaining: int = 1,
        threading: bool = False,
        once: str | None = None,
    ) -> None:
        """Run `function (was, now, count)` in each cycle whose `count` is divisible by `per_maintaining`.

        `now`: epoch seconds; `count`: 0, 1, 2... `threading`: on a thread of its own (in a cycle in which
        it still runs it is left out). `once`: None, or 'host': in one worker of this server only.

        AssertionError for a name that another job has (once the app is mounted it is replaced instead),
        ValueError for bad options, TypeError for a function that cannot be called so or is asynchronous.
        """
        name = getattr(function, '__name__', type(function).__name__)
        if not isinstance(per_maintaining, int) or per_maintaining < 1:
            raise ValueError(f'{name}: per_maintaining is a number of cycles, not {per_maintaining!r}')
        if once not in (None, 'host'):
            raise ValueError(f"{name}: once is None or 'host', not {once!r}")
        _check(function, name)
        if self._app is None and name in self._jobs:
            raise AssertionError(f'there is a maintain job {name!r} already: give one of them another name')
        self._jobs[name] = _Job(function, per_maintaining, threading, once)
        if self._app is not None and self._timer is None:
            self.start(self._app)

    def start(self, app: Atila) -> None:
        """Begin with the cycles; where there are no jobs nothing happens.

        ValueError if `app.config.MAINTAIN_INTERVAL` is not a number of seconds above 0.
        """
        self._app = app
        if not self._jobs:
            return
        interval = app.config.MAINTAIN_INTERVAL
        if isinstance(interval, bool) or not isinstance(interval, (int, float)):
            raise ValueError(f'MAINTAIN_INTERVAL must be a number of seconds, not {interval!r}')
        if not 0 < interval < math.inf:
            raise ValueError(f'MAINTAIN_INTERVAL must be above 0 seconds, not {interval!r}')
        self._stopping = threading.Event()
        self._timer = threading.Thread(
            target=self._tick, args=(app, interval, self._stopping), name=f'maintain {app.name}', daemon=True
        )
        self._timer.start()

    def stop(self) -> None:
        """No more cycles. Waits 3 s at most for jobs that run, then leaves them (that is logged)."""
        timer, self._timer, self._app = self._timer, None, None
        if timer is None:
            return
        self._stopping.set()
        deadline = time.monotonic() + STOP_TIMEOUT
        for thread in (timer, *self._running.values()):
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    log.warning('%s still runs: it is left behind', thread.name)

    # -- the timer's thread ------------------------------------------------------------------------

    def _tick(self, app: Atila, interval: float, stopping: threading.Event) -> None:
        began = time.monotonic()
        tick = count = 0
        while True:
            tick = max(tick + 1, math.ceil((time.monotonic() - began) / interval))
            if _wait(stopping, began + tick * interval):
                return
            self._cycle(app, count, stopping)
            count += 1

    def _cycle(self, app: Atila, count: int, stopping: threading.Event) -> None:
        now = time.time()
        for name, job in list(self._jobs.items()):
            if stopping.is_set():
                return
            if count % job.per_maintaining or (job.once and not _is_ours(name)):
                continue
            if job.threading:
                self._start_thread(app, name, job, now, count)
            else:
                _run(app, name, job, now, count)

    def _start_thread(self, app: Atila, name: str, job: _Job, now: float, count: int) -> None:
        before = self._running.get(name)
        if before is not None and before.is_alive():
            log.warning('the maintain job %s still runs: it is left out of cycle %d', name, count)
            return
        thread = threading.Thread(
            target=_run, args=(app, name, job, now, count), name=f'maintain {app.name}.{name}', daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads
            log.exception('the maintain job %s could not be started', name)
        else:
            self._running[name] = thread


def _check(function: Callable[..., Any], name: str) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(
            f'the maintain job {name} must be an ordinary function: neither async nor a generator'
        )
    try:
        inspect.signature(function).bind(None, 0.0, 0)
    except TypeError:
        raise TypeError(f'the maintain job {name} must take (was, now, count)') from None


def _wait(stopping: threading.Event, until: float) -> bool:
    """Until the time or the stop has come; whether it is the stop."""
    while not stopping.is_set():
        left = until - time.monotonic()
        if left <= 0:
            return False
        stopping.wait(min(left, 3600.0))  # a wait has a limit, an interval has none
    return True


def _is_ours(name: str) -> bool:
    try:
        return shared.claim(_CLAIM)
    except Exception:
        log.exception('whether the maintain job %s runs in this worker could not be found out', name)
        return False


def _run(app: Atila, name: str, job: _Job, now: float, count: int) -> None:
    """Run a job in a new context. Whatever it raises ends here: the timer goes on."""
    try:
        Context().run(_call, app, job, now, count)
    except BaseException:
        log.exception('the maintain job %s of %s failed in cycle %d', name, app.name, count)


def _call(app: Atila, job: _Job, now: float, count: int) -> None:
    was = app.was()
    current.set(was)
    job.function(was, now, count)
