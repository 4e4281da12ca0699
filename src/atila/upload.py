"""A file part of a form (SPEC chapter 15): where its content is, and how a service takes it.

Rules. Content is in one of three places: in memory; in the form's spool, an unnamed file that all its
larger parts share (one descriptor, and nothing is left behind by a process that is killed); or in a file
with a name, once somebody asked for its `path`, moved or saved it. What is in the spool's own file or in
memory, and a file named for `path` alone, is gone when the request is over; what was moved or saved stays.

A file appears at its destination complete or not at all: it is made under a passing name beside it, by a
link where the file system allows that, else by copying.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from threading import Lock
from types import TracebackType
from typing import IO, Literal

from .errors import BadParameter

#: Content is copied in pieces of so many bytes.
PIECE = 1 << 20
#: The longest `UploadedFile.name`, and the longest `name` for `save`, in bytes: with what is added to make
#: it unique, file systems take it.
MAX_NAME = 200
MAX_SAVED_NAME = 240

_UNSAFE = re.compile(r'[\s\\"\':;|><&?\x00-\x1f\x7f-\x9f]+')
_PREFIX = 'skitai-upload-'


def sanitised(name: str) -> str:
    """The base name that is safe to use on disk: '/../home/.very|:;&good' -> 'very_good' (SPEC FU-02).

    At most MAX_NAME bytes long; a longer one loses the end of its stem.
    """
    base = _UNSAFE.sub('_', re.split(r'[/\\]', name)[-1].lstrip('.'))
    raw = base.encode('utf-8', 'ignore')
    if len(raw) > MAX_NAME:
        stem, extension = os.path.splitext(base)
        tail = extension.encode('utf-8', 'ignore') if len(extension) <= 20 else b''
        raw = stem.encode('utf-8', 'ignore')[: MAX_NAME - len(tail)] + tail
    return raw.decode('utf-8', 'ignore') or 'noname'


class Spool:
    """An unnamed temporary file, made when first written to.

    One thread writes; then any may read. The lock keeps a late reader from a descriptor that `close` has
    given back to the system.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._closed = False
        self._lock = Lock()
        self.size = 0

    def write(self, data: bytes | bytearray) -> None:
        """OSError where the disk is full."""
        if self._file is None:
            self._file = _unnamed_file()
        self._file.write(data)
        self.size += len(data)

    def flush(self) -> None:
        """Before the first read."""
        if self._file is not None:
            self._file.flush()

    def pieces(self, offset: int, size: int, piece: int) -> Iterator[bytes]:
        end = offset + size
        while offset < end:
            with self._lock:
                data = os.pread(self._descriptor(), min(piece, end - offset), offset)
            if not data:
                raise OSError('the temporary file is shorter than what was written to it')
            offset += len(data)
            yield data

    def link(self, to: str) -> None:
        """Give the file itself the name `to`. OSError where the file system cannot."""
        with self._lock:
            descriptor = self._descriptor()
            # `src_dir_fd` has no meaning for an absolute path, but makes the call follow the link in /proc.
            os.link(f'/proc/self/fd/{descriptor}', to, src_dir_fd=descriptor)

    def _descriptor(self) -> int:
        if self._file is None or self._closed:
            raise RuntimeError('an uploaded file is gone when its request is over: move or save it before')
        return self._file.fileno()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._file is not None:
                # What is still buffered may not fit on the disk; nobody wants it any more.
                with contextlib.suppress(OSError):
                    self._file.close()
                self._file = None


def _unnamed_file() -> IO[bytes]:
    """Readable by this user alone, and gone when it is closed, by whatever."""
    flag = getattr(os, 'O_TMPFILE', 0)
    if flag:
        # Not by `tempfile`: its files can't be given a name later.
        with contextlib.suppress(OSError):  # a file system that doesn't know it
            return open(os.open(tempfile.gettempdir(), flag | os.O_RDWR | os.O_CLOEXEC, 0o600), 'w+b')
    return tempfile.TemporaryFile(prefix=_PREFIX)  # the spool closes it


class FlashFile(str):
    """A path to use in `with`; the file is deleted at its end, unless it was moved or saved meanwhile."""

    _file: UploadedFile

    def __enter__(self) -> FlashFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file._end_flash(str(self))


class UploadedFile:
    """What the client sent as a file.

    `name`: the sanitised base name of the client's file. `size`: in bytes. `mimetype`: as the client says,
    in lower case, 'application/octet-stream' without word. `ext`: of `name`, with its dot; None without one.

    Lives as long as the request. Afterwards, and after `remove`, its content raises RuntimeError; what was
    moved or saved stays where it is.
    """

    def __init__(self, name: str, mimetype: str, spool: Spool) -> None:
        self.name = sanitised(name)
        self.size = 0
        self.mimetype = mimetype
        self.ext: str | None = os.path.splitext(self.name)[1] or None
        self._spool = spool
        #: Where the content is: in memory, else at this offset of the spool, else in the file `_path`.
        self._held: bytearray | None = bytearray()
        self._offset: int | None = None
        self._path: str | None = None
        self._passing = False  # `_path` is a temporary file of ours
        self._gone = ''  # why there is no content any more

    def __repr__(self) -> str:
        return f'<UploadedFile {self.name!r}, {self.size} bytes, {self.mimetype}>'

    # -- while it arrives (called by the form) ----------------------------------------------------

    def receive(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self._held is not None:
            self._held += chunk
        else:
            self._spool.write(chunk)

    @property
    def in_memory(self) -> bool:
        return self._held is not None

    def spill(self) -> int:
        """Move what is in memory to the spool; how many bytes that were."""
        held = self._held
        if held is None:
            return 0
        self._held, self._offset = None, self._spool.size
        self._spool.write(held)
        return len(held)

    # -- what a service does with it --------------------------------------------------------------

    @property
    def path(self) -> str:
        """A real file with the content: a temporary one, or where it was moved or saved (SPEC FU-02)."""
        if self._path is None:
            self._check()
            suffix = self.ext if self.ext is not None and len(self.ext) <= 20 else ''
            descriptor, path = tempfile.mkstemp(prefix=_PREFIX, suffix=suffix)
            try:
                with open(descriptor, 'wb') as file:
                    self._fill(file, path)
            except BaseException:
                os.unlink(path)
                raise
            self._settle(path, passing=True)
        return self._path or ''

    def read(self) -> bytes:
        """The whole content, in memory: for a large file prefer `open` or `path`."""
        self._check()
        return b''.join(self._pieces(max(self.size, 1)))

    def open(self) -> IO[bytes]:
        """A file at the start of the content. Close it, best by `with`."""
        self._check()
        return io.BytesIO(self._held) if self._held is not None else open(self.path, 'rb')

    def __iter__(self) -> Iterator[bytes]:
        """The content in pieces of at most 1 MB."""
        self._check()
        return self._pieces(PIECE)

    def move(self, to: str | os.PathLike[str]) -> str:
        """Move it to the full path `to`, which is overwritten; returns and becomes the `path` (SPEC FU-03).

        OSError where that cannot be written to, e.g. without such a directory.
        """
        self._check()
        target = os.fspath(to)
        source = self._path
        if source is not None and os.path.exists(target) and os.path.samefile(source, target):
            return target
        self._land(*os.path.split(target), reserve=str)
        if source is not None and not self._passing:
            os.unlink(source)
        self._settle(target, passing=False)
        return target

    def save(
        self,
        into: str | os.PathLike[str],
        name: str | None = None,
        mkdir: bool = False,
        dup: Literal['u', 'o'] = 'u',
    ) -> str:
        """Store it in the directory `into`; returns and becomes the `path` (SPEC FU-05).

        `name`: instead of the client's (BadParameter for one that is no file name: it could lead out of the
        directory). `mkdir`: make the directory. `dup`: where there is such a file, 'o' overwrites it, 'u'
        takes the first free one of 'name.1.ext', 'name.2.ext' ...; nobody else gets the same one.

        May be called again to store another copy. OSError where the directory cannot be written to.
        """
        if dup not in ('u', 'o'):
            raise ValueError(f"dup is 'u' (make the name unique) or 'o' (overwrite), not {dup!r}")
        self._check()
        name = self.name if name is None else _file_name(name)
        directory = os.fspath(into)
        if mkdir:
            os.makedirs(directory, exist_ok=True)
        keep = self._path is not None and not self._passing
        try:
            target = self._land(directory, name, reserve=_reserved if dup == 'u' else str, keep=keep)
        except IsADirectoryError:
            raise BadParameter(f'a file cannot be saved as {name}') from None
        self._settle(target, passing=False)
        return target

    def remove(self) -> None:
        """Delete the content, wherever it is (SPEC FU-03)."""
        self._discard('it was removed', moved_too=True)

    def as_flashfile(self) -> FlashFile:
        """The path, for use in `with`; the file is deleted at its end (SPEC FU-04)."""
        flash = FlashFile(self.path)
        flash._file = self
        return flash

    flashfile = tempfile = as_flashfile

    # -- how ---------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._gone:
            raise RuntimeError(f'the uploaded file {self.name} has no content any more: {self._gone}')

    def _pieces(self, piece: int) -> Iterator[bytes]:
        if self._held is not None:
            yield bytes(self._held)
        elif self._offset is not None:
            yield from self._spool.pieces(self._offset, self.size, piece)
        else:
            with open(self.path, 'rb') as file:
                while data := file.read(piece):
                    yield data

    def _link(self, to: str) -> bool:
        """Give the content's own file the name `to`; False where it has none or that isn't possible."""
        try:
            if self._path is not None:
                os.link(self._path, to)
            elif self._offset == 0 and self.size == self._spool.size:
                self._spool.link(to)
            else:
                return False
        except OSError:
            return False
        return True

    def _fill(self, file: IO[bytes], path: str, keep: bool = False) -> None:
        """Put the content into the empty `file` at `path`, or its own file in place of that.

        Either way the permissions are those of `file`: what the process's umask gives to a new one.
        `keep`: the content's own file belongs to the application: no second name for it.
        """
        beside = path + '~'
        if not keep and self._link(beside):
            os.chmod(beside, stat.S_IMODE(os.fstat(file.fileno()).st_mode))
            os.replace(beside, path)
        else:
            file.writelines(self._pieces(PIECE))

    def _land(self, directory: str, name: str, reserve: Callable[[str], str], keep: bool = False) -> str:
        """The content, complete, at the path that `reserve` makes of directory and name."""
        draft = os.path.join(directory, f'.{_PREFIX}{secrets.token_hex(8)}')
        try:
            with open(draft, 'xb') as file:
                self._fill(file, draft, keep)
            target = reserve(os.path.join(directory, name))
            os.replace(draft, target)
        except BaseException:
            for left in (draft, draft + '~'):
                with contextlib.suppress(OSError):
                    os.unlink(left)
            raise
        return target

    def _settle(self, path: str, passing: bool) -> None:
        """From now on the content is the file at `path`."""
        if self._passing and self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        self._path, self._passing = path, passing
        self._held = self._offset = None

    def _end_flash(self, path: str) -> None:
        if self._passing and self._path == path:
            self.remove()

    def close(self) -> None:
        """The request is over (called by the form)."""
        if self._path is None or self._passing:
            self._discard('its request is over; move or save it before', moved_too=False)

    def _discard(self, why: str, moved_too: bool) -> None:
        path, self._path = self._path, None
        if path is not None and (self._passing or moved_too):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self._held = self._offset = None
        self._gone = self._gone or why


def _file_name(name: str) -> str:
    """`name`, if it is one: no path, not too long."""
    bad = not name or name in ('.', '..') or re.search(r'[/\\\x00]', name)
    if bad or len(name.encode('utf-8', 'surrogateescape')) > MAX_SAVED_NAME:
        raise BadParameter(f'{name[:MAX_NAME]!r} cannot be the name of a file')
    return name


def _reserved(path: str) -> str:
    """The first free one of 'name.ext', 'name.1.ext', 'name.2.ext' ..., taken by an empty file."""
    stem, extension = os.path.splitext(path)
    candidate, number = path, 0
    while True:
        try:
            os.close(os.open(candidate, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return candidate
        except FileExistsError:
            number += 1
            candidate = f'{stem}.{number}{extension}'
