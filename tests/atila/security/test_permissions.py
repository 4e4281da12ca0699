"""Permissions (SPEC chapter 10, PITFALLS: DELETE .../me)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from atila import Atila
from skitai.testing import Client

Make = Callable[..., Client]


@pytest.fixture
def ask(client_for: Make) -> Callable[..., Any]:
    """`ask (default, conditions, ...)`: which permissions the handler was asked for; the status if none."""

    def run(default: Any, conditions: dict[str, Any], method: str, path: str, **options: Any) -> Any:
        app, asked = Atila('app'), []
        methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']

        @app.permission_handler
        def handler(was: Any, perms: set[str]) -> None:
            assert isinstance(perms, set)
            asked.append(perms)

        @app.route('/animals/<int:id>', methods=methods)
        @app.permission_required(default, **conditions)
        def animals(was: Any, id: Any = None, **more: Any) -> str:
            return 'content'

        answer = client_for(app).request(method, path, **options)
        return asked[0] if asked else answer.status_code

    return run


BOTH = (['user'], {'id': ['staff'], 'DELETE': ['admin']})


@pytest.mark.parametrize(
    ('default', 'conditions', 'method', 'path', 'wanted'),
    [
        # SPEC PM-03, A-37, A-38
        (None, {'id': ['staff']}, 'GET', '/animals', set()),
        (None, {'id': ['staff']}, 'GET', '/animals/me', set()),
        (None, {'id': ['staff']}, 'GET', '/animals/100', {'staff'}),
        (None, {'id': ['staff']}, 'GET', '/animals/notme', {'staff'}),
        (None, {'id': ['staff']}, 'GET', '/animals/new', {'staff'}),
        (*BOTH, 'POST', '/animals/me', {'user'}),
        (*BOTH, 'POST', '/animals/100', {'staff'}),
        (*BOTH, 'DELETE', '/animals/100', {'staff', 'admin'}),
        (*BOTH, 'DELETE', '/animals/me', {'admin'}),
        # A single name for a list; HEAD is a GET; the query's parameters count; several values are not 'me'.
        ('staff', {}, 'GET', '/animals', {'staff'}),
        (None, {'GET': 'reader', 'PUT': ['writer']}, 'HEAD', '/animals', {'reader'}),
        (None, {'GET': 'reader', 'PUT': ['writer']}, 'PUT', '/animals/1', {'writer'}),
        (['user'], {'other': ['staff']}, 'GET', '/animals?other=1', {'staff'}),
        (['user'], {'other': ['staff']}, 'GET', '/animals?other=me', {'user'}),
        (['user'], {'other': ['staff']}, 'GET', '/animals?other=me&other=100', {'staff'}),
        # SPEC PM-04
        (None, {'id': ['staff']}, 'DELETE', '/animals/notme', 421),
        (None, {'id': ['staff']}, 'POST', '/animals/notme', 421),
        (None, {'id': ['staff']}, 'HEAD', '/animals/notme', {'staff'}),
    ],
)
def test_which_permissions_apply(
    ask: Callable[..., Any], default: Any, conditions: Any, method: str, path: str, wanted: Any
) -> None:
    """SPEC PM-02 to PM-04."""
    assert ask(default, conditions, method, path) == wanted


def test_no_value_hides_another(ask: Callable[..., Any]) -> None:
    """PM-02: a body that says 'me', or nothing, does not undo the path's value; nor does a query."""
    conditions = {'id': ['staff']}
    assert ask(['user'], conditions, 'PUT', '/animals/100', json={'id': 'me'}) == {'staff'}
    assert ask(['user'], conditions, 'PUT', '/animals/100', json={'id': None}) == {'staff'}
    assert ask(['user'], conditions, 'POST', '/animals/me?id=100') == {'staff'}
    assert ask(['user'], conditions, 'POST', '/animals', data=[('id', 'me'), ('id', 'notme')]) == 421


def test_parameters_of_the_body_count(ask: Callable[..., Any]) -> None:
    """SPEC PM-02: URL, query or body."""
    conditions = {'owner': ['staff']}
    assert ask(['user'], conditions, 'POST', '/animals', json={'owner': 5}) == {'staff'}
    assert ask(['user'], conditions, 'POST', '/animals', json={'owner': 'me'}) == {'user'}
    assert ask(['user'], conditions, 'POST', '/animals', data={'owner': '5'}) == {'staff'}
    assert ask(['user'], conditions, 'POST', '/animals', json={'owner': 'notme'}) == 421


@pytest.mark.parametrize(
    ('returned', 'status', 'text'), [(None, 200, 'content'), ('other', 200, 'other'), (KeyError, 500, None)]
)
@pytest.mark.parametrize('form', ['def', 'async', 'generator'])
def test_what_the_handler_says(
    client_for: Make, form: str, returned: Any, status: int, text: str | None
) -> None:
    """SPEC PM-01: None grants, another value is the answer."""
    app = Atila('app')

    @app.permission_check_handler
    def handler(was: Any, perms: set[str]) -> Any:
        if isinstance(returned, type):
            raise returned
        return returned

    if form == 'def':

        def service(was: Any) -> Any:
            return 'content'

    elif form == 'async':

        async def service(was: Any) -> Any:
            await asyncio.sleep(0)
            return 'content'

    else:

        def service(was: Any) -> Any:
            yield 'content'

    app.route('/')(app.permission_required(['staff'])(service))
    answer = client_for(app).get('/')
    assert answer.status_code == status
    assert text is None or answer.text == text


def test_login_and_identification(client_for: Make) -> None:
    """SPEC PM-05, PM-06, A-34, A-35: nobody is refused by identification; its user is who was found."""
    app, asked = Atila('app'), []

    @app.permission_handler
    def handler(was: Any, perms: set[str]) -> None:
        asked.append(perms)
        name = was.request.get_header('x-name')
        if name is None:
            raise was.Error('401 Unauthorized', 'who are you?')
        was.request.user = name

    @app.route('/login')
    @app.login_required
    def login(was: Any) -> str:
        return was.request.user

    @app.route('/anybody')
    @app.identification_required
    def anybody(was: Any) -> str:
        return str(was.user)

    @app.route('/older')
    @app.clarify_login
    async def older(was: Any) -> str:
        return str(was.user)

    client = client_for(app)
    assert client.get('/login').status_code == 401
    assert client.get('/login', headers={'X-Name': 'hans'}).text == 'hans'
    assert client.get('/anybody').text == 'None'
    assert client.get('/anybody', headers={'X-Name': 'hans'}).text == 'hans'
    assert client.get('/older').text == 'None'
    assert asked == [set()] * 5


def test_without_a_handler(client_for: Make, caplog: pytest.LogCaptureFixture) -> None:
    """SPEC PM-02: an error of the server, told in words at start; nobody gets in."""
    app = Atila('app')
    app.route('/')(app.permission_required(['staff'])(lambda was: 'content'))
    client = client_for(app)
    assert 'permission_handler' in caplog.text
    assert client.get('/').status_code == 500


@pytest.mark.parametrize('wrong', [{'default': 5}, {'id': [1]}, {'TRACE_': ['x']}])
def test_wrong_conditions_are_an_error_at_decoration(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match='permission_required'):
        Atila('app').permission_required(**wrong)


def test_wrong_handler_is_an_error_at_registration() -> None:
    with pytest.raises(TypeError, match='was, perms'):
        Atila('app').permission_handler(lambda was: None)


def test_order_of_checks(client_for: Make) -> None:
    """SPEC PM-08: origin, authentication, before_request, decorators from the outermost, service."""
    app, seen = Atila('app'), []

    def note(name: str) -> Callable[..., Any]:
        return lambda was, *args: seen.append(name)

    app.permission_handler(lambda was, perms: seen.append('permission'))

    @app.before_request
    def before(was: Any) -> None:
        seen.append('before_request')

    app.users = {'hans': 'secret'}

    @app.route('/', authenticate='basic', access_control_allow_origin=['https://site.example'])
    @app.run_before(note('outer'))
    @app.permission_required(['staff'])
    @app.testpass_required(note('inner'))
    def service(was: Any) -> str:
        seen.append('service')
        return 'content'

    client = client_for(app)
    assert client.get('/', headers={'Origin': 'https://evil.example'}).status_code == 403
    assert client.get('/', headers={'Origin': 'https://site.example'}).status_code == 401
    assert seen == []
    assert client.get('/', auth=('hans', 'secret')).text == 'content'
    assert seen == ['before_request', 'outer', 'permission', 'inner', 'service']
