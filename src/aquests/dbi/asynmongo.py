"""The base class for connections of one's own in the style of MongoDB (SPEC DB-08)."""

from __future__ import annotations

from typing import ClassVar

from . import asynconnect


class AsynConnect(asynconnect.AsynConnect):
    """`db.find ('people', {'city': 'Rome'}, limit = 3)` is a request with `method` 'find', `params`
    ('people', {'city': 'Rome'}), `options` {'limit': 3}; so are `db.insert` and any other. Mappings in the
    data become Records. Else as `asynconnect.AsynConnect`.
    """

    style: ClassVar[str] = 'mongo'
