"""Cookies: those the client sent, and those to be set (SPEC chapter 16; RFC 6265).

Parsing never fails: a client may send what it likes. What is set is checked when it is set, so that no cookie
splits or breaks an answer; its name and value are URL-quoted, so any text may be a name or a value.

The jar is also how the session and the message box reach the client: they `attach` a writer to it, which the
commit calls first (SPEC RC-07). It is the request's own, touched by the thread or coroutine that serves it.
"""

from __future__ import annotations

import datetime
import functools
import logging
import math
import re
import time
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, unquote_plus

if TYPE_CHECKING:
    from ..was import Was

log = logging.getLogger('atila')

#: Most bytes of a Set-Cookie field's value: browsers drop larger ones without a word.
MAX_COOKIE = 4093
#: 'never' in seconds.
CENTURY = 36525 * 86400

#: When a cookie ends: seconds from now, 'now', 'never', a moment (a naive one is UTC), None with the browser.
Expires = float | str | datetime.datetime | None

_CONTROLS = re.compile(r'[\x00-\x1f\x7f]')
_DOMAIN = re.compile(r'[A-Za-z0-9.-]+', re.ASCII)
_SAME_SITE = {'strict': 'Strict', 'lax': 'Lax', 'none': 'None'}
#: Browsers vouch for how cookies of such names were set (RFC 6265bis, 4.1.3).
_PREFIXES = ('__host-', '__secure-')
#: Cookies of our own, at '/' wherever the app is mounted.
_OWN = ('ATLSES_', 'ATLMBX_')


def parse(header: bytes | None) -> dict[str, str]:
    """The cookies of a Cookie field, URL-unquoted; of a repeated name the first. Never fails."""
    found: dict[str, str] = {}
    if not header:
        return found
    for item in header.decode('utf-8', 'replace').split(';'):
        sent, equals, value = item.partition('=')
        sent, value = sent.strip(' \t\r\n'), value.strip(' \t\r\n')
        if not equals or not sent:
            continue
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        name = unquote_plus(sent)
        if name.lower().startswith(_PREFIXES) and not sent.lower().startswith(_PREFIXES):
            continue  # `%5F_Host-x`: anybody may set that name, the browser sees nothing special in it
        found.setdefault(name, unquote_plus(value))
    return found


@dataclass(frozen=True, slots=True)
class Attributes:
    """A cookie's attributes but for its end, checked and ready to send."""

    path: str
    rest: str

    @staticmethod
    @functools.lru_cache(256)
    def checked(
        path: str, domain: str | None, secure: bool, http_only: bool, same_site: str | None
    ) -> Attributes:
        """ValueError for what would not be a valid attribute, or would break the field."""
        if not path.startswith('/') or _CONTROLS.search(path):
            raise ValueError(f"a cookie's path starts with '/' and has no control characters, not {path!r}")
        rest = ''
        if domain is not None:
            if not _DOMAIN.fullmatch(domain):
                raise ValueError(f"a cookie's domain is a host name without a port, not {domain!r}")
            rest += f'; domain={domain}'
        site = None
        if same_site is not None:
            site = _SAME_SITE.get(same_site.lower())
            if site is None:
                raise ValueError(f"same_site is 'Strict', 'Lax', 'None' or None, not {same_site!r}")
        if secure or site == 'None':  # browsers refuse the one without the other
            rest += '; Secure'
        if http_only:
            rest += '; HttpOnly'
        if site is not None:
            rest += f'; SameSite={site}'
        return Attributes(quote(path, safe="/~!$&'()*+,=:@%"), rest)

    def render(self, name: str, value: str, until: float | None) -> bytes:
        """The value of a Set-Cookie field. `until`: epoch seconds, None for the browser's session."""
        end = '' if until is None else f'; expires={formatdate(math.ceil(until), usegmt=True)}'
        return f'{quote_plus(name)}={quote_plus(value)}; path={self.path}{end}{self.rest}'.encode('ascii')


def _seconds(expires: float | str | datetime.datetime, now: float) -> float:
    """Seconds from now; ValueError or TypeError for what says nothing about time."""
    if isinstance(expires, str):
        if expires not in ('now', 'never'):
            raise ValueError(f"expires is seconds from now, 'now' or 'never', not {expires!r}")
        return 0 if expires == 'now' else CENTURY
    if isinstance(expires, datetime.datetime):
        zoned = expires if expires.tzinfo is not None else expires.replace(tzinfo=datetime.UTC)
        expires = zoned.timestamp() - now
    if math.isnan(expires):
        raise ValueError('expires is not a number of seconds')
    return max(0, min(expires, CENTURY))


class Cookies:
    """`was.cookie`: dict-like; a missing name is None. Cookies are attributes, too, to be read in templates.

    What is set in this request is seen by later reads; the client gets it with a successful answer (CK-03).
    After an answer has begun, a change is ignored and a warning logged, once.
    """

    __slots__ = ('_changes', '_committed', '_values', '_warned', '_was', '_writers')

    def __init__(self, was: Was) -> None:
        self._was = was
        self._values = parse(was.exchange.header(b'cookie'))
        self._changes: dict[str, bytes] = {}
        self._writers: list[Callable[[], None]] = []
        self._committed = self._warned = False

    def __repr__(self) -> str:
        return f'<Cookies {", ".join(self._values)}>'  # no values: they may be secrets

    # -- reading (CK-01, TE-03) ------------------------------------------------------------------

    def __getitem__(self, key: str) -> str | None:
        return self._values.get(key)

    def __getattr__(self, name: str) -> str | None:
        if name.startswith('_'):  # Python's and the template engine's own questions
            raise AttributeError(name)
        return self._values.get(name)

    def get(self, key: str, default: Any = None) -> Any:
        return self._values.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    has_key = __contains__

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def keys(self) -> KeysView[str]:
        return self._values.keys()

    def values(self) -> ValuesView[str]:
        return self._values.values()

    def items(self) -> ItemsView[str, str]:
        return self._values.items()

    # -- changing (CK-01, CK-02) -----------------------------------------------------------------

    def set(
        self,
        key: str,
        val: str | float,
        expires: Expires = None,
        path: str | None = None,
        domain: str | None = None,
        secure: bool = False,
        http_only: bool = True,
        same_site: str | None = 'Lax',
    ) -> None:
        """Set a cookie (SPEC CK-02).

        `expires`: seconds from now; None keeps it until the browser is closed, 0 or 'now' deletes it, 'never'
        is a hundred years; a datetime is a moment (naive: UTC). `path`: by default the app's mount point.
        `http_only = False` lets scripts read it. `same_site`: 'Strict', 'Lax', 'None' (which makes it Secure)
        or None, which leaves it to the browser.

        TypeError for a key that is no str, or a value that is neither str nor number; ValueError for an empty
        key, or an attribute that is none.
        """
        if not isinstance(key, str):
            raise TypeError(f"a cookie's name must be str, not {type(key).__name__}")
        if not key:
            raise ValueError("a cookie's name must not be empty")
        if not isinstance(val, str | int | float):
            raise TypeError(f'the cookie {key!r} must be str or a number, not {type(val).__name__}')
        now = time.time()
        left = None if expires is None else _seconds(expires, now)
        text = '' if left == 0 else str(val)
        path = self._was.app.point if path is None else path
        attributes = Attributes.checked(path, domain, secure, http_only, same_site)
        field = attributes.render(key, text, None if left is None else int(now) + left)
        if not self.attach():
            return
        self._changes[key] = field
        if left == 0:
            self._values.pop(key, None)
        else:
            self._values[key] = text

    def __setitem__(self, key: str, val: str | float) -> None:
        self.set(key, val)

    def remove(self, key: str, path: str | None = None, domain: str | None = None) -> None:
        """Delete a cookie; path and domain must be those that it was set with. Absent: no error."""
        self.set(key, '', 0, path, domain)

    def __delitem__(self, key: str) -> None:
        self.remove(key)

    def clear(self) -> None:
        """Delete all cookies: those set at this app's mount point, and sessions and messages at '/'.

        A session or message box that is changed in this request is written nevertheless.
        """
        for name in list(self._values):
            self.remove(name, '/' if name.startswith(_OWN) else None)

    # -- for the session and the message box -----------------------------------------------------

    def attach(
        self, writer: Callable[[], None] | None = None, first: bool = False, quiet: bool = False
    ) -> bool:
        """Have this jar committed with the answer, `writer` called before it; False when it is too late.

        `first`: before other writers. `quiet`: without the warning.
        """
        was = self._was
        sent = was.exchange.answered or (was._response is not None and was._response.committed)
        if self._committed or sent or was.request.cookie is not self:
            if not (quiet or self._warned):
                self._warned = True
                log.warning(
                    '%s %s: a cookie, the session or the message box was changed after the answer had begun; '
                    'the client does not learn of it',
                    was.exchange.method,
                    was.exchange.path,
                )
            return False
        if writer is not None and writer not in self._writers:
            self._writers.insert(0 if first else len(self._writers), writer)
        was.response.jar = self
        return True

    def changed(self, name: str) -> bool:
        """Whether the cookie is set or removed in this request."""
        return name in self._changes

    def put(self, name: str, value: str, until: float | None, attributes: Attributes) -> None:
        """What a writer writes. `until`: epoch seconds, None for the browser's session."""
        self._changes[name] = attributes.render(name, value, until)

    # -- for the core ----------------------------------------------------------------------------

    def commit(self) -> list[tuple[bytes, bytes]]:
        """The Set-Cookie fields, one for a name (CK-03); later changes are ignored.

        ValueError for a cookie too large for browsers: the request fails, nothing is cut off (SS-01).
        """
        for write in self._writers:
            write()
        self._committed = True
        for name, value in self._changes.items():
            if len(value) > MAX_COOKIE:
                message = f'the cookie {name!r} has {len(value)} bytes: browsers keep {MAX_COOKIE} at most'
                log.error('%s %s: %s', self._was.exchange.method, self._was.exchange.path, message)
                raise ValueError(message + '; keep less in it, and the rest on the server')
        return [(b'set-cookie', value) for value in self._changes.values()]
