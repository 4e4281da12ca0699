"""Times, wherever they are given: infinity is no limit; NaN, negatives and what is no number are refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aquests
from aquests import dbi, pools
from aquests.aliases import DB_SQLITE3, Aliases
from aquests.errors import TaskTimeout
from aquests.seconds import NEVER, seconds
from atila import Atila
from skitai.testing import Client

WRONG = [math.nan, -1, -0.001, -math.inf]
NO_NUMBERS: list[Any] = ['3', True, [1], 1j]
LIMITLESS = [math.inf, 1e300, 10**400, NEVER]


@given(st.floats() | st.integers())
def test_any_number(value: float) -> None:
    if value != value or value < 0:
        with pytest.raises(ValueError, match=r'timeout = .*: it takes seconds'):
            seconds(value)
    elif value >= NEVER:
        assert seconds(value) is None
    else:
        assert seconds(value) == value


def test_zero() -> None:
    assert seconds(0) == 0
    with pytest.raises(ValueError, match='x = 0: it takes seconds, more than 0, or None for no limit'):
        seconds(0, 'x', positive=True)


@pytest.fixture
def db(tmp_path: Path) -> Callable[..., Any]:
    register = Aliases()
    register.add('@db', DB_SQLITE3, str(tmp_path / 'file.db'))
    return lambda timeout: dbi.database('@db', dbi.Options(timeout=timeout), None, register)


@pytest.fixture
def ways(db: Callable[..., Any]) -> list[Callable[[Any], Any]]:
    """What takes a timeout and gives a Task of 1, or of what means it."""
    return [
        lambda timeout: db(timeout).execute('SELECT 1 AS one', None),
        lambda timeout: aquests.Thread(int, args=('1',), timeout=timeout),
        lambda timeout: aquests.Async(one, timeout=timeout),
        lambda timeout: aquests.Process(int, args=('1',), timeout=timeout),
        lambda timeout: aquests.Subprocess('echo 1', timeout=timeout),
    ]


async def one() -> int:
    return 1


@pytest.mark.parametrize('value', [*WRONG, *NO_NUMBERS])
def test_what_is_none(ways: list[Callable[[Any], Any]], value: Any) -> None:
    for way in ways:
        with pytest.raises((TypeError, ValueError), match=r'timeout = .*: it takes seconds'):
            way(value)
    with pytest.raises((TypeError, ValueError), match=r'timeout = .*: it takes seconds'):
        aquests.configure(timeout=value)


@pytest.mark.parametrize('value', LIMITLESS)
def test_no_limit(ways: list[Callable[[Any], Any]], value: float) -> None:
    before = pools.sizes.timeout
    for way in ways:
        task = way(value)
        assert task._deadline is None
        assert str(task.fetch(timeout=math.inf)).strip() in ('1', "[{'one': 1}]")
        task.wait(timeout=value)
    try:
        aquests.configure(timeout=value)
        assert aquests.Thread(int, '1').fetch() == 1
    finally:
        aquests.configure(timeout=before)


def test_transactions_and_cursors(db: Callable[..., Any]) -> None:
    with db(math.inf).transaction() as tx:
        assert tx.execute('SELECT 1 AS one').fetch() == [{'one': 1}]
    with pytest.raises(ValueError, match='timeout = nan'):
        db(math.nan).transaction()


def test_a_routes(client_for: Callable[..., Client]) -> None:
    app = Atila(__name__)

    @app.route('/limitless', timeout=math.inf)
    def limitless(was: Any) -> str:
        return 'served'

    @app.route('/task', timeout=1e300)
    async def task(was: Any) -> Any:
        return await was.Thread(str, args=('done',), timeout=math.inf)

    client = client_for(app)
    assert client.get('/limitless').text == 'served'
    assert client.get('/task').text == 'done'
    for value in (*WRONG, *NO_NUMBERS, 0):
        with pytest.raises(ValueError, match=r'timeout = .*: it takes seconds'):
            client_for(with_route(value))


def with_route(timeout: Any) -> Atila:
    app = Atila(__name__)
    app.route('/x', timeout=timeout)(lambda was: '')
    return app


def test_groups_and_waits() -> None:
    for value in LIMITLESS:
        assert aquests.Tasks(aquests.Mask(1), timeout=value)._deadline is None
    for wrong in (*WRONG, *NO_NUMBERS):
        with pytest.raises((TypeError, ValueError), match=r'timeout = .*: it takes seconds'):
            aquests.Tasks(aquests.Mask(1), timeout=wrong)
    task = aquests.Task(timeout=10)
    try:
        with pytest.raises(ValueError, match='timeout = nan'):
            task.fetch(timeout=math.nan)
        with pytest.raises(TaskTimeout):
            task.fetch(timeout=-1)  # it was computed: no wait
    finally:
        task.cancel()
