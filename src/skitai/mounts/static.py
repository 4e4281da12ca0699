"""A mounted directory: which file a URL names, and that it is one we may show.

Rules (SPEC ST-03, ST-15, RS-16). A path names the file of that name below the root; a directory names
its `index.htm` or `index.html`, and is redirected to its name with a slash first. Anything else is not
ours, and the app is asked. Never shown: what is outside the root, also by a symbolic link; what has a
name that begins with a dot (but `/.well-known/`, RFC 8615); what is no regular file. A separator that
was sent encoded is no separator. `x.css.br` and `x.css.gz` are `x.css`, compressed beforehand.

Nothing is remembered of files: each request looks, so that a change shows at once. A miss costs one
system call, or one for each index name where the path ends with a slash.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ..exchange import Exchange, Handler
from ..headers import SERVER
from .encodings import choose_coding
from .fileanswer import FileAnswer, OpenFile
from .mediatypes import media_type_of
from .table import FORBIDDEN, slash_appended

INDEX_NAMES = ('index.htm', 'index.html')
#: Suffixes of siblings that hold a file's content compressed, the best first, and their codings.
SIBLINGS = (('.br', b'br'), ('.gz', b'gzip'))
#: A sibling older than its file by more is out of date. Archives and some file systems round times.
STALE_NS = 2_000_000_000

_ENCODED_SEPARATOR = re.compile(rb'%(?:2f|5c|00)', re.IGNORECASE)
_WELL_KNOWN = '/.well-known/'


class _ToIndex:
    """301 to the same address with a slash behind the path, query kept (SPEC ST-15)."""

    on_loop = True
    body_limit: int | None = None

    def __call__(self, exchange: Exchange) -> None:
        fields = [SERVER, (b'location', slash_appended(exchange)), (b'content-length', b'0')]
        exchange.respond(301, fields, b'')


_TO_INDEX = _ToIndex()


class Directory:
    """The files below `root`: the `Files` of the mount table.

    `root` is taken as it is now: links in its own path are followed once, here. It need not exist yet.
    `max_age`: seconds that caches may keep any file, or a mapping from the beginning of a URL path to
    seconds, of which the longest applies (SPEC B.9); it is read at each request.
    """

    def __init__(self, root: str | Path, *, max_age: Mapping[str, int] | int | None = None) -> None:
        self.root = os.path.realpath(root)
        self._base = self.root.rstrip('/')
        self._max_age = max_age

    def find_file(self, exchange: Exchange, path: str) -> Handler | None:
        """See `Files.find_file`. The file is open when this returns; a file we may not read gives 403."""
        raw = exchange.raw_path
        if (b'%' in raw and _ENCODED_SEPARATOR.search(raw)) or not _may_be_shown(path):
            return None
        accept_encoding, url = exchange.header(b'accept-encoding'), exchange.path
        try:
            if path.endswith('/'):
                return self._index(path, accept_encoding, url)
            if not _exists(self._base + path):
                return None
            found = self._file(self._base + path, accept_encoding, url)
            if found is None and (index := self._index(path + '/', None, url)) is not None:
                index.source.close()
                return _TO_INDEX
            return found
        except PermissionError:
            return FORBIDDEN

    def answer(self, path: str, accept_encoding: bytes | None, url: str) -> FileAnswer | None:
        """See `Files.answer`; `path` may come from anywhere."""
        if not _may_be_shown(path):
            return None
        if path.endswith('/'):
            return self._index(path, accept_encoding, url)
        full = self._base + path
        return self._file(full, accept_encoding, url) if _exists(full) else None

    def _index(self, path: str, accept_encoding: bytes | None, url: str) -> FileAnswer | None:
        for name in INDEX_NAMES:
            full = self._base + path + name
            if _exists(full) and (found := self._file(full, accept_encoding, url)) is not None:
                return found
        return None

    def _file(self, full: str, accept_encoding: bytes | None, url: str) -> FileAnswer | None:
        file = self._open(full)
        return None if file is None else self._described(file, full, accept_encoding, url)

    def _described(self, file: OpenFile, path: str, accept_encoding: bytes | None, url: str) -> FileAnswer:
        """`file`, or the compressed sibling of it that the client prefers."""
        media, max_age = media_type_of(path), self._max_age_of(url)
        siblings = {coding: path + suffix for suffix, coding in SIBLINGS if _exists(path + suffix)}
        offered = tuple(siblings)
        while (coding := choose_coding(accept_encoding, offered)) is not None:
            sibling = self._open_sibling(siblings[coding], file)
            if sibling is not None:
                file.close()
                return FileAnswer(sibling, media, encoding=coding, varies=True, max_age=max_age)
            offered = tuple(other for other in offered if other != coding)
        return FileAnswer(file, media, varies=bool(siblings), max_age=max_age)

    def _open_sibling(self, path: str, original: OpenFile) -> OpenFile | None:
        try:
            sibling = self._open(path)
        except PermissionError:
            return None
        if sibling is not None:
            if sibling.changed_ns + STALE_NS < original.changed_ns:
                sibling.close()
                return None
            # Two codings may have one size and one time; their tags must differ (RFC 9110, 8.8.3.3).
            assert sibling.etag is not None
            sibling.etag = sibling.etag[:-1] + b'-' + path[-2:].encode() + b'"'
        return sibling

    def _open(self, path: str) -> OpenFile | None:
        """The file of that name; None where there is none, or it is outside the root."""
        try:
            file = OpenFile(path)
        except FileNotFoundError:
            return None
        if file.is_below(self.root, path):
            return file
        file.close()
        return None

    def _max_age_of(self, url: str) -> int | None:
        ages = self._max_age
        if ages is None or isinstance(ages, int):
            return ages
        prefix = max((prefix for prefix in ages if url.startswith(prefix)), key=len, default=None)
        return None if prefix is None else ages[prefix]


def _may_be_shown(path: str) -> bool:
    """Whether no segment of `path` leads elsewhere or is hidden."""
    if '/.' in path and (not path.startswith(_WELL_KNOWN) or '/.' in path[1:]):
        return False
    return '//' not in path and '\\' not in path and '\0' not in path and path[:1] in ('/', '')


def _exists(path: str) -> bool:
    """Whether there is something of that name: cheaper than `stat` where there is mostly nothing."""
    try:
        return os.access(path, os.F_OK)
    except ValueError:  # text that the file system cannot name
        return False
