"""What a service may return (SPEC chapter 30, RS-12 to RS-19, RS-11), in `def` and `async def` services."""

from __future__ import annotations

import asyncio
import datetime
import io
import json
import sys
import threading
import xmlrpc.client
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import DEADLINE, Direct, parse_answer, request_bytes, send_raw

import skitai
from atila import Atila
from skitai.engine.asgi import AnswerFailed
from skitai.testing import Client

Make = Callable[..., Client]
Service = Callable[..., Any]


def as_async(service: Service) -> Service:
    async def asynchronous(was: Any) -> Any:
        await asyncio.sleep(0)
        return service(was)

    return asynchronous


@pytest.fixture(params=['def', 'async def'])
def serve(request: pytest.FixtureRequest, client_for: Make) -> Callable[..., Client]:
    """`serve (service)`: a client of an app with that service at '/', as a `def` or an `async def`."""

    def make(service: Service, pref: Any = None, **options: Any) -> Client:
        app = Atila('app')
        app.route('/')(as_async(service) if request.param == 'async def' else service)
        return client_for(app, pref, **options)

    return make


Serve = Callable[..., Client]


class Producer:
    """An object with `more ()`."""

    def __init__(self, *parts: Any) -> None:
        self.parts = list(parts)
        self.closed = False

    def more(self) -> Any:
        return self.parts.pop(0) if self.parts else b''

    def close(self) -> None:
        self.closed = True


# -- whole bodies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('content', 'body', 'content_type'),
    [
        ('grüß', 'grüß'.encode(), 'text/html; charset=utf-8'),
        (b'\x00\xff', b'\x00\xff', 'text/html'),
        (bytearray(b'ab'), b'ab', 'text/html'),
        (memoryview(b'ab'), b'ab', 'text/html'),
        (['a', b'b', 'ü'], 'abü'.encode(), 'text/html; charset=utf-8'),
        ((b'a', b'b'), b'ab', 'text/html'),
        ('x' * 100_000, b'x' * 100_000, 'text/html; charset=utf-8'),
    ],
)
def test_whole_bodies(serve: Serve, content: Any, body: bytes, content_type: str) -> None:
    """RS-12: text is UTF-8, the default type is text/html; parts are concatenated."""
    response = serve(lambda was: content).get('/', headers={'Accept-Encoding': 'identity'})
    assert response.content == body
    assert response.headers['Content-Type'] == content_type
    assert response.headers['Content-Length'] == str(len(body))


def test_a_subclass_of_str(serve: Serve) -> None:
    """RS-12: what a template engine returns is one."""

    class Markup(str):
        pass

    assert serve(lambda was: Markup('<b>')).get('/').text == '<b>'


def test_another_type(serve: Serve) -> None:
    """RS-12: text gets its charset, bytes none."""

    def service(was: Any) -> Any:
        was.response['Content-Type'] = 'text/csv'
        return 'a'

    assert serve(service).get('/').headers['Content-Type'] == 'text/csv; charset=utf-8'


# -- streams ---------------------------------------------------------------------------------------


def numbers(was: Any = None) -> Iterator[Any]:
    yield 'one,'
    yield b'two,'
    yield ''
    yield bytearray(b'three')


async def async_numbers() -> AsyncIterator[Any]:
    for part in numbers():
        await asyncio.sleep(0)
        yield part


STREAMS: dict[str, Callable[[], Any]] = {
    'generator': numbers,
    'iterator': lambda: iter(['one,', b'two,three']),
    'map': lambda: map(str, ['one,', 'two,', 'three']),
    'asynchronous generator': async_numbers,
    'more': lambda: Producer('one,', b'two,', 'three'),
    'file': lambda: io.BytesIO(b'one,two,three'),
    'text file': lambda: io.StringIO('one,two,three'),
}


@pytest.mark.parametrize('kind', STREAMS)
def test_streams(serve: Serve, kind: str) -> None:
    """RS-12, RS-17: iterators, files, objects with `more ()`, asynchronous generators."""

    def service(was: Any) -> Any:
        return was.response('201 Created', STREAMS[kind](), [('Content-Type', 'text/csv')])

    response = serve(service).get('/')
    assert (response.status_code, response.text) == (201, 'one,two,three')
    assert response.headers['Content-Type'].startswith('text/csv')
    assert 'Content-Length' not in response.headers


def test_a_generator_function_is_a_service(client_for: Make) -> None:
    """RS-17: what is set before the first part counts."""
    app = Atila('app')

    @app.route('/<name>')
    def service(was, name):
        was.response.set_status('201 Created')
        yield 'hello '
        yield name

    client = client_for(app)
    response = client.get('/hans')
    assert (response.status_code, response.text) == (201, 'hello hans')
    assert client.get('/hans?x=1').status_code == 400


def test_an_asynchronous_generator_function_is_a_service(client_for: Make) -> None:
    """RS-17: it runs on the event loop, in its request's context."""
    app = Atila('app')

    @app.route('/<name>')
    async def service(was, name):
        yield 'hello '
        await asyncio.sleep(0)
        yield skitai.was.request.path + name

    client = client_for(app)
    assert client.get('/hans').text == 'hello /hanshans'
    assert client.get('/hans?x=1').status_code == 400


@pytest.mark.parametrize('kind', STREAMS)
def test_head_of_a_stream(serve: Serve, kind: str) -> None:
    """RS-17, RT-02: no body."""
    response = serve(lambda was: STREAMS[kind]()).head('/')
    assert (response.status_code, response.content) == (200, b'')


@pytest.mark.parametrize('kind', ['generator', 'asynchronous generator'])
def test_an_empty_stream(serve: Serve, kind: str) -> None:
    """RS-17."""

    def nothing() -> Iterator[str]:
        yield from ()

    async def nothing_async() -> AsyncIterator[str]:
        for part in ():
            yield part

    response = serve(lambda was: nothing() if kind == 'generator' else nothing_async()).get('/')
    assert (response.status_code, response.content) == (200, b'')


@pytest.mark.parametrize('kind', ['generator', 'asynchronous generator'])
def test_a_stream_that_fails_at_once_is_an_ordinary_error(
    serve: Serve, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """RS-17, ER-05, CO-08: nothing has been answered then."""

    def failing(was: Any) -> Iterator[str]:
        raise was.Error('409 Conflict', 'before')
        yield ''

    async def failing_async(was: Any) -> AsyncIterator[str]:
        raise was.Error('409 Conflict', 'before')
        yield ''

    response = serve(failing if kind == 'generator' else failing_async).get('/')
    assert (response.status_code, response.data['more_info']) == (409, 'before')
    assert not caplog.records


@pytest.mark.parametrize('kind', ['generator', 'asynchronous generator', 'more', 'wrong part'])
def test_a_stream_that_fails_half_way_is_cut_off(
    serve: Serve, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """PITFALLS, Errors: the client can tell."""

    def failing() -> Iterator[Any]:
        yield 'part'
        raise ZeroDivisionError('half-way')

    async def failing_async() -> AsyncIterator[Any]:
        yield 'part'
        raise ZeroDivisionError('half-way')

    class Failing(Producer):
        def more(self) -> Any:
            if not self.parts:
                raise ZeroDivisionError('half-way')
            return super().more()

    contents: dict[str, Callable[[], Any]] = {
        'generator': failing,
        'asynchronous generator': failing_async,
        'more': lambda: Failing('part'),
        'wrong part': lambda: iter(['part', 7]),
    }
    client = serve(lambda was: contents[kind]())
    with pytest.raises((requests.RequestException, AnswerFailed)):
        _ = client.get('/').content
    assert 'failed half-way' in caplog.text


@pytest.mark.parametrize('kind', ['generator', 'asynchronous generator', 'more'])
def test_a_stream_is_closed_when_the_client_goes(serve: Serve, kind: str) -> None:
    """RS-17: an endless one ends with its reader; the server goes on serving."""
    closed = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield b'x' * 10_000
        finally:
            closed.set()

    async def endless_async() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b'x' * 10_000
        finally:
            closed.set()

    class Endless(Producer):
        def more(self) -> Any:
            return b'x' * 10_000

        def close(self) -> None:
            closed.set()

    contents: dict[str, Callable[[], Any]] = {
        'generator': endless,
        'asynchronous generator': endless_async,
        'more': Endless,
    }
    client = serve(lambda was: contents[kind]())
    with client.get('/', stream=True) as response:
        assert next(response.iter_content(1000))
    client.session.close()
    assert closed.wait(DEADLINE)


@pytest.mark.parametrize('kind', ['generator', 'asynchronous generator'])
def test_head_of_an_endless_stream(serve: Serve, kind: str) -> None:
    """RS-17, RT-02: it is not run for nobody."""

    def endless() -> Iterator[bytes]:
        while True:
            yield b'x'

    async def endless_async() -> AsyncIterator[bytes]:
        while True:
            yield b'x'

    client = serve(lambda was: endless() if kind == 'generator' else endless_async())
    assert client.head('/').status_code == 200
    assert client.head('/').status_code == 200


def test_the_current_was_in_a_stream(serve: Serve) -> None:
    """WAS-07: a generator runs in its request's context, whichever thread makes the step."""

    def parts() -> Iterator[str]:
        for _ in range(3):
            yield skitai.was.request.uri + ' '

    assert serve(lambda was: parts()).get('/?').text == '/ / / '


# -- API -------------------------------------------------------------------------------------------


def test_an_api(serve: Serve) -> None:
    """RS-13: status, dict and keywords, each optional; keywords win."""
    response = serve(lambda was: was.API('201 Created', {'data': 1, 'x': 'ü'}, data=2)).get('/')
    assert response.status_code == 201
    assert response.headers['Content-Type'] == 'application/json'
    assert response.content == '{"data":2,"x":"ü"}'.encode()
    assert serve(lambda was: was.API()).get('/').content == b'{}'
    assert serve(lambda was: was.API({'a': 1})).get('/').data == {'a': 1}
    assert serve(lambda was: was.API('205 No Content')).get('/').status_code == 205


def test_the_items_of_an_api(serve: Serve) -> None:
    """RS-13."""

    def service(was: Any) -> Any:
        given_dict = {'a': 1}
        api = was.API(given_dict)
        api['b'] = 2
        api.set('c', 3)
        assert (api['a'], api.get('c'), api.get('x'), api.get('x', 7), 'b' in api) == (1, 3, None, 7, True)
        del api['b']
        assert given_dict == {'a': 1}
        return api

    assert serve(service).get('/').data == {'a': 1, 'c': 3}


@pytest.mark.parametrize(
    'arguments', [(1,), ('200 OK', 7), ({}, {}), ([],), ('200 OK', {}, 1), ({}, '200 OK')]
)
def test_anything_else_is_a_type_error(serve: Serve, arguments: tuple[Any, ...]) -> None:
    """RS-13."""

    def service(was: Any) -> Any:
        with pytest.raises(TypeError, match=r'was\.API'):
            was.API(*arguments)
        return ''

    assert serve(service).get('/').status_code == 200


def test_an_api_as_xml(serve: Serve) -> None:
    """RS-13: for a client that accepts text/xml; numbers of any size."""
    values = {'a': [1, 'ü', None, True, 1.5], 'n': -(2**40), 'm': 2**31}
    response = serve(lambda was: was.API(values)).get('/', headers={'Accept': 'text/xml'})
    assert response.status_code == 200
    assert response.headers['Content-Type'].startswith('text/xml')
    ((found,), _) = xmlrpc.client.loads(response.content)
    assert found == values


def test_the_options_of_json(serve: Serve) -> None:
    """RS-13, ST-08."""
    moment = datetime.datetime(2026, 5, 1, 12)
    pref = skitai.preference()
    pref.config.JSON_ENCODER = 'iso'
    pref.config.PRETTY_JSON = True
    response = serve(lambda was: was.API(t=moment), pref).get('/')
    assert response.text == '{\n  "t": "2026-05-01T12:00:00"\n}'


def test_a_type_set_before_does_not_double(serve: Serve) -> None:
    """RS-13: there is one Content-Type."""

    def service(was: Any) -> Any:
        was.response['Content-Type'] = 'text/plain'
        return was.API(a=1)

    assert serve(service).get('/').headers['Content-Type'] == 'application/json'


def test_a_fault(serve: Serve) -> None:
    """RS-14: an error's body without raising."""

    def service(was: Any) -> Any:
        was.response.add_header('X-One', '1')
        return was.Fault('400 Bad Request', 'bad thing', 40011, more_info='why')

    response = serve(service).get('/')
    assert (response.status_code, response.headers['X-One']) == (400, '1')
    assert response.data == {'code': 40011, 'message': 'bad thing', 'more_info': 'why'}
    assert serve(lambda was: was.Fault()).get('/').data == {'code': 20000, 'message': 'ok', 'more_info': ''}
    page = serve(service).get('/', headers={'Accept': 'text/html'})
    assert page.headers['Content-Type'] == 'text/html; charset=utf-8'


# -- files -----------------------------------------------------------------------------------------

CONTENT = b'0123456789' * 30_000


@pytest.fixture
def site(tmp_path: Path) -> Any:
    """A preference with static and media files."""
    for name, content in (
        ('static/img/logo.png', b'png'),
        ('static/robots.real.txt', b'static robots'),
        ('root/robots.real.txt', b'root robots'),
        ('media/a.txt', b'media'),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    pref = skitai.preference()
    pref.set_static('/s', str(tmp_path / 'static'))
    pref.set_media('/m', str(tmp_path / 'media'))
    return pref


def test_static_files(serve: Serve, site: Any) -> None:
    """RS-16: type by extension, validators."""
    client = serve(lambda was: was.Static('img/logo.png'), site)
    response = client.get('/')
    assert (response.content, response.headers['Content-Type']) == (b'png', 'image/png')
    assert response.headers['Last-Modified']
    again = client.get('/', headers={'If-None-Match': response.headers['ETag']})
    assert (again.status_code, again.content) == (304, b'')
    part = client.get('/', headers={'Range': 'bytes=1-'})
    assert (part.status_code, part.content) == (206, b'ng')
    assert client.head('/').headers['Content-Length'] == '3'


def test_static_of_an_absolute_path(serve: Serve, site: Any) -> None:
    """RS-16; PITFALLS, Documented, but broken: `was.Static ('/robots.real.txt')`."""
    assert serve(lambda was: was.Static('/s/robots.real.txt'), site).get('/').content == b'static robots'
    assert serve(lambda was: was.Static('robots.real.txt'), site).get('/').content == b'static robots'
    assert serve(lambda was: was.Static('/robots.real.txt'), site).get('/').status_code == 404


def test_media_and_mounted_files(serve: Serve, site: Any) -> None:
    """RS-16."""
    assert serve(lambda was: was.Media('a.txt'), site).get('/').content == b'media'
    assert serve(lambda was: was.MountedFile('/m/a.txt'), site).get('/').content == b'media'
    assert serve(lambda was: was.Mounted('/s/img/logo.png'), site).get('/').content == b'png'


@pytest.mark.parametrize(
    'uri', ['nope.png', '../root/robots.real.txt', '%2e%2e/x', 'img', 'img/', '', 'a\x00b', 'http://x/']
)
def test_files_that_are_not_there(serve: Serve, site: Any, uri: str) -> None:
    """RS-16; PITFALLS, Errors, Security: a 404, and nothing outside the directory."""
    assert serve(lambda was: was.Static(uri), site).get('/').status_code == 404


def test_a_file(serve: Serve, tmp_path: Path) -> None:
    """RS-18; PITFALLS, Documented, but broken: a Range request is answered."""
    path = tmp_path / 'data'
    path.write_bytes(CONTENT)
    client = serve(lambda was: was.File(str(path), 'text/csv', 'a "b" ü.csv'))
    response = client.get('/')
    assert response.content == CONTENT
    assert response.headers['Content-Type'] == 'text/csv'
    assert response.headers['Content-Length'] == str(len(CONTENT))
    assert response.headers['Content-Disposition'].startswith('attachment; filename="')
    part = client.get('/', headers={'Range': 'bytes=-7'})
    assert (part.status_code, part.content) == (206, CONTENT[-7:])
    assert part.headers['Content-Range'] == f'bytes {len(CONTENT) - 7}-{len(CONTENT) - 1}/{len(CONTENT)}'
    assert client.get('/', headers={'Range': f'bytes={len(CONTENT)}-'}).status_code == 416


def test_a_file_by_default(serve: Serve, tmp_path: Path) -> None:
    """RS-18: application/octet-stream, shown where the client likes."""
    path = tmp_path / 'data.txt'
    path.write_bytes(b'x')
    headers = serve(lambda was: was.File(path)).get('/').headers
    assert headers['Content-Type'] == 'application/octet-stream'
    assert 'Content-Disposition' not in headers


@pytest.mark.parametrize('large', [False, True])
def test_a_file_object(serve: Serve, large: bool, tmp_path: Path) -> None:
    """RS-18: rewound, and closed at the end."""
    content = CONTENT if large else b'small'
    made: list[io.BytesIO] = []

    def service(was: Any) -> Any:
        made.append(io.BytesIO(content))
        made[-1].read()
        return was.File(made[-1])

    client = serve(service)
    assert client.get('/').content == content
    assert client.head('/').headers['Content-Length'] == str(len(content))
    assert client.get('/', headers={'Range': 'bytes=1-3'}).content == content[1:4]


def test_a_relative_path(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RS-18: of the launch script."""
    (tmp_path / 'data').write_bytes(b'beside the script')
    monkeypatch.setattr(sys.modules['__main__'], '__file__', str(tmp_path / 'serve.py'), raising=False)
    assert serve(lambda was: was.File('data')).get('/').content == b'beside the script'


@pytest.mark.parametrize('name', ['nope', '.', 'a\x00b', '', 'x' * 5000])
def test_a_file_that_is_not_there(
    serve: Serve, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """RS-18; PITFALLS, Errors: a missing file is a 404."""
    assert serve(lambda was: was.File(str(tmp_path) + '/' + name)).get('/').status_code == 404
    assert not caplog.records


def test_a_file_with_a_status_and_fields(serve: Serve, tmp_path: Path) -> None:
    """RS-18, RS-01."""
    path = tmp_path / 'data'
    path.write_bytes(b'x')

    def service(was: Any) -> Any:
        return was.response('201 Created', was.File(path, 'text/plain'), {'X-One': '1', 'ETag': '"mine"'})

    response = serve(service).get('/')
    assert (response.status_code, response.headers['X-One'], response.headers['ETag']) == (201, '1', '"mine"')


# -- redirects -------------------------------------------------------------------------------------


def test_a_redirect(serve: Serve) -> None:
    """RS-19."""
    response = serve(lambda was: was.redirect('/a b?x="<ü>"')).get('/')
    assert (response.status_code, response.reason) in ((302, 'Found'), (302, 'Object Moved'))
    assert response.headers['Location'] == '/a%20b?x=%22%3C%C3%BC%3E%22'
    assert response.headers['Cache-Control'] == 'max-age=0'
    assert response.headers['Expires']
    assert response.headers['Content-Type'] == 'text/html; charset=utf-8'
    assert '<a href="' in response.text
    assert '"<ü>"' not in response.text


def test_a_redirect_of_ones_own(serve: Serve) -> None:
    """RS-19: status, body, fields; an absolute URL stays as it is."""

    def service(was: Any) -> Any:
        url = 'https://example.com/%7Ea/?x=%20&y=[1]#f'
        return was.redirect(url, '301 Moved Permanently', 'moved', {'X-One': '1'})

    response = serve(service).get('/')
    assert (response.status_code, response.text, response.headers['X-One']) == (301, 'moved', '1')
    assert response.headers['Location'] == 'https://example.com/%7Ea/?x=%20&y=[1]#f'


# -- async def -------------------------------------------------------------------------------------


def test_async_services_wait_together(client_for: Make) -> None:
    """GEN-05: more of them than there are threads, on one event loop."""
    app = Atila('app')
    waiting: list[asyncio.Event] = []

    @app.route('/wait')
    async def wait(was):
        event = asyncio.Event()
        waiting.append(event)
        if len(waiting) == 6:
            for each in waiting:
                each.set()
        await asyncio.wait_for(event.wait(), DEADLINE)
        return 'all there'

    client = client_for(app, threads=1)
    clients = [client.clone() for _ in range(6)]
    found: list[str] = []
    threads = [threading.Thread(target=lambda c=c: found.append(c.get('/wait').text)) for c in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    for each in clients:
        each.session.close()
    assert found == ['all there'] * 6


def test_async_services_get_parameters_and_bodies(client_for: Make) -> None:
    """PR-01 in an `async def`."""
    app = Atila('app')

    @app.route('/<int:id>')
    async def service(was, id, a=1):
        assert skitai.was.request is was.request
        return was.API(id=id, a=a, method=was.request.method)

    client = client_for(app)
    assert client.get('/7').data == {'id': 7, 'a': 1, 'method': 'GET'}
    assert client.post('/7', json={'a': [2]}).data == {'id': 7, 'a': [2], 'method': 'POST'}
    assert client.get('/7?b=1').status_code == 400


def test_a_decorated_async_service(client_for: Make) -> None:
    """HP-06: a decorator that keeps the signature."""
    import functools

    app = Atila('app')

    def decorate(function: Service) -> Service:
        @functools.wraps(function)
        async def wrapper(was, *args, **values):
            return (await function(was, *args, **values)) + '!'

        return wrapper

    @app.route('/<name>')
    @decorate
    async def service(was, name):
        return name

    assert client_for(app).get('/hans').text == 'hans!'


def test_nothing_blocking_runs_on_the_loop(client_for: Make) -> None:
    """GEN-05: plain code of an async service (a generator, an error handler) runs on a thread."""
    app = Atila('app')
    threads: dict[str, threading.Thread] = {}

    def seen(what: str) -> None:
        threads[what] = threading.current_thread()

    @app.route('/stream')
    async def stream(was):
        seen('loop')

        def parts() -> Iterator[str]:
            seen('first part')
            yield 'a'
            seen('second part')
            yield 'b'

        return parts()

    @app.route('/error')
    async def error(was):
        raise was.Error('400 Bad Request')

    @app.error_handler(400, accept='*')
    def handler(was, error):
        seen('handler')
        return 'handled'

    client = client_for(app)
    assert client.get('/stream').text == 'ab'
    assert client.get('/error').text == 'handled'
    loop = threads.pop('loop')
    assert {what for what, thread in threads.items() if thread is loop} == set()


# -- properties ------------------------------------------------------------------------------------


def test_any_accept_and_range_give_an_answer(
    direct_for: Callable[..., Direct], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """RS-13, RS-16, ER-02: a value or a 4xx, whatever is asked for."""
    app = Atila('app')
    path = tmp_path / 'data'
    path.write_bytes(b'0123456789')

    @app.route('/file')
    def file(was):
        return was.File(path)

    @app.route('/api')
    def api(was):
        return was.API(a=2**40, t=datetime.datetime(2026, 5, 1), x='\x00\x01ü')

    engine = direct_for(app)
    accepts = st.lists(
        st.sampled_from(
            [b'text/html', b'text/xml', b'application/json', b'*/*', b',', b';', b'q=', b'0', b'.5', b' ']
        )
    ).map(b''.join)
    ranges = st.lists(
        st.sampled_from([b'bytes=', b'bytes', b'=', b'-', b',', b'0', b'5', b'9' * 30, b'+', b'_', b' '])
    ).map(b''.join)

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from([b'/file', b'/api', b'/nope']), accepts, ranges)
    def check(target: bytes, accept: bytes, span: bytes) -> None:
        headers = b'Accept: %s\r\nRange: %s\r\n' % (accept, span)
        answer = parse_answer(send_raw(engine.connect(), request_bytes(target=target, headers=headers)))
        assert answer.status in (200, 206, 404, 416), (target, headers, answer)
        assert answer.headers is not None
        if answer.headers.get_content_type() == 'application/json':
            json.loads(answer.body)

    check()
    assert not caplog.records


def test_asynchronous_streams_are_whole_under_load(
    direct_for: Callable[..., Direct], caplog: pytest.LogCaptureFixture
) -> None:
    """A service's coroutine and its stream's are two; the client's going is watched for once."""
    app = Atila('app')

    @app.route('/')
    async def service(was: Any) -> Any:
        async def parts() -> AsyncIterator[str]:
            yield 'a'
            await asyncio.sleep(0)
            yield 'b'

        return parts()

    engine = direct_for(app)
    done = threading.Event()

    def burn() -> None:
        while not done.is_set():
            sum(range(1000))

    burners = [threading.Thread(target=burn) for _ in range(2)]
    for burner in burners:
        burner.start()
    try:
        with requests.Session() as session:
            for _ in range(60):
                assert session.get(f'http://127.0.0.1:{engine.port}/', timeout=20).text == 'ab'
    finally:
        done.set()
        for burner in burners:
            burner.join()
    assert 'failed' not in caplog.text
