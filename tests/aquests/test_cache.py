"""Results that are kept (SPEC chapter 27), with a database that only counts what it is asked."""

from __future__ import annotations

import asyncio
import datetime
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import aquests
from aquests import STA_NORMAL, Record, cache, dbi, keeping
from aquests.aliases import DB_SQLITE3, PORTS, Alias, Aliases, Member, aliases
from aquests.cache import Cache
from aquests.dbi import Interface, Options
from aquests.dbi.base import Request

# -- the store --------------------------------------------------------------------------------------------


@pytest.fixture
def store() -> Cache:
    return Cache()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is for the store."""
    now = [1000.0]

    class Time:
        time = staticmethod(lambda: now[0])

    monkeypatch.setattr(cache, 'time', Time)
    return now


def keys(store: Cache, count: int) -> list[int]:
    found = []
    for key in range(count):
        try:
            store.get(key, 0)
        except KeyError:
            continue
        found.append(key)
    return found


def test_what_is_kept_is_newer_than_what_is_asked_for(store: Cache, now: list[float]) -> None:
    store.put('a', 1, 900, 60)
    assert store.get('a', 899) == store.get('a', 0) == 1
    for not_before in (900, 901, float('inf')):
        with pytest.raises(KeyError):
            store.get('a', not_before)
    with pytest.raises(KeyError):
        store.get('b', 0)


def test_it_is_kept_for_some_time(store: Cache, now: list[float]) -> None:
    store.put('a', 1, 900, 60)
    now[0] += 59
    assert store.get('a', 0) == 1
    now[0] += 2
    with pytest.raises(KeyError):
        store.get('a', 0)


def test_the_later_request_wins_whichever_is_answered_first(store: Cache, now: list[float]) -> None:
    store.put('a', 'new', 902, 60)
    store.put('a', 'old', 901, 600)
    assert store.get('a', 0) == 'new'
    store.put('a', 'newer', 903, 60)
    assert store.get('a', 0) == 'newer'
    store.clear()
    with pytest.raises(KeyError):
        store.get('a', 0)


def test_a_fifth_goes_when_it_is_full(store: Cache, now: list[float]) -> None:
    """SPEC CA-07."""
    assert store.max == 100
    for key in range(100):
        store.put(key, key, 900, 60)
    assert len(keys(store, 200)) == 100
    store.put(100, 100, 900, 60)
    assert keys(store, 200) == list(range(20, 101))
    for key in range(101, 120):
        store.put(key, key, 900, 60)
    assert len(keys(store, 200)) == 100
    store.put(30, 'again', 901, 60)  # takes no place of another
    assert len(keys(store, 200)) == 100


def test_what_is_out_of_date_goes_first(store: Cache, now: list[float]) -> None:
    for key in range(100):
        store.put(key, key, 900, 60 if key < 50 else 1)
    now[0] += 2
    store.put(100, 100, 900, 60)
    assert keys(store, 200) == [*range(50), 100]


@pytest.mark.parametrize('count', [1, 2, 4, 7])
def test_any_size(store: Cache, now: list[float], count: int) -> None:
    for key in range(20):
        store.put(key, key, 900, 60)
    store.max = count
    for key in range(20, 40):
        store.put(key, key, 900, 60)
        assert len(store._kept) <= count
        assert store.get(key, 0) == key


def test_set_max(monkeypatch: pytest.MonkeyPatch) -> None:
    """SPEC CA-07."""
    import skitai

    monkeypatch.setattr(cache.cache, 'max', 100)
    skitai.set_max_rcache(7)
    assert cache.cache.max == 7
    for wrong in (0, -1, True, 1.5, 'x'):
        with pytest.raises(ValueError, match='from 1'):
            cache.set_max(wrong)  # type: ignore[arg-type]


def test_what_is_taken_out_is_a_copy(store: Cache) -> None:
    rows = [Record(id=1, tags=['a'], data={'b': [1]}, at=datetime.datetime(2020, 1, 1), raw=b'x')]
    expected = [dict(rows[0], tags=['a'], data={'b': [1]})]
    store.put('a', rows, time.time(), 60)
    rows[0].id = 2
    rows[0].tags.append('b')
    rows.append(Record())
    for _ in range(2):
        found = store.get('a', 0)
        assert found == expected
        assert type(found[0]) is Record
        found[0].id = 3
        found[0].tags.append('c')
        found[0].data['b'].append(2)
        found.clear()


def test_what_cannot_be_copied_is_not_kept(store: Cache, caplog: pytest.LogCaptureFixture) -> None:
    store.put('a', [Record(x=threading.Lock())], time.time(), 60)
    with pytest.raises(KeyError):
        store.get('a', 0)
    assert 'cannot be kept' in caplog.text


def test_many_threads(store: Cache) -> None:
    store.max = 10
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(500):
                key = (number + i) % 15
                store.put(key, [key], time.time(), 60)
                try:
                    assert store.get(key, 0) == [key]
                except KeyError:
                    pass
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(store._kept) <= 10


# -- Tasks ------------------------------------------------------------------------------------------------


class Asked(Request):
    def __init__(self, what: Any) -> None:
        super().__init__(True)
        self.what = what


class Backend:
    """Counts, and answers with the count. What is asked for 'late' waits for `go_on`."""

    asked = 0

    def __init__(self, alias: Alias, member: Member) -> None:
        self.name = member.host
        self.go_on = threading.Event()

    async def run(self, request: Any) -> Any:
        self.asked += 1
        value = [Record(n=self.asked, of=self.name)]
        if request.what == 'late':
            while not self.go_on.is_set():
                await asyncio.sleep(0.001)
        if request.what == 'fail':
            raise LookupError('on purpose')
        return value

    async def close(self, timeout: float) -> None: ...


class Counting:
    """The kind of database that it is."""

    connect = Backend

    class Interface(Interface):
        def ask(self, what: Any = 'x') -> Any:
            return self._send(Asked(what), what)


class Stamps(dict[str, float]):
    def newest(self, names: Any) -> float:
        return max(self[name] for name in names)


@pytest.fixture
def stamps(monkeypatch: pytest.MonkeyPatch) -> Stamps:
    found = Stamps()
    monkeypatch.setattr(cache, 'newest', found.newest)
    return found


Db = Callable[..., Any]


@pytest.fixture
def db(monkeypatch: pytest.MonkeyPatch) -> Iterator[Db]:
    """`db (...)`: the interface of one alias with these options."""
    monkeypatch.setitem(dbi._kinds, '*counting', Counting)
    monkeypatch.setitem(PORTS, '*counting', 1)
    monkeypatch.setattr(cache, 'cache', Cache())
    aliases = Aliases()
    aliases.add('@counting', '*counting', 'a')

    def make(register: Aliases = aliases, **options: Any) -> Any:
        return dbi.database('@counting', Options(**options), None, register)

    return make


def n(task: Any) -> int:
    number: int = task.one().n
    return number


def test_with_a_key_until_it_is_stamped(db: Db, stamps: Stamps) -> None:
    """SPEC CA-02: kept for 60 s where nothing else is said."""
    stamps['k'] = 0.0
    assert [n(db(use_cache='k').ask()) for _ in range(3)] == [1, 1, 1]
    assert n(db(use_cache='k').ask('other')) == 2
    stamps['k'] = time.time()
    assert [n(db(use_cache='k').ask()) for _ in range(2)] == [3, 3]
    kept = next(iter(cache.cache._kept.values()))
    assert 59 < kept.until - kept.since < 61


def test_with_keys_all_must_be_older(db: Db, stamps: Stamps) -> None:
    stamps.update(a=0.0, b=0.0)
    use = ['a', 'b']
    assert [n(db(use_cache=use).ask()) for _ in range(2)] == [1, 1]
    stamps['b'] = time.time()
    assert [n(db(use_cache=use).ask()) for _ in range(2)] == [2, 2]
    stamps['a'] = time.time()
    assert [n(db(use_cache=use).ask()) for _ in range(2)] == [3, 3]


@pytest.mark.parametrize('use', ['nobody', ['k', 'nobody']])
def test_an_unregistered_key_is_a_key_error(db: Db, stamps: Stamps, use: Any) -> None:
    stamps['k'] = 0.0
    with pytest.raises(KeyError, match='nobody'):
        db(use_cache=use).ask()


def test_outside_a_server_there_are_no_keys(db: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, 'newest', cache._unshared)
    with pytest.raises(KeyError, match='k: there are no stamps'):
        db(use_cache='k').ask()


def test_true_false_and_times(db: Db) -> None:
    """SPEC CA-02."""
    for use in (None, False):
        assert n(db(use_cache=use).ask()) != n(db(use_cache=use).ask())
    assert not cache.cache._kept
    first = n(db(use_cache=True).ask())
    assert n(db(use_cache=True).ask()) == first
    assert n(db(use_cache=time.time() - 60).ask()) == first
    assert n(db(use_cache=time.time()).ask()) == first + 1
    assert n(db(use_cache=False).ask()) == first + 2


def test_seconds(db: Db, now: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, 'time', cache.time)
    assert [n(db(use_cache=True, cache=5).ask()) for _ in range(2)] == [1, 1]
    now[0] += 6
    assert n(db(use_cache=True, cache=0).ask()) == 2  # not kept
    assert n(db(cache=5).ask()) == 3  # kept, though nothing kept would have done
    assert n(db(use_cache=True).ask()) == 3


@pytest.mark.parametrize('way', ['fetch', 'one', 'dispatch', 'cache', 'result'])
def test_keeping_what_a_task_has(db: Db, way: str) -> None:
    """SPEC TK-04, TK-07, TK-10, TK-18."""

    def ask(what: str, **options: Any) -> None:
        task = db().ask(what)
        task.wait()
        if way == 'cache':
            assert task.cache(options['cache'], options.get('cache_if', (200,))) is task
        elif way == 'result':
            result = task.dispatch()
            assert result.cache(options['cache'], options.get('cache_if', (200,))) is result
        else:
            getattr(task, way)(**options)

    for what, options, again in (
        ('a', {'cache': 60}, 1),
        ('b', {'cache': 60, 'cache_if': (200, 201)}, 2),
        ('c', {'cache': 60, 'cache_if': (201,)}, 4),
        ('d', {'cache': None}, 6),
    ):
        ask(what, **options)
        assert n(db(use_cache=True).ask(what)) == again


def test_keeping_longer_than_the_interface_said(db: Db, now: list[float]) -> None:
    task = db(use_cache=True).ask()
    task.fetch(cache=600)
    assert next(iter(cache.cache._kept.values())).until == now[0] + 600


def test_failures_and_what_is_not_there_are_not_kept(db: Db) -> None:
    failed = db(use_cache=True, cache=60).ask('fail')
    result = failed.dispatch(cache=60)
    assert result.status_code == 500
    assert result.status == STA_NORMAL
    failed.cache(60, (200, 500))
    late = db().ask('late')
    late.cache(60)
    late.dispatch(cache=60, timeout=0.01).cache(60)
    late.cancel()
    late.cache(60, (200, 731))
    assert not cache.cache._kept


def test_a_filter_is_applied_to_what_is_taken_out(db: Db) -> None:
    """SPEC TK-14: once; what is kept is unfiltered."""
    calls = []

    def only_n(rows: Any) -> Any:
        calls.append(rows)
        return [row.n for row in rows]

    assert [db(use_cache=True, filter=only_n).ask().fetch() for _ in range(3)] == [[1], [1], [1]]
    assert len(calls) == 3
    assert n(db(use_cache=True).ask()) == 1
    filtered = db(filter=only_n).ask('other')
    filtered.fetch(cache=60)  # there is nothing unfiltered to keep
    assert n(db(use_cache=True).ask('other')) == 3

    def fail(rows: Any) -> Any:
        raise LookupError('on purpose')

    for _ in range(2):
        with pytest.raises(LookupError):
            db(use_cache=True, filter=fail).ask('third').fetch()
    assert n(db(use_cache=True).ask('third')) == 4


def test_a_kept_result_is_a_task_like_others(db: Db) -> None:
    called: list[Any] = []
    options = {'use_cache': True, 'meta': {'a': 1}, 'callback': called.append}
    for _ in range(2):
        task = db(**options).ask()
        assert task.fetch() == [{'n': 1, 'of': 'a'}]
        assert task.meta == {'a': 1}
        assert called.pop() is task
        result = task.dispatch()
        assert (result.status, result.status_code) == (STA_NORMAL, 200)
        task.fetch()[0].n = 5  # nobody else sees it


def test_a_read_that_an_update_overtook_is_not_newer(db: Db, stamps: Stamps) -> None:
    stamps['k'] = 0.0
    interface = db(use_cache='k')
    late = interface.ask('late')
    backend = interface._cluster.seats[0].backend
    while not backend.asked:
        time.sleep(0.001)
    stamps['k'] = time.time()  # an update is done
    backend.go_on.set()
    assert n(late) == 1
    assert [n(db(use_cache='k').ask('late')) for _ in range(2)] == [2, 2]


def test_aliases_of_one_name_share_nothing(db: Db) -> None:
    """Two apps may each have an alias of that name."""
    other = Aliases()
    other.add('@counting', '*counting', 'b')
    assert db(use_cache=True).ask().one().of == 'a'
    assert db(other, use_cache=True).ask().one().of == 'b'
    assert db(use_cache=True).ask().one().of == 'a'


def test_when_done_is_called_before_anybody_knows(db: Db) -> None:
    """What was updated is stamped before whoever updated it goes on (SPEC CA-03)."""
    seen: list[bool] = []
    tasks: list[Any] = []

    def when_done() -> None:
        seen.append(tasks[0].done())

    tasks.append(db(when_done=when_done).ask('late'))
    tasks[0]._cluster.seats[0].backend.go_on.set()
    tasks[0].fetch()
    assert seen == [False]
    tasks[0] = db(when_done=lambda: seen.append(True)).ask('fail')
    tasks[0].dispatch()
    assert len(seen) == 2
    failing = db(when_done=lambda: 1 / 0).ask()
    assert n(failing)


def test_what_writes_is_never_taken_from_what_is_kept(tmp_path: Path) -> None:
    """SPEC CA-02: only results of what reads are kept, whatever was asked for."""
    aliases.add('@written', DB_SQLITE3, str(tmp_path / 'kept.db'))
    try:
        db = dbi.database('@written', dbi.Options(use_cache=True, cache=60))
        db.execute('CREATE TABLE t (n int)').commit()
        for _ in range(2):
            db.execute('INSERT INTO t VALUES (1)').commit()
        assert db.execute('SELECT count (*) AS n FROM t').one().n == 2
        db.execute('INSERT INTO t VALUES (1)').commit()
        assert db.execute('SELECT count (*) AS n FROM t').one().n == 2  # kept
    finally:
        aquests.shutdown(1)
        aliases.clear()
