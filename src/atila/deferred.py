"""Contents that are there later: the service has given its thread back (SPEC TK-09, RS-20 to RS-27).

    task.then (f)      what f (was, task) returns, when the Task is finished
    was.Map (...)      the results of Tasks as JSON or XML, or in a template
    was.ThreadPass (f) what f (was, ...) returns, on another service thread
    was.Queue (f)      what f (queue) puts, streamed

`resolve` waits without a thread: who finishes the Task has the content made on a service thread, or makes it
on the spot where that cannot block, nor take long. What a `then` function returns may be deferred again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from aquests import Task, Tasks, Then
from aquests.errors import WouldBlock
from aquests.places import blocking
from skitai.context import current
from skitai.errorpage import accepts

from . import contents, jsons, limits
from .errors import fail

if TYPE_CHECKING:
    from .response import Response
    from .was import Was

#: So many contents that follow each other are made in one go.
_AT_A_TIME = 50

Done = Callable[['Was', Any], None]
Failed = Callable[['Was', BaseException], None]


class Deferred:
    """A content to come. `waits_for`: the Task whose end is waited for, or None."""

    waits_for: Task | None = None
    #: Making it never blocks, nor takes long.
    quick = False

    def __respond__(self, was: Was) -> None:
        resolve(was, self, contents.send, fail)

    def make(self, was: Was) -> Any:
        """The content; called on a service thread, the Task is finished."""
        raise NotImplementedError


def is_deferred(content: Any) -> bool:
    return isinstance(content, Deferred | Then)


def resolve(was: Was, content: Any, done: Done, failed: Failed) -> None:
    """Call `done (was, content)` or `failed (was, error)` when there is a content; returns at once."""
    deferred = _Continuation(content) if isinstance(content, Then) else content
    task = deferred.waits_for
    if task is not None and task._result is None:
        if '_limit' not in was.__dict__:
            was.exchange.notice_client_soon()
            context = copy_context()
            task.add_done_callback(lambda task: _go_on(was, deferred, done, failed, context))
        else:
            was.exchange.run_coroutine(_wait(was, deferred, task, done, failed))
    elif isinstance(deferred, ThreadPass):
        contents.on_thread(was, lambda: _make(was, deferred, done, failed))
    else:
        _make(was, deferred, done, failed)


def _go_on(was: Was, deferred: Deferred, done: Done, failed: Failed, context: Context) -> None:
    """The Task is finished; on the thread that finished it, which must not block. `context`: its maker's."""
    response = was._response
    if was.exchange.answered:  # given up meanwhile
        contents.on_thread(was, was.response.end, context)
    elif deferred.quick and done is contents.send and (response is None or response.ending is None):
        # No hooks follow, which may block.
        context.run(_make_here, was, deferred, failed)
    else:
        contents.on_thread(was, lambda: _make(was, deferred, done, failed), context)


def _make_here(was: Was, deferred: Deferred, failed: Failed) -> None:
    """Answer on this thread, which must not block; on a service thread if it failed, or takes long."""
    try:
        content = deferred.make(was)
        if jsons.is_light(content.data):
            contents.send(was, content)
            return
    except BaseException as error:
        contents.on_thread(was, partial(failed, was, error))
    else:
        contents.on_thread(was, lambda: _send(was, content, failed))


def _send(was: Was, content: Any, failed: Failed) -> None:
    try:
        contents.send(was, content)
    except BaseException as error:
        failed(was, error)


async def _wait(was: Was, deferred: Deferred, task: Task, done: Done, failed: Failed) -> None:
    current.set(was)
    try:
        if not was.exchange.answered:  # else it was given up before it began
            async with asyncio.timeout(limits.left(was)):
                await task.completed()
    except TimeoutError:
        was.cancel_tasks()
        late = was.Error('503 Service Unavailable', 'the service took too long')
        contents.on_thread(was, lambda: failed(was, late))
        return
    except asyncio.CancelledError:  # the client is gone, or time is up
        was.cancel_tasks()
        contents.on_thread(was, was.response.end)
        raise
    contents.on_thread(was, lambda: _make(was, deferred, done, failed))


def _make(was: Was, deferred: Deferred, done: Done, failed: Failed) -> None:
    if was.exchange.answered:  # given up meanwhile
        was.response.end()
        return
    try:
        content: Any = deferred
        rounds = 0
        while is_deferred(content):  # in a loop: however many follow whose Tasks are finished
            content = _Continuation(content) if isinstance(content, Then) else content
            if content is not deferred and not _is_ready(content):
                resolve(was, content, done, failed)
                return
            if rounds >= _AT_A_TIME:  # others wait for the thread; and somebody may have given it up
                contents.on_thread(was, partial(_make, was, content, done, failed))
                return
            rounds += 1
            if limits.left(was) is None:
                content = content.make(was)
            else:
                with limits.armed(was):
                    content = content.make(was)
        done(was, content)
    except BaseException as error:
        failed(was, error)


def _is_ready(deferred: Deferred) -> bool:
    """Whether it can be made on this thread, at once."""
    if deferred.waits_for is not None:
        return deferred.waits_for.done()
    return not isinstance(deferred, ThreadPass)


class _Continuation(Deferred):
    """`task.then (f)`; without a function the Task's value (SPEC TK-09)."""

    def __init__(self, then: Then) -> None:
        self.waits_for = then.task
        self._function = then.func

    def make(self, was: Was) -> Any:
        task = self.waits_for
        assert task is not None
        return task.fetch() if self._function is None else self._function(was, task)


class ThreadPass(Deferred):
    """`was.ThreadPass (f, ...)` (SPEC RS-21)."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], values: dict[str, Any]) -> None:
        if not callable(function):
            raise TypeError(f'was.ThreadPass takes a function f (was, ...), not {function!r}')
        self._function, self._args, self._values = function, args, values

    def make(self, was: Was) -> Any:
        return self._function(was, *self._args, **self._values)


class Map(Deferred):
    """The results of Tasks, by name (SPEC RS-23 to RS-27). `template`: rendered for who doesn't want JSON."""

    def __init__(
        self, tasks: Tasks, options: dict[str, Any] | None = None, template: str | None = None
    ) -> None:
        self.waits_for = tasks
        self._options = options or {}
        self._template = template
        self.quick = template is None

    def make(self, was: Was) -> Any:
        assert self.waits_for is not None
        values = self.waits_for.fetch()
        if not isinstance(values, dict):  # there are no names
            values = {}
        if self._options:
            self._set_headers(was.response, values)
        if self._template is None:
            return contents.API(values)
        was.response.add_header('Vary', 'Accept')
        if accepts(was.exchange.header(b'accept'), b'application/json'):
            return contents.API(values)
        return was.app.templates.render(was, self._template, values)

    def _set_headers(self, response: Response, values: dict[str, Any]) -> None:
        etag, mtime, max_age = (self._options.get(name) for name in ('etag', 'mtime', 'maxage'))
        if etag is not None:
            response.set_etag(_found(values, etag))
        if mtime is not None:
            response.set_mtime(_found(values, mtime) if isinstance(mtime, str) else mtime)
        if max_age:
            response.set_max_age(max_age)


def _found(values: Any, path: str) -> Any:
    """The value at a dotted path of names and indices."""
    for name in path.split('.'):
        values = values[int(name)] if isinstance(values, list | tuple) else values[name]
    return values


class Page(Deferred):
    """A template with Tasks in it, rendered when they are finished (SPEC TE-09): `was.render` on the event
    loop, which must not wait for them.
    """

    def __init__(self, template: str, values: dict[str, Any]) -> None:
        self.waits_for = Tasks(*pending(values), timeout=None)  # each has its own
        self._template, self._values = template, values

    def __str__(self) -> str:
        raise WouldBlock(
            f'{self._template} waits for Tasks, which would block the event loop: return was.render (...) as '
            'it is, or await the Tasks first'
        )

    def make(self, was: Was) -> Any:
        return was.app.templates.render(was, self._template, self._values)


def pending(values: dict[str, Any]) -> list[Task]:
    """The Tasks among `values` that are not finished."""
    return [value for value in values.values() if isinstance(value, Task) and not value.done()]


class Gone(Exception):
    """Nobody takes any more: raised by `queue.put` in a producer."""


class ProducerQueue:
    """What a producer gets: `put (part)`; None ends. Bounded: `put` waits for the client (SPEC RS-20).

    Touched by the producer's thread and the event loop; `_room` counts the free places.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, size: int) -> None:
        self._loop = loop
        self._parts: asyncio.Queue[Any] = asyncio.Queue()
        self._room = threading.Semaphore(max(2, size))
        self._gone = False

    def put(self, part: Any) -> None:
        """Queue a str or bytes, or None for the end. Gone when the client is."""
        if not isinstance(part, str | bytes | bytearray | memoryview | None):
            raise TypeError(f'a part of a stream must be str or bytes, not {type(part).__name__}')
        with blocking():  # a slow client keeps no other Task from a thread
            self._room.acquire()
        if self._gone:
            self._room.release()  # the next one who waits learns it, too
            raise Gone('the client is gone')
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._parts.put_nowait, part)

    async def get(self, timeout: float | None) -> Any:
        async with asyncio.timeout(timeout):
            part = await self._parts.get()
        self._room.release()
        return part

    def leave(self) -> None:
        """Nobody takes any more: a producer that waits is woken."""
        self._gone = True
        self._room.release()


class OwnThread(Task):
    """`function ()` on a thread of its own, without a limit of time."""

    __slots__ = ()

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(timeout=None)
        run = copy_context().run
        threading.Thread(target=run, args=(self._run, function), name='atila-queue', daemon=True).start()

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            self._succeed(function())
        except BaseException as error:
            self._fail(error)


async def queued(
    producer: Callable[[ProducerQueue], Any],
    size: int,
    wait_timeout: float | None,
    task_of: Callable[[Callable[[], Any]], Task],
) -> AsyncIterator[Any]:
    """The stream of `was.Queue`: what `producer (queue)` puts, until None, its end, or too long a pause."""
    queue = ProducerQueue(asyncio.get_running_loop(), size)

    def produce() -> None:
        try:
            producer(queue)
        except Gone:
            return
        finally:  # also if it failed, which is looked at then
            with contextlib.suppress(Gone):
                queue.put(None)

    task = task_of(produce)
    try:
        while True:
            getting = asyncio.ensure_future(queue.get(wait_timeout))
            try:
                part = await getting
            except TimeoutError:
                return
            if part is None:
                break
            yield part
        await task.completed()
        task.commit()  # a producer that failed is a stream that failed
    finally:
        queue.leave()
        task.cancel()


def _send_then(was: Was, content: Then) -> None:
    resolve(was, content, contents.send, fail)


contents.register(Then, _send_then)
