"""The base class for connections of one's own in the style of Redis (SPEC DB-08)."""

from __future__ import annotations

from typing import ClassVar

from . import asynconnect


class AsynConnect(asynconnect.AsynConnect):
    """`db.anything (1, 2, x = 3)` is a request with `method` 'anything', `params` (1, 2), `options` {'x': 3}.

    Where the interface has that name already: `db.execute ('query', 1)`. Else as `asynconnect.AsynConnect`.
    """

    style: ClassVar[str] = 'redis'
