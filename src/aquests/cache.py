"""Results that are kept (SPEC chapter 27, CA): one store for each process.

A result is as old as its request, not as its answer, so that one which an update overtook counts as older
than the update. What is taken out is a copy: whoever gets it may change it.

`newest (names)` tells when one of them was last updated; a server puts the stamps in that its workers share
(`use_stamps`). Shared: everything under `_lock`.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from .records import Record

log = logging.getLogger('aquests')

#: Results kept at most; a fifth goes when there are more (SPEC CA-07).
MAX = 100
#: Seconds that a result is kept where a key is given and nothing else is said (SPEC CA-02).
SECONDS = 60.0

#: `use_cache`: a name or names of `setlu`, True (whatever there is), False or None (nothing), or a time:
#: what is older is not used.
UseCache = str | Sequence[str] | bool | float | None

Key = Hashable


class Kept(NamedTuple):
    value: Any
    #: `time.time ()` when it was asked for, and until when it is kept.
    since: float
    until: float


class Cache:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Key, Kept] = {}
        self.max = MAX

    def get(self, key: Key, not_before: float) -> Any:
        """A copy of what is kept under `key` if it is from after `not_before`; KeyError otherwise."""
        kept = self._kept.get(key)
        if kept is None or kept.since <= not_before or kept.until <= time.time():
            raise KeyError(key)
        return _copied(kept.value)

    def put(self, key: Key, value: Any, since: float, seconds: float) -> None:
        """Keep a copy of `value` for so many seconds; one that cannot be copied is not kept."""
        try:
            copied = _copied(value)
        except Exception as error:
            log.warning('a result cannot be kept: %s', error)
            return
        kept = Kept(copied, since, time.time() + seconds)
        with self._lock:
            known = self._kept.pop(key, None)
            if known is not None and known.since > since:
                kept = known
            if len(self._kept) >= self.max:
                self._make_room()
            self._kept[key] = kept

    def clear(self) -> None:
        with self._lock:
            self._kept = {}

    def _make_room(self) -> None:
        now = time.time()
        alive = [(key, kept) for key, kept in self._kept.items() if kept.until > now]
        # In the order in which they were put: the oldest fifth goes.
        room = self.max - max(self.max // 5, 1)
        self._kept = dict(alive[-room:] if room else ())


cache = Cache()


def _unshared(names: Sequence[str]) -> float:
    raise KeyError(f'{", ".join(names)}: there are no stamps outside a server')


#: When one of these names was last updated (`time.time ()`); KeyError for an unregistered one.
newest: Callable[[Sequence[str]], float] = _unshared


def use_stamps(function: Callable[[Sequence[str]], float]) -> None:
    """From now on `function` tells when names were updated; a server says so."""
    global newest
    newest = function


def not_before(use: UseCache) -> float:
    """What is asked for must be newer than this; infinity where nothing kept will do."""
    if use is None or use is False:
        return float('inf')
    if use is True:
        return 0.0
    if isinstance(use, int | float):
        return float(use)
    return newest((use,) if isinstance(use, str) else tuple(use))


def set_max(count: int) -> None:
    """Keep at most so many results in each process (SPEC CA-07)."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f'{count!r}: a number of results from 1 is needed')
    cache.max = count


def _copied(value: Any) -> Any:
    """A copy that shares nothing which can be changed."""
    if type(value) is list:
        return [_copied(item) for item in value]
    if type(value) is Record:
        return Record((name, _copied(item)) for name, item in value.items())
    if value is None or type(value) in _PLAIN:
        return value
    return copy.deepcopy(value)


_PLAIN = frozenset({str, bytes, int, float, bool})
