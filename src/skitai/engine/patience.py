"""Clients that wait: only of those that wait long it is asked whether they are there.

Watching a client costs about as much as a small answer, and most are answered within milliseconds: what is
kept until then are weak references, for an answered request shall make room for the next at once. Shared:
the deque, by single operations; see `_Soon`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import ref

from aquests import clock

from ..exchange import Exchange

log = logging.getLogger('skitai.engine')

#: Seconds that a client waits before it is watched, and so many more until the clock rings for those that
#: came after the first: each time it takes the interpreter's lock from those that work.
PATIENCE = 0.25
PAUSE = 0.05


class _Soon:
    """Exchanges whose clients are to be watched when they have waited, in the order in which they came.

    Who answers holds them. The clock rings for the first one, at `_due`; who finds that past sets it, under
    `_lock`: also where the clock was ended before (`aquests.shutdown ()`). Ringing twice does no harm.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[float, Callable[[Any], object], ref[Exchange]]] = deque()
        self._due = 0.0

    def call(self, watch: Callable[[Any], object], exchange: Exchange) -> None:
        now = time.monotonic()
        self._waiting.append((now + PATIENCE, watch, ref(exchange)))
        if self._due < now:
            self._ring(now, now + PATIENCE)

    def _ring(self, now: float, when: float) -> None:
        with self._lock:
            if self._due < now:
                self._due = when
                clock.clock.set(when, self)

    def expire(self) -> None:
        """Called by the clock, on its thread."""
        self._due = 0.0
        now = time.monotonic()
        try:
            while self._waiting[0][0] <= now:
                _, watch, found = self._waiting.popleft()
                _call(watch, found())
            self._ring(now, max(self._waiting[0][0], now + PAUSE))
        except IndexError:  # there are no more
            pass


def _call(watch: Callable[[Any], object], exchange: Exchange | None) -> None:
    if exchange is None:  # answered
        return
    try:
        watch(exchange)
    except Exception:
        log.exception('%s %s: the client cannot be watched', exchange.method, exchange.path)


#: Called with a function and an exchange: `function (exchange)` in a moment. It must not block, and sees for
#: itself whether the client still waits.
soon = _Soon().call
