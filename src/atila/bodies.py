"""Request bodies, decoded: bytes in, parameters out; every fault of the sender is a 400 (SPEC PR-07).

A form value is a str, or a list of them where the key is repeated; JSON keeps its types; a file part is
an `UploadedFile` (SPEC chapter 15).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from encodings import normalize_encoding
from encodings.aliases import aliases
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from multipart import MultipartError, MultipartParser, MultipartPart, parse_options_header

from skitai.body import Body

from .errors import BadParameter

#: Most fields of a form or query string (an attacker's way to make us build dicts).
MAX_FIELDS = 1000
#: Most bytes of a form's text field, and of all text of a form.
MAX_TEXT = 8 * 1024 * 1024

#: A part of a multipart form stays in memory up to so many bytes: at most MAX_FIELDS times as much in all.
SPOOL_FROM = 64 * 1024

_CHARSET = re.compile(r'charset\s*=\s*"?([A-Za-z0-9._:-]+)', re.ASCII)
_JSON_TYPE = re.compile(r'application/(?:[\w.+-]+\+)?json', re.ASCII)
_NO_CHARSETS = frozenset(('rot_13', 'mbcs', 'tactis', 'utf_7'))
#: Character sets, by the names of their codecs. A list, because a codec is looked for on disk, each miss is
#: kept for ever, and some codecs ('idna', 'punycode') take quadratic time.
_CHARSETS = {'koi8_u', 'cp874', 'utf_8_sig'} | {
    codec for codec in aliases.values() if not codec.endswith('_codec') and codec not in _NO_CHARSETS
}


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
    media, options = parse_options_header(content_type)
    media = media.lower()
    if media == 'multipart/form-data':
        return _multipart(body, options.get('boundary', ''), charset_of(content_type)), None
    if media == 'application/x-www-form-urlencoded':
        return _urlencoded(body, charset_of(content_type)), None
    if _JSON_TYPE.fullmatch(media):
        return None, _json(body)
    return None, None


def _json(body: Body) -> Any:
    if body.size == 0:
        return None
    try:
        return msgspec.json.decode(body.read())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadParameter(f'malformed JSON: {error}') from None


def _urlencoded(body: Body, charset: str) -> dict[str, Any]:
    if body.size > MAX_TEXT:
        raise BadParameter(f'a urlencoded form may have {MAX_TEXT} bytes at most')
    return parse_pairs(body.read(), charset, 'form')


def parse_pairs(text: bytes, charset: str, what: str) -> dict[str, Any]:
    """`a=1&b=2` as a dict; blank values are kept as ''."""
    if not text:
        return {}
    try:
        pairs = parse_qsl(
            text.decode(charset),  # should be ASCII; some clients don't encode what isn't
            keep_blank_values=True,
            encoding=charset,
            errors='strict',
            max_num_fields=MAX_FIELDS,
        )
    except (ValueError, UnicodeError):
        raise BadParameter(f'invalid {what}') from None
    found = collect(pairs)
    if '' in found:
        raise BadParameter(f'invalid {what}: a parameter without a name')
    return found


def _multipart(body: Body, boundary: str, charset: str) -> dict[str, Any]:
    if not boundary:
        raise BadParameter('malformed multipart form: no boundary')
    try:
        parser = MultipartParser(
            body.open(),
            boundary,
            content_length=body.size,
            charset=charset,
            strict=True,
            part_limit=MAX_FIELDS,
            partsize_limit=body.size + 1,
            spool_limit=SPOOL_FROM,
            memory_limit=SPOOL_FROM * MAX_FIELDS,
            disk_limit=body.size + 1,
        )
        return collect(_fields(parser))
    except (MultipartError, UnicodeError, LookupError) as error:
        raise BadParameter(f'malformed multipart form: {error}') from None


def _fields(parts: Iterable[MultipartPart]) -> Iterator[tuple[str, Any]]:
    from .upload import UploadedFile

    text = 0
    for part in parts:
        if part.filename is not None:
            yield part.name, UploadedFile(part)
            continue
        text += part.size
        try:
            if text > MAX_TEXT:
                raise BadParameter(f'the text of a form may have {MAX_TEXT} bytes at most')
            yield part.name, part.raw.decode(_known(part.charset))
        finally:
            part.close()


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
