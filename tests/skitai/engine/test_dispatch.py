"""Admission to the service threads: never more than `threads` at once, in order, nothing left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

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


def test_where_no_thread_is_to_be_had_the_job_waits_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever brought it goes on, for it is the event loop."""
    dispatcher = Dispatcher(2, 10)
    tries: list[str] = []
    begin = threading.Thread.start

    def none(thread: threading.Thread) -> None:
        if thread.name.startswith('service_') and len(tries) < 3:
            tries.append(thread.name)
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, 'start', none)
    done: list[int] = []
    for number in range(5):
        dispatcher.submit(done.append, number)
        assert dispatcher.offer(done.append, number + 10)
    wait_until(lambda: len(done) == 10)
    assert len(tries) == 3
    dispatcher.close()
    wait_until(lambda: len(dispatcher._free) == 2)


def test_a_job_that_fails_gives_its_place_back() -> None:
    dispatcher = Dispatcher(1, 10)

    def fail(error: type[BaseException]) -> None:
        raise error

    done: list[int] = []
    for error in (ValueError, SystemExit):
        assert dispatcher.admit(fail, error)
        dispatcher.submit(fail, error)
        wait_until(lambda: len(dispatcher._free) == 1)
        assert dispatcher.admit(done.append, 1)
    assert done == [1, 1]
    dispatcher.close()


def test_what_waits_when_it_is_closed_is_done() -> None:
    """By the threads that run: each hand looks at the queue before it ends."""
    for _ in range(20):
        dispatcher = Dispatcher(3, 1000)
        done: list[int] = []
        before = set(threading.enumerate())
        for number in range(50):
            dispatcher.submit(done.append, number)
        dispatcher.close()
        hands = {thread for thread in threading.enumerate() if thread.name.startswith('service_')} - before
        wait_until(lambda done=done: len(done) == 50)
        for hand in hands:
            hand.join(DEADLINE)
            assert not hand.is_alive()


def test_work_that_comes_while_hands_come_to_rest() -> None:
    """One job after the other, each brought when the one before it has just ended: none waits for a next."""
    dispatcher = Dispatcher(2, 10_000)
    ended = threading.Semaphore(0)
    for number in range(3000):
        dispatcher.submit(lambda _: ended.release(), None)
        if number % 3 == 0:
            dispatcher.submit(lambda _: ended.release(), None)
            assert ended.acquire(timeout=DEADLINE)
        assert ended.acquire(timeout=DEADLINE)
    dispatcher.close()
