"""Request bodies, decoded: bytes in, parameters out; every fault of the sender is a 400 (SPEC PR-07).

A form value is a str, or a list of them where the key is repeated; JSON keeps its types; a file part is
an `UploadedFile` (SPEC chapter 15).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from multipart import MultipartError, MultipartParser, MultipartPart, parse_options_header

from skitai.body import Body

from .errors import BadParameter

#: Most fields of a form or query string (an attacker's way to make us build dicts).
MAX_FIELDS = 1000
#: Most bytes of a form's text field, and of all text of a form.
MAX_TEXT = 8 * 1024 * 1024

_CHARSET = re.compile(r'charset\s*=\s*"?([A-Za-z0-9._:-]+)', re.ASCII)
_JSON_TYPE = re.compile(r'application/(?:[\w.+-]+\+)?json', re.ASCII)


def charset_of(content_type: str) -> str:
    """The charset parameter, 'utf-8' without one; BadParameter for one that Python doesn't know."""
    match = _CHARSET.search(content_type)
    if match is None:
        return 'utf-8'
    try:
        b''.decode(match[1])
    except LookupError:
        raise BadParameter(f'unknown charset {match[1]}') from None
    return match[1]


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
    from .parameters import parse_pairs

    if body.size > MAX_TEXT:
        raise BadParameter(f'a urlencoded form may have {MAX_TEXT} bytes at most')
    return parse_pairs(body.read(), charset, 'form')


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
            spool_limit=1 << 20,
            memory_limit=MAX_TEXT + (1 << 20) * 8,
            disk_limit=body.size + 1,
        )
        return collect((part.name, _value(part)) for part in parser)
    except (MultipartError, UnicodeDecodeError, LookupError) as error:
        raise BadParameter(f'malformed multipart form: {error}') from None


def _value(part: MultipartPart) -> Any:
    if part.filename is not None:
        from .upload import UploadedFile

        return UploadedFile(part)
    return part.value


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
