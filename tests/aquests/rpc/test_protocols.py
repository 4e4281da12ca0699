"""RPC protocols of one's own (SPEC DB-09)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from rpcpeers import Scripted, sending, serving

import skitai
from aquests import rpc
from aquests.aliases import PORTS, Aliases
from aquests.errors import BadAnswer, RPCError
from aquests.rpc import RPCProtocol, is_rpc, protocol_of


class PackRPC(RPCProtocol):
    """As documented at RPCProtocol."""

    content_type = 'application/msgpack'

    def encode(self, method: str, args: Any, kwargs: Any) -> bytes:
        return msgspec.msgpack.encode([method, args, kwargs])

    def decode(self, body: bytes) -> Any:
        try:
            ok, value = msgspec.msgpack.decode(body, type=tuple[bool, Any])
        except msgspec.DecodeError as error:
            raise BadAnswer(f'no answer of packrpc: {error}') from None
        if not ok:
            raise RPCError(1, value)
        return value


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, '_protocols', {})
    monkeypatch.setattr('aquests.rpc.PORTS', PORTS)
    for name in ('packrpc', 'PACK_2_rpc'):
        monkeypatch.setitem(PORTS, name, 0)
        monkeypatch.delitem(PORTS, name)


@pytest.fixture
def port() -> Iterator[int]:
    def reply(body: bytes) -> Any:
        method, args, kwargs = msgspec.msgpack.decode(body)
        if method == 'fail':
            return 500, 'application/msgpack', msgspec.msgpack.encode([False, 'it failed'])
        return b'\xc1' if method == 'break' else msgspec.msgpack.encode([True, [method, args, kwargs]])

    with serving(Scripted(reply, 'application/msgpack')) as port:
        yield port


def test_a_protocol_of_ones_own(port: int) -> None:
    skitai.add_http_rpc_proto('packrpc', PackRPC)
    with rpc.stub('packrpc', sending(port)) as stub:
        assert stub.a.b(1, x=b'2').fetch() == ['a.b', [1], {'x': b'2'}]
        with pytest.raises(RPCError, match=r'it failed \(1\)'):
            stub.fail().fetch()
        with pytest.raises(BadAnswer, match='no answer of packrpc'):
            stub['break']().fetch()


def test_its_name_is_a_type_of_aliases() -> None:
    register = Aliases()
    with pytest.raises(ValueError, match=r"type 'packrpc' is unknown: .*skitai.add_http_rpc_proto"):
        register.add('@pack', 'packrpc', 'localhost')
    skitai.add_http_rpc_proto('packrpc', PackRPC)
    alias = register.add('@pack', 'packrpc', ['user:pass@localhost/base', 'other:9000 2'])
    assert [(member.host, member.port, member.path) for member in alias.members] == [
        ('localhost', 80, 'base'),
        ('other', 9000, ''),
    ]


def test_the_register() -> None:
    assert not is_rpc('packrpc')
    with pytest.raises(LookupError, match="'packrpc' is no RPC protocol: there are jsonrpc, rpc, xmlrpc;"):
        protocol_of('packrpc')
    skitai.add_http_rpc_proto('packrpc', PackRPC)
    assert is_rpc('packrpc')
    assert protocol_of('packrpc') is PackRPC
    assert is_rpc('rpc')
    assert is_rpc('xmlrpc')
    assert is_rpc('jsonrpc')
    assert not is_rpc('grpc')


def test_a_later_class_replaces_an_earlier_one() -> None:
    class Other(PackRPC):
        pass

    skitai.add_http_rpc_proto('PACK_2_rpc', PackRPC)
    skitai.add_http_rpc_proto('PACK_2_rpc', Other)
    assert protocol_of('PACK_2_rpc') is Other


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('pack', r"ends with 'rpc', as in 'myrpc': 'pack'"),
        ('', "ends with 'rpc'"),
        (None, "ends with 'rpc'"),
        ('rpcs', "ends with 'rpc'"),
        ('*packrpc', 'cannot be written as was.<name>'),
        ('_packrpc', 'cannot be written as was.<name>'),
        ('pack-rpc', 'cannot be written as was.<name>'),
        ('2rpc', 'cannot be written as was.<name>'),
        ('rpc', 'rpc is a protocol that there is already'),
        ('xmlrpc', 'xmlrpc is a protocol that there is already'),
        ('jsonrpc', 'jsonrpc is a protocol that there is already'),
        ('grpc', 'grpc is a protocol that there is already'),
    ],
)
def test_names_that_cannot_be(name: Any, words: str) -> None:
    before = dict(PORTS)
    with pytest.raises(AssertionError, match=words):
        skitai.add_http_rpc_proto(name, PackRPC)
    assert before == PORTS


class WithoutDecode(RPCProtocol):
    content_type = 'a/b'

    def encode(self, method: str, args: Any, kwargs: Any) -> bytes:
        return b''


class WithoutEncode(RPCProtocol):
    content_type = 'a/b'

    def decode(self, body: bytes) -> Any: ...


class WithoutType(PackRPC):
    content_type = ''


class OddType(PackRPC):
    content_type = 'a/b\r\nX: y'


class OddSize(PackRPC):
    max_size = 0


class Async(PackRPC):
    async def decode(self, body: bytes) -> Any: ...


class Narrow(PackRPC):
    def encode(self, method: str) -> bytes:  # type: ignore[override]
        return b''


class Wide(PackRPC):
    def decode(self, body: bytes, more: int) -> Any: ...  # type: ignore[override]


class Arguments(PackRPC):
    def __init__(self, address: str) -> None: ...


@pytest.mark.parametrize(
    ('cls', 'words'),
    [
        (None, 'None is no RPC protocol: derive a class from aquests.rpc.RPCProtocol'),
        (object, 'is no RPC protocol: derive a class'),
        (PackRPC(), 'is no RPC protocol: derive a class'),
        (RPCProtocol, "RPCProtocol.content_type = ''"),
        (WithoutDecode, r'WithoutDecode must have a method decode \(self, body\)'),
        (WithoutEncode, r'WithoutEncode must have a method encode \(self, method, args, kwargs\)'),
        (WithoutType, "WithoutType.content_type = '': a media type is needed"),
        (OddType, 'OddType.content_type = '),
        (OddSize, 'OddSize.max_size = 0: a number of bytes'),
        (Async, r'Async.decode is async def: it does no I/O, write def decode \(self, body\)'),
        (Narrow, r'Narrow.encode \(self, method, args, kwargs\) is how it is called, but it takes \(method'),
        (Wide, r'Wide.decode \(self, body\) is how it is called, but it takes \(body: .*, more'),
        (Arguments, r'Arguments \(\) is how it is called, but it takes \(address'),
    ],
)
def test_classes_that_are_none(cls: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        skitai.add_http_rpc_proto('packrpc', cls)
    assert not is_rpc('packrpc')
    assert 'packrpc' not in PORTS


@pytest.mark.parametrize('kind', [staticmethod, classmethod])
def test_methods_of_any_kind(kind: Any) -> None:
    function = (lambda body: body) if kind is staticmethod else (lambda cls, body: body)
    cls = type('Made', (PackRPC,), {'decode': kind(function)})
    skitai.add_http_rpc_proto('packrpc', cls)
    assert protocol_of('packrpc') is cls
