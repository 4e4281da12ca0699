"""Projects for tests: files in a temporary directory, launched as a user would (see the fixture `launch`)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

import skitai
from skitai.testing import ServerClient

#: Seconds until something that must happen counts as not happening.
DEADLINE = 20.0

#: A file's name below the project's directory, and its text (indented as the test is).
Files = Mapping[str, str]


def write_files(directory: Path, files: Files) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Under another name first: a watching server never sees half a file.
        draft = path.with_name(path.name + '~')
        draft.write_text(textwrap.dedent(text))
        draft.replace(path)
    return directory


def wait_for(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """The first true value of `condition ()`; a failure naming `what` when time is up."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f'not within {seconds:g} s: {what}')
        time.sleep(0.01)
    return value


class Process:
    """A command of its own process group, with its output; `kill ()` ends whatever is left of the group."""

    def __init__(self, command: list[str], cwd: Path, output: Path, **environment: str) -> None:
        self._output = output
        with output.open('wb') as file:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, 'PYTHONUNBUFFERED': '1', **environment},
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        return self._output.read_text(errors='replace')

    def wait_for_output(self, text: str, seconds: float = DEADLINE) -> str:
        def found() -> bool:
            ended = self.process.poll() is not None
            if text in self.output():
                return True
            if ended:
                pytest.fail(f'ended without writing {text!r}: {self.output()}')
            return False

        wait_for(found, f'{text!r} in {self.output()!r}', seconds)
        return self.output()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = DEADLINE) -> int:
        """The exit code."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def _ask_again(client: ServerClient) -> None:
    """With `--devel` a reload may end a connection that was accepted a moment before: ask once more."""
    once = client.request

    def request(*args: Any, **options: Any) -> Any:
        try:
            return once(*args, **options)
        except requests.ConnectionError:
            return once(*args, **options)

    client.request = request  # type: ignore[method-assign]


class Launcher:
    """Starts what tests ask for, and stops it all."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._clients: list[ServerClient] = []
        self._processes: list[Process] = []

    def write(self, files: Files) -> Path:
        return write_files(self.directory, files)

    def __call__(self, files: Files, script: str = 'serve.py', **options: Any) -> ServerClient:
        """Write `files`, serve `script`; options as for `skitai.test_client`."""
        self.write(files)
        client = skitai.test_client(self.directory / script, options.pop('port', None), **options)
        self._clients.append(client)
        if options.get('devel'):
            # A kept connection may be closed by a reload at the very moment that it is used.
            client.set_default_header('Connection', 'close')
            _ask_again(client)
        return client

    def execute(self, *arguments: str, script: str = 'serve.py', **environment: str) -> Process:
        """Run `python3 script arguments...` in the project's directory."""
        output = self.directory / f'.output-{len(self._processes)}'
        process = Process([sys.executable, script, *arguments], self.directory, output, **environment)
        self._processes.append(process)
        return process

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
        for client in self._clients:
            client.stop()
