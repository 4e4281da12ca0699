"""The stub: names on their way to a transport (SPEC HC-05)."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Sequence
from typing import Any

import pytest

from aquests import Mask, Task
from aquests.errors import BadAnswer, BatchFailed, RPCError
from aquests.rpc import Invocation, MultiCall, RPCProtocol, Stub


class ReprRPC(RPCProtocol):
    """What is called is the body, and the answer, too."""

    content_type = 'text/x-repr'

    def encode(self, method: str, args: Any, kwargs: Any) -> bytes:
        return repr((method, args, kwargs)).encode()

    def decode(self, body: bytes) -> Any:
        return body.decode()


class BatchRPC(ReprRPC):
    def encode_notification(self, method: str, args: Any, kwargs: Any) -> bytes:
        return b'!' + self.encode(method, args, kwargs)

    def encode_batch(self, calls: Sequence[Invocation]) -> bytes:
        return repr([tuple(call) for call in calls]).encode()

    def decode_batch(self, body: bytes) -> list[Any]:
        return [RPCError(1, 'no') if call[0] == 'fail' else call[0] for call in eval(body) if not call[3]]


def echo(method: str, body: bytes, content_type: str, answer: Any, call: Any) -> Task:
    assert content_type == 'text/x-repr'
    try:
        return Mask(answer(200, 'OK', content_type, body), meta={'method': method, 'body': body})
    except Exception as error:
        return Mask(None, error)


@pytest.fixture
def stub() -> Stub:
    return Stub(BatchRPC, echo)


@pytest.mark.parametrize(
    'name',
    [
        'add',
        'a.b.c',
        'close',
        'send',
        'call',
        'map',
        'lb',
        'fetch',
        'system.listMethods',
        'name',
        'self',
        'größe',
    ],
)
def test_every_name_is_the_servers(stub: Stub, name: str) -> None:
    with stub as same:
        method: Any = same
        for part in name.split('.'):
            method = getattr(method, part)
        assert method(1, self=2, method=3).fetch() == repr((name, (1,), {'self': 2, 'method': 3}))
        assert stub[name]().meta['method'] == name


@pytest.mark.parametrize('name', ['_', '_private', '__len__', '__deepcopy__', '__html__', '_repr_html_'])
def test_names_with_an_underscore_are_items(stub: Stub, name: str) -> None:
    for owner in (stub, stub.a, stub._notify, MultiCall(stub)):
        assert not hasattr(owner, name)
    with pytest.raises(
        AttributeError, match=rf"'{name}' is not looked up as an attribute: write stub \['{name}'\]"
    ):
        getattr(stub, name)
    with pytest.raises(AttributeError, match='is not looked up as an attribute'):
        getattr(stub.a.b, name)
    assert stub[name]().fetch() == repr((name, (), {}))
    assert stub['a'].b().fetch() == repr(('a.b', (), {}))


def test_what_python_does_with_objects_calls_nothing() -> None:
    def send(*args: Any) -> Task:
        raise AssertionError('nothing is to be sent')

    stub = Stub(BatchRPC, send)
    for thing in (stub, stub.add, MultiCall(stub)):
        repr(thing), bool(thing), str(thing), hash(thing), dir(thing), copy.copy(thing)
        with pytest.raises(TypeError):
            iter(thing).__next__()
        with pytest.raises(TypeError):
            'a' in thing  # noqa: B015
        with pytest.raises(TypeError):
            len(thing)
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        pickle.dumps(stub)
    assert repr(stub.a.b) == '<method a.b: not called yet>'
    assert repr(stub) == '<stub of BatchRPC>'


def test_a_method_may_be_kept(stub: Stub) -> None:
    add = stub.math.add
    assert add(1).fetch() == repr(('math.add', (1,), {}))
    assert add(2).fetch() == repr(('math.add', (2,), {}))
    assert add.more(3).fetch() == repr(('math.add.more', (3,), {}))


async def _awaited(stub: Stub) -> Any:
    return await stub.add(1)


def test_it_works_on_an_event_loop(stub: Stub) -> None:
    assert asyncio.run(_awaited(stub)) == repr(('add', (1,), {}))


def test_notifications(stub: Stub) -> None:
    task = stub._notify.a.b(1)
    assert task.fetch() is None
    assert task.meta['body'] == b"!('a.b', (1,), {})"


def test_several_calls(stub: Stub) -> None:
    calls = MultiCall(stub)
    assert calls.a(1) is None
    calls.b.c(x=2)
    calls._notify.d()
    calls['_e']()
    assert repr(calls) == '<MultiCall of 4>'
    task = calls()
    assert task.fetch() == ['a', 'b.c', '_e']
    assert task.meta['method'] == 'a, b.c, d, ...'
    assert eval(task.meta['body']) == [
        ('a', (1,), {}, False),
        ('b.c', (), {'x': 2}, False),
        ('d', (), {}, True),
        ('_e', (), {}, False),
    ]
    with pytest.raises(ValueError, match='nothing to send'):
        calls()


def test_one_of_several_calls_fails(stub: Stub) -> None:
    calls = MultiCall(stub)
    calls.a()
    calls.fail()
    task = calls()
    with pytest.raises(BatchFailed, match=r'fail: no \(1\)') as caught:
        task.fetch()
    assert caught.value.answers[0] == 'a'


def test_a_protocol_without_them() -> None:
    stub = Stub(ReprRPC, echo)
    with pytest.raises(TypeError, match='ReprRPC has no notifications'):
        stub._notify.a()
    calls = MultiCall(stub)
    calls.a()
    with pytest.raises(TypeError, match='ReprRPC has no calls of several methods in one request'):
        calls()


def test_a_body_that_is_none() -> None:
    class Odd(ReprRPC):
        def encode(self, method: str, args: Any, kwargs: Any) -> Any:
            return 'text'

    with pytest.raises(TypeError, match=r'Odd.encode gave str, not bytes'):
        Stub(Odd, echo).add()


def test_each_call_has_an_instance_of_its_own_for_all_its_answers() -> None:
    class Counting(ReprRPC):
        def encode(self, method: str, args: Any, kwargs: Any) -> bytes:
            assert not hasattr(self, 'said')
            self.said = method
            return b''

        def decode(self, body: bytes) -> Any:
            return self.said, body

    answers: list[Any] = []
    stub = Stub(Counting, lambda *sent: answers.append(sent[3]) or Mask())  # type: ignore[func-returns-value]
    stub.one()
    stub.two()
    for answer, name in zip(answers, ('one', 'two'), strict=True):
        for body in (b'x', b'y'):  # of two members
            assert answer(200, 'OK', '', body) == (name, body)


def test_an_answer_that_is_too_long_is_not_read() -> None:
    class Short(ReprRPC):
        max_size = 10

    with pytest.raises(BadAnswer, match='10 are read at most'):
        Stub(Short, echo).add(1, 2, 3).fetch()
