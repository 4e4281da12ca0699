"""Acceptance rows A-20 to A-22, A-24 to A-26, A-28 to A-30 (SPEC appendix A).

Events, extending and overriding, maintenance, several apps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from projects import Launcher, wait_for

from skitai.testing import ServerClient

ONE_APP = """
    import skitai
    import myapp

    if __name__ == '__main__':
        with skitai.preference () as pref:
            skitai.mount ('/', myapp, pref)
        skitai.run (port = 5000)
"""

#: Line 338 and 343: each 'wherever in your app package'.
EVENTS = {
    'serve.py': ONE_APP,
    'myapp/__init__.py': """
        from atila import Atila
        from . import handlers, services

        def __app__ ():
            return Atila (__name__)

        def __setup__ (app, mntopt):
            app.mount ('/', handlers)
            app.mount ('/', services)
    """,
    'myapp/handlers.py': """
        # wherever in your app package,
        def __setup__ (app, mntopt):
            @app.on ('custom-event')
            def on_cusom_event (was, detail):
                print ('I got custom-event with detail: {}'.format (detail))
    """,
    'myapp/services.py': """
        # wherever in your app package,
        def __mount__ (app, mntopt):
            @app.route ('/make_event')
            def make_event (was):
                app.emit ('custom-event', 'x')
                return "OK"
    """,
}

#: What a package has that can be app, base or override (SPEC EX-05).
PACKAGE = {
    '__init__.py': """
        from atila import Atila
        from . import services

        def __config__ (pref):
            pref.set_static ('/static')

        def __app__ ():
            return Atila (__name__)

        def __setup__ (app, mntopt):
            app.mount ('/', services)
    """,
    'services.py': """
        def __mount__ (app, mntopt):
            @app.route ('/NAME')
            def NAME (was):
                return 'NAME'

            @app.route ('/both')
            def both (was):
                return 'both of NAME'

            @app.route ('/page')
            def page (was):
                return was.render ('page.j2')

            @app.route ('/page/NAME')
            def page_NAME (was):
                return was.render ('NAME.j2')
    """,
    'templates/NAME.j2': 'template of NAME',
    'templates/page.j2': 'page of NAME',
    'static/NAME.txt': 'static of NAME',
    'static/both.txt': 'file of NAME',
}


def package(name: str) -> dict[str, str]:
    return {
        f'{name}/{path.replace("NAME", name)}': text.replace('NAME', name) for path, text in PACKAGE.items()
    }


def two_apps(first: str, second: str) -> str:
    """Line 414-422: the script that mounts two apps."""
    return f"""
        # serve.py
        import skitai
        import myapp
        import tfserver

        if __name__ == '__main__':
            with skitai.preference () as pref:
                {first}

            with skitai.preference () as pref:
                {second}
            skitai.run ()
    """


TFSERVER_AT = "skitai.mount ('/tf', tfserver, pref, name = 'tfserver')"
MYAPP_AT = "skitai.mount ('/', myapp, pref, subscribe = ['tfserver'])"

SEVERAL = {
    'serve.py': two_apps(TFSERVER_AT, MYAPP_AT),
    'tfserver/__init__.py': """
        from atila import Atila

        def __app__ ():
            return Atila (__name__)

        # wherever in tfserver app
        def __mount__ (app, mntopt):
            @app.route ('/')
            def index (was):
                was.g ['LOADED_MODELS'] = ['a', 'b']
                return ''

            @app.route ('/reload')
            def reload (was):
                app.emit ('tfserver:model-reloaded', 'mymodel')
                return 'reloaded'
    """,
    'myapp/__init__.py': """
        from atila import Atila

        def __app__ ():
            return Atila (__name__)

        def jobs_as_you_need ():
            print ('jobs done')

        # wherever in myapp,
        def __setup__ (app, mntopt):
            @app.on ('tfserver:model-reloaded')
            def on_tfserver_model_reloaded (was, model_name):
                print (was.app.name, 'got', model_name)
                jobs_as_you_need ()

        # wherever in myapp
        def __mount__ (app, mntopt):
            @app.route ('/')
            def index (was):
                return '|'.join (was.g ['LOADED_MODELS'])

            @app.route ('/other')
            def other (was):
                other_app = was.apps ['tfserver']
                return was.API (
                    kind = type (other_app).__name__, point = other_app.point, other = other_app is not app,
                    absent = was.apps.get ('nobody'),
                )

            @app.route ('/nobody')
            def nobody (was):
                try:
                    was.apps ['nobody']
                except NameError as error:
                    return str (error)
    """,
}


@pytest.fixture(scope='module')
def several(launch_module: Callable[[], Launcher]) -> ServerClient:
    return launch_module()(SEVERAL)


def test_A_20_handler_of_a_custom_event(launch: Launcher) -> None:
    """Seed 337-341, SPEC EV-01: registered in `__setup__` of any module, called by name."""
    client = launch(EVENTS)
    assert 'custom-event' not in client.output()
    assert client.get('/make_event').text == 'OK'
    assert client.output().count('I got custom-event with detail: x') == 1


def test_A_21_emit(launch: Launcher) -> None:
    """Seed 342-347, SPEC EV-02: as the seed writes it, the handler fails and that is logged."""
    client = launch(EVENTS)
    for number in (1, 2):
        answer = client.get('/make_event')
        assert (answer.status_code, answer.text) == (200, 'OK')
        assert client.output().count('I got custom-event with detail: x') == number

    services = EVENTS['myapp/services.py'].replace("('custom-event', 'x')", "('custom-event')")
    verbatim = launch({**EVENTS, 'myapp/services.py': services})
    answer = verbatim.get('/make_event')
    assert (answer.status_code, answer.text) == (200, 'OK')
    verbatim.wait_for_output('TypeError')
    output = verbatim.output()
    assert 'Traceback' in output
    assert 'on_cusom_event' in output
    assert 'I got custom-event' not in output


def test_A_22_before_mount(launch: Launcher) -> None:
    """Seed 357-363, SPEC EV-03, LC-09: once in each worker, before it serves."""
    package = """
        import os
        from atila import Atila

        def __app__ ():
            return Atila (__name__)

        # wherever in your app package,
        def load_my_models ():
            os.write (1, f'models loaded by {os.getpid ()}\\n'.encode ()) # whole, beside the other worker's

        def __setup__ (app, mntopt):
            @app.on ('before_mount')
            def on_before_mount (was):
                load_my_models ()
                app.g ['LOADED'] = True

        def __mount__ (app, mntopt):
            @app.route ('/')
            def index (was):
                return was.API (pid = os.getpid (), loaded = app.g ['LOADED'])
    """
    client = launch({'serve.py': ONE_APP, 'myapp/__init__.py': package}, workers=2)
    client.set_default_header('Connection', 'close')
    pids: set[int] = set()

    def both() -> bool:
        answer = client.get('/').data
        assert answer['loaded'] is True
        pids.add(answer['pid'])
        return len(pids) == 2

    wait_for(both, 'an answer of each worker')
    output = client.output()
    assert output.count('models loaded by') == 2
    for pid in pids:
        assert f'models loaded by {pid}' in output


def test_A_22_all_events_of_a_life(launch: Launcher) -> None:
    """Seed 348-356, SPEC EV-03, LC-09, ST-13: at start, at a reload, at shutdown."""
    package = """
        import os
        from atila import Atila

        def __app__ ():
            return Atila (__name__)

        def __setup__ (app, mntopt):
            def say (event):
                @app.on (event)
                def handler (was):
                    os.write (1, f'life {os.getpid ()} {event}\\n'.encode ())

            for event in (
                'before_mount', 'mounted', 'before_reload', 'reloaded', 'mounted_or_reloaded',
                'before_umount', 'umounted'
            ):
                say (event)

        def __mount__ (app, mntopt):
            @app.route ('/')
            def index (was):
                return 'old'
    """

    def lives(client: ServerClient) -> list[list[str]]:
        """What each worker has said, in the order of their first words."""
        found: dict[str, list[str]] = {}
        for line in client.output().splitlines():
            if line.startswith('life '):
                _, pid, event = line.split()
                found.setdefault(pid, []).append(event)
        return list(found.values())

    started, ended = ['before_mount', 'mounted', 'mounted_or_reloaded'], ['before_umount', 'umounted']
    client = launch({'serve.py': ONE_APP, 'myapp/__init__.py': package})
    assert client.get('/').text == 'old'
    assert lives(client) == [started]
    client.stop()
    assert lives(client) == [started + ended]

    client = launch({'serve.py': ONE_APP, 'myapp/__init__.py': package}, devel=True)
    assert client.get('/').text == 'old'
    launch.write({'myapp/__init__.py': package.replace("'old'", "'new'")})
    wait_for(lambda: client.get('/').text == 'new', 'the changed page')
    client.stop()
    reloaded = ['before_mount', 'mounted', 'reloaded', 'mounted_or_reloaded']
    assert lives(client) == [[*started, 'before_reload', *ended], reloaded + ended]


def read(client: ServerClient, expected: Mapping[str, str]) -> None:
    found = {path: client.get(path) for path in expected}
    assert {path: answer.text for path, answer in found.items()} == dict(expected)
    assert {answer.status_code for answer in found.values()} == {200}


def test_A_24_extends(launch: Launcher) -> None:
    """Seed 370-381, SPEC EX-01: what myapp hasn't is the base's; what both have is myapp's."""
    serve = """
        import skitai
        import atila_vue
        import myapp

        if __name__ == '__main__':
            with skitai.preference () as pref:
                pref.extends (atila_vue)
                skitai.mount ('/', myapp, pref)
            skitai.run ()
    """
    client = launch({'serve.py': serve, **package('atila_vue'), **package('myapp')})
    read(
        client,
        {
            '/myapp': 'myapp',
            '/atila_vue': 'atila_vue',
            '/both': 'both of myapp',
            '/page': 'page of myapp',
            '/page/myapp': 'template of myapp',
            '/page/atila_vue': 'template of atila_vue',
            '/static/myapp.txt': 'static of myapp',
            '/static/atila_vue.txt': 'static of atila_vue',
            '/static/both.txt': 'file of myapp',
        },
    )


def test_A_25_overrides(launch: Launcher) -> None:
    """Seed 385-394, SPEC EX-02: what both have is myapp's, the overriding package's."""
    serve = """
        import skitai
        import tfserver
        import myapp

        if __name__ == '__main__':
            with skitai.preference () as pref:
                pref.overrides (myapp)
                skitai.mount ('/', tfserver, pref)
            skitai.run ()
    """
    client = launch({'serve.py': serve, **package('tfserver'), **package('myapp')})
    read(
        client,
        {
            '/tfserver': 'tfserver',
            '/myapp': 'myapp',
            '/both': 'both of myapp',
            '/page': 'page of myapp',
            '/page/tfserver': 'template of tfserver',
            '/page/myapp': 'template of myapp',
            '/static/tfserver.txt': 'static of tfserver',
            '/static/myapp.txt': 'static of myapp',
            '/static/both.txt': 'file of myapp',
        },
    )


#: Lines 401-409 in `__setup__`, where `app` is; 0.02 s in place of 60, and what the service needs to tell.
MAINTAINED = """
    import skitai
    from atila import Atila

    def __config__ (pref):
        skitai.register_g ('cluster.num-nodes')

    def __app__ ():
        return Atila (__name__)

    def __setup__ (app, mntopt):
        app.config.MAINTAIN_INTERVAL = 60 # seconds, default is 60
        app.store.set ("num-nodes", 0) # thread safe store

        app.g ['counts'], app.g ['events'] = [], []

        @app.maintain (10, threading = False) # execute every 10 maintaining (600 sec.)
        def maintain_num_nodes (was, now, count):
            app.g ['counts'].append (count)
            num_nodes = was.getlu ("cluster.num-nodes")
            if app.g ["num-nodes"] != num_nodes:
                app.g ["num-nodes"] = num_nodes
                app.emit ("cluster:num_nodes", num_nodes)

        @app.on ('cluster:num_nodes')
        def on_num_nodes (was, num_nodes):
            app.g ['events'].append (num_nodes)

    def __mount__ (app, mntopt):
        @app.route ('/')
        def index (was):
            interval = app.config.MAINTAIN_INTERVAL
            return was.API (counts = app.g ['counts'], events = app.g ['events'], interval = interval)

        @app.route ('/stamp')
        def stamp (was):
            was.setlu ('cluster.num-nodes')
            return was.API (at = was.getlu ('cluster.num-nodes'))
"""


def test_A_26_maintain_job(launch: Launcher) -> None:
    """Seed 401-410, SPEC MT-01: in every tenth cycle; the event tells when the stamp has changed."""
    assert launch({'serve.py': ONE_APP, 'myapp/__init__.py': MAINTAINED}).get('/').data == {
        'counts': [],
        'events': [],
        'interval': 60,
    }
    quick = MAINTAINED.replace('MAINTAIN_INTERVAL = 60', 'MAINTAIN_INTERVAL = 0.02')
    client = launch({'serve.py': ONE_APP, 'myapp/__init__.py': quick})

    def after(runs: int) -> dict[str, list[float]]:
        def found() -> dict[str, list[float]] | None:
            state: dict[str, list[float]] = client.get('/').data
            return state if len(state['counts']) >= runs else None

        state: dict[str, list[float]] = wait_for(found, f'{runs} runs of the job')
        return state

    state = after(3)
    assert state['counts'] == [10 * number for number in range(len(state['counts']))]
    assert len(state['events']) == 1  # the first look: 0 is not the time of the start
    stamp = client.get('/stamp').data['at']
    state = after(len(state['counts']) + 3)
    assert state['events'][1:] == [stamp]


def test_A_26_names_of_jobs_are_unique(launch: Launcher) -> None:
    """Seed 410: a second job of that name is refused at start."""
    again = """def __mount__ (app, mntopt):
        @app.maintain
        def maintain_num_nodes (was, now, count):
            pass

    """
    twice = MAINTAINED.replace('def __mount__ (app, mntopt):\n', again.rstrip(' '))
    launch.write({'serve.py': ONE_APP, 'myapp/__init__.py': twice})
    server = launch.execute('--port', '0')
    assert server.wait() != 0
    assert 'maintain_num_nodes' in server.output()
    assert 'AssertionError' in server.output()


@pytest.mark.parametrize('order', [(TFSERVER_AT, MYAPP_AT), (MYAPP_AT, TFSERVER_AT)])
def test_A_28_events_of_another_app(launch: Launcher, order: tuple[str, str]) -> None:
    """Seed 429-433, SPEC MA-01: the subscriber gets them with its own `was`, whichever is mounted first."""
    client = launch({**SEVERAL, 'serve.py': two_apps(*order)})
    assert client.get('/tf/reload').text == 'reloaded'
    output = client.output()
    assert output.count('myapp got mymodel') == 1
    assert output.count('jobs done') == 1


def test_A_28_unknown_app_is_refused_at_start(launch: Launcher) -> None:
    """SPEC MA-01: NameError."""
    serve = two_apps(TFSERVER_AT, MYAPP_AT.replace("['tfserver']", "['nobody']"))
    launch.write({**SEVERAL, 'serve.py': serve})
    server = launch.execute('--port', '0')
    assert server.wait() != 0
    assert 'NameError' in server.output()
    assert 'nobody' in server.output()


def test_A_29_data_exchange(several: ServerClient) -> None:
    """Seed 437-444, SPEC G-03."""
    first = several.get('/tf/')
    assert (first.status_code, first.text) == (200, '')
    assert several.get('/').text == 'a|b'


def test_A_30_other_app(several: ServerClient) -> None:
    """Seed 446-448, SPEC MA-02."""
    assert several.get('/other').data == {'kind': 'Atila', 'point': '/tf', 'other': True, 'absent': None}
    assert 'nobody' in several.get('/nobody').text
