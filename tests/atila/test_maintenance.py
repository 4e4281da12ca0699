"""Maintain jobs (SPEC MT-01, MT-02, A-26; PITFALLS Serving)."""

from __future__ import annotations

import contextvars
import logging
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from projects import DEADLINE, Launcher, Process, wait_for

import skitai
from atila import Atila, maintenance
from skitai.testing import Client, free_port

Make = Callable[..., Client]


_made: list[Atila] = []


@pytest.fixture(autouse=True)
def _no_timer_is_left() -> Iterator[None]:
    """A client in this process doesn't unmount its app."""
    yield
    while _made:
        _made.pop().maintenance.stop()


def app_with(interval: Any = 0.05) -> Atila:
    app = Atila('app')
    _made.append(app)
    app.config.MAINTAIN_INTERVAL = interval

    @app.route('/')
    def index(was):
        return 'fine'

    return app


@pytest.fixture
def mounted() -> Iterator[Callable[[Atila], Atila]]:
    """Mounts an app as a worker does, and unmounts it."""
    from serving import build

    made = []

    def mount(app: Atila) -> Atila:
        made.append(build(app)[2])
        return app

    yield mount
    for mounts in made:
        mounts.umount()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith('maintain')]


# -- cycles ----------------------------------------------------------------------------------------


def test_a_job_runs_in_every_cycle_or_in_every_nth(client_for: Make) -> None:
    """MT-01: `count` starts at 0; with and without parentheses."""
    app = app_with()
    counts: dict[str, list[int]] = {'each': [], 'also_each': [], 'third': []}

    @app.maintain
    def each(was, now, count):
        counts['each'].append(count)

    @app.maintain()
    def also_each(was, now, count):
        counts['also_each'].append(count)

    @app.maintain(3, threading=False)
    def third(was, now, count):
        counts['third'].append(count)

    client = client_for(app)
    wait_for(lambda: len(counts['third']) >= 3, 'cycles without any request')
    assert counts['each'][:6] == counts['also_each'][:6] == [0, 1, 2, 3, 4, 5]
    assert counts['third'][:3] == [0, 3, 6]
    assert client.get('/').text == 'fine'


def test_what_a_job_is_given(mounted: Callable[[Atila], Atila]) -> None:
    """MT-01, WAS-07: the time, and a `was` without a request, new each time, in a context of its own."""
    app = app_with()
    left = contextvars.ContextVar('left')
    seen: list[Any] = []

    @app.maintain
    def job(was, now, count):
        seen.append((was, now, left.get(None), skitai.was._get_current()))
        left.set(count)
        with pytest.raises(RuntimeError, match='request'):
            was.request  # noqa: B018

    mounted(app)
    wait_for(lambda: len(seen) >= 3, 'runs')
    for was, now, found, current in seen:
        assert was.app is app
        assert current is was
        assert abs(now - time.time()) < DEADLINE
        assert found is None
    assert len({id(was) for was, *_ in seen}) == len(seen)
    assert not skitai.was


def test_the_first_cycle_comes_after_one_interval(mounted: Callable[[Atila], Atila]) -> None:
    """MT-02: so the trial of new code runs no job."""
    app = app_with(0.4)
    ran = []

    @app.maintain
    def job(was, now, count):
        ran.append(time.monotonic())

    began = time.monotonic()
    mounted(app)
    wait_for(lambda: ran, 'cycle 0')
    assert 0.4 <= ran[0] - began < 5


def test_the_default_interval_is_a_minute() -> None:
    """MT-02."""
    assert Atila('app').config.MAINTAIN_INTERVAL == 60


def test_cycles_do_not_drift(mounted: Callable[[Atila], Atila]) -> None:
    """MT-01: what jobs take is not added to the interval."""
    app = app_with(0.1)
    times: list[float] = []

    @app.maintain
    def job(was, now, count):
        times.append(time.monotonic())
        time.sleep(0.03)

    mounted(app)
    wait_for(lambda: len(times) >= 12, 'cycles')
    phases = [((moment - times[0]) / 0.1 + 0.1) % 1 for moment in times]
    assert statistics.median(phases) < 0.35


def test_a_cycle_that_takes_too_long_is_not_made_up_for(mounted: Callable[[Atila], Atila]) -> None:
    """MT-01: the cycles that were missed are left out, none is counted for them."""
    app = app_with(0.1)
    began: list[tuple[int, float]] = []

    @app.maintain
    def job(was, now, count):
        began.append((count, time.monotonic()))
        if count == 0:
            time.sleep(0.55)

    mounted(app)
    wait_for(lambda: len(began) >= 4, 'cycles')
    assert [count for count, _ in began[:4]] == [0, 1, 2, 3]
    assert began[1][1] - began[0][1] > 0.55
    assert began[3][1] - began[1][1] > 0.1  # not in a rush


# -- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize('error', [LookupError, SystemExit, AssertionError])
@pytest.mark.parametrize('own_thread', [False, True])
def test_a_job_that_fails_concerns_nobody(
    client_for: Make, caplog: pytest.LogCaptureFixture, error: type[BaseException], own_thread: bool
) -> None:
    """MT-01: it is logged; other jobs, later cycles and clients notice nothing."""
    app = app_with()
    counts: list[tuple[str, int]] = []

    @app.maintain(threading=own_thread)
    def bad(was, now, count):
        counts.append(('bad', count))
        raise error('no luck')

    @app.maintain
    def good(was, now, count):
        counts.append(('good', count))

    client = client_for(app)
    for _ in range(20):
        assert client.get('/').status_code == 200
    wait_for(lambda: {('bad', 2), ('good', 2)} <= set(counts), 'later cycles')
    (first, *_) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert 'maintain job bad of app failed in cycle 0' in first.getMessage()
    assert first.exc_info is not None


# -- threads ---------------------------------------------------------------------------------------


def test_a_job_on_a_thread_of_its_own(
    mounted: Callable[[Atila], Atila], caplog: pytest.LogCaptureFixture
) -> None:
    """MT-01: it holds up no other job, and never runs twice at a time."""
    app = app_with()
    leave = threading.Event()
    running: list[int] = []
    counts: list[int] = []

    @app.maintain(threading=True)
    def slow(was, now, count):
        running.append(count)
        assert leave.wait(DEADLINE)

    @app.maintain
    def quick(was, now, count):
        counts.append(count)

    mounted(app)
    wait_for(lambda: len(counts) >= 4, 'cycles meanwhile')
    assert running == [0]
    assert 'the maintain job slow still runs: it is left out of cycle 1' in caplog.text
    leave.set()
    wait_for(lambda: len(running) >= 2, 'another run')


def test_a_slow_job_delays_no_request(client_for: Make) -> None:
    """PITFALLS Serving."""
    app = app_with(0.01)
    inside, leave = threading.Event(), threading.Event()

    @app.maintain
    def slow(was, now, count):
        inside.set()
        assert leave.wait(DEADLINE)

    client = client_for(app)
    assert inside.wait(DEADLINE)
    began = time.monotonic()
    for _ in range(20):
        assert client.get('/').text == 'fine'
    assert time.monotonic() - began < 5
    leave.set()


def test_no_jobs_no_thread(mounted: Callable[[Atila], Atila]) -> None:
    mounted(app_with(0))
    assert threads() == []


def test_the_end_waits_for_a_job_that_runs(mounted: Callable[[Atila], Atila]) -> None:
    """MT-01: also for those with threads of their own; then no cycle comes any more."""
    app = app_with()
    inside, ended = threading.Event(), []

    @app.maintain(threading=True)
    def threaded(was, now, count):
        time.sleep(0.1)
        ended.append('threaded')

    @app.maintain
    def job(was, now, count):
        inside.set()
        time.sleep(0.1)
        ended.append('job')

    mounted(app)
    assert inside.wait(DEADLINE)
    app.maintenance.stop()
    assert set(ended) == {'threaded', 'job'}
    assert threads() == []
    app.maintenance.stop()


def test_the_end_leaves_a_job_that_does_not_end(
    mounted: Callable[[Atila], Atila], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MT-01: every wait has a deadline."""
    monkeypatch.setattr(maintenance, 'STOP_TIMEOUT', 0.1)
    app = app_with()
    inside, leave = threading.Event(), threading.Event()

    @app.maintain
    def stuck(was, now, count):
        inside.set()
        assert leave.wait(DEADLINE)

    mounted(app)
    assert inside.wait(DEADLINE)
    began = time.monotonic()
    app.maintenance.stop()
    assert time.monotonic() - began < 5
    assert 'maintain app still runs: it is left behind' in caplog.text
    leave.set()
    wait_for(lambda: not threads(), 'the end of the thread')


# -- mistakes --------------------------------------------------------------------------------------


def test_two_jobs_of_one_name() -> None:
    """MT-01."""
    app = app_with()

    @app.maintain
    def job(was, now, count): ...

    with pytest.raises(AssertionError, match="'job'"):

        @app.maintain(2)
        def job(was, now, count): ...


def test_a_job_of_a_running_app_is_replaced(mounted: Callable[[Atila], Atila]) -> None:
    """MT-01: "before start"; the timer begins with the first job."""
    app = mounted(app_with())
    ran: list[int] = []

    def version(number: int) -> Callable[..., None]:
        def job(was, now, count):
            ran.append(number)

        return job

    app.maintain(version(1))
    wait_for(lambda: 1 in ran, 'the first')
    app.maintain(version(2))
    wait_for(lambda: ran[-2:] == [2, 2], 'the second')
    before = len(ran)
    wait_for(lambda: len(ran) > before + 2, 'more')
    assert set(ran[before:]) == {2}
    assert threads() == ['maintain app']


async def _asynchronous(was, now, count): ...


def _generator(was, now, count):
    yield


@pytest.mark.parametrize(
    ('function', 'words'),
    [
        (lambda: None, 'must take'),
        (lambda was: None, 'must take'),
        (lambda was, now, count, more: None, 'must take'),
        (lambda *, was, now, count: None, 'must take'),
        (_asynchronous, 'async'),
        (_generator, 'generator'),
    ],
)
def test_functions_that_cannot_be_jobs(function: Any, words: str) -> None:
    """MT-01: said where it is decorated."""
    with pytest.raises(TypeError, match=words):
        app_with().maintain(function)


@pytest.mark.parametrize('function', [lambda *args: None, lambda was, now, count, more=1: None])
def test_functions_that_take_more(function: Any) -> None:
    app_with().maintain(function)


@pytest.mark.parametrize(
    'options', [{'once': 'everywhere'}, {'once': True}, {'per_maintaining': 0}, {'per_maintaining': 1.5}]
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match='job'):

        @app_with().maintain(**options)
        def job(was, now, count): ...


@pytest.mark.parametrize('interval', [0, -1, float('nan'), float('inf'), '60', None, True])
def test_bad_intervals(mounted: Callable[[Atila], Atila], interval: Any) -> None:
    """MT-02."""
    app = app_with(interval)

    @app.maintain
    def job(was, now, count): ...

    with pytest.raises(ValueError, match='MAINTAIN_INTERVAL'):
        mounted(app)
    assert threads() == []


# -- the documented example --------------------------------------------------------------------------


def test_a_number_that_changes_makes_an_event(client_for: Make) -> None:
    """A-26: the job looks, an event tells."""
    skitai.register_g('cluster.num-nodes')
    app = app_with()
    app.store.set('num-nodes', 0)
    told: list[float] = []

    @app.on('cluster:num_nodes')
    def changed(was, number):
        told.append(number)

    @app.maintain(2, threading=False)
    def maintain_num_nodes(was, now, count):
        num_nodes = was.getlu('cluster.num-nodes')
        if app.g['num-nodes'] != num_nodes:
            app.g['num-nodes'] = num_nodes
            app.emit('cluster:num_nodes', num_nodes)

    @app.route('/join')
    def join(was):
        was.setlu('cluster.num-nodes')
        return 'OK'

    client = client_for(app)
    wait_for(lambda: len(told) == 1, 'the state at the start')
    assert client.get('/join').text == 'OK'
    wait_for(lambda: len(told) == 2, 'the change')
    assert told[0] < told[1] <= time.time()


# -- real workers ----------------------------------------------------------------------------------

FILES = {
    'serve.py': """
        import skitai
        import shop

        if __name__ == '__main__':
            skitai.mount ('/', shop)
            skitai.run (drain_timeout = 5)
    """,
    'shop.py': """
        import os
        import time
        from atila import Atila

        def note (name, what):
            with open (name, 'ab', buffering = 0) as file:
                file.write (f'{os.getpid ()} {what}\\n'.encode ())

        def __app__ ():
            return Atila (__name__)

        def __mount__ (app):
            app.config.MAINTAIN_INTERVAL = .1

            @app.route ('/')
            def index (was):
                return 'version 1'

            @app.maintain
            def everywhere (was, now, count):
                note ('everywhere', count)

            @app.maintain (once = 'host')
            def once (was, now, count):
                note ('once', 'begins')
                time.sleep (.03)
                note ('once', 'ends')

            @app.maintain (once = 'host', threading = True)
            def once_threaded (was, now, count):
                note ('threaded', 'begins')
                time.sleep (.03)
                note ('threaded', 'ends')
                raise LookupError ('as expected')
    """,
}


class Site:
    """A server with three workers; nobody asks it anything."""

    def __init__(self, launch: Launcher) -> None:
        self.launch = launch
        launch.write(FILES)
        self.port = free_port()
        self.process: Process = launch.execute('--port', str(self.port), '--workers', '3')
        self.process.wait_for_output('Serving')

    def notes(self, name: str) -> list[tuple[int, str]]:
        """(pid, what) of each note, in order."""
        file = self.launch.directory / name
        lines = file.read_text().splitlines() if file.exists() else []
        return [(int(pid), what) for pid, _, what in (line.partition(' ') for line in lines)]

    def wait_for_more(self, name: str, notes: int = 6) -> list[tuple[int, str]]:
        """The notes made from now on."""
        before = len(self.notes(name))
        wait_for(lambda: len(self.notes(name)) >= before + notes, f'{notes} more notes in {name}')
        return self.notes(name)[before:]

    def workers(self) -> set[int]:
        pid = self.process.pid
        return {int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()}


@pytest.fixture
def site(launch: Launcher) -> Site:
    return Site(launch)


def overlaps(notes: list[tuple[int, str]], killed: set[int] = frozenset()) -> list[int]:  # type: ignore[assignment]
    """Those who began before another had ended (or was killed)."""
    found, running = [], 0
    for pid, what in notes:
        if what == 'begins':
            if running and running not in killed:
                found.append(pid)
            running = pid
        elif pid == running:
            running = 0
    return found


def test_an_idle_server_runs_jobs_in_every_worker(site: Site) -> None:
    """MT-01, PITFALLS Serving: each worker counts for itself."""
    wait_for(lambda: {pid for pid, _ in site.notes('everywhere')} == site.workers(), 'notes of all')
    for pid in site.workers():
        counts = [int(what) for other, what in site.notes('everywhere') if other == pid]
        assert counts == list(range(len(counts)))


def test_once_is_one_worker_and_another_when_it_dies(site: Site) -> None:
    """MT-01, `once = 'host'`: all jobs of that kind in the same one."""
    first = site.wait_for_more('once') + site.wait_for_more('threaded')
    (pid,) = {pid for pid, _ in first}
    killed = set()
    for _ in range(2):
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
        wait_for(lambda dead=pid: site.notes('once')[-1][0] != dead, 'another worker takes over')
        after = site.wait_for_more('once')
        (new,) = {pid for pid, _ in after}
        assert new not in killed
        pid = new
    assert overlaps(site.notes('once'), killed) == []
    assert 'as expected' in site.process.output()


def test_once_holds_while_the_code_is_replaced(site: Site) -> None:
    """MT-01, `once = 'host'`: the old workers and the new ones share the claim; the trial runs no job."""
    site.wait_for_more('once')
    everybody = set(site.workers())
    for _ in range(2):
        old = site.workers()
        site.process.signal(signal.SIGHUP)
        wait_for(lambda old=old: not site.workers() & old, 'the end of the old workers')
        wait_for(lambda: len(site.workers()) == 3, 'new workers')
        everybody |= site.workers()
        (pid,) = {pid for pid, _ in site.wait_for_more('once')}
        assert pid in site.workers()
    for name in ('once', 'threaded'):
        assert overlaps(site.notes(name)) == []
    assert {pid for pid, _ in site.notes('everywhere')} <= everybody
    url = f'http://127.0.0.1:{site.port}/'
    assert requests.get(url, headers={'Connection': 'close'}, timeout=DEADLINE).text == 'version 1'


def test_jobs_do_not_hold_up_the_end(site: Site) -> None:
    """MT-01."""
    site.wait_for_more('once')
    began = time.monotonic()
    site.process.signal(signal.SIGTERM)
    assert site.process.wait() == 0
    assert time.monotonic() - began < 10
    ended = [what for _, what in site.notes('once')]
    assert ended.count('begins') == ended.count('ends')


def test_a_bad_interval_ends_the_start(launch: Launcher) -> None:
    """MT-02: the message names the setting."""
    launch.write({**FILES, 'shop.py': FILES['shop.py'].replace('= .1', '= 0')})
    server = launch.execute('--port', str(free_port()))
    assert server.wait() == 2
    assert 'MAINTAIN_INTERVAL must be above 0 seconds, not 0' in server.output()
