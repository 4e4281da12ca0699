"""The memory that a master and its workers share: numbers with stamps, locks, claims (SPEC G-06, CA-07).

Belongs here: its layout, and who may touch what when. Doesn't: which memory is this server's (`__init__`).

A file without a name, mapped by all processes that were forked after it was made: a header and 256 slots.
Names are in it, so that the program by which a master replaces itself finds its values.

A slot:    offset 0   which of the two records is valid (one byte)
                  8   record 0: kind (0 int, 1 float), value, stamp
                 32   record 1
                 56   length of the name (0: the slot is free), then the name

Who may touch it. A slot is read and written under two locks: the memory's thread lock, and a POSIX record
lock on the slot's first byte. The kernel releases the latter when its process dies, wherever that was; a
change is written to the record that is not valid and counts from the moment that the one byte says so. So a
killed process leaves either the old value or the new one, and nobody waits for it.

Record locks belong to processes, so threads need the other lock. It is reentrant: a finalizer or a signal
handler may come in between with an operation of its own. A process holds at most one slot and waits
for none meanwhile, so there is no deadlock. Closing any descriptor of the file would drop all of the
process's record locks: there is one, besides the mapping's own, and both stay open. A fork inherits none.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import struct
import threading
import time
from collections.abc import Iterator
from typing import TypeAlias

from .file import SharedFile

Number: TypeAlias = 'int | float'

SLOTS = 256
NAME_BYTES = 199
#: Seconds that a slot may be kept by another process (stopped by a debugger, say) before we give up.
SLOT_TIMEOUT = 10.0
#: Seconds to wait for a lock by name, if the caller doesn't say.
LOCK_TIMEOUT = 60.0

_MAGIC = b'skitai\x00\x01'  # the last byte counts layouts
_SLOT = 256
_SIZE = (SLOTS + 1) * _SLOT
_RECORDS = (8, 32)
_NAME = 56
_RECORD = (struct.Struct('<B7xqd'), struct.Struct('<B7xdd'))

#: Where names are locked: bytes far beyond the file's end (a record lock needs none to be there).
_LOCKS, _CLAIMS = 1 << 60, 1 << 61
_HASH_BITS = 59
#: Seconds between two attempts at a record lock: from, to.
_SLOT_PAUSES = (2e-5, 1e-3)
_LOCK_PAUSES = (2e-4, 2e-2)


class Memory(SharedFile):
    """One shared memory."""

    magic = _MAGIC
    size = _SIZE
    what = 'shared memory'

    def __init__(self, descriptor: int | None = None) -> None:
        super().__init__(descriptor)
        #: Registered names: name -> where its slot begins. Filled before the fork, only read afterwards.
        self.slots: dict[str, int] = {}
        self.forked()

    def forked(self) -> None:
        """In the child of a fork: the threads that held locks are not here."""
        self._threads = threading.RLock()
        #: Slots whose record locks this process holds. Under `_threads`.
        self._holding: set[int] = set()
        #: Threads that hold or await a lock by name -> how many, and their lock. Under `_guard`.
        self._waiting: dict[str, _Waiting] = {}
        self._guard = threading.Lock()
        self._claimed: set[str] = set()

    # -- names -------------------------------------------------------------------------------------

    def register(self, name: str) -> None:
        """Let `name` have a slot: the one that it has already, or a free one.

        TypeError for no text, ValueError for none or too much of it (199 bytes), RuntimeError where all
        slots are taken.
        """
        if not isinstance(name, str):
            raise TypeError(f'the name of a shared number is a str, not {name!r}')
        text = name.encode()
        if not 0 < len(text) <= NAME_BYTES:
            raise ValueError(
                f'the name of a shared number has 1 to {NAME_BYTES} bytes, not {len(text)}: {name!r}'
            )
        with self._held(0):
            self.slots[name] = self._slot_of(text)

    def _slot_of(self, text: bytes) -> int:
        for start in range(_SLOT, _SIZE, _SLOT):
            length = self._map[start + _NAME]
            begin = start + _NAME + 1
            if length == 0:
                self._map[begin : begin + len(text)] = text
                self._map[start + _NAME] = len(text)
                return start
            if self._map[begin : begin + length] == text:
                return start
        raise RuntimeError(
            f'{SLOTS} shared numbers are registered already, no room for {text.decode()!r}'
            ' (those that an earlier version of the code registered count until the server is restarted)'
        )

    def _find(self, name: str) -> int:
        try:
            return self.slots[name]
        except KeyError:
            raise KeyError(
                f'{name!r} is no shared number: call skitai.register_g ({name!r}) before skitai.run ()'
            ) from None

    # -- numbers -----------------------------------------------------------------------------------

    def read(self, name: str) -> Number:
        """The number; 0 if it was never set. KeyError for a name that is not registered."""
        start = self._find(name)
        with self._held(start):
            return self._read(start)[0]

    def write(self, name: str, value: Number) -> None:
        """Set the number. TypeError for anything but int and float, OverflowError beyond 64 bits."""
        start = self._find(name)
        _check(name, value)
        with self._held(start):
            self._write(start, value, self._read(start)[1])

    def add(self, name: str, n: Number) -> Number:
        """Add `n` and give the sum. Atomic. Errors as for `write`; the number then stays as it was."""
        start = self._find(name)
        _check(name, n)
        with self._held(start):
            value, stamp = self._read(start)
            value = value + n
            _check(name, value)
            self._write(start, value, stamp)
            return value

    # -- stamps ------------------------------------------------------------------------------------

    def stamp(self, name: str) -> float:
        """Note that what `name` stands for has changed now; the stamp, always later than the one before."""
        start = self._find(name)
        with self._held(start):
            value, before = self._read(start)
            stamp = max(time.time(), math.nextafter(before, math.inf))
            self._write(start, value, stamp)
            return stamp

    def stamped(self, name: str) -> float:
        """The stamp (epoch seconds); 0.0 if there is none yet."""
        start = self._find(name)
        with self._held(start):
            return self._read(start)[1]

    # -- a slot, held ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _held(self, start: int) -> Iterator[None]:
        with self._threads:
            if start in self._holding:  # nested: it stays the outer operation's
                yield
                return
            if not self._take(start, SLOT_TIMEOUT, _SLOT_PAUSES):
                raise TimeoutError(
                    f'another process has held a shared number for {SLOT_TIMEOUT:g} s: is it stopped?'
                )
            self._holding.add(start)
            try:
                yield
            finally:
                self._holding.discard(start)
                self._release(start)

    def _read(self, start: int) -> tuple[Number, float]:
        record = start + _RECORDS[self._map[start]]
        _, value, stamp = _RECORD[self._map[record]].unpack_from(self._map, record)
        return value, stamp

    def _write(self, start: int, value: Number, stamp: float) -> None:
        kind = 0 if isinstance(value, int) else 1
        other = 1 - self._map[start]
        _RECORD[kind].pack_into(self._map, start + _RECORDS[other], kind, value, stamp)
        self._map[start] = other

    # -- locks by name -----------------------------------------------------------------------------

    def acquire(self, name: str, timeout: float) -> None:
        """Hold the lock `name` against all threads of all processes. TimeoutError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._guard:
            waiting = self._waiting.setdefault(name, _Waiting())
            waiting.count += 1
        taken = waiting.lock.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX))
        try:
            if not taken or not self._take(_byte(_LOCKS, name), deadline - time.monotonic(), _LOCK_PAUSES):
                raise TimeoutError(f'the lock {name!r} was not free within {timeout:g} s')
        except BaseException:
            self._leave(name, waiting, taken)
            raise

    def release(self, name: str) -> None:
        """RuntimeError where no thread of this process holds it."""
        waiting = self._waiting.get(name)
        if waiting is None or not waiting.lock.locked():
            raise RuntimeError(f'the lock {name!r} is released, but not held')
        self._release(_byte(_LOCKS, name))
        self._leave(name, waiting, True)

    def _leave(self, name: str, waiting: _Waiting, taken: bool) -> None:
        with self._guard:
            if taken:
                waiting.lock.release()
            waiting.count -= 1
            if not waiting.count:
                del self._waiting[name]

    def claim(self, name: str) -> bool:
        """Whether this process has `name` for itself: the first to ask has it, for the rest of its life."""
        with self._guard:
            if name not in self._claimed and self._take(_byte(_CLAIMS, name), 0, _LOCK_PAUSES):
                self._claimed.add(name)
            return name in self._claimed


class _Waiting:
    __slots__ = ('count', 'lock')

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0


def _byte(base: int, name: str) -> int:
    digest = hashlib.blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=8).digest()
    return base + (int.from_bytes(digest, 'little') >> (64 - _HASH_BITS))


def _check(name: str, value: Number) -> None:
    if not isinstance(value, (int, float)):
        raise TypeError(f'shared numbers are int or float: {name!r} cannot be {value!r}')
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise OverflowError(f'shared numbers have 64 bits: {name!r} cannot be {value}')
