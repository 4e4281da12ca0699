"""Forms with files, as multipart/form-data (RFC 7578): written as they are sent."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

from .files import BINARY, File, file_of
from .request import Stream
from .template import pairs, word


class _Part(NamedTuple):
    head: bytes
    content: bytes | File


def multipart(fields: Mapping[str, Any]) -> tuple[Stream, str]:
    """The body, and its content type.

    A field's value is a text or a number; a file: open, a Path, or one of `was.request.files`; bytes, or
    (file name, any of these[, content type]); or a list of such. TypeError, OSError: see `file_of`.
    """
    boundary = secrets.token_hex(16)
    parts = [_part(boundary, str(name), value) for name, value in _fields(fields)]
    end = f'--{boundary}--\r\n'.encode()
    length: int | None = len(end)
    for head, content in parts:
        size = content.size if isinstance(content, File) else len(content)
        length = None if length is None or size is None else length + len(head) + size + 2
    return Stream(_written(parts, end), length), f'multipart/form-data; boundary={boundary}'


async def _written(parts: list[_Part], end: bytes) -> AsyncIterator[bytes]:
    for head, content in parts:
        if isinstance(content, File):
            yield head
            async for piece in content.parts():
                yield piece
            yield b'\r\n'
        else:
            yield head + content + b'\r\n'
    yield end


def _fields(fields: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Tuples are files with a name here, not several values."""
    found: list[tuple[str, Any]] = []
    for name, value in fields.items():
        found.extend([(name, value)] if isinstance(value, tuple) else pairs({name: value}))
    return found


def _part(boundary: str, name: str, value: Any) -> _Part:
    file_name = kind = None
    if isinstance(value, tuple):
        if not 2 <= len(value) <= 3:
            raise TypeError(f'{name}: a file with a name is (name, content) or (name, content, content type)')
        file_name, value, kind = (*value, None)[:3]
    content = _content(value)
    if isinstance(content, File):
        file_name, kind = file_name or content.name or name, kind or content.content_type
    elif file_name or isinstance(value, bytes | bytearray | memoryview):
        file_name, kind = file_name or name, kind or BINARY
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_escaped(name)}"'
    if file_name:
        head += f'; filename="{_escaped(str(file_name))}"\r\nContent-Type: {_checked(str(kind or BINARY))}'
    return _Part(f'{head}\r\n\r\n'.encode(), content)


def _content(value: Any) -> bytes | File:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    file = None if isinstance(value, str) else file_of(value)
    return word(value).encode() if file is None else file


def _escaped(text: str) -> str:
    """As browsers do it (the HTML standard, "multipart form data")."""
    return text.replace('\r', '%0D').replace('\n', '%0A').replace('"', '%22')


def _checked(content_type: str) -> str:
    if not content_type.isprintable() or not content_type.isascii():
        raise ValueError(f'{content_type!r} is no content type')
    return content_type
