"""What `engine.granian` relies on, asked of the Granian that is installed."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop
from serving import DEADLINE

from skitai.config import Settings
from skitai.engine import granian, make_engine
from skitai.engine.stock import StockEngine
from skitai.mounts.table import MountTable

Serve = Callable[[Callable[[Any], None]], 'Served']


class Served:
    """A `DirectServer` with a dispatch function of the test's own, its loop in a thread."""

    def __init__(self, dispatch: Callable[[Any], None]) -> None:
        self.listener = socket.socket()
        self.listener.bind(('127.0.0.1', 0))
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.server = self.on_loop(self._start, dispatch)

    async def _start(self, dispatch: Callable[[Any], None]) -> granian.DirectServer:
        server = granian.DirectServer(Settings(threads=2), self.loop, lambda: None)
        server.start(self.listener, lambda watcher, now: dispatch(watcher))
        return server

    def on_loop(self, function: Callable[..., Any], *args: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(function(*args), self.loop).result(DEADLINE)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.listener.getsockname(), timeout=DEADLINE)

    def ask(self, request: bytes = b'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n') -> bytes:
        with self.connect() as connection:
            connection.sendall(request)
            return b''.join(iter(lambda: connection.recv(65536), b''))

    def stop(self) -> None:
        self.on_loop(self.server.stop, DEADLINE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(DEADLINE)
        self.loop.close()
        self.listener.close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    made: list[Served] = []

    def start(dispatch: Callable[[Any], None]) -> Served:
        made.append(Served(dispatch))
        return made[-1]

    yield start
    for served in made:
        served.stop()


def answer(proto: Any, body: bytes = b'answer') -> None:
    proto.send({'type': 'http.response.start', 'status': 200, 'headers': []})
    proto.send({'type': 'http.response.body', 'body': body, 'more_body': False})


def test_requests_come_on_threads_of_the_server(serve: Serve) -> None:
    seen: list[Any] = []

    def dispatch(watcher: Any) -> None:
        seen.append((watcher.scope['type'], watcher.scope['method'], threading.get_ident()))
        answer(watcher.proto)

    served = serve(dispatch)
    assert served.ask().endswith(b'answer')
    ((kind, method, thread),) = seen
    assert (kind, method) == ('http', 'GET')
    assert thread not in (threading.get_ident(), served._thread.ident)


def test_a_dropped_request_is_answered_with_500(serve: Serve) -> None:
    assert serve(lambda watcher: None).ask().startswith(b'HTTP/1.1 500')


def test_what_is_sent_at_once_has_nothing_to_wait_for(serve: Serve) -> None:
    made: list[Any] = []

    def dispatch(watcher: Any) -> None:
        made.append(watcher.proto.send({'type': 'http.response.start', 'status': 200, 'headers': []}))
        made.append(watcher.proto.send({'type': 'http.response.body', 'body': b'', 'more_body': False}))

    serve(dispatch).ask()
    first, second = made
    assert type(first) is type(second)
    assert not hasattr(first, 'done')


def test_a_body_arrives_without_the_event_loop(serve: Serve) -> None:
    """Each message completes on a thread of the server; the last one says that there is no more."""
    messages: list[Any] = []
    threads: set[int] = set()

    def dispatch(watcher: Any) -> None:
        def receive() -> None:
            awaitable = watcher.proto.receive()

            def take() -> None:
                threads.add(threading.get_ident())
                message = awaitable.result()
                messages.append(message)
                if message['more_body']:
                    receive()
                else:
                    answer(watcher.proto)

            if granian.Wake(take).wait(awaitable):
                take()

        receive()

    served = serve(dispatch)
    request = b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody'
    assert served.ask(request).endswith(b'answer')
    assert b''.join(message['body'] for message in messages) == b'body'
    assert {message['type'] for message in messages} == {'http.request'}
    assert threads.isdisjoint({served._thread.ident, threading.get_ident()})


def test_it_says_when_the_client_goes(serve: Serve) -> None:
    gone = threading.Event()
    waiting = threading.Event()

    def dispatch(watcher: Any) -> None:
        def until_gone() -> None:
            awaitable = watcher.proto.receive()
            waiting.set()

            def look() -> None:
                if awaitable.result()['type'] == 'http.disconnect':
                    answer(watcher.proto)  # swallowed
                    gone.set()
                else:
                    until_gone()

            if granian.Wake(look).wait(awaitable):
                look()

        until_gone()

    served = serve(dispatch)
    with served.connect() as connection:
        connection.sendall(b'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
        assert waiting.wait(DEADLINE)
    assert gone.wait(DEADLINE)


def test_a_slow_reader_is_waited_for(serve: Serve) -> None:
    """`send` comes back with something pending, which completes when the client has made room."""
    part, parts = b'x' * 100_000, 400
    sent: list[None] = []

    def dispatch(watcher: Any) -> None:
        proto = watcher.proto
        ready = type(proto.send({'type': 'http.response.start', 'status': 200, 'headers': []}))

        def go_on() -> None:
            while len(sent) < parts:
                sent.append(None)
                awaitable = proto.send({'type': 'http.response.body', 'body': part, 'more_body': True})
                if type(awaitable) is not ready and not granian.Wake(go_on).wait(awaitable):
                    return
            proto.send({'type': 'http.response.body', 'body': b'', 'more_body': False})

        go_on()

    served = serve(dispatch)
    with served.connect() as connection:
        connection.sendall(b'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
        before = -1
        end = time.monotonic() + DEADLINE
        while len(sent) != before or not sent:  # until the buffers on the way are full
            assert time.monotonic() < end
            before = len(sent)
            time.sleep(0.3)
        assert len(sent) < parts
        received = sum(map(len, iter(lambda: connection.recv(1 << 20), b'')))
    assert len(sent) == parts
    assert received > parts * len(part)


def test_pausing_leaves_connections_to_others(serve: Serve) -> None:
    """What stops accepting takes nothing from the socket's queue that it would not answer."""
    served = serve(lambda watcher: answer(watcher.proto))
    assert served.ask().endswith(b'answer')

    async def pause() -> None:
        served.server.pause()

    served.on_loop(pause)
    with served.connect() as connection:
        connection.sendall(b'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
        served.listener.settimeout(DEADLINE)
        accepted, _ = served.listener.accept()
        with accepted:
            assert accepted.recv(3) == b'GET'


def test_breaking_off_ends_that_connection_only(serve: Serve) -> None:
    def dispatch(watcher: Any) -> None:
        if watcher.scope['path'] == '/break':
            granian.break_off((watcher.scope['client'][0], int(watcher.scope['client'][1])))
        answer(watcher.proto)

    served = serve(dispatch)
    with served.connect() as other:
        assert served.ask(b'GET /break HTTP/1.1\r\nHost: a\r\n\r\n') == b''
        other.sendall(b'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
        assert other.recv(100).startswith(b'HTTP/1.1 200')


def test_direct_dispatch_is_possible() -> None:
    assert granian.direct_dispatch_is_possible()


def test_without_its_names_the_fallback_serves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Logged, so that nobody wonders why it is slower."""
    monkeypatch.setattr(granian, '_granian', object())
    monkeypatch.setattr('skitai.engine.stock.StockServer', lambda settings, loop: None)
    loop = asyncio.new_event_loop()
    with caplog.at_level(logging.WARNING):
        engine = make_engine(MountTable(), Settings(), loop, None)
    loop.close()
    assert isinstance(engine, StockEngine)
    assert 'slower' in caplog.text


def test_idle_threads_are_kept(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that the server ended for idleness was counted as awake for ever, and everybody else slept."""
    given: list[float] = []
    make = granian._granian.ASGIWorker

    def record(**options: Any) -> Any:
        given.append(options['py_threads_idle_timeout'])
        return make(**options)

    monkeypatch.setattr(granian._granian, 'ASGIWorker', record)
    served = serve(lambda watcher: answer(watcher.proto))
    assert served.ask().startswith(b'HTTP/1.1 200')  # it takes so large a number
    assert given[0] > 365 * 86400
