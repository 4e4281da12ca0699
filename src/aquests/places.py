"""A bounded number of threads that Tasks run on, and a bounded queue before them.

Rules. At most `size` Tasks run at a time; more wait in arrival order, at most `queue` of them, then `submit`
says no. Two kinds of threads don't count as running:

- one that waits for another Task (`blocking`), or Tasks that make Tasks would wait for each other for ever;
- one whose Task was given up (`abandon`): Python cannot end it, and a hanging function must not hold up the
  others.

For each of those another thread may start, until there are `4 * size + 16` in all. Then a thread that waits
for a Task that has not begun runs it itself, so that something always moves, unless all hang; Tasks then wait
until one returns. An idle thread ends after `keep` seconds.

Shared: everything below, under the pool's `_lock`, which nobody holds while a Task runs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

log = logging.getLogger('aquests')


class Job(Protocol):
    """A Task, as the pool sees it."""

    def done(self) -> bool: ...
    def cancel(self) -> bool: ...


class Runner(Protocol):
    """What runs Tasks on one thread, one after the other."""

    def run(self, job: Any) -> None: ...

    def close(self) -> None: ...


class _Place:
    """One thread of a pool."""

    __slots__ = ('abandoned', 'blocked', 'counted', 'gate', 'job', 'pool', 'thread')

    def __init__(self, pool: Pool, job: Job) -> None:
        self.pool = pool
        self.job: Job | None = job
        self.gate = threading.Lock()  # opened by whoever has a job for an idle place
        self.gate.acquire()
        self.blocked = self.abandoned = False
        self.counted = True  # among the pool's running ones
        self.thread: threading.Thread | None = None


_here = threading.local()


class _Blocking:
    """The pool's thread that calls waits for another Task. Gives the pool if it starves, else None."""

    __slots__ = ('_before', '_place')

    def __enter__(self) -> Pool | None:
        place: _Place | None = getattr(_here, 'place', None)
        self._place = place
        if place is None:
            return None
        self._before = place.blocked  # where it runs a Task that it waits for, it waits already
        return place.pool if place.pool.set_blocked(place, True) else None

    def __exit__(self, *error: object) -> None:
        if self._place is not None:
            self._place.pool.set_blocked(self._place, self._before)


blocking = _Blocking


class Pool:
    """`name`: of its threads. `runner ()`: called on each new thread."""

    def __init__(
        self, name: str, size: int, queue: int, runner: Callable[[], Runner], keep: float | None = 30.0
    ) -> None:
        self.name = name
        self.size = size
        self.queue = queue
        self.closed = False
        self._runner = runner
        self._keep = -1 if keep is None else keep
        self._lock = threading.Lock()
        self._waiting: deque[Job] = deque()
        self._idle: list[_Place] = []  # the last that became idle is taken first: its caches are warm
        self._places: set[_Place] = set()
        self._running = 0
        self._made = 0

    def submit(self, job: Job) -> bool:
        """Run `job` now or later; False when the queue is full or the pool is closed.

        RuntimeError where the system gives no thread and there is none.
        """
        with self._lock:
            if self.closed:
                return False
            if self._running < self.size and not self._waiting and self._place(job):
                return True
            if len(self._waiting) >= self.queue:
                self._waiting = deque(waiting for waiting in self._waiting if not waiting.done())
                if len(self._waiting) >= self.queue:
                    return False
            self._waiting.append(job)
            self._fill()
            return True

    def abandon(self, job: Job) -> None:
        """`job` is given up: the thread that runs it, if any, is counted no more until it returns."""
        with self._lock:
            for place in self._places:
                if place.job is job:
                    place.abandoned = True
                    self._recount(place)
                    return

    def set_blocked(self, place: _Place, blocked: bool) -> bool:
        """Whether the pool starves: Tasks wait, fewer than allowed run, and there is no thread for them."""
        with self._lock:
            place.blocked = blocked
            self._recount(place)
            return bool(self._waiting) and self._running < self.size

    def take(self, job: Job) -> bool:
        """Take `job` out of the queue, to run it elsewhere; False if it isn't there."""
        with self._lock:
            try:
                self._waiting.remove(job)
            except ValueError:
                return False
            return True

    def resize(self, size: int, queue: int) -> None:
        """So many Tasks at a time, and in the queue, from now on."""
        with self._lock:
            self.size, self.queue = size, queue
            if not self.closed:
                self._fill()

    def counts(self) -> tuple[int, int, int, int]:
        """(threads, running, idle, waiting), for the curious."""
        with self._lock:
            return len(self._places), self._running, len(self._idle), len(self._waiting)

    def close(self, deadline: float) -> None:
        """Begin no more; wait for what runs until `deadline` (of `time.monotonic ()`), then cancel it."""
        with self._lock:
            self.closed = True
            waiting = list(self._waiting)
            self._waiting.clear()
            for place in self._idle:
                place.gate.release()
            self._idle.clear()
            places = list(self._places)
        for job in waiting:
            job.cancel()
        self._join(places, deadline)
        for place in places:
            running = place.job
            if running is not None:
                running.cancel()
        self._join(places, max(deadline, time.monotonic() + 1.0), abandoned=False)

    # -- under the lock -------------------------------------------------------------------------------

    def _place(self, job: Job) -> bool:
        """Give `job` to an idle thread or a new one."""
        if self._idle:
            place = self._idle.pop()
            place.job, place.counted = job, True
            self._running += 1
            place.gate.release()
            return True
        if len(self._places) >= 4 * self.size + 16:
            return False
        place = _Place(self, job)
        self._made += 1
        place.thread = threading.Thread(
            target=self._live, args=(place,), name=f'{self.name}-{self._made}', daemon=True
        )
        try:
            place.thread.start()
        except RuntimeError:
            if self._places:
                return False  # one of those takes it
            raise
        self._places.add(place)
        self._running += 1
        return True

    def _fill(self) -> None:
        """Give waiting jobs to the places that are free."""
        while self._waiting and self._running < self.size:
            job = self._waiting.popleft()
            if not job.done() and not self._place(job):
                self._waiting.appendleft(job)
                return

    def _count(self, place: _Place) -> None:
        counted = place.job is not None and not (place.blocked or place.abandoned)
        if counted != place.counted:
            place.counted = counted
            self._running += 1 if counted else -1

    def _recount(self, place: _Place) -> None:
        """A place that runs a job began or ceased to count: others may take its turn."""
        self._count(place)
        if not place.counted and not self.closed:
            self._fill()

    def _next(self, place: _Place) -> bool:
        """The place's job is finished: give it another, or make it idle; False to end it."""
        place.job = None
        place.abandoned = place.blocked = False
        self._count(place)
        while self._waiting and self._running < self.size:
            job = self._waiting.popleft()
            if not job.done():
                place.job = job
                self._count(place)
                return True
        if self.closed or len(self._idle) >= self.size:
            return False
        self._idle.append(place)
        return True

    # -- on the pool's threads --------------------------------------------------------------------------

    def _live(self, place: _Place) -> None:
        _here.place = place
        runner = self._runner()
        try:
            while True:
                job = place.job
                if job is not None:
                    try:
                        runner.run(job)
                    except BaseException:
                        log.exception('a Task failed outside every handler')
                        job.cancel()  # whoever waits for it shall not wait for ever
                    job = None  # or an idle thread would keep the last Task
                    with self._lock:
                        if not self._next(place):
                            break
                elif not self._rest(place):
                    break
        finally:
            with self._lock:
                self._places.discard(place)
            runner.close()

    def _rest(self, place: _Place) -> bool:
        """Sleep until there is a job; False to end."""
        if not place.gate.acquire(timeout=self._keep):
            with self._lock:
                if place in self._idle:
                    self._idle.remove(place)
                    return False
            place.gate.acquire()  # given a job, or sent away, a moment ago
        return place.job is not None

    def _join(self, places: list[_Place], deadline: float, abandoned: bool = True) -> None:
        me = threading.current_thread()
        for place in places:
            if place.thread is not None and place.thread is not me and (abandoned or not place.abandoned):
                place.thread.join(max(deadline - time.monotonic(), 0))


def forget() -> None:
    """In a forked child: no thread is a pool's any more."""
    global _here
    _here = threading.local()
