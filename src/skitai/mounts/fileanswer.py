"""A file as an answer: validators, conditions, ranges, and its bytes at the client's pace.

Shared by mounted directories and by `atila` (`was.File`, `was.Static`): SPEC RS-16, RS-18, RFC 9110.
Belongs here: everything from an open file to the exchange. Doesn't: which file a URL names (`static`).

A file is opened once and everything is said of what was opened. Whoever makes a `FileAnswer` or calls
`send_file` hands the file over: it is closed when it is sent, refused, or the client is gone.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import time
from collections.abc import Iterable
from typing import Any, BinaryIO, Protocol
from urllib.parse import quote

from ..errorpage import error_answer
from ..exchange import Exchange, RawHeaders
from ..headers import SERVER, encode_value
from .conditional import freshness, http_date, outcome, range_applies
from .mediatypes import media_type_of
from .ranges import Span, UnsatisfiableRange, parse_range

#: Up to so many bytes are sent in one piece; more are streamed in pieces of CHUNK.
SMALL = 64 * 1024
CHUNK = 256 * 1024

#: NONBLOCK: should a FIFO take the file's place between `stat` and `open`, opening it must not hang.
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
#: What `open` fails with where there is simply no such file.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.ENXIO})

#: Fields that describe what is sent: ours, whatever the caller gives.
_OURS = frozenset(
    {b'content-length', b'content-range', b'content-encoding', b'accept-ranges', b'transfer-encoding'}
)
_CONTROLS = re.compile(r'[\x00-\x1f\x7f]')


class Source(Protocol):
    """What can be sent: `size` bytes, its validators where it has any.

    `quick`: reading never waits for long, so that any of the engine's threads may do it.
    """

    size: int
    etag: bytes | None
    modified: int | None
    quick: bool

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` on; b'' at the end."""
        ...

    def close(self) -> None: ...


class OpenFile:
    """A regular file, opened: a `Source`. `etag` is strong, of the size and the time of the last change."""

    __slots__ = ('_descriptor', 'changed_ns', 'etag', 'modified', 'size')

    quick = True

    def __init__(self, path: str) -> None:
        """FileNotFoundError where no regular file is at `path` (what is none is not even opened).

        PermissionError where it may not be read.
        """
        self._descriptor = -1
        try:
            status = os.stat(path)
            if stat.S_ISREG(status.st_mode):
                self._descriptor = os.open(path, _OPEN_FLAGS)
                status = os.fstat(self._descriptor)
        except ValueError:  # a NUL, or text the file system cannot name
            raise FileNotFoundError(errno.ENOENT, 'no such file', path) from None
        except OSError as error:
            if error.errno in _ABSENT:
                raise FileNotFoundError(errno.ENOENT, 'no such file', path) from None
            raise
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise FileNotFoundError(errno.ENOENT, 'not a regular file', path)
        self.size = status.st_size
        self.changed_ns = status.st_mtime_ns
        self.etag: bytes | None = b'"%x-%x"' % (status.st_size, status.st_mtime_ns)
        # Never later than the answer's Date (RFC 9110, 8.8.2.1).
        self.modified: int | None = min(status.st_mtime_ns // 1_000_000_000, int(time.time()))

    def is_below(self, root: str, path: str) -> bool:
        """Whether the file really is in the directory `root` (a real path), whatever links led to it.

        `path`: the name it was opened by. Asked of the open file, not of the name, so that nothing can
        be exchanged between the look and the opening.
        """
        try:
            real = os.readlink(f'/proc/self/fd/{self._descriptor}')
        except OSError:  # no /proc: then the name that is free of links must be that of this very file
            real = os.path.realpath(path)
            try:
                if not os.path.samestat(os.lstat(real), os.fstat(self._descriptor)):
                    return False
            except OSError:
                return False
        return real.startswith(root if root.endswith('/') else root + '/')

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, offset)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()  # an answer that was never asked for


class FileObject:
    """A `Source` of any seekable binary file object, from its beginning. It has no validators."""

    __slots__ = ('_file', 'size')

    etag: bytes | None = None
    modified: int | None = None
    #: Who knows what is behind it: read on service threads only.
    quick = False

    def __init__(self, file: BinaryIO) -> None:
        """TypeError for a text file; io.UnsupportedOperation (an OSError) where it cannot seek."""
        if isinstance(file, io.TextIOBase):
            raise TypeError('a file to send must be opened in binary mode')
        self._file = file
        self.size = file.seek(0, os.SEEK_END)

    def read_at(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length)

    def close(self) -> None:
        self._file.close()


class _Chunks:
    """The bytes of a span, read when they are asked for; EOFError where the file has become shorter.

    Closes its source at the end. An object rather than a generator, whose `close` before the first
    `next` would close nothing.
    """

    __slots__ = ('_left', '_offset', '_source')

    def __init__(self, source: Source, span: Span) -> None:
        self._source = source
        self._offset, self._left = span

    def __iter__(self) -> _Chunks:
        return self

    def __next__(self) -> bytes:
        if not self._left:
            self.close()
            raise StopIteration
        try:
            chunk = self._source.read_at(self._offset, min(self._left, CHUNK))
            if not chunk:
                raise EOFError(f'the file ends {self._left} bytes short of what was promised')
        except BaseException:
            self.close()
            raise
        self._offset += len(chunk)
        self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        self._source.close()


class FileAnswer:
    """An open file and how it is described: a `Handler` for one request, or sent with `send`.

    `encoding`: the content coding that the bytes are in; `varies`: there are others of it, chosen by
    Accept-Encoding. `max_age`: seconds that a cache may keep it. `disposition`: Content-Disposition.
    """

    __slots__ = ('content_type', 'disposition', 'encoding', 'max_age', 'source', 'varies')

    #: Found and opened where the request arrived, and never slow: so it is sent there, too.
    on_loop = True
    body_limit: int | None = None

    def __init__(
        self,
        source: Source,
        content_type: bytes,
        *,
        encoding: bytes | None = None,
        varies: bool = False,
        max_age: int | None = None,
        disposition: bytes | None = None,
    ) -> None:
        self.source = source
        self.content_type = content_type
        self.encoding = encoding
        self.varies = varies
        self.max_age = max_age
        self.disposition = disposition

    def __call__(self, exchange: Exchange) -> None:
        self.send(exchange)

    def send(
        self, exchange: Exchange, headers: Iterable[tuple[bytes, bytes]] = (), status: int = 200
    ) -> None:
        """Answer with 200, 206, 304, 412 or 416, or with another `status` and the whole file.

        `headers` (checked, lower-case names) are sent too; one of them replaces ours of that name, an
        `etag` also as the validator. HEAD gets the fields of the whole file. EOFError where a small file
        shrinks while it is read: nothing has been answered then.
        """
        streams = False
        try:
            streams = self._send(exchange, [field for field in headers if field[0] not in _OURS], status)
        finally:
            if not streams:
                self.source.close()

    def _send(self, exchange: Exchange, given: RawHeaders, status: int) -> bool:
        """True when a stream has taken the file over."""
        span = None
        if status == 200 and exchange.method in ('GET', 'HEAD'):
            etag = dict(given).get(b'etag', self.source.etag)
            condition = outcome(exchange.method, exchange.header, etag, self.source.modified)
            if condition == 304:
                fields = self._description(exchange)
                exchange.respond(304, _without_content(_merged(fields, given)), b'')
                return False
            if condition == 412:
                _refuse(exchange, 412, given)
                return False
            try:
                span = self._span(exchange, etag)
            except UnsatisfiableRange:
                extent = (b'content-range', b'bytes */%d' % self.source.size)
                _refuse(exchange, 416, [*given, extent])
                return False
        return self._send_content(exchange, given, status, span)

    def _send_content(self, exchange: Exchange, given: RawHeaders, status: int, part: Span | None) -> bool:
        source = self.source
        span = part or Span(0, source.size)
        fields = self._description(exchange)
        fields.append((b'content-length', b'%d' % span.length))
        if part is not None:
            status = 206
            extent = (span.start, span.start + span.length - 1, source.size)
            fields.append((b'content-range', b'bytes %d-%d/%d' % extent))
        if given:
            fields = _merged(fields, given)
        if exchange.method == 'HEAD':
            exchange.respond(status, fields, b'')
        elif span.length <= SMALL and source.quick:
            exchange.respond(status, fields, b''.join(_Chunks(source, span)))
        else:
            exchange.stream(status, fields, _Chunks(source, span), quick=source.quick)
            return True
        return False

    def _description(self, exchange: Exchange) -> RawHeaders:
        """Every field but those of the length."""
        source = self.source
        fields = [SERVER, (b'content-type', self.content_type), (b'accept-ranges', b'bytes')]
        if source.etag is not None:
            fields.append((b'etag', source.etag))
        if source.modified is not None:
            fields.append((b'last-modified', http_date(source.modified)))
        if self.encoding is not None:
            fields.append((b'content-encoding', self.encoding))
        if self.varies:
            fields.append((b'vary', b'Accept-Encoding'))
        if self.max_age is not None:
            fields.extend(freshness(self.max_age, exchange.http_version))
        if self.disposition is not None:
            fields.append((b'content-disposition', self.disposition))
        return fields

    def _span(self, exchange: Exchange, etag: bytes | None) -> Span | None:
        """The part that is asked for. Only GET has parts (RFC 9110, 14.2)."""
        value = exchange.header(b'range') if exchange.method == 'GET' else None
        if value is None or not range_applies(exchange.header, etag, self.source.modified):
            return None
        return parse_range(value, self.source.size)


def send_file(
    exchange: Exchange,
    file: str | os.PathLike[str] | BinaryIO,
    *,
    headers: Iterable[tuple[bytes, bytes]] = (),
    status: int = 200,
    **description: Any,
) -> None:
    """Answer with a file: `open_answer` (with its `description`), then `FileAnswer.send`."""
    open_answer(file, **description).send(exchange, headers, status)


def open_answer(
    file: str | os.PathLike[str] | BinaryIO,
    *,
    content_type: str | None = None,
    filename: str | None = None,
    max_age: int | None = None,
) -> FileAnswer:
    """A file to answer with: a path, or an open binary file, which is sent from its beginning and closed.

    `content_type`: by the path's extension where it is None; `filename`: offered to be saved under that
    name (SPEC RS-18). FileNotFoundError where the path names no regular file, PermissionError where it may
    not be read, ValueError for text that cannot be a header's value.
    """
    disposition = attachment(filename) if filename else None
    media = None if content_type is None else encode_value(content_type)
    source: Source
    if isinstance(file, (str, os.PathLike)):
        path = os.fspath(file)
        source = OpenFile(path)
        media = media or media_type_of(path)
    else:
        source = FileObject(file)
        media = media or media_type_of(filename or '')
    return FileAnswer(source, media, max_age=max_age, disposition=disposition)


def attachment(filename: str) -> bytes:
    """A Content-Disposition that saves an answer as `filename` (RFC 6266).

    A name beyond ASCII goes in `filename*` (RFC 8187), with a plain one for those that cannot read it.
    """
    name = _CONTROLS.sub('', filename)
    plain = name.encode('ascii', 'replace').replace(b'?', b'_') if not name.isascii() else name.encode()
    value = b'attachment; filename="%s"' % plain.replace(b'\\', b'\\\\').replace(b'"', b'\\"')
    if not name.isascii():
        value += b"; filename*=UTF-8''" + quote(name, safe='!#$&+-.^_`|~', errors='replace').encode()
    return value


def _merged(ours: RawHeaders, given: RawHeaders) -> RawHeaders:
    """Both; a given field replaces ours, but Vary, of which there may be several."""
    names = {name for name, _ in given} - {b'vary'}
    return [field for field in ours if field[0] not in names] + given


def _without_content(fields: RawHeaders) -> RawHeaders:
    """The fields of a 304: those of the content are left out (RFC 9110, 15.4.5)."""
    return [field for field in fields if not field[0].startswith((b'content-', b'accept-ranges'))]


def _refuse(exchange: Exchange, status: int, given: RawHeaders) -> None:
    """An error page that keeps the given fields (those of CORS, a cookie), but not the content's."""
    headers, body = error_answer(exchange, status)
    extra = [field for field in given if field[0] not in (b'content-type', b'content-disposition', b'etag')]
    exchange.respond(status, _merged(headers, extra), b'' if exchange.method == 'HEAD' else body)
