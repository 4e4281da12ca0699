"""What can be mounted, where, and who answers (SPEC ST-03, ST-05, ST-06, ST-15, ST-16, ST-18, B.9)."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest
from projects import Launcher

from skitai.testing import ServerClient, free_port

SERVE = """
    import skitai
    from atila import Atila
    import package
    import bare

    app = Atila (__name__)

    @app.route ('/')
    def index (was):
        return 'app object'

    @app.route ('/page')
    def page (was):
        return 'page of the app'

    @app.route ('/shared.txt')
    def shared (was):
        return 'never seen'

    @app.route ('/apps')
    def apps (was):
        candidates = ('main', 'package', 'bare', 'positional', 'wsgi')
        return was.API (names = [name for name in candidates if name in was.apps])

    def wsgi (environ, start_response):
        start_response ('200 OK', [('Content-Type', 'text/plain')])
        return [f"wsgi {environ ['SCRIPT_NAME']} {environ ['PATH_INFO']}".encode ()]

    def root_wsgi (environ, start_response):
        start_response ('200 OK', [('Content-Type', 'text/plain')])
        return [b'last resort']

    async def asgi (scope, receive, send):
        if scope ['type'] != 'http':
            return
        text = f"asgi {scope ['root_path']} {scope ['path']}"
        await send ({'type': 'http.response.start', 'status': 200, 'headers': []})
        await send ({'type': 'http.response.body', 'body': text.encode ()})

    if __name__ == '__main__':
        pref = skitai.preference ()
        pref.greeting = 'from the preference'
        skitai.mount ('/', root_wsgi)
        skitai.mount ('/', app, name = 'main')
        skitai.mount ('/package', package)
        skitai.mount ('/positional', bare, pref, color = 'blue')
        skitai.mount ('/file', 'elsewhere/single.py')
        skitai.mount ('/suffix', 'elsewhere/single')
        skitai.mount ('/variable', 'elsewhere/named.py:other')
        skitai.mount ('/wsgi', wsgi)
        skitai.mount ('/asgi', asgi)
        skitai.mount ('/flask', 'elsewhere/web:site')
        skitai.mount ('/', 'first')
        skitai.mount ('/', 'second')
        skitai.mount ('/deep/files', skitai.abspath ('second'))
        skitai.mount ('/', package, name = 'hosted', host = 'shop.example')
        skitai.run ()
"""

PACKAGE = """
    from atila import Atila

    def __app__ ():
        return Atila (__name__)

    def __mount__ (app, mntopt):
        @app.route ('/')
        def index (was):
            return f"{__name__} {getattr (app, 'greeting', '')} {mntopt.get ('color')}"
"""

SINGLE = """
    from atila import Atila

    {name} = Atila (__name__)

    @{name}.route ('/')
    def index (was):
        return __name__
"""

FILES = {
    'serve.py': SERVE,
    'package/__init__.py': PACKAGE,
    'bare.py': PACKAGE,
    'elsewhere/single.py': SINGLE.format(name='app'),
    'elsewhere/named.py': SINGLE.format(name='other'),
    'elsewhere/web.py': """
        from flask import Flask

        site = Flask (__name__)

        @site.route ('/')
        def index ():
            return 'flask'
    """,
    'first/shared.txt': 'a file',
    'first/both.txt': 'first',
    'second/both.txt': 'second',
    'second/only.txt': 'only in the second',
    'first/folder/index.html': 'index of the folder',
    'first/older/index.htm': 'old index',
    'first/older/index.html': 'new index',
    'first/empty/nothing.txt': '',
}


@pytest.fixture(scope='module')
def client(launch_module: Callable[[], Launcher]) -> ServerClient:
    return launch_module()(FILES)


def text_of(client: ServerClient, path: str, **options: object) -> tuple[int, str]:
    answer = client.get(path, **options)
    return answer.status_code, answer.text


# -- targets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('path', 'text'),
    [
        ('/', 'app object'),
        ('/package/', 'package  None'),
        ('/positional/', 'bare from the preference blue'),
        ('/file/', 'single'),
        ('/suffix/', 'single'),
        ('/variable/', 'named'),
        ('/wsgi/a%20b', 'wsgi /wsgi /a b'),
        ('/asgi/a', 'asgi /asgi /asgi/a'),
        ('/flask/', 'flask'),
        ('/deep/files/only.txt', 'only in the second'),
    ],
)
def test_every_kind_of_target(client: ServerClient, path: str, text: str) -> None:
    """SPEC ST-03, MA-05: app object, package, module, file, variable, WSGI, ASGI, Flask, directory."""
    assert text_of(client, path) == (200, text)


def test_names_of_apps(client: ServerClient) -> None:
    """SPEC ST-03: as given, else the top-level package's."""
    assert client.get('/apps').data == {'names': ['main', 'package', 'bare']}


def test_of_apps_at_the_root_others_than_atilas_are_last(client: ServerClient) -> None:
    """SPEC ST-03: also where they were mounted first. An Atila app answers 404 itself."""
    assert text_of(client, '/page') == (200, 'page of the app')
    assert client.get('/nowhere').status_code == 404


def test_of_atila_apps_at_the_root_the_first_mounted_wins(launch: Launcher) -> None:
    """SPEC ST-03."""
    serve = """
        import skitai
        from atila import Atila

        if __name__ == '__main__':
            for name in ('one', 'two'):
                app = Atila (name)
                app.mount ('/', lambda app, mntopt, name = name: app.route ('/') (lambda was: name))
                skitai.mount ('/', app)
            skitai.run ()
    """
    assert launch({'serve.py': serve}).get('/').text == 'one'


def test_mounts_of_a_host(client: ServerClient) -> None:
    """SPEC ST-03, B.9: requests for other hosts use those of 'default'."""
    for host in ('shop.example', 'SHOP.example:80'):
        assert text_of(client, '/', headers={'Host': host})[1].startswith('package')
    assert text_of(client, '/', headers={'Host': 'other.example'}) == (200, 'app object')


# -- directories ---------------------------------------------------------------------------------


def test_files_come_before_routes(client: ServerClient) -> None:
    """SPEC ST-15: for GET and HEAD; other methods are the app's."""
    assert text_of(client, '/shared.txt') == (200, 'a file')
    assert client.head('/shared.txt').headers['Content-Length'] == '6'
    assert client.post('/shared.txt', b'').text == 'never seen'


def test_several_directories_at_one_point(client: ServerClient) -> None:
    """SPEC ST-03: the first mounted wins."""
    assert text_of(client, '/both.txt') == (200, 'first')
    assert text_of(client, '/only.txt') == (200, 'only in the second')


def test_index_of_a_directory(client: ServerClient) -> None:
    """SPEC ST-15: index.htm, then index.html; 301 to the name with a slash; without an index the app's."""
    assert text_of(client, '/folder/') == (200, 'index of the folder')
    assert text_of(client, '/older/') == (200, 'old index')
    moved = client.get('/folder?a=1')
    assert moved.status_code == 301
    assert moved.headers['Location'] == '/folder/?a=1'
    assert client.get('/empty/').status_code == 404


def test_what_is_no_file_is_the_apps(client: ServerClient) -> None:
    """SPEC ST-15."""
    assert text_of(client, '/page') == (200, 'page of the app')


# -- set_static, set_media -----------------------------------------------------------------------

STATIC = """
    import skitai
    from atila import Atila
    import package

    if __name__ == '__main__':
        pref = skitai.preference ()
        skitai.mount ('/assets', 'other')
        pref.set_static ('/assets', 'static')
        pref.set_media ('/uploads/', skitai.abspath ('media'))
        skitai.mount ('/', package, pref)

        own = skitai.preference ()
        own.set_static ('/own')
        skitai.mount ('/second', package, own, name = 'second')
        skitai.set_max_age ('/assets/', 60)
        skitai.run ()
"""

STATIC_FILES = {
    'serve.py': STATIC,
    'package/__init__.py': """
        from atila import Atila

        def __app__ ():
            return Atila (__name__)

        def __mount__ (app):
            @app.route ('/config')
            def config (was):
                urls = {'static': was.static ('a.css'), 'media': was.media ('a.png')}
                return was.API (app.config, **urls, absolute = was.static ('/x'))
    """,
    'package/static/a.css': 'of the package',
    'static/a.css': 'a {}',
    'other/a.css': 'mounted',
    'other/b.css': 'b {}',
    'media/a.png': 'png',
}


@pytest.fixture(scope='module')
def statics(launch_module: Callable[[], Launcher]) -> ServerClient:
    return launch_module()(STATIC_FILES)


def test_set_static_serves_and_configures(statics: ServerClient) -> None:
    """SPEC ST-05: a slash is added to STATIC_URL; relative paths are the launch script's; first in order."""
    config = statics.get('/config').data
    assert config['STATIC_URL'] == '/assets/'
    assert config['STATIC_ROOT'].endswith('/static')
    assert (config['static'], config['absolute']) == ('/assets/a.css', '/x')
    assert text_of(statics, '/assets/a.css') == (200, 'a {}')
    assert text_of(statics, '/assets/b.css') == (200, 'b {}')


def test_set_media_serves_and_configures(statics: ServerClient) -> None:
    """SPEC ST-06."""
    config = statics.get('/config').data
    assert config['MEDIA_URL'] == '/uploads/'
    assert config['MEDIA_ROOT'].endswith('/media')
    assert config['media'] == '/uploads/a.png'
    assert text_of(statics, '/uploads/a.png') == (200, 'png')


def test_set_static_without_a_path_is_the_packages_own(statics: ServerClient) -> None:
    """SPEC ST-05, ST-16."""
    assert text_of(statics, '/own/a.css') == (200, 'of the package')
    assert statics.get('/second/config').data['STATIC_URL'] == '/own/'


def test_set_max_age_of_files(statics: ServerClient) -> None:
    """SPEC B.9."""
    assert statics.get('/assets/a.css').headers['Cache-Control'] == 'max-age=60'
    assert 'Cache-Control' not in statics.get('/uploads/a.png').headers


def test_hooks_of_a_package_with_the_documented_layout(launch: Launcher) -> None:
    """SPEC ST-16."""
    files = {
        'serve.py': """
            import skitai
            import myapp

            if __name__ == '__main__':
                skitai.mount ('/', myapp)
                skitai.run ()
        """,
        'myapp/__init__.py': """
            from atila import Atila

            def __config__ (pref):
                pref.set_static ('/static')

            def __app__ ():
                return Atila (__name__)

            def __setup__ (app):
                from . import services
                app.mount ('/', services)

            def __mount__ (app):
                @app.route ('/own')
                def own (was):
                    return 'own'

            def __umount__ (app):
                print ('unmounted')
        """,
        'myapp/services/__init__.py': """
            def __mount__ (app):
                @app.route ('/')
                def index (was):
                    return 'services'
        """,
        'myapp/static/a.css': 'a {}',
        'myapp/templates/a.html': 'not to be served',
        'tests/test_app.py': '',
    }
    client = launch(files)
    for path, text in (('/', 'services'), ('/own', 'own'), ('/static/a.css', 'a {}')):
        assert text_of(client, path) == (200, text)
    assert client.get('/a.html').status_code == 404
    client.stop()
    assert client.output().count('unmounted') == 1


# -- mount points --------------------------------------------------------------------------------


def test_a_mount_point_without_its_slash_is_redirected(client: ServerClient) -> None:
    """SPEC ST-18: 308, the query is kept (PITFALLS, Serving)."""
    for point in ('/package', '/wsgi', '/asgi'):
        moved = client.get(f'{point}?a=1', headers={'Host': 'example.org'})
        assert moved.status_code == 308
        assert moved.headers['Location'] == f'{point}/?a=1'


def test_a_mount_point_is_whole_segments(client: ServerClient) -> None:
    """SPEC ST-03."""
    assert client.get('/packages').status_code == 404


# -- errors at start -----------------------------------------------------------------------------

ERRORS = {
    "skitai.mount ('x', app)": 'must be "" or start with "/"',
    "skitai.mount ('/', 'nowhere.py')": 'AssertionError: cannot mount',
    "skitai.mount ('/', 'nowhere')": 'AssertionError: cannot mount',
    "skitai.mount ('/', 'serve.py:missing')": "has no 'missing'",
    "skitai.mount ('/a', app); skitai.mount ('/a/', Atila ('b'))": "two apps are mounted at '/a'",
    "skitai.mount ('/', app, subscribe = 'nobody')": "NameError: 'app' subscribes to 'nobody'",
    "skitai.mount ('/', skitai)": 'skitai has no __app__',
    "skitai.mount ('/', 42)": 'it is no app',
    "skitai.preference ().set_static ('static')": 'must start with "/"',
}


@pytest.mark.parametrize('statement', ERRORS)
def test_a_bad_mount_ends_the_start_in_words(launch: Launcher, statement: str) -> None:
    """SPEC ST-03: a missing file is an AssertionError at start, two apps at one point an error."""
    script = f"""
import skitai
from atila import Atila
app = Atila ('app')
if __name__ == '__main__':
    {statement}
    skitai.run ()
"""
    launch.write({'serve.py': textwrap.dedent(script)})
    server = launch.execute('--port', str(free_port()))
    assert server.wait() != 0
    assert ERRORS[statement] in server.output()
    assert 'Serving' not in server.output()
