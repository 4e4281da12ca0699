"""What listens to Redis for a channel (`channels.Feed`): a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ..cluster import Cluster, Seat
from ..errors import NetworkError
from ..records import Record
from .channels import Feed
from .rediscommands import pack
from .redislink import CONNECT_TIMEOUT, Link

_MESSAGES = ('message', b'message', 'smessage', b'smessage')


class Ears:
    """`how`: SUBSCRIBE, PSUBSCRIBE or SSUBSCRIBE, to `names`. `raw`: texts stay bytes."""

    def __init__(self, cluster: Cluster, how: str, names: Sequence[str | bytes], raw: bool) -> None:
        self._cluster = cluster
        self._count = len(set(names))
        self._subscribe = pack(how, *dict.fromkeys(names))
        self._raw = raw

    async def listen(self, feed: Feed) -> None:
        """Until the connection breaks. What the server refuses is redis-py's exception."""
        seat, link = await self._connect()
        hearing = _Hearing(feed, link, self._count)
        seat.active += 1
        try:
            link.raw = self._raw
            link.listener = hearing.listen
            link.write(self._subscribe)
            alarm = asyncio.get_running_loop().call_later(CONNECT_TIMEOUT, hearing.too_late)
            try:
                await asyncio.shield(link.closed)
            finally:
                alarm.cancel()
        finally:
            seat.active -= 1
            link.abort()
        if hearing.refused is not None:
            raise hearing.refused
        raise NetworkError(f'{feed}: {seat.member.address} closed the connection', False)

    async def _connect(self) -> tuple[Seat, Link]:
        """A member that can be reached."""
        tried: list[Seat] = []
        while True:
            seat = self._cluster.pick(tried)
            backend: Any = seat.backend
            try:
                link = await backend.open()
            except NetworkError:
                self._cluster.failed(seat)
                tried.append(seat)
                if len(tried) >= len(self._cluster.seats):
                    raise
            else:
                self._cluster.worked(seat)
                return seat, link


class _Hearing:
    """What comes on one connection. `left`: names that the server has not confirmed yet."""

    def __init__(self, feed: Feed, link: Link, left: int) -> None:
        self._feed, self._link, self._left = feed, link, left
        self.refused: Exception | None = None

    def listen(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            self.refused = reply
            self._link.abort()
            return
        kind = reply[0]
        if kind in _MESSAGES:
            self._feed.put(Record(channel=reply[1], data=reply[2], pattern=None))
        elif kind in ('pmessage', b'pmessage'):
            self._feed.put(Record(channel=reply[2], data=reply[3], pattern=reply[1]))
        else:
            self._left -= 1
            if self._left == 0:
                self._feed.open()

    def too_late(self) -> None:
        if self._left > 0:
            self._link.abort()
