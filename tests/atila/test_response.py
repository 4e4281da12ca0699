"""`was.response` (SPEC chapter 28)."""

from __future__ import annotations

import datetime
import gzip
import hashlib
import time
from collections.abc import Callable
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import Direct, parse_answer, request_bytes, send_raw

from atila import Atila
from skitai.testing import Client, Response

Make = Callable[..., Client]

MOMENT = datetime.datetime(2026, 5, 1, 12, 0, 0, tzinfo=datetime.UTC)
DATE = 'Fri, 01 May 2026 12:00:00 GMT'
EARLIER = 'Fri, 01 May 2026 11:59:59 GMT'
LATER = 'Fri, 01 May 2026 12:00:01 GMT'


def app_of(service: Callable[[Any], Any], **options: Any) -> Atila:
    app = Atila('app')
    app.route('/', **options)(service)
    return app


@pytest.fixture
def answer(client_for: Make) -> Callable[..., Response]:
    """`answer (service, method = 'GET', headers = {})`."""

    def ask(
        service: Callable[[Any], Any], method: str = 'GET', headers: Any = None, **options: Any
    ) -> Response:
        return client_for(app_of(service)).request(method, '/', headers=headers, **options)

    return ask


Ask = Callable[..., Response]


# -- status and header fields ----------------------------------------------------------------------


def test_calling_the_response(answer: Ask) -> None:
    """RS-01: status, body and headers, as pairs or a dict."""

    def pairs(was):
        return was.response('201 Created', 'body', [('X-One', '1'), ('X-One', '2')])

    def mapping(was):
        was.response.add_header('X-One', '0')
        return was.response(body='body', headers={'X-One': 1})

    response = answer(pairs)
    assert (response.status_code, response.text, response.headers['X-One']) == (201, 'body', '1, 2')
    response = answer(mapping)
    assert (response.status_code, response.headers['X-One']) == (200, '0, 1')


def test_a_response_without_a_body_is_a_page(answer: Ask) -> None:
    """RS-01, ER-02."""
    service = lambda was: was.response('404 Not Found')  # noqa: E731
    assert answer(service).data == {'code': 40400, 'message': 'not found', 'more_info': ''}
    page = answer(service, headers={'Accept': 'text/html'})
    assert page.headers['Content-Type'] == 'text/html; charset=utf-8'
    assert '404 Not Found' in page.text
    assert answer(lambda was: was.response('201 Created', '')).text == ''


def test_status(answer: Ask) -> None:
    """RS-02, RS-03."""

    def service(was):
        r = was.response
        before = (r.status_code, r.reason, r.get_status())
        r.set_status('201 Made It')
        return was.API(before=before, after=[r.status_code, r.reason, r.get_status(), r.status])

    response = answer(service)
    assert response.status_code == 201
    assert response.data == {
        'before': [200, 'OK', '200 OK'],
        'after': [201, 'Made It', '201 Made It', '201 Made It'],
    }


@pytest.mark.parametrize(
    'status', ['', 'OK', '20 OK', '2000', '99 x', '100 Continue', '600 x', '200 a\r\nb: c', '\uff1200 OK']
)
def test_a_malformed_status(answer: Ask, status: str) -> None:
    """RS-02: an AssertionError (an engine would die of some of them)."""

    def service(was):
        with pytest.raises(AssertionError, match='no status line'):
            was.response.set_status(status)
        return 'fine'

    assert answer(service).text == 'fine'


def test_header_fields(answer: Ask) -> None:
    """RS-04 to RS-07: names are case-insensitive."""

    def service(was):
        r = was.response
        r.add_header('X-Two', '1')
        r.add_header('x-two', '2')
        r.set_header('X-One', '1')
        r.set_header('x-ONE', 'one')
        r['Content-Type'] = 'text/plain'
        r['content-type'] = 'text/csv'
        r.update('X-Updated', 7)
        r.set_headers([('X-Set', '1'), ('X-Set', '2')])
        r.add_header('X-Gone', '1')
        r.add_header('X-gone', '2')
        r.del_header('x-GONE')
        r.del_header('X-Never')
        assert r.get_header('X-two') == '1'
        assert r.get_header('X-Gone') is None
        assert r.get_header('X-Gone', 'default') == 'default'  # PITFALLS, Documented, but broken
        assert r['x-one'] == 'one'
        assert ('X-One' in r, 'X-Gone' in r) == (True, False)
        with pytest.raises(KeyError):
            r['X-Gone']
        del r['X-Never']
        return 'a'

    headers = answer(service).headers
    assert headers['X-Two'] == '1, 2'
    assert headers['X-One'] == 'one'
    assert headers['Content-Type'] == 'text/csv; charset=utf-8'
    assert headers['X-Updated'] == '7'
    assert headers['X-Set'] == '1, 2'
    assert 'X-Gone' not in headers


@pytest.mark.parametrize('bad', ['a\r\nX: y', 'a\n', 'a\rb', 'a\x00b', '\x7f', 'a\x1bb'])
def test_control_characters_in_a_value(answer: Ask, bad: str) -> None:
    """RS-07; PITFALLS, Security: response splitting is a ValueError."""

    def service(was):
        for call in (
            lambda: was.response.add_header('X-A', bad),
            lambda: was.response.set_header('X-A', bad),
            lambda: was.response('200 OK', '', {'X-A': bad}),
            lambda: was.redirect('/' + bad),
            lambda: was.response.set_etag(bad, as_etag=True),
        ):
            with pytest.raises(ValueError, match='character'):
                call()
        return 'fine'

    assert answer(service).text == 'fine'


@pytest.mark.parametrize('bad', ['', 'a b', 'a:', 'ä', 'a\r\nb', 'a\x00'])
def test_names_that_are_no_tokens(answer: Ask, bad: str) -> None:
    """RS-04, RFC 9110, 5.1."""

    def service(was):
        with pytest.raises(ValueError, match='header name'):
            was.response.add_header(bad, '1')
        return 'fine'

    assert answer(service).text == 'fine'


def test_values_beyond_ascii(answer: Ask) -> None:
    """RS-04: latin-1 is sent as it is, what latin-1 has not is a ValueError."""

    def service(was):
        was.response.add_header('X-A', 'ä')
        with pytest.raises(ValueError):
            was.response.add_header('X-B', '한')
        return 'fine'

    assert answer(service).headers['X-A'].encode('latin-1') in (b'\xe4', 'ä'.encode())


def test_fields_of_the_connection_are_not_the_apps(direct_for: Callable[..., Direct]) -> None:
    """RFC 9110, 7.6.1: an app that sets them does not break the answer's framing."""

    def service(was):
        was.response.add_header('Transfer-Encoding', 'chunked')
        was.response.add_header('Content-Length', '2')
        was.response.add_header('Connection', 'upgrade')
        was.response.add_header('Upgrade', 'websocket')
        return 'whole body'

    engine = direct_for(app_of(service))
    found = parse_answer(send_raw(engine.connect(), request_bytes()))
    assert (found.status, found.body) == (200, b'whole body')
    assert found.headers is not None
    assert found.headers.get_all('Content-Length') == ['10']
    assert 'Transfer-Encoding' not in found.headers
    assert 'Upgrade' not in found.headers


# -- validators ------------------------------------------------------------------------------------


def tagged(was):
    was.response.set_header('Content-Type', 'text/csv')
    was.response.set_etag('v1', 60)
    return 'content'


TAG = '"' + hashlib.md5(b'v1').hexdigest() + '"'


def test_an_etag(answer: Ask) -> None:
    """RS-08."""
    headers = answer(tagged).headers
    assert (headers['ETag'], headers['Cache-Control']) == (TAG, 'max-age=60')

    def as_etag(was):
        was.response.set_etag('v1', as_etag=True)
        return 'content'

    headers = answer(as_etag).headers
    assert headers['ETag'] == '"v1"'
    assert 'Cache-Control' not in headers


@pytest.mark.parametrize(
    ('method', 'name', 'value', 'status'),
    [
        ('GET', 'If-None-Match', TAG, 304),
        ('HEAD', 'If-None-Match', TAG, 304),
        ('GET', 'If-None-Match', f'"x", W/{TAG}', 304),
        ('GET', 'If-None-Match', '*', 304),
        ('GET', 'If-None-Match', '"x"', 200),
        ('GET', 'If-None-Match', '', 200),
        ('POST', 'If-None-Match', TAG, 412),
        ('GET', 'If-Match', TAG, 200),
        ('POST', 'If-Match', '*', 200),
        ('GET', 'If-Match', '"x"', 412),
        ('GET', 'If-Match', f'W/{TAG}', 412),
    ],
)
def test_conditions_on_an_etag(answer: Ask, method: str, name: str, value: str, status: int) -> None:
    """RS-08, RFC 9110, 13.1."""
    response = answer(tagged, method, {name: value})
    assert response.status_code == status
    if status == 304:  # RS-11: no body, the fields that a 200 would have
        assert response.content == b''
        assert (response.headers['ETag'], response.headers['Cache-Control']) == (TAG, 'max-age=60')
        assert response.headers.get('Content-Type', 'text/csv').startswith('text/csv')
        assert 'Content-Length' not in response.headers
    if status == 412:
        assert response.headers['Content-Type'] == 'application/json'
        assert response.data['code'] == 41200


@pytest.mark.parametrize(
    'mtime', [MOMENT, MOMENT.replace(tzinfo=None), MOMENT.timestamp(), MOMENT.timestamp() + 0.9]
)
def test_a_time_of_modification(answer: Ask, mtime: Any) -> None:
    """RS-09: a datetime (naive is UTC) or epoch seconds."""

    def service(was):
        was.response.set_mtime(mtime, max_age=3600)
        return 'content'

    headers = answer(service).headers
    assert headers['Last-Modified'] == DATE
    assert headers['Cache-Control'] == 'max-age=3600'
    assert 3500 < parsedate_to_datetime(headers['Expires']).timestamp() - time.time() < 3700


@pytest.mark.parametrize(
    ('method', 'name', 'value', 'status'),
    [
        ('GET', 'If-Modified-Since', DATE, 304),
        ('GET', 'If-Modified-Since', LATER, 304),
        ('GET', 'If-Modified-Since', EARLIER, 200),
        ('GET', 'If-Modified-Since', 'nonsense', 200),
        ('GET', 'If-Modified-Since', 'Mon, 99 Xxx 99999 99:99:99 GMT', 200),
        ('GET', 'If-Modified-Since', 'Fri, 01 May 0000 12:00:00 GMT', 200),
        ('POST', 'If-Modified-Since', LATER, 200),
        ('GET', 'If-Unmodified-Since', DATE, 200),
        ('GET', 'If-Unmodified-Since', EARLIER, 412),
        ('POST', 'If-Unmodified-Since', EARLIER, 412),
    ],
)
def test_conditions_on_the_time(answer: Ask, method: str, name: str, value: str, status: int) -> None:
    """RS-09."""

    def service(was):
        was.response.set_mtime(MOMENT)
        return 'content'

    assert answer(service, method, {name: value}).status_code == status


def test_tag_and_time(answer: Ask) -> None:
    """RS-09: `set_etag_mtime`; the tag decides (RFC 9110, 13.2.2), the 304 has both."""

    def service(was):
        was.response.set_etag_mtime('v1', MOMENT, max_age=5)
        return 'content'

    for headers, status in (
        ({'If-None-Match': TAG, 'If-Modified-Since': EARLIER}, 304),
        ({'If-None-Match': '"x"', 'If-Modified-Since': LATER}, 200),
        ({'If-Match': TAG, 'If-Unmodified-Since': EARLIER}, 200),
        ({}, 200),
    ):
        response = answer(service, headers=headers)
        assert response.status_code == status, headers
        assert (response.headers['ETag'], response.headers['Last-Modified']) == (TAG, DATE)


def test_no_error_handler_is_asked_for_a_304(client_for: Make) -> None:
    """RS-11, ER-03: it is no error."""
    app = app_of(tagged)

    @app.default_error_handler(accept='*')
    def handler(was, error):
        return 'handled'

    response = client_for(app).get('/', headers={'If-None-Match': TAG})
    assert (response.status_code, response.content) == (304, b'')
    assert client_for(app).get('/', headers={'If-Match': '"x"'}).text == 'handled'


def test_max_age(answer: Ask, direct_for: Callable[..., Direct]) -> None:
    """RS-10: Expires for HTTP/1.0, else Cache-Control."""

    def service(was):
        was.response.set_max_age(60)
        return ''

    headers = answer(service).headers
    assert headers['Cache-Control'] == 'max-age=60'
    assert 'Expires' not in headers
    engine = direct_for(app_of(service))
    old = parse_answer(send_raw(engine.connect(), b'GET / HTTP/1.0\r\n\r\n')).headers
    assert old is not None
    assert 'Cache-Control' not in old
    assert abs(parsedate_to_datetime(old['Expires']).timestamp() - time.time() - 60) < 10


# -- what every answer has -------------------------------------------------------------------------


@pytest.mark.parametrize('status', ['204 No Content', '304 Not Modified', '205 Reset Content'])
def test_answers_without_a_body(answer: Ask, status: str) -> None:
    """RS-11."""
    for body in ('text', '', b'', iter(['a', 'b']), ['a']):
        response = answer(lambda was, body=body: was.response(status, body))  # type: ignore[misc]
        assert response.status_code == int(status[:3])
        assert response.content == b''
        assert response.headers.get('Content-Length') in (None, '0')
        assert 'Transfer-Encoding' not in response.headers


def test_server_and_date(direct_for: Callable[..., Direct]) -> None:
    """RS-11: always, also of errors and empty answers."""
    app = app_of(lambda was: was.response('204 No Content', ''))
    app.route('/error')(lambda was: 1 / 0)
    engine = direct_for(app)
    for target in (b'/', b'/error', b'/nope'):
        headers = parse_answer(send_raw(engine.connect(), request_bytes(target=target))).headers
        assert headers is not None
        assert headers.get_all('Server') == ['Skitai']
        (date,) = headers.get_all('Date') or []
        assert abs(parsedate_to_datetime(date).timestamp() - time.time()) < 10
        assert date == formatdate(parsedate_to_datetime(date).timestamp(), usegmt=True)


LONG = 'text ' * 1000


@pytest.mark.parametrize(
    ('accept', 'coding'),
    [
        ('gzip', 'gzip'),
        ('deflate, gzip', 'gzip'),
        ('deflate, gzip;q=0.5', 'deflate'),
        ('deflate', 'deflate'),
        ('gzip;q=0', None),
        ('br', None),
        ('', None),
    ],
)
def test_compression(answer: Ask, accept: str, coding: str | None) -> None:
    """RS-11: above 2 KB, for clients that accept it; what depends on it says so."""
    response = answer(lambda was: LONG, headers={'Accept-Encoding': accept})
    assert response.text == LONG
    assert response.headers['Vary'] == 'Accept-Encoding'
    assert response.headers.get('Content-Encoding') == coding
    assert (int(response.headers['Content-Length']) < 500) is (coding is not None)


@pytest.mark.parametrize(
    ('asked', 'status', 'content', 'extent'),
    [
        ('bytes=0-3', 206, 'text', 'bytes 0-3/5000'),
        ('bytes=-5', 206, 'text ', 'bytes 4995-4999/5000'),
        ('bytes=9000-', 416, '', 'bytes */5000'),
        ('bytes=0-1,5-6', 200, LONG, None),
        ('bytes=x', 200, LONG, None),
    ],
)
def test_a_part_of_a_body(answer: Ask, asked: str, status: int, content: str, extent: str | None) -> None:
    """RS-11: a range of a body whose length is known; a list of them or nonsense gets it whole."""

    def service(was):
        was.response['ETag'] = '"v1"'
        return LONG

    response = answer(service, headers={'Range': asked, 'Accept-Encoding': 'gzip'})
    assert (response.status_code, response.text) == (status, content)
    assert response.headers.get('Content-Range') == extent
    assert answer(service, 'POST', headers={'Range': asked}).status_code == 200
    other = answer(service, headers={'Range': asked, 'If-Range': '"v2"'})
    assert (other.status_code, other.text) == (200, LONG)


def test_what_is_not_compressed(answer: Ask) -> None:
    """RS-11: small bodies, media that are compressed already, and what has a coding."""
    accept = {'Accept-Encoding': 'gzip'}
    assert 'Content-Encoding' not in answer(lambda was: LONG[:2048], headers=accept).headers

    def image(was):
        was.response['Content-Type'] = 'image/png'
        return LONG.encode()

    def packed(was):
        was.response['Content-Encoding'] = 'gzip'
        return gzip.compress(LONG.encode() * 1000)

    assert 'Content-Encoding' not in answer(image, headers=accept).headers
    assert answer(packed, headers=accept).text == LONG * 1000


def test_json_is_compressed(answer: Ask) -> None:
    """RS-11."""
    response = answer(lambda was: was.API(a=LONG), headers={'Accept-Encoding': 'gzip'})
    assert response.headers['Content-Encoding'] == 'gzip'
    assert response.data == {'a': LONG}


def test_a_compressed_body_has_a_weak_tag(answer: Ask) -> None:
    """RS-08, RS-11: the coded bytes are another representation, still recognised (RFC 9110, 8.8.3)."""

    def service(was):
        was.response.set_etag('v1')
        return LONG

    response = answer(service, headers={'Accept-Encoding': 'gzip'})
    assert response.headers['ETag'] == 'W/' + TAG
    again = answer(service, headers={'If-None-Match': response.headers['ETag']})
    assert again.status_code == 304


def test_head_has_the_fields_of_get(answer: Ask) -> None:
    """RT-02, RFC 9110, 9.3.2."""
    get, head = answer(tagged), answer(tagged, 'HEAD')
    assert head.content == b''
    for name in ('Content-Type', 'Content-Length', 'ETag'):
        assert head.headers[name] == get.headers[name]


# -- properties ------------------------------------------------------------------------------------


def test_any_field_of_a_request_gives_an_answer(
    direct_for: Callable[..., Direct], caplog: pytest.LogCaptureFixture
) -> None:
    """RS-08 to RS-11, ER-02: whatever bytes a field that we read has: never a 5xx, never a traceback."""

    def service(was, **values):
        r = was.request
        r.acceptables, r.acceptable('text/html'), r.charset, r.content_type, r.host, r.env, dict(r.headers)
        r.get_real_ip(), r.is_private_ip(), r.gtxid, r.get_headers(), r.scheme, r.user_agent
        if 'error' in values:
            raise was.Error('400 Bad Request', 'on purpose')
        if 'tag' in values:
            was.response.set_etag_mtime('v1', MOMENT)
        return was.API(a='x' * 3000)

    engine = direct_for(app_of(service), proxied=True)
    names = [
        *('Accept', 'Accept-Encoding', 'Host', 'X-Gtxn-Id', 'X-Forwarded-For', 'X-Forwarded-Proto', 'Range'),
        *('If-None-Match', 'If-Match', 'If-Modified-Since', 'If-Unmodified-Since', 'If-Range', 'Referer'),
        *('Content-Type', 'User-Agent', 'Cookie', 'Authorization'),
    ]
    pieces = st.sampled_from(
        [
            b',',
            b';',
            b'q=',
            b'0.',
            b'"',
            b'*/*',
            b'text/html',
            b'text/xml',
            b'gzip',
            b'=',
            b'W/',
            b'bytes=',
            b'-',
            b'GMT',
            b'1',
        ]
    )
    values = st.lists(pieces | st.binary(max_size=4), max_size=8).map(
        lambda parts: bytes(c for c in b''.join(parts) if c == 9 or 0x20 <= c != 0x7F)
    )

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(names), values, st.sampled_from([b'/', b'/?error', b'/?tag', b'/?a=%ff']))
    def check(name: str, value: bytes, target: bytes) -> None:
        # hand-made: `request_bytes` has a Host of its own
        host = b'' if name == 'Host' else b'Host: t\r\n'
        request = b'GET %s HTTP/1.1\r\n%sConnection: close\r\n%s: %s\r\n\r\n' % (
            target,
            host,
            name.encode(),
            value,
        )
        found = parse_answer(send_raw(engine.connect(), request))
        assert found.status in (200, 304, 400, 412), (request, found)

    check()
    assert not caplog.records
