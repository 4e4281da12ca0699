"""Times that users give: seconds from 0; None, infinity, or more than anybody waits, for no limit."""

from __future__ import annotations

import threading
from typing import Any

#: So many seconds, some 292 years, are no limit: the system has no clock for more.
NEVER = threading.TIMEOUT_MAX


def seconds(value: Any, name: str = 'timeout', positive: bool = False) -> float | None:
    """`value`, or None for no limit. `name`: for messages. `positive`: whether 0 is refused too.

    ValueError for NaN and what is too small, TypeError for what is no number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f'{name} = {value!r}: it takes seconds, a number, or None for no limit')
    if value >= NEVER:
        return None
    if (value > 0) if positive else (value >= 0):
        return value
    raise ValueError(
        f'{name} = {value!r}: it takes seconds, {"more than" if positive else "at least"} 0, '
        'or None for no limit'
    )
