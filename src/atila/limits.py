"""The time limit of a route: `@app.route (..., timeout = 3)` (SPEC appendix B.17).

It counts from where the service's part of the walk begins (hooks and guards included) to the beginning of
the answer. Where a request's code runs on a service thread, nothing can end it: the engine answers 503 in
its stead, the request's Tasks are cancelled, which wakes who waits for one, and a later answer is dropped
(`armed`). What waits on the event loop has `left ()` for it, and is answered with the app's own 503.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from aquests import clock

if TYPE_CHECKING:
    from skitai.exchange import Exchange

    from .was import Was


class Limit:
    """One request's: `seconds` from now."""

    __slots__ = ('_exchange', '_seconds', '_when')

    def __init__(self, exchange: Exchange, seconds: float) -> None:
        self._exchange = exchange
        self._seconds = seconds
        self._when = time.monotonic() + seconds

    def left(self) -> float:
        return self._when - time.monotonic()

    @contextmanager
    def armed(self, grace: float = 0.0) -> Iterator[None]:
        # One for each `with`: a thread may begin while the one before it is still on its way out.
        alarm = _Alarm(self._exchange, self._seconds)
        bucket = clock.clock.set(self._when + grace, alarm)
        try:
            yield
        finally:
            bucket.discard(alarm)


class _Alarm:
    __slots__ = ('_exchange', '_seconds')

    def __init__(self, exchange: Exchange, seconds: float) -> None:
        self._exchange, self._seconds = exchange, seconds

    def expire(self) -> None:
        """Called by the clock, on its thread."""
        self._exchange.give_up(self._seconds)


def begin(was: Was, seconds: float) -> AbstractContextManager[None]:
    """The request has `seconds` from now; for `with`, around code of it on a service thread."""
    limit = was.__dict__['_limit'] = Limit(was.exchange, seconds)
    return limit.armed()


def armed(was: Was, grace: float = 0.0) -> AbstractContextManager[None]:
    """For `with`, around more code of the request on a service thread; or, with so many seconds of `grace`,
    around what has its time limit on the event loop and may not heed it.
    """
    limit: Limit | None = was.__dict__.get('_limit')
    return nullcontext() if limit is None else limit.armed(grace)


def left(was: Was) -> float | None:
    """Seconds that the request has left, for `asyncio.timeout`; None without a limit."""
    limit: Limit | None = was.__dict__.get('_limit')
    return None if limit is None else limit.left()
