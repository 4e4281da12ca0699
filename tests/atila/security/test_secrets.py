"""No secret is told: neither by a log line nor by an error page (SPEC AU-14, ER-02; PITFALLS, "Security").

A server gets passwords, tokens, cookies and keys in every way that a request can bring them, in requests that
are let in, that are refused and that fail. Then all that it has answered and logged is looked through.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jwt
import pytest
from projects import Launcher
from requests.auth import HTTPBasicAuth, HTTPDigestAuth

from skitai.testing import ServerClient
from skitai.testing.response import Response

KEY = 'key-of-the-app-4471-4471-4471-4471'
PASSWORD = 'pass-of-hans-7391'
GUESSED = 'guessed-5512'
OPAQUE = 'own-token-8123'
COOKIE = 'cookie-value-6617'
API_KEY = 'api-key-2204'
TYPED = 'typed-9920'
BROKEN = 'broken-record-3358'

SERVE = """
    import sys
    import skitai
    import myapp
    from atila import Atila

    own, keyless = Atila ('own'), Atila ('keyless')

    @own.bearer_handler
    def bearer_handler (was, token):
        if token.startswith ('own'):
            raise LookupError ('the database is gone')
        return 'unknown token'

    for app in (own, keyless):
        @app.route ('/bearer', methods = ['GET', 'POST'], authenticate = 'bearer')
        def guarded (was, **form):
            return 'in'

    if __name__ == '__main__':
        if 'files' in sys.path [0]:
            skitai.enable_file_logging (skitai.abspath ('logs'))
        with skitai.preference () as pref:
            pref.securekey = myapp.KEY
        skitai.mount ('/', myapp, pref)
        skitai.mount ('/own', own)
        skitai.mount ('/keyless', keyless)
        skitai.run (port = 5000)
"""

APP = f"""
    import os
    from atila import Atila

    KEY = os.environ.get ('NOT_SET') or open (os.path.join (os.path.dirname (__file__), 'key.txt')).read ()
    PASSWORD = open (os.path.join (os.path.dirname (__file__), 'password.txt')).read ()

    def __app__ ():
        return Atila (__name__)

    def __setup__ (app, mntopt):
        @app.authorization_handler
        def auth_handler (was, username):
            if username == 'hans':
                return (PASSWORD, False, {{'role': 'root'}})
            if username == 'broken':
                return ({BROKEN!r}, True)
            if username == 'odd':
                return ({BROKEN!r}, False, 1, 2)
            if username == 'bytes':
                return {BROKEN!r}.encode ()
            if username == 'failing':
                given = was.request.get_header ('authorization')
                raise LookupError ('the database is gone')

        @app.permission_handler
        def permission_handler (was, perms):
            claims = was.dejwt ()
            if 'err' in claims:
                raise was.Error ('401 Unauthorized', claims ['err'])
            if 'broken' in perms:
                return claims ['nothing']

        @app.error_handler (409)
        def conflict (was, error):
            return str (sorted (error.items ()))

        app.mount ('/', services)

    def services (app):
        @app.route ('/login', methods = ['POST'])
        def login (was, username, password):
            was.session.set ('user', username)
            was.cookie.set ('remember', 'x')
            return was.csrf_token

        @app.route ('/fails', methods = ['GET', 'POST'])
        def fails (was, **form):
            authorization = was.request.get_header ('authorization')
            cookies = dict (was.cookie.items ())
            user = was.session.get ('user')
            return was.nothing

        @app.route ('/fails-async', methods = ['GET', 'POST'])
        async def fails_async (was, **form):
            authorization = was.request.get_header ('authorization')
            raise ValueError ('on purpose')

        @app.route ('/fails-late', methods = ['GET', 'POST'])
        def fails_late (was, **form):
            authorization = was.request.get_header ('authorization')
            yield 'begun'
            raise ValueError ('on purpose')

        @app.route ('/fails-sending', methods = ['GET', 'POST'])
        def fails_sending (was, **form):
            authorization = was.request.get_header ('authorization')
            return object ()

        @app.route ('/errors', methods = ['GET', 'POST'])
        def errors (was, **form):
            raise was.Error ('418 Teapot', 'on purpose', traceback = True)

        @app.route ('/conflict', methods = ['GET', 'POST'])
        def conflict (was, **form):
            raise was.Error ('409 Conflict', 'on purpose')

        @app.route ('/logs', methods = ['GET', 'POST'])
        def logs (was, **form):
            was.log ('a message', 'info')
            try:
                authorization = was.request.get_header ('authorization')
                1 / 0
            except ZeroDivisionError:
                was.traceback ()
            return 'logged'

        @app.route ('/inspected', methods = ['POST'])
        @app.inspect (pin = int, password__len__gt = 40, secret__regex = '^[0-9]+$', mail__eq = 'a')
        def inspected (was, **form):
            return 'in'

        @app.route ('/bound/<int:number>', methods = ['POST'])
        def bound (was, number, known):
            return 'in'

        @app.route ('/verified', methods = ['POST'])
        @app.csrf_verification_required
        def verified (was, **form):
            return 'in'

        @app.route ('/permitted', methods = ['GET', 'POST'])
        @app.permission_required (['staff'])
        def permitted (was, **form):
            return 'in'

        @app.route ('/permitted-broken', methods = ['GET', 'POST'])
        @app.permission_required (['broken'])
        def permitted_broken (was, **form):
            return 'in'

        @app.route ('/tokens', methods = ['GET', 'POST'])
        def tokens (was, token = None, otp = None, **form):
            return was.API (
                ott = was.decode_ott (token), jwt = 'err' in was.decode_jwt (token),
                otp = bool (was.verify_otp (otp)), user = was.session.get ('user'),
                csrf = was.verify_csrf (), mbox = len (was.mbox.search ('x')),
            )

        for kind in ('basic', 'digest', 'bearer'):
            @app.route ('/' + kind, methods = ['GET', 'POST'], authenticate = kind)
            def guarded (was, **form):
                return 'in'

            @app.route ('/' + kind + '-fails', methods = ['GET', 'POST'], authenticate = kind)
            def guarded_fails (was, **form):
                user = was.request.user
                authorization = was.request.get_header ('authorization')
                raise ValueError ('on purpose')
"""


def token(seconds: float = 600, key: str = KEY) -> str:
    claims = {'username': 'hans', 'lev': 'staff', 'exp': int(time.time() + seconds)}
    return jwt.encode(claims, key, 'HS256')


class Everything(NamedTuple):
    """All that a server has said, and what it must not have said."""

    answers: list[tuple[str, Response]]
    logs: dict[str, str]
    secrets: dict[str, str]


class Asker:
    """Sends what is secret, keeps the answers, and what the server itself made up."""

    def __init__(self, client: ServerClient) -> None:
        self.client = client
        self.answers: list[tuple[str, Response]] = []
        self.secrets = {
            'key': KEY,
            'password': PASSWORD,
            'guessed password': GUESSED,
            'basic credentials': base64.b64encode(f'hans:{PASSWORD}'.encode()).decode(),
            'guessed credentials': base64.b64encode(f'hans:{GUESSED}'.encode()).decode(),
            'opaque token': OPAQUE,
            'cookie': COOKIE,
            'API key': API_KEY,
            'form': TYPED,
            'record': BROKEN,
        }

    def ask(self, method: str, path: str, **options: Any) -> Response:
        answer = Response()
        for accept in ('text/html', 'application/json', 'text/xml'):
            headers = {'X-Api-Key': API_KEY, **options.pop('headers', {}), 'Accept': accept}
            options['headers'] = headers
            try:
                answer = self.client.request(method, path, **options)
            except OSError:  # a stream that fails breaks its connection
                assert path == '/fails-late'
                continue
            self.answers.append((f'{method} {path} {accept}', answer))
            sent = answer.request.headers.get('Authorization', '')
            scheme, _, value = str(sent).partition(' ')
            if scheme == 'Digest':
                for name in ('response', 'cnonce'):
                    found = re.search(rf'\b{name}="([^"]+)"', value)
                    if found is not None:
                        self.secrets[f'{name} {len(self.secrets)}'] = found[1]
        return answer

    def run(self) -> None:
        jar = self.client.session.cookies
        jar.set('own', COOKIE)
        self.client.post('/login', {'username': 'hans', 'password': TYPED})
        for cookie in jar:
            if cookie.name != 'remember':
                assert cookie.value is not None
                self.secrets[f'cookie {cookie.name}'] = cookie.value.strip('"')
        assert {'cookie ATLSES_', 'cookie XSRF_TOKEN'} <= self.secrets.keys()
        good, late, other = token(), token(-60), token(key='another key of thirty-two letters')
        for name, text in (('good', good), ('late', late), ('other', other)):
            self.secrets[f'{name} token'] = text
            self.secrets[f'signature of the {name} token'] = text.rpartition('.')[2]
        for auth in (
            {},
            *({'auth': HTTPBasicAuth('hans', word)} for word in (PASSWORD, GUESSED)),
            *({'auth': HTTPDigestAuth('hans', word)} for word in (PASSWORD, GUESSED)),
            *({'headers': {'Authorization': f'Bearer {word}'}} for word in (good, late, other, OPAQUE)),
            {'headers': {'Authorization': f'Basic {OPAQUE}'}},
            {'headers': {'Authorization': f'Digest {OPAQUE}="{OPAQUE}"'}},
            {'headers': {'Authorization': f'Bearer {OPAQUE} \xe9'.encode('latin-1')}},
            {'headers': {'Authorization': OPAQUE}},
            {'headers': {'Cookie': f'ATLSES_={COOKIE}; XSRF_TOKEN={COOKIE}; ATLMBX_={COOKIE}?; "{COOKIE}'}},
        ):
            self.with_credentials(**auth)
        for name in ('broken', 'odd', 'bytes', 'failing'):
            for path, kind in (('/basic', HTTPBasicAuth), ('/digest', HTTPDigestAuth)):
                answer = self.ask('GET', path, auth=kind(name, GUESSED))
                assert answer.status_code == (500 if name == 'failing' else 401)
        self.with_bodies()

    def with_credentials(self, **options: Any) -> None:
        for path in (
            *('/fails', '/fails-async', '/fails-late', '/fails-sending', '/errors', '/conflict', '/logs'),
            *('/permitted', '/permitted-broken', '/tokens', '/nothing', '/bound/x'),
            *('/basic', '/digest', '/bearer', '/basic-fails', '/digest-fails', '/bearer-fails'),
            *('/own/bearer', '/keyless/bearer'),
        ):
            self.ask('GET', path, **options)
        for path in ('/fails', '/basic-fails', '/digest', '/bearer-fails'):
            self.ask('POST', path, data={'password': TYPED}, **options)

    def with_bodies(self) -> None:
        broken = '{"password": "' + TYPED + '", "pin": '
        for path in ('/inspected', '/bound/5', '/verified', '/fails', '/tokens', '/login'):
            for values in (
                {'pin': TYPED, 'password': TYPED},
                {'password': TYPED},
                {'secret': TYPED},
                {'mail': TYPED},
                {'token': TYPED, 'otp': TYPED, 'XSRF_TOKEN': TYPED},
            ):
                self.ask('POST', path, data=values)
                self.ask('POST', path, json=values)
                self.ask('POST', path, files={'file': ('name', TYPED)}, data=values)
            for media in ('application/json', 'multipart/form-data; boundary=x', 'text/xml'):
                self.ask('POST', path, data=broken.encode(), headers={'Content-Type': media})
            data = f'password={TYPED}%ff%fe&{TYPED}'.encode()
            form = {'Content-Type': 'application/x-www-form-urlencoded'}
            self.ask('POST', path, data=data, headers=form)


def said(launcher: Launcher, where: str, **options: Any) -> Everything:
    if where == 'files':
        launcher.directory = launcher.directory / 'files'
    files = {
        'serve.py': SERVE,
        'myapp/__init__.py': APP,
        'myapp/key.txt': KEY,
        'myapp/password.txt': PASSWORD,
    }
    asker = Asker(launcher(files, **options))
    asker.run()
    asker.client.stop()
    logs = {'output': asker.client.output()}
    for path in Path(launcher.directory, 'logs').glob('*.log'):
        logs[path.name] = path.read_text()
    return Everything(asker.answers, logs, asker.secrets)


@pytest.fixture(
    scope='module',
    params=[
        {},
        {'log_format': 'json'},
        {'devel': True},
        {'devel': True, 'log_format': 'json'},
        {'where': 'files'},
    ],
    ids=['text', 'json', 'devel-text', 'devel-json', 'files'],
)
def everything(
    request: pytest.FixtureRequest, launch_module: Callable[[], Launcher]
) -> tuple[dict[str, Any], Everything]:
    options = dict(request.param)
    return request.param, said(launch_module(), options.pop('where', ''), **options)


def test_no_secret_in_the_logs(everything: tuple[dict[str, Any], Everything]) -> None:
    """SPEC AU-14."""
    _, all_of_it = everything
    told = [
        f'{name} in {log}: {line[:300]}'
        for log, text in all_of_it.logs.items()
        for line in text.splitlines()
        for name, secret in all_of_it.secrets.items()
        if secret in line
    ]
    assert not told, f'{len(told)}:\n' + '\n'.join(told[:20])


def test_no_secret_in_an_error_page(everything: tuple[dict[str, Any], Everything]) -> None:
    """SPEC ER-02, AU-03: nor in a header field; a cookie may be set again by a good answer."""
    _, all_of_it = everything
    told = []
    for what, answer in all_of_it.answers:
        if answer.status_code >= 400:
            text = answer.text + '\n'.join(f'{name}: {value}' for name, value in answer.headers.items())
            found = [name for name, secret in all_of_it.secrets.items() if secret in text]
            told += [f'{name} in {what}: {answer.status_code} {text[:300]}' for name in found]
    assert not told, f'{len(told)}:\n' + '\n'.join(told[:20])


def test_the_requests_were_what_they_should_be(everything: tuple[dict[str, Any], Everything]) -> None:
    """Let in, refused, failed, in each form of a page; nothing that a client sends is a failure of ours."""
    _, all_of_it = everything
    statuses = {answer.status_code for _, answer in all_of_it.answers}
    assert {200, 400, 401, 404, 409, 418, 500} <= statuses
    kinds = {
        answer.headers.get('Content-Type', '').partition(';')[0]
        for _, answer in all_of_it.answers
        if answer.status_code >= 400
    }
    assert {'text/html', 'application/json', 'text/xml'} <= kinds
    failed = {what.split()[1] for what, answer in all_of_it.answers if answer.status_code >= 500}
    on_purpose = {'/fails', '/fails-async', '/fails-sending', '/permitted-broken'}
    on_purpose |= {'/basic-fails', '/digest-fails', '/bearer-fails'}
    on_purpose |= {'/own/bearer', '/keyless/bearer'}
    assert failed == on_purpose | {'/basic', '/digest'}  # whose handler fails for one name


def test_what_a_failure_shows(everything: tuple[dict[str, Any], Everything]) -> None:
    """A page shows code in devel, and nothing of it otherwise; the log has the traceback in any case."""
    options, all_of_it = everything
    pages = [
        answer.text
        for what, answer in all_of_it.answers
        if what.startswith('GET /fails ') and 'xml' not in what
    ]
    assert pages
    for page in pages:
        assert ('return was.nothing' in page) == bool(options.get('devel'))
        assert ('Traceback' in page) == bool(options.get('devel'))
    log = all_of_it.logs.get('app.log') or all_of_it.logs['output']
    assert 'return was.nothing' in log
    assert 'the database is gone' in log


def test_who_was_let_in_is_logged(everything: tuple[dict[str, Any], Everything]) -> None:
    """SPEC AU-14: the name, of who was let in only."""
    options, all_of_it = everything
    log = all_of_it.logs.get('request.log') or all_of_it.logs['output']
    lines = [line for line in log.splitlines() if re.search(r'(/basic|/digest|/bearer)(-fails)?\b', line)]
    lines = [line for line in lines if 'HTTP/1.1"' in line or '"target"' in line]
    assert lines
    seen = set()
    for line in lines:
        if options.get('log_format') == 'json':
            entry = json.loads(line)
            user, status, path = entry['user'], entry['status'], entry['target']
        else:
            found = re.search(r'- (\S+) \[[^]]*\] "\w+ (\S+) HTTP/1.1" (\d+)', line)
            assert found is not None, line
            user, status, path = None if found[1] == '-' else found[1], int(found[3]), found[2]
        seen.add((path, status, user))
    for kind in ('/basic', '/digest', '/bearer'):
        assert (kind, 200, 'hans') in seen
        assert (kind, 401, None) in seen
        assert (f'{kind}-fails', 500, 'hans') in seen
        assert (kind, 401, 'hans') not in seen
