"""JSON Web Tokens (RFC 7519; RFC 8725), signed with the app's key (SPEC RQ-20, HE-05, HE-06).

- The key decides which algorithms are allowed, never the token: a secret verifies HS256, HS384 and HS512
  only, a public key its own kind only. So a token signed by HMAC with the text of a public key never
  verifies, and one without a signature doesn't either.
- A bad token is the client's fault: {'err': reason}, never an exception. A bad key is ours: an exception.
- Base64url without padding, strictly: a token has one form.
"""

from __future__ import annotations

import datetime
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jwt
import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import HMACAlgorithm

from ..state.sealing import SecureKey, jsonable, keys_of

#: With a secret.
ALGORITHMS = ('HS256', 'HS384', 'HS512')
#: With a key pair.
_RSA = ('RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512')
_CURVES = {'secp256r1': ('ES256',), 'secp384r1': ('ES384',), 'secp521r1': ('ES512',)}
_EDWARDS = ('EdDSA',)
_ALL = (*ALGORITHMS, *_RSA, 'ES256', 'ES384', 'ES512', *_EDWARDS)

#: Longer tokens are neither made nor looked at: no header field carries them.
MAX_LENGTH = 16 * 1024
_MIN_RSA_BITS = 2048
_FORM = re.compile(r'[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+', re.ASCII)
_DATES = ('exp', 'nbf', 'iat')

_NO_TOKEN = 'no bearer token'
_INVALID = 'invalid token'
_FORGED = 'invalid signature'
_LATE = 'token expired'
_EARLY = 'token not activated yet'


class _Secret(HMACAlgorithm):
    """HMAC for keys that `_pair` has looked at: not once more with each token."""

    def prepare_key(self, key: str | bytes) -> bytes:
        return key.encode() if isinstance(key, str) else key

    def check_key_length(self, key: Any) -> str | None:
        return None  # a short securekey is the app's decision, and a warning for each client's token no help


def _signatures() -> jwt.PyJWS:
    signatures = jwt.PyJWS(algorithms=_ALL)
    for name, kind in zip(
        ALGORITHMS, (HMACAlgorithm.SHA256, HMACAlgorithm.SHA384, HMACAlgorithm.SHA512), strict=True
    ):
        signatures.unregister_algorithm(name)
        signatures.register_algorithm(name, _Secret(kind))
    return signatures


#: Used by all threads; it keeps nothing of a call.
_signer = _signatures()


def bearer_token(authorization: bytes | None) -> str | None:
    """The token of an Authorization field `Bearer TOKEN`; None for another scheme or none."""
    scheme, _, token = (authorization or b'').strip().partition(b' ')
    token = token.strip()
    return token.decode('latin-1') if scheme.lower() == b'bearer' and token else None


# -- making (HE-05) ------------------------------------------------------------------------------


def encode(claims: Mapping[str, Any], key: SecureKey, alg: str = 'HS256') -> str:
    """A token with these claims, signed with `key`: of several the newest.

    `exp` must be among them; `exp`, `nbf` and `iat` are epoch seconds or datetimes (naive: UTC). With a
    private key (PEM) as `key`, `alg` is one of its kind, RS256 or ES256 say. AssertionError without `exp`;
    TypeError for claims that are not for JSON; ValueError for an algorithm that the key is not for;
    RuntimeError without a key.
    """
    assert 'exp' in claims, "a token needs an end: add 'exp' to its claims, in epoch seconds"
    signing_key, fitting = _signing(keys_of(key)[0])
    if alg not in fitting:
        raise ValueError(f'alg = {alg!r} is not for this key: use one of {", ".join(fitting)}')
    plain = {name: _moment(name, claims[name]) if name in _DATES else claims[name] for name in claims}
    payload = msgspec.json.encode(jsonable(plain, 'the token'))
    token = _signer.encode(payload, signing_key, alg)
    if len(token) > MAX_LENGTH:
        raise ValueError(f'the token has {len(token)} characters: {MAX_LENGTH} at most are accepted')
    return token


def _moment(name: str, value: Any) -> int | float:
    if isinstance(value, datetime.datetime):
        zoned = value if value.tzinfo is not None else value.replace(tzinfo=datetime.UTC)
        return int(zoned.timestamp())
    if not _is_moment(value):
        raise TypeError(f'the claim {name!r} is epoch seconds or a datetime, not {type(value).__name__}')
    return value  # type: ignore[no-any-return]


def _is_moment(value: Any) -> bool:
    """A NumericDate (RFC 7519, 2)."""
    return type(value) is int or (type(value) is float and math.isfinite(value))


# -- reading (HE-06) -----------------------------------------------------------------------------


def decode(
    token: Any,
    key: SecureKey,
    algorithms: str | Sequence[str] | None = None,
    audience: str | Iterable[str] | None = None,
) -> dict[str, Any]:
    """The claims, or {'err': reason}.

    `key`: a secret, a public key (PEM, also a certificate), or several keys, the newest first.
    `algorithms`: by default all that the key is for. `audience`: of these the token must name one in `aud`;
    not given, `aud` is not looked at. RuntimeError without a key; ValueError for one that is none, or for
    algorithms that it is not for.
    """
    allowed = (algorithms,) if isinstance(algorithms, str) else tuple(algorithms or ())
    keys = [_verifying(one, allowed) for one in keys_of(key)]
    if token is None:
        return {'err': _NO_TOKEN}
    if not isinstance(token, str) or len(token) > MAX_LENGTH or not _FORM.fullmatch(token):
        return {'err': _INVALID}
    reason = _INVALID
    for verifying_key, fitting in keys:
        try:
            payload = _signer.decode(token, verifying_key, algorithms=fitting)
        except jwt.InvalidSignatureError:
            reason = _FORGED
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            continue  # not for this key: perhaps for an older one, of another kind
        else:
            return _checked(payload, audience)
    return {'err': reason}


def _checked(payload: bytes, audience: str | Iterable[str] | None) -> dict[str, Any]:
    """The claims of a token whose signature is good."""
    try:
        claims = msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {'err': _INVALID}
    if not all(_is_moment(claims[name]) for name in ('exp', 'nbf') if name in claims):
        return {'err': _INVALID}
    now = time.time()
    if 'exp' in claims and claims['exp'] <= now:
        return {'err': _LATE}
    if 'nbf' in claims and claims['nbf'] > now:
        return {'err': _EARLY}
    if audience is not None and not _is_for(claims.get('aud'), audience):
        return {'err': _INVALID}
    return claims


def _is_for(named: Any, audience: str | Iterable[str]) -> bool:
    wanted = {audience} if isinstance(audience, str) else set(audience)
    names = named if isinstance(named, list) else [named]
    return any(isinstance(name, str) and name in wanted for name in names)


# -- keys ----------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _verifying(key: str | bytes, allowed: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """A key to verify with, and which of the `allowed` algorithms (none given: all) it is for."""
    found = _pair(key)
    public = found.public_key() if hasattr(found, 'public_key') else found
    fitting = _fitting(public)
    if allowed:
        for name in allowed:
            if name not in fitting:
                raise ValueError(f'algorithms = {name!r} is not for this key: it is for {", ".join(fitting)}')
        fitting = allowed
    return (key if public is None else public), fitting


@lru_cache(maxsize=256)
def _signing(key: str | bytes) -> tuple[Any, tuple[str, ...]]:
    """A key to sign with, and the algorithms that it is for."""
    found = _pair(key)
    if found is None:
        return key, ALGORITHMS
    if not hasattr(found, 'private_bytes'):
        raise ValueError('a token is signed with the private key; this is the public one')
    return found, _fitting(found.public_key())


def _fitting(public: Any) -> tuple[str, ...]:
    if public is None:
        return ALGORITHMS
    if isinstance(public, rsa.RSAPublicKey):
        if public.key_size < _MIN_RSA_BITS:
            raise ValueError(f'the RSA key has {public.key_size} bits: {_MIN_RSA_BITS} are needed')
        return _RSA
    if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in _CURVES:
        return _CURVES[public.curve.name]
    if isinstance(public, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return _EDWARDS
    raise ValueError('keys are RSA, P-256, P-384, P-521, Ed25519 or Ed448: this is another kind')


def _pair(key: str | bytes) -> Any:
    """The public or private key that a text is, in whatever form; None for a secret.

    Whatever is a public key, if only by its looks, must never be taken for a secret: everybody has it, and
    could sign with it.
    """
    data = key.encode() if isinstance(key, str) else key
    try:
        if b'-----BEGIN ' in data:
            return _from_pem(data)
        if data.lstrip().startswith((b'ssh-', b'ecdsa-sha2-')):
            return serialization.load_ssh_public_key(data.lstrip())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError('the key is no public key, private key without a password, or certificate') from None
    if data.lstrip().startswith(b'{') and b'"kty"' in data:
        raise ValueError('the key is a JSON Web Key: give it as PEM')
    return _from_der(data) if data[:1] == b'\x30' else None


def _from_pem(data: bytes) -> Any:
    data = data[data.index(b'-----BEGIN ') :]
    label = data[: data.find(b'\n')]
    if b'CERTIFICATE' in label:
        return x509.load_pem_x509_certificate(data).public_key()
    if b'PRIVATE KEY' in label:
        return serialization.load_pem_private_key(data, None)
    return serialization.load_pem_public_key(data)


def _from_der(data: bytes) -> Any:
    for load in (
        serialization.load_der_public_key,
        lambda der: x509.load_der_x509_certificate(der).public_key(),
        lambda der: serialization.load_der_private_key(der, None),
    ):
        try:
            return load(data)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
    return None
