"""The mount table that the tests of ASGI mounts serve: Starlette at '/' and '/sub', raw ones at '/raw'."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from skitai.config import Settings
from skitai.mounts.asgi import AsgiMount
from skitai.mounts.table import MountTable

events: list[str] = []
released = asyncio.Event()


async def answer(send: Any, body: bytes, status: int = 200, fields: Any = ()) -> None:
    await send({'type': 'http.response.start', 'status': status, 'headers': fields})
    await send({'type': 'http.response.body', 'body': body})


async def read(receive: Any) -> bytes:
    body = b''
    while True:
        message = await receive()
        assert message['type'] == 'http.request', message
        body += message.get('body', b'')
        if not message.get('more_body'):
            return body


async def scope(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, repr(scope).encode())


async def events_so_far(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, json.dumps(events).encode())


async def release(scope: Any, receive: Any, send: Any) -> None:
    released.set()
    await answer(send, b'')


async def digest(scope: Any, receive: Any, send: Any) -> None:
    body = await read(receive)
    await answer(send, hashlib.sha256(body).hexdigest().encode())


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Sends each part back as it comes."""
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    more = True
    while more:
        message = await receive()
        more = message.get('more_body', False)
        await send({'type': 'http.response.body', 'body': message.get('body', b''), 'more_body': more})


async def impatient(scope: Any, receive: Any, send: Any) -> None:
    """A `receive` that is given up loses no message."""
    body, more = b'', True
    while more:
        try:
            message = await asyncio.wait_for(receive(), 0.001)
        except TimeoutError:
            continue
        body += message['body']
        more = message['more_body']
    await answer(send, body)


async def pausing(scope: Any, receive: Any, send: Any) -> None:
    released.clear()
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b'first', 'more_body': True})
    await asyncio.wait_for(released.wait(), 20)
    await send({'type': 'http.response.body', 'body': b'second', 'more_body': True})
    await send({'type': 'http.response.body'})


async def endless(scope: Any, receive: Any, send: Any) -> None:
    """Never asks whether somebody is there."""
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    try:
        while True:
            await send({'type': 'http.response.body', 'body': b'x' * 100_000, 'more_body': True})
    except OSError:
        events.append('endless got an OSError')
        raise


async def listening(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())['type'] == 'http.request'
    events.append('listening began')
    events.append(f'listening got {(await receive())["type"]}')
    events.append(f'listening got again {(await receive())["type"]}')


async def fails_at_once(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError('secret detail')


async def fails_after_start(scope: Any, receive: Any, send: Any) -> None:
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    raise RuntimeError('secret detail')


async def fails_half_way(scope: Any, receive: Any, send: Any) -> None:
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b'a part', 'more_body': True})
    raise RuntimeError('secret detail')


async def ends_half_way(scope: Any, receive: Any, send: Any) -> None:
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b'a part', 'more_body': True})


async def short(scope: Any, receive: Any, send: Any) -> None:
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'10')]})
    await send({'type': 'http.response.body', 'body': b'a part', 'more_body': True})
    await send({'type': 'http.response.body', 'body': b''})


async def fails_afterwards(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b'whole')
    raise RuntimeError('too late')


async def exits(scope: Any, receive: Any, send: Any) -> None:
    sys.exit(3)


async def silent(scope: Any, receive: Any, send: Any) -> None:
    pass


async def messages(scope: Any, receive: Any, send: Any) -> None:
    """Sends the messages that the query names (JSON; texts in them become bytes)."""

    def as_bytes(value: Any) -> Any:
        if isinstance(value, list):
            return [as_bytes(v) for v in value]
        return value.encode() if isinstance(value, str) else value

    for message in json.loads(unquote(scope['query_string'].decode())):
        await send({k: v if k == 'type' else as_bytes(v) for k, v in message.items()})


async def stuck(scope: Any, receive: Any, send: Any) -> None:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        events.append('stuck was cancelled')
        raise


async def raw(scope: Any, receive: Any, send: Any) -> None:
    if scope['type'] == 'http':
        path = scope['path'].removeprefix(scope['root_path']).lstrip('/')
        await globals()[path](scope, receive, send)
    else:
        raise RuntimeError('no lifespan here')


def starlette() -> Starlette:
    async def index(request: Request) -> Response:
        return PlainTextResponse(f'index of {request.scope["root_path"] or "/"} {request.state.started}')

    async def hello(request: Request) -> Response:
        return PlainTextResponse(f'{request.url} {request.url_for("hello", name="x")}')

    async def upload(request: Request) -> Response:
        return JSONResponse({'size': len(await request.body())})

    async def stream(request: Request) -> Response:
        async def chunks() -> AsyncIterator[str]:
            try:
                for i in range(int(request.query_params['n'])):
                    yield f'{i};'
                    await asyncio.sleep(0)
            finally:
                events.append('the Starlette stream ended')

        return StreamingResponse(chunks())

    async def file(request: Request) -> Response:
        return FileResponse(__file__)

    async def background(request: Request) -> Response:
        return PlainTextResponse('answered', background=BackgroundTask(events.append, 'after the answer'))

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
        yield {'started': 'yes'}
        print('lifespan ended', file=sys.stderr, flush=True)

    routes = [
        Route('/', index),
        Route('/hello/{name}', hello, name='hello'),
        Route('/upload', upload, methods=['POST']),
        Route('/stream', stream),
        Route('/file', file),
        Route('/background', background),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def asgi(max_upload_size: int = 4 << 20, state: bool = False) -> tuple[MountTable, list[AsgiMount]]:
    """The table, and the mounts with a lifespan."""
    settings = Settings(max_upload_size=max_upload_size)
    table = MountTable()
    first, second, third = (AsgiMount(app, settings) for app in (starlette(), starlette(), raw))
    table.add('/', first)
    table.add('/sub', second)
    table.add('/raw', third)
    return table, [first, second, third]
