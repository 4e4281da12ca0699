"""How many of the server's threads stay awake: one at ease, more while services block."""

from __future__ import annotations

import gc
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from skitai.engine.crew import AT_EASE, Crew, Member
from skitai.engine.granian import InlineLoop

DEADLINE = 20.0


class Pool:
    """Threads that take work from one queue, as the server's do."""

    def __init__(self, size: int) -> None:
        self.crew = Crew()
        self.crew.start()
        self._work: queue.Queue[Callable[[], Any] | None] = queue.Queue()
        self.threads = [threading.Thread(target=self._run) for _ in range(size)]
        for thread in self.threads:
            thread.start()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            member = self.crew.begin()
            assert member is not None
            assert self.crew.begin() is None  # inside another piece of work
            work()
            self.crew.end(member)

    def put(self, work: Callable[[], Any] | None) -> None:
        self._work.put(work)

    def stop(self) -> None:
        self.crew.stop()
        for _ in self.threads:
            self.put(None)
        for thread in self.threads:
            thread.join(DEADLINE)


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool(5)
    yield made
    made.stop()


def wait_until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def send_all_to_sleep(pool: Pool) -> None:
    """Let every thread work once, together, so that each joins; then those not needed sleep."""
    together = threading.Barrier(len(pool.threads))
    for _ in pool.threads:
        pool.put(lambda: together.wait(DEADLINE))
    wait_until(lambda: pool.crew.awake <= pool.crew.wanted and len(pool.crew._members) == 5)

    def settled() -> bool:
        pool.put(lambda: None)
        return pool.crew.wanted == pool.crew.awake == AT_EASE

    wait_until(settled)


def test_at_ease_one_is_awake(pool: Pool) -> None:
    send_all_to_sleep(pool)
    assert pool.crew.awake == AT_EASE


def test_blocked_threads_are_made_up_for(pool: Pool) -> None:
    """Four block: the fifth is woken, and then again work goes on."""
    send_all_to_sleep(pool)
    release = threading.Event()
    blocked = [threading.Event() for _ in range(4)]
    for event in blocked:
        pool.put(lambda event=event: (event.set(), release.wait(DEADLINE)))
    for event in blocked:
        assert event.wait(DEADLINE)
    done = threading.Event()
    began = time.monotonic()
    pool.put(done.set)
    assert done.wait(DEADLINE)
    assert time.monotonic() - began < 2  # some ticks of the watch, on a busy machine
    release.set()


def test_threads_that_end_are_not_counted() -> None:
    """The server ends idle threads: they must not be taken for awake ones."""
    crew = Crew()
    crew.start()

    def work() -> None:
        member = crew.begin()
        assert member is not None
        crew.end(member)

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(DEADLINE)
    gc.collect()
    wait_until(lambda: crew.awake == 0)
    crew.stop()


def test_completion_on_the_adders_thread_joins_nobody() -> None:
    """The event loop's thread may be the adder: put to sleep in the crew, it would serve nobody any more."""
    crew, called = Crew(), []
    loop = InlineLoop(crew)
    loop.call_soon(called.append, 'once', context=None)
    assert called == ['once']
    assert crew.awake == 0
    assert not hasattr(crew.here, 'member')


def test_threads_may_join_while_the_watch_looks(caplog: pytest.LogCaptureFixture) -> None:
    """The watch must not end in an error: those that sleep would sleep for ever, and the server hang."""
    crew = Crew()
    joined: list[threading.Thread] = []

    class Joining(tuple[weakref.ref[Member], ...]):
        """Between two of its members another thread joins, where the watch looks through them."""

        def __iter__(self) -> Iterator[weakref.ref[Member]]:
            for member in super().__iter__():
                if threading.current_thread().name == 'crew-watch':
                    joined.append(threading.Thread(target=crew.begin))
                    joined[-1].start()
                    joined[-1].join(DEADLINE)
                yield member

    kept = [crew.join() for _ in range(2)]
    crew._members = Joining(crew._members)
    crew.start()
    kept[0].since = time.monotonic()
    crew.alert()
    wait_until(lambda: joined and not joined[0].is_alive())
    crew.awake = 0
    crew._sleeping.append(kept[1])
    wait_until(lambda: kept[1].wake.acquire(blocking=False))  # the watch is there, and wakes
    crew.stop()
    assert not caplog.records


def test_the_watch_goes_on_after_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    crew = Crew()
    ticks: list[float] = []

    def look(lag: float) -> tuple[int, bool]:
        ticks.append(lag)
        if len(ticks) == 1:
            raise RuntimeError('boom')
        return 0, True

    monkeypatch.setattr(crew, '_look', look)
    crew.start()
    crew.alert()
    wait_until(lambda: len(ticks) > 3)
    crew.stop()
    assert 'the watch over the threads failed' in caplog.text


def test_the_server_looks_for_more_threads_where_all_block() -> None:
    """It can miss that it should make one: a request would wait for a blocked thread for ever."""
    looks: list[int] = []
    crew = Crew(3, lambda: looks.append(len(crew._members)))
    release = threading.Event()
    started: list[threading.Thread] = []

    def block() -> None:
        member = crew.begin()
        assert member is not None
        release.wait(DEADLINE)
        crew.end(member)

    crew.start()
    for joined in (1, 2, 3):
        started.append(threading.Thread(target=block))
        started[-1].start()
        wait_until(lambda joined=joined: len(crew._members) == joined)
        if joined < 3:
            wait_until(lambda joined=joined: joined in looks)
    assert set(looks) == {1, 2}
    crew.stop()
    release.set()
    for thread in started:
        thread.join(DEADLINE)


def test_the_server_looks_again_from_time_to_time() -> None:
    """What it missed once it may miss again."""
    looks: list[None] = []
    crew = Crew(2, lambda: looks.append(None))
    crew.start()
    member = crew.begin()
    assert member is not None
    wait_until(lambda: len(looks) > 2)
    crew.end(member)
    crew.stop()
