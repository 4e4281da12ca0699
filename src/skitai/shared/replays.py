"""What all workers of a server have seen: uses of server nonces, each accepted once (SPEC AU-03, AU-08).

Belongs here: the table, and who may touch it when. Doesn't: what a nonce is made of, or proves.

A file as `file` describes it; a master makes it before it forks. Untouched buckets cost no memory. Where it
is not handed down, a new one begins: nothing that was issued before is accepted.

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
"""

from __future__ import annotations

import os
import struct
import threading
import time

from . import file
from .file import SharedFile

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


class Replays(SharedFile):
    """One table."""

    magic = _MAGIC
    size = _SIZE
    what = 'table of nonces'

    def __init__(self, descriptor: int | None = None) -> None:
        super().__init__(descriptor)
        if descriptor is None:
            self._map[_SECRET:_MADE] = os.urandom(SECRET_BYTES)
            self._put(_MADE, now())
        self.secret: bytes = self._map[_SECRET:_MADE]
        #: Microseconds since the epoch: what was issued until then is refused.
        self.made = self._get(_MADE)
        self.forked()

    def forked(self) -> None:
        """In the child of a fork: the thread that held the lock is not here."""
        self._threads = threading.Lock()

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
            if not self._take(start, TIMEOUT, _PAUSES):
                return False
            try:
                return self._use(start, identity, issued, count)
            finally:
                self._release(start)

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
    descriptor = file.inherited(REPLAYS_FD)
    if descriptor is None:
        return None
    try:
        return Replays(descriptor)
    except ValueError:  # of another version: what it knew of is refused by the new table
        os.close(descriptor)
        return None


def hand_down() -> None:
    """See `file.hand_down`."""
    file.hand_down(REPLAYS_FD, table().descriptor)


def _forked() -> None:
    global _making
    _making = threading.Lock()
    if _table is not None:
        _table.forked()


os.register_at_fork(after_in_child=_forked)
