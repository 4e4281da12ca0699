"""Starlette: `plain` has `def` handlers (run in its thread pool), `coroutine` has `async def` ones."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route


def hello(request: Request) -> HTMLResponse:
    return HTMLResponse('Hello, World')


def hello_json(request: Request) -> JSONResponse:
    return JSONResponse({'message': 'Hello, World'})


async def hello_async(request: Request) -> HTMLResponse:
    return HTMLResponse('Hello, World')


async def hello_json_async(request: Request) -> JSONResponse:
    return JSONResponse({'message': 'Hello, World'})


plain = Starlette(routes=[Route('/', hello), Route('/json', hello_json)])
coroutine = Starlette(routes=[Route('/', hello_async), Route('/json', hello_json_async)])
