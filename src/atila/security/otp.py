"""One-time passwords that follow the clock: our own between programs (SPEC HE-07), and TOTP for people.

- `generate` and `verify`: an HMAC-SHA256 over the number of a 10 s step, under a key made from the secret.
  For programs that share `securekey`, or another secret, and have the same time.
- `TOTP` (RFC 6238): the six digits of authenticator apps, with a provisioning URI to be shown as a QR code.

Nothing is kept on the server: a password is good again until its time is over. Where that matters, keep the
step that `TOTP.step_of` gives with the user, and refuse steps that are not above it (RFC 6238, 5.2).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
from typing import Any
from urllib.parse import quote, urlencode

from .signing import Keys, SecureKey, keys_of, mac, same

PURPOSE = 'otp'
#: Seconds.
STEP = 10
#: Steps to either side: two moments 20 s apart are at most so far; 30 s apart, they are always farther.
WINDOW = 2


# -- between programs (HE-07) --------------------------------------------------------------------


def generate(key: SecureKey) -> str:
    """The password of this moment: 64 hexadecimal digits. Of several keys, by the newest.

    RuntimeError without a key.
    """
    return _password(keys_of(key)[0], _step())


def verify(otp: Any, key: SecureKey) -> bool:
    """Whether `otp` was made by one of the keys within 20 s, before or after now; never beyond 30 s.

    Anything else than such a text is False.
    """
    keys: Keys = keys_of(key)
    if not isinstance(otp, str):
        return False
    now = _step()
    found = False
    for one in keys:
        for step in range(now - WINDOW, now + WINDOW + 1):
            found |= same(otp, _password(one, step))
    return found


def _step() -> int:
    return int(time.time() // STEP)


def _password(key: str | bytes, step: int) -> str:
    return mac(b'%d' % step, key, PURPOSE).hex()


# -- TOTP (RFC 6238) -----------------------------------------------------------------------------

_HASHES = {'SHA1': 'sha1', 'SHA256': 'sha256', 'SHA512': 'sha512'}


def generate_secret(size: int = 20) -> str:
    """A new secret for `TOTP`: base32 of `size` random bytes (16 or more; RFC 4226, 4, recommends 20)."""
    if size < 16:
        raise ValueError(f'a secret needs 16 bytes or more, not {size} (RFC 4226, 4)')
    return base64.b32encode(secrets.token_bytes(size)).decode('ascii').rstrip('=')


class TOTP:
    """Passwords of an authenticator app (RFC 6238).

    `secret`: base32 (blanks, lower case and padding are allowed, as people type it), or the bytes themselves.
    `digits`: 6, 7 or 8. `algorithm`: 'SHA1', which all apps know, 'SHA256' or 'SHA512'. `period` in seconds.
    ValueError for anything else; it does not show the secret.
    """

    __slots__ = ('_key', 'algorithm', 'digits', 'period')

    def __init__(
        self, secret: str | bytes, digits: int = 6, algorithm: str = 'SHA1', period: int = 30
    ) -> None:
        name = algorithm.upper().replace('-', '')
        if name not in _HASHES:
            raise ValueError(f'algorithm is one of {", ".join(_HASHES)}, not {algorithm!r}')
        if digits not in (6, 7, 8):
            raise ValueError(f'digits is 6, 7 or 8, not {digits!r}')
        if period < 1:
            raise ValueError(f'period is a positive number of seconds, not {period!r}')
        self._key = secret if isinstance(secret, bytes) else _from_base32(secret)
        if not self._key:
            raise ValueError('the secret is empty')
        self.digits = digits
        self.algorithm = name
        self.period = period

    def __repr__(self) -> str:
        return f'<TOTP {self.algorithm}, {self.digits} digits, {self.period} s>'  # never the secret

    def now(self) -> str:
        """The password of this moment."""
        return self.at(time.time())

    def at(self, moment: float) -> str:
        """The password of a moment, in epoch seconds."""
        return self._code(int(moment // self.period))

    def verify(self, code: Any, window: int = 1) -> bool:
        """Whether `code` is the password of now, or of up to `window` periods before or after."""
        return self.step_of(code, window) is not None

    def step_of(self, code: Any, window: int = 1) -> int | None:
        """The number of the period that `code` is the password of, within `window`; None for none.

        To take each password once, keep the number and accept only greater ones.
        """
        if not isinstance(code, str):
            return None
        given = code.replace(' ', '')  # apps show '123 456'
        now = int(time.time() // self.period)
        found = None
        for step in range(max(0, now - window), now + window + 1):
            if same(given, self._code(step)):
                found = step
        return found

    def provisioning_uri(self, account: str, issuer: str) -> str:
        """The otpauth: URI that authenticator apps read as a QR code. It holds the secret: show it once, to
        the account's owner, and keep it out of logs. ValueError for an empty name, or one with a colon.
        """
        for name, what in ((account, 'account'), (issuer, 'issuer')):
            if not name or ':' in name:
                raise ValueError(f'{what} is a name without a colon, not {name!r}')
        values = {
            'secret': base64.b32encode(self._key).decode('ascii').rstrip('='),
            'issuer': issuer,
            'algorithm': self.algorithm,
            'digits': self.digits,
            'period': self.period,
        }
        label = quote(issuer, safe='') + ':' + quote(account, safe='@')
        return f'otpauth://totp/{label}?{urlencode(values, quote_via=quote)}'

    def _code(self, step: int) -> str:
        """RFC 4226, 5.3: 31 bits of the HMAC, from where its last four bits say, as decimal digits."""
        digest = hmac.digest(self._key, step.to_bytes(8, 'big'), _HASHES[self.algorithm])
        offset = digest[-1] & 15
        number = int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFFFFFF
        return str(number % 10**self.digits).zfill(self.digits)


def _from_base32(secret: str) -> bytes:
    text = secret.replace(' ', '').replace('-', '').rstrip('=').upper()
    try:
        return base64.b32decode(text + '=' * (-len(text) % 8))
    except (binascii.Error, ValueError):
        raise ValueError('the secret is not base32: use what otp.generate_secret () gives') from None
