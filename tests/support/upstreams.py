"""Servers that are asked by what is tested: one that we did not write, and one that says what it is told to.

`Server` is Starlette on uvicorn, in a thread, which tells what it got; `Scripted` answers bytes of a test's
choice.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from aquests import Async

#: Seconds until something that must happen counts as not happening.
DEADLINE = 20.0
METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']


class Server:
    """Starlette on uvicorn. `seen`: (method, raw path and query) of what it was asked.

    /size?n=5          5 bytes, streamed
    /status/404        that status
    /fields?a=1&a=2    these as header fields of the answer
    /hang              no answer until `release`; `hanging` counts those that wait, `cancelled` who went
    everything else    what was asked, as JSON

    `more`: routes that go before these.
    """

    def __init__(self, name: str = '', port: int = 0, more: Sequence[Route] = (), **config: Any) -> None:
        self.name = name
        self.seen: list[tuple[str, str]] = []
        self.hanging = self.cancelled = self.parts_sent = 0
        self.release = asyncio.Event()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listener.bind(('127.0.0.1', port))
        self._listener.listen(128)
        self.port: int = self._listener.getsockname()[1]
        self.address = f'127.0.0.1:{self.port}'
        routes = [
            *more,
            Route('/size', self._size, methods=METHODS),
            Route('/endless', self._endless),
            Route('/status/{status:int}', self._status, methods=METHODS),
            Route('/fields', self._fields),
            Route('/hang', self._hang, methods=METHODS),
            Route('/{path:path}', self._echo, methods=METHODS),
        ]
        settings = uvicorn.Config(
            Starlette(routes=routes), lifespan='off', log_level='critical', access_log=False, **config
        )
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._run, name='upstream')
        self._thread.start()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._listener]))

    def stop(self) -> None:
        """At once, whatever is under way."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        self._listener.close()

    def _note(self, request: Request) -> None:
        target = request.scope['raw_path'] + (b'?' if request.scope['query_string'] else b'')
        self.seen.append((request.method, (target + request.scope['query_string']).decode('latin-1')))

    async def _echo(self, request: Request) -> Response:
        self._note(request)
        body = await request.body()
        return JSONResponse(
            {
                'server': self.name,
                'method': request.method,
                'target': self.seen[-1][1],
                'headers': [(k.decode('latin-1'), v.decode('latin-1')) for k, v in request.scope['headers']],
                'length': len(body),
                'digest': hashlib.sha256(body).hexdigest(),
                'client': request.scope['client'][1],
            }
        )

    async def _size(self, request: Request) -> Response:
        self._note(request)
        left = int(request.query_params['n'])

        async def parts() -> AsyncIterator[bytes]:
            nonlocal left
            while left > 0:
                size = min(left, 1 << 16)
                left -= size
                self.parts_sent += 1
                yield b'x' * size

        return StreamingResponse(parts(), media_type='application/octet-stream')

    async def _endless(self, request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b'tick\n'
                    await asyncio.sleep(0.01)
            finally:
                self.cancelled += 1

        return StreamingResponse(parts())

    async def _status(self, request: Request) -> Response:
        self._note(request)
        return Response(status_code=request.path_params['status'])

    async def _fields(self, request: Request) -> Response:
        self._note(request)
        response = Response('fields')
        for name, value in request.query_params.multi_items():
            response.headers.append(name, value)
        return response

    async def _hang(self, request: Request) -> Response:
        self._note(request)
        self.hanging += 1
        try:
            while not self.release.is_set():
                if await request.is_disconnected():
                    self.cancelled += 1
                    break
                await asyncio.sleep(0.005)
        finally:
            self.hanging -= 1
        return Response('released')


class Scripted:
    """Calls `script (connection, self)` for each connection, on a thread of its own.

    `heads`: the heads of all requests.
    """

    def __init__(self, script: Callable[[socket.socket, Scripted], Any]) -> None:
        self.heads: list[bytes] = []
        self._script = script
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port: int = self._listener.getsockname()[1]
        self.address = f'127.0.0.1:{self.port}'
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        self._closed = False
        self._thread = threading.Thread(target=self._accept, name='scripted')
        self._thread.start()

    @property
    def accepted(self) -> int:
        return len(self._connections)

    def read_head(self, connection: socket.socket) -> bytes:
        """The next request's head, byte by byte: what follows stays unread. b'' at the end."""
        head = b''
        while not head.endswith(b'\r\n\r\n'):
            byte = connection.recv(1)
            if not byte:
                return b''
            head += byte
        self.heads.append(head)
        return head

    def stop(self) -> None:
        self._closed = True
        with socket.create_connection(('127.0.0.1', self.port), timeout=DEADLINE):
            pass
        self._thread.join(DEADLINE)
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._closed:
                connection.close()
                return
            connection.settimeout(DEADLINE)
            self._connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,), name='scripted'))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._script(connection, self)
            except OSError:
                pass


def answering(answer: bytes) -> Callable[[socket.socket, Scripted], None]:
    """A script that gives each request of a connection this answer."""

    def script(connection: socket.socket, server: Scripted) -> None:
        while server.read_head(connection):
            connection.sendall(answer)

    return script


def answering_once(answer: bytes) -> Callable[[socket.socket, Scripted], None]:
    """A script that gives one answer and closes the connection."""

    def script(connection: socket.socket, server: Scripted) -> None:
        if server.read_head(connection):
            connection.sendall(answer)

    return script


def refusing_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def run(work: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
    """What `work (*args)` returns or raises, on the loop that Tasks run on."""
    return Async(work, *args, timeout=DEADLINE).fetch(timeout=DEADLINE)
