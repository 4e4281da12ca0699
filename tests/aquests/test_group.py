"""Tasks (SPEC TH-04 to TH-07)."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from projects import wait_for

import aquests
from aquests import Mask, Record, Subprocess, Task, Tasks, Thread, errors


def boom(text: str = 'boom') -> None:
    raise ValueError(text)


def test_without_names_a_list() -> None:
    """SPEC TH-04, A-87."""
    a, b, c = Tasks([Thread(int, 1), Mask(2), Thread(int, 3)]).fetch()
    assert (a, b, c) == (1, 2, 3)
    assert Tasks(Mask(1), [Mask(2)], (Mask(i) for i in (3, 4))).fetch() == [1, 2, 3, 4]
    assert Tasks().fetch() == []


def test_with_names_a_dict_of_those() -> None:
    """SPEC TH-04, TH-05, A-88."""
    done: list[int] = []
    tasks = Tasks(
        Thread(done.append, 1),
        files=Subprocess('echo a b', filter=lambda x: x.replace(' ', '_')),
        result=Mask([1, 2]),
        constant=5,
        nothing=None,
    )
    results = tasks.fetch()
    assert results == {'files': 'a_b\n', 'result': [1, 2], 'constant': 5, 'nothing': None}
    assert results['files'] == results.files
    assert isinstance(results, Record)
    assert done == [1]
    assert dict(**tasks.fetch()) == results
    assert tasks.dict() == results
    assert Tasks(Mask(1)).dict() == {}


def test_unnamed_ones_are_checked() -> None:
    for call in ('fetch', 'one', 'commit', 'dict'):
        with pytest.raises(ValueError, match='boom'):
            getattr(Tasks(Thread(boom), a=Mask([1])), call)()
    # Not for their number of elements: nobody asked for those.
    assert Tasks(Mask([]), a=Mask([1])).one() == {'a': 1}


def test_groups_nest() -> None:
    inner = Tasks(x=Thread(int, 1), y__one=Mask([2]))
    assert Tasks(Tasks(Mask(1), Mask(2)), inner).fetch() == [[1, 2], {'x': 1, 'y': 2}]
    assert Tasks(a=inner, b=Tasks([Thread(int, 5)]), c=[Mask(1), Mask(2)]).fetch() == {
        'a': {'x': 1, 'y': 2},
        'b': [5],
        'c': [1, 2],
    }
    assert isinstance(Tasks(), Task)


def test_one_commit_dispatch_wait() -> None:
    """SPEC TH-04."""
    assert Tasks(Mask([1]), Mask({'a': 2})).one() == [1, 2]
    assert Tasks(a=Mask([1]), b__fetch=Mask([2])).one() == {'a': 1, 'b': [2]}
    with pytest.raises(errors.Conflict):
        Tasks(Mask([1, 2])).one()
    assert Tasks(Mask(1)).commit() is None  # type: ignore[func-returns-value]
    tasks = Tasks(Thread(boom), a=Mask(2), b=3)
    for results in (tasks.wait(), tasks.dispatch(), list(tasks)):
        assert [result.status for result in results] == [
            aquests.STA_REQFAIL,
            aquests.STA_NORMAL,
            aquests.STA_NORMAL,
        ]
    assert (tasks[1].data, tasks['b'].data, tasks[-1].fetch(), len(tasks)) == (2, 3, 3, 3)
    with pytest.raises(KeyError):
        tasks['x']
    assert tasks.then(print).task is tasks
    assert Tasks(meta={'a': 1}).meta == {'a': 1}


def test_the_first_failure_in_order_is_raised() -> None:
    with pytest.raises(ValueError, match='first'):
        Tasks(a=Thread(boom, 'first'), b=Thread(boom, 'second')).fetch()


def test_add_and_merge(gate: threading.Event) -> None:
    tasks = Tasks(Mask(1)).add(Mask(2)).merge(Tasks(Mask(3)))
    assert tasks.fetch() == [1, 2, 3]
    assert Tasks().merge(Tasks(a=Mask(1)).add(Mask(2))).fetch() == {'a': 1}
    assert Tasks(a=1).merge(Tasks(b=Mask(2), c__one=Mask([3]))).add(d=4).fetch() == {
        'a': 1,
        'b': 2,
        'c': 3,
        'd': 4,
    }
    reopened = Tasks(Mask(1))
    assert reopened.done()
    reopened.add(Thread(gate.wait))
    assert not reopened.done()
    gate.set()
    assert reopened.fetch() == [1, True]
    late = Tasks(Mask(1), timeout=0.05)
    late.add(Thread(threading.Event().wait, 1))
    with pytest.raises(errors.TaskTimeout):  # under the same deadline
        late.fetch()
    with pytest.raises(TypeError, match="'a'"):
        Tasks(a=1).merge(Tasks(a=2))


def test_what_is_no_task_needs_a_name() -> None:
    with pytest.raises(TypeError, match='named values'):
        Tasks(5)
    with pytest.raises(TypeError, match="named 'n'"):
        Tasks(n__0=Mask([1]), n__1=Mask([1]))


def test_a_group_has_one_deadline(gate: threading.Event) -> None:
    """SPEC TH-07."""
    slow = Thread(gate.wait)
    started = time.monotonic()
    tasks = Tasks(a=Mask(1), b=slow, c=Subprocess('sleep 60'), timeout=0.1)
    with pytest.raises(errors.TaskTimeout):
        tasks.fetch()
    assert time.monotonic() - started < 5
    assert [result.status for result in tasks.dispatch()] == [
        aquests.STA_NORMAL,
        aquests.STA_TIMEOUT,
        aquests.STA_TIMEOUT,
    ]
    assert slow.done()


def test_a_list_of_tasks_has_the_groups_time(gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Tasks.__init__.__kwdefaults__, 'timeout', 0.01)  # type: ignore[attr-defined]
    tasks = Tasks(a=[Thread(gate.wait)], timeout=60)
    threading.Timer(0.1, gate.set).start()
    assert tasks.fetch() == {'a': [True]}


def test_a_wait_that_is_too_short(gate: threading.Event) -> None:
    tasks = Tasks(Mask(1), Thread(gate.wait))
    with pytest.raises(errors.TaskTimeout):
        tasks.fetch(timeout=0.02)
    statuses = [result.status for result in tasks.dispatch(timeout=0.02)]
    assert statuses == [aquests.STA_NORMAL, aquests.STA_TIMEOUT]
    assert not tasks.done()
    gate.set()
    assert tasks.fetch() == [1, True]


def test_cancel_cancels_all(gate: threading.Event) -> None:
    members = [Thread(gate.wait), Thread(gate.wait)]
    told: list[Any] = []
    tasks = Tasks(Tasks(members[0]), members[1], Mask(1))
    tasks.add_done_callback(told.append)
    assert tasks.cancel()
    assert not tasks.cancel()
    assert told == [tasks]
    for task in (*members, tasks):
        with pytest.raises(errors.TaskCancelled):
            task.fetch()
    late = Thread(gate.wait)
    tasks.add(late)
    assert late.done()


def test_a_group_on_an_event_loop(gate: threading.Event) -> None:
    async def main() -> None:
        assert await Tasks(a=Thread(int, 1), b=2) == {'a': 1, 'b': 2}
        tasks = Tasks(Thread(gate.wait), Mask(1))
        with pytest.raises(RuntimeError, match='would block'):
            tasks.fetch()
        with pytest.raises(RuntimeError, match='would block'):
            list(tasks)
        gate.set()
        assert (await tasks.completed()).fetch() == [True, 1]
        with pytest.raises(ValueError, match='boom'):
            await Tasks(Thread(boom))

    asyncio.run(main())


def test_many_tasks_in_a_group() -> None:
    for _ in range(20):
        assert Tasks([Thread(int, i) for i in range(100)]).fetch() == list(range(100))


ROW = {'cnt': 5, 'deep': {'list': [1, 2]}}


@pytest.mark.parametrize(
    ('name', 'data', 'value'),
    [
        ('n', [ROW], [ROW]),
        ('n__one', [ROW], ROW),
        ('n__fetch', [ROW], [ROW]),
        ('n__dict', [('a', 1)], {'a': 1}),
        ('n__0', [ROW], ROW),
        ('n__cnt', ROW, 5),
        ('n__one__cnt', [ROW], 5),
        ('n__fetch__0', [ROW], ROW),
        ('n__fetch__0__cnt', [ROW], 5),
        ('n__dict__a', [('a', 1)], 1),
        ('n__one__deep__list__1', [ROW], 2),
        ('n__fetch__one', {'one': 3}, 3),
        ('n__7', {'7': 'text', 7: 'number'}, 'text'),
        ('n__7', {7: 'number'}, 'number'),
        ('n__real', 1.5, 1.5),
    ],
)
def test_suffixes_of_names(name: str, data: Any, value: Any) -> None:
    """SPEC TH-06."""
    assert Tasks(**{name: Mask(data)}).fetch() == {'n': value}


@pytest.mark.parametrize('name', ['n__0', 'n__x', 'n__one__x', 'n__fetch__5__x'])
def test_suffixes_that_lead_nowhere(name: str) -> None:
    with pytest.raises(errors.NoSuchElement, match=name):
        Tasks(**{name: Mask([] if 'one' not in name else [{}])}).fetch()


def test_suffixes_of_groups_and_constants() -> None:
    assert Tasks(n__dict__a=Tasks(a=Mask(1))).fetch() == {'n': 1}
    assert Tasks(n__a=Tasks(a=Mask(1))).fetch() == {'n': 1}
    assert Tasks(n__1=Tasks(Mask(1), Mask(2))).fetch() == {'n': 2}
    assert Tasks(page__size=20, __x=Mask(1), y__=Mask(2)).fetch() == {'page__size': 20, '__x': 1, 'y__': 2}


keys = st.from_regex(r'[a-z][a-z0-9]{0,5}', fullmatch=True).filter(
    lambda key: key not in ('one', 'fetch', 'dict')
)
trees: Any = st.recursive(
    st.integers(),
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(keys, inner, min_size=1),
)


@given(keys, trees, st.sampled_from(['', 'fetch', 'one']), st.data())
def test_any_path_leads_to_its_element(key: str, tree: Any, method: str, data: st.DataObject) -> None:
    """SPEC TH-06: a name made of the way to an element gives that element."""
    steps, value = [], tree
    while isinstance(value, list | dict) and data.draw(st.booleans()):
        step = data.draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
        steps.append(str(step))
        value = value[step]
    name = '__'.join([key, *([method] if method else []), *steps])
    task = Mask([tree]) if method == 'one' else Mask(tree)
    assert Tasks(**{name: task}, other=1).fetch() == {key: value, 'other': 1} or key == 'other'


@given(st.text(max_size=20))
def test_any_name_is_a_name(name: str) -> None:
    """Whatever it is, the Task is under the whole name or its first part, or NoSuchElement names it."""
    if name in ('timeout', 'meta'):
        return
    first, _, rest = name.partition('__')
    tasks = Tasks(**{name: Mask({rest: 5})})
    found: Any = Record()
    with contextlib.suppress(errors.NoSuchElement):
        found = tasks.fetch()
    assert list(found) in ([], [name], [first])


def test_a_group_lets_go_of_its_deadline() -> None:
    tasks = [Tasks(Thread(int, 1), timeout=60) for _ in range(50)]
    wait_for(lambda: all(task.done() for task in tasks), 'their end')
    assert all(task._alarm is None for task in tasks)


def test_commit_goes_through_nested_groups() -> None:
    """SPEC TK-06, TH-04."""
    Tasks(Tasks(Thread(int, 1)), Thread(int, 3), a=Tasks(Mask(1)), b=[Mask(2)], c=3).commit()
    with pytest.raises(ValueError, match='inner'):
        Tasks(Tasks(Thread(boom, 'inner')), Thread(int, 3)).commit()


def test_commit_waits_no_longer_than_it_is_told() -> None:
    """SPEC TK-06."""
    gate = threading.Event()
    tasks = Tasks(Thread(gate.wait, 20))
    started = time.monotonic()
    with pytest.raises(errors.TaskTimeout):
        tasks.commit(timeout=0.05)
    assert time.monotonic() - started < 10
    gate.set()
    tasks.commit()


def test_what_is_no_group() -> None:
    """Words instead of a pending Task among the values."""
    with pytest.raises(TypeError, match='n: a list of Tasks has nothing but Tasks'):
        Tasks(n=[Mask(1), 5])
    tasks = Tasks(Mask(1))
    with pytest.raises(ValueError, match='one of its own'):
        tasks.add(tasks)
    with pytest.raises(errors.NoSuchElement, match='no dict, but int'):
        Tasks(n__dict=Mask(5)).fetch()
    with pytest.raises(TypeError):
        Tasks('text')
    assert Tasks({'a': Mask(1), 'b': Mask(2)}.values()).fetch() == [1, 2]
    assert [result.data for result in Tasks(Mask(1), Mask(2), Mask(3))[1:]] == [2, 3]
