"""JSON-RPC 2.0, the client's side (SPEC HC-05; the specification is at jsonrpc.org)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..errors import BadAnswer, JSONRPCError, RPCError
from ..jsons import parsed, written
from .protocol import Invocation, RPCProtocol
from .values import shortened

#: Each call of this process has another one, so that no answer is taken for another call's.
_ids = itertools.count(1)


class JSONRPC(RPCProtocol):
    """Arguments are positional or named, never both; notifications, and batches for several calls.

    Values are JSON's, and what can be written so: dates as ISO 8601, bytes as base64, Decimal and UUID as
    text; numbers that are not finite are null. Answers of servers that speak JSON-RPC 1.0 are understood,
    too: there the one of result and error that does not count is null.
    """

    content_type = 'application/json-rpc'
    accepts: ClassVar[Sequence[str]] = ('application/json',)

    def __init__(self) -> None:
        #: Of what shall be answered, in the order of the calls.
        self._wanted: list[int] = []

    def encode(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        return written(self._request(Invocation(method, args, kwargs)))

    def encode_notification(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        return written(self._request(Invocation(method, args, kwargs, True)))

    def encode_batch(self, calls: Sequence[Invocation]) -> bytes:
        return written([self._request(call) for call in calls])

    def decode(self, body: bytes) -> Any:
        ident, value = _read(parsed(body))
        if ident != self._wanted[0] and not (ident is None and isinstance(value, RPCError)):
            raise BadAnswer(f'the answer is for another call: its id is {ident!r}, not {self._wanted[0]}')
        if isinstance(value, RPCError):
            raise value
        return value

    def decode_batch(self, body: bytes) -> list[Any]:
        answers = parsed(body)
        if not isinstance(answers, list):  # the batch as a whole was refused
            _, value = _read(answers)
            raise value if isinstance(value, RPCError) else BadAnswer('one answer for several calls')
        values: dict[Any, Any] = {}
        for ident, value in map(_read, answers):
            if ident is None:  # one whose id the server could not make out
                if not isinstance(value, RPCError):
                    raise BadAnswer('one of the answers has no id')
            elif ident in values or ident not in self._wanted:
                raise BadAnswer(f'one answer too many: its id is {ident}')
            values[ident] = value
        refused = values.get(None, BadAnswer('the server has not answered it'))
        return [values.get(ident, refused) for ident in self._wanted]

    def _request(self, call: Invocation) -> dict[str, Any]:
        method, args, kwargs, notified = call
        if args and kwargs:
            raise TypeError(f'{method}: arguments of JSON-RPC are positional or named, not both')
        request: dict[str, Any] = {'jsonrpc': '2.0', 'method': method}
        if args or kwargs:
            request['params'] = kwargs or args
        if not notified:
            request['id'] = next(_ids)
            self._wanted.append(request['id'])
        return request


def _read(answer: Any) -> tuple[Any, Any]:
    """(id, value or RPCError) of an answer; BadAnswer for what is none (section 5)."""
    if not isinstance(answer, dict) or answer.get('jsonrpc', '2.0') != '2.0':
        raise BadAnswer('the answer is no JSON-RPC 2.0')
    ident = answer.get('id')
    if not (ident is None or type(ident) is int):  # ours are numbers; true == 1, so types are looked at
        raise BadAnswer(f'the answer is for another call: its id is {shortened(repr(ident))}')
    error = answer.get('error')
    if error is None:
        if 'result' not in answer:
            raise BadAnswer('the answer has neither a result nor an error')
        return ident, answer['result']
    if answer.get('result') is not None:
        raise BadAnswer('the answer has both a result and an error')
    if not isinstance(error, dict) or type(error.get('code')) is not int or 'message' not in error:
        raise BadAnswer('the answer has an error without a code and a message')
    return ident, JSONRPCError(error['code'], str(error['message']), error.get('data'))
