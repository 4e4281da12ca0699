"""A request before it is sent, checked: what gets onto the connection is sound.

How its body is framed, and what belongs to the connection, is decided where it is sent: such fields are
refused here, so that a length can't contradict a body (RFC 9112, 6.3).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import TypeAlias

from .address import checked_target

Text: TypeAlias = str | bytes
#: Header fields: a mapping, or pairs, which may repeat a name. Bytes are UTF-8, or else latin-1.
Fields: TypeAlias = Mapping[str, str] | Iterable[tuple[Text, Text]]

#: Doing it twice is doing it once (RFC 9110, 9.2.2).
IDEMPOTENT = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'})

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Z-]+")
_FORBIDDEN = re.compile('[^\t\x20-\x7e\x80-\ud7ff\ue000-\U0010ffff]')
#: They are the connection's, or say what the body's own length says.
_OURS = frozenset(
    {'connection', 'content-length', 'expect', 'keep-alive', 'te', 'trailer', 'transfer-encoding', 'upgrade'}
)


class Stream:
    """A body that is sent as it comes, once. `length`: its bytes; None sends it in chunks.

    The request fails with what `parts` raises; with ValueError where they are not as long as declared.
    """

    __slots__ = ('begun', 'error', 'length', 'parts')

    def __init__(self, parts: AsyncIterable[bytes], length: int | None = None) -> None:
        if length is not None and length < 0:
            raise ValueError(f'length = {length}: a body has 0 bytes or more')
        self.parts = parts
        self.length = length
        #: Whether something was taken of it: then it cannot be sent again.
        self.begun = False
        #: What `parts` raised.
        self.error: BaseException | None = None


Body: TypeAlias = bytes | Stream | None


class Request:
    """`timeout`: seconds that the server may be silent. `decompress`: whether its answer is decoded."""

    __slots__ = ('body', 'decompress', 'headers', 'method', 'target', 'timeout')

    def __init__(
        self,
        method: str,
        target: str,
        headers: Fields = (),
        body: Body | AsyncIterable[bytes] = None,
        timeout: float | None = None,
        decompress: bool = False,
    ) -> None:
        """TypeError, ValueError for what cannot be sent."""
        if not _METHOD.fullmatch(method):
            raise ValueError(f'{method!r}: a method is a word in upper case')
        self.method = method
        self.target = checked_target(target)
        self.headers = checked_fields(headers)
        if body is None or isinstance(body, bytes | Stream):
            self.body: Body = body
        elif isinstance(body, AsyncIterable):
            self.body = Stream(body)
        else:
            raise TypeError(f'a body is bytes, a Stream or None, not {type(body).__name__}')
        if timeout is not None and timeout <= 0:
            raise ValueError(f'timeout = {timeout!r}: it takes seconds, or None for no limit')
        self.timeout = timeout
        self.decompress = decompress

    @property
    def idempotent(self) -> bool:
        """Whether it may be sent a second time though the first may have been carried out (SPEC LB-03)."""
        return self.method in IDEMPOTENT and not (isinstance(self.body, Stream) and self.body.begun)


def checked_fields(fields: Fields) -> list[tuple[str, str]]:
    """`fields` as pairs, names in lower case; ValueError for what would break the request.

    RFC 9110, 5.1 and 5.5.
    """
    checked = []
    for name, value in fields.items() if isinstance(fields, Mapping) else fields:
        name, value = _text(name).lower(), _text(value).strip(' \t')
        if not _TOKEN.fullmatch(name):
            raise ValueError(f'invalid header name {name!r}')
        if name in _OURS:
            raise ValueError(f'{name}: this header follows from the body and the connection')
        if (bad := _FORBIDDEN.search(value)) is not None:
            raise ValueError(f'invalid character {bad.group()!r} in the header {name}')
        checked.append((name, value))
    return checked


def _text(value: Text) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, bytes):
        raise TypeError(f'a header is str or bytes, not {type(value).__name__}')
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode('latin-1')
