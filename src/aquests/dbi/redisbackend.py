"""A Redis server's connections: the common one, those of commands that block and of pipelines that watch."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Any

import redis

from .. import loop as loops
from ..aliases import Alias, Member
from ..apart import apart
from ..errors import NetworkError
from ..tls import context_of
from .connections import Connections
from .redislink import Link, open_link

#: A connection that was silent so long while somebody waited in vain is not used for what comes next.
SILENCE = 5.0


class Backend:
    """One member's connections: the common one, those of blocking commands, those of channels.

    On the event loop. `max_conns` are there at most without the channels, but one of each kind.
    """

    def __init__(self, alias: Alias, member: Member) -> None:
        self._alias, self._member = alias, member
        self._database = _database_of(alias, member)
        self._secured = context_of(alias)
        self._common: Link | None = None
        self._opening: asyncio.Task[Link] | None = None
        self._links: set[Link] = set()
        self.connections = self._pool()

    @property
    def links(self) -> int:
        """How many connections there are, for the curious."""
        return len(self._links)

    async def run(self, request: Any) -> Any:
        """Carry out a Command or a Batch."""
        if request.blocking:
            return await self._run_alone(request)
        link = self._common
        if link is None or not link.usable:
            link = await self._open_common()
        await link.room()
        since = asyncio.get_running_loop().time()
        try:
            reply = await link.send(request.data, request.raws)
        except asyncio.CancelledError:
            self._given_up(link, since)
            raise
        if type(reply) is NetworkError:
            raise reply
        try:
            return request.value(reply)
        except redis.exceptions.NoScriptError:
            if request.otherwise is None:
                raise
        return await self.run(request.otherwise)

    async def acquire(self, request: Any) -> tuple[Connections[Link], Link]:
        """A connection for a while, and where it is to be given back."""
        connections = self.connections
        return connections, await connections.acquire(request)

    async def open(self) -> Link:
        """A connection; it is closed with the others."""
        link = await apart(open_link(self._alias, self._member, self._database, self._secured), Link.abort)
        # An interface may be kept longer than the loop: what it opens on another one is closed with that.
        loops.at_end(self.close)
        self._links.add(link)
        link.closed.add_done_callback(lambda _: self._links.discard(link), context=Context())
        return link

    async def close(self, timeout: float) -> None:
        """Close what is free; the common connection when its commands are done or given up."""
        self._common = None
        links = [link for link in self._links if link.listener is None]
        for link in links:
            link.retire()
        connections, self.connections = self.connections, self._pool()
        await connections.close()
        if ending := [link.closed for link in links if not link.busy]:
            await asyncio.wait(ending, timeout=timeout)

    def _pool(self) -> Connections[Link]:
        return Connections(self.open, _close, _usable, max(self._alias.max_conns - 1, 1))

    async def _open_common(self) -> Link:
        """The common connection, which one opens for all."""
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open(), context=Context())
        try:
            return await asyncio.shield(self._opening)
        except NetworkError as error:
            raise NetworkError(str(error), False) from error

    async def _open(self) -> Link:
        try:
            link = self._common = await self.open()
            return link
        finally:
            self._opening = None

    def _given_up(self, link: Link, since: float) -> None:
        """Nobody waits for a command any more. What comes next shall not wait in vain too."""
        if link.heard < since and asyncio.get_running_loop().time() - since > SILENCE:
            if self._common is link:
                self._common = None
            link.retire()
        else:
            link.given_up()

    async def _run_alone(self, request: Any) -> Any:
        connections, link = await self.acquire(request)
        try:
            reply = await link.send(request.data, request.raws)
        except asyncio.CancelledError:
            link.abort()  # the server must not give away what nobody takes
            raise
        finally:
            connections.release(link)
        if type(reply) is NetworkError:
            raise reply
        try:
            return request.value(reply)
        except redis.exceptions.NoScriptError:
            if request.otherwise is None:
                raise
        return await self._run_alone(request.otherwise)


def connect(alias: Alias, member: Member) -> Backend:
    return Backend(alias, member)


def _database_of(alias: Alias, member: Member) -> int:
    if not member.path:
        return 0
    if not member.path.isascii() or not member.path.isdigit():
        raise ValueError(
            f'alias {alias.name}: {member.address}: what follows the slash is the number of a database, '
            'as in localhost/0'
        )
    return int(member.path)


def _usable(link: Link) -> bool:
    return link.usable


async def _close(link: Link) -> None:
    link.abort()
