"""The app that test_hardening.py is mean to, made in the serving process (fixture `serve`)."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextvars import ContextVar
from typing import Any

from atila import Atila
from skitai.config import Settings
from skitai.mounting import Mounts
from skitai.mounts.table import MountTable

secret: ContextVar[str | None] = ContextVar('secret', default=None)


def site(**settings: Any) -> MountTable:
    app = Atila('hardening')
    seen: Counter[str] = Counter()

    @app.route('/')
    def index(was, **values):
        seen['service'] += 1
        return 'Hello, World'

    @app.route('/seen')
    def counts(was):
        return was.API(dict(seen))

    @app.route('/echo', methods=['POST', 'PUT'])
    def echo(was):
        seen['echo'] += 1
        return was.request.body

    @app.route('/context')
    def context(was):
        before = secret.get()
        secret.set('mine')
        return was.API(before=before)

    @app.route('/context/async')
    async def context_async(was):
        before = secret.get()
        secret.set('mine')
        return was.API(before=before)

    @app.route('/sleep/<float:seconds>')
    def sleep(was, seconds):
        seen['sleep'] += 1
        time.sleep(seconds)
        seen['slept'] += 1
        return 'slept'

    @app.route('/wait')
    async def wait(was):
        seen['waiting'] += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen['cancelled'] += 1
            raise
        return 'waited'

    @app.route('/endless')
    def endless(was):
        def parts():
            chunk = b'x' * 65536
            seen['streaming'] += 1
            try:
                while True:
                    yield chunk
            finally:
                seen['closed'] += 1

        return parts()

    @app.route('/megabytes/<int:count>')
    def megabytes(was, count):
        def parts():
            for number in range(count * 4):
                yield bytes([number % 256]) * 262_144

        return parts()

    @app.route('/broken')
    def broken(was):
        def parts():
            yield 'part'
            raise ZeroDivisionError('on purpose')

        return parts()

    @app.route('/broken/async')
    async def broken_async(was):
        async def parts():
            yield 'part'
            raise ZeroDivisionError('on purpose')

        return parts()

    mounts = Mounts()
    mounts.add('/', app)
    mounts.configure()
    return mounts.build(Settings(**settings))
