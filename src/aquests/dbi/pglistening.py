"""What listens to PostgreSQL's notifications for a channel (`channels.Feed`): a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ..cluster import Cluster
from ..errors import NetworkError
from ..records import Record
from .channels import Feed
from .postgresql import Backend

#: Seconds between two looks at a connection that says nothing: a server that vanished does not say so.
LOOK = 30.0


class Ears:
    """Hear what is notified on `names`, on the first member: notifications are not copied to others."""

    def __init__(self, cluster: Cluster, names: Sequence[str]) -> None:
        self._cluster = cluster
        self._names = tuple(dict.fromkeys(names))

    async def listen(self, feed: Feed) -> None:
        """Until the connection breaks. What the server refuses is asyncpg's exception."""
        seat = self._cluster.seats[0]
        backend = seat.backend
        assert isinstance(backend, Backend)
        connection = await backend.open()
        over = asyncio.Event()

        def hear(connection: Any, pid: int, channel: str, payload: str) -> None:
            feed.put(Record(channel=channel, data=payload, pid=pid))

        try:
            connection.add_termination_listener(lambda connection: over.set())
            for name in self._names:
                await connection.add_listener(name, hear)
            feed.open()
            while not over.is_set():
                try:
                    await asyncio.wait_for(over.wait(), LOOK)
                except TimeoutError:
                    await connection.fetchval('SELECT 1', timeout=LOOK)
        finally:
            connection.terminate()
        raise NetworkError(f'{feed}: {seat.member.address} closed the connection', False)
