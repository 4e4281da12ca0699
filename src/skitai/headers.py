"""Header fields on their way out: checked here, so that what reaches the engine is always valid.

RFC 9110, 5.1 and 5.5: a name is a token, a value has no control characters (CR and LF above all: they
would split the response). What is refused is our caller's mistake, hence ValueError.
"""

from __future__ import annotations

import re
from functools import lru_cache

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN = re.compile(r'[^\t\x20-\x7e\x80-\xff]')

SERVER = (b'server', b'Skitai')

#: Fields that belong to the connection, not the message (RFC 9110, 7.6.1): never set by an app.
HOP_BY_HOP = frozenset(
    {b'connection', b'keep-alive', b'proxy-connection', b'transfer-encoding', b'upgrade', b'te', b'trailer'}
)


@lru_cache(maxsize=4096)
def encode_name(name: str) -> bytes:
    """`name` in lower case as bytes; ValueError where it is no token."""
    if not _NAME.fullmatch(name):
        raise ValueError(f'invalid header name {name!r}')
    return name.lower().encode('ascii')


def encode_value(value: object) -> bytes:
    """`value` as latin-1 bytes; ValueError for control characters or what latin-1 has not.

    Text beyond latin-1 has its own encodings in each field that allows it (RFC 8187 for file names):
    the caller applies them.
    """
    text = value if isinstance(value, str) else str(value)
    text = text.strip(' \t')
    if (bad := _FORBIDDEN.search(text)) is not None:
        raise ValueError(f'invalid character {bad.group()!r} in a header value')
    return text.encode('latin-1')


def encode(name: str, value: object) -> tuple[bytes, bytes]:
    """A checked field, ready to send."""
    return encode_name(name), encode_value(value)
