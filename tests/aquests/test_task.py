"""What all Tasks have in common: SPEC TK-03 to TK-17, TH-03."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import threading
import time
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from projects import wait_for

import aquests
from aquests import Mask, Result, Scope, Task, Then, Thread, errors


def boom() -> None:
    raise ValueError('boom')


class Manual(Task):
    """A Task that the test finishes."""

    stopped = 0

    def finish(self, value: Any) -> bool:
        return self._succeed(value)

    def _stop(self) -> None:
        self.stopped += 1


def test_a_mask_is_a_finished_task() -> None:
    """SPEC TH-03, A-86."""
    assert Mask(1).fetch() == 1
    tasks = Mask([1, 2])
    first, second = tasks.fetch()
    assert (first, second) == (1, 2)
    first, second = tasks
    assert (first, second) == (1, 2)
    assert tasks.done()
    assert not tasks.cancel()
    assert tasks.commit() is None  # type: ignore[func-returns-value]
    assert isinstance(tasks, Task)
    assert Mask(1, meta={'a': 1}).meta.get('a') == 1
    assert Mask().meta.get('a') is None


def test_a_mask_can_hold_an_error_or_a_status() -> None:
    """SPEC TH-03, TK-12."""
    failed = Mask(None, ValueError('no'))
    with pytest.raises(ValueError, match='no'):
        failed.fetch()
    result = failed.dispatch()
    assert (result.status, result.status_code) == (aquests.STA_REQFAIL, 500)
    with pytest.raises(errors.BadStatus) as caught:
        Mask('nothing', status_code=404).fetch()
    assert (caught.value.status_code, caught.value.reason, caught.value.http_status) == (
        404,
        'Not Found',
        502,
    )
    assert Mask('nothing', status_code=404).dispatch().data == 'nothing'


@pytest.mark.parametrize(
    ('data', 'element'),
    [([7], 7), ({'a': 7}, 7), ((7,), 7), (7, 7), ('text', 'text'), ('', ''), (b'', b''), (None, None)],
)
def test_one(data: Any, element: Any) -> None:
    """SPEC TK-05."""
    assert Mask(data).one() == element
    assert Mask(data).dispatch().one() == element


@pytest.mark.parametrize(
    ('data', 'error', 'status', 'reason'),
    [
        ([], errors.PartialNotFound, 410, 'Partial Not Found'),
        ({}, errors.PartialNotFound, 410, 'Partial Not Found'),
        ([1, 2], errors.Conflict, 409, 'Conflict'),
        ({'a': 1, 'b': 2}, errors.Conflict, 409, 'Conflict'),
    ],
)
def test_one_of_none_or_several(data: Any, error: type[errors.WrongCount], status: int, reason: str) -> None:
    """SPEC TK-05."""
    with pytest.raises(error) as caught:
        Mask(data).one()
    assert (caught.value.http_status, caught.value.http_reason) == (status, reason)


@given(st.lists(st.integers()) | st.dictionaries(st.text(), st.integers()) | st.sets(st.integers()))
def test_one_property(data: Any) -> None:
    if len(data) == 1:
        assert Mask(data).one() == next(iter(data.values() if isinstance(data, dict) else data))
    else:
        with pytest.raises(errors.WrongCount):
            Mask(data).one()


def test_the_fields_of_a_result() -> None:
    """SPEC TK-10."""
    result = Mask('häh').dispatch()
    assert (result.status, result.status_code, result.reason) == (aquests.STA_NORMAL, 200, 'OK')
    assert (result.data, result.text, result.content) == ('häh', 'häh', 'häh'.encode())
    assert result.get_header('Content-Type') is None
    assert result.get_header('Content-Type', 'x') == 'x'
    assert result.raise_for_status() is result
    assert result.reraise() is result
    assert result.cache(10) is result
    assert result.fetch() == 'häh'
    assert Result(b'x\xff', headers=[('Content-Type', 'a/b')]).text == 'x\ufffd'
    assert Result(headers=[('Content-Type', 'a/b')]).get_header('content-type') == 'a/b'
    assert Result(None).text == ''


def test_a_failed_thread_has_a_complete_result() -> None:
    """PITFALLS: `dispatch ()` on a failed Thread gave an object without `reason`."""
    result = Thread(boom).dispatch()
    assert result.status == aquests.STA_REQFAIL
    assert result.status_code == 500
    assert result.reason
    assert result.data is None
    for call in (result.raise_for_status, result.reraise, result.fetch, result.one, result.commit):
        with pytest.raises(ValueError, match='boom'):
            call()


def test_raising_again_and_again_makes_no_longer_traceback() -> None:
    task = Mask(None, ValueError('no'))

    def depth() -> int:
        try:
            task.fetch()
        except ValueError as error:
            trace, count = error.__traceback__, 0
            while trace is not None:
                trace, count = trace.tb_next, count + 1
            return count
        return 0

    assert depth() == depth() == depth()


def test_then_and_returning() -> None:
    """SPEC TK-09, TK-17."""
    task = Mask(1)
    then = task.then(print)
    assert isinstance(then, Then)
    assert (then.task, then.func, task.then().func) == (task, print, None)
    assert task.returning('x') == 'x'


def test_callbacks_are_called_once_and_never_raise_out(caplog: pytest.LogCaptureFixture) -> None:
    called: list[Any] = []
    task = Manual()
    task.add_done_callback(lambda task: 1 / 0)
    task.add_done_callback(called.append)
    assert not called
    assert task.finish(1)
    assert not task.finish(2)
    task.add_done_callback(called.append)
    assert called == [task, task]
    assert task.fetch() == 1
    assert 'ZeroDivisionError' in caplog.text


def test_a_timeout_is_measured_from_the_start() -> None:
    """SPEC TK-16."""
    task = Manual(timeout=0.05)
    wait_for(task.done, 'the end of the time')
    with pytest.raises(errors.TaskTimeout) as caught:
        task.fetch()
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.http_status == 504
    result = task.dispatch()
    assert (result.status, result.status_code) == (aquests.STA_TIMEOUT, 730)
    assert task.stopped == 1
    assert not task.finish(1)


def test_many_deadlines() -> None:
    tasks = [Manual(timeout=0.01 + (i * 37 % 100) / 1000 + (i % 2 == 0) * 60) for i in range(3000)]
    for task in tasks[::2]:
        task.finish(1)
    wait_for(lambda: all(task.done() for task in tasks), 'the end of the time')
    assert [task.dispatch().status for task in tasks] == [aquests.STA_NORMAL, aquests.STA_TIMEOUT] * 1500


def test_a_timeout_of_fetch_bounds_the_waiting_only() -> None:
    task = Manual()
    started = time.monotonic()
    for call in (task.fetch, task.one, task.commit):
        with pytest.raises(errors.TaskTimeout):
            call(timeout=0.02)
    assert task.dispatch(timeout=0.02).status == aquests.STA_TIMEOUT
    assert task.wait(timeout=0).status == aquests.STA_TIMEOUT
    assert time.monotonic() - started < 2
    assert not task.done()
    assert task.finish(5)
    assert task.fetch(timeout=0) == 5


def test_cancel() -> None:
    task = Manual()
    assert task.cancel()
    assert not task.cancel()
    assert task.stopped == 1
    assert not task.finish(1)
    with pytest.raises(errors.TaskCancelled):
        task.commit()


def test_a_filter_is_applied_once() -> None:
    """SPEC TK-14."""
    calls: list[Any] = []

    def filter(data: Any) -> Any:
        calls.append(data)
        return data + 1

    task = Manual(filter=filter)
    task.finish(1)
    assert (task.fetch(), task.fetch(), task.dispatch().data, task.one()) == (2, 2, 2, 2)
    assert calls == [1]
    failing = Manual(filter=lambda data: data['x'])
    failing.finish({})
    with pytest.raises(KeyError):
        failing.fetch()
    with pytest.raises(TypeError, match='filter'):
        Manual(filter='x')  # type: ignore[arg-type]


def test_await_gives_what_fetch_gives(gate: threading.Event) -> None:
    async def main() -> None:
        assert await Thread(int, '5') == 5
        assert await Mask(6) == 6
        with pytest.raises(ValueError, match='boom'):
            await Thread(boom)
        failed = await Thread(boom).completed()
        with pytest.raises(ValueError, match='boom'):
            failed.fetch()
        assert await asyncio.gather(*(Thread(int, i) for i in range(50))) == list(range(50))

    asyncio.run(main())


def test_cancelling_who_awaits_does_not_cancel_the_task(gate: threading.Event) -> None:
    async def main() -> None:
        task = Thread(gate.wait)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await task
        assert not task.done()
        gate.set()
        assert await task is True

    asyncio.run(main())


def test_blocking_calls_on_an_event_loop_say_so(gate: threading.Event) -> None:
    async def main() -> None:
        task = Thread(gate.wait)
        for call in (task.fetch, task.one, task.commit, task.dispatch, task.wait):
            with pytest.raises(RuntimeError, match='would block the event loop: yield or await it'):
                call()
        gate.set()
        await task.completed()
        assert task.fetch() is True
        assert Mask(1).fetch() == 1

    asyncio.run(main())


def test_a_loop_that_closed_meanwhile_is_no_error(gate: threading.Event) -> None:
    task = Thread(gate.wait)

    async def main() -> None:
        waiting = asyncio.ensure_future(task.completed())
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(main())
    gate.set()
    assert task.fetch() is True


def test_many_threads_wait_for_one_task() -> None:
    task = Manual()
    seen: list[Any] = []
    threads = [threading.Thread(target=lambda: seen.append(task.fetch())) for _ in range(20)]
    for thread in threads:
        thread.start()
    task.finish('x')
    for thread in threads:
        thread.join(5)
    assert seen == ['x'] * 20


def test_a_failure_that_nobody_fetched_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def logged() -> int:
        gc.collect()
        return caplog.text.count('nobody fetched it')

    caplog.set_level(logging.ERROR, 'aquests')
    Thread(boom)
    wait_for(lambda: logged() == 1, 'a line in the log')
    assert 'ValueError: boom' in caplog.text
    task = Thread(boom)
    with pytest.raises(ValueError, match='boom'):
        task.fetch()
    fetched = Thread(boom)
    fetched.dispatch()
    cancelled = Manual()
    cancelled.cancel()
    del task, fetched, cancelled
    assert logged() == 1
    Thread(boom).wait()
    wait_for(lambda: logged() == 2, 'a line for the one that was only waited for')


def test_a_failed_task_is_let_go_of_at_once() -> None:
    """No cycle keeps it, and what its function had, until garbage is collected."""
    gc.disable()
    try:
        for filter in (None, lambda data: 1 / 0):
            task = Thread(int if filter else boom, filter=filter)
            task.wait()
            left = weakref.ref(task)
            del task
            wait_for(lambda left=left: left() is None, 'the end of the Task')
    finally:
        gc.enable()


def test_a_scope_cancels_what_is_not_finished() -> None:
    scope = Scope()
    done, pending = Manual(), Manual()
    for task in (done, pending, Mask(1)):
        scope.add(task)
    assert len(scope) == 2
    done.finish(1)
    assert len(scope) == 1
    scope.cancel()
    assert len(scope) == 0
    assert done.fetch() == 1
    late = Manual()
    scope.add(late)
    for task in (pending, late):
        with pytest.raises(errors.TaskCancelled):
            task.fetch()


def test_cancelling_while_finishing() -> None:
    """Whoever is first decides; the other is told so."""
    for _ in range(300):
        task = Manual()
        start = threading.Barrier(2)
        finished: list[bool] = []

        def finish(task: Manual = task, start: Any = start, finished: Any = finished) -> None:
            start.wait()
            finished.append(task.finish(1))

        thread = threading.Thread(target=finish)
        thread.start()
        start.wait()
        cancelled = task.cancel()
        thread.join()
        assert finished == [not cancelled]
        assert task.stopped == cancelled


@pytest.mark.parametrize('method', ['fetch', 'one', 'commit'])
@pytest.mark.parametrize('kind', ['thread', 'async', 'mask', 'wait'])
def test_what_is_raised_keeps_nothing(kind: str, method: str) -> None:
    """A failed Task that nobody holds goes, with its caller's variables, before any collection of garbage."""

    class Big:
        pass

    async def fail() -> None:
        raise ValueError

    def call() -> weakref.ref[Big]:
        big = Big()
        make: Any = {
            'thread': lambda: Thread(math.sqrt, -1),
            'async': lambda: aquests.Async(fail),
            'mask': lambda: Mask(error=ValueError()),
            'wait': lambda: Thread(time.sleep, 0.2),
        }[kind]
        try:
            getattr(make(), method)(**({'timeout': 0.01} if kind == 'wait' else {}))
        except (ValueError, errors.TaskTimeout):
            return weakref.ref(big)
        raise AssertionError('it should have failed')

    gc.collect()
    gc.disable()
    try:
        found = call()
        wait_for(lambda: found() is None, 'the end of its variables', 5)
    finally:
        gc.enable()
