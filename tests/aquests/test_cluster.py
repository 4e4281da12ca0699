"""The members of an alias: shares, failover, health (SPEC chapter 26)."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquests import cluster as module
from aquests.aliases import DB_PGSQL, Alias, Member
from aquests.cluster import Cluster, Clusters, Seat
from aquests.errors import NetworkError, TaskTimeout


class Backend:
    """Answers with its host's name, or fails with `error`. Counts what it was asked."""

    def __init__(self, alias: Alias, member: Member) -> None:
        self.name = member.host
        self.error: BaseException | None = None
        self.asked = 0
        self.closed = 0.0
        self.gate: asyncio.Event | None = None

    async def run(self, request: Any) -> str:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.name

    async def close(self, timeout: float) -> None:
        self.closed = timeout
        if self.error is not None:
            raise self.error


class Request:
    def __init__(self, idempotent: bool = True) -> None:
        self.idempotent = idempotent


LOOK, WRITE = Request(), Request(False)
UNSENT, SENT = NetworkError('refused', False), NetworkError('broken', True)


def make(*weights: int, max_conns: int = 32) -> Cluster:
    members = tuple(Member('abcdefgh'[i], 5432, weight=weight) for i, weight in enumerate(weights))
    return Cluster(Alias('@x', DB_PGSQL, members, max_conns=max_conns), Backend)


def backends(cluster: Cluster) -> list[Any]:
    return [seat.backend for seat in cluster.seats]


def ask(cluster: Cluster, request: Request = LOOK) -> Any:
    return asyncio.run(cluster.run(request))


def shares(cluster: Cluster, count: int) -> dict[str, int]:
    return dict(Counter(ask(cluster) for _ in range(count)))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """`clock (seconds)`: so much time passes for clusters."""
    now = [1000.0]

    class Time:
        monotonic = staticmethod(lambda: now[0])

    def go_on(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(module, 'time', Time)
    return go_on


# -- shares -----------------------------------------------------------------------------------------------


def test_members_get_their_shares() -> None:
    """SPEC LB-02, A-91."""
    assert shares(make(20, 10), 300) == {'a': 200, 'b': 100}
    assert shares(make(1, 1, 1), 30) == {'a': 10, 'b': 10, 'c': 10}
    assert shares(make(1), 5) == {'a': 5}


def test_shares_are_mixed() -> None:
    cluster = make(2, 1)
    assert [ask(cluster) for _ in range(6)] == ['a', 'b', 'a', 'a', 'b', 'a']


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=5))
def test_shares_are_exact_in_the_long_run(weights: list[int]) -> None:
    cluster = make(*weights)
    rounds = 3 * sum(weights)
    picked = Counter(cluster.pick().member.host for _ in range(rounds))
    assert [picked['abcdefgh'[i]] for i in range(len(weights))] == [3 * weight for weight in weights]


def test_members_with_free_connections_are_preferred() -> None:
    """SPEC LB-02."""
    cluster = make(1, 1, max_conns=2)
    cluster.seats[0].active = 2
    assert shares(cluster, 10) == {'b': 10}
    cluster.seats[1].active = 2
    assert set(shares(cluster, 10)) == {'a', 'b'}


def test_requests_under_way_are_counted() -> None:
    async def main() -> None:
        cluster = make(1, 1, max_conns=1)
        gates = [asyncio.Event(), asyncio.Event()]
        for backend, gate in zip(backends(cluster), gates, strict=True):
            backend.gate = gate
        tasks = [asyncio.ensure_future(cluster.run(LOOK)) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [seat.active for seat in cluster.seats] in ([2, 1], [1, 2])
        tasks[0].cancel()
        backends(cluster)[1].error = SENT
        for gate in gates:
            gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [seat.active for seat in cluster.seats] == [0, 0]
        assert not cluster.seats[0].failures  # to be cancelled is no failure

    asyncio.run(main())


# -- failover ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('error', 'request_', 'goes_on'),
    [(UNSENT, LOOK, True), (UNSENT, WRITE, True), (SENT, LOOK, True), (SENT, WRITE, False)],
)
def test_who_goes_on_to_another_member(error: NetworkError, request_: Request, goes_on: bool) -> None:
    """SPEC LB-03."""
    cluster = make(1, 1)
    backends(cluster)[0].error = error
    if goes_on:
        assert ask(cluster, request_) == 'b'
    else:
        with pytest.raises(NetworkError, match='broken'):
            ask(cluster, request_)
        assert backends(cluster)[1].asked == 0
    assert shares(cluster, 10) == {'b': 10}  # the dead one is left alone
    assert backends(cluster)[0].asked == 1


@pytest.mark.parametrize(
    'error', [TaskTimeout('late'), TimeoutError('late'), ValueError('no'), asyncio.CancelledError()]
)
def test_other_errors_are_not_retried(error: BaseException) -> None:
    cluster = make(1, 1)
    backends(cluster)[0].error = error
    with pytest.raises(type(error)):
        ask(cluster)
    assert [backend.asked for backend in backends(cluster)] == [1, 0]
    assert not cluster.seats[0].failures


@pytest.mark.parametrize('error', [UNSENT, SENT])
@pytest.mark.parametrize('members', [2, 3, 5])
def test_each_member_is_tried_once(error: NetworkError, members: int) -> None:
    cluster = make(*[1] * members)
    for backend in backends(cluster):
        backend.error = error
    with pytest.raises(NetworkError) as caught:
        ask(cluster)
    assert caught.value is error
    assert [backend.asked for backend in backends(cluster)] == [1] * members
    with pytest.raises(NetworkError):  # all are dead: all are tried
        ask(cluster)
    assert [backend.asked for backend in backends(cluster)] == [2] * members


@pytest.mark.parametrize(
    ('error', 'request_', 'asked'), [(UNSENT, WRITE, 2), (SENT, LOOK, 2), (SENT, WRITE, 1)]
)
def test_a_single_member_is_asked_once_more(error: NetworkError, request_: Request, asked: int) -> None:
    """SPEC DB-05."""
    cluster = make(1)
    backends(cluster)[0].error = error
    with pytest.raises(NetworkError):
        ask(cluster, request_)
    assert backends(cluster)[0].asked == asked
    backends(cluster)[0].error = None
    assert ask(cluster) == 'a'  # at once: there is nobody else


def test_a_dead_member_is_tried_again_after_a_minute(
    clock: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    """SPEC LB-03."""
    cluster = make(1, 1)
    first = backends(cluster)[0]
    first.error = UNSENT
    with caplog.at_level(logging.WARNING, 'aquests'):
        ask(cluster)
    assert [record.getMessage() for record in caplog.records] == ['@x: a:5432 is left alone for 60 s']
    clock(59.9)
    shares(cluster, 10)
    assert first.asked == 1
    clock(0.2)
    shares(cluster, 10)
    assert first.asked == 2
    first.error = None
    clock(60.1)
    assert shares(cluster, 10) == {'a': 5, 'b': 5}
    assert not cluster.seats[0].failures


def test_after_ten_deaths_in_a_row_ten_minutes(clock: Callable[[float], None]) -> None:
    cluster = make(1, 1)
    first = backends(cluster)[0]
    first.error = UNSENT
    for death in range(1, 10):
        shares(cluster, 3)
        assert first.asked == death
        clock(60.1)
    shares(cluster, 3)
    assert first.asked == 10
    clock(599)
    shares(cluster, 3)
    assert first.asked == 10
    clock(2)
    shares(cluster, 3)
    assert first.asked == 11
    first.error = None
    clock(601)
    shares(cluster, 3)
    first.error = UNSENT
    shares(cluster, 3)
    asked = first.asked
    clock(61)  # it had worked: a minute again
    shares(cluster, 3)
    assert first.asked == asked + 1


def test_many_that_fail_at_once_are_one_death(
    clock: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    """A member with 32 queries under way goes: it is tried again after a minute, and said to be dead once."""

    async def main() -> None:
        cluster = make(1, 1)
        first = backends(cluster)[0]
        first.error, first.gate = SENT, asyncio.Event()
        tasks = [asyncio.ensure_future(cluster.run(LOOK)) for _ in range(64)]
        await asyncio.sleep(0.01)
        first.gate.set()
        assert set(await asyncio.gather(*tasks)) == {'b'}
        clock(60.1)
        first.error = None
        assert 'a' in [await cluster.run(LOOK) for _ in range(2)]

    with caplog.at_level(logging.WARNING, 'aquests'):
        asyncio.run(main())
    assert len(caplog.records) == 1


# -- clusters of a process --------------------------------------------------------------------------------


def test_an_alias_has_one_cluster_until_the_end() -> None:
    closers: list[Any] = []
    clusters = Clusters(closers.append)
    alias = make(1, 1).alias
    cluster = clusters.of(alias, Backend)
    assert clusters.of(alias, Backend) is cluster
    assert closers == [clusters.close]
    asyncio.run(clusters.close(3.0))
    assert [backend.closed for backend in backends(cluster)] == [3.0, 3.0]
    other = clusters.of(alias, Backend)
    assert other is not cluster
    clusters.forget()
    assert clusters.of(alias, Backend) is not other
    assert not backends(other)[0].closed


def test_who_cannot_be_closed_keeps_nobody(caplog: pytest.LogCaptureFixture) -> None:
    clusters = Clusters(lambda closer: None)
    made = [clusters.of(make(1, 1).alias, Backend) for _ in range(2)]
    backends(made[0])[0].error = OSError('no')

    class Hanging(Backend):
        async def close(self, timeout: float) -> None:
            await asyncio.sleep(60)

    clusters.of(make(1).alias, Hanging)
    asyncio.run(clusters.close(0.1))
    assert all(backend.closed for cluster in made for backend in backends(cluster))
    messages = [record.getMessage() for record in caplog.records]
    assert 'connections could not be closed' in messages
    assert any('not closed within' in message for message in messages)


def test_a_failed_request_leaves_nothing() -> None:
    cluster = make(1, 1)

    class Big(Request): ...

    request = Big()
    kept = weakref.ref(request)
    backends(cluster)[0].error = NetworkError('broken', True)
    ask(cluster, request)
    backends(cluster)[0].error = None
    del request
    gc.collect()
    assert kept() is None


def test_the_picked_one_is_not_among_the_tried() -> None:
    cluster = make(5, 1, 1)
    tried: list[Seat] = []
    for _ in range(3):
        tried.append(cluster.pick(tried))
    assert len(set(map(id, tried))) == 3
