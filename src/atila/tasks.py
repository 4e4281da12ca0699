"""Tasks as members of `was` (SPEC WAS-02, WAS-03): made here they belong to the request, and end with it.

What they are is in `aquests`; what a service returns of them in `deferred`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import aquests
from aquests.seconds import seconds

from . import deferred
from .coroutines import Input

if TYPE_CHECKING:
    from skitai.exchange import Exchange

    from .was import Was

T = TypeVar('T', bound=aquests.Task)

#: Options of `was.Map` that are no results.
_MAP_OPTIONS = ('timeout', 'mtime', 'etag', 'maxage')


class TaskMembers:
    """A base of `was.Was`. When the client goes, or the request's time is up, its unfinished Tasks are
    cancelled, in every form of service; one that blocks in `fetch ()` is woken by TaskCancelled.

    The client of a plain service is watched from when it has waited for 50 ms, and not before: nobody pays
    for it whose Tasks are quicker.
    """

    __slots__ = ()

    #: For `isinstance` (SPEC WAS-03).
    Task = aquests.Task

    #: The request's Tasks, from its first one on.
    _scope: aquests.Scope | None = None

    def _own(self, task: T) -> T:
        scope = self._scope
        if scope is None:
            scope = self._make_scope()
        scope.add(task)
        return task

    def _make_scope(self) -> aquests.Scope:
        """The request's, made; threads of Tasks may ask for it at the same time."""
        exchange: Exchange | None = cast('Was', self).exchange
        made = aquests.Scope(None if exchange is None else exchange.notice_client)
        scope: aquests.Scope = self.__dict__.setdefault('_scope', made)
        if exchange is not None and scope is made:
            # Weakly: the scope holds the exchange.
            exchange.when_given_up(partial(_cancel, weakref.ref(scope)))
        return scope

    def cancel_tasks(self) -> None:
        """Cancel this request's Tasks that are not finished."""
        if self._scope is not None:
            self._scope.cancel()

    # -- Tasks (SPEC chapter 24) ------------------------------------------------------------------

    def Thread(self, function: Callable[..., Any], /, *args: Any, **values: Any) -> aquests.Thread:
        """`function (*args)` on a thread of the pool (SPEC TH-01)."""
        return self._own(aquests.Thread(function, *args, **values))

    def Async(self, function: Callable[..., Any], /, *args: Any, **values: Any) -> aquests.Async:
        """`await function (*args)` on the event loop, for an `async def` function."""
        task = aquests.Async(function, *args, **values)
        scope = self._scope  # `_own`, written out
        if scope is None:
            scope = self._make_scope()
        scope.add(task)
        return task

    def Process(self, function: Callable[..., Any], /, *args: Any, **values: Any) -> aquests.Process:
        """`function (*args)` in another process (SPEC TH-01): all of it must be picklable."""
        return self._own(aquests.Process(function, *args, **values))

    def Subprocess(self, command: str | list[str], /, *args: Any, **values: Any) -> aquests.Subprocess:
        """A shell command; its result is what it printed (SPEC TH-02)."""
        return self._own(aquests.Subprocess(command, *args, **values))

    def Mask(self, data: Any = None, *args: Any, **values: Any) -> aquests.Mask:
        """A finished Task (SPEC TH-03)."""
        return aquests.Mask(data, *args, **values)

    def Tasks(self, *tasks: Any, **named: Any) -> aquests.Tasks:
        """Tasks as one Task (SPEC TH-04 to TH-07)."""
        return self._own(aquests.Tasks(*tasks, **named))

    # -- contents of Tasks (SPEC chapter 30) ------------------------------------------------------

    def Map(self, *tasks: Any, **named: Any) -> deferred.Map:
        """The named Tasks' results as JSON or XML when all are finished (SPEC RS-23).

        A status line may come first. Unnamed Tasks are executed and checked. `__timeout`, `__mtime`,
        `__etag`, `__maxage` are options.
        """
        if tasks:
            tasks = self._with_status(tasks)
        options = _options_of(named)
        return deferred.Map(self._group(tasks, named, options), options)

    def Mapped(self, *tasks: Any) -> deferred.Map:
        """The same for Tasks that are a group already (SPEC RS-24)."""
        return deferred.Map(_only_group('was.Mapped', self._with_status(tasks)))

    def render_or_Map(self, template: str, *tasks: Any, **named: Any) -> deferred.Map:
        """The results in a template, or as JSON for clients that accept it (SPEC RS-25)."""
        options = _options_of(named)
        return deferred.Map(self._group(tasks, named, options), options, template)

    def render_or_Mapped(self, template: str, tasks: aquests.Tasks) -> deferred.Map:
        """The same for Tasks that are a group already (SPEC RS-26)."""
        return deferred.Map(_only_group('was.render_or_Mapped', (tasks,)), None, template)

    def _with_status(self, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if given and isinstance(given[0], str):
            cast('Was', self).response.set_status(given[0])
            return given[1:]
        return given

    def _group(self, tasks: tuple[Any, ...], named: dict[str, Any], options: dict[str, Any]) -> aquests.Tasks:
        timeout = options.get('timeout')
        if timeout is None:
            return self._own(aquests.Tasks.of(tasks, named))
        return self._own(aquests.Tasks.of(tasks, named, timeout))

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

        At most `max_size` parts (2, if it is less) wait for the client, then `put` does. A pause of
        `wait_timeout` seconds ends the stream. `use_thread_pool`: False for a thread of its own.
        """
        if not callable(producer):
            raise TypeError(f'was.Queue takes a function f (queue), not {producer!r}')
        patience = seconds(wait_timeout, 'wait_timeout', positive=True)
        return deferred.queued(producer, max_size, patience, self._pooled if use_thread_pool else self._apart)

    def _pooled(self, function: Callable[[], Any]) -> aquests.Task:
        return self._own(aquests.Thread(function, timeout=None))

    def _apart(self, function: Callable[[], Any]) -> aquests.Task:
        return self._own(deferred.OwnThread(function))

    def Input(self, max_buffer_size: int = 8192) -> Input:
        """The next bytes of the request's body, for a service with `input_stream = True` (SPEC SI-01)."""
        return Input(cast('Was', self), max_buffer_size)


def _cancel(scope: weakref.ref[aquests.Scope]) -> None:
    found = scope()
    if found is not None:
        found.cancel()


def _options_of(named: dict[str, Any]) -> dict[str, Any]:
    """The options of `was.Map`, taken out of its keywords. TypeError for an unknown one."""
    options: dict[str, Any] = {}
    for key in named:
        if key[:2] == '__':
            break
    else:
        return options
    for key in list(named):
        if key[:2] == '__':
            name = key[2:]
            if name not in _MAP_OPTIONS:
                known = ', '.join(f'__{option}' for option in _MAP_OPTIONS)
                raise TypeError(f'was.Map has no option {key}: there are {known}')
            options[name] = named.pop(key)
    return options


def _only_group(name: str, tasks: tuple[Any, ...]) -> aquests.Tasks:
    if len(tasks) != 1 or not isinstance(tasks[0], aquests.Tasks):
        raise TypeError(f'{name} takes was.Tasks (...) with names')
    return tasks[0]
