"""Basic, Digest and Bearer: clients that nobody here wrote, and what no client sends (SPEC chapter 9)."""

from __future__ import annotations

import base64
import hashlib
import re
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from projects import DEADLINE, Launcher, wait_for
from requests.auth import HTTPDigestAuth
from serving import Direct, build

from atila import Atila
from atila.security import passwords
from skitai.engine.asgi import AsgiEngine
from skitai.testing import Client, InProcessClient, free_port

KEY = 'k' * 64
REALM = 'Members "only"'
MD5 = hashlib.md5(f'eva:{REALM}:s3cret'.encode()).hexdigest()
USERS = {
    'hans': 'pa:ss',
    'kim': ('\u00fcber', False),
    'app': ('pw', 0, {'role': 'root'}),
    'eva': (MD5, True, 'md5'),
    'gone': None,
    'bad': 1234,
    'odd': ('never-told', True),
    'many': ('never-told', False, 1, 2),
}
KINDS = ['basic', 'digest', 'bearer']


def make_app(users: Any = USERS) -> Atila:
    app = Atila('app')
    app.realm, app.users, app.securekey = REALM, users, KEY

    def who(was: Any, a: str = '') -> Any:
        user = was.request.user
        return was.API(name=str(user), log=was.exchange.user_name, info=getattr(user, 'info', None))

    for kind in KINDS:
        app.route(f'/{kind}', methods=['GET', 'POST'], authenticate=kind)(who)
    return app


def basic(credentials: bytes | str) -> str:
    data = credentials.encode() if isinstance(credentials, str) else credentials
    return 'Basic ' + base64.b64encode(data).decode()


def ask(client: Client, kind: str, authorization: str | None = None) -> Any:
    return client.get(f'/{kind}', headers={} if authorization is None else {'Authorization': authorization})


def respond(
    challenge: str, name: str, password: str, algorithm: str = 'SHA-256', nc: str = '00000001', **changes: str
) -> str:
    """An Authorization field for /digest, by the standard; `changes`: what is said instead."""
    nonce = re.findall('nonce="([^"]*)"', challenge)[0]
    said = {'uri': '/digest', 'cnonce': 'c', 'realm': REALM, 'nonce': nonce, **changes}

    def h(text: str) -> str:
        return hashlib.new({'MD5': 'md5', 'SHA-256': 'sha256'}[algorithm], text.encode()).hexdigest()

    a1, a2 = h(f'{name}:{REALM}:{password}'), h(f'GET:{said["uri"]}')
    said.setdefault('response', h(f'{a1}:{said["nonce"]}:{nc}:{said["cnonce"]}:auth:{a2}'))
    quoted = ', '.join('{}="{}"'.format(k, v.replace('"', '\\"')) for k, v in said.items())
    return f'Digest username="{name}", {quoted}, algorithm={algorithm}, qop=auth, nc={nc}'


def challenge_of(client: Client) -> str:
    return str(ask(client, 'digest').headers['www-authenticate'])


# -- Basic -----------------------------------------------------------------------------------------


def test_basic(client_for: Callable[..., Client]) -> None:
    """AU-03, AU-06, AU-07, AU-09: all shapes of records."""
    client = client_for(make_app())
    refused = ask(client, 'basic')
    assert refused.status_code == 401
    assert refused.headers['www-authenticate'] == r'Basic realm="Members \"only\""'
    for name, password, info in (
        ('hans', 'pa:ss', None),
        ('kim', '\u00fcber', None),
        ('app', 'pw', {'role': 'root'}),
        ('eva', 's3cret', 'md5'),
    ):
        assert ask(client, 'basic', basic(f'{name}:{password}')).data == {
            'name': name,
            'log': name,
            'info': info,
        }
        assert ask(client, 'basic', basic(f'{name}:{password}x')).status_code == 401
    assert ask(client, 'basic', basic('kim:\u00fcber'.encode('latin-1'))).status_code == 200
    assert ask(client, 'basic', basic(f'eva:{MD5}')).status_code == 401


@pytest.mark.parametrize('name', ['gone', 'bad', 'odd', 'many', 'nobody', ''])
def test_nobody_is_told_from_a_wrong_password(
    client_for: Callable[..., Client], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """AU-03; a record that is none is logged without what is in it."""
    client = client_for(make_app())
    wrong = ask(client, 'basic', basic('hans:guessed'))
    answer = ask(client, 'basic', basic(f'{name}:never-told'))
    assert (answer.status_code, answer.data) == (wrong.status_code, wrong.data)
    assert answer.data['more_info'] == 'wrong user name or password'
    assert 'never-told' not in caplog.text
    assert ('password record' in caplog.text) == (name in ('bad', 'odd', 'many'))


def test_hashed_passwords(client_for: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """AU-06: what `hash_password` gives, for basic; digest cannot use it. Changed, it counts at once."""
    monkeypatch.setattr(passwords, 'LOG_N', 4)
    monkeypatch.setattr(passwords, 'P', 1)
    users = {'hans': passwords.hash_password('one'), 'eva': (passwords.hash_password('two'), True)}
    client = client_for(make_app(users))
    for _ in range(2):
        assert ask(client, 'basic', basic('hans:one')).status_code == 200
        assert ask(client, 'basic', basic('eva:two')).status_code == 200
        assert ask(client, 'basic', basic('hans:two')).status_code == 401
        assert ask(client, 'basic', basic('nobody:two')).status_code == 401
    users['hans'] = passwords.hash_password('three')
    assert ask(client, 'basic', basic('hans:one')).status_code == 401
    assert ask(client, 'basic', basic('hans:three')).status_code == 200
    assert ask(client, 'digest', respond(challenge_of(client), 'hans', 'three')).status_code == 401


# -- Digest ----------------------------------------------------------------------------------------

PLAIN = {name: record for name, record in USERS.items() if name != 'odd' and name != 'eva'}


@pytest.mark.parametrize('algorithm', ['SHA-256', 'MD5'])
def test_digest(client_for: Callable[..., Client], algorithm: str) -> None:
    """AU-03, AU-08, AU-09: each use of a nonce once."""
    client = client_for(make_app(PLAIN))
    refused = challenge_of(client)
    assert refused.count('Digest ') == 2
    assert refused.index('SHA-256') < refused.index('MD5')
    assert 'stale' not in refused
    first = respond(refused, 'app', 'pw', algorithm)
    assert ask(client, 'digest', first).data == {'name': 'app', 'log': 'app', 'info': {'role': 'root'}}
    again = ask(client, 'digest', first)
    assert again.status_code == 401
    assert 'stale=true' in again.headers['www-authenticate']
    assert ask(client, 'digest', respond(refused, 'app', 'pw', algorithm, '00000002')).status_code == 200
    fresh = respond(again.headers['www-authenticate'], 'kim', '\u00fcber', algorithm).encode()
    assert ask(client, 'digest', fresh).status_code == 200  # type: ignore[arg-type]


@pytest.mark.parametrize(
    'changes',
    [
        {'uri': '/other'},
        {'uri': '/digest?a=1'},
        {'realm': 'App'},
        {'response': '0' * 64},
        {'response': ''},
        {'userhash': 'true'},
    ],
)
def test_wrong_digest(client_for: Callable[..., Client], changes: dict[str, str]) -> None:
    """AU-03, AU-08: not worth a new try with the same password."""
    client = client_for(make_app(PLAIN))
    answer = ask(client, 'digest', respond(challenge_of(client), 'app', 'pw', **changes))
    assert answer.status_code == 401
    assert 'stale' not in answer.headers['www-authenticate']


def test_a_stale_nonce(client_for: Callable[..., Client]) -> None:
    """RFC 7616, 3.3: said to who knows the password only."""
    app = make_app(PLAIN)
    app.authentication.nonce_lifetime = -1.0
    client = client_for(app)
    late = challenge_of(client)
    right, wrong = (ask(client, 'digest', respond(late, 'app', password)) for password in ('pw', 'px'))
    foreign = ask(client, 'digest', respond('nonce="x"', 'app', 'pw'))
    assert right.status_code == wrong.status_code == foreign.status_code == 401
    assert 'stale=true' in right.headers['www-authenticate']
    assert 'stale=true' in foreign.headers['www-authenticate']
    assert 'stale' not in wrong.headers['www-authenticate']


def test_encrypted_records_are_for_md5(client_for: Callable[..., Client]) -> None:
    """AU-07: offered alone from the start for a dict, else once such a record was seen."""
    client = client_for(make_app({'eva': USERS['eva']}))
    refused = challenge_of(client)
    assert 'SHA-256' not in refused
    assert ask(client, 'digest', respond(refused, 'eva', 's3cret', 'MD5')).data['info'] == 'md5'
    app = make_app()
    app.authorization_handler(lambda was, username: USERS.get(username))
    client = client_for(app)
    refused = challenge_of(client)
    other = ask(client, 'digest', respond(refused, 'eva', 's3cret'))
    assert other.status_code == 401
    assert 'stale=true' in other.headers['www-authenticate']
    assert 'SHA-256' not in other.headers['www-authenticate']
    assert ask(client, 'digest', respond(refused, 'eva', 's3cret', 'MD5')).status_code == 200
    unknown = ask(client, 'digest', respond(refused, 'nobody', 's3cret'))
    assert unknown.data == other.data


@pytest.mark.parametrize('users', [PLAIN, USERS], ids=['both', 'md5'])
def test_other_peoples_clients(direct_for: Callable[..., Direct], users: dict[str, Any]) -> None:
    """A-39, A-43: curl, requests, httpx2; with kept nonces, and with a body."""
    app = make_app(users)
    app.realm = 'Members'
    app.users = (
        {**users, 'eva': (hashlib.md5(b'eva:Members:pw').hexdigest(), True)} if users is USERS else users
    )
    name = 'eva' if users is USERS else 'app'
    root = f'http://127.0.0.1:{direct_for(app).port}'
    session = requests.Session()
    session.auth = HTTPDigestAuth(name, 'pw')
    with session, httpx2.Client(auth=httpx2.DigestAuth(name, 'pw')) as client:
        for number in range(3):
            answer = session.get(root + '/digest?a=b%20c', timeout=DEADLINE)
            assert (answer.status_code, len(answer.history)) == (200, number == 0), answer.text
            assert client.get(root + '/digest?a=b%20c').json()['name'] == name
            assert session.post(root + '/digest', data={}, timeout=DEADLINE).status_code == 200
        assert client.get(root + '/basic', auth=(name, 'pw')).status_code == 200
    for kind in ('digest', 'basic'):
        curl = ['curl', '-sf', '--max-time', '20', f'--{kind}', '-u', f'{name}:pw', f'{root}/{kind}']
        assert name in subprocess.run(curl, capture_output=True, text=True, check=True).stdout
        curl[6] = f'{name}:px'
        assert subprocess.run(curl, capture_output=True).returncode == 22


SERVE = """
    import os
    import skitai
    from atila import Atila

    app = Atila (__name__)
    app.authenticate = "digest"
    app.users = {"app": "pw"}

    @app.route ("/")
    def index (was):
        return str (os.getpid ())

    if __name__ == '__main__':
        skitai.mount ('/', app)
        skitai.run ()
"""


def test_workers_know_each_others_nonces(launch: Launcher) -> None:
    """AU-03: without a securekey; a captured request is let in by one of them once, also after SIGHUP."""
    launch.write({'serve.py': SERVE})
    port = free_port()
    process = launch.execute('--port', str(port), '--workers', '3')
    process.wait_for_output('Serving')

    def workers() -> set[str]:
        return set(Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split())

    wait_for(lambda: len(workers()) == 3, 'three workers')
    auth, url = HTTPDigestAuth('app', 'pw'), f'http://127.0.0.1:{port}/'
    close = {'Connection': 'close'}
    answers = [requests.get(url, auth=auth, headers=close, timeout=DEADLINE) for _ in range(40)]
    assert {answer.status_code for answer in answers} == {200}
    assert sum(len(answer.history) for answer in answers) == 1
    wait_for(lambda: requests.get(url, auth=auth, headers=close).text != answers[0].text, 'another worker')

    def captured(count: int) -> list[int]:
        auth._thread_local.nonce_count = count
        header = auth.build_digest_header('GET', url)
        with ThreadPoolExecutor(6) as executor:
            sent = [
                executor.submit(
                    requests.get, url, headers={'Authorization': header, **close}, timeout=DEADLINE
                )
                for _ in range(24)
            ]
            return sorted(one.result().status_code for one in sent)

    assert captured(1000) == [200] + [401] * 23
    old = workers()
    process.signal(signal.SIGHUP)
    wait_for(lambda: not workers() & old, 'new workers')
    assert captured(1000) == [401] * 24
    auth.init_per_thread_state()
    assert captured(1001) == [200] + [401] * 23


# -- Bearer ----------------------------------------------------------------------------------------


def test_bearer(client_for: Callable[..., Client]) -> None:
    """AU-11: the claims are the user, with or without a name."""
    app = make_app()

    @app.route('/claims', authenticate='bearer')
    def claims(was):
        user = was.request.user
        return was.API(user=dict(user), name=user.name, lev=user.lev, same=user == was.request.JWT)

    client = client_for(app)
    later = int(time.time()) + 3600
    for told, name in (({'username': 'hans'}, 'hans'), ({'sub': 'kim', 'name': 'x'}, 'kim'), ({}, None)):
        content = {**told, 'lev': 1, 'exp': later}
        header = {'Authorization': 'bearer ' + jwt.encode(content, KEY)}
        assert client.get('/claims', headers=header).data == {
            'user': content,
            'name': name,
            'lev': 1,
            'same': True,
        }
    assert ask(client, 'bearer').headers['www-authenticate'] == r'Bearer realm="Members \"only\""'
    late = ask(client, 'bearer', 'Bearer ' + jwt.encode({'exp': 1}, KEY))
    assert late.headers['www-authenticate'].endswith(', error="token expired"')
    assert late.data['more_info'] == 'token expired'


def test_bearer_handler(client_for: Callable[..., Client]) -> None:
    """AU-12; what a handler says cannot end its field."""
    app = make_app()

    @app.bearer_handler
    def judge(was, token):
        if token == 'text':
            return 'a "bad"\r\nX-Evil: token \u00e9'
        if token == 'raise':
            raise was.Error('403 Forbidden', 'not you')
        was.request.user = token.upper()
        return None

    client = client_for(app)
    assert ask(client, 'bearer', 'Bearer abc').data == {'name': 'ABC', 'log': None, 'info': None}
    answer = ask(client, 'bearer', 'Bearer text')
    assert answer.status_code == 401
    assert answer.headers['www-authenticate'].endswith('error="a ?bad???X-Evil: token ?"')
    assert 'X-Evil' not in answer.headers
    assert ask(client, 'bearer', 'Bearer raise').status_code == 403
    assert ask(client, 'bearer', 'Bearer a b').status_code == 401


# -- setting up ------------------------------------------------------------------------------------


def test_kinds() -> None:
    """AU-01, AU-02."""
    app = make_app()
    check = app.authentication.check_kind
    assert [check(kind) for kind in ('Basic', 'DIGEST', 'bearer', None, False, True)] == [
        *KINDS,
        None,
        None,
        'digest',
    ]
    app.authenticate = 'basic'
    assert check(True) == 'basic'
    for wrong in ('ntlm', '', 1, b'basic', ['basic']):
        with pytest.raises(AssertionError, match='authenticate'):
            check(wrong)


def test_handlers_take_two() -> None:
    """AU-05, AU-12: reported where they are decorated."""
    app = make_app()
    with pytest.raises(TypeError, match=r'\(was, username\)'):
        app.authorization_handler(lambda was: None)
    with pytest.raises(TypeError, match=r'\(was, token\)'):
        app.bearer_handler(lambda was: None)


# -- anything ---------------------------------------------------------------------------------------

SOME = [
    'Basic',
    'Digest',
    'Bearer',
    ' ',
    ',',
    '=',
    '"',
    '!!!',
    'a',
    'username="a"',
    'realm="x"',
    'nc=1',
    '\t',
    '.',
]
FIELDS = (
    st.binary(max_size=60)
    | st.lists(st.sampled_from(SOME), max_size=12).map(lambda parts: ' '.join(parts).encode())
    | st.binary(max_size=40).map(lambda data: b'Basic ' + base64.b64encode(data))
    | st.from_regex(rb'Bearer [A-Za-z0-9_-]{0,9}\.[A-Za-z0-9_-]{0,9}\.[A-Za-z0-9_-]{0,9}', fullmatch=True)
)


@pytest.fixture(scope='module')
def anything() -> Any:
    table, made, mounts = build(make_app())
    client = InProcessClient(AsgiEngine(table, made))
    yield client
    client.stop()
    mounts.umount()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(KINDS), FIELDS.map(lambda field: re.sub(rb'[\r\n\0]', b'', field).strip()))
def test_whatever_is_sent_is_refused_with_401(anything: Client, kind: str, field: bytes) -> None:
    """AU-03, PITFALLS "Errors": never 5xx."""
    answer = anything.get(f'/{kind}', headers={'Authorization': field})
    assert answer.status_code == 401
    assert answer.headers['www-authenticate'].startswith(kind.capitalize() + ' realm=')
    assert answer.data['more_info']
