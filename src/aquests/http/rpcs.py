"""RPC over HTTP: the way to the server of the stubs in `rpc` (SPEC HC-05)."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable
from typing import Any

from .. import rpc
from ..aliases import Aliases, aliases
from ..rpc.answers import Answer as ReadAnswer
from ..task import Task
from .answer import Reading, Received
from .call import Caller, CallOptions
from .order import Order
from .stub import split_base


def rpc_stub(
    protocol: str,
    base: str,
    options: CallOptions,
    own: Callable[[Task], object] | None = None,
    register: Aliases = aliases,
    ids: tuple[str, str] | None = None,
) -> rpc.Stub:
    """A stub whose attributes are the methods of `base`, '@alias[/path]' or a URL; nothing is redirected.

    Arguments: see `Caller`. LookupError for a protocol that nobody added, ImportError where its package is
    missing; ValueError for headers with a Content-Type, which is the protocol's.
    """
    spoken = rpc.protocol_of(protocol)
    origin, target = split_base(base)
    caller = Caller(origin, options, own, register, ids)
    if any(name == 'content-type' for name, _ in caller.fields):
        raise ValueError(
            f'the Content-Type of {protocol} is {spoken.content_type}: leave it out of the headers'
        )
    fields = caller.with_accept(', '.join((spoken.content_type, *spoken.accepts)))

    def send(
        method: str, body: bytes, content_type: str, answer: ReadAnswer, call: rpc.Invocation | None, /
    ) -> Task:
        order = Order('POST', target, [*fields, ('content-type', content_type)], body, False)
        what = None if call is None else _key(call)
        if what is not None:
            what = (protocol, target, tuple(fields), what)
        reading = RPCReading(answer, options.max_size or spoken.max_size)
        return caller.send(order, reading, what, what is not None)

    return rpc.Stub(spoken, send)


class RPCReading(Reading):
    """An answer in an RPC protocol: its value is kept, for another one's body may not be for this call."""

    __slots__ = ('_answer',)

    def __init__(self, answer: ReadAnswer, max_size: int) -> None:
        super().__init__(max_size)
        self._answer = answer

    def read(self, received: Received) -> tuple[Any, BaseException | None]:
        try:
            return self._answer(received.status, received.reason, received.content_type, received.body), None
        except Exception as error:
            return None, error

    def kept(self, received: Received, data: Any) -> Any:
        return received._replace(body=b''), data

    def found(self, kept: Any) -> tuple[Received, Any]:
        received, data = kept
        return received, data


def _key(call: rpc.Invocation) -> Hashable:
    """`call` as a key; None where it has none. As bytes, in which 1, 1.0 and True are not the same."""
    try:
        return pickle.dumps(tuple(call))
    except Exception:
        return None
