"""Acceptance rows A-01 to A-19 (SPEC appendix A): first app, project structure, launching, cascaded mounts.

A-09 (templates) comes with the template engine.
"""

from __future__ import annotations

import importlib.metadata
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from projects import Launcher, wait_for

from skitai.testing import ServerClient, free_port

MINIMAL = """
    # serve.py
    from atila import Atila

    app = Atila (__name__)

    @app.route ("/")
    def index (was):
        return "Hello, World"

    if __name__ == "__main__":
        import skitai

        skitai.mount ("/", app)
        skitai.run (port = 5000)
"""

SERVE = """
    # serve.py
    import skitai
    import myapp

    if __name__ == '__main__':
        with skitai.preference () as pref:
            skitai.mount ('/', myapp, pref)
        skitai.run (port = 5000, name = 'mtapp')
"""

MYAPP = """
    # myapp/__init__.py
    import skitai
    from atila import Atila

    def __config__ (pref):
        # mount / to myapp/static and app.STATIC_URL will be set to '/'
        # skitai.abspath () will join path with location of serve.py
        # DO NOT use os.path.abspath (__file__), it is not reliable
        pref.set_static ('/', skitai.abspath ('myapp/static'))

    def __app__ ():
        return Atila (__name__)

    def __mount__ (app, mntopt):
        @app.route ('/')
        def index (was):
            return 'Index Page'

        @app.route ('/sub')
        def sub (was):
            return 'Sub Page'
"""

#: Lines 244-303: everything in services, which mount each other.
CASCADED = {
    'serve.py': SERVE,
    'myapp/__init__.py': """
        # remove __mount__ ()
        import skitai
        from atila import Atila

        def __config__ (pref):
            pref.set_static ('/', skitai.abspath ('myapp/static'))

        def __app__ ():
            return Atila (__name__)

        def __setup__ (app, mntopt):
            from . import services
            app.mount ('/', services)
    """,
    'myapp/static/robots.txt': 'User-agent: *',
    'myapp/templates/unused.txt': '',
    'myapp/services/__init__.py': """
        def __setup__ (app, mntopt):
            from . import sub
            from . import sub2
            app.mount ('/sub', sub)
            app.mount ('/sub2', sub2)

        def __mount__ (app, mntopt):
            @app.route ('/')
            def index (was):
                return 'Index Page'
    """,
    'myapp/services/sub.py': """
        def __mount__ (app, mntopt):
            # make sure blank path for accessing '/sub'
            # if '/', accessable URL become '/sub/'
            @app.route ('')
            def sub (was):
                return 'Sub Page'
    """,
    'myapp/services/sub2/__init__.py': """
        def __setup__ (app, mntopt):
            from . import pages
            app.mount ("/sub2/pages", pages)
    """,
    'myapp/services/sub2/pages.py': """
        def __mount__ (app, mntopt):
            @app.route ('') # /sub2/pages
            def pages (was):
                return 'Pages'

            @app.route ('/1') # /sub2/pages/1
            def page1 (was):
                return 'Page1'
    """,
}


@pytest.fixture(scope='module')
def minimal(launch_module: Callable[[], Launcher]) -> ServerClient:
    return launch_module()({'serve.py': MINIMAL})


@pytest.fixture(scope='module')
def packaged(launch_module: Callable[[], Launcher]) -> tuple[ServerClient, Path]:
    """The project of lines 187-220, with its directory."""
    launcher = launch_module()
    files = {
        'serve.py': SERVE,
        'myapp/__init__.py': MYAPP,
        'myapp/static/site.css': 'body {}',
        'myapp/templates/unused.txt': '',
        'tests/test_app.py': '',
        'README.md': '',
    }
    return launcher(files), launcher.directory


@pytest.fixture(scope='module')
def cascaded(launch_module: Callable[[], Launcher]) -> ServerClient:
    return launch_module()(CASCADED)


def text_of(client: ServerClient, path: str) -> tuple[int, str]:
    answer = client.get(path)
    return answer.status_code, answer.text


def test_A_01_minimal_app(minimal: ServerClient) -> None:
    """Seed 5-18, SPEC ST-01."""
    answer = minimal.get('/')
    assert answer.status_code == 200
    assert answer.text == 'Hello, World'
    assert answer.headers['Content-Type'].startswith('text/html')


def test_A_02_python3_serve_py(launch: Launcher) -> None:
    """Seed 20: the script's own port counts (a free one in place of 5000, others may use that)."""
    port = free_port()
    launch.write({'serve.py': MINIMAL.replace('port = 5000', f'port = {port}')})
    server = launch.execute()
    server.wait_for_output(f'http://127.0.0.1:{port}')
    assert requests.get(f'http://127.0.0.1:{port}/', timeout=10).text == 'Hello, World'


def test_A_03_optional_packages_are_optional(tmp_path: Path) -> None:
    """Seed 170-182: installed under one name; the packages to add 'as you need' need not be there."""
    assert importlib.metadata.version('atila')
    program = f"""
import sys
for name in 'redis pymongo psycopg2 asyncpg google.protobuf grpc jsonrpclib jinja2 chameleon'.split ():
    sys.modules [name] = None  # importing it is an ImportError
sys.path.insert (0, {str(tmp_path)!r})
import aquests, atila, skitai
import serve
from skitai.engine.asgi import AsgiEngine
print (atila.load (serve.app).name)
"""
    (tmp_path / 'serve.py').write_text('from atila import Atila\napp = Atila (__name__)\n')
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ('serve\n', '')


def test_A_04_project_tree_is_accepted(packaged: tuple[ServerClient, Path]) -> None:
    """Seed 187-193, SPEC ST-16: static, templates, the package, tests and serve.py beside it."""
    client, directory = packaged
    assert {path.name for path in directory.iterdir()} >= {'myapp', 'tests', 'serve.py', 'README.md'}
    assert text_of(client, '/site.css') == (200, 'body {}')
    assert text_of(client, '/unused.txt')[0] == 404


def test_A_05_launch_script_with_preference(packaged: tuple[ServerClient, Path]) -> None:
    """Seed 195-201, SPEC ST-10: the process is named."""
    client, _ = packaged
    assert text_of(client, '/') == (200, 'Index Page')
    assert Path(f'/proc/{client.pid}/cmdline').read_text().startswith('skitai/mtapp')


def test_A_06_config_app_and_mount_hooks(launch: Launcher) -> None:
    """Seed 204-220: a static index.html has priority, the other page is the app's."""
    static_url = """
        @app.route ('/static_url')
        def static_url (was):
            return was.app.config.STATIC_URL
    """
    files = {'serve.py': SERVE, 'myapp/__init__.py': MYAPP + static_url}
    client = launch(files)
    assert text_of(client, '/') == (200, 'Index Page')
    assert text_of(client, '/sub') == (200, 'Sub Page')
    assert text_of(client, '/static_url') == (200, '/')
    launch.write({'myapp/static/index.html': 'from the file'})
    assert text_of(client, '/') == (200, 'from the file')
    assert text_of(client, '/sub') == (200, 'Sub Page')


def test_A_07_devel_is_debug_mode_and_reloads(launch: Launcher) -> None:
    """Seed 224, SPEC ST-12, ST-13: a change is served, a syntax error is shown, mending it heals."""
    attributes = """
        @app.route ('/attributes')
        def attributes (was):
            return was.API (
                debug = app.debug, use_reloader = app.use_reloader, expose_spec = app.expose_spec
            )
    """
    package = MYAPP + attributes
    client = launch({'serve.py': SERVE, 'myapp/__init__.py': package}, devel=True)
    assert client.get('/attributes').data == {'debug': True, 'use_reloader': True, 'expose_spec': True}

    launch.write({'myapp/__init__.py': package.replace('Index Page', 'New Page')})
    wait_for(lambda: client.get('/').text == 'New Page', 'the changed page', 5)

    launch.write({'myapp/__init__.py': package.replace("return 'Index Page'", "return 'Index")})
    wait_for(lambda: client.get('/').status_code == 500, 'an error')
    shown = client.get('/', headers={'Accept': 'text/html'})
    assert shown.headers['Content-Type'].startswith('text/html')
    assert 'SyntaxError' in shown.text
    assert 'myapp/__init__.py' in shown.text
    assert 'SyntaxError' in client.output()

    launch.write({'myapp/__init__.py': package})
    wait_for(lambda: text_of(client, '/') == (200, 'Index Page'), 'the mended page')


def test_A_08_jinja2_comes_along() -> None:
    """Seed 227 (documentation): to install it by hand is not needed, and does no harm."""
    assert any(requirement.startswith('jinja2') for requirement in importlib.metadata.requires('atila') or ())


def test_A_10_services_are_mounted_in_setup(cascaded: ServerClient) -> None:
    """Seed 242-257."""
    assert text_of(cascaded, '/') == (200, 'Index Page')
    assert text_of(cascaded, '/robots.txt') == (200, 'User-agent: *')


def test_A_11_services_with_mount_hook(launch: Launcher) -> None:
    """Seed 258-265."""
    services = """
        # NEW myapp/services/__init__.py
        def __mount__ (app, mntopt):
            @app.route ('/')
            def index (was):
                return 'Index Page'

            @app.route ('/sub')
            def sub (was):
                return 'Sub Page'
    """
    client = launch({**CASCADED, 'myapp/services/__init__.py': services})
    assert text_of(client, '/') == (200, 'Index Page')
    assert text_of(client, '/sub') == (200, 'Sub Page')


def test_A_12_services_mount_a_module(cascaded: ServerClient) -> None:
    """Seed 267-275."""
    assert text_of(cascaded, '/') == (200, 'Index Page')


def test_A_13_blank_route_of_a_module(cascaded: ServerClient, launch: Launcher) -> None:
    """Seed 276-282, SPEC LC-08: with '' it is '/sub', with '/' it is '/sub/'."""
    assert text_of(cascaded, '/sub') == (200, 'Sub Page')
    sub = CASCADED['myapp/services/sub.py'].replace("@app.route ('')", "@app.route ('/')")
    client = launch({**CASCADED, 'myapp/services/sub.py': sub})
    assert text_of(client, '/sub/') == (200, 'Sub Page')
    moved = client.get('/sub?page=2')
    assert moved.status_code == 301
    assert moved.headers['Location'] == '/sub/?page=2'


def test_A_14_two_modules_are_mounted(cascaded: ServerClient) -> None:
    """Seed 286-291."""
    assert text_of(cascaded, '/sub') == (200, 'Sub Page')
    assert text_of(cascaded, '/sub2/pages') == (200, 'Pages')


def test_A_15_a_full_path_as_mount_point_is_taken_as_such(cascaded: ServerClient) -> None:
    """Seed 292-295, SPEC LC-07."""
    assert text_of(cascaded, '/sub2/pages') == (200, 'Pages')
    assert text_of(cascaded, '/sub2/sub2/pages')[0] == 404


def test_A_16_pages_of_a_sub_package(cascaded: ServerClient, launch: Launcher) -> None:
    """Seed 296-303: the relative form of the mount point gives the same URLs."""
    relative = CASCADED['myapp/services/sub2/__init__.py'].replace('/sub2/pages', '/pages')
    for client in (cascaded, launch({**CASCADED, 'myapp/services/sub2/__init__.py': relative})):
        assert text_of(client, '/sub2/pages') == (200, 'Pages')
        assert text_of(client, '/sub2/pages/1') == (200, 'Page1')


def test_A_17_tree_of_services_is_accepted(cascaded: ServerClient) -> None:
    """Seed 306-314 (documentation): every file of the tree serves."""
    pages = [text_of(cascaded, path)[1] for path in ('/', '/sub', '/sub2/pages', '/sub2/pages/1')]
    assert pages == ['Index Page', 'Sub Page', 'Pages', 'Page1']


def test_A_18_umount_prints_once(launch: Launcher) -> None:
    """Seed 317-318, SPEC LC-05: before a reload, and at shutdown."""
    umount = """
    def __umount__ (app): # NO mntopt argument
        print ('bye...')
    """
    files = {'serve.py': SERVE, 'myapp/__init__.py': MYAPP + umount}
    client = launch(files)
    assert text_of(client, '/') == (200, 'Index Page')
    assert 'bye...' not in client.output()
    client.stop()
    assert client.output().count('bye...') == 1

    client = launch(files, devel=True)
    assert text_of(client, '/') == (200, 'Index Page')
    launch.write({'myapp/__init__.py': MYAPP.replace('Index Page', 'New Page') + umount})
    wait_for(lambda: client.get('/').text == 'New Page', 'the changed page')
    assert client.output().count('bye...') == 1
    client.stop()
    assert client.output().count('bye...') == 2


def test_A_19_more_about_preference(launch: Launcher) -> None:
    """Seed 320-324 (a directory of the test's in place of /mnt/data/media)."""
    media = launch.directory / 'elsewhere' / 'media'
    files = {
        'serve.py': f"""
            import skitai
            import myapp

            if __name__ == '__main__':
                with skitai.preference () as pref:
                    pref.set_static ('/static', 'myapp/static')
                    pref.set_media ('/media', {str(media)!r})
                    pref.config.MAX_UPLOAD_SIZE = 256 * 1024 * 1024
                    pref.config.MAINTAIN_INTERVAL = 60
                    pref.config.MY_OWN = [1, 2]
                    pref.color = 'blue'
                    skitai.mount ('/', myapp, pref)
                skitai.run (port = 5000)
        """,
        'myapp/__init__.py': """
            from atila import Atila

            def __app__ ():
                return Atila (__name__)

            def __mount__ (app, mntopt):
                @app.route ('/config')
                def config (was):
                    return was.API (app.config, color = app.color)
        """,
        'myapp/static/x': 'static x',
        'elsewhere/media/x': 'media x',
    }
    client = launch(files)
    config = client.get('/config').data
    assert config['MAX_UPLOAD_SIZE'] == 256 * 1024 * 1024
    assert config['MAINTAIN_INTERVAL'] == 60
    assert config['MY_OWN'] == [1, 2]
    assert config['color'] == 'blue'
    assert config['STATIC_URL'] == '/static/'
    assert config['MEDIA_URL'] == '/media/'
    assert config['MEDIA_ROOT'] == str(media)
    assert text_of(client, '/static/x') == (200, 'static x')
    assert text_of(client, '/media/x') == (200, 'media x')


def test_A_18_umount_runs_at_interrupt_too(launch: Launcher) -> None:
    """Seed 317-318: Ctrl-C in the terminal."""
    port = free_port()
    umount = "\n    def __umount__ (app):\n        print ('bye...')\n"
    launch.write({'serve.py': SERVE, 'myapp/__init__.py': MYAPP + umount})
    server = launch.execute('--port', str(port))
    server.wait_for_output('Serving')
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    assert server.output().count('bye...') == 1
