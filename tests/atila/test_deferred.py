"""Deferred contents (`deferred`): where they are made, and what happens when that goes wrong."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from projects import wait_for
from serving import Answer, Direct, parse_answer, request_bytes, send_raw

from aquests import Mask
from atila import Atila
from atila.jsons import is_light
from skitai.testing import Client

ClientFor = Callable[..., Client]

#: The threads that finish Tasks, and on which nothing may take long.
FINISHERS = ('aquests-', 'MainThread', 'direct engine', 'asyncio')


def ask(engine: Direct, path: str) -> Answer:
    sent = request_bytes(target=path.encode(), headers=b'Accept: text/html\r\n')
    return parse_answer(send_raw(engine.connect(), sent))


def here() -> str:
    return threading.current_thread().name


async def later(value: Any, seconds: float = 0.01) -> Any:
    await asyncio.sleep(seconds)
    return value


def recorded(app: Atila) -> list[str]:
    """The names of the threads on which the app's JSON is made."""
    threads: list[str] = []

    class Encoder(json.JSONEncoder):
        def __init__(self, *args: Any, **kargs: Any) -> None:
            threads.append(here())
            super().__init__(*args, **kargs)

    app.config.JSON_ENCODER = Encoder
    return threads


ROW = {'id': 1, 'name': 'x' * 20, 'price': 1.5, 'sold': None}
SMALL: dict[str, Any] = {'nothing': None, 'rows': [ROW] * 20, 'text': 'x' * 10_000}
LARGE: dict[str, Any] = {
    'rows': [ROW] * 2000,
    'text': 'x' * 1_000_000,
    'bytes': b'x' * 1_000_000,
    'nested': {'a': [{'b': [1] * 5000}]},
    'an object': Mask(1),
}


@pytest.mark.parametrize('value', SMALL)
def test_small_results_are_sent_where_they_come(direct_for: Callable[..., Direct], value: str) -> None:
    app = Atila('app')
    threads = recorded(app)
    app.route('/')(lambda was: was.Map(found=was.Async(later, SMALL[value])))
    answer = ask(direct_for(app), '/')
    assert json.loads(answer.body) == {'found': SMALL[value]}
    assert threads == ['aquests-loop']


@pytest.mark.parametrize('value', LARGE)
def test_what_takes_long_to_write_is_written_on_a_service_thread(
    direct_for: Callable[..., Direct], value: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It would hold up the event loop."""
    app = Atila('app')
    threads = recorded(app)
    app.route('/')(lambda was: was.Map(found=was.Async(later, LARGE[value])))
    with caplog.at_level(logging.CRITICAL):
        answer = ask(direct_for(app), '/')
    if value in ('bytes', 'an object'):  # no JSON
        assert answer.status == 500
    else:
        assert json.loads(answer.body) == {'found': LARGE[value]}
    assert [name.startswith('service_') for name in threads] == [True]


def test_what_is_light() -> None:
    assert is_light({'a': [{'b': (1, 2.5, None, True, 'x')}], 'c': {}, 1: b''})
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    wide: Any = {'a': [[]] * 10_000}
    for value in (deep, wide, {'a': object()}, 'x' * 10_000_000, ['x' * 1000] * 1000):
        assert not is_light({'a': value})


def handled(app: Atila) -> list[str]:
    """The threads on which the app's error handler runs."""
    threads: list[str] = []

    @app.default_error_handler
    def page(was: Any, error: Any) -> str:
        threads.append(here())
        return f'{error.code}'

    return threads


@pytest.mark.parametrize('kind', ['json', 'failed', 'late', 'cancelled', 'group', 'etag'])
def test_errors_are_handled_on_service_threads(
    direct_for: Callable[..., Direct], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever finishes the Task: a handler may block."""
    app = Atila('app')
    threads = handled(app)

    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise ValueError('no')

    @app.route('/')
    def service(was: Any) -> Any:
        if kind == 'json':
            return was.Map(a=was.Async(later, {'a': object()}))
        if kind == 'failed':
            return was.Map(a=was.Async(fail))
        if kind == 'late':
            return was.Map(a=was.Async(later, seconds=60, args=(1,), timeout=0.05))
        if kind == 'group':
            return was.Map(a=was.Async(later, 1, 60), __timeout=0.05)
        if kind == 'etag':
            return was.Map(a=was.Async(later, {'b': 1}), __etag='a.c')
        task = was.Async(later, 1, 60)
        threading.Timer(0.05, task.cancel).start()
        return was.Map(a=task)

    engine = direct_for(app)
    status = {'late': 504, 'group': 504}.get(kind, 500)
    with caplog.at_level(logging.CRITICAL):
        answer = ask(engine, '/')
    assert (answer.status, answer.body) == (status, b'%d' % status)
    assert [name.startswith('service_') for name in threads] == [True]
    assert ask(engine, '/').status == status  # everything goes on


def test_hooks_run_on_service_threads(direct_for: Callable[..., Direct]) -> None:
    """Also those of a request whose hook has replaced the content by Tasks' results."""
    app = Atila('app')
    threads: list[str] = []

    @app.finish_request
    def replace(was: Any, content: Any) -> Any:
        threads.append(here())
        return was.Map(a=was.Async(later, 1))

    @app.teardown_request
    def end(was: Any) -> None:
        threads.append(here())

    app.route('/')(lambda was: 'text')
    assert json.loads(ask(direct_for(app), '/').body) == {'a': 1}
    wait_for(lambda: len(threads) == 2, 'the end of the request')
    assert not [name for name in threads if name.startswith(FINISHERS)]


@pytest.mark.parametrize('made', ['done', 'pending', 'pass'])
def test_a_chain_of_a_thousand(client_for: ClientFor, made: str) -> None:
    app = Atila('app')

    def task(was: Any, number: int) -> Any:
        return was.Mask(number) if made == 'done' else was.Async(later, number, 0)

    def step(was: Any, found: Any) -> Any:
        number = found.fetch() + 1
        if number == 1000:
            return f'{number}'
        if made == 'pass':
            return was.ThreadPass(step, was.Mask(number))
        return task(was, number).then(step)

    app.route('/')(lambda was: task(was, 0).then(step))
    assert client_for(app).get('/').text == '1000'


@pytest.mark.parametrize('hooks', [False, True])
def test_conditions_and_heads(client_for: ClientFor, hooks: bool) -> None:
    """SPEC RS-27: of results that come later, in an app with hooks and without."""
    app = Atila('app')
    ended: list[int] = []
    if hooks:
        app.teardown_request(lambda was: ended.append(1))
    made: dict[str, Any] = {'__etag': 'n.id', '__mtime': 'n.at', '__maxage': 60, '__timeout': 5}
    app.route('/')(lambda was: was.Map(n=was.Async(later, {'id': 3, 'at': 1_000_000}), **made))
    client = client_for(app)
    answer = client.get('/')
    assert (answer.status_code, answer.json()['n']['id']) == (200, 3)
    tag, date = answer.headers['ETag'], answer.headers['Last-Modified']
    head = client.request('HEAD', '/')
    assert (head.status_code, head.text, head.headers['ETag']) == (200, '', tag)
    assert head.headers['Content-Length'] == answer.headers['Content-Length']
    for fields in ({'If-None-Match': tag}, {'If-Modified-Since': date}):
        again = client.get('/', headers=fields)
        assert (again.status_code, again.text) == (304, '')
    assert client.get('/', headers={'If-Match': '"other"'}).status_code == 412
    assert client.get('/', headers={'If-None-Match': '"other"'}).status_code == 200
    if hooks:
        wait_for(lambda: len(ended) == 6, 'the end of all requests')


def test_a_task_that_finishes_while_it_is_looked_at(client_for: ClientFor) -> None:
    """Between the question whether it is done and the wish to be told: the answer comes once."""
    app = Atila('app')

    class Soon(Mask):
        looks = 0

        def done(self) -> bool:
            self.looks += 1
            return self.looks > 1

    app.route('/then')(lambda was: Soon('x').then())
    app.route('/twice')(lambda was: Soon('x').then(lambda was, task: Soon('y').then()))
    client = client_for(app)
    assert client.get('/then').text == 'x'
    assert client.get('/twice').text == 'y'


def test_one_client_that_cannot_be_watched_keeps_no_other_from_it(
    direct_for: Callable[..., Direct], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from skitai.engine.direct import DirectExchange

    watch, watched = DirectExchange.notice_client, []

    def once(self: Any) -> None:
        watched.append(self.path)
        if self.path == '/first':
            raise RuntimeError('it cannot be watched')
        watch(self)

    monkeypatch.setattr(DirectExchange, 'notice_client', once)
    app = Atila('app')
    started = threading.Barrier(2)

    def wait(was: Any) -> Any:
        started.wait(10)
        return was.Map(a=was.Async(later, 1, 0.4))

    app.route('/first')(wait)
    app.route('/second')(wait)
    engine = direct_for(app)
    with caplog.at_level(logging.CRITICAL):
        other = threading.Thread(target=ask, args=(engine, '/first'))
        other.start()
        assert ask(engine, '/second').status == 200
        other.join(20)
    assert sorted(watched) == ['/first', '/second']
