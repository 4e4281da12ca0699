"""Generator coroutines: a service that gives its thread back while Tasks run (SPEC chapter 25, SI).

    @app.route ('/', coroutine = True)
    def service (was):
        task = yield was.Thread (...)       # a Task: it comes back finished
        data = yield was.Input (8192)       # the next bytes of the request's body; b'' at its end
        yield 'text'                        # a part of the answer: it is streamed from here on
        return content                      # the answer, if nothing has been streamed

The first step runs where every service does; the following ones on the event loop, so they must not block.
What fails before the first part is an ordinary error, later the connection is broken off. When the client
goes, or time is up, the generator is closed and the request's Tasks are cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any

from aquests import Task
from skitai.context import current

from . import contents, limits
from .errors import ClientGone

if TYPE_CHECKING:
    from .cycle import Surrounded
    from .was import Was

log = logging.getLogger('atila')

#: A reader that waits for more bytes gets those that are there after so many seconds without another: a
#: client may wait for the answer to what it has sent.
PAUSE = 0.1

Receive = Callable[[], Awaitable[dict[str, Any]]]


class Input:
    """`was.Input (n)`: asks for the next `n` bytes of the body (SPEC SI-02).

    Fewer only at the body's end, or where the client makes a pause. Yielded by a generator coroutine, awaited
    by an `async def` service; both need the route option `input_stream = True`.
    """

    __slots__ = ('_was', 'size')

    def __init__(self, was: Was, max_buffer_size: int = 8192) -> None:
        if isinstance(max_buffer_size, bool) or not isinstance(max_buffer_size, int) or max_buffer_size < 1:
            raise ValueError(f'was.Input ({max_buffer_size!r}): a number of bytes, 1 or more, is needed')
        if not was.endpoint.input_stream:
            raise RuntimeError(f'{was.endpoint.name} reads its input: add input_stream = True to its route')
        self.size = max_buffer_size
        self._was = was

    def __await__(self) -> Generator[Any, Any, bytes]:
        return reader_of(self._was).read(self.size).__await__()


class Reader:
    """The body of a request as it arrives. On the event loop only."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self._buffer = bytearray()
        self._ended = self._reads = False
        self._receiving: asyncio.Future[dict[str, Any]] | None = None

    async def read(self, size: int) -> bytes:
        if self._reads:
            raise RuntimeError('was.Input: the body is read already; wait for one part before the next')
        self._reads = True
        try:
            return await self._read(size)
        finally:
            self._reads = False

    async def _read(self, size: int) -> bytes:
        while len(self._buffer) < size and not self._ended:
            if not await self._receive_part():
                break
        part = bytes(self._buffer[:size])
        del self._buffer[:size]
        return part

    async def _receive_part(self) -> bool:
        """False when there is something already, and the client makes a pause."""
        if self._receiving is None:
            self._receiving = asyncio.ensure_future(self.receive())
        await asyncio.wait([self._receiving], timeout=PAUSE if self._buffer else None)
        if not self._receiving.done():
            return False
        receiving, self._receiving = self._receiving, None
        message = receiving.result()
        if message['type'] == 'http.disconnect':
            raise ClientGone
        self._buffer += message.get('body', b'')
        self._ended = not message.get('more_body', False)
        return True


def reader_of(was: Was) -> Reader:
    """The one reader of this request."""
    found: Reader | None = was.__dict__.get('_reader')
    if found is None:
        found = was.__dict__['_reader'] = Reader(was.exchange.receive_message)
    return found


def run(around: Surrounded, was: Was, generator: Any) -> None:
    """Take the first step here, on a service thread, and leave the rest to the event loop."""
    if not hasattr(generator, 'send'):
        raise TypeError(
            f'{was.endpoint.name}: coroutine expected: a service with coroutine = True is a generator, with '
            'at least one yield'
        )
    try:
        yielded = next(generator)
        while isinstance(yielded, Task) and yielded.done():
            yielded = generator.send(yielded)
    except StopIteration as end:
        around.conclude(was, _returned(was, end))
        return
    was.exchange.run_coroutine(_drive(around, was, generator, yielded))


def _returned(was: Was, end: StopIteration) -> Any:
    """A service that reads its input may have nothing to answer to an empty one: no part, and no more."""
    return '' if end.value is None and was.endpoint.input_stream else end.value


async def _drive(around: Surrounded, was: Was, generator: Generator[Any, Any, Any], yielded: Any) -> None:
    current.set(was)
    answer: Callable[[], None]
    if was.exchange.answered:  # given up before it began
        _give_up(was, generator)
        contents.on_thread(was, was.response.end)
        return
    try:
        async with asyncio.timeout(limits.left(was)) as limit:
            while not isinstance(yielded, str | bytes | bytearray | memoryview):
                try:
                    yielded = generator.send(await _value(was, yielded))
                except StopIteration as end:
                    answer = partial(around.conclude, was, _returned(was, end))
                    break
            else:
                limit.reschedule(None)  # it is for the beginning of the answer
                await _stream(was, generator, yielded)
                answer = partial(around.streamed, was)
    except BaseException as error:
        _give_up(was, generator)
        if isinstance(error, asyncio.CancelledError) and contents.is_cancelled():
            contents.on_thread(was, was.response.end)
            raise
        answer = partial(around.fail, was, around.too_slow() if limit.expired() else error)
    contents.on_thread(was, answer)


async def _value(was: Was, yielded: Any) -> Any:
    """What a step gets for what it yielded."""
    if isinstance(yielded, Task):
        await yielded.completed()
        return yielded
    if isinstance(yielded, Input):
        return await reader_of(was).read(yielded.size)
    raise TypeError(
        f'{was.endpoint.name} yielded {type(yielded).__name__}: a coroutine yields Tasks, was.Input (n), or '
        'str and bytes'
    )


def _give_up(was: Was, generator: Generator[Any, Any, Any]) -> None:
    was.cancel_tasks()
    try:
        generator.close()
    except Exception:
        log.exception(
            '%s %s: the coroutine failed while it was closed', was.exchange.method, was.exchange.path
        )


async def _stream(was: Was, generator: Generator[Any, Any, Any], part: Any) -> None:
    """Send `part` and what the generator yields from there on."""
    begun = contents.begin_stream(was, text=isinstance(part, str))
    if begun is None or was.exchange.method == 'HEAD':
        if begun is not None:
            was.exchange.respond(*begun, b'')
        generator.close()
        return
    await was.exchange.asgi(partial(_send_parts, was, generator, begun, part), '')


async def _send_parts(
    was: Was,
    generator: Generator[Any, Any, Any],
    begun: contents.Head,
    yielded: Any,
    scope: Any,
    receive: Receive,
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """An ASGI application. If it fails half-way, it returns, and the answer stays incomplete."""
    reader_of(was).receive = receive
    await send({'type': 'http.response.start', 'status': begun[0], 'headers': begun[1]})
    last = b''
    try:
        while True:
            if isinstance(yielded, str | bytes | bytearray | memoryview):
                part = contents.as_bytes(yielded)
                if part:
                    await send({'type': 'http.response.body', 'body': part, 'more_body': True})
                yielded = next(generator)
            else:
                yielded = generator.send(await _value(was, yielded))
    except StopIteration as end:
        if end.value is not None:
            last = contents.as_bytes(end.value)
    except BaseException as error:
        if contents.is_cancelled():
            raise
        if not isinstance(error, ClientGone):
            log.exception('%s %s: the stream failed half-way', was.exchange.method, was.exchange.path)
        _give_up(was, generator)
        return
    await send({'type': 'http.response.body', 'body': last, 'more_body': False})
