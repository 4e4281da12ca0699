"""Errors and their answers (SPEC chapter 29)."""

from __future__ import annotations

import logging
import xmlrpc.client
from collections.abc import Callable
from typing import Any

import pytest

from atila import Atila, HTTPError
from skitai.testing import Client

Make = Callable[..., Client]

HTML = {'Accept': 'text/html,application/xhtml+xml;q=0.9,*/*;q=0.8'}
EVIL = '<script>alert ("&")</script>'


def app_of(service: Callable[..., Any]) -> Atila:
    app = Atila('app')
    app.route('/')(service)
    return app


def sync_and_async(service: Callable[[Any], Any]) -> list[Callable[..., Any]]:
    async def asynchronous(was):
        return service(was)

    return [service, asynchronous]


def missing_user(was):
    raise was.Error('400 Bad Request', 'missing user ID', 40011)


# -- raising ---------------------------------------------------------------------------------------


@pytest.mark.parametrize('service', sync_and_async(missing_user))
def test_a_raised_error_is_the_answer(
    client_for: Make, service: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """ER-01, ER-02: it is no failure of the server, so nothing is logged."""
    response = client_for(app_of(service)).get('/')
    assert response.status_code == 400
    assert response.headers['Content-Type'] == 'application/json'
    assert response.data == {'code': 40011, 'message': 'bad request', 'more_info': 'missing user ID'}
    assert not caplog.records


@pytest.mark.parametrize(
    ('status', 'code', 'message'),
    [
        ('410 Gone', 410, 'gone'),
        ('410 No More', 410, 'no more'),
        ('410', 410, 'gone'),
        (410, 410, 'gone'),
        ('418', 418, "i'm a teapot"),
        ('599', 599, 'unknown'),
    ],
)
def test_the_status_line_of_an_error(client_for: Make, status: Any, code: int, message: str) -> None:
    """ER-01, ER-02: the body's code is status * 100."""

    def service(was):
        raise was.Error(status)

    response = client_for(app_of(service)).get('/')
    assert response.status_code == code
    assert response.data == {'code': code * 100, 'message': message.lower(), 'more_info': ''}


def test_an_error_by_assertion(client_for: Make) -> None:
    """ER-01, ER-06: `assert x, was.Error (...)` is a failed assertion: the server's fault."""

    def service(was):
        raise AssertionError(was.Error('400 Bad Request'))

    assert client_for(app_of(service)).get('/').status_code in (400, 500)


def test_the_error_class(client_for: Make) -> None:
    """WAS-06."""

    def service(was):
        assert was.Error is HTTPError
        error = was.Error('404 Not Found', 'why', 7)
        return was.API(
            text=str(error),
            code=error.status_code,
            reason=error.reason,
            explain=error.explain,
            errno=error.errno,
        )

    assert client_for(app_of(service)).get('/').data == {
        'text': '404 Not Found: why',
        'code': 404,
        'reason': 'Not Found',
        'explain': 'why',
        'errno': 7,
    }


def test_what_was_set_for_the_answer_is_dropped(client_for: Make) -> None:
    """ER-01, RC-07: an error is another answer."""

    def service(was):
        was.response.set_status('201 Created')
        was.response.add_header('X-One', '1')
        was.response.set_header('Content-Type', 'text/csv')
        raise was.Error('409 Conflict')

    response = client_for(app_of(service)).get('/')
    assert response.status_code == 409
    assert 'X-One' not in response.headers
    assert response.headers['Content-Type'] == 'application/json'


# -- bodies by Accept ------------------------------------------------------------------------------


def evil(was):
    raise was.Error('400 ' + EVIL, EVIL, 40011)


def test_an_html_page_is_escaped(client_for: Make) -> None:
    """ER-02; PITFALLS, Errors: the page shows nothing unescaped."""
    response = client_for(app_of(evil)).get('/', headers=HTML)
    assert response.headers['Content-Type'] == 'text/html; charset=utf-8'
    assert '<script>' not in response.text
    assert response.text.count('&lt;script&gt;') >= 2
    assert '40011' in response.text


def test_an_error_as_xml(client_for: Make) -> None:
    """ER-02."""
    response = client_for(app_of(evil)).get('/', headers={'Accept': 'text/xml'})
    assert response.headers['Content-Type'].startswith('text/xml')
    ((found,), _) = xmlrpc.client.loads(response.content)
    assert found == {'code': 40011, 'message': EVIL.lower(), 'more_info': EVIL}


@pytest.mark.parametrize(
    ('accept', 'media'),
    [
        ('*/*', 'application/json'),
        ('application/json', 'application/json'),
        ('text/html;q=0', 'application/json'),
        ('text/html', 'text/html'),
        ('Text/HTML', 'text/html'),
        ('text/html, text/xml', 'text/html'),
        ('text/htmlx', 'application/json'),
        ('', 'application/json'),
    ],
)
def test_the_form_of_an_error(client_for: Make, accept: str, media: str) -> None:
    """ER-02."""
    response = client_for(app_of(missing_user)).get('/', headers={'Accept': accept})
    assert response.headers['Content-Type'].partition(';')[0] == media


def test_an_error_of_the_engine_has_the_same_form(client_for: Make) -> None:
    """ER-02: nothing is mounted there."""
    client = client_for(app_of(missing_user), point='/app')
    assert client.get('/nope').data == {'code': 40400, 'message': 'not found', 'more_info': ''}
    assert '404 Not Found' in client.get('/nope', headers=HTML).text


# -- handlers --------------------------------------------------------------------------------------


def handled(accept: str = 'text/html') -> Atila:
    app = app_of(missing_user)

    @app.route('/bug')
    def bug(was):
        raise ZeroDivisionError('secret')

    @app.route('/get', methods=['GET'])
    def get(was):
        return ''

    @app.error_handler(404, accept=accept)
    def not_found(was, error):
        return f'no {error["url"]}'

    @app.default_error_handler(accept=accept)
    def default(was, error):
        assert error.code == error['code'] == was.response.status_code
        return was.API(error)

    return app


def test_handlers_make_the_page(client_for: Make) -> None:
    """ER-03: the code's own first, then the default; every error inside the app, 404 and 405 too."""
    client = client_for(handled())
    response = client.get('/nope?x=1', headers=HTML)
    assert (response.status_code, response.text) == (404, 'no /nope?x=1')
    response = client.get('/', headers=HTML)
    assert response.status_code == 400
    found = response.data
    assert found.pop('time')
    assert found.pop('software')
    assert found == {
        'code': 400,
        'errno': 40011,
        'message': 'Bad Request',
        'detail': 'missing user ID',
        'mode': 'normal',
        'url': '/',
        'debug': False,
        'traceback': None,
    }
    response = client.post('/get', headers=HTML)
    assert (response.status_code, response.headers['Allow']) == (405, 'GET, HEAD')
    assert response.data['code'] == 405
    assert client.get('/?x', headers=HTML).data['code'] == 400
    assert client.get('/bug', headers=HTML).data['detail'] == ''


def test_handlers_are_for_clients_that_accept_html(client_for: Make) -> None:
    """ER-03: unless they say otherwise."""
    assert client_for(handled()).get('/nope').data['code'] == 40400
    assert client_for(handled('*')).get('/nope').text == 'no /nope'
    assert (
        client_for(handled('application/json')).get('/nope', headers={'Accept': 'application/json'}).text
        == 'no /nope'
    )


def test_a_default_handler_without_parentheses(client_for: Make) -> None:
    """ER-03."""
    app = Atila('app')

    @app.default_error_handler
    def handler(was, error):
        was.response.add_header('X-Handled', '1')
        return was.response('404 Not Found', 'mine')

    response = client_for(app).get('/', headers=HTML)
    assert (response.status_code, response.text, response.headers['X-Handled']) == (404, 'mine', '1')


def raising(was, error):
    raise RuntimeError('in the handler')


def raising_http(was, error):
    raise was.Error('200 OK')


@pytest.mark.parametrize(
    'handler', [raising, raising_http, lambda was, error: object(), lambda was, error: iter([7])]
)
def test_a_failing_handler_gives_the_default_page(
    client_for: Make, handler: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """ER-04: and is logged."""
    app = app_of(missing_user)
    app.error_handler(400, accept='*')(handler)
    response = client_for(app).get('/')
    assert (response.status_code, response.data['code']) == (400, 40011)
    assert any(record.levelno == logging.ERROR for record in caplog.records)


# -- failures of the server ------------------------------------------------------------------------


def bug(was):
    raise ZeroDivisionError('secret value')


@pytest.mark.parametrize('service', sync_and_async(bug))
@pytest.mark.parametrize('accept', ['application/json', 'text/html', 'text/xml'])
def test_an_uncaught_exception(
    client_for: Make, service: Callable[..., Any], accept: str, caplog: pytest.LogCaptureFixture
) -> None:
    """ER-05: 500, logged with its traceback; nothing of it goes out."""
    response = client_for(app_of(service)).get('/', headers={'Accept': accept})
    assert response.status_code == 500
    assert 'secret' not in response.text
    assert 'Traceback' not in response.text
    assert 'ZeroDivisionError: secret value' in caplog.text


def test_debug_mode_shows_the_traceback(client_for: Make) -> None:
    """ER-05, escaped; also for an error that asks for it."""

    def shown(was):
        raise was.Error('400 Bad Request', 'why', traceback=True)

    app = app_of(bug)
    app.route('/shown')(shown)
    app.route('/evil')(lambda was: {}[EVIL])  # type: ignore[misc]
    app.route('/plain')(missing_user)
    client = client_for(app, devel=True)
    found = client.get('/').data
    assert found['code'] == 50000
    assert 'ZeroDivisionError: secret value' in found['traceback'][-1]
    assert found['more_info'] == found['debug'] == 'ZeroDivisionError: secret value'
    page = client.get('/evil', headers=HTML).text
    assert 'KeyError' in page
    assert '<script>' not in page
    assert client.get('/shown').data['traceback']
    assert 'traceback' not in client.get('/plain').data


@pytest.mark.parametrize(
    ('attribute', 'status'),
    [(502, 502), (504, 504), (404, 500), (None, 500), ('x', 500), (10**9, 500), (True, 500)],
)
def test_the_status_of_a_failed_task(client_for: Make, attribute: Any, status: int) -> None:
    """ER-05: an exception may say 502 or 504; other libraries' attributes of that name mean nothing here."""

    class Failed(Exception):
        http_status = attribute

    def service(was):
        raise Failed

    assert client_for(app_of(service)).get('/').status_code == status


@pytest.mark.parametrize(
    'error', [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, RecursionError, MemoryError]
)
def test_no_exception_ends_the_server(client_for: Make, error: type[BaseException]) -> None:
    """ER-05: not even those that end other programs."""

    def service(was):
        raise error

    client = client_for(app_of(service))
    assert client.get('/').status_code == 500
    assert client.get('/nope').status_code == 404


def test_a_failed_assertion_is_the_servers_fault(client_for: Make) -> None:
    """ER-06."""

    def service(was):
        raise AssertionError('not my fault')

    response = client_for(app_of(service)).get('/')
    assert response.status_code == 500
    assert 'fault' not in response.text


@pytest.mark.parametrize('service', sync_and_async(lambda was: None))
def test_returning_none(
    client_for: Make, service: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """ER-07."""
    assert client_for(app_of(service)).get('/').status_code == 500
    assert 'should not be None' in caplog.text


def test_returning_nothing_to_say(client_for: Make) -> None:
    """ER-07: '' is an empty body."""
    for empty in ('', b'', [], ()):
        response = client_for(app_of(lambda was, empty=empty: empty)).get('/')  # type: ignore[misc]
        assert (response.status_code, response.content, response.headers['Content-Length']) == (200, b'', '0')


@pytest.mark.parametrize(
    'content', [{}, {'a': 1}, 7, 1.5, True, object(), [None], ['a', 7], (None,), {1}, str, len]
)
def test_returning_what_is_no_content(
    client_for: Make, content: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """ER-08: in words that say how to mend it."""
    assert client_for(app_of(lambda was: content)).get('/').status_code == 500
    assert 'which is no content' in caplog.text


def test_statuses_of_the_framework(client_for: Make) -> None:
    """ER-09: what a request that does not fit gets."""
    app = app_of(lambda was, n=1: 'there')
    app.route('/dir/')(lambda was: '')
    app.route('/csv', content_types=['text/csv'])(lambda was: '')
    app.route('/tag')(lambda was: was.response.set_etag('x') or '')
    app.route('/file')(lambda was: was.File(__file__))
    client = client_for(app, max_upload_size=100)
    assert {
        'moved': client.get('/dir').status_code,
        'bad': client.get('/?x=1').status_code,
        'not found': client.get('/nope').status_code,
        'method': client.put('/').status_code,
        'type': client.post('/csv', json={}).status_code,
        'condition': client.get('/tag', headers={'If-Match': '"y"'}).status_code,
        'large': client.post('/', b'x' * 101).status_code,
        'range': client.get('/file', headers={'Range': 'bytes=9999999-'}).status_code,
    } == {
        'moved': 301,
        'bad': 400,
        'not found': 404,
        'method': 405,
        'type': 406,
        'condition': 412,
        'large': 413,
        'range': 416,
    }


def test_what_is_no_content_does_not_stand_in_the_way_of_what_is(client_for: Make) -> None:
    """ER-08: how a type is sent is found once, and not by what its base was."""

    class Base:
        pass

    class Readable(Base):
        done = False

        def read(self, size: int) -> bytes:
            self.done, done = True, self.done
            return b'' if done else b'read'

    app = app_of(lambda was: object())
    app.route('/base')(lambda was: Base())
    app.route('/readable')(lambda was: Readable())
    client = client_for(app)
    assert [client.get(path).status_code for path in ('/', '/base')] == [500, 500]
    assert client.get('/readable').text == 'read'
