"""start, stop, status, restart: with real processes in the background (SPEC B.2, B.7)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from skitai import daemon

DEADLINE = 20.0

#: A launch script with the shape of the real one: commands, the claim, a master with one worker.
SCRIPT = """
import os, signal, sys, time
from skitai import daemon, launch
from skitai.config import Settings
from skitai.options import parse

line = parse(sys.argv[1:], [])
settings = Settings(name={name!r}, drain_timeout=float(os.environ.get('TEST_DRAIN', '5')), **line.settings)
if line.command is not None:
    sys.exit(daemon.execute(line.command, settings))
if not daemon.claim(settings):
    sys.exit(1)
{body}
print('serving', sys.argv[1:], os.getcwd(), flush=True)
launch.report_ready()
while True:
    signal.pause()
"""

WORKER = """
worker = os.fork()
if worker == 0:
    while True:
        signal.pause()
open('worker', 'w').write(str(worker))
"""


class Launcher:
    """A launch script in a folder, and ways to run it."""

    def __init__(self, folder: Path, body: str = '', name: str | None = None) -> None:
        self.folder = folder
        self.script = folder / 'serve.py'
        self.script.write_text(SCRIPT.format(body=body, name=name))
        self.environment = {**os.environ, 'SKITAI_RUN_DIR': str(folder / 'run')}

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, 'serve.py', *words],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextlib.contextmanager
    def foreground(self) -> Iterator[subprocess.Popen[bytes]]:
        with subprocess.Popen(
            [sys.executable, 'serve.py'], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline().startswith(b'serving')
                yield process
            finally:
                process.kill()

    def status(self) -> str:
        return self.run('status').stdout.strip()

    @property
    def directory(self) -> Path:
        (found,) = (self.folder / 'run').iterdir()
        return found

    def started(self, *words: str) -> int:
        """The pid after a start that has to succeed."""
        done = self.run(*words, 'start')
        assert (done.returncode, done.stderr) == (0, '')
        word, _, pid = done.stdout.strip().partition(':')
        assert word == 'running'
        return int(pid)

    def log(self) -> str:
        return (self.directory / 'daemon.log').read_text()


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Callable[..., Launcher]]:
    made: list[Launcher] = []

    def make(body: str = '', name: str | None = None) -> Launcher:
        made.append(Launcher(tmp_path, body, name))
        return made[-1]

    yield make
    for one in made:
        one.run('stop', TEST_DRAIN='0')


def gone(pid: int) -> bool:
    """Whether the process has ended (it may wait as a zombie for a parent that does not look)."""
    shown = subprocess.run(['ps', '-o', 'stat=', '-p', str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip()[:1] in ('', 'Z')


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_start_status_stop(launcher: Callable[..., Launcher]) -> None:
    """SPEC B.2."""
    one = launcher()
    assert one.status() == 'stopped'
    pid = one.started()
    assert one.status() == f'running:{pid}'
    assert not gone(pid)
    stopped = one.run('stop')
    assert (stopped.returncode, stopped.stdout) == (0, 'stopped\n')
    assert one.status() == 'stopped'
    wait_until(lambda: gone(pid))


def test_exit_code_of_status(launcher: Callable[..., Launcher]) -> None:
    one = launcher()
    assert one.run('status').returncode == daemon.EXIT_STOPPED
    one.started()
    assert one.run('status').returncode == 0


def test_d_starts(launcher: Callable[..., Launcher]) -> None:
    """SPEC B.2."""
    one = launcher()
    assert one.run('-d').stdout.startswith('running:')
    assert one.status().startswith('running:')


def test_daemon_is_detached_with_the_same_options_and_folder(launcher: Callable[..., Launcher]) -> None:
    one = launcher()
    pid = one.started('--port=8000', '--log_format', 'json')
    assert os.getsid(pid) == pid
    assert one.log() == f"serving ['--port=8000', '--log-format=json'] {one.folder}\n"
    assert os.readlink(f'/proc/{pid}/fd/0') == '/dev/null'


def test_second_start_is_refused_and_the_first_goes_on(launcher: Callable[..., Launcher]) -> None:
    one = launcher()
    pid = one.started()
    again = one.run('start')
    assert again.returncode == 1
    assert str(pid) in again.stderr
    assert one.status() == f'running:{pid}'


def test_of_starts_at_the_same_time_one_wins(launcher: Callable[..., Launcher]) -> None:
    one = launcher()
    starts = [
        subprocess.Popen(
            [sys.executable, 'serve.py', 'start'],
            cwd=one.folder,
            env=one.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in starts]
    winners = [output for output in outputs if output]
    assert len(winners) == 1
    assert sorted(process.returncode for process in starts) == [0, 1, 1, 1]
    assert one.status() == winners[0].decode().strip()


def test_foreground_refuses_beside_a_daemon(launcher: Callable[..., Launcher]) -> None:
    """SPEC B.2."""
    one = launcher()
    pid = one.started()
    refused = one.run()
    assert refused.returncode == 1
    assert f'pid {pid}' in refused.stderr
    assert one.status() == f'running:{pid}'


def test_start_refuses_beside_a_foreground_server(launcher: Callable[..., Launcher]) -> None:
    one = launcher()
    with one.foreground():
        refused = one.run('start')
        assert refused.returncode == 1
        assert 'in the foreground' in refused.stderr
        assert one.status() == 'stopped'


def test_two_servers_in_the_foreground_are_allowed(launcher: Callable[..., Launcher]) -> None:
    """Only a daemon is one of its kind: two ports, two terminals."""
    one = launcher()
    with one.foreground(), one.foreground():
        pass


def test_stale_pid_file_is_no_obstacle(launcher: Callable[..., Launcher]) -> None:
    one = launcher()
    pid = one.started()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: gone(pid))
    assert (one.directory / 'pid').exists()
    assert one.status() == 'stopped'
    assert one.run('stop').returncode == 0
    assert one.started() != pid


def test_pid_of_somebody_else_is_never_signalled(launcher: Callable[..., Launcher]) -> None:
    one = launcher()
    one.started()
    one.run('stop')
    with subprocess.Popen(['sleep', '60']) as other:
        (one.directory / 'pid').write_text(f'{other.pid} 1\n')
        assert one.status() == 'stopped'
        assert one.run('stop').returncode == 0
        # Held, but by another process than the file names: still not a pid to signal.
        with (one.directory / 'pid').open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            stopped = one.run('stop')
        assert stopped.returncode == 1
        assert 'not by process' in stopped.stderr
        assert other.poll() is None
        other.kill()


def test_restart_replaces_the_process(launcher: Callable[..., Launcher]) -> None:
    """SPEC B.2."""
    one = launcher()
    pid = one.started()
    again = one.run('restart')
    assert again.returncode == 0
    assert one.status() == again.stdout.split()[-1] != f'running:{pid}'
    wait_until(lambda: gone(pid))


def test_restart_starts_what_does_not_run(launcher: Callable[..., Launcher]) -> None:
    one = launcher()
    assert one.run('restart').returncode == 0
    assert one.status().startswith('running:')


def test_failed_start_shows_the_end_of_its_output(launcher: Callable[..., Launcher]) -> None:
    one = launcher('raise LookupError("no such plum")')
    done = one.run('start')
    assert done.returncode == 1
    assert 'exit code 1' in done.stderr
    assert 'Traceback' in done.stderr
    assert 'no such plum' in done.stderr
    assert one.status() == 'stopped'


def test_failed_start_shows_only_its_own_output(launcher: Callable[..., Launcher]) -> None:
    launcher('sys.exit("first failure")').run('start')
    second = launcher('sys.exit("second failure")').run('start')
    assert 'second failure' in second.stderr
    assert 'first failure' not in second.stderr


def test_failed_start_leaves_no_workers(launcher: Callable[..., Launcher]) -> None:
    one = launcher(WORKER + 'sys.exit(3)')
    assert 'exit code 3' in one.run('start').stderr
    wait_until(lambda: gone(int((one.folder / 'worker').read_text())))


def test_start_gives_up_on_a_server_that_never_serves(launcher: Callable[..., Launcher]) -> None:
    one = launcher('signal.pause()')
    script = one.script.read_text().replace('line = parse', 'daemon.START_TIMEOUT = 0.5\nline = parse')
    one.script.write_text(script)
    done = one.run('start')
    assert done.returncode == 1
    assert 'did not serve within 0.5 s' in done.stderr
    assert one.status() == 'stopped'


def test_stop_waits_for_requests_to_finish(launcher: Callable[..., Launcher]) -> None:
    """SPEC B.7."""
    body = """
def finish(*_):
    time.sleep(0.7)
    open('finished', 'w').close()
    os._exit(0)
signal.signal(signal.SIGTERM, finish)
"""
    one = launcher(body)
    one.started()
    one.run('stop')
    assert (one.folder / 'finished').exists()


def test_stop_kills_what_does_not_end_with_its_workers(launcher: Callable[..., Launcher]) -> None:
    one = launcher('signal.signal(signal.SIGTERM, signal.SIG_IGN)\n' + WORKER)
    script = one.script.read_text().replace('line = parse', 'daemon.STOP_MARGIN = 0.2\nline = parse')
    one.script.write_text(script)
    pid = one.started()
    stopped = one.run('stop', TEST_DRAIN='0.1')
    assert (stopped.returncode, stopped.stdout) == (0, 'stopped\n')
    worker = int((one.folder / 'worker').read_text())
    wait_until(lambda: gone(pid) and gone(worker))


def test_workers_do_not_hold_the_name(launcher: Callable[..., Launcher]) -> None:
    """A master that was killed does not run, whatever its workers do."""
    one = launcher(WORKER)
    pid = one.started()
    worker = int((one.folder / 'worker').read_text())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: gone(pid))
    try:
        assert not gone(worker)
        assert one.status() == 'stopped'
    finally:
        os.kill(worker, signal.SIGKILL)


def test_named_daemons_have_directories_of_their_names(launcher: Callable[..., Launcher]) -> None:
    """SPEC ST-10."""
    one = launcher(name='shop')
    one.started()
    assert one.directory.name == 'shop'


def test_output_log_is_put_aside_when_large(launcher: Callable[..., Launcher]) -> None:
    one = launcher()
    one.started()
    one.run('stop')
    with (one.directory / 'daemon.log').open('ab') as log:
        log.truncate(daemon.LOG_LIMIT + 1)
    one.started()
    assert one.log().startswith('serving')
    assert (one.directory / 'daemon.log.1').stat().st_size > daemon.LOG_LIMIT


# -- where the state is --------------------------------------------------------------------------


@pytest.fixture
def run_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('SKITAI_RUN_DIR', str(tmp_path / 'state'))
    return tmp_path / 'state'


def test_run_dir_is_private_and_below_the_given_place(run_base: Path) -> None:
    made = daemon.run_dir('shop', Path('/srv/serve.py'))
    assert made == run_base / 'shop'
    assert made.stat().st_mode & 0o777 == 0o700
    assert daemon.run_dir('shop', Path('/other.py')) == made


def test_scripts_without_a_name_do_not_share_a_directory(run_base: Path) -> None:
    one, other = (daemon.run_dir(None, Path(path)) for path in ('/a/serve.py', '/b/serve.py'))
    assert one != other
    assert one.parent == other.parent == run_base


@pytest.mark.parametrize('name', ['..', '.', '../x', 'a/b', '/etc', 'a b', '-x', '', 'é' * 300, '\0'])
def test_no_name_leaves_the_directory(run_base: Path, name: str) -> None:
    assert daemon.run_dir(name, Path('/srv/serve.py')).parent == run_base


def test_directory_open_to_others_is_closed(run_base: Path) -> None:
    (run_base / 'shop').mkdir(parents=True, mode=0o777)
    assert daemon.run_dir('shop', Path('/s.py')).stat().st_mode & 0o777 == 0o700


def test_link_in_place_of_the_directory_is_refused(run_base: Path, tmp_path: Path) -> None:
    run_base.mkdir()
    (run_base / 'shop').symlink_to(tmp_path)
    with pytest.raises(daemon.NotPrivate):
        daemon.run_dir('shop', Path('/s.py'))


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give a directory away')
def test_directory_of_somebody_else_is_refused(run_base: Path) -> None:
    (run_base / 'shop').mkdir(parents=True)
    os.chown(run_base / 'shop', 12345, 12345)
    with pytest.raises(daemon.NotPrivate):
        daemon.run_dir('shop', Path('/s.py'))


def test_without_a_home_the_temporary_one_is_used_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'file').touch()
    monkeypatch.delenv('SKITAI_RUN_DIR', raising=False)
    monkeypatch.setattr(daemon.tempfile, 'gettempdir', lambda: str(tmp_path))
    monkeypatch.setattr(daemon, 'SYSTEM_DIR', tmp_path / 'file' / 'below')
    monkeypatch.setenv('HOME', str(tmp_path / 'file'))
    made = daemon.run_dir('shop', Path('/s.py'))
    assert made == tmp_path / f'skitai-{os.geteuid()}' / 'shop'
