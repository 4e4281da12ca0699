"""What workers share: `skitai.g`, stamps, locks, claims (SPEC G-06, CA-01, CA-04, CA-05, CA-07, B.12)."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from projects import DEADLINE, Launcher, Process, wait_for

import skitai
from skitai import shared
from skitai.shared.memory import Memory
from skitai.testing import free_port


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has a memory of its own, as a process without a master has one."""
    monkeypatch.setattr(shared, '_memory', None)
    monkeypatch.setattr(shared, '_sealed', False)
    yield
    if shared._memory is not None:
        shared._memory.close()


def in_child(function: Callable[[], Any]) -> int:
    """Call it in a forked process; that one's pid. Its exit code: 0, or 1 if it raised."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)  # of forking where other threads run (3.12)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    return pid


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# -- numbers ---------------------------------------------------------------------------------------


def test_numbers() -> None:
    """G-06."""
    skitai.register_g('a', 'b')
    g = skitai.g
    assert g['a'] == 0
    g['a'] = 5
    assert g['a'] == 5
    assert g.delta('a') == 6
    assert g.delta('a', -10) == -4
    g.set('b', 1.5)
    assert g.delta('b', 1) == 2.5
    assert type(g['a']) is int
    assert type(g['b']) is float
    assert g.get('a') == -4
    assert 'a' in g
    assert g.items() == [('a', -4), ('b', 2.5)]
    assert (g.keys(), g.values(), list(g), len(g)) == (['a', 'b'], [-4, 2.5], ['a', 'b'], 2)
    assert repr(g) == "<skitai.g {'a': -4, 'b': 2.5}>"


@pytest.mark.parametrize(
    'use',
    [
        lambda g: g['typo'],
        lambda g: g.__setitem__('typo', 1),
        lambda g: g.set('typo', 1),
        lambda g: g.delta('typo'),
        lambda g: shared.stamp('typo'),
        lambda g: shared.stamped('known', 'typo'),
    ],
)
def test_names_that_are_not_registered(use: Callable[[Any], Any]) -> None:
    """G-06, CA-01: the message says what to do."""
    skitai.register_g('known')
    with pytest.raises(KeyError, match=r"'typo'.*register_g"):
        use(skitai.g)
    assert 'typo' not in skitai.g
    assert skitai.g.get('typo') is None
    assert skitai.g.get('typo', 7) == 7


@pytest.mark.parametrize('value', [1 << 63, -(1 << 63) - 1, 10**30])
def test_integers_have_64_bits(value: int) -> None:
    """G-06."""
    skitai.register_g('n')
    with pytest.raises(OverflowError, match=r"64 bits.*'n'"):
        skitai.g['n'] = value
    skitai.g['n'] = (1 << 63) - 1
    with pytest.raises(OverflowError):
        skitai.g.delta('n')
    assert skitai.g['n'] == (1 << 63) - 1


@pytest.mark.parametrize('value', ['1', None, [1], 1j])
def test_what_is_no_number(value: Any) -> None:
    """G-06."""
    skitai.register_g('n')
    with pytest.raises(TypeError, match="'n'"):
        skitai.g['n'] = value
    with pytest.raises(TypeError, match="'n'"):
        skitai.g.delta('n', value)
    assert skitai.g['n'] == 0


_numbers = st.integers(-(1 << 63), (1 << 63) - 1) | st.floats()
_steps = st.lists(st.tuples(st.sampled_from(['set', 'delta', 'stamp']), st.sampled_from('abc'), _numbers))


@given(_steps)
def test_numbers_against_a_dict(steps: list[tuple[str, str, Any]]) -> None:
    """G-06: every number is kept as it is, its type and sign included."""
    memory = Memory()
    model: dict[str, Any] = dict.fromkeys('abc', 0)
    for name in model:
        memory.register(name)
    for what, name, number in steps:
        if what == 'stamp':
            memory.stamp(name)
        elif what == 'set':
            memory.write(name, number)
            model[name] = number
        else:
            total = model[name] + number
            if isinstance(total, int) and abs(total + 0.5) > 1 << 63:
                continue
            assert repr(memory.add(name, number)) == repr(total)
            model[name] = total
        assert {n: repr(memory.read(n)) for n in model} == {n: repr(v) for n, v in model.items()}
    memory.close()


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'name', ['lukeys', 'trackers', 'addlu', 'deflu', 'register_states', 'register_cache_keys']
)
def test_other_names_of_register_g(name: str) -> None:
    """G-06."""
    getattr(skitai, name)('a')
    assert 'a' in skitai.g


def test_register_g_takes_a_list() -> None:
    """G-06."""
    skitai.register_g(['a', 'b'])
    skitai.register_g('b', 'c')
    skitai.register_g()
    assert skitai.g.keys() == ['a', 'b', 'c']


def test_register_g_decorates_a_class() -> None:
    """G-06."""

    class Plain:
        pass

    assert skitai.register_g('users', 'photos')(Plain) is Plain
    assert skitai.g.keys() == ['users', 'photos']


def test_registering_again_keeps_the_number() -> None:
    skitai.register_g('a')
    skitai.g['a'] = 3
    skitai.register_g('a')
    assert skitai.g['a'] == 3


def test_at_most_256_names() -> None:
    """G-06, CA-07."""
    skitai.register_g([f'name {number}' for number in range(256)])
    skitai.g['name 255'] = 255
    assert skitai.g['name 254'] == 0
    with pytest.raises(RuntimeError, match=r"256.*'one more'"):
        skitai.register_g('one more')
    skitai.register_g('name 7')


@pytest.mark.parametrize(
    ('name', 'error'), [(5, TypeError), (None, TypeError), (['a'], TypeError), ('', ValueError)]
)
def test_bad_names(name: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match='shared number'):
        skitai.register_g('fine', name)


def test_names_may_have_199_bytes_in_any_script() -> None:
    skitai.register_g('é' * 99, 'x' * 199)
    skitai.g['é' * 99] = 1
    assert skitai.g['x' * 199] == 0
    with pytest.raises(ValueError, match='199'):
        skitai.register_g('é' * 100)


def test_registering_in_a_worker_is_a_mistake(launch: Launcher) -> None:
    """G-06: it is reported when the app is mounted, in words; names that are known do no harm."""
    launch.write(
        {
            'serve.py': """
                import skitai
                import late

                if __name__ == '__main__':
                    skitai.register_g ('early')
                    skitai.mount ('/', late)
                    skitai.run ()
            """,
            'late.py': """
                import skitai

                def __app__ ():
                    skitai.register_g ('early')
                    print ('so far')
                    skitai.register_g ('late')
            """,
        }
    )
    server = launch.execute('--port', str(free_port()))
    assert server.wait() == 2
    assert 'so far' in server.output()
    assert "register_g ('late') after the server was started" in server.output()


# -- stamps ----------------------------------------------------------------------------------------


def test_a_stamp_is_now() -> None:
    """CA-04, CA-05."""
    skitai.register_g('users', 'photos')
    before = time.time()
    stamp = shared.stamp('users')
    assert before <= stamp <= time.time()
    assert shared.stamped('users') == shared.stamped('photos', 'users') == stamp
    newer = shared.stamp('photos')
    assert newer > stamp
    assert shared.stamped('users', 'photos') == shared.stamped('photos', 'users') == newer


def test_without_a_stamp_it_is_the_start_of_the_process() -> None:
    """CA-05."""
    skitai.register_g('users')
    assert time.time() - 3600 < shared.stamped('users') == shared.stamped() <= time.time()
    began = time.time()

    def later() -> None:
        assert began <= shared.stamped('users') <= time.time()

    assert exit_code(in_child(later)) == 0


def test_stamps_only_go_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """CA-04: not when the clock is set back, nor when two come at the same moment."""
    skitai.register_g('users')
    times = iter([1000.0, 1000.0, 500.0, 999.0, 1001.0])
    monkeypatch.setattr(time, 'time', lambda: next(times))
    stamps = [shared.stamp('users') for _ in range(5)]
    assert stamps == sorted(set(stamps))
    assert stamps[0] == 1000
    assert math.isclose(stamps[3], 1000)
    assert stamps[4] == 1001


def test_stamps_and_numbers_are_apart() -> None:
    """A counter that is counted is not a cache that has changed."""
    skitai.register_g('a')
    start = shared.stamped('a')
    skitai.g.delta('a', 4)
    assert shared.stamped('a') == start
    stamp = shared.stamp('a')
    assert skitai.g['a'] == 4
    skitai.g['a'] = 1.5
    assert shared.stamped('a') == stamp


# -- threads and processes -------------------------------------------------------------------------


def test_delta_by_threads_of_processes_loses_nothing() -> None:
    """G-06."""
    skitai.register_g('n', 'x')

    def count() -> None:
        def some() -> None:
            for _ in range(500):
                skitai.g.delta('n')
                skitai.g.delta('x', 0.5)

        threads = [threading.Thread(target=some) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    children = [in_child(count) for _ in range(3)]
    count()
    assert [exit_code(pid) for pid in children] == [0, 0, 0]
    assert skitai.g['n'] == 4 * 4 * 500
    assert skitai.g['x'] == 4 * 4 * 250


def test_a_process_killed_while_it_counts(tmp_path: Path) -> None:
    """G-06: the others go on; what was acknowledged is counted, and at most the one step that was not."""
    skitai.register_g('n')

    def count(log: Path) -> None:
        with log.open('wb', buffering=0) as file:
            while True:
                skitai.g.delta('n')
                file.write(b'.')

    for number in range(8):
        logs = [tmp_path / f'{number}-{which}' for which in 'ab']
        before = skitai.g['n']
        children = [in_child(lambda log=log: count(log)) for log in logs]
        for log in logs:
            wait_for(lambda log=log: log.exists() and log.stat().st_size > 50, 'some counting')
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            assert exit_code(pid) == -signal.SIGKILL
        acknowledged = sum(log.stat().st_size for log in logs)
        assert 0 <= skitai.g['n'] - before - acknowledged <= 2
    began = time.monotonic()
    skitai.g.delta('n')
    assert time.monotonic() - began < 1


class Deadly(int):
    """Whoever adds it dies: in the middle of the operation, with the number held."""

    def __radd__(self, other: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_process_killed_with_a_number_held() -> None:
    """G-06: nobody waits for it, and the number is as it was."""
    skitai.register_g('n')
    skitai.g['n'] = 41
    assert exit_code(in_child(lambda: skitai.g.delta('n', Deadly(1)))) == -signal.SIGKILL
    began = time.monotonic()
    assert skitai.g.delta('n') == 42
    assert time.monotonic() - began < 1


def test_a_process_stopped_with_a_number_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait has a deadline; other numbers are not concerned."""
    monkeypatch.setattr('skitai.shared.memory.SLOT_TIMEOUT', 0.2)
    skitai.register_g('n', 'm')
    read, write = os.pipe()

    class Slow(int):
        def __radd__(self, other: int) -> int:
            os.write(write, b'.')
            time.sleep(DEADLINE)
            return 0

    pid = in_child(lambda: skitai.g.delta('n', Slow(1)))
    os.read(read, 1)
    with pytest.raises(TimeoutError, match='another process'):
        skitai.g.delta('n')
    assert skitai.g.delta('m') == 1
    os.kill(pid, signal.SIGKILL)
    exit_code(pid)
    assert skitai.g.delta('n') == 1
    os.close(read)
    os.close(write)


def test_an_operation_may_come_into_another_of_the_same_thread() -> None:
    """A finalizer or a signal handler may use the numbers whenever it runs."""
    skitai.register_g('n', 'm')

    class Busy(int):
        def __radd__(self, other: int) -> int:
            skitai.g.delta('m')
            assert skitai.g['n'] == other
            return other + int(self)

    assert skitai.g.delta('n', Busy(3)) == 3
    assert skitai.g.items() == [('n', 3), ('m', 1)]

    def held() -> None:  # by nobody any more
        skitai.g.delta('n')
        skitai.g.delta('m')

    assert exit_code(in_child(held)) == 0


def test_a_fork_while_another_thread_holds_a_number() -> None:
    """The child waits for no thread that it hasn't got."""
    skitai.register_g('n')
    inside, leave = threading.Event(), threading.Event()

    class Slow(int):
        def __radd__(self, other: int) -> int:
            inside.set()
            assert leave.wait(DEADLINE)
            return other + 1

    def hold() -> None:
        with shared.lock('x'):
            skitai.g.delta('n', Slow(1))

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(DEADLINE)

    def use() -> None:
        assert skitai.g.delta('n') == 2
        with shared.lock('x'):
            pass

    pid = in_child(use)
    leave.set()
    thread.join()
    assert exit_code(pid) == 0
    assert skitai.g['n'] == 2


# -- locks by name, claims -------------------------------------------------------------------------


def test_a_lock_excludes_threads_of_all_processes(tmp_path: Path) -> None:
    """WAS-05 (get_lock): what isn't atomic by itself is."""
    file = tmp_path / 'number'
    file.write_text('0')

    def count() -> None:
        def some() -> None:
            for _ in range(20):
                with shared.lock('file'):
                    number = int(file.read_text())
                    time.sleep(0.0002)
                    file.write_text(str(number + 1))

        with ThreadPoolExecutor(3) as executor:
            for future in [executor.submit(some) for _ in range(3)]:
                future.result()

    shared.seal()  # the memory is there before the fork
    children = [in_child(count) for _ in range(2)]
    assert [exit_code(pid) for pid in children] == [0, 0]
    assert file.read_text() == str(2 * 3 * 20)


def test_a_lock_that_is_not_free_in_time() -> None:
    """Within a process and across; other names are free."""
    with shared.lock('a'):
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"'a'.*0\.1 s"), shared.lock('a', timeout=0.1):
            pass
        assert 0.1 <= time.monotonic() - began < 5
        with pytest.raises(TimeoutError):
            shared.lock('a', 0).acquire()
        with shared.lock('b', 0):
            pass

        def elsewhere() -> None:
            with pytest.raises(TimeoutError), shared.lock('a', timeout=0.1):
                pass
            with shared.lock('b', 0):
                pass

        assert exit_code(in_child(elsewhere)) == 0
    with shared.lock('a', 0):
        pass
    assert shared._shared()._waiting == {}


def test_a_lock_that_nobody_holds_cannot_be_released() -> None:
    lock = shared.lock('a')
    with pytest.raises(RuntimeError, match="'a'"):
        lock.release()
    lock.acquire()
    lock.release()
    with pytest.raises(RuntimeError, match='not held'):
        lock.release()


def test_a_lock_is_released_when_the_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), shared.lock('a'):
        1 / 0  # noqa: B018
    with shared.lock('a', timeout=0):
        pass


def test_a_lock_of_a_killed_process_is_free() -> None:
    shared.seal()
    read, write = os.pipe()

    def hold() -> None:
        with shared.lock('a'):
            os.write(write, b'.')
            time.sleep(DEADLINE)

    pid = in_child(hold)
    os.read(read, 1)
    with pytest.raises(TimeoutError):
        shared.lock('a', 0.05).acquire()
    waiting = threading.Timer(0.1, lambda: os.kill(pid, signal.SIGKILL))
    waiting.start()
    with shared.lock('a', timeout=10):
        pass
    assert exit_code(pid) == -signal.SIGKILL
    waiting.join()
    os.close(read)
    os.close(write)


def test_a_lock_may_wait_without_limit() -> None:
    with shared.lock('a', timeout=math.inf):
        pass


def test_a_claim_is_of_one_process_until_it_ends() -> None:
    """MT-01 (once): whoever asks next has it then."""
    read, write = os.pipe()
    shared.seal()

    def claim() -> None:
        assert shared.claim('job')
        assert shared.claim('job')
        os.write(write, b'.')
        time.sleep(DEADLINE)

    pid = in_child(claim)
    os.read(read, 1)
    assert not shared.claim('job')
    assert shared.claim('other job')
    os.kill(pid, signal.SIGKILL)
    exit_code(pid)
    assert shared.claim('job')
    assert exit_code(in_child(lambda: sys.exit(shared.claim('job')))) == 1  # not the child's
    subprocess.run(['true'], check=True)  # descriptors that a child closes change nothing
    assert exit_code(in_child(lambda: sys.exit(shared.claim('job')))) == 1
    os.close(read)
    os.close(write)


# -- real workers ----------------------------------------------------------------------------------

FILES = {
    'serve.py': """
        import skitai
        import counting

        skitai.register_g (['hits', 'ratio'])

        if __name__ == '__main__':
            skitai.mount ('/', counting.application)
            skitai.run (threads = 4, drain_timeout = 5)
    """,
    'counting.py': """
        import os
        import time
        from urllib.parse import parse_qs
        import skitai
        from skitai import shared

        skitai.register_g ('guarded')

        def application (environ, start_response):
            answer = globals () [environ ['PATH_INFO'][1:]] ()
            start_response ('200 OK', [('Content-Type', 'text/plain')])
            return [str (answer).encode ()]

        def hit ():
            skitai.g.delta ('ratio', .5)
            return skitai.g.delta ('hits')

        def spin ():
            end = time.monotonic () + .3
            while time.monotonic () < end:
                skitai.g.delta ('hits')

        def guarded ():
            with shared.lock ('guarded'):
                number = skitai.g ['guarded']
                time.sleep (.001)
                skitai.g ['guarded'] = number + 1
            return os.getpid ()

        def numbers ():
            return skitai.g.items ()

        def stamp ():
            return repr (shared.stamp ('hits'))

        def stamped ():
            return repr (shared.stamped ('hits'))

        def claim ():
            time.sleep (.005)
            return f'{os.getpid ()} {shared.claim ("it")}'
    """,
}


class Site:
    """A server with three workers; each request has a connection of its own, so that all get some."""

    def __init__(self, launch: Launcher) -> None:
        launch.write(FILES)
        self.launch = launch
        self.port = free_port()
        self.process: Process = launch.execute('--port', str(self.port), '--workers', '3')
        self.process.wait_for_output('Serving')
        wait_for(lambda: len(self.workers()) == 3, 'three workers')

    def get(self, path: str) -> str:
        url = f'http://127.0.0.1:{self.port}/{path}'
        response = requests.get(url, headers={'Connection': 'close'}, timeout=DEADLINE)
        assert response.status_code == 200, response.text
        return response.text

    def numbers(self) -> dict[str, Any]:
        return dict(eval(self.get('numbers')))

    def workers(self) -> set[int]:
        pid = self.process.pid
        return {int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()}


@pytest.fixture
def site(launch: Launcher) -> Site:
    return Site(launch)


def test_workers_count_together(site: Site) -> None:
    """G-06, CA-07, B.12: nothing is lost under load; locks by name exclude across workers."""
    with ThreadPoolExecutor(8) as executor:
        assert len(list(executor.map(site.get, ['hit'] * 300))) == 300
        pids = set(executor.map(site.get, ['guarded'] * 150))
    assert len(pids) > 1
    assert site.numbers() == {'hits': 300, 'ratio': 150.0, 'guarded': 150}


def test_stamps_are_seen_by_all_workers(site: Site) -> None:
    """CA-04."""
    stamp = float(site.get('stamp'))
    assert {float(site.get('stamped')) for _ in range(20)} == {stamp}


def test_one_worker_has_a_claim(site: Site) -> None:
    """CA-07."""
    with ThreadPoolExecutor(8) as executor:
        answers = {tuple(answer.split()) for answer in executor.map(site.get, ['claim'] * 200)}
    assert len(answers) > 1
    assert len([pid for pid, has in answers if has == 'True']) == 1
    assert len({pid for pid, _ in answers}) == len(answers)


def test_a_worker_killed_while_it_counts(site: Site) -> None:
    """G-06: the others go on counting; what was acknowledged is counted."""
    for _ in range(4):
        answered: list[int] = []
        failed = 0
        with ThreadPoolExecutor(6) as executor:
            spinning = [executor.submit(site.get, 'spin') for _ in range(2)]
            counting = [executor.submit(site.get, 'hit') for _ in range(60)]
            wait_for(lambda c=counting: sum(one.done() for one in c) > 10, 'some counting')
            os.kill(min(site.workers()), signal.SIGKILL)
            for future in counting:
                try:
                    answered.append(int(future.result()))
                except requests.ConnectionError:
                    failed += 1
            for future in spinning:
                future.exception()
        assert len(set(answered)) == len(answered) >= 60 - 6
        assert failed <= 6
        wait_for(lambda: len(site.workers()) == 3, 'a new worker')
    assert int(site.get('hit')) == site.numbers()['hits']


def test_sighup_keeps_numbers_and_stamps(site: Site) -> None:
    """G-06: also those of a name that only the new code registers; the trial of the code changes nothing."""
    for _ in range(5):
        site.get('hit')
    stamp = site.get('stamp')
    old = site.workers()
    serve = FILES['serve.py'].replace("['hits', 'ratio']", "['news', 'hits', 'ratio']")
    site.launch.write({'serve.py': serve + "skitai.g ['hits'] = 1000\nraise LookupError ('no')\n"})
    site.process.signal(signal.SIGHUP)
    site.process.wait_for_output('the old code goes on serving')
    assert site.numbers()['hits'] == 5
    for _ in range(2):
        site.launch.write({'serve.py': serve})
        site.process.signal(signal.SIGHUP)
        wait_for(lambda old=old: not site.workers() & old, 'new workers')
        assert site.numbers() == {'guarded': 0, 'news': 0, 'hits': 5, 'ratio': 2.5}
        assert site.get('stamped') == stamp
        old = site.workers()
    assert 'Warning' not in site.process.output()


def test_a_memory_that_is_none_of_ours_is_not_taken(tmp_path: Path) -> None:
    """What another version kept, or a file: the server begins anew."""
    for size in (0, 257 * 256):
        descriptor = os.memfd_create('other')
        os.ftruncate(descriptor, size)
        with pytest.raises(ValueError, match='shared memory'):
            Memory(descriptor)
        os.close(descriptor)


def test_a_memory_of_another_version_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SIGHUP with a new version that keeps numbers otherwise: they begin at 0, and that is said."""
    descriptor = os.memfd_create('other')
    monkeypatch.setenv('SKITAI_MEMORY_FD', f'{os.getpid()}:{descriptor}')
    skitai.register_g('a')
    assert skitai.g.items() == [('a', 0)]
    assert 'begin at 0' in caplog.text


def test_the_environment_of_another_process_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that a server starts does not take the server's memory, even with its environment."""
    monkeypatch.setenv('SKITAI_MEMORY_FD', f'{os.getpid() + 1}:0')
    skitai.register_g('a')
    assert skitai.g['a'] == 0
    assert 'SKITAI_MEMORY_FD' not in os.environ


def test_names_registered_in_config_are_stamped_by_services(launch: Launcher) -> None:
    """A-94, A-96, A-97: the event is of the worker that stamped, the stamp of all."""
    site = launch(
        {
            'serve.py': """
                import skitai
                import site_

                if __name__ == '__main__':
                    skitai.mount ('/', site_)
                    skitai.run (workers = 2)
            """,
            'site_.py': """
                import os
                import skitai
                from atila import Atila

                def __config__ (pref):
                    skitai.register_g ('tables.users', 'table.photos')

                def __app__ ():
                    return Atila (__name__)

                def __mount__ (app):
                    told = []

                    @app.on ('setlu:tables.users')
                    def table_updated (was, *args, **kargs):
                        told.append ([list (args), kargs])

                    @app.route ('/update')
                    def update (was):
                        was.setlu ('tables.users', 'something', more = 1)
                        return was.API (told = told)

                    @app.route ('/seen')
                    def seen (was):
                        return was.API (
                            pid = os.getpid (),
                            users = was.getlu ('tables.users'),
                            photos = was.getlu ('table.photos'),
                            newest = was.getlu ('table.photos', 'tables.users'),
                        )
            """,
        }
    )
    before = time.time()
    assert site.get('/update').data == {'told': [[['something'], {'more': 1}]]}
    site.set_default_header('Connection', 'close')
    pids = set()

    def seen_by_both() -> bool:
        seen = site.get('/seen').data
        assert before <= seen['users'] == seen['newest'] <= time.time()
        assert seen['photos'] < seen['users']
        pids.add(seen['pid'])
        return len(pids) == 2

    wait_for(seen_by_both, 'both workers')
