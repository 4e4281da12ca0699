"""What of a file's answer needs no server: file names in headers, sources (SPEC RS-18)."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skitai.mounts.fileanswer import FileObject, OpenFile, attachment


@given(st.text(max_size=40))
def test_a_file_name_never_breaks_the_header_and_is_kept(name: str) -> None:
    """RFC 6266, RFC 8187."""
    value = attachment(name)
    assert value.isascii()
    assert not any(byte < 0x20 or byte == 0x7F for byte in value)
    quoted, _, extended = value.removeprefix(b'attachment; filename=').partition(b"; filename*=UTF-8''")
    inner = quoted[1:-1].replace(b'\\\\', b'').replace(b'\\"', b'')
    assert b'"' not in inner
    assert b'\\' not in inner
    kept = ''.join(c for c in name if c >= ' ' and c != '\x7f')
    if not name.isascii():
        assert unquote(extended.decode(), errors='strict') == kept.encode(errors='replace').decode()


def test_a_plain_name_stays_plain() -> None:
    assert attachment('a b.pdf') == b'attachment; filename="a b.pdf"'
    assert attachment('a"b\\.pdf') == b'attachment; filename="a\\"b\\\\.pdf"'
    assert attachment('€.pdf') == b'attachment; filename="_.pdf"; filename*=UTF-8\'\'%E2%82%AC.pdf'


def test_a_text_file_is_refused() -> None:
    with pytest.raises(TypeError, match='binary'):
        FileObject(io.StringIO('x'))  # type: ignore[arg-type]


def test_special_files_are_not_opened(tmp_path: Path) -> None:
    """A FIFO with no writer would otherwise hang or wake its writer."""
    os.mkfifo(tmp_path / 'fifo')
    for path in (tmp_path / 'fifo', tmp_path, Path('/dev/zero'), tmp_path / 'nothing'):
        with pytest.raises(FileNotFoundError):
            OpenFile(str(path))


def test_an_open_file_is_where_it_is_and_not_where_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, outside = tmp_path / 'in', tmp_path / 'out'
    inside.mkdir()
    outside.mkdir()
    (outside / 'a').write_text('x')
    (inside / 'b').write_text('x')
    (inside / 'a').symlink_to(outside / 'a')
    (inside / 'c').symlink_to('b')
    readlink = os.readlink

    def no_proc(path: str, **options: int | None) -> str:
        if str(path).startswith('/proc'):
            raise FileNotFoundError(path)
        return readlink(path, **options)

    for proc in (True, False):
        if not proc:
            monkeypatch.setattr(os, 'readlink', no_proc)
        for name, expected in (('a', False), ('b', True), ('c', True)):
            path = str(inside / name)
            file = OpenFile(path)
            assert file.is_below(str(inside), path) is expected, (proc, name)
            file.close()


def test_a_dropped_file_is_closed(tmp_path: Path) -> None:
    (tmp_path / 'a').write_text('x')
    file = OpenFile(str(tmp_path / 'a'))
    descriptor = file._descriptor
    assert stat.S_ISREG(os.fstat(descriptor).st_mode)
    del file
    with pytest.raises(OSError):
        os.fstat(descriptor)
