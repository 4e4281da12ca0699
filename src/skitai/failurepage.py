"""What `--devel` serves while the launch script does not start: a page that says why.

It answers every request on the server's own socket with 500 and the output of the failed process, so
that the developer sees the traceback where the page was expected. The page reloads itself each second:
when the next attempt serves, the browser shows it.
"""

from __future__ import annotations

import contextlib
import html
import os
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from .config import Settings
from .errorpage import accepts

#: An idle connection, or one that takes or sends nothing, is closed after so many seconds.
_TIMEOUT = 5.0
#: After the answer the rest of a request is read so long and so far, so that the client gets to read the
#: answer (closing a socket with unread data resets the connection).
_LINGER, _LINGER_BYTES = 0.5, 1 << 20
#: After `close` a request may still arrive on an open connection for so long.
_LAST_REQUESTS = 0.25
#: How often the accepting thread looks whether it is to stop.
_STOP_POLL = 0.02
#: Connections at a time; one more is closed at once.
_MAX_CONNECTIONS = 64

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta http-equiv="refresh" content="1"><title>500 {title}</title>
<style>body {{ font: 16px/1.5 sans-serif; margin: 3em auto; max-width: 60em; padding: 0 1em }}
pre {{ background: #f4f4f4; overflow: auto; padding: 1em }}</style></head>
<body><h1>{title}</h1><pre>{text}</pre></body>
</html>
"""


class FailureServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Answers on `listener` (which stays the caller's) from construction until `close ()`.

    `title` is one line, `text` is asked for at each request.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, listener: socket.socket, settings: Settings, title: str, text: Callable[[], str]
    ) -> None:
        super().__init__(('', 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=os.dup(listener.fileno()))
        self.title = title
        self.text = text
        self._tls = _tls_context(settings)
        self._connections: set[socket.socket] = set()
        self._changing = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(_STOP_POLL,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Accept no more. Requests on their way are still answered; connections without one are closed."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        # A connection that was accepted just now is about to bring its request: wait, but not here.
        last = threading.Timer(_LAST_REQUESTS, self._close_idle)
        last.daemon = True
        last.start()

    def _close_idle(self) -> None:
        with self._changing:
            for connection in self._connections:
                _end_of_input(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changing:
            full = len(self._connections) >= _MAX_CONNECTIONS
            if not full:
                self._connections.add(request)
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        connection = request
        try:
            request.settimeout(_TIMEOUT)
            if self._tls is not None:
                connection = self._tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
                self._replace(request, connection)
                connection.do_handshake()
            self.finish_request(connection, client_address)
        except OSError:  # the client is gone, too slow, or speaks no TLS
            pass
        finally:
            self._replace(connection, None)
            self.shutdown_request(connection)

    def _replace(self, old: socket.socket, new: socket.socket | None) -> None:
        with self._changing:
            self._connections.discard(old)
            if new is not None:
                self._connections.add(new)


def _end_of_input(connection: socket.socket) -> None:
    """Whoever waits to read from `connection` reads its end."""
    with contextlib.suppress(OSError):
        # The plain socket's method: a TLS socket's own would drop the state that another thread uses.
        socket.socket.shutdown(connection, socket.SHUT_RD)


def _tls_context(settings: Settings) -> ssl.SSLContext | None:
    if settings.certfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.certfile, settings.keyfile, settings.key_password or '')
    except OSError:  # (ssl.SSLError is one) perhaps the very reason why the server does not start
        return None
    return context


class _Handler(BaseHTTPRequestHandler):
    server: FailureServer
    protocol_version = 'HTTP/1.1'

    def handle(self) -> None:
        """One request, whatever its method is."""
        self.close_connection = True
        self.raw_requestline = self.rfile.readline(1 << 16)
        if self.raw_requestline and self.parse_request():
            self._answer()
        self.wfile.flush()
        self._linger()

    def _answer(self) -> None:
        title, text = self.server.title, self.server.text()
        accept = ','.join(self.headers.get_all('Accept', ())).encode('latin-1', 'replace')
        if accepts(accept, b'text/html'):
            kind = 'text/html'
            body = _PAGE.format(title=html.escape(title), text=html.escape(text)).encode('utf-8', 'replace')
        else:
            kind = 'text/plain'
            body = f'{title}\n\n{text}\n'.encode('utf-8', 'replace')
        self.send_response(500)
        self.send_header('Content-Type', f'{kind}; charset=utf-8')
        self.send_header('Content-Length', str(len(body)))
        self.send_header('Cache-Control', 'no-store')
        self.send_header('Connection', 'close')
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)

    def _linger(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.settimeout(_LINGER)
            if not isinstance(self.connection, ssl.SSLSocket):
                self.connection.shutdown(socket.SHUT_WR)
            left = _LINGER_BYTES
            while left > 0 and (data := self.connection.recv(65536)):
                left -= len(data)

    def version_string(self) -> str:
        return 'Skitai'

    def log_message(self, format: str, *args: Any) -> None:
        pass
