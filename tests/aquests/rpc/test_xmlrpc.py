"""XML-RPC against the standard library's server (SPEC HC-05)."""

from __future__ import annotations

import datetime
import pickle
import sys
from collections.abc import Iterator
from typing import Any
from xmlrpc.server import SimpleXMLRPCDispatcher, SimpleXMLRPCServer

import pytest
from hypothesis import HealthCheck, given, settings
from rpcpeers import Scripted, sending, serving, values

from aquests import rpc
from aquests.errors import BadAnswer, BadStatus, BatchFailed, Fault
from aquests.rpc import MultiCall, Stub


def divide(a: int, b: int) -> float:
    return a / b


@pytest.fixture(scope='module')
def server() -> Iterator[Stub]:
    """A stub of a server with add, divide, echo, math.add and what `system.` has."""
    server = SimpleXMLRPCServer(('127.0.0.1', 0), logRequests=False, allow_none=True, use_builtin_types=True)
    server.register_introspection_functions()
    server.register_multicall_functions()
    server.register_function(lambda a, b: a + b, 'add')
    server.register_function(lambda a, b: a + b, 'math.add')
    server.register_function(lambda *args: list(args), 'echo')
    server.register_function(lambda: 'closed', 'close')
    server.register_function(divide)
    with serving(server) as port:
        yield rpc.stub('xmlrpc', sending(port))


def scripted(reply: Any, content_type: str = 'text/xml') -> Any:
    return serving(Scripted(lambda body: reply, content_type))


def test_the_documented_call(server: Stub) -> None:
    """SPEC HC-05: `with was.xmlrpc ('@myapi/rpc2') as stub: task = stub.add (156, 952)`."""
    with server as stub:
        task = stub.add(156, 952)
        assert task.fetch() == 1108
        assert task.dispatch().data == 1108


def test_dotted_names(server: Stub) -> None:
    assert server.math.add(1, 2).fetch() == 3
    assert server['math.add'](1, 2).fetch() == 3
    assert 'add' in server.system.listMethods().fetch()
    assert server.close().fetch() == 'closed'


@given(values)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_values_there_and_back(server: Stub, value: Any) -> None:
    assert server.echo(value).fetch() == [value]


def test_large_values(server: Stub) -> None:
    said = {'bytes': b'\0' * 500_000, 'none': [None] * 10_000, 'when': datetime.datetime.max}
    assert server.echo(said).fetch() == [{**said, 'when': datetime.datetime(9999, 12, 31, 23, 59, 59)}]


def test_a_fault(server: Stub) -> None:
    task = server.divide(1, 0)
    with pytest.raises(Fault, match=r'ZeroDivisionError.*\(1\)') as caught:
        task.fetch()
    assert (caught.value.faultCode, caught.value.http_status) == (1, 502)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.faultCode, again.faultString) == (1, caught.value.faultString)


def test_arguments_have_no_names(server: Stub) -> None:
    with pytest.raises(TypeError, match='add: XML-RPC has positional arguments only, but b is given by name'):
        server.add(1, b=2)


def test_there_are_no_notifications(server: Stub) -> None:
    with pytest.raises(TypeError, match='XMLRPC has no notifications'):
        server._notify.add(1, 2)
    calls = MultiCall(server)
    calls._notify.add(1, 2)
    with pytest.raises(TypeError, match='XMLRPC has no notifications'):
        calls()


def test_several_calls_in_one_request(server: Stub) -> None:
    calls = MultiCall(server)
    calls.add(1, 2)
    calls.math.add(3, 4)
    calls.echo([1], None)
    assert calls().fetch() == [3, 7, [[1], None]]
    calls.close()  # the next request
    assert calls().fetch() == ['closed']


def test_one_of_several_calls_fails(server: Stub) -> None:
    calls = MultiCall(server)
    calls.add(1, 2)
    calls.divide(1, 0)
    calls.echo({'faultCode': 1, 'faultString': 'no fault'})
    with pytest.raises(BatchFailed, match=r'divide: .*ZeroDivisionError') as caught:
        calls().fetch()
    first, second, third = caught.value.answers
    assert (first, third) == (3, [{'faultCode': 1, 'faultString': 'no fault'}])
    assert isinstance(second, Fault)
    assert second.faultCode == 1


def test_a_server_without_multicall() -> None:
    dispatcher = SimpleXMLRPCDispatcher(allow_none=True)
    server = Scripted(dispatcher._marshaled_dispatch, 'text/xml')
    with serving(server) as port:
        calls = MultiCall(rpc.stub('xmlrpc', sending(port)))
        calls.add(1, 2)
        with pytest.raises(Fault, match='is not supported'):
            calls().fetch()


@pytest.mark.parametrize('answers', ['text', [], [[1], [2]], {'a': 1}])
def test_multicall_answers_that_are_none(answers: Any) -> None:
    dispatcher = SimpleXMLRPCDispatcher()
    dispatcher.register_function(lambda calls: answers, 'system.multicall')
    server = Scripted(dispatcher._marshaled_dispatch, 'text/xml')
    with serving(server) as port:
        calls = MultiCall(rpc.stub('xmlrpc', sending(port)))
        calls.add(1, 2)
        with pytest.raises(BadAnswer, match='no list of 1 answers'):
            calls().fetch()


def test_a_multicall_answer_that_is_neither_value_nor_fault() -> None:
    dispatcher = SimpleXMLRPCDispatcher()
    dispatcher.register_function(lambda calls: [[1, 2], [3]], 'system.multicall')
    server = Scripted(dispatcher._marshaled_dispatch, 'text/xml')
    with serving(server) as port:
        calls = MultiCall(rpc.stub('xmlrpc', sending(port)))
        calls.first()
        calls.second()
        with pytest.raises(BatchFailed, match=r'first: .* has neither') as caught:
            calls().fetch()
        assert caught.value.answers[1] == 3


def test_the_status_tells_where_the_body_does_not() -> None:
    with scripted((404, 'text/html', b'<p>no such page')) as port:
        task = rpc.stub('xmlrpc', sending(port)).add(1, 2)
        with pytest.raises(BadStatus, match='404'):
            task.fetch()


def test_a_fault_with_an_http_status() -> None:
    body = (
        b'<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>4</int></value>'
        b'</member><member><name>faultString</name><value>Too many</value></member></struct></value></fault>'
        b'</methodResponse>'
    )
    for content_type, error in (('Application/XML; charset=utf-8', Fault), ('text/html', BadStatus)):
        with scripted((500, content_type, body)) as port, pytest.raises(error):
            rpc.stub('xmlrpc', sending(port)).add().fetch()


def test_a_redirect_is_not_followed() -> None:
    """SPEC HC-07."""
    with scripted((302, 'text/xml', b'')) as port, pytest.raises(BadStatus, match='302'):
        rpc.stub('xmlrpc', sending(port)).add().fetch()


def test_an_answer_may_have_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc.protocol_of('xmlrpc'), 'max_size', 1000)
    with scripted(b' ' * 1001) as port, pytest.raises(BadAnswer, match='1001 bytes: 1000 are read at most'):
        rpc.stub('xmlrpc', sending(port)).add().fetch()


def test_rpc_is_xmlrpc() -> None:
    """SPEC HC-05."""
    assert rpc.protocol_of('rpc') is rpc.protocol_of('xmlrpc')


def test_without_defusedxml_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """SPEC GEN-04."""
    for name in list(sys.modules):
        if name.startswith(('defusedxml', 'aquests.rpc.xml')):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'defusedxml', None)
    monkeypatch.setattr(rpc, '_protocols', {})
    with pytest.raises(ImportError, match=r"xmlrpc needs the package defusedxml: pip install 'atila\[rpc\]'"):
        rpc.stub('xmlrpc', sending(1))
    assert rpc.protocol_of('jsonrpc').__name__ == 'JSONRPC'
