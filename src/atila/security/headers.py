"""Security headers for every answer of an app: `pref.security_headers = True` (or a dict of changes).

    Strict-Transport-Security   over TLS only (RFC 6797)
    X-Content-Type-Options      nosniff
    X-Frame-Options             SAMEORIGIN, for what does not know frame-ancestors
    Referrer-Policy             strict-origin-when-cross-origin
    Cross-Origin-Opener-Policy  same-origin
    Content-Security-Policy     this site only; scripts and styles written into a page need its nonce:
                                `<script nonce="{{ was.csp_nonce }}">` (CSP level 3)

A dict replaces values by name; None leaves a header out; `{nonce}` in the policy stands for the nonce. A
field that a service sets itself is not touched.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from skitai.headers import encode

if TYPE_CHECKING:
    from skitai.exchange import RawHeaders

_POLICY = (
    "default-src 'self'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_DEFAULTS = {
    'strict-transport-security': 'max-age=31536000; includeSubDomains',
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'SAMEORIGIN',
    'referrer-policy': 'strict-origin-when-cross-origin',
    'cross-origin-opener-policy': 'same-origin',
    'content-security-policy': _POLICY,
}
_NONCE = b'{nonce}'


class SecurityHeaders:
    """The fields of one app, encoded once. TypeError, ValueError for a setting that cannot be."""

    __slots__ = ('_fields', '_policy')

    def __init__(self, wanted: bool | Mapping[str, str | None]) -> None:
        if wanted is not True and not isinstance(wanted, Mapping):
            raise TypeError(f'security_headers = {wanted!r}: True or a dict of header fields is needed')
        values: dict[str, str | None] = dict(_DEFAULTS)
        if isinstance(wanted, Mapping):
            values.update({name.lower(): value for name, value in wanted.items()})
        fields = [encode(name, value) for name, value in values.items() if value is not None]
        self._policy = next((value for name, value in fields if name == b'content-security-policy'), None)
        self._fields = [field for field in fields if field[0] != b'content-security-policy']

    def fields(self, scheme: str, nonce: str | None) -> RawHeaders:
        """For an answer over `scheme`, with the page's nonce, if it has asked for one."""
        found = self._fields
        if scheme != 'https':
            found = [field for field in found if field[0] != b'strict-transport-security']
        if self._policy is None:
            return found
        return [
            *found,
            (b'content-security-policy', self._policy.replace(_NONCE, (nonce or new_nonce()).encode())),
        ]


def new_nonce() -> str:
    """128 random bits."""
    return secrets.token_urlsafe(16)


def make(wanted: Any) -> SecurityHeaders | None:
    """What `app.security_headers` asks for."""
    return None if wanted is None or wanted is False else SecurityHeaders(wanted)
