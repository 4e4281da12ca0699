"""`Subprocess`: a command (SPEC TH-02).

One thread of a pool reads what the command prints and waits for it. The command leads a session of its own:
killing kills what it started too, unless that began a session itself.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Any, cast

from . import pools
from .errors import OutputTooLong, SubprocessFailed
from .places import Runner
from .seconds import seconds
from .task import Filter, Task
from .threads import begin

#: Bytes of stdout that are kept in memory at most.
LIMIT = 64 << 20
#: Of stderr the last this many are kept.
_ERRORS = 64 << 10
_CHUNK = 64 << 10
#: Seconds between looks whether the Task is done: what escaped the killing may hold its output open.
_LOOK = 0.2


class Subprocess(Task):
    """Run `cmd`: a str by the shell, a list of arguments without one (SPEC TH-02).

    Its result is what it printed on stdout, as str (UTF-8; what is none is replaced). It is there when the
    command has ended and nobody holds its stdout or stderr open any more. Fails with SubprocessFailed
    (`returncode`, `stderr`) if the exit code isn't 0, with TaskTimeout after `timeout` seconds (300; None for
    no limit), with OutputTooLong for more than `limit` bytes of stdout (64 MB); in the last two cases, as by
    `cancel ()` and `aquests.shutdown ()`, it is killed with all that it started. Its stdin is empty.

    At most `aquests.configure (subprocesses = 32)` run at a time; more wait.
    """

    __slots__ = ('_command', '_limit', '_output', '_process', '_turn')

    def __init__(
        self,
        cmd: str | Sequence[str],
        meta: Mapping[str, Any] | None = None,
        filter: Filter | None = None,
        timeout: float | None = 300,
        *,
        limit: int = LIMIT,
    ) -> None:
        if not cmd or not isinstance(cmd, str | list | tuple):
            raise TypeError(f'Subprocess takes a command as str or list of str, not {cmd!r}')
        if type(limit) is not int or limit < 0:
            raise ValueError(f'Subprocess: limit = {limit!r}: it takes a number of bytes')
        self._command: str | list[str] = cmd if isinstance(cmd, str) else [_argument(part) for part in cmd]
        self._limit = limit
        self._output = ''
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()  # guards `_process`: it is killed only while its number is its own
        super().__init__(meta, filter, seconds(timeout))
        begin(pools.pool_of('subprocesses', _Runner), self)

    def lines(self, timeout: float | None = None) -> list[str]:
        """The lines that the command printed, unfiltered and without line ends; waits and raises as fetch."""
        self.commit(timeout)
        # As bytes: a str would be split where it has a form feed, or one of Unicode's separators, too.
        return [line.decode() for line in self._output.encode().splitlines()]

    def kill(self) -> None:
        """Kill the command and what it started; it then ends with -9. Not yet begun, it is cancelled."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the command and what it started to end (SIGTERM). Not yet begun, it is cancelled."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        if not self._send(number):
            self.cancel()

    def _send(self, number: int) -> bool:
        """False if the command does not run."""
        with self._turn:
            if self._process is None:
                return False
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            return True

    def _stop(self) -> None:
        self._send(signal.SIGKILL)

    def _describe(self) -> str:
        return f'Subprocess {self._shown()!r}'

    def _shown(self) -> str:
        text = self._command if isinstance(self._command, str) else shlex.join(self._command)
        return text if len(text) <= 200 else f'{text[:200]}...'

    # -- on the pool's thread -------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            process = self._begin()
        except (OSError, ValueError) as error:
            self._fail(SubprocessFailed(self._shown(), 127, str(error)))
            return
        if process is None:
            return
        with process:
            try:
                output, errors = self._read(process)
                code = self._reap(process)
            finally:
                self._end(process)
        if len(output) > self._limit:
            self._fail(OutputTooLong(f'{self._describe()} printed more than {self._limit} bytes'))
        elif code != 0:
            self._fail(SubprocessFailed(self._shown(), code, errors.decode('utf-8', 'replace')))
        elif not self.done():
            self._output = output.decode('utf-8', 'replace')
            self._succeed(self._output)

    def _begin(self) -> subprocess.Popen[bytes] | None:
        with self._turn:
            if self.done():
                return None
            self._process = subprocess.Popen(
                self._command,
                shell=isinstance(self._command, str),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            process = self._process
        if self.done():  # before there was a process to kill
            self._stop()
        return process

    def _read(self, process: subprocess.Popen[bytes]) -> tuple[bytearray, bytearray]:
        """(stdout, the end of stderr), to their end."""
        output, errors = bytearray(), bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(cast('IO[bytes]', process.stdout), selectors.EVENT_READ, output)
            selector.register(cast('IO[bytes]', process.stderr), selectors.EVENT_READ, errors)
            while selector.get_map():
                ready = selector.select(_LOOK)
                if self.done():  # nobody wants it, and what escaped the killing may print for ever
                    break
                for key, _ in ready:
                    chunk = os.read(key.fd, _CHUNK)
                    if not chunk:
                        selector.unregister(key.fileobj)
                    key.data.extend(chunk)
                del errors[:-_ERRORS]
                if len(output) > self._limit:
                    self._stop()
                    break
        return output, errors

    def _reap(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the end without taking the exit code, so that the number cannot become another's."""
        with contextlib.suppress(ChildProcessError):  # SIGCHLD is ignored: there is nothing to wait for
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with self._turn:
            self._process = None
            return process.wait()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Whatever went wrong above, leave nothing running."""
        with self._turn:
            if self._process is not None:
                self._process = None
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _argument(part: Any) -> str:
    return os.fsdecode(part) if isinstance(part, bytes | os.PathLike) else str(part)


class _Runner(Runner):
    def run(self, job: Subprocess) -> None:
        try:
            job._run()
        except BaseException as error:
            job._fail(error)
            raise

    def close(self) -> None: ...
