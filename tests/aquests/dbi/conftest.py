"""Fixtures of the databases' tests: Redis' interfaces, and TLS in front of a server."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from databases import Redis
from tls import certificate

from aquests.aliases import DB_REDIS, Aliases
from aquests.dbi import Options, database


@pytest.fixture
def redis_of() -> Callable[..., Any]:
    """`redis_of (members, ssl, max_conns, own, **options)`: the interface of an alias of one's own."""
    register = Aliases()

    def make(members: Any, ssl: bool = False, max_conns: int = 32, own: Any = None, **options: Any) -> Any:
        name = f'@redis{len(register._known)}'
        register.add(name, DB_REDIS, members, ssl=ssl, max_conns=max_conns)
        return database(name, Options(**options), own, register)

    return make


@pytest.fixture
def redis_db(redis_of: Callable[..., Any], redis_server: Redis) -> Iterator[Any]:
    """Database 9 of the shared server, empty."""
    db = redis_of(f'{redis_server.host}:{redis_server.port}/9')
    db.flushdb().commit()
    yield db
    db.flushdb().commit()


@pytest.fixture
def tls_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], int]]:
    """`tls_to (port)`: another port of localhost, with TLS in front of that one; clients trust it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = certificate(tmp_path / 'cert.pem')
    context.load_cert_chain(pem)
    monkeypatch.setenv('SSL_CERT_FILE', str(pem))
    listening: list[socket.socket] = []

    def pump(source: Any, target: Any) -> None:
        with contextlib.suppress(OSError), source:
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def serve(server: socket.socket, port: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with contextlib.suppress(ssl.SSLError):
                    secure = context.wrap_socket(connection, server_side=True)
                    plain = socket.create_connection(('127.0.0.1', port))
                    for ends in ((secure, plain), (plain, secure)):
                        threading.Thread(target=pump, args=ends, daemon=True).start()

    def start(port: int) -> int:
        listening.append(socket.create_server(('127.0.0.1', 0)))
        threading.Thread(target=serve, args=(listening[-1], port), daemon=True).start()
        return int(listening[-1].getsockname()[1])

    yield start
    for server in listening:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
