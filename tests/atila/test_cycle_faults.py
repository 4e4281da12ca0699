"""The walk of a request when things go wrong: what raises, comes late, or is left by its client.

Each test is for a fault that was found, or guards a property that is easily lost: one answer, whole; one
teardown, whatever happened (SPEC RC-03, RC-04, RC-08, CO-08, CO-09).
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from projects import wait_for
from serving import DEADLINE, Direct

from atila import Atila
from skitai.engine import direct
from skitai.testing import Client

ClientFor = Callable[..., Client]
DirectFor = Callable[..., Direct]

#: Longer than `request_timeout = 1`, which is looked at once a second.
LATE = 2.3


def counted(**hooks: Callable[..., Any]) -> tuple[Atila, Counter[str]]:
    """An app with every hook, which counts the calls; `hooks` are called, too."""
    app, calls, lock = Atila('app'), Counter[str](), threading.Lock()

    def call(kind: str, *args: Any) -> Any:
        with lock:
            calls[kind] += 1
        return hooks[kind](*args) if kind in hooks else None

    app.before_request(lambda was: call('before_request', was))
    app.finish_request(lambda was, response: call('finish_request', was, response))
    app.failed_request(lambda was, expt: call('failed_request', was, expt))
    app.teardown_request(lambda was: call('teardown_request', was))
    return app, calls


def raising(kind: type[BaseException]) -> Callable[..., Any]:
    def fail(*args: Any) -> None:
        raise kind

    return fail


def late(*args: Any) -> None:
    time.sleep(LATE)


def one_teardown(calls: Counter[str]) -> None:
    wait_for(lambda: calls['teardown_request'], f'a teardown; called: {calls}', 5)
    time.sleep(0.1)  # for a second one, which must not come
    assert calls['teardown_request'] == 1, calls


# -- streams of `async def` services ---------------------------------------------------------------


@pytest.mark.parametrize('path', ['/generator', '/file'])
@pytest.mark.parametrize('hooks', [False, True])
def test_streams_of_async_services_are_whole(
    direct_for: DirectFor, tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str, hooks: bool
) -> None:
    """The watch for the client's going is one for the coroutine and the stream it answers with."""
    app = counted()[0] if hooks else Atila('app')
    (tmp_path / 'large').write_bytes(b'y' * 200_000)

    @app.route('/generator')
    async def generator(was: Any) -> Any:
        await asyncio.sleep(0)
        return ('y' * 20_000 for _ in range(10))

    @app.route('/file')
    async def file(was: Any) -> Any:
        await asyncio.sleep(0)
        return was.File(str(tmp_path / 'large'))

    port = direct_for(app, threads=4).port

    def ask(_: int) -> Counter[Any]:
        found: Counter[Any] = Counter()
        with closing(http.client.HTTPConnection('127.0.0.1', port, timeout=5)) as connection:
            for _ in range(25):
                connection.request('GET', path)
                with connection.getresponse() as answer:
                    found[answer.status, len(answer.read())] += 1
        return found

    with ThreadPoolExecutor(16) as clients:
        found = sum(clients.map(ask, range(16)), Counter())
    assert found == {(200, 200_000): 400}
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def _stalled(port: int, path: bytes) -> socket.socket:
    """A client that reads the beginning of an answer and no more."""
    connection = socket.create_connection(('127.0.0.1', port), timeout=DEADLINE)
    connection.sendall(b'GET %s HTTP/1.1\r\nHost: t\r\n\r\n' % path)
    assert connection.recv(100)
    return connection


def test_async_stream_ends_when_the_client_takes_nothing(
    direct_for: DirectFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SPEC CO-09, also for a stalled client: the generator is closed, the request ends."""
    monkeypatch.setattr(direct, 'max', lambda *values: 1.0, raising=False)  # else a minute at least
    app, calls = counted()
    closed = threading.Event()

    @app.route('/')
    async def endless(was: Any) -> AsyncIterator[str]:
        try:
            while not given_up.is_set():
                yield 'x' * 100_000
                await asyncio.sleep(0.001)
        finally:
            closed.set()

    given_up = threading.Event()
    with _stalled(direct_for(app).port, b'/'):
        try:
            assert closed.wait(6), 'the stream goes on for nobody'
        finally:
            given_up.set()
    one_teardown(calls)


def test_teardown_after_an_async_stream_whose_closing_fails(direct_for: DirectFor) -> None:
    """SPEC RC-04."""
    app, calls = counted()

    @app.route('/')
    async def endless(was: Any) -> AsyncIterator[str]:
        try:
            while True:
                yield 'x' * 100_000
        finally:
            raise LookupError('while it is closed')

    with _stalled(direct_for(app).port, b'/'):
        pass
    one_teardown(calls)


@pytest.mark.parametrize('error', [LookupError, SystemExit])
def test_async_stream_that_fails_at_once_is_a_failed_request(
    client_for: ClientFor, error: type[BaseException]
) -> None:
    """SPEC RC-03, CO-08: as for a generator; and the request ends once."""
    app, calls = counted()

    @app.route('/')
    async def service(was: Any) -> AsyncIterator[str]:
        raise error
        yield ''

    assert client_for(app).get('/').status_code == 500
    one_teardown(calls)
    assert (calls['failed_request'], calls['finish_request']) == (1, 0)


# -- what may be raised ------------------------------------------------------------------------------


@pytest.mark.parametrize('path', ['/async', '/async-generator'])
@pytest.mark.parametrize('hooks', [False, True])
def test_cancelled_error_of_a_service_is_answered(client_for: ClientFor, path: str, hooks: bool) -> None:
    """A service that awaits something cancelled has failed; its client is still there."""
    app, calls = counted() if hooks else (Atila('app'), Counter[str]())

    @app.route('/async')
    async def service(was: Any) -> str:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    @app.route('/async-generator')
    async def generator(was: Any) -> AsyncIterator[str]:
        await asyncio.sleep(0)
        raise asyncio.CancelledError
        yield ''

    assert client_for(app, request_timeout=3).get(path, timeout=6).status_code == 500
    if hooks:
        one_teardown(calls)


FORMS = ['/plain', '/async']


def _add_failing(app: Atila) -> None:
    @app.route('/plain')
    def plain(was: Any) -> str:
        raise LookupError('on purpose')

    @app.route('/async')
    async def awaits(was: Any) -> str:
        raise LookupError('on purpose')


@pytest.mark.parametrize('path', FORMS)
def test_exit_in_the_failed_request_hook(client_for: ClientFor, path: str) -> None:
    """Answered at once, and torn down."""
    app, calls = counted(failed_request=raising(SystemExit))
    _add_failing(app)
    assert client_for(app, request_timeout=2).get(path).status_code == 500
    one_teardown(calls)


@pytest.mark.parametrize('path', FORMS)
def test_exit_in_an_error_handler(client_for: ClientFor, path: str) -> None:
    """SPEC ER-04."""
    app, calls = counted()
    _add_failing(app)
    app.default_error_handler(lambda was, error: sys.exit(1))
    assert client_for(app, request_timeout=2).get(path).status_code == 500
    one_teardown(calls)


def test_exit_in_the_teardown_hook_changes_nothing(client_for: ClientFor) -> None:
    """SPEC RC-04."""
    app, calls = counted(teardown_request=raising(SystemExit))
    app.route('/')(lambda was: 'content')
    assert client_for(app).get('/').text == 'content'
    one_teardown(calls)
    assert calls['failed_request'] == 0


# -- what comes too late ----------------------------------------------------------------------------


@pytest.mark.parametrize('path', FORMS)
def test_teardown_after_a_failed_request_hook_that_takes_too_long(client_for: ClientFor, path: str) -> None:
    app, calls = counted(failed_request=late)
    _add_failing(app)
    assert client_for(app, request_timeout=1).get(path).status_code == 503
    one_teardown(calls)


@pytest.mark.parametrize('path', ['/plain', '/async', '/generator', '/async-generator'])
@pytest.mark.parametrize('kind', ['before_request', 'finish_request'])
def test_teardown_after_a_hook_that_takes_too_long(client_for: ClientFor, path: str, kind: str) -> None:
    app, calls = counted(**{kind: late})
    ended = threading.Event()

    @app.route('/plain')
    def plain(was: Any) -> str:
        return 'content'

    @app.route('/async')
    async def awaits(was: Any) -> str:
        return 'content'

    @app.route('/generator')
    def generator(was: Any) -> Iterator[str]:
        yield 'content'

    @app.route('/async-generator')
    async def async_generator(was: Any) -> AsyncIterator[str]:
        while not ended.is_set():  # for nobody, if it is run after all
            yield 'content'
            await asyncio.sleep(0.001)

    try:
        assert client_for(app, request_timeout=1).get(path).status_code == 503
        one_teardown(calls)
    finally:
        ended.set()


def test_late_async_service_never_sees_another_body(client_for: ClientFor) -> None:
    """When the request was given up before its service began, that is not run with an empty body."""
    app, calls = counted(before_request=late)
    bodies: list[bytes] = []

    @app.route('/', methods=['POST'])
    async def service(was: Any) -> str:
        await asyncio.sleep(0.1)
        bodies.append(was.request.body)
        return 'content'

    answer = client_for(app, request_timeout=1).post('/', b'the body', headers={'Content-Type': 'text/plain'})
    assert answer.status_code == 503
    one_teardown(calls)
    assert bodies in ([], [b'the body'])


def test_late_async_stream_leaves_the_event_loop_free(direct_for: DirectFor) -> None:
    """A stream that never waits, made for a request that was given up, must not run at all."""
    app, ended = Atila('app'), threading.Event()

    async def endless() -> AsyncIterator[str]:
        while not ended.is_set():
            yield 'x'

    @app.route('/late')
    def service(was: Any) -> Any:
        late()
        return endless()

    @app.route('/other')
    async def other(was: Any) -> str:
        return 'content'

    port = direct_for(app, request_timeout=1).port

    def ask(path: str) -> int:
        with closing(http.client.HTTPConnection('127.0.0.1', port, timeout=5)) as connection:
            connection.request('GET', path)
            with connection.getresponse() as answer:
                return answer.status

    try:
        assert ask('/late') == 503
        until = time.monotonic() + LATE  # the service ends meanwhile
        while time.monotonic() < until:
            assert ask('/other') == 200
    finally:
        ended.set()


# -- the same with and without hooks ----------------------------------------------------------------


def test_a_file_object_is_sent_the_same_way_with_hooks(client_for: ClientFor, tmp_path: Path) -> None:
    """It is read in chunks, not in lines (a binary file may be one line of a gigabyte)."""
    (tmp_path / 'a').write_bytes(b'\n' * 100_000)

    def add(app: Atila) -> Atila:
        @app.route('/')
        def service(was: Any) -> Any:
            return (tmp_path / 'a').open('rb')

        return app

    bare = client_for(add(Atila('bare'))).get('/')
    seen: list[int] = []
    app, _ = counted(finish_request=lambda was, response: seen.append(hasattr(response, 'read')))
    hooked = client_for(add(app)).get('/')
    assert hooked.content == bare.content
    assert hooked.headers['content-type'] == bare.headers['content-type']
    assert seen == [True]


@pytest.mark.parametrize('kind', ['before_request', 'finish_request', 'failed_request', 'teardown_request'])
def test_asynchronous_hooks_are_refused_at_decoration(kind: str) -> None:
    """They would never be run: a mistake that is told, as for events and maintain jobs."""

    async def one(was: Any) -> None: ...

    async def two(was: Any, more: Any) -> None: ...

    with pytest.raises(TypeError, match='async'):
        getattr(Atila('app'), kind)(two if kind in ('finish_request', 'failed_request') else one)


def test_a_hook_may_have_more_parameters_with_defaults() -> None:
    app = Atila('app')
    app.before_request(lambda was, kind='x': None)
    app.teardown_request(lambda was, kind='x': None)


def test_teardown_of_a_head_request_follows_the_generator(client_for: ClientFor) -> None:
    """SPEC RC-04: always, last."""
    app, calls = counted()
    order: list[int] = []

    @app.route('/')
    def service(was: Any) -> Iterator[str]:
        try:
            yield 'content'
        finally:
            order.append(calls['teardown_request'])

    assert client_for(app).head('/').status_code == 200
    one_teardown(calls)
    assert order == [0]
