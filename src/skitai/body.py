"""A request's body, received whole before a service runs: in memory up to 1 MB, above that on disk."""

from __future__ import annotations

import io
import tempfile
from typing import IO

#: Above this many bytes a body moves to a temporary file (SPEC FU-02; nothing above it stays in memory).
IN_MEMORY = 1 << 20


class Body:
    """Bytes as they arrive. One thread at a time: the engine's while receiving, then the service's.

    The owner (the engine) calls `close` when the request is over, which removes the file.
    """

    __slots__ = ('_chunks', '_file', 'size')

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._file: IO[bytes] | None = None
        self.size = 0

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self._file is None and self.size > IN_MEMORY:
            self._file = tempfile.TemporaryFile(prefix='skitai-body-')  # noqa: SIM115 (closed by `close`)
            self._file.writelines(self._chunks)
            self._chunks.clear()
        if self._file is not None:
            self._file.write(chunk)
        else:
            self._chunks.append(chunk)

    @property
    def in_memory(self) -> bool:
        return self._file is None

    def read(self) -> bytes:
        """The whole body. A large one is read from disk into memory: prefer `open`."""
        if self._file is not None:
            self._file.seek(0)
            return self._file.read()
        if len(self._chunks) != 1:
            self._chunks = [b''.join(self._chunks)]
        return self._chunks[0]

    def open(self) -> IO[bytes]:
        """A file at the body's start. It belongs to the body: do not close it."""
        if self._file is not None:
            self._file.seek(0)
            return self._file
        return io.BytesIO(self.read())

    def close(self) -> None:
        self._chunks = []
        self.size = 0
        if self._file is not None:
            self._file.close()
            self._file = None
