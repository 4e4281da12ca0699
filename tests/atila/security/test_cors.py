"""Cross-origin requests (SPEC chapter 8, PITFALLS: a route's own origins on the actual request)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import skitai
from atila import Atila, load
from skitai.testing import Client

Make = Callable[..., Client]

SITE = 'https://site.example'


@pytest.fixture
def site(client_for: Make) -> Client:
    """An app that allows SITE, with routes that say otherwise."""
    app, pref = Atila('app'), skitai.preference()
    pref.access_control_allow_origin = [SITE]
    pref.access_control_max_age = 60

    @app.route('/app')
    def default(was: Any) -> str:
        return 'content'

    @app.route('/any', methods=['GET', 'PUT'], access_control_allow_origin=['*'], access_control_max_age=0)
    def anybody(was: Any) -> str:
        return 'content'

    @app.route('/none', access_control_allow_origin=None)
    def none(was: Any) -> str:
        return 'content'

    @app.route('/same', access_control_allow_origin=['same'])
    def same(was: Any) -> str:
        return 'content'

    @app.route('/items/<int:number>', methods=['GET'])
    def item(was: Any, number: int) -> str:
        return f'{number}'

    @app.route('/items/<int:number>', methods=['DELETE'], authenticate='basic')
    def delete(was: Any, number: int) -> str:
        return ''

    @app.route('/fails')
    async def fails(was: Any) -> str:
        raise was.Error('409 Conflict')

    return client_for(app, pref)


def test_allowed_origin(site: Client) -> None:
    """SPEC AC-01: the origin back, credentials allowed where the list has no '*'; also on errors."""
    for path, status in (('/app', 200), ('/fails', 409), ('/app?unknown=1', 400)):
        answer = site.get(path, headers={'Origin': SITE})
        assert answer.status_code == status
        assert answer.headers['Access-Control-Allow-Origin'] == SITE
        assert answer.headers['Access-Control-Allow-Credentials'] == 'true'
        assert 'Origin' in answer.headers['Vary']


def test_any_origin(site: Client) -> None:
    """SPEC AC-01: the route wins over the app."""
    answer = site.get('/any', headers={'Origin': 'http://elsewhere.example:81'})
    assert answer.text == 'content'
    assert answer.headers['Access-Control-Allow-Origin'] == 'http://elsewhere.example:81'
    assert 'Access-Control-Allow-Credentials' not in answer.headers


@pytest.mark.parametrize('path', ['/app', '/same', '/items/1'])
@pytest.mark.parametrize(
    'origin', ['https://evil.example', 'http://site.example', SITE + '.evil.example', 'null', 'x']
)
def test_other_origins_are_refused(site: Client, path: str, origin: str) -> None:
    """SPEC AC-01: 403, before the service."""
    answer = site.get(path, headers={'Origin': origin})
    assert answer.status_code == 403
    assert 'Access-Control-Allow-Origin' not in answer.headers


def test_without_origin_and_without_cors(site: Client) -> None:
    """SPEC AC-01: no Origin, no handling; None: no headers and no refusal."""
    assert 'Access-Control-Allow-Origin' not in site.get('/app').headers
    answer = site.get('/none', headers={'Origin': 'https://evil.example'})
    assert answer.text == 'content'
    assert 'Access-Control-Allow-Origin' not in answer.headers


def test_pages_of_this_very_site_need_no_permission(site: Client) -> None:
    """Browsers send Origin with their own site's forms, too."""
    host = '127.0.0.1:8080'
    for path in ('/app', '/same'):
        answer = site.post(path, {}, headers={'Origin': f'http://{host}', 'Host': host})
        assert answer.text == 'content'
        assert 'Access-Control-Allow-Origin' not in answer.headers


def test_preflight(site: Client) -> None:
    """SPEC AC-02, AC-03, A-32: 200, methods, max age, the headers asked for; the service is not called."""
    answer = site.options(
        '/items/7',
        headers={
            'Origin': SITE,
            'Access-Control-Request-Method': 'DELETE',
            'Access-Control-Request-Headers': 'X-One, Authorization',
        },
    )
    assert (answer.status_code, answer.content) == (200, b'')
    allowed = [method.strip() for method in answer.headers['Access-Control-Allow-Methods'].split(',')]
    assert {'GET', 'DELETE'} <= set(allowed)
    assert answer.headers['Access-Control-Max-Age'] == '60'
    assert answer.headers['Access-Control-Allow-Headers'] == 'X-One, Authorization'
    assert answer.headers['Access-Control-Allow-Origin'] == SITE
    assert 'Origin' in answer.headers['Vary']


def test_preflight_refusals(site: Client) -> None:
    """SPEC AC-02: 405 for a method that the resource has not; 403 for another origin."""
    ask = {'Origin': SITE, 'Access-Control-Request-Method': 'PATCH'}
    answer = site.options('/items/7', headers=ask)
    assert answer.status_code == 405
    assert 'DELETE' in answer.headers['Allow']
    ask = {'Origin': 'https://evil.example', 'Access-Control-Request-Method': 'GET'}
    assert site.options('/items/7', headers=ask).status_code == 403
    assert site.options('/nothing', headers=ask).status_code == 404


def test_max_age_is_left_out_when_zero(site: Client) -> None:
    """SPEC AC-03."""
    answer = site.options('/any', headers={'Origin': SITE, 'Access-Control-Request-Method': 'PUT'})
    assert answer.status_code == 200
    assert 'Access-Control-Max-Age' not in answer.headers
    assert set(answer.headers['Access-Control-Allow-Methods'].split(', ')) >= {'GET', 'PUT'}


def test_options_where_it_is_listed(client_for: Make) -> None:
    """SPEC AC-02: answered where `methods` lists it; else 405 (E.3)."""
    app, called = Atila('app'), []

    @app.route('/listed', methods=['POST', 'OPTIONS'], access_control_allow_origin=['*'])
    def listed(was: Any) -> str:
        called.append(was.request.method)
        return 'hello'

    app.route('/unlisted')(lambda was: 'content')
    client = client_for(app)
    answer = client.options('/listed')
    assert answer.status_code == 200
    assert 'POST' in answer.headers['Allow']
    assert called == []
    assert client.post('/listed', {}).text == 'hello'
    assert client.options('/unlisted').status_code == 405


@pytest.mark.parametrize('wrong', [5, [1], ['example.com'], ['https://a/b'], ['https://']])
def test_what_is_no_origin_is_an_error_at_start(wrong: Any) -> None:
    app = Atila('app')
    app.route('/', access_control_allow_origin=wrong)(lambda was: '')
    with pytest.raises(AssertionError, match='origin'):
        load(app)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40))
def test_any_origin_header_gives_an_answer(site: Client, origin: str) -> None:
    assert site.get('/app', headers={'Origin': origin}).status_code in (200, 403)
