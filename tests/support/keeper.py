"""Keeps one database server: runs it on order, and ends it, whatever becomes of the tests.

`python keeper.py FOLDER [UID GID]`: FOLDER is the server's and is removed at the end. Orders are lines of
JSON on the standard input, each answered by one line:

    {"run": [command], "environment": {}}   run to its end, for 60 s at most -> [exit code, its output]
    {"start": [command], "environment": {}} -> its number
    {"end": true}                           SIGKILL for it and all that it started -> true
    {"poll": true}                          -> its exit code, or null while it runs

The end of the input is the order to end all and to remove FOLDER: it comes when the tests close it, and as
well when they die. Commands run in FOLDER, as UID if that is given; what they write is in FOLDER/log.

This is a script for Linux: it runs without site-packages and imports nothing of ours.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
IPC_RMID = 0
#: Seconds for a command that runs to its end.
RUN_TIMEOUT = 60
#: Seconds until processes that were killed must be gone; seconds between two looks.
KILL_TIMEOUT = 10
POLL = 0.002

libc = ctypes.CDLL(None)


class Keeper:
    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self._folder = folder
        self._identity = identity
        self._server: subprocess.Popen[bytes] | None = None

    def obey(self, order: dict[str, Any]) -> Any:
        environment = {**os.environ, **order.get('environment', {})}
        if 'run' in order:
            process = self._popen(order['run'], environment)
            try:
                code = process.wait(RUN_TIMEOUT)
            except subprocess.TimeoutExpired:
                code = None
            return [code, (self._folder / 'log').read_text(errors='replace')]
        if 'start' in order:
            self._server = self._popen(order['start'], environment)
            return self._server.pid
        if 'poll' in order:
            return self._server and self._server.poll()
        self.end()
        return True

    def end(self) -> None:
        """Kill until nobody is left: orphans become our children, and may have started others meanwhile."""
        self._server = None
        deadline = time.monotonic() + KILL_TIMEOUT
        while time.monotonic() < deadline:
            for child in _children():
                os.kill(child, signal.SIGKILL)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(POLL)

    def leave(self) -> None:
        self.end()
        for file in self._folder.rglob('postmaster.pid'):
            _forget_memory(file)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _popen(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self._folder / 'log').open('wb') as log:
            return subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self._identity,
            )


def _children() -> list[int]:
    """This process's children, dead or alive."""
    me, found = str(os.getpid()), []
    for entry in Path('/proc').iterdir():
        try:
            # The name, in brackets, may hold anything; then come the state and the parent.
            if entry.name.isdigit() and (entry / 'stat').read_text().rpartition(')')[2].split()[1] == me:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _forget_memory(file: Path) -> None:
    """PostgreSQL marks a directory as in use by a System V segment; killed, it leaves that behind."""
    try:
        libc.shmctl(int(file.read_text().splitlines()[6].split()[1]), IPC_RMID, None)
    except (OSError, IndexError, ValueError):
        pass


def main(folder: str, *identity: str) -> None:
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    names = ('user', 'group')
    numbers: dict[str, Any] = {name: int(number) for name, number in zip(names, identity, strict=False)}
    if numbers:
        numbers['extra_groups'] = []
    # The order to end also when it comes as a signal.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit())
    keeper = Keeper(Path(folder), numbers)
    try:
        for line in sys.stdin:
            print(json.dumps(keeper.obey(json.loads(line))), flush=True)
    finally:
        keeper.leave()


if __name__ == '__main__':
    main(*sys.argv[1:])
