"""The pool of connections (`dbi.connections`), with connections that only pretend."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquests.dbi import connections
from aquests.dbi.connections import Connections


class Connection:
    def __init__(self, server: Server, number: int) -> None:
        self.server, self.number = server, number
        self.used = self.broken = self.closed = False


class Server:
    """`connect` waits while `gate` is closed, and raises while `refuses`."""

    def __init__(self, size: int = 2) -> None:
        self.made: list[Connection] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.refuses = False
        self.pool = Connections(self.connect, self.close, lambda c: not (c.broken or c.closed), size)

    async def connect(self) -> Connection:
        await self.gate.wait()
        if self.refuses:
            raise ConnectionRefusedError
        self.made.append(Connection(self, len(self.made)))
        assert self.open() <= self.pool.size
        return self.made[-1]

    async def close(self, connection: Connection) -> None:
        connection.closed = True

    def open(self) -> int:
        return sum(not (c.closed or c.broken) for c in self.made)


class Waiter:
    waiting = False


def on_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 10))

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


async def turn(count: int = 3) -> None:
    """Let the others go on until they wait for something."""
    for _ in range(count):
        await asyncio.sleep(0)


@on_loop
async def test_what_was_given_back_last_is_taken_first() -> None:
    pool = Server().pool
    first, second = await pool.acquire(), await pool.acquire()
    pool.release(first)
    pool.release(second)
    assert await pool.acquire() is second
    assert await pool.acquire() is first
    assert pool.counts() == (2, 0, 0)


@on_loop
async def test_who_finds_all_in_use_waits_in_order_and_says_so() -> None:
    """SPEC LB-05."""
    server = Server()
    taken = [await server.pool.acquire() for _ in range(2)]
    waiters = [Waiter() for _ in range(3)]
    waiting = [asyncio.ensure_future(server.pool.acquire(waiter)) for waiter in waiters]
    await turn()
    assert all(waiter.waiting for waiter in waiters)
    assert server.pool.counts() == (2, 0, 3)
    server.pool.release(taken[1])
    latecomer = asyncio.ensure_future(server.pool.acquire())
    await turn()
    assert [task.done() for task in waiting] == [True, False, False]
    assert waiting[0].result() is taken[1]
    assert not waiters[0].waiting
    taken[0].broken = True
    server.pool.discard(taken[0])  # its place is for the next in turn, too
    await turn()
    assert [task.done() for task in waiting] == [True, True, False]
    assert waiting[1].result() is server.made[2]
    assert taken[0].closed
    server.pool.release(taken[1])
    server.pool.release(server.made[2])
    await turn()
    assert waiting[2].done()
    assert latecomer.done()
    assert server.open() == 2


@on_loop
async def test_connecting_is_not_waiting_for_others() -> None:
    server = Server()
    server.gate.clear()
    waiter = Waiter()
    task = asyncio.ensure_future(server.pool.acquire(waiter))
    await turn()
    assert not waiter.waiting
    server.gate.set()
    await task


@on_loop
async def test_a_broken_connection_is_not_handed_out() -> None:
    server = Server()
    first, second = await server.pool.acquire(), await server.pool.acquire()
    server.pool.release(first)
    server.pool.release(second)
    first.broken = second.broken = True
    third = await server.pool.acquire()
    assert third is server.made[2]
    await turn()
    assert first.closed
    assert second.closed
    third.broken = True
    server.pool.release(third)
    assert server.pool.counts() == (0, 0, 0)


@on_loop
async def test_a_refusal_is_each_ones_own_and_leaves_room() -> None:
    server = Server()
    server.refuses = True
    server.gate.clear()
    tasks = [asyncio.ensure_future(server.pool.acquire()) for _ in range(5)]
    await turn()
    server.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionRefusedError] * 5
    assert server.pool.counts() == (0, 0, 0)
    server.refuses = False
    await server.pool.acquire()


@pytest.mark.parametrize('way', ['release', 'discard'])
def test_who_is_cancelled_at_the_moment_of_being_served_passes_it_on(way: str) -> None:
    async def main() -> None:
        server = Server(1)
        taken = await server.pool.acquire()
        first, second = (asyncio.ensure_future(server.pool.acquire()) for _ in range(2))
        await turn()
        getattr(server.pool, way)(taken)
        first.cancel()
        await turn()
        assert first.cancelled()
        assert (await second) is (taken if way == 'release' else server.made[1])
        server.pool.release(second.result())
        assert server.pool.counts() == (1, 1, 0)

    asyncio.run(main())


@on_loop
async def test_who_gives_up_is_forgotten() -> None:
    server = Server(1)
    taken = await server.pool.acquire()
    for _ in range(100):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(server.pool.acquire(), 0)
    waiting = [asyncio.ensure_future(server.pool.acquire()) for _ in range(100)]
    await turn()
    for task in waiting:
        task.cancel()
    await turn()
    assert server.pool.counts() == (1, 0, 0)
    server.pool.release(taken)
    assert await server.pool.acquire() is taken


@on_loop
async def test_a_cancelled_connect_leaves_room() -> None:
    server = Server(1)
    server.gate.clear()
    task = asyncio.ensure_future(server.pool.acquire())
    await turn()
    task.cancel()
    await turn()
    server.gate.set()
    await server.pool.acquire()


def test_what_nobody_took_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, 'KEEP', 0.05)

    async def main() -> None:
        server = Server(3)
        taken = [await server.pool.acquire() for _ in range(3)]
        server.pool.release(taken[0])
        server.pool.release(taken[1])
        async with asyncio.timeout(5):
            while server.open() > 1:
                await asyncio.sleep(0.01)
        assert [connection.closed for connection in taken] == [True, True, False]
        assert server.pool.counts() == (1, 0, 0)
        server.pool.release(taken[2])
        await server.pool.close()

    asyncio.run(main())


@on_loop
async def test_closed_it_keeps_nothing() -> None:
    server = Server(3)
    free, used, last = [await server.pool.acquire() for _ in range(3)]
    server.pool.release(free)
    await server.pool.close()
    assert free.closed
    assert not used.closed
    server.pool.release(used)
    server.pool.discard(last)
    await server.pool.close()
    assert server.open() == 0
    assert server.pool.counts() == (0, 0, 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.lists(st.tuples(st.sampled_from('acrdbx'), st.integers(0, 9)), max_size=40))
def test_whatever_happens_nobody_is_forgotten(size: int, steps: list[tuple[str, int]]) -> None:
    """Acquire, cancel, release, discard, break, a server that refuses for a while: in any order.

    There are never too many connections (`Server.connect`), none has two users, and in the end all who wait
    are served.
    """

    async def main() -> None:
        server = Server(size)
        tasks: list[asyncio.Future[Connection]] = []
        held: list[Connection] = []

        async def collect() -> None:
            await turn()
            for task in [task for task in tasks if task.done()]:
                tasks.remove(task)
                if not task.cancelled() and task.exception() is None:
                    assert not task.result().used
                    task.result().used = True
                    held.append(task.result())

        def give_back(connection: Connection, way: str) -> None:
            connection.used = False
            connection.broken |= way == 'd'  # it is closed a little later, and counts no more
            (server.pool.release if way == 'r' else server.pool.discard)(connection)

        for step, number in steps:
            if step == 'a':
                tasks.append(asyncio.ensure_future(server.pool.acquire()))
            elif step == 'c' and tasks:
                tasks[number % len(tasks)].cancel()
            elif step in 'rd' and held:
                give_back(held.pop(number % len(held)), step)
            elif step == 'b' and server.made:
                server.made[number % len(server.made)].broken = True
            elif step == 'x':
                server.refuses = not server.refuses
            if number % 3:  # else something else happens in the same turn of the loop
                await collect()
        server.refuses = False
        await collect()
        while held or tasks:
            assert held, 'all wait, and nobody has a connection'
            give_back(held.pop(), 'r')
            await collect()
        await turn()
        made, free, waiting = server.pool.counts()
        assert (made, waiting) == (free, 0)

    asyncio.run(main())
