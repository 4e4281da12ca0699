"""Acceptance rows A-47 to A-50 (SPEC appendix A): hooks and events around a request, app.g and request.g."""

from __future__ import annotations

import re

from projects import Launcher

from skitai.testing import ServerClient

SERVE = """
    import skitai
    import myapp

    if __name__ == '__main__':
        with skitai.preference () as pref:
            skitai.mount ('/', myapp, pref)
        skitai.run (port = 5000)
"""

#: Lines 616-637; `resource` is a stub.
HOOKS = """
    from atila import Atila

    class Resource:
        def open (self):
            print ('resource opened')
            return 'a resource'

        def close (self):
            print ('resource closed')

    resource = Resource ()

    def __app__ ():
        return Atila (__name__)

    def __setup__ (app, mntopt):
        @app.on ('before_mount')
        def on_before_mount (was):
            app.g ['TOTAL_REQUEST'] = 0
            app.g ['FAILED_REQUEST'] = 0
            app.g ['SUCCES_REQUEST'] = 0

        @app.before_request
        def before_request (was):
            app.g ['TOTAL_REQUEST'] += 1
            was.request.g ['RESOURCE'] = resource.open ()

        @app.finish_request
        def finish_request (was, response): # response
            app.g ['SUCCES_REQUEST'] += 1
            # return new response or None

        @app.failed_request
        def failed_request (was, expt): # expt is sys.exc_info ()
            app.g ['FAILED_REQUEST'] += 1
            print ('failed:', expt [0].__name__, expt [1], expt [2] is not None)

        # called wahterver success or fail
        # clear resources
        @app.teardown_request
        def teardown_request (was): # no args
            was.request.g ['RESOURCE'] = resource.close ()

    def __mount__ (app, mntopt):
        @app.route ('/')
        def index (was):
            return was.request.g ['RESOURCE']

        @app.route ('/fails')
        def fails (was):
            raise ValueError ('in the service')

        @app.route ('/refuses')
        def refuses (was):
            raise was.Error ('404 Not Found', 'no such page')

        @app.route ('/counters')
        def counters (was):
            return was.API ({name: app.g [name + '_REQUEST'] for name in ('TOTAL', 'FAILED', 'SUCCES')})
"""

#: Lines 639-657; `something_is_wrong` and `PermissionHandler` are stubs.
PROCESSORS = """
    from atila import Atila
    from skitai import was as current

    def something_is_wrong ():
        return current.request.get_header ('x-wrong')

    class PermissionHandler:
        def __call__ (self, was):
            if was.request.get_header ('x-stranger'):
                return 'who are you?'

    class JWTTokenChecker:
        def __call__ (self, was):
            if something_is_wrong ():
                raise was.Error ("400 Bad Request")

    def __app__ ():
        return Atila (__name__)

    def __setup__ (app, mntopt):
        PREPROCESSORS = [
            JWTTokenChecker (),
            PermissionHandler ()
        ]

        @app.before_request
        def before_request (was):
            for p in PREPROCESSORS:
                response = p (was)
                if response:
                    return response

        @app.finish_request
        def finish_request (was, response):
            was.response.add_header ('X-Custom', 'some-value')
            return response + "--"

    def __mount__ (app, mntopt):
        @app.route ('/')
        def index (was):
            print ('the service runs')
            return 'hello'
"""

#: Lines 663-675: where the seed has `...`, a handler says that it was called.
REQUEST_EVENTS = """
    from atila import Atila

    def __app__ ():
        return Atila (__name__)

    def __setup__ (app, mntopt):
        @app.on ('before_request')
        def on_before_request (was):
            print ('before_request', was.request.uri)
            return 'from an event'

        @app.on ('finish_request')
        def on_finish_request (was, response):
            print ('finish_request', response)
            return 'from an event'

        @app.on ('failed_request')
        def on_failed_request (was, expt):
            print ('failed_request', expt [1])
            return 'from an event'

        @app.on ('teardown_request')
        def on_teardown_request (was):
            print ('teardown_request')
            return 'from an event'

    def __mount__ (app, mntopt):
        @app.route ('/')
        def index (was):
            print ('service')
            return 'from the service'

        @app.route ('/fails')
        def fails (was):
            raise ValueError ('on purpose')
"""

#: Lines 680-689, with the reset of line 682.
TIMING = """
    import time
    from atila import Atila

    def __app__ ():
        return Atila (__name__)

    def __setup__ (app, mntopt):
        @app.before_request
        def before_request (was):
            app.g ['TOTAL_REQUEST'] = 0
            was.request.g ['START'] = time.time ()

        @app.teardown_request
        def teardown_request (was):
            app.g ['TOTAL_REQUEST'] += 1
            was.log ('processing time: {:.5f} seconds.'.format (
                time.time () - was.request.g ['START']
            ))

    def __mount__ (app, mntopt):
        @app.route ('/')
        def index (was):
            return was.API (total = app.g ['TOTAL_REQUEST'], own = list (was.request.g))
"""


def said(client: ServerClient, *words: str) -> list[str]:
    """The lines of the output that begin with one of `words`."""
    return [line for line in client.output().splitlines() if line.startswith(words)]


def counters(client: ServerClient) -> dict[str, int]:
    """Before the request that asks for them."""
    found: dict[str, int] = client.get('/counters').data
    return {**found, 'TOTAL': found['TOTAL'] - 1}


def test_A_47_request_hooks(launch: Launcher) -> None:
    """Seed 616-637, SPEC RC-01 to RC-04, G-04: raised HTTP errors are failures, too."""
    client = launch({'serve.py': SERVE, 'myapp/__init__.py': HOOKS})
    assert counters(client) == {'TOTAL': 0, 'FAILED': 0, 'SUCCES': 0}
    assert client.get('/').text == 'a resource'
    assert counters(client) == {'TOTAL': 2, 'FAILED': 0, 'SUCCES': 2}
    assert client.get('/fails').status_code == 500
    assert counters(client) == {'TOTAL': 4, 'FAILED': 1, 'SUCCES': 3}
    refused = client.get('/refuses')
    assert (refused.status_code, refused.data['more_info']) == (404, 'no such page')
    assert counters(client) == {'TOTAL': 6, 'FAILED': 2, 'SUCCES': 4}
    client.stop()  # a teardown may come after its answer
    assert said(client, 'failed:') == [
        'failed: ValueError in the service True',
        'failed: HTTPError 404 Not Found: no such page True',
    ]
    assert said(client, 'resource ') == ['resource opened', 'resource closed'] * 7


def test_A_48_processors(launch: Launcher) -> None:
    """Seed 639-657, SPEC RC-01, RC-02, RC-06."""
    client = launch({'serve.py': SERVE, 'myapp/__init__.py': PROCESSORS})
    answer = client.get('/')
    assert (answer.status_code, answer.text) == (200, 'hello--')
    assert answer.raw.headers.getlist('X-Custom') == ['some-value']
    assert said(client, 'the service') == ['the service runs']

    stranger = client.get('/', headers={'X-Stranger': '1'})
    assert (stranger.status_code, stranger.text) == (200, 'who are you?--')
    assert stranger.headers['X-Custom'] == 'some-value'

    wrong = client.get('/', headers={'X-Wrong': '1'})
    assert wrong.status_code == 400
    assert 'X-Custom' not in wrong.headers
    assert said(client, 'the service') == ['the service runs']


def test_A_49_request_events(launch: Launcher) -> None:
    """Seed 663-676, SPEC EV-04: in their order; what they return is ignored."""
    client = launch({'serve.py': SERVE, 'myapp/__init__.py': REQUEST_EVENTS})
    assert client.get('/').text == 'from the service'
    assert client.get('/fails').status_code == 500
    client.stop()
    assert said(client, 'service', 'before_', 'finish_', 'failed_', 'teardown_') == [
        'before_request /',
        'service',
        'finish_request from the service',
        'teardown_request',
        'before_request /fails',
        'failed_request on purpose',
        'teardown_request',
    ]


def test_A_49_failing_handlers_are_only_logged(launch: Launcher) -> None:
    """Seed 676: 'If event handling is failed, just logged traceback information'."""
    failing = re.sub(r"return 'from an event'", "raise RuntimeError ('bad handler')", REQUEST_EVENTS)
    client = launch({'serve.py': SERVE, 'myapp/__init__.py': failing})
    answer = client.get('/')
    assert (answer.status_code, answer.text) == (200, 'from the service')
    assert client.get('/fails').status_code == 500
    client.stop()
    output = client.output()
    assert output.count('RuntimeError: bad handler') == 6
    assert output.count('Traceback') >= 6
    for event in ('before', 'finish', 'failed', 'teardown'):
        assert f'on_{event}_request' in output


def test_A_50_globals_of_app_and_request(launch: Launcher) -> None:
    """Seed 680-689, SPEC G-04: line 682 sets the counter back at each request."""
    client = launch({'serve.py': SERVE, 'myapp/__init__.py': TIMING})
    for _ in range(2):
        assert client.get('/').data == {'total': 0, 'own': ['START']}
    client.stop()
    assert len(re.findall(r'processing time: 0\.\d{5} seconds\.', client.output())) == 2
