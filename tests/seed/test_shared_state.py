"""Acceptance rows A-94, A-96 to A-98 (SPEC appendix A): names that all workers share, and their stamps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from projects import Launcher, wait_for

from skitai.testing import ServerClient

SERVE = """
    import skitai
    import myapp

    if __name__ == '__main__':
        with skitai.preference () as pref:
            skitai.mount ('/', myapp, pref)
        skitai.run (port = 5000)
"""

#: Lines 1097-1129.
MYAPP = """
    # myapp/__init__.py
    import os
    import time
    import skitai
    from atila import Atila

    def __config__ (pref):
        skitai.register_g ('tables.users', 'table.photos')

    def __app__ ():
        return Atila (__name__)

    def clear_memory (was, name):
        was.app.g ['CLEARED'].append (name)

    def __mount__ (app, mntopt):
        app.g ['CLEARED'] = []
        app.g ['UPDATED'] = []

        @app.route ('/keys')
        def keys (was):
            skitai.g ['tables.users'] = 3
            skitai.g.delta ('tables.users', 2)
            was.setlu ('table.photos')
            return was.API (
                names = skitai.g.keys (), users = skitai.g ['tables.users'],
                unset = was.getlu ('tables.users'), stamped = was.getlu ('table.photos'),
                newest = was.getlu ('tables.users', 'table.photos'), now = time.time (),
            )

        @app.route ('/unregistered')
        def unregistered (was):
            was.setlu ('tables.nobody')

        @app.route ("/update")
        def update (was, table = 'tables.users'):
            was.setlu (table, 'something', by = 'hansroh')
            return str (os.getpid ())

        @app.on ("setlu:tables.users")
        def table_updated (was, *args, **kargs):
            app.g ['UPDATED'].append ([was.request.uri, args, kargs])

        @app.route ('/query')
        @app.if_cache_updated (['tables.users', 'table.photos'], clear_memory, interval = 1)
        def query (was, q):
            return was.render ('index.html')

        @app.route ('/seen')
        def seen (was):
            return was.API (pid = os.getpid (), updated = app.g ['UPDATED'], cleared = app.g ['CLEARED'])
"""

FILES = {
    'serve.py': SERVE,
    'myapp/__init__.py': MYAPP,
    'myapp/templates/index.html': '<h1>Index</h1>',
}


@pytest.fixture(scope='module')
def client(launch_module: Callable[[], Launcher]) -> ServerClient:
    return launch_module()(FILES)


def test_A_94_registered_names(client: ServerClient) -> None:
    """Seed 1097-1100, SPEC G-06, CA-01, CA-05."""
    found = client.get('/keys').data
    assert found['names'] == ['tables.users', 'table.photos']
    assert found['users'] == 5
    assert found['unset'] < found['stamped'] <= found['now']  # the start of the process
    assert found['newest'] == found['stamped']
    assert client.get('/unregistered').status_code == 500
    client.wait_for_output('KeyError')
    assert 'tables.nobody' in client.output()


def test_A_96_setlu(launch: Launcher) -> None:
    """Seed 1115-1118, SPEC CA-04: an event in this app; a name without handlers is none the worse."""
    client = launch(FILES)
    assert client.get('/update').status_code == 200
    assert len(client.get('/seen').data['updated']) == 1
    assert client.get('/update?table=table.photos').status_code == 200
    assert len(client.get('/seen').data['updated']) == 1


def test_A_97_handler_of_a_stamp(launch: Launcher) -> None:
    """Seed 1120-1122: called with `was` and what `setlu` was given."""
    client = launch(FILES)
    client.get('/update')
    assert client.get('/seen').data['updated'] == [['/update', ['something'], {'by': 'hansroh'}]]


def test_A_97_event_stays_in_its_worker(launch: Launcher) -> None:
    """Seed 1123, SPEC CA-04: 'limited with current worker process'."""
    client = launch(FILES, workers=2)
    client.set_default_header('Connection', 'close')
    updater = int(client.get('/update').text)
    seen: dict[int, int] = {}

    def both() -> bool:
        state = client.get('/seen').data
        seen[state['pid']] = len(state['updated'])
        return len(seen) == 2

    wait_for(both, 'an answer of each worker')
    assert seen.pop(updater) == 1
    assert list(seen.values()) == [0]


def test_A_98_cache_updated(launch: Launcher) -> None:
    """Seed 1124-1131, SPEC CA-06: for each name at first, then for that which was stamped."""
    client = launch(FILES)

    def cleared() -> list[str]:
        answer = client.get('/query?q=1')
        assert (answer.status_code, answer.text) == (200, '<h1>Index</h1>')
        found: list[str] = client.get('/seen').data['cleared']
        return found

    expected = ['tables.users', 'table.photos']
    assert [cleared() for _ in range(3)] == [expected] * 3
    for name in ('table.photos', 'tables.users', 'tables.users'):
        client.get('/update', params={'table': name})
        expected = [*expected, name]
        wait_for(lambda: len(cleared()) == len(expected), f'a call for {name}')  # noqa: B023
        assert cleared() == expected
    assert client.get('/query').status_code == 400  # it is a service with a parameter still


def test_A_98_cache_updated_in_every_worker(launch: Launcher) -> None:
    """Seed 1131: 'Every workers will check cache updating when called query'."""
    client = launch(FILES, workers=2)
    client.set_default_header('Connection', 'close')
    seen: dict[int, list[str]] = {}

    def everywhere(calls: int) -> bool:
        client.get('/query?q=1')
        state = client.get('/seen').data
        seen[state['pid']] = state['cleared']
        return len(seen) == 2 and all(len(names) == calls for names in seen.values())

    wait_for(lambda: everywhere(2), 'the first calls in each worker')
    client.get('/update')
    wait_for(lambda: everywhere(3), 'a call in each worker after the stamp')
    assert set(map(tuple, seen.values())) == {('tables.users', 'table.photos', 'tables.users')}
