"""The pools there are, how large they are, and their end.

They are made when first used, again after `shutdown ()`, and anew in a forked child. Shared: `_pools`, under
`_lock` when it is written.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from . import clock, loop, places, unfetched
from .places import Pool, Runner
from .seconds import seconds


@dataclasses.dataclass(frozen=True, slots=True)
class Sizes:
    """`threads`: Thread Tasks at a time. `processes`: processes (SPEC TH-01: as many as there are CPUs).
    `subprocesses`: commands at a time. `queue`: Tasks that may wait in each of the three; those beyond it
    fail with QueueFull. `timeout`: seconds that a Thread or Process has if nothing is said, None for no
    limit.
    """

    threads: int = 4
    processes: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    subprocesses: int = 32
    queue: int = 10_000
    timeout: float | None = 300.0


#: For what has None as a value.
_UNSAID: Any = object()
#: Seconds, three years.
_NO_LIMIT = 1e8
sizes = Sizes()
_pools: dict[str, Pool] = {}
_lock = threading.Lock()


def configure(
    threads: int | None = None,
    processes: int | None = None,
    subprocesses: int | None = None,
    queue: int | None = None,
    timeout: float | None = _UNSAID,
) -> None:
    """Set what is given (see `Sizes`); it also holds for pools that there are. ValueError below 1."""
    global sizes
    given = {'threads': threads, 'processes': processes, 'subprocesses': subprocesses, 'queue': queue}
    changed: dict[str, int | float | None] = {
        name: number for name, number in given.items() if number is not None
    }
    for name, number in changed.items():
        if type(number) is not int or number < 1:
            raise ValueError(f'{name} = {number!r}: it takes a number from 1')
    if timeout is not _UNSAID:
        changed['timeout'] = seconds(timeout, positive=True)
    with _lock:
        sizes = dataclasses.replace(sizes, **changed)  # type: ignore[arg-type]
        for name, pool in _pools.items():
            pool.resize(getattr(sizes, name), sizes.queue)


def pool_of(name: str, runner: Callable[[], Runner], keep: float | None = 30.0) -> Pool:
    """The pool of `threads`, `processes` or `subprocesses`."""
    pool = _pools.get(name)
    if pool is not None and not pool.closed:
        return pool
    with _lock:
        pool = _pools.get(name)
        if pool is None or pool.closed:
            pool = _pools[name] = Pool(
                f'aquests-{name[:-2] if name.endswith("sses") else name[:-1]}',
                getattr(sizes, name),
                sizes.queue,
                runner,
                keep,
            )
        return pool


def shutdown(timeout: float | None = 5.0) -> None:
    """End everything: what waits is cancelled, what runs has `timeout` seconds, then it is cancelled too.

    Processes and commands are killed; a thread that hangs cannot be, it is left behind. Returns within about
    `timeout` + 2 s; None for no limit. Called at the interpreter's end too. What is made later begins anew.
    RuntimeError on the thread of the loop that it is to end.
    """
    limit = seconds(timeout)
    loop.refuse_on_its_thread()
    deadline = time.monotonic() + (_NO_LIMIT if limit is None else limit)
    with _lock:
        pools = list(_pools.values())
        _pools.clear()
    closing = [
        threading.Thread(target=pool.close, args=(deadline,), name='aquests-closing', daemon=True)
        for pool in pools
    ]
    try:
        for thread in closing:
            thread.start()
    except RuntimeError:  # the interpreter is ending: one after the other
        for pool in pools:
            pool.close(deadline)
    else:
        for thread in closing:
            thread.join()
    loop.close(max(deadline - time.monotonic(), 0.5))
    clock.clock.close()
    unfetched.close()


def _forked() -> None:
    """In a forked child: threads, processes and held locks are the parent's."""
    global _pools, _lock
    _pools, _lock = {}, threading.Lock()
    places.forget()
    clock.forget()
    unfetched.forget()
    loop.forget()


os.register_at_fork(after_in_child=_forked)
