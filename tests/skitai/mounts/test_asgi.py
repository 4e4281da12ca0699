"""ASGI applications as mounts, on both engines (ASGI 3; SPEC ST-03, MA-05)."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import requests

from skitai.config import Settings
from skitai.mounts.asgi import AsgiMount

SITE = f'{Path(__file__).parent}/asgi_site.py:asgi'
TIMEOUT = 20
LIMIT = 4 << 20


@pytest.fixture(scope='module', params=['granian', 'stock', 'asgi'])
def server(request: pytest.FixtureRequest, serve: Callable[..., Any]) -> Any:
    return serve(SITE, engine=request.param, max_upload_size=LIMIT, settings={'request_timeout': 3})


def get(server: Any, path: str, **options: Any) -> requests.Response:
    return requests.get(server.url + path, timeout=TIMEOUT, **options)


def post(server: Any, path: str, data: Any) -> requests.Response:
    return requests.post(server.url + path, data=data, timeout=TIMEOUT)


def wait_for_event(server: Any, event: str) -> None:
    server.wait_until(lambda: event in get(server, '/raw/events_so_far').json(), event)


# -- the scope -------------------------------------------------------------------------------------


def test_root_path_is_the_mount_point_and_the_path_is_whole(server: Any) -> None:
    scope = ast.literal_eval(get(server, '/raw/scope?a=%20b').text)
    assert scope['root_path'] == '/raw'
    assert scope['path'] == '/raw/scope'
    assert scope['raw_path'] == b'/raw/scope'
    assert scope['query_string'] == b'a=%20b'
    assert scope['asgi'] == {'version': '3.0', 'spec_version': '2.4'}
    assert scope['http_version'] == '1.1'
    assert scope['method'] == 'GET'
    assert scope['scheme'] == 'http'
    assert scope['client'][0] == '127.0.0.1'
    assert isinstance(scope['client'][1], int)
    assert tuple(scope['server']) == ('127.0.0.1', server.port)
    assert scope['extensions'] == {}
    assert scope['state'] == {}


def test_starlette_below_a_mount_point(server: Any) -> None:
    """SPEC MA-05: other kinds of applications, several of them; with the state of their lifespan."""
    assert get(server, '/').text == 'index of / yes'
    assert get(server, '/sub/').text == 'index of /sub yes'
    assert get(server, '/sub/hello/y?q').text == f'{server.url}/sub/hello/y?q {server.url}/sub/hello/x'
    assert get(server, '/sub/none').status_code == 404


def test_a_mount_point_redirects_to_its_slash(server: Any) -> None:
    """SPEC ST-18."""
    answer = get(server, '/sub?a=1', allow_redirects=False)
    assert (answer.status_code, answer.headers['location']) == (308, '/sub/?a=1')


# -- the body --------------------------------------------------------------------------------------


@pytest.mark.parametrize('chunked', [False, True])
def test_a_body_is_received(server: Any, chunked: bool) -> None:
    body = b'0123456789' * 300_000
    answer = post(server, '/raw/digest', iter([body[:1000], body[1000:]]) if chunked else body)
    assert answer.text == hashlib.sha256(body).hexdigest()


def test_a_body_is_received_part_by_part(server: Any) -> None:
    """Both directions at once: the first part is back before the second is sent."""
    with server.connect() as connection:
        connection.sendall(
            b'POST /raw/echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n'
        )
        received = b''
        while b'abc' not in received:
            received += connection.recv(65536)
        connection.sendall(b'3\r\ndef\r\n0\r\n\r\n')
        while not received.endswith(b'0\r\n\r\n'):
            received += connection.recv(65536)
    assert b'def' in received


def test_a_receive_that_is_cancelled_loses_nothing(server: Any) -> None:
    with server.connect() as connection:
        head = b'POST /raw/impatient HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nConnection: close\r\n\r\n'
        connection.sendall(head + b'abc')
        server.wait_until(lambda: get(server, '/').ok, 'another request goes through')
        connection.sendall(b'def')
        received = b''.join(iter(lambda: connection.recv(65536), b''))
    assert received.endswith(b'abcdef')


def test_a_body_above_the_limit_gets_413(server: Any) -> None:
    """SPEC FU-06: declared, before a byte of it is read; chunked, as soon as it is too much."""
    head = b'POST /raw/digest HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n'
    with server.connect() as connection:
        connection.sendall(head % (LIMIT + 1))
        assert connection.recv(12) == b'HTTP/1.1 413'
    assert post(server, '/raw/digest', b'x' * (LIMIT + 100_000)).status_code == 413
    chunks = (b'x' * 100_000 for _ in range(LIMIT // 100_000 + 2))
    assert post(server, '/raw/digest', chunks).status_code == 413


def test_starlette_uploads(server: Any) -> None:
    assert post(server, '/upload', b'f' * 2_000_000).json() == {'size': 2_000_000}


# -- the answer ------------------------------------------------------------------------------------


def test_an_answer_in_one_message_has_a_length(server: Any) -> None:
    answer = get(server, '/raw/scope')
    assert answer.headers['content-length'] == str(len(answer.content))
    assert answer.headers['server'].endswith('Skitai')


def test_parts_are_sent_as_they_come(server: Any) -> None:
    with get(server, '/raw/pausing', stream=True) as answer:
        chunks = answer.iter_content(None)
        assert next(chunks) == b'first'
        get(server, '/raw/release')
        assert b''.join(chunks) == b'second'


def test_starlette_streams_and_sends_files(server: Any) -> None:
    assert get(server, '/stream?n=100').text == ''.join(f'{i};' for i in range(100))
    assert get(server, '/file').content == Path(__file__).with_name('asgi_site.py').read_bytes()
    assert get(server, '/file', headers={'Range': 'bytes=0-9'}).status_code == 206


def test_head_has_no_body(server: Any) -> None:
    with requests.Session() as session:
        for path in ('/raw/scope', '/raw/pausing', '/file', '/'):
            get(server, '/raw/release')
            answer = session.head(server.url + path, timeout=TIMEOUT)
            assert (answer.status_code, answer.content) == (200, b'')
            get(server, '/raw/release')
        assert session.get(f'{server.url}/', timeout=TIMEOUT).text == 'index of / yes'


def test_work_after_the_answer_goes_on(server: Any) -> None:
    assert get(server, '/background').text == 'answered'
    wait_for_event(server, 'after the answer')


@pytest.mark.parametrize('name', ['fails_at_once', 'fails_after_start', 'exits', 'silent'])
def test_a_failure_before_the_body_is_a_500_without_details(server: Any, name: str) -> None:
    answer = get(server, f'/raw/{name}', headers={'Accept': 'text/html'})
    assert answer.status_code == 500
    assert 'secret' not in answer.text
    server.wait_until(lambda: f'/raw/{name}: the ASGI application failed' in server.log(), 'the log')


@pytest.mark.parametrize('name', ['fails_half_way', 'ends_half_way', 'short'])
def test_a_failure_after_the_first_part_aborts(server: Any, name: str) -> None:
    """PITFALLS, Errors: the client can tell."""
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        get(server, f'/raw/{name}')


def test_a_failure_after_the_answer_changes_nothing(server: Any) -> None:
    assert get(server, '/raw/fails_afterwards').text == 'whole'
    server.wait_until(lambda: 'too late' in server.log(), 'the log')


START = {'type': 'http.response.start', 'status': 200, 'headers': []}
BODY = {'type': 'http.response.body', 'body': 'x'}


@pytest.mark.parametrize(
    'messages',
    [
        [BODY],
        [START, START, BODY],
        [{**START, 'status': 700}, BODY],
        [{**START, 'status': 101}, BODY],
        [{**START, 'status': None}, BODY],
        [{**START, 'headers': [['x-bad', 'a\r\nx-injected: yes']]}, BODY],
        [{**START, 'headers': [['x bad', 'a']]}, BODY],
        [{**START, 'headers': [['x-bad', None]]}, BODY],
        [{**START, 'headers': [['content-length', '-1']]}, BODY],
        [{**START, 'headers': [['content-length', '2']]}, BODY],
        [{**START, 'headers': [['content-length', '0']]}, BODY],
        [START, {**BODY, 'body': {'no': 'bytes'}}],
        [START, {'type': 'http.response.pathsend', 'path': '/etc/hostname'}],
        [{'type': 'websocket.accept'}],
    ],
)
def test_an_invalid_message_is_a_500(server: Any, messages: list[Any]) -> None:
    """PITFALLS, Security: CR and LF never pass into fields."""
    answer = get(server, '/raw/messages?' + quote(json.dumps(messages)))
    assert answer.status_code == 500
    assert 'x-injected' not in answer.headers


def test_fields_of_the_connection_are_dropped(server: Any) -> None:
    start = {**START, 'headers': [['Connection', 'close'], ['X-Kept', 'v'], ['transfer-encoding', 'chunked']]}
    answer = get(server, '/raw/messages?' + quote(json.dumps([start, BODY])))
    assert (answer.status_code, answer.content, answer.headers['x-kept']) == (200, b'x', 'v')
    assert answer.headers.get('connection') != 'close'
    assert 'transfer-encoding' not in answer.headers


@pytest.mark.parametrize('status', [204, 304])
def test_204_and_304_have_no_body(server: Any, status: int) -> None:
    with requests.Session() as session:
        messages = quote(json.dumps([{**START, 'status': status}, BODY]))
        answer = session.get(f'{server.url}/raw/messages?{messages}', timeout=TIMEOUT)
        assert (answer.status_code, answer.content) == (status, b'')
        assert session.get(f'{server.url}/', timeout=TIMEOUT).text == 'index of / yes'


# -- the client, and time --------------------------------------------------------------------------


def test_a_client_that_leaves_is_noticed_by_send(server: Any) -> None:
    with get(server, '/raw/endless', stream=True) as answer:
        next(answer.iter_content(1000))
    wait_for_event(server, 'endless got an OSError')


def test_a_client_that_leaves_is_noticed_by_receive(server: Any) -> None:
    with server.connect() as connection:
        connection.sendall(b'GET /raw/listening HTTP/1.1\r\nHost: h\r\n\r\n')
        wait_for_event(server, 'listening began')
    wait_for_event(server, 'listening got http.disconnect')
    wait_for_event(server, 'listening got again http.disconnect')


def test_a_client_that_leaves_ends_a_starlette_stream(server: Any) -> None:
    with get(server, '/stream?n=100000000', stream=True) as answer:
        next(answer.iter_content(1000))
    wait_for_event(server, 'the Starlette stream ended')


def test_no_answer_in_time_is_a_503(server: Any) -> None:
    """SPEC B.17: with Retry-After; the application is cancelled."""
    answer = get(server, '/raw/stuck')
    assert answer.status_code == 503
    assert answer.headers['retry-after'].isdigit()
    wait_for_event(server, 'stuck was cancelled')


@pytest.mark.slow
def test_a_slow_upload_has_time(server: Any) -> None:
    """The time to answer (here 3 s) begins anew with each part of the body."""
    head = b'POST /raw/digest HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nConnection: close\r\n\r\n'
    began = time.monotonic()
    with server.connect() as connection:
        connection.sendall(head)
        for number in range(4):
            while time.monotonic() < began + number * 1.5:
                assert get(server, '/').ok
                time.sleep(0.05)
            connection.sendall(b'%d' % number)
        received = b''.join(iter(lambda: connection.recv(65536), b''))
    assert received.endswith(hashlib.sha256(b'0123').hexdigest().encode())


def test_over_http_2(serve: Callable[..., Any]) -> None:
    server = serve(SITE)
    with httpx2.Client(http1=False, http2=True, timeout=TIMEOUT) as client:
        scope = ast.literal_eval(client.get(f'{server.url}/raw/scope').text)
        assert scope['http_version'] == '2'
        assert (b'host', server.url.removeprefix('http://').encode()) in scope['headers']
        body = b'b' * 2_000_000
        assert client.post(f'{server.url}/raw/echo', content=body).content == body
        assert client.head(f'{server.url}/raw/scope').content == b''
        assert client.get(f'{server.url}/stream?n=3').text == '0;1;2;'
        with pytest.raises(httpx2.HTTPError):
            client.get(f'{server.url}/raw/fails_half_way')


# -- lifespan --------------------------------------------------------------------------------------


def mount_of(application: Any) -> AsgiMount:
    return AsgiMount(application, Settings())


def run(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, TIMEOUT))


def test_the_lifespan_is_around_the_requests() -> None:
    asked = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert scope['type'] == 'lifespan'
        scope['state']['key'] = 'value'
        for question in ('startup', 'shutdown'):
            asked.append((await receive())['type'])
            await send({'type': f'lifespan.{question}.complete'})

    async def main() -> None:
        mount = mount_of(application)
        async with mount.lifespan():
            assert asked == ['lifespan.startup']
            assert mount.state == {'key': 'value'}
        assert asked == ['lifespan.startup', 'lifespan.shutdown']

    run(main())


def test_a_failing_start_is_an_error() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({'type': 'lifespan.startup.failed', 'message': 'no database'})

    async def main() -> None:
        with pytest.raises(RuntimeError, match='no database'):
            async with mount_of(application).lifespan():
                pass

    run(main())


def test_a_start_that_hangs_is_an_error() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with mount_of(application).lifespan(timeout=0.05):
                pass

    run(main())


def test_an_application_without_lifespan_is_left_alone() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise TypeError('http only')

    async def main() -> None:
        async with mount_of(application).lifespan():
            pass

    run(main())


def test_a_failing_shutdown_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({'type': 'lifespan.startup.complete'})
        await receive()
        raise RuntimeError('at the end')

    async def main() -> None:
        async with mount_of(application).lifespan():
            pass

    run(main())
    assert 'at the end' in caplog.text
