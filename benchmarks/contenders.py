"""The tables: who runs, and at what. A new row is an entry here and, for a new contender, its script.

A contender is one server process with one worker, its access log off, listening on 127.0.0.1. It serves
every workload that names it. Scripts in `apps` run in the environment that runs bench.py (ours), scripts
in `peers` in `.bench-venv`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import database


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
    #: What every contender must answer with status 200: text exactly, anything else as JSON of that value,
    #: or of one that the function finds right.
    expected: object | Callable[[object], bool]
    contenders: tuple[str, ...]
    #: Open connections, each with one request at a time; None: what `--connections` says.
    connections: int | None = None
    #: Contenders that the table shows ratios to.
    bases: tuple[str, ...] = ()
    #: A GET of this path sets the cookies with which `path` is asked for.
    sign_in: str | None = None
    #: Runs with a PostgreSQL server: see database.py.
    database: bool = False


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
    Contender('atila-page', 'apps', ('python', 'atila_page.py')),
    Contender('fastapi-page', 'peers', _uvicorn('page_fastapi:app')),
    Contender('atila-database', 'apps', ('python', 'atila_database.py')),
    Contender('fastapi-asyncpg', 'peers', _uvicorn('database_asyncpg:app')),
    Contender('fastapi-sqlalchemy', 'peers', _uvicorn('database_sqlalchemy:app')),
)

_DATABASE = ('atila-database', 'fastapi-asyncpg', 'fastapi-sqlalchemy')
_ALL = tuple(
    contender.name
    for contender in CONTENDERS
    if not contender.name.endswith('-page') and contender.name not in _DATABASE
)
_BASES = ('asgi-granian', 'asgi-granian-rust', 'fastapi-def')

_ROWS = ''.join(
    f'<tr><td>{number}</td><td>item &lt;{number}&gt;</td><td>{number * 1.5}</td></tr>\n'
    for number in range(10)
)
_PAGE = f"""<!doctype html>
<html>
<head><title>Items</title></head>
<body>
<h1>Items</h1>
<p>Signed in as hans. Hans Roh, 30, hans@example.com</p>
<table>
{_ROWS}</table>
<p>Page 2, sorted up.</p>
</body>
</html>"""

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
    Workload(
        'page',
        'A session read, five inspected parameters, a rendered template',
        '/page?name=Hans+Roh&age=30&email=hans%40example.com&page=2&sort=up',
        _PAGE,
        ('atila-page', 'fastapi-page'),
        bases=('fastapi-page',),
        sign_in='/',
    ),
    Workload(
        'map',
        'Three Tasks of 10 ms side by side',
        '/map',
        {'a': 1, 'b': 2, 'c': 3},
        ('atila-database', 'fastapi-asyncpg'),
        connections=256,
        bases=('fastapi-asyncpg',),
        database=True,
    ),
    Workload(
        'db', 'A row of PostgreSQL', '/db', database.is_world, _DATABASE, bases=_DATABASE[1:], database=True
    ),
    Workload(
        'queries',
        'Twenty queries, one by one; ours are Tasks side by side',
        '/queries',
        database.are_worlds,
        _DATABASE,
        bases=_DATABASE[1:],
        database=True,
    ),
    Workload(
        'fortunes',
        'A query and a template',
        '/fortunes',
        database.fortunes_page(),
        _DATABASE,
        bases=_DATABASE[1:],
        database=True,
    ),
)
