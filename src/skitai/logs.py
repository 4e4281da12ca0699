"""Where log lines go and how they look (SPEC B.8).

Three streams: `request` (one line an answer), `app` (what services log and their tracebacks) and
`server` (the engine's own). Without `skitai.enable_file_logging` all go to standard output.

A line of the access log is made where the answer was given, after it was handed over; a thread of its own
writes what has come in, at most 0.1 s later. (Making lines there, too, would hold on to requests and
contend for the interpreter lock in long turns: twice the cost.) At most `_QUEUE` lines wait: when the
writer can't keep up (a stalled disk or pipe), the oldest are dropped, and that is logged.

One text line: the combined log format, then what the engine adds:

    client - user [time] "method target HTTP/version" status bytes "referer" "agent" ms in gtxid ltxid worker
"""

from __future__ import annotations

import fcntl
import itertools
import json
import logging
import os
import re
import secrets
import shutil
import sys
import threading
import time
from collections import deque
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from .config import Settings
from .exchange import Exchange
from .masking import masked, masked_text

_QUEUE = 16384
_INTERVAL = 0.1
#: Files put aside that are kept, of each log.
_KEPT = 30

_ids = itertools.count(1000)
_process = ''


def transaction_of(exchange: Exchange) -> tuple[str, str]:
    """The request's (global, local) transaction ids, made at first use.

    The global id is the caller's `X-Gtxn-Id` where it sent a sound one (it ends up in logs: letters,
    digits, '-', '_' and '.', at most 64), else a new one.
    """
    found = exchange.transaction
    if found is None:
        global _process
        if not _process:
            _process = secrets.token_hex(4)
        local = str(next(_ids))
        given = exchange.fields.get(b'x-gtxn-id')
        if given is not None and _GTXID.fullmatch(given):
            found = given.decode('ascii'), local
        else:
            found = f'{_process}-{local}', local
        exchange.transaction = found
    return found


_GTXID = re.compile(rb'[A-Za-z0-9._-]{1,64}')
#: Text that goes into a line as it is: printable ASCII but quotes and backslashes.
_PLAIN = re.compile(rb'[\x20-\x21\x23-\x5b\x5d-\x7e]+')


def _quotable(value: bytes) -> str:
    """A header's text without anything that could break or forge a line."""
    if _PLAIN.fullmatch(value):
        return value.decode('ascii')
    text = value.decode('utf-8', 'backslashreplace')
    return ''.join(c if c.isprintable() and c not in '"\\' else _escaped(c) for c in text) or '-'


def _escaped(character: str) -> str:
    return '\\' + character if character in '"\\' else character.encode('unicode_escape').decode('ascii')


#: User agents repeat: remembered while they are of a usual length.
_remembered = lru_cache(maxsize=512)(_quotable)


def _agent(value: bytes | None) -> str:
    if not value:
        return '-'
    return _remembered(value) if len(value) <= 256 else _quotable(value)


class AccessLog:
    """Formats answers where they are given, writes them on a thread of its own."""

    def __init__(
        self, stream: IO[str] | None, handler: logging.Handler | None, settings: Settings, worker: str
    ):
        self._stream = stream
        self._handler = handler
        self._json = settings.log_format == 'json'
        self._worker = worker
        self._off = tuple(pattern for pattern in settings.log_off)
        self._queue: deque[str] = deque(maxlen=_QUEUE)
        self._wake = threading.Event()
        self._stop = False
        self._second = -1
        self._stamp = ''
        self._thread = threading.Thread(target=self._write_for_ever, name='access-log', daemon=True)
        # Wall-clock time of a monotonic reading, fixed at start: lines stay in order over clock changes.
        self._offset = time.time() - time.monotonic()

    def start(self) -> None:
        self._thread.start()

    def append(self, exchange: Exchange) -> None:
        """Queue the line for a finished exchange. Called by any thread; never blocks, never raises."""
        if self._off and self._silenced(exchange):
            return
        try:
            self._queue.append(self.format(exchange))
        except Exception as error:
            self._queue.append(f'- an access log line could not be written: {error!r}')

    def close(self) -> None:
        """Write what is queued and stop; waits two seconds at most for a stalled sink."""
        self._stop = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(2)

    def _write_for_ever(self) -> None:
        while not self._stop:
            self._wake.wait(_INTERVAL)
            self.flush()
        self.flush()

    def flush(self) -> None:
        """Write all lines queued by now (the writer's thread; tests call it after `close`)."""
        queue = self._queue
        dropped = len(queue) == _QUEUE
        while queue:
            self._emit([queue.popleft() for _ in range(min(len(queue), 1024))])
        if dropped:
            logging.getLogger('skitai.server').warning('the access log falls behind: lines were dropped')

    def _emit(self, lines: list[str]) -> None:
        if not lines:
            return
        try:
            if self._handler is not None:
                for line in lines:
                    self._handler.handle(logging.makeLogRecord({'msg': line, 'levelno': logging.INFO}))
            elif self._stream is not None:
                self._stream.write('\n'.join(lines) + '\n')
                self._stream.flush()
        except (OSError, ValueError):
            pass  # the reader of our standard output is gone: serving goes on

    def _silenced(self, exchange: Exchange) -> bool:
        path = exchange.path
        return any(
            path.endswith(pattern[1:]) if pattern.startswith('*') else path.startswith(pattern)
            for pattern in self._off
        )

    def format(self, exchange: Exchange) -> str:
        """One line for a finished exchange."""
        scope, fields = exchange.scope, exchange.fields
        gtxid, ltxid = transaction_of(exchange)
        milliseconds = (exchange.finished - exchange.started) * 1000
        received = exchange.body_received
        if self._json:
            return json.dumps(
                {
                    'time': self._time(exchange, iso=True),
                    'client': exchange.client[0],
                    'user': exchange.user_name,
                    'method': exchange.method,
                    'target': masked(exchange.target.encode('latin-1')).decode('latin-1'),
                    'version': exchange.http_version,
                    'status': exchange.status,
                    'bytes': exchange.sent,
                    'referer': _text_or_none(masked(fields.get(b'referer') or b'')),
                    'agent': _text_or_none(fields.get(b'user-agent')),
                    'ms': round(milliseconds, 3),
                    'bytes_in': received,
                    'gtxid': gtxid,
                    'ltxid': ltxid,
                    'worker': self._worker,
                }
            )
        query = scope['query_string']
        target = masked(exchange.raw_path + b'?' + query if query else exchange.raw_path)
        referer = masked(fields.get(b'referer') or b'')
        client, user = scope.get('client'), exchange.user_name
        return (
            f'{client[0] if client else "-"} - {_quotable(user.encode()) if user else "-"} '
            f'[{self._time(exchange)}] "{exchange.method} {_quotable(target)} HTTP/{exchange.http_version}" '
            f'{exchange.status} {exchange.sent} "{_quotable(referer) if referer else "-"}" '
            f'"{_agent(fields.get(b"user-agent"))}" {milliseconds:.3f} {received} {gtxid} {ltxid} '
            f'{self._worker}'
        )

    def _time(self, exchange: Exchange, iso: bool = False) -> str:
        moment = exchange.started + self._offset
        second = int(moment)
        if second != self._second:  # formatted once a second, not once a line
            self._second = second
            local = time.localtime(second)
            self._stamp = time.strftime(
                '%Y-%m-%dT%H:%M:%S%z' if self._json else '%d/%b/%Y:%H:%M:%S %z', local
            )
        return self._stamp


def _text_or_none(value: bytes | None) -> str | None:
    return value.decode('utf-8', 'backslashreplace') if value else None


class _TextFormatter(logging.Formatter):
    """A record's first line begins with its time, all others with a tab: what a message quotes of a request
    cannot look like another record, nor do anything to a terminal."""

    def __init__(self) -> None:
        super().__init__('%(asctime)s %(levelname)s [%(name)s] %(message)s')

    def format(self, record: logging.LogRecord) -> str:
        return '\n\t'.join(_visible(line) for line in masked_text(super().format(record)).split('\n'))


def _visible(line: str) -> str:
    if line.isprintable():
        return line
    return ''.join(c if c.isprintable() or c == '\t' else _escaped(c) for c in line)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            'time': time.strftime('%Y-%m-%dT%H:%M:%S%z', time.localtime(record.created)),
            'level': record.levelname.lower(),
            'logger': record.name,
            'message': masked_text(record.getMessage()),
        }
        for key in ('category', 'gtxid', 'ltxid'):
            value = getattr(record, key, None)
            if value is not None:
                entry[key] = value
        if record.exc_info:
            entry['traceback'] = masked_text(self.formatException(record.exc_info))
        return json.dumps(entry)


class _Rotating(logging.FileHandler):
    """A log file that is put aside as `name.PERIOD` (the day or month it was written in) when that is over.

    Shared by the processes of a server: whoever comes first puts the file aside, under a lock on its
    directory; the others notice that the name is another file's. Nothing is overwritten.
    """

    def __init__(self, path: Path, period: str) -> None:
        """`period`: its name for `time.strftime`; names must sort by time."""
        super().__init__(path, encoding='utf-8', delay=True)
        self._period = period
        #: The period of the open file.
        self._written = ''

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.stream is None or self._put_aside():
                self._attach()
            if self._name_of(record.created) > self._written:
                self._rotate()
            super().emit(record)
        except OSError:
            self.handleError(record)

    def rotate(self) -> None:
        """Put the file aside now, if there is one (SPEC B.7: SIGUSR1)."""
        self.acquire()
        try:
            self._attach()
            if os.path.getsize(self.baseFilename):
                self._rotate()
        finally:
            self.release()

    def _name_of(self, moment: float) -> str:
        return time.strftime(self._period, time.localtime(moment))

    def _put_aside(self) -> bool:
        """Whether the name is no longer that of the open file."""
        assert self.stream is not None
        ours = os.fstat(self.stream.fileno())
        try:
            found = os.stat(self.baseFilename)
        except FileNotFoundError:
            return True
        return (found.st_dev, found.st_ino) != (ours.st_dev, ours.st_ino)

    def _attach(self) -> None:
        """Open the file of that name, whoever made it."""
        if self.stream is not None:
            self.stream.close()
            self.stream = None
        self.stream = self._open()
        found = os.fstat(self.stream.fileno())
        self._written = self._name_of(found.st_mtime if found.st_size else time.time())

    def _rotate(self) -> None:
        directory, name = os.path.split(self.baseFilename)
        lock = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # held for a few system calls at most
            if not self._put_aside():
                old = f'{self.baseFilename}.{self._written}'
                number = next(n for n in itertools.count() if not os.path.exists(_numbered(old, n)))
                os.rename(self.baseFilename, _numbered(old, number))
                kept = sorted(other for other in os.listdir(directory) if other.startswith(name + '.'))
                for other in kept[:-_KEPT]:
                    os.unlink(os.path.join(directory, other))
        finally:
            os.close(lock)
        self._attach()


def _numbered(path: str, number: int) -> str:
    return f'{path}.{number:03}' if number else path


def rotate() -> None:
    """Put this process's log files aside; other processes of the server follow."""
    for handler in _files:
        try:
            handler.rotate()
        except OSError as error:
            server = logging.getLogger('skitai.server')
            server.error('%s cannot be put aside: %s', handler.baseFilename, error)


#: This process's log files.
_files: list[_Rotating] = []


def prepare(settings: Settings) -> None:
    """In the master, before any worker: make the log files, and give them to the user workers run as."""
    if settings.log_dir is None:
        return
    directory = Path(settings.log_dir)
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory, *(directory / name for name in ('app.log', 'server.log', 'request.log'))]
    for path in paths[1:]:
        if not path.exists():  # its time says in which period it was written
            path.touch()
    if settings.user is not None and os.geteuid() == 0:
        for path in paths:
            shutil.chown(path, settings.user, settings.group)


def setup(settings: Settings, worker: str) -> AccessLog | None:
    """Configure this process's logging; the access log (not started) or None where it is off.

    Other libraries' loggers go where 'app' goes, from WARNING up (INFO with `--devel`).
    """
    formatter = _JsonFormatter() if settings.log_format == 'json' else _TextFormatter()
    access_handler: logging.Handler | None = None
    if settings.log_dir is None:
        app: logging.Handler = logging.StreamHandler(sys.stdout)
        server = app
    else:
        directory = Path(settings.log_dir)
        app = _Rotating(directory / 'app.log', '%Y-%m-%d')
        server = _Rotating(directory / 'server.log', '%Y-%m')
        access_handler = _Rotating(directory / 'request.log', '%Y-%m-%d')
        _files[:] = [app, server, access_handler]
        access_handler.setFormatter(logging.Formatter('%(message)s'))
        server.setFormatter(formatter)
    app.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [app]
    root.setLevel(logging.INFO if settings.devel else logging.WARNING)
    for name, handler in (('skitai', server), ('atila', app)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
    for name in ('granian', '_granian', 'asyncio'):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not settings.access_log:
        return None
    return AccessLog(None if access_handler else sys.stdout, access_handler, settings, worker)
