"""What must not be read in a log: secrets that a URL carries, and tokens by their look.

Values of parameters whose names say that they are secret (`token`, `password`, `api_key` ...) and text that
has the form of a signed token become '***'. A careful application puts neither into a URL; a log is read by
more people than an application.
"""

from __future__ import annotations

import re

_PARAMETER = re.compile(
    rb'((?:^|[?&;])[^=&;?\s]*'
    rb'(?:token|passw|secret|otp|jwt|api_?key|credential|session|signature)[^=&;?\s]*=)[^&;#\s"]+',
    re.IGNORECASE,
)
#: A JSON Web Token; a signature with its payload behind a question mark (one-time tokens).
_TOKEN = (
    r'eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+'
    r'|(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{43}(?:\?|%3[Ff])[A-Za-z0-9_.%=-]+'
)
_BYTES_TOKEN = re.compile(_TOKEN.encode())
_TEXT_TOKEN = re.compile(_TOKEN)
#: The shortest text that may hold a token.
_SHORTEST = 20


def masked(target: bytes) -> bytes:
    """A request's target, or a referer, fit for a log."""
    if b'=' in target:
        target = _PARAMETER.sub(rb'\1***', target)
    return target if len(target) < _SHORTEST else _BYTES_TOKEN.sub(b'***', target)


def masked_text(text: str) -> str:
    """A message, or a traceback, fit for a log."""
    return text if len(text) < _SHORTEST else _TEXT_TOKEN.sub('***', text)
