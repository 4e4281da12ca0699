"""The mount table that the tests of reverse proxies serve: what they say, and something at '/'."""

from __future__ import annotations

from typing import Any

from aquests.aliases import aliases
from skitai.config import Settings
from skitai.mounting import Mounts
from skitai.mounts.table import MountTable
from skitai.preference import Preference


async def root(scope: Any, receive: Any, send: Any) -> None:
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b'root'})


def proxies(
    known: list[list[Any]], mounted: list[list[Any]], config: dict[str, Any], settings_: dict[str, Any]
) -> MountTable:
    """`known`: [name, type, members, options] of aliases; `mounted`: [point, target, options]."""
    for name, type, members, options in known:
        aliases.add(name, type, members, **options)
    mounts = Mounts()
    for point, target, options in mounted:
        mounts.add(point, target, Preference(**config), **options)
    mounts.add('/', root)
    mounts.configure()
    return mounts.build(Settings(**settings_))
