"""Acceptance rows A-31 to A-46 and A-137 to A-144 (SPEC appendix A): who may do what, tokens of all kinds."""

from __future__ import annotations

import re
import textwrap
import time
from hashlib import md5
from typing import Any

import jwt
import pytest
from projects import Launcher, wait_for
from requests.auth import HTTPBasicAuth, HTTPDigestAuth

from atila.was import generate_otp
from skitai.testing import ServerClient

#: Line 859's, made as long as RFC 7518, 3.2, asks for.
KEY = 'ds8fdsflksdjf9879dsf;?<>Asda' + '0123'

SERVE = f"""
    import skitai
    import myapp

    if __name__ == '__main__':
        with skitai.preference () as pref:
            pref.securekey = "{KEY}"
        skitai.mount ('/', myapp, pref)
        skitai.run (port = 5000)
"""

SETUP = """
    import time
    from atila import Atila

    def __app__ ():
        return Atila (__name__)

    def __setup__ (app, mntopt):
"""

#: Lines 488-514.
HANDLER = """
        class User:
            def __init__ (self, uid, lev, nick_name):
                self.uid = uid
                self.lev = lev
                self.nick_name = nick_name
                self.tuid = None

            def __str__ (self):
                return self.uid

        @app.permission_handler
        def permission_handler (was, perms):
            if was.request.get_header ('authorization'):
                was.request.user = None
                claims = was.dejwt ()
                if "err" in claims:
                    raise was.Error ("401 Unauthorized", claims ["err"])
                was.request.user = User (claims ['uid'], claims ['lev'], claims ['nick_name'])
                if 'uid' in was.request.PARAMS:
                    tuid = was.request.PARAMS ['uid']
                    if 'owner' in perms and tuid != 'me':
                        raise was.Error ("403 Permission Denied", "owners only operation")
                    was.request.user.tuid = (tuid == 'me' and was.request.user.uid or (tuid != 'notme' and tuid or None))
            if not perms:
                return
            if was.request.user.lev == "staff":
                return # always vaild
            if "staff" in perms:
                raise was.Error ("403 Permission Denied")
"""  # noqa: E501

MOUNT = """
    def __mount__ (app, mntopt):
"""


def project(mount: str, setup: str = '') -> dict[str, str]:
    """Files of an app with these lines in `__setup__` and in `__mount__`."""
    lines = textwrap.indent(textwrap.dedent(setup), ' ' * 8) or ' ' * 8 + 'pass\n'
    mounts = textwrap.indent(textwrap.dedent(mount), ' ' * 8)
    return {'serve.py': SERVE, 'myapp/__init__.py': SETUP + lines + MOUNT + mounts}


def token(lev: str, key: str = KEY, seconds: float = 60, **claims: Any) -> str:
    """A bearer token for line 503, made by another library than the product's own functions."""
    known = {'uid': f'{lev}-1', 'lev': lev, 'nick_name': lev.title(), 'exp': int(time.time() + seconds)}
    return jwt.encode({**known, **claims}, key, 'HS256')


def bearer(text: str) -> dict[str, str]:
    return {'Authorization': f'Bearer {text}'}


def invalid() -> list[dict[str, str]]:
    """Authorization fields that nobody is let in with."""
    good = token('staff')
    body, _, signature = good.rpartition('.')
    return [
        bearer(token('staff', seconds=-60)),
        bearer(token('staff', 'another key, of thirty-two letters')),
        bearer(f'{body}.{signature[:-4]}AAAA'),
        bearer(body + '.'),
        bearer('garbage'),
        {'Authorization': 'Bearer'},
        {'Authorization': 'Basic !!!'},
    ]


# -- cross-origin requests ---------------------------------------------------------------------------

CORS_ANY = 'pref.access_control_allow_origin = ["*"]'
CORS_ONE = 'pref.access_control_allow_origin = ["http://www.skitai.com:5001"]'

#: Lines 474-478.
CORS_SERVE = """
    import skitai
    import myapp

    if __name__ == '__main__':
        with skitai.preference () as pref:
            ORIGINS
            pref.access_control_max_age = 3600
        skitai.mount ('/', myapp, pref)
        skitai.run (port = 5000)
"""


@pytest.mark.parametrize('origins', [CORS_ANY, CORS_ONE])
def test_A_31_cross_origin_requests(launch: Launcher, origins: str) -> None:
    """Seed 474-478, SPEC AC-01, AC-03."""
    files = project("""
        @app.route ('/')
        def index (was):
            return 'hello'
    """)
    client = launch({**files, 'serve.py': CORS_SERVE.replace('ORIGINS', origins)})
    origin = 'http://www.skitai.com:5001'
    answer = client.get('/', headers={'Origin': origin})
    assert (answer.status_code, answer.text) == (200, 'hello')
    assert answer.headers['Access-Control-Allow-Origin'] == origin
    credentials = answer.headers.get('Access-Control-Allow-Credentials')
    assert credentials == (None if origins == CORS_ANY else 'true')

    preflight = {'Origin': origin, 'Access-Control-Request-Method': 'POST'}
    assert client.options('/', headers=preflight).headers['Access-Control-Max-Age'] == '3600'
    other = client.get('/', headers={'Origin': 'http://evil.example'})
    assert other.status_code == (200 if origins == CORS_ANY else 403)
    assert 'Access-Control-Allow-Origin' not in client.get('/').headers


def test_A_32_cross_origin_requests_of_a_route(launch: Launcher) -> None:
    """Seed 480-485, SPEC AC-01 to AC-03."""
    client = launch(
        project("""
            @app.route (
                "/post", methods = ["POST", "OPTIONS"],
                access_control_allow_origin = ["*"], access_control_max_age = 3600
            )
            def post (was):
                return 'hello'
        """)
    )
    headers = {'Origin': 'http://www.skitai.com:5001'}
    preflight = client.options('/post', headers={**headers, 'Access-Control-Request-Method': 'POST'})
    assert (preflight.status_code, preflight.content) == (200, b'')
    assert preflight.headers['Access-Control-Max-Age'] == '3600'
    assert 'POST' in preflight.headers['Access-Control-Allow-Methods']
    answer = client.post('/post', {}, headers=headers)
    assert (answer.status_code, answer.text) == (200, 'hello')
    assert answer.headers['Access-Control-Allow-Origin'] == headers['Origin']


# -- permissions -------------------------------------------------------------------------------------


def test_A_33_a_permission_handler(launch: Launcher) -> None:
    """Seed 488-514, SPEC PM-01, PM-07: verbatim, with a parameter `uid` for its lines about owners."""
    client = launch(
        project(
            """
            @app.route ("/users/<uid>", methods = ["GET", "POST", "DELETE"])
            @app.permission_required (['owner'], DELETE = ["staff"])
            def users (was, uid):
                user = was.request.user
                return was.API (user = str (user), nick_name = user.nick_name, tuid = user.tuid)
            """,
            HANDLER,
        )
    )
    user, staff = bearer(token('user')), bearer(token('staff'))
    known = {'user': 'user-1', 'nick_name': 'User'}
    assert client.get('/users/me', headers=user).data == {**known, 'tuid': 'user-1'}
    refused = client.get('/users/100', headers=user)
    assert (refused.status_code, refused.data['more_info']) == (403, 'owners only operation')
    assert client.delete('/users/100', headers=user).status_code == 403
    assert client.delete('/users/100', headers=staff).data['tuid'] == '100'
    assert client.get('/users/notme', headers=staff).status_code == 403
    for headers in invalid():
        assert client.get('/users/me', headers=headers).status_code == 401, headers
    expired = client.get('/users/me', headers=bearer(token('user', seconds=-60)))
    assert expired.data['more_info'] == 'token expired'


def test_A_34_identification(launch: Launcher) -> None:
    """Seed 515-523, SPEC PM-06: nobody is refused."""
    client = launch(
        project(
            """
            @app.route ("/animals/<id>")
            @app.identification_required
            def animals (was, id = None):
                if was.request.user is None:
                    return 'nobody'
                else:
                    return 'user %s' % was.request.user
            """,
            HANDLER,
        )
    )
    for path in ('/animals', '/animals/100'):
        assert client.get(path).text == 'nobody'
        assert client.get(path, headers=bearer(token('user'))).text == 'user user-1'
        for headers in invalid():
            answer = client.get(path, headers=headers)
            assert (answer.status_code, answer.text) == (200, 'nobody'), headers


def test_A_35_login(launch: Launcher) -> None:
    """Seed 524-530, SPEC PM-05."""
    client = launch(
        project(
            """
            @app.route ("/animals/<id>")
            @app.login_required
            def animals (was, id = None):
                id = id or was.request.user.uid
                return id
            """,
            HANDLER,
        )
    )
    for path, text in (('/animals', 'user-1'), ('/animals/100', '100')):
        assert client.get(path, headers=bearer(token('user'))).text == text
        for headers in invalid():
            assert client.get(path, headers=headers).status_code == 401, headers


def test_A_36_a_permission(launch: Launcher) -> None:
    """Seed 531-536, SPEC PM-02."""
    client = launch(
        project(
            """
            @app.route ("/animals/<id>")
            @app.permission_required (["staff"])
            def animals (was, id = None):
                id = id or was.request.user.uid
                return id
            """,
            HANDLER,
        )
    )
    for path, text in (('/animals', 'staff-1'), ('/animals/100', '100'), ('/animals/me', 'me')):
        assert client.get(path, headers=bearer(token('user'))).status_code == 403
        assert client.get(path, headers=bearer(token('staff'))).text == text
        for headers in invalid():
            assert client.get(path, headers=headers).status_code == 401, headers


def test_A_37_a_permission_for_a_parameter(launch: Launcher) -> None:
    """Seed 537-545, SPEC PM-02, PM-03."""
    client = launch(
        project(
            """
            @app.route ("/animals/<id>")
            @app.permission_required (id = ["staff"])
            def animals (was, id = None):
                id = id or was.request.user.uid
                return id
            """,
            HANDLER,
        )
    )
    user, staff = bearer(token('user')), bearer(token('staff'))
    assert client.get('/animals', headers=user).text == 'user-1'
    assert client.get('/animals/me', headers=user).text == 'me'
    assert client.get('/animals/100', headers=user).status_code == 403
    assert client.get('/animals/notme', headers=user).status_code == 403
    for path, text in (('/animals', 'staff-1'), ('/animals/me', 'me'), ('/animals/100', '100')):
        assert client.get(path, headers=staff).text == text
        for headers in invalid():
            assert client.get(path, headers=headers).status_code == 401, headers


#: What the handler is asked for, told by the answers that it lets pass.
NOTING = """
        @app.permission_handler
        def noting (was, perms):
            was.response.set_header ('X-Permissions', ' '.join (sorted (perms)))
            return permission_handler (was, perms)
"""


def test_A_38_permissions_for_methods(launch: Launcher) -> None:
    """Seed 546-550, SPEC PM-03; the sample handler lets users do what needs no 'staff'."""
    client = launch(
        project(
            """
            @app.route ("/animals/<id>", methods = ["POST", "DELETE"])
            @app.permission_required (['user'], id = ["staff"], DELETE = ["admin"])
            def animals (was, id = None):
                id = id or was.request.user.uid
                return id
            """,
            HANDLER + NOTING,
        )
    )
    user, staff = bearer(token('user')), bearer(token('staff'))
    for method, id, permissions in (
        ('POST', 'me', 'user'),
        ('POST', '100', 'staff'),
        ('DELETE', '100', 'admin staff'),
        ('DELETE', 'me', 'admin'),
    ):
        answer = client.request(method, f'/animals/{id}', headers=staff)
        assert (answer.status_code, answer.text) == (200, id)
        assert answer.headers['X-Permissions'] == permissions
        status = client.request(method, f'/animals/{id}', headers=user).status_code
        assert status == (403 if 'staff' in permissions else 200)
    assert client.get('/animals/100', headers=staff).status_code == 405
    assert client.delete('/animals/notme', headers=staff).status_code == 421


# -- WWW-Authenticate --------------------------------------------------------------------------------

HELLO = """
            def hello (was, name = "Hans Roh"):
                return "Hello, %s" % name
"""

#: Line 567.
USERS = """
        # users object shoukd have get(username) method
        app.users = {"hansroh": ("1234", False)}
"""

#: Lines 569-572.
AUTH_HANDLER = """
        @app.authorization_handler
        def auth_handler (was, username):
            ...
            return ("1234", False)
"""

#: Lines 579-582.
ENCRYPTED = """
        username, realm, password = 'hansroh', app.realm, '1234'
        from hashlib import md5
        encrypted_password = md5 (
            ("%s:%s:%s" % (username, realm, password)).encode ("utf8")
        ).hexdigest ()
        app.users = {username: (encrypted_password, True)}
"""

WHO = """
            @app.route ("/who", authenticate = "digest")
            def who (was):
                user = was.request.user
                return was.API (name = user.name, realm = user.realm, info = user.info, text = str (user))
"""


def says_hello(client: ServerClient, password: str = '1234') -> None:
    """Digest authentication guards `/hello`; 'hansroh' gets in."""
    challenged = client.get('/hello/Hans')
    assert challenged.status_code == 401
    challenge = challenged.headers['WWW-Authenticate']
    assert challenge.startswith('Digest ')
    assert {'realm="App"', 'qop="auth"'} <= set(re.split(r',\s*', challenge.partition(' ')[2]))
    assert re.search(r'nonce="[^"]{16,}"', challenge)
    assert re.search(r'opaque="[^"]+"', challenge)

    auth = HTTPDigestAuth('hansroh', password)
    assert client.get('/hello/Hans', auth=auth).text == 'Hello, Hans'
    assert client.get('/hello', auth=auth).text == 'Hello, Hans Roh'
    assert client.get('/hello/Hans%20Roh', auth=auth).text == 'Hello, Hans Roh'
    assert client.post('/hello/Hans', {}, auth=auth).text == 'Hello, Hans'
    assert client.get('/hello/Hans', auth=HTTPDigestAuth('hansroh', '4321')).status_code == 401
    assert client.get('/hello/Hans', auth=HTTPBasicAuth('hansroh', password)).status_code == 401


def test_A_39_authentication_of_a_route(launch: Launcher) -> None:
    """Seed 551-555, SPEC AU-01, AU-03, AU-08."""
    route = '            @app.route ("/hello/<name>", authenticate = "digest")'
    client = launch(project(route + HELLO, USERS))
    says_hello(client)
    assert client.get('/hello/Hans', auth=HTTPDigestAuth('somebody', '1234')).status_code == 401


def test_A_40_authentication_by_a_decorator(launch: Launcher) -> None:
    """Seed 556-563, SPEC AU-02."""
    route = """
            @app.route ("/hello/<name>")
            @app.authorization_required ("digest")"""
    client = launch(project(route + HELLO, USERS))
    says_hello(client)


def test_A_41_users(launch: Launcher) -> None:
    """Seed 566-567, SPEC AU-04, AU-06, AU-09: also for basic authentication."""
    basic = """
            @app.route ("/basic/<name>", authenticate = "basic")
            def basic (was, name = "Hans Roh"):
                return "Hello, %s" % name
"""
    client = launch(project(WHO + basic, USERS))
    user = client.get('/who', auth=HTTPDigestAuth('hansroh', '1234')).data
    assert user == {'name': 'hansroh', 'realm': 'App', 'info': None, 'text': 'hansroh'}
    challenged = client.get('/basic/Hans')
    assert (challenged.status_code, challenged.headers['WWW-Authenticate']) == (401, 'Basic realm="App"')
    assert client.get('/basic/Hans', auth=HTTPBasicAuth('hansroh', '1234')).text == 'Hello, Hans'
    for name, password in (('hansroh', '4321'), ('hansroh', ''), ('somebody', '1234'), ('', '')):
        assert client.get('/basic/Hans', auth=HTTPBasicAuth(name, password)).status_code == 401
        assert client.get('/who', auth=HTTPDigestAuth(name, password)).status_code == 401


def test_A_42_authorization_handler(launch: Launcher) -> None:
    """Seed 568-572, SPEC AU-05: asked instead of `app.users`, for any name."""
    client = launch(project(WHO, USERS.replace('1234', 'other') + AUTH_HANDLER))
    for name in ('hansroh', 'somebody'):
        answer = client.get('/who', auth=HTTPDigestAuth(name, '1234'))
        assert (answer.status_code, answer.data['name']) == (200, name)
    assert client.get('/who', auth=HTTPDigestAuth('hansroh', 'other')).status_code == 401


@pytest.mark.parametrize(
    ('record', 'info'),
    [
        ('("1234", False, {"age": 5})', {'age': 5}),
        ('("1234", False)', None),
        ('"1234"', None),
        ('None', 401),
    ],
)
def test_A_42_what_a_handler_returns(launch: Launcher, record: str, info: Any) -> None:
    """Seed 573-577, SPEC AU-06."""
    client = launch(project(WHO, AUTH_HANDLER.replace('("1234", False)', record)))
    answer = client.get('/who', auth=HTTPDigestAuth('hansroh', '1234'))
    assert (answer.data['info'] if answer.status_code == 200 else answer.status_code) == info


def test_A_43_encrypted_passwords(launch: Launcher) -> None:
    """Seed 578-586, SPEC AU-07."""
    route = '            @app.route ("/hello/<name>", authenticate = "digest")'
    client = launch(project(route + HELLO, ENCRYPTED))
    says_hello(client)
    encrypted = md5(b'hansroh:App:1234').hexdigest()
    assert client.get('/hello/Hans', auth=HTTPDigestAuth('hansroh', encrypted)).status_code == 401


#: Lines 589-595.
WHOLE_APP = """
    import skitai
    from atila import Atila

    app = Atila (__name__)
    app.authenticate = "digest"
    app.realm = "Partner App Area of mysite.com"
    app.users = {"app": ("iamyourpartnerapp", 0, {'role': 'root'})}

    @app.route ("/hello/<name>")
    def hello (was, name = "Hans Roh"):
        return "Hello, %s" % name

    @app.route ("/user")
    async def user (was):
        return was.API (info = was.request.user.info, realm = was.request.user.realm)

    if __name__ == '__main__':
        skitai.mount ('/', app)
        skitai.run (port = 5000)
"""


def test_A_44_authentication_of_an_app(launch: Launcher) -> None:
    """Seed 588-595, SPEC AU-01, AU-09, AU-10."""
    client = launch({'serve.py': WHOLE_APP})
    for path in ('/hello', '/hello/Hans', '/user'):
        for answer in (client.get(path), client.post(path, {'text': 'x' * 100_000})):
            assert answer.status_code == 401
            assert 'realm="Partner App Area of mysite.com"' in answer.headers['WWW-Authenticate']
    auth = HTTPDigestAuth('app', 'iamyourpartnerapp')
    assert client.get('/hello/Hans', auth=auth).text == 'Hello, Hans'
    user = client.get('/user', auth=auth).data
    assert user == {'info': {'role': 'root'}, 'realm': 'Partner App Area of mysite.com'}


# -- bearers -----------------------------------------------------------------------------------------

#: Lines 599-602.
PREDICT = """
            @app.route ("/api/v1/predict")
            @app.authorization_required ("bearer")
            def predict (was):
                user = was.request.user
                return was.API (uid = user.uid, lev = user ['lev'], name = user.name)
"""


def test_A_45_bearers_of_a_token(launch: Launcher) -> None:
    """Seed 596-602, SPEC AU-11."""
    client = launch(project(PREDICT))
    path = '/api/v1/predict'
    answer = client.get(path, headers=bearer(token('staff', username='hans')))
    assert (answer.status_code, answer.data) == (200, {'uid': 'staff-1', 'lev': 'staff', 'name': 'hans'})
    challenged = client.get(path)
    assert challenged.status_code == 401
    assert challenged.headers['WWW-Authenticate'].startswith('Bearer realm="App"')
    expired = client.get(path, headers=bearer(token('staff', seconds=-60)))
    assert expired.status_code == 401
    assert expired.headers['WWW-Authenticate'] == 'Bearer realm="App", error="token expired"'
    assert expired.data['more_info'] == 'token expired'
    for headers in invalid():
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401, headers
        assert answer.headers['WWW-Authenticate'].startswith('Bearer realm="App"')


#: Lines 604-609; the function that knows the tokens is a stub.
BEARER_HANDLER = """
        def handle_token_yourself (token):
            if token == 'my-own-token':
                return {'uid': 'hans'}
            return {'err': 'unknown token'}

        @app.bearer_handler
        def bearer_handler (was, token):
            claims = handle_token_yourself (token)
            if 'err' in claims:
                raise was.Error ("401 Unauthorized", claims ["err"])
            was.request.user = claims
"""


def test_A_46_bearers_of_other_tokens(launch: Launcher) -> None:
    """Seed 603-609, SPEC AU-12."""
    client = launch(
        project(
            """
            @app.route ("/api/v1/predict")
            @app.authorization_required ("bearer")
            def predict (was):
                return was.API (was.request.user)
            """,
            BEARER_HANDLER,
        )
    )
    path = '/api/v1/predict'
    assert client.get(path, headers=bearer('my-own-token')).data == {'uid': 'hans'}
    for headers in (bearer('other'), bearer(token('staff'))):
        answer = client.get(path, headers=headers)
        assert (answer.status_code, answer.data['more_info']) == (401, 'unknown token')
        assert answer.headers['WWW-Authenticate'].startswith('Bearer realm="App"')
    assert client.get(path).status_code == 401
    assert client.get(path, headers={'Authorization': 'Bearer'}).status_code == 401


# -- CSRF --------------------------------------------------------------------------------------------

#: Lines 1433-1436.
FORM = """
    <form>
    {{ was.csrf_token_input }}
    <input name="username">
    </form>
"""

#: Lines 1438-1442.
VERIFY = """
        @app.before_request
        def before_request (was):
            if was.request.args.get ("username"):
                if not was.verify_csrf ():
                    return was.response ("400 Bad Request")
"""

SIGN = """
            @app.route ('/form')
            def form (was):
                return was.render ('form.html')

            @app.route ('/sign', methods = ['GET', 'POST'])
            def sign (was, username = None):
                return 'signed by %s' % username
"""


def hidden_token(client: ServerClient) -> str:
    """The value of the form's hidden field."""
    found = re.search(r'<input[^>]*type="hidden"[^>]*>', client.get('/form').text)
    assert found is not None
    assert 'name="XSRF_TOKEN"' in found[0]
    value = re.search(r'value="([^"]+)"', found[0])
    assert value is not None
    return value[1]


def test_A_137_a_hidden_input(launch: Launcher) -> None:
    """Seed 1432-1436, SPEC HE-03: the same as in the cookie, another one for each browser."""
    client = launch({**project(SIGN), 'myapp/templates/form.html': FORM})
    value = hidden_token(client)
    assert client.session.cookies['XSRF_TOKEN'] == value
    assert hidden_token(client) == value
    assert hidden_token(client.clone()) != value
    cookie = client.clone().get('/form').headers['Set-Cookie'].lower()
    assert 'expires' not in cookie
    assert 'max-age' not in cookie


def test_A_138_verified_before_requests(launch: Launcher) -> None:
    """Seed 1437-1442."""
    client = launch({**project(SIGN, VERIFY), 'myapp/templates/form.html': FORM})
    assert client.get('/sign').text == 'signed by None'
    form = {'username': 'hans'}
    assert client.post('/sign', form).status_code == 400
    value = hidden_token(client)
    assert client.post('/sign', form).status_code == 400
    assert client.post('/sign', {**form, 'XSRF_TOKEN': value}).text == 'signed by hans'
    assert client.post('/sign', form, headers={'X-XSRF-TOKEN': value}).text == 'signed by hans'
    assert client.post('/sign', {**form, 'XSRF_TOKEN': value + 'x'}).status_code == 400
    stranger = client.clone()
    assert stranger.post('/sign', {**form, 'XSRF_TOKEN': value}).status_code == 400


def test_A_139_verified_by_a_decorator(launch: Launcher) -> None:
    """Seed 1443-1446, SPEC HE-04: on services, also those without `**` parameters."""
    decorated = """
            @app.route ('/form')
            def form (was):
                return was.render ('form.html')

            @app.route ('/plain', methods = ['POST'])
            @app.csrf_verification_required
            def plain (was):
                return 'signed'

            @app.route ('/async', methods = ['POST'])
            @app.csrf_verification_required
            async def awaits (was, username):
                return 'signed'
"""
    client = launch({**project(decorated), 'myapp/templates/form.html': FORM})
    for path, form in (('/plain', {}), ('/async', {'username': 'hans'})):
        refused = client.post(path, form)
        assert refused.status_code == 400
        assert 'CSRF token error' in refused.text
        value = hidden_token(client)
        assert client.post(path, {**form, 'XSRF_TOKEN': value}).text == 'signed'
        assert client.post(path, form, headers={'X-XSRF-TOKEN': value}).text == 'signed'
        assert client.post(path, {**form, 'XSRF_TOKEN': 'other'}).status_code == 400


# -- tokens and passwords for once -------------------------------------------------------------------


def test_A_140_json_web_tokens(launch: Launcher) -> None:
    """Seed 1447-1455, SPEC HE-05, HE-06, RQ-20."""
    client = launch(
        project("""
            @app.route ('/make_jwt')
            def make_jwt (was):
                t = was.encode_jwt ({'iss': 'example.com', 'exp': time.time () + 3600})
                return t

            @app.route ('/verify_token')
            def verify_jwt (was):
                claims = was.request.JWT
                if "err" in claims:
                    return claims ["err"]
                return was.API (claims)
        """)
    )
    made = client.get('/make_jwt').text
    claims = jwt.decode(made, KEY, ['HS256'])
    assert claims['iss'] == 'example.com'
    assert claims['exp'] == pytest.approx(time.time() + 3600, abs=60)
    assert client.get('/verify_token', headers=bearer(made)).data['iss'] == 'example.com'
    assert client.get('/verify_token').text == 'no bearer token'
    for text, reason in (
        ('garbage', 'invalid token'),
        (token('x', 'another key, of thirty-two letters'), 'invalid signature'),
        (token('x', seconds=-60), 'token expired'),
        (token('x', nbf=int(time.time()) + 60), 'token not activated yet'),
        (jwt.encode({'exp': int(time.time()) + 60}, '', 'none'), 'invalid token'),
    ):
        assert client.get('/verify_token', headers=bearer(text)).text == reason


#: Lines 1458-1464.
ADMIN_TASK = """
            def check_otp (was):
                if not was.verify_otp (was.request.get_header ('x-otp')):
                    raise was.Error ('403 Unauthorized')

            @app.route ('/admin-task')
            @app.testpass_required (check_otp)
            def task (was):
                return 'done'

            @app.route ('/otp')
            def otp (was):
                return was.generate_otp ()
"""


def test_A_141_one_time_passwords(launch: Launcher) -> None:
    """Seed 1456-1464, SPEC HE-07."""
    client = launch(project(ADMIN_TASK))
    refused = client.get('/admin-task')
    assert (refused.status_code, refused.data['message']) == (403, 'unauthorized')
    valid = client.get('/otp').text
    assert client.get('/admin-task', headers={'X-OTP': valid}).text == 'done'
    for wrong in (valid[:-1], valid + '0', '', 'x', generate_otp('another key')):
        assert client.get('/admin-task', headers={'X-OTP': wrong}).status_code == 403


def test_A_142_one_time_passwords_of_clients(launch: Launcher) -> None:
    """Seed 1465-1467, SPEC HE-07: made without a server, with the same key."""
    client = launch(project(ADMIN_TASK))
    secret_key = KEY
    assert client.get('/admin-task', headers={'X-OTP': generate_otp(secret_key)}).text == 'done'


#: Lines 1472-1485; `reset_password` is where the link leads to.
PASSWORD_RESET = """
            @app.route ('/password-reset')
            def password_reset (was):
                if was.request.args.get ('username'):
                    username = "hans"
                    token = was.encode_ott (username, 3600, "pwrset") # valid within 1 hour
                    pw_reset_url = was.urlfor ('reset_password', token)
                    # send email
                    print ('mail:', pw_reset_url)
                    return was.render ('done.html')

                if was.request.args.get ('token'):
                    username = was.decode_ott (was.request.args ['token'])
                    if not username:
                        return was.response ('400 Bad Request')
                    # processing password reset
                    return 'a new password for %s' % username

            @app.route ('/reset')
            def reset_password (was, token):
                return password_reset (was)
"""


def test_A_143_a_password_is_reset(launch: Launcher) -> None:
    """Seed 1468-1485, SPEC HE-08: the link is for this browser, its signature is tested."""
    unrestricted = 'app.restrict_parameter_count = False'
    files = project(PASSWORD_RESET, unrestricted)
    client = launch({**files, 'myapp/templates/done.html': 'look into your mail'})
    answer = client.get('/password-reset?username=hans')
    assert (answer.status_code, answer.text.strip()) == (200, 'look into your mail')
    link = wait_for(lambda: re.search(r'^mail: (/reset\S+)$', client.output(), re.M), 'a link in a mail')[1]
    answer = client.get(link)
    assert (answer.status_code, answer.text) == (200, 'a new password for hans')
    assert client.get(link[:-3]).status_code == 400
    assert client.clone().get(link).status_code == 400
    assert client.get('/password-reset?token=garbage').status_code == 400


#: Lines 1487-1493.
REVOKE = """
            @app.route ('/once')
            def once (was):
                # valid within 1 hour and create session token named '_reset_token'
                token = was.encode_ott ("hans", 3600, 'rset')
                username = was.decode_ott (token)
                # if processing is done and for revoke token,
                was.revoke_ott (token)
                return was.API (token = token, before = username, after = was.decode_ott (token))

            @app.route ('/make')
            def make (was):
                return was.encode_ott ("hans", 3600, 'rset')

            @app.route ('/use')
            def use (was, token):
                return was.API (username = was.decode_ott (token))

            @app.route ('/revoke')
            def revoke (was, token):
                was.revoke_ott (token)
                return ''
"""


def test_A_144_one_time_tokens_are_revoked(launch: Launcher) -> None:
    """Seed 1486-1493, SPEC HE-08: within a request, and from one to the next."""
    client = launch(project(REVOKE))
    once = client.get('/once').data
    assert (once['before'], once['after']) == ('hans', None)
    assert re.fullmatch(r'[\w-]+\?[\w-]+', once['token'])
    assert client.get('/use', {'token': once['token']}).data == {'username': None}

    made, other = client.get('/make').text, client.get('/make').text
    assert client.get('/use', {'token': made}).data == {'username': 'hans'}
    client.get('/revoke', {'token': made})
    assert client.get('/use', {'token': made}).data == {'username': None}
    assert client.get('/use', {'token': other}).data == {'username': 'hans'}
    assert client.clone().get('/use', {'token': other}).data == {'username': None}
