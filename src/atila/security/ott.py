"""One-time tokens: a value for a link, signed, with an end (SPEC HE-08).

    TOKEN = signature ? payload      both base64url; the payload is JSON: [value, end, session key, id]

The signature is an HMAC-SHA256 of the payload's text, so that nothing is decoded that is not ours. The value
can be read by whoever has the token; it cannot be changed. Anything that is wrong with a token makes it None.

A token with a session key is good in the browser that asked for it, and there until it is revoked: its id is
kept in a session of its own (`ATLSES__<KEY>_TOKEN`). That session is a cookie: who has copied it before the
revocation can put it back. What must never happen twice is to be noted where the value leads to, in the
database.
"""

from __future__ import annotations

import base64
import contextlib
import math
import secrets
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from ..state import sealing
from .signing import Keys, keys_of, matches, sign, to_text

if TYPE_CHECKING:
    from ..state.session import Session
    from ..was import Was

PURPOSE = 'ott'
#: Seconds.
DEFAULT_TIMEOUT = 1200
#: Most tokens with one session key that are good at a time in a browser; beyond them the oldest are revoked.
MAX_TOKENS = 32

_ID_BYTES = 12


class Payload(msgspec.Struct, array_like=True):
    """What is signed. `until`: epoch seconds, 0 for ever. `session_key` and `id`: '' if not revocable."""

    value: Any
    until: int
    session_key: str
    id: str


# -- the text ------------------------------------------------------------------------------------


def encode(payload: Payload, keys: Keys) -> str:
    """A payload as text, signed with the newest key."""
    text = to_text(msgspec.json.encode(payload))
    return f'{sign(text, keys[0], PURPOSE)}?{text}'


def decode(token: Any, keys: Keys) -> Payload | None:
    """The payload of a token that is ours and whose end has not come."""
    if not isinstance(token, str):
        return None
    signature, _, text = token.partition('?')
    if not matches(signature, text, keys, PURPOSE):
        return None
    try:
        data = base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))
        payload = msgspec.json.decode(data, type=Payload)
    except (ValueError, msgspec.MsgspecError):  # ours, but of another form: an older release's
        return None
    return payload if payload.until == 0 or payload.until > time.time() else None


# -- with a request ------------------------------------------------------------------------------


def issue(was: Was, value: Any, timeout: float | None, session_key: str | None) -> str:
    """A token for `value`, good for `timeout` seconds, None or 0: for ever.

    TypeError for what is not for JSON (see `sealing.jsonable`), ValueError for None, which could not be told
    from a bad token; AssertionError for a session key without a timeout.
    """
    keys = keys_of(was.app.securekey)
    if value is None:
        raise ValueError('a one-time token cannot be None: that is what a bad token gives')
    if timeout and not math.isfinite(timeout):
        raise ValueError(f'timeout is a number of seconds, or None, not {timeout!r}')
    if session_key is not None and not isinstance(session_key, str):
        raise TypeError(f'session_key must be str, not {type(session_key).__name__}')
    assert timeout or session_key is None, 'a one-time token with a session_key needs a timeout'
    plain = sealing.jsonable(value, 'the one-time token')
    until = math.ceil(time.time() + timeout) if timeout else 0
    payload = Payload(plain, until, session_key or '', '')
    if session_key is not None:
        payload.id = secrets.token_urlsafe(_ID_BYTES)
        _remember(was, payload)
    return encode(payload, keys)


def redeem(was: Was, token: Any) -> Any:
    """The value of a token; None if it is not ours, its end has come, or it is revoked."""
    payload = decode(token, keys_of(was.app.securekey))
    if payload is None:
        return None
    if payload.id:
        with _tokens(was, payload.session_key) as session:
            if payload.id not in session:
                return None
    return payload.value


def revoke(was: Was, token: Any) -> bool:
    """Whether the token was good, and is not any more; one without a session key cannot be revoked."""
    payload = decode(token, keys_of(was.app.securekey))
    if payload is None or not payload.id:
        return False
    with _tokens(was, payload.session_key) as session:
        known = payload.id in session
        session.remove(payload.id)
        if known and not session:
            session.expire()
    return known


def _remember(was: Was, payload: Payload) -> None:
    now = time.time()
    if payload.until <= now:
        return
    with _tokens(was, payload.session_key) as session:
        session.set(payload.id, payload.until)
        tokens = sorted(session.items(), key=lambda item: item[1])  # of one second as they were asked for
        for position, (id, end) in enumerate(tokens):
            if end <= now or position < len(tokens) - MAX_TOKENS:
                session.remove(id)
        session.set_expiry(math.ceil(tokens[-1][1] - now))


@contextlib.contextmanager
def _tokens(was: Was, session_key: str) -> Iterator[Session]:
    """The session that holds the ids of a session key; afterwards the one before is at hand again."""
    session = was.request.session
    mounted = session._current  # None: the default one, which nobody has looked at yet
    session.mount(f'_{session_key}_token', extend=False)
    try:
        yield session
    finally:
        session._current = mounted
