"""A request's body, received whole before a service runs: in memory up to 1 MB, above that on disk."""

from __future__ import annotations

import io
import tempfile
from typing import IO

#: Above this many bytes a body moves to a temporary file (SPEC FU-02; nothing above it stays in memory).
IN_MEMORY = 1 << 20


class Body:
    """Bytes as they arrive. One thread at a time: the engine's while receiving, then the service's.

    The owner (the engine) calls `close` when the request is over, however it ended; that removes the file.
    A handler may have its own kind of body (`Handler.make_body`), which does more with what arrives.
    """

    __slots__ = ('_file', '_held', 'size')

    def __init__(self) -> None:
        #: What is in memory: the only chunk as it came (most bodies are one), or all of them in one buffer.
        self._held: bytes | bytearray = b''
        self._file: IO[bytes] | None = None
        self.size = 0

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self._file is not None:
            self._file.write(chunk)
        elif self.size > IN_MEMORY:
            self._file = tempfile.TemporaryFile(prefix='skitai-body-')  # noqa: SIM115 (closed by `close`)
            self._file.write(self._held)
            self._file.write(chunk)
            self._held = b''
        else:
            self._hold(chunk)

    def _hold(self, chunk: bytes) -> None:
        if not self._held:
            self._held = chunk
            return
        if isinstance(self._held, bytes):
            self._held = bytearray(self._held)
        self._held += chunk

    @property
    def in_memory(self) -> bool:
        return self._file is None

    def read(self) -> bytes | None:
        """The whole body, a large one read from disk into memory (prefer `open`); None if it wasn't kept."""
        if self._file is not None:
            self._file.seek(0)
            return self._file.read()
        if not isinstance(self._held, bytes):
            self._held = bytes(self._held)
        return self._held

    def open(self) -> IO[bytes]:
        """A file at the body's start, empty if it wasn't kept. It belongs to the body: do not close it."""
        if self._file is not None:
            self._file.seek(0)
            return self._file
        return io.BytesIO(self.read() or b'')

    def close(self) -> None:
        self._held = b''
        self.size = 0
        if self._file is not None:
            self._file.close()
            self._file = None
