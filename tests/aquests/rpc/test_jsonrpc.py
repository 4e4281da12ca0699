"""JSON-RPC against the examples of its specification, and jsonrpclib's server (SPEC HC-05)."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import json
import pickle
import uuid
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonrpclib.SimpleJSONRPCServer import SimpleJSONRPCServer  # type: ignore[import-untyped]
from rpcpeers import Scripted, sending, serving

from aquests import Record, rpc
from aquests.errors import BadAnswer, BadStatus, BatchFailed, JSONRPCError
from aquests.rpc import MultiCall, Stub

texts = st.text(st.characters(exclude_categories=['Cs']))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)


@pytest.fixture(scope='module')
def server() -> Iterator[Stub]:
    """jsonrpclib's server, with subtract, echo, divide and math.add; `told ()` gives what tell was told."""
    server = SimpleJSONRPCServer(('127.0.0.1', 0), logRequests=False)
    told: list[Any] = []
    server.register_function(lambda minuend, subtrahend: minuend - subtrahend, 'subtract')
    server.register_function(lambda a, b: a + b, 'math.add')
    server.register_function(lambda value: value, 'echo')
    server.register_function(lambda: 1 // 0, 'divide')
    server.register_function(told.append, 'tell')
    server.register_function(lambda: told, 'told')
    with serving(server) as port:
        yield rpc.stub('jsonrpc', sending(port))


@contextlib.contextmanager
def answering(*replies: Any, status: int = 200) -> Iterator[tuple[Stub, Scripted]]:
    """A server with prepared answers: bytes; or a function of the request, or another value, as JSON.

    '$id' in one is the request's id; of a batch '$0', '$1' and so on.
    """
    left = list(replies)

    def reply(body: bytes) -> Any:
        request, answer = json.loads(body), left.pop(0)
        if not isinstance(answer, bytes):
            answer = json.dumps(answer).encode()
        for number, call in enumerate(request if isinstance(request, list) else [request]):
            if 'id' in call:
                for name in ('"$id"', f'"${number}"'):
                    answer = answer.replace(name.encode(), str(call['id']).encode())
        return status, 'application/json', answer

    peer = Scripted(reply, 'application/json')
    with serving(peer) as port:
        yield rpc.stub('jsonrpc', sending(port)), peer


def asked(peer: Scripted) -> list[Any]:
    return [json.loads(body) for _, body in peer.got]


# -- a server ----------------------------------------------------------------------------------------


def test_positional_and_named_arguments(server: Stub) -> None:
    with server as stub:
        assert stub.subtract(42, 23).fetch() == 19
        assert stub.subtract(23, 42).fetch() == -19
        assert stub.subtract(subtrahend=23, minuend=42).fetch() == 19
        assert stub.math.add(1, 2).fetch() == 3


def test_never_both(server: Stub) -> None:
    with pytest.raises(TypeError, match='subtract: arguments of JSON-RPC are positional or named, not both'):
        server.subtract(42, subtrahend=23)


def test_errors_of_a_server(server: Stub) -> None:
    with pytest.raises(JSONRPCError) as caught:
        server.nothing().fetch()
    assert (caught.value.code, caught.value.http_status) == (-32601, 502)
    with pytest.raises(JSONRPCError, match='Server error'):
        server.divide().fetch()


def test_notifications_and_batches_of_a_server(server: Stub) -> None:
    assert server._notify.tell('a').fetch() is None
    calls = MultiCall(server)
    calls.subtract(3, 1)
    calls._notify.tell('b')
    calls.math.add(1, 2)
    calls.divide()
    with pytest.raises(BatchFailed, match='divide: Server error') as caught:
        calls().fetch()
    assert caught.value.answers[:2] == [2, 3]
    assert isinstance(caught.value.answers[2], JSONRPCError)
    calls._notify.tell('c')
    assert calls().fetch() == []
    assert server.told().fetch() == ['a', 'b', 'c']


@given(values)
@settings(deadline=None, max_examples=40)
def test_values_there_and_back(server: Stub, value: Any) -> None:
    # jsonrpclib looks for classes in objects that have this name.
    if '__jsonclass__' not in json.dumps(value):
        assert server.echo(value).fetch() == value


# -- the examples of the specification (section 7) ---------------------------------------------------


def test_example_positional_parameters() -> None:
    answer = {'jsonrpc': '2.0', 'result': 19, 'id': '$id'}
    with answering(answer) as (stub, peer):
        assert stub.subtract(42, 23).fetch() == 19
        [request] = asked(peer)
        assert request == {'jsonrpc': '2.0', 'method': 'subtract', 'params': [42, 23], 'id': request['id']}
        assert type(request['id']) is int
        assert peer.got[0][0] == 'application/json-rpc'


def test_example_named_parameters() -> None:
    answer = {'jsonrpc': '2.0', 'result': 19, 'id': '$id'}
    with answering(answer) as (stub, peer):
        assert stub.subtract(subtrahend=23, minuend=42).fetch() == 19
        [request] = asked(peer)
        assert request['params'] == {'subtrahend': 23, 'minuend': 42}


def test_example_a_notification() -> None:
    with answering(b'', b'', status=204) as (stub, peer):
        assert stub._notify.update(1, 2, 3, 4, 5).fetch() is None
        assert stub._notify.foobar().fetch() is None
        assert asked(peer) == [
            {'jsonrpc': '2.0', 'method': 'update', 'params': [1, 2, 3, 4, 5]},
            {'jsonrpc': '2.0', 'method': 'foobar'},
        ]


@pytest.mark.parametrize(
    ('answer', 'code', 'message'),
    [
        (
            b'{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "$id"}',
            -32601,
            'Method not found',
        ),
        (
            b'{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}',
            -32700,
            'Parse error',
        ),
        (
            b'{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}',
            -32600,
            'Invalid Request',
        ),
    ],
)
@pytest.mark.parametrize('status', [200, 400, 404, 500])
def test_example_errors(answer: bytes, code: int, message: str, status: int) -> None:
    with answering(answer, status=status) as (stub, _):
        with pytest.raises(JSONRPCError) as caught:
            stub.foobar().fetch()
        assert (caught.value.code, caught.value.message, caught.value.data) == (code, message, None)


def test_example_a_batch_that_is_refused() -> None:
    answer = {'jsonrpc': '2.0', 'error': {'code': -32700, 'message': 'Parse error'}, 'id': None}
    with answering(answer) as (stub, _):
        calls = MultiCall(stub)
        calls.sum(1, 2, 4)
        with pytest.raises(JSONRPCError, match='Parse error'):
            calls().fetch()


def test_example_a_batch() -> None:
    """In the specification's order of answers, which is not that of the calls here."""
    refused = {'jsonrpc': '2.0', 'error': {'code': -32600, 'message': 'Invalid Request'}, 'id': None}
    missing = {'jsonrpc': '2.0', 'error': {'code': -32601, 'message': 'Method not found'}, 'id': '$4'}
    answers = [
        {'jsonrpc': '2.0', 'result': ['hello', 5], 'id': '$5'},
        {'jsonrpc': '2.0', 'result': 7, 'id': '$0'},
        {'jsonrpc': '2.0', 'result': 19, 'id': '$2'},
        refused,
        refused,
        missing,
    ]
    with answering(answers) as (stub, peer):
        calls = MultiCall(stub)
        calls.sum(1, 2, 4)
        calls._notify.notify_hello(7)
        calls.subtract(42, 23)
        calls.foo(boo='far')
        calls.foo.get(name='myself')
        calls.get_data()
        with pytest.raises(BatchFailed, match='foo: Invalid Request') as caught:
            calls().fetch()
        got = [getattr(answer, 'code', answer) for answer in caught.value.answers]
        assert got == [7, 19, -32600, -32601, ['hello', 5]]
        [request] = asked(peer)
        assert [call['method'] for call in request] == [
            'sum',
            'notify_hello',
            'subtract',
            'foo',
            'foo.get',
            'get_data',
        ]
        assert 'id' not in request[1]
        assert len({call.get('id') for call in request}) == 6
        again = pickle.loads(pickle.dumps(caught.value))
        assert again.answers[:2] == [7, 19]


def test_example_a_batch_of_notifications() -> None:
    with answering(b'') as (stub, _):
        calls = MultiCall(stub)
        calls._notify.notify_sum(1, 2, 4)
        calls._notify.notify_hello(7)
        assert calls().fetch() == []


# -- answers -----------------------------------------------------------------------------------------


def test_the_data_of_an_error() -> None:
    answer = {'jsonrpc': '2.0', 'error': {'code': 7, 'message': 'no', 'data': {'why': [1]}}, 'id': '$id'}
    with answering(answer) as (stub, _), pytest.raises(JSONRPCError, match=r'no \(7\)') as caught:
        stub.foo().fetch()
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.code, again.message, again.data) == (7, 'no', {'why': [1]})


@pytest.mark.parametrize(
    ('answer', 'result'),
    [
        (b'{"jsonrpc": "2.0", "result": null, "id": "$id"}', None),
        (b'{"result": 1, "error": null, "id": "$id"}', 1),  # of JSON-RPC 1.0
        (
            b' {"jsonrpc": "2.0", "result": {"a": [1.5, 123456789012345678901]}, "id": "$id", "more": 1}\n',
            {'a': [1.5, 123456789012345678901]},
        ),
    ],
)
def test_results(answer: bytes, result: Any) -> None:
    with answering(answer) as (stub, _):
        assert stub.foo().fetch() == result


@pytest.mark.parametrize(
    ('answer', 'words'),
    [
        (b'', 'no JSON'),
        (b'<html>', 'no JSON'),
        (b'\xff', 'no JSON'),
        (b'{"jsonrpc": "2.0", "result": 1, "id"', 'no JSON'),
        (b'[' * 100_000, 'no JSON'),
        (b'{"jsonrpc": "2.0", "result": ' + b'[' * 50_000 + b']' * 50_000 + b', "id": "$id"}', 'no JSON'),
        (b'{"jsonrpc": "2.0", "result": 1e999, "id": "$id"}', 'no JSON'),
        (b'null', 'no JSON-RPC 2.0'),
        (b'[{"jsonrpc": "2.0", "result": 1, "id": "$id"}]', 'no JSON-RPC 2.0'),
        (b'{"jsonrpc": "3.0", "result": 1, "id": "$id"}', 'no JSON-RPC 2.0'),
        (b'{"jsonrpc": "2.0", "result": 1, "id": 0}', 'for another call: its id is 0'),
        (b'{"jsonrpc": "2.0", "result": 1, "id": null}', 'for another call: its id is None'),
        (b'{"jsonrpc": "2.0", "result": 1}', 'for another call: its id is None'),
        (b'{"jsonrpc": "2.0", "result": 1, "id": true}', 'for another call: its id is True'),
        (b'{"jsonrpc": "2.0", "result": 1, "id": "' + b'x' * 9999 + b'"}', 'for another call'),
        (b'{"jsonrpc": "2.0", "error": {"code": 1, "message": "m"}, "id": 0}', 'for another call'),
        (b'{"jsonrpc": "2.0", "id": "$id"}', 'neither a result nor an error'),
        (
            b'{"jsonrpc": "2.0", "result": 1, "error": {"code": 1, "message": "m"}, "id": "$id"}',
            'both a result and an error',
        ),
        (b'{"jsonrpc": "2.0", "error": "no", "id": "$id"}', 'an error without a code and a message'),
        (
            b'{"jsonrpc": "2.0", "error": {"code": "1", "message": "m"}, "id": "$id"}',
            'an error without a code',
        ),
        (b'{"jsonrpc": "2.0", "error": {"code": 1}, "id": "$id"}', 'an error without a code and a message'),
    ],
)
def test_answers_that_are_none(answer: bytes, words: str) -> None:
    with answering(answer) as (stub, _), pytest.raises(BadAnswer, match=words) as caught:
        stub.foo().fetch()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ('answer', 'words'),
    [
        (b'{"jsonrpc": "2.0", "result": 1, "id": "$0"}', 'one answer for several calls'),
        (b'[1]', 'no JSON-RPC 2.0'),
        (b'[{"result": 1, "id": "$0"}, {"result": 2, "id": "$0"}]', 'one answer too many'),
        (b'[{"result": 1, "id": "$0"}, {"result": 2, "id": 0}]', 'one answer too many: its id is 0'),
        (b'[{"result": 1, "id": "$0"}, {"result": 2, "id": null}]', 'one of the answers has no id'),
    ],
)
def test_answers_to_a_batch_that_are_none(answer: bytes, words: str) -> None:
    with answering(answer) as (stub, _):
        calls = MultiCall(stub)
        calls.a()
        calls.b()
        with pytest.raises(BadAnswer, match=words):
            calls().fetch()


def test_an_answer_that_is_missing_in_a_batch() -> None:
    with answering(b'[{"result": 1, "id": "$1"}]') as (stub, _):
        calls = MultiCall(stub)
        calls.a()
        calls.b()
        with pytest.raises(BatchFailed, match='a: the server has not answered it') as caught:
            calls().fetch()
        assert caught.value.answers[1] == 1
        assert isinstance(caught.value.answers[0], BadAnswer)


@given(st.binary() | values.map(json.dumps).map(str.encode))
def test_anything_else_is_a_bad_answer(body: bytes) -> None:
    call = rpc.protocol_of('jsonrpc')()
    call.encode('foo', (), {})
    with pytest.raises(BadAnswer):
        call.decode(body)


def test_an_error_page_is_its_status() -> None:
    with (
        answering(b'{"detail": "not found"}', status=404) as (stub, _),
        pytest.raises(BadStatus, match='404'),
    ):
        stub.foo().fetch()


def test_a_notification_that_is_not_taken_fails() -> None:
    error = {'jsonrpc': '2.0', 'error': {'code': -32600, 'message': 'Invalid'}, 'id': None}
    with answering(error, status=503) as (stub, _), pytest.raises(BadStatus, match='503'):
        stub._notify.foo().fetch()


# -- what is sent ------------------------------------------------------------------------------------


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ('said', 'sent'),
    [
        (Record(a=1), {'a': 1}),
        (MappingProxyType({'a': 1}), {'a': 1}),
        (Text('t'), 't'),
        (datetime.datetime(2026, 2, 3, tzinfo=datetime.UTC), '2026-02-03T00:00:00Z'),
        (decimal.Decimal('1.10'), '1.10'),
        (uuid.UUID(int=1), '00000000-0000-0000-0000-000000000001'),
        (b'x', 'eA=='),
        ((1, 2), [1, 2]),
    ],
)
def test_other_kinds_are_written_as_one_would_expect(said: Any, sent: Any) -> None:
    body = rpc.protocol_of('jsonrpc')().encode('foo', (said,), {})
    assert json.loads(body)['params'] == [sent]


def _endless() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    ('said', 'error', 'words'),
    [
        (lambda: object(), TypeError, 'object cannot be written as JSON'),
        (lambda: {(1,): 2}, TypeError, 'tuple cannot be written as JSON'),
        (lambda: '\ud800', ValueError, 'surrogates'),
        (_endless, ValueError, 'in itself'),
    ],
)
def test_what_cannot_be_said_is_refused_in_words(
    server: Stub, said: Callable[[], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        server.echo(said())
