"""Acceptance rows A-51 to A-59 (SPEC appendix A): environment, routing, request parameters.

A-52 and what A-55 to A-59 render come with the template engine: here they return `was.API` instead.
"""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable

import pytest
from projects import Launcher

from skitai.testing import ServerClient

#: Each row is a function that is mounted at its own point.
SERVE = """
    import skitai
    from atila import Atila

    app = Atila (__name__)

    def row_51 (app):
        @app.route ('')
        def agent (was):
            assert was.env is was.request.env
            return was.env.get ('HTTP_USER_AGENT', 'Unknown Agent')

    def row_53 (app):
        @app.route ("/hello", methods = ["GET"]) #if not match response 405
        def hello_world (was):
            return 'hello'

    def row_54 (app):
        @app.route ("/hello", content_types = ["application/json"]) #if not match response 406
        def hello_world (was, **DATA):
            return was.API (DATA)

    def row_55 (app):
        @app.route ("/hello", methods = ["POST", "OPTIONS"])
        def hello_world (was, name, birth_year, gender = None):
            return was.API (name = name, birth_year = birth_year, gender = gender)

    def row_56 (app):
        @app.route ("/hello", methods = ["POST", "OPTIONS"])
        def hello_world (was, name, **DATA):
            return was.API (name = name, DATA = DATA)

    def row_57 (app):
        @app.route ("/profiles/<int:id>", methods = ["GET"])
        def hello_world (was, id, detail = 'yes'):
            return was.API (id = id, detail = detail)

    def row_58 (app):
        @app.route ("/profiles/<int:id>", methods = ["GET"])
        def hello_world (was, id = None, detail = 'yes'):
            return was.API (id = id, detail = detail)

    def row_59 (app):
        @app.route ("/profiles/<int:id>", methods = ["GET", "POST"])
        def hello_world (was, id = None, detail = 'yes'):
            assert was.request.args ['id'] == id
            assert was.request.args ['detail'] == detail
            return was.API (was.request.args)

    if __name__ == '__main__':
        for number in (51, 53, 54, 55, 56, 57, 58, 59):
            app.mount (f'/{number}', globals () [f'row_{number}'])
        skitai.mount ('/', app)
        skitai.run ()
"""


@pytest.fixture(scope='module')
def client(launch_module: Callable[[], Launcher]) -> ServerClient:
    return launch_module()({'serve.py': SERVE})


def test_A_51_environment_variables(client: ServerClient) -> None:
    """Seed 718: a header's value, or the default."""
    assert client.get('/51', headers={'User-Agent': 'tester/1'}).text == 'tester/1'
    bare = http.client.HTTPConnection('127.0.0.1', client.port, timeout=10)  # names no agent
    with contextlib.closing(bare):
        bare.request('GET', '/51')
        assert bare.getresponse().read() == b'Unknown Agent'


def test_A_53_methods(client: ServerClient) -> None:
    """Seed 724."""
    assert client.get('/53/hello').status_code == 200
    refused = client.post('/53/hello', b'')
    assert refused.status_code == 405
    assert refused.headers['Allow'] == 'GET, HEAD'


def test_A_54_content_types(client: ServerClient) -> None:
    """Seed 725."""
    assert client.post('/54/hello', 'x', headers={'Content-Type': 'text/plain'}).status_code == 406
    accepted = client.post(
        '/54/hello', '{"a": 1}', headers={'Content-Type': 'application/json; charset=utf-8'}
    )
    assert accepted.data == {'a': 1}


@pytest.mark.parametrize('kind', ['data', 'json'])
def test_A_55_required_and_optional_parameters(client: ServerClient, kind: str) -> None:
    """Seed 727-729."""
    missing = client.post('/55/hello', **{kind: {'name': 'Hans'}})
    assert missing.status_code == 400
    assert 'birth_year' in missing.data['more_info']
    given = {'name': 'Hans', 'birth_year': '2000'}
    assert client.post('/55/hello', **{kind: given}).data == {**given, 'gender': None}
    assert client.post('/55/hello', **{kind: {**given, 'gender': 'm'}}).data == {**given, 'gender': 'm'}
    assert client.post('/55/hello', **{kind: {**given, 'size': '1'}}).status_code == 400


@pytest.mark.parametrize('kind', ['data', 'json'])
def test_A_56_all_other_parameters(client: ServerClient, kind: str) -> None:
    """Seed 730-732."""
    answer = client.post('/56/hello', **{kind: {'name': 'Hans', 'a': '1', 'b': '2'}})
    assert answer.data == {'name': 'Hans', 'DATA': {'a': '1', 'b': '2'}}


def test_A_57_typed_parameter_of_the_path(client: ServerClient) -> None:
    """Seed 733-740."""
    for given, expected in (('123', 123), ('me', 'me'), ('notme', 'notme'), ('new', 'new')):
        answer = client.get(f'/57/profiles/{given}?detail=no')
        assert answer.status_code == 200
        assert answer.data == {'id': expected, 'detail': 'no'}
    assert client.get('/57/profiles/123').data == {'id': 123, 'detail': 'yes'}
    assert client.get('/57/profiles/abc?detail=no').status_code == 404
    assert client.get('/57/profiles?detail=no').status_code == 404


def test_A_58_last_parameter_of_the_path_may_be_omitted(client: ServerClient) -> None:
    """Seed 741-745."""
    assert client.get('/58/profiles?detail=no').data == {'id': None, 'detail': 'no'}
    assert client.get('/58/profiles/5').data == {'id': 5, 'detail': 'yes'}


def test_A_59_all_parameters_as_a_dictionary(client: ServerClient) -> None:
    """Seed 746-752: of the same name in URL and body, the body's counts."""
    assert client.get('/59/profiles').data == {'id': None, 'detail': 'yes'}
    assert client.get('/59/profiles/7?detail=no').data == {'id': 7, 'detail': 'no'}
    for body in ({'data': {'detail': 'form'}}, {'json': {'detail': 'form'}}):
        assert client.post('/59/profiles/7?detail=no', **body).data == {'id': 7, 'detail': 'form'}
