"""`skitai.run ()`: from settings to a serving master process.

The master binds the socket, forks the workers and keeps them: it serves nothing itself and has no
threads, so that forking is safe. All workers accept on the one socket, so a connection that waits in its
queue is lost neither when a worker dies nor when workers are replaced.

Signals (SPEC B.7): SIGTERM, SIGINT, SIGQUIT stop (requests in flight finish, `drain_timeout` at most; a
second SIGINT or SIGTERM ends at once); SIGHUP replaces the workers with the code as it is on disk now.
For that the launch script is run once in a child (a dry run): if it fails, the old code goes on serving;
if it passes, the master replaces itself by `exec` (same pid, same socket) and ends the old workers when
the new ones serve. SIGUSR1 puts log files aside. SIGUSR2 announces that the SIGTERM
which follows is for newer code.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable

import setproctitle

from . import launch, logs, shared, worker
from .config import Settings
from .engine import tls
from .mounting import Mounts

log = logging.getLogger('skitai.server')

OLD_WORKERS = 'SKITAI_OLD_WORKERS'
OLD_LIFELINE = 'SKITAI_OLD_LIFELINE'
DRY_RUN = 'SKITAI_DRY_RUN'

#: A worker that died is replaced at once if it lived so long, else after a pause that doubles up to 5 s.
_STEADY = 1.0
_LONGEST_PAUSE = 5.0
#: How often a supervised server looks whether its supervisor lives.
_LOOK_FOR_PARENT = 1.0
#: After so long the workers have accepted what waited at a stop; then new connections are refused.
_ACCEPT_LAST = 0.6
#: A dry run that takes longer has failed.
_DRY_RUN_TIMEOUT = 60.0


def bind(settings: Settings) -> socket.socket:
    """The socket to listen on: the one handed down by a supervisor or an earlier master, or a new one.

    A new one does not listen yet: the first worker that is ready begins, so that whoever can connect
    gets an answer soon.
    """
    inherited = os.environ.pop(launch.LISTEN_FD, None)
    if inherited is not None:
        listener = socket.socket(fileno=int(inherited))
    else:
        try:  # taken, not ours to take, or a family that this machine has not
            listener = _bound(settings)
        except OSError as error:
            raise SystemExit(
                f'cannot listen on {settings.address}:{settings.port}: {error.strerror}'
            ) from None
    listener.set_inheritable(True)
    return listener


def _bound(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ':' in settings.address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Inherited by accepted connections: an answer is never held back for a delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((settings.address, settings.port))
    except OSError:
        listener.close()
        raise
    return listener


class _Worker:
    """A worker as the master sees it."""

    def __init__(self, pid: int, ready: int) -> None:
        self.pid = pid
        self.ready_pipe = ready
        self.ready = False
        self.started = time.monotonic()


class Master:
    """Keeps `settings.workers` workers alive until it is told to stop. Single-threaded."""

    def __init__(self, mounts: Mounts, settings: Settings, listener: socket.socket) -> None:
        self.mounts = mounts
        self.settings = settings
        self.listener = listener
        self.workers: dict[int, _Worker | None] = dict.fromkeys(range(settings.workers))
        self.stopping = False
        self.exit_code = 0
        self._announced = False
        self._pause = dict.fromkeys(range(settings.workers), 0.0)
        self._due = dict.fromkeys(range(settings.workers), 0.0)
        self._deadline: float | None = None
        self._dry_run: subprocess.Popen[bytes] | None = None
        self._old_lifeline = int(os.environ.pop(OLD_LIFELINE, '-1'))
        self._close_at: float | None = None
        self._give_up_at: float | None = None
        self._old = [int(pid) for pid in os.environ.pop(OLD_WORKERS, '').split(',') if pid]
        self._parent = os.getppid()
        self._wake_read, self._wake_write = os.pipe()
        self._lifeline_read, self._lifeline_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)

    # -- the loop --------------------------------------------------------------------------------

    def run(self) -> int:
        """Serve; the exit code."""
        setproctitle.setproctitle(f'skitai/{self.settings.name or "app"}')
        received: list[int] = []
        for signum in _SIGNALS:
            signal.signal(signum, lambda number, frame: received.append(number))
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        while True:
            self._reap()
            self._spawn_due()
            if self.stopping and not any(self.workers.values()) and not self._old:
                self.listener.close()
                return self.exit_code
            self._wait()
            while received:
                self._handle(received.pop(0))

    def _wait(self) -> None:
        pipes = [w.ready_pipe for w in self.workers.values() if w is not None and w.ready_pipe >= 0]
        now = time.monotonic()
        times = [
            due
            for index, due in self._due.items()
            if self.workers[index] is None and due and not self.stopping
        ]
        times += [t for t in (self._deadline, self._close_at, self._give_up_at) if t is not None]
        if self.settings.supervised:
            times.append(now + _LOOK_FOR_PARENT)
            if os.getppid() != self._parent and not self.stopping:
                self.stop()  # killed: nobody else would end us
        timeout = max(0.0, min(times) - now) if times else None
        readable, _, _ = select.select([self._wake_read, *pipes], [], [], timeout)
        for index, one in self.workers.items():
            if one is not None and one.ready_pipe in readable:
                self._read_ready(index, one)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        self._do_what_is_due(time.monotonic())

    def _do_what_is_due(self, now: float) -> None:
        if self._close_at is not None and now >= self._close_at:
            self._close_at = None
            self.listener.close()
        if self._give_up_at is not None and now >= self._give_up_at:
            self._give_up_at = None
            if self._dry_run is not None:
                self._dry_run.kill()
        if self._deadline is not None and now >= self._deadline:
            log.warning('workers that did not stop in time are killed')
            self._signal_all(signal.SIGKILL)
            self._deadline = now + 5

    def _handle(self, signum: int) -> None:
        if signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            if self.stopping:
                self._signal_all(signal.SIGKILL)
            else:
                self.stop()
        elif signum == signal.SIGHUP and not self.stopping:
            self._begin_reload()
        elif signum == signal.SIGUSR1:
            logs.rotate()
        elif signum == signal.SIGUSR2:
            self._signal_all(signal.SIGUSR2)

    def stop(self) -> None:
        """Let the workers finish what they have, then end."""
        self.stopping = True
        self._deadline = time.monotonic() + self.settings.drain_timeout + 5
        if not self.settings.supervised:  # the supervisor's next child serves on the same socket
            _refuse_connections(self.listener)
        self._close_at = time.monotonic() + _ACCEPT_LAST
        if self._dry_run is not None:
            self._dry_run.kill()
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, signum: int) -> None:
        for pid in [w.pid for w in self.workers.values() if w is not None] + self._old:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    # -- workers ---------------------------------------------------------------------------------

    def _spawn_due(self) -> None:
        if self.stopping:
            return
        now = time.monotonic()
        for index, one in self.workers.items():
            if one is None and self._due[index] <= now:
                self.workers[index] = self._spawn(index)

    def _spawn(self, index: int) -> _Worker:
        ready_read, ready_write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        # Signals that arrive before the child has its own handlers wait until it has.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(ready_read)
                self._become_worker()
                code = worker.serve(
                    self.mounts,
                    self.settings,
                    self.listener,
                    index,
                    lambda: _tell_ready(ready_write),
                    self._lifeline_read,
                )
            except BaseException:
                log.exception('worker %d failed', index)
            finally:
                os._exit(code)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.close(ready_write)
        return _Worker(pid, ready_read)

    def _become_worker(self) -> None:
        """In the child: undo what is the master's."""
        signal.set_wakeup_fd(-1)
        os.close(self._wake_read)
        os.close(self._wake_write)
        os.close(self._lifeline_write)
        if self._old_lifeline >= 0 and self._old:
            os.close(self._old_lifeline)
        for one in self.workers.values():
            if one is not None and one.ready_pipe >= 0:
                os.close(one.ready_pipe)
        for signum in _SIGNALS:
            signal.signal(signum, signal.SIG_IGN if signum in _NOT_FOR_WORKERS else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        setproctitle.setproctitle(f'skitai/{self.settings.name or "app"}: worker')

    def _read_ready(self, index: int, one: _Worker) -> None:
        one.ready = bool(os.read(one.ready_pipe, 1))
        os.close(one.ready_pipe)
        one.ready_pipe = -1
        if not one.ready:
            return
        self._pause[index] = 0.0
        if all(w is not None and w.ready for w in self.workers.values()):
            self._announce()
            for pid in self._old:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGUSR2)
                    os.kill(pid, signal.SIGTERM)

    def _announce(self) -> None:
        if self._announced:
            return
        self._announced = True
        hint = (
            ''
            if self.settings.address in ('0.0.0.0', '::')
            else " (address = '0.0.0.0' accepts remote connections)"
        )
        print(f'Serving {self.settings.url}{hint}', flush=True)
        launch.report_ready(self.mounts.watch_roots)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            if pid in self._old:
                self._old.remove(pid)
                if not self._old and self._old_lifeline >= 0:
                    os.close(self._old_lifeline)
            elif self._dry_run is not None and pid == self._dry_run.pid:
                self._end_reload(code)
            else:
                self._worker_died(pid, code)

    def _worker_died(self, pid: int, code: int) -> None:
        index = next((i for i, w in self.workers.items() if w is not None and w.pid == pid), None)
        if index is None:
            return  # somebody else's child (a dry run that was given up)
        one = self.workers[index]
        assert one is not None
        if one.ready_pipe >= 0:
            self._read_ready(index, one) if _has_data(one.ready_pipe) else os.close(one.ready_pipe)
        self.workers[index] = None
        if self.stopping:
            return
        if code == worker.EXIT_APP_FAILED and not self._announced:
            self.exit_code = code
            self.stop()
            return
        lived = time.monotonic() - one.started
        if lived < _STEADY or not one.ready:
            self._pause[index] = min(_LONGEST_PAUSE, self._pause[index] * 2 or 0.1)
        else:
            self._pause[index] = 0.0
        self._due[index] = time.monotonic() + self._pause[index]
        log.error('worker %d (pid %d) ended unexpectedly (%s); it is replaced', index, pid, _describe(code))

    # -- replacing the code ----------------------------------------------------------------------

    def _begin_reload(self) -> None:
        if self._dry_run is not None:
            return
        log.info('SIGHUP: trying the code on disk')
        self._dry_run = subprocess.Popen(_command(), env={**os.environ, DRY_RUN: '1'}, cwd=launch.started_in)
        self._give_up_at = time.monotonic() + _DRY_RUN_TIMEOUT

    def _end_reload(self, code: int) -> None:
        assert self._dry_run is not None
        self._dry_run.returncode = code  # reaped by us
        self._dry_run = self._give_up_at = None
        if self.stopping:
            return
        if code != 0:
            log.error('the code on disk does not start (%s): the old code goes on serving', _describe(code))
            return
        pids = [str(w.pid) for w in self.workers.values() if w is not None] + [str(pid) for pid in self._old]
        os.environ[launch.LISTEN_FD] = str(self.listener.fileno())
        os.environ[OLD_WORKERS] = ','.join(pids)
        # The old workers notice the end of the lifeline when this descriptor closes: keep it open.
        os.set_inheritable(self._lifeline_write, True)
        os.environ[OLD_LIFELINE] = str(self._lifeline_write)
        shared.hand_down()
        os.chdir(launch.started_in)
        logging.shutdown()
        # Signals that come now wait until the new program has its handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        os.execv(sys.executable, _command())


_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
)
#: What workers do not react to: their master does; to SIGUSR2 only while they serve.
_NOT_FOR_WORKERS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def _command() -> list[str]:
    """This very command line."""
    return [sys.executable, *sys.orig_argv[1:]]


#: struct sock_fprog with one instruction of classic BPF: drop the packet (Linux, socket(7)).
_SO_ATTACH_FILTER = 26
_DROP = struct.pack('HBBI', 0x06, 0, 0, 0)


def _refuse_connections(listener: socket.socket) -> None:
    """Let nobody begin a connection any more, while those in the socket's queue can still be accepted.

    Closing the socket would reset them. Where the system has no such filter, it is left open until the
    workers have stopped.
    """
    if sys.platform == 'linux':
        code = ctypes.create_string_buffer(_DROP, len(_DROP))
        program = struct.pack('HL', 1, ctypes.addressof(code))
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _tell_ready(pipe: int) -> None:
    os.write(pipe, b'1')
    os.close(pipe)


def _has_data(pipe: int) -> bool:
    return bool(select.select([pipe], [], [], 0)[0])


def _describe(code: int) -> str:
    return f'signal {signal.Signals(-code).name}' if code < 0 else f'exit code {code}'


def run(mounts: Mounts, settings: Settings, supervise: Callable[[socket.socket], int] | None) -> int:
    """Check, configure, listen, serve; the exit code."""
    if settings.tls:
        assert settings.certfile is not None
        tls.check(settings.certfile, settings.keyfile or settings.certfile, settings.key_password)
    if supervise is not None:
        with bind(settings) as listener:
            listener.listen(settings.backlog)
            return supervise(listener)
    logs.prepare(settings)
    logs.setup(settings, 'M')
    mounts.configure()
    shared.seal()
    if os.environ.pop(DRY_RUN, None) is not None:
        mounts.build(settings, dry=True)
        mounts.umount()
        return 0
    listener = bind(settings)
    return Master(mounts, settings, listener).run()
