"""The supervisor of --devel: real processes, a real socket, files that change (SPEC ST-12, ST-13)."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

DEADLINE = 20.0

SUPERVISOR = """
import socket, sys
from skitai.config import Settings
from skitai.reloader import supervise

listener = socket.socket(fileno=int(sys.argv[1]))
certificate, *roots = sys.argv[2:]
settings = Settings(devel=True, certfile=certificate or None)
sys.exit(supervise(['serve.py', '--devel'], listener, settings, roots))
"""

#: What a launch script does, with a server of the standard library. `PAGE` is what it answers.
CHILD = """
import os, signal, socket, socketserver, sys, threading, time
from http.server import BaseHTTPRequestHandler
from skitai import launch

PAGE = {page!r}
GENERATION = os.environ[launch.GENERATION]

class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    timeout = 0.3  # of an idle connection, so that it does not hold up the end

    def do_GET(self):
        if self.path == '/crash':
            print('about to crash', file=sys.stderr)
            os._exit(7)
        body = f'{{GENERATION}} {{os.getpid()}} {{PAGE}}'.encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    pass

def finish(*_):
    threading.Thread(target=server.shutdown).start()

signal.signal(signal.SIGTERM, finish)
signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # another generation follows: unheard it would end this one
{body}
server = Server(('', 0), Handler, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=int(os.environ[launch.LISTEN_FD]))
launch.report_ready({report!r})
print('serving', PAGE)
server.serve_forever(0.02)
server.server_close()  # accepted requests are answered
"""


class Devel:
    """A launch script under a supervisor."""

    def __init__(self, folder: Path, certificate: str = '') -> None:
        self.folder = folder
        self.script = folder / 'serve.py'
        self.certificate = certificate
        self.log = folder / 'log'
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def write(self, page: str, body: str = '', report: tuple[str, ...] = ()) -> None:
        """Save the launch script, as an editor does: never half of it."""
        new = self.script.with_suffix('.new')
        new.write_text(CHILD.format(page=page, body=body, report=report))
        new.replace(self.script)

    def start(self, *roots: Path, stdin: int = subprocess.DEVNULL, before: str = '') -> None:
        """`before`: statements that run in the supervisor first."""
        command = [sys.executable, '-c', before + SUPERVISOR]
        with socket.socket() as listener, self.log.open('wb') as log:
            listener.bind(('127.0.0.1', 0))
            listener.listen(64)
            self.port = listener.getsockname()[1]
            command += [str(listener.fileno()), self.certificate, *map(str, roots or (self.folder,))]
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                pass_fds=[listener.fileno()],
                stdin=stdin,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def get(self, accept: str = 'text/html', **options: Any) -> requests.Response:
        scheme = 'https' if self.certificate else 'http'
        headers = {'Accept': accept, 'Connection': 'close'}
        return requests.request(
            options.pop('method', 'GET'),
            f'{scheme}://127.0.0.1:{self.port}{options.pop("path", "/")}',
            headers=headers,
            timeout=DEADLINE,
            **options,
        )

    def served(self) -> tuple[int, int, str]:
        """Generation, pid and page. A reload may end a connection just made: then it is asked once more."""
        try:
            answer = self.get()
        except requests.ConnectionError:
            answer = self.get()
        generation, pid, page = answer.text.split(' ', 2)
        return int(generation), int(pid), page

    def output(self) -> str:
        return self.log.read_text()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(DEADLINE)


@pytest.fixture
def devel(tmp_path: Path) -> Iterator[Devel]:
    one = Devel(tmp_path)
    yield one
    if one.process is not None and one.process.poll() is None:
        one.stop()


def wait_until(condition: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f'not within {seconds:g} s'
        time.sleep(0.01)
    return value


def gone(pid: int) -> bool:
    shown = subprocess.run(['ps', '-o', 'stat=', '-p', str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip()[:1] in ('', 'Z')


# -- serving and changing ------------------------------------------------------------------------


def test_serves_the_script_and_lets_its_output_through(devel: Devel) -> None:
    devel.write('one')
    devel.start()
    generation, _, page = devel.served()
    assert (generation, page) == (1, 'one')
    wait_until(lambda: 'serving one' in devel.output())


def test_change_is_served_within_a_second(devel: Devel) -> None:
    """SPEC ST-13."""
    devel.write('one')
    devel.start()
    _, pid, _ = devel.served()
    devel.write('two')
    changed = time.monotonic()
    wait_until(lambda: devel.served()[2] == 'two')
    assert time.monotonic() - changed < 2.0  # one second where nothing else runs
    assert devel.served()[0] == 2
    assert gone(pid)


def test_no_request_is_lost_while_generations_change(devel: Devel) -> None:
    devel.write('page 0')
    devel.start()
    for number in range(1, 4):
        devel.write(f'page {number}')
        wait_until(lambda number=number: devel.served()[2] == f'page {number}')


def test_keep_alive_connection_does_not_hold_up_the_change(devel: Devel) -> None:
    """SPEC ST-13: a browser keeps its connections open."""
    devel.write('one')
    devel.start()
    with requests.Session() as browser:
        assert browser.get(f'http://127.0.0.1:{devel.port}/', timeout=DEADLINE).text.endswith('one')
        devel.write('two')
        changed = time.monotonic()
        wait_until(lambda: devel.served()[2] == 'two')
        assert time.monotonic() - changed < 2.5
        assert browser.get(f'http://127.0.0.1:{devel.port}/', timeout=DEADLINE).text.endswith('two')


def test_child_that_ignores_sigterm_is_killed(devel: Devel) -> None:
    devel.write('one', body='signal.signal(signal.SIGTERM, signal.SIG_IGN)')
    devel.start()
    _, pid, _ = devel.served()
    devel.write('two')
    wait_until(lambda: devel.served()[2] == 'two')
    assert gone(pid)


def test_workers_of_the_old_generation_are_ended(devel: Devel) -> None:
    """Never do two generations accept: what a master leaves behind goes with it."""
    body = """
worker = os.fork()
if worker == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()
open('worker', 'w').write(str(worker))
"""
    devel.write('one', body)
    devel.start()
    devel.served()
    worker = int((devel.folder / 'worker').read_text())
    devel.write('two')
    wait_until(lambda: devel.served()[2] == 'two')
    assert gone(worker)


def test_change_in_a_directory_below(devel: Devel) -> None:
    (devel.folder / 'app' / 'services').mkdir(parents=True)
    module = devel.folder / 'app' / 'services' / 'page.py'
    module.write_text('text = "one"\n')
    devel.write('', body='from app.services.page import text as PAGE')
    devel.start()
    assert devel.served()[2] == 'one'
    module.write_text('text = "other"\n')
    wait_until(lambda: devel.served()[2] == 'other')


def test_new_directory_is_watched(devel: Devel) -> None:
    devel.write('one')
    devel.start()
    devel.served()
    (devel.folder / 'new' / 'deep').mkdir(parents=True)
    (devel.folder / 'new' / 'deep' / 'first.py').write_text('')
    wait_until(lambda: devel.served()[0] > 1)
    generation = wait_until(lambda: settled(devel))
    (devel.folder / 'new' / 'deep' / 'second.py').write_text('')
    wait_until(lambda: devel.served()[0] > generation)


def test_directory_made_just_before_the_watch_begins(devel: Devel) -> None:
    """It comes too late for the list of what is watched, and too early to be seen."""
    devel.write('one')
    devel.start(
        before="""
import os
from skitai import reloader

watch = reloader._changes

def late(directories):
    if not os.path.exists('new'):
        os.mkdir('new')
        open('new/page.py', 'w').close()
    return watch(directories)

reloader._changes = late
"""
    )
    devel.served()
    generation = wait_until(lambda: settled(devel))
    (devel.folder / 'new' / 'page.py').write_text('changed = True')
    wait_until(lambda: devel.served()[0] > generation)


def settled(devel: Devel) -> int | None:
    """The generation, once half a second has passed without a new one."""
    before = devel.served()[0]
    time.sleep(0.5)
    return before if devel.served()[0] == before else None


def test_reported_directory_is_watched(devel: Devel, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp('elsewhere')
    module = elsewhere / 'page.py'
    module.write_text('text = "one"\n')
    body = f'sys.path.insert(0, {str(elsewhere)!r}); from page import text as PAGE'
    devel.write('', body, (str(elsewhere),))
    devel.start()
    assert devel.served()[2] == 'one'

    def touched_and_served() -> bool:
        # Written again and again: the directory is watched a moment after the page is served.
        module.write_text('text = "other"\n')
        return devel.served()[2] == 'other'

    wait_until(touched_and_served)


def test_other_files_and_directories_change_nothing(devel: Devel) -> None:
    """Caches, environments and data come and go while a server runs."""
    for name in ('__pycache__', '.git', 'node_modules', 'site-packages', 'env'):
        (devel.folder / name).mkdir()
    (devel.folder / 'env' / 'pyvenv.cfg').touch()
    (devel.folder / 'data').mkdir()
    devel.write('one')
    devel.start()
    devel.served()
    for name in ('__pycache__', '.git', 'node_modules', 'site-packages', 'env'):
        (devel.folder / name / 'x.py').write_text('x')
    (devel.folder / 'data' / 'page.html').write_text('x')
    (devel.folder / 'data' / 'x.pyc').write_text('x')
    (devel.folder / 'data' / 'directory').mkdir()
    assert wait_until(lambda: settled(devel)) == 1


def test_change_is_seen_while_other_files_change_all_the_time(devel: Devel) -> None:
    body = """
def write():
    while True:
        open('noise.log', 'a').write('x')
        time.sleep(0.005)
threading.Thread(target=write, daemon=True).start()
"""
    devel.write('one', body)
    devel.start()
    devel.served()
    devel.write('two')
    wait_until(lambda: devel.served()[2] == 'two')


def test_sighup_starts_the_next_generation(devel: Devel) -> None:
    """SPEC B.7."""
    devel.write('one')
    devel.start()
    devel.served()
    devel.signal(signal.SIGHUP)
    wait_until(lambda: devel.served()[0] == 2)


# -- failing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('body', 'shown'),
    [
        ('def f(:', 'SyntaxError'),
        ('raise LookupError("no <b>plum</b> & no pear")', 'LookupError: no <b>plum</b> & no pear'),
        ('print("said to standard output"); sys.exit(3)', 'said to standard output'),
        ('sys.exit(3)', 'exit code 3'),
        ('sys.exit(0)', 'exit code 0'),
        ('os.kill(os.getpid(), 9)', 'SIGKILL'),
    ],
)
def test_failure_is_shown_and_mended_by_a_change(devel: Devel, body: str, shown: str) -> None:
    """SPEC ST-13."""
    devel.write('one', body)
    devel.start()
    plain = devel.get('*/*')
    assert plain.status_code == 500
    assert plain.headers['Content-Type'] == 'text/plain; charset=utf-8'
    assert shown in plain.text
    page = devel.get('text/html,*/*;q=0.8')
    assert page.status_code == 500
    assert page.headers['Content-Type'] == 'text/html; charset=utf-8'
    assert '<meta http-equiv="refresh" content="1">' in page.text
    assert '<b>' not in page.text
    assert shown.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;') in page.text
    wait_until(lambda: 'waiting for a change' in devel.output())
    assert shown in devel.output()
    devel.write('two')
    wait_until(lambda: devel.get().status_code == 200)
    assert devel.served()[2] == 'two'


def test_change_that_fails_shows_only_its_own_output(devel: Devel) -> None:
    devel.write('one', 'raise LookupError("first")')
    devel.start()
    assert 'first' in devel.get('*/*').text
    devel.write('one', 'raise LookupError("second")')
    text = wait_until(lambda: 'second' in (found := devel.get('*/*').text) and found)
    assert 'first' not in text


def test_crash_while_serving_is_shown(devel: Devel) -> None:
    devel.write('one')
    devel.start()
    devel.served()
    with pytest.raises(requests.ConnectionError):
        devel.get(path='/crash')
    text = devel.get('*/*').text
    assert 'exit code 7' in text
    assert 'about to crash' in text
    devel.write('two')
    wait_until(lambda: devel.get().status_code == 200)


def test_failure_page_keeps_the_last_64_kb(devel: Devel) -> None:
    devel.write('one', 'print("beginning"); print("x" * 1_000_000); sys.exit("the end")')
    devel.start()
    text = devel.get('*/*').text
    assert 'the end' in text
    assert 'beginning' not in text
    assert len(text) < 70_000


@pytest.mark.parametrize('method', ['HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'PROPFIND'])
def test_failure_page_answers_every_method(devel: Devel, method: str) -> None:
    devel.write('one', 'sys.exit(3)')
    devel.start()
    answer = devel.get(method=method, data=b'x' * 300_000 if method in ('POST', 'PUT') else None)
    assert answer.status_code == 500
    assert (answer.content == b'') == (method == 'HEAD')


def test_failure_page_over_tls(devel: Devel) -> None:
    certificate = devel.folder / 'certificate.pem'
    certificate.write_bytes(self_signed())
    devel.certificate = str(certificate)
    devel.write('one', 'raise LookupError("no plum")')
    devel.start()
    assert 'no plum' in devel.get('*/*', verify=str(certificate)).text


def self_signed() -> bytes:
    """A certificate for 127.0.0.1 and its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, 'test')])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address('127.0.0.1'))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def test_idle_connection_does_not_hold_up_the_next_generation(devel: Devel) -> None:
    """A browser opens connections before it has requests for them."""
    devel.write('one', 'sys.exit(3)')
    devel.start()
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            connection = stack.enter_context(socket.create_connection(('127.0.0.1', devel.port)))
        assert devel.get().status_code == 500
        devel.write('two')
        wait_until(lambda: devel.get().status_code == 200, 3)
        connection.settimeout(DEADLINE)
        assert connection.recv(1) == b''


# -- ending --------------------------------------------------------------------------------------


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_child_and_supervisor(devel: Devel, number: int) -> None:
    devel.write('one')
    devel.start()
    _, pid, _ = devel.served()
    devel.signal(number)
    assert devel.process is not None
    assert devel.process.wait(DEADLINE) == 0
    assert gone(pid)
    with pytest.raises(requests.ConnectionError):
        devel.get()


def test_supervisor_ends_while_the_failure_page_is_served(devel: Devel) -> None:
    devel.write('one', 'sys.exit(3)')
    devel.start()
    assert devel.get().status_code == 500
    assert devel.stop() == 0


def test_second_signal_does_not_wait_for_the_child(devel: Devel) -> None:
    devel.write('one', body='signal.signal(signal.SIGTERM, lambda *_: print("asked to end"))')
    devel.start()
    _, pid, _ = devel.served()
    devel.signal(signal.SIGINT)
    wait_until(lambda: 'asked to end' in devel.output())
    begin = time.monotonic()
    devel.signal(signal.SIGINT)
    assert devel.process is not None
    assert devel.process.wait(DEADLINE) == 0
    assert time.monotonic() - begin < 3
    assert gone(pid)


def test_supervisor_ends_with_its_terminal(devel: Devel) -> None:
    """SIGHUP of a closed terminal ends what runs in it."""
    master, terminal = pty.openpty()
    devel.write('one')
    devel.start(stdin=terminal)
    os.close(terminal)
    devel.served()
    os.close(master)
    devel.signal(signal.SIGHUP)
    assert devel.process is not None
    assert devel.process.wait(DEADLINE) == 0
