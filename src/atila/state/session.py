"""The session: values of one client, sealed in a cookie of its own (SPEC chapter 17).

Nothing of it is kept on the server, so nothing of it can reach another client or outlive its request. What is
read is checked: a cookie that was tampered with, has expired or belongs to another session is an empty
session (SS-09). It is written once, when the answer is about to be sent, and only if something has changed.
"""

from __future__ import annotations

import time
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from . import sealing
from .cookie import Attributes

if TYPE_CHECKING:
    from ..was import Was

PREFIX = 'ATLSES_'
PURPOSE = 'session'
#: Seconds, where `app.session_timeout` is None (SS-02).
DEFAULT_TIMEOUT = 1200
#: A session is about to end at this part of its lease, or so many seconds before its end (SS-08).
IMPENDING_PART = 0.2
IMPENDING_SECONDS = 10


class _Payload(msgspec.Struct, array_like=True):
    """What is sealed. `expiry`: epoch seconds; `lease`: how many it was given; `source`: client's address."""

    expiry: int
    lease: int
    source: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Options:
    """How a session is kept: what `mount` was told."""

    keys: sealing.Keys
    timeout: int
    attributes: Attributes
    extend: bool


class _Space:
    """One session, default or named, as this request has it."""

    __slots__ = (
        'changed',
        'cookie',
        'ended',
        'expiry',
        'fixed',
        'lease',
        'options',
        'sent',
        'source',
        'values',
    )

    def __init__(self, cookie: str, options: _Options, sent: bool, payload: _Payload | None) -> None:
        self.cookie = cookie
        self.options = options
        self.sent = sent
        self.values: dict[str, Any] = {} if payload is None else payload.values
        #: None: it has no end yet, since nothing of it was or will be written.
        self.expiry: int | None = None if payload is None else payload.expiry
        self.lease = options.timeout if payload is None else payload.lease
        self.source = None if payload is None else payload.source
        self.changed = False
        #: The end was set by `set_expiry` in this request; the session was ended by `expire`.
        self.fixed = self.ended = False

    def remaining(self, now: float) -> float:
        return 0.0 if self.expiry is None else self.expiry - now

    def impending(self, now: float) -> bool:
        if self.expiry is None:
            return False
        return self.remaining(now) <= max(IMPENDING_PART * self.lease, IMPENDING_SECONDS)

    def renew(self, now: float) -> None:
        """A new lease; never one that ends before the present one (SS-05)."""
        until = int(now) + self.options.timeout
        if self.expiry is None or until > self.expiry:
            self.expiry, self.lease = until, self.options.timeout


class Session:
    """`was.session`: dict-like; keys are str, a missing one is None, values are what JSON has.

    A change within a value (`was.session ['cart'].append (1)`) is not noticed: set it again, or `touch ()`.
    RuntimeError without `app.securekey` (SS-01).
    """

    __slots__ = ('_current', '_jar', '_opened', '_was')

    def __init__(self, was: Was) -> None:
        sealing.keys_of(was.app.securekey)
        self._was = was
        self._jar = was.request.cookie
        #: By cookie name: every session that this request has looked at.
        self._opened: dict[str, _Space] = {}
        self._current: _Space | None = None

    @property
    def _space(self) -> _Space:
        """The session at hand; it is opened at the first look, not before."""
        if self._current is None:
            self._current = self._opened.get(PREFIX) or self._open(PREFIX, self._options())
        return self._current

    def __repr__(self) -> str:
        return f'<Session {self._space.cookie}: {", ".join(self._space.values)}>'

    # -- reading (SS-01) -------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        return self._space.values.get(key)

    def get(self, key: str, default: Any = None) -> Any:
        return self._space.values.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._space.values

    has_key = __contains__

    def __iter__(self) -> Iterator[str]:
        return iter(self._space.values)

    def __len__(self) -> int:
        return len(self._space.values)

    def keys(self) -> KeysView[str]:
        return self._space.values.keys()

    def values(self) -> ValuesView[Any]:
        return self._space.values.values()

    def items(self) -> ItemsView[str, Any]:
        return self._space.values.items()

    # -- changing (SS-01, SS-04) -----------------------------------------------------------------

    def set(self, key: str, val: Any) -> None:
        """Set a value: it comes back as JSON has it, a tuple as a list.

        TypeError for a key that is no str, or a value that is not for JSON.
        """
        if not isinstance(key, str):
            raise TypeError(f"a session's key must be str, not {type(key).__name__}")
        sealing.jsonable(key, f'the session key {key!r}')
        sealing.jsonable(val, f'the session value {key!r}')
        if self._change():
            self._space.values[key] = val

    __setitem__ = set

    def remove(self, key: str) -> None:
        """Remove a value; an absent one is no error and no change."""
        if key in self._space.values and self._change():
            del self._space.values[key]

    __delitem__ = remove

    def clear(self) -> None:
        """Remove all values; the session goes on, empty."""
        space = self._space
        if space.values and self._change():
            space.values = {}
            space.source = self._was.request.get_real_ip()

    def _change(self) -> bool:
        """The session at hand will be written, with a new lease; False when it is too late."""
        space = self._space
        if not self._jar.attach(self._write, first=True):
            return False
        space.changed, space.ended = True, False
        if space.source is None:
            space.source = self._was.request.get_real_ip()
        if not space.fixed:
            space.renew(time.time())
        return True

    # -- its end (SS-05 to SS-08) ----------------------------------------------------------------

    def touch(self) -> None:
        """Extend by the session's timeout, from now; the end never comes nearer by that."""
        space = self._space
        if self._change():
            space.fixed = False
            space.renew(time.time())

    def set_expiry(self, timeout: int) -> None:
        """End `timeout` seconds from now, 0 or less: at once. A change extends it no sooner than it has to:
        when its own timeout would end later. In this request the end stays as it is set here."""
        if timeout <= 0:
            self.expire()
        elif self._change():
            space = self._space
            space.expiry, space.lease, space.fixed = int(time.time() + timeout), int(timeout), True

    def expire(self) -> None:
        """Forget all values, and have the client delete the cookie."""
        space = self._space
        if self._change():
            space.values, space.expiry, space.source = {}, None, None
            space.fixed, space.ended = False, True

    def get_expiry(self) -> int | None:
        """When it ends, in epoch seconds; None for one that has no end yet: nothing was ever set."""
        return self._space.expiry

    def use_time(self) -> int:
        """Seconds since the present lease began; 0 for a session without an end."""
        space = self._space
        if space.expiry is None:
            return 0
        return max(0, int(space.lease - space.remaining(time.time())))

    def impending(self) -> bool:
        """Whether a fifth of the lease or less is left, or 10 seconds; False for a session without an end."""
        return self._space.impending(time.time())

    # -- whose it is (SS-10) ---------------------------------------------------------------------

    def source_verified(self) -> bool:
        """Whether it was begun from the address that asks now; False for a session that was never begun."""
        source = self._space.source
        return source is not None and source == self._was.request.get_real_ip()

    def getv(self, key: str, default: Any = None) -> Any:
        """A value, if the source is verified."""
        return self.get(key, default) if self.source_verified() else default

    # -- named sessions (SS-11) ------------------------------------------------------------------

    def mount(
        self,
        name: str | None = None,
        session_timeout: int | None = None,
        securekey: sealing.SecureKey = None,
        path: str | None = None,
        domain: str | None = None,
        secure: bool = False,
        http_only: bool = True,
        extend: bool = True,
    ) -> None:
        """Go on with the session `name` (in any case of letters), without a name with the default one.

        Changes of the one before are kept and written with the answer. `session_timeout` in seconds and
        `securekey`: the app's by default. `path`: '/'. `extend`: whether reading extends a session that is
        about to end. A session mounted again with no options keeps those that it has; with other ones, it is
        written with them. AssertionError for the default session at another path; ValueError for a timeout
        that is not positive, or an invalid path or domain.
        """
        if name is not None and not isinstance(name, str):
            raise TypeError(f"a session's name must be str, not {type(name).__name__}")
        if not name and path not in (None, '/'):
            raise AssertionError(f"the default session is at '/', not at {path!r}: give this one a name")
        cookie = PREFIX + (name or '').upper()
        options = self._options(session_timeout, securekey, path, domain, secure, http_only, extend)
        given = (session_timeout, securekey, path, domain, secure, http_only, extend)
        known = self._opened.get(cookie)
        if known is None:
            self._current = self._open(cookie, options)
        elif given == (None, None, None, None, False, True, True) or known.options == options:
            self._current = known
        else:
            self._mount_anew(known, options)

    def _mount_anew(self, known: _Space, options: _Options) -> None:
        """Other options for a session that is open."""
        if known.changed or known.options.keys == options.keys:
            known.options = options
            self._current = known
        else:
            self._current = self._open(known.cookie, options)
        if self._current.expiry is not None:
            self._change()

    def exists(self, name: str | None = None, securekey: sealing.SecureKey = None) -> bool:
        """Whether the client has a session of that name that has not expired.

        `securekey`: where it is not the app's, and the session was not mounted in this request.
        """
        cookie = PREFIX + (name or '').upper()
        known = self._opened.get(cookie)
        if known is not None:
            return known.expiry is not None
        return self._read(cookie, sealing.keys_of(securekey or self._was.app.securekey)) is not None

    def _options(
        self,
        session_timeout: int | None = None,
        securekey: sealing.SecureKey = None,
        path: str | None = None,
        domain: str | None = None,
        secure: bool = False,
        http_only: bool = True,
        extend: bool = True,
    ) -> _Options:
        app = self._was.app
        timeout = app.session_timeout if session_timeout is None else session_timeout
        timeout = DEFAULT_TIMEOUT if timeout is None else int(timeout)
        if timeout <= 0:
            raise ValueError(f"a session's timeout is positive, not {timeout}")
        keys = sealing.keys_of(app.securekey if securekey is None else securekey)
        attributes = Attributes.checked('/' if path is None else path, domain, secure, http_only, 'Lax')
        return _Options(keys, timeout, attributes, extend)

    # -- from the client, to the client ----------------------------------------------------------

    def _read(self, cookie: str, keys: sealing.Keys) -> _Payload | None:
        """What the client has sent, if it is ours and has not expired."""
        text = self._jar.get(cookie)
        payload = sealing.unseal(text, keys, PURPOSE, cookie, _Payload) if text else None
        return payload if payload is not None and payload.expiry > time.time() else None

    def _open(self, cookie: str, options: _Options) -> _Space:
        space = _Space(cookie, options, cookie in self._jar, self._read(cookie, options.keys))
        self._opened[cookie] = space
        if options.extend and space.impending(time.time()):
            self._jar.attach(self._write, first=True, quiet=True)  # extended if the request succeeds (SS-04)
        return space

    def _write(self) -> None:
        now = time.time()
        for space in self._opened.values():
            if space.ended:
                self._jar.put(space.cookie, '', int(now), space.options.attributes)
            elif space.changed:
                if space.values or space.sent or space.fixed:
                    self._seal(space, now)
            elif (
                space.options.extend and space.impending(now) and not self._jar.changed(space.cookie)
            ):  # not if the service has deleted the cookie by hand
                self._seal(space, now)

    def _seal(self, space: _Space, now: float) -> None:
        if not space.fixed:
            space.renew(now)
        values = {
            key: sealing.jsonable(value, f'the session value {key!r}') for key, value in space.values.items()
        }
        until = space.expiry or 0
        payload = _Payload(until, space.lease, space.source or '', values)
        text = sealing.seal(payload, space.options.keys, PURPOSE, space.cookie)
        self._jar.put(space.cookie, text, until, space.options.attributes)
