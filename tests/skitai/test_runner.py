"""The master and its workers: signals, dead workers, new code (SPEC B.7, B.2).

PITFALLS of such tests: a connection that is kept may be closed at the very moment that it is used; requests
here have connections of their own.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from projects import DEADLINE, Launcher, Process, wait_for

from skitai.testing import free_port

FILES = {
    'serve.py': """
        import skitai
        import shop

        if __name__ == '__main__':
            skitai.mount ('/', shop)
            skitai.run (drain_timeout = DRAIN)
    """,
    'shop.py': """
        import asyncio
        import os
        import time
        from atila import Atila

        def __app__ ():
            return Atila (__name__)

        def __mount__ (app):
            @app.route ('/')
            def index (was):
                return 'version 1'

            @app.route ('/pid')
            def pid (was):
                return str (os.getpid ())

            @app.route ('/slow')
            def slow (was, seconds):
                print ('slow begun')
                time.sleep (float (seconds))
                return 'x' * 100_000

            @app.route ('/waiting')
            async def waiting (was, seconds):
                print ('waiting begun')
                try:
                    await asyncio.sleep (float (seconds))
                except asyncio.CancelledError:
                    print ('waiting cancelled')
                    raise
                return 'y' * 100_000

            @app.route ('/stream')
            def stream (was):
                def parts ():
                    for number in range (20):
                        time.sleep (.02)
                        yield 'z' * 5000
                return parts ()

            @app.route ('/length')
            def length (was, **form):
                return str (len (was.request.body))

        def __umount__ (app):
            print ('unmounted')
    """,
}
# Of another size, too: what Python has compiled is current for it if the size and the second are the same.
NEW_SHOP = FILES['shop.py'].replace('version 1', 'version two')


class Site:
    """A server run by its launch script, watched from outside."""

    def __init__(self, launch: Launcher, *arguments: str, drain: float = 30, serving: bool = True) -> None:
        launch.write({**FILES, 'serve.py': FILES['serve.py'].replace('DRAIN', str(drain))})
        self.launch = launch
        self.port = free_port()
        self.process: Process = launch.execute('--port', str(self.port), *arguments)
        if serving:
            self.process.wait_for_output('Serving')

    def get(self, path: str = '/') -> requests.Response:
        url = f'http://127.0.0.1:{self.port}{path}'
        return requests.get(url, headers={'Connection': 'close'}, timeout=DEADLINE)

    def ask(self, path: str) -> socket.socket:
        """A connection over which a request has been sent."""
        connection = socket.create_connection(('127.0.0.1', self.port), timeout=DEADLINE)
        connection.sendall(f'GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'.encode())
        return connection

    def workers(self) -> set[int]:
        """The master's children that run."""
        return {pid for pid in children(self.process.pid) if runs(pid)}

    def wait_for_output(self, text: str, times: int = 1) -> None:
        wait_for(lambda: self.process.output().count(text) >= times, f'{times} times {text!r}')


def children(pid: int) -> set[int]:
    return {int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()}


def runs(pid: int) -> bool:
    """Whether the process exists (a zombie does not)."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False


def read_all(connection: socket.socket) -> bytes:
    with connection:
        return b''.join(iter(lambda: connection.recv(65536), b''))


def is_whole(answer: bytes) -> bool:
    """Whether an answer with status 200 has all of its body."""
    head, _, body = answer.partition(b'\r\n\r\n')
    if b'transfer-encoding: chunked' in head.lower():
        return head.startswith(b'HTTP/1.1 200') and body.endswith(b'\r\n0\r\n\r\n')
    fields = dict(line.lower().split(b': ', 1) for line in head.split(b'\r\n')[1:])
    return head.startswith(b'HTTP/1.1 200') and len(body) == int(fields[b'content-length'])


@pytest.fixture
def site(launch: Launcher) -> Callable[..., Site]:
    return lambda *arguments, **options: Site(launch, *arguments, **options)


# -- the end -------------------------------------------------------------------------------------


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize('workers', [1, 2])
def test_signals_that_end_the_server(site: Callable[..., Site], number: int, workers: int) -> None:
    """SPEC B.7: exit code 0, apps are unmounted, no process is left."""
    one = site('--workers', str(workers))
    pids = one.workers()
    assert len(pids) == workers
    one.process.signal(number)
    assert one.process.wait() == 0
    assert one.process.output().count('unmounted') == workers
    assert not any(map(runs, pids))
    with pytest.raises(requests.ConnectionError):
        one.get()


def test_an_idle_connection_does_not_hold_up_the_end(site: Callable[..., Site]) -> None:
    """SPEC B.7."""
    one = site()
    with requests.Session() as session, socket.create_connection(('127.0.0.1', one.port)):
        assert session.get(f'http://127.0.0.1:{one.port}/', timeout=DEADLINE).text == 'version 1'
        began = time.monotonic()
        one.process.signal(signal.SIGTERM)
        assert one.process.wait() == 0
        assert time.monotonic() - began < 5


def test_sigterm_lets_every_request_that_was_accepted_finish(site: Callable[..., Site]) -> None:
    """SPEC B.7, the engine's bar: running, waiting for a thread, asynchronous, streamed, half received."""
    one = site('--threads', '2')
    asked = [one.ask('/slow?seconds=0.1') for _ in range(12)]  # ten wait for a thread
    asked += [one.ask('/waiting?seconds=0.6') for _ in range(5)]
    asked += [one.ask('/stream') for _ in range(2)]
    upload = socket.create_connection(('127.0.0.1', one.port), timeout=DEADLINE)
    upload.sendall(
        b'POST /length HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n'
        b'Connection: close\r\n\r\n12345'
    )
    one.wait_for_output('waiting begun', 5)
    one.wait_for_output('slow begun')
    for _ in range(2):  # answered behind the others: the engine has read what was sent before
        assert is_whole(read_all(one.ask('/waiting?seconds=0')))
    one.process.signal(signal.SIGTERM)
    time.sleep(0.2)  # the end is under way
    upload.sendall(b'67890')
    answers = [read_all(connection) for connection in asked]
    assert [is_whole(answer) for answer in answers] == [True] * len(asked)
    assert read_all(upload).endswith(b'\r\n\r\n10')
    assert one.process.wait() == 0


def test_sigterm_under_load_cuts_no_answer_off(site: Callable[..., Site]) -> None:
    """SPEC B.7: a client gets a whole answer, or nothing at all (not accepted any more)."""
    one = site('--workers', '2')
    answers: list[bytes] = []
    ended = threading.Event()

    def load() -> None:
        while not ended.is_set():
            try:
                answers.append(read_all(one.ask('/slow?seconds=0.01')))
            except ConnectionRefusedError:
                return
            except ConnectionError:
                continue  # waited in the queue of the socket that was closed

    with ThreadPoolExecutor(8) as executor:
        running = [executor.submit(load) for _ in range(8)]
        wait_for(lambda: len(answers) > 50, 'a load')
        one.process.signal(signal.SIGTERM)
        assert one.process.wait() == 0
        ended.set()
        for future in running:
            future.result(DEADLINE)
    cut_off = [answer for answer in answers if answer and not is_whole(answer)]
    assert cut_off == []


def test_requests_that_take_longer_than_the_drain_time_are_cancelled(site: Callable[..., Site]) -> None:
    """SPEC B.7: the drain is bounded."""
    one = site(drain=0.5)
    connections = [one.ask('/waiting?seconds=60'), one.ask('/slow?seconds=60')]
    one.wait_for_output('waiting begun')
    one.wait_for_output('slow begun')
    began = time.monotonic()
    one.process.signal(signal.SIGTERM)
    assert one.process.wait() == 0
    assert 0.4 < time.monotonic() - began < 6
    assert 'waiting cancelled' in one.process.output()
    for connection in connections:
        connection.close()


def test_a_second_signal_ends_at_once(site: Callable[..., Site]) -> None:
    """SPEC B.7: requests in flight are given up."""
    one = site()
    pids = one.workers()
    with one.ask('/slow?seconds=60'):
        one.wait_for_output('slow begun')
        one.process.signal(signal.SIGINT)
        wait_for(lambda: refuses(one.port), 'the socket is closed')
        one.process.signal(signal.SIGINT)
        one.process.wait(5)
    assert not any(map(runs, pids))


def refuses(port: int) -> bool:
    """Whether no new connection is accepted (while requests are finished, it may be left unanswered)."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(('127.0.0.1', port)) != 0


def test_workers_end_when_the_master_is_killed(site: Callable[..., Site]) -> None:
    """SPEC B.7: no orphan keeps the port."""
    one = site('--workers', '2')
    pids = one.workers()
    one.process.signal(signal.SIGKILL)
    wait_for(lambda: not any(map(runs, pids)), 'the end of the workers')
    assert refuses(one.port)


# -- workers that die ----------------------------------------------------------------------------


def test_a_dead_worker_is_replaced(site: Callable[..., Site]) -> None:
    """SPEC B.7: with one worker, a request that comes meanwhile waits for the new one."""
    one = site()
    (pid,) = one.workers()
    assert one.get('/pid').text == str(pid)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not runs(pid), 'the end of the worker')
    new = one.get('/pid').text
    assert one.workers() == {int(new)} != {pid}
    assert 'SIGKILL' in one.process.output()
    assert 'replaced' in one.process.output()


def test_a_worker_killed_under_load_costs_only_its_own_requests(site: Callable[..., Site]) -> None:
    """SPEC B.7, the bar of the engine: the server goes on answering."""
    one = site('--workers', '2')
    clients = 6
    answered, failed = [], []
    ended = threading.Event()

    def load() -> None:
        while not ended.is_set():
            try:
                answer = read_all(one.ask('/slow?seconds=0.005'))
            except ConnectionResetError:
                answer = b''
            (answered if answer and is_whole(answer) else failed).append(answer)

    with ThreadPoolExecutor(clients) as executor:
        running = [executor.submit(load) for _ in range(clients)]
        for _ in range(3):
            before = len(answered)
            wait_for(lambda before=before: len(answered) > before + 50, 'a load')
            victim = min(one.workers())
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda v=victim: len(one.workers() - {v}) == 2, 'a new worker')
        before = len(answered)
        wait_for(lambda: len(answered) > before + 50, 'answers after it')
        ended.set()
        for future in running:
            future.result(DEADLINE)
    assert len(failed) <= 3 * clients
    assert one.process.process.poll() is None


def test_a_worker_that_dies_again_and_again_is_not_replaced_in_a_rush(site: Callable[..., Site]) -> None:
    """SPEC B.7: the pause doubles."""
    one = site()
    for _ in range(3):
        (pid,) = wait_for(one.workers, 'a worker')
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: not runs(pid), 'its end')
    began = time.monotonic()
    assert one.get().text == 'version 1'
    assert time.monotonic() - began > 0.05


# -- apps that do not load -----------------------------------------------------------------------


@pytest.mark.parametrize('workers', [1, 2])
@pytest.mark.parametrize(
    'broken',
    [
        'def __app__ ():\n    raise LookupError ("no app today")',
        'from atila import Atila\n\n\ndef __app__ ():\n    return Atila (__name__)\n\n\n'
        'def __mount__ (app):\n    raise LookupError ("no app today")',
    ],
)
def test_an_app_that_does_not_load_ends_with_2(launch: Launcher, broken: str, workers: int) -> None:
    """SPEC B.7: instead of starting workers again and again; the traceback is shown."""
    launch.write({**FILES, 'serve.py': FILES['serve.py'].replace('DRAIN', '30'), 'shop.py': broken})
    server = launch.execute('--port', str(free_port()), '--workers', str(workers))
    assert server.wait() == 2
    assert 'no app today' in server.output()
    assert 'Traceback' in server.output()
    assert 'Serving' not in server.output()


# -- new code ------------------------------------------------------------------------------------


@pytest.mark.parametrize('workers', [1, 2])
def test_sighup_takes_the_new_code(site: Callable[..., Site], workers: int) -> None:
    """SPEC B.7: same master, new workers; requests in flight finish on the old ones, none is refused."""
    one = site('--workers', str(workers))
    master, old = one.process.pid, one.workers()
    slow = one.ask('/slow?seconds=1.2')
    one.wait_for_output('slow begun')
    one.launch.write({'shop.py': NEW_SHOP})
    one.process.signal(signal.SIGHUP)
    seen = []
    wait_for(lambda: seen.append(one.get().text) or seen[-1] == 'version two', 'the new code')
    assert set(seen) <= {'version 1', 'version two'}
    assert is_whole(read_all(slow))
    wait_for(lambda: not any(map(runs, old)), 'the end of the old workers')
    assert one.process.pid == master
    assert len(one.workers()) == workers
    assert {one.get().text for _ in range(10)} == {'version two'}
    one.process.signal(signal.SIGTERM)
    assert one.process.wait() == 0


@pytest.mark.parametrize(
    'broken', ['def __app__ (:', 'import nowhere', 'def __app__ ():\n    raise LookupError ("no app today")']
)
def test_sighup_with_broken_code_keeps_the_old(site: Callable[..., Site], broken: str) -> None:
    """SPEC B.7: it is said in the log, and a later SIGHUP with sound code is taken."""
    one = site()
    old = one.workers()
    one.launch.write({'shop.py': broken})
    one.process.signal(signal.SIGHUP)
    one.wait_for_output('the old code goes on serving')
    assert one.get().text == 'version 1'
    assert one.workers() == old
    one.launch.write({'shop.py': NEW_SHOP})
    one.process.signal(signal.SIGHUP)
    wait_for(lambda: one.get().text == 'version two', 'the new code')


def test_sighup_under_load_loses_no_request(site: Callable[..., Site]) -> None:
    """SPEC B.7: all connections are to the one socket that stays open."""
    one = site('--workers', '2')
    answers: list[bytes] = []
    ended = threading.Event()

    def load() -> None:
        while not ended.is_set():
            answers.append(read_all(one.ask('/slow?seconds=0.01')))

    old = one.workers()
    with ThreadPoolExecutor(4) as executor:
        running = [executor.submit(load) for _ in range(4)]
        try:
            wait_for(lambda: len(answers) > 20, 'a load')
            one.process.signal(signal.SIGHUP)
            wait_for(lambda: not any(map(runs, old)), 'the end of the old workers')
            before = len(answers)
            wait_for(lambda: len(answers) > before + 20, 'a load on the new ones')
        finally:
            ended.set()
        for future in running:
            future.result(DEADLINE)
    assert [answer for answer in answers if not answer or not is_whole(answer)] == []


def test_signals_during_the_replacement_are_not_lost(site: Callable[..., Site]) -> None:
    """SPEC B.7: neither another SIGHUP nor SIGUSR1 ends a master that is about to be replaced."""
    one = site()
    old = one.workers()
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        for number in (signal.SIGHUP, signal.SIGUSR1):
            one.process.signal(number)
        time.sleep(0.005)
        assert one.process.process.poll() is None
    assert one.get().text == 'version 1'
    wait_for(lambda: not any(map(runs, old)), 'the end of the old workers')
    one.process.signal(signal.SIGTERM)
    assert one.process.wait() == 0


@pytest.mark.parametrize('moment', [0, 0.1, 0.3])
def test_sigterm_ends_a_server_whose_code_is_being_replaced(site: Callable[..., Site], moment: float) -> None:
    """SPEC B.7: whatever the replacement has come to, it does not go on serving."""
    one = site()
    one.process.signal(signal.SIGHUP)
    one.wait_for_output('SIGHUP: trying')
    time.sleep(moment)  # chosen to meet it at different steps; the outcome is the same
    one.process.signal(signal.SIGTERM)
    assert one.process.wait() == 0
    assert refuses(one.port)
