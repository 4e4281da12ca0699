"""A file without a name that processes share: mapped by all that are forked after it was made.

What is in it is a subclass's. By an environment variable it goes on to the program by which a master replaces
itself (`hand_down`, `inherited`); no other program takes it. There is one descriptor of the file, besides the
mapping's own, and both stay open: closing any of a process's descriptors of it would release all its locks.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
import time


class SharedFile:
    """`descriptor`: that of an existing one (ValueError if it is none of ours), else a new one is made."""

    #: How the file begins; its last byte counts layouts.
    magic: bytes
    size: int
    #: What it is, for error messages.
    what: str

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = _new_file(self.size) if descriptor is None else descriptor
        if os.fstat(self.descriptor).st_size != self.size:
            raise ValueError(f'not a {self.what} of this version')
        self._map = mmap.mmap(self.descriptor, self.size)
        if descriptor is None:
            self._map[: len(self.magic)] = self.magic
        elif self._map[: len(self.magic)] != self.magic:
            self._map.close()
            raise ValueError(f'not a {self.what} of this version')

    def close(self) -> None:
        """Give the file up, and with it all locks of this process."""
        self._map.close()
        os.close(self.descriptor)

    def _take(self, byte: int, timeout: float, pauses: tuple[float, float]) -> bool:
        """Lock a byte against other processes; False if it was not free within `timeout` seconds.

        `pauses`: the first and the longest between two attempts, for waiting in the kernel has no deadline.
        The kernel releases the lock when this process dies.
        """
        deadline = None
        pause, longest = pauses
        while True:
            try:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
                return True
            except (BlockingIOError, PermissionError):  # EAGAIN or EACCES (fcntl(2))
                now = time.monotonic()
                deadline = now + timeout if deadline is None else deadline
                if now >= deadline:
                    return False
                time.sleep(min(pause, deadline - now))
                pause = min(pause * 2, longest)

    def _release(self, byte: int) -> None:
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, byte)


def hand_down(variable: str, descriptor: int) -> None:
    """Right before `exec`: let the next program in this very process find the file."""
    os.set_inheritable(descriptor, True)
    os.environ[variable] = f'{os.getpid()}:{descriptor}'


def inherited(variable: str) -> int | None:
    """The descriptor that an earlier program in this process has handed down; None without one."""
    pid, _, descriptor = os.environ.pop(variable, '').partition(':')
    if pid != str(os.getpid()):
        return None
    try:
        os.set_inheritable(int(descriptor), False)
    except (ValueError, OSError):
        return None
    return int(descriptor)


def _new_file(size: int) -> int:
    if hasattr(os, 'memfd_create'):
        descriptor = os.memfd_create('skitai')
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor
