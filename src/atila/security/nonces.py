"""Server nonces of digest authentication (RFC 7616, 3.3): ours, of late, and used once (SPEC AU-03).

A nonce is a time and random bytes with a MAC over both and the realm; nothing is kept of one until it was
used with the right password. In base64url, 48 digits:

    issued (8 bytes, microseconds since the epoch) | random (12) | MAC (16, HMAC-SHA-256 cut)

The key is derived from `app.securekey`, each of which is accepted; without one it is random, the same for all
workers of a server (`skitai.shared.replays`, which also knows the uses). Another server with the same
securekey accepts a nonce too, so that clients may be spread over both; each of them accepts each use once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import struct

from skitai.shared import replays

from ..state.sealing import SecureKey, keys_of

#: Seconds that a nonce is good for.
LIFETIME = 300.0

_TEXT = re.compile(r'[A-Za-z0-9_-]{48}', re.ASCII)
_ISSUED = struct.Struct('>Q')
_BODY, _MAC = 20, replays.IDENTITY_BYTES
_PURPOSE = b'atila digest nonce\0'


def make(securekey: SecureKey, realm: str) -> str:
    """A new nonce."""
    issued = max(replays.now(), replays.table().made + 1)
    body = _ISSUED.pack(issued) + os.urandom(_BODY - _ISSUED.size)
    return base64.urlsafe_b64encode(body + _mac(_keys(securekey)[0], realm, body)).decode('ascii')


def is_current(nonce: str, securekey: SecureKey, realm: str, lifetime: float = LIFETIME) -> bool:
    """Whether it is one of ours that has not expired: `lifetime` in seconds."""
    data = _decode(nonce)
    if data is None:
        return False
    body, given = data[:_BODY], data[_BODY:]
    # All keys are tried, so that the time tells nothing of which one it was.
    ours = [hmac.compare_digest(_mac(key, realm, body), given) for key in _keys(securekey)]
    return any(ours) and abs(replays.now() - _issued(data)) <= lifetime * 1e6


def use(nonce: str, count: int) -> bool:
    """Whether this is its first use with `count`. Only for a nonce that is current, and a right response."""
    data = _decode(nonce)
    return data is not None and replays.table().use(data[_BODY:], _issued(data), count)


def _decode(nonce: str) -> bytes | None:
    return base64.urlsafe_b64decode(nonce) if _TEXT.fullmatch(nonce) else None


def _issued(data: bytes) -> int:
    issued: int = _ISSUED.unpack_from(data)[0]
    return issued


def _keys(securekey: SecureKey) -> list[bytes]:
    if not securekey:
        return [replays.table().secret]
    return [key.encode() if isinstance(key, str) else key for key in keys_of(securekey)]


def _mac(key: bytes, realm: str, body: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE + body + realm.encode('utf-8', 'surrogatepass'), hashlib.sha256)[:_MAC]
