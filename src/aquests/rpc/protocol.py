"""What an RPC protocol is (SPEC DB-09): the base class, and whether a class keeps to it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

#: Bytes that an answer may have if its protocol says nothing.
MAX_SIZE = 16 << 20

_MEDIA = re.compile(r'[!-~]+/[!-~]+(; *[ -~]+)?')


class Invocation(NamedTuple):
    """One of several calls in a request. `notified`: nobody wants its answer."""

    method: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    notified: bool = False


class RPCProtocol:
    """How a call is written and its answer is read.

        import msgspec
        from aquests.errors import BadAnswer, RPCError
        from aquests.rpc import RPCProtocol

        class PackRPC (RPCProtocol):
            content_type = 'application/msgpack'

            def encode (self, method, args, kwargs):
                return msgspec.msgpack.encode ([method, args, kwargs])

            def decode (self, body):
                try:
                    ok, value = msgspec.msgpack.decode (body, type = tuple [bool, Any])
                except msgspec.DecodeError as error:
                    raise BadAnswer (f'no answer of packrpc: {error}')
                if not ok:
                    raise RPCError (1, value)
                return value

        skitai.add_http_rpc_proto ('packrpc', PackRPC)

    An instance, made without arguments, is one request: `encode` is called first and once, where the call is
    made; `decode` on any thread, and more than once where several members are asked. What it must know of the
    call (an id, for instance) `encode` keeps on the instance. Neither may block.
    """

    #: Of the request, and wanted for the answer.
    content_type: ClassVar[str] = ''
    #: Other types that answers come in.
    accepts: ClassVar[Sequence[str]] = ()
    #: Bytes that an answer may have; a longer one is a BadAnswer.
    max_size: ClassVar[int] = MAX_SIZE

    def encode(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The request's body for `method (*args, **kwargs)`.

        TypeError or ValueError for what the protocol cannot say: they are raised where the call is made.
        """
        raise NotImplementedError

    def decode(self, body: bytes) -> Any:
        """The value that an answer's body holds, which is the Task's.

        RPCError if it tells that the method failed, BadAnswer if it cannot be read. It is asked about every
        answer with a status of 2xx, and about errors (4xx, 5xx) of the protocol's content type: there only
        an RPCError of it counts.
        """
        raise NotImplementedError

    # -- what not every protocol has ------------------------------------------------------------------

    def encode_notification(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """As `encode`, for a call without an answer. TypeError if there is no such thing."""
        raise TypeError(f'{type(self).__name__} has no notifications')

    def encode_batch(self, calls: Sequence[Invocation]) -> bytes:
        """As `encode`, for several calls, at least one. TypeError if there is no such thing."""
        raise TypeError(f'{type(self).__name__} has no calls of several methods in one request')

    def decode_batch(self, body: bytes) -> list[Any]:
        """For each call that was not `notified`, in their order: its value, or its RPCError or BadAnswer.

        RPCError, BadAnswer as `decode`, if the request failed as a whole.
        """
        raise NotImplementedError


def check(cls: Any) -> None:
    """TypeError, in words, for what is no class of a protocol."""
    if not isinstance(cls, type) or not issubclass(cls, RPCProtocol):
        raise TypeError(f'{cls!r} is no RPC protocol: derive a class from aquests.rpc.RPCProtocol')
    name = cls.__name__
    if not isinstance(cls.content_type, str) or not _MEDIA.fullmatch(cls.content_type):
        raise TypeError(
            f'{name}.content_type = {cls.content_type!r}: a media type is needed, such as application/msgpack'
        )
    if isinstance(cls.max_size, bool) or not isinstance(cls.max_size, int) or cls.max_size < 1:
        raise TypeError(f'{name}.max_size = {cls.max_size!r}: a number of bytes is needed')
    _check_call(f'{name} ()', cls, 0)
    for method, count in (('encode', 3), ('decode', 1)):
        function = getattr(cls, method)
        wanted = f'{method} (self, {"method, args, kwargs" if count == 3 else "body"})'
        if function is getattr(RPCProtocol, method):
            raise TypeError(f'{name} must have a method {wanted}')
        if inspect.iscoroutinefunction(function):
            raise TypeError(f'{name}.{method} is async def: it does no I/O, write def {wanted}')
        _check_call(f'{name}.{wanted}', getattr(cls.__new__(cls), method), count)


def _check_call(wanted: str, function: Any, count: int) -> None:
    signature = inspect.signature(function)
    try:
        signature.bind(*(None,) * count)
    except TypeError:
        raise TypeError(f'{wanted} is how it is called, but it takes {signature}') from None
