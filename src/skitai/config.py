"""What a server runs with: one frozen record, made once, from four places.

Precedence (SPEC B.3): command line, then `run ()`'s arguments, then `skitai.set_*`, then the defaults here.
"""

from __future__ import annotations

import dataclasses
import os
import threading

#: The least that each numeric setting may be.
_LEAST = {
    'port': 0,
    'workers': 1,
    'threads': 1,
    'queue': 0,
    'retry_after': 0,
    'backlog': 1,
    'request_timeout': 0.1,
    'network_timeout': 0.1,
    'keep_alive': 0.1,
    'drain_timeout': 0,
    'max_upload_size': 0,
}


def check_executors(name: str, workers: int | None, zombie_timeout: float | None) -> None:
    """ValueError for what cannot be; `name` is what `workers` is called there."""
    if workers is not None and (type(workers) is not int or workers < 1):
        raise ValueError(f'{name} = {workers!r}: a number of at least 1 is needed, or None')
    number = isinstance(zombie_timeout, int | float) and not isinstance(zombie_timeout, bool)
    if zombie_timeout is not None and not (number and zombie_timeout > 0):
        raise ValueError(f'zombie_timeout = {zombie_timeout!r}: seconds are needed, or None for no limit')


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """All times are seconds, all sizes bytes, all counts per worker process unless said otherwise."""

    address: str = '127.0.0.1'
    port: int = 5000
    #: Process title `skitai/<name>`, directory of the log and pid files, service name.
    name: str | None = None
    #: Worker processes, and service threads in each.
    workers: int = 1
    threads: int = 4
    #: Requests that may wait for a service thread; one more gets 503 with `Retry-After: retry_after`.
    queue: int = 1024
    retry_after: int = 10
    backlog: int = 1024
    #: From arrival to the beginning of an answer; then 503 (SPEC B.17).
    request_timeout: float = 30.0
    #: A body of which no byte arrives, or an answer of which no byte is taken, for so long is given up.
    network_timeout: float = 30.0
    #: An idle keep-alive connection, and the time for a request's header block.
    keep_alive: float = 30.0
    #: Speak HTTP/2 with clients that do. A connection that may change to it takes 12 KB more than one of
    #: HTTP/1.1.
    http2: bool = True
    #: At SIGTERM: requests in flight get so long, then they are cancelled.
    drain_timeout: float = 30.0
    max_upload_size: int = 256 * 1024 * 1024
    #: Thread Tasks, and Process Tasks, that run at a time (None: 64, or `threads`, and the CPUs' number), and
    #: the time that one has if nothing is said (None: no limit). SPEC TH-01.
    executors: int | None = None
    zombie_timeout: float | None = 300.0
    #: Certificate and key as PEM files; the key in any format that `cryptography` reads.
    certfile: str | None = None
    keyfile: str | None = None
    key_password: str | None = None
    #: 'text' (the combined log format and more, see `logs`) or 'json' lines; False for no access log.
    log_format: str = 'text'
    access_log: bool = True
    #: Directory of request.log, server.log and app.log; None logs to standard output.
    log_dir: str | None = None
    #: Suffixes ('*.css') and prefixes ('/static/') that are not logged.
    log_off: tuple[str, ...] = ()
    devel: bool = False
    #: Trust `X-Forwarded-*` of the peer (set behind a reverse proxy).
    proxied: bool = False
    user: str | None = None
    group: str | None = None
    disable_static: bool = False
    #: A supervisor (`--devel`) started this server: it ends with it.
    supervised: bool = False
    #: This server took the place of one with older code.
    reloaded: bool = False
    #: In a worker: its master's process id.
    master: int | None = None

    def __post_init__(self) -> None:
        """ValueError naming the setting that cannot be."""
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < least:
                raise ValueError(f'{name} = {value!r}: a number of at least {least} is needed')
        check_executors('executors', self.executors, self.zombie_timeout)
        if self.port > 65535:
            raise ValueError(f'port = {self.port}: the highest is 65535')
        if self.log_format not in ('text', 'json'):
            raise ValueError(f'log_format = {self.log_format!r}: use "text" or "json"')
        if self.keyfile is not None and self.certfile is None:
            raise ValueError('keyfile is given without certfile')

    def signal_master(self, number: int, delay: float = 0) -> None:
        """Send this worker's master a signal, now or in `delay` seconds; RuntimeError without a master."""
        if self.master is None or os.getppid() != self.master:
            raise RuntimeError('no master runs this process: it was not started by skitai.run ()')
        if delay > 0:
            timer = threading.Timer(delay, os.kill, (self.master, number))
            timer.daemon = True
            timer.start()
        else:
            os.kill(self.master, number)

    @property
    def tls(self) -> bool:
        return self.certfile is not None

    @property
    def url(self) -> str:
        """What to open in a browser."""
        host = self.address
        if host in ('', '0.0.0.0'):
            host = '127.0.0.1'
        elif host == '::':
            host = '[::1]'
        elif ':' in host:
            host = f'[{host}]'
        return f'{"https" if self.tls else "http"}://{host}:{self.port}'
