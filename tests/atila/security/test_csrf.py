"""CSRF tokens (SPEC HE-03, HE-04, CL-13, A-137 to A-139)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import Direct, parse_answer, request_bytes, send_raw

from atila import Atila
from atila.security import csrf
from skitai.testing import Client

Make = Callable[..., Client]

KEY = 'ds8fdsflksdjf9879dsf;?<>Asda'
COOKIE, HEADER = 'XSRF_TOKEN', 'X-XSRF-TOKEN'


def guarded_app(key: Any = KEY) -> Atila:
    """'/form' gives the token, '/save' wants it; '/once' takes it once; '/new', '/gone' change it."""
    app = Atila('app')
    app.securekey = key

    @app.route('/form')
    def form(was):
        template = was.app.jinja_env.from_string('<form>{{ was.csrf_token_input }}</form>')
        return was.API(token=was.csrf_token, page=template.render(was=was))

    @app.route('/save', methods=['GET', 'POST'])
    @app.csrf_verification_required
    def save(was, name=''):
        return was.API(saved=name)

    @app.route('/once', methods=['POST'])
    def once(was):
        return was.API(verified=was.verify_csrf(keep=False))

    @app.route('/new')
    def new(was):
        before = was.csrf_token
        return was.API(token=was.generate_csrf(), again=was.csrf_token, before=before)

    @app.route('/gone')
    def gone(was):
        was.remove_csrf()
        return was.API(left=COOKIE in was.cookie)

    return app


def token_of(client: Client) -> str:
    token: str = client.get('/form').data['token']
    return token


def fields(response: Any) -> list[str]:
    found: list[str] = response.raw.headers.getlist('Set-Cookie')
    return found


def test_the_cookie(client_for: Make) -> None:
    """HE-03: for the browser's session, readable by scripts, given to who has none."""
    client = client_for(guarded_app())
    response = client.get('/form')
    token = response.data['token']
    assert fields(response) == [f'{COOKIE}={token}; path=/; SameSite=Lax']
    again = client.get('/form')
    assert again.data['token'] == token
    assert fields(again) == []


def test_the_cookie_is_at_the_mount_point_and_secure_on_https(client_for: Make) -> None:
    """HE-03."""
    client = client_for(guarded_app(), point='/sub', proxied=True)
    response = client.get('/sub/form', headers={'X-Forwarded-Proto': 'https'})
    assert fields(response)[0].endswith('; path=/sub; Secure; SameSite=Lax')


def test_tokens_are_random_and_survive_everything(client_for: Make) -> None:
    """PITFALLS, Security: no constants, nothing that needs quoting."""
    client = client_for(guarded_app())
    tokens = set()
    for _ in range(20):
        tokens.add(client.clone().get('/form').data['token'])
    assert len(tokens) == 20
    assert all(re.fullmatch(r'[\w-]{22}\.[\w-]{43}', token, re.ASCII) for token in tokens)


def test_the_input(client_for: Make) -> None:
    """A-137, TE-04: markup, not escaped; one token for one request."""
    data = client_for(guarded_app()).get('/form').data
    assert data['page'] == f'<form><input type="hidden" name="XSRF_TOKEN" value="{data["token"]}"></form>'


def test_the_decorator(client_for: Make) -> None:
    """HE-04, A-139: by header, form, JSON, multipart form or query; the service needs no parameter for it."""
    client = client_for(guarded_app())
    token = token_of(client)
    ok = {'saved': 'x'}
    assert client.post('/save', {'name': 'x'}, headers={HEADER: token}).data == ok
    assert client.post('/save', {'name': 'x', COOKIE: token}).data == ok
    assert client.post('/save', json={'name': 'x', COOKIE: token}).data == ok
    assert client.upload('/save', {'name': 'x', COOKIE: token}).data == ok
    assert client.get(f'/save?name=x&{COOKIE}={token}').data == ok


def test_what_is_refused(client_for: Make, caplog: pytest.LogCaptureFixture) -> None:
    """HE-04, A-139: 400 in words, and nothing of a token in the page or the log."""
    client = client_for(guarded_app())
    token = token_of(client)
    other = token_of(client.clone())
    stranger = csrf.make(('another key',))

    def refused(response: Any) -> None:
        assert response.status_code == 400
        assert 'CSRF token error' in response.text
        assert HEADER in response.text
        assert not any(secret in response.text for secret in (token, other, stranger))

    refused(client.post('/save', {'name': 'x'}))
    refused(client.post('/save', {'name': 'x', COOKIE: other}))
    refused(client.post('/save', {'name': 'x', COOKIE: ''}))
    refused(client.post('/save', {COOKIE: token}, headers={HEADER: other}))
    refused(client.post('/save', f'{COOKIE}={token}&{COOKIE}={token}'))
    refused(client.post('/save', json={COOKIE: [token]}))
    refused(client.post('/save', json={COOKIE: None}))
    refused(client.clone().post('/save', {COOKIE: token}))  # without the cookie
    for planted in (stranger, 'x', 'x.y', '.', token[:-1], token + 'x'):
        refused(client.clone().post('/save', {COOKIE: planted}, headers={'Cookie': f'{COOKIE}={planted}'}))
    assert not caplog.records


def test_a_bad_body_is_still_a_400(client_for: Make) -> None:
    client = client_for(guarded_app())
    token_of(client)
    response = client.post('/save', b'{', headers={'Content-Type': 'application/json'})
    assert response.status_code == 400


def test_a_planted_cookie_is_replaced(client_for: Make) -> None:
    """HE-03: else its owner could never send a form again."""
    client = client_for(guarded_app())
    response = client.get('/form', headers={'Cookie': f'{COOKIE}=planted'})
    assert response.data['token'] != 'planted'
    assert fields(response)


def test_verify_in_before_request(client_for: Make) -> None:
    """A-138."""
    app = guarded_app()

    @app.before_request
    def before_request(was):
        if was.request.args.get('username') and not was.verify_csrf():
            return was.response('400 Bad Request')
        return None

    @app.route('/login', methods=['POST'])
    def login(was, username):
        return was.API(user=username)

    client = client_for(app)
    assert client.post('/login', {'username': 'hans'}).status_code == 400
    token = token_of(client)
    assert client.post('/login', {'username': 'hans', COOKIE: token}).data == {'user': 'hans'}


def test_once(client_for: Make) -> None:
    """HE-03: `keep = False`."""
    client = client_for(guarded_app())
    token = token_of(client)
    assert client.post('/once', {COOKIE: 'x'}).data == {'verified': False}
    assert client.post('/once', {COOKIE: token}).data == {'verified': True}
    assert client.post('/once', {COOKIE: token}).data == {'verified': False}


def test_a_new_one_and_none(client_for: Make) -> None:
    """HE-03, CL-13: `generate_csrf`, `remove_csrf`."""
    client = client_for(guarded_app())
    token = token_of(client)
    data = client.get('/new').data
    assert data['before'] == token
    assert data['token'] == data['again'] != token
    assert client.post('/save', {COOKIE: token}).status_code == 400
    assert client.post('/save', {COOKIE: data['token']}).status_code == 200
    assert client.get('/gone').data == {'left': False}
    assert client.post('/save', {COOKIE: data['token']}).status_code == 400


def test_keys_are_rotated(client_for: Make) -> None:
    """A list of keys: the newest makes, all verify."""
    old = csrf.make(('old',))
    headers = {'Cookie': f'{COOKIE}={old}', HEADER: old}
    assert client_for(guarded_app(['new', 'old'])).get('/save', headers=headers).status_code == 200
    assert client_for(guarded_app(['new'])).get('/save', headers=headers).status_code == 400
    made = csrf.make(('new', 'old'))
    assert csrf.is_ours(made, ('new',))
    assert not csrf.is_ours(made, ('old',))


@pytest.mark.parametrize('path', ['/form', '/save', '/new'])
def test_without_a_key(client_for: Make, caplog: pytest.LogCaptureFixture, path: str) -> None:
    """HE-03: our fault, said in the log."""
    assert client_for(guarded_app(None)).get(path).status_code == 500
    assert 'Secret key is not configured' in caplog.text


def test_the_decorator_of_an_async_service(client_for: Make) -> None:
    """HE-04, HP-06."""
    app = guarded_app()

    @app.route('/later')
    @app.csrf_verification_required
    async def later(was):
        return 'saved'

    client = client_for(app)
    token = token_of(client)
    assert client.get('/later').status_code == 400
    assert client.get('/later', headers={HEADER: token}).text == 'saved'


@pytest.fixture(scope='module')
def site() -> Any:
    engine = Direct(guarded_app())
    yield engine
    engine.stop()


@given(
    st.binary(max_size=80).filter(lambda value: not set(value) & set(b'\r\n\x00')),
    st.binary(max_size=80).filter(lambda value: not set(value) & set(b'\r\n\x00')),
    st.binary(max_size=80),
)
def test_any_cookie_header_and_body_is_refused(site: Any, cookie: bytes, header: bytes, body: bytes) -> None:
    """Never a 5xx."""
    headers = (
        b'Cookie: XSRF_TOKEN=%s\r\nX-XSRF-TOKEN: %s\r\n' % (cookie, header)
        + b'Content-Type: application/x-www-form-urlencoded\r\n'
    )
    request = request_bytes(b'POST', b'/save', headers, b'XSRF_TOKEN=' + body)
    assert parse_answer(send_raw(site.connect(), request)).status == 400


@given(st.text())
def test_no_text_is_ours(text: str) -> None:
    assert not csrf.is_ours(text, (KEY,))
