"""The head of an answer by an application that is not ours (WSGI, ASGI), and whether its body keeps to it.

Belongs here: what such an application may say in its status and fields, checked as it says it, so that
the mistake is raised at the line that makes it. Doesn't: how it says it (`wsgi`, `asgi`).
"""

from __future__ import annotations

from collections.abc import Iterable

from ..exchange import RawHeaders
from ..headers import HOP_BY_HOP, SERVER, encode

#: Answers that never have a body (RFC 9110, 6.4.1).
_BODILESS = frozenset({204, 205, 304})


class Head:
    """A checked status and fields, and the count of the body's bytes.

    ValueError for a status outside 200 to 599, an invalid name or value, two different lengths. Fields
    of the connection are dropped (PEP 3333 forbids them, ASGI leaves them to the server); `Server` is
    ours where the application names none.
    """

    __slots__ = ('bodiless', 'counted', 'headers', 'length', 'status')

    def __init__(self, status: int, fields: Iterable[tuple[str, str]], method: str) -> None:
        if not 200 <= status <= 599:
            raise ValueError(f'the status is {status}, not one of 200 to 599')
        self.status = status
        #: The answer to this request has no body: what the application gives for it is not sent.
        self.bodiless = method == 'HEAD' or status in _BODILESS
        #: The declared length of the body; None where the application declared none.
        self.length: int | None = None
        self.counted = 0
        headers: RawHeaders = []
        named = False
        for name, value in fields:
            field = encode(name, value)
            if field[0] == b'content-length':
                if not self._declare(field[1]):
                    continue
            elif field[0] in HOP_BY_HOP:
                continue
            elif field[0] == b'server':
                named = True
            headers.append(field)
        if not named:
            headers.append(SERVER)
        self.headers = headers

    def _declare(self, value: bytes) -> bool:
        """Note a Content-Length; False where it is not to be sent (repeated, or RFC 9110, 8.6)."""
        if not value.isdigit():
            raise ValueError(f'invalid Content-Length {value.decode("latin-1")!r}')
        length, before = int(value), self.length
        if before is not None and before != length:
            raise ValueError(f'two different lengths, {before} and {length}')
        self.length = length
        return before is None and self.status != 204

    def settle(self, length: int) -> None:
        """The body is known to have `length` bytes: declare it, where the application did not."""
        if self.length is None and self.status not in _BODILESS:
            self.length = length
            self.headers.append((b'content-length', b'%d' % length))

    def count(self, size: int) -> None:
        """`size` more bytes of the body; ValueError where they are more than declared."""
        self.counted += size
        if self.length is not None and self.counted > self.length:
            raise ValueError(f'the body is longer than its Content-Length of {self.length}')

    def finish(self) -> None:
        """The body is complete; ValueError where it is shorter than declared."""
        if self.length is not None and self.counted < self.length:
            raise ValueError(f'the body ended after {self.counted} of {self.length} bytes')
