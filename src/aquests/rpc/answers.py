"""From an HTTP answer to a value: what of it counts, its status or its body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..errors import BadAnswer, BadStatus, BatchFailed, RPCError
from .protocol import RPCProtocol

#: `answer (status_code, reason, content_type, body)`: the value; raises RPCError, BadAnswer, BadStatus.
Answer = Callable[[int, str, str, bytes], Any]


def answer(
    protocol: RPCProtocol,
    decode: Callable[[bytes], Any],
    status_code: int,
    reason: str,
    content_type: str,
    body: bytes,
) -> Any:
    """What the body says; of an error the status, unless the body says in the protocol what is wrong."""
    if not 200 <= status_code < 300:
        if status_code >= 400 and _is_ours(protocol, content_type):
            _raise_error_of(protocol, decode, body)
        raise BadStatus(status_code, reason)
    if len(body) > protocol.max_size:
        raise BadAnswer(f'the answer has {len(body)} bytes: {protocol.max_size} are read at most')
    return decode(body)


def no_answer(
    protocol: RPCProtocol, value: Any, status_code: int, reason: str, content_type: str, body: bytes
) -> Any:
    """`value`, for what was only to be delivered."""
    return answer(protocol, lambda body: value, status_code, reason, content_type, body)


def batch_answer(
    protocol: RPCProtocol,
    methods: Sequence[str],
    status_code: int,
    reason: str,
    content_type: str,
    body: bytes,
) -> list[Any]:
    """The values of several calls; BatchFailed if one of them failed. `methods`: their names."""
    return answer(  # type: ignore[no-any-return]
        protocol, partial(_values, protocol, methods), status_code, reason, content_type, body
    )


def _values(protocol: RPCProtocol, methods: Sequence[str], body: bytes) -> list[Any]:
    values = protocol.decode_batch(body)
    for method, value in zip(methods, values, strict=True):
        if isinstance(value, RPCError):
            raise BatchFailed(value.code, f'{method}: {value.message}', values)
        if isinstance(value, BadAnswer):
            raise BatchFailed(None, f'{method}: {value}', values)
    return values


def _is_ours(protocol: RPCProtocol, content_type: str) -> bool:
    media = content_type.partition(';')[0].strip().lower()
    ours = (protocol.content_type, *protocol.accepts)
    return any(media == name.partition(';')[0].strip().lower() for name in ours)


def _raise_error_of(protocol: RPCProtocol, decode: Callable[[bytes], Any], body: bytes) -> None:
    """Raise the RPCError that is told by the body of an HTTP error; nothing else of it counts."""
    if len(body) <= protocol.max_size:
        try:
            decode(body)
        except BadAnswer:
            pass
