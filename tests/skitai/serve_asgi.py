"""Serves a mount table as an ASGI application under uvicorn: `serve_mounts.py` with the other engine.

    serve_asgi.py DIRECTORY MODULE:FUNCTION DESCRIPTOR ARGUMENTS SETTINGS

Each finished exchange is written to standard error: `access METHOD PATH STATUS SENT`.
"""

from __future__ import annotations

import importlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import uvicorn

from skitai.config import Settings
from skitai.engine.asgi import AsgiEngine
from skitai.exchange import Exchange
from skitai.mounts.asgi import AsgiMount
from skitai.mounts.table import MountTable


def log_access(exchange: Exchange) -> None:
    line = f'access {exchange.method} {exchange.path} {exchange.status} {exchange.sent}'
    print(line, file=sys.stderr, flush=True)


def main(directory: str, target: str, descriptor: str, arguments: str, settings: str) -> None:
    sys.path.insert(0, directory)
    module, _, function = target.partition(':')
    made = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    table, mounts = made if isinstance(made, tuple) else (made, [])
    assert isinstance(table, MountTable)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for mount in mounts:
                assert isinstance(mount, AsgiMount)
                await stack.enter_async_context(mount.lifespan())
            yield

    engine = AsgiEngine(table, Settings(**json.loads(settings)), log_access, lifespan)
    config = uvicorn.Config(engine, lifespan='on', log_level='error', access_log=False)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(descriptor))])


if __name__ == '__main__':
    main(*sys.argv[1:])
