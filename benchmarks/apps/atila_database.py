"""Ours at the workloads with PostgreSQL, and at three Tasks side by side. Plain functions, all of them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from random import randint, sample
from typing import Any

import skitai
from atila import Atila

ROW = 'SELECT id, randomnumber FROM world WHERE id = $1'

app = Atila(__name__)
app.config.TEMPLATE_DIRS = [str(Path(__file__).parent.parent / 'templates')]


@app.route('/db')
def single(was: Any) -> Any:
    return was.db('@world').execute(ROW, (randint(1, 10000),)).then(world)


def world(was: Any, task: Any) -> Any:
    row = task.one()
    return was.API({'id': row.id, 'randomNumber': row.randomnumber})


@app.route('/queries')
def queries(was: Any) -> Any:
    """Twenty Tasks side by side."""
    db = was.db('@world')
    return was.Tasks([db.execute(ROW, (number,)) for number in sample(range(1, 10001), 20)]).then(worlds)


def worlds(was: Any, tasks: Any) -> Any:
    return was.API({'worlds': [{'id': row.id, 'randomNumber': row.randomnumber} for [row] in tasks.fetch()]})


@app.route('/many')
def many(was: Any) -> Any:
    """Twenty queries as one Task, in one go."""
    numbers = [(number,) for number in sample(range(1, 10001), 20)]
    return was.db('@world').executemany(ROW, numbers).then(each)


def each(was: Any, task: Any) -> Any:
    return was.API({'worlds': [{'id': row.id, 'randomNumber': row.randomnumber} for row in task.fetch()]})


@app.route('/fortunes')
def fortunes(was: Any) -> Any:
    return was.db('@world').execute('SELECT id, message FROM fortune').then(page)


def page(was: Any, task: Any) -> Any:
    found = task.fetch()
    found.append({'id': 0, 'message': 'Additional fortune added at request time.'})
    found.sort(key=lambda fortune: fortune['message'])
    return was.render('fortunes.html', fortunes=found)


@app.route('/map')
def side_by_side(was: Any) -> Any:
    return was.Map(a=was.Async(wait, 1), b=was.Async(wait, 2), c=was.Async(wait, 3))


async def wait(number: int) -> int:
    await asyncio.sleep(0.01)
    return number


@app.route('/')
def index(was: Any) -> str:
    return 'ready'


if __name__ == '__main__':
    skitai.alias('@world', skitai.DB_PGSQL, os.environ['PGMEMBER'], max_conns=16)
    skitai.mount('/', app)
    skitai.run(port=int(os.environ['PORT']), workers=1, threads=4, access_log=False)
