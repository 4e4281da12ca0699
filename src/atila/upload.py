"""A file part of a form (SPEC chapter 15)."""

from __future__ import annotations

import os
import re
from typing import Any

_UNSAFE = re.compile(r'[\s\\"\':;|><&?\x00-\x1f]+')


def sanitised(name: str) -> str:
    """The base name that is safe to use on disk: '/../home/.very|:;&good' -> 'very_good' (SPEC FU-02)."""
    base = re.split(r'[/\\]', name)[-1].lstrip('.')
    return _UNSAFE.sub('_', base).strip() or 'noname'


class UploadedFile:
    """What the client sent as a file. Small ones are in memory, larger ones in a temporary file."""

    def __init__(self, part: Any) -> None:
        self._part = part
        self.name = sanitised(part.filename)
        self.size: int = part.size
        self.mimetype: str = part.content_type
        self.ext: str | None = os.path.splitext(self.name)[1] or None

    def read(self) -> bytes:
        """The whole content."""
        self._part.file.seek(0)
        content: bytes = self._part.file.read()
        return content
