"""Failures that nobody looked at are logged, once (`Watch`).

A Watch ends with its Task, perhaps in the middle of a collection of garbage, under whatever lock that
thread holds: nothing may be done there but to queue it (SimpleQueue is made for that). A thread, started with
the first failure, writes what is queued; `close` writes the rest. At the interpreter's end `close_all` writes
those that are held still, for nobody will look at them any more.
"""

from __future__ import annotations

import logging
import queue
import threading
import weakref

log = logging.getLogger('aquests')

#: (what failed, how), or None for the end.
_Dropped = queue.SimpleQueue[tuple[str, BaseException] | None]

_dropped: _Dropped = queue.SimpleQueue()
_writer: threading.Thread | None = None
_lock = threading.Lock()  # guards the writing of `_writer`
#: Added to by any thread, read at the end.
_held: weakref.WeakSet[Watch] = weakref.WeakSet()


class Watch:
    """Held by the Result of a failed Task; logs the failure unless it was `seen` when it is let go of."""

    __slots__ = ('__weakref__', '_error', '_name', '_queue', 'seen')

    def __init__(self, name: str, error: BaseException) -> None:
        self._name, self._error = name, error
        self._queue = _dropped
        self.seen = False
        _held.add(self)
        if _writer is None:
            _start()

    def __del__(self) -> None:
        if not self.seen:
            self._queue.put((self._name, self._error))


def close() -> None:
    """Write what is queued and end the thread; the next failure starts another."""
    global _writer
    with _lock:
        writer, _writer = _writer, None
    _dropped.put(None)
    if writer is not None and writer is not threading.current_thread():
        writer.join(2.0)
    else:
        _write(_dropped)


def close_all() -> None:
    """At the interpreter's end."""
    for watch in list(_held):
        if not watch.seen:
            watch.seen = True
            _dropped.put((watch._name, watch._error))
    close()


def forget() -> None:
    """Begin anew, in a forked child: what is queued, or held, is the parent's."""
    global _dropped, _writer, _lock, _held
    _held = weakref.WeakSet()
    _dropped, _writer, _lock = queue.SimpleQueue(), None, threading.Lock()


def _start() -> None:
    global _writer
    with _lock:
        if _writer is not None:
            return
        _writer = threading.Thread(target=_write, args=(_dropped,), name='aquests-log', daemon=True)
        try:
            _writer.start()
        except RuntimeError:  # no more threads: `close` writes
            _writer = None


def _write(dropped: _Dropped) -> None:
    """Log what is queued, up to the end's mark."""
    while (item := dropped.get()) is not None:
        log.error('a Task failed and nobody fetched it: %s', item[0], exc_info=item[1])
        item = None  # or it would be kept until the next
