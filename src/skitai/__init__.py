"""Skitai, the app engine: processes, sockets, mounts, static files, deployment.

A launch script mounts and runs:

    import skitai
    skitai.mount ('/', app)
    skitai.run (port = 5000)
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import sys
from typing import Any

from aquests.aliases import (
    DB_MONGODB,
    DB_PGSQL,
    DB_POSTGRESQL,
    DB_REDIS,
    DB_SQLITE3,
    DB_SYN_MONGODB,
    DB_SYN_PGSQL,
    DB_SYN_REDIS,
    DJANGO,
    PROTO_HTTP,
    PROTO_HTTPS,
    PROTO_SYN_HTTP,
    PROTO_SYN_HTTPS,
    PROTO_WS,
    PROTO_WSS,
    aliases,
)
from aquests.cache import set_max as set_max_rcache
from aquests.dbi import add_database_interface
from aquests.processworker import in_process
from aquests.result import STA_NETERR, STA_NORMAL, STA_REQFAIL, STA_TIMEOUT, STA_UNSENT
from aquests.rpc import add_http_rpc_proto

from .config import Settings, check_executors
from .context import was
from .mounting import Mounts

# Not made later: `options` is the module's name too, and importing it would put the module in its place.
from .options import add_option, get_option, options
from .preference import Preference, abspath, getswd
from .shared import g, register_g
from .smtp import set_smtp

__all__ = [
    'DB_MONGODB',
    'DB_PGSQL',
    'DB_POSTGRESQL',
    'DB_REDIS',
    'DB_SQLITE3',
    'DB_SYN_MONGODB',
    'DB_SYN_PGSQL',
    'DB_SYN_REDIS',
    'DJANGO',
    'PROTO_HTTP',
    'PROTO_HTTPS',
    'PROTO_SYN_HTTP',
    'PROTO_SYN_HTTPS',
    'PROTO_WS',
    'PROTO_WSS',
    'STA_NETERR',
    'STA_NORMAL',
    'STA_REQFAIL',
    'STA_TIMEOUT',
    'STA_UNSENT',
    'Preference',
    'Settings',
    'abspath',
    'add_database_interface',
    'add_http_rpc_proto',
    'add_option',
    'addlu',
    'alias',
    'config_executors',
    'deflu',
    'enable_file_logging',
    'enable_proxy',
    'enable_ssl',
    'g',
    'get_option',
    'getenv',
    'getswd',
    'is_devel',
    'isdevel',
    'isproduction',
    'joinpath',
    'log_off',
    'lukeys',
    'mount',
    'options',
    'pref',
    'preference',
    'register_cache_keys',
    'register_g',
    'register_states',
    'run',
    'set_503_estimated_timeout',
    'set_backlog',
    'set_keep_alive',
    'set_max_age',
    'set_max_rcache',
    'set_max_upload_size',
    'set_network_timeout',
    'set_request_timeout',
    'set_smtp',
    'test_client',
    'trackers',
    'was',
]

preference = pref = Preference
joinpath = abspath
# SPEC G-06
lukeys = trackers = addlu = deflu = register_states = register_cache_keys = register_g

#: Made when first asked for: a launch script that needs neither pays for neither.
_LATER = {'test_client': 'testing'}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f'.{_LATER[name]}', __name__), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


_mounts = Mounts()
#: What `set_*` and `enable_*` have asked for: below `run ()`'s arguments and the command line.
_wanted: dict[str, Any] = {}


def mount(
    point: str,
    target: Any,
    pref: Preference | None = None,
    name: str | None = None,
    subscribe: str | list[str] | tuple[str, ...] | None = None,
    host: str = 'default',
    path: str | None = None,
    **options: Any,
) -> None:
    """Mount `target` at `point` (SPEC ST-03). Called by the launch script before `run`.

    `target`: an Atila app; a package or module with hooks (`__app__` at least); a directory of static
    files; 'path/to/file[.py][:app]'; any WSGI or ASGI callable; '@alias[/path]', a reverse proxy to the
    alias's members (keyword `timeout`: seconds that they may be silent, default 60). `pref`: what
    `skitai.preference ()` gave. `name`: under which other apps find this one (default: its top package).
    `subscribe`: names of apps whose events this one gets too. `host`: only for requests to that host
    name. `path`: put first on `sys.path`. More keywords are the app's `mntopt`.

    AssertionError for a bad point, a missing file, a target that is no app, or two apps at one point.
    """
    _mounts.add(point, target, pref, name, subscribe, host, path, **options)


def alias(
    name: str,
    type: str,
    members: str | list[str],
    role: str = '',
    source: str = '',
    ssl: bool = False,
    max_conns: int = 32,
) -> None:
    """Name a backend: `was.db (name)` and its like reach it (SPEC TK-01). Called before `run`.

    `name`: with an '@', as in '@mydb'; the first registration of a name wins. `type`: DB_PGSQL, DB_SQLITE3,
    DB_MONGODB, DB_REDIS, or one of `add_database_interface`; PROTO_HTTP, PROTO_HTTPS, or one of
    `add_http_rpc_proto`; DJANGO with a settings module, whose DATABASES [role or 'default'] it is then.
    `members`: one or several of `[user[:password]@]host[:port][/database][ weight]`, a file for SQLite.
    `ssl`: connect with TLS. `max_conns`: connections to each member, of each worker. ValueError for what is
    none of it.
    """
    aliases.add(name, type, members, role, source, ssl, max_conns)


def run(
    address: str | None = None, port: int | str | None = None, name: str | None = None, **settings: Any
) -> None:
    """Serve what is mounted, until stopped (SPEC ST-10); ends the process with its exit code.

    Keywords are those of `skitai.Settings`: `workers`, `threads`, `certfile`, `keyfile` and so on (`ip`
    is another name of `address`); unknown ones are ignored. The command line goes above them (`--help`).

    RuntimeError where the launch script is loaded in a process of the pool, for a function of it.
    """
    if in_process():
        raise RuntimeError(
            'skitai.run () is called while the launch script is loaded in a process, where a function of it '
            "is to run: put it behind `if __name__ == '__main__':`, or the function into a module"
        )
    if 'ip' in settings:
        address = address or settings.pop('ip')
    given = {'address': address, 'port': None if port is None else int(port), 'name': name, **settings}
    raise SystemExit(_run(given))


def _run(given: dict[str, Any]) -> int:
    from . import daemon, launch, reloader, runner
    from .options import custom_options, parse

    line = parse(sys.argv[1:], custom_options())
    known = {field.name for field in dataclasses.fields(Settings)}
    wanted = {**_wanted, **{k: v for k, v in given.items() if k in known and v is not None}, **line.settings}
    final = Settings(**wanted)
    if final.log_dir == '':
        final = dataclasses.replace(final, log_dir=f'/var/log/skitai/{final.name or "app"}')
    os.environ['SKITAIENV'] = 'DEVEL' if final.devel else line.deploy or 'PRODUCTION'
    with contextlib.suppress(FileNotFoundError):
        os.chdir(getswd())
    if line.command is not None:
        return daemon.execute(line.command, final)
    supervise = None
    generation = os.environ.pop(launch.GENERATION, None)
    final = dataclasses.replace(
        final,
        supervised=generation is not None,
        reloaded=runner.OLD_WORKERS in os.environ or generation not in (None, '1'),
    )
    if generation is None and runner.DRY_RUN not in os.environ:
        if not daemon.claim(final):
            return 1
        if final.devel:

            def supervise(listener: Any) -> int:
                return reloader.supervise(
                    sys.orig_argv[1:], listener, final, [getswd(), *_mounts.watch_roots]
                )

    return runner.run(_mounts, final, supervise)


# -- settings by function (SPEC B.9, B.10) -------------------------------------------------------


def enable_ssl(certfile: str, keyfile: str | None = None, passphrase: str | None = None) -> None:
    """Serve HTTPS (TLS 1.2 or later, HTTP/1.1 and HTTP/2). PEM files; paths relative to the launch script.

    `certfile` is the chain, server's certificate first; without `keyfile` it holds the key too.
    """
    _wanted['certfile'] = abspath(certfile)
    _wanted['keyfile'] = abspath(keyfile) if keyfile else None
    _wanted['key_password'] = passphrase


def enable_file_logging(path: str | None = None) -> None:
    """Log to request.log, server.log and app.log in `path` (default /var/log/skitai/<name>), rotated."""
    _wanted['log_dir'] = path or ''


def enable_proxy() -> None:
    """Behind a reverse proxy: believe its `X-Forwarded-For`, `-Proto` and `-Host`."""
    _wanted['proxied'] = True


def log_off(*patterns: str) -> None:
    """Don't log requests whose path ends ('*.css') or begins ('/static/') like one of `patterns`."""
    _wanted['log_off'] = (*_wanted.get('log_off', ()), *patterns)


def set_max_age(path: str, seconds: int) -> None:
    """Let clients keep static files whose URL path begins with `path` for so long (Cache-Control)."""
    _mounts.max_age[path] = seconds


def set_max_upload_size(size: int) -> None:
    """The largest request body in bytes, for every app (an app's MAX_UPLOAD_SIZE may be smaller)."""
    _wanted['max_upload_size'] = size


def set_request_timeout(seconds: float) -> None:
    """A request that has no answer after so long gets 503."""
    _wanted['request_timeout'] = seconds


def set_network_timeout(seconds: float) -> None:
    """A body that stops arriving for so long is answered with 408."""
    _wanted['network_timeout'] = seconds


def set_keep_alive(seconds: float) -> None:
    """How long an idle connection is kept."""
    _wanted['keep_alive'] = seconds


def set_backlog(connections: int) -> None:
    """Connections that may wait to be accepted."""
    _wanted['backlog'] = connections


def config_executors(
    workers: int | None = None,
    zombie_timeout: float | None = 300,
    process_start_method: str | None = None,
) -> None:
    """How Threads and Processes run in each worker process (SPEC TH-01). ValueError for what cannot be.

    `workers`: so many Threads, and so many Processes, at a time; None for 128 (`threads`, if that is more)
    and the number of CPUs. `zombie_timeout`: seconds that one has if nothing is said; None for no limit.
    `process_start_method`: 'spawn', which is what None means too: a worker has threads, and a fork of it
    would have their locks.
    """
    check_executors('workers', workers, zombie_timeout)
    if process_start_method not in (None, 'spawn'):
        raise ValueError(
            f"process_start_method = {process_start_method!r}: processes are always started by 'spawn', for "
            'a worker has threads, whose locks a fork would inherit'
        )
    _wanted['executors'] = workers
    _wanted['zombie_timeout'] = zombie_timeout


def set_503_estimated_timeout(seconds: int) -> None:
    """What a 503's Retry-After says."""
    _wanted['retry_after'] = seconds


# -- environment (SPEC B.5) ----------------------------------------------------------------------


def getenv() -> str:
    """DEVEL, PRODUCTION, PYTEST or the name given to `--deploy`."""
    return os.environ.get('SKITAIENV') or ('PYTEST' if 'PYTEST_CURRENT_TEST' in os.environ else 'PRODUCTION')


def is_devel() -> bool:
    """Whether the server was started with `--devel`."""
    return getenv() == 'DEVEL'


isdevel = is_devel


def isproduction() -> bool:
    return getenv() == 'PRODUCTION'
