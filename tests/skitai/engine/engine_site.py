"""What the tests of `engine.asgi` serve: handlers that use one part of the `Exchange` each, by name."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from skitai.body import Body
from skitai.exchange import Exchange, Handler
from skitai.mounts.table import MountTable

LIMIT = 2 << 20
events: list[str] = []
released = threading.Event()


class Of:
    """A handler made of a function."""

    def __init__(self, function: Callable[[Any], None], on_loop: bool, body_limit: int | None) -> None:
        self.function = function
        self.on_loop = on_loop
        self.body_limit = body_limit

    def make_body(self, exchange: Exchange) -> Body:
        return Body()

    def __call__(self, exchange: Exchange) -> None:
        self.function(exchange)


HANDLERS: dict[str, Handler] = {}


def handler(on_loop: bool = False, body_limit: int | None = LIMIT) -> Callable[..., Any]:
    def add(function: Callable[[Any], None]) -> Callable[[Any], None]:
        HANDLERS[function.__name__] = Of(function, on_loop, body_limit)
        return function

    return add


def respond(exchange: Exchange, text: str) -> None:
    exchange.respond(200, [(b'content-length', b'%d' % len(text))], text.encode())


@handler()
def thread(exchange: Exchange) -> None:
    respond(exchange, threading.current_thread().name)


@handler(on_loop=True)
def loop(exchange: Exchange) -> None:
    respond(exchange, threading.current_thread().name)


@handler()
def body(exchange: Exchange) -> None:
    body = exchange.body
    text = 'none' if body is None else f'{body.size} {len(body.open().read())} {body.in_memory}'
    respond(exchange, f'{text} {exchange.body_received}')


@handler(on_loop=True, body_limit=None)
def seen(exchange: Exchange) -> None:
    respond(exchange, ' '.join(events))


@handler(on_loop=True, body_limit=None)
def release(exchange: Exchange) -> None:
    released.set()
    respond(exchange, '')


@handler(on_loop=True, body_limit=None)
def hold(exchange: Exchange) -> None:
    released.clear()
    respond(exchange, '')


@handler()
def wait(exchange: Exchange) -> None:
    """Holds a thread until `/release`."""
    events.append('waiting')
    assert released.wait(30)
    events.append(f'answered:{exchange.answered}')
    respond(exchange, 'waited')


@handler()
def big(exchange: Exchange) -> None:
    exchange.respond(200, [], b'b' * 3_000_000)


@handler()
def twice(exchange: Exchange) -> None:
    respond(exchange, 'first')
    respond(exchange, 'second')
    exchange.stream(200, [], closing('twice', iter([b'third'])))


@handler()
def fails(exchange: Exchange) -> None:
    raise RuntimeError('secret detail')


@handler()
def nothing(exchange: Exchange) -> None:
    pass


def closing(name: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    class Closing:
        def __iter__(self) -> Iterator[bytes]:
            return self

        def __next__(self) -> bytes:
            return next(chunks)

        def close(self) -> None:
            events.append(f'closed:{name}')

    return Closing()


@handler()
def stream(exchange: Exchange) -> None:
    chunks = (b'%d;' % i + b'' for i in range(100))
    exchange.stream(200, [], closing('stream', chunks))


@handler()
def threads(exchange: Exchange) -> None:
    """The names of the threads that make the chunks."""
    exchange.stream(200, [], (threading.current_thread().name.encode() + b' ' for _ in range(10)))


@handler(on_loop=True, body_limit=None)
def quick(exchange: Exchange) -> None:
    exchange.stream(200, [], closing('quick', iter([b'x' * 1000] * 100)), quick=True)


def endless_chunks(name: str, size: int = 100_000) -> Iterator[bytes]:
    def chunks() -> Iterator[bytes]:
        while True:
            events.append(name)
            yield b'x' * size

    return closing(name, chunks())


@handler()
def endless(exchange: Exchange) -> None:
    exchange.stream(200, [], endless_chunks('endless'))


@handler(on_loop=True, body_limit=None)
def endless_quick(exchange: Exchange) -> None:
    exchange.stream(200, [], endless_chunks('endless_quick'), quick=True)


async def relay(exchange: Exchange, chunks: AsyncIterator[bytes]) -> None:
    """Answers with the chunks, as an ASGI application in the exchange's own task."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        async for chunk in chunks:
            await send({'type': 'http.response.body', 'body': chunk, 'more_body': True})
        await send({'type': 'http.response.body', 'body': b'', 'more_body': False})

    try:
        await exchange.asgi(application, '')
    finally:
        await chunks.aclose()  # type: ignore[attr-defined]


@handler()
def endless_async(exchange: Exchange) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b'x' * 100_000
        finally:
            events.append('closed:endless_async')

    exchange.run_coroutine(relay(exchange, chunks()))


@handler()
def stream_async(exchange: Exchange) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for i in range(100):
            await asyncio.sleep(0)
            yield b'%d;' % i

    exchange.run_coroutine(relay(exchange, chunks()))


@handler()
def fails_half_way(exchange: Exchange) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'a part'
        raise RuntimeError('secret detail')

    exchange.stream(200, [], closing('fails_half_way', chunks()))


@handler()
def exits_half_way(exchange: Exchange) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'a part'
        raise SystemExit(3)

    exchange.run_coroutine(relay(exchange, chunks()))


@handler(on_loop=True)
def coroutine(exchange: Exchange) -> None:
    async def run() -> None:
        await asyncio.sleep(0)
        exchange.on_service_thread(lambda: respond(exchange, threading.current_thread().name))

    exchange.run_coroutine(run())


@handler(on_loop=True)
def exits(exchange: Exchange) -> None:
    async def run() -> None:
        raise SystemExit(3)

    exchange.run_coroutine(run())


@handler(on_loop=True)
def fails_later(exchange: Exchange) -> None:
    def fail() -> None:
        raise RuntimeError('secret detail')

    exchange.on_service_thread(fail)


@handler(on_loop=True)
def sleeps(exchange: Exchange) -> None:
    async def run() -> None:
        events.append('sleeping')
        try:
            await asyncio.sleep(60)
        finally:
            events.append('cancelled')

    exchange.run_coroutine(run())


class App:
    def find(self, exchange: Exchange) -> Handler | None:
        if exchange.path == '/broken':
            raise RuntimeError('no route to anything')
        return HANDLERS.get(exchange.local_path.strip('/') or 'loop')


def site() -> MountTable:
    table = MountTable()
    table.add('/', App())
    return table
