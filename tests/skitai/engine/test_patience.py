"""Clients that wait are watched after a moment (`engine.patience`)."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from projects import wait_for

import aquests
from skitai.engine.patience import soon


class Waiting:
    """Stands for a request that has no answer yet."""

    method, path = 'GET', '/'


def test_each_is_watched_in_a_moment() -> None:
    waiting: list[Any] = [Waiting() for _ in range(5)]
    seen: list[Any] = []
    for exchange in waiting:
        soon(seen.append, exchange)
    wait_for(lambda: seen == waiting, 'all of them, in their order')


def test_the_answered_are_let_go_of() -> None:
    seen: list[Any] = []
    soon(seen.append, Waiting())  # type: ignore[arg-type]
    last: Any = Waiting()
    soon(seen.append, last)
    wait_for(lambda: seen, 'the last')
    assert seen == [last]


def test_a_watch_that_fails_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def fail(exchange: Any) -> None:
        raise LookupError

    seen: list[Any] = []
    waiting: list[Any] = [Waiting(), Waiting()]
    soon(fail, waiting[0])
    soon(seen.append, waiting[1])
    wait_for(lambda: seen, 'the next')
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_the_end_of_the_clock_is_not_that_of_the_watch() -> None:
    """`aquests.shutdown ()` while one waits: who comes later is watched nevertheless."""
    seen: list[Any] = []
    waiting: list[Any] = [Waiting(), Waiting()]
    soon(seen.append, waiting[0])
    aquests.shutdown(0.1)
    wait_for(lambda: (soon(seen.append, waiting[1]), waiting[1] in seen)[1], 'one that came later', 5)
