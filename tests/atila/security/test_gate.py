"""Who must say who he is does so before anything else is looked at (SPEC AU-01, AU-02, AU-10)."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import httpx2
import pytest
from serving import DEADLINE, Direct, build, request_bytes, send_raw

import skitai
from atila import Atila
from skitai.engine.asgi import AsgiEngine
from skitai.mounting import Mounts
from skitai.testing import Client, InProcessClient, ServerClient

ClientFor = Callable[..., Client]
DirectFor = Callable[..., Direct]

AUTH = ('hans', 'secret')
BASIC = b'Authorization: Basic %s\r\n' % base64.b64encode(b'hans:secret')
WRONG = b'Authorization: Basic %s\r\n' % base64.b64encode(b'hans:guessed')
FORM_TYPE = {'Content-Type': 'application/x-www-form-urlencoded'}
FORMS = ['/def', '/generator', '/async']

#: Seconds in which an answer that waits for nothing comes, on a busy machine.
AT_ONCE = 3.0
LARGE = {'text': 'x' * 300_000, 'other': 'y & z = \u00e9'}


def digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def in_all_forms(app: Atila, seen: list[str], *decorators: Callable[..., Any], **options: Any) -> None:
    """A service that tells what arrived, as a `def`, a generator and an `async def`, at FORMS."""

    def told(was: Any, form: dict[str, Any]) -> str:
        seen.append(was.request.path)
        return digest(form)

    def plain(was: Any, **form: Any) -> str:
        return told(was, form)

    def generator(was: Any, **form: Any) -> Iterator[str]:
        yield told(was, form)

    async def awaits(was: Any, **form: Any) -> str:
        await asyncio.sleep(0)
        return told(was, form)

    for path, service in zip(FORMS, (plain, generator, awaits), strict=True):
        for decorator in decorators:
            service = decorator(service)
        app.route(path, methods=['GET', 'POST'], **options)(service)


@pytest.fixture
def seen() -> list[str]:
    """The paths of requests that came to a service."""
    return []


@pytest.fixture
def app(seen: list[str]) -> Atila:
    """All of it guarded by basic authentication."""
    app = Atila('app')
    app.authenticate = 'basic'
    app.users = {'hans': ('secret', False)}
    in_all_forms(app, seen)
    return app


def sent_in_parts(data: bytes, size: int = 4096) -> Iterator[bytes]:
    """Without a known length: chunked."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def first_line(connection: socket.socket) -> bytes:
    """The status line of what comes next; b'' for the end of the connection."""
    data = b''
    while b'\r\n\r\n' not in data:
        part = connection.recv(65536)
        if not part:
            break
        data += part
    return data.partition(b'\r\n')[0]


# -- before the body (AU-10) ------------------------------------------------------------------------


@pytest.mark.parametrize('path', FORMS)
@pytest.mark.parametrize('credentials', [b'', WRONG, b'Authorization: Basic !!!\r\n'])
def test_nobody_is_asked_for_his_body(
    direct_for: DirectFor, app: Atila, seen: list[str], path: str, credentials: bytes
) -> None:
    """SPEC AU-10: `Expect: 100-continue` gets 401 and no 100."""
    direct = direct_for(app)
    head = b'Content-Length: 10000000\r\nExpect: 100-continue\r\n' + credentials
    with direct.connect() as connection:
        connection.sendall(request_bytes(b'POST', path.encode(), head))
        assert first_line(connection).startswith(b'HTTP/1.1 401 ')
    assert seen == []


@pytest.mark.parametrize('path', FORMS)
def test_somebody_is_asked_for_his_body(
    direct_for: DirectFor, app: Atila, seen: list[str], path: str
) -> None:
    """SPEC AU-10: the same with credentials."""
    direct, body = direct_for(app), b'text=hello'
    head = b'Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n'
    head += b'Expect: 100-continue\r\n' + BASIC
    with direct.connect() as connection:
        connection.sendall(request_bytes(b'POST', path.encode(), head))
        assert first_line(connection).startswith(b'HTTP/1.1 100 ')
        assert seen == []
        connection.sendall(body)
        answer = b''
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith(b'HTTP/1.1 200 ')
    assert digest({'text': 'hello'}).encode() in answer
    assert seen == [path]


@pytest.mark.parametrize('path', FORMS)
@pytest.mark.parametrize('framing', [b'Content-Length: 1000000\r\n', b'Transfer-Encoding: chunked\r\n'])
def test_a_slow_upload_without_credentials_is_answered_at_once(
    direct_for: DirectFor, app: Atila, seen: list[str], path: str, framing: bytes
) -> None:
    """SPEC AU-10: the rest of the body is not waited for."""
    direct = direct_for(app)
    with direct.connect() as connection:
        began = time.monotonic()
        connection.sendall(request_bytes(b'POST', path.encode(), framing) + b'5\r\nhello\r\n')
        assert first_line(connection).startswith(b'HTTP/1.1 401 ')
        assert time.monotonic() - began < AT_ONCE
    assert seen == []


@pytest.mark.parametrize('authorized', [False, True])
@pytest.mark.parametrize('path', FORMS)
def test_as_asgi_the_body_is_not_asked_for(app: Atila, seen: list[str], path: str, authorized: bool) -> None:
    """SPEC AU-10: the same on any ASGI server."""
    table, settings, mounts = build(app)
    client = InProcessClient(AsgiEngine(table, settings))
    pulled = []

    def body() -> Iterator[bytes]:
        for part in (b'text=', b'hello'):
            pulled.append(part)
            yield part

    try:
        answer = client.request(
            'POST', path, data=body(), headers=FORM_TYPE, auth=AUTH if authorized else None
        )
    finally:
        client.stop()
        mounts.umount()
    assert answer.status_code == (200 if authorized else 401)
    assert pulled == ([b'text=', b'hello'] if authorized else [])
    assert seen == ([path] if authorized else [])


def test_an_upload_without_credentials_takes_no_limit_to_be_refused(
    client_for: ClientFor, app: Atila
) -> None:
    """Who may not come in is told so, not how large a body may be."""
    client = client_for(app, max_upload_size=1000)
    assert client.post('/def', {'text': 'x' * 2000}).status_code == 401
    assert client.post('/def', {'text': 'x' * 2000}, auth=AUTH).status_code == 413


# -- with credentials the body arrives whole ----------------------------------------------------------


@pytest.mark.parametrize('path', FORMS)
def test_the_body_arrives_whole(client_for: ClientFor, app: Atila, seen: list[str], path: str) -> None:
    """Form and JSON, with a length and chunked, several on one connection."""
    client = client_for(app)
    document = json.dumps(LARGE).encode()
    json_type = {'Content-Type': 'application/json'}
    for count in range(1, 3):
        for options in (
            {'data': LARGE},
            {'json': LARGE},
            {'data': sent_in_parts(document), 'headers': json_type},
        ):
            answer = client.request('POST', path, auth=AUTH, **options)  # type: ignore[arg-type]
            assert (answer.status_code, answer.text) == (200, digest(LARGE))
        assert client.get(path, {'text': 'x'}, auth=AUTH).text == digest({'text': 'x'})
        assert client.post(path, {}, auth=AUTH).text == digest({})
        assert len(seen) == 5 * count


@pytest.mark.parametrize('path', FORMS)
def test_refused_and_let_in_by_turns(client_for: ClientFor, app: Atila, seen: list[str], path: str) -> None:
    client = client_for(app)
    for count in range(3):
        refused = client.post(path, {'text': 'hello'})
        assert refused.status_code == 401
        assert refused.headers['WWW-Authenticate'] == 'Basic realm="App"'
        assert client.post(path, {'text': 'hello'}, auth=('hans', 'guessed')).status_code == 401
        assert len(seen) == count
        assert client.post(path, {'text': 'hello'}, auth=AUTH).text == digest({'text': 'hello'})
        assert client.get(path).status_code == 401
        assert client.request('HEAD', path).status_code == 401


@pytest.mark.parametrize('path', FORMS)
def test_several_on_one_connection(direct_for: DirectFor, app: Atila, path: str) -> None:
    """Sent without waiting for answers; each is authenticated for itself."""
    direct = direct_for(app)
    form = b'Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 6\r\n'
    target = path.encode()
    guarded = b'POST %s HTTP/1.1\r\nHost: t\r\n%s%s\r\ntext=%%d' % (target, form, BASIC)
    requests = [guarded % number for number in range(3)]
    nobody = request_bytes(b'GET', target)
    data = send_raw(direct.connect(), b''.join(requests) + nobody)
    assert data.count(b'HTTP/1.1 200 ') == 3
    assert data.count(b'HTTP/1.1 401 ') == 1
    positions = [data.index(digest({'text': str(number)}).encode()) for number in range(3)]
    assert positions == sorted(positions)


@pytest.mark.parametrize('path', FORMS)
def test_a_body_that_was_not_read_is_no_request(
    direct_for: DirectFor, app: Atila, seen: list[str], path: str
) -> None:
    """What nobody has read of a refused request is never taken for the next one: that is closed, or whole."""
    hidden = request_bytes(b'GET', b'/async?hidden=1', BASIC)
    direct = direct_for(app)
    for padding in (b'', b'x' * 5):
        body = hidden + padding
        head = b'POST %s HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n' % (path.encode(), len(body))
        connection = direct.connect()
        connection.sendall(head)
        assert first_line(connection).startswith(b'HTTP/1.1 401 ')
        rest = send_raw(connection, body + request_bytes(b'GET', b'/def', BASIC))
        assert rest.count(b'HTTP/1.1') in (0, 1)
        assert seen == ['/def'] * rest.count(b'HTTP/1.1 200')
        seen.clear()


def test_many_at_once(client_for: ClientFor, app: Atila, seen: list[str]) -> None:
    """More than there are service threads, half of them nobody."""
    client = client_for(app)
    failures: list[Any] = []

    def ask(number: int) -> None:
        own = client.clone()
        for turn in range(6):
            path, allowed = FORMS[(number + turn) % 3], (number + turn) % 2 == 0
            form = {'text': f'{number}-{turn}' * 2000}
            answer = own.post(path, form, auth=AUTH if allowed else None)
            wanted = (200, digest(form)) if allowed else (401, answer.text)
            if (answer.status_code, answer.text) != wanted:
                failures.append((number, turn, answer.status_code))
        own.stop()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert failures == []
    assert len(seen) == 36


@pytest.mark.parametrize('path', FORMS)
def test_http_2(direct_for: DirectFor, app: Atila, seen: list[str], path: str) -> None:
    """SPEC AU-10 over HTTP/2: refused streams do no harm to the connection's others."""
    direct = direct_for(app)
    document = json.dumps(LARGE).encode()
    headers = {'Content-Type': 'application/json'}
    base = f'http://127.0.0.1:{direct.port}'
    with httpx2.Client(http1=False, http2=True, base_url=base, timeout=DEADLINE) as client:
        for count in range(1, 3):
            assert client.get(path).status_code == 401
            assert client.post(path, data={'text': 'hello'}).status_code == 401
            assert client.post(path).status_code == 401
            assert client.post(path, data=LARGE, auth=AUTH).text == digest(LARGE)
            parts = sent_in_parts(document)
            assert client.post(path, content=parts, headers=headers, auth=AUTH).text == digest(LARGE)
            assert client.post(path, auth=AUTH).text == digest({})
            assert len(seen) == 3 * count


# -- who is asked, and who isn't -----------------------------------------------------------------------


def test_options_is_not_authenticated(client_for: ClientFor, app: Atila, seen: list[str]) -> None:
    """SPEC AC-02: where the method is listed, and where origins are."""
    pref = skitai.preference()

    @app.route('/listed', methods=['POST', 'OPTIONS'])
    def listed(was: Any) -> str:
        seen.append('listed')
        return 'content'

    @app.route('/cors', methods=['POST'], access_control_allow_origin=['*'])
    def cors(was: Any) -> str:
        seen.append('cors')
        return 'content'

    client = client_for(app, pref)
    preflight = {'Origin': 'https://site.example', 'Access-Control-Request-Method': 'POST'}
    for path in ('/listed', '/cors'):
        answer = client.options(path, headers=preflight)
        assert (answer.status_code, answer.content) == (200, b'')
        assert 'POST' in answer.headers['Access-Control-Allow-Methods' if path == '/cors' else 'Allow']
        assert client.post(path, {}).status_code == 401
    assert client.options('/listed').status_code == 200
    assert client.options('/def').status_code == 405
    assert seen == []


@pytest.mark.parametrize('path', FORMS)
def test_a_route_may_be_open(client_for: ClientFor, seen: list[str], path: str) -> None:
    """SPEC AU-01: the route's `authenticate = None` wins over `app.authenticate`."""
    app = Atila('app')
    app.authenticate = 'basic'
    app.users = {'hans': 'secret'}
    in_all_forms(app, seen, authenticate=None)

    @app.route('/guarded')
    def guarded(was: Any) -> str:
        return 'content'

    client = client_for(app)
    assert client.post(path, {'text': 'hello'}).text == digest({'text': 'hello'})
    assert client.get(path).status_code == 200
    assert client.get('/guarded').status_code == 401
    assert client.get('/guarded', auth=AUTH).text == 'content'


def test_routes_mounts_and_apps(client_for: ClientFor) -> None:
    """SPEC AU-01: the route's word before its mount's, before the app's."""
    app = Atila('app')
    app.authenticate = 'basic'
    app.users = {'hans': 'secret'}
    app.securekey = 'key'

    def services(name: str) -> ModuleType:
        module = ModuleType(name)

        def mount(app: Atila) -> None:
            for rule, options in (
                ('/said', {}),
                ('/open', {'authenticate': None}),
                ('/digest', {'authenticate': 'digest'}),
            ):

                def service(was: Any) -> str:
                    return 'content'

                service.__name__ = f'{name}_{rule[1:]}'
                app.route(rule, **options)(service)

        module.__mount__ = mount  # type: ignore[attr-defined]
        return module

    app.mount('/app', services('app'))
    app.mount('/bearer', services('bearer'), authenticate='bearer')
    app.mount('/open', services('open'), authenticate=None)
    client = client_for(app)

    def challenge(path: str) -> str:
        answer = client.get(path)
        assert answer.status_code in (200, 401)
        return answer.headers.get('WWW-Authenticate', '').partition(' ')[0]

    found = {
        f'/{point}/{rule}': challenge(f'/{point}/{rule}')
        for point in ('app', 'bearer', 'open')
        for rule in ('said', 'open', 'digest')
    }
    assert found == {
        '/app/said': 'Basic',
        '/app/open': '',
        '/app/digest': 'Digest',
        '/bearer/said': 'Bearer',
        '/bearer/open': '',
        '/bearer/digest': 'Digest',
        '/open/said': '',
        '/open/open': '',
        '/open/digest': 'Digest',
    }


@pytest.mark.parametrize('kind', ['package', 'app'])
def test_the_option_of_the_outermost_mount(client_for: ClientFor, kind: str) -> None:
    """SPEC AU-01: `skitai.mount (..., authenticate = ...)`, of a package and of an app with routes."""

    def mount(app: Atila) -> None:
        app.users = {'hans': 'secret'}
        app.route('/')(lambda was: 'content')

    target: Any = Atila('app')
    if kind == 'app':
        mount(target)
    else:
        app, target = target, ModuleType('package')
        target.__app__ = lambda: app
        target.__mount__ = mount
    mounts = Mounts()
    mounts.add('/', target, None, authenticate='basic')
    client = client_for(mounts)
    assert client.get('/').status_code == 401
    assert client.get('/', auth=AUTH).text == 'content'


def test_set_by_preference(client_for: ClientFor, seen: list[str]) -> None:
    """SPEC ST-09: `pref.authenticate`, `pref.users`, `pref.realm`."""
    app, pref = Atila('app'), skitai.preference()
    pref.authenticate, pref.users, pref.realm = 'basic', {'hans': 'secret'}, 'Partners'
    in_all_forms(app, seen)
    client = client_for(app, pref)
    answer = client.get('/def')
    assert (answer.status_code, answer.headers['WWW-Authenticate']) == (401, 'Basic realm="Partners"')
    assert client.get('/def', auth=AUTH).status_code == 200


@pytest.mark.parametrize('kind', ['basic', 'Basic', 'BASIC'])
@pytest.mark.parametrize('path', FORMS)
def test_the_decorator_guards_like_the_option(
    direct_for: DirectFor, seen: list[str], path: str, kind: str
) -> None:
    """SPEC AU-02, AU-10: also before the body, and below other decorators of ours."""
    app = Atila('app')
    app.users = {'hans': 'secret'}
    in_all_forms(
        app,
        seen,
        app.authorization_required(kind),
        app.run_before(lambda was: seen.append('another decorator')),
    )
    direct = direct_for(app)
    head = b'Content-Length: 10000000\r\nExpect: 100-continue\r\n'
    with direct.connect() as connection:
        connection.sendall(request_bytes(b'POST', path.encode(), head))
        assert first_line(connection).startswith(b'HTTP/1.1 401 ')
    assert seen == []
    data = send_raw(direct.connect(), request_bytes(b'GET', path.encode(), BASIC))
    assert data.startswith(b'HTTP/1.1 200 ')
    assert seen == ['another decorator', path]


def somebodys(function: Any) -> Any:
    """A decorator that knows nothing of ours."""
    if asyncio.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaits(was: Any, **values: Any) -> Any:
            return await function(was, **values)

        return awaits

    @functools.wraps(function)
    def wrapper(was: Any, **values: Any) -> Any:
        return function(was, **values)

    return wrapper


@pytest.mark.parametrize('path', FORMS)
def test_hidden_below_somebodys_decorator_it_still_guards(
    client_for: ClientFor, seen: list[str], path: str
) -> None:
    """SPEC AU-02: no guard is ever lost."""
    app = Atila('app')
    app.users = {'hans': 'secret'}
    in_all_forms(app, seen, app.authorization_required('basic'), somebodys)
    client = client_for(app)
    for answer in (client.get(path), client.post(path, {'text': 'x'}), client.get(path, auth=('hans', 'x'))):
        assert answer.status_code == 401
        assert answer.headers['WWW-Authenticate'] == 'Basic realm="App"'
    assert seen == []
    assert client.get(path, auth=AUTH).text == digest({})
    assert client.post(path, LARGE, auth=AUTH).text == digest(LARGE)


@pytest.mark.parametrize('path', FORMS)
def test_a_route_does_not_open_what_is_hidden(client_for: ClientFor, seen: list[str], path: str) -> None:
    """A route's `None` does not take a hidden decorator's guard away."""
    app = Atila('app')
    app.users = {'hans': 'secret'}
    app.authenticate = 'basic'
    in_all_forms(app, seen, app.authorization_required('basic'), somebodys, authenticate=None)
    client = client_for(app)
    assert client.get(path).status_code == 401
    assert client.get(path, auth=AUTH).status_code == 200


@pytest.mark.parametrize('hooked', [False, True])
@pytest.mark.parametrize('path', FORMS)
def test_a_route_does_not_open_what_its_decorator_guards(
    client_for: ClientFor, seen: list[str], path: str, hooked: bool
) -> None:
    """SPEC AU-02, a contradiction: refused where it is written, or the decorator guards; never open."""
    app = Atila('app')
    app.users = {'hans': 'secret'}
    if hooked:
        app.before_request(lambda was: None)
    try:
        in_all_forms(app, seen, app.authorization_required('basic'), authenticate=None)
    except AssertionError:
        return
    client = client_for(app)
    assert client.get(path).status_code == 401
    assert client.post(path, {'text': 'x'}).status_code == 401
    assert seen == []
    assert client.get(path, auth=AUTH).status_code == 200


def test_hooks_see_nobody(client_for: ClientFor, seen: list[str], app: Atila) -> None:
    """SPEC PM-08: authentication comes before `before_request`; who is refused reaches no hook."""
    called = []

    @app.before_request
    def before(was: Any) -> None:
        called.append(f'before {was.request.user.name}')

    @app.failed_request
    def failed(was: Any, expt: Any) -> None:
        called.append('failed')

    client = client_for(app)
    for path in FORMS:
        assert client.post(path, {'text': 'x'}).status_code == 401
    assert called == []
    assert client.post('/async', {'text': 'x'}, auth=AUTH).status_code == 200
    assert called == ['before hans']


def test_a_slow_upload_with_credentials_takes_no_thread(direct_for: DirectFor, app: Atila) -> None:
    """SPEC AU-10: who is let in gives his place back until his body is there."""
    direct = direct_for(app, threads=1)
    head = b'Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n' + BASIC
    slow = [direct.connect() for _ in range(4)]
    for number, connection in enumerate(slow):
        path = FORMS[number % 3].encode()
        connection.sendall(request_bytes(b'POST', path, head) + b'text=')
    for path in FORMS:
        data = send_raw(direct.connect(), request_bytes(b'POST', path.encode(), head) + b'text=quick')
        assert digest({'text': 'quick'}).encode() in data
    for connection in slow:
        data = send_raw(connection, b'hello')
        assert digest({'text': 'hello'}).encode() in data


def test_a_streaming_upload_is_guarded(client_for: ClientFor, app: Atila, seen: list[str]) -> None:
    """SPEC AU-10, SI-01: nothing of it is read for nobody; for somebody it arrives whole."""

    @app.route('/stream', methods=['POST'], input_stream=True)
    def stream(was: Any) -> Any:
        seen.append('/stream')
        sum = hashlib.sha256()
        while data := (yield was.Input(8192)):
            sum.update(data)
        return sum.hexdigest()

    client, body = client_for(app), bytes(range(256)) * 2000
    wanted = hashlib.sha256(body).hexdigest()
    for count in range(1, 3):
        assert client.post('/stream', data=b'hello').status_code == 401
        assert client.post('/stream', data=body, auth=AUTH).text == wanted
        assert client.request('POST', '/stream', data=sent_in_parts(body), auth=AUTH).text == wanted
        assert len(seen) == 2 * count


@pytest.mark.parametrize('path', FORMS)
def test_a_client_that_goes_in_the_door(
    direct_for: DirectFor, app: Atila, seen: list[str], path: str
) -> None:
    """Let in, and gone before its body is there: no service is called, others are served."""
    direct = direct_for(app, threads=1)
    for authorization in (BASIC, b''):
        head = b'Content-Length: 100\r\n' + authorization
        for _ in range(5):
            with direct.connect() as connection:
                connection.sendall(request_bytes(b'POST', path.encode(), head) + b'text=')
    data = send_raw(direct.connect(), request_bytes(b'GET', path.encode(), BASIC))
    assert data.startswith(b'HTTP/1.1 200 ')
    assert seen == [path]


@pytest.mark.parametrize('size', [100_000, 8_000_000])
def test_a_large_upload_without_credentials_reads_its_answer(
    direct_for: DirectFor, app: Atila, seen: list[str], size: int
) -> None:
    """Clients that send the whole body first get the 401, not a reset of the connection."""
    client = ServerClient(direct_for(app).port)
    for path in FORMS * 10:  # what goes wrong here does so now and then
        assert client.post(path, data=b'x' * size, timeout=5).status_code == 401
        answer = client.post(path, data=b'text=hello', headers=FORM_TYPE, auth=AUTH)
        assert answer.text == digest({'text': 'hello'})
    assert seen == FORMS * 10
    client.stop()


def test_a_refusal_has_the_fields_of_every_answer(client_for: ClientFor) -> None:
    """SPEC AC-01: a page's script of an allowed origin reads the 401, too; security headers go with it."""
    app, pref = Atila('app'), skitai.preference()
    pref.access_control_allow_origin = ['https://site.example']
    pref.security_headers = True
    app.authenticate = 'basic'
    in_all_forms(app, [])
    client = client_for(app, pref)
    for path in FORMS:
        for answer in (
            client.get(path, headers={'Origin': 'https://site.example'}),
            client.post(path, {'text': 'x'}, headers={'Origin': 'https://site.example'}),
        ):
            assert answer.status_code == 401
            assert answer.headers['Access-Control-Allow-Origin'] == 'https://site.example'
            assert answer.headers['X-Content-Type-Options'] == 'nosniff'
        assert client.get(path, headers={'Origin': 'https://evil.example'}).status_code == 403


def test_a_page_of_the_app_for_401(client_for: ClientFor, app: Atila, seen: list[str]) -> None:
    """SPEC ER-03, AU-03: the challenge goes with it."""

    @app.error_handler(401, accept='*')
    def page(was: Any, error: Any) -> str:
        assert was.request.user is None
        return f'please log in: {error.code}'

    client = client_for(app)
    for path in FORMS:
        for answer in (client.get(path), client.post(path, {'text': 'x'})):
            assert (answer.status_code, answer.text) == (401, 'please log in: 401')
            assert answer.headers['WWW-Authenticate'] == 'Basic realm="App"'
    assert seen == []


@pytest.mark.parametrize('first', [True, False])
def test_two_authorization_fields(direct_for: DirectFor, app: Atila, seen: list[str], first: bool) -> None:
    """Of which nobody can say which one counts: no way in with a wrong one."""
    fields = BASIC + WRONG if first else WRONG + BASIC
    data = send_raw(direct_for(app).connect(), request_bytes(b'GET', b'/def', fields))
    assert data.startswith((b'HTTP/1.1 401 ', b'HTTP/1.1 400 '))
    assert seen == []


@pytest.mark.parametrize(
    ('of_app', 'of_route', 'challenge'),
    [
        ({}, {'authenticate': True}, 'Digest'),
        ({'authorization': 'basic'}, {'authenticate': True}, 'Basic'),
        ({'authenticate': 'Basic'}, {'authenticate': True}, 'Basic'),
        ({'authenticate': True}, {}, 'Digest'),
        ({'authenticate': True, 'authorization': 'basic'}, {}, 'Basic'),
        ({'authenticate': 'bearer'}, {'authenticate': False}, None),
    ],
)
def test_the_older_way_to_say_it(
    client_for: ClientFor, of_app: dict[str, Any], of_route: dict[str, Any], challenge: str | None
) -> None:
    """SPEC AU-01: True is what the app has, or digest."""
    app = Atila('app')
    app.securekey = 'key'
    for name, value in of_app.items():
        setattr(app, name, value)
    app.route('/', **of_route)(lambda was: 'content')
    answer = client_for(app).get('/')
    assert answer.status_code == (200 if challenge is None else 401)
    assert challenge is None or answer.headers['WWW-Authenticate'].startswith(challenge + ' ')


WRONG_KINDS = pytest.mark.parametrize('wrong', ['basics', 'jwt', '', 5, ['basic']])


@WRONG_KINDS
def test_an_invalid_kind_is_an_error_at_decoration(wrong: Any) -> None:
    """SPEC AU-02."""
    with pytest.raises(AssertionError):
        Atila('app').authorization_required(wrong)


@WRONG_KINDS
def test_an_invalid_kind_is_an_error_at_route_time(wrong: Any) -> None:
    """SPEC AU-01."""
    app = Atila('app')
    with pytest.raises(AssertionError):
        app.route('/', authenticate=wrong)(lambda was: 'content')


@WRONG_KINDS
def test_an_invalid_kind_of_an_app_is_an_error_at_start(wrong: Any) -> None:
    """SPEC AU-01: `app.authenticate`, however it was set."""
    app = Atila('app')
    app.authenticate = wrong
    app.route('/')(lambda was: 'content')
    with pytest.raises(AssertionError):
        build(app)
