"""`Tasks`: several Tasks as one (SPEC TH-04 to TH-07)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from . import clock as clocks
from .errors import NoSuchElement, TaskCancelled, TaskTimeout
from .places import Pool
from .records import Record
from .result import Result, Results, Success
from .seconds import seconds
from .task import TIMEOUT, Mask, Task

#: How a Task's result is asked for, as the first suffix of its name (SPEC TH-06).
_METHODS = ('fetch', 'one', 'dict')


#: The Result of every group that is done: what it has is its members'.
_DONE = Result()


#: A constant's result is its value, however results are asked for.
_CONSTANT: Any = object()


class _Asked:
    """How a Task's result is asked for: see `split_name`."""

    __slots__ = ('method', 'name', 'steps')

    def __init__(self, name: str, method: str, steps: tuple[str, ...]) -> None:
        self.name, self.method, self.steps = name, method, steps

    def value(self, task: Task, method: str) -> Any:
        method = self.method or ('fetch' if self.steps else method)
        value = _as_dict(task) if method == 'dict' else getattr(task, method)()
        for step in self.steps:
            value = _element(value, step, self.name)
        return value


#: One Task of a group: its key in the result, None for an unnamed one; the Task; how its result is asked for
#: if its name says so, `_CONSTANT` for a constant, else None.
_Member = tuple[str | None, Task, _Asked | None]


def _value(task: Task, asked: _Asked | None, method: str) -> Any:
    """What the group's result has for a Task, asked for by `method` if its name says nothing."""
    if asked is None:
        return task.fetch() if method == 'fetch' else getattr(task, method)()
    if asked is _CONSTANT:
        return task.fetch()
    return asked.value(task, method)


@lru_cache(maxsize=1024)
def split_name(name: str) -> tuple[str, str, tuple[str, ...]]:
    """'n__one__field' -> ('n', 'one', ('field',)): key, method or '', elements (SPEC TH-06).

    `one`, `fetch`, `dict` are methods in the first place only; a number is an index, anything else the field
    of a dict. A name with an empty part (`__n`, `a____b`, `n__`) is taken as it is.
    """
    parts = name.split('__')
    if len(parts) == 1 or not all(parts):
        return name, '', ()
    if parts[1] in _METHODS:
        return parts[0], parts[1], tuple(parts[2:])
    return parts[0], '', tuple(parts[1:])


def _element(value: Any, step: str, name: str) -> Any:
    try:
        if isinstance(value, Mapping):
            return value[int(step)] if step not in value and step.isdecimal() else value[step]
        return value[int(step)] if step.isdecimal() else getattr(value, step)
    except (LookupError, AttributeError, TypeError):
        raise NoSuchElement(f'{name}: the result has no {step!r}') from None


def _as_dict(task: Task) -> Any:
    if isinstance(task, Tasks):
        return task.dict()
    value = task.fetch()
    try:
        return Record(value)
    except (TypeError, ValueError):
        raise NoSuchElement(f'the result is no dict, but {type(value).__name__}') from None


class Tasks(Task):
    """A group: Tasks, lists of Tasks, named Tasks, named constants (SPEC TH-04).

    Without names fetch gives the list of results in the order given; with any, a dict (`results.files` too)
    of the named ones only, and the others are checked: what they raise is raised. Groups nest. A list of
    Tasks as a named value is a group. Names may say how: `total__one` (SPEC TH-06, `split_name`); constants
    keep theirs.

    `timeout`: seconds that all have together, from now; those that are not finished then end with
    STA_TIMEOUT, whatever time they had themselves (SPEC TH-07). `cancel ()` cancels all.

    Of several failures fetch raises the first in the order given. A group is done when all its Tasks are.
    """

    __slots__ = ('_members', '_named', '_over', '_pending')

    def __init__(
        self,
        *tasks_or_list: Any,
        timeout: float | None = TIMEOUT,
        meta: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> None:
        self._begin(tasks_or_list, named, timeout, meta)

    @classmethod
    def of(cls, tasks: Sequence[Any], named: Mapping[str, Any], timeout: float | None = TIMEOUT) -> Tasks:
        """`Tasks (*tasks, **named)` where any name, `timeout` and `meta` too, is that of a result."""
        group = cls.__new__(cls)
        group._begin(tasks, named, timeout, None)
        return group

    def _begin(
        self,
        tasks: Sequence[Any],
        named: Mapping[str, Any],
        timeout: float | None,
        meta: Mapping[str, Any] | None,
    ) -> None:
        Task.__init__(self, meta, None, None)
        if timeout is not TIMEOUT:
            timeout = seconds(timeout)
        if timeout is not None:
            self._deadline = time.monotonic() + timeout
        self._over: type[TaskTimeout] | type[TaskCancelled] | None = None
        self._pending = 0
        self._members: list[_Member] = []
        self._named = False
        self._add(_members_of(tasks, named), bool(named))

    # -- results ----------------------------------------------------------------------------------------

    def fetch(
        self, cache: float | None = None, cache_if: Sequence[int] = (200,), timeout: float | None = None
    ) -> Any:
        """The list or the dict of results."""
        return self._collect('fetch', timeout)

    def one(
        self, cache: float | None = None, cache_if: Sequence[int] = (200,), timeout: float | None = None
    ) -> Any:
        """The same with each Task's `one ()`, except where its name says something else."""
        return self._collect('one', timeout)

    def commit(self, timeout: float | None = None) -> None:
        """Wait; raise if a Task failed."""
        self._await_all(timeout)
        for _, task, _ in self._members:
            task.commit()

    def dict(self, timeout: float | None = None) -> Record:
        """The named results; an empty dict where there are no names."""
        results = self._collect('fetch', timeout)
        return results if isinstance(results, Record) else Record()

    def dispatch(
        self, cache: float | None = None, cache_if: Sequence[int] = (200,), timeout: float | None = None
    ) -> Any:
        """The Results of all in the order given, a nested group's as a list; raises for none."""
        waited = self._await_result(timeout)
        members = self._members
        return Results(task.dispatch() if task.done() else waited for _, task, _ in members)

    def wait(self, timeout: float | None = None) -> Any:
        """As dispatch; but failures remain to be fetched, or are logged."""
        waited = self._await_result(timeout)
        return [task.wait() if task.done() else waited for _, task, _ in self._members]

    def __iter__(self) -> Iterator[Any]:
        """The Results, each when it is there."""
        return (task.dispatch() for _, task, _ in list(self._members))

    def __len__(self) -> int:
        return len(self._members)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, key: int | str | slice) -> Any:
        """One Task's Result, by its place or its name; those of a slice as a list."""
        if isinstance(key, str):
            for name, task, _ in self._members:
                if name == key:
                    return task.dispatch()
            raise KeyError(key)
        if isinstance(key, slice):
            return Results(task.dispatch() for _, task, _ in self._members[key])
        return self._members[key][1].dispatch()

    # -- members ----------------------------------------------------------------------------------------

    def add(self, *tasks: Any, **named: Any) -> Tasks:
        """More Tasks, under the same deadline; the group is done when they are too. The group itself.

        ValueError for itself, as one of them. Add before the group is waited for: whoever was told that it is
        done is not told again.
        """
        members = _members_of(tasks, named)
        if any(task is self for _, task, _ in members):
            raise ValueError('a group of Tasks cannot be one of its own')
        self._add(members, bool(named))
        return self

    def merge(self, tasks: Tasks) -> Tasks:
        """Add the Tasks of another group, with their names. The group itself."""
        self._add(list(tasks._members), tasks._named)
        return self

    def _add(self, members: list[_Member], named: bool) -> None:
        """`named`: one of them has a name, or more."""
        callbacks = None
        with self._lock:
            if self._members:
                together = [*self._members, *members]
                _refuse_twins(together)
                self._members = together
            else:
                self._members = members
            self._named = self._named or named
            pending = [task for _, task, _ in members if task._result is None]
            over = self._over
            if pending:
                self._pending += len(pending)
                self._result = None
                if self._scope is None:
                    for task in pending:
                        if task._scope is not None:
                            self._scope = task._scope
                            break
                deadline = self._deadline
                if deadline is not None and self._alarm is None:
                    for task in pending:  # where those of the Tasks come first, the group needs none
                        if task._deadline is None or task._deadline > deadline:
                            self._alarm = clocks.clock.set(deadline, self)
                            break
            elif self._result is None and not self._pending:
                callbacks = self._finish(_DONE)
        told = self._member_done
        for task in pending:
            with task._lock:  # `add_done_callback`, written out
                waits = task._result is None
                if waits:
                    if task._callbacks is None:
                        task._callbacks = [told]
                    else:
                        task._callbacks.append(told)
            if not waits:
                told(task)
            if over is not None:  # added too late
                _finish(task, over)
        if callbacks is not None:
            self._tell(callbacks)

    def _member_done(self, task: Task) -> None:
        with self._lock:
            self._pending -= 1
            if self._pending:
                return
            callbacks = self._finish(_DONE)  # at once: nobody may add one in between
        if callbacks is not None:
            self._tell(callbacks)

    def _await_all(self, timeout: float | None) -> None:
        """Wait; TaskTimeout if that was too short."""
        if self._result is None:
            waited = self._await_result(timeout)
            if self._result is None:
                waited.fetch()  # raises

    def _collect(self, method: str, timeout: float | None) -> Any:
        self._await_all(timeout)
        members = self._members
        if not self._named:
            return [_value(task, asked, method) for _, task, asked in members]
        named = Record()
        for name, task, asked in members:
            result = task._result
            if name is None:
                task.commit()
            elif type(result) is Success and asked is None and method == 'fetch':
                named[name] = result.data  # the common case, as `_value` has it
            else:
                named[name] = _value(task, asked, method)
        return named

    # -- the end ------------------------------------------------------------------------------------------

    def cancel(self) -> bool:
        if self.done():
            return False
        self._stop_all(TaskCancelled)
        return True

    def expire(self) -> None:
        if not self.done():
            self._stop_all(TaskTimeout)

    def _stop_all(self, error: type[TaskTimeout] | type[TaskCancelled]) -> None:
        with self._lock:
            self._over = error
        for _, task, _ in self._members:
            _finish(task, error)

    def _help(self, pool: Pool) -> None:
        for _, task, _ in self._members:
            task._help(pool)

    def _describe(self) -> str:
        return f'Tasks ({len(self._members)})'


def _finish(task: Task, error: type[TaskTimeout] | type[TaskCancelled]) -> None:
    if error is TaskTimeout:
        task.expire()
    else:
        task.cancel()


def _members_of(tasks: Sequence[Any], named: Mapping[str, Any]) -> list[_Member]:
    members: list[_Member] = [(None, task, None) for task in _flat(tasks)] if tasks else []
    asked = False
    for name, value in named.items():
        if isinstance(value, Task):
            if '__' in name:
                asked = True
                members.append(_asked_for(name, value))
            else:
                members.append((name, value, None))
        elif isinstance(value, list | tuple) and any(isinstance(task, Task) for task in value):
            if not all(isinstance(task, Task) for task in value):
                raise TypeError(f'{name}: a list of Tasks has nothing but Tasks, not {value!r}')
            asked = True
            members.append(_asked_for(name, Tasks(*value, timeout=None)))
        else:
            members.append((name, Mask(value), _CONSTANT))
    if asked:
        _refuse_twins(members)
    return members


def _refuse_twins(members: list[_Member]) -> None:
    names = [name for name, _, _ in members if name is not None]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TypeError(f'two results of Tasks are named {twice!r}')


def _asked_for(name: str, task: Task) -> _Member:
    key, method, steps = split_name(name)
    return key, task, _Asked(name, method, steps) if method or steps else None


def _flat(tasks: Iterable[Any]) -> Iterator[Task]:
    for task in tasks:
        if isinstance(task, Task):
            yield task
        elif isinstance(task, Iterable) and not isinstance(task, str | bytes | Mapping):
            yield from _flat(task)
        else:
            raise TypeError(f'Tasks takes Tasks, lists of Tasks, and named values, not {task!r}')
