"""Signatures of texts that travel with the client in clear: HMAC-SHA256 under a key for each purpose.

As `state.sealing`, which seals what the client is not to read: each `securekey` gives one key for each
purpose (HKDF, RFC 5869), so that what was signed as a CSRF token never passes for a one-time token or a
password. Texts are compared in constant time.
"""

from __future__ import annotations

import base64
import hmac
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..state.sealing import Keys, SecureKey, keys_of

__all__ = ['Keys', 'SecureKey', 'keys_of', 'mac', 'matches', 'same', 'sign', 'to_text']


@lru_cache(maxsize=256)
def _subkey(key: str | bytes, purpose: str) -> bytes:
    secret = key.encode() if isinstance(key, str) else key
    return HKDF(SHA256(), 32, salt=None, info=b'atila ' + purpose.encode()).derive(secret)


def mac(data: bytes, key: str | bytes, purpose: str) -> bytes:
    """The 32 bytes that sign `data` for this purpose."""
    return hmac.digest(_subkey(key, purpose), data, 'sha256')


def to_text(data: bytes) -> str:
    """Base64url without padding (RFC 4648, chapter 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode('ascii')


def sign(text: str, key: str | bytes, purpose: str) -> str:
    """The signature of a text: 43 characters, safe in URLs, cookies and header fields."""
    return to_text(mac(text.encode('utf-8', 'surrogatepass'), key, purpose))


def matches(signature: str, text: str, keys: Keys, purpose: str) -> bool:
    """Whether `signature` is one of `text` by any of the keys. All are tried: the time tells nothing."""
    found = False
    for key in keys:
        found |= same(signature, sign(text, key, purpose))
    return found


def same(one: str, other: str) -> bool:
    """Whether two texts are equal, in constant time. Any texts: what is not Unicode is equal to nothing."""
    try:
        return hmac.compare_digest(one.encode(), other.encode())
    except UnicodeEncodeError:
        return False
