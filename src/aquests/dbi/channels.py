"""Messages that come by themselves: Redis' channels, PostgreSQL's notifications (SPEC chapter 22).

    with db.subscribe ('news') as channel:
        message = channel.next ().fetch ()

What listens is a coroutine of each database's own, `listen (feed)`: it connects, says `feed.open ()` before
long, puts messages, and raises NetworkError where it cannot connect or the connection breaks. Then it is
begun again, until the channel is closed: by `close ()`, by the end of its request, or because nobody has it
any more. What was published while there was no connection is lost; `channel.gaps` counts these times.

Touched by the loop's thread only, but for what makes Tasks and what counts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Self

from ..errors import NetworkError, TaskCancelled
from ..looptask import LoopTask
from ..result import Result
from ..seconds import seconds
from ..task import Task
from .base import failure_of

#: Messages that are kept for who doesn't ask for them in time; then the oldest is dropped.
LIMIT = 1000
#: Seconds between two tries to connect again: at first, and at most.
PAUSE = 0.1
LONGEST_PAUSE = 2.0


class Feed(LoopTask):
    """Where messages are put and wait. A Task that ends when the channel is closed, or with its error."""

    __slots__ = (
        '_connected',
        '_listen',
        '_messages',
        '_wanted',
        '_what',
        'dropped',
        'gaps',
        'limit',
        'opened',
    )

    def __init__(self, listen: Listen, what: str, limit: int) -> None:
        self._listen, self._what, self.limit = listen, what, limit
        self._messages: deque[Any] = deque()
        self._wanted: deque[Task] = deque()
        self.dropped = self.gaps = 0
        self._connected = False
        self.opened = Opened(what)
        super().__init__(None, None, None)
        self.add_done_callback(Feed._over)
        self._begin()

    # -- for what listens; on the loop --------------------------------------------------------------

    def open(self) -> None:
        """What is published from now on arrives."""
        self._connected = True
        self.opened._settle(Result())

    def put(self, message: Any) -> None:
        if len(self._messages) >= self.limit:
            self._messages.popleft()
            self.dropped += 1
        self._messages.append(message)
        self._deliver()

    # -- for the channel; on any thread -------------------------------------------------------------

    def want(self, task: Task) -> None:
        """Have `task` succeed with the next message that nobody before it wants."""
        self._later(self._want, task)

    def unwant(self, task: Task) -> None:
        """`task` was finished without one."""
        self._later(self._unwant, task)

    def let_go(self) -> None:
        """`cancel ()`, soon, and without touching a lock."""
        if self._result is None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.cancel)

    # -- inside -------------------------------------------------------------------------------------

    def _later(self, do: Callable[..., None], *args: Any) -> None:
        loop = self._loop
        if loop is None:  # the Task failed before it had one
            do(*args)
            return
        try:
            loop.call_soon_threadsafe(do, *args)
        except RuntimeError:  # it has ended, and with it all who would touch this
            do(*args)

    async def _work(self) -> None:
        pause = PAUSE
        while True:
            self._connected = False
            try:
                await self._listen(self)
            except NetworkError:
                if not self.opened.done():
                    raise
            if self._connected:
                self.gaps += 1
                pause = PAUSE
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _over(self) -> None:
        self._later(self._end)

    def _end(self) -> None:
        result = self._result
        assert result is not None
        assert result.error is not None
        if not self.opened.done() and self.opened._fail(self._error()):
            result.seen()
        while self._wanted:
            self._wanted.popleft()._fail(self._error())
            result.seen()
            if self.opened._result is not None:
                self.opened._result.seen()

    def _error(self) -> BaseException:
        """Why there are no messages any more."""
        result = self._result
        assert result is not None
        if result.error is None or isinstance(result.error, TaskCancelled):
            return TaskCancelled(f'{self._what} was closed')
        return result.error

    def _want(self, task: Task) -> None:
        self._wanted.append(task)
        self._deliver()
        if self._result is not None:
            self._end()

    def _unwant(self, task: Task) -> None:
        if task in self._wanted:
            self._wanted.remove(task)

    def _deliver(self) -> None:
        while self._messages and self._wanted:
            task = self._wanted.popleft()
            message = self._messages.popleft()
            if not task._succeed(message):  # its time was up this moment
                self._messages.appendleft(message)

    def _describe(self) -> str:
        return self._what


Listen = Callable[[Feed], Coroutine[Any, Any, Any]]


class Opened(Task):
    """Done when the channel hears what is published."""

    __slots__ = ('_what',)

    def __init__(self, what: str) -> None:
        self._what = what
        super().__init__(timeout=None)

    def _fail(self, error: BaseException) -> bool:
        return self._settle(failure_of(error))

    def _describe(self) -> str:
        return f'the beginning of {self._what}'


class Next(Task):
    """The next message of a channel, which lives while somebody waits for it."""

    __slots__ = ('_channel', '_feed')

    def __init__(self, channel: Channel, timeout: float | None) -> None:
        self._channel: Channel | None = channel
        self._feed = channel._feed
        super().__init__(timeout=timeout)
        self.add_done_callback(Next._let_go)
        self._feed.want(self)

    def _let_go(self) -> None:
        """Done: a request may keep this for long."""
        self._channel = None

    def _fail(self, error: BaseException) -> bool:
        return self._settle(failure_of(error))

    def _stop(self) -> None:
        self._feed.unwant(self)

    def _describe(self) -> str:
        return f'the next message of {self._feed._describe()}'


class Channel:
    """What `subscribe` gives. Use it in a `with` block, or `close` it; iterate with `async for`.

    `dropped`: messages that were lost because nobody asked for them and there were more than `limit`. `gaps`:
    how often the connection broke after the beginning. On a service thread it hears from the moment it is
    there; on an event loop from when `channel.opened`, a Task, is done, which `async with` waits for.
    """

    def __init__(
        self, listen: Listen, what: str, own: Callable[[Task], object] | None = None, limit: int = LIMIT
    ) -> None:
        """`what`: for messages. `own`: as an interface's. NetworkError where it cannot be begun."""
        self._own = own
        self._feed = Feed(listen, what, limit)
        if own is not None:
            own(self._feed)
        if asyncio._get_running_loop() is None:
            self.opened.commit()

    @property
    def opened(self) -> Task:
        return self._feed.opened

    @property
    def dropped(self) -> int:
        return self._feed.dropped

    @property
    def gaps(self) -> int:
        return self._feed.gaps

    def next(self, timeout: float | None = None) -> Task:
        """The Task of the next message; those who ask are served in turn.

        `timeout`: seconds; None for no limit but the channel's end, at which it fails with TaskCancelled.
        """
        task = Next(self, seconds(timeout))
        if self._own is not None:
            self._own(task)
        return task

    def close(self) -> None:
        """Stop listening. Calling it again does nothing."""
        self._feed.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self.opened
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.next()
        except TaskCancelled:
            raise StopAsyncIteration from None

    def __del__(self) -> None:
        feed = getattr(self, '_feed', None)
        if feed is not None:
            # Perhaps in the middle of a collection of garbage, under whatever lock this thread holds.
            feed.let_go()

    def __repr__(self) -> str:
        return f'<{self._feed._describe()}>'
