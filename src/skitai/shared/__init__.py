"""What all workers of a server share: `skitai.g`, stamps, locks by name, claims (SPEC G-06, CA-01, CA-04).

The memory is made when it is first needed: at the latest by the master, before it forks (`seal`), so that
all workers have it. A process without a master (a unit test, another ASGI server) has one of its own,
shared with what it forks later. When a master replaces itself by `exec` it hands the memory down in an
environment variable: numbers and stamps survive SIGHUP.

Names are registered before that point by the launch script, its imports or `__config__`; the set of names
is then the same in all processes and needs no lock.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from . import file, replays
from .memory import LOCK_TIMEOUT, Memory, Number

__all__ = [
    'Lock',
    'SharedNumbers',
    'claim',
    'g',
    'hand_down',
    'lock',
    'register_g',
    'seal',
    'stamp',
    'stamped',
]

log = logging.getLogger('skitai.server')

#: '<pid>:<descriptor>': only for the program that takes this very process over.
MEMORY_FD = 'SKITAI_MEMORY_FD'

_Class = TypeVar('_Class', bound=type)

_memory: Memory | None = None
_making = threading.Lock()
_sealed = False
_started = time.time()


def _shared() -> Memory:
    """This server's memory."""
    global _memory
    if _memory is None:
        with _making:
            if _memory is None:
                _memory = _inherited() or Memory()
    return _memory


def _inherited() -> Memory | None:
    descriptor = file.inherited(MEMORY_FD)
    if descriptor is None:
        return None
    try:
        return Memory(descriptor)
    except ValueError:
        log.warning('shared numbers begin at 0: those of the code that served before are kept otherwise')
        os.close(descriptor)
        return None


def _forked() -> None:
    global _making, _started
    _making = threading.Lock()
    _started = time.time()
    if _memory is not None:
        _memory.forked()


os.register_at_fork(after_in_child=_forked)


# -- for the master --------------------------------------------------------------------------------


def seal() -> None:
    """Before the workers are forked: the memory is there, and no more names are registered."""
    global _sealed
    _shared()
    replays.table()
    _sealed = True


def hand_down() -> None:
    """Right before `exec`: let the next program in this process find what is shared."""
    file.hand_down(MEMORY_FD, _shared().descriptor)
    replays.hand_down()


# -- numbers ---------------------------------------------------------------------------------------


def register_g(*names: str | Iterable[str]) -> Callable[[_Class], _Class]:
    """Let `names` (or one list of them) be shared numbers and stamps, 256 in all (SPEC G-06, CA-01).

    Belongs into the launch script, `__config__` or a module that they import; works as a decorator of a
    class too, which stays as it is. A name may be registered again. RuntimeError in a worker for a new
    name, and where 256 are registered; TypeError or ValueError for a name that is none (1 to 199 bytes).
    """
    given: tuple[Any, ...] = names
    if len(names) == 1 and isinstance(names[0], (list, tuple, set, frozenset)):
        given = tuple(names[0])
    memory = _shared()
    for name in given:
        if isinstance(name, str) and name in memory.slots:
            continue
        if _sealed:
            raise RuntimeError(
                f'register_g ({name!r}) after the server was started: shared numbers are registered before'
                ' skitai.run (), in the launch script or in __config__ (pref)'
            )
        memory.register(name)

    def decorate(cls: _Class) -> _Class:
        return cls

    return decorate


class SharedNumbers:
    """`skitai.g`: the registered numbers, int or float, the same in all workers (SPEC G-06).

    Each starts as 0. Every operation is atomic, among the threads of all processes; none waits for a
    process that died. A name that isn't registered is a KeyError. Setting a number leaves its stamp alone.
    """

    __slots__ = ()

    def __getitem__(self, name: str) -> Number:
        return _shared().read(name)

    def __setitem__(self, name: str, value: Number) -> None:
        """TypeError for anything but int and float, OverflowError for an int beyond 64 bits (signed)."""
        _shared().write(name, value)

    set = __setitem__

    def get(self, name: str, default: Any = None) -> Any:
        """The number, or `default` for a name that isn't registered."""
        return _shared().read(name) if name in self else default

    def delta(self, name: str, n: Number = 1) -> Number:
        """Add `n` and give the sum. Errors as for setting; the number then stays as it was."""
        return _shared().add(name, n)

    def __contains__(self, name: object) -> bool:
        """Whether the name is registered."""
        return name in _shared().slots

    def keys(self) -> list[str]:
        return list(_shared().slots)

    def values(self) -> list[Number]:
        """Each as at the moment when it is read; so are those of `items`."""
        return [self[name] for name in self.keys()]

    def items(self) -> list[tuple[str, Number]]:
        return [(name, self[name]) for name in self.keys()]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(_shared().slots)

    def __repr__(self) -> str:
        return f'<skitai.g {dict(self.items())!r}>'


g = SharedNumbers()


# -- stamps ----------------------------------------------------------------------------------------


def stamp(name: str) -> float:
    """Note that what `name` stands for has changed now (SPEC CA-04). The stamp, as `stamped` gives it.

    Each stamp of a name is later than the one before, even if the clock was set back. KeyError for a name
    that isn't registered.
    """
    return _shared().stamp(name)


def stamped(*names: str) -> float:
    """The newest stamp of `names` (epoch seconds); this process's start time where there is none (CA-05).

    KeyError for a name that isn't registered.
    """
    memory = _shared()
    return max((memory.stamped(name) for name in names), default=0.0) or _started


# -- locks -----------------------------------------------------------------------------------------


class Lock:
    """A lock by name, against all threads of all workers of this server: `with lock ('stock'): ...`.

    Not reentrant. Released by the kernel when its process dies. Locks of one name are one lock, whichever
    object they are taken with. TimeoutError where it isn't free within `timeout` seconds.
    """

    __slots__ = ('name', 'timeout')

    def __init__(self, name: str, timeout: float = LOCK_TIMEOUT) -> None:
        self.name = name
        self.timeout = timeout

    def acquire(self) -> None:
        _shared().acquire(self.name, self.timeout)

    def release(self) -> None:
        """RuntimeError where this process doesn't hold it."""
        _shared().release(self.name)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock(name: str, timeout: float = LOCK_TIMEOUT) -> Lock:
    """See `Lock`; `timeout` in seconds, 60 if not given."""
    return Lock(name, timeout)


def claim(name: str) -> bool:
    """Whether this process, of all that share the memory, has `name`. Never waits.

    The first to ask has it until it ends; the next to ask after that has it then.
    """
    return _shared().claim(name)
