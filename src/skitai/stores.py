"""`Store`: a dict for threads, whose items may expire: `app.g`, `app.store`, `was.g` (SPEC G-01 to G-03).

A store belongs to one worker process; what all workers share is in `skitai.shared`.

Writers hold the lock (reentrant: values may come with code of their own, which may use the store).
Readers of one item don't: an item is replaced as a whole. An item that has expired is gone for every reader
at that moment, and out of memory at the next write or the next look at all items.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any, NamedTuple

_NEVER = float('inf')
_MISSING: Any = object()
#: Ends of items that were replaced meanwhile: so many are tolerated before they are sorted out.
_STALE = 64


class _Item(NamedTuple):
    value: Any
    #: `time.monotonic ()` from which on it is gone.
    end: float


class Store:
    """A dict-like of anything, for all threads. Items are attributes too: `g.total` is `g ['total']`.

    Attributes are for the names that are neither those of methods nor begin with an underscore; setting
    one of these is an AttributeError (`g ['get'] = 1` works). A missing item is a KeyError, a missing
    attribute an AttributeError.

    `g ['n'] += 1` is a look and a write, between which another thread may write: count with `delta`.
    """

    __slots__ = ('_ends', '_items', '_lock')

    _items: dict[Any, _Item]
    #: A heap of (end, key's number, key); the number keeps keys from being compared.
    _ends: list[tuple[float, int, Any]]
    _lock: threading.RLock

    def __init__(self) -> None:
        for name, value in (('_items', {}), ('_ends', []), ('_lock', threading.RLock())):
            object.__setattr__(self, name, value)

    # -- one item ----------------------------------------------------------------------------------

    def get(self, key: Any, default: Any = None) -> Any:
        """The item, or `default` where there is none (any more)."""
        item = self._items.get(key)
        if item is None or item.end <= monotonic():
            return default
        return item.value

    def __getitem__(self, key: Any) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        return self.get(key, _MISSING) is not _MISSING

    def set(self, key: Any, value: Any, timeout: float = 0) -> None:
        """Set an item; it disappears after `timeout` seconds (0: never). ValueError below 0."""
        if not timeout >= 0:
            raise ValueError(f'timeout must be a number of seconds, 0 or more, not {timeout!r}')
        with self._lock:
            now = monotonic()
            self._purge(now)
            self._put(key, value, now + timeout if timeout else _NEVER)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: Any) -> None:
        with self._lock:
            self._purge(monotonic())
            del self._items[key]

    def remove(self, key: Any) -> None:
        """Delete an item; nothing happens where there is none."""
        with self._lock:
            self._items.pop(key, None)

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Delete an item and give it; where there is none `default`, or a KeyError without one."""
        with self._lock:
            value = self.get(key, default)
            if value is _MISSING:
                raise KeyError(key)
            self._items.pop(key, None)
            return value

    def setdefault(self, key: Any, default: Any = None, timeout: float = 0) -> Any:
        """The item; where there is none it is set to `default` first, for `timeout` seconds. Atomic."""
        with self._lock:
            value = self.get(key, _MISSING)
            if value is _MISSING:
                self.set(key, default, timeout)
                return default
            return value

    def delta(self, key: Any, n: Any = 1) -> Any:
        """Add `n` to an item and give the sum. Atomic. A missing item counts as 0; a timeout stays."""
        with self._lock:
            now = monotonic()
            self._purge(now)
            value, end = self._items.get(key) or (0, _NEVER)
            value = value + n  # not in place: readers have the old one
            self._items[key] = _Item(value, end)
            return value

    # -- attributes --------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if not name.startswith('_'):
            value = self.get(name, _MISSING)
            if value is not _MISSING:
                return value
        raise AttributeError(f'the store has no item {name!r}')

    def __setattr__(self, name: str, value: Any) -> None:
        self.set(_item_name(name), value)

    def __delattr__(self, name: str) -> None:
        try:
            del self[_item_name(name)]
        except KeyError:
            raise AttributeError(f'the store has no item {name!r}') from None

    # -- all items ---------------------------------------------------------------------------------

    def _current(self) -> list[tuple[Any, _Item]]:
        with self._lock:
            self._purge(monotonic())
            return list(self._items.items())

    def keys(self) -> list[Any]:
        """As at this moment; so are `values`, `items` and an iteration."""
        return [key for key, _ in self._current()]

    def values(self) -> list[Any]:
        return [item.value for _, item in self._current()]

    def items(self) -> list[tuple[Any, Any]]:
        return [(key, item.value) for key, item in self._current()]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._current())

    def clear(self) -> None:
        with self._lock:
            self._items.clear()
            self._ends.clear()

    def __repr__(self) -> str:
        return f'<Store {dict(self.items())!r}>'

    # -- inside, under the lock --------------------------------------------------------------------

    def _put(self, key: Any, value: Any, end: float) -> None:
        self._items[key] = _Item(value, end)
        if end == _NEVER:
            return
        if len(self._ends) > 2 * len(self._items) + _STALE:
            self._ends[:] = [(one.end, id(k), k) for k, one in self._items.items() if one.end != _NEVER]
            heapq.heapify(self._ends)
        else:
            heapq.heappush(self._ends, (end, id(key), key))

    def _purge(self, now: float) -> None:
        """Delete what has expired."""
        ends = self._ends
        while ends and ends[0][0] <= now:
            _, _, key = heapq.heappop(ends)
            item = self._items.get(key)
            if item is not None and item.end <= now:  # else it was replaced
                del self._items[key]


def _item_name(name: str) -> str:
    """The name of an attribute that is an item."""
    if name.startswith('_') or hasattr(Store, name):
        why = 'begins with an underscore' if name.startswith('_') else 'is a method of the store'
        raise AttributeError(f'{name!r} {why}: use store [{name!r}]')
    return name
