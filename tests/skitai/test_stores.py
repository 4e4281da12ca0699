"""`Store`: `app.g`, `app.store`, `was.g` (SPEC G-01 to G-03)."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from skitai import stores
from skitai.stores import Store


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(stores, 'monotonic', made)
    return made


# -- a dict ----------------------------------------------------------------------------------------


def test_items() -> None:
    """G-01."""
    g = Store()
    g['a'] = 1
    g.set('b', [2])
    assert g['a'] == 1
    assert g.get('b') == [2]
    assert g.get('c') is None
    assert g.get('c', 5) == 5
    assert 'a' in g
    assert 'c' not in g
    assert len(g) == 2
    assert (g.keys(), g.values(), g.items()) == (['a', 'b'], [1, [2]], [('a', 1), ('b', [2])])
    assert list(g) == ['a', 'b']
    assert repr(g) == "<Store {'a': 1, 'b': [2]}>"
    del g['a']
    g.remove('b')
    assert len(g) == 0
    g['x'] = 1
    g.clear()
    assert g.items() == []


def test_what_is_not_there() -> None:
    """G-01: `del` complains, `remove` doesn't."""
    g = Store()
    with pytest.raises(KeyError, match='nothing'):
        g['nothing']
    with pytest.raises(KeyError):
        del g['nothing']
    with pytest.raises(KeyError):
        g.pop('nothing')
    assert g.pop('nothing', 3) == 3
    g.remove('nothing')


def test_none_is_a_value() -> None:
    """G-01."""
    g = Store()
    g['a'] = None
    assert 'a' in g
    assert g['a'] is None
    assert g.get('a', 1) is None
    assert g.setdefault('a', 1) is None
    assert g.pop('a') is None


def test_attributes_are_items() -> None:
    """G-01."""
    g = Store()
    g.total = 1
    g['name'] = 'x'
    assert g['total'] == 1
    assert g.name == 'x'
    g.total += 1
    assert g.total == 2
    del g.total
    assert 'total' not in g
    assert getattr(g, 'total', None) is None
    with pytest.raises(AttributeError, match='total'):
        del g.total


@pytest.mark.parametrize('name', ['get', 'keys', 'clear', 'delta', '_items', '_lock', '__len__'])
def test_attributes_that_items_cannot_be(name: str) -> None:
    """G-01: the message says how it can be set; as an item it works."""
    g = Store()
    with pytest.raises(AttributeError, match=r'store \['):
        setattr(g, name, 1)
    with pytest.raises(AttributeError):
        delattr(g, name)
    g[name] = 1
    assert g[name] == 1
    assert g.keys() == [name]


# -- expiry ----------------------------------------------------------------------------------------


def test_an_item_disappears_after_its_timeout(clock: Clock) -> None:
    """G-01."""
    g = Store()
    g.set('a', 1, timeout=10)
    g.set('b', 2, timeout=0)
    clock.now += 9.99
    assert g['a'] == g.a == 1
    clock.now += 0.01
    assert g.get('a', 'gone') == 'gone'
    assert 'a' not in g
    with pytest.raises(KeyError):
        g['a']
    with pytest.raises(AttributeError):
        g.a  # noqa: B018
    with pytest.raises(KeyError):
        del g['a']
    clock.now += 1e9
    assert g.items() == [('b', 2)]


def test_setting_again_sets_the_timeout_again(clock: Clock) -> None:
    """G-01."""
    g = Store()
    g.set('a', 1, 10)
    clock.now += 5
    g.set('a', 2, 10)
    g.set('b', 1, 10)
    g['b'] = 2
    clock.now += 9
    assert g['a'] == 2
    clock.now += 1
    assert g.items() == [('b', 2)]


def test_delta_keeps_the_timeout_and_setdefault_does_not_extend_it(clock: Clock) -> None:
    """G-01."""
    g = Store()
    assert g.delta('n') == 1
    g.set('n', 5, 10)
    assert g.delta('n', 2.5) == 7.5
    assert g.setdefault('n', 0, 100) == 7.5
    clock.now += 10
    assert g.setdefault('n', 0, 100) == 0
    clock.now += 100
    assert g.delta('n', -1) == -1


@pytest.mark.parametrize('timeout', [-1, float('nan')])
def test_bad_timeouts(timeout: float) -> None:
    with pytest.raises(ValueError, match='timeout'):
        Store().set('a', 1, timeout)


def test_what_has_expired_does_not_pile_up(clock: Clock) -> None:
    """G-01: values that nobody asks for any more are let go."""
    g = Store()
    gone = threading.Event()

    class Value:
        def __del__(self) -> None:
            gone.set()

    g.set('value', Value(), 1)
    clock.now += 1
    g['other'] = 1
    gc.collect()
    assert gone.is_set()


def test_setting_one_item_again_and_again_keeps_no_memory(clock: Clock) -> None:
    g = Store()
    for number in range(10_000):
        g.set('a', number, 3600)
    assert len(g._ends) < 200
    clock.now += 3600
    assert len(g) == 0
    assert g._ends == []


# -- threads ---------------------------------------------------------------------------------------


def test_delta_by_many_threads_loses_nothing() -> None:
    g = Store()

    def count() -> None:
        for _ in range(5000):
            g.delta('n')
            g.total = g.setdefault('total', 0)

    with ThreadPoolExecutor(8) as executor:
        for future in [executor.submit(count) for _ in range(8)]:
            future.result()
    assert g['n'] == 40_000


def test_everything_at_once_by_many_threads() -> None:
    """No operation fails because of another thread's."""
    g = Store()
    end = time.monotonic() + 0.5

    def use(seed: int) -> None:
        number = seed
        while time.monotonic() < end:
            number += 1
            key = number % 50
            g.set(key, number, 0.0001 if number % 3 else 0)
            g.get(key)
            g.pop(key + 1, None)
            g.remove(key + 2)
            len(g)
            g.items()
            if number % 500 == 0:
                g.clear()

    with ThreadPoolExecutor(6) as executor:
        for future in [executor.submit(use, seed) for seed in range(6)]:
            future.result()


def test_a_value_may_use_the_store_when_it_goes() -> None:
    """A finalizer runs where the last reference goes, under the store's lock too."""
    g = Store()

    class Value:
        def __del__(self) -> None:
            g.delta('gone')

    g['a'] = Value()
    g['a'] = 1
    g['b'] = Value()
    g.clear()
    assert g['gone'] >= 1


# -- against a dict --------------------------------------------------------------------------------


class AgainstADict(RuleBasedStateMachine):
    """G-01: a store is a dict of (value, end) in which what has ended is not there."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(stores, 'monotonic', self.clock)
        self.store = Store()
        self.model: dict[Any, tuple[Any, float]] = {}

    def teardown(self) -> None:
        self._patch.undo()

    keys = st.sampled_from(['a', 'b', 'get', 1, (2, 3)])
    values = st.integers(-5, 5)
    timeouts = st.sampled_from([0, 0.5, 1, 7])

    def _now(self) -> dict[Any, Any]:
        self.model = {k: (v, end) for k, (v, end) in self.model.items() if end > self.clock.now}
        return {k: v for k, (v, _) in self.model.items()}

    def _end(self, timeout: float) -> float:
        return self.clock.now + timeout if timeout else float('inf')

    @rule(key=keys, value=values, timeout=timeouts)
    def set(self, key: Any, value: int, timeout: float) -> None:
        self.store.set(key, value, timeout)
        self.model[key] = value, self._end(timeout)

    @rule(key=keys, value=values, timeout=timeouts)
    def setdefault(self, key: Any, value: int, timeout: float) -> None:
        known = self._now()
        assert self.store.setdefault(key, value, timeout) == known.get(key, value)
        if key not in known:
            self.model[key] = value, self._end(timeout)

    @rule(key=keys, n=values)
    def delta(self, key: Any, n: int) -> None:
        self._now()
        value, end = self.model.get(key, (0, float('inf')))
        self.model[key] = value + n, end
        assert self.store.delta(key, n) == value + n

    @rule(key=keys)
    def delete(self, key: Any) -> None:
        if key in self._now():
            del self.store[key]
            del self.model[key]
        else:
            with pytest.raises(KeyError):
                del self.store[key]

    @rule(key=keys)
    def pop(self, key: Any) -> None:
        assert self.store.pop(key, 'none') == self._now().get(key, 'none')
        self.model.pop(key, None)

    @rule(key=keys)
    def remove(self, key: Any) -> None:
        self.store.remove(key)
        self.model.pop(key, None)

    @rule()
    def clear(self) -> None:
        self.store.clear()
        self.model.clear()

    @rule(seconds=st.sampled_from([0.25, 0.5, 1, 10]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(key=keys)
    def read(self, key: Any) -> None:
        known = self._now()
        assert self.store.get(key, 'none') == known.get(key, 'none')
        assert (key in self.store) == (key in known)

    @invariant()
    def same_items(self) -> None:
        assert dict(self.store.items()) == self._now()
        assert len(self.store) == len(self._now())


AgainstADict.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAgainstADict = AgainstADict.TestCase
