"""`was.response`: status and header fields of the answer to come (SPEC chapter 28)."""

from __future__ import annotations

import calendar
import datetime
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from skitai.headers import HOP_BY_HOP, encode, encode_name
from skitai.mounts.conditional import outcome

from .errors import HTTPError, page, parse_status

if TYPE_CHECKING:
    from .state.cookie import Cookies
    from .was import Was

HeadersLike = Mapping[str, Any] | Iterable[tuple[str, Any]] | None


class Response:
    """Names are case-insensitive. CR, LF and other control characters in a value are a ValueError."""

    __slots__ = ('committed', 'ending', 'fields', 'jar', 'reason', 'standing', 'status_code', 'was')

    def __init__(self, was: Was) -> None:
        self.was = was
        self.status_code = 200
        self.reason = 'OK'
        #: Encoded and checked, in order.
        self.fields: list[tuple[bytes, bytes]] = []
        #: The fields are taken: what changes now is too late.
        self.committed = False
        #: Cookies to be set, if this answer is the one that is sent.
        self.jar: Cookies | None = None
        #: Gives the fields that go with every answer to this request, errors too (CORS, security headers).
        self.standing: Callable[[Was], list[tuple[bytes, bytes]]] | None = None
        #: What waits for the request's end (`cycle.Cycle.teardown`).
        self.ending: Callable[[Was], None] | None = None

    def __call__(
        self, status: str = '200 OK', body: Any = None, headers: HeadersLike = None, exc_info: Any = None
    ) -> Any:
        """Set status and add headers; returns `body`, for the service to return (SPEC RS-01).

        Without a body: a page that says the status, in the form the client accepts.
        """
        self.set_status(status)
        self.set_headers(headers)
        if body is not None:
            return body
        content_type, content = page(self.was, self.status_code, self.reason)
        self.set_header('Content-Type', content_type.decode())
        return content

    # -- status ----------------------------------------------------------------------------------

    def set_status(self, status: str) -> None:
        """'201 Created'; AssertionError for what is no status line."""
        self.status_code, self.reason = parse_status(status)

    def get_status(self) -> str:
        return f'{self.status_code} {self.reason}'

    @property
    def status(self) -> str:
        return self.get_status()

    # -- header fields ---------------------------------------------------------------------------

    def add_header(self, name: str, value: Any) -> None:
        """Add a field; one of the same name stays.

        Fields of the connection (Connection, Transfer-Encoding ...) are the engine's: they are left out.
        """
        field = encode(name, value)
        if field[0] not in HOP_BY_HOP:
            self.fields.append(field)

    def set_header(self, name: str, value: Any) -> None:
        """Replace all fields of that name by one; see `add_header`."""
        encode(name, value)  # what cannot be set changes nothing
        self.del_header(name)
        self.add_header(name, value)

    def get_header(self, name: str, default: Any = None) -> Any:
        """The value of the first field of that name, as str."""
        wanted = encode_name(name)
        for key, value in self.fields:
            if key == wanted:
                return value.decode('latin-1')
        return default

    def del_header(self, name: str) -> None:
        """Remove all fields of that name; it is no error if there are none."""
        unwanted = encode_name(name)
        self.fields = [item for item in self.fields if item[0] != unwanted]

    def set_headers(self, headers: HeadersLike) -> None:
        """Add fields from a dict or a list of pairs."""
        if headers is not None:
            items: Any = headers.items() if isinstance(headers, Mapping) else headers
            for name, value in items:
                self.add_header(name, value)

    __setitem__ = update = set_header

    def __getitem__(self, name: str) -> str:
        value: str | None = self.get_header(name)
        if value is None:
            raise KeyError(name)
        return value

    __delitem__ = del_header

    def __contains__(self, name: str) -> bool:
        return self.get_header(name) is not None

    @property
    def headers(self) -> list[tuple[str, str]]:
        """All fields, names in lower case."""
        return [(name.decode('ascii'), value.decode('latin-1')) for name, value in self.fields]

    # -- sending (for `contents`) ------------------------------------------------------------------

    def commit(self) -> list[tuple[bytes, bytes]]:
        """The header fields as they are sent, with the cookies that were changed. Called once."""
        self.committed = True
        jar, self.jar = self.jar, None
        if jar is not None:
            self.fields.extend(jar.commit())
        if self.standing is not None:
            own = {name for name, _ in self.fields} - {b'vary'}
            self.fields.extend(field for field in self.standing(self.was) if field[0] not in own)
        return self.fields

    def end(self) -> None:
        """Tell who waits for the request's end, once."""
        ending, self.ending = self.ending, None
        if ending is not None:
            ending(self.was)

    # -- caching (RFC 9110 chapter 13, RFC 9111) --------------------------------------------------

    def set_etag(self, identifier: Any, max_age: int = 0, as_etag: bool = False) -> None:
        """Give the content a tag made of `identifier` (its MD5, or itself with `as_etag`) (SPEC RS-08).

        If the request shows that the client has this content, the request ends here with 304; if it
        asked for another (`If-Match`), with 412. Call it before expensive work. `max_age` in seconds.
        """
        text = str(identifier)
        tag = text if as_etag else hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        self.set_header('ETag', f'"{tag}"')
        if max_age:
            self._cache_control(max_age)
        self._check_conditions()

    def set_mtime(
        self, mtime: float | datetime.datetime, length: int | None = None, max_age: int = 0
    ) -> None:
        """Say when the content last changed: epoch seconds or a datetime (naive ones are UTC) (SPEC RS-09).

        Ends the request with 304 or 412 as the request's dates ask for. `length`: its size in bytes.
        """
        if isinstance(mtime, datetime.datetime):
            zoned = mtime if mtime.tzinfo is not None else mtime.replace(tzinfo=datetime.UTC)
            seconds = int(zoned.timestamp())
        else:
            seconds = int(mtime)
        self.set_header('Last-Modified', formatdate(seconds, usegmt=True))
        if max_age:
            self.set_header('Expires', formatdate(time.time() + max_age, usegmt=True))
            self._cache_control(max_age)
        self._check_conditions(seconds)

    def set_etag_mtime(
        self, identifier: Any, mtime: float | datetime.datetime, length: int | None = None, max_age: int = 0
    ) -> None:
        """Both; the tag goes first, as RFC 9110 has it."""
        self.set_header('Last-Modified', _http_date(mtime))
        self.set_etag(identifier, max_age)
        self.set_mtime(mtime, length, max_age)

    def set_max_age(self, seconds: int) -> None:
        """Let the content be kept for so long: Expires for HTTP/1.0, else Cache-Control (SPEC RS-10)."""
        if self.was.exchange.http_version == '1.0':
            self.set_header('Expires', formatdate(time.time() + seconds, usegmt=True))
        else:
            self._cache_control(seconds)

    def _cache_control(self, seconds: int) -> None:
        self.set_header('Cache-Control', f'max-age={int(seconds)}')

    def _check_conditions(self, modified: int | None = None) -> None:
        """End the request with 304 or 412 if its conditions say so; the fields set so far go with it."""
        exchange = self.was.exchange
        etag = dict(self.fields).get(b'etag')
        status = outcome(exchange.method, exchange.header, etag, modified)
        if status != 200:
            raise HTTPError(status, headers=list(self.fields))


def _http_date(mtime: float | datetime.datetime) -> str:
    if isinstance(mtime, datetime.datetime):
        mtime = calendar.timegm(mtime.utctimetuple())
    return formatdate(int(mtime), usegmt=True)
