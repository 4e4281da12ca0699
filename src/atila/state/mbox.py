"""The message box: messages for the client's next pages, sealed in a cookie (SPEC chapter 18).

A message is delivered once, or, with `valid` seconds, with each `get` until it is so old. Messages that are
sent and read in one request never travel (MB-06). A box that a cookie cannot hold any more loses its oldest
messages: a client that never reads them must go on being served.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec

from . import sealing
from .cookie import MAX_COOKIE, Attributes

if TYPE_CHECKING:
    from ..was import Was

log = logging.getLogger('atila')

COOKIE = 'ATLMBX_'
PURPOSE = 'message box'

_ATTRIBUTES = Attributes.checked('/', None, False, True, 'Lax')

#: What the sealed text may have, beside the cookie's name and attributes.
_MAX_TEXT = MAX_COOKIE - 100

#: (message id, category, created in epoch seconds, valid seconds, message, extra)
Message = tuple[int, str, int, int, Any, dict[str, Any]]


class _Payload(msgspec.Struct, array_like=True):
    """What is sealed. `last`: the highest id that was given."""

    last: int
    messages: list[Message]


class MessageBox:
    """`was.mbox`. RuntimeError without `app.securekey` (MB-01)."""

    __slots__ = ('_jar', '_keys', '_last', '_messages', '_received')

    def __init__(self, was: Was) -> None:
        self._keys = sealing.keys_of(was.app.securekey)
        self._jar = was.request.cookie
        text = self._jar.get(COOKIE)
        payload = sealing.unseal(text, self._keys, PURPOSE, COOKIE, _Payload) if text else None
        self._messages: list[Message] = [] if payload is None else payload.messages
        self._last = 0 if payload is None else payload.last
        self._received = list(self._messages)
        self._drop_expired()

    def _drop_expired(self) -> None:
        now = time.time()
        self._messages = [item for item in self._messages if item[3] == 0 or item[2] + item[3] > now]

    def send(self, /, msg: Any, category: str = 'info', valid: int = 0, **extra: Any) -> int:
        """Leave a message for the client; its id, which is higher than those before (MB-02).

        `valid`: 0 delivers it once, n with every `get` for n seconds. `msg` and `extra`: what JSON has, else
        TypeError. ValueError for a negative `valid`.
        """
        if not isinstance(category, str):
            raise TypeError(f"a message's category must be str, not {type(category).__name__}")
        valid = int(valid or 0)
        if valid < 0:
            raise ValueError(f'a message is valid for seconds, or 0 for once, not {valid}')
        msg = sealing.jsonable(msg, 'the message')
        category = sealing.jsonable(category, "the message's category")
        extra = sealing.jsonable(extra, "the message's extra")
        if self._jar.attach(self._write):
            self._last += 1
            self._messages.append((self._last, category, int(time.time()), valid, msg, extra))
        return self._last

    push = send

    def get(self, key: str | None = None, val: Any = None) -> list[Message]:
        """Messages: all, those of the category `key`, or with `val` those whose extra `key` is `val` (MB-03).

        Those that are delivered once are gone from the box with that, the others stay. What does not match
        stays, too; if nothing does: [] (MB-07).
        """
        self._drop_expired()
        found = [item for item in self._messages if key is None or _matches(item, key, val)]
        once = {item[0] for item in found if item[3] == 0}
        if once and self._jar.attach(self._write):
            self._messages = [item for item in self._messages if item[0] not in once]
        return found

    def search(self, key: str, val: Any = None) -> list[int]:
        """The ids of the messages that `get (key, val)` would give; they stay (MB-04)."""
        self._drop_expired()
        return [item[0] for item in self._messages if _matches(item, key, val)]

    def remove(self, message_id: int) -> None:
        """Remove a message; an absent one is no error (MB-05)."""
        rest = [item for item in self._messages if item[0] != message_id]
        if len(rest) < len(self._messages) and self._jar.attach(self._write):
            self._messages = rest

    def _write(self) -> None:
        self._drop_expired()
        if self._messages == self._received:
            return
        while self._messages:
            text = sealing.seal(_Payload(self._last, self._messages), self._keys, PURPOSE, COOKIE)
            if len(text) <= _MAX_TEXT or len(self._messages) == 1:
                self._jar.put(COOKIE, text, None, _ATTRIBUTES)
                return
            log.warning('the message box is full: the oldest message, which nobody has read, is dropped')
            del self._messages[0]
        self._jar.put(COOKIE, '', int(time.time()), _ATTRIBUTES)


def _matches(message: Message, key: str, val: Any) -> bool:
    if val is None:
        return message[1] == key
    return bool(message[5].get(key) == val)
