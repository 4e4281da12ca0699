"""No framework: what an `async def` answer costs on the server itself. The answers are made as fast as
Python allows (headers built once, the JSON encoder that ours uses)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

Send = Callable[[dict[str, Any]], Awaitable[None]]

_encode = msgspec.json.Encoder().encode
_HTML = [(b'content-type', b'text/html; charset=utf-8')]
_JSON = [(b'content-type', b'application/json')]
_TEXT = [(b'content-type', b'text/plain')]


async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
    path = scope['path']
    if path == '/':
        status, headers, body = 200, _HTML, b'Hello, World'
    elif path == '/json':
        status, headers, body = 200, _JSON, _encode({'message': 'Hello, World'})
    else:
        status, headers, body = 404, _TEXT, b'not found'
    await send(
        {
            'type': 'http.response.start',
            'status': status,
            'headers': [*headers, (b'content-length', b'%d' % len(body))],
        }
    )
    await send({'type': 'http.response.body', 'body': body, 'more_body': False})
