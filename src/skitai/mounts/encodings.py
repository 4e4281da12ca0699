"""The Accept-Encoding field: which of the codings on offer an answer gets (RFC 9110, 12.5.3)."""

from __future__ import annotations

import re
from functools import lru_cache

_WEIGHT = re.compile(rb'q[ \t]*=[ \t]*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)')


def weights_of(accept: bytes) -> dict[bytes, float]:
    """Coding (lower-case, 'x-gzip' as 'gzip') to weight; a malformed weight counts as 0."""
    weights: dict[bytes, float] = {}
    for item in accept.lower().split(b','):
        coding, _, parameter = (part.strip() for part in item.partition(b';'))
        match = _WEIGHT.fullmatch(parameter)
        if coding:
            weights[coding.removeprefix(b'x-')] = float(match[1]) if match else 0.0 if parameter else 1.0
    return weights


@lru_cache(maxsize=512)
def choose_coding(accept: bytes | None, offered: tuple[bytes, ...]) -> bytes | None:
    """The best of `offered` (in our order of preference) for the client; None to send it as it is.

    An unencoded answer is preferred only where the client lists `identity` with a higher weight.
    """
    if accept is None or not offered:
        return None
    weights = weights_of(accept)
    others = weights.get(b'*', 0.0)
    best = max(offered, key=lambda coding: weights.get(coding, others))
    weight = weights.get(best, others)
    return best if weight > 0 and weight >= weights.get(b'identity', 0.0) else None
