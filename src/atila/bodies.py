"""Request bodies, decoded: bytes in, parameters out; every fault of the sender is a 4xx (SPEC PR-07).

A form value is a str, or a list of them where the key is repeated; JSON keeps its types; a file part is
an `UploadedFile` (SPEC chapter 15).

What is malformed is a 400, what is more than the limits below allow a 413. A multipart form above 1 MB is
parsed as it arrives: its files go to disk once, and nobody keeps the bytes as they came.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterable
from encodings import normalize_encoding
from encodings.aliases import aliases
from threading import Lock
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import msgspec
from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from skitai.body import IN_MEMORY, Body
from skitai.exchange import Exchange

from .errors import BadParameter, HTTPError
from .upload import Spool, UploadedFile

log = logging.getLogger('atila')

#: Most fields of a form or query string (an attacker's way to make us build dicts).
MAX_FIELDS = 1000
#: Most bytes of a urlencoded form.
MAX_URLENCODED = 8 * 1024 * 1024
#: Most bytes of a multipart form's text fields, all together, with the names of its parts.
MAX_TEXT = 1 << 20
#: Most header lines of a part, and bytes of one.
MAX_PART_HEADERS = 8
MAX_PART_HEADER = 4096 + 128
#: RFC 2046 (5.1.1) allows 70; some clients take more.
MAX_BOUNDARY = 200

#: A file of a multipart form stays in memory up to so many bytes, while all parts have IN_MEMORY at most.
SPOOL_FROM = 64 * 1024
#: The parser gets the form in blocks of this size, however it arrives, so that what it makes of the bytes
#: depends on nothing else.
BLOCK = 64 * 1024

_MULTIPART = re.compile(rb'\s*multipart/form-data\s*(?:;|$)', re.IGNORECASE)
#: One without an end goes to the end: to look at each of its quotes for a beginning took quadratic time.
_QUOTED = re.compile(r'"(?:\\.|[^\\"])*+"?')
#: The file name as RFC 5987 encodes it: RFC 7578 (4.2) forbids it, some clients send it.
_EXTENDED_NAME = re.compile(
    r""";\s*filename\*\s*=\s*([\w.:-]+)'[^';]*'([^\s;"',]*)""", re.ASCII | re.IGNORECASE
)
#: Text is decoded in runs: escapes that stand together are of the same characters.
_RUNS = re.compile(r'[\x00-\x7f]+|[^\x00-\x7f]+')
_CHARSET = re.compile(r'charset\s*=\s*"?([A-Za-z0-9._:-]+)', re.ASCII)
_JSON_TYPE = re.compile(r'application/(?:[\w.+-]+\+)?json', re.ASCII)
_NO_CHARSETS = frozenset(('rot_13', 'mbcs', 'tactis', 'utf_7'))
#: Character sets, by the names of their codecs. A list, because a codec is looked for on disk, each miss is
#: kept for ever, and some codecs ('idna', 'punycode') take quadratic time.
_CHARSETS = {'koi8_u', 'cp874', 'utf_8_sig'} | {
    codec for codec in aliases.values() if not codec.endswith('_codec') and codec not in _NO_CHARSETS
}


def body_for(exchange: Exchange) -> Body:
    """What receives the body of `exchange`, by its Content-Type."""
    content_type = exchange.header(b'content-type')
    if content_type is not None and _MULTIPART.match(content_type):
        return FormBody(content_type.decode('latin-1'))
    return Body()


def charset_of(content_type: str) -> str:
    """The charset parameter, 'utf-8' without one; BadParameter for one that is unknown."""
    match = _CHARSET.search(content_type)
    return 'utf-8' if match is None else _known(match[1])


def _known(charset: str) -> str:
    name = normalize_encoding(charset).lower()
    if aliases.get(name, name) not in _CHARSETS:
        raise BadParameter(f'unknown charset {charset[:40]}')
    return charset


def parse(body: Body, content_type: str) -> tuple[dict[str, Any] | None, Any]:
    """(form, json): what the body holds by its Content-Type; (None, None) for any other type."""
    if isinstance(body, FormBody):
        return body.form(), None
    media = content_type.partition(';')[0].strip().lower()
    if media == 'application/x-www-form-urlencoded':
        return _urlencoded(body, charset_of(content_type)), None
    if _JSON_TYPE.fullmatch(media):
        return None, _json(body)
    return None, None


def _json(body: Body) -> Any:
    if body.size == 0:
        return None
    try:
        return msgspec.json.decode(body.read() or b'')
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadParameter(f'malformed JSON: {error}') from None


def _urlencoded(body: Body, charset: str) -> dict[str, Any]:
    if body.size > MAX_URLENCODED:
        raise HTTPError(413, f'a urlencoded form may have {MAX_URLENCODED} bytes at most')
    return parse_pairs(body.read() or b'', charset, 'form')


def parse_pairs(text: bytes, charset: str, what: str) -> dict[str, Any]:
    """`a=1&b=2` as a dict; blank values are kept as ''.

    What `urllib.parse.parse_qsl` gives, in a third of its time: every request with a query comes here.
    """
    if not text:
        return {}
    if text.count(b'&') >= MAX_FIELDS:
        raise BadParameter(f'invalid {what}')
    try:
        # Should be ASCII; some clients don't encode what isn't.
        pairs = [pair.partition('=') for pair in text.decode(charset).split('&') if pair]
        found = collect([(_decoded(name, charset), _decoded(value, charset)) for name, _, value in pairs])
    except (ValueError, UnicodeError):
        raise BadParameter(f'invalid {what}') from None
    if '' in found:
        raise BadParameter(f'invalid {what}: a parameter without a name')
    return found


def _decoded(text: str, charset: str) -> str:
    if '+' in text:
        text = text.replace('+', ' ')
    if '%' not in text:
        return text
    return unquote(text, charset, 'strict') if len(text) <= BLOCK else unquoted(text, charset)


def unquoted(text: str, charset: str, piece: int = BLOCK) -> str:
    """What `unquote` gives, strictly, a piece (3 or more) at a time: of 3 bytes it makes an object of 90."""
    found = io.StringIO()
    for run in _RUNS.finditer(text):
        if not run[0].isascii():
            found.write(run[0])
            continue
        raw = bytearray()
        start, end = run.span()
        while start < end:
            stop = min(start + piece, end)
            if stop < end:  # not within an escape
                cut = text.rfind('%', stop - 2, stop)
                stop = cut if cut > 0 else stop
            raw += unquote_to_bytes(text[start:stop])
            start = stop
        found.write(raw.decode(charset))
    return found.getvalue()


def collect(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A dict of the pairs; a repeated key's values as a list, in their order."""
    found: dict[str, Any] = {}
    repeated: set[str] = set()
    for name, value in pairs:
        if name not in found:
            found[name] = value
        elif name in repeated:
            found[name].append(value)
        else:
            repeated.add(name)
            found[name] = [found[name], value]
    return found


# -- multipart forms -------------------------------------------------------------------------------


class FormBody(Body):
    """The body of a multipart form.

    Up to 1 MB its bytes are kept, and parsed when somebody asks for the form; a larger one is parsed as it
    arrives, and its bytes are gone. After a fault, what was stored is deleted, and what still comes is thrown
    away; whoever asks for the form gets the fault.

    The lock: the engine may close the body of a request that it gave up while another of its threads writes.
    """

    __slots__ = ('_closed', '_content_type', '_fault', '_fields', '_form', '_lock')

    def __init__(self, content_type: str) -> None:
        super().__init__()
        self._content_type = content_type
        self._form: MultipartForm | None = None
        self._fields: dict[str, Any] | None = None
        self._fault: HTTPError | None = None
        self._closed = False
        self._lock = Lock()

    def write(self, chunk: bytes) -> None:
        with self._lock:
            self.size += len(chunk)
            if self._closed or self._fault is not None:
                return
            self._hold(chunk)
            if self.size > IN_MEMORY and len(self._held) >= BLOCK:
                self._parse_held(last=False)

    def form(self) -> dict[str, Any]:
        """The parameters. BadParameter for a malformed form; HTTPError 413 for too much."""
        with self._lock:
            if self._closed:
                raise RuntimeError('the form of a request is gone when the request is over')
            if self._fields is None and self._fault is None:
                self._parse_held(last=True)
            if self._fault is not None:
                raise self._fault
            return self._fields or {}

    def _parse_held(self, last: bool) -> None:
        """Parse the whole blocks of what is held; `last`: all of it, and that was the form."""
        held = self._held
        end = len(held) if last else len(held) - len(held) % BLOCK
        try:
            if self._form is None:
                self._form = MultipartForm(self._content_type)
            for start in range(0, end, BLOCK):
                self._form.feed(bytes(held[start : min(start + BLOCK, end)]))
            if last:
                self._fields = self._form.finish()
        except HTTPError as fault:
            self._fault = fault
        except OSError:
            log.exception('an upload could not be stored')
            self._fault = HTTPError(503, 'the upload could not be stored')
        if self._fault is not None and self._form is not None:
            self._form.close()
        if not self._kept:
            self._held = b'' if last or self._fault is not None else bytearray(held[end:])

    @property
    def _kept(self) -> bool:
        return self.size <= IN_MEMORY

    @property
    def in_memory(self) -> bool:
        return self._kept

    def read(self) -> bytes | None:
        """The body as it came; None above 1 MB (SPEC RQ-13)."""
        with self._lock:
            return super().read() if self._kept else None

    def close(self) -> None:
        with self._lock:
            self._closed = True
            form, self._form, self._fields, self._fault = self._form, None, None, None
            super().close()
            if form is not None:
                form.close()

    def __del__(self) -> None:
        self.close()  # where nobody did: a service that ended after its request had been given up


class MultipartForm:
    """A multipart form (RFC 7578), blocks in, parameters out. One thread at a time.

    Of all parts together at most IN_MEMORY bytes are in memory: a larger file, or what is too much, goes to
    the spool. The owner calls `close`, which deletes what no service has moved.
    """

    def __init__(self, content_type: str) -> None:
        """BadParameter where `content_type` lacks what is needed to parse the form."""
        boundary = parse_options_header(content_type)[1].get('boundary', '')
        if not 0 < len(boundary) <= MAX_BOUNDARY:
            raise BadParameter('malformed multipart form: no boundary, or one that is too long')
        self._boundary = boundary.encode('latin-1')
        self._charset = charset_of(content_type)
        # Not `strict`: that would refuse a form whose last line end is in a block of its own.
        self._parser = PushMultipartParser(
            self._boundary,
            max_header_size=MAX_PART_HEADER,
            max_header_count=MAX_PART_HEADERS,
            max_segment_count=MAX_FIELDS,
            header_charset=self._charset,
        )
        self._begun = False
        self._part: MultipartSegment | None = None
        self._name = ''
        #: The part that arrives: its text, or its file.
        self._text = bytearray()
        self._file: UploadedFile | None = None
        self._pairs: list[tuple[str, Any]] = []
        self._files: list[UploadedFile] = []
        self._spool = Spool()
        self._in_memory = 0
        self._text_size = 0

    def feed(self, block: bytes) -> None:
        """Take the next BLOCK bytes; only the last block may have less, none may be empty.

        BadParameter, HTTPError 413, or an OSError of the disk: then nothing more may be fed.
        """
        if not self._begun:
            self._begun = True
            if b'--' + self._boundary not in block:  # no client sends a long preamble
                raise BadParameter('malformed multipart form: its boundary is not found')
        try:
            for event in self._parser.parse(block):
                if event is None:
                    self._end_part()
                elif isinstance(event, MultipartSegment):
                    self._begin_part(event)
                else:
                    self._take(event)
        except ParserLimitReached as error:
            raise HTTPError(413, self._located('too much for a multipart form', error)) from None
        except (MultipartError, UnicodeError, LookupError) as error:
            raise BadParameter(self._located('malformed multipart form', error)) from None

    def finish(self) -> dict[str, Any]:
        """The parameters: nothing more comes. Raises as `feed` does."""
        try:
            self._parser.close()
        except MultipartError as error:
            raise BadParameter(self._located('malformed multipart form', error)) from None
        self._spool.flush()
        return collect(self._pairs)

    def close(self) -> None:
        for file in self._files:
            file.close()
        self._files.clear()
        self._pairs.clear()
        self._text.clear()
        self._spool.close()

    def _located(self, what: str, error: Exception) -> str:
        where = f', in {self._name}' if self._part is not None else ''
        return f'{what}{where}: {error.args[0] if error.args else error}'

    # -- parts -------------------------------------------------------------------------------------

    def _begin_part(self, part: MultipartSegment) -> None:
        if not part.name:
            raise BadParameter('malformed multipart form: a part without a name')
        self._part, self._name = part, part.name[:80]
        media = part.content_type or 'application/octet-stream'
        self._count_text(len(part.name) + len(media))
        part.filename = _file_name(part)
        if part.filename is not None:
            self._file = UploadedFile(part.filename, media, self._spool)
            self._files.append(self._file)

    def _take(self, chunk: bytes) -> None:
        file = self._file
        self._in_memory += len(chunk)
        if file is None:
            self._count_text(len(chunk))
            self._text += chunk
            if self._in_memory > IN_MEMORY:
                self._in_memory -= sum(file.spill() for file in self._files)
            return
        file.receive(chunk)
        if not file.in_memory:
            self._in_memory -= len(chunk)
        elif file.size > SPOOL_FROM or self._in_memory > IN_MEMORY:
            self._in_memory -= file.spill()

    def _end_part(self) -> None:
        part, file = self._part, self._file
        assert part is not None
        name = part.name or ''
        if file is None:
            self._pairs.append((name, self._decoded(part)))
            self._text = bytearray()
        elif file.size or part.filename:  # else: a file input in which the user chose nothing
            self._pairs.append((name, file))
        self._part = self._file = None

    def _decoded(self, part: MultipartSegment) -> str:
        charset = part.charset or self._charset
        try:
            return self._text.decode(_known(charset))
        except BadParameter as error:
            raise BadParameter(f'{self._name}: {error.explain}') from None
        except UnicodeError:
            raise BadParameter(f'{self._name} is not text in {charset}') from None

    def _count_text(self, size: int) -> None:
        self._text_size += size
        if self._text_size > MAX_TEXT:
            raise HTTPError(413, f'{self._name}: the text of a form may have {MAX_TEXT} bytes at most')


def _file_name(part: MultipartSegment) -> str | None:
    """What the client calls the file; None for a text field."""
    disposition = _QUOTED.sub('""', part.header('Content-Disposition') or '')
    extended = _EXTENDED_NAME.search(disposition)
    if extended is None:
        filename: str | None = part.filename
        return filename
    return unquote_to_bytes(extended[2]).decode(_known(extended[1]))
