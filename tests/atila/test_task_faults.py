"""Tasks that fail, hang, are cancelled or left: nothing of theirs stays in the server.

SPEC TH-01, TH-02, TK-09, TK-16, CO-08, CO-09, RS-20, RS-24, ER-05. On launched servers, whose threads,
processes and descriptors are counted before and after (`census`). What the pools keep for the next Task is
not counted, but bounded.
"""

from __future__ import annotations

import http.client
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from projects import Launcher, wait_for

from skitai.testing import ServerClient

#: What commands sleep: a number by which they are known among all processes, also those of another test run.
MARK = f'617.{os.getpid():07}' + '{}'

FILES = {
    'work.py': """
        import time

        def fail ():
            raise LookupError ('on purpose')

        def sleep (seconds):
            time.sleep (seconds)
            return seconds
    """,
    'serve.py': """
        import asyncio
        import os
        import sys
        import threading
        import time

        import skitai
        import work
        from aquests import pools as pools_of
        from atila import Atila

        app = Atila (__name__)

        def fails (was, kind):
            if kind == 'subprocess':
                return was.Subprocess ('echo on purpose >&2; exit 3')
            return (was.Thread if kind == 'thread' else was.Process) (work.fail)

        def hangs (was, kind, timeout = 60, mark = '617.0'):
            if kind == 'subprocess':
                return was.Subprocess (f'sleep {mark}; true', timeout = timeout)
            if kind == 'process':
                return was.Process (work.sleep, args = (600,), timeout = timeout)
            return was.Thread (work.sleep, args = (0.5,), timeout = timeout) # nothing ends a thread

        def make (was, kind, fault, number, mark):
            if fault == 'none':
                return was.Thread (work.sleep, 0.001)
            if fault == 'fail':
                return fails (was, kind)
            if fault == 'hang':
                return hangs (was, kind, 0.1, mark)
            task = hangs (was, kind, 60, mark)
            if fault == 'cancel':
                if int (number) % 2:
                    task.cancel ()
                else:
                    threading.Timer (0.05, task.cancel).start ()
            return task

        @app.route ('/plain')
        def plain (was, kind, fault, number = 0, mark = '617.0'):
            return was.API (result = make (was, kind, fault, number, mark).fetch ())

        @app.route ('/generator', coroutine = True)
        def generator (was, kind, fault, number = 0, mark = '617.0'):
            task = yield make (was, kind, fault, number, mark)
            return was.API (result = task.fetch ())

        @app.route ('/map')
        def mapped (was, kind, fault, number = 0, mark = '617.0'):
            return was.Map (result = make (was, kind, fault, number, mark))

        @app.route ('/then')
        def then (was, kind, fault, number = 0, mark = '617.0'):
            task = make (was, kind, fault, number, mark)
            return task.then (lambda was, task: was.API (result = task.fetch ()))

        @app.route ('/async')
        async def awaits (was, kind, fault, number = 0, mark = '617.0'):
            return was.API (result = await make (was, kind, fault, number, mark))

        @app.route ('/stream', coroutine = True)
        def stream (was, kind, fault, number = 0, mark = '617.0'):
            yield 'head'
            task = yield make (was, kind, fault, number, mark)
            yield str (task.fetch ())

        @app.route ('/queue')
        def queue (was, kind = '', fault = '', number = 0, mark = '617.0'):
            def produce (queue):
                while fault == 'endless':
                    queue.put ('x' * 65536)
                queue.put ('content')
            return was.Queue (produce)

        @app.route ('/pass')
        def thread_pass (was, kind, fault, number = 0, mark = '617.0'):
            return was.ThreadPass (
                lambda was: was.API (result = make (was, kind, fault, number, mark).fetch ())
            )

        # -- what there is in this process ---------------------------------------------------------

        def children ():
            found = []
            for thread in os.listdir ('/proc/self/task'):
                try:
                    with open (f'/proc/self/task/{thread}/children') as file:
                        found.extend (file.read ().split ())
                except OSError: # it has ended
                    pass
            return found

        def descriptors ():
            found = []
            for number in os.listdir ('/proc/self/fd'):
                try:
                    found.append (os.readlink (f'/proc/self/fd/{number}').split (':') [0])
                except OSError: # that of the listing itself
                    pass
            return found

        @app.route ('/census')
        def census (was):
            pools = [t.name for t in threading.enumerate () if t.name.count ('-') == 2]
            return was.API (
                pools = pools,
                names = sorted (t.name for t in threading.enumerate () if t.name not in pools),
                threads = len (os.listdir ('/proc/self/task')) - len (pools),
                processes = len (children ()),
                sizes = [pools_of.sizes.threads, pools_of.sizes.processes, pools_of.sizes.subprocesses],
                descriptors = descriptors ()
            )

        # -- what blocks the event loop ------------------------------------------------------------

        LATE = 0.05
        blocking = []
        watching = threading.Event ()

        def where (frame, base):
            found = []
            while frame is not None and frame is not base:
                found.append (f'{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}')
                frame = frame.f_back
            return found

        def watch (loop, thread, base):
            while watching.is_set ():
                came = threading.Lock () # without frames of its own on the loop
                came.acquire ()
                asked = time.monotonic ()
                loop.call_soon_threadsafe (came.release)
                # What the loop is doing when it is late, unless it is idle, or only waits for the processor.
                if not came.acquire (timeout = LATE):
                    found = where (sys._current_frames ().get (thread), base)
                    came.acquire (timeout = 10)
                    blocking.append ([found, time.monotonic () - asked])
                time.sleep (0.002)

        @app.route ('/watch')
        async def start_watch (was):
            blocking.clear ()
            watching.set ()
            base = sys._getframe ()
            while base.f_code.co_name != 'run_until_complete' and base.f_back is not None:
                base = base.f_back
            threading.Thread (
                target = watch, args = (asyncio.get_running_loop (), threading.get_ident (), base)
            ).start ()
            return 'watching'

        @app.route ('/watched')
        def end_watch (was):
            watching.clear ()
            return was.API (blocking = blocking)

        @app.route ('/blocks')
        async def blocks (was):
            time.sleep (0.3)
            return 'content'

        if __name__ == '__main__':
            skitai.set_request_timeout (float (os.environ.get ('REQUEST_TIMEOUT', 30)))
            skitai.mount ('/', app)
            skitai.run (port = 5000, threads = 4)
    """,
}

KINDS = ('thread', 'process', 'subprocess')
FORMS = ('plain', 'generator', 'map', 'then', 'async')
#: Forms whose service thread is free while they wait.
WAITING = ('generator', 'map', 'then', 'async', 'stream')
#: Forms that hold one of the four.
BLOCKING = ('plain', 'pass')
#: What each fault is answered with (SPEC ER-05).
FAULTS = {'fail': 500, 'hang': 504, 'cancel': 500}


@pytest.fixture(scope='module')
def site(launch_module: Callable[[], Launcher]) -> ServerClient:
    return launch_module()(FILES)


@pytest.fixture(scope='module')
def impatient(launch_module: Callable[[], Launcher]) -> ServerClient:
    """The same with a request time-out of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('REQUEST_TIMEOUT', '1')
        return launch_module()(FILES)


class Answer(NamedTuple):
    status: int
    body: bytes


def ask(site: ServerClient, path: str) -> Answer:
    """On a connection of its own, so that none stays."""
    with closing(http.client.HTTPConnection('127.0.0.1', site.port, timeout=60)) as connection:
        connection.request('GET', path, headers={'Connection': 'close'})
        with connection.getresponse() as answer:
            return Answer(answer.status, answer.read())


def ask_often(site: ServerClient, paths: list[str], clients: int = 16) -> Counter[int]:
    with ThreadPoolExecutor(clients) as pool:
        return Counter(answer.status for answer in pool.map(lambda path: ask(site, path), paths))


class Census(NamedTuple):
    threads: int
    descriptors: Counter[str]
    pools: Counter[str]
    processes: int
    names: list[str]
    sizes: dict[str, int]

    @property
    def in_bounds(self) -> bool:
        """The pools keep no more than they may."""
        return self.processes <= self.sizes['process'] and all(
            self.pools[kind] <= count for kind, count in self.sizes.items()
        )

    @property
    def lasting(self) -> int:
        """Threads but those of the engine, which are made when they are needed, up to a number, and kept."""
        return self.threads - sum(name.startswith(('service_', 'Dummy-')) for name in self.names)


def census(site: ServerClient) -> Census:
    found = site.get('/census').json()
    pools = Counter(name.split('-')[1] for name in found['pools'])
    descriptors = Counter(found['descriptors'])
    descriptors['socket'] -= found['processes']  # each of the pool's processes has one
    sizes = dict(zip(KINDS, found['sizes'], strict=True))
    return Census(found['threads'], descriptors, pools, found['processes'], found['names'], sizes)


def marked(mark: str) -> list[int]:
    """The processes that have `mark` in their command line."""
    found = []
    for name in os.listdir('/proc'):
        try:
            if name.isdecimal() and mark.encode() in Path('/proc', name, 'cmdline').read_bytes():
                found.append(int(name))
        except OSError:  # it has ended
            pass
    return found


def _settled(site: ServerClient) -> Census | None:
    """The census, if it is in bounds and three times the same."""
    first = census(site)
    return first if first.in_bounds and census(site) == first == census(site) else None


@contextmanager
def leaves_nothing(site: ServerClient, mark: str) -> Iterator[None]:
    """Whatever was made in here is gone soon after."""
    # Commands that have just been killed are children, too, until their threads have seen it.
    wait_for(lambda: not marked(mark), 'the end of what was before')
    before = wait_for(lambda: _settled(site), 'the end of what was before')
    yield
    found: list[Census] = []

    def clean() -> bool:
        now = census(site)
        found[:] = [now]
        return (
            now.in_bounds
            and now.lasting <= before.lasting
            and all(count <= before.descriptors[kind] for kind, count in now.descriptors.items())
            and not marked(mark)
        )

    try:
        wait_for(clean, 'nothing left')
    except pytest.fail.Exception:
        pytest.fail(f'left behind: {found[0]}, processes {marked(mark)}; before: {before}')


@pytest.fixture(scope='module')
def warm(site: ServerClient) -> ServerClient:
    """All that is made once, for all Tasks, is there."""
    paths = [f'/{form}?kind={kind}&fault=fail' for form in FORMS for kind in KINDS for _ in range(8)]
    assert ask_often(site, paths) == {500: len(paths)}
    return site


@pytest.mark.parametrize('fault', FAULTS)
@pytest.mark.parametrize('kind', KINDS)
def test_faults_leave_nothing(warm: ServerClient, kind: str, fault: str) -> None:
    """SPEC TH-01, TH-02, TK-16, ER-05: 1,000 of each kind, 200 in each form of service."""
    mark = MARK.format(f'{KINDS.index(kind)}{list(FAULTS).index(fault)}')
    paths = [
        f'/{form}?kind={kind}&fault={fault}&number={number}&mark={mark}'
        for number in range(200)
        for form in FORMS
    ]
    with leaves_nothing(warm, mark):
        assert ask_often(warm, paths) == {FAULTS[fault]: len(paths)}
    assert ask(warm, f'/plain?kind={kind}&fault=none').status == 200


def leave(site: ServerClient, path: str, count: int, begun: Callable[[], bool]) -> None:
    """`count` clients ask, wait until `begun`, and go without an answer."""
    connections = []
    try:
        for _ in range(count):
            connection = socket.create_connection(('127.0.0.1', site.port), timeout=20)
            connections.append(connection)
            connection.sendall(b'GET %s HTTP/1.1\r\nHost: t\r\n\r\n' % path.encode())
        wait_for(begun, f'{count} requests of {path} that run')
    finally:
        for connection in connections:
            connection.close()


@pytest.mark.parametrize('form', WAITING + BLOCKING)
def test_clients_that_leave_leave_nothing(warm: ServerClient, form: str) -> None:
    """SPEC CO-09: what runs for nobody is killed, and threads that waited for it are free."""
    mark = MARK.format(f'3{(WAITING + BLOCKING).index(form)}')
    path = f'/{form}?kind=subprocess&fault=&mark={mark}'
    count = 4 if form in BLOCKING else 20
    with leaves_nothing(warm, mark):
        for _ in range(5):
            # A shell and its command have the mark.
            leave(warm, path, count, lambda: len(marked(f'sleep\0{mark}')) == count)
            wait_for(lambda: not marked(mark), 'the end of what nobody waits for')


def test_clients_that_leave_an_endless_queue(warm: ServerClient) -> None:
    """SPEC RS-20: the producer is unblocked."""
    mark = MARK.format('40')
    with leaves_nothing(warm, mark):
        for _ in range(25):
            connections = [socket.create_connection(('127.0.0.1', warm.port), timeout=20) for _ in range(4)]
            for connection in connections:
                connection.sendall(b'GET /queue?fault=endless HTTP/1.1\r\nHost: t\r\n\r\n')
            for connection in connections:
                assert connection.recv(100)
                connection.close()
    assert ask(warm, '/queue') == (200, b'content')


@pytest.mark.parametrize('form', WAITING[:-1] + BLOCKING)
def test_requests_that_take_too_long_leave_nothing(impatient: ServerClient, form: str) -> None:
    """SPEC B.17: 503, and the Tasks of the request are killed."""
    mark = MARK.format(f'5{(WAITING + BLOCKING).index(form)}')
    paths = [f'/{form}?kind=subprocess&fault=&mark={mark}'] * 30
    assert ask_often(impatient, paths, 30) == {503: 30}
    with leaves_nothing(impatient, mark):
        assert ask_often(impatient, paths[:1] * 100, 100) == {503: 100}
    assert ask(impatient, f'/{form}?kind=thread&fault=none').status == 200


# -- the event loop ---------------------------------------------------------------------------------


def blocked(site: ServerClient, paths: list[str]) -> set[str]:
    """Where the event loop was held for more than 50 ms while `paths` were asked for."""
    assert ask(site, '/watch').status == 200
    answers = ask_often(site, paths, 4)
    found = site.get('/watched').json()['blocking']
    assert set(answers) <= {200, 500, 504}, answers
    return {frames[0] for frames, _ in found if frames}


def test_the_watch_sees_what_blocks(site: ServerClient) -> None:
    """The test of the next test."""
    assert any('blocks' in place for place in blocked(site, ['/blocks']))


def test_nothing_of_ours_blocks_the_event_loop(warm: ServerClient) -> None:
    """100 requests of every form. A machine that is busy may hold a thread anywhere, but not thrice there."""
    forms: dict[str, Any] = {
        form: [f'/{form}?kind={kind}&fault=none' for kind in KINDS] for form in (*FORMS, 'stream', 'pass')
    }
    forms['fail'] = [f'/{form}?kind={kind}&fault=fail' for form in FORMS for kind in ('thread', 'subprocess')]
    forms['queue'] = ['/queue']
    paths = [ways[number % len(ways)] for number in range(100) for ways in forms.values()]
    places = blocked(warm, paths)
    for _ in range(2):
        if not places:
            break
        places &= blocked(warm, paths)
    assert places == set()
