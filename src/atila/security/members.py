"""What `was` and `app` have of this room (SPEC HE-03 to HE-08, WAS-05): thin, each hands on what it gets.

`Secrets` is a base of `was.Was`, `Verification` one of `registration.Registration`. The module `atila.was`
takes `generate_otp` from `otp.generate`, for clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..state.sealing import SecureKey
from . import csrf, otp, ott, passwords, tokens

if TYPE_CHECKING:
    from markupsafe import Markup

    from ..app import Atila
    from ..decorators import Guard
    from ..was import Was

Function = TypeVar('Function', bound=Callable[..., Any])


class Secrets:
    """Tokens and passwords. All but the passwords need `app.securekey`: RuntimeError without it.

    `app.securekey` may be a list: the newest first makes, all verify.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        app: Atila

    @property
    def _was(self) -> Was:
        return cast('Was', self)

    # -- CSRF (HE-03) -----------------------------------------------------------------------------

    @property
    def csrf_token(self) -> str:
        """The client's CSRF token; a client without one gets it, in the cookie XSRF_TOKEN."""
        return csrf.current(self._was)

    @property
    def csrf_token_input(self) -> Markup:
        """The token as a hidden field of a form, for templates."""
        from markupsafe import Markup  # comes with the template engine

        return Markup('<input type="hidden" name="{}" value="{}">').format(csrf.COOKIE, self.csrf_token)

    def verify_csrf(self, keep: bool = True) -> bool:
        """Whether the request brings its cookie's token once more, in the header X-XSRF-TOKEN or the
        parameter XSRF_TOKEN. Not `keep`: a token that was verified is deleted, it is good once.
        """
        return csrf.verify(self._was, keep)

    def generate_csrf(self) -> str:
        """A new CSRF token instead of the client's, after a login say."""
        return csrf.renew(self._was)

    def remove_csrf(self) -> None:
        """Have the client delete its CSRF token."""
        csrf.remove(self._was)

    # -- JSON Web Tokens (HE-05, HE-06) -----------------------------------------------------------

    def encode_jwt(
        self, claims: Mapping[str, Any], salt: str | bytes | None = None, alg: str = 'HS256'
    ) -> str:
        """A token with these claims, signed with `app.securekey`, or with `salt` instead: another secret, or
        a private key (PEM) with `alg = 'RS256'` or 'ES256', say.

        `exp` must be among the claims, as epoch seconds or a datetime: AssertionError. `alg` with a secret:
        HS256, HS384, HS512.
        """
        return tokens.encode(claims, self._key(salt), alg)

    def decode_jwt(
        self,
        token: str | None = None,
        salt: str | bytes | None = None,
        *,
        algorithms: str | Sequence[str] | None = None,
        audience: str | Iterable[str] | None = None,
    ) -> dict[str, Any]:
        """The claims of a token, by default of the Authorization field's bearer; or {'err': reason}: 'no
        bearer token', 'invalid token', 'invalid signature', 'token expired', 'token not activated yet'.

        `salt`: another secret instead of `app.securekey`, or a public key (PEM). `algorithms`: fewer than
        those which the key is for. `audience`: one of which `aud` must name; not given, `aud` is not checked.
        """
        if token is None:
            field = self._was.request.get_header('authorization', '')
            token = tokens.bearer_token(field.encode('latin-1'))
        return tokens.decode(token, self._key(salt), algorithms, audience)

    mkjwt, dejwt = encode_jwt, decode_jwt

    # -- one-time passwords (HE-07) ---------------------------------------------------------------

    def generate_otp(self, salt: str | bytes | None = None) -> str:
        """A password for another program that has our `app.securekey`, or `salt`: good for 20 s."""
        return otp.generate(self._key(salt))

    def verify_otp(self, otp_: Any, salt: str | bytes | None = None) -> bool:
        """Whether a password of `generate_otp` was made with the same key, less than 20 s ago (or ahead).

        Anything else, None included, is False.
        """
        return otp.verify(otp_, self._key(salt))

    # -- one-time tokens (HE-08) ------------------------------------------------------------------

    def encode_ott(
        self, obj: Any, timeout: float | None = ott.DEFAULT_TIMEOUT, session_key: str | None = None
    ) -> str:
        """`obj` as a signed token for a link: readable, but not to be changed. `obj` is for JSON, not None.

        `timeout` in seconds, None or 0: for ever. With a `session_key` the token is good in this browser
        only, until `revoke_ott`; that needs a timeout (AssertionError).
        """
        return ott.issue(self._was, obj, timeout, session_key)

    def decode_ott(self, token: Any) -> Any:
        """What a token was made of; None if it is not ours, its end has come, or it is revoked."""
        return ott.redeem(self._was, token)

    def revoke_ott(self, token: Any) -> bool:
        """A token with a session key is not good any more; False where it was not, or has no session key."""
        return ott.revoke(self._was, token)

    mkott = mktoken = token = encode_ott
    deott = detoken = decode_ott
    rvott = rmtoken = revoke_ott

    # -- passwords (WAS-05) -----------------------------------------------------------------------

    def encrypt_password(self, pw: str | bytes) -> tuple[str, str]:
        """`(salt, sig)` of a password (scrypt), both to be kept."""
        return passwords.encrypt_password(pw)

    def verify_password(self, pw: str | bytes | None, salt: str | None, sig: str | None) -> bool:
        """Whether `encrypt_password (pw)` gave these; False for anything else."""
        return passwords.verify_signature(pw, salt, sig)

    def _key(self, salt: str | bytes | None) -> SecureKey:
        return self.app.securekey if salt is None else salt


class Verification:
    """The decorator of services that changes are made by."""

    if TYPE_CHECKING:

        def _guard(self, function: Function, guard: Guard | None) -> Function: ...

    def csrf_verification_required(self, function: Function) -> Function:
        """Let only requests pass that bring their CSRF token, others get 400 (SPEC HE-04)."""
        return self._guard(function, csrf.guard)
