"""What a request holds for a while, a connection above all, and gives back when the request ends."""

from __future__ import annotations

from collections.abc import Callable

from ..result import Result
from ..task import Task


class Lease(Task):
    """Stands for what is held among a request's Tasks: cancelled with them, it calls `close`.

    `close` is called on any thread and must not block. `what`: for messages. Who closed it calls `end`. It
    should not refer to who holds the Lease, who could not be let go of then.
    """

    __slots__ = ('_close', '_what')

    def __init__(self, close: Callable[[], None], what: str) -> None:
        self._close, self._what = close, what
        super().__init__(timeout=None)

    def end(self) -> bool:
        """What was held is given back; False if that was so already."""
        return self._settle(Result())

    def _stop(self) -> None:
        self._close()

    def _describe(self) -> str:
        return self._what
