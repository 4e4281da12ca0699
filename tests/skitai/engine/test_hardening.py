"""The engine against clients that are malformed, slow, many or gone (PITFALLS; SPEC FU-06, ER-09, GEN-05).

A server in a process of its own, spoken to in bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import requests
from h2.connection import H2Connection
from h2.events import DataReceived
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import Direct, parse_answer, request_bytes, send_raw

from atila import Atila

SITE = f'{Path(__file__).parent / "hardening_site.py"}:site'
LIMIT = 10_000
DEADLINE = 20.0

Server = Any
Serve = Callable[..., Server]


def wait_until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f'not within {seconds:g} s: {what}'
        time.sleep(0.01)
    return value


def started(serve: Serve, **changed: Any) -> Server:
    values = {'max_upload_size': LIMIT, 'access_log': False, **changed}
    return serve(SITE, settings=values, **values)


@pytest.fixture(scope='module')
def server(serve: Serve) -> Server:
    return started(serve, keep_alive=3.0)


def seen(server: Server) -> dict[str, int]:
    found: dict[str, int] = requests.get(server.url + '/seen', timeout=DEADLINE).json()
    return found


def sent(server: Server, data: bytes, method: str = 'GET') -> Any:
    return parse_answer(send_raw(server.connect(), data), method)


def complaints(server: Server) -> list[str]:
    """What the log says of its own failures."""
    return [
        line
        for line in server.log().splitlines()
        if re.search('Traceback|ERROR|panicked|protocol failure', line)
    ]


HOST = b'Host: t\r\nConnection: close\r\n'
CHUNKED = b'POST /echo HTTP/1.1\r\n' + HOST + b'Transfer-Encoding: chunked\r\n\r\n'
POST = b'POST /echo HTTP/1.1\r\n' + HOST

MALFORMED = {
    'no request line': b'GARBAGE\r\n\r\n',
    'a method alone': b'GET\r\n\r\n',
    'no version': b'GET /\r\n\r\n',
    'an unknown version': b'GET / HTTP/9.9\r\n' + HOST + b'\r\n',
    'an old version': b'GET / HTTP/0.9\r\n\r\n',
    'a method that is no token': b'G@T / HTTP/1.1\r\n' + HOST + b'\r\n',
    'tls': b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n',
    'no host': b'GET / HTTP/1.1\r\nConnection: close\r\n\r\n',
    'an empty host': b'GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n',
    'two hosts': b'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n',
    'a negative length': POST + b'Content-Length: -1\r\n\r\n',
    'a length that is no number': POST + b'Content-Length: abc\r\n\r\nabc',
    'a signed length': POST + b'Content-Length: +3\r\n\r\nabc',
    'two lengths': POST + b'Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd',
    'a list of lengths': POST + b'Content-Length: 3, 4\r\n\r\nabcd',
    'an immense length': POST + b'Content-Length: 99999999999999999999999\r\n\r\nabc',
    'another coding': POST + b'Transfer-Encoding: gzip\r\n\r\nabc',
    'chunked not last': POST + b'Transfer-Encoding: chunked, gzip\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
    'a chunk size that is no number': CHUNKED + b'zz\r\nabc\r\n0\r\n\r\n',
    'a negative chunk size': CHUNKED + b'-3\r\nabc\r\n0\r\n\r\n',
    'an immense chunk size': CHUNKED + b'ffffffffffffffffff\r\nabc\r\n0\r\n\r\n',
    'a chunk longer than its size': CHUNKED + b'3\r\nabcd\r\n0\r\n\r\n',
    'a bad chunk after a good one': CHUNKED + b'3\r\nabc\r\n;\r\n0\r\n\r\n',
    'a field without colon': b'GET / HTTP/1.1\r\n' + HOST + b'no colon\r\n\r\n',
    'a blank before the colon': b'GET / HTTP/1.1\r\n' + HOST + b'X : y\r\n\r\n',
    'a folded field': b'GET / HTTP/1.1\r\n' + HOST + b'X: y\r\n z\r\n\r\n',
    'a NUL in a field': b'GET / HTTP/1.1\r\n' + HOST + b'X: a\x00b\r\n\r\n',
    'a NUL in the path': b'GET /a\x00b HTTP/1.1\r\n' + HOST + b'\r\n',
    'a path that is not UTF-8': b'GET /\xff\xfe HTTP/1.1\r\n' + HOST + b'\r\n',
    'a query that is not UTF-8': b'GET /?\xff HTTP/1.1\r\n' + HOST + b'\r\n',
    'a blank in the path': b'GET /a b HTTP/1.1\r\n' + HOST + b'\r\n',
    'an authority as target': b'GET t:80 HTTP/1.1\r\n' + HOST + b'\r\n',
    'a word as target': b'GET index HTTP/1.1\r\n' + HOST + b'\r\n',
    'a field of 600 KB': b'GET / HTTP/1.1\r\n' + HOST + b'X: ' + b'x' * 600_000 + b'\r\n\r\n',
    '2,000 fields': b'GET / HTTP/1.1\r\n' + HOST + b'X: y\r\n' * 2000 + b'\r\n',
    'a path of 70 KB': b'GET /' + b'x' * 70_000 + b' HTTP/1.1\r\n' + HOST + b'\r\n',
}


@pytest.mark.parametrize('kind', MALFORMED)
def test_a_malformed_request(server: Server, kind: str) -> None:
    """PITFALLS, Serving: a 4xx or no answer, nothing in the log, nothing for the service."""
    before = seen(server)
    answer = sent(server, MALFORMED[kind])
    assert answer.status == 0 or 400 <= answer.status < 500, answer
    assert seen(server) == before
    assert not complaints(server)


UNUSUAL = {
    'an unknown method': (b'BREW / HTTP/1.1\r\n' + HOST + b'\r\n', 405),
    'a method in lower case': (b'get / HTTP/1.1\r\n' + HOST + b'\r\n', 405),
    'connect': (b'CONNECT t:80 HTTP/1.1\r\n' + HOST + b'\r\n', 400),
    'the server as target': (b'OPTIONS * HTTP/1.1\r\n' + HOST + b'\r\n', 404),
    'malformed percents': (b'GET /%zz HTTP/1.1\r\n' + HOST + b'\r\n', 404),
    'percents that are not UTF-8': (b'GET /%ff HTTP/1.1\r\n' + HOST + b'\r\n', 400),
    'an encoded NUL': (b'GET /%00 HTTP/1.1\r\n' + HOST + b'\r\n', 404),
    'dots': (b'GET /../../etc/passwd HTTP/1.1\r\n' + HOST + b'\r\n', 404),
    'encoded dots': (b'GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n' + HOST + b'\r\n', 404),
}


@pytest.mark.parametrize('kind', UNUSUAL)
def test_an_unusual_request(server: Server, kind: str) -> None:
    """PITFALLS, Serving: well-formed, but for no service."""
    before = seen(server)
    data, status = UNUSUAL[kind]
    assert sent(server, data).status == status
    assert seen(server) == before
    assert not complaints(server)


ACCEPTED = {
    'absolute form': b'GET http://t/ HTTP/1.1\r\n' + HOST + b'\r\n',
    'absolute form without path': b'GET http://t HTTP/1.1\r\n' + HOST + b'\r\n',
    'HTTP/1.0': b'GET / HTTP/1.0\r\n\r\n',
    'empty lines before': b'\r\n\r\nGET / HTTP/1.1\r\n' + HOST + b'\r\n',
    'a query in UTF-8': b'GET /?\xc3\xa4=1 HTTP/1.1\r\n' + HOST + b'\r\n',
    'an empty query': b'GET /? HTTP/1.1\r\n' + HOST + b'\r\n',
}


@pytest.mark.parametrize('kind', ACCEPTED)
def test_a_request_that_must_be_accepted(server: Server, kind: str) -> None:
    """RFC 9112, 2.2, 3.2.2."""
    assert sent(server, ACCEPTED[kind]).body == b'Hello, World'


def test_both_length_and_chunked(server: Server) -> None:
    """RFC 9112, 6.3: the chunks count, and nothing behind them is taken for a request (smuggling)."""
    for length in (b'0', b'5', b'40'):
        before = seen(server).get('service', 0)
        data = (
            POST + b'Content-Length: %s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n' % length
        )
        received = send_raw(server.connect(), data + b'GET / HTTP/1.1\r\nHost: t\r\n\r\n')
        assert received.count(b'HTTP/1.1 ') == 1
        assert parse_answer(received).body == b'abc'
        assert seen(server).get('service', 0) == before


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    """RFC 9112, 9.3.2."""
    body = b'second'
    requests_ = (
        b'GET / HTTP/1.1\r\nHost: t\r\n\r\n'
        + b'POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body)
        + b'GET /nope HTTP/1.1\r\nHost: t\r\n\r\n'
        + b'GET / HTTP/1.1\r\n'
        + HOST
        + b'\r\n'
    )
    received = send_raw(server.connect(), requests_)
    assert re.findall(rb'HTTP/1.1 (\d+)', received) == [b'200', b'200', b'404', b'200']
    assert received.index(b'Hello') < received.index(b'second') < received.index(b'404')


# -- bodies ----------------------------------------------------------------------------------------


def test_a_large_body_is_refused_before_it_is_sent(server: Server) -> None:
    """FU-06: with `Expect: 100-continue` the client never sends it."""
    before = seen(server)
    data = b'POST /echo HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n' % (
        LIMIT + 1
    )
    with server.connect() as connection:
        connection.sendall(data)
        assert connection.recv(65536).startswith(b'HTTP/1.1 413')
    assert seen(server) == before


def test_a_body_that_is_waited_for(server: Server) -> None:
    """RFC 9110, 10.1.1: 100, then the answer."""
    with server.connect() as connection:
        connection.sendall(POST + b'Expect: 100-continue\r\nContent-Length: 3\r\n\r\n')
        assert connection.recv(65536).startswith(b'HTTP/1.1 100')
        connection.sendall(b'abc')
        assert parse_answer(b''.join(iter(lambda: connection.recv(65536), b''))).body == b'abc'


def test_a_chunked_body_over_the_limit(server: Server) -> None:
    """FU-06: 413 as soon as it is too large; the client that still sends can read it."""
    before = seen(server)
    chunk = b'%x\r\n%s\r\n' % (LIMIT, b'x' * LIMIT)
    answer = sent(server, CHUNKED + chunk * 20 + b'0\r\n\r\n')
    assert answer.status == 413
    assert seen(server) == before


def test_a_body_over_the_limit_that_is_sent_at_once(server: Server) -> None:
    """FU-06: the answer arrives, it isn't lost in a reset."""
    size = 500_000
    answer = sent(server, POST + b'Content-Length: %d\r\n\r\n' % size + b'x' * size)
    assert (answer.status, json.loads(answer.body)['code']) == (413, 41300)


@pytest.mark.parametrize('head', [POST + b'Content-Length: 100\r\n\r\n', CHUNKED + b'64\r\n'])
def test_a_body_that_is_cut_off(server: Server, head: bytes) -> None:
    """PITFALLS, Serving: it never reaches the service, nor the log."""
    before = seen(server)
    for ending in ('close', 'reset', 'shutdown'):
        with server.connect() as connection:
            connection.sendall(head + b'half')
            if ending == 'reset':
                connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b'\x01\x00\x00\x00\x00\x00\x00\x00'
                )
            elif ending == 'shutdown':
                connection.shutdown(socket.SHUT_WR)
                answer = b''.join(iter(lambda c=connection: c.recv(65536), b''))
                assert answer == b'' or answer.startswith(b'HTTP/1.1 4')
    assert seen(server) == before
    assert not complaints(server)


# -- time ------------------------------------------------------------------------------------------


def test_headers_that_do_not_come(server: Server) -> None:
    """PITFALLS, Serving: the connection is closed when the time for a header block is over."""
    began = time.monotonic()
    with server.connect() as connection:
        connection.sendall(b'GET / HTTP/1.1\r\nHost: t\r\nX-Slow: ')
        received = b''.join(iter(lambda: connection.recv(65536), b''))
    assert time.monotonic() - began < 10
    assert received == b'' or received.startswith(b'HTTP/1.1 408')
    assert not complaints(server)


def test_a_body_that_stalls(serve: Serve) -> None:
    """ER-09: 408 after `network_timeout`."""
    server = started(serve, network_timeout=1.0)
    for head in (POST + b'Content-Length: 100\r\n\r\n', CHUNKED + b'64\r\n'):
        began = time.monotonic()
        with server.connect() as connection:
            connection.sendall(head + b'half')
            assert connection.recv(65536).startswith(b'HTTP/1.1 408')
        assert 0.9 < time.monotonic() - began < 4
    assert seen(server).get('echo') is None


def test_a_request_that_takes_too_long(serve: Serve) -> None:
    """ER-09: 503 after `request_timeout`; the late answer is dropped, the connection stays sound."""
    server = started(serve, request_timeout=1.0, threads=2)
    with requests.Session() as session:
        began = time.monotonic()
        response = session.get(server.url + '/sleep/3.5', timeout=DEADLINE)
        assert response.status_code == 503
        assert 0.9 < time.monotonic() - began < 3.4
        assert session.get(server.url + '/', timeout=DEADLINE).text == 'Hello, World'
        assert session.get(server.url + '/wait', timeout=DEADLINE).status_code == 503
        wait_until(lambda: seen(server).get('slept'), 'the end of the late service')
        assert session.get(server.url + '/', timeout=DEADLINE).text == 'Hello, World'
    assert seen(server)['cancelled'] == 1
    assert 'Traceback' not in server.log()


def test_more_requests_than_may_wait(serve: Serve) -> None:
    """ER-09: 503 with Retry-After, at once; those in the queue are served."""
    server = started(serve, threads=2, queue=3, retry_after=7)
    statuses: list[int] = []
    retry: list[str | None] = []

    def ask() -> None:
        response = requests.get(server.url + '/sleep/1.5', timeout=DEADLINE)
        statuses.append(response.status_code)
        if response.status_code == 503:
            retry.append(response.headers.get('Retry-After'))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert sorted(statuses) == [200] * 5 + [503] * 7
    assert retry == ['7'] * 7
    assert requests.get(server.url, timeout=DEADLINE).status_code == 200


# -- crowds ----------------------------------------------------------------------------------------


def median_time(server: Server, count: int = 100) -> float:
    """Seconds that one of many sequential requests on one connection takes."""
    times = []
    with requests.Session() as session:
        session.get(server.url, timeout=DEADLINE)
        for _ in range(count):
            began = time.perf_counter()
            assert session.get(server.url, timeout=DEADLINE).status_code == 200
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def test_no_stalls(server: Server) -> None:
    """PITFALLS, Serving: no delayed acknowledgements (40 ms)."""
    assert median_time(server, 200) < 0.02


def test_slow_uploads_delay_nobody(server: Server) -> None:
    """GEN-05: 64 clients in the middle of an upload hold no thread."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(64)]
        for connection in connections:
            connection.sendall(POST + b'Content-Length: 1000\r\n\r\n' + b'x' * 500)
        assert median_time(server) < 0.02
        for connection in connections:
            connection.sendall(b'x' * 500)
        for connection in connections:
            answer = parse_answer(b''.join(iter(lambda c=connection: c.recv(65536), b'')))
            assert answer.body == b'x' * 1000


def test_idle_connections_delay_nobody(serve: Serve) -> None:
    """GEN-05: 1,000 of them."""
    server = started(serve)
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(1000):
            connection = stack.enter_context(server.connect())
            connection.sendall(b'GET / HTTP/1.1\r\nHost: t\r\n\r\n')
            connections.append(connection)
        for connection in connections:
            assert connection.recv(65536).startswith(b'HTTP/1.1 200')
        assert median_time(server) < 0.02
        connections[500].sendall(b'GET / HTTP/1.1\r\n' + HOST + b'\r\n')
        assert connections[500].recv(65536).startswith(b'HTTP/1.1 200')


def test_a_slow_reader_costs_no_memory(serve: Serve) -> None:
    """GEN-05, RS-17: a stream of 300 MB is made at its reader's pace, and holds no thread."""
    server = started(serve, threads=1)
    median_time(server)
    before = server.memory()
    with server.connect() as connection:
        connection.sendall(b'GET /megabytes/300 HTTP/1.1\r\n' + HOST + b'\r\n')
        end = time.monotonic() + 3
        received = 0
        while time.monotonic() < end:
            received += len(connection.recv(100_000))
            time.sleep(0.1)
        grown = server.memory() - before
        assert median_time(server, 20) < 0.05
    assert 500_000 < received < 20_000_000
    assert grown < 10_000_000


def test_requests_leave_nothing_behind(serve: Serve) -> None:
    """PITFALLS, One client sees another's data: what belonged to a request goes with it."""
    server = started(serve, max_upload_size=1_000_000)

    def ask(count: int) -> None:
        with requests.Session() as session:
            for _ in range(count):
                session.get(server.url + '/context/async', timeout=DEADLINE)
                session.get(server.url + '/megabytes/0', timeout=DEADLINE)
                session.post(server.url + '/echo', iter([b'x' * 50_000, b'y' * 50_000]), timeout=DEADLINE)

    ask(50)
    before = server.memory()
    ask(300)  # 30 MB of bodies
    assert server.memory() - before < 6_000_000


# -- streams ---------------------------------------------------------------------------------------


@pytest.mark.parametrize('path', ['/broken', '/broken/async'])
def test_a_stream_that_fails_is_incomplete(server: Server, path: str) -> None:
    """PITFALLS, Errors: no end of the chunked body, so that the client can tell."""
    received = send_raw(server.connect(), request_bytes(target=path.encode()))
    assert b'transfer-encoding: chunked' in received.lower() or received == b''
    assert not received.endswith(b'0\r\n\r\n')
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        _ = requests.get(server.url + path, timeout=DEADLINE).content


def test_a_stream_ends_with_its_reader(server: Server) -> None:
    """RS-17: the generator's `finally` runs when the client has gone."""
    closed = seen(server).get('closed', 0)
    for _ in range(3):
        with server.connect() as connection:
            connection.sendall(request_bytes(target=b'/endless'))
            assert connection.recv(65536)
    wait_until(lambda: seen(server).get('closed', 0) == closed + 3, 'the end of the streams')


def test_an_async_service_ends_with_its_client(server: Server) -> None:
    """GEN-05: it is cancelled, which is no failure."""
    before, quiet = seen(server), complaints(server)
    with server.connect() as connection:
        connection.sendall(request_bytes(target=b'/wait'))
        wait_until(lambda: seen(server).get('waiting', 0) > before.get('waiting', 0), 'the service')
    wait_until(lambda: seen(server).get('cancelled', 0) > before.get('cancelled', 0), 'its end')
    assert complaints(server) == quiet


@pytest.mark.parametrize('path', ['/context', '/context/async'])
def test_nothing_in_a_context_variable_is_seen_by_the_next_request(serve: Serve, path: str) -> None:
    """PITFALLS, One client sees another's data: on one thread, on the event loop."""
    server = started(serve, threads=1)
    with requests.Session() as session:
        assert [session.get(server.url + path, timeout=DEADLINE).json()['before'] for _ in range(20)] == [
            None
        ] * 20


def test_a_broken_stream_leaves_no_descriptor(server: Server) -> None:
    """PITFALLS, Serving: breaking connections off uses nothing up."""

    def descriptors() -> int:
        return len(list(Path(f'/proc/{server.pid}/fd').iterdir()))

    def break_some() -> None:
        for _ in range(10):
            send_raw(server.connect(), request_bytes(target=b'/broken'))

    break_some()
    before = descriptors()
    break_some()
    wait_until(lambda: descriptors() <= before + 3, 'the descriptors of broken streams')


# -- HTTP/2 ----------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def h2(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(http1=False, http2=True, base_url=server.url, timeout=DEADLINE) as client:
        yield client


def test_http_2_get(h2: httpx2.Client) -> None:
    """RQ-03: with prior knowledge."""
    response = h2.get('/')
    assert (response.http_version, response.status_code, response.text) == ('HTTP/2', 200, 'Hello, World')
    assert h2.get('/nope').status_code == 404


def test_http_2_bodies(h2: httpx2.Client) -> None:
    """PR-07: with and without a length."""
    assert h2.post('/echo', content=b'abc').content == b'abc'
    assert h2.post('/echo', content=iter([b'abc', b'def'])).content == b'abcdef'
    assert h2.post('/echo', content=iter([])).content == b''
    assert h2.post('/echo').content == b''


def test_http_2_bodies_over_the_limit(h2: httpx2.Client) -> None:
    """FU-06."""
    assert h2.post('/echo', content=b'x' * (LIMIT + 1)).status_code == 413
    assert h2.post('/echo', content=iter([b'x' * LIMIT, b'x'])).status_code == 413
    assert h2.get('/').status_code == 200


def test_http_2_streams_and_head(h2: httpx2.Client) -> None:
    """RS-17, RT-02."""
    with h2.stream('GET', '/megabytes/3') as response:
        assert sum(len(part) for part in response.iter_bytes()) == 3 * 1024 * 1024
    response = h2.head('/')
    assert (response.status_code, response.content, response.headers['content-length']) == (200, b'', '12')
    assert h2.head('/megabytes/1').content == b''


def test_http_2_stream_that_fails(server: Server) -> None:
    """PITFALLS, Errors: over HTTP/2, too, the client can tell."""
    with httpx2.Client(http1=False, http2=True, base_url=server.url, timeout=DEADLINE) as client:
        with pytest.raises(httpx2.TransportError):
            client.get('/broken')
        assert client.get('/').status_code == 200


@pytest.mark.parametrize('path', ['/endless', '/endless-coroutine', '/endless-async'])
def test_http_2_a_stream_that_its_client_resets(direct_for: Any, path: str) -> None:
    """CO-08: it ends alone, the connection's others go on."""
    app = Atila('app')

    @app.route('/endless')
    def endless(was: Any) -> Any:
        def parts() -> Any:
            while True:
                was.Thread(time.sleep, 0.02).fetch()
                yield 'x' * 1000

        return parts()

    @app.route('/endless-coroutine', coroutine=True)
    def coroutine(was: Any) -> Any:
        while True:
            yield was.Thread(time.sleep, 0.02)
            yield 'x' * 1000

    @app.route('/endless-async')
    async def asynchronous(was: Any) -> Any:
        async def parts() -> Any:
            while True:
                await asyncio.sleep(0.02)
                yield 'x' * 1000

        return parts()

    @app.route('/other')
    def other(was: Any) -> Any:
        time.sleep(2)
        return 'other'

    connection = H2Connection()
    connection.initiate_connection()
    with socket.create_connection(('127.0.0.1', direct_for(app).port), timeout=DEADLINE) as peer:

        def send(stream: int, path: str) -> None:
            fields = {':method': 'GET', ':scheme': 'http', ':authority': 'a', ':path': path}
            connection.send_headers(stream, list(fields.items()), end_stream=True)
            peer.sendall(connection.data_to_send())

        def receive(kind: type[Any], stream: int) -> Any:
            while True:
                data = peer.recv(65536)
                assert data, 'the server closed the connection'
                for event in connection.receive_data(data):
                    if isinstance(event, kind) and event.stream_id == stream:  # type: ignore[attr-defined]
                        return event

        send(1, path)
        receive(DataReceived, 1)
        time.sleep(0.4)  # until the client is watched
        send(3, '/other')
        connection.reset_stream(1)
        peer.sendall(connection.data_to_send())
        assert receive(DataReceived, 3).data == b'other'


def test_http_2_requests_at_once(server: Server) -> None:
    """GEN-05: many streams of one connection."""
    with httpx2.Client(http1=False, http2=True, base_url=server.url, timeout=DEADLINE) as client:
        client.get('/')
        found: list[bytes] = []
        threads = [
            threading.Thread(target=lambda n=n: found.append(client.post('/echo', content=b'%d' % n).content))
            for n in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
    assert sorted(found, key=int) == [b'%d' % n for n in range(20)]


# -- properties ------------------------------------------------------------------------------------

_PIECES = st.sampled_from(
    [
        *(
            b'GET ',
            b'POST ',
            b'/',
            b'/echo',
            b' HTTP/1.1\r\n',
            b' HTTP/1.0\r\n',
            b'\r\n',
            b'\n',
            b'\r\n\r\n',
            b':',
        ),
        *(
            b'Host: t\r\n',
            b'Content-Length: ',
            b'Transfer-Encoding: chunked\r\n',
            b'0\r\n\r\n',
            b'3\r\nabc\r\n',
        ),
        *(
            b'Connection: close\r\n',
            b'Expect: 100-continue\r\n',
            b'Upgrade: websocket\r\n',
            b'Connection: upgrade\r\n',
        ),
        *(b'1', b'9' * 20, b'%', b'?', b'=', b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    ]
)


def test_any_bytes(server: Server) -> None:
    """PITFALLS, Serving: no bytes whatever give a 5xx or a line in the log, or keep others waiting."""
    quiet = complaints(server)

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(_PIECES | st.binary(max_size=6), max_size=14).map(b''.join))
    def check(data: bytes) -> None:
        with server.connect() as connection, contextlib.suppress(OSError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            received = b''.join(iter(lambda: connection.recv(65536), b''))
            assert not re.search(rb'HTTP/1.[01] 5\d\d', received), (data, received)

    check()
    assert requests.get(server.url, timeout=DEADLINE).text == 'Hello, World'
    assert complaints(server) == quiet


@pytest.mark.parametrize('size', [0, 10_000, 60_000, 200_000, 3_000_000])
@pytest.mark.parametrize('path', ['/nothing', '/get-only'])
def test_body_that_nobody_wants_does_not_hold_up_the_connection(
    direct_for: Callable[..., Direct], size: int, path: str
) -> None:
    """The answer comes; a short body is read and the connection goes on, a long one ends it."""
    app = Atila('app')
    app.route('/get-only', methods=['GET'])(lambda was: 'content')
    engine = direct_for(app)
    with requests.Session() as session:
        url = f'http://127.0.0.1:{engine.port}'
        answer = session.post(url + path, data=b'x' * size, timeout=10)
        assert answer.status_code in (404, 405)
        assert ('close' in answer.headers.get('Connection', '')) == (size > 1 << 16)
        for _ in range(2):
            assert session.get(url + '/get-only', timeout=10).text == 'content'


@pytest.mark.parametrize(
    'request_',
    [
        b'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
        b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n',
        b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\na=bc',
        b'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na=bc\r\n0\r\n\r\n',
    ],
)
def test_the_server_makes_threads_while_services_block(request_: bytes) -> None:
    """Without being asked: of two requests that came at once it could leave one until the other was done."""
    release = threading.Event()
    entered: list[None] = []
    app = Atila('app')

    @app.route('/', methods=['GET', 'POST'])
    def index(was: Any, **form: Any) -> str:
        entered.append(None)
        assert release.wait(DEADLINE)
        return 'done'

    engine = Direct(app, threads=4)
    connections = []
    try:
        before = set(os.listdir('/proc/self/task'))
        for number in (1, 2):
            connections.append(engine.connect())
            connections[-1].sendall(request_)
            wait_until(lambda number=number: len(entered) == number, 'the service')
            # Perhaps it was there before the request: the server may have looked twice.
            wait_until(
                lambda number=number: len(set(os.listdir('/proc/self/task')) - before) >= number,
                'a new thread',
            )
        release.set()
        for connection in connections:
            answer = b''
            while b'done' not in answer:
                answer += connection.recv(65536)
            assert answer.startswith(b'HTTP/1.1 200')
    finally:
        release.set()
        for connection in connections:
            connection.close()
        engine.stop()
