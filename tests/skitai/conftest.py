"""A fixture that serves a mount table on the real engine (`serve_mounts.py`), on a free loopback port."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

HERE = Path(__file__).parent
DEADLINE = 20.0


class Server:
    """A serving process. `log ()` is what it wrote to standard error so far."""

    def __init__(
        self,
        target: str,
        arguments: dict[str, Any],
        settings: dict[str, Any],
        log: Path,
        user: int | None,
        engine: str = 'granian',
    ):
        file, _, function = target.partition(':')
        listener = socket.socket()
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with listener, log.open('wb') as stderr:
            listener.bind(('127.0.0.1', 0))
            listener.listen(256)
            self.port: int = listener.getsockname()[1]
            script = 'serve_asgi.py' if engine == 'asgi' else 'serve_mounts.py'
            command = [sys.executable, str(HERE / script), os.path.dirname(file)]
            command += [f'{Path(file).stem}:{function}', str(listener.fileno())]
            command += [json.dumps(arguments), json.dumps({'access_log': False, **settings})]
            command += [] if user is None else [str(user)]
            environment = {**os.environ, 'SERVE_WITH': engine}
            self.process = subprocess.Popen(
                command, pass_fds=[listener.fileno()], stderr=stderr, env=environment
            )
        self._log = log
        self.url = f'http://127.0.0.1:{self.port}'

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        return self._log.read_text()

    def connect(self) -> socket.socket:
        return socket.create_connection(('127.0.0.1', self.port), timeout=DEADLINE)

    def send(self, request: bytes) -> bytes:
        """Everything that is answered to raw bytes, until the server closes."""
        with self.connect() as connection:
            connection.sendall(request)
            return b''.join(iter(lambda: connection.recv(65536), b''))

    def memory(self) -> int:
        """Resident memory in bytes."""
        pages = Path(f'/proc/{self.pid}/statm').read_text().split()[1]
        return int(pages) * os.sysconf('SC_PAGESIZE')

    def open_files(self, below: Path) -> list[str]:
        """The open files of the server that are in a directory."""
        found = []
        for descriptor in Path(f'/proc/{self.pid}/fd').iterdir():
            try:
                name = os.readlink(descriptor)
            except OSError:
                continue
            if name.startswith(f'{below}/'):
                found.append(name)
        return found

    @staticmethod
    def wait_until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
        """The first true value of `condition ()`; a failure naming `what` when time is up."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > end:
                pytest.fail(f'not within {seconds:g} s: {what}')
            time.sleep(0.01)
        return value

    def wait_until_answering(self) -> None:
        def answers() -> bool:
            if self.process.poll() is not None:
                pytest.fail(f'the server ended: {self.log()}')
            try:
                requests.get(self.url, timeout=DEADLINE)
            except requests.ConnectionError:
                return False
            return True

        self.wait_until(answers, 'an answer')

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@pytest.fixture(scope='module')
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """`serve ('/path/site.py:function', settings = {...}, **arguments)` starts a server for a module's tests.

    The function makes a MountTable of the arguments (what JSON can hold); `user` runs it as that uid;
    `engine` is 'granian' (ours), 'stock' (the fallback) or 'asgi' (as an ASGI application under uvicorn).
    """
    servers: list[Server] = []

    def start(
        target: str,
        *,
        settings: dict[str, Any] | None = None,
        user: int | None = None,
        engine: str = 'granian',
        **arguments: Any,
    ) -> Server:
        log = tmp_path_factory.mktemp('server') / 'stderr'
        server = Server(target, arguments, settings or {}, log, user, engine)
        servers.append(server)
        server.wait_until_answering()
        return server

    yield start
    for server in servers:
        server.stop()
