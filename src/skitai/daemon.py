"""A server in the background: the commands start, stop, status and restart (SPEC B.2, B.7).

One directory for each daemon (`run_dir`) has its pid file and `daemon.log`, to which its standard output
and error go. That a daemon runs is the lock on its pid file, held by its master and by nothing that the
master starts; the text in the file (pid and start time) only says which process that is. So a file left
behind is no obstacle, there is never a second daemon, and a pid that now belongs to somebody else is
never signalled.

Servers in the foreground share the lock, which keeps them and a daemon of the same name apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import select
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from . import launch
from .config import Settings

#: State of daemons of root.
SYSTEM_DIR = Path('/var/run/skitai')
#: A server that does not serve within so many seconds has failed.
START_TIMEOUT = 30.0
#: What `stop` waits beyond the time that requests in flight have to finish.
STOP_MARGIN = 5.0
#: `daemon.log` above this size is put aside, as `daemon.log.1`, at the next start.
LOG_LIMIT = 16 << 20

#: The exit code of `status` for "not running", as init scripts have it (LSB 3.1, 20.2).
EXIT_STOPPED = 3

_POLL = 0.02
#: How long locks and pid files may be between two states.
_SETTLE = 1.0


class DaemonError(RuntimeError):
    """A command could not be carried out; the message is for the user."""


class NotPrivate(DaemonError):
    """The place for the pid file belongs to somebody else."""


class AlreadyRunning(DaemonError):
    """Another server holds the name: a daemon, or (pid None) one in the foreground."""

    def __init__(self, pid: int | None) -> None:
        self.pid = pid
        where = 'in the foreground' if pid is None else f'in the background (pid {pid}); end it with stop'
        super().__init__(f'this server runs already, {where}')


# -- where the state is --------------------------------------------------------------------------


def run_dir(name: str | None, script: Path) -> Path:
    """The directory of the daemon `name` (of the launch script `script` if it has none), made if missing.

    Below `$SKITAI_RUN_DIR`; else, for root, /var/run/skitai; else ~/.local/state/skitai, or where that
    cannot be written, the temporary directory. Ours alone (mode 0700): NotPrivate if it is not.
    """
    leaf = _leaf(name, script)
    given = os.environ.get('SKITAI_RUN_DIR')
    if given:
        base = Path(launch.started_in, given)
        base.mkdir(parents=True, exist_ok=True)
        return _private(base / leaf)
    try:
        home = SYSTEM_DIR if os.geteuid() == 0 else Path('~/.local/state/skitai').expanduser()
        home.parent.mkdir(parents=True, exist_ok=True)
        return _private(_private(home) / leaf)
    except NotPrivate:
        raise
    except (OSError, RuntimeError):  # a read-only file system; no home
        return _private(_private(Path(tempfile.gettempdir()) / f'skitai-{os.geteuid()}') / leaf)


def _leaf(name: str | None, script: Path) -> str:
    if name and re.fullmatch(r'[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}', name):
        return name
    what = ('name', name) if name else ('script', str(script))
    return f'{what[0]}-{hashlib.sha256(what[1].encode()).hexdigest()[:16]}'


def _private(path: Path) -> Path:
    """`path` as a directory that nobody else can enter: others must not plant a pid or a link there."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise NotPrivate(f'{path} is not a directory of ours')
    if found.st_mode & 0o077:
        path.chmod(0o700)
    return path


# -- the lock ------------------------------------------------------------------------------------

_held: list[int] = []


def _let_go() -> None:
    """In a forked child: the lock is the parent's alone."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


def claim(settings: Settings) -> bool:
    """Called by a server before it listens: take its name, or print why not and give False.

    For a server in the foreground a missing place for the pid file is no reason not to serve.
    """
    try:
        hold(run_dir(settings.name, launch.script()) / 'pid')
    except DaemonError as error:
        print(error, file=sys.stderr)
        return False
    except OSError as error:
        if launch.DAEMON in os.environ:
            print(error, file=sys.stderr)
            return False
    return True


def hold(pidfile: Path) -> None:
    """Hold `pidfile` until this process ends: alone if `start` made this process for it, else shared.

    AlreadyRunning if another server is in the way.
    """
    alone = os.environ.get(launch.DAEMON) == str(pidfile)
    descriptor = os.open(pidfile, os.O_RDWR | os.O_CREAT, 0o600)
    # `status` and `stop` take the lock for a moment: only what stays in the way is a server.
    deadline = time.monotonic() + (_SETTLE if alone else 0)
    while not _lock(descriptor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
        if time.monotonic() > deadline:
            os.close(descriptor)
            raise AlreadyRunning(_running(pidfile))
        time.sleep(_POLL)
    if alone:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f'{os.getpid()} {_start_time(os.getpid())}\n'.encode(), 0)
    _held.append(descriptor)


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _locked(pidfile: Path) -> bool:
    """Whether a daemon holds `pidfile`. Servers in the foreground share our kind of lock."""
    try:
        descriptor = os.open(pidfile, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _running(pidfile: Path) -> int | None:
    """The pid of the daemon, None if there is none.

    DaemonError if something holds the file that is not the process named in it (another machine or
    container with the same directory).
    """
    deadline = time.monotonic() + _SETTLE
    while _locked(pidfile):
        pid, _, started = pidfile.read_text().strip().partition(' ')
        if pid.isdigit() and started and _start_time(int(pid)) == started:
            return int(pid)
        if time.monotonic() > deadline:
            raise DaemonError(f'{pidfile} is held, but not by process {pid or "?"} of this machine')
        time.sleep(_POLL)  # a daemon has the lock and is about to write its pid
    return None


def _start_time(pid: int) -> str | None:
    """When the process `pid` began, in the system's own terms; None if there is none."""
    try:
        # proc(5): the second field, in parentheses, may have anything in it; `starttime` is the 22nd.
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        if Path('/proc/self/stat').exists():
            return None
    shown = subprocess.run(
        ['ps', '-o', 'lstart=', '-p', str(pid)],
        capture_output=True,
        text=True,
        timeout=5,
        check=False,
        env={**os.environ, 'LC_ALL': 'C'},
    )
    return shown.stdout.strip() or None


# -- the commands --------------------------------------------------------------------------------


def execute(command: str, settings: Settings) -> int:
    """Carry out a command of this process's own command line; the exit code."""
    from .options import custom_options, parse

    arguments = parse(sys.argv[1:], custom_options()).arguments
    argv = [*launch.interpreter_arguments(), *arguments]
    commands: dict[str, Callable[[], int]] = {
        'start': lambda: start(argv, settings),
        'stop': lambda: stop(settings),
        'status': lambda: status(settings),
        'restart': lambda: restart(argv, settings),
    }
    try:
        return commands[command]()
    except (DaemonError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _pidfile(settings: Settings) -> Path:
    return run_dir(settings.name, launch.script()) / 'pid'


def status(settings: Settings) -> int:
    """Print 'running:PID' (exit code 0) or 'stopped' (3)."""
    pid = _running(_pidfile(settings))
    print('stopped' if pid is None else f'running:{pid}')
    return EXIT_STOPPED if pid is None else 0


def start(argv: Sequence[str], settings: Settings) -> int:
    """Run the interpreter with `argv` in the background and wait until it serves, 30 s at most.

    Prints 'running:PID', exit code 0; or why it does not run and the end of its output, exit code 1.
    """
    pidfile = _pidfile(settings)
    pid = _running(pidfile)
    if pid is not None:
        raise AlreadyRunning(pid)
    log_path = pidfile.with_name('daemon.log')
    with contextlib.suppress(FileNotFoundError):
        if log_path.stat().st_size > LOG_LIMIT:
            log_path.replace(log_path.with_name('daemon.log.1'))
    with open(os.open(log_path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), 'ab') as log:
        output_begins = log.seek(0, os.SEEK_END)
        process, failure = _launch(argv, pidfile, log)
    if failure is None:
        print(f'running:{process.pid}')
        process.returncode = 0  # it outlives us: nothing to wait for
        return 0
    _end(process)
    print(f'not started: {failure}; the end of {log_path}:\n', file=sys.stderr)
    print(_tail(log_path, output_begins), file=sys.stderr)
    return 1


def _launch(argv: Sequence[str], pidfile: Path, log: IO[bytes]) -> tuple[subprocess.Popen[bytes], str | None]:
    """The new server, and what is wrong with it, if anything."""
    pipe = launch.ReadyPipe()
    environment = {k: v for k, v in os.environ.items() if k not in (launch.GENERATION, launch.LISTEN_FD)}
    environment |= {launch.DAEMON: str(pidfile), launch.READY_FD: str(pipe.write_end)}
    try:
        process = subprocess.Popen(
            [sys.executable, *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=launch.started_in,
            env=environment,
            pass_fds=[pipe.write_end],
            start_new_session=True,
        )
    finally:
        pipe.handed_down()
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        select.select([pipe.read_end], [], [], 0.1)
        exited = process.poll()  # before the pipe is looked at: what was said last is not missed
        pipe.poll()
        if pipe.ready:
            failure = None
            break
        if exited is not None or pipe.ended:
            failure = f'it ended with {_exit_of(process)}'
            break
    else:
        failure = f'it did not serve within {START_TIMEOUT:g} s'
    pipe.close()
    return process, failure


def _exit_of(process: subprocess.Popen[bytes]) -> str:
    """How a server ended whose pipe has ended: that happens a moment before the process is gone."""
    try:
        return f'exit code {process.wait(_SETTLE)}'
    except subprocess.TimeoutExpired:
        return 'no word'


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server that failed to start, with all its workers."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_MARGIN)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(path: Path, begin: int) -> str:
    """The last lines of what was written to `path` from `begin` on."""
    with path.open('rb') as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(begin, size - 8192))
        lines = file.read().decode('utf-8', 'replace').splitlines()
    return '\n'.join(lines[-40:])


def stop(settings: Settings) -> int:
    """End the daemon: SIGTERM, and SIGKILL to its group if that is not enough. Prints 'stopped', code 0.

    It has `drain_timeout` to finish its requests and five seconds more.
    """
    pidfile = _pidfile(settings)
    pid = _running(pidfile)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        if not _released(pidfile, settings.drain_timeout + STOP_MARGIN) and _running(pidfile) == pid:
            os.killpg(pid, signal.SIGKILL)  # `start` made it the leader of its group
            if not _released(pidfile, STOP_MARGIN):
                raise DaemonError(f'process {pid} does not end')
    print('stopped')
    return 0


def _released(pidfile: Path, timeout: float) -> bool:
    """Wait for the end of the daemon."""
    deadline = time.monotonic() + timeout
    while _locked(pidfile):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


def restart(argv: Sequence[str], settings: Settings) -> int:
    """`stop`, then `start`; a server that does not run is started."""
    return stop(settings) or start(argv, settings)
