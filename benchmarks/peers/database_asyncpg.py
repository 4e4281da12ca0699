"""FastAPI with asyncpg: `async def` handlers, one pool, and `asyncio.gather`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import randint, sample
from typing import Any

import asyncpg
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse
from fastapi.templating import Jinja2Templates

ROW = 'SELECT id, randomnumber FROM world WHERE id = $1'


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ['PGURL'], min_size=16, max_size=16) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)
templates = Jinja2Templates(Path(__file__).parent.parent / 'templates')
templates.env.trim_blocks = templates.env.lstrip_blocks = True  # the same bytes as ours


@app.get('/db')
async def single() -> dict[str, int]:
    async with app.state.pool.acquire() as connection:
        row = await connection.fetchrow(ROW, randint(1, 10000))
    return {'id': row['id'], 'randomNumber': row['randomnumber']}


@app.get('/queries')
async def queries() -> dict[str, Any]:
    worlds = []
    async with app.state.pool.acquire() as connection:
        statement = await connection.prepare(ROW)
        for number in sample(range(1, 10001), 20):
            row = await statement.fetchrow(number)
            worlds.append({'id': row['id'], 'randomNumber': row['randomnumber']})
    return {'worlds': worlds}


@app.get('/fortunes', response_class=HTMLResponse)
async def fortunes(request: Request) -> Any:
    async with app.state.pool.acquire() as connection:
        rows = await connection.fetch('SELECT id, message FROM fortune')
    found = [dict(row) for row in rows]
    found.append({'id': 0, 'message': 'Additional fortune added at request time.'})
    found.sort(key=lambda fortune: fortune['message'])
    return templates.TemplateResponse(request, 'fortunes.html', {'fortunes': found})


@app.get('/map')
async def side_by_side() -> dict[str, int]:
    a, b, c = await asyncio.gather(wait(1), wait(2), wait(3))
    return {'a': a, 'b': b, 'c': c}


async def wait(number: int) -> int:
    await asyncio.sleep(0.01)
    return number


@app.get('/', response_class=PlainTextResponse)
async def index() -> str:
    return 'ready'
