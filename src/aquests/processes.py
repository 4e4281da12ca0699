"""`Process`: a function in another process of a warm pool (SPEC TH-01).

Each thread of the pool has one process, begun with its first Task and kept. It is started like any program
(exec), never by a bare fork: the parent may be a server's worker with threads, event loop and locks. What the
process does is in `processworker`; they talk in pickles over a pair of sockets.

The main script is not run again. Only if a function or a value of it is sent (`__main__.f`), the process
loads it under the name `__mp_main__`, so that what is behind `if __name__ == '__main__'` stays asleep.

A process leads a session of its own: killing kills what it started too, Ctrl-C of a terminal does not reach
it. It ends when its end of the sockets closes, so also when the parent was killed.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from . import pools
from .errors import NotPicklable, ProcessDied
from .places import Runner
from .processworker import PATH, in_process
from .task import Task
from .threads import Options, begin, name_of

#: Before anything of ours can be imported there, the process gets its sys.path. `-P`: not from the directory
#: it is started in.
_BOOT = (
    'import sys; from multiprocessing.connection import Connection; '
    'line = Connection (int (sys.argv [1])); sys.path [:] = line.recv (); '
    'from aquests.processworker import main; main (line)'
)

_UNGUARDED = (
    'a Process is made while the main script is loaded in a process, where a function of it is to run: '
    "put what the script does behind `if __name__ == '__main__':`, or the function into a module"
)


#: Seconds between looks whether a process that runs a Task has died.
_LOOK = 0.5


class Process(Task):
    """`func (*args, **kargs)` in one of `aquests.configure (processes = CPU count)` processes (SPEC TH-01).

    Function, arguments, result and exception are pickled: the function stands at the top of a module that can
    be imported; else the Task fails with NotPicklable. An exception comes with the traceback of over there as
    a note. Options and their defaults are those of `Thread`. On timeout and `cancel ()` the process and what
    it started is killed, and replaced. ProcessDied if it ended by itself.
    """

    __slots__ = ('_function', '_runner', '_work')

    def __init__(self, func: Callable[..., Any], /, *args: Any, **kargs: Any) -> None:
        if in_process():
            raise RuntimeError(_UNGUARDED)
        options = Options('Process', func, args, kargs)
        self._function = func
        self._runner: _Runner | None = None
        self._work: bytes | None = None
        super().__init__(options.meta, options.filter, options.timeout)
        try:
            self._work = pickle.dumps((func, options.args, options.kwargs), pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            self._fail(
                NotPicklable(
                    f'{self._describe()}: the function or an argument cannot be sent to another process '
                    f'({error}); it takes a function at the top of a module, and plain values'
                )
            )
            return
        begin(pools.pool_of('processes', _Runner, keep=None), self)

    def _stop(self) -> None:
        self._work = None
        runner = self._runner
        if runner is not None:
            runner.interrupt(self)

    def _describe(self) -> str:
        return f'Process {name_of(self._function)}'


class _Runner(Runner):
    """One process and the thread that waits for it.

    Shared: `_task`, `_child` with whoever interrupts, under `_lock`; the rest is the thread's own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._task: Process | None = None
        self._child: _Child | None = None

    def run(self, job: Process) -> None:
        # First: whoever finishes the Task from now on finds us; who did before is seen by `done`.
        job._runner = self
        work, job._work = job._work, None
        if work is None or job.done():
            return
        try:
            child = self._begin(job)
        except Exception as error:
            job._fail(error)
            return
        answer = child.ask(work)
        del work
        with self._lock:
            self._task = None
            if answer is None or child.killed:
                self._child = None
        if self._child is None:
            code = child.end()
            job._fail(ProcessDied(f'{job._describe()}: the process ended with {code}'))
            self._replace()
        if answer is not None:
            _finish(job, answer)
        job._runner = None

    def interrupt(self, task: Process) -> None:
        """Kill the process if it runs `task`; called on any thread."""
        with self._lock:
            if self._task is task and self._child is not None:
                self._child.kill()

    def close(self) -> None:
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.end()

    def _begin(self, job: Process) -> _Child:
        with self._lock:
            if self._child is not None and self._child.ended():
                self._child.end()  # it died while it was idle
                self._child = None
            if self._child is None:
                self._child = _Child()
            self._task = job
            if job.done():  # interrupted before we could be asked to
                self._child.kill()
            return self._child

    def _replace(self) -> None:
        """Have a process ready for the next Task; if that fails now it will be tried, and reported, then."""
        pool = pools._pools.get('processes')
        if pool is None or pool.closed:
            return
        with self._lock, contextlib.suppress(OSError):
            self._child = _Child()


def _finish(job: Process, answer: bytes) -> None:
    try:
        done, value, trace = pickle.loads(answer)
    except Exception as error:
        job._fail(NotPicklable(f'{job._describe()}: what came back cannot be loaded here ({error})'))
        return
    if done:
        job._succeed(value)
        return
    if trace:
        value.add_note(f'In the process:\n{trace}')
    job._fail(value)


class _Child:
    """A running process. Touched by its thread; `kill` by any."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, '-P', '-c', _BOOT, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        self._line = Connection(ours.detach())
        self._path = list(sys.path)
        self.killed = False
        _children.add(self)
        try:
            self._line.send(self._path)
            self._line.send((sys.argv, _main_script()))
        except OSError:  # it died at once: the first question will tell
            pass

    def ask(self, work: bytes) -> bytes | None:
        """The answer; None if the process ended."""
        try:
            if sys.path != self._path:
                self._path = list(sys.path)
                self._line.send_bytes(PATH + pickle.dumps(self._path))
            self._line.send_bytes(work)
            while not self._line.poll(_LOOK):
                if self._has_died() and not self._line.poll():
                    return None  # what it started may hold its end of the line open
            return self._line.recv_bytes()
        except (EOFError, OSError):
            return None

    def kill(self) -> None:
        """Kill it and what it started; called before it is waited for, so the number is still its own."""
        self.killed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def ended(self) -> bool:
        return self._line.poll() or self._has_died()

    def _has_died(self) -> bool:
        """Whether it has; its exit code is left where it is, so that its number cannot become another's."""
        try:
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self._process.pid, flags) is not None
        except ChildProcessError:  # SIGCHLD is ignored
            return True

    def end(self) -> int:
        """Kill it and what it started, wait, let go of everything; its exit code."""
        self._line.close()
        if not self.killed:
            deadline = time.monotonic() + 0.2  # it may be ending by itself: then its own exit code tells more
            while not self._has_died() and time.monotonic() < deadline:
                time.sleep(0.005)
            self.kill()
        code = self._process.wait()
        _children.discard(self)
        return code

    def disown(self) -> None:
        """In a forked child: close our copy of the line, or the process would outlive its parent."""
        self._line.close()
        self._process.returncode = 0  # it is not our child: nothing to wait for


#: For a forked child only. Written by the pool's threads; each step is atomic.
_children: weakref.WeakSet[_Child] = weakref.WeakSet()


def _main_script() -> tuple[str, str] | None:
    """('module', its name) or ('path', its file) of the main script; None where there is none."""
    main = sys.modules.get('__main__')
    name = getattr(getattr(main, '__spec__', None), 'name', None)
    path = getattr(main, '__file__', None)
    if name == '__main__' and path is not None:  # of a directory, or a zip file, that was started itself
        return 'path', os.path.abspath(os.path.dirname(path))
    if name is not None:
        return 'module', name
    return ('path', os.path.abspath(path)) if path is not None and os.path.exists(path) else None


def _forked() -> None:
    for child in list(_children):
        with contextlib.suppress(OSError):
            child.disown()
    _children.clear()


os.register_at_fork(after_in_child=_forked)
