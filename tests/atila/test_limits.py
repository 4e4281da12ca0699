"""Requests that are given up: the client goes, or time is up, while a service thread works for them.

SPEC chapters 20, 24, 30 (RS-17, RS-21), appendix B.17: who blocks in `fetch ()` is woken, what runs for
nobody is killed, and the thread is free. On either engine; each form of a service has the same limits.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from projects import wait_for

import aquests
from aquests.errors import TaskCancelled
from atila import Atila
from skitai.testing import Client

ClientFor = Callable[..., Client]


class Site:
    """An app whose services wait for a command that takes a minute, and what became of them."""

    def __init__(self) -> None:
        self.app = Atila('app')
        self.begun = threading.Event()
        #: What the services' waits ended with, and other ends.
        self.ends: list[Any] = []
        self.commands: list[aquests.Subprocess] = []
        app = self.app
        app.teardown_request(lambda was: self.ends.append('teardown'))

        def wait(was: Any) -> Any:
            command = was.Subprocess('sleep 60; true')
            self.commands.append(command)
            self.begun.set()
            try:
                return command.fetch()
            except BaseException as error:
                self.ends.append(type(error))
                raise

        @app.route('/plain')
        def plain(was: Any) -> Any:
            return wait(was)

        @app.route('/posted', methods=['POST'])
        def posted(was: Any, a: str) -> Any:
            return wait(was)

        @app.route('/group')
        def group(was: Any) -> Any:
            command = aquests.Tasks(command=was.Subprocess('sleep 60; true'))
            self.commands.append(command)  # type: ignore[arg-type]
            self.begun.set()
            try:
                return was.API(command.fetch())
            except TaskCancelled as error:
                self.ends.append(type(error))
                raise

        @app.route('/pass')
        def thread_pass(was: Any) -> Any:
            return was.ThreadPass(wait)

        @app.route('/then')
        def then(was: Any) -> Any:
            return was.Thread(time.sleep, 0.01).then(lambda was, task: wait(was))

        @app.route('/first', coroutine=True)
        def first_step(was: Any) -> Any:
            wait(was)
            yield was.Mask(1)

        @app.route('/nested')
        def nested(was: Any) -> Any:
            return was.Thread(wait, was).fetch()

        @app.route('/stream')
        def stream(was: Any) -> Any:
            def parts() -> Iterator[str]:
                yield 'head'
                yield wait(was)

            return was.response('200 OK', parts())

        @app.route('/again')
        def again(was: Any) -> Any:
            with pytest.raises(TaskCancelled):
                wait(was)
            late = was.Subprocess('sleep 60; true')  # nobody wants it any more
            self.ends.append(late.dispatch().status_code)
            return 'late'

        @app.route('/quick')
        def quick(was: Any) -> Any:
            return was.API(result=was.Thread(int, '1').fetch())

    def ended(self) -> bool:
        return bool(self.commands) and all(command.done() for command in self.commands)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    for command in site.commands:
        command.cancel()


def leave(client: Client, site: Site, method: str, path: str) -> None:
    """Ask, and go when the service waits."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.request, method, path, timeout=0.5)
        assert site.begun.wait(10)
        with pytest.raises((requests.ConnectionError, requests.Timeout)):
            asked.result()


FORMS = ['/plain', '/group', '/pass', '/then', '/first', '/nested']


@pytest.mark.parametrize('path', FORMS)
def test_a_client_that_goes_wakes_who_waits(client_for: ClientFor, site: Site, path: str) -> None:
    """With one service thread: the next request finds it free."""
    client = client_for(site.app, threads=1)
    leave(client, site, 'GET', path)
    wait_for(site.ended, 'the end of the command')
    wait_for(lambda: TaskCancelled in site.ends and 'teardown' in site.ends, f'the ends in {site.ends}')
    assert client.get('/quick').json() == {'result': 1}


def test_a_client_that_has_sent_a_body(client_for: ClientFor, site: Site) -> None:
    client = client_for(site.app, threads=1)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.post, '/posted', {'a': 'b' * 100_000}, timeout=0.5)
        with pytest.raises((requests.ConnectionError, requests.Timeout)):
            asked.result()
    wait_for(site.ended, 'the end of the command')
    assert client.get('/quick').json() == {'result': 1}


def test_a_stream_that_waits_for_a_task(client_for: ClientFor, site: Site) -> None:
    """SPEC RS-17: the thread of a generator's step."""
    answer = client_for(site.app).get('/stream', stream=True, timeout=20)
    assert next(answer.iter_content(None)) == b'head'
    assert site.begun.wait(10)
    answer.close()
    wait_for(lambda: site.ended() and TaskCancelled in site.ends, 'the end of the command')


@pytest.mark.parametrize('path', FORMS)
def test_a_request_that_takes_too_long_wakes_who_waits(
    client_for: ClientFor, site: Site, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SPEC B.17: 503 in the service's stead."""
    client = client_for(site.app, threads=1, request_timeout=0.3)
    assert client.get(path).status_code == 503
    wait_for(site.ended, 'the end of the command')
    assert client.get('/quick').json() == {'result': 1}
    wait_for(lambda: TaskCancelled in site.ends and 'teardown' in site.ends, f'the ends in {site.ends}')
    assert 'Traceback' not in caplog.text  # it is no failure of the service's


def test_what_is_begun_for_a_request_given_up_is_cancelled(client_for: ClientFor, site: Site) -> None:
    client = client_for(site.app, request_timeout=0.3)
    assert client.get('/again').status_code == 503
    wait_for(lambda: 731 in site.ends, f'the end of the late Task in {site.ends}')


def test_what_an_answered_request_has_begun_goes_on(client_for: ClientFor) -> None:
    """SPEC TK-17: fire and forget, though the client was watched; it goes when it has its answer."""
    app = Atila('app')
    done: list[int] = []

    def work() -> None:
        time.sleep(0.4)
        done.append(1)

    @app.route('/')
    def service(was: Any) -> Any:
        was.Thread(time.sleep, 0.1).fetch()
        return was.Thread(work).returning('content')

    client = client_for(app)
    client.set_default_header('Connection', 'close')
    assert client.get('/').text == 'content'
    wait_for(lambda: done, 'the end of what was begun')


# -- the time limit of a route -----------------------------------------------------------------------


class Timed:
    """One service in every form, with a limit of 0.3 s, and in each what takes longer."""

    def __init__(self) -> None:
        self.app = app = Atila('app')
        self.ends: list[Any] = []
        app.teardown_request(lambda was: self.ends.append('teardown'))

        def hang(was: Any) -> Any:
            task = was.Subprocess('sleep 60; true')
            task.add_done_callback(lambda task: self.ends.append('ended'))
            return task

        def route(path: str, **options: Any) -> Any:
            return app.route(path, timeout=0.3, **options)

        @route('/plain')
        def plain(was: Any) -> Any:
            try:
                return hang(was).fetch()
            except TaskCancelled:
                self.ends.append('woken')
                raise

        @route('/deaf')
        def deaf(was: Any) -> Any:
            hang(was)
            time.sleep(1.5)
            was.response.set_header('X-Late', '1')
            return 'late'

        @route('/generator', coroutine=True)
        def generator(was: Any) -> Any:
            yield hang(was)

        @route('/first', coroutine=True)
        def first_step(was: Any) -> Any:
            hang(was).fetch()
            yield was.Mask(1)

        @route('/async')
        async def awaits(was: Any) -> Any:
            await hang(was)

        route('/map')(lambda was: was.Map(result=hang(was)))
        route('/then')(lambda was: hang(was).then())
        route('/pass')(lambda was: was.ThreadPass(lambda was: hang(was).fetch()))

        @route('/parts')
        def both(was: Any) -> Any:
            was.Thread(time.sleep, 0.2).fetch()
            return was.Map(result=hang(was))

        @route('/quick')
        def quick(was: Any) -> Any:
            return was.API(result=was.Thread(int, '1').fetch())

        @route('/stream')
        def stream(was: Any) -> Any:
            def parts() -> Iterator[str]:
                for number in range(5):
                    time.sleep(0.1)
                    yield f'{number},'

            return was.response('200 OK', parts())


@pytest.fixture
def timed() -> Timed:
    return Timed()


LIMITED = ['/plain', '/deaf', '/generator', '/first', '/async', '/map', '/then', '/pass', '/parts']


@pytest.mark.parametrize('path', LIMITED)
def test_a_route_has_its_time(client_for: ClientFor, timed: Timed, path: str) -> None:
    """SPEC B.17: 503 when it is over, its Tasks are cancelled, a late answer is dropped; in every form."""
    client = client_for(timed.app, threads=2)
    client.get('/quick')
    before = len(timed.ends)
    began = time.monotonic()
    answer = client.get(path)
    took = time.monotonic() - began
    assert answer.status_code == 503
    assert 'took too long' in answer.text
    assert 0.25 < took < 1.2
    wait_for(lambda: {'ended', 'teardown'} <= set(timed.ends[before:]), f'the ends in {timed.ends}')
    if path == '/plain':
        wait_for(lambda: 'woken' in timed.ends, 'the end of the wait')
    answer = client.get('/quick')
    assert answer.json() == {'result': 1}
    assert 'X-Late' not in answer.headers


def test_time_is_over_soon_after_it_is_over(client_for: ClientFor, timed: Timed) -> None:
    """The watch looks once a second; a route's time is exact. The best of five, as the machine is shared."""
    client = client_for(timed.app, threads=8)
    client.get('/quick')
    took = []
    for _ in range(5):
        began = time.monotonic()
        assert client.get('/plain').status_code == 503
        took.append(time.monotonic() - began)
    assert 0.3 <= min(took) < 0.35


def test_an_answer_that_has_begun_has_its_own_time(client_for: ClientFor, timed: Timed) -> None:
    assert client_for(timed.app).get('/stream').text == '0,1,2,3,4,'


def test_a_route_that_is_in_time_leaves_nothing(
    client_for: ClientFor, timed: Timed, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_for(timed.app)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            assert client.get('/quick').json() == {'result': 1}
        time.sleep(0.4)  # longer than the limit
    assert caplog.records == []
    assert timed.ends == ['teardown'] * 20


def test_contents_that_follow_each_other_for_ever(client_for: ClientFor) -> None:
    """Others get their turn on the only thread, and time ends it."""
    app = Atila('app')
    ends: list[str] = []
    app.teardown_request(lambda was: ends.append(was.request.path))

    def again(was: Any, task: Any) -> Any:
        return was.Mask(task.fetch() + 1).then(again)

    @app.route('/endless', timeout=1)
    def endless(was: Any) -> Any:
        return was.Mask(1).then(again)

    @app.route('/other')
    def other(was: Any) -> str:
        return 'other'

    client = client_for(app, threads=1)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.get, '/endless', timeout=20)
        while not asked.done():
            assert client.get('/other', timeout=5).text == 'other'
        assert asked.result().status_code == 503
    wait_for(lambda: '/endless' in ends, 'its end')


@pytest.mark.parametrize('times', [1, 20])
def test_a_service_that_swallows_its_cancellation(client_for: ClientFor, times: int) -> None:
    """B.17: it is given up as others are, at the latest a moment after its time."""
    app = Atila('app')

    @app.route('/', timeout=0.2)
    async def stubborn(was: Any) -> str:
        for _ in range(times):
            try:
                await asyncio.sleep(0.5 if times == 1 else 1)
            except asyncio.CancelledError:
                pass
        return 'late'

    started = time.monotonic()
    assert client_for(app).get('/').status_code == 503
    assert time.monotonic() - started < 10
