"""The tables: who runs, and at what. A new row is an entry here and, for a new contender, its script.

A contender is one server process with one worker, its access log off, listening on 127.0.0.1. It serves
every workload that names it. Scripts in `apps` run in the environment that runs bench.py (ours), scripts
in `peers` in `.bench-venv`.
"""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, slots=True)
class Contender:
    name: str
    #: Folder of its script, which is where the command runs, and so the environment.
    room: Literal['apps', 'peers']
    #: The program (of that environment's `bin`) and its arguments; `{port}` is replaced. The port is in
    #: the environment variable PORT as well.
    command: tuple[str, ...]
    environ: tuple[tuple[str, str], ...] = ()
    #: Standard output goes to /dev/null instead of the file shown when the server doesn't start.
    discard_output: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Workload:
    name: str
    title: str
    path: str
    #: What every contender must answer with status 200: text exactly, anything else as JSON of that value.
    expected: object
    contenders: tuple[str, ...]
    #: Open connections, each with one request at a time; None: what `--connections` says.
    connections: int | None = None
    #: Contenders that the table shows ratios to.
    bases: tuple[str, ...] = ()


def _uvicorn(app: str) -> tuple[str, ...]:
    return (
        *('uvicorn', app, '--host', '127.0.0.1', '--port', '{port}', '--workers', '1'),
        *('--loop', 'uvloop', '--http', 'httptools', '--no-access-log', '--log-level', 'warning'),
    )


def _granian(app: str, interface: str, *more: str) -> tuple[str, ...]:
    return (
        *('granian', app, '--interface', interface, '--host', '127.0.0.1', '--port', '{port}'),
        *('--workers', '1', '--no-ws', '--no-access-log', '--log-level', 'warning', *more),
    )


_UVLOOP = ('--loop', 'uvloop')
_ATILA = ('python', 'atila_hello.py')
_GUNICORN = (
    *('gunicorn', 'hello_flask:app', '--bind', '127.0.0.1:{port}', '--workers', '1'),
    *('--worker-class', 'gthread', '--threads', '4', '--log-level', 'warning'),
)

CONTENDERS: tuple[Contender, ...] = (
    Contender('atila', 'apps', _ATILA),
    # As it runs by default: a line for each request, here to /dev/null.
    Contender('atila-log', 'apps', _ATILA, environ=(('ACCESS_LOG', '1'),), discard_output=True),
    # `asginl` is ASGI without the lifespan protocol, the fastest way to run this one.
    Contender('asgi-granian', 'peers', _granian('hello_asgi:app', 'asginl', *_UVLOOP)),
    # Granian calls this one experimental; from Python 3.12 on it is the same as the one above.
    Contender(
        'asgi-granian-rust', 'peers', _granian('hello_asgi:app', 'asginl', *_UVLOOP, '--task-impl', 'rust')
    ),
    Contender('blacksheep-granian', 'peers', _granian('hello_blacksheep:app', 'asgi', *_UVLOOP)),
    Contender('falcon-granian', 'peers', _granian('hello_falcon:app', 'wsgi', '--blocking-threads', '4')),
    Contender('starlette-async', 'peers', _uvicorn('hello_starlette:coroutine')),
    Contender('starlette-def', 'peers', _uvicorn('hello_starlette:plain')),
    Contender('fastapi-async', 'peers', _uvicorn('hello_fastapi:coroutine')),
    Contender('fastapi-def', 'peers', _uvicorn('hello_fastapi:plain')),
    Contender('flask-gunicorn', 'peers', _GUNICORN),
)

_ALL = tuple(contender.name for contender in CONTENDERS)
_BASES = ('asgi-granian', 'asgi-granian-rust', 'fastapi-def')

WORKLOADS: tuple[Workload, ...] = (
    Workload('hello', '"Hello, World"', '/', 'Hello, World', _ALL, bases=_BASES),
    Workload('json', 'JSON', '/json', {'message': 'Hello, World'}, _ALL, bases=_BASES),
    Workload(
        'latency',
        '"Hello, World", one request at a time',
        '/',
        'Hello, World',
        ('atila', 'atila-log', *_BASES),
        connections=1,
        bases=_BASES,
    ),
)
