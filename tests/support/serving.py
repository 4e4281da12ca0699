"""An app, served in this process by either engine: the body of a test runs on both (fixture `client_for`).

`Direct` is the real engine (`engine.direct`) on a loopback port, its event loop in a thread; the other is
`engine.asgi` with what `build` gives, called without sockets. `ask` talks to `Direct` in bytes, for what no
client would send.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import socket
import threading
from typing import Any, NamedTuple

import uvloop

from skitai.config import Settings
from skitai.engine import direct
from skitai.engine.direct import DirectEngine
from skitai.mounting import Mounts
from skitai.mounts.table import MountTable

direct.CLOSING_PAUSE = 0.0  # nobody connects to an engine that a test has done with

#: Seconds until something that must happen counts as not happening.
DEADLINE = 20.0


def build(
    app: Any, pref: Any = None, point: str = '/', **settings: Any
) -> tuple[MountTable, Settings, Mounts]:
    """A mount table with `app` (or the mounts that `app` is), and what it runs with."""
    if isinstance(app, Mounts):
        mounts = app
    else:
        mounts = Mounts()
        mounts.add(point, app, pref)
    mounts.configure()
    made = Settings(**{'drain_timeout': 5.0, 'access_log': False, **settings})
    return mounts.build(made), made, mounts


class Direct:
    """The real engine in a thread, on a free port, until `stop ()`."""

    def __init__(self, app: Any, pref: Any = None, **options: Any) -> None:
        table, settings, self._mounts = build(app, pref, **options)
        self._listener = socket.socket()
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listener.bind(('127.0.0.1', 0))
        self._listener.listen(256)
        self.port: int = self._listener.getsockname()[1]
        self._loop = uvloop.new_event_loop()
        self._stop = asyncio.Event()
        started = threading.Event()

        async def live() -> None:
            engine = DirectEngine(table, settings, self._loop, None)
            engine.start(self._listener)
            started.set()
            await self._stop.wait()
            await engine.stop()

        def run() -> None:
            self._loop.run_until_complete(live())
            self._loop.close()

        self._thread = threading.Thread(target=run, name='direct engine')
        self._thread.start()
        assert started.wait(DEADLINE)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE)
        self._listener.close()
        self._mounts.umount()
        assert not self._thread.is_alive()

    def connect(self) -> socket.socket:
        return socket.create_connection(('127.0.0.1', self.port), timeout=DEADLINE)


class Answer(NamedTuple):
    """What came back for bytes. `status` 0: the connection was closed without an answer."""

    status: int
    headers: http.client.HTTPMessage | None
    body: bytes


class _Sent:
    """What `http.client` reads an answer from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def send_raw(connection: socket.socket, data: bytes) -> bytes:
    """Everything that comes back for `data`, until the server closes the connection; closes it, too."""
    received = []
    with connection:
        try:
            connection.sendall(data)
            while part := connection.recv(65536):
                received.append(part)
        except (ConnectionResetError, BrokenPipeError):
            pass
    return b''.join(received)


def parse_answer(data: bytes, method: str = 'GET') -> Answer:
    """The first answer in `data`; an AssertionError where it is cut off."""
    if not data:
        return Answer(0, None, b'')
    response = http.client.HTTPResponse(_Sent(data), method=method)  # type: ignore[arg-type]
    response.begin()
    while response.status == 100:  # `http.client` skips it itself
        response.begin()
    return Answer(response.status, response.headers, response.read())


def request_bytes(
    method: bytes = b'GET', target: bytes = b'/', headers: bytes = b'', body: bytes | None = None
) -> bytes:
    """A request on a connection of its own. `headers`: lines with their ends."""
    length = b'' if body is None else b'Content-Length: %d\r\n' % len(body)
    return (
        b'%s %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n' % (method, target)
        + length
        + headers
        + b'\r\n'
        + (body or b'')
    )
