"""Acceptance rows of the chapters on HTTP clients, RPC and load balancing (SPEC appendix A).

A-80, A-87, A-89, A-92, A-93, A-134. Whom the seed asks ("@myapi", example.com) are servers of the tests:
uvicorn with Starlette, with TLS where a row says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from xmlrpc.server import SimpleXMLRPCDispatcher

import pytest
from projects import Launcher
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from tls import certificate
from upstreams import Server, refusing_port

from skitai.testing import ServerClient

SERVE = """
    import json
    import os
    import skitai
    import myapp

    if __name__ == '__main__':
        where = json.loads (os.environ ['UPSTREAMS'])
        with skitai.preference () as pref:
            skitai.alias ("@myapi", skitai.PROTO_HTTPS, where ['tls'])
            skitai.alias ("@members", skitai.PROTO_HTTP, where ['members'])
            skitai.mount ('/', myapp, pref)
        skitai.run (port = 5000)
"""

MYAPP = """
    import json
    import os
    import skitai
    from atila import Atila

    SITE = json.loads (os.environ ['UPSTREAMS']) ['site']

    def __app__ ():
        return Atila (__name__)

    def my_func (arg1, arg2):
        return [arg1, arg2]

    def __setup__ (app, mntopt):
        app.mount ('/80', row_80)
        app.mount ('/87', row_87)
        app.mount ('/89', row_89)
        app.mount ('/92', row_92)
        app.mount ('/93', row_93)
        app.mount ('/134', row_134)

    def row_80 (app):
        @app.route ('')
        def tasks (was):
            with was.stub ('@myapi/api') as stub:
                task1 = stub.get ('/profiles/{}?limit={}', 100, 10)
                payload = dict (name = 'Hans Roh')
                task2 = stub.put ('/profiles/{}', 100, payload)

            with was.xmlrpc ('@myapi/rpc2') as stub:
                task3 = stub.add (156, 952)

            return was.API (results = [task1.fetch (), task2.fetch (), task3.fetch ()])

    def row_87 (app):
        @app.route ('')
        def tasks (was):
            task1 = was.Mask (['New York'])
            with was.stub ('@myapi/api') as stub:
                task2 = stub.get ('/profiles/{}?limit={}', 100, 10)
            arg1, arg2 = 1, 2
            task3 = was.Process (my_func, arg1, arg2)

            tasks = was.Tasks ([task1, task2, task3])
            a, b, c = tasks.fetch () # got 3 results
            return was.API (results = [a, b, c])

    def row_89 (app):
        @app.route ("/coroutine/2", coroutine = True)
        def coroutine (was):
            with was.stub (SITE) as stub:
                task = yield stub.get ("/")
                return task.fetch ()

    def row_92 (app):
        @app.route ('')
        def merged (was):
            with was.stub.map ('@members') as stub:
                task = stub.get ('@members/profiles/{}?limit={}', 100, 10)

            all_results = []
            for resp in task.dispatch ():
                if resp.status != skitai.STA_NORMAL:
                    continue
                all_results.extend (resp.data)
            return was.API (results = all_results, status = [resp.status for resp in task.dispatch ()])

    def row_93 (app):
        @app.route ('')
        def balanced (was):
            with was.stub.lb ('@members') as stub:
                task = stub.get ('@members/profiles/{}?limit={}', 100, 10)
            return was.API (results = task.fetch ())

    def row_134 (app):
        @app.route ("/")
        def intro (was):
            return was.render (
                'template.html',
                task1 = was.get (SITE + "/blur/blar"),
                task2 = was.get (SITE + "/blur/blar/foo"),
            )
"""

FILES = {
    'serve.py': SERVE,
    'myapp/__init__.py': MYAPP,
    'myapp/templates/template.html': """\
        {% set rows = context.task1.fetch () %}
        {% for row in rows %}
        <li>{{ row.name }}</li>
        {% endfor %}
        {% set profile = context.task2.one () %}
        <p>{{ profile.name }}</p>
    """,
}


def routes(name: str) -> list[Route]:
    dispatcher = SimpleXMLRPCDispatcher()
    dispatcher.register_function(lambda a, b: a + b, 'add')

    async def profile(request: Request) -> Response:
        body = await request.body()
        return JSONResponse([name, request.method, str(request.url.query), json.loads(body or 'null')])

    async def rpc(request: Request) -> Response:
        return Response(dispatcher._marshaled_dispatch(await request.body()), media_type='text/xml')

    async def page(request: Request) -> Response:
        return HTMLResponse('<h1>Example Domain</h1>')

    async def rows(request: Request) -> Response:
        return JSONResponse([{'name': 'a<b'}, {'name': 'c'}])

    async def row(request: Request) -> Response:
        return JSONResponse([{'name': 'Hans'}])

    return [
        Route('/api/profiles/100', profile, methods=['GET', 'PUT']),
        Route('/profiles/100', profile),
        Route('/rpc2', rpc, methods=['POST']),
        Route('/blur/blar', rows),
        Route('/blur/blar/foo', row),
        Route('/', page),
    ]


@pytest.fixture(scope='module')
def site(
    launch_module: Callable[[], Launcher], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerClient]:
    pem: Path = certificate(tmp_path_factory.mktemp('tls') / 'localhost.pem')
    servers = [
        Server(more=routes('tls'), ssl_certfile=pem),
        Server(more=routes('one')),
        Server(more=routes('two')),
    ]
    tls, one, two = servers
    where = {
        'tls': f'localhost:{tls.port}',
        'members': [f'{one.address} 2', two.address, f'127.0.0.1:{refusing_port()}'],
        'site': f'http://{one.address}',
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('UPSTREAMS', json.dumps(where))
        patch.setenv('SSL_CERT_FILE', str(pem))
        yield launch_module()(FILES)
    for server in servers:
        server.stop()


def test_a_80_stub_and_xmlrpc(site: ServerClient) -> None:
    assert site.get('/80').json() == {
        'results': [
            ['tls', 'GET', 'limit=10', None],
            ['tls', 'PUT', '', {'name': 'Hans Roh'}],
            1108,
        ]
    }


def test_a_87_tasks(site: ServerClient) -> None:
    assert site.get('/87').json() == {'results': [['New York'], ['tls', 'GET', 'limit=10', None], [1, 2]]}


def test_a_89_coroutine_single(site: ServerClient) -> None:
    answer = site.get('/89/coroutine/2')
    assert (answer.status_code, answer.text) == (200, '<h1>Example Domain</h1>')


def test_a_92_map(site: ServerClient) -> None:
    """The member that is not there is left out by the example's own test of `status`."""
    found = site.get('/92').json()
    assert found == {
        'results': ['one', 'GET', 'limit=10', None, 'two', 'GET', 'limit=10', None],
        'status': [3, 3, 2],
    }


def test_a_93_load_balancing(site: ServerClient) -> None:
    """Two of three go to the one with twice the weight."""
    found = [site.get('/93').json()['results'] for _ in range(9)]
    assert {tuple(result[1:]) for result in found} == {('GET', 'limit=10', None)}
    assert [result[0] for result in found].count('one') in (5, 6, 7)


def test_a_134_tasks_in_a_template(site: ServerClient) -> None:
    text = site.get('/134/').text
    assert [line.strip() for line in text.splitlines() if line.strip()] == [
        '<li>a&lt;b</li>',
        '<li>c</li>',
        '<p>Hans</p>',
    ]
