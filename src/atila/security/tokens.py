"""JSON Web Tokens (RFC 7519) signed with the app's key (SPEC RQ-20, HE-06)."""

from __future__ import annotations

from typing import Any

import jwt

#: Never what the token says alone: a token that names another algorithm, or none, is refused.
ALGORITHMS = ('HS256', 'HS384', 'HS512')


def bearer_token(authorization: bytes | None) -> str | None:
    """The token of an Authorization field `Bearer TOKEN`; None for another scheme or none."""
    scheme, _, token = (authorization or b'').strip().partition(b' ')
    token = token.strip()
    return token.decode('latin-1') if scheme.lower() == b'bearer' and token else None


def decode(token: str | None, key: str | bytes | list[str] | None) -> dict[str, Any]:
    """The claims, or {'err': reason}: a bad token is the client's fault and never an exception.

    `key` may be a list: the newest first, older ones still accepted. RuntimeError without a key.
    """
    if not key:
        raise RuntimeError('Secret key is not configured: set app.securekey or pref.securekey')
    if token is None:
        return {'err': 'no bearer token'}
    found = {'err': 'invalid token'}
    for one in key if isinstance(key, list) else [key]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token, one, algorithms=ALGORITHMS, options={'verify_aud': False}
            )
            return claims
        except jwt.InvalidSignatureError:
            found = {'err': 'invalid signature'}
        except jwt.ExpiredSignatureError:
            return {'err': 'token expired'}
        except jwt.ImmatureSignatureError:
            return {'err': 'token not activated yet'}
        except (jwt.PyJWTError, ValueError):
            return {'err': 'invalid token'}
    return found
