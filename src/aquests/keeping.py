"""Tasks that ask another server, and whose results can be kept (SPEC chapter 27, TK-13, TK-18).

Queries (`dbi`) and calls (`http`) are of this kind: what they are told (`Options`), their Task and Result,
and the Task of what was kept.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextvars import copy_context
from typing import Any

from . import cache as caches
from .cluster import Seat
from .looptask import LoopTask
from .result import STA_NORMAL, Result
from .seconds import NEVER, seconds
from .task import TIMEOUT, Callback, Filter, Mask, Task

log = logging.getLogger('aquests')


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What `was.db (alias, ...)` and its like were told (SPEC DB-01, TK-13), for all Tasks made there.

    `meta`, `filter`, `timeout`: the Task's. `use_cache`: see `cache.UseCache`. `cache`: seconds that results
    are kept. `callback`: `f (task)`, called when the Task is done, on whatever thread; it must not block.
    `everywhere`: each member carries it out (SPEC LB-04). `when_done`: called when the work has ended,
    however it did, before anybody learns of it; on whatever thread, it must not block.
    """

    meta: Mapping[str, Any] | None = None
    filter: Filter | None = None
    timeout: float | None = TIMEOUT
    use_cache: caches.UseCache = None
    cache: float | None = None
    callback: Callback | None = None
    everywhere: bool = False
    when_done: Callable[[], object] | None = None

    def __post_init__(self) -> None:
        """ValueError, TypeError for a `timeout` that is none; infinity is no limit."""
        timeout = self.timeout
        if timeout is not None and not (type(timeout) in (int, float) and 0 <= timeout < NEVER):
            object.__setattr__(self, 'timeout', seconds(timeout))

    @property
    def keep(self) -> float | None:
        """Seconds that a result is kept, whatever becomes of its Task."""
        if self.cache is None and self.use_cache is not None and self.use_cache is not False:
            return caches.SECONDS
        return self.cache


class KeptResult(Result):
    """One that can be kept for a while (SPEC TK-18)."""

    __slots__ = ('_key', '_since')

    def __init__(
        self,
        data: Any,
        error: BaseException | None = None,
        status_code: int = 200,
        reason: str = 'OK',
        key: Hashable = None,
        since: float = 0.0,
    ) -> None:
        """`key`: under which it can be kept, None if not at all; `since`: when it was asked for."""
        super().__init__(data, error, STA_NORMAL, status_code, reason)
        self._key, self._since = key, since

    def cache(self, secs: float = caches.SECONDS, cache_if: Sequence[int] = (200,)) -> Result:
        """Keep it for so many seconds if its status code is among `cache_if` (SPEC CA-07); itself.

        Of a database nothing is kept where there is a filter, for what is kept is unfiltered: there
        `was.db (..., cache = 60)` keeps it.
        """
        if secs and self._key is not None and self.error is None and self.status_code in cache_if:
            caches.cache.put(self._key, self._worth(), self._since, secs)
        return self

    def _worth(self) -> Any:
        """What is kept of it."""
        return self.data


class KeptTask(LoopTask):
    """A Task whose Result can be kept. It begins once made: a kind of it sets its own attributes before."""

    __slots__ = ('_keep', '_key', '_seat', '_since', '_when_done')

    def __init__(
        self, options: Options, key: Hashable = None, keep: float | None = None, seat: Seat | None = None
    ) -> None:
        """`key`: under which the result can be kept; `keep`: seconds that it is, whatever becomes of it.
        `seat`: the member that does it; None for the next in turn.
        """
        self._key = key
        self._keep = keep
        self._seat = seat
        self._since = time.time()
        self._when_done = options.when_done
        super().__init__(options.meta, options.filter, options.timeout)
        if options.callback is not None:
            self.add_done_callback(in_context(options.callback))
        self._begin()

    def fetch(
        self, cache: float | None = None, cache_if: Sequence[int] = (200,), timeout: float | None = None
    ) -> Any:
        data = super().fetch(timeout=timeout)
        if cache:
            self.cache(cache, cache_if)
        return data

    def one(
        self, cache: float | None = None, cache_if: Sequence[int] = (200,), timeout: float | None = None
    ) -> Any:
        one = super().one(timeout=timeout)
        if cache:
            self.cache(cache, cache_if)
        return one

    def dispatch(
        self, cache: float | None = None, cache_if: Sequence[int] = (200,), timeout: float | None = None
    ) -> Any:
        result = super().dispatch(timeout=timeout)
        if cache:
            self.cache(cache, cache_if)
        return result

    def cache(self, secs: float = caches.SECONDS, cache_if: Sequence[int] = (200,)) -> Task:
        """See `KeptResult.cache`; nothing happens while there is no result."""
        if self._result is not None:
            self._result.cache(secs, cache_if)
        return self

    def _work_ended(self) -> None:
        """To be called when the work has ended, before anybody learns of it."""
        if self._when_done is not None:
            try:
                self._when_done()
            except Exception:
                log.exception('what was to be done after %s failed', self._describe())


def found(value: Any, options: Options) -> Task:
    """A finished Task with a value that was kept."""
    error = None
    if options.filter is not None:
        try:
            value = options.filter(value)
        except Exception as raised:
            value, error = None, raised
    task = Mask(value, error, meta=options.meta)
    if options.callback is not None:
        task.add_done_callback(options.callback)
    return task


def in_context(callback: Callback) -> Callback:
    """`callback` in a copy of the context that is now."""
    context = copy_context()
    return lambda task: context.run(callback, task)
