"""RPC over HTTP, the client's side (SPEC HC-05): what a call looks like, and what an answer means. No I/O.

    stub = rpc.stub ('xmlrpc', send)
    task = stub.add (156, 952)

`send` carries a body to the server and makes the Task (`stub.Send`). A protocol's module is loaded at its
first use. Protocols of one's own are added by `add_http_rpc_proto` and derived from `RPCProtocol`.

Shared: `_protocols` and `_told`, written before or while a server runs, read by all threads: by single
operations.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import NamedTuple

from ..aliases import PORTS, PROTO_HTTP, PROTO_HTTPS, WITH_TLS
from .protocol import Invocation, RPCProtocol, check
from .stub import MultiCall, Send, Stub


class _Module(NamedTuple):
    name: str
    cls: str
    extra: str


_XMLRPC = _Module('xmlrpc', 'XMLRPC', 'rpc')
_MODULES = {'rpc': _XMLRPC, 'xmlrpc': _XMLRPC, 'jsonrpc': _Module('jsonrpc', 'JSONRPC', '')}
#: Names that end so and are something else.
_TAKEN = (*_MODULES, 'grpc')
_protocols: dict[str, type[RPCProtocol]] = {}
_told: list[Callable[[str], object]] = []


def stub(name: str, send: Send) -> Stub:
    """A stub that speaks the protocol `name` by `send`. LookupError, ImportError: see `protocol_of`."""
    return Stub(protocol_of(name), send)


def is_rpc(name: str) -> bool:
    """Whether there is a protocol of that name, as a member of `was` or the type of an alias."""
    return name in _protocols or name in _MODULES


def protocol_of(name: str) -> type[RPCProtocol]:
    """The protocol of that name: rpc (which is xmlrpc), xmlrpc, jsonrpc, and those that were added.

    LookupError for any other name; ImportError, with what to install, where its package is missing.
    """
    protocol = _protocols.get(name)
    return protocol if protocol is not None else _load(name)


def _load(name: str) -> type[RPCProtocol]:
    module = _MODULES.get(name)
    if module is None:
        known = ', '.join(sorted({*_MODULES, *_protocols}))
        raise LookupError(
            f'{name!r} is no RPC protocol: there are {known}; others are added with skitai.add_http_rpc_proto'
        )
    try:
        protocol: type[RPCProtocol] = getattr(
            importlib.import_module(f'.{module.name}', __name__), module.cls
        )
    except ImportError as error:
        package = (error.name or '').partition('.')[0]
        if not module.extra or package == 'aquests':
            raise
        raise ImportError(
            f"{name} needs the package {package}: pip install 'atila[{module.extra}]'", name=error.name
        ) from None
    _protocols[name] = protocol
    return protocol


def add_http_rpc_proto(name: str, cls: type) -> None:
    """A protocol of one's own (SPEC DB-09): `was.<name> (alias)`, and `name` as an alias's type.

    `name` ends with 'rpc'; AssertionError if it does not, can be no attribute of `was`, or is taken.
    `cls`: derived from `RPCProtocol`, which says what it must have; TypeError if it has not. Called before
    `run`; a later class of the same name replaces an earlier one.
    """
    assert str(name).endswith('rpc'), f"the name of an RPC protocol ends with 'rpc', as in 'myrpc': {name!r}"
    assert re.fullmatch('[A-Za-z][A-Za-z0-9_]*', name), (
        f'{name!r} cannot be written as was.<name>: it begins with a letter, and has letters, digits and _'
    )
    assert name not in _TAKEN, f'{name} is a protocol that there is already'
    check(cls)
    _protocols[name] = cls
    PORTS[name] = PORTS[PROTO_HTTP]
    WITH_TLS[name] = PROTO_HTTPS
    for told in _told:
        told(name)


def when_added(told: Callable[[str], object]) -> None:
    """Have `told (name)` called for each protocol of one's own, those before this too."""
    _told.append(told)
    for name in list(_protocols):
        if name not in _TAKEN:
            told(name)


__all__ = [
    'Invocation',
    'MultiCall',
    'RPCProtocol',
    'Send',
    'Stub',
    'add_http_rpc_proto',
    'is_rpc',
    'protocol_of',
    'stub',
    'when_added',
]
