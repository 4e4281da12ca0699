"""Values that travel with the client: it can neither read them nor change them (SPEC SS-01).

AES-256-GCM with a random nonce. Each `securekey` gives one key for each purpose (HKDF, RFC 5869), so that
what was sealed as a session never opens as something else; the label (a cookie's name) is authenticated too.
The content is JSON: to open what a client sent runs no code. On the wire, in base64url without padding (RFC
4648, chapter 5):

    version (1 byte) | nonce (12) | ciphertext | tag (16)

Whatever does not open is None, for one reason or another: a client's garbage is no error of ours.
"""

from __future__ import annotations

import base64
import binascii
import math
import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

#: `app.securekey`: one key, or several, the newest first; older ones open what they have sealed.
SecureKey = str | bytes | Sequence[str | bytes] | None
Keys = tuple[str | bytes, ...]

VERSION = b'\x01'
#: Longer texts are not looked at: a cookie is shorter by far.
MAX_LENGTH = 16 * 1024
#: Bytes, as NIST SP 800-38D recommends. Its 8.3 asks for a new key after 2**32 random nonces: a busy
#: site changes its securekey now and then (a list of keys lets the old one open).
_NONCE = 12
_TAG = 16
_TEXT = re.compile(r'[A-Za-z0-9_-]+', re.ASCII)
#: By the length modulo 4: the digits whose spare bits, which say nothing, are zero.
_LAST_DIGITS = {2: 'AQgw', 3: 'AEIMQUYcgkosw048'}

Payload = TypeVar('Payload')

_encode = msgspec.json.Encoder().encode


def keys_of(securekey: SecureKey) -> Keys:
    """The keys as a tuple, the newest first; RuntimeError where there is none, or an empty one."""
    keys: Keys = (securekey,) if isinstance(securekey, str | bytes) else tuple(securekey or ())
    if not keys or not all(keys):
        raise RuntimeError(
            'Secret key is not configured: set app.securekey or pref.securekey to a long random text'
        )
    return keys


@lru_cache(maxsize=256)
def _cipher(key: str | bytes, purpose: str) -> AESGCM:
    """The cipher for a purpose: safe to share between threads, it keeps nothing of a call."""
    secret = key.encode() if isinstance(key, str) else key
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=b'atila ' + purpose.encode()).derive(secret))


def seal(value: Any, keys: Keys, purpose: str, label: str) -> str:
    """`value` (see `jsonable`) as text for a cookie or a URL, with the newest key."""
    nonce = os.urandom(_NONCE)
    sealed = _cipher(keys[0], purpose).encrypt(nonce, _encode(value), VERSION + label.encode())
    return _to_text(VERSION + nonce + sealed)


def unseal(text: str, keys: Keys, purpose: str, label: str, kind: type[Payload]) -> Payload | None:
    """What was sealed for this purpose and label, as a `kind`; None for anything else."""
    data = _to_bytes(text)
    if data is None or data[:1] != VERSION or len(data) < 1 + _NONCE + _TAG:
        return None
    nonce, sealed = data[1 : 1 + _NONCE], data[1 + _NONCE :]
    for key in keys:
        try:
            plain = _cipher(key, purpose).decrypt(nonce, sealed, VERSION + label.encode())
        except InvalidTag:
            continue
        try:
            return msgspec.json.decode(plain, type=kind)
        except msgspec.DecodeError:  # ours, but of another form: an older release's
            return None
    return None


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode('ascii')


def _to_bytes(text: str) -> bytes | None:
    """Strictly: each value has one text only."""
    if len(text) > MAX_LENGTH or not _TEXT.fullmatch(text):
        return None
    try:
        data = base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))
    except binascii.Error:
        return None
    spare = _LAST_DIGITS.get(len(text) % 4)
    return data if spare is None or text[-1] in spare else None


# -- what can be sealed --------------------------------------------------------------------------


def jsonable(value: Any, what: str) -> Any:
    """`value` in terms of JSON alone: None, bool, numbers, str, lists, dicts with str keys.

    TypeError for anything else, naming `what`. Nothing is converted silently (a date to a text, say), since
    it would come back as another type; but a tuple comes back as a list.
    """
    try:
        return _plain(value, what)
    except RecursionError:
        raise TypeError(f'{what} is nested too deeply, or holds itself') from None


def _plain(value: Any, what: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise TypeError(f'{what} holds a text that is not valid Unicode') from None
        return value if type(value) is str else ''.join(value)  # of a subclass the text alone
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f'{what} holds {value!r}, which JSON has not')
        return float(value)
    if isinstance(value, list | tuple):
        return [_plain(item, what) for item in value]
    if isinstance(value, Mapping):
        return {_plain_key(key, what): _plain(item, what) for key, item in value.items()}
    raise TypeError(
        f'{what} holds a {type(value).__name__}: use str, numbers, bool, None, and lists and dicts of them'
    )


def _plain_key(key: Any, what: str) -> Any:
    if not isinstance(key, str):
        raise TypeError(f'{what} holds a dict with a key of type {type(key).__name__}: keys must be str')
    return _plain(key, what)
