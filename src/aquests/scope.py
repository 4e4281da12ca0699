"""Tasks that are cancelled together, such as those of one request."""

from __future__ import annotations

from .task import Task


class Scope:
    """Collects Tasks; finished ones are let go of.

    Shared by whoever makes Tasks and whoever finishes them: each step on the set is atomic, and `add` looks
    at `_cancelled` after it put the Task there, `cancel` sets it before it looks at the set.
    """

    __slots__ = ('_cancelled', '_tasks')

    def __init__(self) -> None:
        self._tasks: set[Task] = set()
        self._cancelled = False

    def __len__(self) -> int:
        return len(self._tasks)

    def __bool__(self) -> bool:
        return True

    def add(self, task: Task) -> None:
        """From now on `task` is cancelled with the others; at once if they were."""
        if task.done():
            return
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._cancelled:
            task.cancel()

    def cancel(self) -> None:
        """Cancel all that are not finished, and those to come."""
        self._cancelled = True
        while self._tasks:
            try:
                task = self._tasks.pop()
            except KeyError:
                return
            task.cancel()
