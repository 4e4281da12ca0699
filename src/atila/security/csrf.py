"""CSRF tokens: a double-submit cookie, signed (SPEC HE-03, HE-04).

    TOKEN = nonce (16 random bytes, base64url) . HMAC-SHA256 of it under a key made from `securekey`

The browser gets it in the cookie XSRF_TOKEN; a page of ours sends it once more, in a form's field or in the
header X-XSRF-TOKEN. Another site can have the browser send the cookie, but it cannot read it. The signature
refuses cookies that were planted without our key (by a neighbour on the same domain, say). Scripts of our
pages must read the cookie, so it is not HttpOnly. Nothing is kept on the server.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from ..errors import HTTPError
from ..parameters import CSRF_FIELD
from .signing import Keys, keys_of, matches, same, sign

if TYPE_CHECKING:
    from ..was import Was

COOKIE = CSRF_FIELD
HEADER = 'X-XSRF-TOKEN'
PURPOSE = 'csrf'

_NONCE_BYTES = 16
#: Longer ones are not looked at.
_MAX_LENGTH = 200


def make(keys: Keys) -> str:
    """A new token, with the newest key."""
    nonce = secrets.token_urlsafe(_NONCE_BYTES)
    return f'{nonce}.{sign(nonce, keys[0], PURPOSE)}'


def is_ours(token: str | None, keys: Keys) -> bool:
    """Whether a token was made with one of the keys."""
    if not token or len(token) > _MAX_LENGTH:
        return False
    nonce, _, signature = token.partition('.')
    return matches(signature, nonce, keys, PURPOSE)


def current(was: Was) -> str:
    """The client's token; where it has none, or one that is not ours, a new one goes with the answer."""
    keys = keys_of(was.app.securekey)
    token = was.request.cookie[COOKIE]
    return token if token is not None and is_ours(token, keys) else renew(was)


def renew(was: Was) -> str:
    """A new token, set as a cookie until the browser is closed: readable by scripts, Lax, Secure on https."""
    token = make(keys_of(was.app.securekey))
    secure = was.request.scheme == 'https'
    was.request.cookie.set(COOKIE, token, secure=secure, http_only=False, same_site='Lax')
    return token


def remove(was: Was) -> None:
    """Have the client delete its token."""
    was.request.cookie.remove(COOKIE)


def verify(was: Was, keep: bool = True) -> bool:
    """Whether the request brings its cookie's token once more, in the header or, without one, a parameter.

    Not `keep`: a token that has been verified is deleted.
    """
    keys = keys_of(was.app.securekey)
    token, sent = was.request.cookie[COOKIE], _sent(was)
    if token is None or not isinstance(sent, str) or not same(token, sent) or not is_ours(token, keys):
        return False
    if not keep:
        remove(was)
    return True


def _sent(was: Was) -> Any:
    sent = was.request.get_header(HEADER)
    return was.request.given.get(CSRF_FIELD) if sent is None else sent


def guard(was: Was, arguments: dict[str, Any]) -> None:
    """In front of a service (see `decorators`): 400 for a request without a valid token."""
    if not verify(was):
        raise HTTPError(
            '400 Bad Request',
            f'CSRF token error: send the cookie {COOKIE} once more, in the header {HEADER} or the parameter '
            f'{CSRF_FIELD}',
        )
