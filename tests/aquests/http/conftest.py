"""Servers to ask, and registers of aliases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from upstreams import Scripted, Server

from aquests.aliases import PROTO_HTTP, Aliases


@pytest.fixture
def server_of() -> Iterator[Callable[..., Server]]:
    """`server_of (name)` starts one."""
    servers: list[Server] = []

    def start(*args: Any, **options: Any) -> Server:
        servers.append(Server(*args, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    servers: list[Scripted] = []

    def start(script: Any) -> Scripted:
        servers.append(Scripted(script))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def register() -> Callable[..., Aliases]:
    """`register (members, ...)`: a register in which they are '@up'."""

    def make(members: Any, type: str = PROTO_HTTP, **options: Any) -> Aliases:
        aliases = Aliases()
        aliases.add('@up', type, members, **options)
        return aliases

    return make
