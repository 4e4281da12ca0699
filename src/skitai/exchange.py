"""One HTTP request and its one answer: the interface between the engine and what it serves.

Belongs here: what every kind of mount (an Atila app, files, WSGI, ASGI) may ask of a request and do
to answer it. Doesn't: how bytes reach the socket (`engine/`), what a request means (`atila`).

An engine makes an `Exchange` for each request, asks the mount table for a `Handler`, reads the body
that the handler wants, and calls it. The handler answers by exactly one of `respond`, `stream` and
`asgi`; whoever answers first wins, later answers are dropped (a request that timed out has
been answered with 503 while its service still runs). A request is given up when its time is over or its
client gone: `when_given_up` tells whoever works for it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .body import Body
    from .mounts.table import Mount

#: Header names and values as they travel: lower-case latin-1 names, latin-1 values, already checked.
RawHeaders = list[tuple[bytes, bytes]]


class Handler(Protocol):
    """What a mount gives the engine for one request (it may be shared by many requests).

    `on_loop`: the call returns at once and is made where the request arrived, without waiting for a
    service thread. `body_limit`: the largest body in bytes that is read before the call (a larger one
    gets 413 before a byte of it is read), see `BodyHandler`; None leaves the body unread. The call is made
    in a context (`contextvars`) of its own.
    """

    on_loop: bool
    body_limit: int | None

    def __call__(self, exchange: Exchange) -> None: ...


class BodyHandler(Handler, Protocol):
    """A handler whose `body_limit` is not None.

    `make_body` is called when a request's head is there, and must not raise. The engine writes the body to
    what it gets, and closes that when the request is over.
    """

    def make_body(self, exchange: Exchange) -> Body: ...


class Exchange:
    """A request as the engine received it. Engines subclass it and implement the answering half.

    Touched by one thread at a time: the one on which the engine or the handler runs; a handler that
    hands the exchange to another thread stops using it. `answered` is the only race (answer against
    time-out) and is decided by the engine.
    """

    __slots__ = (
        'body',
        'body_received',
        'fields',
        'finished',
        'handler',
        'local_path',
        'method',
        'mount',
        'path',
        'path_params',
        'scope',
        'sent',
        'started',
        'status',
        'transaction',
        'user_name',
    )

    #: The ASGI scope: type, http_version, scheme, client, server, raw_path, query_string, headers.
    scope: dict[str, Any]
    method: str
    #: The decoded path. `local_path` is the part below the mount point, for an app at '/' the same.
    path: str
    local_path: str
    mount: Mount | None
    handler: Handler | None
    #: Set by the router: the values of the path's parameters, in their order.
    path_params: tuple[Any, ...] | None
    body: Body | None
    body_received: int
    #: What was answered: the status, and the bytes of the body handed to the engine.
    status: int
    sent: int
    #: `time.monotonic ()` at arrival and when the answer was complete (0.0 before).
    started: float
    finished: float
    #: For the access log: the authenticated user's name; the (global, local) transaction ids.
    user_name: str | None
    transaction: tuple[str, str] | None
    #: Header fields by lower-case name; of a repeated field the last value (see `header`).
    fields: dict[bytes, bytes]

    # -- the request -----------------------------------------------------------------------------

    def header(self, name: bytes) -> bytes | None:
        """The value of the header field `name` (lower-case); repeated fields joined (RFC 9110, 5.3)."""
        value = self.fields.get(name)
        if value is not None and len(self.fields) != len(self.scope['headers']):
            separator = b'; ' if name == b'cookie' else b', '
            return separator.join(v for k, v in self.scope['headers'] if k == name)
        return value

    @property
    def raw_path(self) -> bytes:
        """The path as sent, percent-encoded, without the query."""
        raw: bytes = self.scope['raw_path'] or b'/'
        return raw

    @property
    def query_string(self) -> bytes:
        query: bytes = self.scope['query_string']
        return query

    @property
    def target(self) -> str:
        """Path and query as sent."""
        query = self.query_string
        raw = self.raw_path + b'?' + query if query else self.raw_path
        return raw.decode('latin-1')

    @property
    def client(self) -> tuple[str, int]:
        """The peer's address and port; ('', 0) where there is none (a Unix socket)."""
        client = self.scope.get('client')
        return (client[0], int(client[1])) if client else ('', 0)

    @property
    def http_version(self) -> str:
        """'1.0', '1.1', '2.0' or '3.0' (SPEC RQ-03)."""
        version: str = self.scope['http_version']
        return version if '.' in version else version + '.0'

    @property
    def scheme(self) -> str:
        scheme: str = self.scope['scheme']
        return scheme

    @property
    def content_length(self) -> int | None:
        """The declared length of the request's body, or None (chunked, or no body)."""
        value = self.fields.get(b'content-length')
        return int(value) if value is not None and value.isdigit() else None

    # -- the answer ------------------------------------------------------------------------------

    @property
    def answered(self) -> bool:
        """Whether an answer has begun (ours, or the engine's 503 for a request that took too long)."""
        raise NotImplementedError

    def respond(self, status: int, headers: RawHeaders, body: bytes) -> None:
        """Answer with a whole body. `headers` and `status` (200 to 599) are already checked."""
        raise NotImplementedError

    def stream(
        self, status: int, headers: RawHeaders, chunks: Iterator[bytes], *, quick: bool = False
    ) -> None:
        """Answer with `chunks`, each asked for when the client has taken the one before.

        `next (chunks)` runs on a service thread, or, where `quick` says that it never blocks for long
        (a file), on any of the engine's threads. A slow reader holds no thread. `chunks.close ()` is
        called when the stream ends, fails or the client is gone. If `next` raises, the connection is
        aborted, so that the client cannot take a part for the whole (PITFALLS, Errors).
        """
        raise NotImplementedError

    def receive(self, handler: BodyHandler) -> None:
        """Read the body that a handler has left unread, up to its limit, then call `handler`.

        For a handler that decides whether the body is wanted. It returns afterwards and does no more; the
        other is called on a service thread, now or later.
        """
        raise NotImplementedError

    def run_coroutine(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run `coroutine` on the event loop; it is cancelled when the client goes or time is up.

        It is started in any case: if the request is over by then (`answered`), it sees that itself.
        """
        raise NotImplementedError

    def when_given_up(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the engine gives the request up: it answers in the service's stead, or sees
        that the client has gone before its answer was complete.

        On any thread, at once if that has happened, perhaps more than once: it must not block. It is kept as
        long as the exchange, so it should hold neither that nor what a request is made of.
        """
        raise NotImplementedError

    def notice_client(self) -> None:
        """Give the request up when its client goes, though a service thread works for it: that one waits.

        Called on any thread, as often as one likes. The client cannot be watched while the request's body is
        unread: then nothing happens.
        """
        raise NotImplementedError

    def notice_client_soon(self) -> None:
        """The same if there is no answer in a moment: most requests are answered before, and pay nothing."""
        raise NotImplementedError

    def give_up(self, seconds: float) -> None:
        """Answer 503 in the service's stead, if there is no answer yet: it has had its `seconds`.

        On any thread.
        """
        raise NotImplementedError

    def on_service_thread(self, function: Callable[[], None]) -> None:
        """Run `function` on a service thread, after those that wait for one."""
        raise NotImplementedError

    async def receive_message(self) -> dict[str, Any]:
        """The next message of ASGI's `receive`, for a body that was left unread; on the event loop."""
        raise NotImplementedError

    async def asgi(self, application: Callable[..., Any], root_path: str) -> None:
        """Let an ASGI application answer, in the caller's task.

        What it sends must be sound: `mounts.asgi` and `atila.contents` see to that. If it returns in the
        middle of its answer, the connection is aborted.
        """
        raise NotImplementedError
