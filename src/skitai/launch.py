"""How this process was launched, and how a server tells whoever launched it that it serves.

Two processes launch servers: the command `start` (`daemon`) and the supervisor of `--devel`
(`reloader`). Both pass a pipe's writing end in the environment variable `READY_FD`. The server writes to
it once, when it serves: any first line, then, one on a line, directories whose Python files it is made
of. A pipe that ends empty means that the server will not come.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

#: The listening socket handed down by the supervisor, and the number of the server it has started.
LISTEN_FD = 'SKITAI_LISTEN_FD'
GENERATION = 'SKITAI_GENERATION'
#: The pipe described above.
READY_FD = 'SKITAI_READY_FD'
#: Set for a server in the background: its pid file.
DAEMON = 'SKITAI_DAEMON'

#: What a server may say at most; what follows is not read.
_MAX_REPORT = 1 << 16


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return '/'


#: `run ()` changes to the launch script's directory; relative words of the command line mean this one.
started_in = _working_directory()


def script() -> Path:
    """The launch script's file."""
    return Path(started_in, sys.argv[0]).resolve()


def interpreter_arguments() -> list[str]:
    """What stood between the interpreter and the script's own arguments: its options and the script."""
    own = len(sys.argv) - 1
    return sys.orig_argv[1 : len(sys.orig_argv) - own]


def report_ready(directories: Iterable[str] = ()) -> None:
    """Tell the launching process that this one serves now. Nothing happens if none waits."""
    descriptor = os.environ.pop(READY_FD, None)
    if descriptor is not None:
        with contextlib.suppress(OSError), os.fdopen(int(descriptor), 'wb') as pipe:
            pipe.write(os.fsencode('\n'.join(['ready', *directories, ''])))


class ReadyPipe:
    """The launching process's side. `write_end` goes to the server by `pass_fds` and the environment."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        self._received = b''
        #: No more will come: the server, and all that it has forked, have closed the pipe.
        self.ended = False

    def handed_down(self) -> None:
        """The server has its copy of the writing end: give up ours, so that its end can be seen."""
        os.close(self.write_end)

    def poll(self) -> None:
        """Take what has come, without waiting."""
        while not self.ended:
            try:
                data = os.read(self.read_end, 4096)
            except BlockingIOError:
                return
            self._received += data
            self.ended = not data or len(self._received) >= _MAX_REPORT

    @property
    def ready(self) -> bool:
        return bool(self._received)

    @property
    def directories(self) -> list[str]:
        """Those reported so far. Only whole lines count: the last may still be on its way."""
        return [os.fsdecode(line) for line in self._received.split(b'\n')[1:-1] if line]

    def close(self) -> None:
        os.close(self.read_end)
