"""How many of the server's threads stay awake: as few as keep up.

The server gives work to any of its threads that waits for it. Under load all of them would wake for each
request and then queue for the interpreter lock, which costs far more than a short service does. So of
those that have finished a piece of work all but `wanted` sleep, inside the call that brought it to them.

A service that blocks (a query, a sleep) keeps its thread. A watch notices, within a few milliseconds, that
no awake thread is left that isn't blocked, and wakes one more; when threads have been idle for a while,
one less stays awake. So work never waits for a blocked thread longer than a tick or two of the watch.

Where nobody sleeps who could be woken, the server may have more threads to make: it makes them one by one,
when it has given work to those it has, and can miss that (two pieces of work that come at once, to a thread
just about to take the first). So the watch has it look again (`stir`).

From outside, a thread that waits for the interpreter lock looks like one that is blocked. One more would only
join the queue for the lock then. The watch needs it too: when it gets it late, others do, and what counts as
blocked must have lasted longer.

Shared: `awake`, `wanted`, the sleepers and the tuple of members change under `_lock`; a thread's own record
is written by that thread and only read by the watch. The watch runs on a thread of its own, while there is
work.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from time import monotonic, sleep

log = logging.getLogger('skitai.engine')

#: Threads that stay awake when nothing blocks (measured: a second one costs a twentieth of the throughput).
AT_EASE = 1
#: The watch looks so often (seconds); a thread that long in one piece of work counts as blocked.
TICK = 0.004
BLOCKED_AFTER = 0.002
#: So many times as long as the watch has just waited for the interpreter lock is no sign of being blocked.
PATIENCE = 5
#: After so many ticks in a row with more than one thread to spare, one less stays awake.
CALM_TICKS = 50
#: After so many ticks without work the watch sleeps.
IDLE_TICKS = 250
#: The server looks again after so many ticks, if still nobody is to be had.
STIR_TICKS = 50


def _nothing() -> None: ...


class Member:
    """One thread's record."""

    __slots__ = ('__weakref__', 'since', 'wake')

    def __init__(self) -> None:
        #: `monotonic ()` at which it began its piece of work; 0.0 while it has none.
        self.since = 0.0
        #: Held while the thread is awake; released to wake it.
        self.wake = threading.Lock()
        self.wake.acquire()


class Crew:
    """The server's threads. A piece of work is enclosed by `begin` and `end`, or by the same written out.

    `size`: how many there can be. `stir ()`, called by the watch, has the server look whether to make one.
    """

    def __init__(self, size: int = 0, stir: Callable[[], None] = _nothing) -> None:
        self.size = size
        self._stir = stir
        self.awake = 0
        self.wanted = AT_EASE
        #: The watch sleeps: whoever begins work calls `alert`.
        self.off_guard = True
        #: `here.member` is this thread's record; AttributeError before its `join`.
        self.here = threading.local()
        #: Records live in `here`, so they go with their threads; the watch takes those that `_left` out.
        self._members: tuple[weakref.ref[Member], ...] = ()
        self._left: deque[weakref.ref[Member]] = deque()
        self._sleeping: list[Member] = []
        self._lock = threading.Lock()
        self._work = threading.Event()
        self._stopped = False
        self._idle = self._calm = 0  # ticks in a row; the watch's own
        self._stirred = (0, 0)  # with how many threads the server last looked, and how many ticks ago

    def begin(self) -> Member | None:
        """This thread begins a piece of work; None inside another one (then `end` is not called)."""
        try:
            member: Member = self.here.member
        except AttributeError:
            member = self.join()
        if member.since:
            return None
        member.since = monotonic()
        if self.off_guard:
            self.alert()
        return member

    def end(self, member: Member) -> None:
        """The piece of work is done. Sleeps here if there are threads enough."""
        member.since = 0.0
        if self.awake > self.wanted:
            self.sleep(member)

    def join(self) -> Member:
        """This thread's record, made."""
        member: Member = Member()
        self.here.member = member
        with self._lock:
            self._members = (*self._members, weakref.ref(member, self._left.append))
            self.awake += 1
        return member

    def sleep(self, member: Member) -> None:
        """Sleep until the thread is needed, if it isn't at the moment."""
        with self._lock:
            if self.awake <= self.wanted:
                return
            self.awake -= 1
            self._sleeping.append(member)
        member.wake.acquire()

    def alert(self) -> None:
        """Wake the watch."""
        self.off_guard = False
        self._work.set()

    def start(self) -> None:
        threading.Thread(target=self._watch, name='crew-watch', daemon=True).start()

    def stop(self) -> None:
        """Wake everybody, for good."""
        with self._lock:
            self._stopped = True
            self.wanted = len(self._members) + 1_000_000
            for member in self._sleeping:
                member.wake.release()
                self.awake += 1
            self._sleeping.clear()
        self._work.set()

    # -- the watch -------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stopped:
            try:
                if self._idle > IDLE_TICKS:
                    self._rest()
                self._tick()
            except Exception:  # without a watch the threads that sleep would sleep for ever
                log.exception('the watch over the threads failed')

    def _rest(self) -> None:
        """Sleep until there is work."""
        self._idle = 0
        self._work.clear()
        self.off_guard = True
        if not self._look(0.0)[1]:  # whoever began before that line did not call
            self._work.wait()
        self.off_guard = False

    def _tick(self) -> None:
        before = monotonic()
        sleep(TICK)
        lag = monotonic() - before - TICK
        if self._left:
            self._forget_those_that_left()
        blocked, busy = self._look(lag)
        self._idle = 0 if busy else self._idle + 1
        spare = self.awake - blocked
        if spare < 1:
            if not self._add_one():
                self._make_one()
            self._calm = 0
        elif spare > 1 and self.wanted > AT_EASE:
            self._calm += 1
            if self._calm > CALM_TICKS:
                self._calm = 0
                with self._lock:
                    self.wanted = max(AT_EASE, self.wanted - 1)
        else:
            self._calm = 0

    def _forget_those_that_left(self) -> None:
        with self._lock:
            while self._left:
                left = self._left.pop()
                self._members = tuple(member for member in self._members if member is not left)
                self.awake -= 1

    def _look(self, lag: float) -> tuple[int, bool]:
        """How many threads are blocked, and whether any has work. `lag`: how late the watch is (seconds)."""
        late = monotonic() - BLOCKED_AFTER - PATIENCE * lag
        blocked, busy = 0, False
        for found in self._members:
            member = found()
            if member is not None and (since := member.since):
                busy = True
                if since < late:
                    blocked += 1
        return blocked, busy

    def _add_one(self) -> bool:
        """Wake a thread; False if none sleeps."""
        with self._lock:
            if not self._sleeping or self._stopped:
                return False
            self.awake += 1
            self.wanted = max(self.wanted, self.awake)
            self._sleeping.pop().wake.release()
            return True

    def _make_one(self) -> None:
        """Have the server look: once for so many threads, and again from time to time."""
        joined, ticks = len(self._members), self._stirred[1] + 1
        if joined < self.size and (joined != self._stirred[0] or ticks > STIR_TICKS) and not self._stopped:
            self._stirred = joined, 0
            self._stir()
        else:
            self._stirred = self._stirred[0], ticks
