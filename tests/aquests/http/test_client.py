"""Requests to an alias's members and to URLs, on real servers (SPEC HC-01, LB-01 to LB-03, LB-05, TK-02)."""

from __future__ import annotations

import asyncio
import collections
import gzip
import json
import os
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tls import certificate
from upstreams import DEADLINE, Scripted, Server, answering, answering_once, refusing_port, run

import aquests
from aquests import http
from aquests.aliases import DB_REDIS, Aliases
from aquests.errors import (
    MalformedAnswer,
    NetworkError,
    PoolExhausted,
    TaskTimeout,
    UnknownAlias,
)
from aquests.http.clients import AliasClient, clusters
from aquests.http.request import Stream

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'


async def ask(client: Any, method: str = 'GET', target: str = '/', *args: Any, **options: Any) -> Any:
    """(status, body), as JSON where it is."""
    async with await client.request(method, target, *args, **options) as response:
        body = await response.read()
    return response.status, json.loads(body) if body.startswith(b'{') else body


async def in_parts(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


# -- what travels ----------------------------------------------------------------------------------


@pytest.fixture
def server(server_of: Callable[..., Server]) -> Server:
    return server_of('one')


def test_a_request_and_its_answer(server: Server, register: Callable[..., Aliases]) -> None:
    async def work() -> None:
        client = http.client('@up', register(server.address))
        async with await client.request('GET', '/a?b=c', {'X-Y': 'z'}) as response:
            assert (response.status, response.reason) == (200, 'OK')
            assert response.header('Content-Type') == 'application/json'
            assert response.header('none') is None
            assert response.url == f'http://{server.address}/a?b=c'
            seen = json.loads(await response.read())
        assert seen['headers'] == [['host', server.address], ['x-y', 'z']]
        assert (seen['method'], seen['target']) == ('GET', '/a?b=c')

    run(work)


@pytest.mark.parametrize(
    'target', ['/a%2Fb/..//%7E?x=%41&y=a+b&z', '/%2e%2e/x', '//x', '/a;b?c=/?d', '/\'"<>[]{}|\\^`']
)
def test_a_target_is_sent_byte_for_byte(
    server: Server, register: Callable[..., Aliases], target: str
) -> None:
    """SPEC TK-02: the member's base path is put before it."""
    base = http.client('@up/v1', register(f'{server.address}/api/'))
    assert run(ask, base, 'GET', target)[1]['target'] == '/api/v1' + target


def test_headers_are_sent_as_they_are(server: Server, register: Callable[..., Aliases]) -> None:
    fields = [('X-A', '1'), ('x-a', '2'), ('X-Text', 'grüß'), ('Host', 'other.example')]
    seen = run(ask, http.client('@up', register(server.address)), 'GET', '/', fields)[1]
    texts = [(name, value.encode('latin-1').decode()) for name, value in seen['headers']]
    assert texts == [('host', 'other.example'), ('x-a', '1'), ('x-a', '2'), ('x-text', 'grüß')]


def test_repeated_fields_of_an_answer_are_kept(server: Server, register: Callable[..., Aliases]) -> None:
    async def work() -> list[tuple[bytes, bytes]]:
        client = http.client('@up', register(server.address))
        async with await client.request('GET', '/fields?set-cookie=a&set-cookie=b') as response:
            return response.headers

    assert [value for name, value in run(work) if name == b'set-cookie'] == [b'a', b'b']


@pytest.mark.parametrize('size', [0, 1, 100_000, 3_000_000])
@pytest.mark.parametrize('method', ['POST', 'PUT', 'GET'])
def test_bodies_of_bytes(server: Server, register: Callable[..., Aliases], size: int, method: str) -> None:
    seen = run(ask, http.client('@up', register(server.address)), method, '/', (), b'x' * size)[1]
    assert seen['length'] == size
    assert dict(seen['headers'])['content-length'] == str(size)


def test_bodies_in_parts(server: Server, register: Callable[..., Aliases]) -> None:
    client = http.client('@up', register(server.address))
    seen = run(ask, client, 'POST', '/', (), in_parts(b'ab', b'', b'c' * 300_000))[1]
    assert seen['length'] == 300_002
    assert dict(seen['headers'])['transfer-encoding'] == 'chunked'
    seen = run(ask, client, 'POST', '/', (), Stream(in_parts(b'ab', b'c'), 3))[1]
    assert (seen['length'], dict(seen['headers'])['content-length']) == (3, '3')


@pytest.mark.parametrize(('length', 'how'), [(2, 'longer'), (4, 'shorter')])
def test_a_body_is_as_long_as_declared(
    server: Server, register: Callable[..., Aliases], length: int, how: str
) -> None:
    client = http.client('@up', register(server.address))
    with pytest.raises(ValueError, match=how):
        run(ask, client, 'PUT', '/', (), Stream(in_parts(b'ab', b'c'), length))
    assert run(ask, client)[0] == 200


def test_what_a_body_raises_is_raised(server: Server, register: Callable[..., Aliases]) -> None:
    class Mine(Exception): ...

    async def parts() -> AsyncIterator[bytes]:
        yield b'x'
        raise Mine

    client = http.client('@up', register(server.address))
    with pytest.raises(Mine):
        run(ask, client, 'PUT', '/', (), parts())


def test_what_a_body_raises_behind_the_answers_beginning(
    scripted: Callable[..., Scripted], register: Callable[..., Aliases]
) -> None:
    class Mine(Exception): ...

    def script(connection: socket.socket, server: Scripted) -> None:
        server.read_head(connection)
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n')
        while connection.recv(65536):
            pass

    async def work() -> None:
        begun = asyncio.Event()

        async def parts() -> AsyncIterator[bytes]:
            yield b'x'
            await begun.wait()
            raise Mine

        client = http.client('@up', register(scripted(script).address))
        async with await client.request('POST', '/', (), parts()) as response:
            begun.set()
            with pytest.raises(Mine):
                await response.read()

    run(work)


def test_a_head_does_not_wait_for_its_body(
    scripted: Callable[..., Scripted], register: Callable[..., Aliases]
) -> None:
    server = scripted(answering(OK))

    async def parts() -> AsyncIterator[bytes]:
        while not server.heads:
            await asyncio.sleep(0.005)
        yield b'x'

    assert run(ask, http.client('@up', register(server.address)), 'POST', '/', (), parts())[0] == 200


def test_credentials_become_basic_authentication(server: Server, register: Callable[..., Aliases]) -> None:
    client = http.client('@up', register(f'me:p%C3%A4ss@{server.address}'))
    seen = dict(run(ask, client)[1]['headers'])
    assert seen['authorization'] == 'Basic bWU6cMOkc3M='
    own = dict(run(ask, client, 'GET', '/', {'authorization': 'Bearer x'})[1]['headers'])
    assert own['authorization'] == 'Bearer x'


def test_answers_are_decoded_where_that_is_asked_for(
    scripted: Callable[..., Scripted], register: Callable[..., Aliases]
) -> None:
    packed = gzip.compress(b'text' * 1000)
    head = b'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n' % len(packed)
    server = scripted(answering(head + packed))
    client = http.client('@up', register(server.address))
    assert run(ask, client) == (200, packed)

    async def decoded() -> Any:
        return await ask(client, decompress=True)

    assert run(decoded) == (200, b'text' * 1000)
    assert b'ccept-' not in server.heads[0]
    assert b'Accept-Encoding: gzip' in server.heads[1]


def test_redirects_are_not_followed(server: Server, register: Callable[..., Aliases]) -> None:
    assert run(ask, http.client('@up', register(server.address)), 'GET', '/status/302')[0] == 302


@pytest.mark.parametrize(
    ('method', 'target'), [('HEAD', '/size?n=9'), ('GET', '/status/204'), ('GET', '/status/304')]
)
def test_answers_without_a_body(
    server: Server, register: Callable[..., Aliases], method: str, target: str
) -> None:
    client = http.client('@up', register(server.address))

    async def work() -> None:
        assert (await ask(client, method, target))[1] == b''
        assert (await ask(client))[1]['method'] == 'GET'

    run(work)


def test_an_answer_comes_in_parts_at_the_readers_pace(
    server: Server, register: Callable[..., Aliases]
) -> None:
    async def work() -> None:
        client = http.client('@up', register(server.address))
        async with await client.request('GET', '/size?n=200000000') as response:
            assert await response.part()
            sent = -1
            while sent != server.parts_sent:  # until the server can send no more
                sent = server.parts_sent
                await asyncio.sleep(0.05)
            assert server.parts_sent < 400  # of 3052
            size = 0
            async for part in response:
                size += len(part)
                assert len(part) < 2_000_000
            assert size > 199_000_000

    run(work)


def test_an_answer_that_is_too_long(server: Server, register: Callable[..., Aliases]) -> None:
    async def work() -> None:
        client = http.client('@up', register(server.address))
        async with await client.request('GET', '/size?n=1000') as response:
            with pytest.raises(ValueError, match='more than 999'):
                await response.read(999)

    run(work)


# -- connections -----------------------------------------------------------------------------------


def test_connections_are_kept(server: Server, register: Callable[..., Aliases]) -> None:
    async def work() -> None:
        client = http.client('@up', register(server.address))
        clients = {(await ask(client))[1]['client'] for _ in range(5)}
        assert len(clients) == 1
        async with await client.request('GET', '/size?n=1000000'):
            pass  # not read to its end: that connection cannot be used again
        assert (await ask(client))[1]['client'] not in clients

    run(work)


def test_no_more_than_max_conns(server: Server, register: Callable[..., Aliases]) -> None:
    """SPEC LB-05."""

    async def work() -> None:
        client = http.client('@up', register(server.address, max_conns=3))
        asking = [asyncio.ensure_future(ask(client, 'GET', '/hang')) for _ in range(6)]
        while server.hanging < 3:
            await asyncio.sleep(0.005)
        with pytest.raises(PoolExhausted, match='all 3 connections'):
            await client.request('GET', '/', timeout=0.2)
        assert len(server.seen) == 3
        server.release.set()
        assert {status for status, _ in await asyncio.gather(*asking)} == {200}

    run(work)


def test_shutdown_closes_connections_and_the_next_use_opens_new_ones(
    server: Server, register: Callable[..., Aliases]
) -> None:
    client = http.client('@up', register(server.address))
    url = http.client(f'http://{server.address}')
    first = run(ask, client)[1]['client'], run(ask, url)[1]['client']
    aquests.shutdown(2)
    second = run(ask, client)[1]['client'], run(ask, url)[1]['client']
    assert not set(first) & set(second)


def test_connections_do_not_keep_what_made_them(server: Server, register: Callable[..., Aliases]) -> None:
    """What a request's context holds ends with it, though its connection goes on."""
    import contextvars
    import gc

    class Held: ...

    held = contextvars.ContextVar[Held]('held')
    client = http.client('@up', register(server.address))

    def make() -> weakref.ref[Held]:
        value = Held()
        held.set(value)
        run(ask, client)
        return weakref.ref(value)

    reference = contextvars.copy_context().run(make)

    def is_gone() -> bool:
        gc.collect()
        return reference() is None

    deadline = time.monotonic() + DEADLINE
    while not is_gone():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_request_that_is_cancelled_gives_its_connection_back(
    server: Server, register: Callable[..., Aliases]
) -> None:
    async def work() -> None:
        client = http.client('@up', register(server.address, max_conns=1))
        asking = asyncio.ensure_future(ask(client, 'GET', '/hang'))
        while not server.hanging:
            await asyncio.sleep(0.005)
        asking.cancel()
        while not server.cancelled:
            await asyncio.sleep(0.005)
        assert (await ask(client))[0] == 200
        assert [seat.active for seat in client.seats] == [0]  # type: ignore[attr-defined]

    run(work)


def test_a_forked_child_has_connections_of_its_own(server: Server) -> None:
    program = f"""
import os
from aquests import Async, http

async def ask ():
    async with await http.client ('http://{server.address}').request ('GET', '/') as response:
        await response.read ()

Async (ask).fetch ()
child = os.fork ()
Async (ask).fetch ()
if not child:
    os._exit (0)
_, status = os.waitpid (child, 0)
Async (ask).fetch ()
print (status)
"""
    result = subprocess.run(
        [sys.executable, '-W', 'error', '-c', program],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, 'PYTHONPATH': 'src'},
    )
    assert (result.stdout.strip(), result.stderr) == ('0', '')


# -- members ---------------------------------------------------------------------------------------


def test_members_get_their_share(server_of: Callable[..., Server], register: Callable[..., Aliases]) -> None:
    """SPEC LB-01, LB-02."""
    one, two = server_of('one'), server_of('two')

    async def work() -> None:
        client = http.client('@up', register([f'{one.address} 3', f'{two.address} 1']))
        shares = collections.Counter([(await ask(client))[1]['server'] for _ in range(200)])
        assert shares == {'one': 150, 'two': 50}

    run(work)


@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_what_was_not_sent_goes_to_another_member(
    server: Server, register: Callable[..., Aliases], method: str
) -> None:
    """SPEC LB-03: also what must not be done twice, and a stream of which nothing was taken."""
    client = http.client('@up', register([f'127.0.0.1:{refusing_port()} 100', server.address]))
    for body in (b'x', in_parts(b'x')):
        assert run(ask, client, method, '/', (), body)[1]['length'] == 1
        assert isinstance(client, AliasClient)
        client.cluster.worked(client.seats[0])  # alive again, it is asked first again


def test_a_dead_member_is_left_alone(
    server_of: Callable[..., Server], register: Callable[..., Aliases]
) -> None:
    one, two = server_of('one'), server_of('two')
    client = http.client('@up', register([one.address, two.address]))
    assert isinstance(client, AliasClient)
    assert {run(ask, client)[1]['server'] for _ in range(4)} == {'one', 'two'}
    one.stop()
    assert {run(ask, client)[1]['server'] for _ in range(20)} == {'two'}
    assert client.seats[0].dead_until > time.monotonic() + 50
    two.stop()
    with pytest.raises(NetworkError, match='@up: 127'):
        run(ask, client)


def test_what_may_have_been_carried_out_is_not_sent_again(
    server: Server, scripted: Callable[..., Scripted], register: Callable[..., Aliases]
) -> None:
    silent = scripted(lambda connection, this: this.read_head(connection))
    client = http.client('@up', register([f'{silent.address} 1000', server.address]))
    assert isinstance(client, AliasClient)
    with pytest.raises(NetworkError) as raised:
        run(ask, client, 'POST', '/')
    assert raised.value.sent
    assert server.seen == []
    client.cluster.worked(client.seats[0])
    assert run(ask, client, 'PUT', '/', (), b'again')[1]['length'] == 5
    client.cluster.worked(client.seats[0])
    with pytest.raises(NetworkError):
        run(ask, client, 'PUT', '/', (), in_parts(b'only once'))
    assert [method for method, _ in server.seen] == ['PUT']


def test_a_stream_is_never_sent_empty(
    scripted: Callable[..., Scripted], register: Callable[..., Aliases]
) -> None:
    """The connection breaks when the whole body was taken: a second attempt would have nothing left."""
    bodies = []

    def script(connection: socket.socket, server: Scripted) -> None:
        if server.read_head(connection):
            body = b''
            while not body.endswith(b'0\r\n\r\n'):
                body += connection.recv(65536)
            bodies.append(body)

    client = http.client('@up', register(scripted(script).address))
    with pytest.raises(NetworkError):
        run(ask, client, 'PUT', '/', (), in_parts(b'abc'))
    assert bodies == [b'3\r\nabc\r\n0\r\n\r\n']


def test_a_kept_connection_that_was_closed_is_no_dead_member(
    scripted: Callable[..., Scripted], register: Callable[..., Aliases]
) -> None:
    """It is closed at the very moment that the second request arrives."""

    def script(connection: socket.socket, server: Scripted) -> None:
        server.read_head(connection)
        connection.sendall(OK)
        server.read_head(connection)

    server = scripted(script)
    client = http.client('@up', register([server.address, f'127.0.0.1:{refusing_port()}']))
    assert isinstance(client, AliasClient)
    client.cluster.failed(client.seats[1])

    async def work() -> None:
        assert (await ask(client, 'POST'))[0] == 200
        with pytest.raises(NetworkError) as raised:
            await ask(client, 'POST')
        assert raised.value.sent
        assert client.seats[0].failures == 0
        assert (await ask(client))[0] == 200
        assert (await ask(client))[0] == 200  # what may be done twice is

    run(work)


def test_a_timeout_is_not_tried_again(
    server_of: Callable[..., Server], register: Callable[..., Aliases]
) -> None:
    """SPEC LB-03."""
    one, two = server_of('one'), server_of('two')

    async def work() -> None:
        client = http.client('@up', register([one.address, two.address]))
        with pytest.raises(TaskTimeout, match=r'no answer within 0\.2 s'):
            await client.request('GET', '/hang', timeout=0.2)
        assert [seat.failures for seat in client.seats] == [0, 0]  # type: ignore[attr-defined]
        assert len(one.seen) + len(two.seen) == 1

    run(work)


def test_the_time_does_not_run_while_a_body_is_made(server: Server, register: Callable[..., Aliases]) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(4):
            await asyncio.sleep(0.2)
            yield b'x'

    async def work() -> None:
        client = http.client('@up', register(server.address))
        assert (await ask(client, 'POST', '/', (), parts(), timeout=0.5))[1]['length'] == 4

    run(work)


def test_a_server_that_takes_nothing_of_a_body(
    scripted: Callable[..., Scripted], register: Callable[..., Aliases]
) -> None:
    def script(connection: socket.socket, server: Scripted) -> None:
        server.read_head(connection)
        while not gone.wait(0.01):
            pass

    import threading

    gone = threading.Event()
    client = http.client('@up', register(scripted(script).address))

    async def work() -> None:
        body = in_parts(*[b'x' * 100_000] * 1000)
        with pytest.raises(TaskTimeout):
            await client.request('POST', '/', (), body, timeout=0.5)
        with pytest.raises(TaskTimeout):
            await client.request('POST', '/', (), b'x' * 50_000_000, timeout=0.5)

    try:
        run(work)
    finally:
        gone.set()


@pytest.mark.parametrize(
    'answer',
    [
        b'nonsense\r\n\r\n',
        b'HTTP/1.1 abc OK\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcxx',
        b'HTTP/1.1 200 OK\r\nX: ' + b'y' * 100_000 + b'\r\n\r\n',
    ],
)
def test_an_answer_that_is_no_http(
    server: Server, scripted: Callable[..., Scripted], register: Callable[..., Aliases], answer: bytes
) -> None:
    odd = scripted(answering_once(answer))
    client = http.client('@up', register([f'{odd.address} 1000', server.address]))
    with pytest.raises(MalformedAnswer, match='not HTTP'):
        run(ask, client)
    assert isinstance(client, AliasClient)
    assert (server.seen, client.seats[0].failures) == ([], 0)


@pytest.mark.parametrize(
    'answer',
    [
        b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n',
    ],
)
def test_an_answer_that_breaks_off(
    scripted: Callable[..., Scripted], register: Callable[..., Aliases], answer: bytes
) -> None:
    client = http.client('@up', register(scripted(answering_once(answer)).address))

    async def work() -> None:
        response = await client.request('GET', '/')
        assert await response.part() == b'abc'
        with pytest.raises(NetworkError, match='broke off'):
            await response.part()
        assert client.seats[0].failures == 1  # type: ignore[attr-defined]
        assert client.seats[0].active == 0  # type: ignore[attr-defined]

    run(work)


def test_an_answer_that_stops_coming(
    scripted: Callable[..., Scripted], register: Callable[..., Aliases]
) -> None:
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc'
    client = http.client('@up', register(scripted(answering(answer)).address))

    async def work() -> None:
        response = await client.request('GET', '/', timeout=0.2)
        assert await response.part() == b'abc'
        with pytest.raises(TaskTimeout):
            await response.part()

    run(work)


def test_early_answers_to_uploads(
    scripted: Callable[..., Scripted], register: Callable[..., Aliases]
) -> None:
    """The server answers and closes before it has read the body: the answer counts."""

    def script(connection: socket.socket, server: Scripted) -> None:
        server.read_head(connection)
        connection.sendall(b'HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig')
        server.read_head(connection)

    client = http.client('@up', register(scripted(script).address))

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b'x' * 1000
            await asyncio.sleep(0.01)

    assert run(ask, client, 'POST', '/', (), endless()) == (413, b'big')


# -- URLs, and what cannot be ----------------------------------------------------------------------


def test_a_url_needs_no_alias(server: Server) -> None:
    client = http.client(f'http://me:pw@{server.address}/base')
    seen = run(ask, client, 'POST', '/x', (), b'abc')[1]
    assert (seen['target'], seen['length']) == ('/base/x', 3)
    assert dict(seen['headers'])['authorization'].startswith('Basic ')


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(NetworkError, match='cannot be reached') as raised:
        run(ask, http.client(f'http://127.0.0.1:{refusing_port()}'))
    assert not raised.value.sent
    with pytest.raises(NetworkError, match='cannot be reached') as raised:
        run(ask, http.client('http://nowhere.invalid'))
    assert not raised.value.sent


def test_a_certificate_that_nobody_vouches_for(
    server_of: Callable[..., Server], register: Callable[..., Aliases], tmp_path: Any
) -> None:
    pem = str(certificate(tmp_path / 'server.pem'))
    server = server_of('tls', ssl_certfile=pem)
    client = http.client('@up', register(f'localhost:{server.port}', ssl=True))
    with pytest.raises(NetworkError, match='its certificate is not trusted') as raised:
        run(ask, client)
    assert not raised.value.sent
    program = f"""
from aquests import Async, http
from aquests.aliases import PROTO_HTTPS, aliases

async def ask ():
    async with await http.client ('@up').request ('GET', '/') as response:
        print (response.status)

aliases.add ('@up', PROTO_HTTPS, 'localhost:{server.port}')
Async (ask).fetch ()
"""
    result = subprocess.run(
        [sys.executable, '-W', 'error', '-c', program],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, 'SSL_CERT_FILE': pem},
    )
    assert (result.stdout.strip(), result.stderr) == ('200', '')


def test_names_that_lead_nowhere(register: Callable[..., Aliases]) -> None:
    with pytest.raises(UnknownAlias):
        http.client('@none', register('h'))
    with pytest.raises(TypeError, match='no HTTP server'):
        http.client('@up', register('h', type=DB_REDIS))
    with pytest.raises(ValueError):
        http.client('h:80')


def test_without_aiohttp_the_error_names_the_extra() -> None:
    program = """
import sys
sys.modules ['aiohttp'] = None
from aquests import http
try:
    http.client ('http://h')
except ImportError as error:
    print (error)
"""
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=DEADLINE)
    assert "pip install 'atila[http]'" in result.stdout


def test_clients_of_one_alias_share_its_members(server: Server, register: Callable[..., Aliases]) -> None:
    aliases = register(server.address)
    one, two = http.client('@up', aliases), http.client('@up/x', aliases)
    assert isinstance(one, AliasClient)
    assert isinstance(two, AliasClient)
    assert one.cluster is two.cluster
    assert clusters.of(one.alias, lambda *_: pytest.fail('made already')) is one.cluster
