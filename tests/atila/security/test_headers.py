"""Security headers (`pref.security_headers`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import skitai
from atila import Atila, load
from skitai.testing import Client

Make = Callable[..., Client]


def app_with(**routes: Any) -> Atila:
    app = Atila('app')
    for name, service in routes.items():
        app.route(f'/{name}')(service)
    return app


def preference(wanted: Any) -> Any:
    pref = skitai.preference()
    pref.security_headers = wanted
    return pref


def test_off_by_default(client_for: Make) -> None:
    assert 'X-Content-Type-Options' not in client_for(app_with(page=lambda was: 'x')).get('/page').headers


def test_on_every_answer(client_for: Make) -> None:
    """Contents, errors, and what reaches no service; HSTS over TLS only."""

    def fails(was: Any) -> Any:
        raise was.Error('409 Conflict')

    async def later(was: Any) -> str:
        return 'x'

    def stream(was: Any) -> Any:
        yield 'x'

    app = app_with(page=lambda was: 'x', api=lambda was: was.API(), fails=fails, later=later, stream=stream)
    client = client_for(app, preference(True))
    for path in ('/page', '/api', '/fails', '/later', '/stream', '/nothing', '/page?unknown=1'):
        headers = client.get(path).headers
        assert headers['X-Content-Type-Options'] == 'nosniff', path
        assert headers['X-Frame-Options'] == 'SAMEORIGIN'
        assert headers['Referrer-Policy'] == 'strict-origin-when-cross-origin'
        assert "frame-ancestors 'self'" in headers['Content-Security-Policy']
        assert 'Strict-Transport-Security' not in headers


def test_hsts_behind_a_proxy_that_speaks_tls(client_for: Make) -> None:
    client = client_for(app_with(page=lambda was: 'x'), preference(True), proxied=True)
    answer = client.get('/page', headers={'X-Forwarded-Proto': 'https'})
    assert answer.headers['Strict-Transport-Security'].startswith('max-age=')
    assert 'Strict-Transport-Security' not in client.get('/page').headers


def test_nonces_in_templates(client_for: Make, tmp_path: Path) -> None:
    """The policy of a page has the nonce of its scripts, another one each time."""
    (tmp_path / 'page.html').write_text('<script nonce="{{ was.csp_nonce }}">{{ was.csp_nonce }}</script>')
    pref = preference(True)
    pref.config.TEMPLATE_DIRS = [str(tmp_path)]
    client = client_for(app_with(page=lambda was: was.render('page.html')), pref)
    seen = set()
    for _ in range(3):
        answer = client.get('/page')
        found = re.fullmatch(r'<script nonce="([\w-]+)">\1</script>', answer.text)
        assert found is not None
        assert f"'nonce-{found[1]}'" in answer.headers['Content-Security-Policy']
        seen.add(found[1])
    assert len(seen) == 3


def test_own_values(client_for: Make) -> None:
    """A dict replaces and leaves out; what a service sets itself stays."""

    def own(was: Any) -> Any:
        was.response.set_header('X-Frame-Options', 'DENY')
        return 'x'

    wanted = {'Content-Security-Policy': "default-src 'none'", 'Referrer-Policy': None, 'X-More': 'yes'}
    client = client_for(app_with(page=lambda was: 'x', own=own), preference(wanted))
    headers = client.get('/page').headers
    assert headers['Content-Security-Policy'] == "default-src 'none'"
    assert 'Referrer-Policy' not in headers
    assert headers['X-More'] == 'yes'
    assert headers['X-Frame-Options'] == 'SAMEORIGIN'
    assert client.get('/own').headers['X-Frame-Options'] == 'DENY'


@pytest.mark.parametrize('wrong', ['yes', 5, {'X-Bad\n': 'x'}, {'X-Bad': 'x\r\ny'}])
def test_wrong_settings_are_an_error_at_start(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        load(app_with(page=lambda was: 'x'), preference(wanted=wrong))
