"""Who gets in where: users x routes x methods x parameters, for each scheme (SPEC chapters 9 and 10).

`expected` is a model of its own: it knows the rows of the SPEC and the table `ROUTES`, nothing of the
product. That is a launched server; the clients are others' (`requests`, `curl`, `httpx2`).
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx2
import jwt
import pytest
import requests
from projects import DEADLINE, Launcher
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth

from skitai.testing import ServerClient

KEY = 'a key of more than thirty-two letters'
SCHEMES = ('bearer', 'basic', 'digest')

#: Name, level, password; 'nobody' says nothing, 'stranger' says something wrong.
USERS = ('nobody', 'stranger', 'user', 'staff', 'admin')
METHODS = ('GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS')

SERVE = f"""
    import asyncio
    import skitai
    from atila import Atila

    def make (kind):
        app = Atila (kind)
        app.securekey = {KEY!r}
        app.realm = 'Zoo, ' + kind
        app.users = {{name: ('password of ' + name, False, {{'lev': name}}) for name in ('user', 'staff', 'admin')}}

        def identify (was):
            # seed 498-503, for a route that authenticates nobody
            if kind == 'bearer':
                was.request.user = None
                if was.request.get_header ('authorization'):
                    claims = was.dejwt ()
                    if "err" in claims:
                        raise was.Error ("401 Unauthorized", claims ["err"])
                    return claims ['lev']
            elif was.request.user is not None:
                return was.request.user.info ['lev']
            raise was.Error ("401 Unauthorized", "who are you?")

        @app.permission_handler
        def permission_handler (was, perms):
            lev = identify (was)
            if not perms or lev == 'admin':
                return
            if 'admin' in perms or ('staff' in perms and lev != 'staff'):
                raise was.Error ("403 Permission Denied")

        @app.route ('/open/<id>', methods = ['GET', 'POST'])
        def open_ (was, id = None, **form):
            return 'in'

        @app.route ('/guarded/<id>', methods = ['GET', 'POST'], authenticate = kind)
        def guarded (was, id = None, **form):
            return 'in'

        @app.route ('/decorated/<id>', methods = ['POST', 'DELETE'])
        @app.authorization_required (kind)
        async def decorated (was, id = None, **form):
            return 'in'

        @app.route ('/login/<id>', methods = ['GET', 'PUT'], authenticate = kind)
        @app.login_required
        def login (was, id = None, **form):
            return 'in'

        @app.route ('/handled/<id>', methods = ['GET', 'POST', 'OPTIONS'])
        @app.login_required
        def handled (was, id = None, **form):
            return 'in'

        @app.route ('/identified/<id>', methods = ['GET', 'POST'])
        @app.identification_required
        def identified (was, id = None, **form):
            return 'in'

        @app.route ('/staff/<id>', methods = ['GET', 'POST', 'OPTIONS'], authenticate = kind)
        @app.permission_required (['staff'])
        async def staff (was, id = None, **form):
            await asyncio.sleep (0)
            return 'in'

        @app.route ('/animals/<id>', methods = ['GET', 'POST'], authenticate = kind)
        @app.permission_required (id = ["staff"])
        def animals (was, id = None, **form):
            yield 'in'

        mixed = app.permission_required (['user'], id = ["staff"], DELETE = ["admin"])
        four = ['GET', 'POST', 'PUT', 'DELETE']

        @app.route ('/mixed/<id>', methods = four, authenticate = kind)
        @mixed
        def mixed_def (was, id = None, **form):
            return 'in'

        @app.route ('/mixed-async/<id>', methods = four)
        @mixed
        @app.authorization_required (kind)
        async def mixed_async (was, id = None, **form):
            return 'in'

        @app.route ('/mixed-generator/<id>', methods = four)
        @mixed
        def mixed_generator (was, id = None, **form):
            yield 'in'

        @app.route ('/owned/<id>', methods = four, authenticate = kind)
        @app.permission_required ('user', owner = 'admin', PUT = 'staff')
        def owned (was, id = None, owner = None, **form):
            return 'in'

        return app

    if __name__ == '__main__':
        for kind in {SCHEMES!r}:
            skitai.mount ('/' + kind, make (kind))
        skitai.run (port = 5000)
"""  # noqa: E501


class Route(NamedTuple):
    """`authenticates`: before all else. `asks`: the permission handler; None not at all, else the default's
    permissions. `ignored`: whatever it says. `parameters`, `by_method`: the conditions (PM-02)."""

    methods: str
    authenticates: bool
    asks: str | None = None
    ignored: bool = False
    parameters: dict[str, str] = {}
    by_method: dict[str, str] = {}


_MIXED: dict[str, Any] = {'parameters': {'id': 'staff'}, 'by_method': {'DELETE': 'admin'}}

ROUTES = {
    'open': Route('GET POST', False),
    'guarded': Route('GET POST', True),
    'decorated': Route('POST DELETE', True),
    'login': Route('GET PUT', True, ''),
    'handled': Route('GET POST OPTIONS', False, ''),
    'identified': Route('GET POST', False, '', ignored=True),
    'staff': Route('GET POST OPTIONS', True, 'staff'),
    'animals': Route('GET POST', True, '', parameters={'id': 'staff'}),
    'mixed': Route('GET POST PUT DELETE', True, 'user', **_MIXED),
    'mixed-async': Route('GET POST PUT DELETE', True, 'user', **_MIXED),
    'mixed-generator': Route('GET POST PUT DELETE', False, 'user', **_MIXED),
    'owned': Route(
        'GET POST PUT DELETE', True, 'user', parameters={'owner': 'admin'}, by_method={'PUT': 'staff'}
    ),
}


class Request(NamedTuple):
    """`id` is in the path, `query` and `body` (a form, or JSON) are further parameters."""

    route: str
    method: str
    id: str | None = None
    query: dict[str, str] | None = None
    body: dict[str, str] | None = None
    json: bool = False

    @property
    def path(self) -> str:
        return f'/{self.route}' + (f'/{self.id}' if self.id is not None else '')

    @property
    def parameters(self) -> dict[str, str]:
        return {**(self.query or {}), **(self.body or {}), **({} if self.id is None else {'id': self.id})}


def expected(scheme: str, user: str, request: Request) -> int:
    """The status by the SPEC: the resource's methods, AU-01 to AU-03, PM-01 to PM-06."""
    route = ROUTES[request.route]
    if request.method == 'OPTIONS':  # AC-02: nobody is authenticated
        return 200 if 'OPTIONS' in route.methods.split() else 405
    method = 'GET' if request.method == 'HEAD' else request.method
    if method not in route.methods.split():
        return 405
    known = user in ('user', 'staff', 'admin')
    if route.authenticates and not known:
        return 401
    if route.asks is None or route.ignored:
        return 200
    wanted, applies = set(), method in route.by_method
    wanted |= {route.by_method[method]} if applies else set()
    for name, permission in route.parameters.items():
        value = request.parameters.get(name)
        if value == 'notme' and method != 'GET':
            return 421  # PM-04
        if value not in (None, 'me'):
            wanted.add(permission)
            applies = True
    if not applies:
        wanted = {route.asks} - {''}
    # The handler of the app above.
    if not known or (scheme != 'bearer' and not route.authenticates):
        return 401
    if not wanted or user == 'admin' or wanted == {'user'}:
        return 200
    return 200 if user == 'staff' and 'admin' not in wanted else 403


def matrix() -> Iterator[Request]:
    """All of it: a method that a route hasn't is asked for once."""
    for name, route in ROUTES.items():
        for method in METHODS:
            if method == 'OPTIONS' or ('GET' if method == 'HEAD' else method) not in route.methods.split():
                yield Request(name, method)
                continue
            for id in (None, 'me', '100', 'notme'):
                yield Request(name, method, id)
                if method in ('POST', 'PUT', 'DELETE'):
                    yield Request(name, method, id, body={'note': 'x'})
            for value in ('me', '100', 'notme'):
                yield Request(name, method, 'me', query={'owner': value})
                if method in ('POST', 'PUT', 'DELETE'):
                    yield Request(name, method, 'me', body={'owner': value})
                    yield Request(name, method, None, body={'owner': value}, json=True)


ALL = list(matrix())
#: For clients that are slow to call: each route and method, with some of the parameters.
SOME = [
    request
    for _, found in itertools.groupby(ALL, lambda request: request[:2])
    for request in list(found)[::4]
]


def token(user: str) -> str:
    key = KEY if user != 'stranger' else 'another key of more than thirty-two letters'
    claims = {'uid': user, 'lev': 'admin' if user == 'stranger' else user, 'exp': int(time.time()) + 600}
    return jwt.encode(claims, key, 'HS256')


def credentials(user: str) -> tuple[str, str]:
    """Name and password; a stranger guesses an admin's."""
    return ('admin', 'guessed') if user == 'stranger' else (user, f'password of {user}')


@pytest.fixture(scope='module')
def server(launch_module: Callable[[], Launcher]) -> ServerClient:
    return launch_module()({'serve.py': SERVE})


def compare(scheme: str, user: str, asked: list[Request], ask: Callable[[Request], tuple[int, str]]) -> None:
    """Ask for all, then tell what differs from the model."""
    different = []
    for request in asked:
        status, text = ask(request)
        wanted = expected(scheme, user, request)
        if status != wanted or (status == 200 and request.method not in ('HEAD', 'OPTIONS') and text != 'in'):
            different.append(f'{request}: {status} {text[:80]!r} instead of {wanted}')
    assert not different, f'{len(different)} of {len(asked)}:\n' + '\n'.join(different)


# -- the model -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('user', 'request_', 'status'),
    [
        # SPEC PM-03, word by word
        ('user', Request('animals', 'GET'), 200),
        ('user', Request('animals', 'GET', 'me'), 200),
        ('user', Request('animals', 'GET', '100'), 403),
        ('user', Request('animals', 'GET', 'notme'), 403),
        ('staff', Request('animals', 'GET', '100'), 200),
        ('user', Request('mixed', 'POST', 'me'), 200),
        ('user', Request('mixed', 'POST', '100'), 403),
        ('staff', Request('mixed', 'DELETE', '100'), 403),
        ('admin', Request('mixed', 'DELETE', '100'), 200),
        ('user', Request('mixed', 'DELETE', 'me'), 403),
        ('staff', Request('mixed', 'DELETE', 'me'), 403),
        ('admin', Request('mixed', 'DELETE', 'me'), 200),
        # SPEC PM-04
        ('admin', Request('mixed', 'POST', 'notme'), 421),
        ('nobody', Request('mixed', 'POST', 'notme'), 401),
    ],
)
def test_the_model(user: str, request_: Request, status: int) -> None:
    for scheme in SCHEMES:
        assert expected(scheme, user, request_) == status


def test_the_matrix_has_it_all() -> None:
    """Each status that there is, and each route and method."""
    statuses = {expected(scheme, user, request) for scheme in SCHEMES for user in USERS for request in ALL}
    assert statuses == {200, 401, 403, 405, 421}
    pairs = {(route, method) for route in ROUTES for method in METHODS}
    assert {request[:2] for request in ALL} == {request[:2] for request in SOME} == pairs


# -- clients -------------------------------------------------------------------------------------------


class Bearer(AuthBase):
    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers['Authorization'] = f'Bearer {self._text}'
        return request


def auth_for(scheme: str, user: str) -> AuthBase | None:
    if user == 'nobody':
        return None
    if scheme == 'bearer':
        return Bearer(token(user))
    return (HTTPBasicAuth if scheme == 'basic' else HTTPDigestAuth)(*credentials(user))


@pytest.mark.parametrize('user', USERS)
@pytest.mark.parametrize('scheme', SCHEMES)
def test_the_whole_matrix(server: ServerClient, scheme: str, user: str) -> None:
    """One client on one connection: a digest nonce is used again and again."""
    client, auth = server.clone(), auth_for(scheme, user)

    def ask(request: Request) -> tuple[int, str]:
        body: dict[str, Any] = {'json' if request.json else 'data': request.body}
        answer = client.request(
            request.method, f'/{scheme}{request.path}', params=request.query, auth=auth, **body
        )
        challenge = answer.headers.get('WWW-Authenticate', '')
        if answer.status_code == 401 and ROUTES[request.route].authenticates:  # AU-03
            assert challenge.lower().startswith(f'{scheme} realm="zoo, {scheme}"'), challenge
        return answer.status_code, answer.text

    compare(scheme, user, ALL, ask)
    client.stop()


@pytest.mark.parametrize('user', USERS)
@pytest.mark.parametrize('scheme', SCHEMES)
def test_a_new_client_for_each_request(server: ServerClient, scheme: str, user: str) -> None:
    def ask(request: Request) -> tuple[int, str]:
        client = server.clone()
        body: dict[str, Any] = {'json' if request.json else 'data': request.body}
        answer = client.request(
            request.method,
            f'/{scheme}{request.path}',
            params=request.query,
            auth=auth_for(scheme, user),
            **body,
        )
        client.stop()
        return answer.status_code, answer.text

    compare(scheme, user, SOME, ask)


@pytest.mark.parametrize('scheme', SCHEMES)
def test_users_by_turns_on_one_connection(server: ServerClient, scheme: str) -> None:
    """Nothing of one request's user is left for the next on its connection or thread (PITFALLS)."""
    client = server.clone()
    auths = {user: auth_for(scheme, user) for user in USERS}
    for request in SOME:
        for user in ('admin', 'nobody', 'user', 'stranger', 'staff', 'nobody'):
            body: dict[str, Any] = {'json' if request.json else 'data': request.body}
            answer = client.request(
                request.method,
                f'/{scheme}{request.path}',
                params=request.query,
                auth=auths[user],
                **body,
            )
            assert answer.status_code == expected(scheme, user, request), (user, request)
    client.stop()


@pytest.mark.parametrize('http2', [False, True])
@pytest.mark.parametrize('user', USERS)
@pytest.mark.parametrize('scheme', SCHEMES)
def test_with_httpx2(server: ServerClient, scheme: str, user: str, http2: bool) -> None:
    auth: Any = None
    headers = {}
    if user != 'nobody' and scheme == 'bearer':
        headers['Authorization'] = f'Bearer {token(user)}'
    elif user != 'nobody':
        auth = (httpx2.BasicAuth if scheme == 'basic' else httpx2.DigestAuth)(*credentials(user))
    base = f'{server.base_url}/{scheme}'
    with httpx2.Client(
        base_url=base, http1=not http2, http2=http2, headers=headers, auth=auth, timeout=DEADLINE
    ) as client:

        def ask(request: Request) -> tuple[int, str]:
            body: dict[str, Any] = {'json' if request.json else 'data': request.body}
            answer = client.request(request.method, request.path, params=request.query, **body)
            return answer.status_code, answer.text

        compare(scheme, user, SOME, ask)


@pytest.mark.skipif(shutil.which('curl') is None, reason='curl is not installed')
@pytest.mark.parametrize('user', USERS)
@pytest.mark.parametrize('scheme', SCHEMES)
def test_with_curl(server: ServerClient, scheme: str, user: str) -> None:
    """All in one call: each request's status and body is a line of the output."""
    options: list[str] = []
    if user != 'nobody' and scheme == 'bearer':
        options = ['--header', f'Authorization: Bearer {token(user)}']
    elif user != 'nobody':
        options = [f'--{scheme}', '--user', ':'.join(credentials(user))]
    command: list[str] = ['curl', '--disable']
    for request in SOME:
        data = [f'{name}={value}' for name, value in (request.body or {}).items()]
        query = '&'.join(f'{name}={value}' for name, value in (request.query or {}).items())
        url = f'{server.base_url}/{scheme}{request.path}' + (f'?{query}' if query else '')
        method = ['--head'] if request.method == 'HEAD' else ['--request', request.method]
        command += [
            *([] if len(command) == 2 else ['--next']),
            *('--silent', '--max-time', str(DEADLINE), '--output', '/dev/null'),
            *('--write-out', '%{http_code}\\n', *options, *method),
            *itertools.chain.from_iterable(('--data', item) for item in data),
            url,
        ]
    output = subprocess.run(command, capture_output=True, text=True, timeout=3 * DEADLINE, check=True).stdout
    found = [int(line) for line in output.split()]
    assert len(found) == len(SOME)
    wanted = [expected(scheme, user, request._replace(json=False)) for request in SOME]
    different = [
        (request, status, right)
        for request, status, right in zip(SOME, found, wanted, strict=True)
        if status != right
    ]
    assert different == []
