"""Who a client is: Basic (RFC 7617), Digest (RFC 7616), Bearer (RFC 6750) (SPEC chapter 9).

One `Authentication` for each app. What it goes by (`app.users`, `app.realm`, `app.securekey`) is read with
each request; handlers are set before the app serves. All threads use it, nothing of a request stays on it.

Whatever a client sends, it is let in or gets a 401 with a fresh challenge and a reason that quotes nothing
of its credentials and doesn't tell an unknown user from a wrong password. Nothing of them is logged either:
`exchange.user_name`, for the access log, is the name of a user who was let in.

Which digest algorithms are offered: SHA-256 before MD5, unless records were seen that only MD5 can verify
(an encrypted password, AU-07): then MD5 alone, for everybody. Clients take the first challenge they know,
or the last one, and must not get one by which this user can never be let in; and that it is for everybody
leaves nothing to learn about single users.
"""

from __future__ import annotations

import base64
import binascii
import inspect
import itertools
import logging
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import HTTPError
from . import digest, nonces, tokens
from .digest import Malformed
from .users import Claims, Record, User, Verifier, same

if TYPE_CHECKING:
    from ..app import Atila
    from ..was import Was

log = logging.getLogger('atila')

KINDS = ('basic', 'digest', 'bearer')

#: Records of `app.users` that are looked at before the first login, for those that only MD5 can verify.
_LOOK_AT = 100
_CONTROL = re.compile(r'[\x00-\x1f\x7f]')
#: What an error attribute may not hold (RFC 6750, 3).
_NOT_IN_ERROR = re.compile(r'[^\x20\x21\x23-\x5b\x5d-\x7e]')
_ERROR_LENGTH = 200

_WRONG = 'wrong user name or password'


class Authentication:
    """What an app knows of authentication. `authenticate` lets a request pass, or raises the 401."""

    def __init__(self, app: Atila) -> None:
        self.app = app
        #: The algorithms of digest that may be offered, the preferred one first.
        self.algorithms: tuple[str, ...] = tuple(digest.ALGORITHMS)
        #: Seconds that a client may go on with a digest nonce.
        self.nonce_lifetime = nonces.LIFETIME
        self._authorize: Callable[..., Any] | None = None
        self._bear: Callable[..., Any] | None = None
        self._verifier = Verifier()
        self._only_md5 = False

    # -- setting up --------------------------------------------------------------------------------

    def set_authorization_handler(self, handler: Callable[..., Any]) -> None:
        """Ask `handler (was, username)` for records, before `app.users` (SPEC AU-05). TypeError otherwise."""
        _check_handler(handler, 'authorization_handler', 'was, username')
        self._authorize = handler

    def set_bearer_handler(self, handler: Callable[..., Any]) -> None:
        """Let `handler (was, token)` judge bearer tokens (SPEC AU-12). TypeError otherwise."""
        _check_handler(handler, 'bearer_handler', 'was, token')
        self._bear = handler

    def check_kind(self, value: Any) -> str | None:
        """'basic', 'digest', 'bearer' or None, of what an option says (SPEC AU-01, AU-02).

        True is what the app has (`app.authenticate`, `app.authorization`), or else digest. AssertionError for
        anything else.
        """
        if value is None or value is False:
            return None
        if value is True:
            for of_app in (self.app.authenticate, getattr(self.app, 'authorization', None)):
                if isinstance(of_app, str):
                    return self.check_kind(of_app)
            return 'digest'
        kind = value.lower() if isinstance(value, str) else value
        if kind not in KINDS:
            raise AssertionError(
                f'authenticate = {value!r}: it must be "basic", "digest", "bearer" or None (SPEC AU-01)'
            )
        return str(kind)

    # -- a request ---------------------------------------------------------------------------------

    def authenticate(self, was: Was, kind: str | None) -> None:
        """Set `was.request.user` and `was.exchange.user_name`, or raise the 401 (SPEC AU-03).

        What a handler or provider raises goes on as it is. RuntimeError for bearer without a handler where
        `app.securekey` isn't set.
        """
        if kind == 'digest':
            self._digest(was)
        elif kind == 'basic':
            self._basic(was)
        elif kind == 'bearer':
            self._bearer(was)

    @property
    def _realm(self) -> str:
        return str(self.app.realm)

    def _given(self, was: Was, scheme: str, refuse: Callable[[str], NoReturn]) -> str:
        """What the client says in `scheme`, after its name."""
        field = was.exchange.header(b'authorization')
        if field is None:
            refuse(f'{scheme.capitalize()} authentication is required')
        given, rest = digest.split_credentials(field)
        if given != scheme:
            refuse(f'{scheme.capitalize()} authentication is required, not another scheme')
        return rest

    def _record(self, was: Was, name: str) -> Record | None:
        """The user's record; None where there is none, or none that is one (SPEC AU-04 to AU-06)."""
        if not name or _CONTROL.search(name):
            return None
        if self._authorize is not None:
            given = self._authorize(was, name)
        else:
            users = self.app.users
            given = None if users is None else users.get(name)
        if given is None:
            return None
        try:
            record = Record(given)
        except TypeError as error:
            log.error('%s: the password record of %r is none: %s', self.app.name, name, error)
            return None
        if record.md5 is not None:
            self._only_md5 = True
        return record

    def _enter(self, was: Was, name: str, record: Record) -> None:
        was.request.user = User(name, self._realm, record.info)
        was.exchange.user_name = name

    # -- Basic (RFC 7617) --------------------------------------------------------------------------

    def _basic(self, was: Was) -> None:
        try:
            name, password = _user_and_password(self._given(was, 'basic', self._refuse_basic))
        except Malformed as error:
            self._refuse_basic(str(error))
        record = self._record(was, name)
        right = self._verifier.verify(record, name, self._realm, password)
        if record is None or not right:
            self._refuse_basic(_WRONG)
        self._enter(was, name, record)

    def _refuse_basic(self, reason: str) -> NoReturn:
        _refuse(reason, [f'Basic realm={digest.quoted(self._realm)}'.encode('utf-8', 'replace')])

    # -- Digest (RFC 7616) -------------------------------------------------------------------------

    def _digest(self, was: Was) -> None:
        try:
            given = digest.parse_digest(self._given(was, 'digest', self._refuse_digest))
        except Malformed as error:
            self._refuse_digest(str(error))
        exchange, realm = was.exchange, self._realm
        if given.realm != _as_sent(realm):
            self._refuse_digest('the realm is another one')
        if given.uri not in _targets(exchange.raw_path, exchange.query_string):
            self._refuse_digest('uri is not what was requested')
        record = self._record(was, given.username)
        if given.algorithm not in self._offered():
            self._refuse_digest('the algorithm is not offered any more', stale=True)
        first = self._first_hash(record, given)
        right = same(given.expected(first or given.first_hash('x'), exchange.method), given.response)
        if record is None or first is None or not right:
            self._refuse_digest(_WRONG)
        # Only who knows the password hears of the nonce, and only his use of one is kept.
        if not nonces.is_current(given.nonce, self.app.securekey, realm, self.nonce_lifetime):
            self._refuse_digest('the nonce has expired', stale=True)
        if not nonces.use(given.nonce, given.count):
            self._refuse_digest('the nonce was used already', stale=True)
        self._enter(was, given.username, record)

    def _first_hash(self, record: Record | None, given: digest.Credentials) -> str | None:
        if record is None:
            return None
        if record.plain is not None:
            return given.first_hash(record.plain)
        if record.md5 is not None:
            return record.md5 if given.algorithm == 'MD5' else None
        log.error('%s: the password of %r is hashed: only basic can verify it', self.app.name, given.username)
        return None

    def _offered(self) -> tuple[str, ...]:
        if self._only_md5 or (self._authorize is None and _holds_md5(self.app.users)):
            return ('MD5',)
        return self.algorithms

    def _refuse_digest(self, reason: str, stale: bool = False) -> NoReturn:
        realm = self._realm
        nonce = nonces.make(self.app.securekey, realm)
        _refuse(reason, [digest.challenge(realm, nonce, name, stale) for name in self._offered()])

    # -- Bearer (RFC 6750) -------------------------------------------------------------------------

    def _bearer(self, was: Was) -> None:
        try:
            token = digest.parse_token68(self._given(was, 'bearer', self._refuse_bearer))
        except Malformed as error:
            self._refuse_bearer(str(error), str(error))
        if self._bear is not None:
            reason = self._judgement(was, token)
            if reason is not None:
                was.request.user = None
                self._refuse_bearer(reason, reason)
            name = getattr(was.request.user, 'name', None)
        else:
            claims = tokens.decode(token, self.app.securekey)
            if 'err' in claims:
                self._refuse_bearer(str(claims['err']), str(claims['err']))
            was.request.user = user = Claims(claims)
            name = user.name
        was.exchange.user_name = name if isinstance(name, str) else None

    def _judgement(self, was: Was, token: str) -> str | None:
        """Why the handler refuses the token (it raises a 401, returns a text or False); else None."""
        assert self._bear is not None
        try:
            found = self._bear(was, token)
        except HTTPError as error:
            if error.status_code != 401 or error.headers:
                raise
            return error.explain or error.reason
        if found is False or isinstance(found, bytes):
            return 'invalid token'
        return found if isinstance(found, str) and found else None

    def _refuse_bearer(self, reason: str, error: str = '') -> NoReturn:
        """Without an `error` where the client has not tried it (RFC 6750, 3.1)."""
        value = f'Bearer realm={digest.quoted(self._realm)}'
        if error:
            value += f', error="{_NOT_IN_ERROR.sub("?", error[:_ERROR_LENGTH])}"'
        _refuse(reason, [value.encode('utf-8', 'replace')])


def _refuse(reason: str, challenges: list[bytes]) -> NoReturn:
    raise HTTPError(
        '401 Unauthorized', reason, headers=[(b'www-authenticate', value) for value in challenges]
    )


def _user_and_password(token: str) -> tuple[str, str]:
    try:
        data = base64.b64decode(digest.parse_token68(token), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed('malformed credentials') from None
    name, colon, password = digest.text_of(data).partition(':')
    if not colon or _CONTROL.search(name) or _CONTROL.search(password):
        raise Malformed('malformed credentials')
    return name, password


def _as_sent(realm: str) -> str:
    """The realm as a challenge names it."""
    return _CONTROL.sub(' ', realm)


def _targets(path: bytes, query: bytes) -> tuple[str, ...]:
    """What `uri` may be: the request's target; one without a query may have been sent with a bare `?`."""
    target = digest.text_of(path + b'?' + query if query else path)
    return (target,) if query else (target, target + '?')


def _holds_md5(users: Any) -> bool:
    """Whether one of the first records in a dict of users is an encrypted password."""
    if not isinstance(users, Mapping):
        return False
    try:
        some = list(itertools.islice(users.values(), _LOOK_AT))
    except RuntimeError:  # it is being filled: the next look will tell
        return False
    return any(
        isinstance(record, (tuple, list)) and len(record) in (2, 3) and bool(record[1]) for record in some
    )


def _check_handler(handler: Callable[..., Any], decorator: str, takes: str) -> None:
    if inspect.iscoroutinefunction(handler):
        raise TypeError(f'@app.{decorator}: {handler.__name__} must be a def, it runs on a service thread')
    try:
        inspect.signature(handler).bind(None, None)
    except TypeError:
        name = getattr(handler, '__name__', type(handler).__name__)
        raise TypeError(f'@app.{decorator}: {name} must take ({takes})') from None
