"""Tasks that are cancelled together, such as those of one request."""

from __future__ import annotations

from collections.abc import Callable

from .task import Task

#: So many are kept before finished ones are let go of.
_MANY = 64


class Scope:
    """Collects Tasks; when there are many, finished ones are let go of.

    `on_wait`: called when a thread has waited for one of them, or for a group with one of them, for 50 ms,
    perhaps often, on that thread: for who can tell whether they are wanted any more, and has to look for it.
    It must not block.

    Shared by all who make Tasks: each step on the list is atomic; whoever puts a Task there looks at
    `_cancelled` afterwards, and `cancel` sets it before it takes them out, the latest first.
    """

    __slots__ = ('__weakref__', '_cancelled', '_full', '_on_wait', '_tasks')

    def __init__(self, on_wait: Callable[[], object] | None = None) -> None:
        self._tasks: list[Task] = []
        self._full = _MANY
        self._cancelled = False
        self._on_wait = on_wait

    def __len__(self) -> int:
        """How many are not finished."""
        return sum(not task.done() for task in list(self._tasks))

    def __bool__(self) -> bool:
        return True

    def add(self, task: Task) -> None:
        """From now on `task` is cancelled with the others; at once if they were."""
        if task._result is not None:
            return
        task._scope = self
        if task._result is not None:  # before that line: nobody else takes it away
            task._scope = None
        tasks = self._tasks
        tasks.append(task)
        if self._cancelled:
            task.cancel()
        if len(tasks) > self._full:
            self._let_go()

    def _let_go(self) -> None:
        """Drop those that are finished; taken out one by one, so that others may add or cancel meanwhile."""
        tasks, kept = self._tasks, []
        try:
            for _ in range(len(tasks)):
                task = tasks.pop()
                if not task.done():
                    kept.append(task)
        except IndexError:  # cancelled meanwhile
            pass
        tasks.extend(reversed(kept))
        if self._cancelled:
            self.cancel()
        self._full = max(2 * len(tasks), _MANY)

    def cancel(self) -> None:
        """Cancel all that are not finished, and those to come."""
        self._cancelled = True
        while self._tasks:
            try:
                task = self._tasks.pop()
            except IndexError:
                return
            task.cancel()

    def waited_for(self) -> None:
        """For Tasks: a thread waits for one."""
        if self._on_wait is not None and not self._cancelled:
            self._on_wait()
