"""All keys, or all that is in one, a part at a time: what `db.scan_iter ()` and its like give."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from ..task import Task, refuse_on_loop


class Scan:
    """`for key in db.scan_iter ()` on a service thread, `async for` on an event loop; as often as one likes.

    What is there from the beginning to the end comes at least once, as Redis promises; all of it from one
    member, which the caller chose.
    """

    def __init__(self, what: str, ask: Callable[[Any], Task]) -> None:
        """`ask (cursor)`: the Task of the next cursor, 0 for none, and what was found."""
        self._what, self._ask = what, ask

    def __iter__(self) -> Iterator[Any]:
        refuse_on_loop(lambda: self._what)
        cursor: Any = 0
        while True:
            cursor, found = self._ask(cursor).fetch()
            yield from _each(found)
            if int(cursor) == 0:
                return

    async def __aiter__(self) -> AsyncIterator[Any]:
        cursor: Any = 0
        while True:
            cursor, found = await self._ask(cursor)
            for one in _each(found):
                yield one
            if int(cursor) == 0:
                return


def _each(found: Any) -> Iterable[Any]:
    return found.items() if isinstance(found, dict) else found
