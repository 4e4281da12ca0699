"""The context of a request, `was` and contextvars, follows into every step of it (SPEC TK-09, CO, GEN-06)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import pytest

from atila import Atila
from skitai.testing import Client

hooks: ContextVar[str] = ContextVar('hooks', default='nothing')
services: ContextVar[str] = ContextVar('services', default='nothing')


def seen(was: Any) -> str:
    return f'{hooks.get()} {services.get()} {was.request.args["n"]}'


def nap() -> str:
    time.sleep(0.02)
    return f'{hooks.get()} {services.get()}'


@pytest.fixture
def site(client_for: Callable[..., Client]) -> Client:
    app = Atila('app')

    @app.before_request
    def before(was: Any) -> None:
        hooks.set('hook' + was.request.args['n'])

    @app.finish_request
    def finish(was: Any) -> None:
        was.response.set_header('X-Seen', f'{hooks.get()} {services.get()}')

    @app.route('/def')
    def plain(was: Any, n: str) -> Any:
        services.set('service' + n)
        was.Thread(nap).fetch()
        return seen(was)

    @app.route('/generator', coroutine=True)
    def generator(was: Any, n: str) -> Any:
        services.set('service' + n)
        yield was.Thread(nap)
        yield was.Thread(nap)
        return seen(was)

    @app.route('/stream', coroutine=True)
    def stream(was: Any, n: str) -> Any:
        services.set('service' + n)
        yield was.Thread(nap)
        yield ''
        yield was.Thread(nap)
        yield seen(was)

    @app.route('/async')
    async def awaits(was: Any, n: str) -> Any:
        services.set('service' + n)
        await was.Thread(nap)
        return seen(was)

    @app.route('/then')
    def then(was: Any, n: str) -> Any:
        services.set('service' + n)
        return was.Thread(nap).then(lambda was, task: was.Thread(nap).then(lambda was, task: seen(was)))

    @app.route('/task')
    def task(was: Any, n: str) -> Any:
        services.set('service' + n)
        return was.Map(seen=was.Thread(lambda: f'{nap()} {n}'))

    @app.route('/pass')
    def passes(was: Any, n: str) -> Any:
        services.set('service' + n)
        return was.ThreadPass(seen)

    @app.route('/queue')
    def queue(was: Any, n: str) -> Any:
        services.set('service' + n)
        return was.Queue(lambda queue: queue.put(seen(was)))

    @app.route('/queue-apart')
    def queue_apart(was: Any, n: str) -> Any:
        services.set('service' + n)
        return was.Queue(lambda queue: queue.put(seen(was)), use_thread_pool=False)

    @app.route('/parts')
    def parts(was: Any, n: str) -> Any:
        services.set('service' + n)

        async def content() -> Any:
            await asyncio.sleep(0.01)
            yield seen(was)

        return content()

    return client_for(app)


FORMS = ['def', 'generator', 'async', 'then', 'pass', 'queue', 'queue-apart', 'parts', 'stream', 'task']


@pytest.mark.parametrize('form', FORMS)
def test_it_follows_into_every_step(site: Client, form: str) -> None:
    """And one request's is never another's."""
    for n in range(3):
        response = site.get(f'/{form}?n={n}')
        found = response.data['seen'] if form == 'task' else response.text
        assert found == f'hook{n} service{n} {n}'
        if form not in ('stream',):  # whose head was sent before
            assert response.headers['X-Seen'] == f'hook{n} service{n}'
    assert hooks.get() == services.get() == 'nothing'


def test_it_is_nobody_elses(site: Client) -> None:
    """GEN-06: of many requests at the same time, in all forms, each sees its own."""

    def ask(n: int) -> tuple[str, str]:
        response = site.get(f'/{FORMS[n % len(FORMS)]}?n={n}')
        return response.text, f'hook{n} service{n} {n}'

    with ThreadPoolExecutor(20) as pool:
        for found, wanted in pool.map(ask, range(200)):
            assert wanted in found
