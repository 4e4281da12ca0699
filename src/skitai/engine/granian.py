"""Granian, and everything that relies on its inner names: nowhere else are they known.

They are no public API: the minor version is pinned in pyproject.toml, tests/skitai/engine/test_granian.py
asks for each of these facts, and where the scheduler's is missing the worker falls back to Granian's own
scheduler (`StockServer`, logged once).

- `CallbackScheduler._schedule_fn (watcher)` is called on one of Granian's Python threads for each
  request. An exception that leaves it is neither reported nor cleared: none may leave it.
- `watcher.scope`, `watcher.proto`; dropping the watcher without an answer gives the client a 500.
- `proto.send (message)` and `proto.receive ()` never block. They return either an awaitable that is
  ready (of a type that is not exported), or one with `done ()`, `result ()` and `add_done_callback`
  that calls `loop.call_soon_threadsafe (callback, awaitable, context = ...)` when it is. That `loop` is
  the object given to `serve_mtr`: ours (`InlineLoop`) calls the callback at once, on the Granian thread
  that completed it. So bodies are received and streams are sent with neither the event loop nor a
  waiting thread.
- Once the body is exhausted, one more `receive ()` completes when the client is gone or the answer
  is complete. After that `send` swallows everything silently.
- A status outside 200-599 or a header that cannot be encoded aborts the process: `headers` checks.
- A stream that is dropped half-way ends as if complete, and there is no other way to end it: see
  `direct.DirectExchange.abort`.
- It makes its threads one by one: when a piece of work (a request, or the completion of an awaitable) is
  put into their queue and more wait there than threads seem idle. A thread seems idle for a moment after
  it has taken something, and what comes in that moment may wait, with no thread made, until the next
  look: see `stir`.
- When told to stop it closes connections from which it has read nothing yet, although their request may
  be on its way: so `pause` comes first, which keeps the listening descriptor from giving it new ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import resource
import socket
import stat
import threading
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable
from contextvars import Context
from time import monotonic
from typing import Any

from granian.http import HTTP1Settings, HTTP2Settings

from ..config import Settings
from . import tls
from .asgi import AnswerFailed
from .crew import Crew

log = logging.getLogger('skitai.engine')

#: Granian's extension module, whose names have no complete type stubs.
_granian: Any = importlib.import_module('granian._granian')

#: Threads of Granian's beyond the service threads: they route, complete reads and writes, send files.
HEADROOM = 2
#: Seconds (ten years) after which the server would end a thread that has nothing to do. It must not: `crew`
#: counts on those that are awake, and the server does not always clean up after one that ended, so that all
#: others would sleep for ever.
THREADS_IDLE = 10 * 365 * 86400
#: Descriptors that are not connections: files, pipes, the standard streams.
_SPARE_DESCRIPTORS = 256
_MOST_CONNECTIONS = 65536


class InlineLoop:
    """Stands in for the event loop in Granian's awaitables: completes them where they complete."""

    __slots__ = ('_crew',)

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def call_soon_threadsafe(
        self, callback: Callable[..., None], *args: Any, context: Context | None = None
    ) -> None:
        member = self._crew.begin()
        try:
            callback(*args)
        except BaseException:
            log.exception('a completion failed')
        finally:
            if member is not None:
                self._crew.end(member)

    def call_soon(self, callback: Callable[..., None], *args: Any, context: Context | None = None) -> None:
        """Called where an awaitable is found complete while its callback is being added.

        On the adder's thread, in the middle of its work, and that may be the event loop's: which belongs to
        no crew and must never be put to sleep in one.
        """
        callback(*args)


class Wake:
    """A callback for one awaitable that tells whether it was called inside `add_done_callback`.

    An awaitable may complete between the look at `done ()` and the adding of the callback; it is then
    called at once, in the same frame. Continuing there would nest a frame for each message.
    """

    __slots__ = ('resume', 'state')

    def __init__(self, resume: Callable[[], None]) -> None:
        self.resume = resume
        self.state: Any = threading.get_ident()  # the adder's thread, while it adds

    def wait(self, awaitable: Any) -> bool:
        """True when `awaitable` is ready now; False when `resume` will be called, on another thread."""
        if not hasattr(awaitable, 'done') or awaitable.done():  # Granian's ready awaitable has no `done`
            return True
        awaitable.add_done_callback(self, context=None)
        inline = self.state is True
        self.state = None
        return inline

    def __call__(self, awaitable: Any) -> None:
        # The awaitable holds this object, and what is resumed holds the awaitable: Granian's types take no
        # part in garbage collection, so the circle must be broken here, or the request is kept for ever.
        resume, self.resume = self.resume, _nothing
        if self.state == threading.get_ident():
            self.state = True
        else:
            resume()


def _nothing() -> None: ...


def stir(proto: Any) -> None:
    """Have the server look whether to make a thread. For a request whose body was read to its end.

    Then `receive ()` waits for the client to go, and what is cancelled goes to the threads, to be freed.
    """
    cancel = getattr(proto.receive(), 'cancel', None)  # None when the client has gone
    if cancel is not None:
        cancel()


class _Server:
    """Accepts connections on a socket until `stop ()`. What is done with a request is a subclass's."""

    def __init__(self, settings: Settings, loop: AbstractEventLoop) -> None:
        self.settings = settings
        self.loop = loop
        self._signal = _granian.WorkerSignal()
        self._stopped = asyncio.Event()
        self._descriptor = -1  # what Granian accepts on

    def _serve(self, listener: socket.socket, scheduler: Any, loop: Any, threads: int) -> None:
        """`listener` is bound; it stays the caller's to close."""
        settings = self.settings
        certfile, keyfile, copied = settings.certfile, settings.keyfile or settings.certfile, None
        if keyfile is not None:
            pkcs8 = tls.as_pkcs8(keyfile, settings.key_password)
            copied = pkcs8 if pkcs8 != keyfile else None
            keyfile = pkcs8
        is_unix = listener.family == socket.AF_UNIX
        self._descriptor = os.dup(listener.fileno())
        holder = _granian.SocketHolder(self._descriptor, is_unix, settings.backlog)
        worker = _granian.ASGIWorker(
            worker_id=1,
            sock=(None, holder),
            ipc=None,
            threads=1,
            blocking_threads=threads,
            py_threads=threads,
            py_threads_idle_timeout=THREADS_IDLE,
            backpressure=_most_connections(),
            http_mode='auto' if settings.http2 else '1',
            http1_opts=HTTP1Settings(header_read_timeout=int(settings.keep_alive * 1000)),
            http2_opts=HTTP2Settings(),
            websockets_enabled=True,
            static_files=None,
            ssl_enabled=certfile is not None,
            ssl_cert=certfile,
            ssl_key=keyfile,
            ssl_key_password=None,
            ssl_protocol_min='tls1.2',
            ssl_ca=None,
            ssl_crl=[],
            ssl_client_verify=False,
            metrics=(None, None),
        )
        self._signal.add_cb(lambda: self.loop.call_soon_threadsafe(self._stopped.set))
        (worker.serve_mtr_uds if is_unix else worker.serve_mtr)(scheduler, loop, self._signal)
        if copied is not None:
            os.unlink(copied)  # read by now

    def pause(self) -> None:
        """Accept no more; connections that arrive stay in the socket's queue, for other processes.

        The descriptor that Granian accepts on is put on a socket to which nobody connects.
        """
        with socket.socket() as nobody:
            nobody.bind(('127.0.0.1', 0))
            nobody.listen(1)
            nobody.setblocking(False)
            os.dup2(nobody.fileno(), self._descriptor)

    async def stop(self, timeout: float) -> bool:
        """Accept no more and let the requests in flight finish; False if some had not after `timeout` s."""
        self._signal.set()
        try:
            await asyncio.wait_for(self._stopped.wait(), timeout)
        except TimeoutError:
            return False
        return True


def direct_dispatch_is_possible() -> bool:
    """Whether this Granian has the names that direct dispatch needs."""
    return hasattr(getattr(_granian, 'CallbackScheduler', None), '_schedule_fn')


class DirectServer(_Server):
    """Calls `dispatch (watcher, monotonic time)`, which must not raise, on Granian's threads.

    Also `rouse ()`, when work may wait though more threads could be made: it is to `stir` a request.
    """

    def __init__(self, settings: Settings, loop: AbstractEventLoop, rouse: Callable[[], None]) -> None:
        super().__init__(settings, loop)
        self._threads = settings.threads + HEADROOM
        self._crew = Crew(self._threads, rouse)

    def start(self, listener: socket.socket, dispatch: Callable[[Any, float], None]) -> None:
        crew = self._crew
        here = crew.here

        def schedule(watcher: Any) -> None:  # never nested: the server calls it from its threads' loop
            try:
                member = here.member
            except AttributeError:
                member = crew.join()
            member.since = since = monotonic()
            if crew.off_guard:
                crew.alert()
            dispatch(watcher, since)
            member.since = 0.0
            if crew.awake > crew.wanted:
                crew.sleep(member)

        scheduler = _scheduler_class()(self.loop, None, None, None, None)
        scheduler._schedule_fn = schedule
        crew.start()
        self._serve(listener, scheduler, InlineLoop(crew), self._threads)

    async def stop(self, timeout: float) -> bool:
        self._crew.stop()
        return await super().stop(timeout)


class StockServer(_Server):
    """Calls an ASGI application on the event loop, by Granian's own scheduler: the fallback."""

    def start(self, listener: socket.socket, application: Callable[..., Awaitable[None]]) -> None:
        futures: Any = importlib.import_module('granian._futures')

        async def call(scope: dict[str, Any], proto: Any) -> None:
            try:
                await application(scope, proto.receive, proto.send)
            except AnswerFailed:  # logged; ending here would look like a complete answer
                break_off((scope['client'][0], int(scope['client'][1])))

        wrapped = futures._future_watcher_wrapper(call)
        self._serve(listener, futures._new_cbscheduler(self.loop, wrapped, impl_asyncio=True), self.loop, 1)


def break_off(peer: tuple[str, int]) -> None:
    """Shut down this process's connection to `peer`, so that it cannot take a part for the whole."""
    for name in os.listdir('/dev/fd'):
        try:
            if not stat.S_ISSOCK(os.stat(int(name)).st_mode):
                continue
            duplicate = os.dup(int(name))
        except OSError:
            continue  # closed meanwhile (the listing's own descriptor, or a connection)
        try:
            connection = socket.socket(fileno=duplicate)
        except OSError:  # another file has taken the number's place
            os.close(duplicate)
            continue
        try:
            with connection:
                if connection.type == socket.SOCK_STREAM and connection.getpeername()[:2] == peer:
                    connection.shutdown(socket.SHUT_RDWR)
                    _open_window(connection)
                    return
        except OSError:
            continue  # not connected
    log.debug('no connection to %s left to abort', peer)


def _open_window(connection: socket.socket) -> None:
    """Take what the peer has sent already: one that waits for room to send on would never see the end.

    With room it sends, and is told that nobody listens.
    """
    with contextlib.suppress(OSError):
        while connection.recv(1 << 16, socket.MSG_DONTWAIT):
            pass


def _scheduler_class() -> Any:
    """Granian's scheduler with nothing but our function in it."""

    class Scheduler(_granian.CallbackScheduler):  # type: ignore[misc]  # Granian ships no types for it
        __slots__ = ()

        def __init__(self, *args: Any) -> None:
            super().__init__()

    return Scheduler


def _most_connections() -> int:
    """Connections that this process may hold, after raising its limit of descriptors as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_CONNECTIONS + _SPARE_DESCRIPTORS
    if soft < wanted and (hard == resource.RLIM_INFINITY or soft < hard):
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        except (ValueError, OSError):
            soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(64, min(soft - _SPARE_DESCRIPTORS, _MOST_CONNECTIONS))
