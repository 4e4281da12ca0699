"""Tasks that are cancelled together, such as those of one request."""

from __future__ import annotations

from collections.abc import Callable

from .task import Task


class Scope:
    """Collects Tasks; finished ones are let go of.

    `on_wait`: called when a thread has waited for one of them, or for a group with one of them, for 50 ms,
    perhaps often, on that thread: for who can tell whether they are wanted any more, and has to look for it.
    It must not block.

    Shared by whoever makes Tasks and whoever finishes them: each step on the set is atomic, and `add` looks
    at `_cancelled` after it put the Task there, `cancel` sets it before it looks at the set.
    """

    __slots__ = ('__weakref__', '_cancelled', '_on_wait', '_tasks')

    def __init__(self, on_wait: Callable[[], object] | None = None) -> None:
        self._tasks: set[Task] = set()
        self._cancelled = False
        self._on_wait = on_wait

    def __len__(self) -> int:
        return len(self._tasks)

    def __bool__(self) -> bool:
        return True

    def add(self, task: Task) -> None:
        """From now on `task` is cancelled with the others; at once if they were."""
        if task.done():
            return
        self._tasks.add(task)
        task._scope = self
        if task.done():  # before that line: nobody else takes it away
            task._scope = None
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

    def waited_for(self) -> None:
        """For Tasks: a thread waits for one."""
        if self._on_wait is not None and not self._cancelled:
            self._on_wait()
