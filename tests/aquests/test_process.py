"""Process (SPEC TH-01) and its pool."""

from __future__ import annotations

import math
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import zipapp
from pathlib import Path
from typing import Any

import pytest
from projects import wait_for

import aquests
from aquests import Process, errors


def alive(pid: int) -> bool:
    """Whether any of its threads is: the first one may end before those that hold its files open."""
    try:
        threads = [path.read_text() for path in Path(f'/proc/{pid}/task').glob('*/stat')]
    except OSError:
        return Path(f'/proc/{pid}').exists() and alive(pid)
    return any(text.rpartition(')')[2].split()[0] not in 'ZX' for text in threads)


def numbers(path: Path) -> list[int]:
    wait_for(path.exists, 'the numbers of the processes')
    return [int(number) for number in path.read_text().split()]


def test_a_process_returns_what_the_function_returns(jobs: Any) -> None:
    """SPEC TH-01, A-118."""
    assert Process(math.sqrt, args=(4.0,), meta={'a': 1}).fetch() == 2.0
    assert Process(jobs.double, [1]).fetch() == [1, 1]
    assert Process(jobs.double, x=2, filter=lambda x: x + 1).fetch() == 5
    assert Process(os.getpid).fetch() != os.getpid()


def test_processes_are_kept(jobs: Any) -> None:
    aquests.configure(processes=1)
    assert len({Process(os.getpid).fetch() for _ in range(5)}) == 1


def test_exceptions_come_back_with_their_traceback(jobs: Any) -> None:
    with pytest.raises(ValueError, match='boom') as caught:
        Process(jobs.boom).fetch()
    assert 'in boom' in ''.join(caught.value.__notes__)
    assert not hasattr(caught.value, 'http_status')
    with pytest.raises(SystemExit):
        Process(jobs.exit).fetch()
    with pytest.raises(errors.TaskError, match='Odd: 1') as odd:  # cannot be loaded, so told
        Process(jobs.odd).fetch()
    assert 'in odd' in ''.join(odd.value.__notes__)


def test_what_cannot_travel_is_told_in_words(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for task in (Process(lambda: 1), Process(jobs.double, threading.Lock())):
        with pytest.raises(errors.NotPicklable, match='top of a module'):
            task.fetch()
    with pytest.raises(errors.NotPicklable, match='result'):
        Process(jobs.unpicklable).fetch()
    monkeypatch.setattr(
        sys, 'path', [path for path in sys.path if not (Path(path) / 'aquests_jobs.py').exists()]
    )
    aquests.shutdown()
    with pytest.raises(errors.NotPicklable, match='aquests_jobs'):
        Process(jobs.double, 1).fetch()


def test_a_timeout_kills_the_process_and_what_it_started(jobs: Any, tmp_path: Path) -> None:
    aquests.configure(processes=1)
    Process(os.getpid).fetch()
    path = tmp_path / 'numbers'
    task = Process(jobs.spawn_and_hang, args=(str(path),), timeout=1)
    pids = numbers(path)
    with pytest.raises(errors.TaskTimeout):
        task.fetch()
    wait_for(lambda: not any(alive(pid) for pid in pids), 'the end of the processes')
    assert Process(os.getpid).fetch() not in pids


def test_cancel_kills(jobs: Any, tmp_path: Path) -> None:
    path = tmp_path / 'numbers'
    task = Process(jobs.spawn_and_hang, str(path))
    pids = numbers(path)
    assert task.cancel()
    wait_for(lambda: not any(alive(pid) for pid in pids), 'the end of the processes')


def test_a_process_that_dies_is_told_and_replaced(jobs: Any) -> None:
    aquests.configure(processes=1)
    with pytest.raises(errors.ProcessDied, match='7'):
        Process(jobs.leave, 7).fetch()
    pid = Process(os.getpid).fetch()
    os.kill(pid, signal.SIGKILL)  # while it is idle
    wait_for(lambda: not alive(pid), 'its end')
    assert Process(os.getpid).fetch() != pid


@pytest.mark.parametrize('how', ['fork', 'exec'])
def test_a_process_that_dies_leaves_nothing(jobs: Any, tmp_path: Path, how: str) -> None:
    """It is told at once though another one still has its end of the line, and that one is killed."""
    began = time.monotonic()
    with pytest.raises(errors.ProcessDied, match='3'):
        Process(jobs.start_and_die, str(tmp_path / 'numbers'), how).fetch()
    assert time.monotonic() - began < 10
    pids = numbers(tmp_path / 'numbers')
    wait_for(lambda: not any(alive(pid) for pid in pids), 'the end of what it started')


def test_shutdown_ends_all_processes(jobs: Any, tmp_path: Path) -> None:
    idle = Process(os.getpid).fetch()
    path = tmp_path / 'numbers'
    running = Process(jobs.spawn_and_hang, str(path))
    pids = [idle, *numbers(path)]
    started = time.monotonic()
    aquests.shutdown(0.1)
    assert time.monotonic() - started < 5
    assert not any(alive(pid) for pid in pids)
    with pytest.raises(errors.TaskCancelled):
        running.fetch()
    assert Process(os.getpid).fetch() not in pids  # begins anew


def script(tmp_path: Path, text: str, *more: str) -> subprocess.Popen[str]:
    path = tmp_path / 'script.py'
    path.write_text(textwrap.dedent(text))
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, str(path), *more], stdout=subprocess.PIPE, text=True, env=env)


def output(tmp_path: Path, text: str) -> list[str]:
    with script(tmp_path, text) as process:
        out = process.communicate(timeout=30)[0]
        assert process.returncode == 0
    return out.splitlines()


def test_the_main_script_is_not_run_again(tmp_path: Path) -> None:
    assert output(
        tmp_path,
        """
        import math, aquests
        print ('main', flush = True)
        print (aquests.Process (math.sqrt, 4.0).fetch ())
        """,
    ) == ['main', '2.0']


def test_functions_and_classes_of_the_main_script(tmp_path: Path) -> None:
    """It is loaded, under another name, so that what is guarded stays asleep."""
    assert output(
        tmp_path,
        """
        import dataclasses, aquests
        @dataclasses.dataclass
        class Point:
            x: int
        def f (point):
            return Point (point.x + 1)
        if __name__ == '__main__':
            print ('main', flush = True)
            print (aquests.Process (f, Point (1)).fetch () == Point (2))
        """,
    ) == ['main', 'True']


def test_what_a_function_prints_is_not_lost(tmp_path: Path) -> None:
    assert output(
        tmp_path,
        """
        import aquests
        aquests.Process (print, 'printed').fetch ()
        """,
    ) == ['printed']


def test_an_unguarded_main_script_is_told(tmp_path: Path) -> None:
    lines = output(
        tmp_path,
        """
        import aquests
        def f ():
            return 1
        try:
            print (aquests.Process (f).fetch ())
        except aquests.errors.NotPicklable as error:
            print ('told:', error)
        """,
    )
    assert any(line.startswith('told:') and '__main__' in line for line in lines), lines


def test_a_script_ends_though_tasks_hang(tmp_path: Path) -> None:
    """The interpreter's end waits a moment, then ends everything."""
    started = time.monotonic()
    lines = output(
        tmp_path,
        """
        import time, aquests, os
        aquests.Thread (time.sleep, 60)
        print (aquests.Process (os.getpid).fetch (), flush = True)
        aquests.Process (time.sleep, 60)
        aquests.Subprocess ('sleep 60')
        """,
    )
    assert time.monotonic() - started < 15
    assert not alive(int(lines[0]))


def test_processes_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    text = """
        import os, time, aquests
        aquests.configure (processes = 2)
        tasks = [aquests.Process (os.getpid), aquests.Process (time.sleep, 60)]
        print (tasks [0].fetch (), flush = True)
        other = aquests.Process (os.getpid)
        if os.fork () == 0: # a forked child does not keep them alive
            time.sleep (20)
            os._exit (0)
        print (other.fetch (), flush = True)
        time.sleep (60)
        """
    with script(tmp_path, text) as process:
        assert process.stdout is not None
        pids = [int(process.stdout.readline()), int(process.stdout.readline())]
        children = [
            int(pid) for pid in Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
        ]
        process.kill()
        wait_for(lambda: not any(alive(pid) for pid in pids), 'the end of the processes')
        for pid in children:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def test_a_forked_child_begins_anew(tmp_path: Path) -> None:
    assert output(
        tmp_path,
        """
        import os, time, asyncio, aquests
        from aquests import Process, Thread, Subprocess, loop
        async def one ():
            return 1
        def ask ():
            return asyncio.run_coroutine_threadsafe (one (), loop.get ()).result (5)
        mine = [Process (os.getpid).fetch (), Thread (int, 1).fetch (), ask ()]
        pid = os.fork ()
        if not pid:
            ok = Process (os.getpid).fetch () != mine [0] and Thread (int, 2).fetch () == 2
            ok = ok and Subprocess ('echo 1').fetch () == '1\\n' and ask () == 1
            try:
                Thread (time.sleep, args = (5,), timeout = .1).fetch ()
            except TimeoutError:
                os._exit (not ok)
            os._exit (2)
        print (os.waitpid (pid, 0) [1], Process (os.getpid).fetch () > 0)
        """,
    ) == ['0 True']


def test_our_own_errors_travel() -> None:
    """TH-01: what it raised is raised by fetch, as it is."""
    for error in (
        errors.SubprocessFailed('false', 3, 'why'),
        errors.NetworkError('no way', True),
        errors.BadStatus(500, 'Oh', 'x'),
        errors.BatchFailed(1, 'm', [2]),
        errors.TaskTimeout('late'),
    ):
        error.add_note('a note')
        found = pickle.loads(pickle.dumps(error))
        assert (type(found), str(found), found.__dict__) == (type(error), str(error), error.__dict__)


def test_an_exception_that_becomes_something_else(jobs: Any) -> None:
    with pytest.raises(errors.TaskError, match='Strange'):
        Process(jobs.strange).fetch()


@pytest.mark.parametrize('kind', ['directory', 'zip'])
def test_a_function_of_a_directorys_main_program(tmp_path: Path, kind: str) -> None:
    (tmp_path / 'main').mkdir()
    (tmp_path / 'main' / '__main__.py').write_text(
        'from aquests import Process\n'
        'def f (x): return x + 1\n'
        "if __name__ == '__main__': print (Process (f, 1).fetch ())\n"
    )
    path = tmp_path / 'main'
    if kind == 'zip':
        path = tmp_path / 'main.pyz'
        zipapp.create_archive(tmp_path / 'main', path)
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, env=env, timeout=60)
    assert (done.stdout, done.stderr) == ('2\n', '')


def test_failures_that_are_held_to_the_end_are_told(tmp_path: Path) -> None:
    """SPEC TK-08: nobody will look at them any more."""
    path = tmp_path / 'script.py'
    path.write_text(
        'import time\n'
        'from aquests import Thread\n'
        'def f (text): raise ValueError (text)\n'
        "task = Thread (f, 'lost')\n"
        "seen = Thread (f, 'looked at')\n"
        'seen.dispatch ()\n'
        'time.sleep (0.1)\n'
    )
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, env=env, timeout=60)
    assert 'ValueError: lost' in done.stderr
    assert 'looked at' not in done.stderr
