"""Subprocess (SPEC TH-02)."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from projects import wait_for

import aquests
from aquests import Subprocess, errors


def alive(pid: int) -> bool:
    try:
        text = Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return False
    return text.rpartition(')')[2].split()[0] not in 'ZX'


def tree(tmp_path: Path) -> str:
    """A command that writes its own and a child's number, and hangs."""
    return f'sleep 60 & echo $$ $! > {tmp_path}/n~; mv {tmp_path}/n~ {tmp_path}/n; sleep 60'


def numbers(tmp_path: Path) -> list[int]:
    wait_for((tmp_path / 'n').exists, 'the numbers')
    return [int(number) for number in (tmp_path / 'n').read_text().split()]


def gone(pids: list[int]) -> None:
    wait_for(lambda: not any(alive(pid) for pid in pids), 'the end of the command and its children')


def test_the_result_is_what_the_command_printed() -> None:
    """SPEC TH-02, A-85."""
    assert Subprocess('echo a; echo b >&2').fetch() == 'a\n'
    assert Subprocess(['echo', 'a b', '*']).fetch() == 'a b *\n'
    assert Subprocess('echo a b', filter=lambda x: x.replace(' ', '_'), meta={'a': 1}).fetch() == 'a_b\n'
    assert Subprocess('cat').fetch() == ''  # stdin is empty
    assert Subprocess("printf 'a\\nb'", filter=len).lines() == ['a', 'b']
    assert Subprocess("printf '\\377'").fetch() == '\ufffd'


def test_a_failure_has_code_and_stderr() -> None:
    with pytest.raises(errors.SubprocessFailed, match='oops') as caught:
        Subprocess('echo out; echo oops >&2; exit 3').fetch()
    assert (caught.value.returncode, caught.value.stderr) == (3, 'oops\n')
    assert not hasattr(caught.value, 'http_status')
    with pytest.raises(errors.SubprocessFailed) as caught:
        Subprocess(['/no/such/command']).fetch()
    assert caught.value.returncode == 127
    with pytest.raises(errors.SubprocessFailed) as caught:
        Subprocess('kill -TERM $$').fetch()
    assert caught.value.returncode == -15
    with pytest.raises(TypeError, match='command'):
        Subprocess('')


def test_a_timeout_is_an_error_and_kills_all(tmp_path: Path) -> None:
    """PITFALLS: a Subprocess that timed out returned an empty string."""
    task = Subprocess(f'echo before; {tree(tmp_path)}', timeout=0.5)
    pids = numbers(tmp_path)
    with pytest.raises(errors.TaskTimeout):
        task.fetch()
    assert task.dispatch().status == aquests.STA_TIMEOUT
    assert task.dispatch().data is None
    gone(pids)


@pytest.mark.parametrize('way', ['cancel', 'kill', 'terminate', 'shutdown'])
def test_it_is_ended_with_its_children(tmp_path: Path, way: str) -> None:
    task = Subprocess(tree(tmp_path))
    pids = numbers(tmp_path)
    if way == 'shutdown':
        aquests.shutdown(0.1)
    else:
        getattr(task, way)()
    gone(pids)
    with pytest.raises(errors.TaskError) as caught:
        task.fetch(timeout=5)
    code = {'kill': -9, 'terminate': -15}.get(way)
    assert getattr(caught.value, 'returncode', None) == code


def test_one_that_waits_for_its_turn_can_be_killed() -> None:
    aquests.configure(subprocesses=1)
    first, second = Subprocess('sleep 60'), Subprocess('echo')
    second.kill()
    first.kill()
    with pytest.raises(errors.TaskCancelled):
        second.fetch()


def test_output_in_memory_is_bounded() -> None:
    assert len(Subprocess('head -c 1000000 /dev/zero').fetch()) == 1_000_000
    started = time.monotonic()
    with pytest.raises(errors.OutputTooLong):
        Subprocess('yes', limit=100_000).fetch()
    assert time.monotonic() - started < 10
    with pytest.raises(errors.SubprocessFailed) as caught:
        Subprocess('head -c 1000000 /dev/zero >&2; echo end >&2; exit 1').fetch()
    assert len(caught.value.stderr) == 65536
    assert caught.value.stderr.endswith('end\n')


def test_what_escapes_the_killing_holds_nothing_up(tmp_path: Path) -> None:
    """A session of its own is not killed; it holds the output open."""
    task = Subprocess(f"setsid sh -c 'echo $$ > {tmp_path}/x; exec sleep 20' & sleep 20", timeout=0.5)
    with pytest.raises(errors.TaskTimeout):
        task.fetch()
    started = time.monotonic()
    aquests.shutdown(2)
    assert time.monotonic() - started < 2
    os.kill(int((tmp_path / 'x').read_text()), signal.SIGKILL)


def test_what_escapes_and_goes_on_printing_holds_nothing_up(tmp_path: Path) -> None:
    aquests.configure(subprocesses=1)
    endless = f'echo $$ > {tmp_path}/x; while true; do echo x; sleep 0.02; done'
    task = Subprocess(f"setsid sh -c '{endless}' & sleep 20", timeout=0.3)
    assert task.dispatch().status_code == 730
    try:
        assert Subprocess('echo next', timeout=5).fetch() == 'next\n'
    finally:
        os.kill(int((tmp_path / 'x').read_text()), signal.SIGKILL)


def test_several_run_at_a_time() -> None:
    started = time.monotonic()
    tasks = [Subprocess('sleep 0.5') for _ in range(5)]
    for task in tasks:
        task.commit()
    assert time.monotonic() - started < 2


def test_lines_end_where_the_command_ended_them() -> None:
    """Not at a form feed, or at what Unicode takes for the end of a line."""
    text = 'a\x0cb\x85c\u2028d\r\ne\n'
    assert Subprocess(['printf', '%s', text]).lines() == ['a\x0cb\x85c\u2028d', 'e']


def test_arguments_and_limits(tmp_path: Path) -> None:
    (tmp_path / 'f').write_text('x')
    assert Subprocess([b'cat', tmp_path / 'f']).fetch() == 'x'
    for limit in (None, 'x', -1, True):
        with pytest.raises(ValueError, match='limit = '):
            Subprocess('true', limit=limit)  # type: ignore[arg-type]
