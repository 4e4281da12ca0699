"""An answer whose head is there, and whose body comes in parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from ..errors import MalformedAnswer, NetworkError, TaskTimeout
from .request import Request, Stream


def _nothing(*_: Any) -> None: ...


class Response:
    """To be read to its end or closed: until then it holds a connection. Used by one task at a time.

    `headers`: the fields as they came, in their order, names as the server wrote them. `base`: the server,
    and the path on it that a member has. `url`: what was asked for. Neither has user and password. `timeout`:
    seconds that the server may be silent between two parts.
    """

    __slots__ = (
        '_answer',
        '_done',
        '_on_broken',
        '_on_done',
        '_request',
        '_taken',
        'base',
        'headers',
        'name',
        'reason',
        'status',
        'timeout',
        'url',
    )

    def __init__(self, answer: aiohttp.ClientResponse, request: Request, base: str, name: str) -> None:
        """`name`: the server's, for messages."""
        self._answer = answer
        self._request = request
        self._done = False
        self._taken = 0
        self._on_done: Callable[[], object] = _nothing
        self._on_broken: Callable[[], object] = _nothing
        self.name = name
        self.base = base
        self.url = base + request.target
        self.timeout = request.timeout
        self.status: int = answer.status
        self.reason: str = answer.reason or ''
        self.headers: list[tuple[bytes, bytes]] = list(answer.raw_headers)

    def watch(self, on_done: Callable[[], object], on_broken: Callable[[], object]) -> None:
        """Have `on_done` called once when the connection is given back, `on_broken` before where it broke.

        On the event loop; at once if that was before.
        """
        self._on_done, self._on_broken = on_done, on_broken
        if self._done:
            on_done()

    def header(self, name: str) -> str | None:
        """The first field of that name, in whatever case."""
        wanted = name.lower().encode()
        for field, value in self.headers:
            if field.lower() == wanted:
                return value.decode('latin-1')
        return None

    @property
    def is_here(self) -> bool:
        """Whether the whole body has arrived: `read` will not wait, nor fail."""
        return self._done or self._answer.content.is_eof()

    @property
    def has_part(self) -> bool:
        """Whether something of the body is there: `part` will not wait."""
        return self.is_here or self._answer.content.total_bytes > self._taken

    async def part(self) -> bytes:
        """What is there of the body, or the next that comes; b'' at its end.

        NetworkError where it breaks off: what came before is not the whole. TaskTimeout where nothing comes.
        Nothing is read ahead of a reader but some 100 KB.
        """
        if self._done:
            return b''
        timer = asyncio.timeout(self.timeout)
        try:
            async with timer:
                part = await self._answer.content.readany()
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError too
            raise self._broken(error, timer.expired()) from error
        except BaseException:
            self.close()
            raise
        if not part:
            self.close()
        self._taken += len(part)
        return part

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        part = await self.part()
        if not part:
            raise StopAsyncIteration
        return part

    async def read(self, limit: int | None = None) -> bytes:
        """The rest of the body. ValueError where that is more than `limit` bytes; errors as `part`."""
        parts, size = [], 0
        while part := await self.part():
            size += len(part)
            if limit is not None and size > limit:
                self.close()
                raise ValueError(f'{self.name}: the answer has more than {limit} bytes')
            parts.append(part)
        return b''.join(parts)

    def close(self) -> None:
        """Give the connection back; it is closed where the body was not read to its end."""
        if not self._done:
            self._done = True
            self._answer.close()
            on_done, self._on_done, self._on_broken = self._on_done, _nothing, _nothing
            on_done()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _broken(self, error: Exception, late: bool) -> BaseException:
        body = self._request.body
        if isinstance(body, Stream) and body.error is not None:
            self.close()
            return body.error
        if late:
            self.close()
            return TaskTimeout(f'{self.name}: nothing came of the answer within {self.timeout:g} s')
        if isinstance(error.__cause__, ContentEncodingError):  # the connection is well
            self.close()
            return MalformedAnswer(f'{self.name}: the answer cannot be decompressed')
        self._on_broken()
        self.close()
        return NetworkError(f'{self.name}: the answer broke off: {error or type(error).__name__}', True)
