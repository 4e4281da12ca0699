"""What happens at the same moment: each test makes one interleaving happen, where it could do harm."""

from __future__ import annotations

import asyncio
import gc
import heapq
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from projects import wait_for

from aquests import Async, Scope, Task, Tasks, clock, loop, looptask
from aquests.clock import PER_SECOND, Clock
from aquests.errors import TaskCancelled, TaskTimeout
from aquests.looptask import LoopTask


class Manual(Task):
    """A Task that the test finishes."""

    def finish(self, value: Any = None) -> bool:
        return self._succeed(value)


class Rung:
    """Told by a clock; `at`: when."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def expire(self) -> None:
        self.at.append(time.monotonic())


# -- the clock --------------------------------------------------------------------------------------------


def test_a_deadline_that_is_set_while_its_bucket_is_dropped() -> None:
    """It neither comes early nor gets lost."""
    ticking, task = Clock(), Rung()
    when = time.monotonic() + 0.3
    key = int(when * PER_SECOND) + 1

    class Dropped(set[Any]):
        """Empty when it is looked at; then somebody joins it."""

        def __bool__(self) -> bool:
            empty = not len(self)
            if empty and not task.at:
                self.add(task)
            return not empty

    ticking._buckets[key] = Dropped()
    heapq.heappush(ticking._times, key)
    try:
        ticking.set(when + 60, Rung())
        wait_for(lambda: task.at, 'the deadline')
        assert task.at[0] >= when
    finally:
        ticking.close()


def test_deadlines_set_and_unset_by_many_threads() -> None:
    """Those that are left come, each at its time; a past one at once."""
    ticking = Clock()
    wrong: list[float] = []
    left: list[tuple[float, Rung]] = []

    def set_some(number: int) -> None:
        for i in range(500):
            when = time.monotonic() + ((number + i) * 37 % 40) / 100 - 0.05
            task = Rung()
            bucket = ticking.set(when, task)
            if i % 5:
                bucket.discard(task)
                if task.at and task.at[0] < when:
                    wrong.append(when)
            else:
                left.append((when, task))

    threads = [threading.Thread(target=set_some, args=(number,)) for number in range(8)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        wait_for(lambda: all(task.at for _, task in left), 'all deadlines')
        assert not wrong
        assert not [when for when, task in left if task.at[0] < when]
        wait_for(lambda: not ticking._times and not ticking._buckets, 'nothing to be left')
    finally:
        ticking.close()


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """A clock of its own for Tasks, to which a quarter of a second is far."""
    monkeypatch.setattr(clock, 'FAR', 0.25)
    monkeypatch.setattr(clock, 'LOOK', 0.1)
    monkeypatch.setattr(clock, 'clock', ticking := Clock())
    yield ticking
    ticking.close()


def test_far_deadlines_come_at_their_time(near: Clock) -> None:
    """From many threads, and while others end before theirs; none is late, none forgotten."""
    ended: list[tuple[float, float]] = []
    tasks: list[Manual] = []

    def make(number: int) -> None:
        for i in range(100):
            seconds = 0.3 + (number * 13 + i) % 40 / 100
            when = time.monotonic() + seconds
            task = Manual(timeout=seconds)
            tasks.append(task)
            if i % 4:
                task.finish()
            else:
                task.add_done_callback(lambda task, when=when: ended.append((when, time.monotonic())))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    wait_for(lambda: len(ended) == 8 * 25, 'all deadlines')
    assert not [when for when, at in ended if at < when]
    assert sorted(at - when for when, at in ended)[len(ended) // 2] < 0.1
    assert sum(task.wait().status_code == 730 for task in tasks) == 8 * 25
    wait_for(lambda: not near._times and not near._buckets and not near.looks, 'nothing to be left')
    assert not near.far


def test_a_far_deadline_after_a_rest(near: Clock) -> None:
    """A clock that had nothing to do, and one that was closed, look again."""
    for _ in range(2):
        for _ in range(2):
            began = time.monotonic()
            assert Manual(timeout=0.4).wait().status_code == 730
            assert 0.4 <= time.monotonic() - began < 5
            wait_for(lambda: not near.looks, 'the rest')
        near.close()


def test_a_task_that_is_done_while_its_deadline_comes_near(near: Clock) -> None:
    """It is told in vain, and let go of."""
    task = Manual(timeout=0.4)

    class Far(set[Any]):
        def discard(self, task: Any) -> None:
            assert task.finish('done')
            super().discard(task)

    near.far = Far(near.far)
    wait_for(task.done, 'the end')
    assert task.fetch() == 'done'
    wait_for(lambda: not near._times and not near.far, 'nothing to be left')


def test_what_a_deadline_raises_does_not_end_the_clock(caplog: pytest.LogCaptureFixture) -> None:
    class Bad(Rung):
        def expire(self) -> None:
            raise SystemExit

    ticking, task = Clock(), Rung()
    ticking.set(0, Bad())
    wait_for(lambda: 'could not be stopped' in caplog.text, 'the log')
    ticking.set(0, task)
    wait_for(lambda: task.at, 'the next deadline')
    ticking.close()
    ticking.set(0, task)  # it starts again
    wait_for(lambda: len(task.at) == 2, 'one after the end')
    ticking.close()


def test_a_callback_may_raise_anything(caplog: pytest.LogCaptureFixture) -> None:
    """The thread that finishes Tasks is the clock's, or the event loop's."""

    def leave(task: Task) -> None:
        raise SystemExit

    with caplog.at_level(logging.CRITICAL):
        timed = Manual(timeout=0)
        timed.add_done_callback(leave)
        on_loop = Async(asyncio.sleep, 0.01, 5)
        on_loop.add_done_callback(leave)
        assert on_loop.fetch() == 5
        assert Async(asyncio.sleep, 0, 6).fetch() == 6
        done = threading.Event()
        Manual(timeout=0.05).add_done_callback(lambda task: done.set())
        assert done.wait(5)


# -- groups -----------------------------------------------------------------------------------------------


class Turn:
    """A lock; what was given happens when it is let go of for the first time."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self._lock = threading.Lock()
        self._happens: Callable[[], object] | None = happens

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()
        happens, self._happens = self._happens, None
        if happens is not None:
            happens()


def test_added_while_the_last_one_finishes() -> None:
    first, second = Manual(), Manual()
    tasks = Tasks(first)
    tasks._lock = Turn(lambda: tasks.add(second))  # type: ignore[assignment]
    first.finish(1)
    assert not tasks.done()
    second.finish(2)
    assert tasks.done()
    assert tasks.fetch() == [1, 2]


def test_added_while_the_deadline_is_let_go_of() -> None:
    """The group has one again."""
    first, second = Manual(), Manual(timeout=None)
    tasks = Tasks(first, timeout=0.5)

    class Alarm(set[Any]):
        def discard(self, task: Any) -> None:
            adding = threading.Thread(target=tasks.add, args=(second,))
            adding.start()
            adding.join(0.1)
            super().discard(task)
            threads.append(adding)

    threads: list[threading.Thread] = []
    bucket = tasks._alarm
    assert bucket is not None
    bucket.discard(tasks)
    tasks._alarm = Alarm([tasks])
    first.finish(1)
    threads[0].join(5)
    done = threading.Event()
    tasks.add_done_callback(lambda task: done.set())
    assert done.wait(5)
    with pytest.raises(TaskTimeout):
        second.fetch()


def test_a_group_whose_members_are_added_and_finished_at_once() -> None:
    for _ in range(200):
        tasks, members = Tasks(), [Manual() for _ in range(6)]
        start = threading.Barrier(2)

        def finish(members: list[Manual] = members, start: threading.Barrier = start) -> None:
            start.wait()
            for number, member in enumerate(members):
                member.finish(number)

        thread = threading.Thread(target=finish)
        thread.start()
        start.wait()
        for member in members:
            tasks.add(member)
        thread.join()
        assert tasks.done()
        assert tasks.fetch() == list(range(6))


# -- scopes -----------------------------------------------------------------------------------------------


def test_a_scope_that_is_cancelled_while_others_add() -> None:
    """Whoever comes, whenever: it is cancelled; also who was just looked at."""
    for _ in range(10):
        scope, made = Scope(), [[Manual(timeout=None) for _ in range(150)] for _ in range(4)]
        start = threading.Barrier(5)

        def add(tasks: list[Manual], scope: Scope = scope, start: threading.Barrier = start) -> None:
            start.wait()
            for number, task in enumerate(tasks):
                scope.add(task)
                if number % 3 == 0:
                    task.finish()

        threads = [threading.Thread(target=add, args=(tasks,)) for tasks in made]
        for thread in threads:
            thread.start()
        start.wait()
        scope.cancel()
        for thread in threads:
            thread.join()
        assert all(task.done() for tasks in made for task in tasks)
        assert len(scope) == 0


def test_a_scope_that_is_cancelled_while_it_lets_go() -> None:
    scope, tasks = Scope(), [Manual(timeout=None) for _ in range(65)]

    class Taken(Manual):
        """While it is out of the scope, to be looked at, the scope is cancelled."""

        looks = 0

        def done(self) -> bool:
            self.looks += 1
            if self.looks == 1:
                scope.cancel()
            return super().done()

    taken = Taken(timeout=None)
    for task in (taken, *tasks):
        scope.add(task)
    assert taken.looks >= 1
    assert taken.done()
    assert all(task.done() for task in tasks)


# -- the event loop ---------------------------------------------------------------------------------------


class Began(LoopTask):
    """Its beginning fails, or does what it is told."""

    def __init__(self, begins: Callable[[], Any]) -> None:
        self.begins = begins
        super().__init__(None, None, 10)
        self._begin()

    def _start(self, loop: Any) -> None:
        self._succeed(self.begins())


def fail() -> None:
    raise ValueError('it does not begin')


def test_one_that_cannot_begin_keeps_no_other_from_it() -> None:
    held, go_on = threading.Event(), threading.Event()
    Began(lambda: held.set() or go_on.wait(5))
    assert held.wait(5)
    tasks = [Began(function) for function in (fail, int, fail, int)]
    go_on.set()
    assert [tasks[1].fetch(timeout=5), tasks[3].fetch(timeout=5)] == [0, 0]
    for task in tasks[::2]:
        with pytest.raises(ValueError, match='does not begin'):
            task.fetch()


def test_the_loop_is_closed_while_others_count_on_who_calls_it() -> None:
    others: list[Task] = []

    class Closed:
        def call_soon_threadsafe(self, callback: Any) -> None:
            if not others:  # one more comes, and sees that the loop has been called
                others.append(Quiet())
                inbox.tasks.append(others[0])
            raise RuntimeError('the loop is closed')

    class Quiet(Began):
        def __init__(self) -> None:
            LoopTask.__init__(self, None, None, None)

    inbox = looptask._Inbox(Closed())  # type: ignore[arg-type]
    task = Quiet()
    inbox.tasks.append(task)
    inbox.call()
    for one in (task, *others):
        assert one.done()
        with pytest.raises(TaskCancelled, match='the loop is closed'):
            one.fetch()


def test_a_deadline_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(when: float, task: Task) -> set[Task]:
        task.expire()
        return set()

    async def run() -> None:
        raise AssertionError('it was begun')

    monkeypatch.setattr(clock.clock, 'set', at_once)
    with pytest.raises(TaskTimeout):
        Async(run, timeout=1).fetch()


def test_all_is_cancelled_before_the_first_step() -> None:
    """Whoever waits for it learns so."""

    async def run() -> None:
        raise AssertionError('it was begun')

    async def main() -> Task:
        loop.use(asyncio.get_running_loop())
        task = Async(run)
        for running in asyncio.all_tasks() - {asyncio.current_task()}:
            running.cancel()
        return task

    try:
        task = asyncio.run(main())
    finally:
        loop.use(None)
    assert task.done()
    with pytest.raises(TaskCancelled):
        task.fetch()
    assert not looptask._running


def test_another_loop_that_comes_and_goes() -> None:
    """Tasks run on the one that is used; where it ended, on our own again. Contexts go with them."""
    var: ContextVar[int] = ContextVar('var')

    async def where() -> tuple[Any, int]:
        await asyncio.sleep(0)
        return asyncio.get_running_loop(), var.get()

    def of(data: tuple[Any, int]) -> tuple[Any, int, int]:
        return *data, var.get()

    for number in range(3):
        var.set(number)
        other = asyncio.new_event_loop()
        thread = threading.Thread(target=other.run_forever)
        thread.start()
        loop.use(other)
        try:
            assert Async(where, filter=of, args=()).fetch() == (other, number, number)
        finally:
            other.call_soon_threadsafe(other.stop)
            thread.join(5)
            other.close()
        assert Async(where).fetch() == (loop.get(), number)
        assert loop.get() is not other
    loop.use(None)


@pytest.mark.filterwarnings('ignore:This process:DeprecationWarning')
def test_a_forked_child_does_not_end_what_its_parent_runs() -> None:
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            os.write(write, b'ended')

    read, write = os.pipe()
    os.set_blocking(read, False)
    task = Async(wait, timeout=None, args=())  # nor does the clock keep it
    wait_for(lambda: task._runs is not None, 'its beginning')
    Async(asyncio.sleep, 0.01).commit()
    pid = os.fork()
    if not pid:
        del task
        gc.collect()
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(BlockingIOError):
        os.read(read, 5)
    task.cancel()
    wait_for(lambda: task._runs is None, 'its end')
    assert os.read(read, 5) == b'ended'
    os.close(read)
    os.close(write)
