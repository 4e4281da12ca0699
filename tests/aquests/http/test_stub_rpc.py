"""RPC over the HTTP client, against servers of the standard library and jsonrpclib (SPEC HC-05, DB-09)."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from xmlrpc.server import SimpleXMLRPCServer

import pytest
from jsonrpclib.SimpleJSONRPCServer import SimpleJSONRPCServer  # type: ignore[import-untyped]
from rpcpeers import Scripted, serving
from upstreams import refusing_port

import aquests
from aquests import cache, rpc
from aquests.aliases import Aliases
from aquests.errors import (
    BadAnswer,
    BadStatus,
    BatchFailed,
    Fault,
    JSONRPCError,
    NetworkError,
    RPCError,
    TaskTimeout,
)
from aquests.http.call import CallOptions
from aquests.http.rpcs import rpc_stub
from aquests.result import STA_NETERR, STA_NORMAL
from aquests.rpc import MultiCall, RPCProtocol

PROTOCOLS = ('xmlrpc', 'jsonrpc')


class Peers:
    """A server of each protocol; `calls`: of `count`."""

    def __init__(self) -> None:
        self.calls = 0
        self.slow = threading.Event()
        self.ports: dict[str, int] = {}

    def add_functions(self, server: Any) -> None:
        server.register_function(lambda a, b: a + b, 'add')
        server.register_function(lambda a, b: a + b, 'math.add')
        server.register_function(lambda: 1 // 0, 'fail')
        server.register_function(lambda size: 'x' * size, 'large')
        server.register_function(lambda seconds: self.slow.wait(seconds), 'slow')
        server.register_function(self._count, 'count')

    def _count(self, *args: Any) -> int:
        self.calls += 1
        return self.calls


@pytest.fixture(scope='module')
def peers() -> Iterator[Peers]:
    peers = Peers()
    by_xml = SimpleXMLRPCServer(('127.0.0.1', 0), logRequests=False, allow_none=True)
    by_xml.register_multicall_functions()
    by_json = SimpleJSONRPCServer(('127.0.0.1', 0), logRequests=False)
    for server in (by_xml, by_json):
        peers.add_functions(server)
    with serving(by_xml) as first, serving(by_json) as second:
        peers.ports = {'xmlrpc': first, 'jsonrpc': second}
        yield peers


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def make(peers: Peers, protocol: str) -> Callable[..., Any]:
    """`make (**options)`: a stub, by address."""
    return lambda **options: getattr(aquests, protocol)(
        f'http://127.0.0.1:{peers.ports[protocol]}/RPC2', **options
    )


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, 'cache', cache.Cache())


def test_the_documented_calls(make: Callable[..., Any]) -> None:
    with make() as stub:
        task = stub.add(156, 952)
        other = stub.math.add('a', 'b')
    assert (task.fetch(), other.fetch()) == (1108, 'ab')
    result = task.dispatch()
    assert (result.status, result.status_code, result.data) == (STA_NORMAL, 200, 1108)
    assert result.get_header('content-type')
    assert b'1108' in result.content


def test_errors(make: Callable[..., Any], protocol: str) -> None:
    error = Fault if protocol == 'xmlrpc' else JSONRPCError
    task = make().fail()
    with pytest.raises(error):
        task.fetch()
    result = task.dispatch()
    assert (result.status, result.status_code, result.data) == (STA_NORMAL, 500, None)
    assert result.content
    with pytest.raises(TypeError):
        make().add(object(), 1)


def test_several_calls_in_one_request(make: Callable[..., Any]) -> None:
    calls = MultiCall(make())
    calls.add(1, 2)
    calls.math.add(3, 4)
    assert calls().fetch() == [3, 7]
    calls.add(1, 2)
    calls.fail()
    with pytest.raises(BatchFailed) as caught:
        calls().fetch()
    assert caught.value.answers[0] == 3


def test_large_answers_are_read_up_to_a_bound(make: Callable[..., Any]) -> None:
    assert len(make().large(200_000).fetch()) == 200_000
    with pytest.raises(BadAnswer, match='more than 100000 bytes'):
        make(max_size=100_000).large(200_000).fetch()


def test_kept_values(make: Callable[..., Any], peers: Peers) -> None:
    """SPEC CA-02: of the same method and arguments; 1, 1.0 and True are not the same."""
    stub = make(use_cache=True)
    first = stub.count(1, ['a']).fetch()
    assert stub.count(1, ['a']).fetch() == first
    assert stub.count(True, ['a']).fetch() == first + 1
    assert stub.count(1.0, ['a']).fetch() == first + 2
    assert stub.count(1, ['a']).dispatch().status_code == 200
    assert make().count(1, ['a']).fetch() == first + 3
    for _ in range(2):
        with pytest.raises(RPCError):
            stub.fail().fetch()
    calls = MultiCall(stub)
    for expected in (4, 5):
        calls.count()
        assert calls().fetch() == [first + expected]


def test_options_of_tasks(make: Callable[..., Any]) -> None:
    stub = make(meta={'a': 1}, filter=lambda value: value * 2)
    task = stub.add(1, 2)
    assert (task.fetch(), task.meta) == (6, {'a': 1})


def test_time_is_up(make: Callable[..., Any], peers: Peers) -> None:
    peers.slow.clear()
    with pytest.raises(TaskTimeout):
        make(timeout=0.2).slow(5).fetch()
    peers.slow.set()


def test_members(peers: Peers, protocol: str) -> None:
    """SPEC LB-01, LB-04."""
    register = Aliases()
    register.add('@up', 'http', [f'127.0.0.1:{peers.ports[protocol]}', f'127.0.0.1:{refusing_port()}'])
    with rpc_stub(protocol, '@up/RPC2', CallOptions(everywhere=True), None, register) as stub:
        task = stub.add(1, 2)
    assert [result.status for result in task.dispatch()] == [STA_NORMAL, STA_NETERR]
    assert task.dispatch().data == [3, None]
    with pytest.raises(NetworkError):
        task.fetch()
    one = rpc_stub(protocol, '@up/RPC2', CallOptions(), None, register)
    assert [one.add(1, n).fetch() for n in range(4)] == [1, 2, 3, 4]


def test_what_is_sent() -> None:
    reply = json.dumps({'jsonrpc': '2.0', 'id': None, 'error': {'code': 5, 'message': 'no'}}).encode()
    peer = Scripted(lambda body: reply, 'application/json')
    heads: list[Any] = []
    peer.RequestHandlerClass = type(  # type: ignore[assignment]
        'Handler',
        (peer.RequestHandlerClass,),
        {
            'do_POST': lambda self: (
                heads.append((self.path, self.headers)),
                super(type(self), self).do_POST(),
            )
        },
    )
    with serving(peer) as port:
        stub = aquests.jsonrpc(f'http://127.0.0.1:{port}/a/b/?c=1', {'X-A': 'b'}, ('me', 'secret'))
        with pytest.raises(JSONRPCError, match='no'):
            stub.add(1).fetch()
    path, headers = heads[0]
    assert (path, headers['X-A']) == ('/a/b/?c=1', 'b')
    assert headers['Content-Type'] == 'application/json-rpc'
    assert headers['Accept'] == 'application/json-rpc, application/json'
    assert headers['User-Agent'] == 'aquests'
    assert headers['Authorization'] == 'Basic ' + base64.b64encode(b'me:secret').decode()


def test_a_server_that_has_no_rpc() -> None:
    with serving(Scripted(lambda body: (404, 'text/html', b'<p>none</p>'), 'text/html')) as port:
        task = aquests.xmlrpc(f'http://127.0.0.1:{port}/').add(1)
        with pytest.raises(BadStatus, match='404'):
            task.fetch()
        result = task.dispatch()
        assert (result.status, result.status_code, result.text) == (STA_NORMAL, 404, '<p>none</p>')
    with serving(Scripted(lambda body: b'<p>welcome</p>', 'text/html')) as port:
        task = aquests.xmlrpc(f'http://127.0.0.1:{port}/').add(1)
        with pytest.raises(BadAnswer):
            task.fetch()
        assert task.dispatch().text == '<p>welcome</p>'


def test_headers_that_are_the_protocols() -> None:
    with pytest.raises(
        ValueError, match=r'the Content-Type of jsonrpc is application/json-rpc: leave it out'
    ):
        aquests.jsonrpc('http://127.0.0.1/', {'Content-Type': 'text/plain'})


class ReversedRPC(RPCProtocol):
    content_type = 'text/x-reversed'

    def encode(self, method: str, args: Any, kwargs: Any) -> bytes:
        return ' '.join([method, *args]).encode()[::-1]

    def decode(self, body: bytes) -> str:
        return body.decode()


def test_a_protocol_of_ones_own_is_a_kind_of_http() -> None:
    """SPEC DB-09: also as the type of an alias."""
    rpc.add_http_rpc_proto('reversedrpc', ReversedRPC)
    register = Aliases()
    with serving(Scripted(lambda body: body[::-1], 'text/x-reversed')) as port:
        register.add('@up', 'reversedrpc', f'127.0.0.1:{port}/base')
        stub = rpc_stub('reversedrpc', '@up/rpc', CallOptions(), None, register)
        assert stub.say('a', 'b').fetch() == 'say a b'
    assert register.add('@tls', 'reversedrpc', 'localhost', ssl=True).members[0].port == 443
