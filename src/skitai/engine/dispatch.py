"""Who runs on a service thread, and who waits: bounded admission without a hop.

Rules. At most `threads` jobs run at a time. A job starts on the thread that brings it, if one of the
`threads` places is free; otherwise it waits in arrival order, and the thread that finishes a job takes
the next. So no thread is ever woken for a request while services keep up, and however many services
block, the engine's own threads (a few more than `threads`) stay free to complete reads and writes.

Shared: `_free` and `_waiting` are touched by every thread; each step is one list or deque operation,
atomic under the interpreter lock, and the order of the steps (queue, then look for a free place; give
the place back, then look at the queue) leaves no job behind. What comes from a thread that must not block is
done by threads of the dispatcher's own (`_hand`), made when they are needed; their numbers are under `_lock`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from aquests import clock

log = logging.getLogger('skitai.engine')

#: Seconds until a thread is asked for again where the system had none.
AGAIN = 0.1

#: Must not raise.
Job = Callable[[Any], None]


def _nothing(argument: None) -> None: ...


#: A job that does nothing.
_NOTHING: tuple[Job, Any] = (_nothing, None)


class Dispatcher:
    """Runs jobs on at most `threads` threads at once; `queue` more requests may wait."""

    def __init__(self, threads: int, queue: int) -> None:
        self.threads = threads
        self.queue = queue
        self._free: list[None] = [None] * threads
        self._waiting: deque[tuple[Job, Any]] = deque()
        self._lock = threading.Lock()
        self._calls: SimpleQueue[bool] = SimpleQueue()  # wakes a hand; False ends it
        self._hands = self._resting = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many jobs wait for a place."""
        return len(self._waiting)

    def admit(self, job: Job, argument: Any) -> bool:
        """Run `job (argument)` here and now, or queue it; False when the queue is full.

        Called on a thread that may be used as a service thread.
        """
        free, waiting = self._free, self._waiting
        try:
            free.pop()
        except IndexError:
            if len(waiting) >= self.queue:
                return False
            waiting.append((job, argument))
            self._take_waiting()
            return True
        try:
            job(argument)
        except BaseException:
            log.exception('a job failed outside every handler')
        if waiting:
            self._run(*_NOTHING)
        else:
            free.append(None)
            if waiting:  # queued between our look and the place's return
                self._take_waiting()
        return True

    def resume(self, job: Job, argument: Any) -> None:
        """Like `admit` for work that was admitted before (the next step of a stream): never refused."""
        self._waiting.append((job, argument))
        self._take_waiting()

    def requeue(self, job: Job, argument: Any) -> None:
        """Put a running job's continuation behind those that wait; the caller then returns."""
        self._waiting.append((job, argument))

    def submit(self, job: Job, argument: Any) -> None:
        """Run `job (argument)` on a service thread; called on a thread that must not block (the loop)."""
        self._waiting.append((job, argument))
        if self._free:
            self._call_hand()

    def offer(self, job: Job, argument: Any) -> bool:
        """Like `admit` on a thread that must not block (the loop): another one runs the job."""
        if len(self._waiting) >= self.queue + len(self._free):
            return False
        self.submit(job, argument)
        return True

    def close(self) -> None:
        """Let no more work begin on the dispatcher's own threads; running jobs are not waited for."""
        with self._lock:
            self._closed = True
            for _ in range(self._hands):
                self._calls.put(False)

    def _call_hand(self) -> None:
        """Wake one of our own threads, or make one; if all work, each looks at the queue before it rests."""
        with self._lock:
            if self._closed:
                return
            if self._resting:
                self._resting -= 1
                self._calls.put(True)
            elif self._hands < self.threads:
                self._hands += 1
                hand = threading.Thread(target=self._hand, name=f'service_{self._hands}', daemon=True)
                try:
                    hand.start()
                except RuntimeError as error:  # there is none to be had: the job waits for one
                    self._hands -= 1
                    log.warning('no service thread: %s', error)
                    clock.clock.set(time.monotonic() + AGAIN, self)

    def expire(self) -> None:
        """Called by the clock: where there was no thread there may be one now."""
        if self._waiting and self._free:
            self._call_hand()

    def _hand(self) -> None:
        while True:
            self._take_waiting()
            with self._lock:
                self._resting += 1
            if self._waiting and self._free:  # queued while we were not resting yet
                with self._lock:
                    if self._resting:
                        self._resting -= 1
                        continue
            if not self._calls.get():
                return

    def _take_waiting(self) -> None:
        """Run waiting jobs here as long as there are both a free place and a job."""
        while self._waiting:
            try:
                self._free.pop()
            except IndexError:
                return  # whoever holds a place looks at the queue when it gives it back
            try:
                job, argument = self._waiting.popleft()
            except IndexError:
                self._free.append(None)
                continue
            self._run(job, argument)

    def _run(self, job: Job, argument: Any) -> None:
        """Run a job in a place that the caller took, then those that wait, then give the place back."""
        waiting = self._waiting
        while True:
            try:
                job(argument)
            except BaseException:
                log.exception('a job failed outside every handler')
            if waiting:
                try:
                    job, argument = waiting.popleft()
                    continue
                except IndexError:
                    pass
            self._free.append(None)
            if not waiting:
                return
            try:  # queued between our look and the place's return: nobody else may have seen it
                self._free.pop()
            except IndexError:
                return
            try:
                job, argument = waiting.popleft()
            except IndexError:
                self._free.append(None)
                return
