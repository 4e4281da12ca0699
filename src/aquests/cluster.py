"""The members of an alias: who gets a request, what happens when one is down (SPEC chapter 26, LB).

A member that cannot be reached, or goes away in the middle, is dead for a minute. When it was found so ten
times in a row it is dead for ten; what else fails on it while it is dead is the same death. When all are dead
all are tried. What was not sent goes on to another member, what was sent only if doing it twice is doing it
once (`Request.idempotent`); what timed out doesn't.

Shared: a seat's turn, failures and times, by whoever picks one, under the cluster's `_lock`; its `active` by
the loop's thread only, or, where several loops use one cluster, by `taken` and `given_back` only.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Protocol

from .aliases import Alias, Member
from .errors import NetworkError

log = logging.getLogger('aquests')

#: Seconds that a member counts as dead, and after so many failures in a row.
DEAD = 60.0
MANY = 10
DEAD_AFTER_MANY = 600.0


class Request(Protocol):
    """What a backend gets. `idempotent`: it may be carried out twice."""

    @property
    def idempotent(self) -> bool: ...


class Backend(Protocol):
    """One member's connections in this process."""

    async def close(self, timeout: float) -> None: ...


class Runner(Backend, Protocol):
    """A backend whose requests go through `Cluster.run`.

    `run` raises NetworkError for what another member could do.
    """

    async def run(self, request: Any) -> Any: ...


class Seat:
    """A member with what is known of it. `active`: requests under way."""

    __slots__ = ('active', 'backend', 'dead_until', 'failures', 'member', 'turn')

    def __init__(self, member: Member, backend: Backend) -> None:
        self.member = member
        self.backend = backend
        self.active = 0
        self.failures = 0
        self.dead_until = 0.0
        self.turn = 0


class Cluster:
    """`connect (alias, member)` gives a member's backend; it is not to wait for anything."""

    def __init__(self, alias: Alias, connect: Callable[[Alias, Member], Backend]) -> None:
        self.alias = alias
        self.seats = [Seat(member, connect(alias, member)) for member in alias.members]
        self._lock = threading.Lock()

    # -- who ----------------------------------------------------------------------------------------

    def pick(self, tried: Collection[Seat] = ()) -> Seat:
        """The next in turn: alive, with a connection to spare, in proportion to the weights (SPEC LB-02).

        `tried` are left out while there are others. Who takes it counts in its `active`, as `run_on` does.
        """
        if len(self.seats) == 1:
            return self.seats[0]
        with self._lock:
            now = time.monotonic()
            left = [seat for seat in self.seats if seat not in tried] or self.seats
            alive = [seat for seat in left if seat.dead_until <= now] or left
            candidates = [seat for seat in alive if seat.active < self.alias.max_conns] or alive
            best = candidates[0]
            for seat in candidates:
                seat.turn += seat.member.weight
                if seat.turn > best.turn:
                    best = seat
            best.turn -= sum(seat.member.weight for seat in candidates)
            return best

    def taken(self, seat: Seat) -> None:
        """A request to this member begins; `given_back` when its answer is complete."""
        with self._lock:
            seat.active += 1

    def given_back(self, seat: Seat) -> None:
        with self._lock:
            seat.active -= 1

    def failed(self, seat: Seat) -> None:
        """A connection could not be made, or broke."""
        with self._lock:
            now = time.monotonic()
            if seat.dead_until > now:
                return
            seat.failures += 1
            pause = DEAD_AFTER_MANY if seat.failures >= MANY else DEAD
            seat.dead_until = now + pause
        if len(self.seats) > 1:
            log.warning('%s: %s is left alone for %g s', self.alias.name, seat.member.address, pause)

    def worked(self, seat: Seat) -> None:
        if seat.failures:
            with self._lock:
                seat.failures = 0
                seat.dead_until = 0.0

    # -- what ---------------------------------------------------------------------------------------

    async def run(self, request: Request) -> Any:
        """Have a member carry out `request`; on the event loop."""
        tried: list[Seat] = []
        while True:
            seat = self.pick(tried)
            try:
                return await self.run_on(seat, request)
            except NetworkError as error:
                tried.append(seat)
                if not self.goes_on(error, request, len(tried)):
                    raise

    async def run_on(self, seat: Seat, request: Request) -> Any:
        """Have this member do it."""
        seat.active += 1
        try:
            value = await seat.backend.run(request)  # type: ignore[attr-defined]  # it is a Runner
        except NetworkError:
            self.failed(seat)
            raise
        finally:
            seat.active -= 1
        self.worked(seat)
        return value

    def goes_on(self, error: NetworkError, request: Request, tries: int) -> bool:
        """Whether another member is to do what failed so; where there is one, it itself, once more."""
        return tries < max(len(self.seats), 2) and (request.idempotent or not error.sent)

    async def close(self, timeout: float) -> None:
        await all_closed((seat.backend.close(timeout) for seat in self.seats), timeout)


class Clusters:
    """The clusters of this process, one for each alias, made at first use.

    Written under `_lock`, read without.
    """

    def __init__(self, at_end: Callable[[Callable[[float], Awaitable[object]]], None]) -> None:
        self._at_end = at_end
        self._lock = threading.Lock()
        self._made: dict[Alias, Cluster] = {}

    def of(self, alias: Alias, connect: Callable[[Alias, Member], Backend]) -> Cluster:
        cluster = self._made.get(alias)
        if cluster is not None:
            return cluster
        with self._lock:
            cluster = self._made.get(alias)
            if cluster is None:
                cluster = self._made[alias] = Cluster(alias, connect)
                self._at_end(self.close)
            return cluster

    async def close(self, timeout: float) -> None:
        """Close all connections; the next use connects anew."""
        with self._lock:
            clusters = list(self._made.values())
            self._made = {}
        await all_closed((cluster.close(timeout) for cluster in clusters), timeout)

    def forget(self) -> None:
        """In a forked child: the connections are the parent's."""
        self._lock = threading.Lock()
        self._made = {}


async def all_closed(closing: Iterable[Awaitable[object]], timeout: float) -> None:
    """Close side by side, within `timeout` seconds; what fails is logged, and keeps none from its end."""
    try:
        async with asyncio.timeout(timeout + 0.5):  # they have their own, too
            ended = await asyncio.gather(*closing, return_exceptions=True)
    except TimeoutError:
        log.warning('connections were not closed within %g s', timeout)
        return
    for error in ended:
        if isinstance(error, BaseException):
            log.error('connections could not be closed', exc_info=error)
