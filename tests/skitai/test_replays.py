"""Uses of server nonces, known to all workers: each is accepted once (SPEC AU-03, AU-08)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skitai.shared import replays
from skitai.shared.replays import BUCKETS, ENTRIES, REPLAYS_FD, WINDOW, Replays


@pytest.fixture
def table() -> Iterator[Replays]:
    made = Replays()
    yield made
    made.close()


def identity(number: int, bucket: int = 1) -> bytes:
    return bucket.to_bytes(4, 'little') + (number + 1).to_bytes(12, 'big')


def test_once(table: Replays) -> None:
    later = table.made + 1
    assert table.use(identity(0), later, 1)
    assert not table.use(identity(0), later, 1)
    assert table.use(identity(0), later, 2)
    assert table.use(identity(1), later, 1)
    assert table.use(identity(0, BUCKETS + 1), later, 1)  # the same bucket, another nonce


def test_what_was_issued_before_the_table_is_refused(table: Replays) -> None:
    """Whether it was used, a table that is newer cannot know."""
    assert not table.use(identity(0), table.made, 1)
    assert table.use(identity(0), table.made + 1, 1)


def test_counts_may_come_late(table: Replays) -> None:
    """As those of requests over several connections do; within a window."""
    issued = table.made + 1
    assert table.use(identity(0), issued, 100)
    assert table.use(identity(0), issued, 100 - WINDOW + 1)
    assert not table.use(identity(0), issued, 100 - WINDOW + 1)
    assert not table.use(identity(0), issued, 100 - WINDOW)
    assert table.use(identity(0), issued, 0xFFFFFFFF)
    assert not table.use(identity(0), issued, 101)


def test_a_full_bucket_forgets_the_oldest_for_good(table: Replays) -> None:
    made = table.made
    for number in range(ENTRIES + 1):
        assert table.use(identity(number), made + 10 + number, 1)
    assert not table.use(identity(0), made + 10, 2)  # had to make room
    assert not table.use(identity(99), made + 9, 1)  # as old as that: who knows
    assert table.use(identity(1), made + 11, 2)
    assert not table.use(identity(1), made + 11, 2)


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(1, 200) | st.sampled_from([1, 63, 64, 65, 0xFFFFFFFF])),
        max_size=60,
    )
)
def test_nothing_is_accepted_twice(uses: list[tuple[int, int]]) -> None:
    """Ten nonces of one bucket, in any order; and a new one is always accepted."""
    table = Replays()
    accepted: set[tuple[int, int]] = set()
    try:
        for number, count in uses:
            if table.use(identity(number), table.made + 1 + number, count):
                assert (number, count) not in accepted
                accepted.add((number, count))
        assert table.use(identity(10), table.made + 20, 1)
    finally:
        table.close()


def test_one_use_by_threads_of_processes(table: Replays) -> None:
    """Three processes of four threads want the same 200 uses: each gets accepted once."""
    read, write = os.pipe()
    pids = []
    for _ in range(3):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', DeprecationWarning)  # of forking where other threads run (3.12)
            pid = os.fork()
        if pid == 0:
            try:
                table.forked()
                with ThreadPoolExecutor(4) as executor:
                    wanted = [n % 200 for n in range(800)]
                    got = executor.map(
                        lambda n: table.use(identity(n // 10), table.made + 1, n % 10 + 1), wanted
                    )
                    os.write(write, bytes(n for n, taken in zip(wanted, got, strict=True) if taken))
                os._exit(0)
            finally:
                os._exit(1)
        pids.append(pid)
    os.close(write)
    with open(read, 'rb') as pipe:
        taken = pipe.read()
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0, 0]
    # Within a bucket only the last nonces are still known; none of them twice.
    assert len(taken) == len(set(taken)) > 0


def test_a_bucket_that_a_stopped_process_holds_is_refused(
    table: Replays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, 'TIMEOUT', 0.05)
    ready, done = os.pipe(), os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        assert table._take(2 * replays._BUCKET, 1.0, (0.01, 0.01))
        os.write(ready[1], b'1')
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    assert not table.use(identity(0), table.made + 1, 1)
    assert table.use(identity(0, 2), table.made + 1, 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert table.use(identity(0), table.made + 1, 1)
    for descriptor in (*ready, *done):
        os.close(descriptor)


TAKEN_OVER = """
import os, sys
from skitai.shared import replays
table = replays.table()
if len(sys.argv) == 1:
    assert table.use(b'i' * 16, table.made + 1, 1)
    if os.fork() == 0:
        assert replays.REPLAYS_FD not in os.environ and not os.get_inheritable(table.descriptor)
        assert not table.use(b'i' * 16, table.made + 1, 1)
        assert table.use(b'i' * 16, table.made + 1, 2)
        os._exit(0)
    assert os.wait()[1] == 0
    replays.hand_down()
    os.execv(sys.executable, [sys.executable, sys.argv[0], table.secret.hex()])
assert table.secret.hex() == sys.argv[1]
assert not table.use(b'i' * 16, table.made + 1, 1) and not table.use(b'i' * 16, table.made + 1, 2)
assert replays.REPLAYS_FD not in os.environ and not os.get_inheritable(table.descriptor)
print('kept')
"""


def test_a_program_that_takes_the_process_over_has_the_table(tmp_path: object) -> None:
    """As a master does at SIGHUP."""
    path = f'{tmp_path}/program.py'
    with open(path, 'w') as file:
        file.write(TAKEN_OVER)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ('kept\n', '', 0)


def test_the_table_of_another_process_or_version_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REPLAYS_FD, f'{os.getpid() + 1}:0')
    assert replays._inherited() is None
    read, write = os.pipe()
    monkeypatch.setenv(REPLAYS_FD, f'{os.getpid()}:{read}')
    assert replays._inherited() is None  # a pipe: it is closed, nobody else knows of it
    os.close(write)
    monkeypatch.setenv(REPLAYS_FD, f'{os.getpid()}:{read}')
    assert replays._inherited() is None
