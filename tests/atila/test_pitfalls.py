"""What must not happen again (PITFALLS: Serving, Errors, Security), as far as requests and answers go.

Here: what concerns more than one room. The rest is beside what it concerns, each test naming the pitfall:
bodies in test_bodies, TypeErrors and parameters in test_parameters, 405 and HEAD in test_routing, response
splitting in test_response, broken streams in test_contents, stalls and lengths in test_hardening.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import DEADLINE, Direct, parse_answer, request_bytes, send_raw

import skitai
from atila import Atila
from skitai.testing import Client

Make = Callable[..., Client]
EVIL = '<script>alert(1)</script>'


def app_of(service: Callable[..., Any], rule: str = '/') -> Atila:
    app = Atila('app')
    app.route(rule)(service)
    return app


# -- Serving ---------------------------------------------------------------------------------------


def test_an_app_object_serves_in_devel_mode(client_for: Make) -> None:
    """Serving: with `--devel` an app object answered 500 to everything."""
    client = client_for(app_of(lambda was: 'Hello, World'), devel=True)
    assert [client.get('/').text for _ in range(3)] == ['Hello, World'] * 3


def test_the_redirect_to_a_directory_keeps_the_query(client_for: Make, tmp_path: Path) -> None:
    """Serving: of files, of a mount point and of a route."""
    (tmp_path / 'docs').mkdir()
    (tmp_path / 'docs' / 'index.html').write_text('index')
    pref = skitai.preference()
    pref.set_static('/files', str(tmp_path))
    app = app_of(lambda was, **values: '')
    app.route('/dir/')(lambda was, **values: '')
    client = client_for(app, pref, point='/app')
    for path in ('/files/docs', '/app', '/app/dir'):
        response = client.get(path + '?a=%20&b')
        assert response.status_code in (301, 308)
        assert response.headers['Location'] == path + '/?a=%20&b'


def test_head_is_answered_where_get_is(client_for: Make) -> None:
    """Serving: it was a 405."""
    client = client_for(app_of(lambda was: 'body'))
    response = client.head('/')
    assert (response.status_code, response.headers['Content-Length'], response.content) == (200, '4', b'')


# -- One client sees another's data ----------------------------------------------------------------


def test_a_request_that_fails_late_leaves_nothing(client_for: Make) -> None:
    """One client sees another's data: what was set on `was`, its response and request, on one thread."""
    seen: list[Any] = []

    def service(was, name=''):
        seen.append((vars(was).copy(), was.response.headers, dict(was.request.g), was.request.user))
        was.mine = was.request.g.mine = was.request.user = name
        was.response.add_header('X-Name', name)
        if name == 'late':

            def parts() -> Iterator[str]:
                yield 'part'
                raise ZeroDivisionError

            return parts()
        if name:
            raise ZeroDivisionError
        return 'fine'

    client = client_for(app_of(service), threads=1)
    for name in ('first', 'late'):
        try:
            _ = client.get('/', {'name': name}).content
        except Exception:
            assert name == 'late'
        response = client.get('/')
        assert (response.text, 'X-Name' in response.headers) == ('fine', True)
    assert all(entry == ({}, [], {}, None) for entry in seen)


def test_requests_at_once_do_not_mix(client_for: Make) -> None:
    """One client sees another's data: `skitai.was` is each request's own."""
    app = Atila('app')
    meeting = threading.Barrier(4)

    @app.route('/<name>')
    def service(was, name):
        meeting.wait(DEADLINE)
        assert skitai.was.request is was.request
        return f'{name} {skitai.was.request.path}'

    client = client_for(app, threads=4)
    clients = [client.clone() for _ in range(4)]
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda c=c, n=n: found.append(c.get(f'/{n}').text))
        for n, c in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    for each in clients:
        each.session.close()
    assert sorted(found) == [f'{n} /{n}' for n in range(4)]


# -- Errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'request_',
    [
        {'method': 'POST', 'data': b'{', 'headers': {'Content-Type': 'application/json'}},
        {'method': 'POST', 'json': [1]},
        {'method': 'POST', 'data': b'=&&=', 'headers': {'Content-Type': 'application/x-www-form-urlencoded'}},
        {'method': 'GET', 'params': {'int:n': 'x'}},
        {'method': 'GET', 'params': {'b': '1'}},
        {'method': 'GET'},
    ],
)
def test_the_clients_faults_are_400(
    client_for: Make, request_: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Errors: they were 502 or 500; nor are they worth a line in the log."""
    client = client_for(app_of(lambda was, a: ''))
    assert client.request(uri='/', **request_).status_code == 400
    assert not caplog.records


def test_what_the_client_sent_is_escaped_on_pages(direct_for: Callable[..., Direct]) -> None:
    """Errors: the error page showed its detail unescaped."""

    def service(was, a):
        raise was.Error('400 Bad Request', a)

    engine = direct_for(app_of(service), devel=True)
    quoted = EVIL.replace('<', '%3C').replace('>', '%3E')
    for target in (f'/?a={quoted}', f'/?{quoted}=1', f'/?a=1&{quoted}', f'/{quoted}', f'/?int:{quoted}=x'):
        headers = b'Accept: text/html\r\n'
        answer = parse_answer(
            send_raw(engine.connect(), request_bytes(target=target.encode(), headers=headers))
        )
        assert answer.status in (400, 404)
        assert EVIL.encode() not in answer.body


# -- Security --------------------------------------------------------------------------------------


@pytest.mark.parametrize('value', ['x\r\nSet-Cookie: a=1', 'x\nSet-Cookie: a=1', 'x\r\n\r\n<html>'])
def test_what_the_client_sent_splits_no_answer(client_for: Make, value: str) -> None:
    """Security: CR and LF passed into header values and into Location."""
    app = Atila('app')

    @app.route('/header')
    def header(was, a):
        was.response.add_header('X-A', a)
        return ''

    @app.route('/redirect')
    def redirect(was, a):
        return was.redirect(a)

    @app.route('/file')
    def file(was, a):
        return was.File(__file__, 'text/plain', a)

    client = client_for(app)
    for path in ('/header', '/redirect', '/file'):
        response = client.get(path, {'a': value})
        assert 'Set-Cookie' not in response.headers
        assert not any(c in field for field in response.headers.values() for c in '\r\n')


def test_a_redirects_page_is_escaped(client_for: Make) -> None:
    """Security: so is the link."""
    client = client_for(app_of(lambda was, a: was.redirect(a)))
    response = client.get('/', {'a': f'/"{EVIL}'})
    assert response.status_code == 302
    assert EVIL not in response.text
    assert '/""' not in response.text


def test_no_path_leaves_a_directory(direct_for: Callable[..., Direct], tmp_path: Path) -> None:
    """Security: whatever a request calls it."""
    (tmp_path / 'static').mkdir()
    (tmp_path / 'secret').write_text('secret')
    pref = skitai.preference()
    pref.set_static('/s', str(tmp_path / 'static'))
    app = Atila('app')

    @app.route('/get')
    def get(was, uri):
        return was.Static(uri)

    engine = direct_for(app, pref)
    for way in (
        '../secret',
        '..%2fsecret',
        '%2e%2e/secret',
        './../secret',
        '..\\secret',
        '....//secret',
        '/secret',
        'x/../../secret',
    ):
        for target in (f'/s/{way}', f'/get?uri={way}', f'/get?uri=/s/{way}'):
            answer = parse_answer(send_raw(engine.connect(), request_bytes(target=target.encode())))
            assert answer.status in (400, 403, 404), target
            assert b'secret' not in answer.body
