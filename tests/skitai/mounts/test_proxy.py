"""Reverse proxies, on all engines, before servers and with clients that we did not write (SPEC LB-06)."""

from __future__ import annotations

import collections
import contextlib
import gzip
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import httpx2
import pytest
import requests
from upstreams import DEADLINE, Scripted, Server, refusing_port

SITE = f'{Path(__file__).parent}/proxy_site.py:proxies'
LIMIT = 32 << 20
ENGINES = ['granian', 'stock', 'asgi']
SETTINGS = {'request_timeout': 4, 'network_timeout': 2}


class Upstreams:
    """What the proxy passes on to; a test says what `odd` answers."""

    def __init__(self) -> None:
        self.server = Server('server')
        #: Called for each request to `odd`; what is true keeps the connection.
        self.script: Callable[[socket.socket, Scripted], Any] = lambda *_: None
        self.odd = Scripted(self._serve)

    def answer(self, answer: bytes, *, keep: bool = True) -> None:
        def script(connection: socket.socket, server: Scripted) -> bool:
            server.read_head(connection)
            connection.sendall(answer)
            return keep

        self.script = script

    def _serve(self, connection: socket.socket, server: Scripted) -> None:
        while connection.recv(1, socket.MSG_PEEK) and self.script(connection, server):
            pass


@pytest.fixture(scope='module', autouse=True)
def _uvicorn_believes_nobody() -> Iterator[None]:
    """Else it would take X-Forwarded-For for the peer before we see it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('FORWARDED_ALLOW_IPS', '')
        yield


@pytest.fixture(scope='module')
def upstreams() -> Iterator[Upstreams]:
    made = Upstreams()
    yield made
    made.server.stop()
    made.odd.stop()


def start(
    serve: Callable[..., Any],
    engine: str,
    known: list[list[Any]],
    mounted: list[list[Any]],
    settings: dict[str, Any] = SETTINGS,
    **config: Any,
) -> Any:
    return serve(
        SITE,
        engine=engine,
        settings=settings,
        settings_=settings,
        known=known,
        mounted=mounted,
        config=config,
    )


@pytest.fixture(scope='module', params=ENGINES)
def proxy(request: pytest.FixtureRequest, serve: Callable[..., Any], upstreams: Upstreams) -> Any:
    known = [
        ['@server', 'http', upstreams.server.address, {}],
        ['@based', 'http', f'me:pw@{upstreams.server.address}/base', {}],
        ['@odd', 'http', upstreams.odd.address, {}],
        ['@down', 'http', f'127.0.0.1:{refusing_port()}', {}],
        ['@half', 'http', [f'127.0.0.1:{refusing_port()} 100', upstreams.server.address], {}],
    ]
    mounted = [
        ['/x', '@server', {}],
        ['/deep/er', '@based/v1', {}],
        ['/odd', '@odd', {'timeout': 1}],
        ['/down', '@down', {}],
        ['/half', '@half', {}],
    ]
    return start(serve, request.param, known, mounted, MAX_UPLOAD_SIZE=LIMIT)


def ask(server: Any, path: str, method: str = 'GET', **options: Any) -> requests.Response:
    return requests.request(
        method, server.url + path, timeout=DEADLINE, **{'allow_redirects': False, **options}
    )


def raw(server: Any, target: str, fields: str = '', method: str = 'GET', body: bytes = b'') -> Any:
    """(status, head as text, body) of a request line that no client would write."""
    request = f'{method} {target} HTTP/1.1\r\nHost: front.example\r\nConnection: close\r\n{fields}\r\n'
    answer = server.send(request.encode('latin-1') + body)
    head, _, content = answer.partition(b'\r\n\r\n')
    return int(head.split()[1]), head.decode('latin-1').lower(), content


def seen(server: Any, path: str, fields: str = '') -> Any:
    """What the upstream saw; its fields as a dict of lists."""
    status, _, body = raw(server, path, fields)
    assert status == 200, body
    told = json.loads(body)
    told['fields'] = collections.defaultdict(list)
    for name, value in told['headers']:
        told['fields'][name].append(value)
    return told


# -- what is asked ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('path', 'expected'),
    [
        ('/x/', '/'),
        ('/x/a/b', '/a/b'),
        ('/x/a%2Fb%20c//d/?q=a+b&q=%C3%A4&x', '/a%2Fb%20c//d/?q=a+b&q=%C3%A4&x'),
        ('/x/a/../b', '/a/../b'),
        ('/x/%7Ea/%41?%41=%7e', '/%7Ea/%41?%41=%7e'),
        ("/x/;a=b,c/$&'()*!@:?/?;", "/;a=b,c/$&'()*!@:?/?;"),
        ('/%78/a', '/a'),
        ('/x//evil.example/a', '//evil.example/a'),
        ('/deep/er/a%2e?b', '/base/v1/a%2e?b'),
        ('/deep/er/', '/base/v1/'),
    ],
)
def test_paths_and_queries_are_passed_on_byte_for_byte(proxy: Any, path: str, expected: str) -> None:
    assert seen(proxy, path)['target'] == expected


@pytest.mark.parametrize(
    'path',
    [
        '/x/..',
        '/x/../admin',
        '/x/a/../../admin',
        '/x/%2e%2e/admin',
        '/x/.%2E/admin',
        '/deep/er/..%2f..%2fadmin',
        '/deep/er/%2e%2e%5cadmin',
        '/deep/er/..;/admin',
        '/deep/er/a//../../admin',
        '/deep/er/./../admin',
    ],
)
def test_no_path_leads_out(proxy: Any, upstreams: Upstreams, path: str) -> None:
    before = len(upstreams.server.seen)
    assert raw(proxy, path)[0] in (400, 404)
    assert len(upstreams.server.seen) == before


def test_a_point_that_ends_inside_a_segment_is_not_ours(proxy: Any) -> None:
    assert raw(proxy, '/x%2Fadmin')[0] == 404


def test_a_mount_point_redirects_to_its_slash(proxy: Any) -> None:
    """SPEC ST-18."""
    answer = ask(proxy, '/x?a=1')
    assert (answer.status_code, answer.headers['location']) == (308, '/x/?a=1')


@pytest.mark.parametrize('method', ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
def test_methods(proxy: Any, method: str) -> None:
    told = ask(proxy, '/x/m', method).json()
    assert (told['method'], told['length']) == (method, 0)


def test_methods_that_are_not_passed_on(proxy: Any) -> None:
    assert raw(proxy, '/x/', method='TRACE')[0] == 501
    assert raw(proxy, '/x/', method='get')[0] in (400, 501)


def test_fields_are_passed_on(proxy: Any) -> None:
    fields = seen(proxy, '/x/', 'X-A: 1\r\nX-A: 2\r\nCookie: a=b; c=d\r\nAuthorization: Bearer t\r\n')[
        'fields'
    ]
    assert fields['x-a'] == ['1', '2']
    assert fields['cookie'] == ['a=b; c=d']
    assert fields['authorization'] == ['Bearer t']
    for name in ('accept', 'accept-encoding', 'user-agent', 'content-type', 'content-length'):
        assert name not in fields  # the client has said nothing of it


def test_fields_of_the_connection_are_not(proxy: Any) -> None:
    """RFC 9110, 7.6.1."""
    request = (
        b'GET /x/ HTTP/1.1\r\nHost: h\r\nConnection: close, X-Mine, Cookie\r\nX-Mine: 1\r\nCookie: a=b\r\n'
        b'Keep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: x\r\nUpgrade: h2c\r\nProxy-Connection: close\r\n'
        b'Proxy-Authorization: Basic eA==\r\nProxy: evil\r\nX-Kept: yes\r\n\r\n'
    )
    told = dict(json.loads(proxy.send(request).partition(b'\r\n\r\n')[2])['headers'])
    ours = {'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'via', 'x-gtxn-id', 'x-ltxn-id'}
    assert set(told) == {'host', 'x-kept', *ours}


def test_the_upstream_learns_of_the_client_and_is_told_no_lies(proxy: Any, upstreams: Upstreams) -> None:
    lies = (
        'X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\n'
        'X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded-Port: 6\r\n'
    )
    fields = seen(proxy, '/x/', lies)['fields']
    assert fields['host'] == [upstreams.server.address]
    assert fields['x-forwarded-for'] == ['127.0.0.1']
    assert fields['x-forwarded-host'] == ['front.example']
    assert fields['x-forwarded-proto'] == ['http']
    assert fields['via'] == ['1.1 skitai']
    assert not {'forwarded', 'x-real-ip', 'x_forwarded_for', 'x-forwarded-port'} & set(fields)


@pytest.mark.parametrize('engine', ['granian', 'asgi'])
def test_a_proxy_before_us_is_believed_where_we_were_told_so(
    serve: Callable[..., Any], upstreams: Upstreams, engine: str
) -> None:
    """SPEC B.10: `enable_proxy ()`."""
    known = [['@server', 'http', upstreams.server.address, {}]]
    proxy = start(serve, engine, known, [['/x', '@server', {}]], {**SETTINGS, 'proxied': True})
    fields = seen(
        proxy,
        '/x/',
        'X-Forwarded-For: 9.9.9.9, 8.8.8.8\r\nX-Forwarded-Host: public\r\nX-Forwarded-Proto: https\r\n'
        'X-Real-IP: 9.9.9.9\r\nX_Forwarded_For: 6.6.6.6\r\n',
    )['fields']
    assert fields['x-forwarded-for'] == ['9.9.9.9, 8.8.8.8, 127.0.0.1']
    assert fields['x-forwarded-host'] == ['public']
    assert fields['x-forwarded-proto'] == ['https']
    assert fields['x-real-ip'] == ['9.9.9.9']
    assert 'x_forwarded_for' not in fields
    assert seen(proxy, '/x/')['fields']['x-forwarded-host'] == ['front.example']


def test_a_transaction_goes_on(proxy: Any) -> None:
    """SPEC HC-07: the global id is the one that came, the local one ours."""
    fields = seen(proxy, '/x/', 'X-Gtxn-Id: abc-1000\r\nX-Ltxn-Id: 77\r\n')['fields']
    assert fields['x-gtxn-id'] == ['abc-1000']
    assert int(fields['x-ltxn-id'][0]) >= 1000


def test_a_members_credentials_replace_the_clients(proxy: Any) -> None:
    fields = seen(proxy, '/deep/er/', 'Authorization: Bearer t\r\n')['fields']
    assert fields['authorization'] == ['Basic bWU6cHc=']


# -- bodies on their way up ------------------------------------------------------------------------


@pytest.mark.parametrize('size', [1, 1000, 70_000, 3_000_000])
@pytest.mark.parametrize('chunked', [False, True])
def test_bodies(proxy: Any, size: int, chunked: bool) -> None:
    body = bytes(range(251)) * (size // 251 + 1)
    parts = iter([body[:10], body[10:]])
    told = ask(proxy, '/x/', 'POST', data=parts if chunked else body, headers={'Content-Type': 'a/b'}).json()
    assert (told['length'], told['digest']) == (len(body), hashlib.sha256(body).hexdigest())
    fields = dict(told['headers'])
    assert fields['content-type'] == 'a/b'
    assert fields.get('content-length') == (None if chunked else str(len(body)))


@pytest.mark.parametrize('size', [3, LIMIT - 1])
def test_a_client_that_waits_to_be_told_to_go_on(proxy: Any, size: int) -> None:
    """RFC 9110, 10.1.1."""
    with proxy.connect() as connection:
        head = f'POST /x/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {size}\r\n'
        connection.sendall(head.encode() + b'Expect: 100-continue\r\n\r\n')
        assert connection.recv(65536).startswith(b'HTTP/1.1 100')
        connection.sendall(b'x' * size)
        answer = b''.join(iter(lambda: connection.recv(65536), b''))
    assert json.loads(answer.partition(b'\r\n\r\n')[2])['length'] == size


def test_nobody_is_told_to_go_on_where_nobody_is(proxy: Any) -> None:
    with proxy.connect() as connection:
        connection.sendall(
            b'POST /down/ HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n'
        )
        assert connection.recv(12) == b'HTTP/1.1 502'


def test_a_body_is_passed_on_as_it_comes(proxy: Any, upstreams: Upstreams) -> None:
    """Both ways at once: the answer begins before the request has ended."""

    def script(connection: socket.socket, server: Scripted) -> None:
        server.read_head(connection)
        connection.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
        while part := connection.recv(65536):
            connection.sendall(b'%x\r\n%s\r\n' % (len(part), part))
            if part.endswith(b'0\r\n\r\n'):
                connection.sendall(b'0\r\n\r\n')
                return

    upstreams.script = script
    with proxy.connect() as connection:
        connection.sendall(
            b'POST /odd/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n'
        )
        received = b''
        while b'abc' not in received:
            received += connection.recv(65536)
        connection.sendall(b'3\r\ndef\r\n0\r\n\r\n')
        while b'def' not in received:
            received += connection.recv(65536)


def test_a_body_above_the_limit_gets_413(proxy: Any, upstreams: Upstreams) -> None:
    """SPEC FU-06: declared, before a byte of it is read; chunked, as soon as it is too much."""
    before = len(upstreams.server.seen)
    with proxy.connect() as connection:
        connection.sendall(
            b'POST /x/ HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n'
            % (LIMIT + 1)
        )
        assert connection.recv(12) == b'HTTP/1.1 413'
    assert ask(proxy, '/x/', 'POST', data=b'x' * (LIMIT + 100_000)).status_code == 413
    assert len(upstreams.server.seen) == before
    chunks = (b'x' * 100_000 for _ in range(LIMIT // 100_000 + 2))
    assert ask(proxy, '/x/', 'POST', data=chunks).status_code == 413
    assert ask(proxy, '/x/').status_code == 200


@pytest.mark.parametrize('engine', ENGINES)
def test_an_upload_waits_for_a_slow_upstream(
    serve: Callable[..., Any], upstreams: Upstreams, engine: str
) -> None:
    """Backpressure: what the upstream does not take stays with the client."""
    known = [['@odd', 'http', upstreams.odd.address, {}]]
    proxy = start(serve, engine, known, [['/odd', '@odd', {}]], {})
    before = proxy.memory()
    gate = threading.Event()

    def script(connection: socket.socket, server: Scripted) -> None:
        server.read_head(connection)
        gate.wait(DEADLINE)
        left = LIMIT - 1
        while left > 0:
            left -= len(connection.recv(65536))
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone')

    upstreams.script = script
    with proxy.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        connection.sendall(b'POST /odd/ HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n' % (LIMIT - 1))
        connection.settimeout(0.2)
        sent = 0
        data = b'x' * (LIMIT - 1)
        while sent < len(data):
            try:
                sent += connection.send(data[sent : sent + 65536])
            except TimeoutError:
                break
        assert sent < len(data)
        assert proxy.memory() - before < 20 << 20
        gate.set()
        connection.settimeout(DEADLINE)
        connection.sendall(data[sent:])
        assert connection.recv(65536).startswith(b'HTTP/1.1 200')


def test_an_upload_that_stops_coming(proxy: Any) -> None:
    for head in (b'Content-Length: 100', b'Content-Length: 1000000', b'Transfer-Encoding: chunked'):
        with proxy.connect() as connection:
            connection.sendall(b'POST /x/ HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n' % head)
            assert connection.recv(12) == b'HTTP/1.1 408'


def test_a_malformed_body(proxy: Any) -> None:
    status, _, _ = raw(proxy, '/x/', 'Transfer-Encoding: chunked\r\n', 'POST', b'zz\r\n')
    assert status == 400
    assert ask(proxy, '/x/').status_code == 200


def test_other_transfer_codings_are_not_passed_on(proxy: Any, upstreams: Upstreams) -> None:
    """RFC 9112, 6.1."""
    before = len(upstreams.server.seen)
    status, _, _ = raw(proxy, '/x/', 'Transfer-Encoding: gzip, chunked\r\n', 'POST', b'0\r\n\r\n')
    assert status in (400, 501)
    assert len(upstreams.server.seen) == before


def test_an_upstream_that_answers_before_it_has_read_all(proxy: Any, upstreams: Upstreams) -> None:
    def script(connection: socket.socket, server: Scripted) -> None:
        server.read_head(connection)
        connection.sendall(b'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno')
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    upstreams.script = script
    answer = ask(proxy, '/odd/', 'POST', data=b'x' * (LIMIT - 1))
    assert (answer.status_code, answer.text) == (403, 'no')
    assert ask(proxy, '/x/').status_code == 200


# -- answers on their way down ---------------------------------------------------------------------


def test_an_answer_is_passed_on(proxy: Any, upstreams: Upstreams) -> None:
    packed = gzip.compress(b'text' * 10)
    upstreams.answer(
        b'HTTP/1.1 418 Teapot\r\nContent-Encoding: gzip\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\n'
        b'Server: odd\r\nX-Text: gr\xc3\xbc\xc3\x9f\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n'
        b'Keep-Alive: timeout=5\r\n'
        b'Content-Length: %d\r\n\r\n' % len(packed) + packed
    )
    status, head, body = raw(proxy, '/odd/', 'Accept-Encoding: gzip\r\n')
    assert (status, body) == (418, packed)
    assert head.count('set-cookie:') == 2
    assert 'set-cookie: a=1; path=/\r\n' in head
    assert 'content-encoding: gzip' in head
    assert f'content-length: {len(packed)}' in head
    assert 'server: odd' in head
    assert 'x-text: grã¼ã\x9f' in head
    assert 'x-hop:' not in head
    assert 'keep-alive' not in head


@pytest.mark.parametrize('size', [0, 1, 100, 70_000, 3_000_000])
def test_streamed_answers(proxy: Any, size: int) -> None:
    answer = ask(proxy, f'/x/size?n={size}')
    assert answer.content == b'x' * size


def test_an_answer_comes_as_it_is_made(proxy: Any) -> None:
    with ask(proxy, '/x/endless', stream=True) as answer:
        parts = answer.iter_content(None)
        assert next(parts).startswith(b'tick')
        assert next(parts).startswith(b'tick')


def test_the_head_comes_before_the_first_part(proxy: Any, upstreams: Upstreams) -> None:
    gate = threading.Event()

    def script(connection: socket.socket, server: Scripted) -> None:
        server.read_head(connection)
        connection.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
        gate.wait(DEADLINE)
        connection.sendall(b'2\r\nhi\r\n0\r\n\r\n')

    upstreams.script = script
    with ask(proxy, '/odd/', stream=True) as answer:
        assert answer.status_code == 200
        gate.set()
        assert answer.content == b'hi'


@pytest.mark.parametrize('engine', ENGINES)
def test_memory_stays_flat_before_a_slow_reader(
    serve: Callable[..., Any], upstreams: Upstreams, engine: str
) -> None:
    known = [['@server', 'http', upstreams.server.address, {}]]
    proxy = start(serve, engine, known, [['/x', '@server', {}]])
    assert ask(proxy, '/x/size?n=1000000').ok
    before = proxy.memory()
    with proxy.connect() as connection:
        connection.sendall(b'GET /x/size?n=200000000 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n')
        connection.recv(1000)
        sent = -1
        while sent != upstreams.server.parts_sent:  # until nobody can send more
            sent = upstreams.server.parts_sent
            time.sleep(0.1)
        assert proxy.memory() - before < 30 << 20
        size = 1000
        while part := connection.recv(1 << 20):
            size += len(part)
        assert size > 200_000_000
    assert proxy.memory() - before < 30 << 20


def test_head_has_no_body(proxy: Any, upstreams: Upstreams) -> None:
    upstreams.answer(b'HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nX-A: b\r\n\r\n')
    answer = ask(proxy, '/odd/', 'HEAD')
    assert (answer.content, answer.headers['content-length'], answer.headers['x-a']) == (b'', '1234', 'b')


@pytest.mark.parametrize('status', [204, 304, 205])
def test_statuses_without_a_body(proxy: Any, status: int) -> None:
    with requests.Session() as session:
        answer = session.get(f'{proxy.url}/x/status/{status}', timeout=DEADLINE)
        assert (answer.status_code, answer.content) == (status, b'')
        assert session.get(f'{proxy.url}/x/', timeout=DEADLINE).json()['method'] == 'GET'


@pytest.mark.parametrize('status', [200, 201, 301, 400, 404, 500, 503, 599])
def test_statuses(proxy: Any, status: int) -> None:
    assert ask(proxy, f'/x/status/{status}').status_code == status


@pytest.mark.parametrize(
    ('location', 'expected'),
    [
        ('{base}/v1/a?b#c', '/deep/er/a?b#c'),
        ('{base}/v1', '/deep/er'),
        ('{base}/v1/', '/deep/er/'),
        ('{upper}/v1/a', '/deep/er/a'),
        ('{noscheme}/v1/a', '/deep/er/a'),
        ('{base}/other', '{base}/other'),
        ('{base}/v1other', '{base}/v1other'),
        ('https://{host}/base/v1/a', 'https://{host}/base/v1/a'),
        ('http://else.example/base/v1/', 'http://else.example/base/v1/'),
        ('/base/v1/a', '/base/v1/a'),
        ('a', 'a'),
    ],
)
def test_redirections_to_a_member_are_moved(
    proxy: Any, upstreams: Upstreams, location: str, expected: str
) -> None:
    host = upstreams.odd.address
    texts = {
        'host': host,
        'base': f'http://{host}/base',
        'upper': f'HTTP://{host}/base',
        'noscheme': f'//{host}/base',
    }
    from skitai.mounts.forwarding import moved

    location, expected = location.format(**texts), expected.format(**texts)
    assert moved(location, f'http://{host}/base/v1', '/deep/er') == expected


def test_a_redirection_to_a_member(proxy: Any, upstreams: Upstreams) -> None:
    upstreams.answer(
        b'HTTP/1.1 302 Found\r\nLocation: http://%s/login?a\r\nContent-Length: 0\r\n\r\n'
        % upstreams.odd.address.encode()
    )
    assert ask(proxy, '/odd/').headers['location'] == '/odd/login?a'


def test_a_moved_redirection_never_leaves_the_host() -> None:
    from skitai.mounts.forwarding import moved

    assert moved('http://h//evil.example/', 'http://h', '') == '/evil.example/'
    assert moved('http://h/\\evil.example/', 'http://h', '') == '/evil.example/'
    assert moved('http://h:80', 'http://h', '') == '/'


# -- what goes wrong -------------------------------------------------------------------------------


def is_error(answer: requests.Response, status: int) -> bool:
    assert answer.status_code == status, answer.text
    assert answer.json()['code'] == status * 100
    assert '127.0.0.1' not in answer.text
    return True


def test_no_member_can_be_reached(proxy: Any) -> None:
    before = len(proxy.log())
    for method in ('GET', 'POST'):
        assert is_error(ask(proxy, '/down/', method, data=b'x'), 502)
    assert is_error(ask(proxy, '/down/', 'POST', data=b'x' * 1_000_000), 502)
    assert 'Traceback' not in proxy.log()[before:]


def test_another_member_is_asked(proxy: Any) -> None:
    """SPEC LB-03."""
    for method in ('GET', 'POST'):
        for size in (1, 100_000):
            assert ask(proxy, '/half/', method, data=b'x' * size).json()['length'] == size


def test_an_upstream_that_is_silent(proxy: Any, upstreams: Upstreams) -> None:
    gone = threading.Event()

    def script(connection: socket.socket, server: Scripted) -> None:
        server.read_head(connection)
        connection.recv(1)  # until it is closed
        gone.set()

    upstreams.script = script
    assert is_error(ask(proxy, '/odd/'), 504)
    assert gone.wait(DEADLINE)


@pytest.mark.parametrize(
    'answer',
    [
        b'',
        b'nonsense\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd',
        b'HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nX Y: a\r\nContent-Length: 0\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n',
        b'HTTP/1.1 700 Odd\r\nContent-Length: 0\r\n\r\n',
        b'HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort',
        b'HTTP/1.1 200 OK\r\nX: ' + b'x' * 100_000 + b'\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
    ],
)
def test_an_upstream_that_answers_nonsense(proxy: Any, upstreams: Upstreams, answer: bytes) -> None:
    before = len(proxy.log())
    upstreams.answer(answer, keep=False)
    assert is_error(ask(proxy, '/odd/'), 502)
    assert 'Traceback' not in proxy.log()[before:]


def test_an_answer_with_a_length_and_chunks_is_read_as_chunks_or_refused(
    proxy: Any, upstreams: Upstreams
) -> None:
    """RFC 9112, 6.3: never by the length, which would leave a part for the next request."""
    upstreams.answer(
        b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n'
    )
    answer = ask(proxy, '/odd/')
    assert answer.status_code == 502 or answer.content == b'hello'


@pytest.mark.parametrize('length', [b'Content-Length: 1000000', b'Transfer-Encoding: chunked'])
def test_an_upstream_that_dies_half_way_breaks_the_clients_connection(
    proxy: Any, upstreams: Upstreams, length: bytes
) -> None:
    """It cannot be taken for the end."""

    def script(connection: socket.socket, server: Scripted) -> None:
        server.read_head(connection)
        connection.sendall(b'HTTP/1.1 200 OK\r\n%s\r\n\r\n5\r\nhello\r\n' % length)
        begun.wait(DEADLINE)

    begun = threading.Event()
    upstreams.script = script
    with ask(proxy, '/odd/', stream=True) as answer:
        assert answer.status_code == 200
        begun.set()
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            assert answer.content != answer.content


def test_an_upstream_that_falls_silent_half_way(proxy: Any, upstreams: Upstreams) -> None:
    upstreams.answer(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n')
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        assert ask(proxy, '/odd/').content


@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_a_client_that_goes_ends_the_request(proxy: Any, upstreams: Upstreams, method: str) -> None:
    before = upstreams.server.cancelled
    with proxy.connect() as connection:
        connection.sendall(f'{method} /x/hang HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab'.encode())
        proxy.wait_until(lambda: upstreams.server.hanging, 'the upstream is asked')
    proxy.wait_until(lambda: upstreams.server.cancelled > before, 'the upstream is left')
    proxy.wait_until(lambda: not upstreams.server.hanging, 'nobody hangs')


def test_a_client_that_goes_half_way_ends_the_answer(proxy: Any, upstreams: Upstreams) -> None:
    before = upstreams.server.cancelled
    with proxy.connect() as connection:
        connection.sendall(b'GET /x/endless HTTP/1.1\r\nHost: h\r\n\r\n')
        while b'tick' not in connection.recv(65536):
            pass
    proxy.wait_until(lambda: upstreams.server.cancelled > before, 'the upstream is left')


def test_a_client_that_goes_half_way_through_its_body(proxy: Any, upstreams: Upstreams) -> None:
    broken = threading.Event()

    def script(connection: socket.socket, server: Scripted) -> None:
        server.read_head(connection)
        received = b''
        try:
            while part := connection.recv(65536):
                received += part
        except OSError:
            pass
        assert not received.endswith(b'0\r\n\r\n')
        broken.set()

    upstreams.script = script
    with proxy.connect() as connection:
        connection.sendall(
            b'POST /odd/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n'
        )
        time.sleep(0.1)
    assert broken.wait(DEADLINE)


def test_websockets_are_refused(proxy: Any) -> None:
    status, _, _ = raw(
        proxy,
        '/x/',
        'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n',
    )
    assert status >= 400  # by the engine, where it recognises them


@contextlib.contextmanager
def hanging(proxy: Any, count: int) -> Iterator[None]:
    """So many clients whose requests hang at the upstream."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(proxy.connect())
            connection.sendall(b'GET /x/hang HTTP/1.1\r\nHost: h\r\n\r\n')
        yield


def test_no_service_thread_is_held(serve: Callable[..., Any], upstreams: Upstreams) -> None:
    """Many requests hang at the upstream, and the server answers."""
    known = [['@server', 'http', upstreams.server.address, {'max_conns': 64}]]
    settings = {'request_timeout': 20, 'threads': 1, 'queue': 0}
    proxy = start(serve, 'granian', known, [['/x', '@server', {}]], settings)
    with hanging(proxy, 30):
        proxy.wait_until(lambda: upstreams.server.hanging == 30, 'all hang')
        assert ask(proxy, '/x/').status_code == 200
        assert ask(proxy, '/').text == 'root'
    proxy.wait_until(lambda: not upstreams.server.hanging, 'nobody hangs')


@pytest.mark.parametrize('engine', ['granian', 'asgi'])
def test_more_than_may_wait_get_503(serve: Callable[..., Any], upstreams: Upstreams, engine: str) -> None:
    known = [['@server', 'http', upstreams.server.address, {'max_conns': 2}]]
    settings = {'request_timeout': 20, 'queue': 3, 'retry_after': 7}
    proxy = start(serve, engine, known, [['/x', '@server', {}]], settings)

    def asked(number: int) -> list[requests.Response]:
        try:
            answer = requests.get(proxy.url + '/x/', timeout=0.5)
        except requests.Timeout:  # there was room for it
            return []
        return [answer] if answer.status_code == 503 else []

    def refused() -> list[requests.Response]:  # more at once than there can be room for
        with futures.ThreadPoolExecutor(8) as pool:
            return [answer for found in pool.map(asked, range(8)) for answer in found][:1]

    with hanging(proxy, 12):
        (answer,) = proxy.wait_until(refused, '503')
    assert is_error(answer, 503)
    assert answer.headers['retry-after'] == '7'
    proxy.wait_until(lambda: not upstreams.server.hanging, 'nobody hangs')
    proxy.wait_until(lambda: ask(proxy, '/x/').status_code == 200, 'there is room again')


# -- members ---------------------------------------------------------------------------------------


def test_members_get_their_share_and_one_may_die(serve: Callable[..., Any]) -> None:
    """SPEC LB-02, LB-03."""
    one, two = Server('one'), Server('two')
    try:
        known = [['@both', 'http', [f'{one.address} 3', f'{two.address} 1'], {}]]
        proxy = start(serve, 'granian', known, [['/x', '@both', {}]])
        with requests.Session() as session:

            def shares(count: int) -> Any:
                names = [
                    session.get(proxy.url + '/x/', timeout=DEADLINE).json()['server'] for _ in range(count)
                ]
                return collections.Counter(names)

            assert shares(200) == {'one': 150, 'two': 50}
            one.stop()
            assert shares(50) == {'two': 50}
    finally:
        one.stop()
        two.stop()


def test_http2(launch: Any, upstreams: Upstreams) -> None:
    """Cookies in several fields, a body that no field announces."""
    client = launch(
        {
            'serve.py': f"""
            import skitai

            skitai.alias ('@up', skitai.PROTO_HTTP, '{upstreams.server.address}')
            skitai.mount ('/x', '@up')
            skitai.run ()
            """
        }
    )
    with httpx2.Client(http1=False, http2=True, base_url=client.base_url, timeout=DEADLINE) as session:
        answer = session.post(
            '/x/a?b', headers=[('Cookie', 'a=1'), ('Cookie', 'b=2')], content=iter([b'ab', b'c'])
        )
        assert answer.http_version == 'HTTP/2'
        told = answer.json()
        assert (told['method'], told['target'], told['length']) == ('POST', '/a?b', 3)
        fields = dict(told['headers'])
        assert fields['cookie'] == 'a=1; b=2'
        assert fields['via'] == '2 skitai'
        assert session.get('/x/size?n=1000000').content == b'x' * 1_000_000
        assert session.request('DELETE', '/x/').json()['length'] == 0


# -- the launch script -----------------------------------------------------------------------------

UPSTREAM = """
    import skitai
    from atila import Atila

    app = Atila (__name__)

    @app.route ('/hello', methods = ['GET', 'POST'])
    def hello (was):
        return was.API (body = len (was.request.body or b''))

    @app.route ('/away')
    def away (was):
        return was.redirect ('http://' + was.request.get_header ('host') + '/hello')

    if __name__ == '__main__':
        skitai.mount ('/', app)
        skitai.run (address = '127.0.0.1', workers = 2)
"""


def test_one_of_our_servers_behind_another(launch_module: Any) -> None:
    behind = launch_module()({'serve.py': UPSTREAM})
    port = behind.base_url.rpartition(':')[2].strip('/')
    front = launch_module()(
        {
            'serve.py': f"""
            import skitai

            skitai.alias ('@up', skitai.PROTO_HTTP, ['127.0.0.1:{port} 2', 'localhost:{port}'])
            skitai.mount ('/api', '@up', timeout = 10)
            skitai.run (workers = 2)
            """
        }
    )
    assert front.get('/api/hello').json()['body'] == 0
    assert front.post('/api/hello', data=b'x' * 1_000_000).json()['body'] == 1_000_000
    assert front.get('/api/away').headers['location'] == '/api/hello'
    assert front.get('/api/none').status_code == 404


@pytest.mark.parametrize(
    ('statement', 'message'),
    [
        ("skitai.mount ('/x', '@none')", "cannot mount '@none': alias '@none' is not registered"),
        (
            "skitai.mount ('/x', '@db')",
            "cannot mount '@db': alias @db is of type '*redis', which is no HTTP server",
        ),
        ("skitai.mount ('/x', '@up?x')", "cannot mount '@up?x'"),
        ("skitai.mount ('/x', '@up', timeout = 0)", 'timeout = 0: it takes seconds'),
        ("skitai.mount ('/x', '@up', tiemout = 5)", 'it takes timeout, not tiemout'),
    ],
)
def test_mistakes_are_told_at_the_start(launch: Any, statement: str, message: str) -> None:
    launch.write(
        {
            'serve.py': f"""
            import skitai

            skitai.alias ('@up', skitai.PROTO_HTTP, 'localhost:1')
            skitai.alias ('@db', skitai.DB_REDIS, 'localhost:1')
            {statement}
            skitai.run (port = 0)
            """
        }
    )
    process = launch.execute()
    assert process.wait() != 0
    assert message in process.output()
