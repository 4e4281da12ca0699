"""Files that are sent: read piece by piece, on a thread, as the server takes them.

A file that is open is its owner's, and has to stay open until it is sent. What has yet to be opened (a
Path, an upload of a request) is opened when it is sent, and closed then.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import mimetypes
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

#: Bytes that are read at a time.
PIECE = 1 << 16
BINARY = 'application/octet-stream'


class File:
    """`name`: without a directory. `size`: None where it is not known before the end. `open ()`: a file whose
    `read (n)` gives bytes. `close`: whether that is closed when it was sent.
    """

    __slots__ = ('_close', '_open', 'content_type', 'name', 'size')

    def __init__(
        self,
        open: Callable[[], Any],
        name: str,
        size: int | None,
        content_type: str | None = None,
        close: bool = False,
    ) -> None:
        self._open, self._close = open, close
        self.name = name
        self.size = size
        self.content_type = content_type or mimetypes.guess_type(name)[0] or BINARY

    async def parts(self) -> AsyncIterator[bytes]:
        """The content. TypeError for a file of text, ValueError for one that was closed meanwhile."""
        loop = asyncio.get_running_loop()
        file = await loop.run_in_executor(None, self._open)
        try:
            while part := await _read(loop, file):
                if not isinstance(part, bytes | bytearray):
                    raise TypeError(f"{self.name or file!r} gives {type(part).__name__}: open it with 'rb'")
                yield bytes(part)
        except ValueError as error:
            if not getattr(file, 'closed', False):
                raise
            raise ValueError(
                f'{self.name or file!r} was closed before it was sent: fetch the Task before that'
            ) from error
        finally:
            if self._close:
                file.close()


async def _read(loop: asyncio.AbstractEventLoop, file: Any) -> Any:
    if isinstance(file, io.BytesIO):
        return file.read(PIECE)
    return await loop.run_in_executor(None, file.read, PIECE)


def file_of(value: Any) -> File | None:
    """`value` as a File: a Path, an open file, something with `open ()` and a name; None for anything else.

    OSError for a Path where there is none, TypeError for a file that was opened for text.
    """
    if isinstance(value, Path):
        return File(lambda: value.open('rb'), value.name, value.stat().st_size, close=True)
    if isinstance(value, io.TextIOBase):
        raise TypeError(f"{value!r} is a file of text: open it with 'rb'")
    name = getattr(value, 'name', None)
    kind = getattr(value, 'mimetype', None)
    if callable(getattr(value, 'open', None)) and isinstance(name, str):  # an upload of a request
        return File(value.open, name, getattr(value, 'size', None), kind, close=True)
    if not callable(getattr(value, 'read', None)):
        return None
    name = os.path.basename(name) if isinstance(name, str) else ''
    return File(lambda: value, name, _size_of(value))


def _size_of(file: Any) -> int | None:
    """From where it stands to its end."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        here: int = file.tell()
        end: int = file.seek(0, os.SEEK_END)
        file.seek(here)
        return max(end - here, 0)
    return None
