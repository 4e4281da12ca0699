"""The supervisor of `--devel`: serves the code as it is on disk now (SPEC ST-12, ST-13).

It holds the listening socket and runs the launch script as a child that inherits it. When a Python file
changes the child is ended and the next one, the next *generation*, is started; connections that come in
between wait in the socket's queue. If a generation fails to start, or crashes later, the supervisor
answers all requests with what the child has printed (`failurepage`) until a file changes.

At any time either a child or a `FailureServer` exists: never do two accept on the socket.

Signals: SIGINT and SIGTERM end child and supervisor (a second one does not wait for the child); SIGHUP
starts the next generation, or ends everything if it came because the terminal was closed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

import watchfiles

from . import launch
from .config import Settings
from .failurepage import FailureServer

#: A child that has not ended so many seconds after SIGTERM is killed.
STOP_GRACE = 5.0
#: So much of each of the child's two outputs is kept for the failure page.
TAIL_BYTES = 1 << 15

#: Milliseconds: changes are one change if no more than this passes between them, and the time after
#: which a steady flow of them counts all the same.
_STEP, _DEBOUNCE = 50, 200
#: Directories with other people's code or none at all; so are those with a leading dot.
_UNWATCHED = frozenset({'__pycache__', 'node_modules', 'site-packages'})
_MAX_DIRECTORIES = 8192


def supervise(
    argv: Sequence[str], listener: socket.socket, settings: Settings, watch_roots: Iterable[str]
) -> int:
    """Serve on `listener` with children that run the interpreter with `argv`, until told to stop.

    `watch_roots` are the directories whose Python files are watched, with those below them; a child may
    report more (`launch.report_ready`). Called in the main thread. The exit code is 0.
    """
    return _Supervisor(argv, listener, settings, watch_roots).run()


class _Supervisor:
    def __init__(
        self, argv: Sequence[str], listener: socket.socket, settings: Settings, watch_roots: Iterable[str]
    ) -> None:
        self._command = [sys.executable, *argv]
        self._listener = listener
        self._settings = settings
        self._roots = {os.path.realpath(root) for root in watch_roots}
        self._known = set(_directories(self._roots))
        #: The Python files as they were when the newest generation was started.
        self._stamps: dict[str, _Stamp] = {}
        self._generation = 0
        self._child: _Child | None = None
        self._page: FailureServer | None = None
        #: Set by signals: how often to end was asked for; a new generation is wanted.
        self._endings = 0
        self._restart_wanted = False
        #: Set where the set of directories to watch has changed.
        self._rewatch = False
        self._had_terminal = _has_terminal()

    def run(self) -> int:
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        try:
            self._start()
            while not self._endings:
                self._watch()
        finally:
            self._clear()
            for number, handler in before.items():
                signal.signal(number, handler)
        return 0

    def _on_signal(self, number: int, frame: Any) -> None:
        if number == signal.SIGHUP and not (self._had_terminal and not _has_terminal()):
            self._restart_wanted = True
        else:
            self._endings += 1

    # -- generations -----------------------------------------------------------------------------

    def _start(self) -> None:
        self._generation += 1
        self._stamps = _stamps(_directories(self._roots))
        self._child = _Child(self._command, self._listener, self._generation)

    def _clear(self) -> None:
        """End whatever serves now."""
        if self._page is not None:
            self._page.close()
            self._page = None
        if self._child is not None:
            if not self._endings:
                self._child.announce_reload()
            self._child.stop(lambda: self._endings > 1)
            self._child = None

    def _tick(self, changed: set[str]) -> None:
        """Once every few hundredths of a second: one step, if there is one to take."""
        if self._endings:
            return
        if changed or self._restart_wanted:
            self._restart_wanted = False
            self._clear()
            _forget_compiled(changed)
            if not self._endings:
                self._start()
        elif self._child is not None:
            code = self._child.exit_code()
            if code is not None:
                self._fail(self._child, code)
            elif self._child.look():
                launch.report_ready()
                self._add_roots(self._child.pipe.directories)

    def _fail(self, child: _Child, code: int) -> None:
        how = f'was ended by {signal.Signals(-code).name}' if code < 0 else f'ended with exit code {code}'
        title = f'The server {how}' if child.pipe.ready else f'The server {how} before it served'
        self._child = None
        self._page = FailureServer(self._listener, self._settings, title, child.tail)
        child.close()
        launch.report_ready()
        print(f'{title}; waiting for a change of a Python file', file=sys.stderr, flush=True)

    # -- watching --------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Tick, until other directories are to be watched or the end has come."""
        directories = _directories(self._roots)
        self._known = set(directories)
        self._rewatch = False
        missed = True
        for changes in _changes(directories):
            self._note_new_directories(changes)
            changed = {path for _, path in changes if path.endswith('.py')}
            if missed:  # what happened since the generation's start, while nobody watched
                missed = False
                now = _stamps(directories)
                changed |= {
                    path for path in now.keys() | self._stamps if now.get(path) != self._stamps.get(path)
                }
                if not self._known.issuperset(_directories(self._roots)):
                    self._rewatch = True  # one was made after they were listed, before they were watched
            self._tick(changed)
            if self._rewatch or self._endings:
                return

    def _note_new_directories(self, changes: Iterable[tuple[watchfiles.Change, str]]) -> None:
        for kind, path in changes:
            if kind == watchfiles.Change.added and os.path.isdir(path) and not _is_unwatched(path):
                self._known = {d for d in self._known if d != path and not d.startswith(path + os.sep)}
                self._rewatch = True

    def _add_roots(self, reported: Iterable[str]) -> None:
        roots = {os.path.realpath(path) for path in reported}
        new = set(_directories(roots - self._roots)) - self._known
        if new:
            self._roots |= roots
            self._known |= new
            self._stamps |= _stamps(new)
            self._rewatch = True


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _has_terminal() -> bool:
    """Whether a terminal is there to read from: after it was closed, it is not."""
    try:
        return os.isatty(0)
    except OSError:
        return False


def _changes(directories: list[str]) -> Iterator[set[tuple[watchfiles.Change, str]]]:
    """Sets of changes in `directories` (not below them); an empty set when nothing happened for a while.

    Ends when a directory vanished before it could be watched.
    """
    for polling in (None, True):
        try:
            # No filter of the library's: it would not come back while only other files change.
            yield from watchfiles.watch(
                *directories,
                watch_filter=None,
                step=_STEP,
                debounce=_DEBOUNCE,
                rust_timeout=_STEP,
                yield_on_timeout=True,
                recursive=False,
                force_polling=polling,
                ignore_permission_denied=True,
            )
        except FileNotFoundError:
            time.sleep(_STEP / 1000)
            return
        except OSError as error:
            if polling:
                raise
            print(f'{error}: files are looked at one by one instead', file=sys.stderr, flush=True)


def _directories(roots: Iterable[str]) -> list[str]:
    """`roots` and the directories below them that may have Python files of ours, the nearest first."""
    waiting = deque(sorted(roots))
    found: dict[str, None] = {}
    while waiting and len(found) < _MAX_DIRECTORIES:
        directory = waiting.popleft()
        if directory in found or not os.path.isdir(directory):
            continue
        found[directory] = None
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            below = sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
            waiting.extend(path for path in below if not _is_unwatched(path))
    return list(found)


def _is_unwatched(directory: str) -> bool:
    name = os.path.basename(directory)
    is_environment = os.path.exists(os.path.join(directory, 'pyvenv.cfg'))
    return name.startswith('.') or name in _UNWATCHED or is_environment


#: The time of a file's last change (ns) and its size.
_Stamp = tuple[int, int]


def _stamps(directories: Iterable[str]) -> dict[str, _Stamp]:
    """The Python files in `directories` as they are now."""
    found: dict[str, _Stamp] = {}
    for directory in directories:
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.endswith('.py'):
                    status = entry.stat()
                    found[entry.path] = (status.st_mtime_ns, status.st_size)
    return found


def _forget_compiled(sources: Iterable[str]) -> None:
    """Remove what Python keeps compiled of files that have changed.

    It tells old from new by the second and the size only: a quick change of one letter it would miss.
    """
    for source in sources:
        with contextlib.suppress(OSError, NotImplementedError):
            os.unlink(importlib.util.cache_from_source(source))


class _Child:
    """One generation: a process in a group of its own, so that it can be ended with all its workers.

    Its output goes through to ours; the last `TAIL_BYTES` of each stream are kept (one reader each, so that
    what is printed cannot push out the traceback). It has no standard input: a process outside the
    terminal's foreground group would be stopped for reading from it.
    """

    def __init__(self, command: Sequence[str], listener: socket.socket, generation: int) -> None:
        self.pipe = launch.ReadyPipe()
        self._tails = {1: bytearray(), 2: bytearray()}
        self._told = False
        environment = {name: value for name, value in os.environ.items() if name != launch.DAEMON} | {
            launch.LISTEN_FD: str(listener.fileno()),
            launch.GENERATION: str(generation),
            launch.READY_FD: str(self.pipe.write_end),
            'PYTHONUNBUFFERED': '1',  # through a pipe output would be seen late, or never after a crash
        }
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=launch.started_in,
            env=environment,
            pass_fds=[listener.fileno(), self.pipe.write_end],
            process_group=0,
        )
        self.pipe.handed_down()
        self._readers = [
            threading.Thread(target=self._copy, args=pair, name='child-output', daemon=True)
            for pair in ((self._process.stdout, 1), (self._process.stderr, 2))
        ]
        for reader in self._readers:
            reader.start()

    def _copy(self, source: IO[bytes], target: int) -> None:
        tail = self._tails[target]
        with source:
            while data := os.read(source.fileno(), 8192):
                tail += data
                del tail[:-TAIL_BYTES]
                with contextlib.suppress(OSError):  # our reader is gone: the child must not stand still
                    while data:
                        data = data[os.write(target, data) :]

    def tail(self) -> str:
        """The end of what it printed, standard output first."""
        return b''.join(bytes(tail) for tail in self._tails.values()).decode('utf-8', 'replace')

    def look(self) -> bool:
        """True once: when it has begun to serve."""
        self.pipe.poll()
        if self._told or not self.pipe.ready:
            return False
        self._told = True
        return True

    def exit_code(self) -> int | None:
        """None while it runs. What it leaves behind (workers without a master) is ended."""
        code = self._process.poll()
        if code is not None:
            self.pipe.poll()
            self._kill_group()
            for reader in self._readers:
                reader.join(1)
        return code

    def announce_reload(self) -> None:
        """Another generation follows: apps are told before they are stopped (SPEC ST-13)."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR2)

    def stop(self, hurry: Callable[[], bool]) -> None:
        """SIGTERM, and SIGKILL after `STOP_GRACE` seconds, or as soon as there is a `hurry`."""
        self._process.terminate()
        deadline = time.monotonic() + STOP_GRACE
        while self._process.poll() is None and time.monotonic() < deadline and not hurry():
            time.sleep(0.01)
        self._kill_group()
        self._process.wait()
        self.close()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        self.pipe.close()
