"""The body of an error answer, in the form the client accepts (SPEC ER-02).

Used by the engine (503, 413, 408), by the mount table (404 where nothing is mounted) and, with more
detail, by `atila.errors`. Everything that is shown is escaped.
"""

from __future__ import annotations

import html
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from xmlrpc.client import dumps

import msgspec

from .headers import SERVER

if TYPE_CHECKING:
    from .exchange import Exchange, RawHeaders

_REASONS = {status.value: status.phrase for status in HTTPStatus} | {530: 'Parameter Mismatch'}

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 16px/1.5 sans-serif; margin: 3em auto; max-width: 60em; padding: 0 1em }}
pre {{ background: #f4f4f4; overflow: auto; padding: 1em }}</style></head>
<body><h1>{title}</h1>{detail}</body>
</html>
"""


def reason_of(status: int) -> str:
    """The standard reason phrase, 'Unknown' for a code that has none."""
    return _REASONS.get(status, 'Unknown')


def accepts(accept: bytes | None, media: bytes) -> bool:
    """Whether the Accept field names `media` (wildcards don't count) with a weight above 0."""
    if accept is None or media not in (accept := accept.lower()):
        return False
    for item in accept.split(b','):
        name, *parameters = (part.strip() for part in item.split(b';'))
        if name == media:
            weights = [p[2:].strip() for p in parameters if p.startswith(b'q=')]
            return not weights or weights[0].strip(b'0.') != b''
    return False


def error_content(
    accept: bytes | None,
    status: int,
    reason: str,
    detail: str,
    code: int = 0,
    traceback: str | None = None,
    message: str | None = None,
) -> tuple[bytes, bytes]:
    """(content type, body). `detail`, `message` and `traceback` are plain text.

    `code`: an application's own; a page then reads "message (code: 40050): detail" (SPEC IN-01).
    `message`: what the body says instead of the reason phrase.
    """
    if accepts(accept, b'text/html'):
        text = detail
        if code:
            text = f'{message or reason} (code: {code})' + (f': {detail}' if detail else '')
        elif message:
            text = f'{message}: {detail}' if detail else message
        paragraphs = f'<p>{html.escape(text)}</p>' if text else ''
        if traceback is not None:
            paragraphs += f'<pre>{html.escape(traceback)}</pre>'
        page = _PAGE.format(title=f'{status} {html.escape(reason)}', detail=paragraphs)
        return b'text/html; charset=utf-8', page.encode()
    content: dict[str, Any] = {
        'code': code or status * 100,
        'message': message or reason.lower(),
        'more_info': detail,
    }
    if traceback is not None:
        content['debug'] = detail
        content['traceback'] = traceback.splitlines()
    if accepts(accept, b'text/xml'):
        return b'text/xml; charset=utf-8', dumps((content,), methodresponse=True, allow_none=True).encode()
    return b'application/json', msgspec.json.encode(content)


def error_answer(exchange: Exchange, status: int, detail: str = '') -> tuple[RawHeaders, bytes]:
    """Headers and body of an error answer of the engine's own."""
    content_type, body = error_content(exchange.header(b'accept'), status, reason_of(status), detail)
    return [SERVER, (b'content-type', content_type), (b'content-length', b'%d' % len(body))], body
