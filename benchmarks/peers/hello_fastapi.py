"""FastAPI: `plain` has `def` handlers (run in its thread pool), `coroutine` has `async def` ones."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

plain = FastAPI()
coroutine = FastAPI()


@plain.get('/', response_class=HTMLResponse)
def hello() -> str:
    return 'Hello, World'


@plain.get('/json')
def hello_json() -> dict[str, str]:
    return {'message': 'Hello, World'}


@coroutine.get('/', response_class=HTMLResponse)
async def hello_async() -> str:
    return 'Hello, World'


@coroutine.get('/json')
async def hello_json_async() -> dict[str, str]:
    return {'message': 'Hello, World'}
