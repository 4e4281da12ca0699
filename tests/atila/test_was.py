"""`was` itself: what chapter 7 lists and no other chapter describes (SPEC WAS-01 to WAS-07)."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Any

from projects import Launcher, wait_for

import skitai
from atila import Atila
from skitai.testing import Client

ClientFor = Callable[..., Client]

#: WAS-01 to WAS-05, as far as they need neither Tasks, websockets nor the rooms of authentication.
MEMBERS = (
    'request app apps g env cookie response API Fault Error render render_or_API File Static Media '
    'MountedFile Mounted redirect setlu getlu urlfor ab urlpatch partial baseurl basepath urlspec '
    'static media pipe log traceback tempfile flashfile gentemp push broadcast emit get_lock txnid '
    'timestamp uniqid status restart shutdown user email'
)


def test_members(client_for: ClientFor) -> None:
    """SPEC WAS-01 to WAS-05; WAS-07: `from skitai import was` is the same."""
    app = Atila('app')
    app.securekey = 'a secret'

    @app.route('/')
    def index(was: Any) -> Any:
        missing = [name for name in MEMBERS.split() if not hasattr(was, name)]
        same = was.session is was.request.session and was.mbox is was.request.mbox
        proxy = skitai.was.request is was.request
        return was.API(missing=missing, same=same, proxy=proxy, env=was.env is was.request.env)

    answer = client_for(app).get('/').json()
    assert answer == {'missing': [], 'same': True, 'proxy': True, 'env': True}


def test_small_helpers(client_for: ClientFor) -> None:
    """SPEC WAS-05."""
    app = Atila('app')

    @app.route('/')
    def index(was: Any) -> Any:
        with was.tempfile('.txt') as path, open(path, 'w') as file:
            file.write('x')
            there = os.path.exists(path)
        kept = was.gentemp()
        with was.flashfile(kept):
            os.remove(kept)
        was.push('/a.css')
        return was.API(
            there=there,
            left=os.path.exists(path) or os.path.exists(kept),
            now=was.timestamp,
            ids=[was.uniqid, was.uniqid],
            txnid=was.txnid(),
            status=was.status(),
        )

    answer = client_for(app).get('/')
    assert answer.headers['Link'] == '</a.css>; rel=preload'
    found = answer.json()
    assert found['there'] is True
    assert found['left'] is False
    assert abs(found['now'] / 1000 - time.time()) < 60
    assert found['ids'][0] != found['ids'][1]
    assert re.fullmatch(r'[^/]+/[^/]+', found['txnid'])
    assert found['status']['pid'] == os.getpid()


def test_locks_exclude_threads(client_for: ClientFor) -> None:
    """SPEC WAS-05: `was.get_lock (name)`."""
    app = Atila('app')

    @app.route('/')
    def index(was: Any) -> str:
        with was.get_lock('counter'):
            count = was.app.g.get('count', 0)
            time.sleep(0.001)
            was.app.g['count'] = count + 1
        return ''

    client = client_for(app)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        assert all(a.status_code == 200 for a in pool.map(lambda _: client.clone().get('/'), range(40)))
    assert app.g['count'] == 40


def test_restart_without_a_master_is_an_error_in_words(client_for: ClientFor) -> None:
    app = Atila('app')

    @app.route('/')
    def index(was: Any) -> Any:
        try:
            was.restart()
        except RuntimeError as error:
            return str(error)

    assert 'no master' in client_for(app).get('/').text


SCRIPT = """
    import os
    import skitai
    from atila import Atila

    app = Atila (__name__)

    @app.route ('/')
    def index (was):
        return str (os.getpid ())

    @app.route ('/restart')
    def restart (was):
        was.restart ()
        return str (os.getpid ())

    @app.route ('/stop')
    def stop (was):
        was.shutdown ()
        return 'bye'

    if __name__ == '__main__':
        skitai.mount ('/', app)
        skitai.run ()
    """


def test_restart_and_shutdown(launch: Launcher) -> None:
    """SPEC WAS-05."""
    client = launch({'serve.py': SCRIPT}, silent=False)
    client.set_default_header('Connection', 'close')
    before = client.get('/restart').text
    wait_for(lambda: client.get('/').text != before, 'another worker')
    master = client.pid
    assert client.get('/stop').text == 'bye'
    assert master is not None
    wait_for(lambda: not _runs(master), 'the end of the master')


def _runs(pid: int) -> bool:
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False
