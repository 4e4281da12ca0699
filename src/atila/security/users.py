"""Who a user is, and what an app keeps of a user's password (SPEC AU-06, AU-07, AU-09, AU-11). No I/O.

A record is what `app.users.get (name)` or the authorization handler gives: a password, `(password,
encrypted)`, `(password, encrypted, info)`, or None for nobody. An encrypted password is the hex MD5 of
`user:realm:password`, for digest and basic, or what `passwords.hash_password` gives, for basic alone.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import threading
from typing import Any

from . import passwords

_MD5 = re.compile(r'[0-9A-Fa-f]{32}', re.ASCII)


class User:
    """`was.request.user` after basic and digest: `name`, `realm`, `info` (the record's), str () its name."""

    __slots__ = ('info', 'name', 'realm')

    def __init__(self, name: str, realm: str, info: Any = None) -> None:
        self.name = name
        self.realm = realm
        self.info = info

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f'<User {self.name!r} of {self.realm!r}>'


class Claims(dict[str, Any]):
    """`was.request.user` after a bearer login: a token's claims, as items and as attributes.

    `name` is the claim `username`, or else `sub`; None where it has neither. A claim called like a method of
    a dict, or `name`, is an item only. A claim that is missing is an AttributeError.
    """

    __slots__ = ()

    @property
    def name(self) -> Any:
        return self.get('username', self.get('sub'))

    def __getattr__(self, claim: str) -> Any:
        try:
            return self[claim]
        except KeyError:
            raise AttributeError(f'the token has no claim {claim!r}') from None

    def __str__(self) -> str:
        return '' if self.name is None else str(self.name)


class Record:
    """A password record, understood. Exactly one of `plain`, `md5` and `hashed` is set."""

    __slots__ = ('hashed', 'info', 'md5', 'plain')

    def __init__(self, given: Any) -> None:
        """TypeError, with nothing of the password in its message, for what is no record."""
        self.plain: str | None = None
        self.md5: str | None = None
        self.hashed: str | None = None
        self.info: Any = None
        encrypted: Any = False
        password = given
        if isinstance(given, (tuple, list)):
            if len(given) not in (2, 3):
                raise TypeError(f'{len(given)} items instead of (password, encrypted[, info])')
            password, encrypted = given[:2]
            self.info = given[2] if len(given) == 3 else None
        if not isinstance(password, str):
            raise TypeError(f'the password is a {type(password).__name__}, not a str')
        if _is_hashed(password):
            self.hashed = password
        elif not encrypted:
            self.plain = password
        elif _MD5.fullmatch(password):
            self.md5 = password.lower()
        else:
            raise TypeError(
                'the encrypted password is neither the hex MD5 of user:realm:password nor of hash_password'
            )


def _is_hashed(password: str) -> bool:
    return password.startswith('scrypt$') and password.count('$') == 5


def first_hash(algorithm: str, name: str, realm: str, password: str) -> str:
    """H(user:realm:password) in hex (RFC 7616, 3.4.2); `algorithm`: 'md5' or 'sha256'."""
    text = f'{name}:{realm}:{password}'.encode('utf-8', 'surrogatepass')
    return hashlib.new(algorithm, text, usedforsecurity=False).hexdigest()


def same(one: str, other: str) -> bool:
    """Whether two texts are equal, in a time that doesn't tell where they differ."""
    return hmac.compare_digest(one.encode('utf-8', 'surrogatepass'), other.encode('utf-8', 'surrogatepass'))


class Verifier:
    """Compares given passwords with records. All threads use one.

    A hashed password costs tens of milliseconds, basic credentials come with each request: those found right
    lately are known again by a keyed digest, of the record too, so that a changed password counts at once.
    """

    #: Right passwords that are known again.
    KNOWN = 256

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._known: dict[bytes, None] = {}  # under `_lock`; the oldest first
        self._lock = threading.Lock()
        #: Whether a user was seen to have a hashed password: from then on, nobody's costs as much.
        self._hashes = False

    def verify(self, record: Record | None, name: str, realm: str, password: str) -> bool:
        """Whether it is the password. None, for an unknown user, costs what a known one does."""
        if record is None:
            if self._hashes:
                passwords.verify_password(password, None)
            first_hash('md5', name, realm, password)
            return False
        if record.plain is not None:
            return same(password, record.plain)
        if record.md5 is not None:
            return same(first_hash('md5', name, realm, password), record.md5)
        assert record.hashed is not None
        self._hashes = True
        return self._verify_hash(password, record.hashed)

    def _verify_hash(self, password: str, hashed: str) -> bool:
        text = f'{hashed}\0{password}'.encode('utf-8', 'surrogatepass')
        seal = hashlib.blake2b(text, key=self._key, digest_size=32).digest()
        if seal in self._known:
            return True
        if not passwords.verify_password(password, hashed):
            return False
        with self._lock:
            while len(self._known) >= self.KNOWN:
                del self._known[next(iter(self._known))]
            self._known[seal] = None
        return True
