"""Temporary files of a service's own (SPEC WAS-05): names, and paths that end with a `with` block."""

from __future__ import annotations

import contextlib
import os
import tempfile
from types import TracebackType


def gentemp(suffix: str = '') -> str:
    """The path of a new, empty temporary file that only this user may read; the caller removes it."""
    descriptor, path = tempfile.mkstemp(prefix='atila-', suffix=suffix)
    os.close(descriptor)
    return path


class FlashFile(str):
    """A path to use in `with`: the file is deleted at its end; it is no error if it is gone by then."""

    __slots__ = ()

    def __enter__(self) -> FlashFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(self)
