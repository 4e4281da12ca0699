"""What all workers of a server have seen: uses of server nonces, each accepted once (SPEC AU-03, AU-08).

Belongs here: the table, and who may touch it when. Doesn't: what a nonce is made of, or proves.

A file without a name like `memory`, mapped by all processes forked after it was made: at the latest right
before the first fork of a process that has loaded this module, which a master with an app has. Untouched
buckets cost no memory. By an environment variable, as there, it goes on to the program by which a master
replaces itself; where it does not, a new one begins: nothing that was issued before is accepted.

The header: magic, a secret (random, for who has no better one), the time when the table was made.
A bucket:   offset 0   `watermark`: nonces issued up to then are refused, unless they are in the bucket
                  8   four entries: identity (16 bytes), issued, highest count, the 64 counts up to it (a bit
                      each)

A nonce goes into the bucket that its identity names. Where that is full, the one issued first makes room and
the watermark rises to it: it was used, and whether another one not newer was, nobody can tell any more.
So what is forgotten is refused, never accepted again.

Who may touch it. A bucket is read and written under the table's thread lock and a POSIX record lock on its
first byte, which the kernel releases when its process dies. Each change is a series of aligned eight-byte
stores in an order in which a process killed between two of them leaves more refused, not less.
As in `memory`, there is one descriptor of the file, besides the mapping's own, and both stay open.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
import threading
import time

#: '<pid>:<descriptor>': only for the program that takes this very process over.
REPLAYS_FD = 'SKITAI_REPLAYS_FD'

BUCKETS = 1024
ENTRIES = 4
SECRET_BYTES = 32
IDENTITY_BYTES = 16
#: Counts that may come late, as those of requests sent at once over several connections do.
WINDOW = 64
#: Seconds that a bucket may be kept by another process (stopped by a debugger, say) before we refuse.
TIMEOUT = 2.0

_MAGIC = b'nonces\x00\x01'  # the last byte counts layouts
_BUCKET = 256
_SIZE = (BUCKETS + 1) * _BUCKET
_SECRET = len(_MAGIC)
_MADE = _SECRET + SECRET_BYTES
_ENTRY = IDENTITY_BYTES + 3 * 8
_FIRST = 8
_ISSUED, _HIGHEST, _SEEN = IDENTITY_BYTES, IDENTITY_BYTES + 8, IDENTITY_BYTES + 16
_NOBODY = bytes(IDENTITY_BYTES)
_ALL = (1 << WINDOW) - 1
_WORD = struct.Struct('=Q')
#: Seconds between two attempts at a record lock: from, to.
_PAUSES = (2e-5, 1e-3)


class Replays:
    """One table. `descriptor`: that of an existing one (ValueError if it is none of ours)."""

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = _new_file() if descriptor is None else descriptor
        if os.fstat(self.descriptor).st_size != _SIZE:
            raise ValueError('not a table of this version')
        self._map = mmap.mmap(self.descriptor, _SIZE)
        if descriptor is None:
            self._map[_SECRET:_MADE] = os.urandom(SECRET_BYTES)
            self._put(_MADE, now())
            self._map[: len(_MAGIC)] = _MAGIC
        elif self._map[: len(_MAGIC)] != _MAGIC:
            self._map.close()
            raise ValueError('not a table of this version')
        self.secret: bytes = self._map[_SECRET:_MADE]
        #: Microseconds since the epoch: what was issued until then is refused.
        self.made = self._get(_MADE)
        self.forked()

    def forked(self) -> None:
        """In the child of a fork: the thread that held the lock is not here."""
        self._threads = threading.Lock()

    def close(self) -> None:
        self._map.close()
        os.close(self.descriptor)

    def use(self, identity: bytes, issued: int, count: int) -> bool:
        """Whether this is the first use of a nonce with this count (1 or more), by all processes.

        `identity`: 16 bytes that no other nonce has, evenly spread. `issued`: microseconds since the epoch.
        False too for what cannot be known any more: a count more than 63 below the highest, a nonce as old
        as one that had to make room; or if the bucket was not free within `TIMEOUT` seconds.
        """
        if issued <= self.made or identity == _NOBODY:
            return False
        start = (1 + int.from_bytes(identity[:4], 'little') % BUCKETS) * _BUCKET
        with self._threads:
            if not self._take(start):
                return False
            try:
                return self._use(start, identity, issued, count)
            finally:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, start)

    def _use(self, start: int, identity: bytes, issued: int, count: int) -> bool:
        entries = range(start + _FIRST, start + _FIRST + ENTRIES * _ENTRY, _ENTRY)
        for entry in entries:
            if self._map[entry : entry + IDENTITY_BYTES] == identity:
                return self._count(entry, count)
        watermark = self._get(start)
        if issued <= watermark:
            return False
        oldest = min(entries, key=lambda entry: self._get(entry + _ISSUED))
        self._put(start, max(watermark, self._get(oldest + _ISSUED)))
        self._map[oldest : oldest + IDENTITY_BYTES] = _NOBODY
        self._put(oldest + _ISSUED, issued)
        self._put(oldest + _HIGHEST, count)
        self._put(oldest + _SEEN, 1)
        self._map[oldest : oldest + IDENTITY_BYTES] = identity
        return True

    def _count(self, entry: int, count: int) -> bool:
        highest, seen = self._get(entry + _HIGHEST), self._get(entry + _SEEN)
        behind = highest - count
        if behind >= WINDOW or (behind >= 0 and seen >> behind & 1):
            return False
        if behind >= 0:
            self._put(entry + _SEEN, seen | 1 << behind)
            return True
        self._put(entry + _SEEN, _ALL)  # between the two stores nothing late is accepted
        self._put(entry + _HIGHEST, count)
        self._put(entry + _SEEN, (seen << -behind | 1) & _ALL if -behind < WINDOW else 1)
        return True

    def _get(self, at: int) -> int:
        value: int = _WORD.unpack_from(self._map, at)[0]
        return value

    def _put(self, at: int, value: int) -> None:
        _WORD.pack_into(self._map, at, value)

    def _take(self, byte: int) -> bool:
        """Lock a byte against other processes. Asks repeatedly: waiting in the kernel has no deadline."""
        deadline = time.monotonic() + TIMEOUT
        pause, longest = _PAUSES
        while True:
            try:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
                return True
            except (BlockingIOError, PermissionError):  # EAGAIN or EACCES (fcntl(2))
                if time.monotonic() >= deadline:
                    return False
                time.sleep(pause)
                pause = min(pause * 2, longest)


def _new_file() -> int:
    if hasattr(os, 'memfd_create'):
        descriptor = os.memfd_create('skitai-nonces')
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _SIZE)
    return descriptor


def now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


# -- this server's table ---------------------------------------------------------------------------

_table: Replays | None = None
_making = threading.Lock()


def table() -> Replays:
    """This server's table, made when it is first needed."""
    global _table
    if _table is None:
        with _making:
            if _table is None:
                _table = _inherited() or Replays()
    return _table


def _inherited() -> Replays | None:
    pid, _, descriptor = os.environ.pop(REPLAYS_FD, '').partition(':')
    if pid != str(os.getpid()):
        return None
    try:
        os.set_inheritable(int(descriptor), False)
        return Replays(int(descriptor))
    except (ValueError, OSError):  # of another version: what it knew of is refused by the new table
        return None


def _before_fork() -> None:
    """A process that forks may be a master: a program that takes it over is to find the table.

    The children of `subprocess` get neither the descriptor (`close_fds`) nor, having another pid, the table.
    """
    descriptor = table().descriptor
    os.set_inheritable(descriptor, True)
    os.environ[REPLAYS_FD] = f'{os.getpid()}:{descriptor}'


def _forked() -> None:
    global _making
    _making = threading.Lock()
    if _table is not None:
        _table.forked()
        os.set_inheritable(_table.descriptor, False)
        os.environ.pop(REPLAYS_FD, None)


os.register_at_fork(before=_before_fork, after_in_child=_forked)
