"""HTTP and RPC in services: `was.stub`, `was.get`, `was.xmlrpc` and their like (SPEC chapter 21, ER-05)."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from xmlrpc.server import SimpleXMLRPCServer

import pytest
from projects import wait_for
from rpcpeers import Scripted, serving
from upstreams import DEADLINE, Server, refusing_port
from webapi import ROUTES, form_of

import skitai
from aquests.rpc import RPCProtocol
from atila import Atila
from skitai.testing import Client, ServerClient

Make = Callable[..., Client]

FORMS = ('plain', 'block', 'generator', 'then', 'map', 'async', 'pass')
SECRET = 'tr0ub4dor'


@pytest.fixture(scope='module')
def server() -> Iterator[Server]:
    server = Server('one', more=ROUTES)
    yield server
    server.stop()


@pytest.fixture
def app(server: Server) -> Atila:
    app = Atila(f'stubs_{uuid.uuid4().hex[:8]}')
    app.alias('@up', skitai.PROTO_HTTP, server.address)
    app.alias('@gone', skitai.PROTO_HTTP, f'me:{SECRET}@127.0.0.1:{refusing_port()}')
    add_forms(app)
    return app


def add_forms(app: Atila) -> None:
    """A service of each form that answers with what it is told to ask for."""

    @app.route('/plain')
    def plain(was, uri, base='@up', timeout=10.0, how='fetch'):  # type: ignore[no-untyped-def]
        return was.API(got=getattr(was.stub(base, timeout=float(timeout)).get(uri), how)())

    @app.route('/block')
    def block(was, uri, base='@up', timeout=10.0, how='fetch'):  # type: ignore[no-untyped-def]
        with was.stub(base, timeout=float(timeout)) as stub:
            task = stub.get(uri)
        return was.API(got=getattr(task, how)())

    @app.route('/generator', coroutine=True)
    def generator(was, uri, base='@up', timeout=10.0, how='fetch'):  # type: ignore[no-untyped-def]
        with was.stub(base, timeout=float(timeout)) as stub:
            task = yield stub.get(uri)
            task = yield stub.get(uri)
        return was.API(got=getattr(task, how)())

    @app.route('/then')
    def then(was, uri, base='@up', timeout=10.0, how='fetch'):  # type: ignore[no-untyped-def]
        def respond(was, task):  # type: ignore[no-untyped-def]
            return was.API(got=getattr(task, how)())

        return was.get(base + uri, timeout=float(timeout)).then(respond)

    @app.route('/map')
    def mapped(was, uri, base='@up', timeout=10.0, how='fetch'):  # type: ignore[no-untyped-def]
        return was.Map(**{f'got__{how}': was.stub.lb(base, timeout=float(timeout)).get(uri)})

    @app.route('/async')
    async def awaits(was, uri, base='@up', timeout=10.0, how='fetch'):  # type: ignore[no-untyped-def]
        task = was.stub(base, timeout=float(timeout)).get(uri)
        await task.completed()
        return was.API(got=getattr(task, how)())

    @app.route('/pass')
    def thread_pass(was, uri, base='@up', timeout=10.0, how='fetch'):  # type: ignore[no-untyped-def]
        return was.ThreadPass(plain, uri, base, timeout, how)


JSON_OF = '/says?type=application/json&hex='


def test_every_form(client_for: Make, app: Atila) -> None:
    client = client_for(app)
    for form in FORMS:
        answer = client.get(f'/{form}', params={'uri': JSON_OF + b'{"a": [1]}'.hex()})
        assert (form, answer.status_code, answer.json()) == (form, 200, {'got': {'a': [1]}})


@pytest.mark.parametrize(
    ('base', 'uri', 'how', 'timeout', 'status'),
    [
        ('@up', '/says?status=404&hex=' + SECRET.encode().hex(), 'fetch', 10, 502),
        ('@up', '/says?status=503', 'commit', 10, 502),
        ('@up', '/redirect?to=ftp://x/', 'fetch', 10, 502),
        ('@up', JSON_OF + SECRET.encode().hex(), 'fetch', 10, 502),
        ('@up', JSON_OF + b'[]'.hex(), 'one', 10, 410),
        ('@up', JSON_OF + b'[1, 2]'.hex(), 'one', 10, 409),
        ('@up', '/hang', 'fetch', 0.2, 504),
        ('@gone', '/x', 'fetch', 10, 502),
    ],
)
def test_errors_in_every_form(
    client_for: Make, app: Atila, server: Server, base: str, uri: str, how: str, timeout: float, status: int
) -> None:
    """SPEC TK-05, TK-12, ER-05: neither a traceback nor a value is told."""
    client = client_for(app)
    for form in FORMS:
        params = {'base': base, 'uri': uri, 'how': how, 'timeout': timeout}
        answer = client.get(f'/{form}', params=params)
        assert (form, answer.status_code) == (form, status)
        for told in (SECRET, 'Traceback', 'aiohttp', server.address):
            assert told not in answer.text


def test_an_error_that_is_looked_at(client_for: Make, app: Atila) -> None:
    @app.route('/looks')
    def looks(was):  # type: ignore[no-untyped-def]
        result = was.get('@up/says?status=404&type=text/plain&hex=6162').dispatch()
        return was.API(
            status=result.status, code=result.status_code, data=result.data, why=result.reason, url=result.url
        )

    got = client_for(app).get('/looks').json()
    assert (got['status'], got['code'], got['data'], got['why']) == (3, 404, 'ab', 'Not Found')


def test_what_clients_send_does_not_lead_elsewhere(client_for: Make, app: Atila) -> None:
    @app.route('/profiles/<path:name>')
    def profile(was, name):  # type: ignore[no-untyped-def]
        return was.API(target=was.stub('@up').get('/echo/{}', name).fetch()['target'])

    client = client_for(app)
    assert client.get('/profiles/a/b%3Fc').json() == {'target': '/echo/a%2Fb%3Fc'}
    answer = client.get('/profiles/x%2F..%2Fadmin')
    assert answer.status_code == 400
    assert "a part of a URL's path" in answer.text


def test_ids_go_to_aliases_only(client_for: Make, app: Atila, server: Server) -> None:
    """SPEC HC-07."""

    @app.route('/ids')
    def ids(was):  # type: ignore[no-untyped-def]
        own = was.stub('@up', {'x-gtxn-id': 'mine'})
        url = f'http://{server.address}/echo'
        tasks = [was.get('@up/echo'), was.get(url), own.get('/echo'), was.post('@up/echo')]
        return was.API(ids=was.txnid(), seen=[task.fetch()['headers'] for task in tasks])

    got = client_for(app).get('/ids', headers={'X-Gtxn-Id': 'abc-1'}).json()
    local = got['ids'].split('/')[1]
    assert got['ids'] == f'abc-1/{local}'
    sent = [(seen.get('x-gtxn-id'), seen.get('x-ltxn-id')) for seen in got['seen']]
    assert sent == [('abc-1', local), (None, None), ('mine', local), ('abc-1', local)]


def test_the_apps_own_content_type(client_for: Make, app: Atila) -> None:
    """SPEC HC-02."""
    app.config.default_request_type = 'application/x-www-form-urlencoded'

    @app.route('/form')
    def form(was):  # type: ignore[no-untyped-def]
        as_json = was.post('@up/echo', {'a': 1}, {'Content-Type': 'application/json'})
        return was.API(form=was.post('@up/echo', {'a': 1}).fetch()['body'], json=as_json.fetch()['body'])

    assert client_for(app).get('/form').json() == {'form': 'a=1', 'json': '{"a":1}'}


def test_files_of_a_request_go_on(client_for: Make, app: Atila) -> None:
    @app.route('/files', methods=['POST'])
    def files(was, photo):  # type: ignore[no-untyped-def]
        return was.API(was.upload('@up/echo', {'photo': photo, 'title': 'a'}).fetch())

    content = bytes(range(256)) * 8000
    answer = client_for(app).post('/files', files={'photo': ('a.png', content, 'image/png')})
    fields, found = form_of(answer.json())
    assert fields == {'title': ['a']}
    assert found == {'photo': [('a.png', 'image/png', content)]}


def test_single_requests(client_for: Make, app: Atila) -> None:
    """SPEC HC-04, WAS-03."""

    @app.route('/single')
    def single(was):  # type: ignore[no-untyped-def]
        tasks = [
            getattr(was, method)('@up/echo', data={'a': 1})
            for method in ('get', 'delete', 'options', 'patch')
        ]
        tasks += [
            was.put.lb('@up/echo', {'a': 1}),
            was.get.map('@up/echo'),
            was.stub.map('@up').post('/echo', a=1),
        ]
        got = [task.fetch() for task in tasks]
        assert was.head('@up/echo').dispatch().status_code == 200
        return was.API(got=[seen if isinstance(seen, dict) else seen[0] for seen in got])

    got = client_for(app).get('/single').json()['got']
    assert [seen['method'] for seen in got] == ['GET', 'DELETE', 'OPTIONS', 'PATCH', 'PUT', 'GET', 'POST']
    assert [seen['target'] for seen in got[:4]] == ['/echo?a=1', '/echo?a=1', '/echo', '/echo']


def test_in_a_template(client_for: Make, app: Atila, tmp_path: Any) -> None:
    """SPEC TE-09."""
    (tmp_path / 'rows.html').write_text('{% for row in context.task.fetch () %}<p>{{ row }}</p>{% endfor %}')
    app.config.TEMPLATE_DIRS = [str(tmp_path)]

    @app.route('/template')
    def template(was):  # type: ignore[no-untyped-def]
        return was.render('rows.html', task=was.get('@up' + JSON_OF + b'["a", "b"]'.hex()))

    assert client_for(app).get('/template').text == '<p>a</p><p>b</p>'


@pytest.mark.parametrize('form', FORMS)
def test_a_request_that_is_given_up_gives_its_calls_up(
    app: Atila, server: Server, direct_for: Any, form: str
) -> None:
    """The connection is closed: the upstream sees it."""
    engine = direct_for(app)
    gone, hanging = server.cancelled, server.hanging
    with socket.create_connection(('127.0.0.1', engine.port), timeout=DEADLINE) as client:
        client.sendall(f'GET /{form}?uri=/hang HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
        wait_for(lambda: server.hanging > hanging, 'the call')
    wait_for(lambda: server.cancelled > gone, 'its end')
    assert ServerClient(engine.port).get(f'/{form}?uri=/echo').status_code == 200


def test_a_requests_time_is_up(client_for: Make, app: Atila, server: Server) -> None:
    gone = server.cancelled

    @app.route('/slow', timeout=0.3)
    def slow(was):  # type: ignore[no-untyped-def]
        return was.API(got=was.get('@up/hang').fetch())

    assert client_for(app).get('/slow').status_code == 503
    wait_for(lambda: server.cancelled > gone, 'its end')


# -- kept answers ----------------------------------------------------------------------------------------


def test_kept_answers_and_updates(
    client_for: Make, app: Atila, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SPEC CA-02, CA-03."""
    from aquests import cache

    skitai.register_g('stubs.profiles')
    monkeypatch.setattr(cache, 'cache', cache.Cache())

    @app.route('/look')
    def look(was):  # type: ignore[no-untyped-def]
        return was.API(got=was.stub('@up', use_cache='stubs.profiles').get('/kept').fetch()['target'])

    @app.route('/update')
    def update(was):  # type: ignore[no-untyped-def]
        was.stub('@up', rm_cache='stubs.profiles').put('/kept', a=1).commit()
        return was.put('@up/kept', {'a': 2}, rm_cache=['stubs.profiles']).returning('done')

    client = client_for(app)
    before = len(server.seen)
    for _ in range(3):
        assert client.get('/look').json() == {'got': '/kept'}
    assert server.seen[before:] == [('GET', '/kept')]
    assert client.get('/update').text == 'done'
    wait_for(lambda: len(server.seen) == before + 3, 'both updates')
    client.get('/look')
    assert server.seen[before:].count(('GET', '/kept')) >= 2


# -- RPC ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def rpc_port() -> Iterator[int]:
    server = SimpleXMLRPCServer(('127.0.0.1', 0), logRequests=False)
    server.register_function(lambda a, b: a + b, 'add')
    server.register_function(lambda: 1 // 0, 'fail')
    with serving(server) as port:
        yield port


def test_rpc(client_for: Make, app: Atila, rpc_port: int) -> None:
    """SPEC HC-05."""
    app.alias('@rpc', skitai.PROTO_HTTP, f'127.0.0.1:{rpc_port}')

    @app.route('/rpc')
    def plain(was):  # type: ignore[no-untyped-def]
        with was.xmlrpc('@rpc/RPC2') as stub:
            task = stub.add(156, 952)
        return was.API(
            one=task.fetch(),
            two=was.rpc.lb('@rpc/RPC2').add(1, 2).fetch(),
            all=was.rpc.map('@rpc/RPC2').add(3, 4).fetch(),
        )

    @app.route('/rpc/async')
    async def awaits(was):  # type: ignore[no-untyped-def]
        return was.API(one=await was.xmlrpc('@rpc/RPC2').add(1, 2))

    @app.route('/rpc/generator', coroutine=True)
    def generator(was):  # type: ignore[no-untyped-def]
        task = yield was.xmlrpc('@rpc/RPC2').add(1, 2)
        return was.API(one=task.fetch())

    @app.route('/rpc/fail')
    def fail(was):  # type: ignore[no-untyped-def]
        return was.API(one=was.xmlrpc('@rpc/RPC2').fail().fetch())

    client = client_for(app)
    assert client.get('/rpc').json() == {'one': 1108, 'two': 3, 'all': [7]}
    for form in ('async', 'generator'):
        assert client.get(f'/rpc/{form}').json() == {'one': 3}
    answer = client.get('/rpc/fail')
    assert answer.status_code == 502
    assert 'ZeroDivision' not in answer.text


class EchoRPC(RPCProtocol):
    content_type = 'application/x-echo'

    def encode(self, method: str, args: Any, kwargs: Any) -> bytes:
        return json.dumps([method, args]).encode()

    def decode(self, body: bytes) -> Any:
        return json.loads(body)


def test_a_protocol_of_ones_own(client_for: Make, app: Atila) -> None:
    """SPEC DB-09."""
    skitai.add_http_rpc_proto('echorpc', EchoRPC)
    with serving(Scripted(lambda body: body, 'application/x-echo')) as port:
        app.alias('@echo', 'echorpc', f'127.0.0.1:{port}')

        @app.route('/echo')
        def echo(was):  # type: ignore[no-untyped-def]
            return was.API(
                got=was.echorpc('@echo/x').say(1, 2).fetch(), all=was.echorpc.map('@echo').say().fetch()
            )

        assert client_for(app).get('/echo').json() == {'got': ['say', [1, 2]], 'all': [['say', []]]}


def test_wrong_use_is_told(client_for: Make, app: Atila, caplog: pytest.LogCaptureFixture) -> None:
    app.alias('@db', skitai.DB_REDIS, 'localhost')

    @app.route('/wrong/<int:number>')
    def wrong(was, number):  # type: ignore[no-untyped-def]
        steps: list[Callable[[], Any]] = [
            lambda: was.stub('@nobody'),
            lambda: was.stub('@db'),
            lambda: was.stub('@up', retries=3),
            lambda: was.get('nowhere'),
            lambda: was.xmlrpc('@db'),
        ]
        return steps[number]()

    client = client_for(app)
    for number, words in enumerate(
        (
            'is not registered',
            'is no HTTP server',
            'no option retries',
            "begins with '@alias'",
            'is no HTTP server',
        )
    ):
        caplog.clear()
        assert client.get(f'/wrong/{number}').status_code == 500
        assert words in caplog.text
