"""What a request carries: a user's data as bytes, by its content type (SPEC HC-02)."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from typing import Any, NamedTuple

from .. import jsons
from .files import file_of
from .multipart import multipart
from .request import Body, Stream
from .template import query

JSON = 'application/json'
FORM = 'application/x-www-form-urlencoded'
MULTIPART = 'multipart/form-data'


class Payload(NamedTuple):
    """`content_type`: None where there is no body."""

    body: Body
    content_type: str | None


NOTHING = Payload(None, None)


def payload(data: Any, given: str | None, default: str = JSON) -> Payload:
    """`data` in the form that a content type names: the `given` one, else the `default`.

    Bytes and texts (as UTF-8) are sent as they are, whatever it says; so are files, which have a type of
    their own where none is given. None is no body. Anything else is written as JSON, a dict also as a form
    or as multipart. TypeError for what cannot be written so.
    """
    content_type = given or default
    if data is None:
        return NOTHING
    if isinstance(data, bytes | bytearray | memoryview):
        return Payload(bytes(data), content_type)
    if isinstance(data, str):
        return Payload(data.encode(), content_type)
    if isinstance(data, Stream | AsyncIterable):
        return Payload(data if isinstance(data, Stream) else Stream(data), content_type)
    if not isinstance(data, _DATA) and (file := file_of(data)) is not None:
        return Payload(Stream(file.parts(), file.size), given or file.content_type)
    media = media_of(content_type)
    if media == JSON or media.endswith('+json'):
        return Payload(jsons.written(data), content_type)
    if media not in (FORM, MULTIPART):
        raise TypeError(
            f'{type(data).__name__} cannot be sent as {media}: it can be JSON, {FORM} or {MULTIPART}; for '
            'any other type give a text, bytes or a file'
        )
    if not isinstance(data, Mapping):
        raise TypeError(f'{media} takes a dict, not {type(data).__name__}')
    return Payload(query(data).encode(), content_type) if media == FORM else Payload(*multipart(data))


#: What is no file, whatever names it may have.
_DATA = (Mapping, list, tuple, int, float)


def media_of(content_type: str) -> str:
    """'Text/HTML; charset=x' as 'text/html'."""
    return content_type.partition(';')[0].strip().lower()
