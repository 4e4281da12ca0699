"""Acceptance rows A-100 to A-104 and A-107 to A-111 (SPEC appendix A): making a response.

A-105 and A-106 come with the template engine.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from email.utils import formatdate
from xmlrpc.client import loads

import pytest
from projects import Launcher

from skitai.testing import ServerClient

SERVE = """
    import os
    import time
    import skitai
    from atila import Atila

    app = Atila (__name__)

    def row_100 (app):
        @app.route ('/added')
        def added (was):
            was.response.set_status ("201 Created")
            # add header even name is duplicated
            was.response.add_header ('X-Server', "skitai")
            was.response.add_header ('X-Server', "skitai")
            return f'{was.response.status_code} {was.response.reason}'

        @app.route ('/replaced')
        def replaced (was):
            was.response.set_status ("201 Created")
            # add header even name is duplicated
            was.response.add_header ('X-Server', "skitai")
            # if exists old, remote it and update new
            was.response.set_header ('X-Server', "skitai")
            accept = was.response.get_header ('Accept', '')
            was.response.del_header ('Accept')
            # current response code and msg
            was.response.status_code
            was.response.reason
            return accept

    def row_101 (app):
        @app.route ('/etag')
        def etag (was):
            # make sure CACHE_KEY is unique identifier for this resource
            was.response.set_etag ('CACHE_KEY', max_age = 3600)
            return 'tagged'

        @app.route ('/mtime')
        def mtime (was, at = None):
            was.response.set_mtime (float (at) if at else time.time (), max_age = 3600)
            return 'dated'

        @app.route ('/max_age')
        def max_age (was):
            # set cache header as HTTP versions
            was.response.set_max_age (3600)
            return 'kept'

    def row_102 (app):
        @app.route ('/1')
        def one (was):
            raise was.Error ("400 Bad Request")

        @app.route ('/2')
        def two (was):
            raise was.Error ("400 Bad Request", "missing user ID")

        @app.route ('/3')
        def three (was):
            raise was.Error ("400 Bad Request", "missing user ID", 40011)

    def row_103 (app):
        @app.route ('/1')
        def one (was):
            return "hello"

        @app.route ('/2')
        def two (was):
            was.response.set_status ('200 OK')
            was.response.set_header ('X-Server', 'Skitai')
            return "hello"

    def row_104 (app):
        @app.route ('/1')
        def one (was):
            return was.API ({'name': 'Hans Roh'})

        @app.route ('/2')
        def two (was):
            return was.API (name = 'Hans Roh')

    def row_107 (app):
        path = skitai.abspath ('data.xlsx')

        @app.route ('/1')
        def one (was):
            return was.File (path)

        @app.route ('/2')
        def two (was):
            return was.File (path, 'application/octet-stream', 'data.xlsx')

        @app.route ('/missing')
        def missing (was):
            return was.File ('/path/to/data.xlsx')

    def row_108 (app):
        @app.route ('')
        def logo (was):
            # by static file URL
            # resolved into was.static (""img/logo.png")
            return was.Static ("img/logo.png")

    def row_109 (app):
        @app.route ("/robots.txt")
        def robots (was):
            if app.debug:
                was.response ['Content-Type'] = 'text/plain'
                return "User-Agent: *\\nDisallow: /\\n"
            return was.Static ('/robots.real.txt')

    def row_110 (app):
        def iter_all_rows ():
            for number in range (3):
                yield [str (number), 'a', 'b']

        @app.route ('')
        def build_csv (was):
            def generate():
                for row in iter_all_rows():
                    yield ','.join(row) + '\\n'
            return was.response ("200 OK", generate (), headers = [("Content-Type", "text/csv")])

    def row_111 (app):
        @app.route ('/showmsg')
        def showmsg (was, name):
            return name

        @app.route ('/1')
        def one (was):
            return was.redirect (
                was.urlfor ("showmsg", "Hans Roh"),
                status = "302 Object Moved"
            )

        @app.route ('/2')
        def two (was):
            return was.redirect (
                was.static ("index.html"),
                status = "302 Object Moved"
            )

    if __name__ == '__main__':
        for number in (100, 101, 102, 103, 104, 107, 108, 109, 110, 111):
            app.mount (f'/{number}', globals () [f'row_{number}'])
        with skitai.preference () as pref:
            pref.set_static ('/static', 'static')
            skitai.mount ('/', 'root')
            skitai.mount ('/', app, pref)
        skitai.run ()
"""

FILES = {
    'serve.py': SERVE,
    'data.xlsx': 'a table',
    'static/img/logo.png': 'a logo',
    'static/index.html': 'an index',
    'root/robots.real.txt': 'User-Agent: *\nAllow: /\n',
}


@pytest.fixture(scope='module')
def client(launch_module: Callable[[], Launcher]) -> ServerClient:
    return launch_module()(FILES)


def test_A_100_status_and_header_fields(client: ServerClient) -> None:
    """Seed 1143-1152: two fields after adding twice, one after setting."""
    added = client.get('/100/added')
    assert (added.status_code, added.text) == (201, '201 Created')
    assert added.raw.headers.getlist('X-Server') == ['skitai', 'skitai']
    replaced = client.get('/100/replaced')
    assert (replaced.status_code, replaced.text) == (201, '')
    assert replaced.raw.headers.getlist('X-Server') == ['skitai']


def test_A_101_cache_control_by_etag(client: ServerClient) -> None:
    """Seed 1154-1156."""
    first = client.get('/101/etag')
    assert first.headers['ETag'] == f'"{hashlib.md5(b"CACHE_KEY").hexdigest()}"'
    assert first.headers['Cache-Control'] == 'max-age=3600'
    again = client.get('/101/etag', headers={'If-None-Match': first.headers['ETag']})
    assert (again.status_code, again.content) == (304, b'')
    assert again.headers['ETag'] == first.headers['ETag']
    assert client.get('/101/etag', headers={'If-None-Match': '"other"'}).text == 'tagged'
    assert client.get('/101/etag', headers={'If-Match': '"other"'}).status_code == 412


def test_A_101_cache_control_by_time_of_change(client: ServerClient) -> None:
    """Seed 1157-1158."""
    changed = time.time() - 100
    first = client.get(f'/101/mtime?at={changed}')
    assert first.headers['Last-Modified'] == formatdate(changed, usegmt=True)
    assert first.headers['Cache-Control'] == 'max-age=3600'
    assert 'Expires' in first.headers
    since = {'If-Modified-Since': first.headers['Last-Modified']}
    assert client.get(f'/101/mtime?at={changed}', headers=since).status_code == 304
    assert client.get('/101/mtime', headers=since).text == 'dated'


def test_A_101_cache_control_by_age(client: ServerClient) -> None:
    """Seed 1159-1160."""
    assert client.get('/101/max_age').headers['Cache-Control'] == 'max-age=3600'


@pytest.mark.parametrize(
    ('number', 'code', 'detail'),
    [(1, 40000, ''), (2, 40000, 'missing user ID'), (3, 40011, 'missing user ID')],
)
def test_A_102_errors_are_raised(client: ServerClient, number: int, code: int, detail: str) -> None:
    """Seed 1162-1164: the body by the client's Accept (SPEC ER-02)."""
    answer = client.get(f'/102/{number}')
    assert answer.status_code == 400
    assert answer.data == {'code': code, 'message': 'bad request', 'more_info': detail}
    page = client.get(f'/102/{number}', headers={'Accept': 'text/html'})
    assert page.headers['Content-Type'].startswith('text/html')
    assert '400 Bad Request' in page.text
    assert detail in page.text
    xml = client.get(f'/102/{number}', headers={'Accept': 'text/xml'})
    assert loads(xml.content)[0][0] == answer.data


def test_A_103_string(client: ServerClient) -> None:
    """Seed 1167-1170."""
    for number in (1, 2):
        answer = client.get(f'/103/{number}')
        assert (answer.status_code, answer.text) == (200, 'hello')
        assert answer.headers['Content-Type'].startswith('text/html')
    assert answer.headers['X-Server'] == 'Skitai'


@pytest.mark.parametrize('number', [1, 2])
def test_A_104_api(client: ServerClient, number: int) -> None:
    """Seed 1174-1175: JSON, or XML by the request's Accept."""
    answer = client.get(f'/104/{number}')
    assert answer.headers['Content-Type'] == 'application/json'
    assert answer.json() == {'name': 'Hans Roh'}
    xml = client.get(f'/104/{number}', headers={'Accept': 'text/xml'})
    assert xml.headers['Content-Type'].startswith('text/xml')
    assert loads(xml.content)[0] == ({'name': 'Hans Roh'},)


def test_A_107_file(client: ServerClient) -> None:
    """Seed 1185-1186."""
    plain, named = client.get('/107/1'), client.get('/107/2')
    for answer in (plain, named):
        assert answer.text == 'a table'
        assert answer.headers['Content-Type'] == 'application/octet-stream'
        assert answer.headers['Content-Length'] == '7'
    assert 'Content-Disposition' not in plain.headers
    assert named.headers['Content-Disposition'] == 'attachment; filename="data.xlsx"'
    assert client.get('/107/missing').status_code == 404


def test_A_108_static(client: ServerClient) -> None:
    """Seed 1190: the file of STATIC_URL + 'img/logo.png', as it is served there."""
    answer = client.get('/108')
    assert answer.text == 'a logo'
    assert answer.headers['Content-Type'] == 'image/png'
    there = client.get('/static/img/logo.png')
    for name in ('ETag', 'Last-Modified', 'Content-Type'):
        assert answer.headers[name] == there.headers[name]
    part = client.get('/108', headers={'Range': 'bytes=2-'})
    assert (part.status_code, part.text) == (206, 'logo')


def test_A_109_robots_txt(client: ServerClient, launch: Launcher) -> None:
    """Seed 1191-1196: all is disallowed in debug mode, else it is the file."""
    answer = client.get('/109/robots.txt')
    assert (answer.status_code, answer.text) == (200, 'User-Agent: *\nAllow: /\n')
    assert answer.headers['Content-Type'].startswith('text/plain')
    debug = launch(FILES, devel=True).get('/109/robots.txt')
    assert debug.text == 'User-Agent: *\nDisallow: /\n'
    assert debug.headers['Content-Type'].startswith('text/plain')


def test_A_110_generator(client: ServerClient) -> None:
    """Seed 1198-1202: streamed."""
    answer = client.get('/110')
    assert answer.status_code == 200
    assert answer.headers['Content-Type'].startswith('text/csv')
    assert 'Content-Length' not in answer.headers
    assert answer.text == '0,a,b\n1,a,b\n2,a,b\n'


def test_A_111_redirect(client: ServerClient) -> None:
    """Seed 1204-1211: to a service, and to a static file."""
    service, static = client.get('/111/1'), client.get('/111/2')
    assert (service.status_code, static.status_code) == (302, 302)
    assert service.headers['Location'] == '/111/showmsg?name=Hans+Roh'
    assert static.headers['Location'] == '/static/index.html'
    assert client.get('/111/1', allow_redirects=True).text == 'Hans Roh'
    assert client.get('/111/2', allow_redirects=True).text == 'an index'
