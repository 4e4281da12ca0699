"""What is not taken of a request's values, in words for whoever sent them (SPEC ER-05, TK-12).

A database's own exception is raised as it is; where a value is the reason that came, or may have come, from
a client, it is marked: uncaught it is answered with the status and the words of its `Refusal`, not with 502.
The words have neither SQL nor a value in them: it need not be the client's.

Who knows what an exception is about marks it: the builder where a value cannot be a part of a query,
`dbi.pgrefusals` and `dbi.sqliterefusals` where a database said so.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

E = TypeVar('E', bound=BaseException)

#: What JSON, a form, an upload can hold, besides lists and dicts of these.
_SENT = (str, int, float, bytes, bytearray, type(None))


class Refusal(NamedTuple):
    """`status`: 400, or 409 for what is in the way of other data. `words`: for the client."""

    status: int
    words: str


def refuse(error: E, words: str, status: int = 400) -> E:
    """`error`, marked: it is the request's fault, not the service's."""
    error.refusal = Refusal(status, words)  # type: ignore[attr-defined]
    error.http_status = status  # type: ignore[attr-defined]
    return error


def refusal_of(error: BaseException) -> Refusal | None:
    """The mark of `error`, if it has one; somebody else's attribute of that name is none."""
    found = getattr(error, 'refusal', None)
    return found if isinstance(found, Refusal) else None


def sendable(value: Any, *kinds: type) -> bool:
    """Whether a client may have sent it; anything else was made by the service, and is its own fault.

    `kinds`: what stands for something that was sent.
    """
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, list | tuple):
            rest.extend(one)
        elif isinstance(one, dict):
            rest.extend(one)
            rest.extend(one.values())
        elif not isinstance(one, (*_SENT, *kinds)):
            return False
    return True
