"""Stubs and single requests, against Starlette on uvicorn (SPEC HC-01 to HC-04, HC-07, LB-04, chapter 20)."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from projects import wait_for
from upstreams import DEADLINE, Scripted, Server, answering, refusing_port
from webapi import ROUTES, form_of

import aquests
from aquests import cache
from aquests.aliases import DB_REDIS, Aliases
from aquests.errors import (
    BadAnswer,
    BadStatus,
    Conflict,
    MalformedAnswer,
    NetworkError,
    TaskTimeout,
    UnknownAlias,
)
from aquests.http.call import CallOptions
from aquests.http.stub import Stub, once
from aquests.result import STA_NETERR, STA_NORMAL, STA_TIMEOUT


@pytest.fixture(scope='module')
def server() -> Iterator[Server]:
    server = Server('one', more=ROUTES)
    yield server
    server.stop()


@pytest.fixture
def url(server: Server) -> str:
    return f'http://{server.address}'


@pytest.fixture
def stub(url: str) -> Stub:
    return aquests.stub(url)


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, 'cache', cache.Cache())


def stub_of(base: str, register: Aliases | None = None, **options: Any) -> Stub:
    return Stub(base, CallOptions(**options), None, register or Aliases())


# -- what is asked ----------------------------------------------------------------------------------------


def test_the_documented_calls(server: Server, register: Callable[..., Aliases]) -> None:
    """SPEC HC-01, and a member's own path before the base's (TK-02)."""
    with stub_of('@up/api', register(server.address)) as stub:
        task1 = stub.get('/echo/profiles/{}?limit={}', 100, 10)
        payload = {'name': 'Hans Roh'}
        task2 = stub.put('/echo/profiles/{}', 100, payload)
    seen = task1.fetch()
    assert (seen['method'], seen['target'], seen['body']) == ('GET', '/api/echo/profiles/100?limit=10', '')
    assert seen['headers']['accept'] == 'application/json'
    assert 'content-type' not in seen['headers']
    seen = task2.fetch()
    assert (seen['method'], seen['target']) == ('PUT', '/api/echo/profiles/100')
    assert seen['headers']['content-type'] == 'application/json'
    assert json.loads(seen['body']) == payload


@pytest.mark.parametrize('method', ['post', 'put', 'patch', 'options'])
def test_data_as_json(stub: Stub, method: str) -> None:
    seen = getattr(stub, method)('/echo/{}', 'a', {'b': 1, 'c': 2}, c=3, uri='self').fetch()
    assert seen['method'] == method.upper()
    assert json.loads(seen['body']) == {'b': 1, 'c': 3, 'uri': 'self'}
    assert json.loads(getattr(stub, method)('/echo', [1, None]).fetch()['body']) == [1, None]
    assert getattr(stub, method)('/echo').fetch()['body'] == ''


@pytest.mark.parametrize('method', ['get', 'delete'])
def test_data_as_query(stub: Stub, method: str) -> None:
    ask = getattr(stub, method)
    seen = ask('/echo?x=1', {'a b': 'c&d'}, e=['f', 'g'], none=None).fetch()
    assert seen['query'] == [['x', '1'], ['a b', 'c&d'], ['e', 'f'], ['e', 'g']]
    assert seen['body'] == ''
    assert ask('/echo', uri='ä').fetch()['target'] == '/echo?uri=%C3%A4'
    assert ask('/echo?', a=1).fetch()['target'] == '/echo?a=1'
    assert ask('/echo', a=None).fetch()['target'] == '/echo'


def test_head(stub: Stub) -> None:
    result = stub.head('/echo', a=1).dispatch()
    assert (result.status_code, result.text, result.data) == (200, '', None)
    assert int(result.get_header('Content-Length')) > 0


@pytest.mark.parametrize(
    ('base', 'uri', 'target'),
    [
        ('@up', '@up/echo/1', '/echo/1'),
        ('@up/echo', '@up/1', '/echo/1'),
        ('@up/echo', '@up/echo/1', '/echo/1'),
        ('@up/echo', '/1', '/echo/1'),
        ('@up/echo/', '/1', '/echo/1'),
        ('@up/echo', '1', '/echo/1'),
        ('@up/echo', '', '/echo'),
        ('@up/echo', '?a=1', '/echo?a=1'),
        ('@up/echo', '@up', '/echo'),
        ('@up/echo', '/a b/ü', '/echo/a%20b/%C3%BC'),
    ],
)
def test_uris_below_a_base(
    server: Server, register: Callable[..., Aliases], base: str, uri: str, target: str
) -> None:
    """SPEC HC-03."""
    assert stub_of(base, register(server.address)).get(uri).fetch()['target'] == target


def test_bytes_texts_and_files_are_sent_as_they_are(stub: Stub, url: str, tmp_path: Path) -> None:
    assert stub.post('/echo', b'\x00\xff').fetch()['body'] == '\x00\xff'
    seen = stub.post('/echo', 'ä').fetch()
    assert (seen['body'].encode('latin-1').decode(), seen['headers']['content-type']) == (
        'ä',
        'application/json',
    )
    xml = aquests.stub(url, headers={'Content-Type': 'text/xml'})
    seen = xml.post('/echo', '<a/>').fetch()
    assert (seen['body'], seen['headers']['content-type']) == ('<a/>', 'text/xml')
    path = tmp_path / 'a.csv'
    path.write_bytes(b'1,2' * 50_000)
    seen = stub.put('/echo', path).fetch()
    assert (len(seen['body']), seen['headers']['content-type']) == (150_000, 'text/csv')
    assert seen['headers']['content-length'] == '150000'
    seen = xml.put('/echo', io.BytesIO(b'<b/>')).fetch()
    assert (seen['body'], seen['headers']['content-type']) == ('<b/>', 'text/xml')


def test_a_body_that_is_made_as_it_is_sent(stub: Stub) -> None:
    async def parts() -> Any:
        yield b'a'
        yield b'b'

    seen = stub.post('/echo', parts()).fetch()
    assert (seen['body'], seen['headers'].get('content-length')) == ('ab', None)


def test_forms(url: str) -> None:
    """SPEC HC-02: by the Content-Type of the headers."""
    form = aquests.stub(url, headers=[('content-type', 'application/x-www-form-urlencoded')])
    seen = form.post('/echo', {'a b': 'ä&='}, c=[1, True]).fetch()
    assert form_of(seen)[0] == {'a b': ['ä&='], 'c': ['1', 'true']}
    multipart = aquests.stub(url, headers={'Content-Type': 'multipart/form-data'})
    assert form_of(multipart.post('/echo', a='ä', b=[1, 2]).fetch()) == ({'a': ['ä'], 'b': ['1', '2']}, {})


def test_uploads(stub: Stub, tmp_path: Path) -> None:
    large = bytes(range(256)) * 4096
    path = tmp_path / 'a "b".png'
    path.write_bytes(large)
    with path.open('rb') as file:
        file.read(10)
        task = stub.upload(
            '/echo/{}',
            7,
            {'title': 'x\r\ny'},
            photo=path,
            rest=file,
            raw=b'raw',
            named=('ü\r\nX-Evil: 1".txt', 'text', 'text/plain'),
            two=[io.BytesIO(b'1'), io.BytesIO(b'2')],
        )
        seen = task.fetch()
    assert (seen['method'], seen['target']) == ('POST', '/echo/7')
    assert seen['headers']['content-length'] == str(len(seen['body']))
    fields, files = form_of(seen)
    assert fields == {'title': ['x\r\ny']}
    assert files['photo'][0][1:] == ('image/png', large)
    assert files['rest'][0][2] == large[10:]
    assert files['raw'] == [('raw', 'application/octet-stream', b'raw')]
    assert files['two'][1][2] == b'2'
    assert (files['named'][0][1], files['named'][0][2]) == ('text/plain', b'text')
    assert '\r\nX-Evil' not in seen['body']


def test_a_file_of_unknown_length_is_sent_in_chunks(stub: Stub) -> None:
    with subprocess.Popen([sys.executable, '-c', 'print ("x" * 100000)'], stdout=subprocess.PIPE) as process:
        seen = stub.upload('/echo', log=process.stdout).fetch()
    assert 'content-length' not in seen['headers']
    assert form_of(seen)[1]['log'][0][2] == b'x' * 100000 + b'\n'


def test_files_that_cannot_be_sent(stub: Stub, tmp_path: Path) -> None:
    path = tmp_path / 'a.txt'
    with pytest.raises(FileNotFoundError):
        stub.upload('/echo', file=path)
    path.write_text('text')
    with path.open() as text, pytest.raises(TypeError, match="open it with 'rb'"):
        stub.upload('/echo', file=text)
    file = path.open('rb')
    file.close()
    with pytest.raises(ValueError, match='was closed before it was sent'):
        stub.upload('/echo', file=file).fetch()


# -- headers ----------------------------------------------------------------------------------------------


def test_headers(url: str) -> None:
    seen = aquests.stub(url, {'X-A': 'b', 'Accept': 'text/html', 'user-agent': 'me'}).get('/echo').fetch()
    assert [seen['headers'][name] for name in ('x-a', 'accept', 'user-agent')] == ['b', 'text/html', 'me']
    seen = aquests.stub(url, headers=[('X-A', 'b'), ('X-B', 'ä')]).get('/echo').fetch()
    assert seen['headers']['x-a'] == 'b'
    assert seen['headers']['user-agent'] == 'aquests'


@pytest.mark.parametrize(
    ('auth', 'value'),
    [
        (('me', 'pa:ss ä'), 'Basic ' + base64.b64encode('me:pa:ss ä'.encode()).decode()),
        ('abc.def-_~+/==', 'Bearer abc.def-_~+/=='),
    ],
)
def test_auth(url: str, auth: Any, value: str) -> None:
    assert aquests.stub(url, auth=auth).get('/echo').fetch()['headers']['authorization'] == value


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'auth': 'Bearer abc'}, 'without a scheme'),
        ({'auth': 'a\r\nb'}, 'without a scheme'),
        ({'auth': ('a', 'b\r\n')}, 'control characters'),
        ({'auth': ('a:b', 'c')}, "a user has no ':'"),
        ({'auth': ('a',)}, 'a bearer token'),
        ({'auth': 5}, 'a bearer token'),
        ({'auth': 'a', 'headers': {'Authorization': 'b'}}, 'give one of them'),
        ({'headers': {'X-A': 'a\r\nX-B: c'}}, "invalid character '\\\\r' in the header x-a"),
        ({'headers': {'X-A\n': 'a'}}, 'invalid header name'),
        ({'headers': {'Content-Length': '5'}}, 'follows from the body'),
        ({'headers': 'X-A: b'}, 'they are a dict, or pairs'),
        ({'headers': {'X-A': 5}}, 'a header is str or bytes'),
        ({'timeout': -1}, 'timeout'),
        ({'max_size': 0}, 'max_size'),
        ({'retries': 3}, 'there is no option retries: there are auth, cache'),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        aquests.stub('http://127.0.0.1', **options)


@given(st.dictionaries(st.text(), st.text()))
def test_any_header_is_sound_or_refused(headers: dict[str, str]) -> None:
    with contextlib.suppress(ValueError):
        for name, value in CallOptions(headers=headers).fields():
            assert name.isascii()
            assert not {'\r', '\n', '\0', ':', ' '} & set(name)
            assert not {'\r', '\n', '\0'} & set(value)


@given(st.text(), st.text())
def test_any_account_is_sound_or_refused(user: str, password: str) -> None:
    with contextlib.suppress(ValueError):
        [(_, value)] = CallOptions(auth=(user, password)).fields()
        assert base64.b64decode(value.removeprefix('Basic ')).decode() == f'{user}:{password}'


# -- wrong use --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('base', 'error', 'words'),
    [
        ('ftp://x', ValueError, "begins with '@alias', 'http://host'"),
        ('/path', ValueError, "begins with '@alias'"),
        ('http://', ValueError, "begins with '@alias'"),
        ('http://me:secret@host:99999', ValueError, '//...@host'),
        ('http://host/x?a=1', ValueError, 'has no query'),
        ('http://a..b/x', ValueError, 'no host name'),
        ('http://' + 'a' * 64, ValueError, 'no host name'),
        ('http://host/\r\nX: y', ValueError, 'a URI has no'),
        ('@nobody', UnknownAlias, 'is not registered'),
        ('@redis', TypeError, 'is no HTTP server'),
        (None, TypeError, 'an address is a str'),
    ],
)
def test_bases_that_are_none(base: Any, error: type[Exception], words: str) -> None:
    register = Aliases()
    register.add('@redis', DB_REDIS, 'localhost')
    with pytest.raises(error, match=words) as caught:
        stub_of(base, register)
    assert 'secret' not in str(caught.value)


def test_calls_that_make_no_sense(stub: Stub) -> None:
    with pytest.raises(TypeError, match='has 2 places for values, and 1 were given'):
        stub.get('/{}/{}', 1)
    with pytest.raises(TypeError, match='one payload may follow'):
        stub.post('/{}', 1, {}, {})
    with pytest.raises(TypeError, match='as query string'):
        stub.get('/', 'text')
    with pytest.raises(TypeError, match='merged into a dict, not into list'):
        stub.post('/', [1], a=2)
    with pytest.raises(TypeError, match='cannot be written as JSON'):
        stub.post('/', a=object())
    with pytest.raises(TypeError, match='multipart/form-data takes a dict'):
        stub.upload('/', [1])
    with pytest.raises(ValueError, match='use a stub of its own'):
        stub.get('@other/x')
    with pytest.raises(AttributeError, match='it has get, head, delete'):
        stub.fetch('/')
    with pytest.raises(TypeError, match='a URI is a str'):
        stub.get(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match='cannot be sent as text/xml'):
        aquests.stub('http://127.0.0.1', {'Content-Type': 'text/xml'}).post('/', a=1)


# -- what is answered -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('content_type', 'body', 'data'),
    [
        ('application/json', b'{"a": [1, null]}', {'a': [1, None]}),
        ('application/problem+json; charset=utf-8', b'\xef\xbb\xbf{}', {}),
        ('application/json; charset=latin-1', b'"\xe4"', 'ä'),
        ('application/json', b'', None),
        ('text/html; charset=iso-8859-1', b'\xe4', 'ä'),
        ('text/plain', 'ä'.encode(), 'ä'),
        ('text/plain; charset=nonsense', 'ä'.encode(), 'ä'),
        ('text/plain; charset=base64', b'aaaa', 'aaaa'),
        ('text/plain', b'', ''),
        ('application/xml', b'<a/>', '<a/>'),
        ('image/png', b'\x89PNG', b'\x89PNG'),
        (None, 'ä'.encode(), 'ä'),
        (None, b'\xff', b'\xff'),
        (None, b'', None),
    ],
)
def test_data_by_content_type(stub: Stub, content_type: str | None, body: bytes, data: Any) -> None:
    """SPEC TK-10."""
    task = stub.get('/says', hex=body.hex(), type=content_type)
    assert task.fetch() == data
    result = task.dispatch()
    assert (result.status, result.status_code, result.reason) == (STA_NORMAL, 200, 'OK')
    assert (result.data, result.content) == (data, body)
    assert isinstance(result.text, str)
    assert result.get_header('CONTENT-TYPE') == content_type
    assert result.get_header('none', 'x') == 'x'
    assert task.commit() is None  # type: ignore[func-returns-value]


def test_errors_have_their_body(stub: Stub, caplog: pytest.LogCaptureFixture) -> None:
    """SPEC TK-11, TK-12."""
    task = stub.get('/says', status=404, type='application/json', hex=b'{"why": "gone"}'.hex())
    with pytest.raises(BadStatus) as caught:
        task.fetch()
    assert (caught.value.status_code, caught.value.reason) == (404, 'Not Found')
    assert str(caught.value).endswith('/says: 404 Not Found')
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    for ask in (task.one, task.commit):
        with pytest.raises(BadStatus):
            ask()
    result = task.dispatch()
    assert (result.status, result.status_code, result.data) == (STA_NORMAL, 404, {'why': 'gone'})
    with pytest.raises(BadStatus):
        result.raise_for_status()
    broken = stub.get('/says', status=500, type='application/json', hex=b'<html>'.hex()).dispatch()
    assert (broken.status_code, broken.data, broken.text) == (500, '<html>', '<html>')


def test_json_that_is_none(stub: Stub) -> None:
    task = stub.get('/says', type='application/json', hex=b'{"a": NaN}'.hex())
    with pytest.raises(BadAnswer, match='the answer is no JSON'):
        task.fetch()
    assert task.dispatch().text == '{"a": NaN}'
    assert task.dispatch().status_code == 500


def test_one(stub: Stub) -> None:
    """SPEC TK-05."""
    assert stub.get('/says', type='application/json', hex=b'[5]'.hex()).one() == 5
    with pytest.raises(Conflict):
        stub.get('/says', type='application/json', hex=b'[5, 6]'.hex()).one()


def test_options_of_tasks(url: str) -> None:
    """SPEC TK-13 to TK-15: the filter gets data, and none of an error."""
    called = threading.Event()
    stub = aquests.stub(
        url, meta={'a': 1}, filter=lambda data: data['target'], callback=lambda task: called.set()
    )
    task = stub.get('/echo')
    assert task.fetch() == '/echo'
    assert task.dispatch().status_code == 200
    assert task.meta == {'a': 1}
    assert called.wait(DEADLINE)
    with pytest.raises(BadStatus):
        stub.get('/status/503').fetch()
    with pytest.raises(KeyError):
        aquests.stub(url, filter=lambda data: data['nothing']).get('/echo').fetch()


def test_large_answers(stub: Stub) -> None:
    values = list(range(100_000))
    body = json.dumps(values).encode()
    seen = stub.post('/echo', body).fetch()
    assert seen['body'].encode() == body
    assert len(stub.get('/size?n=5000000').fetch()) == 5_000_000


# -- bounds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('how', ['gzip', 'br'])
def test_compressed_answers(stub: Stub, how: str) -> None:
    assert stub.get('/packed/{}?n=100000', how).fetch() == bytes(100_000)
    assert how in stub.get('/echo').fetch()['headers']['accept-encoding']


@pytest.mark.parametrize('how', ['gzip', 'br'])
def test_answers_that_grow_beyond_bounds(url: str, how: str) -> None:
    """300 MB of zeros in a few hundred KB: read no further than the bound."""
    with pytest.raises(BadAnswer, match='has more than 1000000 bytes; max_size says how many are read'):
        aquests.stub(url, max_size=1_000_000).get('/packed/{}?n=300000000', how).fetch()


def test_answers_have_a_bound(stub: Stub, url: str) -> None:
    with pytest.raises(BadAnswer, match='16777216'):
        stub.get('/size?n=20000000').fetch()
    assert len(aquests.stub(url, max_size=20_000_000).get('/size?n=20000000').fetch()) == 20_000_000


def test_an_answer_that_is_not_what_it_says(scripted: Callable[..., Scripted]) -> None:
    head = b'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n'
    for answer in (head + b'hello', b'nonsense\r\n\r\n'):
        server = scripted(answering(answer))
        with pytest.raises(MalformedAnswer):
            aquests.get(f'http://{server.address}/').fetch()


# -- network ----------------------------------------------------------------------------------------------


def test_a_server_that_cannot_be_reached(caplog: pytest.LogCaptureFixture) -> None:
    task = aquests.stub(f'http://me:secret@127.0.0.1:{refusing_port()}').get('/')
    with pytest.raises(NetworkError, match='cannot be reached') as caught:
        task.fetch()
    assert 'secret' not in str(caught.value) + repr(task)
    assert (task.dispatch().status, task.dispatch().status_code) == (STA_NETERR, 702)


def test_time_is_up(server: Server, url: str) -> None:
    """SPEC TK-16: and the connection is closed, not kept."""
    gone = server.cancelled
    task = aquests.stub(url, timeout=0.2).get('/hang')
    with pytest.raises(TaskTimeout, match=r'GET http://127\.0\.0\.1'):
        task.fetch()
    assert task.dispatch().status == STA_TIMEOUT
    wait_for(lambda: server.cancelled > gone, 'the server sees the client go')


def test_cancelling(server: Server, url: str) -> None:
    gone, hanging = server.cancelled, server.hanging
    task = aquests.stub(url, timeout=None).get('/hang')
    wait_for(lambda: server.hanging > hanging, 'the request arrives')
    assert task.cancel()
    wait_for(lambda: server.cancelled > gone, 'the server sees the client go')
    assert aquests.get(f'{url}/echo').fetch()['method'] == 'GET'


# -- redirects --------------------------------------------------------------------------------------------


@pytest.mark.parametrize('status', [301, 302, 303, 307, 308])
def test_redirects_of_looks(stub: Stub, status: int) -> None:
    """SPEC HC-07."""
    task = stub.get('/redirect', to='/echo?a=ä b', status=status)
    assert task.fetch()['target'] == '/echo?a=%C3%A4%20b'
    assert task.dispatch().url.endswith('/echo?a=%C3%A4%20b')
    assert stub.head('/redirect', to='echo', status=status).dispatch().status_code == 200


@pytest.mark.parametrize('method', ['post', 'put', 'patch', 'delete', 'options'])
def test_nothing_else_is_redirected(server: Server, stub: Stub, method: str) -> None:
    seen = len(server.seen)
    with pytest.raises(BadStatus):
        getattr(stub, method)('/redirect?to=/none').fetch()
    result = getattr(stub, method)('/redirect?to=/none').dispatch()
    assert (result.status_code, result.get_header('location'), result.data) == (302, '/none', 'moved')
    assert len(server.seen) == seen


def hops(count: int) -> str:
    from urllib.parse import quote

    target = '/echo'
    for _ in range(count):
        target = '/redirect?to=' + quote(target, safe='')
    return target


def test_five_redirects_and_no_more(url: str) -> None:
    assert aquests.get(url + hops(5)).fetch()['target'] == '/echo'
    assert aquests.get(url + hops(6)).dispatch().status_code == 302


@pytest.mark.parametrize(
    'to', ['', 'ftp://x/', 'javascript:1', 'http://', 'http://a:b@127.0.0.1/', 'http://x:99999/']
)
def test_redirects_that_lead_nowhere_are_the_answer(stub: Stub, to: str) -> None:
    result = stub.get('/redirect', to=to).dispatch()
    assert result.status_code == 302


def test_another_origin_gets_no_secrets(server: Server, url: str) -> None:
    other = f'http://localhost:{server.port}/echo'
    secrets = {'X-Api-Key': 'k', 'Cookie': 'c=1', 'Accept': 'text/x'}
    stub = aquests.stub(url, headers=secrets, auth='token')
    seen = stub.get('/redirect', to=other).fetch()['headers']
    assert not {'authorization', 'cookie', 'x-api-key'} & set(seen)
    assert seen['accept'] == 'text/x'
    seen = stub.get('/redirect', to='/echo').fetch()['headers']
    assert (seen['authorization'], seen['x-api-key']) == ('Bearer token', 'k')
    back = f'http://localhost:{server.port}/redirect?to={url}/echo'
    assert 'authorization' not in stub.get('/redirect', to=back).fetch()['headers']


def test_accounts_of_addresses_and_redirects(server: Server, register: Callable[..., Aliases]) -> None:
    basic = 'Basic ' + base64.b64encode(b'me:secret').decode()
    by_alias = stub_of('@up', register(f'me:secret@{server.address}'))
    by_url = aquests.stub(f'http://me:secret@{server.address}')
    for stub in (by_alias, by_url):
        assert stub.get('/echo').fetch()['headers']['authorization'] == basic
        assert stub.get('/redirect', to='/echo').fetch()['headers']['authorization'] == basic
        other = f'http://localhost:{server.port}/echo'
        assert 'authorization' not in stub.get('/redirect', to=other).fetch()['headers']


# -- kept answers -----------------------------------------------------------------------------------------


def asked(server: Server, target: str) -> int:
    return sum(seen[1] == target for seen in server.seen)


def test_kept_answers(server: Server, url: str) -> None:
    """SPEC CA-02, TK-18."""
    stub = aquests.stub(url, use_cache=True)
    first = stub.get('/kept/1').fetch()
    first['method'] = 'changed'
    again = stub.get('/kept/1')
    assert again.fetch()['method'] == 'GET'
    assert again.dispatch().get_header('content-type') == 'application/json'
    assert (again.dispatch().status_code, asked(server, '/kept/1')) == (200, 1)
    assert (
        aquests.stub(url, use_cache=True, filter=lambda data: data['method']).get('/kept/1').fetch() == 'GET'
    )
    assert asked(server, '/kept/1') == 1
    aquests.stub(url, use_cache=True, auth='other').get('/kept/1').fetch()
    assert asked(server, '/kept/1') == 2
    for _ in range(2):
        stub.post('/kept/post', a=1).fetch()
        stub.get('/status/404').dispatch()
    assert (asked(server, '/kept/post'), asked(server, '/status/404')) == (2, 2)
    aquests.get(f'{url}/kept/2').fetch(cache=60)
    aquests.get(f'{url}/kept/3').dispatch().cache(60)
    for path in ('/kept/2', '/kept/3'):
        aquests.get(url + path, {'accept': 'application/json'}, use_cache=True).fetch()
        assert asked(server, path) == 1


# -- members ----------------------------------------------------------------------------------------------


def test_all_members(server: Server, register: Callable[..., Aliases]) -> None:
    """SPEC LB-04."""
    aliases = register([server.address, f'127.0.0.1:{refusing_port()}', f'localhost:{server.port}'])
    with stub_of('@up', aliases, everywhere=True) as stub:
        task = stub.post('@up/echo/{}', 5, a=1)
    results = task.dispatch()
    assert [result.status for result in results] == [STA_NORMAL, STA_NETERR, STA_NORMAL]
    assert results.status_code == [200, 702, 200]
    assert [data and json.loads(data['body']) for data in results.data] == [{'a': 1}, None, {'a': 1}]
    with pytest.raises(NetworkError):
        task.fetch()
    with pytest.raises(TypeError, match='can be sent to one only'):
        stub.upload('/', file=io.BytesIO(b'a'))
    assert len(stub_of('@up', register([server.address] * 3), everywhere=True).get('/echo').fetch()) == 3
    assert len(aquests.stub.map(f'http://{server.address}').get('/echo').fetch()) == 1


def test_one_of_the_members(server: Server, register: Callable[..., Aliases]) -> None:
    """SPEC LB-01 to LB-03."""
    members = [f'{server.address} 2', f'localhost:{server.port} 1', f'127.0.0.1:{refusing_port()}']
    stub = stub_of('@up', register(members))
    hosts = [stub.get('/echo').fetch()['headers']['host'] for _ in range(9)]
    assert 5 <= hosts.count(server.address) <= 7


# -- single requests --------------------------------------------------------------------------------------


def test_single_requests(url: str) -> None:
    """SPEC HC-04."""
    seen = aquests.get(f'{url}/echo/ä {{}}?x={{}}#f', {'X-A': 'b'}).fetch()
    assert (seen['target'], seen['headers']['x-a']) == ('/echo/%C3%A4%20{}?x={}', 'b')
    assert aquests.get(f'{url}/echo', data={'a': 1}).fetch()['target'] == '/echo?a=1'
    assert aquests.delete(f'{url}/echo', auth='t').fetch()['headers']['authorization'] == 'Bearer t'
    for method in ('post', 'put', 'patch'):
        seen = getattr(aquests, method)(f'{url}/echo', {'a': 1}, {'X-A': 'b'}).fetch()
        assert (seen['method'], seen['headers']['x-a']) == (method.upper(), 'b')
        assert json.loads(seen['body']) == {'a': 1}
    assert form_of(aquests.upload(f'{url}/echo', {'f': io.BytesIO(b'1')}).fetch())[1]['f'][0][2] == b'1'
    assert aquests.options(f'{url}/echo').fetch()['method'] == 'OPTIONS'
    assert aquests.head(f'{url}/echo').dispatch().status_code == 200
    with pytest.raises(TypeError, match='all else by name'):
        aquests.get(url, {}, {}, 5)
    with pytest.raises(TypeError, match='twice'):
        aquests.post(url, {}, data={})


def test_a_single_request_to_an_alias(server: Server, register: Callable[..., Aliases]) -> None:
    aliases = register(f'{server.address}/api')
    assert (
        once('get', '@up/echo?a=1', None, CallOptions(), None, aliases).fetch()['target'] == '/api/echo?a=1'
    )


def test_scripts_that_ask_nobody_pay_nothing() -> None:
    code = (
        'import sys; from aquests import Thread; import atila; '
        'print ([name for name in sys.modules if name.split (".")[0] in ("aiohttp", "brotli", "yarl")])'
    )
    printed = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == '[]'
    with pytest.raises(AttributeError):
        aquests.nothing  # noqa: B018


def test_what_nobody_fetched_is_logged(url: str, caplog: pytest.LogCaptureFixture) -> None:
    aquests.post(f'{url}/status/500').wait()
    wait_for(lambda: '500 Internal Server Error' in caplog.text, 'the log')
