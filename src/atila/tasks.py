"""Tasks as members of `was` (SPEC WAS-02, WAS-03): made here they belong to the request, and end with it.

What they are is in `aquests`; what a service returns of them in `deferred`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import aquests

from . import deferred
from .coroutines import Input

if TYPE_CHECKING:
    from .was import Was

#: Options of `was.Map` that are no results.
_MAP_OPTIONS = ('timeout', 'mtime', 'etag', 'maxage')


class TaskMembers:
    """A base of `was.Was`. When the client of a coroutine, `async def` or deferred content goes, or its time
    is up, unfinished Tasks are cancelled; a service that blocks in `fetch ()` goes on waiting.
    """

    __slots__ = ()

    #: For `isinstance` (SPEC WAS-03).
    Task = aquests.Task

    @property
    def _was(self) -> Was:
        return cast('Was', self)

    def _own(self, task: Any) -> Any:
        values = self._was.__dict__
        scope = values.get('_scope')
        if scope is None:
            scope = values['_scope'] = aquests.Scope()
        scope.add(task)
        return task

    def cancel_tasks(self) -> None:
        """Cancel this request's Tasks that are not finished."""
        scope = self._was.__dict__.get('_scope')
        if scope is not None:
            scope.cancel()

    # -- Tasks (SPEC chapter 24) ------------------------------------------------------------------

    def Thread(self, function: Callable[..., Any], /, *args: Any, **values: Any) -> aquests.Thread:
        """`function (*args)` on a thread of the pool (SPEC TH-01)."""
        return cast(aquests.Thread, self._own(aquests.Thread(function, *args, **values)))

    def Async(self, function: Callable[..., Any], /, *args: Any, **values: Any) -> aquests.Async:
        """`await function (*args)` on the event loop, for an `async def` function."""
        return cast(aquests.Async, self._own(aquests.Async(function, *args, **values)))

    def Process(self, function: Callable[..., Any], /, *args: Any, **values: Any) -> aquests.Process:
        """`function (*args)` in another process (SPEC TH-01): all of it must be picklable."""
        return cast(aquests.Process, self._own(aquests.Process(function, *args, **values)))

    def Subprocess(self, command: str | list[str], /, *args: Any, **values: Any) -> aquests.Subprocess:
        """A shell command; its result is what it printed (SPEC TH-02)."""
        return cast(aquests.Subprocess, self._own(aquests.Subprocess(command, *args, **values)))

    def Mask(self, data: Any = None, *args: Any, **values: Any) -> aquests.Mask:
        """A finished Task (SPEC TH-03)."""
        return aquests.Mask(data, *args, **values)

    def Tasks(self, *tasks: Any, **named: Any) -> aquests.Tasks:
        """Tasks as one Task (SPEC TH-04 to TH-07)."""
        return cast(aquests.Tasks, self._own(aquests.Tasks(*tasks, **named)))

    # -- contents of Tasks (SPEC chapter 30) ------------------------------------------------------

    def Map(self, *tasks: Any, **named: Any) -> deferred.Map:
        """The named Tasks' results as JSON or XML when all are finished (SPEC RS-23).

        A status line may come first. Unnamed Tasks are executed and checked. `__timeout`, `__mtime`,
        `__etag`, `__maxage` are options.
        """
        rest = self._with_status(tasks)
        options = {name: named.pop(f'__{name}') for name in _MAP_OPTIONS if f'__{name}' in named}
        return deferred.Map(self._group(rest, named, options), options)

    def Mapped(self, *tasks: Any) -> deferred.Map:
        """The same for Tasks that are a group already (SPEC RS-24)."""
        return deferred.Map(_only_group('was.Mapped', self._with_status(tasks)))

    def render_or_Map(self, template: str, *tasks: Any, **named: Any) -> deferred.Map:
        """The results in a template, or as JSON for clients that accept it (SPEC RS-25)."""
        options = {name: named.pop(f'__{name}') for name in _MAP_OPTIONS if f'__{name}' in named}
        return deferred.Map(self._group(tasks, named, options), options, template)

    def render_or_Mapped(self, template: str, tasks: aquests.Tasks) -> deferred.Map:
        """The same for Tasks that are a group already (SPEC RS-26)."""
        return deferred.Map(_only_group('was.render_or_Mapped', (tasks,)), None, template)

    def _with_status(self, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if given and isinstance(given[0], str):
            self._was.response.set_status(given[0])
            return given[1:]
        return given

    def _group(self, tasks: tuple[Any, ...], named: dict[str, Any], options: dict[str, Any]) -> aquests.Tasks:
        for name in named:
            if name.startswith('__'):
                known = ', '.join(f'__{option}' for option in _MAP_OPTIONS)
                raise TypeError(f'was.Map has no option {name}: there are {known}')
        timeout = options.get('timeout')
        more = {} if timeout is None else {'timeout': timeout}
        return self.Tasks(*tasks, **more, **named)

    def ThreadPass(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        **values: Any,
    ) -> deferred.ThreadPass:
        """What `function (was, ...)` returns, on another service thread (SPEC RS-21).

        Arguments follow, or are given as `args = (...)`, `kwargs = {...}`.
        """
        if not args:
            args, values = tuple(values.pop('args', ())), {**values.pop('kwargs', {}), **values}
        return deferred.ThreadPass(function, args, values)

    def Queue(
        self,
        producer: Callable[[deferred.ProducerQueue], Any],
        max_size: int = 8,
        wait_timeout: float = 8,
        use_thread_pool: bool = True,
    ) -> Any:
        """What `producer (queue)` puts, streamed; None ends it (SPEC RS-20).

        At most `max_size` parts wait for the client, then `put` does. A pause of `wait_timeout` seconds
        ends the stream.
        """
        if not callable(producer):
            raise TypeError(f'was.Queue takes a function f (queue), not {producer!r}')
        return deferred.queued(producer, max_size, wait_timeout, partial(self.Thread, timeout=None))

    def Input(self, max_buffer_size: int = 8192) -> Input:
        """The next bytes of the request's body, for a service with `input_stream = True` (SPEC SI-01)."""
        return Input(self._was, max_buffer_size)


def _only_group(name: str, tasks: tuple[Any, ...]) -> aquests.Tasks:
    if len(tasks) != 1 or not isinstance(tasks[0], aquests.Tasks):
        raise TypeError(f'{name} takes was.Tasks (...) with names')
    return tasks[0]
