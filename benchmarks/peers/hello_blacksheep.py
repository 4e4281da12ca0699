"""BlackSheep, with `async def` handlers."""

# No `from __future__ import annotations`: BlackSheep binds parameters by the annotations' values.
from blacksheep import Application, Response, get, html, json

app = Application()


@get('/')
async def hello() -> Response:
    return html('Hello, World')


@get('/json')
async def hello_json() -> Response:
    return json({'message': 'Hello, World'})
