"""When time is up for Tasks: one thread that sleeps until the next deadline.

Shared: the heap, by whoever makes or finishes a Task, under `_lock`. The thread is woken only for a
deadline earlier than the one it sleeps until, so that a Task that ends in time costs no switch.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from typing import Any, Protocol

log = logging.getLogger('aquests')

#: Deadlines of finished Tasks that may stay in the heap before it is cleaned, if they are more than half.
_STALE = 1000


class Expiring(Protocol):
    def expire(self) -> None: ...


#: [when, a number that makes it unique, the Task or None when it is finished].
Alarm = list[Any]


class Clock:
    """Calls `task.expire ()` at a time of `time.monotonic ()`, on a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._heap: list[Alarm] = []
        self._numbers = itertools.count()
        self._stale = 0
        self._until = 0.0  # what the thread sleeps until
        self._thread: threading.Thread | None = None

    def set(self, when: float, task: Expiring) -> Alarm:
        alarm: Alarm = [when, next(self._numbers), task]
        with self._lock:
            heapq.heappush(self._heap, alarm)
            if self._thread is None:
                self._start()
            elif when < self._until:
                self._until = when  # the next one need not wake it again
                self._changed.notify()
        return alarm

    def unset(self, alarm: Alarm) -> None:
        with self._lock:
            if alarm[2] is None:
                return
            alarm[2] = None
            self._stale += 1
            if self._stale > _STALE and self._stale * 2 > len(self._heap):
                self._heap = [kept for kept in self._heap if kept[2] is not None]
                heapq.heapify(self._heap)
                self._stale = 0

    def close(self) -> None:
        """End the thread; deadlines that are set later start another."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._changed.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0)

    def _start(self) -> None:
        self._until = 0.0
        self._thread = threading.Thread(target=self._run, name='aquests-clock', daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads: whoever waits for the Task looks at the clock too
            self._thread = None

    def _run(self) -> None:
        while (due := self._next()) is not None:
            for task in due:
                try:
                    task.expire()
                except Exception:
                    log.exception('a Task could not be stopped at its deadline')
            del due[:]

    def _next(self) -> list[Expiring] | None:
        """Wait for Tasks whose time is up; None at the end."""
        me = threading.current_thread()
        with self._lock:
            while self._thread is me:
                due = self._take(time.monotonic())
                if due:
                    return due
                self._until = self._heap[0][0] if self._heap else float('inf')
                pause = self._until - time.monotonic()
                self._changed.wait(min(max(pause, 0), 3600))
        return None

    def _take(self, now: float) -> list[Expiring]:
        due: list[Expiring] = []
        while self._heap and self._heap[0][0] <= now:
            alarm = heapq.heappop(self._heap)
            if alarm[2] is None:
                self._stale -= 1
            else:
                due.append(alarm[2])
                alarm[2] = None
        return due


clock = Clock()


def forget() -> None:
    """Begin anew, in a forked child: the thread and perhaps a held lock are the parent's."""
    global clock
    clock = Clock()
