"""WSGI applications as mounts, on both engines (PEP 3333; SPEC ST-03, MA-05, DJ-04, RQ-06, FU-06)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import requests

SITE = f'{Path(__file__).parent}/wsgi_site.py:wsgi'
TIMEOUT = 20
LIMIT = 4 << 20


@pytest.fixture(scope='module', params=['granian', 'stock', 'asgi'])
def server(request: pytest.FixtureRequest, serve: Callable[..., Any]) -> Any:
    return serve(SITE, engine=request.param, max_upload_size=LIMIT)


@pytest.fixture
def get(server: Any) -> Iterator[Callable[..., requests.Response]]:
    with requests.Session() as session:
        yield lambda path, **options: session.get(server.url + path, timeout=TIMEOUT, **options)


def environ_of(server: Any, path: str, method: str = 'GET', **options: Any) -> dict[str, Any]:
    answer = requests.request(method, server.url + path, timeout=TIMEOUT, **options)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def wait_for_event(server: Any, event: str) -> None:
    def happened() -> bool:
        return event in requests.get(f'{server.url}/raw/events', timeout=TIMEOUT).json()

    server.wait_until(happened, event)


# -- the environ -----------------------------------------------------------------------------------


def test_script_name_is_the_mount_point_and_path_info_the_rest(server: Any) -> None:
    """SPEC DJ-04."""
    environ = environ_of(server, '/raw/environ?a=1&b=%20')
    assert environ['SCRIPT_NAME'] == '/raw'
    assert environ['PATH_INFO'] == '/environ'
    assert environ['QUERY_STRING'] == 'a=1&b=%20'
    assert environ['REQUEST_URI'] == '/raw/environ?a=1&b=%20'


def test_paths_are_decoded_bytes_as_latin_1(server: Any) -> None:
    """PEP 3333, "Unicode Issues"; SPEC RQ-06."""
    environ = environ_of(server, '/sp%C3%A4%C3%9F/environ')
    assert environ['SCRIPT_NAME'].encode('latin-1').decode() == '/späß'
    assert environ['PATH_INFO'] == '/environ'


def test_a_path_that_is_not_utf_8_reaches_the_application(server: Any) -> None:
    answer = requests.get(f'{server.url}/hello/%ff%2Fx', timeout=TIMEOUT)
    assert answer.status_code == 404  # two segments for Flask, as the slash is decoded
    answer = requests.get(f'{server.url}/hello/%ff', timeout=TIMEOUT)
    assert answer.status_code == 200


def test_the_environ_has_the_cgi_names(server: Any) -> None:
    """SPEC RQ-06."""
    environ = environ_of(server, '/raw/environ', headers={'X-Custom-Field': 'v', 'User-Agent': 'test'})
    port = server.url.rpartition(':')[2]
    assert environ['REQUEST_METHOD'] == 'GET'
    assert environ['HTTP_X_CUSTOM_FIELD'] == 'v'
    assert environ['HTTP_USER_AGENT'] == 'test'
    assert environ['HTTP_HOST'] == f'127.0.0.1:{port}'
    assert environ['REMOTE_ADDR'] == '127.0.0.1'
    assert environ['REMOTE_PORT'].isdigit()
    assert (environ['SERVER_NAME'], environ['SERVER_PORT']) == ('127.0.0.1', port)
    assert environ['SERVER_PROTOCOL'] == 'HTTP/1.1'
    assert environ['wsgi.version'] == [1, 0]
    assert environ['wsgi.url_scheme'] == 'http'
    assert environ['wsgi.multithread'] is True
    assert environ['wsgi.multiprocess'] is False
    assert environ['wsgi.run_once'] is False
    assert environ['wsgi.input_terminated'] is True
    assert 'CONTENT_LENGTH' not in environ
    assert 'CONTENT_TYPE' not in environ


def test_repeated_fields_are_joined_and_ambiguous_ones_left_out(server: Any) -> None:
    raw = server.send(
        b'GET /raw/environ HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\nCookie: a=1\r\ncookie: b=2\r\n'
        b'X_A: forged\r\nProxy: evil\r\nConnection: close\r\n\r\n'
    )
    environ = json.loads(raw[raw.index(b'{') : raw.rindex(b'}') + 1])
    assert environ['HTTP_X_A'] == '1, 2'
    assert environ['HTTP_COOKIE'] == 'a=1; b=2'
    assert 'HTTP_PROXY' not in environ


def test_a_body_is_read_before_with_its_length(server: Any) -> None:
    body = b'x' * 3_000_000  # spooled to disk
    environ = environ_of(server, '/raw/environ', 'POST', data=body, headers={'Content-Type': 'text/x-test'})
    assert environ['body'] == [len(body), hashlib.sha256(body).hexdigest()]
    assert environ['CONTENT_LENGTH'] == str(len(body))
    assert environ['CONTENT_TYPE'] == 'text/x-test'
    assert 'HTTP_CONTENT_LENGTH' not in environ
    assert 'HTTP_CONTENT_TYPE' not in environ


def test_a_chunked_body_has_a_length_too(server: Any) -> None:
    """PITFALLS, Serving: a body without Content-Length is no 411."""
    environ = environ_of(server, '/raw/environ', 'PUT', data=iter([b'abc', b'def']))
    assert environ['body'][0] == 6
    assert environ['CONTENT_LENGTH'] == '6'
    assert 'HTTP_TRANSFER_ENCODING' not in environ


@pytest.mark.parametrize('filler', [b'', b'z' * 2_000_000])
def test_the_input_reads_as_a_file(server: Any, filler: bytes) -> None:
    body = b'abcdef\nsecond\nthird' + filler
    answer = requests.post(f'{server.url}/raw/lines', data=body, timeout=TIMEOUT).json()
    assert answer == ['abc', 'def\n', ['second\n', 'third' + filler.decode()]]


def test_a_body_above_the_limit_gets_413(server: Any) -> None:
    """SPEC FU-06: declared, before a byte of it is read; chunked, as soon as it is too much."""
    head = b'POST /raw/environ HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n'
    assert server.send(head % (LIMIT + 1)).startswith(b'HTTP/1.1 413 ')
    chunks = (b'x' * 100_000 for _ in range(LIMIT // 100_000 + 2))
    assert requests.post(f'{server.url}/raw/environ', data=chunks, timeout=TIMEOUT).status_code == 413


def test_errors_are_log_lines(server: Any, get: Any) -> None:
    assert get('/raw/errors').text == 'ok'
    server.wait_until(lambda: 'left over' in server.log(), 'the last line')
    log = server.log()
    assert 'one line\n' in log
    assert 'half a line\n' in log


# -- the answer ------------------------------------------------------------------------------------


def test_a_list_is_answered_with_its_length(get: Any) -> None:
    answer = get('/raw/environ')
    assert answer.headers['content-length'] == str(len(answer.content))
    assert answer.headers['server'].endswith('Skitai')


def test_a_generator_is_streamed(get: Any) -> None:
    answer = get('/raw/generator')
    assert answer.text == 'part0;part1;part2;'
    assert answer.headers['transfer-encoding'] == 'chunked'


def test_a_chunk_is_sent_before_the_next_is_made(server: Any) -> None:
    """PEP 3333, "Buffering and Streaming": no block is delayed."""
    with requests.get(f'{server.url}/raw/pausing', stream=True, timeout=TIMEOUT) as answer:
        chunks = answer.iter_content(None)
        assert next(chunks) == b'first'
        requests.get(f'{server.url}/raw/release', timeout=TIMEOUT)
        assert next(chunks) == b'second'
    wait_for_event(server, 'closed pausing')


@pytest.mark.parametrize('name', ['sized', 'empty'])
def test_iterables_are_closed(server: Any, get: Any, name: str) -> None:
    assert get(f'/raw/{name}').status_code == 200
    wait_for_event(server, f'closed {name}')


def test_a_declared_length_is_kept(get: Any) -> None:
    answer = get('/raw/sized')
    assert answer.headers['content-length'] == '10'
    assert answer.content == b'0123456789'


def test_an_empty_answer_has_length_0(get: Any) -> None:
    answer = get('/raw/empty')
    assert answer.headers['content-length'] == '0'
    assert answer.headers['x-empty'] == 'yes'


def test_head_has_the_head_of_get(server: Any, get: Any) -> None:
    with requests.Session() as session:
        for path in ('/raw/sized', '/raw/generator', '/raw/endless', '/hello/you', '/'):
            answer = session.head(server.url + path, timeout=TIMEOUT)
            assert answer.status_code == 200
            assert answer.content == b''
        assert session.head(f'{server.url}/raw/sized', timeout=TIMEOUT).headers['content-length'] == '10'
        assert session.head(f'{server.url}/raw/fails_at_once', timeout=TIMEOUT).status_code == 500
        assert session.get(f'{server.url}/raw/sized', timeout=TIMEOUT).content == b'0123456789'
    wait_for_event(server, 'closed endless')


@pytest.mark.parametrize(('name', 'status'), [('no_content', 204), ('not_modified', 304)])
def test_204_and_304_have_no_body(server: Any, name: str, status: int) -> None:
    with requests.Session() as session:
        answer = session.get(f'{server.url}/raw/{name}', timeout=TIMEOUT)
        assert (answer.status_code, answer.content) == (status, b'')
        assert session.get(f'{server.url}/raw/sized', timeout=TIMEOUT).content == b'0123456789'


def test_what_is_written_comes_before_the_iterable(get: Any) -> None:
    assert get('/raw/writes').content == b'w' * 2_000_000 + b'and the rest'


def test_a_file_is_wrapped(get: Any) -> None:
    assert get('/raw/file').content == Path(__file__).with_name('wsgi_site.py').read_bytes()


def test_an_error_handler_replaces_head_and_body(get: Any) -> None:
    answer = get('/raw/replaces')
    assert (answer.status_code, answer.content) == (418, b'second body')
    assert 'x-first' not in answer.headers
    assert answer.headers['x-second'] == 'yes'


@pytest.mark.parametrize(
    ('status', 'fields'),
    [
        ('OK', []),
        ('100 Continue', []),
        ('99', []),
        ('999 Much', []),
        ('²00 OK', []),
        (200, []),
        ('200 OK', [['X-Bad', 'a\r\nX-Injected: yes']]),
        ('200 OK', [['X-Bad\r\nX-Injected', 'yes']]),
        ('200 OK', [['X-Bad', '\u20ac']]),
        ('200 OK', [['', 'x']]),
        ('200 OK', [['Content-Length', '-1']]),
        ('200 OK', [['Content-Length', '4'], ['Content-Length', '5']]),
        ('200 OK', [['only a name']]),
    ],
)
def test_an_invalid_head_is_a_500(get: Any, status: Any, fields: Any) -> None:
    """PITFALLS, Security: CR and LF never pass into fields."""
    answer = get('/raw/head_of?' + quote(json.dumps([status, fields])))
    assert answer.status_code == 500
    assert 'x-injected' not in answer.headers


def test_fields_of_the_connection_are_dropped(get: Any) -> None:
    fields = [['Connection', 'close'], ['Transfer-Encoding', 'chunked'], ['X-Kept', 'ä'], ['Keep-Alive', 'x']]
    answer = get('/raw/head_of?' + quote(json.dumps(['200 Fine', fields])))
    assert answer.content == b'body'
    assert answer.headers['x-kept'].encode('latin-1') in ('ä'.encode('latin-1'), 'ä'.encode())
    assert 'keep-alive' not in answer.headers
    assert answer.headers.get('connection') != 'close'


@pytest.mark.parametrize(
    'name', ['fails_at_once', 'fails_in_first', 'exits', 'silent', 'text', 'twice', 'long']
)
def test_a_failure_before_the_first_chunk_is_a_500_without_details(server: Any, get: Any, name: str) -> None:
    answer = get(f'/raw/{name}', headers={'Accept': 'text/html'})
    assert answer.status_code == 500
    assert 'secret' not in answer.text
    assert 'Traceback' not in answer.text
    if name == 'fails_in_first':
        wait_for_event(server, 'closed fails_in_first')
        assert 'RuntimeError: secret detail' in server.log()


@pytest.mark.parametrize('name', ['fails_half_way', 'replaces_late', 'short', 'write_late'])
def test_a_failure_after_the_first_chunk_aborts(server: Any, name: str) -> None:
    """PITFALLS, Errors: the client can tell."""
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        requests.get(f'{server.url}/raw/{name}', timeout=TIMEOUT)
    if name != 'write_late':
        wait_for_event(server, f'closed {name}')


def test_a_client_that_leaves_ends_the_iterable(server: Any) -> None:
    with requests.get(f'{server.url}/raw/endless', stream=True, timeout=TIMEOUT) as answer:
        next(answer.iter_content(1000))
    wait_for_event(server, 'closed endless')


def test_each_request_has_its_own_context_on_all_threads(server: Any) -> None:
    def call(number: int) -> str:
        return requests.get(f'{server.url}/raw/context?{number}', timeout=TIMEOUT).text

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(40))) == [f"['{n}']" * 3 for n in range(40)]


# -- whole applications ----------------------------------------------------------------------------


@pytest.mark.parametrize('way', ['list', 'iterator', 'write', 'head'])
def test_the_validator_finds_no_fault(server: Any, way: str) -> None:
    """wsgiref.validate checks both sides."""
    method = 'HEAD' if way == 'head' else 'POST'
    answer = requests.request(method, f'{server.url}/valid/{way}?x=1', data=b'abc\n', timeout=TIMEOUT)
    assert answer.status_code == 200, server.log()
    assert answer.content == (b'' if way == 'head' else b'abc\ndone')
    assert 'AssertionError' not in server.log().partition('validated')[2]


def test_flask_below_a_mount_point(server: Any, get: Any) -> None:
    """SPEC MA-05, DJ-04."""
    assert get('/').text == 'index of /'
    assert get('/sub/').text == 'index of /sub'
    assert get('/sub/hello/you').text == f'hello you from {server.url}/sub/hello/you'
    assert get('/sub/none').status_code == 404


def test_a_mount_point_redirects_to_its_slash(server: Any, get: Any) -> None:
    """SPEC ST-18; the query is kept (PITFALLS, Serving)."""
    answer = get('/sub?a=1', allow_redirects=False)
    assert (answer.status_code, answer.headers['location']) == (308, '/sub/?a=1')


def test_flask_uploads(server: Any) -> None:
    content = b'f' * 2_000_000
    answer = requests.post(
        f'{server.url}/upload', data={'title': 'ä'}, files={'file': ('a.bin', content)}, timeout=TIMEOUT
    )
    assert answer.json() == {'name': 'a.bin', 'size': len(content), 'title': 'ä'}
    assert requests.post(f'{server.url}/json', json=[1], timeout=TIMEOUT).json() == {'got': [1]}


def test_flask_streams_with_its_context(get: Any) -> None:
    """Its context variables are set in one step and reset in another, maybe on another thread."""
    assert get('/stream?q=a').text == ''.join(f'a{i};' for i in range(50))


def test_flask_errors_are_flask_s(server: Any, get: Any) -> None:
    answer = get('/broken')
    assert answer.status_code == 500
    assert 'secret' not in answer.text


def test_over_http_2(serve: Callable[..., Any]) -> None:
    server = serve(SITE)
    with httpx2.Client(http1=False, http2=True, timeout=TIMEOUT) as client:
        environ = client.get(f'{server.url}/raw/environ').json()
        assert environ['SERVER_PROTOCOL'] == 'HTTP/2.0'
        assert environ['HTTP_HOST'] == server.url.removeprefix('http://')
        body = b'b' * 2_000_000
        environ = client.post(f'{server.url}/raw/environ', content=body).json()
        assert environ['CONTENT_LENGTH'] == str(len(body))
        assert client.head(f'{server.url}/raw/environ').content == b''
        assert client.head(f'{server.url}/raw/fails_at_once').status_code == 500
        assert client.head(f'{server.url}/raw/generator').content == b''
        assert client.get(f'{server.url}/raw/generator').text == 'part0;part1;part2;'
        with pytest.raises(httpx2.HTTPError):
            client.get(f'{server.url}/raw/fails_half_way')
