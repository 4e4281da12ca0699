"""Redis (SPEC DB-06): `was.db ('@redis')` has every command as a method.

    db.set ('foo', 'bar'); db.get ('foo').fetch ()

Commands of all share one connection for each member, on which they follow each other without waiting; those
that block (`blpop`) have one of their own as long as they take, and so has each channel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, Self

from .. import loop as loops
from ..aliases import Alias, Member
from ..errors import NetworkError
from ..task import Mask, Task
from .apart import apart
from .base import Interface as Base
from .channels import LIMIT, Channel
from .connections import Connections
from .rediscommands import Batch, Command, command_of, maker
from .redisears import Ears
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
        return request.value(reply)

    async def open(self) -> Link:
        """A connection; it is closed with the others."""
        link = await apart(open_link(self._alias, self._member, self._database), Link.abort)
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
        connections = self.connections
        link = await connections.acquire(request)
        try:
            reply = await link.send(request.data, request.raws)
        except asyncio.CancelledError:
            link.abort()  # the server must not give away what nobody takes
            raise
        finally:
            connections.release(link)
        if type(reply) is NetworkError:
            raise reply
        return request.value(reply)


def connect(alias: Alias, member: Member) -> Backend:
    return Backend(alias, member)


class Interface(Base):
    """`was.db ('@redis')`: redis-py's methods, each of which gives a Task.

    Texts are str; bytes in it that are no UTF-8 become single surrogates (the error handler
    'surrogateescape'), and are the same bytes again where such a str is sent. `db.raw` has the same commands,
    whose texts stay bytes. Values to send are str, bytes, int and float. What the server refuses is
    redis-py's exception. Only the results of looks are kept (`use_cache`, `cache`).
    """

    _raw = False

    @property
    def raw(self) -> Interface:
        """The same, but texts are bytes."""
        other = type(self)(self.alias, self._cluster, self._options, self._own)
        other._raw = True
        return other

    def execute(self, *words: Any) -> Task:
        """A command by its words: `execute ('CONFIG', 'GET', 'port')`. Its reply is the server's."""
        return self._run(command_of(words, self._raw))

    execute_command = execute

    def pipeline(self, transaction: bool = True) -> Pipeline:
        """Commands that are sent together."""
        return Pipeline(self._run, self._raw, transaction)

    def subscribe(self, *channels: str | bytes, limit: int = LIMIT) -> Channel:
        """Hear what is published on `channels`: Records of `channel`, `data`, and `pattern`, None here."""
        return self._listen('SUBSCRIBE', channels, limit)

    def psubscribe(self, *patterns: str | bytes, limit: int = LIMIT) -> Channel:
        """Hear what is published on channels whose names match one of `patterns`, such as `news.*`."""
        return self._listen('PSUBSCRIBE', patterns, limit)

    def __getattr__(self, name: str) -> Any:
        make = maker(name)

        def send(*args: Any, **kwargs: Any) -> Task:
            return self._run(make(self._raw, *args, **kwargs))

        return send

    def _run(self, request: Command | Batch) -> Task:
        return self._send(request, request.key, request.idempotent)

    def _listen(self, how: str, names: Sequence[str | bytes], limit: int) -> Channel:
        if not names:
            raise TypeError(f'{how.lower()} takes the names of channels')
        if self._options.everywhere:
            raise TypeError('a channel listens to one member: use was.db, not was.db.map')
        ears = Ears(self._cluster, how, names, self._raw)
        shown = ', '.join(repr(name) for name in names)
        return Channel(ears.listen, f'channel {shown} of {self.alias.name}', self._own, limit)


class Pipeline:
    """`with db.pipeline () as pipe`: commands are collected, and sent together by `execute`.

    `transaction`: as one (MULTI, EXEC). A pipeline can be used again after `execute`; by one thread.
    """

    def __init__(self, run: Callable[[Batch], Task], raw: bool, transaction: bool) -> None:
        self._run, self._raw, self._transaction = run, raw, transaction
        self._commands: list[Command] = []

    def execute(self, raise_on_error: bool = True) -> Task:
        """The Task of the list of values.

        It fails with the first error, whatever the others did; without `raise_on_error` errors are values.
        """
        commands, self._commands = self._commands, []
        if not commands:
            return Mask([])
        return self._run(Batch(commands, self._transaction, raise_on_error))

    def execute_command(self, *words: Any) -> Self:
        """Collect a command by its words."""
        self._commands.append(command_of(words, self._raw))
        return self

    def __getattr__(self, name: str) -> Any:
        make = maker(name)

        def collect(*args: Any, **kwargs: Any) -> Pipeline:
            self._commands.append(make(self._raw, *args, **kwargs))
            return self

        return collect

    def __len__(self) -> int:
        return len(self._commands)

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._commands = []


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
