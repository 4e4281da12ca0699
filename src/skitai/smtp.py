"""Where mail is handed over: what `skitai.set_smtp` was told (SPEC B.15).

Set by the launch script, its imports or `__config__`: before the workers are forked, which then only read it.
It is one frozen value, replaced as a whole.
"""

from __future__ import annotations

import dataclasses
import ssl as tls
from ipaddress import ip_address
from typing import Literal

#: Seconds for connecting, and for each answer of the server.
TIMEOUT = 30.0
#: Ports where `server` names none: plain, STARTTLS, TLS from the first byte (RFC 5321, 6409, 8314).
_PORTS = {False: 25, 'starttls': 587, True: 465}


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A mail server, and how to talk to it. `ssl`, `context`: see `set_smtp`."""

    host: str
    port: int
    user: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    ssl: bool | Literal['starttls'] = False
    timeout: float = TIMEOUT
    context: tls.SSLContext | None = None


_server: Server | None = None


def set_smtp(
    server: str,
    user: str | None = None,
    password: str | None = None,
    ssl: bool | Literal['starttls'] = False,
    timeout: float = TIMEOUT,
    context: tls.SSLContext | None = None,
) -> None:
    """Hand mail of `was.email ()` to this server (SPEC B.15).

    `server`: 'host', 'host:port' or '[::1]:port'. `ssl`: True speaks TLS from the first byte (port 465 where
    none is given), 'starttls' begins it before anything else is said (587), False does without (25). The
    server's certificate is checked, by `context` where one is given. `user` and `password`: to log in.
    `timeout`: seconds for connecting and for each answer.

    ValueError for a server that is none, and for a password that would travel in the clear: without TLS to
    another machine.
    """
    global _server
    _server = described(server, user, password, ssl, timeout, context)


def configured() -> Server:
    """The server that was set; RuntimeError where none is."""
    if _server is None:
        raise RuntimeError("no mail server is set: call skitai.set_smtp ('host:port') in the launch script")
    return _server


def described(
    server: str,
    user: str | None = None,
    password: str | None = None,
    ssl: bool | Literal['starttls'] = False,
    timeout: float = TIMEOUT,
    context: tls.SSLContext | None = None,
) -> Server:
    """The same as a `Server`, checked; errors as for `set_smtp`."""
    if not (isinstance(ssl, bool) or ssl == 'starttls'):
        raise ValueError(f"ssl is True, False or 'starttls', not {ssl!r}")
    host, port = _address(server, _PORTS[ssl])
    if (user is None) != (password is None):
        raise ValueError('to log in, a mail server needs both user and password')
    if password is not None and not ssl and not _is_here(host):
        raise ValueError(
            f"the password for {host} would travel in the clear: set ssl = True or ssl = 'starttls'"
        )
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise ValueError(f'timeout = {timeout!r}: a number of seconds above 0 is needed')
    return Server(host, port, user, password, ssl, timeout, context)


def _address(server: str, default: int) -> tuple[str, int]:
    host, port = server, ''
    if server.startswith('['):
        host, _, port = server[1:].partition(']')
        port = port.removeprefix(':')
    elif server.count(':') == 1:
        host, _, port = server.partition(':')
    number = port or str(default)
    good = host and host.isprintable() and ' ' not in host and number.isascii() and number.isdigit()
    if not good or not 0 < int(number) < 65536:
        raise ValueError(f"{server!r} is no mail server: write 'host', 'host:port' or '[::1]:port'")
    return host, int(number)


def _is_here(host: str) -> bool:
    """Whether it is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == 'localhost'
