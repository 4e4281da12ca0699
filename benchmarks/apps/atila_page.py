"""Ours at the workload `page`: a session read, five inspected parameters, a rendered template."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import skitai
from atila import Atila

app = Atila(__name__)
app.securekey = 'a secret of the benchmark'
app.config.TEMPLATE_DIRS = [str(Path(__file__).parent.parent / 'templates')]

ITEMS = [{'number': number, 'name': f'item <{number}>', 'price': number * 1.5} for number in range(10)]


@app.route('/')
def sign_in(was: Any) -> str:
    was.session['user'] = 'hans'
    return 'signed in'


@app.route('/page')
@app.inspect(
    ints=['age', 'page'],
    emails=['email'],
    name__len__between=(1, 40),
    age__between=(0, 150),
    page__gte=1,
    sort__in=['up', 'down'],
)
def page(was: Any, name: str, age: int, email: str, page: int, sort: str) -> str:
    return was.render(
        'page.html',
        title='Items',
        user=was.session.get('user'),
        name=name,
        age=age,
        email=email,
        page=page,
        sort=sort,
        items=ITEMS,
    )


if __name__ == '__main__':
    skitai.mount('/', app)
    skitai.run(port=int(os.environ['PORT']), workers=1, threads=4, access_log=False)
