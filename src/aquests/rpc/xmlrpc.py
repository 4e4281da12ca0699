"""XML-RPC, the client's side (SPEC HC-05; the specification is at xmlrpc.com/spec.md).

Needs defusedxml, of the extra [rpc].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..errors import BadAnswer, Fault
from .protocol import Invocation, RPCProtocol
from .xmlvalues import dump_call, load_response


class XMLRPC(RPCProtocol):
    """Methods have positional arguments only. Of a datetime with an offset the moment is sent in UTC, its
    microseconds are lost; numbers that are not finite are refused.

    Several calls in one request are a call of `system.multicall`.
    """

    content_type = 'text/xml'
    accepts: ClassVar[Sequence[str]] = ('application/xml',)

    _count = 0

    def encode(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        if kwargs:
            raise TypeError(
                f'{method}: XML-RPC has positional arguments only, but {", ".join(kwargs)} '
                f'{"is" if len(kwargs) == 1 else "are"} given by name'
            )
        return dump_call(method, args)

    def decode(self, body: bytes) -> Any:
        return load_response(body)

    def encode_batch(self, calls: Sequence[Invocation]) -> bytes:
        self._count = len(calls)
        for call in calls:
            if call.notified:
                self.encode_notification(*call[:3])  # which it has not
            self.encode(*call[:3])
        wanted = [{'methodName': call.method, 'params': call.args} for call in calls]
        return dump_call('system.multicall', (wanted,))

    def decode_batch(self, body: bytes) -> list[Any]:
        answers = load_response(body)
        if not isinstance(answers, list) or len(answers) != self._count:
            raise BadAnswer(f'system.multicall has no list of {self._count} answers')
        return [_one_of(answer) for answer in answers]


def _one_of(answer: Any) -> Any:
    """The value or Fault that system.multicall has for one of the calls."""
    if isinstance(answer, list) and len(answer) == 1:
        return answer[0]
    if isinstance(answer, dict) and 'faultCode' in answer and 'faultString' in answer:
        return Fault(answer['faultCode'], answer['faultString'])
    return BadAnswer('system.multicall has neither a value nor a fault for it')
