"""Ours, with plain `def` services: `PORT` is where it listens, `ACCESS_LOG=1` writes its access log."""

from __future__ import annotations

import os
from typing import Any

import skitai
from atila import Atila

app = Atila(__name__)


@app.route('/')
def hello(was: Any) -> str:
    return 'Hello, World'


@app.route('/json')
def hello_json(was: Any) -> Any:
    return was.API(message='Hello, World')


if __name__ == '__main__':
    skitai.mount('/', app)
    skitai.run(
        port=int(os.environ['PORT']),
        workers=1,
        threads=4,
        access_log=os.environ.get('ACCESS_LOG') == '1',
    )
