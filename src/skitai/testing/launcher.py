"""A script that serves on a port of this machine: started, waited for, its output kept, stopped (SPEC TC-01).

Belongs here: processes, signals and ports. Doesn't: HTTP (`client`).

The process leads a group of its own. However it ends (`stop ()`, garbage collection, the interpreter's exit,
a failed start) the rest of the group is killed after it, so that no worker survives a test.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

HOST = '127.0.0.1'

#: Seconds until a script must accept connections (SPEC TC-01).
READY_TIMEOUT = 30.0
#: Seconds from SIGTERM to SIGKILL: a little more than the server lets requests in flight go on.
STOP_TIMEOUT = 35.0
#: Seconds between two looks at what we wait for.
POLL = 0.02
#: Characters of the output's end in an error message.
TAIL = 4000


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens at this moment. It isn't reserved."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def command_line(script: str | Path, port: int, devel: bool, options: Mapping[str, Any]) -> list[str]:
    """The command that runs `script` with this interpreter.

    Each option becomes `--key value`, underscores in its name dashes; True is the bare flag, False and None
    are left out.
    """
    command = [sys.executable, str(script), '--port', str(port)]
    if devel:
        command.append('--devel')
    for key, value in options.items():
        if value is None or value is False:
            continue
        command.append('--' + key.replace('_', '-'))
        if value is not True:
            command.append(str(value))
    return command


class Server:
    """A launched script. Made when it accepts connections on 127.0.0.1:`port`, and until `stop ()`.

    `output_dir`: the directory of the temporary file with the output (None: the system's); `silent = False`
    lets the script write where this process writes instead. RuntimeError where the port is taken, or where
    the script ends or isn't ready within `ready_timeout` seconds, then with the end of its output;
    FileNotFoundError where there is no such script.
    """

    def __init__(
        self,
        script: str | Path,
        port: int,
        *,
        devel: bool = False,
        silent: bool = True,
        output_dir: str | Path | None = None,
        options: Mapping[str, Any] | None = None,
        ready_timeout: float = READY_TIMEOUT,
    ) -> None:
        if not Path(script).is_file():
            raise FileNotFoundError(errno.ENOENT, 'no such script', str(script))
        _require_free(port)
        self.script = script
        self.port = port
        self._kept = ''
        self._file: IO[bytes] | None = tempfile.TemporaryFile(dir=output_dir) if silent else None  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                command_line(script, port, devel, options or {}),
                stdin=subprocess.DEVNULL,
                stdout=self._file,
                stderr=self._file and subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, 'PYTHONUNBUFFERED': '1'},  # what is printed can be read at once
            )
        except BaseException:
            _close(self._file)
            raise
        self._owner = os.getpid()
        self._finalizer = weakref.finalize(self, _end, self._process, self._file, self._owner)
        try:
            self._wait_until_ready(ready_timeout)
        except BaseException:
            _kill(self._process)
            self._release()
            raise

    @property
    def pid(self) -> int:
        """The process, which also leads the process group of this number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def output(self) -> str:
        """What the script and its children have written until now; '' where it isn't captured."""
        if self._file is None or self._file.closed:
            return self._kept
        descriptor = self._file.fileno()
        # `pread`: the children write at the file offset that they share with us
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors='replace')

    def wait_for_output(self, text: str, timeout: float = 10.0) -> str:
        """Wait until `text` has been written; returns all the output.

        TimeoutError after `timeout` seconds; RuntimeError where the script has ended without it, or the
        output isn't captured.
        """
        if self._file is None:
            raise RuntimeError('the output is not captured: launch with silent = True')
        deadline = time.monotonic() + timeout
        while True:
            alive = self.alive  # asked first: what was written before the end counts
            output = self.output()
            if text in output:
                return output
            if not alive:
                raise RuntimeError(f'{self.script} ended without writing {text!r}{self._tail()}')
            if time.monotonic() > deadline:
                raise TimeoutError(f'{self.script} did not write {text!r} within {timeout:g} s{self._tail()}')
            time.sleep(POLL)

    def stop(self) -> None:
        """SIGTERM, after 35 s SIGKILL; returns when the process has ended. Again: does nothing.

        Nor does it do anything in a fork of the process that launched the script: the server isn't its.
        """
        if self._finalizer.alive and os.getpid() == self._owner:
            _terminate(self._process)
            self._kept = self.output()
            self._release()

    def _release(self) -> None:
        """The process has ended: nothing is left for the finalizer."""
        self._finalizer.detach()
        _close(self._file)

    def _wait_until_ready(self, timeout: float) -> None:
        """Until the port accepts: the server opens it when it is ready to serve, so no request is needed."""
        deadline = time.monotonic() + timeout
        while self.alive:
            if _accepts(self.port) and self.alive:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f'{self.script} did not accept connections on {HOST}:{self.port} within {timeout:g} s'
                    + self._tail()
                )
            time.sleep(POLL)
        raise RuntimeError(
            f'{self.script} ended with status {self._process.returncode} before it accepted connections'
            f' on {HOST}:{self.port}' + self._tail()
        )

    def _tail(self) -> str:
        output = self.output().strip()
        return f'; the end of its output:\n{output[-TAIL:]}' if output else ''


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        # as servers do: connections of a server that has just stopped don't count
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            reason = 'in use by another process' if error.errno == errno.EADDRINUSE else error.strerror
            raise RuntimeError(f'cannot launch a server on {HOST}:{port}: {reason}') from error


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _terminate(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        pass
    _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # nobody is left (macOS says EPERM of a group of zombies)
    process.wait()


def _end(process: subprocess.Popen[bytes], file: IO[bytes] | None, owner: int) -> None:
    """The finalizer; a fork inherits it (see `Server.stop`)."""
    if os.getpid() == owner:
        _terminate(process)
    _close(file)


def _close(file: IO[bytes] | None) -> None:
    if file is not None:
        file.close()
