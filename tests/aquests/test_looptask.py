"""Tasks on the event loop (`looptask`): `Async`, and what all that have a connection share."""

from __future__ import annotations

import asyncio
import functools
import gc
import math
import os
import threading
import time
import traceback
import weakref
from contextvars import ContextVar
from typing import Any

import pytest
from projects import wait_for

import aquests
from aquests import Async, Tasks, loop
from aquests.errors import TaskCancelled, TaskTimeout, WouldBlock

var: ContextVar[str] = ContextVar('var', default='nothing')


async def double(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


def running() -> int:
    """How many coroutines are on the loop."""
    return len(asyncio.all_tasks(loop.get()))


class Forever:
    """`await it ()` until it is cancelled; tells how far it came."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()

    async def __call__(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


# -- Async ------------------------------------------------------------------------------------------------


def test_an_async_function_runs_on_the_loop() -> None:
    async def where(*args: Any, **kargs: Any) -> Any:
        return threading.current_thread().name, asyncio.get_running_loop() is loop.get(), args, kargs

    assert Async(where, 1, b=2).fetch() == ('aquests-loop', True, (1,), {'b': 2})
    assert Async(double, 4).one() == 8
    assert Async(functools.partial(double, 5)).fetch() == 10
    assert Tasks(Async(double, 1), Async(double, 2)).fetch() == [2, 4]


def test_options_without_positional_arguments() -> None:
    """SPEC TH-01, as for Threads."""
    task = Async(double, args=(4,), timeout=9, meta={'a': 1}, filter=lambda x: x + 1)
    assert task.fetch() == 9
    assert task.meta == {'a': 1}


def test_what_is_no_async_function_is_refused_in_words() -> None:
    for func in (time.sleep, lambda: double(1), 5):
        with pytest.raises(TypeError, match=r'async def.*Thread'):
            Async(func, 1)  # type: ignore[arg-type]


def test_an_exception_is_raised_as_it_is() -> None:
    class Mine(Exception): ...

    error = Mine('x')

    async def fail() -> None:
        raise error

    with pytest.raises(Mine) as caught:
        Async(fail).fetch()
    assert caught.value is error
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert names[-1] == 'fail'

    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        Async(leave).fetch()
    assert Async(double, 1).fetch() == 2


def test_the_makers_context_is_copied() -> None:
    async def f() -> str:
        seen = var.get()
        await asyncio.sleep(0)
        var.set('changed')
        return seen

    var.set('maker')
    assert Async(f, filter=lambda seen: (seen, var.get())).fetch() == ('maker', 'maker')
    assert var.get() == 'maker'


def test_many_run_at_the_same_time() -> None:
    """SPEC TK-03."""
    count = 0

    async def meet() -> int:
        nonlocal count
        count += 1
        while count < 1000:
            await asyncio.sleep(0)
        return count

    assert Tasks([Async(meet) for _ in range(1000)]).fetch() == [1000] * 1000


def test_tasks_of_many_threads_all_begin() -> None:
    """None is forgotten where many threads wake the loop at the same time."""
    results: list[Any] = []

    def make() -> None:
        tasks = [Async(double, i) for i in range(300)]
        results.append([task.fetch(timeout=10) for task in tasks])

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [[2 * i for i in range(300)]] * 8


# -- on the loop ------------------------------------------------------------------------------------------


def test_on_the_loop_it_is_awaited() -> None:
    async def outer() -> int:
        task = Async(double, 1)
        with pytest.raises(WouldBlock):
            task.fetch()
        return await task + await Async(double, 2)

    assert Async(outer).fetch() == 6


def test_on_another_loop_it_is_awaited_too() -> None:
    async def outer() -> int:
        return await Async(double, 1)

    assert asyncio.run(outer()) == 2


# -- time, cancelling -------------------------------------------------------------------------------------


def test_a_timeout_cancels_the_coroutine() -> None:
    """SPEC TK-16."""
    forever = Forever()
    task = Async(forever, timeout=0.05)
    with pytest.raises(TaskTimeout):
        task.fetch()
    assert task.dispatch().status == aquests.STA_TIMEOUT
    assert forever.ended.wait(5)
    assert Async(double, 1).fetch() == 2


def test_the_time_counts_from_the_making_even_if_the_loop_is_busy() -> None:
    async def block() -> None:
        time.sleep(0.3)

    blocking = Async(block)
    started = time.monotonic()
    with pytest.raises(TaskTimeout):
        Async(double, args=(1,), timeout=0.05).fetch()
    assert time.monotonic() - started < 0.28
    blocking.commit()


def test_cancel_cancels_the_coroutine() -> None:
    forever = Forever()
    task = Async(forever)
    assert forever.began.wait(5)
    assert task.cancel()
    assert not task.cancel()
    with pytest.raises(TaskCancelled):
        task.fetch()
    assert forever.ended.wait(5)


def test_a_coroutine_that_cancels_itself_has_failed() -> None:
    async def give_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(TaskCancelled):
        Async(give_up).fetch(timeout=5)


def test_one_that_swallows_its_cancelling_changes_nothing() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
        return 'done'

    task = Async(stubborn, timeout=0.05)
    with pytest.raises(TaskTimeout):
        task.fetch()
    wait_for(lambda: not running(), 'its end')
    assert task.dispatch().status == aquests.STA_TIMEOUT


@pytest.mark.parametrize('timeout', [None, 60, 0.2])
def test_what_runs_is_held_to_its_end(timeout: float | None) -> None:
    """Also one that nobody refers to but itself, and one that has something to do when its time is up."""
    ended: list[str] = []
    futures: list[weakref.ref[Any]] = []

    async def work() -> None:
        try:
            future = asyncio.get_running_loop().create_future()
            futures.append(weakref.ref(future))
            await future
        finally:
            await asyncio.create_task(put_in_order())
            ended.append('in order')

    async def put_in_order() -> None:
        await asyncio.sleep(0.02)

    task = Async(work, timeout=timeout)
    gone = weakref.ref(task)
    wait_for(lambda: futures, 'the beginning')
    del task
    gc.collect()
    assert futures[0]() is not None
    if timeout != 0.2:
        assert gone() is not None
        gone().cancel()  # type: ignore[union-attr]
    wait_for(lambda: gc.collect() >= 0 and ended, 'its end')
    wait_for(lambda: gc.collect() >= 0 and gone() is None, 'nothing that is left of it')


def test_cancelled_before_it_began_it_never_does() -> None:
    called: list[int] = []

    async def f() -> None:
        called.append(1)

    async def block(gate: threading.Event) -> None:
        gate.wait(5)

    for _ in range(20):  # at the same time, between its making and its first step, or before both
        gate = threading.Event()
        blocking = Async(block, gate)
        tasks = [Async(f) for _ in range(5)]
        for task in tasks:
            task.cancel()
        gate.set()
        blocking.commit()
    Async(double, 1).commit()
    assert not called
    wait_for(lambda: not running(), 'nothing that runs')


def test_cancelled_between_its_making_and_its_first_step() -> None:
    async def main() -> None:
        task = Async(double, 1)
        task.cancel()
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    Async(main).commit()
    wait_for(lambda: not running(), 'nothing that runs')


# -- the end ----------------------------------------------------------------------------------------------


def test_at_shutdown_it_is_cancelled() -> None:
    forever = Forever()
    task = Async(forever, timeout=None)
    assert forever.began.wait(5)
    aquests.shutdown(1)
    assert forever.ended.is_set()
    with pytest.raises(TaskCancelled):
        task.fetch(timeout=1)
    assert Async(double, 1).fetch() == 2  # it begins anew


def test_what_begins_at_the_end_is_waited_for() -> None:
    """A coroutine that is cancelled may have something to put in order, in another one."""
    finished: list[str] = []

    async def put_in_order() -> None:
        await asyncio.sleep(0.05)
        finished.append('in order')

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            kept.append(asyncio.ensure_future(put_in_order()))

    kept: list[Any] = []
    task = Async(work, timeout=None)
    wait_for(lambda: running() == 1, 'the beginning')
    aquests.shutdown(2)
    assert finished == ['in order']
    assert task.done()


def test_what_hangs_at_the_end_is_cancelled_after_a_while() -> None:
    async def hang() -> None:
        await asyncio.sleep(60)

    async def work() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            kept.append(asyncio.ensure_future(hang()))

    kept: list[Any] = []
    began = threading.Event()
    Async(work)
    assert began.wait(5)
    started = time.monotonic()
    aquests.shutdown(0.2)
    assert time.monotonic() - started < 2
    assert kept[0].cancelled()


def test_without_a_loop_it_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread() -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(loop, 'get', no_thread)
    with pytest.raises(TaskCancelled, match='new thread'):
        Async(double, 1).fetch()


def test_a_forked_child_has_a_loop_of_its_own() -> None:
    assert Async(double, 1).fetch() == 2
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = Async(double, 20).fetch(timeout=5)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 40
    assert Async(double, 2).fetch() == 4


def test_closers_are_awaited_once_on_the_loop() -> None:
    closed: list[Any] = []

    async def close(timeout: float) -> None:
        closed.append((timeout, asyncio.get_running_loop() is own))

    async def fail(timeout: float) -> None:
        raise OSError('on purpose')

    own = loop.get()
    for closer in (close, fail, close):
        loop.at_end(closer)
    aquests.shutdown(1)
    assert [on_it for _, on_it in closed] == [True]
    aquests.shutdown(1)
    assert len(closed) == 1


# -- what is left -----------------------------------------------------------------------------------------


class Big:
    """Something that can be weakly referred to."""


def test_nothing_is_kept_of_a_finished_task() -> None:
    async def f(big: Big) -> None:
        if len(kept) > 1:
            raise ValueError('on purpose')

    kept: list[weakref.ref[Any]] = []
    for _ in range(3):
        big = Big()
        task = Async(f, big)
        kept += [weakref.ref(big), weakref.ref(task)]
        task.dispatch()
        del big, task
    Async(double, 1).commit()

    def gone() -> bool:
        gc.collect()
        return not any(reference() for reference in kept)

    wait_for(gone, 'the end of all of it')


def test_a_thousand_that_fail_leave_nothing() -> None:
    async def fail() -> None:
        raise ValueError('on purpose')

    forever = Forever()
    Async(double, 1).commit()
    before = threading.active_count(), len(os.listdir('/proc/self/fd'))
    tasks: list[Any] = []
    for i in range(334):
        tasks += [Async(fail), Async(forever, timeout=0.05), Async(forever, timeout=None)]
        tasks[-1].cancel()
        if i % 50 == 0:
            time.sleep(0.01)
    for task in tasks:
        task.dispatch()
    wait_for(lambda: not running(), 'nothing that runs')
    wait_for(
        lambda: (threading.active_count(), len(os.listdir('/proc/self/fd'))) <= (before[0] + 2, before[1]),
        'threads and descriptors as before',
    )


def test_unfetched_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError('on purpose')

    Async(fail).wait()
    wait_for(lambda: 'on purpose' in caplog.text, 'a line')
    assert 'Async' in caplog.text


def test_at_shutdown_it_has_time() -> None:
    """As a thread has."""

    async def work() -> str:
        await asyncio.sleep(0.2)
        return 'done'

    task = Async(work)
    aquests.shutdown(10)
    assert task.fetch(timeout=0) == 'done'


def test_a_loop_does_not_end_itself() -> None:
    """It is refused before anything is ended; afterwards it can be."""

    async def end() -> None:
        aquests.shutdown(0.1)

    forever = Forever()
    task = Async(forever, timeout=None)
    with pytest.raises(RuntimeError, match='on the loop that it is to end'):
        Async(end).fetch()
    aquests.shutdown(0.1)
    assert task.done()
    assert not any(thread.name == 'aquests-loop' for thread in threading.enumerate())


@pytest.mark.parametrize('timeout', [math.inf, None])
def test_a_shutdown_without_a_limit(timeout: float | None) -> None:
    task = Async(double, 2)
    aquests.shutdown(timeout)
    assert task.fetch(timeout=0) == 4


def test_a_shutdown_takes_seconds() -> None:
    with pytest.raises(ValueError, match='nan'):
        aquests.shutdown(math.nan)
