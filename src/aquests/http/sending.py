"""How a request's body is given to aiohttp: in pieces, each when the server has taken the one before.

The server's time runs while it is to take or to answer something. It doesn't run while the next part of a
stream is waited for: that is in the hands of who makes it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from .request import Stream

#: Larger bodies are written piece by piece.
PIECE = 1 << 16


class Patience:
    """The time that a server has until its answer begins; a context manager, in the task that waits.

    TimeoutError when it is up. None: for ever.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._timer = asyncio.timeout(seconds)
        self._runs = False

    async def __aenter__(self) -> Patience:
        await self._timer.__aenter__()
        self._runs = True
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._runs = False
        await self._timer.__aexit__(*error)

    @property
    def expired(self) -> bool:
        return self._timer.expired()

    def pause(self) -> None:
        self._set(None)

    def renew(self) -> None:
        self._set(self._seconds)

    def _set(self, seconds: float | None) -> None:
        if self._runs and self._seconds is not None and not self._timer.expired():
            loop = asyncio.get_running_loop()
            self._timer.reschedule(None if seconds is None else loop.time() + seconds)


class Trip:
    """What becomes known of a request on its way.

    `waiting`: all connections are in use. `reused`: it went by a connection that was used before. `answer`:
    set when that has begun.
    """

    __slots__ = ('answer', 'reused', 'waiting')

    def __init__(self) -> None:
        self.waiting = self.reused = False
        self.answer: aiohttp.ClientResponse | None = None


class Pieces(aiohttp.Payload):
    """Bytes, written piece by piece; as often as need be."""

    def __init__(self, data: bytes, patience: Patience) -> None:
        super().__init__(data)
        self._data, self._patience = data, patience

    @property
    def size(self) -> int:
        return len(self._data)

    @property
    def autoclose(self) -> bool:
        return True

    def decode(self, encoding: str = 'utf-8', errors: str = 'strict') -> str:
        return self._data.decode(encoding, errors)

    async def write(self, writer: Any) -> None:
        for start in range(0, len(self._data), PIECE):
            self._patience.renew()
            await writer.write(self._data[start : start + PIECE])
        self._patience.renew()

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:
        await self.write(writer)


class Parts(aiohttp.Payload):
    """A Stream, which can be written once."""

    def __init__(self, stream: Stream, patience: Patience, trip: Trip) -> None:
        super().__init__(stream)
        self._stream, self._patience, self._trip = stream, patience, trip

    @property
    def size(self) -> int | None:
        return self._stream.length

    @property
    def consumed(self) -> bool:
        return self._stream.begun

    @property
    def autoclose(self) -> bool:
        return True

    def decode(self, encoding: str = 'utf-8', errors: str = 'strict') -> str:
        raise TypeError('a stream has no text')

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:
        await self.write(writer)

    async def write(self, writer: Any) -> None:
        stream, patience = self._stream, self._patience
        stream.begun = True
        # Else the head would wait for the first part, on a connection that the server takes for unused.
        writer.send_headers()
        parts = aiter(stream.parts)
        left = stream.length
        while True:
            patience.pause()
            try:
                part = await anext(parts, None)
                if left is not None:
                    left -= len(part or b'')
                    # aiohttp would cut the one, and let the server wait for the other's rest.
                    if left < 0 or (left > 0 and part is None):
                        raise ValueError(f'the body is {"longer" if left < 0 else "shorter"} than declared')
            except Exception as error:
                stream.error = error
                if self._trip.answer is not None:
                    self._trip.answer.close()
                raise
            patience.renew()
            if part is None:
                return
            if part:  # an empty one would end a chunked body
                await writer.write(part)
