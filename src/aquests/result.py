"""How a Task ended (SPEC TK-10, TK-11).

A Result never changes; whoever has one has a finished Task. A failed one that nobody looked at is logged
when it is let go of (`unfetched`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Any

from .errors import BadStatus, Conflict, PartialNotFound, TaskCancelled, TaskTimeout
from .unfetched import Watch

#: How far an exchange came (SPEC TK-11). NORMAL: to its end, which need not be a success.
STA_UNSENT = 0
STA_REQFAIL = -1
STA_TIMEOUT = 1
STA_NETERR = 2
STA_NORMAL = 3

#: Status codes where there was no answer (SPEC TK-11).
CODE_NETERR = 702
CODE_TIMEOUT = 730
CODE_REQFAIL = 731


def only(data: Any) -> Any:
    """The one element of a list, value of a dict; what has no elements (a number, a text) itself (SPEC
    TK-05).
    """
    if isinstance(data, str | bytes | bytearray) or not isinstance(data, Sized):
        return data
    count = len(data)
    if count == 1:
        return next(iter(data.values() if isinstance(data, Mapping) else data))  # type: ignore[call-overload]
    if count == 0:
        raise PartialNotFound('one () found nothing')
    raise Conflict(f'one () found {count} elements')


class Result:
    """`status`: STA_*. `status_code`, `reason`: 200 OK, or an HTTP status; 702 where the network failed, 730
    for a timeout, 731 for what was cancelled or not begun, 500 for any other failure. `data`: the value; None
    if there is none. `error`: the exception that `fetch ()` raises, or None. `headers`: of an HTTP answer.
    """

    __slots__ = (
        '_content',
        '_traceback',
        '_watch',
        'data',
        'error',
        'headers',
        'reason',
        'status',
        'status_code',
    )

    def __init__(
        self,
        data: Any = None,
        error: BaseException | None = None,
        status: int = STA_NORMAL,
        status_code: int = 200,
        reason: str = 'OK',
        headers: Sequence[tuple[str, str]] = (),
        content: bytes | None = None,
    ) -> None:
        self.data = data
        self.error = error
        self.status = status
        self.status_code = status_code
        self.reason = reason
        self.headers = headers
        self._content = content
        self._traceback = None if error is None else error.__traceback__
        self._watch: Watch | None = None

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self.status_code} {self.reason}>'

    @property
    def content(self) -> bytes:
        """The bytes as they came; of a value that came otherwise its text as UTF-8."""
        if self._content is not None:
            return self._content
        if isinstance(self.data, bytes | bytearray):
            return bytes(self.data)
        return self.text.encode()

    @property
    def text(self) -> str:
        """The value as text; '' for None."""
        if isinstance(self.data, str):
            return self.data
        raw = self._content
        if raw is None and isinstance(self.data, bytes | bytearray):
            raw = bytes(self.data)
        if raw is not None:
            return raw.decode('utf-8', 'replace')
        return '' if self.data is None else str(self.data)

    def get_header(self, name: str, default: Any = None) -> Any:
        """The first value of a header field, whatever its case."""
        name = name.lower()
        return next((value for key, value in self.headers if key.lower() == name), default)

    def raise_for_status(self) -> Result:
        """Raise if the Task failed or its status code is 300 or more (SPEC TK-12); else the Result."""
        self.seen()
        if self.error is not None:
            try:
                # With the traceback of its origin, or each raising would make it longer.
                raise self.error.with_traceback(self._traceback)
            finally:
                del self  # see below
        if self.status_code >= 300:
            raise BadStatus(self.status_code, self.reason)
        return self

    reraise = raise_for_status

    # An error has a traceback, that has the frames which it has left, and who is `self` there has the error:
    # in such a circle all that those frames know, the caller's too, would wait for the garbage collector.

    def fetch(self, *args: Any, **kargs: Any) -> Any:
        """The data; raises as the Task's `fetch ()`."""
        if self.error is None and self.status_code < 300:
            return self.data
        try:
            return self.raise_for_status().data
        finally:
            del self

    def one(self, *args: Any, **kargs: Any) -> Any:
        """The only element; raises as the Task's `one ()`."""
        try:
            return only(self.raise_for_status().data)
        finally:
            del self

    def commit(self, *args: Any, **kargs: Any) -> None:
        """Raises as the Task's `commit ()`."""
        try:
            self.raise_for_status()
        finally:
            del self

    def cache(self, secs: float = 0, cache_if: Sequence[int] = (200,)) -> Result:
        """For results that can be kept; these are not (SPEC TK-18)."""
        return self

    def watch(self, name: str) -> None:
        """Log the failure unless it is `seen ()`."""
        if self.error is not None and not isinstance(self.error, TaskCancelled):
            self._watch = Watch(name, self.error)

    def seen(self) -> None:
        if self._watch is not None:
            self._watch.seen = True


class Success(Result):
    """A Result of nothing but a value: what most are. All else is the same for all of them."""

    __slots__ = ()

    error = None
    status = STA_NORMAL
    status_code = 200
    reason = 'OK'
    headers = ()
    _content = _traceback = _watch = None

    def __init__(self, data: Any) -> None:
        self.data = data

    def __repr__(self) -> str:
        return '<Result 200 OK>'

    def fetch(self, *args: Any, **kargs: Any) -> Any:
        return self.data


class Results(list[Any]):
    """The Results of several Tasks, or members (SPEC LB-04): a list, with theirs as lists."""

    __slots__ = ()

    @property
    def data(self) -> list[Any]:
        return [result.data for result in self]

    @property
    def text(self) -> list[str]:
        return [result.text for result in self]

    @property
    def status_code(self) -> list[int]:
        return [result.status_code for result in self]


def failure(error: BaseException) -> Result:
    """The Result of a Task that ended with `error`."""
    if isinstance(error, TaskTimeout):
        return Result(None, error, STA_TIMEOUT, CODE_TIMEOUT, 'Timeout')
    if isinstance(error, TaskCancelled):
        return Result(None, error, STA_REQFAIL, CODE_REQFAIL, 'Cancelled')
    return Result(None, error, STA_REQFAIL, 500, 'Task Failed')
