"""Uploaded files (SPEC chapter 15, FU-01 to FU-07; appendix A, A-64): what arrives, what a service does with
it, and that nothing of it is left behind.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from projects import Launcher, wait_for
from serving import Direct, build, parse_answer, request_bytes, send_raw

import skitai
from atila import Atila
from atila.bodies import FormBody
from atila.errors import HTTPError
from atila.upload import UploadedFile, sanitised
from skitai.engine.asgi import AsgiEngine
from skitai.testing import Client

Make = Callable[..., Client]

MB = 1 << 20
TYPE = 'multipart/form-data; boundary=x'
POST_TYPE = f'Content-Type: {TYPE}\r\n'.encode()


@pytest.fixture(autouse=True)
def temp_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process makes temporary files during a test."""
    directory = tmp_path / 'temporary'
    directory.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(directory))
    return directory


def left(directory: Path) -> list[str]:
    """Files in `directory`, with or without a name, that this process holds or has left."""
    found = [path.name for path in directory.iterdir()]
    for descriptor in os.listdir('/proc/self/fd'):
        try:
            target = os.readlink(f'/proc/self/fd/{descriptor}')
        except FileNotFoundError:
            continue
        if target.startswith(str(directory)):
            found.append(target)
    return found


def nothing_left(directory: Path) -> None:
    wait_for(lambda: not left(directory), f'the end of {left(directory)}')


def serving(function: Callable[..., Any]) -> Atila:
    """An app that answers a POST with what `function (was, **parameters)` returns."""
    app = Atila('app')

    @app.route('/', methods=['POST'])
    def service(was: Any, **values: Any) -> Any:
        return was.API(answer=function(was, **values))

    return app


def answered(client: Client, data: dict[str, Any]) -> Any:
    response = client.upload('/', data)
    assert response.status_code == 200, response.text
    return response.data['answer']


def part(content: bytes, disposition: bytes = b'name="file"; filename="f.bin"', more: bytes = b'') -> bytes:
    return (
        b'--x\r\nContent-Disposition: form-data; '
        + disposition
        + b'\r\n'
        + more
        + b'\r\n'
        + content
        + b'\r\n'
    )


END = b'--x--\r\n'


# -- what arrives ----------------------------------------------------------------------------------


@pytest.mark.parametrize('size', [0, 3, 65_536, 65_537, MB - 1000, MB, 3 * MB])
def test_a_file_arrives_as_it_was_sent(client_for: Make, temp_dir: Path, size: int) -> None:
    """FU-01, FU-02, FU-03: in memory or on disk, as bytes, as a file and in pieces."""
    content = os.urandom(size)

    def look(was: Any, file: Any) -> Any:
        with file.open() as opened:
            assert opened.read() == content
        assert b''.join(file) == content
        assert file.read() == content == Path(file.path).read_bytes() == file.read()
        assert stat.S_IMODE(os.stat(file.path).st_mode) == 0o600
        assert Path(file.path).parent == temp_dir
        return [file.name, file.size, file.mimetype, file.ext, os.path.splitext(file.path)[1]]

    client = client_for(serving(look))
    assert answered(client, {'file': ('a.TXT', content)}) == ['a.TXT', size, 'text/plain', '.TXT', '.TXT']
    nothing_left(temp_dir)


def test_several_files_under_one_name_are_a_list(client_for: Make, temp_dir: Path) -> None:
    """FU-01: with fields between them; small ones and large ones, of which each keeps its content."""
    sizes = [10, 200_000, 70_000, 5, 900_000, 64_000, 64_000, 64_000]
    contents = [os.urandom(size) for size in sizes]

    def look(was: Any, file: Any, note: Any, other: Any) -> Any:
        assert [f.read() for f in file] == contents
        assert [Path(f.path).read_bytes() for f in file] == contents
        assert other.read() == b'1'
        return note

    parts = [part(content) + part(b'note', b'name="note"') for content in contents]
    body = b''.join(parts) + part(b'1', b'name="other"; filename="o"') + END
    response = client_for(serving(look)).post('/', body, headers={'Content-Type': TYPE})
    assert response.data['answer'] == ['note'] * len(sizes)
    nothing_left(temp_dir)


@pytest.mark.parametrize(
    ('disposition', 'name'),
    [
        ('name="file"; filename="한글 ü.txt"', '한글_ü.txt'),
        ('name="file"; filename="a%22b.txt"', 'a_b.txt'),
        (r'name="file"; filename="a\"b.txt"', 'a_b.txt'),
        ('name=file; filename=plain.txt', 'plain.txt'),
        ('filename="a;b.txt"; name="file"', 'a_b.txt'),
        (r'name="file"; filename="C:\dir\x.txt"', 'x.txt'),
        ('name="file"; filename="../../etc/passwd"', 'passwd'),
        ('name="file"; filename*=UTF-8\'\'%e2%82%ac%20rates.txt', '€_rates.txt'),
        ('name="file"; filename="fallback"; filename*=utf-8\'en\'%C3%A4.txt', 'ä.txt'),
        ('name="file"; filename*=iso-8859-1\'\'%E4.txt', 'ä.txt'),
        ('name="file"; filename="a; filename*=UTF-8\'\'b"', 'b'),
        ('name="file"; filename*=UTF-8\'\'..%2F..%2Fx', 'x'),
        ('name="file"; filename=""', 'noname'),
    ],
)
def test_names_of_files(client_for: Make, disposition: str, name: str) -> None:
    """FU-02; RFC 7578, 4.2; RFC 5987, which some clients use."""
    client = client_for(serving(lambda was, file: file.name))
    body = part(b'1', disposition.encode()) + END
    response = client.post('/', body, headers={'Content-Type': TYPE})
    assert response.data['answer'] == (name if 'filename="a; ' not in disposition else 'a_filename*=UTF-8_b')


def test_a_long_name_takes_no_long_time(client_for: Make) -> None:
    """FU-02: parts whose header is one unfinished string; each took a twentieth of a second."""
    client = client_for(serving(lambda was, file: len(file)))
    disposition = b'name="file"; x="' + rb'\"' * 2000
    begun = time.perf_counter()
    response = client.post('/', part(b'1', disposition) * 200 + END, headers={'Content-Type': TYPE})
    assert response.data['answer'] == 200
    assert time.perf_counter() - begun < 2


@pytest.mark.parametrize('extended', ["UTF-8''%ff", "nonsense''a"])
def test_a_malformed_extended_name(client_for: Make, extended: str) -> None:
    """FU-02, PR-07: a 400 that names the field."""
    body = part(b'1', f'name="file"; filename*={extended}'.encode()) + END
    response = client_for(serving(lambda was, file: '')).post('/', body, headers={'Content-Type': TYPE})
    assert response.status_code == 400


@pytest.mark.parametrize(
    ('given_name', 'name'),
    [
        ('/../home/.very|:;&good', 'very_good'),
        ('a  b.txt', 'a_b.txt'),
        ('', 'noname'),
        ('...', 'noname'),
        ('dir/', 'noname'),
        ('<>?&\'";:|', '_'),
        ('a\x00b\r\nc', 'a_b_c'),
        ('.htaccess', 'htaccess'),
        ('x' * 300 + '.txt', 'x' * 196 + '.txt'),
        ('ä' * 300, 'ä' * 100),
        ('a.' + 'b' * 300, 'a'),
    ],
)
def test_sanitised_names(given_name: str, name: str) -> None:
    """FU-02."""
    assert sanitised(given_name) == name


@given(st.text(max_size=400))
def test_any_name_becomes_one_that_is_safe(name: str) -> None:
    """FU-02: and stays what it is."""
    safe = sanitised(name)
    assert safe
    assert not safe.startswith('.')
    assert not re.search(r'[\s/\\"\':;|><&?\x00-\x1f]', safe)
    assert len(safe.encode()) <= 200
    assert sanitised(safe) == safe


def test_a_file_input_without_a_file(client_for: Make) -> None:
    """FU-01: a browser sends an empty part without a name; the service's default is used."""
    client = client_for(serving(lambda was, file='none', note='': [file, note]))
    body = part(b'', b'name="file"; filename=""', b'Content-Type: application/octet-stream\r\n')
    response = client.post('/', body + part(b'n', b'name="note"') + END, headers={'Content-Type': TYPE})
    assert response.data['answer'] == ['none', 'n']


def test_the_media_type_of_a_file(client_for: Make) -> None:
    """FU-02."""
    client = client_for(serving(lambda was, file: [f.mimetype for f in file]))
    bodies = [
        part(b'1', more=b'Content-Type: Image/PNG; x=y\r\n'),
        part(b'1'),
        part(b'1', more=b'Content-Type:\r\n'),
    ]
    response = client.post('/', b''.join(bodies) + END, headers={'Content-Type': TYPE})
    assert response.data['answer'] == ['image/png', 'application/octet-stream', 'application/octet-stream']


# -- what a service does with it -------------------------------------------------------------------

SIZES = pytest.mark.parametrize('size', [5, 100_000, 2 * MB])


def mode_of_new_files(directory: Path) -> int:
    probe = directory / 'probe'
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    return mode


@SIZES
@pytest.mark.parametrize('asked', [False, True])
def test_move(client_for: Make, tmp_path: Path, temp_dir: Path, size: int, asked: bool) -> None:
    """FU-03: returns the path, which is the file's then; overwrites; the file stays."""
    content, target = os.urandom(size), tmp_path / 'moved'
    target.write_bytes(b'old')

    def move(was: Any, file: Any) -> Any:
        before = file.path if asked else ''
        assert file.move(target) == str(target) == file.path
        assert not os.path.exists(before)
        assert file.read() == content
        assert file.move(file.path) == str(target)
        second = file.move(str(target) + '2')
        assert not target.exists()
        return [second, file.move(str(target))]

    assert answered(client_for(serving(move)), {'file': ('f', content)}) == [f'{target}2', str(target)]
    nothing_left(temp_dir)
    assert target.read_bytes() == content
    assert stat.S_IMODE(target.stat().st_mode) == mode_of_new_files(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ['moved', 'temporary']


@SIZES
def test_move_to_another_file_system(client_for: Make, temp_dir: Path, size: int) -> None:
    """FU-03; where the machine has one file system only, to another directory of it."""
    shared = Path('/dev/shm')
    if not shared.is_dir():
        shared = temp_dir.parent
    content = os.urandom(size)
    with tempfile.TemporaryDirectory(dir=shared) as directory:

        def move(was: Any, file: Any) -> Any:
            file.path  # noqa: B018 (it has a file then)
            file.move(directory + '/a')
            return file.move(str(temp_dir.parent / 'back'))

        answered(client_for(serving(move)), {'file': ('f', content)})
        assert os.listdir(directory) == []
    assert (temp_dir.parent / 'back').read_bytes() == content
    nothing_left(temp_dir)


def test_a_move_that_fails_loses_nothing(client_for: Make, tmp_path: Path, temp_dir: Path) -> None:
    """FU-03: the content is where it was, and no draft is left."""
    directory = tmp_path / 'directory'
    directory.mkdir()

    def move(was: Any, file: Any) -> Any:
        file.path  # noqa: B018 (it has a file then)
        for target in (directory, tmp_path / 'missing' / 'f'):
            with pytest.raises(OSError):
                file.move(target)
        return len(file.read())

    assert answered(client_for(serving(move)), {'file': ('f', b'x' * 100_000)}) == 100_000
    assert sorted(os.listdir(tmp_path)) == ['directory', 'temporary']
    nothing_left(temp_dir)


@SIZES
def test_remove(client_for: Make, temp_dir: Path, tmp_path: Path, size: int) -> None:
    """FU-03; PITFALLS: it deletes; what is used afterwards says so."""

    def remove(was: Any, file: Any, other: Any, saved: Any) -> Any:
        path = file.path
        file.remove()
        other.remove()
        other.remove()
        at = saved.save(tmp_path / 'into', mkdir=True)
        saved.remove()
        for use in (file.read, other.open, lambda: other.path, lambda: saved.save(tmp_path)):
            with pytest.raises(RuntimeError, match='it was removed'):
                use()
        return [os.path.exists(path), os.path.exists(at)]

    content = os.urandom(size)
    data = dict.fromkeys(('file', 'other', 'saved'), ('f', content))
    assert answered(client_for(serving(remove)), data) == [False, False]
    nothing_left(temp_dir)


@pytest.mark.parametrize('alias', ['as_flashfile', 'flashfile', 'tempfile'])
@SIZES
def test_as_flashfile(client_for: Make, temp_dir: Path, tmp_path: Path, alias: str, size: int) -> None:
    """FU-04: a path in `with`; its file is deleted at the end, unless it was moved."""
    content = os.urandom(size)

    def use(was: Any, file: Any, other: Any) -> Any:
        with getattr(file, alias)() as path:
            assert type(path) is not str
            assert isinstance(path, str)
            assert Path(path).read_bytes() == content
        with getattr(other, alias)() as moved:
            other.move(tmp_path / 'moved')
        return [os.path.exists(path), os.path.exists(moved)]

    answer = answered(client_for(serving(use)), {'file': ('f', content), 'other': ('g', content)})
    assert answer == [False, False]
    assert (tmp_path / 'moved').read_bytes() == content
    nothing_left(temp_dir)


@SIZES
def test_save(client_for: Make, tmp_path: Path, temp_dir: Path, size: int) -> None:
    """FU-05: unique or overwritten, under its own or another name, the directory made where it has to be."""
    content, into = os.urandom(size), tmp_path / 'a' / 'b'

    def save(was: Any, file: Any) -> Any:
        with pytest.raises(FileNotFoundError):
            file.save(into)
        first = file.save(into, mkdir=True)
        assert file.path == first
        others = [file.save(str(into)) for _ in range(2)]
        (into / 'g.txt').write_bytes(b'old')
        others += [
            file.save(into, name='g.txt', dup='o'),
            file.save(into, name='none'),
            file.save(into, 'none'),
        ]
        with pytest.raises(ValueError, match='dup'):
            file.save(into, dup='x')
        return [first, *others]

    names = ['f.tar.gz', 'f.tar.1.gz', 'f.tar.2.gz', 'g.txt', 'none', 'none.1']
    answer = answered(client_for(serving(save)), {'file': ('f.tar.gz', content)})
    assert answer == [str(into / name) for name in names]
    nothing_left(temp_dir)
    assert sorted(os.listdir(into)) == sorted(names)
    for name in names:
        assert (into / name).read_bytes() == content
        assert stat.S_IMODE((into / name).stat().st_mode) == mode_of_new_files(tmp_path)
        assert (into / name).stat().st_nlink == 1


def test_the_documented_upload(client_for: Make, tmp_path: Path) -> None:
    """A-64: stored under its name, over an older one."""
    app = Atila('app')
    into = tmp_path / 'upload'
    into.mkdir()

    @app.route('/upload', methods=['POST'])
    def upload(was, file):
        file.save(str(into), dup='o')
        return ''

    client = client_for(app)
    for content in (b'1', b'2' * 3 * MB):
        assert client.upload('/upload', {'file': ('my file.txt', content)}).status_code == 200
        assert (into / 'my_file.txt').read_bytes() == content
    assert os.listdir(into) == ['my_file.txt']
    assert client.post('/upload', {'other': '1'}).status_code == 400


@pytest.mark.parametrize(
    'name', ['../x', '/etc/x', 'a/b', '..', '.', '', 'a\\b', 'a\x00', 'x' * 250, '../' * 9 + 'x']
)
def test_a_name_leads_nowhere_else(client_for: Make, tmp_path: Path, temp_dir: Path, name: str) -> None:
    """FU-05; PITFALLS, Security: a 400."""
    into = tmp_path / 'into'

    def save(was: Any, file: Any) -> Any:
        return file.save(into, name=name, mkdir=True)

    response = client_for(serving(save)).upload('/', {'file': ('f', b'1')})
    assert response.status_code == 400
    assert 'cannot be the name' in response.data['more_info']
    assert sorted(os.listdir(tmp_path)) in (['into', 'temporary'], ['temporary'])
    nothing_left(temp_dir)


def test_a_directory_in_the_way(client_for: Make, tmp_path: Path, temp_dir: Path) -> None:
    """FU-05: of the client's name; another name is found, or it is a 400."""
    into = tmp_path / 'into'
    (into / 'sub').mkdir(parents=True)
    client = client_for(serving(lambda was, file, dup: file.save(into, dup=dup)))
    assert answered(client, {'file': ('sub', b'1'), 'dup': 'u'}) == str(into / 'sub.1')
    assert client.upload('/', {'file': ('sub', b'1'), 'dup': 'o'}).status_code == 400
    assert sorted(os.listdir(into)) == ['sub', 'sub.1']


def test_a_link_in_the_way(client_for: Make, tmp_path: Path) -> None:
    """FU-05: is replaced, not followed."""
    into, outside = tmp_path / 'into', tmp_path / 'outside'
    into.mkdir()
    outside.write_bytes(b'precious')
    (into / 'f').symlink_to(outside)
    client = client_for(serving(lambda was, file, dup: file.save(into, dup=dup)))
    assert answered(client, {'file': ('f', b'1'), 'dup': 'u'}) == str(into / 'f.1')
    answered(client, {'file': ('f', b'2'), 'dup': 'o'})
    assert outside.read_bytes() == b'precious'
    assert (into / 'f').read_bytes() == b'2'


def test_concurrent_uploads_of_one_name(client_for: Make, tmp_path: Path, temp_dir: Path) -> None:
    """FU-05: each gets a name of its own, and its content is complete when it is there."""
    client = client_for(serving(lambda was, file: file.save(tmp_path / 'into', mkdir=True)), threads=8)

    def send(number: int) -> tuple[str, bytes]:
        content = bytes([number]) * (number % 4 * 400_000 + 10)
        return answered(client, {'file': ('f.txt', content)}), content

    with ThreadPoolExecutor(8) as pool:
        saved = dict(pool.map(send, range(40)))
    assert len(saved) == 40
    for path, content in saved.items():
        assert Path(path).read_bytes() == content
    assert len(os.listdir(tmp_path / 'into')) == 40
    nothing_left(temp_dir)


def test_use_after_the_request(client_for: Make, temp_dir: Path, tmp_path: Path) -> None:
    """FU-07: a clear error; what was saved is there."""
    kept: list[UploadedFile] = []

    def keep(was: Any, **files: Any) -> Any:
        kept.extend(files.values())
        files['c'].save(tmp_path)
        return files['d'].path

    content = b'x' * 200_000
    client = client_for(serving(keep))
    answered(client, {'a': ('a', b'1'), 'b': ('b', content), 'c': ('c', content), 'd': ('d', content)})
    nothing_left(temp_dir)
    for file in (kept[0], kept[1], kept[3]):
        for use in (
            file.read,
            file.open,
            file.as_flashfile,
            partial(file.save, tmp_path),
            partial(list, file),
        ):
            with pytest.raises(RuntimeError, match='request is over'):
                use()
    assert (kept[2].path, kept[2].read()) == (str(tmp_path / 'c'), content)


def test_a_coroutine_and_a_generator_use_files(client_for: Make, temp_dir: Path) -> None:
    """FU-07: until the end of their answers."""
    app = Atila('app')

    @app.route('/coroutine', methods=['POST'])
    async def coroutine(was, file):
        await asyncio.sleep(0.01)
        return was.API(size=len(file.read()))

    @app.route('/generator', methods=['POST'])
    def generator(was, file):
        yield 'begin '
        yield str(len(file.read()))
        yield from file

    client = client_for(app)
    content = b'x' * 2_000_000
    assert client.upload('/coroutine', {'file': ('f', content)}).data == {'size': len(content)}
    assert client.upload('/generator', {'file': ('f', content)}).text == 'begin 2000000' + 'x' * 2_000_000
    nothing_left(temp_dir)


# -- how requests end ------------------------------------------------------------------------------


def test_a_service_that_fails(client_for: Make, temp_dir: Path) -> None:
    """FU-07."""

    def failing(was: Any, file: Any, other: Any) -> Any:
        return [file.path, other.path, 1 / 0]

    content = b'x' * 2 * MB
    response = client_for(serving(failing)).upload('/', {'file': ('f', content), 'other': ('o', content)})
    assert response.status_code == 500
    nothing_left(temp_dir)


def test_a_form_whose_end_is_malformed(client_for: Make, temp_dir: Path) -> None:
    """FU-07, PR-07: what had been stored is deleted when the fault is seen, not at the request's end."""
    seen = []
    app = Atila('app')

    @app.route('/', methods=['POST'])
    def service(was):
        return ''

    @app.before_request
    def look(was):
        seen.extend(left(temp_dir))

    body = part(b'x' * 2 * MB) + part(b'1', b'no=name') + b'x' * 3 * MB + END
    response = client_for(app).post('/', body, headers={'Content-Type': TYPE})
    assert response.status_code == 400
    assert 'a part without a name' in response.data['more_info']
    assert seen == []
    nothing_left(temp_dir)


HALF = part(b'x' * 4 * MB) + part(b'y' * 4 * MB)


def begun(connection: socket.socket, temp_dir: Path, headers: bytes = b'') -> None:
    """Send half of an upload, until it is on disk."""
    request = request_bytes(b'POST', headers=POST_TYPE + headers, body=HALF + END)
    connection.sendall(request[: -6 * MB])
    found = wait_for(lambda: left(temp_dir), 'a temporary file')
    # One file without a name for all of them: nothing stays if the process is killed now.
    assert len(found) == 1
    assert found[0].endswith('(deleted)')


def test_a_client_that_leaves_half_way(direct_for: Callable[..., Direct], temp_dir: Path) -> None:
    """FU-07."""
    engine = direct_for(serving(lambda was, file: ''))
    with engine.connect() as connection:
        begun(connection, temp_dir)
    nothing_left(temp_dir)


def test_a_client_that_stops_half_way(direct_for: Callable[..., Direct], temp_dir: Path) -> None:
    """FU-07: 408, and nothing is left."""
    engine = direct_for(serving(lambda was, file: ''), network_timeout=1.0)
    with engine.connect() as connection:
        begun(connection, temp_dir)
        assert connection.recv(1000).startswith(b'HTTP/1.1 408')
        nothing_left(temp_dir)


def test_an_upload_that_exceeds_the_limit_half_way(direct_for: Callable[..., Direct], temp_dir: Path) -> None:
    """FU-06, FU-07: chunked, so that nobody knew before."""
    engine = direct_for(serving(lambda was, file: ''), max_upload_size=3 * MB)
    with engine.connect() as connection:
        connection.sendall(
            b'POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n' + POST_TYPE + b'\r\n'
        )
        chunk = HALF[: 2 * MB]
        connection.sendall(b'%x\r\n%s\r\n' % (len(chunk), chunk))
        wait_for(lambda: left(temp_dir), 'a temporary file')
        connection.sendall(b'%x\r\n%s' % (len(chunk), chunk))
        assert connection.recv(1000).startswith(b'HTTP/1.1 413')
        nothing_left(temp_dir)


@pytest.mark.parametrize('fails', [False, True])
def test_a_service_that_takes_too_long(
    direct_for: Callable[..., Direct], temp_dir: Path, fails: bool
) -> None:
    """FU-07: it keeps its files until it ends, though its client has got a 503."""
    go_on, sizes = threading.Event(), []

    def slow(was: Any, file: Any) -> Any:
        file[0].path  # noqa: B018
        assert go_on.wait(20)
        sizes.append(len(file[0].read()))
        assert not fails
        return ''

    engine = direct_for(serving(slow), request_timeout=1.0)
    with engine.connect() as connection:
        connection.sendall(request_bytes(b'POST', headers=POST_TYPE, body=HALF + END))
        assert connection.recv(1000).startswith(b'HTTP/1.1 503')
        assert left(temp_dir)
        go_on.set()
        nothing_left(temp_dir)
    assert sizes == [4 * MB]


def test_an_upload_that_waits_too_long_for_a_thread(
    direct_for: Callable[..., Direct], temp_dir: Path
) -> None:
    """FU-07: given up before its service runs."""
    go_on, running = threading.Event(), threading.Event()

    def slow(was: Any, file: Any = None) -> Any:
        running.set()
        assert go_on.wait(20)
        return ''

    engine = direct_for(serving(slow), request_timeout=1.0, threads=1)
    with engine.connect() as first, engine.connect() as second:
        first.sendall(request_bytes(b'POST', body=b''))
        assert running.wait(20)
        second.sendall(request_bytes(b'POST', headers=POST_TYPE, body=HALF + END))
        assert second.recv(1000).startswith(b'HTTP/1.1 503')
        go_on.set()
        nothing_left(temp_dir)


def test_a_client_that_leaves_a_coroutine(direct_for: Callable[..., Direct], temp_dir: Path) -> None:
    """FU-07: it is cancelled."""
    running = threading.Event()
    app = Atila('app')

    @app.route('/', methods=['POST'])
    async def service(was, file):
        assert file[0].path
        running.set()
        await asyncio.sleep(60)

    engine = direct_for(app)
    with engine.connect() as connection:
        connection.sendall(request_bytes(b'POST', headers=POST_TYPE, body=HALF + END))
        assert running.wait(20)
        assert left(temp_dir)
    nothing_left(temp_dir)


@pytest.mark.parametrize('end', ['disconnect', 'silence', 'too much'])
def test_uploads_that_end_half_way_on_any_asgi_server(
    temp_dir: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FU-06, FU-07."""
    monkeypatch.setattr('skitai.engine.asgi.LINGER_SECONDS', 0.1)
    table, made, mounts = build(serving(lambda was, file: ''), network_timeout=1.0, max_upload_size=6 * MB)
    application = AsgiEngine(table, made)
    statuses = []
    scope = {
        'type': 'http',
        'http_version': '1.1',
        'method': 'POST',
        'path': '/',
        'headers': [(b'host', b't'), (b'content-type', TYPE.encode()), (b'transfer-encoding', b'chunked')],
    }
    messages = [
        {'type': 'http.request', 'body': HALF[i : i + MB], 'more_body': True} for i in range(0, 4 * MB, MB)
    ]
    if end == 'too much':
        messages *= 2

    async def receive() -> Any:
        if messages:
            return messages.pop(0)
        assert left(temp_dir) or end == 'too much'
        if end == 'silence':
            await asyncio.sleep(60)
        return {'type': 'http.disconnect'}

    async def send(message: Any) -> None:
        statuses.append(message.get('status'))

    asyncio.run(application(scope, receive, send))
    mounts.umount()
    assert statuses[:1] == {'disconnect': [], 'silence': [408], 'too much': [413]}[end]
    assert left(temp_dir) == []


def test_a_full_disk(client_for: Make, temp_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FU-07: a 503, after the whole body was taken."""

    def full() -> Any:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('atila.upload._unnamed_file', full)
    response = client_for(serving(lambda was, file: '')).upload('/', {'file': ('f', b'x' * 3 * MB)})
    assert response.status_code == 503
    nothing_left(temp_dir)


def test_a_disk_that_is_full_for_any_body(client_for: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """FU-07: a 5xx soon, not when the client's patience ends."""

    def full(**options: Any) -> Any:
        raise OSError(28, 'No space left on device')

    client = client_for(serving(lambda was: ''))
    monkeypatch.setattr('skitai.body.tempfile.TemporaryFile', full)
    response = client.post('/', b'x' * 2 * MB, headers={'Content-Type': 'text/plain'}, timeout=10)
    assert response.status_code == 503


def test_a_file_system_without_unnamed_files(
    client_for: Make, temp_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FU-03, FU-07: all the same, by copying."""
    really_open = os.open

    def open_named(path: Any, flags: int, *more: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, 'Operation not supported')
        return really_open(path, flags, *more)

    def link(*arguments: Any, **options: Any) -> None:
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(os, 'open', open_named)
    monkeypatch.setattr(os, 'link', link)
    content = os.urandom(2 * MB)

    def use(was: Any, file: Any) -> Any:
        assert Path(file.path).read_bytes() == content
        return file.save(tmp_path)

    assert answered(client_for(serving(use)), {'file': ('f', content)}) == str(tmp_path / 'f')
    assert (tmp_path / 'f').read_bytes() == content
    nothing_left(temp_dir)


# -- limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize('declared', [True, False])
def test_an_upload_above_the_limit(client_for: Make, declared: bool) -> None:
    """FU-06: 413, by its Content-Length or as it comes; one below it is taken."""
    pref = skitai.preference()
    pref.config.MAX_UPLOAD_SIZE = 2 * MB
    client = client_for(serving(lambda was, file: file.size), pref)
    for size, status in ((MB, 200), (3 * MB, 413)):
        body = part(b'x' * size) + END
        data: Any = body if declared else iter([body[i : i + 100_000] for i in range(0, len(body), 100_000)])
        response = client.post('/', data, headers={'Content-Type': TYPE})
        assert response.status_code == status


def test_an_upload_that_asks_before(direct_for: Callable[..., Direct]) -> None:
    """FU-06: `Expect: 100-continue` gets a 413 before the body, and the connection is closed."""
    engine = direct_for(serving(lambda was, file: ''), max_upload_size=MB)
    head = b'POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 2000000\r\n' + POST_TYPE
    data = send_raw(engine.connect(), head + b'\r\n')
    assert data.startswith(b'HTTP/1.1 413')
    answer = parse_answer(data)
    assert answer.headers is not None
    assert answer.headers['connection'] == 'close'


# -- other clients ---------------------------------------------------------------------------------


def test_uploads_of_other_clients(direct_for: Callable[..., Direct], tmp_path: Path) -> None:
    """FU-01: requests, http.client, curl (which asks before it sends)."""
    engine = direct_for(serving(lambda was, file, note: [file.name, file.size, file.mimetype, note]))
    url = f'http://127.0.0.1:{engine.port}/'
    content = os.urandom(2 * MB)
    expected = {'answer': ['a_b.png', len(content), 'image/png', 'ä']}
    files = {'file': ('a b.png', content, 'image/png')}
    assert requests.post(url, data={'note': 'ä'}, files=files, timeout=20).json() == expected

    connection = http.client.HTTPConnection('127.0.0.1', engine.port, timeout=20)
    body = part(content, b'name="file"; filename="a b.png"', b'Content-Type: image/png\r\n')
    body += part('ä'.encode(), b'name="note"') + END
    for data in (body, iter([body[:MB], body[MB:]])):
        connection.request('POST', '/', data, {'Content-Type': TYPE})
        assert json.loads(connection.getresponse().read()) == expected
    connection.close()

    (tmp_path / 'a b.png').write_bytes(content)
    command = ['curl', '-sS', '-F', f'file=@{tmp_path / "a b.png"}', '-F', 'note=ä', url]
    for more in ([], ['-H', 'Transfer-Encoding: chunked'], ['-H', 'Expect: 100-continue']):
        try:
            done = subprocess.run([*command, *more], capture_output=True, check=True, timeout=20)
        except FileNotFoundError:
            return
        assert json.loads(done.stdout) == expected


SERVE = """
    import os
    import skitai
    from atila import Atila

    app = Atila (__name__)

    def memory (name):
        with open ('/proc/self/status') as file:
            return next (int (line.split () [1]) for line in file if line.startswith (name))

    @app.route ('/before')
    def before (was):
        with open ('/proc/self/clear_refs', 'w') as file:
            file.write ('5')
        return was.API (rss = memory ('VmRSS:'), pid = os.getpid ())

    @app.route ('/upload', methods = ['POST'])
    def upload (was, file, note):
        path = file.save (os.path.dirname (__file__), name = 'saved.bin')
        return was.API (size = file.size, path = path, note = note, rss = memory ('VmHWM:'))

    if __name__ == '__main__':
        skitai.set_max_upload_size (400 << 20)
        with skitai.preference () as pref:
            pref.config.MAX_UPLOAD_SIZE = 400 << 20
            skitai.mount ('/', app, pref)
        skitai.run ()
"""


def test_a_large_upload_takes_little_memory(launch: Launcher, tmp_path: Path) -> None:
    """FU-02: 300 MB of a real client to a real server, saved, with less than 20 MB of memory."""
    client = launch({'serve.py': SERVE})
    source = tmp_path / 'source.bin'
    with source.open('wb') as file:
        for _ in range(300):
            file.write(os.urandom(1024) * 1024)
    client.upload('/upload', {'file': ('f', b'x' * 2 * MB), 'note': ''})
    (tmp_path / 'saved.bin').unlink()
    before = client.get('/before').data['rss']
    url = f'http://127.0.0.1:{client.port}/upload'
    if shutil.which('curl'):
        command = ['curl', '-sS', '-F', f'file=@{source}', '-F', 'note=n', url]
        done = subprocess.run(command, capture_output=True, check=True, timeout=60)
        answer = json.loads(done.stdout)
    else:
        with source.open('rb') as file:
            answer = requests.post(url, files={'file': file}, data={'note': 'n'}, timeout=60).json()
    assert (answer['size'], answer['note']) == (300 * MB, 'n')
    assert answer['rss'] - before < 20 * 1024
    assert subprocess.run(['cmp', source, answer['path']], check=False).returncode == 0
    source.unlink()
    os.unlink(answer['path'])


# -- properties ------------------------------------------------------------------------------------

Result = tuple[str, Any]


def result(body: bytes, sizes: list[int], content_type: str = TYPE) -> Result:
    """What a form makes of `body` that arrives in chunks of `sizes`, over and over."""
    form = FormBody(content_type)
    try:
        at = turn = 0
        while at < len(body):
            form.write(body[at : at + sizes[turn % len(sizes)]])
            at += sizes[turn % len(sizes)]
            turn += 1
        try:
            return 'form', {name: _plain(value) for name, value in form.form().items()}
        except HTTPError as error:
            return 'error', (error.status_code, error.explain)
    finally:
        form.close()


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, UploadedFile):
        return (value.name, value.size, value.mimetype, value.read())
    return value


_PIECES = st.sampled_from(
    [
        *(
            b'--x\r\n',
            b'--x--',
            b'--x',
            b'\r\n',
            b'\r',
            b'\n',
            b'\r\n\r\n',
            b'--',
            b'x',
            b' ',
            b'\t',
            b'\r\n--x',
        ),
        *(b'Content-Disposition: form-data; name="a"', b'; filename="f"', b'; name=b', b'; filename=""'),
        *(b'Content-Type: text/plain; charset=', b'utf-16', b'latin1', b'hex', b'Content-Length: 3\r\n'),
        *(b"; filename*=UTF-8''%41", b"; filename*=x''%", b'X: y\r\n' * 5, b'y' * 5000, b'\xff'),
        part(b'1'),
        part(b'', b'name="b"'),
        part(b'\r\n--y\r\n', b'name="c"'),
        END,
    ]
)
_ANY = st.lists(_PIECES | st.binary(max_size=8), max_size=14).map(b''.join)
_VALID = st.lists(
    st.builds(
        part,
        st.binary(max_size=300),
        st.sampled_from([b'name="a"', b'name="b"; filename="f.txt"', b'name="c"; filename=""']),
    ),
    max_size=5,
).map(lambda parts: b''.join(parts) + END)


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """A valid form with a few places cut out, doubled or overwritten."""
    body = draw(_VALID)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 20)))
        body = body[:start] + draw(st.binary(max_size=4) | st.just(body[start:end] * 2)) + body[end:]
    return body


_SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=5)


@settings(max_examples=400, deadline=None)
@given(_ANY | _mutated(), _SIZES, st.integers(1, 300))
def test_the_result_does_not_depend_on_the_chunks(body: bytes, sizes: list[int], limit: int) -> None:
    """PR-07: a form or a 4xx for any bytes, the same whether parsed as it comes or when asked for."""
    whole = result(body, [len(body) or 1])
    assert result(body, sizes) == whole
    with pytest.MonkeyPatch.context() as patch:  # as if these few bytes were a large body
        patch.setattr('atila.bodies.IN_MEMORY', limit)
        patch.setattr('atila.bodies.SPOOL_FROM', limit // 3)
        streamed = result(body, sizes)
        assert result(body, [len(body) or 1]) == streamed
    assert streamed == whole
    assert whole[0] == 'form' or 400 <= whole[1][0] < 500


@settings(max_examples=60, deadline=None)
@given(_ANY | _mutated(), _SIZES, st.sampled_from([1, 7, 64]))
def test_the_result_does_not_depend_on_the_chunks_of_many_blocks(
    body: bytes, sizes: list[int], block: int
) -> None:
    """PR-07: the same, where the parser gets the form in many blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('atila.bodies.BLOCK', block * 16)
        patch.setattr('atila.bodies.IN_MEMORY', 50)
        assert result(body, sizes) == result(body, [len(body) or 1])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(['text', 'file']), st.integers(0, 300_000)), max_size=12),
    st.lists(st.integers(1000, 400_000), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_any_form_arrives_as_it_was(kinds: list[tuple[str, int]], sizes: list[int], random: Any) -> None:
    """FU-01: files and texts, around the limits of memory."""
    expected: dict[str, Any] = {}
    body = []
    text = 0
    for number, (kind, size) in enumerate(kinds):
        content = random.randbytes(50) * (size // 50)
        name = f'n{number}'
        if kind == 'text' and text + size < MB - 1000:
            text += size
            content = content.hex().encode()[:size]
            expected[name] = content.decode()
            body.append(part(content, b'name="%s"' % name.encode()))
        else:
            expected[name] = ('f', len(content), 'application/octet-stream', content)
            body.append(part(content, b'name="%s"; filename="f"' % name.encode()))
    assert result(b''.join(body) + END, sizes) == ('form', expected)
