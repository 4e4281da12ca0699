"""An answer that is all there, and what it means (SPEC TK-10): its data by its content type.

Text in whatever charset it says, or UTF-8; JSON as its value; any other type as bytes. No body is '' for a
text, else None.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, NamedTuple

from .. import jsons
from ..errors import BadAnswer, BadStatus
from ..keeping import KeptResult
from .payload import JSON, media_of

_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s";]+)', re.IGNORECASE)
#: Types that are text, besides text/*.
_TEXTS = frozenset(
    {'application/xml', 'application/javascript', 'application/x-www-form-urlencoded', 'application/yaml'}
)


class Received(NamedTuple):
    """`headers`: names as the server wrote them. `url`: whose answer it is, after redirects."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    url: str

    @property
    def content_type(self) -> str:
        return next((value for name, value in self.headers if name.lower() == 'content-type'), '')


class Answer(KeptResult):
    """What a server answered. `url`: where from, after redirects; without user and password.

    With 300 or more `fetch ()` raises BadStatus; `data`, `text`, `content`, `headers` are there nevertheless.
    """

    __slots__ = ('_kept', 'url')

    def __init__(
        self,
        received: Received,
        data: Any,
        error: BaseException | None = None,
        kept: Any = None,
        key: Hashable = None,
        since: float = 0.0,
    ) -> None:
        """`kept`: what is kept of it under `key`."""
        super().__init__(data, error, received.status, received.reason, key, since)
        self.headers = received.headers
        self._content = received.body
        self.url = received.url
        self._kept = kept

    @property
    def text(self) -> str:
        """The body as text, whatever its type."""
        if isinstance(self.data, str):
            return self.data
        return decoded_text(self.content, str(self.get_header('Content-Type', '')))

    def _worth(self) -> Any:
        return self._kept


class Reading:
    """How an answer is read, and kept: a plain one's bytes are kept, and read anew for each who asks.

    RPC (`rpcs`) has its own.
    """

    __slots__ = ('max_size',)

    def __init__(self, max_size: int) -> None:
        """`max_size`: bytes that an answer may have, decompressed."""
        self.max_size = max_size

    def read(self, received: Received) -> tuple[Any, BaseException | None]:
        """The data and the error, which is raised for whoever fetches it. Neither blocks nor raises."""
        error: BaseException | None = None
        data: Any = None
        try:
            data = data_of(received)
        except BadAnswer as bad:
            error = bad
        if received.status >= 300:
            # Without the query: it may have what is not for logs.
            error = BadStatus(received.status, received.reason, received.url.partition('?')[0])
            if data is None and received.body:
                data = decoded_text(received.body, received.content_type)
        return data, error

    def kept(self, received: Received, data: Any) -> Any:
        """What is put into the cache."""
        return received

    def found(self, kept: Any) -> tuple[Received, Any]:
        """Received, and the data, of what was in the cache."""
        return kept, self.read(kept)[0]


def data_of(received: Received) -> Any:
    """The body's value by its content type. BadAnswer for JSON that is none."""
    body, content_type = received.body, received.content_type
    media = media_of(content_type)
    if media == JSON or media.endswith('+json'):
        return _json(body, content_type) if body else None
    if (
        media.startswith('text/')
        or media in _TEXTS
        or media.endswith('+xml')
        or _CHARSET.search(content_type)
    ):
        return decoded_text(body, content_type)
    if not body:
        return None
    if media:
        return body
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body


def decoded_text(body: bytes, content_type: str) -> str:
    """`body` as text; what is not in its charset is replaced."""
    found = _CHARSET.search(content_type)
    try:
        return body.decode(found[1] if found else 'utf-8', 'replace')
    except (LookupError, ValueError):  # no charset that Python knows; one that is no text (base64)
        return body.decode('utf-8', 'replace')


def _json(body: bytes, content_type: str) -> Any:
    found = _CHARSET.search(content_type)
    if found and found[1].lower() not in ('utf-8', 'utf8', 'us-ascii'):
        body = decoded_text(body, content_type).encode('utf-8', 'replace')
    return jsons.parsed(body.removeprefix(b'\xef\xbb\xbf'))  # some servers put a byte order mark there
