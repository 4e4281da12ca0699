"""`skitai.was`: the current request's `was`, for code that does not get it as an argument (SPEC WAS-07)."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

#: Set by the framework in the context that a request's code runs in, and nowhere else.
current: ContextVar[Any] = ContextVar('skitai.was')


class CurrentWas:
    """Stands for the `was` of the request that the calling code serves."""

    __slots__ = ()

    def _get_current(self) -> Any:
        try:
            return current.get()
        except LookupError:
            raise RuntimeError('skitai.was is only there while a request is served') from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_current(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._get_current(), name, value)

    def __bool__(self) -> bool:
        return current.get(None) is not None


was = CurrentWas()
