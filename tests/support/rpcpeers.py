"""For tests of RPC: servers on free ports, a way to them that needs no HTTP client of ours, and values."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

from aquests import Thread

#: Seconds until something that must happen counts as not happening.
DEADLINE = 20.0


@contextlib.contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    """The port of `server`, which runs in a thread until the block's end."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(DEADLINE)


def sending(port: int, path: str = '/RPC2') -> Any:
    """A `Send`: a Task on a thread, with a connection of its own."""

    def send(method: str, body: bytes, content_type: str, answer: Callable[..., Any], call: Any) -> Thread:
        def ask() -> Any:
            connection = http.client.HTTPConnection('127.0.0.1', port, timeout=DEADLINE)
            with contextlib.closing(connection):
                connection.request('POST', path, body, {'Content-Type': content_type})
                reply = connection.getresponse()
                return answer(reply.status, reply.reason, reply.getheader('Content-Type') or '', reply.read())

        return Thread(ask)

    return send


class Scripted(http.server.HTTPServer):
    """Answers each POST with what `reply (body)` gives: the body, or (status, content type, body)."""

    def __init__(self, reply: Callable[[bytes], Any], content_type: str) -> None:
        super().__init__(('127.0.0.1', 0), _Handler)
        self.reply, self.content_type = reply, content_type
        #: (content type, body) of the requests.
        self.got: list[tuple[str, bytes]] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Scripted

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers['Content-Length']))
        self.server.got.append((self.headers['Content-Type'], body))
        reply = self.server.reply(body)
        status, content_type, reply = (
            reply if type(reply) is tuple else (200, self.server.content_type, reply)
        )
        self.send_response(status)
        self.send_header('Content-Type', content_type)
        self.send_header('Content-Length', str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *args: Any) -> None: ...


# XML has no surrogates and few control characters; the standard library writes '\r' so that '\n' arrives.
characters = st.characters(
    exclude_categories=['Cs', 'Cc'], exclude_characters='\ufffe\uffff'
) | st.sampled_from('\t\n')
texts = st.text(characters)
moments = st.datetimes().map(lambda moment: moment.replace(microsecond=0))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**31), 2**31 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.binary()
    | moments
)
#: What XML-RPC has.
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)
