"""When time is up for Tasks: a thread that sleeps until the next deadline.

Deadlines are kept in buckets of those that come about the same time, for most are never reached: setting one
and unsetting it is an addition to a set and a removal. So a Task is told up to a hundredth of a second late.
Those that are seconds away are together in one set, the far ones: once a second the thread looks through it
for what has come near.

Shared: the sets, a bucket's and that of the far ones, by single operations. Making buckets, and the thread,
under `_lock`. The thread is woken only for a bucket earlier than the one it sleeps until, and passes over
those that are empty.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from typing import Any, Protocol

log = logging.getLogger('aquests')

#: Buckets for a second.
PER_SECOND = 100
#: Deadlines more seconds away than this are far; looked at so often (seconds), none comes unseen.
FAR = 2.0
LOOK = 1.0


class Expiring(Protocol):
    def expire(self) -> None: ...


_NEVER = 1 << 60

#: Those whose time is up at about the same moment; a deadline is unset by leaving it.
Bucket = set[Expiring]


class Clock:
    """Calls `task.expire ()` at a time of `time.monotonic ()`, on a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._buckets: dict[int, Bucket] = {}
        self._times: list[int] = []  # a heap of the buckets' keys
        self._until = 0  # the key of what the thread sleeps until; 0 while it is awake
        self._thread: threading.Thread | None = None
        #: A Task whose deadline is more than `FAR` seconds away adds itself, then sees whether the thread
        #: `looks`; if it doesn't, `look_soon ()` says that it must. When it is done it leaves its `_alarm`.
        self.far: set[Any] = set()
        self.looks = False
        self._looks_at = 0.0  # when it does next

    def set(self, when: float, task: Expiring) -> Bucket:
        """Have `task` told; it is unset by being discarded from what this gives.

        One deadline for a Task at a time: two at about the same moment would be one.
        """
        key = int(when * PER_SECOND) + 1
        buckets = self._buckets
        while True:
            bucket = buckets.get(key)
            if bucket is None or self._thread is None:
                bucket = self._make(key)
            bucket.add(task)
            if buckets.get(key) is bucket:
                return bucket
            bucket.discard(task)  # it was taken out at this very moment, perhaps before we were in it

    def look_soon(self) -> None:
        """Somebody was added to `far` while the thread did not look at it."""
        key = int((time.monotonic() + LOOK) * PER_SECOND)
        with self._lock:
            self.looks = True
            if self._thread is None:
                self._start()
            elif key < self._until:
                self._until = key
                self._changed.notify()

    def _make(self, key: int) -> Bucket:
        with self._lock:
            bucket = self._bucket(key)
            if self._thread is None:
                self._start()
            elif key < self._until:
                self._until = key  # the next one need not wake it again
                self._changed.notify()
        return bucket

    def _bucket(self, key: int) -> Bucket:
        """The one for `key`, made if there is none; under `_lock`."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = set()
            heapq.heappush(self._times, key)
        return bucket

    def close(self) -> None:
        """End the thread; deadlines that are set later start another."""
        with self._lock:
            thread, self._thread = self._thread, None
            self.looks = False
            self._changed.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0)

    def _start(self) -> None:
        self._until = 0
        self._thread = threading.Thread(target=self._run, name='aquests-clock', daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads: whoever waits for the Task looks at the clock too
            self._thread = None
            self.looks = False

    def _run(self) -> None:
        while (due := self._next()) is not None:
            while due:
                self._expire_one(due)

    def _expire_one(self, due: Bucket) -> None:
        try:
            task = due.pop()
        except KeyError:  # it was unset at this moment, and was the last
            return
        try:
            task.expire()
        except BaseException:
            log.exception('a Task could not be stopped at its deadline')

    def _look_at_far(self, now: float) -> None:
        """Put those that come near into their buckets; under `_lock`.

        Who is done meanwhile leaves the far ones, and is told in vain: so it is added first.
        """
        for task in self.far.copy():
            when = task._deadline
            if when is None or when - now > FAR:
                continue
            bucket = self._bucket(int(when * PER_SECOND) + 1)
            bucket.add(task)
            self.far.discard(task)
            task._alarm = bucket
        self.looks = False
        if self.far:  # also by who has just seen that we look
            self.looks = True

    def _next(self) -> Bucket | None:
        """Wait for Tasks whose time is up; None at the end."""
        me = threading.current_thread()
        with self._lock:
            while self._thread is me:
                now = time.monotonic()
                if self.looks and now >= self._looks_at:
                    self._look_at_far(now)
                    self._looks_at = now + LOOK
                while self._times:
                    key = self._times[0]
                    bucket = self._buckets[key]
                    early = key > now * PER_SECOND
                    if bucket and early:
                        break
                    del self._buckets[key]
                    if not bucket:
                        heapq.heappop(self._times)
                    elif early:  # somebody joined it at this very moment
                        self._buckets[key] = bucket
                    else:
                        heapq.heappop(self._times)
                        return bucket
                self._until = self._times[0] if self._times else _NEVER
                if self.looks:
                    self._until = min(self._until, int(self._looks_at * PER_SECOND))
                self._changed.wait(min(max(self._until / PER_SECOND - now, 0), 3600))
                self._until = 0
        return None


clock = Clock()


#: Clocks of a parent process: the Tasks that they hold are not ours to end.
_inherited: list[Clock] = []


def forget() -> None:
    """Begin anew, in a forked child: the thread and perhaps a held lock are the parent's."""
    global clock
    _inherited.append(clock)
    clock = Clock()
