"""The event loop of Tasks, and the end of everything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from projects import wait_for

import aquests
from aquests import Process, Subprocess, Task, Thread, errors, loop


def boom() -> None:
    raise ValueError('boom')


def test_our_own_loop_runs_in_a_thread_until_shutdown() -> None:
    async def name() -> str:
        return threading.current_thread().name

    own = loop.get()
    assert loop.get() is own
    assert asyncio.run_coroutine_threadsafe(name(), own).result(5) == 'aquests-loop'
    endless = asyncio.run_coroutine_threadsafe(asyncio.sleep(60), own)
    aquests.shutdown(1)
    assert own.is_closed()
    assert endless.cancelled()
    assert loop.get() is not own


def test_a_servers_loop_is_used() -> None:
    async def main() -> None:
        mine = asyncio.get_running_loop()
        loop.use(mine)
        assert loop.get() is mine

    asyncio.run(main())
    assert not loop.get().is_closed()  # that one has ended: our own


def descriptors() -> int:
    return len(os.listdir('/proc/self/fd'))


def children() -> list[str]:
    found: list[str] = []
    for thread in Path('/proc/self/task').iterdir():
        with contextlib.suppress(OSError):  # it has ended
            found += (thread / 'children').read_text().split()
    return found


def failing(jobs: Any) -> list[Task]:
    return [Thread(boom) for _ in range(200)] + [
        task for _ in range(200) for task in (Subprocess('exit 3'), Process(jobs.boom))
    ]


def hanging(jobs: Any, gate: threading.Event) -> list[Task]:
    tasks: list[Task] = [Thread(gate.wait, timeout=0.2) for _ in range(200)]
    tasks += [Subprocess('sleep 60', timeout=0.2) for _ in range(200)]
    tasks += [Process(time.sleep, args=(60,), timeout=0.2) for _ in range(200)]
    return tasks


def cancelled(jobs: Any, gate: threading.Event) -> list[Task]:
    tasks: list[Task] = []
    for _ in range(200):
        tasks += [Thread(gate.wait), Subprocess('sleep 60'), Process(time.sleep, 60)]
        for task in tasks[-3:]:
            task.cancel()
    return tasks


@pytest.mark.parametrize('kind', ['failing', 'hanging', 'cancelled'])
def test_nothing_is_left_behind(jobs: Any, gate: threading.Event, kind: str) -> None:
    """Threads, processes, descriptors before and after 200 Tasks of each kind that don't succeed."""
    aquests.configure(threads=4, processes=2, subprocesses=8)
    before = threading.active_count(), descriptors(), len(children())
    if kind == 'failing':
        tasks = failing(jobs)
    else:
        tasks = (hanging if kind == 'hanging' else cancelled)(jobs, gate)
    for task in tasks:
        task.dispatch(timeout=30)
    assert all(task.done() for task in tasks)
    gate.set()  # more hang than the pool of threads has places
    assert Thread(int, 1).fetch(timeout=10) == 1
    assert Subprocess('echo').fetch(timeout=10) == '\n'
    assert Process(jobs.double, 1).fetch(timeout=10) == 2
    wait_for(lambda: threading.active_count() <= before[0] + 4 + 2 + 8 + 2, 'the end of surplus threads')
    wait_for(lambda: len(children()) <= before[2] + 2, 'the end of surplus processes')
    aquests.shutdown(2)
    wait_for(
        lambda: (threading.active_count(), descriptors(), len(children())) == before,
        f'threads, descriptors, children as before {before}',
    )


def test_shutdown_waits_then_cancels(gate: threading.Event) -> None:
    aquests.configure(threads=1)
    running, waiting = Thread(time.sleep, 0.2), Thread(int, 1)
    aquests.shutdown(5)
    running.commit()
    with pytest.raises(errors.TaskCancelled):
        waiting.fetch()
    hanging = Thread(gate.wait)
    started = time.monotonic()
    aquests.shutdown(0.1)
    assert time.monotonic() - started < 3
    with pytest.raises(errors.TaskCancelled):
        hanging.fetch()
    aquests.shutdown()
    aquests.shutdown()


def test_a_loop_that_cannot_be_closed_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """uvloop waits in `close ()` for what is open: `shutdown ()` must not wait with it for ever."""
    released = threading.Event()

    class Stuck(asyncio.SelectorEventLoop):
        def close(self) -> None:
            released.wait(20)
            super().close()

    monkeypatch.setattr(loop, '_new_loop', Stuck)
    monkeypatch.setattr(loop, 'CLOSING', 0.05)
    loop.get()
    began = time.monotonic()
    aquests.shutdown(0.1)
    assert time.monotonic() - began < 5
    assert 'left behind' in caplog.text
    assert loop.get() is not None  # another one
    released.set()
