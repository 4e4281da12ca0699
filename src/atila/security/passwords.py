"""Passwords, as they are kept: scrypt (RFC 7914), with a salt and its costs in the text.

    scrypt$14$8$5$SALT$HASH      log2 of N, r, p; salt and hash in base64url

A hash takes 0.1 to 0.3 s and 16 MB: for who guesses, and for us. It lets other threads run; in an `async def`
service it holds the event loop, so call it by `asyncio.to_thread`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import unicodedata

#: OWASP's recommendation for 16 MB; each such pair costs a guesser the same, this one takes the least memory
#: that many threads may ask for at once.
LOG_N, R, P = 14, 8, 5

_SALT_BYTES = 16
_HASH_BYTES = 32
#: What a record may ask for: one that was tampered with must not take the memory or the time away.
_MAX_BYTES = 256 * 1024 * 1024
_MAX_P = 32
_COSTS = re.compile(r'scrypt\$(\d{1,2})\$(\d{1,3})\$(\d{1,2})\$([A-Za-z0-9_-]{16,128})', re.ASCII)
_SIGNATURE = re.compile(r'[A-Za-z0-9_-]{43}', re.ASCII)


def hash_password(password: str | bytes) -> str:
    """A record of `password`, to be kept; another one each time. TypeError for what is no text."""
    return '$'.join(encrypt_password(password))


def verify_password(password: str | bytes | None, record: str | None) -> bool:
    """Whether `record` is one of `password`.

    False for anything that is no record, None for one (an unknown user) after as much time as for a known
    one.
    """
    salt, _, signature = (record or '').rpartition('$')
    return verify_signature(password, salt, signature)


def needs_rehash(record: str) -> bool:
    """Whether a record was made with other costs than now, and should be made anew at the next login."""
    return not record.startswith(f'scrypt${LOG_N}${R}${P}$')


def encrypt_password(password: str | bytes) -> tuple[str, str]:
    """`(salt, signature)` of a password, both to be kept (SPEC WAS-05). TypeError for what is no text."""
    if not isinstance(password, str | bytes):
        raise TypeError(f'a password is str or bytes, not {type(password).__name__}')
    salt = f'scrypt${LOG_N}${R}${P}${_to_text(secrets.token_bytes(_SALT_BYTES))}'
    return salt, _to_text(_scrypt(password, salt) or b'')


def verify_signature(password: str | bytes | None, salt: str | None, signature: str | None) -> bool:
    """Whether `encrypt_password` gave these for the password; False for anything else."""
    if not isinstance(password, str | bytes):
        return False
    known = _scrypt(password, salt) if isinstance(salt, str) else None
    if known is None or not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
        if known is None:
            _scrypt(password, _NOBODY)
        return False
    return hmac.compare_digest(_to_text(known), signature)


def _scrypt(password: str | bytes, salt: str) -> bytes | None:
    """The hash, or None where `salt` is none of ours or asks for too much."""
    match = _COSTS.fullmatch(salt)
    if match is None:
        return None
    n, r, p = 1 << int(match[1]), int(match[2]), int(match[3])
    if n < 2 or not r or not 0 < p <= _MAX_P or 128 * n * r > _MAX_BYTES:
        return None
    try:
        data = base64.urlsafe_b64decode(match[4] + '=' * (-len(match[4]) % 4))
    except binascii.Error:
        return None
    memory = 128 * r * (n + p + 2) + 1024 * 1024
    return hashlib.scrypt(_bytes(password), salt=data, n=n, r=r, p=p, maxmem=memory, dklen=_HASH_BYTES)


def _bytes(password: str | bytes) -> bytes:
    """The same bytes for the same text, however it was typed (RFC 8265, 4.2); any text has some."""
    if isinstance(password, bytes):
        return password
    return unicodedata.normalize('NFC', password).encode('utf-8', 'surrogatepass')


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode('ascii')


#: The salt that is worked on for users whom nobody knows.
_NOBODY = f'scrypt${LOG_N}${R}${P}${_to_text(bytes(_SALT_BYTES))}'
