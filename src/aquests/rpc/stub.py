"""The stub: attributes are names of methods (SPEC HC-05).

    with rpc.stub ('jsonrpc', send) as stub:
        task = stub.users.find (name = 'Hans')
        stub ['users.find-all'] ()              # a name that is no attribute
        stub._notify.users.seen (1)             # JSON-RPC: no answer

        calls = MultiCall (stub)                # several calls in one request
        calls.add (1, 2)
        calls.add (3, 4)
        task = calls ()                         # [3, 7]

All that a stub has itself begins with an underscore, so each other name is the server's, `stub.close ()` too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, Self

from ..task import Task
from .answers import Answer, answer, batch_answer, no_answer
from .protocol import Invocation, RPCProtocol

#: `call (method, args, kwargs)`
Call = Callable[[str, tuple[Any, ...], dict[str, Any]], Any]


class Send(Protocol):
    """The way to the server."""

    def __call__(
        self, method: str, body: bytes, content_type: str, answer: Answer, call: Invocation | None, /
    ) -> Task:
        """POST `body`, and make the Task of its answer.

        `method`: for messages and logs. `content_type`: of the body. `answer (status_code, reason,
        content_type, body)` gives the Task's value of what the server sent, or raises what it fails with
        (RPCError, BadAnswer, BadStatus); of several members' answers each is asked about. It takes as long as
        the answer is large: a long one is not to be read on the event loop. `call`: what the answer may be
        kept under, for a body may have an id which is another one each time; None for what is not kept.
        """


class _Names:
    """Whose attributes and items are methods."""

    __slots__ = ()

    def _call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Method:
        _refuse_inner(name)
        return Method(self._call, name)

    def __getitem__(self, name: str) -> Method:
        if not isinstance(name, str):
            raise TypeError(f'the name of a method is a str, not {name!r}')
        return Method(self._call, name)


class Method:
    """A name on its way: `method.name` is a longer one, `method (...)` the call."""

    __slots__ = ('_call', '_name')

    def __init__(self, call: Call, name: str) -> None:
        self._call, self._name = call, name

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._call(self._name, args, kwargs)

    def __getattr__(self, name: str) -> Method:
        _refuse_inner(name)
        return Method(self._call, f'{self._name}.{name}')

    def __repr__(self) -> str:
        return f'<method {self._name}: not called yet>'


class _Notify(_Names):
    """Calls of `tell`."""

    __slots__ = ('_tell',)

    def __init__(self, tell: Call) -> None:
        self._tell = tell

    def _call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._tell(method, args, kwargs)


def _refuse_inner(name: str) -> None:
    """What copy, pickle, Jinja and debuggers ask for is never meant for the server."""
    if name.startswith('_'):
        raise AttributeError(
            f"{name!r} is not looked up as an attribute: write stub ['{name}'], with all that comes before it"
        )


class Stub(_Names):
    """A server's methods. It holds no connection: use it as often, and by as many threads, as you like."""

    __slots__ = ('_protocol', '_send')

    def __init__(self, protocol: type[RPCProtocol], send: Send) -> None:
        self._protocol, self._send = protocol, send

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def __repr__(self) -> str:
        return f'<stub of {self._protocol.__name__}>'

    @property
    def _notify(self) -> _Names:
        """Calls without an answer: their Task's value is None when the server has taken them."""
        return _Notify(self._tell)

    def _call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        protocol = self._protocol()
        body = protocol.encode(method, args, kwargs)
        call = Invocation(method, args, kwargs)
        return self._post(method, body, partial(answer, protocol, protocol.decode), call)

    def _tell(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        protocol = self._protocol()
        body = protocol.encode_notification(method, args, kwargs)
        return self._post(method, body, partial(no_answer, protocol, None))

    def _invoke_all(self, calls: list[Invocation]) -> Task:
        protocol = self._protocol()
        body = protocol.encode_batch(calls)
        names = ', '.join(call.method for call in calls[:3]) + (', ...' if len(calls) > 3 else '')
        wanted = [call.method for call in calls if not call.notified]
        if not wanted:
            return self._post(names, body, partial(no_answer, protocol, []))
        return self._post(names, body, partial(batch_answer, protocol, wanted))

    def _post(self, method: str, body: bytes, answer: Answer, call: Invocation | None = None) -> Task:
        if not isinstance(body, bytes):
            raise TypeError(f'{self._protocol.__name__}.encode gave {type(body).__name__}, not bytes')
        return self._send(method, body, self._protocol.content_type, answer, call)


class MultiCall(_Names):
    """Calls that are collected, and sent in one request by `calls ()`.

    The Task's value is a list, with a value for each call (of JSON-RPC, for each that was no notification).
    If some failed so has the Task, with a BatchFailed, which holds the others' values. TypeError at the
    sending for a protocol that has no such thing. XML-RPC: `system.multicall`; JSON-RPC: a batch.
    """

    __slots__ = ('_calls', '_stub')

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._calls: list[Invocation] = []

    def __call__(self) -> Task:
        """Send them, once: what is collected after it is the next request. ValueError if there is none."""
        calls, self._calls = self._calls, []
        if not calls:
            raise ValueError('there is nothing to send: call methods of the MultiCall first')
        return self._stub._invoke_all(calls)

    def __repr__(self) -> str:
        return f'<MultiCall of {len(self._calls)}>'

    @property
    def _notify(self) -> _Names:
        """Calls without an answer."""
        return _Notify(partial(self._call, notified=True))

    def _call(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], notified: bool = False
    ) -> None:
        self._calls.append(Invocation(method, args, kwargs, notified))
