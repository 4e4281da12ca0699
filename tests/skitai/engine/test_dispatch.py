"""Admission to the service threads: never more than `threads` at once, in order, nothing left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from skitai.engine.dispatch import Dispatcher

DEADLINE = 20.0


def wait_until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def start(function: Callable[..., Any], *args: Any) -> threading.Thread:
    thread = threading.Thread(target=function, args=args)
    thread.start()
    return thread


def test_a_job_runs_where_it_comes() -> None:
    dispatcher = Dispatcher(1, 0)
    seen: list[int] = []
    assert dispatcher.admit(lambda _: seen.append(threading.get_ident()), None)
    assert seen == [threading.get_ident()]


def test_more_than_the_queue_holds_is_refused() -> None:
    dispatcher = Dispatcher(1, 2)
    release = threading.Event()
    done: list[str] = []
    running = start(dispatcher.admit, lambda _: release.wait(DEADLINE), None)
    wait_until(lambda: not dispatcher._free)
    assert dispatcher.admit(done.append, 'first')
    assert dispatcher.admit(done.append, 'second')
    assert not dispatcher.admit(done.append, 'third')
    dispatcher.resume(done.append, 'admitted before')  # never refused
    release.set()
    running.join(DEADLINE)
    assert done == ['first', 'second', 'admitted before']


def test_never_more_at_once_and_nothing_left_behind() -> None:
    """Jobs come from many threads, some through the loop's door; each runs once."""
    dispatcher = Dispatcher(3, 10_000)
    lock = threading.Lock()
    running = most = done = 0

    def job(_: None) -> None:
        nonlocal running, most, done
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.0005)
        with lock:
            running -= 1
            done += 1

    def bring(count: int, door: Callable[..., Any]) -> None:
        for _ in range(count):
            door(job, None)

    doors = [dispatcher.admit, dispatcher.resume, dispatcher.submit]
    threads = [start(bring, 50, doors[number % 3]) for number in range(12)]
    for thread in threads:
        thread.join(DEADLINE)
    wait_until(lambda: done == 600)
    dispatcher.close()
    assert most <= 3
    wait_until(lambda: len(dispatcher._free) == 3)
