"""Mounted directories and files as answers, on the real engine (SPEC ST-03, ST-15, RS-16, RS-18, B.9)."""

from __future__ import annotations

import gzip
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import brotli
import httpx2
import pytest
import requests

if TYPE_CHECKING:
    from conftest import Server

SITE = f'{Path(__file__).parent}/static_site.py:static'
BIG = 300 * 1024 * 1024
MTIME = 1_700_000_000
#: A sibling of `style.css`: clients decode it.
BROTLI = brotli.compress(b'brotli')


class Site:
    """What is served: `root` at '/', `media` and `other` at '/media', `other` at another host's '/'."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root, self.media, self.other = base / 'root', base / 'media', base / 'other'
        for directory in (self.root, self.media, self.other):
            directory.mkdir()

    def write(self, name: str, content: bytes | str, mtime: int = MTIME) -> Path:
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(path, (mtime, mtime))
        return path


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp('static'))
    site.write('root/a.txt', 'hello, file')
    site.write('root/empty.txt', '')
    site.write('root/docs/index.html', 'docs index')
    site.write('root/both/index.html', 'html')
    site.write('root/both/index.htm', 'htm')
    site.write('root/bare/x.txt', 'x')
    site.write('root/späß/ü x.txt', 'umlaut')
    site.write('root/.env', 'secret')
    site.write('root/.git/config', 'secret')
    site.write('root/docs/.hidden', 'secret')
    site.write('root/.well-known/security.txt', 'contact')
    site.write('root/.well-known/.x', 'secret')
    site.write('root/media/own.txt', 'of the root')
    site.write('outside/secret.txt', 'secret')
    site.write('outside/index.html', 'secret')
    site.write('root-twin/secret.txt', 'secret')
    site.write('media/pic.png', b'\x89PNG')
    site.write('media/index.html', 'media index')
    site.write('media/same.txt', 'first')
    site.write('other/same.txt', 'second')
    site.write('other/only.txt', 'other')
    site.write('root/style.css', 'a { color: red }' * 100)
    site.write('root/style.css.br', BROTLI)
    site.write('root/style.css.gz', gzip.compress(b'a { color: red }' * 100))
    site.write('root/stale.js', 'new', MTIME + 60)
    site.write('root/stale.js.gz', gzip.compress(b'old'))
    site.write('root/middle.bin', bytes(range(256)) * 4096)
    with open(site.root / 'big.bin', 'wb') as big:
        big.truncate(BIG)
    os.symlink(site.root / 'a.txt', site.root / 'inside.txt')
    os.symlink('docs', site.root / 'inside')
    os.symlink(site.base / 'outside' / 'secret.txt', site.root / 'link.txt')
    os.symlink(site.base / 'outside', site.root / 'link')
    os.symlink('loop', site.root / 'loop')
    os.symlink(site.base / 'outside' / 'secret.txt', site.root / 'bare' / 'index.html')
    os.symlink(site.base / 'outside' / 'secret.txt', site.root / 'a.txt.gz')
    os.mkfifo(site.root / 'fifo')
    return site


@pytest.fixture(scope='module')
def server(serve: Callable[..., Server], site: Site) -> Server:
    return serve(SITE, root=str(site.root), media=str(site.media), other=str(site.other))


@pytest.fixture(scope='module')
def get(server: Server) -> Iterator[Callable[..., requests.Response]]:
    with requests.Session() as session:
        session.headers['Accept-Encoding'] = 'identity'

        def get(target: str, method: str = 'GET', stream: bool = False, **headers: str) -> requests.Response:
            fields = {name.replace('_', '-'): value for name, value in headers.items()}
            return session.request(
                method, server.url + target, headers=fields, allow_redirects=False, stream=stream, timeout=20
            )

        yield get


def raw_status(server: Server, target: str) -> tuple[int, bytes]:
    """Status and body for a target that is sent as it is."""
    answer = server.send(f'GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'.encode())
    head, _, body = answer.partition(b'\r\n\r\n')
    return int(head.split()[1]), body


# -- which file ----------------------------------------------------------------------------------


def test_a_file_comes_before_the_routes_for_get_and_head_only(get: Any) -> None:
    """SPEC ST-15."""
    assert get('/a.txt').text == 'hello, file'
    assert 'x-by' not in get('/a.txt', 'HEAD').headers
    for method in ('POST', 'PUT', 'DELETE', 'OPTIONS'):
        assert get('/a.txt', method).headers['x-by'] == 'app'


def test_the_app_answers_where_there_is_no_file(get: Any) -> None:
    """SPEC ST-15."""
    for target in (
        '/',
        '/nothing',
        '/nothing/',
        '/a.txt/',
        '/a.txt/x',
        '/bare',
        '/bare/',
        '/' + 'x' * 3000,
        '/loop',
    ):
        assert get(target).headers.get('x-by') == 'app', target


def test_a_directory_serves_its_index_and_htm_first(get: Any) -> None:
    """SPEC ST-15."""
    assert get('/docs/').text == 'docs index'
    assert get('/docs/').headers['content-type'] == 'text/html; charset=utf-8'
    assert get('/both/').text == 'htm'


@pytest.mark.parametrize(
    ('target', 'location'), [('/docs?a=1&b=%2F', '/docs/?a=1&b=%2F'), ('/docs', '/docs/')]
)
def test_a_directory_without_slash_redirects_and_keeps_the_query(
    get: Any, target: str, location: str
) -> None:
    """SPEC ST-15; PITFALLS, Serving."""
    for method in ('GET', 'HEAD'):
        answer = get(target, method)
        assert (answer.status_code, answer.headers['location']) == (301, location)


def test_the_mount_point_itself_redirects_to_its_index(get: Any) -> None:
    """SPEC ST-15: relative links of '/media/index.html' would be wrong at '/media'."""
    answer = get('/media?x=1')
    assert (answer.status_code, answer.headers['location']) == (301, '/media/?x=1')
    assert get('/media/').text == 'media index'


def test_directories_at_one_point_are_asked_in_their_order_and_the_longest_point_first(get: Any) -> None:
    """SPEC ST-03."""
    assert get('/media/same.txt').text == 'first'
    assert get('/media/only.txt').text == 'other'
    assert get('/media/own.txt').text == 'of the root'
    assert get('/mediapic.png').headers['x-by'] == 'app'


def test_another_host_has_its_own_directories(get: Any) -> None:
    """SPEC ST-03, `host =`."""
    assert get('/same.txt', Host='other.test').text == 'second'
    assert get('/same.txt').headers['x-by'] == 'app'


def test_names_beyond_ascii_are_found(get: Any) -> None:
    assert get('/sp%C3%A4%C3%9F/%C3%BC%20x.txt').text == 'umlaut'


@pytest.mark.parametrize(
    'target',
    [
        '/../outside/secret.txt',
        '/%2e%2e/outside/secret.txt',
        '/.%2E/outside/secret.txt',
        '/docs/../../outside/secret.txt',
        '/docs/%2e%2e/%2e%2e/outside/secret.txt',
        '/..%2foutside%2fsecret.txt',
        '/docs/..%2F..%2foutside/secret.txt',
        '/..%5coutside%5csecret.txt',
        '/..\\outside\\secret.txt',
        '/%252e%252e/outside/secret.txt',
        '/../root-twin/secret.txt',
        '/-twin/secret.txt',
        '//etc/passwd',
        '/%2fetc/passwd',
        '//../outside/secret.txt',
        '/media/../../outside/secret.txt',
        '/media/..',
        '/%c0%ae%c0%ae/outside/secret.txt',
        '/%ff%fe',
        '/%ed%a0%80',
        '/link.txt',
        '/link/secret.txt',
        '/link/',
        '/link',
        '/bare/',
        '/fifo',
        '/.env',
        '/%2eenv',
        '/.git/config',
        '/docs/.hidden',
        '/.well-known/.x',
        '/.well-known/../.env',
        '/docs/.well-known/../.hidden',
        '/./a.txt',
        '/docs/./index.html',
        '/docs%2findex.html',
        '/docs%5Cindex.html',
        '/a.txt%00',
        '/a.txt%00.png',
        '/%00',
    ],
)
def test_nothing_outside_or_hidden_is_shown(server: Server, target: str) -> None:
    status, body = raw_status(server, target)
    assert b'secret' not in body
    assert b'root:' not in body
    assert (status, body) == (200, b'app') or status == 400, (status, body)


def test_links_that_stay_inside_and_well_known_are_shown(get: Any) -> None:
    """RFC 8615."""
    assert get('/inside.txt').text == 'hello, file'
    assert get('/inside/').text == 'docs index'
    assert get('/.well-known/security.txt').text == 'contact'


def test_a_file_that_may_not_be_read_is_403(serve: Callable[..., Server]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        os.chmod(root, 0o755)
        (root / 'a.txt').write_text('x')
        os.chmod(root / 'a.txt', 0)
        user = 65534 if os.geteuid() == 0 else None
        server = serve(SITE, user=user, root=name, media=name, other=name)
        for target in ('/a.txt', f'/service?path={root}/a.txt', '/service?url=/a.txt'):
            assert requests.get(server.url + target, timeout=20).status_code == 403, target
        assert requests.head(server.url + '/a.txt', timeout=20).status_code == 403


# -- how it is described -------------------------------------------------------------------------


def test_a_file_has_length_type_validators_and_ranges(get: Any) -> None:
    """SPEC RS-16."""
    answer = get('/a.txt')
    assert answer.status_code == 200
    assert answer.headers['content-length'] == '11'
    assert answer.headers['content-type'] == 'text/plain; charset=utf-8'
    assert answer.headers['last-modified'] == formatdate(MTIME, usegmt=True)
    assert answer.headers['accept-ranges'] == 'bytes'
    assert answer.headers['server'] == 'Skitai'
    assert 'date' in answer.headers
    assert answer.headers['etag'].startswith('"')
    assert 'vary' not in get('/empty.txt').headers


def test_an_empty_file_is_an_answer(get: Any) -> None:
    for method in ('GET', 'HEAD'):
        answer = get('/empty.txt', method)
        assert (answer.status_code, answer.headers['content-length'], answer.content) == (200, '0', b'')


@pytest.mark.parametrize('target', ['/a.txt', '/style.css', '/big.bin', '/docs/', '/service?path=a.txt'])
def test_head_has_the_fields_of_get_and_no_body(get: Any, server: Server, site: Site, target: str) -> None:
    target = target.replace('path=', f'path={site.root}/')
    with requests.get(server.url + target, stream=True, timeout=20) as full:
        expected = {name: value for name, value in full.headers.items() if name != 'date'}
    with requests.head(server.url + target, timeout=20) as head:
        assert {name: value for name, value in head.headers.items() if name != 'date'} == expected
        assert head.content == b''


def test_the_etag_changes_with_the_file_and_content_is_never_stale(get: Any, site: Site) -> None:
    site.write('root/changing.txt', 'one')
    first = get('/changing.txt')
    site.write('root/changing.txt', 'two', MTIME + 1)
    second = get('/changing.txt')
    assert (first.text, second.text) == ('one', 'two')
    assert first.headers['etag'] != second.headers['etag']
    assert get('/changing.txt', If_None_Match=first.headers['etag']).status_code == 200
    (site.root / 'changing.txt').unlink()
    assert get('/changing.txt').headers['x-by'] == 'app'


def test_last_modified_is_never_in_the_future(get: Any, site: Site) -> None:
    """RFC 9110, 8.8.2.1."""
    site.write('root/future.txt', 'x', int(time.time()) + 86400)
    headers = get('/future.txt').headers
    assert parsedate_to_datetime(headers['last-modified']) <= parsedate_to_datetime(headers['date'])


def test_max_age_is_that_of_the_longest_matching_path(get: Any) -> None:
    """SPEC B.9 `skitai.set_max_age`, RS-10."""
    assert get('/a.txt').headers['cache-control'] == 'max-age=60'
    assert get('/media/pic.png').headers['cache-control'] == 'max-age=3600'
    assert 'cache-control' not in get('/media/only.txt').headers
    assert get('/same.txt', Host='other.test').headers['cache-control'] == 'max-age=0'


def test_http_1_0_gets_expires_and_a_closed_connection(server: Server) -> None:
    """SPEC RS-10."""
    answer = server.send(b'GET /a.txt HTTP/1.0\r\n\r\n')
    head, _, body = answer.partition(b'\r\n\r\n')
    assert body == b'hello, file'
    assert b'\r\nexpires: ' in head.lower()
    assert b'cache-control' not in head.lower()


# -- conditions ----------------------------------------------------------------------------------


def test_what_the_client_has_is_304_without_a_body(get: Any) -> None:
    """SPEC RS-08, RS-09, RS-11; RFC 9110, 15.4.5."""
    full = get('/a.txt')
    etag, date = full.headers['etag'], full.headers['last-modified']
    for condition in (
        {'If_None_Match': etag},
        {'If_None_Match': f'"x", W/{etag}'},
        {'If_None_Match': '*'},
        {'If_Modified_Since': date},
    ):
        for method in ('GET', 'HEAD'):
            answer = get('/a.txt', method, **condition)
            assert (answer.status_code, answer.content) == (304, b''), condition
            for name in ('etag', 'last-modified', 'cache-control'):
                assert answer.headers[name] == full.headers[name]
            assert 'content-type' not in answer.headers


def test_if_none_match_comes_before_if_modified_since(get: Any) -> None:
    """RFC 9110, 13.2.2."""
    date = formatdate(MTIME, usegmt=True)
    assert get('/a.txt', If_None_Match='"other"', If_Modified_Since=date).status_code == 200


def test_a_failed_precondition_is_412(get: Any) -> None:
    """SPEC RS-08, RS-09; RFC 9110, 13.2.2."""
    etag = get('/a.txt').headers['etag']
    old, new = formatdate(MTIME - 1, usegmt=True), formatdate(MTIME, usegmt=True)
    assert get('/a.txt', If_Match='"other"').status_code == 412
    assert get('/a.txt', If_Match=f'W/{etag}').status_code == 412
    assert get('/a.txt', If_Unmodified_Since=old).status_code == 412
    assert get('/a.txt', If_Match='"other"', If_None_Match=etag).status_code == 412
    assert get('/a.txt', If_Match=etag, If_Unmodified_Since=old).status_code == 200
    assert get('/a.txt', If_Unmodified_Since=new).status_code == 200
    assert get('/a.txt', If_Match='*', If_None_Match=etag).status_code == 304
    assert get('/a.txt', 'HEAD', If_Match='"other"').status_code == 412


# -- ranges --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('value', 'content', 'extent'),
    [
        ('bytes=0-4', 'hello', '0-4'),
        ('bytes=7-', 'file', '7-10'),
        ('bytes=-4', 'file', '7-10'),
        ('bytes=-400', 'hello, file', '0-10'),
        ('bytes=7-999999999999999999999999', 'file', '7-10'),
        ('BYTES = 0-0', 'h', '0-0'),
    ],
)
def test_one_range_is_206(get: Any, value: str, content: str, extent: str) -> None:
    """SPEC RS-16; RFC 9110, 14."""
    answer = get('/a.txt', Range=value)
    assert (answer.status_code, answer.text) == (206, content)
    assert answer.headers['content-range'] == f'bytes {extent}/11'
    assert answer.headers['content-length'] == str(len(content))


@pytest.mark.parametrize('value', ['bytes=11-', 'bytes=100-200', 'bytes=-0', 'bytes=99999999999999999999-'])
def test_a_range_behind_the_end_is_416(get: Any, value: str) -> None:
    answer = get('/a.txt', Range=value)
    assert (answer.status_code, answer.headers['content-range']) == (416, 'bytes */11')
    assert get('/a.txt', 'HEAD', Range=value).status_code == 200  # only GET has ranges


@pytest.mark.parametrize(
    'value', ['bytes=0-1, 3-4', 'bytes=5-2', 'bytes=x-y', 'bytes', 'bytes=', 'lines=0-1', 'bytes=-', ',']
)
def test_several_and_malformed_ranges_get_the_whole(get: Any, value: str) -> None:
    """RFC 9110, 14.2."""
    answer = get('/a.txt', Range=value)
    assert (answer.status_code, answer.text) == (200, 'hello, file')
    assert 'content-range' not in answer.headers


def test_if_range_gives_the_part_only_of_the_same_file(get: Any) -> None:
    """RFC 9110, 13.1.5."""
    full = get('/a.txt').headers
    for validator, status in [
        (full['etag'], 206),
        (full['last-modified'], 206),
        ('"other"', 200),
        ('W/' + full['etag'], 200),
        (formatdate(MTIME + 1, usegmt=True), 200),
        ('nonsense', 200),
    ]:
        assert get('/a.txt', Range='bytes=0-4', If_Range=validator).status_code == status, validator
    assert get('/a.txt', Range='bytes=50-', If_Range='"other"').status_code == 200


def test_a_range_of_a_large_file_is_only_that(get: Any, site: Site) -> None:
    content = (site.root / 'middle.bin').read_bytes()
    answer = get('/middle.bin', Range='bytes=1000-700999')
    assert answer.content == content[1000:701000]
    assert get('/middle.bin').content == content
    assert get('/big.bin', Range=f'bytes={BIG - 5}-').content == bytes(5)


# -- compressed siblings -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('accept', 'coding'),
    [
        ('gzip, deflate, br', 'br'),
        ('gzip', 'gzip'),
        ('GZIP;Q=0.5', 'gzip'),
        ('br;q=0, gzip', 'gzip'),
        ('br;q=0.2, gzip;q=0.8', 'gzip'),
        ('*', 'br'),
        ('*;q=0', None),
        ('br;q=0, gzip;q=0.0', None),
        ('identity, br;q=0.5', None),
        ('', None),
        ('zstd', None),
    ],
)
def test_the_sibling_that_the_client_prefers_is_sent(server: Server, accept: str, coding: str | None) -> None:
    headers = {'Accept-Encoding': accept}
    with requests.get(server.url + '/style.css', headers=headers, stream=True, timeout=20) as answer:
        assert answer.headers.get('content-encoding') == coding
        assert answer.headers['vary'] == 'Accept-Encoding'
        assert answer.headers['content-type'] == 'text/css; charset=utf-8'
        body = answer.raw.read(decode_content=False)
    assert len(body) == int(answer.headers['content-length'])
    plain = b'a { color: red }' * 100
    assert body == {'br': BROTLI, None: plain}.get(coding, body)
    assert coding != 'gzip' or gzip.decompress(body) == plain


def test_each_coding_has_its_own_etag_and_ranges(get: Any) -> None:
    """RFC 9110, 8.8.3.3."""
    tags = {
        accept: get('/style.css', 'HEAD', Accept_Encoding=accept).headers['etag']
        for accept in ('br', 'gzip', 'identity')
    }
    assert len(set(tags.values())) == 3
    assert get('/style.css', Accept_Encoding='gzip', If_None_Match=tags['gzip']).status_code == 304
    assert get('/style.css', Accept_Encoding='gzip', If_None_Match=tags['br']).status_code == 200
    # A part of a coded body cannot be decoded: it is taken as it comes.
    with get('/style.css', stream=True, Accept_Encoding='br', Range='bytes=2-3', If_Range=tags['br']) as part:
        assert part.headers['content-range'] == f'bytes 2-3/{len(BROTLI)}'
        assert part.raw.read(decode_content=False) == BROTLI[2:4]


def test_a_sibling_that_is_stale_or_leads_outside_is_not_sent(get: Any) -> None:
    for target, text in (('/stale.js', 'new'), ('/a.txt', 'hello, file')):
        answer = get(target, Accept_Encoding='gzip')
        assert answer.text == text
        assert 'content-encoding' not in answer.headers


def test_a_compressed_file_asked_for_by_name_is_itself(get: Any) -> None:
    answer = get('/style.css.gz', Accept_Encoding='gzip')
    assert answer.headers['content-type'] == 'application/gzip'
    assert 'content-encoding' not in answer.headers


# -- sent by services ----------------------------------------------------------------------------


def test_a_service_sends_a_file_with_its_own_fields(get: Any, site: Site) -> None:
    """SPEC RS-18."""
    answer = get(f'/service?path={site.root}/a.txt&filename=b.txt&content_type=text/x-own&extra=1')
    assert answer.text == 'hello, file'
    assert answer.headers['content-type'] == 'text/x-own'
    assert answer.headers['content-disposition'] == 'attachment; filename="b.txt"'
    assert answer.headers['cache-control'] == 'private'
    assert answer.headers['x-by'] == 'service'
    again = get(f'/service?path={site.root}/a.txt&extra=1', If_None_Match=answer.headers['etag'])
    assert (again.status_code, again.headers['x-by']) == (304, 'service')


def test_a_service_answers_ranges_of_files(get: Any, site: Site) -> None:
    """PITFALLS: a Range request on `was.File` hung."""
    for source in (f'path={site.root}/a.txt', f'object={site.root}/a.txt'):
        answer = get(f'/service?{source}', Range='bytes=0-4')
        assert (answer.status_code, answer.text) == (206, 'hello')
        assert get(f'/service?{source}', Range='bytes=50-').status_code == 416


def test_a_file_object_is_rewound_and_closed(get: Any, server: Server, site: Site) -> None:
    """SPEC RS-18."""
    assert get(f'/service?object={site.root}/a.txt').text == 'hello, file'
    assert get('/service?memory=1').text == '0123456789'
    answer = get(f'/service?object={site.root}/middle.bin')
    assert answer.content == (site.root / 'middle.bin').read_bytes()
    assert get(f'/service?object={site.root}/middle.bin', 'HEAD').headers['content-length'] == str(1 << 20)
    server.wait_until(lambda: not server.open_files(site.root), 'all files are closed')


def test_a_file_under_another_status_is_whole_and_unconditional(get: Any, site: Site) -> None:
    answer = get(f'/service?path={site.root}/a.txt&status=404', If_None_Match='*', Range='bytes=0-1')
    assert (answer.status_code, answer.text) == (404, 'hello, file')


def test_a_missing_or_special_file_of_a_service_is_not_found(get: Any, site: Site) -> None:
    """SPEC RS-18."""
    for name in ('nothing', 'docs', 'fifo', 'a.txt/x', 'a%00b', 'loop', 'x' * 300):
        assert get(f'/service?path={site.root}/{name}').status_code == 404, name


def test_a_service_sends_what_a_url_names_and_nothing_else(get: Any) -> None:
    """SPEC RS-16: `was.Static`, `was.MountedFile`."""
    assert get('/service?url=/media/same.txt').text == 'first'
    assert get('/service?url=/docs/').text == 'docs index'
    assert get('/service?url=/media/pic.png').headers['cache-control'] == 'max-age=3600'
    assert get('/service?url=/style.css', Accept_Encoding='br').headers['content-encoding'] == 'br'
    for url in ('/nothing', '/docs', '/.env', '/../outside/secret.txt', '/link.txt', '', 'a.txt', '/media'):
        assert get(f'/service?url={url}').status_code == 404, url


# -- at the client's pace ------------------------------------------------------------------------


def test_a_slow_reader_of_a_large_file_costs_no_memory(server: Server, site: Site) -> None:
    with server.connect() as warm:  # so that what a first stream allocates once is not counted
        warm.sendall(b'GET /middle.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        while warm.recv(1 << 20):
            pass
    before = server.memory()
    with server.connect() as connection:
        connection.sendall(b'GET /big.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        connection.recv(1000)
        highest = 0
        end = time.monotonic() + 1.5
        while time.monotonic() < end:  # nothing is taken: memory must not grow
            highest = max(highest, server.memory())
            time.sleep(0.05)
        received = 0
        while received < BIG and (data := connection.recv(1 << 20)):
            received += len(data)
            if received % 64 == 0:
                highest = max(highest, server.memory())
        highest = max(highest, server.memory())
    assert received > BIG - 2000
    assert highest - before < 10 * 1024 * 1024
    server.wait_until(lambda: not server.open_files(site.root), 'the file is closed')


def test_a_client_that_goes_leaves_no_open_file(server: Server, site: Site) -> None:
    connections = [server.connect() for _ in range(8)]
    for connection in connections:
        connection.sendall(b'GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n')
        connection.recv(1000)
    assert len(server.open_files(site.root)) == 8
    for connection in connections:
        connection.close()
    server.wait_until(lambda: not server.open_files(site.root), 'all files are closed')


def test_stalled_readers_hold_up_nobody(server: Server, get: Any) -> None:
    """More of them than the engine has threads."""
    connections = [server.connect() for _ in range(20)]
    try:
        for connection in connections:
            connection.sendall(b'GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n')
        assert get('/a.txt').text == 'hello, file'
        assert get('/nothing').text == 'app'
    finally:
        for connection in connections:
            connection.close()


def test_no_request_leaves_an_open_file(get: Any, server: Server, site: Site) -> None:
    for target in ('/a.txt', '/docs', '/docs/', '/link.txt', '/bare/', '/style.css', '/stale.js', '/big.bin'):
        for headers in (
            {},
            {'If_None_Match': '*'},
            {'If_Match': '"x"'},
            {'Range': 'bytes=999999999-'},
            {'Accept_Encoding': 'br, gzip'},
        ):
            get(target, 'HEAD', **headers)
            if target != '/big.bin':
                get(target, **headers)
    server.wait_until(lambda: not server.open_files(site.root), 'all files are closed')


def test_a_file_that_shrinks_while_it_is_sent_breaks_the_answer(server: Server, site: Site) -> None:
    """PITFALLS, Errors: a part is never taken for the whole."""
    path = site.write('root/shrinking.bin', b'')
    os.truncate(path, BIG)
    with server.connect() as connection:
        connection.sendall(b'GET /shrinking.bin HTTP/1.1\r\nHost: x\r\n\r\n')
        received = len(connection.recv(1000))
        os.truncate(path, 1 << 20)
        try:
            while data := connection.recv(1 << 20):
                received += len(data)
        except ConnectionError:
            pass  # reset rather than closed: as good
    assert received < BIG
    server.wait_until(lambda: not server.open_files(site.root), 'the file is closed')
    assert 'short of what was promised' in server.log()
    path.unlink()


def test_a_file_that_grows_or_is_replaced_while_it_is_sent_is_sent_as_it_was(
    server: Server, site: Site
) -> None:
    path = site.write('root/growing.bin', b'a' * (8 << 20))
    with server.connect() as connection:
        connection.sendall(b'GET /growing.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        first = connection.recv(1000)
        with path.open('ab') as file:
            file.write(b'b' * 1000)
        os.replace(site.write('root/new.bin', b'c' * 10), path)
        rest = b''.join(iter(lambda: connection.recv(1 << 20), b''))
    _, _, body = (first + rest).partition(b'\r\n\r\n')
    assert body == b'a' * (8 << 20)
    path.unlink()


def test_files_replaced_under_load_are_always_whole(server: Server, site: Site) -> None:
    """Each answer is one version: its body, length and ETag belong together."""
    versions = {letter: letter * size for letter, size in ((b'a', 10), (b'b', 70_000), (b'c', 1_000_000))}
    site.write('root/swap.txt', versions[b'a'])
    stop = threading.Event()

    def replace() -> None:
        count = 0
        while not stop.is_set():
            for content in versions.values():
                count += 1
                os.replace(site.write('root/swap.new', content, MTIME + count), site.root / 'swap.txt')

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        seen: dict[str, bytes] = {}
        with requests.Session() as session:
            for _ in range(300):
                answer = session.get(server.url + '/swap.txt', timeout=20)
                assert answer.status_code == 200
                assert answer.content == versions[answer.content[:1]]
                assert seen.setdefault(answer.headers['etag'], answer.content) == answer.content
    finally:
        stop.set()
        writer.join()


# -- HTTP/2 --------------------------------------------------------------------------------------


def test_http_2_serves_files_ranges_and_conditions(server: Server, site: Site) -> None:
    with httpx2.Client(http1=False, http2=True, base_url=server.url, timeout=20) as client:
        answer = client.get('/middle.bin')
        assert answer.http_version == 'HTTP/2'
        assert answer.content == (site.root / 'middle.bin').read_bytes()
        assert client.get('/a.txt', headers={'Range': 'bytes=-4'}).text == 'file'
        assert client.get('/a.txt', headers={'If-None-Match': answer.headers['etag']}).status_code == 200
        assert client.get('/middle.bin', headers={'If-None-Match': answer.headers['etag']}).status_code == 304
        head = client.head('/big.bin')
        assert (head.headers['content-length'], head.content) == (str(BIG), b'')
        assert client.get('/docs?x=1').headers['location'] == '/docs/?x=1'
    server.wait_until(lambda: not server.open_files(site.root), 'all files are closed')
