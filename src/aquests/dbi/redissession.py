"""A Redis connection that a pipeline has for itself, from WATCH to EXEC.

A step that was cancelled or timed out, or whose connection broke, ends the session; what comes after it
fails, for nobody watches any more. The connection is given back when nothing is watched on it, or closed.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, NamedTuple

from ..cluster import Cluster, Seat
from ..errors import NetworkError, TaskCancelled
from ..keeping import Options
from ..task import Task
from .base import Query, Request
from .connections import Connections
from .lease import Lease
from .rediscommands import UNWATCH, Batch, Watch
from .redislink import CONNECT_TIMEOUT, Link

if TYPE_CHECKING:
    from .redisbackend import Backend


_GIVEN_UP = 'a step of it, or its request, was given up'


class Step(Query):
    """One thing that a session does, after those before it."""

    __slots__ = ('_session',)

    def __init__(self, session: Session, cluster: Cluster, request: Request, options: Options) -> None:
        self._session = session
        super().__init__(cluster, request, options, None)

    def _work(self) -> Awaitable[Any]:
        return self._session.in_turn(self._request)

    def _stop(self) -> None:
        super()._stop()
        self._session.close()

    def _describe(self) -> str:
        return f'a step of a pipeline of {self._cluster.alias.name}'


class _Held(NamedTuple):
    seat: Seat
    connections: Connections[Link]
    link: Link


class Session:
    """Touched by the loop's thread only, except for `run`, `close` and `let_go`."""

    def __init__(self, cluster: Cluster, options: Options, own: Callable[[Task], object] | None) -> None:
        self._cluster, self._options, self._own = cluster, options, own
        self._turn = asyncio.Lock()
        #: What has its turn or waits for it.
        self._steps: set[asyncio.Task[Any] | None] = set()
        self._held: _Held | None = None
        #: Whether something may be watched on the connection; whether it cannot be used again.
        self._watches = self._broken = False
        #: Whether it ever did watch.
        self._begun = False
        #: Why there are no further steps.
        self._ended: str | None = None
        self._lease = Lease(self.close, 'a pipeline that watches')
        if own is not None:
            own(self._lease)

    # -- on any thread ------------------------------------------------------------------------------

    def run(self, request: Any) -> Task:
        """The Task of a Watch, a Command or a Batch, which is the last."""
        options = self._options
        if type(request) is Watch:
            options = dataclasses.replace(options, filter=None, callback=None)
        task = Step(self, self._cluster, request, options)
        if self._own is not None:
            self._own(task)
        return task

    @property
    def void(self) -> bool:
        """Whether it has ended before it watched anything."""
        return self._ended is not None and not self._begun

    def close(self) -> None:
        """Stop what is under way, and give the connection back."""
        self._soon(lambda: self._end(_GIVEN_UP))

    def let_go(self) -> None:
        """There will be no further steps: the connection is given back after those that there are."""
        self._lease.end()
        self._soon(self._end_after_all)

    def _soon(self, do: Callable[[], None]) -> None:
        from .. import loop

        try:
            loop.get().call_soon_threadsafe(do)
        except RuntimeError:  # the loop has ended, and with it the connection
            pass

    # -- on the loop --------------------------------------------------------------------------------

    async def in_turn(self, request: Any) -> Any:
        """Do it when what came before is done."""
        step = asyncio.current_task()
        self._steps.add(step)
        try:
            async with self._turn:
                if self._ended is not None:
                    raise TaskCancelled(
                        f'this pipeline of {self._cluster.alias.name} watches no more: {self._ended}'
                    )
                return await self._do(request)
        except asyncio.CancelledError:
            self._end(_GIVEN_UP)
            raise
        except Exception as error:
            if type(request) is Watch:  # what follows must not be done as if it watched
                self._ended = self._ended or str(error)
            raise
        finally:
            self._steps.discard(step)
            if self._ended is not None and not self._steps:
                self._give_back()

    async def _do(self, request: Any) -> Any:
        if self._held is None:
            self._held = await self._acquire(request)
            self._held.seat.active += 1
        self._watches = True
        self._broken = True  # if this is left in the middle
        reply = await self._held.link.send(request.data, request.raws)
        if type(reply) is NetworkError:
            self._cluster.failed(self._held.seat)
            self._ended = str(reply)
            raise reply
        self._broken = False
        if type(request) is Batch:
            self._watches = isinstance(reply[-1], Exception)  # else EXEC has ended it
            self._ended = 'it was executed'
        value = request.value(reply)
        self._begun = True  # with a Watch: others do not come first
        return value

    async def _acquire(self, request: Any) -> _Held:
        """A connection to a member that can be reached."""
        tried: list[Seat] = []
        while True:
            seat = self._cluster.pick(tried)
            try:
                connections, link = await _backend(seat).acquire(request)
            except NetworkError as error:
                self._cluster.failed(seat)
                tried.append(seat)
                if not self._cluster.goes_on(error, request, len(tried)):
                    raise
            else:
                self._cluster.worked(seat)
                return _Held(seat, connections, link)

    def _end_after_all(self) -> None:
        """As `_end`, but what is under way, or waits, is not stopped."""
        _in_background(self._last())

    async def _last(self) -> None:
        step = asyncio.current_task()
        self._steps.add(step)
        try:
            async with self._turn:
                self._ended = self._ended or 'it was executed, or reset'
        finally:
            self._steps.discard(step)
            if not self._steps:
                self._give_back()

    def _end(self, reason: str) -> None:
        self._ended = self._ended or reason
        for step in self._steps - {asyncio.current_task()}:
            assert step is not None
            step.cancel()
        if not self._steps:
            self._give_back()

    def _give_back(self) -> None:
        held, self._held = self._held, None
        if held is None:
            return
        held.seat.active -= 1
        if self._broken:
            held.connections.discard(held.link)
        elif self._watches:
            _in_background(_unwatch(held))
        else:
            held.connections.release(held.link)


def _backend(seat: Seat) -> Backend:
    return seat.backend  # type: ignore[return-value]  # it is Redis'


async def _unwatch(held: _Held) -> None:
    """Have a connection watch nothing, and give it back; or close it."""
    clean = False
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            clean = await held.link.send(UNWATCH, (False,)) == 'OK'
    except TimeoutError:
        pass
    finally:
        if clean:
            held.connections.release(held.link)
        else:
            held.connections.discard(held.link)


def _in_background(work: Coroutine[Any, Any, None]) -> None:
    running = asyncio.get_running_loop().create_task(work, context=Context())
    _running.add(running)
    running.add_done_callback(_running.discard)


#: Held here, for the loop itself only has weak references.
_running: set[asyncio.Task[None]] = set()
