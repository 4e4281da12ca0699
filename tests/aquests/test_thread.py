"""Thread (SPEC TH-01) and its pool."""

from __future__ import annotations

import math
import threading
import time
from contextvars import ContextVar
from random import Random
from typing import Any

import pytest
from projects import wait_for

import aquests
from aquests import Tasks, Thread, errors, pools

var: ContextVar[str] = ContextVar('var', default='nothing')


def test_a_thread_returns_what_the_function_returns() -> None:
    """SPEC TH-01, A-85."""
    assert Thread(divmod, 7, 2).fetch() == (3, 1)
    assert Thread(int, 'ff', base=16).fetch() == 255
    assert Thread(math.sqrt, args=(4.0,)).fetch() == 2.0


def test_options_without_positional_arguments() -> None:
    """SPEC TH-01."""

    def say(*args: Any, **kargs: Any) -> Any:
        return args, kargs

    task = Thread(
        say, args=(1,), kwargs={'timeout': 5}, b=2, timeout=9, meta={'a': 1}, filter=lambda x: (x, 'f')
    )
    assert task.fetch() == (((1,), {'timeout': 5, 'b': 2}), 'f')
    assert task.meta == {'a': 1}
    assert Thread(say, 1, timeout=5, meta=6).fetch() == ((1,), {'timeout': 5, 'meta': 6})
    assert Thread(say).fetch() == ((), {})
    with pytest.raises(TypeError, match='tuple'):
        Thread(say, args=4.0)
    with pytest.raises(TypeError, match='function'):
        Thread(5)  # type: ignore[arg-type]


def test_an_exception_is_raised_as_it_is() -> None:
    class Mine(Exception): ...

    error = Mine('x')

    def fail() -> None:
        raise error

    with pytest.raises(Mine) as caught:
        Thread(fail).fetch()
    assert caught.value is error
    assert not hasattr(error, 'http_status')

    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        Thread(leave).fetch()
    assert Thread(int, 1).fetch() == 1


def test_an_async_function_is_refused_in_words() -> None:
    async def f() -> None: ...

    with pytest.raises(TypeError, match='async function'):
        Thread(f).fetch()


def test_the_makers_context_is_copied() -> None:
    var.set('maker')

    def f() -> str:
        seen = var.get()
        var.set('changed')
        return seen

    task = Thread(f, filter=lambda seen: (seen, var.get()))
    assert task.fetch() == ('maker', 'maker')
    assert var.get() == 'maker'


def test_threads_have_telling_names() -> None:
    assert Thread(lambda: threading.current_thread().name).fetch().startswith('aquests-thread-')


def test_tasks_run_at_the_same_time_up_to_the_bound(gate: threading.Event) -> None:
    """SPEC TK-03."""
    aquests.configure(threads=3)
    running: list[int] = []

    def f(i: int) -> int:
        running.append(i)
        gate.wait()
        return i

    tasks = [Thread(f, i) for i in range(5)]
    wait_for(lambda: len(running) == 3, 'three that run')
    assert sorted(running) == [0, 1, 2]
    gate.set()
    assert [task.fetch() for task in tasks] == list(range(5))


def test_a_full_queue_fails_the_task(gate: threading.Event) -> None:
    aquests.configure(threads=1, queue=2)
    tasks = [Thread(gate.wait) for _ in range(4)]
    with pytest.raises(errors.QueueFull) as caught:
        tasks[3].fetch()
    assert caught.value.http_status == 503
    tasks[1].cancel()
    room = Thread(int, 5)  # a cancelled one keeps no place
    gate.set()
    assert room.fetch() == 5
    tasks[2].commit()


def test_a_hanging_thread_is_abandoned_and_replaced(gate: threading.Event) -> None:
    aquests.configure(threads=2)
    hanging = [Thread(gate.wait, timeout=0.05) for _ in range(6)]
    for task in hanging:
        with pytest.raises(errors.TaskTimeout):
            task.fetch()
    cancelled = [Thread(gate.wait) for _ in range(2)]
    for task in cancelled:
        assert task.cancel()
    assert [Thread(int, i).fetch(timeout=5) for i in range(10)] == list(range(10))


def test_hanging_threads_are_bounded_and_come_back(gate: threading.Event) -> None:
    aquests.configure(threads=1)
    before = threading.active_count()
    for _ in range(100):
        Thread(gate.wait).cancel()
    waiting = Thread(int, 5)
    assert threading.active_count() - before <= 4 + 16 + 1
    gate.set()
    assert waiting.fetch() == 5
    wait_for(lambda: threading.active_count() - before <= 3, 'the end of the surplus threads')


def test_a_cancelled_thread_that_has_not_begun_never_does(gate: threading.Event) -> None:
    aquests.configure(threads=1)
    called: list[int] = []
    Thread(gate.wait)
    task = Thread(called.append, 1)
    assert task.cancel()
    gate.set()
    Thread(int, 1).commit()
    assert called == []


def test_tasks_that_wait_for_tasks_do_not_wait_for_ever() -> None:
    """A pool of two, and functions that make Tasks and wait for them."""
    aquests.configure(threads=2)

    def tree(depth: int) -> int:
        return 1 if not depth else sum(Thread(tree, depth - 1).fetch() for _ in range(2))

    assert Thread(tree, 4).fetch(timeout=20) == 16

    def group(depth: int) -> int:
        if not depth:
            return 1
        total: int = sum(Tasks([Thread(group, depth - 1) for _ in range(2)]).fetch())
        return total

    assert Thread(group, 3).fetch(timeout=20) == 8


def test_a_crowd_of_tasks_that_wait_for_tasks() -> None:
    """More than there may be threads, and what they wait for is behind them in the queue."""
    aquests.configure(threads=1)

    def outer(i: int) -> int:
        return int(Thread(int, i).fetch()) + sum(Tasks(Thread(int, 1), Thread(int, 2)).fetch())

    tasks = [Thread(outer, i) for i in range(200)]
    assert [task.fetch(timeout=20) for task in tasks] == [i + 3 for i in range(200)]


def test_the_default_timeout_can_be_set(gate: threading.Event) -> None:
    aquests.configure(timeout=0.05)
    with pytest.raises(errors.TaskTimeout):
        Thread(gate.wait, 30).fetch()
    aquests.configure(timeout=None)
    assert Thread(int, 1).fetch() == 1
    for wrong in ({'threads': 0}, {'processes': -1}, {'queue': True}, {'timeout': 0}):
        with pytest.raises(ValueError, match='takes'):
            aquests.configure(**wrong)


def test_from_many_threads_at_once() -> None:
    def make() -> None:
        results.extend(Thread(int, i).fetch() for i in range(200))

    results: list[int] = []
    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(results) == sorted(list(range(200)) * 8)


def test_nothing_is_lost_whatever_happens(gate: threading.Event) -> None:
    """Tasks that succeed, fail, time out, are cancelled, wait for others: each ends."""
    aquests.configure(threads=3)
    made: list[Thread] = []

    def nested() -> int:
        task = Thread(int, 3)
        made.append(task)
        return int(task.fetch())

    def make(seed: int) -> None:
        random = Random(seed)
        for _ in range(300):
            what = random.randrange(5)
            if what == 0:
                task = Thread(int, 'x')
            elif what == 1:
                task = Thread(nested)
            elif what == 2:
                task = Thread(time.sleep, args=(0.002,), timeout=random.random() * 0.01)
            else:
                task = Thread(int, 5)
                if what == 3:
                    task.cancel()
            made.append(task)

    threads = [threading.Thread(target=make, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    wait_for(lambda: all(task.done() for task in made), 'the end of all')
    for task in made:
        task.dispatch()
    pool = pools._pools['threads']
    wait_for(lambda: pool.counts()[1:] in [(0, idle, 0) for idle in range(4)], 'an idle pool')
    wait_for(lambda: pool.counts()[0] <= 3, 'the end of surplus threads')
    assert [Thread(int, i).fetch() for i in range(20)] == list(range(20))


def test_who_finishes_a_task_takes_the_next(gate: threading.Event) -> None:
    """A queue of Tasks needs no further threads; a thread's process, if it has one, is kept so."""
    aquests.configure(threads=1)
    first = Thread(gate.wait)
    more = [Thread(threading.get_ident) for _ in range(20)]
    gate.set()
    first.fetch()
    assert len({task.fetch() for task in more}) == 1
    assert pools._pools['threads'].counts()[0] == 1


def test_more_threads_begin_what_waits() -> None:
    """`configure` holds for the pool that there is."""
    gate = threading.Event()
    aquests.configure(threads=1)
    blocked = Thread(gate.wait, 20)
    waiting = Thread(int, 3)
    aquests.configure(threads=2)
    assert waiting.fetch(timeout=10) == 3
    gate.set()
    assert blocked.fetch()


def test_options_of_a_wrong_kind() -> None:
    with pytest.raises(TypeError, match='meta takes a dict'):
        Thread(int, meta=5)
    with pytest.raises(TypeError, match='kwargs takes a dict'):
        Thread(int, kwargs=None)
    with pytest.raises(TypeError, match="timeout = 'x'"):
        Thread(time.sleep, 0.05).fetch(timeout='x')  # type: ignore[arg-type]
    with pytest.raises(TypeError, match='takes an exception'):
        aquests.Mask(1, 'error')  # type: ignore[arg-type]
    with pytest.raises(TypeError, match='takes an exception'):
        aquests.Mask(1, ValueError)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match='takes a number'):
        aquests.Mask(1, status_code='x')  # type: ignore[arg-type]
