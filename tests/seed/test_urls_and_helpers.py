"""Acceptance rows A-73 to A-78 and A-136 (SPEC appendix A): pipe, URLs, helper decorators, log."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from projects import Launcher, wait_for

from skitai.testing import ServerClient


def serve(point: str = '/') -> str:
    return f"""
        import skitai
        import myapp

        if __name__ == '__main__':
            with skitai.preference () as pref:
                skitai.mount ('{point}', myapp, pref)
            skitai.run (port = 5000)
    """


#: Lines 904-926, with the services that build URLs (928-932).
PIPES = {
    'myapp/__init__.py': """
        from atila import Atila

        def __app__ ():
            return Atila (__name__)

        def __setup__ (app, mntopt):
            from . import services
            app.mount ('/', services)
    """,
    'myapp/services/__init__.py': """
        # services/__init__.py
        def __setup__ (app, mntopt):
            from . import sub
            app.mount ('/sub', sub)

        def __mount__ (app, mntopt):
            @app.route ("/1")
            @app.inspect (offset = int)
            def index (was, offset = 1):
                return was.API (result = offset)

            @app.route ("/2")
            def index2 (was):
                return was.pipe (index)

            @app.route ("/3")
            def index3 (was):
                return was.pipe (index, offset = 4)

            @app.route ("/4")
            def index4 (was):
                return was.pipe ('index', offset = 't')

            @app.route ("/5")
            def index5 (was):
                return was.pipe ('sub.pages.toc', chapter = 5)

            @app.route ("/guarded")
            @app.testpass_required (lambda was: False)
            def guarded (was):
                return 'behind a guard'

            @app.route ("/around")
            def around (was):
                return was.pipe (guarded)

            @app.route ("/unknown")
            def unknown (was):
                try:
                    was.pipe ('sub.pages.nothing')
                except NameError as error:
                    return str (error)

            @app.route ("/urls")
            def urls (was):
                return was.API (urls = [
                    was.static ('img/logo.png'),
                    was.urlfor ("index"),
                    was.urlfor ("sub.pages.toc", 1),
                    was.urlfor ("sub.pages.toc", chapter = 1),
                    was.urlfor ("/index.htm"), # hard coded absolute URL, MUST start with /
                ])
    """,
    'myapp/services/sub/__init__.py': """
        def __setup__ (app, mntopt):
            from . import pages
            app.mount ('/', pages)
    """,
    'myapp/services/sub/pages.py': """
        # services/sub/pages.py
        def __mount__ (app, mntopt):
            @app.route ("/pages/toc/<int:chapter>")
            def toc (was, chapter):
                return "Page tOC Chapter {}".format (chapter)
    """,
}

#: Lines 935-959; a file of the test's in place of /opt/myapp/config.
HELPERS = {
    'serve.py': serve(),
    'myapp/__init__.py': """
        import skitai
        from atila import Atila

        class User:
            def __init__ (self, name):
                self.name = name

        def is_superuser (was):
            if was.user.name not in ('admin', 'root'):
                return was.response ("403 Permission Denied")

        def reload_config (was, path):
            print ('config changed:', path)

        def pre1 (was):
            print ('pre1')

        def pre2 (was):
            print ('pre2')
            if was.request.get_header ('x-stop'):
                return 'stopped by pre2'

        def post1 (was):
            print ('post1')
            return 'ignored'

        def __app__ ():
            return Atila (__name__)

        def __setup__ (app, mntopt):
            @app.before_request
            def before_request (was):
                was.request.user = User (was.request.get_header ('x-user', 'nobody'))

        def __mount__ (app, mntopt):
            @app.route ('/profile')
            @app.testpass_required (is_superuser)
            def modify_profile (was):
                return 'modified'

            @app.route ('/config')
            @app.if_file_modified (skitai.abspath ('config'), reload_config, interval = 1)
            def index (was):
                return was.render ('index.html')

            @app.route ('/missing')
            @app.if_file_modified ('/opt/myapp/config', reload_config, interval = 1)
            def missing (was):
                return was.render ('index.html')

            @app.route ('/')
            @app.run_before (pre1, pre2)
            @app.run_after (post1)
            def home (was):
                print ('service')
                return was.render ('index.html')
    """,
    'myapp/templates/index.html': '<h1>Index</h1>',
    'config': 'first',
}

#: Lines 1419-1427; what is tried and what it returns are the test's.
LOGS = {
    'serve.py': serve(),
    'myapp/__init__.py': """
        from atila import Atila

        def __app__ ():
            return Atila (__name__)

        def __mount__ (app, mntopt):
            @app.route ("/")
            def sum (was):
                was.log ("called index", "info")
                try:
                    {}['nothing']
                except:
                    was.log ("exception occured", "error")
                    was.traceback ()
                was.log ("done index", "info")
                return was.txnid ()

            @app.route ("/named")
            def named (was):
                was.log ("in short")
                try:
                    {}['nothing']
                except KeyError:
                    was.traceback ("MY-ID")
                return ''
    """,
}


@pytest.fixture(scope='module')
def pipes(launch_module: Callable[[], Launcher]) -> ServerClient:
    return launch_module()({'serve.py': serve(), **PIPES})


@pytest.fixture(scope='module')
def helpers(launch_module: Callable[[], Launcher]) -> tuple[ServerClient, Path]:
    launcher = launch_module()
    return launcher(HELPERS), launcher.directory


def test_A_73_pipe(pipes: ServerClient) -> None:
    """Seed 904-921, SPEC PP-01: by function and by name; the undecorated one, so nothing is inspected."""
    for path, result in (('/1', 1), ('/2', 1), ('/3', 4), ('/4', 't')):
        answer = pipes.get(path)
        assert (answer.status_code, answer.data) == (200, {'result': result})
    assert pipes.get('/5').text == 'Page tOC Chapter 5'
    assert pipes.get('/1?offset=4').data == {'result': 4}
    assert pipes.get('/1?offset=t').status_code == 400
    assert pipes.get('/guarded').status_code == 403
    assert pipes.get('/around').text == 'behind a guard'
    assert 'sub.pages.nothing' in pipes.get('/unknown').text


def test_A_74_service_of_a_module_below(pipes: ServerClient) -> None:
    """Seed 922-926."""
    assert pipes.get('/sub/pages/toc/5').text == 'Page tOC Chapter 5'


@pytest.mark.parametrize('point', ['/', '/app'])
def test_A_75_making_urls(pipes: ServerClient, launch: Launcher, point: str) -> None:
    """Seed 928-932, SPEC UR-01, UR-02: below the mount point, static files where they are."""
    client = pipes if point == '/' else launch({'serve.py': serve(point), **PIPES})
    base = point.rstrip('/')
    assert client.get(base + '/urls').data['urls'] == [
        '/static/img/logo.png',
        base + '/1',
        base + '/sub/pages/toc/1',
        base + '/sub/pages/toc/1',
        base + '/index.htm',
    ]
    assert client.get(base + '/sub/pages/toc/1').text == 'Page tOC Chapter 1'


def test_A_76_test_of_a_user(helpers: tuple[ServerClient, Path]) -> None:
    """Seed 935-940, SPEC HP-01."""
    client, _ = helpers
    for user in ('admin', 'root'):
        assert client.get('/profile', headers={'X-User': user}).text == 'modified'
    refused = client.get('/profile', headers={'X-User': 'hans'})
    assert (refused.status_code, refused.data['message']) == (403, 'permission denied')
    assert client.get('/profile').status_code == 403


def test_A_77_file_modified(helpers: tuple[ServerClient, Path]) -> None:
    """Seed 942-946, SPEC HP-02: before the first request, and before the first after a change."""
    client, directory = helpers
    config = directory / 'config'
    called = f'config changed: {config}'

    def calls() -> int:
        answer = client.get('/config')
        assert (answer.status_code, answer.text) == (200, '<h1>Index</h1>')
        return client.output().count(called)

    assert [calls() for _ in range(3)] == [1, 1, 1]
    changed = time.time() + 5
    os.utime(config, (changed, changed))
    wait_for(lambda: calls() == 2, 'the call after the change')
    assert [calls() for _ in range(3)] == [2, 2, 2]


def test_A_77_missing_file(helpers: tuple[ServerClient, Path]) -> None:
    """SPEC HP-02: counts as unchanged and is logged."""
    client, _ = helpers
    assert client.get('/missing').text == '<h1>Index</h1>'
    assert 'config changed: /opt/myapp/config' not in client.output()
    client.wait_for_output('/opt/myapp/config')


def test_A_78_works_before_and_after(helpers: tuple[ServerClient, Path]) -> None:
    """Seed 949-961, SPEC HP-03, HP-04."""
    client, _ = helpers
    words = ('pre1', 'pre2', 'service', 'post1')

    def said() -> list[str]:
        return [line for line in client.output().splitlines() if line in words]

    assert client.get('/').text == '<h1>Index</h1>'
    assert said() == ['pre1', 'pre2', 'service', 'post1']
    assert client.get('/', headers={'X-Stop': '1'}).text == 'stopped by pre2'
    assert said()[4:6] == ['pre1', 'pre2']
    assert 'service' not in said()[4:]


def test_A_136_log_and_traceback(launch: Launcher) -> None:
    """Seed 1419-1429, SPEC HE-01, HE-02: each line with its category and the request's transaction ids."""
    client = launch(LOGS)
    answer = client.get('/')
    assert answer.status_code == 200
    assert re.fullmatch(r'[^/\s]+/[^/\s]+', answer.text)
    output = client.wait_for_output('done index')
    found = [
        (category, message)
        for category, message in re.findall(rf'{re.escape(answer.text)} \[(\w+)\] (.*)', output)
    ]
    assert found == [('info', 'called index'), ('error', 'exception occured'), ('info', 'done index')]
    assert output.count('Traceback (most recent call last)') == 1
    assert "KeyError: 'nothing'" in output
    assert re.search(rf'{re.escape(answer.text)}\n\s*Traceback', output)

    assert client.get('/named').status_code == 200
    output = client.wait_for_output('MY-ID')
    assert re.search(r'\[info\] in short', output)
    assert re.search(r'MY-ID\n\s*Traceback', output)
