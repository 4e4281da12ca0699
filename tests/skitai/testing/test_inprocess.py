"""The client that calls an ASGI application in this process (SPEC TC-03)."""

import asyncio
import gc
import gzip
import json
import threading

import pytest
import requests
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.routing import Route

from skitai.testing import Client, InProcessClient, Response

TEXT = (b'content-type', b'text/plain')


def answering(*chunks, status=200, headers=(TEXT,)):
    """An application that sends `chunks`, the last one as the end."""

    async def application(scope, receive, send):
        await send({'type': 'http.response.start', 'status': status, 'headers': list(headers)})
        for position, chunk in enumerate(chunks, 1):
            await send({'type': 'http.response.body', 'body': chunk, 'more_body': position < len(chunks)})

    return application


async def echo(scope, receive, send):
    """Answers with what it was asked, as JSON, with the number of messages of the body."""
    chunks = []
    while (message := await receive())['more_body']:
        chunks.append(message['body'])
    chunks.append(message['body'])
    asked = {
        **{
            key: scope[key]
            for key in ('type', 'asgi', 'http_version', 'method', 'scheme', 'path', 'client', 'server')
        },
        'raw_path': scope['raw_path'].decode(),
        'query_string': scope['query_string'].decode(),
        'headers': {name.decode(): value.decode() for name, value in scope['headers']},
        'body': b''.join(chunks).decode('latin-1'),
        'messages': len(chunks),
    }
    await answering(json.dumps(asked).encode(), headers=[(b'content-type', b'application/json')])(
        scope, receive, send
    )


@pytest.fixture
def client_of():
    """Clients of applications, stopped after the test."""
    clients = []

    def client(application, **options):
        clients.append(InProcessClient(application, **options))
        return clients[-1]

    yield client
    for each in clients:
        each.stop()


# -- requests --------------------------------------------------------------------------------------


@pytest.mark.parametrize('method', ['get', 'post', 'put', 'patch', 'delete', 'options'])
def test_each_method_calls_the_application(client_of, method):
    """SPEC TC-02, TC-03."""
    response = getattr(client_of(echo), method)('/a', headers={'X-One': '1'})
    assert isinstance(response, Response)
    assert (response.status_code, response.reason) == (200, 'OK')
    assert response.data['method'] == method.upper()
    assert response.data['headers']['x-one'] == '1'
    assert response.request.url == 'http://testserver/a'


def test_the_scope_is_that_of_an_http_connection(client_of):
    asked = client_of(echo).get('/caf%C3%A9/a%2Fb?x=%20y').data
    assert asked['type'] == 'http'
    assert asked['asgi'] == {'version': '3.0', 'spec_version': '2.4'}
    assert (asked['http_version'], asked['scheme']) == ('1.1', 'http')
    assert asked['path'] == '/café/a/b'
    assert asked['raw_path'] == '/caf%C3%A9/a%2Fb'
    assert asked['query_string'] == 'x=%20y'
    assert asked['client'] == ['127.0.0.1', 50000]
    assert asked['server'] == ['testserver', 80]
    assert asked['headers']['host'] == 'testserver'
    assert asked['messages'] == 1


def test_base_url_and_peer_can_be_chosen(client_of):
    asked = client_of(echo, base_url='https://example.com:8443/', client=('10.0.0.1', 1)).get('/a').data
    assert asked['scheme'] == 'https'
    assert asked['server'] == ['example.com', 8443]
    assert asked['headers']['host'] == 'example.com:8443'
    assert asked['client'] == ['10.0.0.1', 1]


def test_forms_json_text_and_files_are_bodies(client_of, tmp_path):
    client = client_of(echo)
    assert client.post('/', {'a': 'b c'}).data['body'] == 'a=b+c'
    assert client.post('/', json=[1]).data['body'] == '[1]'
    assert client.post('/', 'ü').data['body'].encode('latin-1').decode() == 'ü'
    path = tmp_path / 'file'
    path.write_bytes(b'from disk')
    with path.open('rb') as file:
        sent = client.post('/', file).data
    assert (sent['body'], sent['headers']['content-length']) == ('from disk', '9')
    assert b'name="f"; filename="n.txt"' in client.upload('/', {'f': ('n.txt', b'x')}).data['body'].encode()


def test_a_large_body_comes_in_pieces(client_of):
    sent = client_of(echo).post('/', b'x' * 200_000).data
    assert len(sent['body']) == 200_000
    assert sent['messages'] > 3


def test_an_iterable_is_streamed_while_the_application_answers(client_of):
    """The second piece of the body is made only when the answer to the first has been read."""
    heard = threading.Event()

    def body():
        yield b'one'
        assert heard.wait(10)
        yield b'two'

    async def application(scope, receive, send):
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        while (message := await receive())['more_body']:
            await send({'type': 'http.response.body', 'body': message['body'], 'more_body': True})
        await send({'type': 'http.response.body'})

    with client_of(application).post('/', body(), stream=True) as response:
        pieces = response.iter_content(None)
        assert next(pieces) == b'one'
        heard.set()
        assert list(pieces) == [b'two']


def test_a_body_that_fails_disconnects_and_raises(client_of):
    seen = []

    def body():
        yield b'one'
        raise ZeroDivisionError

    async def application(scope, receive, send):
        seen.extend([await receive(), await receive()])

    with pytest.raises(ZeroDivisionError):
        client_of(application).post('/', body())
    assert seen[1] == {'type': 'http.disconnect'}


# -- responses -------------------------------------------------------------------------------------


def test_head_and_no_content_have_no_content(client_of):
    headers = [(b'content-length', b'4')]
    response = client_of(answering(b'four', headers=headers)).head('/')
    assert (response.content, response.headers['content-length']) == (b'', '4')
    assert client_of(answering(b'four', status=204)).get('/').content == b''


def test_a_coded_body_is_decoded(client_of):
    packed = gzip.compress(b'text' * 1000)
    headers = [TEXT, (b'content-encoding', b'gzip'), (b'content-length', b'%d' % len(packed))]
    assert client_of(answering(packed[:20], packed[20:], headers=headers)).get('/').text == 'text' * 1000


def test_cookies_are_kept_and_repeated_fields_are_seen(client_of):
    """SPEC TC-02."""

    async def application(scope, receive, send):
        if scope['path'] == '/login':
            cookies = [(b'set-cookie', b'a=1; Path=/'), (b'set-cookie', b'b=2; Path=/')]
            await answering(b'', headers=cookies)(scope, receive, send)
        else:
            await echo(scope, receive, send)

    client = client_of(application)
    client.get('/login')
    assert client.session.cookies.get_dict() == {'a': '1', 'b': '2'}
    assert client.get('/').data['headers']['cookie'] == 'a=1; b=2'
    assert 'cookie' not in client.clone().get('/').data['headers']


def test_a_clone_shares_the_application_and_not_its_life(client_of):
    """SPEC TC-02: `clone ()`."""
    client = client_of(echo)
    client.set_default_header('X-One', '1')
    with client.clone() as other:
        assert other.get('/').data['headers']['x-one'] == '1'
    assert client.get('/').status_code == 200


def test_a_streamed_response_is_read_as_it_comes(client_of):
    """The application is at most one piece ahead of the reader."""
    sent = []

    async def application(scope, receive, send):
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        for number in range(100):
            await send({'type': 'http.response.body', 'body': b'%d,' % number, 'more_body': True})
            sent.append(number)
        await send({'type': 'http.response.body'})

    with client_of(application).get('/', stream=True) as response:
        pieces = response.iter_content(None)
        assert [next(pieces) for _ in range(10)] == [b'%d,' % number for number in range(10)]
        assert len(sent) < 13
        assert len(list(pieces)) == 90


def test_closing_a_response_disconnects_the_application(client_of):
    ended = threading.Event()

    async def application(scope, receive, send):
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        try:
            while True:
                await send({'type': 'http.response.body', 'body': b'x', 'more_body': True})
        except OSError:
            if await receive() == {'type': 'http.disconnect'}:
                ended.set()

    with client_of(application).get('/', stream=True) as response:
        assert next(response.iter_content(1)) == b'x'
    assert ended.wait(10)


def test_a_response_that_is_dropped_disconnects_the_application(client_of):
    ended = threading.Event()

    async def application(scope, receive, send):
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        await receive()
        await receive()
        ended.set()

    response = client_of(application).get('/', stream=True)
    del response
    gc.collect()
    assert ended.wait(10)


def test_a_complete_response_is_followed_by_a_disconnect(client_of):
    messages = []

    async def application(scope, receive, send):
        await receive()
        await answering(b'x')(scope, receive, send)
        messages.append(await receive())

    client_of(application).get('/')
    assert messages == [{'type': 'http.disconnect'}]


# -- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize('error', [ZeroDivisionError, OSError, TimeoutError, SystemExit])
def test_an_application_that_raises_raises_here(client_of, error):
    """SPEC TC-03: whatever it raises, and the client can go on."""

    async def application(scope, receive, send):
        if scope['path'] == '/fail':
            raise error('on purpose')
        await echo(scope, receive, send)

    client = client_of(application)
    with pytest.raises(error, match='on purpose'):
        client.get('/fail')
    assert client.get('/').status_code == 200


@pytest.mark.parametrize('error', [ZeroDivisionError, OSError])
@pytest.mark.parametrize('ends', [False, True])
def test_an_application_that_fails_in_or_after_its_response_raises_here(client_of, error, ends):
    async def application(scope, receive, send):
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        await send({'type': 'http.response.body', 'body': b'part', 'more_body': not ends})
        raise error('on purpose')

    client = client_of(application)
    with pytest.raises(error, match='on purpose'):
        client.get('/')
    with client.get('/', stream=True) as response:
        pieces = response.iter_content(None)
        assert next(pieces) == b'part'
        with pytest.raises(error, match='on purpose'):
            next(pieces)


START = {'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'2')]}
END = {'type': 'http.response.body', 'body': b'ab'}


@pytest.mark.parametrize(
    ('messages', 'reason'),
    [
        ([], 'ended before its response'),
        ([START], 'ended before its response'),
        ([END], "'http.response.body' where 'http.response.start' was expected"),
        ([START, START], "'http.response.start' where 'http.response.body' was expected"),
        ([START, END, END], 'after the end of the response'),
        ([START, {**END, 'body': b'a'}], 'Content-Length'),
        ([START, {**END, 'body': b'abc'}], 'Content-Length'),
    ],
)
def test_an_application_that_breaks_the_protocol_raises_here(client_of, messages, reason):
    async def application(scope, receive, send):
        for message in messages:
            await send(message)

    with pytest.raises(RuntimeError, match=reason):
        client_of(application).get('/')


def test_an_application_without_an_answer_is_cancelled_at_the_timeout(client_of):
    cancelled = threading.Event()

    async def application(scope, receive, send):
        if scope['path'] == '/half':
            await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    client = client_of(application)
    for path in ('/', '/half'):
        cancelled.clear()
        with pytest.raises(requests.ReadTimeout, match=r'within 0\.1 s'):
            client.get(path, timeout=0.1)
        assert cancelled.wait(10)


# -- life ------------------------------------------------------------------------------------------


def loop_threads():
    return [thread for thread in threading.enumerate() if thread.name == 'in-process client']


def test_stop_ends_the_thread_and_cancels_what_runs():
    cancelled = threading.Event()

    async def application(scope, receive, send):
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    before = len(loop_threads())
    with InProcessClient(application) as client:
        assert isinstance(client, Client)
        response = client.get('/', stream=True)
    assert cancelled.is_set()
    assert len(loop_threads()) == before
    client.stop()
    with pytest.raises(RuntimeError, match='has been stopped'):
        client.get('/')
    with pytest.raises(RuntimeError, match='has been stopped'):
        _ = response.content


def test_garbage_collection_ends_the_thread():
    before = len(loop_threads())
    client = InProcessClient(echo)
    assert client.get('/').status_code == 200
    del client
    gc.collect()
    assert len(loop_threads()) == before


def test_it_can_be_used_while_an_event_loop_runs(client_of):
    async def main():
        return client_of(echo).get('/').status_code

    assert asyncio.run(main()) == 200


# -- a framework -----------------------------------------------------------------------------------


def test_it_serves_starlette(client_of):
    done = []

    async def item(request: Request) -> JSONResponse:
        return JSONResponse({'id': request.path_params['id'], **await request.json()})

    def plain(request: Request) -> PlainTextResponse:
        return PlainTextResponse('plain', background=BackgroundTask(done.append, 'background'))

    async def numbers(request: Request) -> StreamingResponse:
        return StreamingResponse(str(number) for number in range(5))

    def failing(request: Request) -> PlainTextResponse:
        raise LookupError('a bug')

    def moved(request: Request) -> RedirectResponse:
        return RedirectResponse('/plain')

    routes = [
        Route('/items/{id:int}', item, methods=['POST']),
        *(Route(f'/{service.__name__}', service) for service in (plain, numbers, failing, moved)),
    ]
    client = client_of(Starlette(routes=routes))
    assert client.post('/items/7', json={'title': 'T'}).data == {'id': 7, 'title': 'T'}
    assert client.get('/plain').data == 'plain'
    assert done == ['background']
    assert client.get('/numbers').text == '01234'
    assert client.get('/moved').status_code == 307
    assert client.get('/moved', allow_redirects=True).data == 'plain'
    assert client.get('/nothing').status_code == 404
    with pytest.raises(LookupError, match='a bug'):
        client.get('/failing')
