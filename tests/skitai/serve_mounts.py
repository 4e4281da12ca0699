"""Serves a mount table on the real engine, in a process of its own: run by the fixture `serve` (conftest).

    serve_mounts.py DIRECTORY MODULE:FUNCTION DESCRIPTOR ARGUMENTS SETTINGS [UID]

DIRECTORY is put on the path, FUNCTION makes the table from ARGUMENTS (JSON), or the table and
the ASGI mounts that have a lifespan, DESCRIPTOR is a listening
socket, SETTINGS (JSON) are fields of `skitai.config.Settings`. It becomes the user UID when
everything is imported (the interpreter may be out of that user's reach). SERVE_WITH=stock in the environment:
on the fallback engine. Ends at SIGTERM.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack

import uvloop

from skitai.config import Settings
from skitai.engine.direct import DirectEngine
from skitai.engine.stock import StockEngine


def main(directory: str, target: str, descriptor: str, arguments: str, settings: str, uid: str = '') -> None:
    sys.path.insert(0, directory)
    module, _, function = target.partition(':')
    made = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    table, applications = made if isinstance(made, tuple) else (made, [])
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    engine_class = StockEngine if os.environ.get('SERVE_WITH') == 'stock' else DirectEngine
    engine = engine_class(table, Settings(**json.loads(settings)), loop, None)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    if uid:
        os.setuid(int(uid))

    async def serve() -> None:
        async with AsyncExitStack() as stack:
            for application in applications:
                await stack.enter_async_context(application.lifespan())
            engine.start(socket.socket(fileno=int(descriptor)))
            await stop.wait()
            await engine.stop()

    loop.run_until_complete(serve())


if __name__ == '__main__':
    main(*sys.argv[1:])
